//! Metric families of what is live and of how it came about.

use super::metrics::{Family, Kind};

/// `tenantry_config_generation`
pub(super) static CONFIG_GENERATION: Family = Family {
    name: "tenantry_config_generation",
    help: "The number of the table that requests are routed by",
    kind: Kind::Gauge,
    labels: &[],
};

/// `tenantry_config_last_success_timestamp_seconds`
pub(super) static CONFIG_LAST_SUCCESS: Family = Family {
    name: "tenantry_config_last_success_timestamp_seconds",
    help: "When the routes were last loaded without a problem, in Unix time",
    kind: Kind::Gauge,
    labels: &[],
};

/// `tenantry_config_reloads_total`
pub(super) static CONFIG_RELOADS: Family = Family {
    name: "tenantry_config_reloads_total",
    help: "Loads of the routes, by result",
    kind: Kind::Counter,
    labels: &["result"],
};

/// `tenantry_config_problems`
pub(super) static CONFIG_PROBLEMS: Family = Family {
    name: "tenantry_config_problems",
    help: "Problems that the last load of the routes found; above 0 the running table is older than the files",
    kind: Kind::Gauge,
    labels: &[],
};

/// `tenantry_config_quarantined_tenants`
pub(super) static CONFIG_QUARANTINED: Family = Family {
    name: "tenantry_config_quarantined_tenants",
    help: "Tenants of files that are broken: they are served as they were, or answered 503 where they never were good",
    kind: Kind::Gauge,
    labels: &[],
};

/// `tenantry_config_serving_last_good`
pub(super) static CONFIG_SERVING_LAST_GOOD: Family = Family {
    name: "tenantry_config_serving_last_good",
    help: "Whether the table comes from the copy on disk because the files were broken at the start",
    kind: Kind::Gauge,
    labels: &[],
};
