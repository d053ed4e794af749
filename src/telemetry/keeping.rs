//! The metric families of what the API keeps, as those of [`metrics`](super::metrics).

use super::metrics::{Family, Kind};

/// `tenantry_stored_tenants`
pub static STORED_TENANTS: Family = Family {
    name: "tenantry_stored_tenants",
    help: "Tenants that the API keeps, by whether they are served",
    kind: Kind::Gauge,
    labels: &["state"],
};

/// `tenantry_store_damaged`
pub static STORE_DAMAGED: Family = Family {
    name: "tenantry_store_damaged",
    help: "1 while the file of the tenants that the API keeps was found damaged and put aside at the start",
    kind: Kind::Gauge,
    labels: &[],
};

/// `tenantry_tenant_changes_total`
pub static TENANT_CHANGES: Family = Family {
    name: "tenantry_tenant_changes_total",
    help: "Changes of tenants that the API was asked for, by what became of them",
    kind: Kind::Counter,
    labels: &["result"],
};
