//! The words of a route.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

use crate::base::fair::Class;
use crate::config::spec::{HostSpec, PathSpec, RouteState};
use crate::config::text::{HostField, Location, Prefix, Replacement, RequestId, Text, Written};

use super::answers::Maintenance;
use super::canary::Canary;
use super::limits::Limits;
use super::mirror::Mirror;
use super::pool::{Retry, Timeouts};
use super::shape::{At, Pairs, Whole, text_or_table};

/// One route: conditions, and what to do with a request that meets all of them. The most specific
/// route wins. At most one of `pool`, `split`, `redirect` and `respond` is written; without any of
/// them the request goes to the tenant's pool.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct Route {
    /// Its name in logs and metrics, at most 128 bytes. Default: the path.
    pub(in crate::config) name: Option<At<String>>,
    /// `active`, or `maintenance`: every request that it takes is answered 503. Default: `active`.
    pub(in crate::config) state: Option<Written<RouteState>>,
    /// What is answered while `state` is `maintenance`.
    pub(in crate::config) maintenance: Option<Maintenance>,
    /// Which paths: `/a/b` is exactly that, `/a/*` is `/a` and all below it, `/users/{id}/*rest`
    /// has a segment that may be anything. Default: `/*`, every path.
    pub(in crate::config) path: Option<At<Written<PathSpec>>>,
    /// Which host, without a port: `shop.example.com`, or `*.example.com` for all below it.
    /// Default: any.
    pub(in crate::config) host: Option<Written<HostSpec>>,
    /// Which methods, as in `["GET", "HEAD"]`. Default: any.
    pub(in crate::config) methods: Option<At<Vec<Written<Method>>>>,
    /// Which headers: a value that must be there exactly, or `true` for any value. Default: any.
    pub(in crate::config) headers: Option<Pairs<HeaderName, Value>>,
    /// Which query parameters: a value that must be there exactly, or `true` for any value.
    /// Default: any.
    pub(in crate::config) query: Option<Pairs<String, Value>>,
    /// Forwards to this pool. Default: the tenant's.
    pub(in crate::config) pool: Option<At<String>>,
    /// Forwards to one of several pools.
    pub(in crate::config) split: Option<At<Split>>,
    /// Answers with another location.
    pub(in crate::config) redirect: Option<At<Redirect>>,
    /// Answers with a fixed response.
    pub(in crate::config) respond: Option<At<Respond>>,
    /// Whether a service is asked for its requests, where the tenant has `authorize`; `false` for a page to log in at, as in
    /// `/oauth2/*`. Default: `true`.
    pub(in crate::config) authorize: Option<bool>,
    /// What may be asked of it, of each tenant by itself, within the tenant's own limits. Default:
    /// anything.
    pub(in crate::config) limits: Option<At<Limits>>,
    /// How its requests wait for a pool that has reached its `concurrency`.
    pub(in crate::config) queue: Option<At<RouteQueue>>,
    /// Changes path and host before the request is forwarded.
    pub(in crate::config) rewrite: Option<At<Rewrite>>,
    /// Changes the head of the request before it is forwarded.
    pub(in crate::config) request_headers: Option<HeaderEdits>,
    /// Changes the head of the answer, also of one that the route itself gives.
    pub(in crate::config) response_headers: Option<HeaderEdits>,
    /// Short for `timeouts = { total = … }`; `0s` = no such deadline. Default: the pool's.
    pub(in crate::config) timeout: Option<At<Written<Duration>>>,
    /// Deadlines, in place of the pool's.
    pub(in crate::config) timeouts: Option<Timeouts>,
    /// Retry rules, in place of the pool's.
    pub(in crate::config) retry: Option<Retry>,
    /// Sends copies of its requests to another pool. Default: to none.
    pub(in crate::config) mirror: Option<At<Mirror>>,
}

/// How the requests of a route wait for a pool that has reached its `concurrency`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct RouteQueue {
    /// `critical`: before the others; `normal`; or `batch`: after them. Not before what the tenant (or its
    /// plan) says, which is `normal` where that says nothing. Default: the tenant's.
    pub(in crate::config) priority: Option<Written<Class>>,
}

