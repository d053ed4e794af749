//! What the admin API answers; a new endpoint is one file here and one row in [`ENDPOINTS`].

mod bearers;
mod config;
mod dashboard;
mod drain;
pub(super) mod drains;
mod events;
pub(super) mod explain;
pub(super) mod health;
mod history;
mod kept;
pub(super) mod log_level;
mod members;
mod metrics;
mod openapi;
mod pools;
pub(super) mod reload;
mod routes;
pub(super) mod splits;
mod status;
mod tenants;

use axum::routing::MethodRouter;

pub(super) use tenants::unknown;

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
    /// What asks whether the process lives and is ready, and the empty dashboard.
    Probes,
    /// That and the metrics.
    ProbesAndMetrics,
}

impl Openness {
    /// Whether everybody may ask for this path.
    pub(super) fn admits(self, path: &str) -> bool {
        let is_probe = [health::LIVE.path, health::READY.path].contains(&path);
        // The page holds nothing of what it shows, and asks for the token itself.
        let is_page = [dashboard::PAGE, dashboard::STYLE, dashboard::SCRIPT]
            .iter()
            .any(|file| file.path == path);
        match self {
            Self::Whole => true,
            Self::Probes => is_probe || is_page,
            Self::ProbesAndMetrics => is_probe || is_page || path == metrics::ENDPOINT.path,
        }
    }
}

/// Every path, in the order of `docs/admin.md`.
pub(super) static ENDPOINTS: &[Endpoint] = &[
    dashboard::PAGE,
    dashboard::STYLE,
    dashboard::SCRIPT,
    health::LIVE,
    health::READY,
    metrics::ENDPOINT,
    status::ENDPOINT,
    config::ENDPOINT,
    tenants::LIST,
    tenants::ONE,
    tenants::USAGE,
    history::LIST,
    history::ONE,
    history::BACK,
    pools::ENDPOINT,
    members::ENDPOINT,
    drains::DRAIN,
    drains::UNDRAIN,
    routes::ENDPOINT,
    splits::LIST,
    splits::RESET,
    events::ENDPOINT,
    explain::ENDPOINT,
    reload::ENDPOINT,
    drain::ENDPOINT,
    log_level::ENDPOINT,
    openapi::ENDPOINT,
];
