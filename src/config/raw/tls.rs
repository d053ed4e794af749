//! The words of a listener's TLS.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::spec::HostSpec;
use crate::config::text::{ClientMode, FilePath, Written};

use super::shape::At;

/// What a listener presents to clients, and what it asks of them.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct ListenerTls {
    /// PEM file of the certificate chain, the leaf first, for clients that ask for no name, or for
    /// one that none of `certificates` has. Default: such clients are refused.
    pub(in crate::config) cert: Option<At<Written<FilePath>>>,
    /// PEM file of its private key. Must be there with `cert`.
    pub(in crate::config) key: Option<At<Written<FilePath>>>,
    /// Whether clients show certificates of their own. Default: they are not asked for any.
    pub(in crate::config) client_certificates: Option<At<ClientCertificates>>,
    /// Certificates for the names that clients ask for (SNI). At least one, where there is no
    /// `cert`. Default: none.
    pub(in crate::config) certificates: Option<At<Vec<At<Certificate>>>>,
}

/// One certificate, for the clients that ask for its names.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct Certificate {
    /// PEM file of the certificate chain, the leaf first. Must be there.
    pub(in crate::config) cert: Option<At<Written<FilePath>>>,
    /// PEM file of its private key. Must be there.
    pub(in crate::config) key: Option<At<Written<FilePath>>>,
    /// The names that it is for, as in `shop.example.com`, or `*.example.com` for one label before
    /// the rest. Default: the DNS names in the certificate.
    pub(in crate::config) hosts: Option<At<Vec<At<Written<HostSpec>>>>>,
    /// Whether clients show certificates of their own. Default: what the listener asks for.
    pub(in crate::config) client_certificates: Option<At<ClientCertificates>>,
}

/// One certificate of a tenant, for those of its domains that it is for.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct TenantCertificate {
    /// PEM file of the certificate chain, the leaf first. Must be there.
    pub(in crate::config) cert: Option<At<Written<FilePath>>>,
    /// PEM file of its private key. Must be there.
    pub(in crate::config) key: Option<At<Written<FilePath>>>,
    /// The names that it is for, each of them within the tenant's `domains`. Default: the DNS names in
    /// the certificate, as far as they are within these.
    pub(in crate::config) hosts: Option<At<Vec<At<Written<HostSpec>>>>>,
}

/// Which certificates clients show.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct ClientCertificates {
    /// `required`: nobody comes in without one; `optional`: who shows one must show a good one;
    /// `off`: nobody is asked. Must be there.
    pub(in crate::config) mode: Option<At<Written<ClientMode>>>,
    /// PEM file of the authorities that clients' certificates come from. Default: those of the
    /// listener.
    pub(in crate::config) authorities: Option<At<Written<FilePath>>>,
}
