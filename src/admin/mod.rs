//! The operators' API: its own listener, on the control runtime. It reads what control publishes
//! and asks control to act; it never reaches the data path.

pub mod access;
mod asked;
mod audit;
mod connections;
pub mod dashboard;
mod endpoints;
mod etag;
mod guard;
mod guesses;
mod openapi;
mod pace;
mod reply;
mod roles;

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::Response;
use axum::{Extension, Router};
use http::{Method, StatusCode, Uri};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::base::snapshot::Snapshot;
use crate::base::tasks::Stop;
use crate::config::spec::DrainSpec;
use crate::control::Ask;
use crate::control::bearers::LiveBearers;
use crate::control::drains::Drainer;
use crate::control::explain::Explainer;
use crate::control::generation::{Fault, Live, LiveCertificates};
use crate::control::roster::Roster;
use crate::control::splits::Splits;
use crate::control::stored;
use crate::limits::fleet::Fleet;
use crate::model::address::Address;
use crate::telemetry::registry::Metrics;
use crate::telemetry::tracing::Levels;
use crate::tls::certificates::Certificates;

use self::access::Access;
use self::connections::LIMITS;
use self::dashboard::watchers::{self, Watchers};
use self::endpoints::ENDPOINTS;
use self::guard::Reach;

/// What the admin API can reach: handles, all of them cheap to clone.
#[derive(Clone, Debug)]
pub struct State {
    /// What does not change while the process runs.
    pub about: Arc<About>,
    /// All metrics of the process.
    pub metrics: Arc<Metrics>,
    /// Tells where a request would go.
    pub explainer: Explainer,
    /// Drains endpoints.
    pub drainer: Drainer,
    /// Lists the tenants.
    pub roster: Roster,
    /// What gateways share of limits, where they do.
    pub fleet: Option<Arc<Fleet>>,
    /// Splits with a canary.
    pub splits: Splits,
    /// Keeps tenants.
    pub stored: stored::Handle,
    /// What is live.
    pub live: Snapshot<Live>,
    /// The listeners' certificates that are in use.
    pub certificates: Snapshot<LiveCertificates>,
    /// Certificates of tenants' own.
    pub bearers: Snapshot<LiveBearers>,
    /// Where clients connect, and what is wrong with `gateway.toml`.
    pub front: Snapshot<Front>,
    /// Whether the process has been asked to end.
    pub draining: watch::Receiver<bool>,
    /// Has the process drain and end.
    pub end: watch::Sender<bool>,
    /// Asks control to load the files now.
    pub reload: mpsc::Sender<Ask>,
    /// What is logged; `None` = the log is somebody else's.
    pub levels: Option<Levels>,
    /// Who is let in.
    pub access: Access,
}

/// What does not change while the process runs.
#[derive(Clone, Debug)]
pub struct About {
    /// When the process started.
    pub started: Instant,
    /// Worker threads.
    pub workers: usize,
    /// How it ends.
    pub drain: DrainSpec,
}

/// What became of `gateway.toml`.
#[derive(Clone, Debug, Default)]
pub struct Front {
    /// Where clients connect.
    pub listeners: Vec<Listener>,
    /// What is wrong with the file of now: what was before stays.
    pub problems: Vec<Fault>,
    /// Its keys that have changed and take effect at the next start.
    pub needs_restart: Vec<&'static str>,
}

/// One address where clients connect.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Address and the port that was bound, or a Unix socket.
    pub address: Address,
    /// Whether it speaks TLS.
    pub tls: bool,
}

/// Serves the admin API until `stop`, then finishes the requests that are under way. With
/// certificates it speaks TLS.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Snapshot<Certificates>>,
    state: State,
    stop: Stop,
) {
    // A listener that does not know its own address is guarded as the closest one.
    let reach = Reach::of(&listener).unwrap_or(Reach::ThisMachine);
    serve_as(connections::Front { tls, limits: LIMITS }, reach, listener, state, stop).await;
}

async fn serve_as(
    front: connections::Front,
    reach: Reach,
    listener: TcpListener,
    state: State,
    stop: Stop,
) {
    let (watchers, arrivals) = Watchers::new();
    let router = router(state.clone(), reach, watchers);
    tokio::join!(
        connections::serve(listener, router, front, stop.clone()),
        watchers::run(state, arrivals, stop),
    );
}

fn router(state: State, reach: Reach, watchers: Watchers) -> Router {
    let mut router = Router::new();
    for endpoint in ENDPOINTS {
        router = router.route(endpoint.path, (endpoint.methods)());
    }
    router
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(Extension(watchers))
        .layer(DefaultBodyLimit::max(asked::LARGEST))
        .layer(from_fn(etag::tag_reads))
        .layer(from_fn_with_state(state.access.clone(), access::admit))
        .layer(from_fn_with_state((reach, state.access.clone()), guard::refuse_pages))
        .with_state(state)
}

async fn unknown_path(uri: Uri) -> Response {
    let known: Vec<&str> = ENDPOINTS.iter().map(|endpoint| endpoint.path).collect();
    reply::problem(
        StatusCode::NOT_FOUND,
        "unknown-path",
        format!("nothing is at {}; there is {}", uri.path(), known.join(", ")),
    )
}

async fn wrong_method(method: Method, uri: Uri) -> Response {
    reply::problem(
        StatusCode::METHOD_NOT_ALLOWED,
        "wrong-method",
        format!("{} does not take {method}", uri.path()),
    )
}

#[cfg(test)]
mod tests;
