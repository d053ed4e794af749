//! The metric families of what keeps users from endpoints that fail, as those of
//! [`metrics`](super::metrics).

use super::metrics::{Family, Kind};

/// `tenantry_ejections_total`
pub(super) static EJECTIONS: Family = Family {
    name: "tenantry_ejections_total",
    help: "Endpoints taken out for a while because traffic saw them fail",
    kind: Kind::Counter,
    labels: &["pool"],
};

/// `tenantry_outlier_ejections_total`
pub(super) static OUTLIER_EJECTIONS: Family = Family {
    name: "tenantry_outlier_ejections_total",
    help: "Endpoints taken out for a while because they differ from the others of their pool, by in what",
    kind: Kind::Counter,
    labels: &["pool", "cause"],
};

/// `tenantry_pool_overrun`
pub(super) static POOL_OVERRUN: Family = Family {
    name: "tenantry_pool_overrun",
    help: "1 while a pool without a limit of concurrency is bounded since it was overrun, 0 otherwise",
    kind: Kind::Gauge,
    labels: &["pool"],
};

/// `tenantry_pool_overruns_total`
pub static POOL_OVERRUNS: Family = Family {
    name: "tenantry_pool_overruns_total",
    help: "Times that a pool without a limit of concurrency was bounded since it was overrun",
    kind: Kind::Counter,
    labels: &["pool"],
};

/// `tenantry_trials_total`
pub(super) static TRIALS: Family = Family {
    name: "tenantry_trials_total",
    help: "Trials of endpoints that came back from an ejection, by result",
    kind: Kind::Counter,
    labels: &["pool", "result"],
};

/// `tenantry_breaker_transitions_total`
pub(super) static BREAKER_TRANSITIONS: Family = Family {
    name: "tenantry_breaker_transitions_total",
    help: "What breakers of tenants at a pool became",
    kind: Kind::Counter,
    labels: &["pool", "to"],
};

/// `tenantry_breakers`
pub(super) static BREAKERS: Family = Family {
    name: "tenantry_breakers",
    help: "Tenants whose breaker at a pool is not closed, by how it stands",
    kind: Kind::Gauge,
    labels: &["pool", "state"],
};

/// `tenantry_pool_breaker_transitions_total`
pub(super) static POOL_BREAKER_TRANSITIONS: Family = Family {
    name: "tenantry_pool_breaker_transitions_total",
    help: "What the breaker of a whole pool became",
    kind: Kind::Counter,
    labels: &["pool", "to"],
};

/// `tenantry_pool_breaker`
pub(super) static POOL_BREAKER: Family = Family {
    name: "tenantry_pool_breaker",
    help: "Whether the breaker of a whole pool stands so, 1 or 0",
    kind: Kind::Gauge,
    labels: &["pool", "state"],
};
