//! The metric families of how a pool's traffic is spread, as those of [`metrics`](super::metrics).

use super::metrics::{Family, Kind};

/// `tenantry_pool_panicking`
pub(super) static POOL_PANICKING: Family = Family {
    name: "tenantry_pool_panicking",
    help: "Whether so few members are healthy that all are used",
    kind: Kind::Gauge,
    labels: &["pool"],
};

/// `tenantry_pool_draining_requests`
pub(super) static POOL_DRAINING: Family = Family {
    name: "tenantry_pool_draining_requests",
    help: "Requests that the drained endpoints of a pool are still busy with",
    kind: Kind::Gauge,
    labels: &["pool"],
};

/// `tenantry_pool_warming_members`
pub(super) static POOL_WARMING: Family = Family {
    name: "tenantry_pool_warming_members",
    help: "Members of a pool that have not come to their whole share yet",
    kind: Kind::Gauge,
    labels: &["pool"],
};

/// `tenantry_pool_late_members`
pub(super) static POOL_LATE: Family = Family {
    name: "tenantry_pool_late_members",
    help: "Members of a pool that requests go round since they are later than the others",
    kind: Kind::Gauge,
    labels: &["pool"],
};

/// `tenantry_pool_zone_spill_ratio`
pub(super) static POOL_ZONE_SPILL: Family = Family {
    name: "tenantry_pool_zone_spill_ratio",
    help: "Part of a pool's traffic that leaves the gateway's own zone, where zones matter",
    kind: Kind::Gauge,
    labels: &["pool"],
};

/// `tenantry_pool_failover_ratio`
pub(super) static POOL_FAILOVER: Family = Family {
    name: "tenantry_pool_failover_ratio",
    help: "Part of a pool's traffic that goes past its first priority",
    kind: Kind::Gauge,
    labels: &["pool"],
};
