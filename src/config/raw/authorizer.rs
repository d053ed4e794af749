//! The words for services that are asked whether a request may go on.

use std::time::Duration;

use http::HeaderName;
use http::uri::PathAndQuery;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::spec::{AskedPart, OnError};
use crate::config::text::{HostField, Written};

use super::shape::{At, Pairs};

/// Services that are asked, by their names.
pub(in crate::config) type Authorizers = Pairs<String, At<Authorizer>>;

/// A service that is asked for each request of a tenant with `authorize` whether it may go on. 2xx lets it, 5xx says nothing,
/// and anything else is the client's answer.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct Authorizer {
    /// The pool of the service. Must be there.
    pub(in crate::config) pool: Option<At<String>>,
    /// The path that is asked, with a query if wished. Default: `/`.
    pub(in crate::config) path: Option<Written<PathAndQuery>>,
    /// The `Host` that the service sees. Default: the name that its certificate must carry, else the DNS name that the pool's
    /// endpoints are found by, else the endpoint's address.
    pub(in crate::config) host: Option<Written<HostField>>,
    /// How long it may take over a request, above 0. Where a second endpoint could be asked, the first has half of it.
    /// Default: `500ms`.
    pub(in crate::config) timeout: Option<At<Written<Duration>>>,
    /// How long an answer that lets a request go on is used for others like it, no longer than `1h`; its `Cache-Control`
    /// may say less. Default: `0s`, each is asked for.
    pub(in crate::config) cache: Option<At<Written<Duration>>>,
    /// What of the question, besides all that the client shows, tells apart the requests that an answer is used for: of `method`, `uri`,
    /// `proto`, `host` and `for`. Only beside `cache`. Default: all of it.
    pub(in crate::config) cache_key: Option<At<Vec<At<Written<AskedPart>>>>>,
    /// What becomes of requests while it cannot be asked, or answers 5xx: `deny` (503) or `allow`. Default: `deny`.
    pub(in crate::config) on_error: Option<Written<OnError>>,
    /// Header fields of requests that it is told besides `Authorization`, as in `["Cookie"]`. Default: none.
    pub(in crate::config) headers: Option<Vec<At<Written<HeaderName>>>>,
    /// Header fields of its answer that endpoints are told, as in `["X-User"]`. A client's own are never forwarded,
    /// whichever tenant it is for. Default: none.
    pub(in crate::config) tell: Option<Vec<At<Written<HeaderName>>>>,
    /// The header field of its answer that says who the client is. Default: none.
    pub(in crate::config) subject: Option<Written<HeaderName>>,
    /// The header field of its answer that must name the tenant of the request; another one, or none, is answered 403.
    /// Default: none.
    pub(in crate::config) tenant: Option<Written<HeaderName>>,
}
