//! The words for issuers of signed tokens.

use std::time::Duration;

use http::HeaderName;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::text::{FilePath, Written};

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
    /// folder of this file. Must be there.
    pub(in crate::config) jwks_file: Option<At<Written<FilePath>>>,
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
