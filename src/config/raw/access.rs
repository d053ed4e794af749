//! The words for who may come to a tenant.

use http::HeaderName;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::spec::CredentialKind;
use crate::config::text::{Expiry, Subject, Written};
use crate::model::key::KeyDigest;

use super::authorizer::Authorizers;
use super::issuer::Issuers;
use super::shape::{At, Pairs};

/// How clients show who they are, and how endpoints hear of it: the same for all tenants.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct Identity {
    /// The header in which clients may show API keys, besides `Authorization: Bearer`. Default: `X-API-Key`.
    pub(in crate::config) key_header: Option<At<Written<HeaderName>>>,
    /// The header that tells endpoints who a client is, as in `X-Subject`. A client's own is never forwarded,
    /// nor what looks like it. Default: none, endpoints are not told.
    pub(in crate::config) subject_header: Option<At<Written<HeaderName>>>,
    /// Whether endpoints get the API keys that clients show, too. Default: `false`.
    pub(in crate::config) forward_keys: Option<bool>,
    /// Issuers of signed tokens, by names of your choice. Default: none.
    pub(in crate::config) issuers: Option<Issuers>,
    /// Services that tenants have asked whether a request may go on, by names of your choice. Default: none.
    pub(in crate::config) authorizers: Option<Authorizers>,
}

/// API keys by their names.
pub(in crate::config) type Keys = Pairs<String, At<ApiKey>>;

/// An API key, as `tenantry key` makes them.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct ApiKey {
    /// The digest of the key, as `tenantry key` prints it: `sha256:` and 64 hexadecimal digits. Must be
    /// there.
    pub(in crate::config) hash: Option<At<Written<KeyDigest>>>,
    /// Who shows it, for logs and endpoints: 1 to 128 characters. Default: the name of the key.
    pub(in crate::config) subject: Option<Written<Subject>>,
    /// From when on it is not valid any more, in UTC, as in `2027-01-31` or `2027-01-31T12:00:00Z`.
    /// Default: it is always valid.
    pub(in crate::config) expires: Option<Written<Expiry>>,
}

/// Kinds of credentials.
pub(in crate::config) type Kinds = At<Vec<At<Written<CredentialKind>>>>;
