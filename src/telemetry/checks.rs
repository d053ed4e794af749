//! Metric families of which endpoints are in use, as those of [`metrics`](super::metrics).

use super::metrics::{Family, Kind};

/// `tenantry_health_checks_total`
pub static HEALTH_CHECKS: Family = Family {
    name: "tenantry_health_checks_total",
    help: "Checks of endpoints, by what they were made for and by result",
    kind: Kind::Counter,
    labels: &["pool", "cause", "result"],
};

/// `tenantry_ejections_ended_early_total`
pub static EJECTIONS_ENDED_EARLY: Family = Family {
    name: "tenantry_ejections_ended_early_total",
    help: "Ejections that ended before their time since checks passed",
    kind: Kind::Counter,
    labels: &["pool"],
};

/// `tenantry_endpoint_drained`
pub static ENDPOINT_DRAINED: Family = Family {
    name: "tenantry_endpoint_drained",
    help: "Whether an operator keeps an endpoint out of the traffic",
    kind: Kind::Gauge,
    labels: &["pool", "endpoint"],
};
