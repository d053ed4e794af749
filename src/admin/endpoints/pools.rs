//! The pools: their members, how they are, and where they come from.

use axum::routing::get;
use axum::{Json, extract};
use serde::Serialize;

use crate::admin::{State, reply};
use crate::control::generation::{LivePool, SourceResult, SourceStatus};
use crate::model::endpoint::Health;
use crate::model::members;

use super::Endpoint;

pub(super) const ENDPOINT: Endpoint = Endpoint { path: "/api/v1/pools", methods: || get(pools) };

#[derive(Debug, Serialize)]
struct Pool {
    name: String,
    /// Too few are healthy: all are used.
    panicking: bool,
    members: Vec<Member>,
    sources: Vec<Source>,
}

#[derive(Debug, Serialize)]
struct Member {
    address: String,
    weight: u32,
    priority: u16,
    origin: String,
    health: &'static str,
    /// Why the last check failed.
    reason: Option<String>,
    ejected_for_ms: Option<u64>,
    in_flight: u32,
    /// Whether it may be picked by its own state.
    eligible: bool,
}

#[derive(Debug, Serialize)]
struct Source {
    name: String,
    result: &'static str,
    at: Option<String>,
    members: Option<usize>,
    error: Option<String>,
}

async fn pools(extract::State(state): extract::State<State>) -> Json<Vec<Pool>> {
    Json(state.live.load().pools.iter().map(pool).collect())
}

fn pool(pool: &LivePool) -> Pool {
    let set = pool.members.load();
    Pool {
        name: pool.name.to_string(),
        panicking: set.eligible.panicking,
        members: set.all.iter().map(member).collect(),
        sources: pool.sources.iter().map(source).collect(),
    }
}

fn member(member: &members::Member) -> Member {
    let endpoint = &member.endpoint;
    let ejected_for = endpoint.ejected_for();
    Member {
        address: endpoint.label.to_string(),
        weight: member.weight,
        priority: member.priority,
        origin: member.origin.to_string(),
        health: match endpoint.health() {
            Health::Unchecked => "unchecked",
            Health::Pending => "pending",
            Health::Up => "up",
            Health::Down => "down",
        },
        reason: endpoint.reason().map(|reason| reason.to_string()),
        ejected_for_ms: ejected_for.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
        in_flight: endpoint.in_flight(),
        eligible: endpoint.is_eligible(),
    }
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
