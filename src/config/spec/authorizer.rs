//! Services that are asked whether a request may go on.

use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue};

use crate::model::ids::PoolId;

/// A service that is asked whether a request may go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizerSpec {
    /// What it is called in the files.
    pub name: Arc<str>,
    /// The pool of the service.
    pub pool: PoolId,
    /// The path that is asked. Default `/`.
    pub path: PathAndQuery,
    /// The `Host` that the service sees; `None` = as its pool has it.
    pub host: Option<HeaderValue>,
    /// How long it may take over a request. Default 500 ms.
    pub timeout: Duration,
    /// How long an answer that lets a request go on is used again. Default: not at all.
    pub cache: Duration,
    /// What tells apart the requests that an answer is used for, besides all that the client shows. Default: all.
    pub cache_key: Vec<AskedPart>,
    /// What becomes of requests while it cannot be asked. Default: they are denied.
    pub on_error: OnError,
    /// Fields of requests that it is told besides `Authorization`.
    pub headers: Vec<HeaderName>,
    /// Fields of its answer that endpoints are told. A client's own are never forwarded.
    pub tell: Vec<HeaderName>,
    /// The field of its answer that says who the client is.
    pub subject: Option<HeaderName>,
    /// The field of its answer that must name the request's tenant.
    pub tenant: Option<HeaderName>,
}

/// What becomes of requests while nobody can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// They go on.
    Allow,
    /// They do not.
    Deny,
}

/// What a service is told of a request besides what its client shows, each in a field of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskedPart {
    /// The method.
    Method,
    /// The path and the query.
    Uri,
    /// The scheme.
    Proto,
    /// The host.
    Host,
    /// The client's address.
    For,
}

impl AskedPart {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Method, Self::Uri, Self::Proto, Self::Host, Self::For];

    /// The field.
    pub fn field(self) -> HeaderName {
        HeaderName::from_static(match self {
            Self::Method => "x-forwarded-method",
            Self::Uri => "x-forwarded-uri",
            Self::Proto => "x-forwarded-proto",
            Self::Host => "x-forwarded-host",
            Self::For => "x-forwarded-for",
        })
    }
}
