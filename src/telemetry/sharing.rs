//! The metric families of what tenants share, use and may ask for, as those of
//! [`metrics`](super::metrics).

use super::metrics::{Family, Kind};

/// `tenantry_pool_concurrency_requests`
pub(super) static POOL_CONCURRENCY: Family = Family {
    name: "tenantry_pool_concurrency_requests",
    help: "Requests that a pool with a limit of concurrency has now",
    kind: Kind::Gauge,
    labels: &["pool"],
};

/// `tenantry_pool_concurrency_limit_requests`
pub(super) static POOL_CONCURRENCY_LIMIT: Family = Family {
    name: "tenantry_pool_concurrency_limit_requests",
    help: "Requests that a pool may have at once",
    kind: Kind::Gauge,
    labels: &["pool"],
};

/// `tenantry_pool_concurrency_slowdown_ratio`
pub(super) static POOL_CONCURRENCY_SLOWDOWN: Family = Family {
    name: "tenantry_pool_concurrency_slowdown_ratio",
    help: "How many times as long as usual the requests of a pool take whose limit of concurrency follows that",
    kind: Kind::Gauge,
    labels: &["pool"],
};

/// `tenantry_ejections_spared_total`
pub(super) static EJECTIONS_SPARED: Family = Family {
    name: "tenantry_ejections_spared_total",
    help: "Endpoints that stayed in since the requests of one tenant alone failed there",
    kind: Kind::Counter,
    labels: &["pool"],
};

/// `tenantry_sticky_requests_total`
pub(super) static STICKY_REQUESTS: Family = Family {
    name: "tenantry_sticky_requests_total",
    help: "Requests served by a pool that keeps clients by a cookie, by what that did",
    kind: Kind::Counter,
    labels: &["pool", "outcome"],
};

/// `tenantry_queue_waiting_requests`
pub(super) static QUEUE_WAITING: Family = Family {
    name: "tenantry_queue_waiting_requests",
    help: "Requests that wait for a turn in a pool",
    kind: Kind::Gauge,
    labels: &["pool"],
};

/// `tenantry_queue_wait_seconds`
pub(super) static QUEUE_WAIT: Family = Family {
    name: "tenantry_queue_wait_seconds",
    help: "How long requests waited that came to a pool without room and had their turn",
    kind: Kind::Histogram,
    labels: &["pool"],
};

/// `tenantry_queue_requests_total`
pub(super) static QUEUE_REQUESTS: Family = Family {
    name: "tenantry_queue_requests_total",
    help: "Requests that came to a pool without room, by what became of them",
    kind: Kind::Counter,
    labels: &["pool", "outcome"],
};

/// `tenantry_tenant_queue_requests_total`
pub(super) static TENANT_QUEUE_REQUESTS: Family = Family {
    name: "tenantry_tenant_queue_requests_total",
    help: "Requests of a tenant that came to a pool without room, by what became of them",
    kind: Kind::Counter,
    labels: &["tenant", "outcome"],
};

/// `tenantry_tenant_queue_wait_seconds_total`
pub(super) static TENANT_QUEUE_WAIT: Family = Family {
    name: "tenantry_tenant_queue_wait_seconds_total",
    help: "Time that requests of a tenant have waited for a turn",
    kind: Kind::Counter,
    labels: &["tenant"],
};

/// `tenantry_limit_waits_total`
pub(super) static LIMIT_WAITS: Family = Family {
    name: "tenantry_limit_waits_total",
    help: "Requests that waited for room within a limit of their tenant or route, by the limit",
    kind: Kind::Counter,
    labels: &["limit"],
};

/// `tenantry_authorizations_total`
pub(super) static AUTHORIZATIONS: Family = Family {
    name: "tenantry_authorizations_total",
    help: "Requests that a service was asked for whether they may go on, by result",
    kind: Kind::Counter,
    labels: &["result"],
};

/// `tenantry_authorization_seconds_total`
pub(super) static AUTHORIZATION_TIME: Family = Family {
    name: "tenantry_authorization_seconds_total",
    help: "Time that such requests have waited for it, by result",
    kind: Kind::Counter,
    labels: &["result"],
};

/// `tenantry_access_refused_total`
pub(super) static ACCESS_REFUSED: Family = Family {
    name: "tenantry_access_refused_total",
    help: "Requests that their tenants did not let in, by why",
    kind: Kind::Counter,
    labels: &["reason"],
};

/// `tenantry_metrics_handed_over_tenants_total`
pub(super) static HANDED_OVER_TENANTS: Family = Family {
    name: "tenantry_metrics_handed_over_tenants_total",
    help: "Tenants whose series have ended since others are busier",
    kind: Kind::Counter,
    labels: &[],
};

/// `tenantry_usage_saves_total`
pub static USAGE_SAVES: Family = Family {
    name: "tenantry_usage_saves_total",
    help: "Writings of what tenants have used, by result; what failed is written again",
    kind: Kind::Counter,
    labels: &["result"],
};

/// `tenantry_usage_waiting_files`
pub static USAGE_WAITING: Family = Family {
    name: "tenantry_usage_waiting_files",
    help: "Files of what tenants have used whose hours are over and that are not written",
    kind: Kind::Gauge,
    labels: &[],
};

/// `tenantry_metrics_folded_tenants`
pub(super) static FOLDED_TENANTS: Family = Family {
    name: "tenantry_metrics_folded_tenants",
    help: "Tenants that sent requests and have no series of their own: they are summed under _other",
    kind: Kind::Gauge,
    labels: &[],
};
