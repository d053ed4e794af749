//! What the admin API answers; a new endpoint is one file here and one row in [`ENDPOINTS`].

mod config;
mod dashboard;
mod events;
mod explain;
pub(super) mod health;
mod metrics;
mod pools;
mod reload;
mod status;
mod tenants;

use axum::routing::MethodRouter;

use super::State;

/// One path of the admin API.
#[derive(Debug)]
pub(super) struct Endpoint {
    /// Where it is.
    pub(super) path: &'static str,
    /// The methods it takes and what they do.
    pub(super) methods: fn() -> MethodRouter<State>,
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
    pools::ENDPOINT,
    events::ENDPOINT,
    explain::ENDPOINT,
    reload::ENDPOINT,
];
