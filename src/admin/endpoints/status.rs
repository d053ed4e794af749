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
    tenants: Tenants,
    /// The first hundred, as in `tenants.acme` and `tenants.acme.routes: /billing/*`.
    in_maintenance: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Tenants {
    active: usize,
    maintenance: usize,
    suspended: usize,
}

#[derive(Debug, Serialize)]
struct Listener {
    address: String,
    tls: bool,
}

async fn status(extract::State(state): extract::State<State>) -> Json<Status> {
    let about = &state.about;
    let live = state.live.load();
    let standing = &live.standing;
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
        generation: live.generation,
        ready: unready(&state).is_none(),
        draining,
        tenants: Tenants {
            active: standing.active,
            maintenance: standing.maintenance,
            suspended: standing.suspended,
        },
        in_maintenance: standing.in_maintenance.clone(),
    })
}
