//! What the admin API answers; a new endpoint is one file here and one row in [`ENDPOINTS`].

mod config;
mod drain;
mod drains;
mod explain;
mod health;
mod log_level;
mod members;
mod metrics;
mod openapi;
mod pools;
mod reload;
mod routes;
mod status;

use axum::routing::MethodRouter;

use super::State;
use super::openapi::{Operation, Schemas};

/// One path of the admin API.
#[derive(Debug)]
pub(super) struct Endpoint {
    /// Where it is.
    pub(super) path: &'static str,
    /// The methods it takes and what they do.
    pub(super) methods: fn() -> MethodRouter<State>,
    /// What the OpenAPI document says of each of them.
    pub(super) operations: fn(&mut Schemas) -> Vec<Operation>,
}

/// What is there for everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Openness {
    /// All of it: nobody is asked who they are.
    Whole,
    /// What asks whether the process lives and is ready.
    Probes,
    /// That and the metrics.
    ProbesAndMetrics,
}

impl Openness {
    /// Whether everybody may ask for this path.
    pub(super) fn admits(self, path: &str) -> bool {
        let is_probe = [health::LIVE.path, health::READY.path].contains(&path);
        match self {
            Self::Whole => true,
            Self::Probes => is_probe,
            Self::ProbesAndMetrics => is_probe || path == metrics::ENDPOINT.path,
        }
    }
}

/// Every path, in the order of `docs/admin.md`.
pub(super) static ENDPOINTS: &[Endpoint] = &[
    health::LIVE,
    health::READY,
    metrics::ENDPOINT,
    status::ENDPOINT,
    config::ENDPOINT,
    pools::ENDPOINT,
    members::ENDPOINT,
    drains::DRAIN,
    drains::UNDRAIN,
    routes::ENDPOINT,
    explain::ENDPOINT,
    reload::ENDPOINT,
    drain::ENDPOINT,
    log_level::ENDPOINT,
    openapi::ENDPOINT,
];
