//! The metric families of limits that gateways share, as those of [`metrics`](super::metrics).

use super::metrics::{Family, Kind};

/// `tenantry_shared_limits_up`
pub static UP: Family = Family {
    name: "tenantry_shared_limits_up",
    help: "Whether limits are shared with other gateways; 0 while each gateway holds them alone",
    kind: Kind::Gauge,
    labels: &[],
};

/// `tenantry_shared_limits_calls_total`
pub static CALLS: Family = Family {
    name: "tenantry_shared_limits_calls_total",
    help: "Calls to the store of the limits that gateways share, by what came of them",
    kind: Kind::Counter,
    labels: &["result"],
};

/// `tenantry_shared_limits_call_seconds_total`
pub static CALL_SECONDS: Family = Family {
    name: "tenantry_shared_limits_call_seconds_total",
    help: "What all calls to the store of the limits that gateways share have taken",
    kind: Kind::Counter,
    labels: &[],
};

/// `tenantry_shared_limits_late_seconds_total`
pub static LATE_SECONDS: Family = Family {
    name: "tenantry_shared_limits_late_seconds_total",
    help: "How long answers of the store of the limits that gateways share were overdue",
    kind: Kind::Counter,
    labels: &[],
};

/// `tenantry_shared_limits_requests_total`
pub static REQUESTS: Family = Family {
    name: "tenantry_shared_limits_requests_total",
    help: "Requests of limits that gateways share: had beforehand, counted after they have passed, given back unused",
    kind: Kind::Counter,
    labels: &["kind"],
};

/// `tenantry_shared_limits_in_use`
pub static IN_USE: Family = Family {
    name: "tenantry_shared_limits_in_use",
    help: "Limits that gateways share and that had requests here within the last second; 0 while they are not shared",
    kind: Kind::Gauge,
    labels: &[],
};
