//! The metric families of issuers' keys, as those of [`metrics`](super::metrics).

use super::metrics::{Family, Kind};

/// `tenantry_issuer_keys`
pub(super) static ISSUER_KEYS: Family = Family {
    name: "tenantry_issuer_keys",
    help: "Keys of an issuer that tokens are verified by; at 0 none is accepted",
    kind: Kind::Gauge,
    labels: &["issuer"],
};

/// `tenantry_issuer_keys_timestamp_seconds`
pub(super) static ISSUER_KEYS_AT: Family = Family {
    name: "tenantry_issuer_keys_timestamp_seconds",
    help: "When the keys of an issuer were last fetched or read, in Unix time",
    kind: Kind::Gauge,
    labels: &["issuer"],
};

/// `tenantry_issuer_fetches_total`
pub(super) static ISSUER_FETCHES: Family = Family {
    name: "tenantry_issuer_fetches_total",
    help: "Tries to fetch or read the keys of an issuer, by result",
    kind: Kind::Counter,
    labels: &["issuer", "result"],
};
