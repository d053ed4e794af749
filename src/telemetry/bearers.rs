//! Metric families of certificates of tenants' own. None has a label of a tenant: there may be tens of thousands.

use super::metrics::{Family, Kind};

/// `tenantry_tenant_certificates`
pub(super) static TENANT_CERTIFICATES: Family = Family {
    name: "tenantry_tenant_certificates",
    help: "Certificates of tenants' own that are in use",
    kind: Kind::Gauge,
    labels: &[],
};

/// `tenantry_tenant_certificates_expired`
pub(super) static TENANT_CERTIFICATES_EXPIRED: Family = Family {
    name: "tenantry_tenant_certificates_expired",
    help: "Certificates of tenants' own that are in use and have ended",
    kind: Kind::Gauge,
    labels: &[],
};

/// `tenantry_tenant_certificate_expiry_timestamp_seconds`
pub(super) static TENANT_CERTIFICATE_EXPIRY: Family = Family {
    name: "tenantry_tenant_certificate_expiry_timestamp_seconds",
    help: "When the next certificate of a tenant's own ends of those that have not, in Unix time",
    kind: Kind::Gauge,
    labels: &[],
};

/// `tenantry_tenant_certificate_reloads_total`
pub(super) static TENANT_CERTIFICATE_RELOADS: Family = Family {
    name: "tenantry_tenant_certificate_reloads_total",
    help: "Readings of new or changed certificates of tenants' own, by result",
    kind: Kind::Counter,
    labels: &["result"],
};

/// `tenantry_tenant_certificate_problems`
pub(super) static TENANT_CERTIFICATE_PROBLEMS: Family = Family {
    name: "tenantry_tenant_certificate_problems",
    help: "Problems with files of tenants' certificates; above 0 what is in use of these tenants is older than their files, or missing",
    kind: Kind::Gauge,
    labels: &[],
};
