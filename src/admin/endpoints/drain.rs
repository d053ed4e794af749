//! Ends the process as SIGTERM does.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, extract};
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::admin::asked::Body;
use crate::admin::openapi::{Operation, Schemas};
use crate::admin::{State, reply};

use super::Endpoint;

pub(super) const ENDPOINT: Endpoint =
    Endpoint { path: "/api/v1/drain", methods: || post(drain), operations };

fn operations(schemas: &mut Schemas) -> Vec<Operation> {
    vec![
        Operation::post("drain", "Drains the whole gateway and ends it, as SIGTERM does")
            .takes::<Wish>(schemas)
            .answers::<Draining>(schemas, StatusCode::ACCEPTED, "The drain has begun")
            .refuses_bodies(),
    ]
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Wish {
    /// That the end of the process is meant: `true`.
    #[serde(default)]
    confirm: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Draining {
    draining: bool,
    /// How long connections are still accepted.
    accept_ms: u64,
    /// How long requests under way may take from then on.
    timeout_ms: u64,
}

async fn drain(extract::State(state): extract::State<State>, Body(wish): Body<Wish>) -> Response {
    if !wish.confirm {
        let what = "this drains the whole gateway and ends the process, which cannot be undone; \
                    send {\"confirm\": true} if that is meant";
        return reply::problem(StatusCode::UNPROCESSABLE_ENTITY, "unconfirmed", what.to_owned());
    }
    if !*state.end.borrow() {
        tracing::warn!("the admin API is asked to drain the gateway and to end it");
        state.end.send_replace(true);
    }
    // So that who asks next finds it draining; whether it does in time changes nothing.
    let mut draining = state.draining.clone();
    drop(timeout(SOON, draining.wait_for(|draining| *draining)).await);
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let spec = state.about.drain;
    let told =
        Draining { draining: true, accept_ms: ms(spec.accept), timeout_ms: ms(spec.timeout) };
    (StatusCode::ACCEPTED, Json(told)).into_response()
}

/// 1 s: it begins at once, unless the machine is very busy.
const SOON: Duration = Duration::from_secs(1);
