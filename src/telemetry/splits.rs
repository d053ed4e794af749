//! What is counted of splits with a canary.

use super::metrics::{Family, Kind};

/// `tenantry_split_requests_total`
pub(super) static SPLIT_REQUESTS: Family = Family {
    name: "tenantry_split_requests_total",
    help: "Requests of a split with a canary, by side and what became of them",
    kind: Kind::Counter,
    labels: &["split", "owner", "route", "side", "outcome"],
};

/// `tenantry_split_rolled_back`
pub(super) static SPLIT_ROLLED_BACK: Family = Family {
    name: "tenantry_split_rolled_back",
    help: "Whether the canary of a split gets no requests, since it broke its rule",
    kind: Kind::Gauge,
    labels: &["split", "owner", "route"],
};

/// `tenantry_split_rollbacks_total`
pub(super) static SPLIT_ROLLBACKS: Family = Family {
    name: "tenantry_split_rollbacks_total",
    help: "How often the canary of a split was rolled back, by the rule that it broke",
    kind: Kind::Counter,
    labels: &["split", "owner", "route", "reason"],
};
