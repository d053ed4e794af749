//! Loads the files now and tells what became of it.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Json, extract};
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, json};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::admin::State;
use crate::admin::openapi::{Operation, Schemas};
use crate::admin::reply::{self, FaultBody};
use crate::admin::roles::Caller;
use crate::control::Ask;
use crate::control::generation::{Fault, ReloadResult};

use super::Endpoint;

pub(in crate::admin) const ENDPOINT: Endpoint =
    Endpoint { path: "/api/v1/reload", methods: || post(reload), operations };

fn operations(schemas: &mut Schemas) -> Vec<Operation> {
    vec![
        Operation::post("reload", "Loads the files now and tells what became of it")
            .answers::<Reloaded>(schemas, StatusCode::OK, "They are live")
            .refuses(StatusCode::UNPROCESSABLE_ENTITY, "They have problems, which are listed")
            .refuses(StatusCode::SERVICE_UNAVAILABLE, "The gateway is ending")
            .refuses(StatusCode::GATEWAY_TIMEOUT, "It takes too long"),
    ]
}

#[derive(Debug, Serialize, JsonSchema)]
struct Reloaded {
    generation: u64,
    took_ms: u64,
}

async fn reload(
    extract::State(state): extract::State<State>,
    Extension(caller): Extension<Caller>,
) -> Response {
    let (answer, result) = oneshot::channel();
    let asked = async {
        state.reload.send(Ask { by: caller.by(), answer }).await.ok()?;
        result.await.ok()
    };
    match timeout(LIMIT, asked).await {
        Ok(Some(ReloadResult::Live { generation, took })) => Json(Reloaded {
            generation,
            took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        })
        .into_response(),
        Ok(Some(ReloadResult::Refused { generation, problems })) => refused(generation, &problems),
        Ok(None) => reply::problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "ending",
            "the gateway is ending and reloads no more".to_owned(),
        ),
        Err(_) => reply::problem(
            StatusCode::GATEWAY_TIMEOUT,
            "reload-slow",
            format!("the reload took longer than {LIMIT:?}; see /api/v1/config for its result"),
        ),
    }
}

fn refused(generation: u64, problems: &[Fault]) -> Response {
    let mut members = Map::new();
    members.insert("generation".to_owned(), generation.into());
    let faults: Vec<FaultBody> = problems.iter().map(FaultBody::from).collect();
    members.insert("problems".to_owned(), json!(faults));
    let count = problems.len();
    reply::problem_with(
        StatusCode::UNPROCESSABLE_ENTITY,
        "config-refused",
        format!("the files have {count} problem(s); generation {generation} is live"),
        members,
    )
}

/// A million tenants load in some seconds; who waits longer waits for a disk that hangs.
const LIMIT: Duration = Duration::from_secs(30);
