//! What keeps requests that belong together on one endpoint of a pool.

use std::fmt;
use std::time::Duration;

use http::HeaderName;

use super::Secret;

/// A part of a request that a hashing balancer may go by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashBy {
    /// The tenant.
    Tenant,
    /// The path, without the query.
    Path,
    /// The client's address, or its /64 of IPv6.
    ClientAddress,
    /// The first value of this field.
    Header(HeaderName),
    /// The cookie of this name.
    Cookie(Box<str>),
}

impl fmt::Display for HashBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tenant => f.write_str("tenant"),
            Self::Path => f.write_str("path"),
            Self::ClientAddress => f.write_str("client-address"),
            Self::Header(name) => write!(f, "header {name}"),
            Self::Cookie(name) => write!(f, "cookie {name}"),
        }
    }
}

/// A cookie that keeps a client on one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StickySpec {
    /// Its name.
    pub cookie: Box<str>,
    /// What it is signed with: the first signs, and all are good.
    pub keys: Vec<Secret>,
    /// How long clients keep it, from the last time that it was renewed on; `None` = until the browser
    /// is closed.
    pub max_age: Option<Duration>,
    /// For which paths clients send it. Default `/`.
    pub path: Box<str>,
    /// Whether pages of other sites may send it. Default lax.
    pub same_site: SameSite,
    /// Whether it goes over TLS alone; `None` = it does where the request came so.
    pub secure: Option<bool>,
}

/// Whether clients send a cookie with requests that another site's page makes (RFC 6265bis §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    /// Never.
    Strict,
    /// Where a link leads here.
    Lax,
    /// Always; then it must be secure.
    None,
}

impl SameSite {
    /// As in the attribute.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "Strict",
            Self::Lax => "Lax",
            Self::None => "None",
        }
    }
}
