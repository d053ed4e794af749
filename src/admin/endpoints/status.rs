//! What runs here, for how long, and whether it takes traffic.

use axum::routing::get;
use axum::{Json, extract};
use serde::Serialize;

use crate::admin::State;

use super::Endpoint;
use super::health::unready;

pub(super) const ENDPOINT: Endpoint = Endpoint { path: "/api/v1/status", methods: || get(status) };

#[derive(Debug, Serialize)]
struct Status {
    version: &'static str,
    pid: u32,
    uptime_seconds: u64,
    workers: usize,
    listeners: Vec<Listener>,
    generation: u64,
    ready: bool,
    draining: bool,
}

#[derive(Debug, Serialize)]
struct Listener {
    address: String,
    tls: bool,
}

async fn status(extract::State(state): extract::State<State>) -> Json<Status> {
    let about = &state.about;
    let draining = *state.draining.borrow();
    let listeners = about
        .listeners
        .iter()
        .map(|listener| Listener { address: listener.address.to_string(), tls: listener.tls });
    Json(Status {
        version: env!("CARGO_PKG_VERSION"),
        pid: std::process::id(),
        uptime_seconds: about.started.elapsed().as_secs(),
        workers: about.workers,
        listeners: listeners.collect(),
        generation: state.live.load().generation,
        ready: unready(&state).is_none(),
        draining,
    })
}
