//! Issuers of signed tokens.

use std::time::Duration;

use http::HeaderName;

use crate::model::ids::TenantId;
use crate::model::jwk::Jwk;

/// An issuer of signed tokens, and what its tokens tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerSpec {
    /// What its tokens have in `iss`.
    pub issuer: Box<str>,
    /// Of these one must be in `aud`; never empty.
    pub audience: Vec<Box<str>>,
    /// What it signs with; never empty.
    pub keys: Vec<Jwk>,
    /// The tenants that it may speak for; `None`: all.
    pub tenants: Option<Vec<TenantId>>,
    /// The claim that names the tenant. Default `tenant`.
    pub tenant_claim: Box<str>,
    /// The claim that names who shows it. Default `sub`.
    pub subject_claim: Box<str>,
    /// By how much clocks may differ. Default 30 s.
    pub leeway: Duration,
    /// Headers by which endpoints are told of claims. A client's own are never forwarded.
    pub headers: Vec<(HeaderName, Box<str>)>,
    /// Whether endpoints get the token, too. Default: no.
    pub forward: bool,
}
