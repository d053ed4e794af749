//! The words for issuers of signed tokens.

use std::time::Duration;

use http::HeaderName;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::text::{FilePath, KeysUrl, Written};

use super::pool::UpstreamTls;
use super::shape::{At, Pairs};

/// Issuers by their names.
pub(in crate::config) type Issuers = Pairs<String, At<Issuer>>;

/// An issuer of signed tokens (JWT): `RS256`, `ES256` and `EdDSA`, as each key says.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct Issuer {
    /// What its tokens have in `iss`, as in `https://login.example.com`. Must be there.
    pub(in crate::config) issuer: Option<At<String>>,
    /// Of these one must be in the `aud` of a token. Must be there.
    pub(in crate::config) audience: Option<At<Vec<String>>>,
    /// The file of its public keys, a JSON Web Key Set. It is read again when it changes. Relative paths start at the
    /// folder of this file. Default: there is a `jwks-url`.
    pub(in crate::config) jwks_file: Option<At<Written<FilePath>>>,
    /// Where it publishes its public keys, a JSON Web Key Set, as in `https://login.example.com/jwks.json`. They are
    /// fetched again and again. `http://` only from this machine. Default: there is a `jwks-file`.
    pub(in crate::config) jwks_url: Option<At<Written<KeysUrl>>>,
    /// How the keys of `jwks-url` are fetched.
    pub(in crate::config) fetch: Option<At<Fetch>>,
    /// The tenants that it may speak for: a customer's own login is for that customer alone. Default: all.
    pub(in crate::config) tenants: Option<Vec<At<String>>>,
    /// The claim that names the tenant. Default: `tenant`.
    pub(in crate::config) tenant_claim: Option<String>,
    /// The claim that names who shows the token. Default: `sub`.
    pub(in crate::config) subject_claim: Option<String>,
    /// By how much clocks may differ, no longer than `5m`. Default: `30s`.
    pub(in crate::config) leeway: Option<At<Written<Duration>>>,
    /// Headers by which endpoints are told of claims, as in `{ X-Email = "email" }`. A client's own are never
    /// forwarded, whichever tenant it is for. Default: none.
    pub(in crate::config) headers: Option<Pairs<HeaderName, String>>,
    /// Whether endpoints get the token, too. Default: `false`.
    pub(in crate::config) forward_token: Option<bool>,
}

/// How an issuer's keys are fetched.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct Fetch {
    /// Whom to trust, and what to show, at `https://`.
    pub(in crate::config) tls: Option<At<UpstreamTls>>,
    /// How long one try may take, above 0. Default: `5s`.
    pub(in crate::config) timeout: Option<At<Written<Duration>>>,
    /// The shortest time until keys are fetched again that have come, no shorter than `1s`. Between this and
    /// `max-refresh` the issuer's `Cache-Control: max-age` settles it; without one it is 15 minutes. Default: `1m`.
    pub(in crate::config) min_refresh: Option<At<Written<Duration>>>,
    /// The longest such time. Default: `1h`.
    pub(in crate::config) max_refresh: Option<At<Written<Duration>>>,
    /// How long the last keys that have come are used while no others come, no shorter than `max-refresh`. Default: `24h`.
    pub(in crate::config) stale: Option<At<Written<Duration>>>,
}
