//! Issuers of signed tokens.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use crate::model::ids::TenantId;
use crate::model::jwk::KeySet;

use super::pool::UpstreamTlsSpec;

/// An issuer of signed tokens, and what its tokens tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerSpec {
    /// What it is called in the files.
    pub name: Arc<str>,
    /// What its tokens have in `iss`.
    pub issuer: Box<str>,
    /// Of these one must be in `aud`; never empty.
    pub audience: Vec<Box<str>>,
    /// What it signs with.
    pub keys: KeysSpec,
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

/// Where the keys of an issuer come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeysSpec {
    /// From a file, which was read with the routes.
    File {
        /// The file.
        path: PathBuf,
        /// What it said when it was last good. Empty only where that is not known.
        set: KeySet,
        /// What is wrong with it now.
        fault: Option<Arc<str>>,
    },
    /// From the issuer itself.
    Url(Arc<FetchSpec>),
}

impl KeysSpec {
    /// The file that they come from.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File { path, .. } => Some(path),
            Self::Url(_) => None,
        }
    }

    /// Where they come from, for people: no secret that the query of a URL may have in it.
    pub fn place(&self) -> String {
        match self {
            Self::File { path, .. } => path.display().to_string(),
            Self::Url(fetch) => {
                let scheme = if fetch.tls.is_some() { "https" } else { "http" };
                let path = fetch.path.split('?').next().unwrap_or_default();
                format!("{scheme}://{}{path}", fetch.authority)
            }
        }
    }
}

/// How the keys of an issuer are fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchSpec {
    /// The host: a name, or an address (one of IPv6 without brackets).
    pub host: String,
    /// The port.
    pub port: u16,
    /// Host and port as they are written.
    pub authority: String,
    /// The path with the query.
    pub path: String,
    /// How TLS is spoken; `None` = it is not.
    pub tls: Option<UpstreamTlsSpec>,
    /// How long one try may take. Default 5 s.
    pub timeout: Duration,
    /// The shortest time until keys are fetched again; at least 1 s. Default 1 min.
    pub min_refresh: Duration,
    /// The longest; never shorter than that. Default 1 h.
    pub max_refresh: Duration,
    /// How long keys are used that cannot be fetched again; never shorter than `max_refresh`. Default 24 h.
    pub stale: Duration,
}
