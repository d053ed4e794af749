//! What runs here, for how long, and whether it takes traffic.

use std::time::{Duration, UNIX_EPOCH};

use axum::routing::get;
use axum::{Json, extract};
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use crate::admin::State;
use crate::admin::reply::{self, FaultBody};
use crate::limits::fleet::Standing;
use crate::tls::expiry::Expiry;

use crate::admin::openapi::{Operation, Schemas};

use super::Endpoint;
use super::health::unready;

pub(super) const ENDPOINT: Endpoint =
    Endpoint { path: "/api/v1/status", methods: || get(status), operations };

fn operations(schemas: &mut Schemas) -> Vec<Operation> {
    let operation =
        Operation::get("show_status", "What runs here, for how long, and whether it takes traffic");
    vec![operation.answers::<Status>(schemas, StatusCode::OK, "As it is now")]
}

#[derive(Debug, Serialize, JsonSchema)]
struct Status {
    version: &'static str,
    pid: u32,
    uptime_seconds: u64,
    workers: usize,
    listeners: Vec<Listener>,
    generation: u64,
    ready: bool,
    draining: bool,
    gateway: Gateway,
    /// `null` where gateways share no limits.
    shared_limits: Option<SharedLimits>,
    certificates: Certificates,
    tenants: Tenants,
    /// The first hundred, as in `tenants.acme` and `tenants.acme.routes: /billing/*`.
    in_maintenance: Vec<String>,
}

/// What became of `gateway.toml`.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "GatewayFile")]
struct Gateway {
    problems: Vec<FaultBody>,
    needs_restart: Vec<&'static str>,
}

/// Whether limits are shared with other gateways.
#[derive(Debug, Serialize, JsonSchema)]
struct SharedLimits {
    /// `false` while each gateway holds them alone.
    shared: bool,
    since: String,
    /// Why they are not shared; `null` at the start, before the store was reached.
    fault: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Certificates {
    /// `null` while the files are what is in use.
    failed_since: Option<String>,
    problems: Vec<FaultBody>,
    warnings: Vec<FaultBody>,
    in_use: Vec<InUse>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct InUse {
    file: String,
    #[serde(rename = "use")]
    role: &'static str,
    ends: String,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "TenantCounts")]
struct Tenants {
    active: usize,
    maintenance: usize,
    suspended: usize,
    quarantined: usize,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Listener {
    address: String,
    tls: bool,
}

async fn status(extract::State(state): extract::State<State>) -> Json<Status> {
    let about = &state.about;
    let live = state.live.load();
    let standing = &live.standing;
    let draining = *state.draining.borrow();
    let front = state.front.load();
    let listeners = front
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
        gateway: Gateway {
            problems: front.problems.iter().map(FaultBody::from).collect(),
            needs_restart: front.needs_restart.clone(),
        },
        shared_limits: state.fleet.as_ref().map(|fleet| shared_limits(&fleet.standing())),
        certificates: certificates(&state, &live.ends),
        tenants: Tenants {
            active: standing.active,
            maintenance: standing.maintenance,
            suspended: standing.suspended,
            quarantined: standing.quarantined,
        },
        in_maintenance: standing.in_maintenance.clone(),
    })
}

fn shared_limits(standing: &Standing) -> SharedLimits {
    let Standing { is_shared, since, fault } = standing.clone();
    SharedLimits { shared: is_shared, since: reply::time(since), fault }
}

fn certificates(state: &State, of_pools: &[Expiry]) -> Certificates {
    let live = state.certificates.load();
    let in_use = |one: &Expiry| InUse {
        file: one.file.display().to_string(),
        role: one.role.as_str(),
        ends: reply::time(UNIX_EPOCH + Duration::from_secs(one.at.min(LATEST))),
    };
    Certificates {
        failed_since: live.failed_since.map(reply::time),
        problems: live.problems.iter().map(FaultBody::from).collect(),
        warnings: live.doubts.iter().map(FaultBody::from).collect(),
        in_use: live.ends.iter().chain(of_pools).map(in_use).collect(),
    }
}

/// The end of the year 9999: no later time can be written, and "for ever" is written so (RFC 5280).
const LATEST: u64 = 253_402_300_799;
