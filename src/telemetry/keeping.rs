//! The metric families of the admin API and of what it keeps, as those of [`metrics`](super::metrics).

use super::metrics::{Family, Kind};

/// `tenantry_stored_tenants`
pub static STORED_TENANTS: Family = Family {
    name: "tenantry_stored_tenants",
    help: "Tenants that the API keeps, by whether they are served",
    kind: Kind::Gauge,
    labels: &["state"],
};

/// `tenantry_tenants_above_plan`
pub static ABOVE_PLAN: Family = Family {
    name: "tenantry_tenants_above_plan",
    help: "Tenants that the API keeps with numbers of their own that their plans do not go as far as",
    kind: Kind::Gauge,
    labels: &[],
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

/// `tenantry_admin_refused_total`
pub static ADMIN_REFUSED: Family = Family {
    name: "tenantry_admin_refused_total",
    help: "Requests that the admin API did not let in, by why",
    kind: Kind::Counter,
    labels: &["reason"],
};

/// `tenantry_audit_log_lost_total`
pub static AUDIT_LOG_LOST: Family = Family {
    name: "tenantry_audit_log_lost_total",
    help: "Lines of the audit log that were not written, by why",
    kind: Kind::Counter,
    labels: &["why"],
};
