//! Whether the process lives, and whether it should be sent traffic.

use axum::extract;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;

use crate::admin::openapi::{Operation, Schemas};
use crate::admin::{State, reply};

use super::Endpoint;

pub(super) const LIVE: Endpoint =
    Endpoint { path: "/healthz", methods: || get("ok\n"), operations: of_live };

pub(super) const READY: Endpoint =
    Endpoint { path: "/readyz", methods: || get(ready), operations: of_ready };

fn of_live(_: &mut Schemas) -> Vec<Operation> {
    vec![Operation::get("is_live", "Whether the process lives").says(StatusCode::OK, "It does")]
}

fn of_ready(_: &mut Schemas) -> Vec<Operation> {
    vec![
        Operation::get("is_ready", "Whether it should be sent traffic")
            .says(StatusCode::OK, "It should")
            .refuses(StatusCode::SERVICE_UNAVAILABLE, "It should not"),
    ]
}

/// Why the gateway should not be sent traffic.
pub(in crate::admin) fn unready(state: &State) -> Option<&'static str> {
    if *state.draining.borrow() {
        return Some("the gateway is draining: it will end soon");
    }
    if state.live.load().generation == 0 {
        return Some("no routes are live yet");
    }
    None
}

async fn ready(extract::State(state): extract::State<State>) -> Response {
    match unready(&state) {
        None => "ready\n".into_response(),
        Some(why) => reply::problem(StatusCode::SERVICE_UNAVAILABLE, "not-ready", why.to_owned()),
    }
}