/// A condition on a value.
#[derive(Clone, Debug)]
pub(in crate::config) enum Value {
    /// It is there.
    Present,
    /// It is this.
    Is(String),
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl Visitor<'_> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the value as text, or true where any value will do")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Is(text.to_owned()))
    }

    fn visit_bool<E: Error>(self, present: bool) -> Result<Value, E> {
        match present {
            true => Ok(Value::Present),
            false => Err(E::invalid_value(serde::de::Unexpected::Bool(present), &self)),
        }
    }
}

impl JsonSchema for Value {
    fn schema_name() -> Cow<'static, str> {
        "Value".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "anyOf": [{ "type": "string" }, { "const": true }] })
    }
}

/// A weighted split over pools.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct Split {
    /// Pools and their weights from 0 to 1000000, as in `{ stable = 95, canary = 5 }`; at least
    /// one is above 0. Must be there.
    pub(in crate::config) pools: Option<Pairs<String, Whole<0, 1_000_000>>>,
    /// What decides: `"request-id"`, or `{ header = "X-User" }` so that equal values go to the
    /// same pool. Default: `"request-id"`.
    pub(in crate::config) by: Option<At<SplitBy>>,
    /// The pool among them that is tried: who gets it besides its share, and when it is taken back. Default: none is.
    pub(in crate::config) canary: Option<At<Canary>>,
}

/// What decides a split.
#[derive(Clone, Debug)]
pub(in crate::config) enum SplitBy {
    /// The request id.
    RequestId,
    /// A header; `None` = its name is not written.
    Header(Option<HeaderName>),
}

/// A header decides a split.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct SplitByTable {
    /// The header; a request without it is decided by its request id. Must be there.
    header: Option<Written<HeaderName>>,
}

impl<'de> Deserialize<'de> for SplitBy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text_or_table(
            deserializer,
            RequestId::EXPECTED,
            |table: SplitByTable| Self::Header(table.header.map(|header| header.0)),
            |RequestId| Self::RequestId,
        )
    }
}

impl JsonSchema for SplitBy {
    fn schema_name() -> Cow<'static, str> {
        "SplitBy".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = generator.subschema_for::<SplitByTable>();
        schemars::json_schema!({ "anyOf": [RequestId::schema(), table] })
    }
}

/// A redirect.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct Redirect {
    /// The location, a path or URL; `{scheme}`, `{host}`, `{path}`, `{query}` (with its `?`) and `{tenant}` stand
    /// for the request's. Must be there.
    pub(in crate::config) to: Option<Written<Location>>,
    /// The status. Default: 308.
    #[schemars(extend("enum" = [301, 302, 303, 307, 308]))]
    pub(in crate::config) status: Option<At<Whole<300, 399>>>,
}

/// A fixed response.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct Respond {
    /// The status, from 200 to 599. Default: 200.
    pub(in crate::config) status: Option<Whole<200, 599>>,
    /// The type of the body. Default: `text/plain; charset=utf-8`.
    pub(in crate::config) content_type: Option<At<Written<HeaderValue>>>,
    /// The body. Default: empty.
    pub(in crate::config) body: Option<String>,
}

/// Changes of path and host.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct Rewrite {
    /// A path prefix to take off, as in `/api`. Default: none.
    pub(in crate::config) strip: Option<At<Written<Prefix>>>,
    /// A path prefix to replace by `with`, up to the border of a segment; not beside `strip`.
    /// Default: none.
    pub(in crate::config) prefix: Option<At<Written<Prefix>>>,
    /// What stands in the place of `prefix`; `/` takes it off. Must be there with `prefix`.
    pub(in crate::config) with: Option<At<Written<Replacement>>>,
    /// The `Host` that the endpoint sees. Default: the client's.
    pub(in crate::config) host: Option<Written<HostField>>,
}

/// Changes of a head, in the order `remove`, `set`, `add`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct HeaderEdits {
    /// Fields to take away. Default: none.
    pub(in crate::config) remove: Option<Vec<At<Written<HeaderName>>>>,
    /// Fields to replace. Default: none.
    pub(in crate::config) set: Option<Pairs<HeaderName, Written<HeaderValue>>>,
    /// Fields to add beside those that are there. Default: none.
    pub(in crate::config) add: Option<Pairs<HeaderName, Written<HeaderValue>>>,
}
