//! The pools: their members, how they are, and where they come from.

use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, extract};
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use crate::admin::{State, reply};
use crate::base::fair::{self, Gate};
use crate::control::generation::{LivePool, SourceResult, SourceStatus};
use crate::model::breakers::Counts;

use crate::admin::openapi::{Operation, Schemas};

use super::Endpoint;
use super::members::{self, Member};

pub(super) const ENDPOINT: Endpoint =
    Endpoint { path: "/api/v1/pools", methods: || get(pools), operations };

fn operations(schemas: &mut Schemas) -> Vec<Operation> {
    let operation = Operation::get("list_pools", "Every pool with its members and its sources");
    vec![operation.answers::<Vec<Pool>>(schemas, StatusCode::OK, "As it is now")]
}

#[derive(Debug, Serialize, JsonSchema)]
struct Pool {
    name: String,
    /// Too few are healthy: all are used.
    panicking: bool,
    /// How many requests it may have at once; `null` = any number.
    concurrency: Option<Concurrency>,
    /// Tenants whose breakers are not closed; `null` = it has none.
    breakers: Option<Open>,
    members: Vec<Member>,
    sources: Vec<Source>,
}

/// The requests of a pool that may have so many at once.
#[derive(Debug, Serialize, JsonSchema)]
struct Concurrency {
    limit: u32,
    /// How many it has.
    requests: u32,
    /// How many wait.
    waiting: usize,
}

/// Tenants whose requests to a pool fail too often.
#[derive(Debug, Serialize, JsonSchema)]
struct Open {
    /// Tenants all of whose requests are refused.
    open: u64,
    /// Tenants of whose requests a few pass, on trial.
    half_open: u64,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Source {
    name: String,
    result: &'static str,
    at: Option<String>,
    members: Option<usize>,
    error: Option<String>,
}

async fn pools(extract::State(state): extract::State<State>) -> Response {
    let live = state.live.load();
    let list = move || Json(live.pools.iter().map(pool).collect::<Vec<_>>()).into_response();
    reply::in_background(list).await
}

fn pool(pool: &LivePool) -> Pool {
    let set = pool.members.load();
    Pool {
        name: pool.name.to_string(),
        panicking: set.eligible.panicking,
        concurrency: pool.gate.as_deref().and_then(concurrency),
        breakers: pool.breakers.as_deref().map(|breakers| {
            let Counts { open, half_open } = breakers.counts();
            Open { open, half_open }
        }),
        members: members::all(pool),
        sources: pool.sources.iter().map(source).collect(),
    }
}

fn concurrency(gate: &Gate) -> Option<Concurrency> {
    let fair::State { limit, inside, waiting } = gate.state();
    Some(Concurrency { limit: limit?, requests: inside, waiting })
}

fn source(source: &SourceStatus) -> Source {
    let name = source.name.to_string();
    match source.last.load().as_ref() {
        SourceResult::Waiting => {
            Source { name, result: "waiting", at: None, members: None, error: None }
        }
        SourceResult::Found { at, members } => Source {
            name,
            result: "found",
            at: Some(reply::time(*at)),
            members: Some(*members),
            error: None,
        },
        SourceResult::Failed { at, error } => Source {
            name,
            result: "failed",
            at: Some(reply::time(*at)),
            members: None,
            error: Some(error.clone()),
        },
    }
}
