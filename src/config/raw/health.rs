//! The words of an active check.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

use crate::config::spec::Protocol;
use crate::config::text::{HostField, Target, Text, Written, Wrong};

use super::pool::UpstreamTls;
use super::shape::{At, OneOrMany, Pairs, Whole};

/// An active check: one of `http`, `grpc` and `tcp`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct Health {
    /// The path that is asked for, as in `/healthz`. Default: none, `grpc` or `tcp` is checked.
    pub(in crate::config) http: Option<Written<Target>>,
    /// Asks the health service of gRPC (`grpc.health.v1`) for this service, as in `"shop.v1.Cart"`, or,
    /// with `true`, for the server as a whole. Always by HTTP/2. Default: none.
    pub(in crate::config) grpc: Option<Grpc>,
    /// `true`: it is enough that a connection opens, and that a TLS handshake succeeds where `tls` is
    /// written here. Default: `false`.
    pub(in crate::config) tcp: Option<bool>,
    /// The method that is asked with. Default: `GET`. Only with `http`.
    pub(in crate::config) method: Option<At<Written<Method>>>,
    /// The `Host` that is sent. Default: the address that is asked, `localhost` for a Unix
    /// socket. Not with `tcp`.
    pub(in crate::config) host: Option<Written<HostField>>,
    /// Fields that are sent, as in `{ Authorization = "Bearer ${CHECK_TOKEN}" }`. Default: none. Not with
    /// `tcp`.
    pub(in crate::config) headers: Option<Pairs<HeaderName, Written<HeaderValue>>>,
    /// Statuses that pass, as in `200`, `"200-299"` or `["200-299", 304]`, within 100 to 599.
    /// Default: `"200-399"`.
    /// Only with `http`.
    pub(in crate::config) status: Option<OneOrMany<StatusRange>>,
    /// Text that the first 64 KiB of the body must contain. Default: any body passes. Only with
    /// `http`.
    pub(in crate::config) body: Option<String>,
    /// What is spoken: `h1` or `h2` (without TLS by prior knowledge). Default: the pool's. Only with
    /// `http`.
    pub(in crate::config) protocol: Option<Written<Protocol>>,
    /// The port that is asked instead of each endpoint's own, from 1 to 65535. Such a connection begins
    /// with no PROXY protocol header. Default: the endpoint's.
    pub(in crate::config) port: Option<At<Whole<1, 65_535>>>,
    /// Whether the check speaks TLS: `false`, `true` (as the pool does, where that speaks TLS), or a table
    /// of how, which stands in the place of the pool's. Default: as the pool; `false` with `tcp`.
    pub(in crate::config) tls: Option<At<UpstreamTls>>,
    /// Time between two checks of an endpoint, above 0, spread by 20 % either way. Default: `5s`.
    pub(in crate::config) interval: Option<At<Written<Duration>>>,
    /// Time from one check to the next while a check or traffic has seen the endpoint fail, or a check has found one well
    /// that is down; above 0 and no longer than `interval`. Default: a tenth of the interval, at least `100ms`, or the interval where that is shorter.
    pub(in crate::config) fast_interval: Option<At<Written<Duration>>>,
    /// How long a check may take, above 0 and no longer than `interval`. Default: `1s`, or the
    /// interval where that is shorter.
    pub(in crate::config) timeout: Option<At<Written<Duration>>>,
    /// Passes in a row that bring an endpoint up, from 1 to 100; `healthy` is another name of it.
    /// Default: 2.
    #[serde(alias = "healthy")]
    pub(in crate::config) rise: Option<Whole<1, 100>>,
    /// Failures in a row that take an endpoint down, from 1 to 100; `unhealthy` is another name of
    /// it. Default: 3.
    #[serde(alias = "unhealthy")]
    pub(in crate::config) fall: Option<Whole<1, 100>>,
}

/// What the health service of gRPC is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) enum Grpc {
    /// It is not asked.
    No,
    /// The service of this name; an empty one is the server as a whole.
    Service(String),
}

impl<'de> Deserialize<'de> for Grpc {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(GrpcVisitor)
    }
}

struct GrpcVisitor;

impl Visitor<'_> for GrpcVisitor {
    type Value = Grpc;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a service, or true for the server as a whole")
    }

    fn visit_str<E: Error>(self, service: &str) -> Result<Grpc, E> {
        Ok(Grpc::Service(service.to_owned()))
    }

    fn visit_bool<E: Error>(self, whole: bool) -> Result<Grpc, E> {
        Ok(if whole { Grpc::Service(String::new()) } else { Grpc::No })
    }
}

impl JsonSchema for Grpc {
    fn schema_name() -> Cow<'static, str> {
        "Grpc".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "anyOf": [{ "type": "boolean" }, { "type": "string" }] })
    }
}

/// Statuses from one to another, both included.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct StatusRange(pub(in crate::config) (u16, u16));

impl Text for StatusRange {
    const EXPECTED: &'static str = "a status or a range, as in 200 or \"200-299\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        match (from.trim().parse(), to.trim().parse()) {
            (Ok(from), Ok(to)) if 100 <= from && from <= to && to <= 599 => Ok(Self((from, to))),
            _ => Err(Wrong::new(
                format!("{text:?} is not a range of statuses"),
                "write 200 or \"200-299\", from 100 to 599",
            )),
        }
    }
}

impl<'de> Deserialize<'de> for StatusRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StatusVisitor)
    }
}

struct StatusVisitor;

impl Visitor<'_> for StatusVisitor {
    type Value = StatusRange;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(StatusRange::EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<StatusRange, E> {
        StatusRange::read(text).map_err(Wrong::into_error)
    }

    fn visit_i64<E: Error>(self, status: i64) -> Result<StatusRange, E> {
        StatusRange::read(&status.to_string()).map_err(Wrong::into_error)
    }
}

impl JsonSchema for StatusRange {
    fn schema_name() -> Cow<'static, str> {
        "StatusRange".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "type": ["integer", "string"] })
    }
}
