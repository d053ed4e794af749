//! Tenantry: the multi-tenant gateway. It names the tenant of each request, finds that tenant's
//! route and pool, picks a healthy endpoint and proxies the request; everything about tenants,
//! routes and pools can change while it runs.
//!
//! # Code map, top floor first
//!
//! | floor | folder | what it is for |
//! | --- | --- | --- |
//! | roof | [`cli`] | commands |
//! | | [`app`] | builds, owns and stops everything |
//! | | [`admin`] | the operators' API |
//! | hall | [`proxy`] | one request and its answer: begin reading at `proxy/exchange.rs` |
//! | | [`control`] | one generation of the config: read, check, build, publish |
//! | | [`routing`] | the compiled, immutable table |
//! | rooms | [`pool`] | which endpoint takes the next attempt |
//! | | [`discovery`] | where endpoints come from |
//! | | [`health`] | which endpoints are well |
//! | | [`resilience`] | deadlines, retries, budgets |
//! | | [`auth`] | who a client is, by what it shows |
//! | | [`limits`] | how much tenants, routes and clients may ask for |
//! | | [`export`] | sends traces to a collector |
//! | pipes | [`upstream`] | dial, keep, send |
//! | | [`tls`] | certificates and handshakes |
//! | | [`http1`] | HTTP/1.1 as bytes, for both sides |
//! | | [`http2`] | bodies of HTTP/2 streams, for both sides |
//! | supplies | [`config`] | what was asked |
//! | | [`telemetry`] | what is measured |
//! | | [`model`] | the nouns |
//! | ground | [`base`] | tasks, snapshots, units, files that change |
//!
//! **Invariant:** a folder imports only folders of lower floors; folders on one floor never import
//! each other (`tests/layering.rs`).
//!
//! **Invariant:** `routing` does no I/O, takes no lock and never waits.
//!
//! **Invariant:** nothing in `proxy` or `upstream` waits for another thread: what workers share is
//! a snapshot or an atomic.
//!
//! **Invariant:** `telemetry` and `base` know nothing of tenants' rules; `upstream` knows no tenant.
//!
//! **Invariant:** no task runs without an owner that stops it (`base::tasks`).

pub mod admin;
pub mod app;
pub mod auth;
pub mod base;
pub mod cli;
pub mod config;
pub mod control;
pub mod discovery;
pub mod export;
pub mod health;
pub mod http1;
pub mod http2;
pub mod limits;
pub mod model;
pub mod pool;
pub mod proxy;
pub mod resilience;
pub mod routing;
pub mod telemetry;
pub mod tls;
pub mod upstream;
