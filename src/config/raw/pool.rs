//! The words of a pool.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use http::{HeaderName, Method};
use rustls::pki_types::ServerName;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use crate::base::units::{ByteSize, Percent};
use crate::config::spec::{Protocol, ProxyVersion, RetryOn};
use crate::config::text::{DnsName, FilePath, HedgeAfter, ListFile, SrvName, Written};

use super::adaptive::Concurrency;
use super::affinity::{HashKeys, Sticky};
use super::breaker::Breaker;
use super::health::Health;
use super::outliers::{Latency, SuccessRate, Switch};
use super::shape::{At, Decimal, OneOrMany, Whole};
use super::spread::{Endpoint, SlowStart, Zones};
use super::waiting::Wait;

/// A set of endpoints that serve the same thing. At least one of `endpoints`, `dns`, `srv` and
/// `file` tells where they are; several add up.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct Pool {
    /// Endpoints by address, as in `"10.0.0.1:8080"`, `"unix:/run/app.sock"` or
    /// `{ address = "10.0.0.1:8080", weight = 2 }`. Default: none.
    pub(in crate::config) endpoints: Option<At<Vec<At<Endpoint>>>>,
    /// A DNS name with a port, as in `"app.internal:8080"`, or several. Its A and AAAA records are
    /// asked for again when their TTL (1 s to 60 s) is over. Default: none.
    pub(in crate::config) dns: Option<OneOrMany<Written<DnsName>>>,
    /// The name of SRV records, as in `"_http._tcp.app.internal"`, or several.
    /// Default: none.
    pub(in crate::config) srv: Option<OneOrMany<Written<SrvName>>>,
    /// A watched list of endpoints, or several: `*.json` as Prometheus' `file_sd` writes it, or
    /// `*.toml`. Relative paths start at the folder of this file. Default: none.
    pub(in crate::config) file: Option<OneOrMany<Written<ListFile>>>,
    /// How an endpoint is picked: `least-request`, `peak-ewma`, `round-robin`, `random`, `ring-hash` or
    /// `maglev`. Default: `least-request`.
    pub(in crate::config) balance: Option<At<String>>,
    /// What `ring-hash` and `maglev` go by: `tenant`, `path`, `client-address`, `{ header = "X-User" }`,
    /// `{ cookie = "session" }`, or an array of up to 8, of which the first that a request has is taken. One
    /// that has none goes to who has fewer requests in flight. Must be there with these two. Default: none.
    pub(in crate::config) hash: Option<At<HashKeys>>,
    /// A cookie that keeps each client on one endpoint. Default: none.
    pub(in crate::config) sticky: Option<At<Sticky>>,
    /// What is spoken to the endpoints: `h1` or `h2` (without TLS by prior knowledge).
    /// Default: `h1`.
    pub(in crate::config) protocol: Option<Written<Protocol>>,
    /// Speaks TLS to the endpoints: `true`, or a table of how. Default: `false`.
    pub(in crate::config) tls: Option<UpstreamTls>,
    /// Begins each connection with a PROXY protocol header that names the client: `v1` or `v2`. Such
    /// a connection serves one request; not with `h2`. Default: no header.
    pub(in crate::config) proxy_protocol: Option<At<Written<ProxyVersion>>>,
    /// Active checks. Default: none, traffic alone judges.
    pub(in crate::config) health: Option<At<Health>>,
    /// Ejection of an endpoint that fails requests.
    pub(in crate::config) eject: Option<Eject>,
    /// Refuses requests at once while too many fail. Default: none, each request is tried.
    pub(in crate::config) breaker: Option<Breaker>,
    /// When fewer than this share of the endpoints are healthy, all are used; from `0%` to `100%`.
    /// Default: `50%`.
    pub(in crate::config) panic_below: Option<Written<Percent>>,
    /// Has requests wait while no endpoint is healthy: for so long, as in `"5s"`, or a table of how. Default: none
    /// waits.
    pub(in crate::config) wait: Option<At<Wait>>,
    /// How endpoints come to their share that join while the pool is in use, or recover. Default: at
    /// once.
    pub(in crate::config) slow_start: Option<SlowStart>,
    /// What the healthy endpoints of a priority can bear, as a multiple of their part of all, from 1 to
    /// 1000: the next priority gets what is beyond. Default: 1.4.
    pub(in crate::config) overprovisioning: Option<Decimal<100, 100_000>>,
    /// How the gateway's own zone comes first.
    pub(in crate::config) zones: Option<At<Zones>>,
    /// Endpoints that each tenant has of each priority, from 1 to 1000, so that few tenants share them
    /// with one that does harm. Default: all tenants have all.
    pub(in crate::config) shard: Option<At<Whole<1, 1000>>>,
    /// Connections that are kept open.
    pub(in crate::config) connections: Option<Connections>,
    /// Deadlines of requests to this pool; a route may set its own.
    pub(in crate::config) timeouts: Option<Timeouts>,
    /// The header that tells endpoints how many milliseconds are left for a request, as in
    /// `"X-Request-Timeout"`; what a client says by it shortens its request. Default: none, calls of gRPC
    /// alone are told, by `grpc-timeout`.
    pub(in crate::config) deadline_header: Option<At<Written<HeaderName>>>,
    /// Which failures are tried again, and how often; a route may set its own.
    pub(in crate::config) retry: Option<Retry>,
    /// Requests that the pool has at once, over all workers, from 1 to 1000000; who comes beyond waits in
    /// a queue of its tenant. `"adaptive"`, or a table of how: the number follows how long requests take.
    /// `"unlimited"`: any number, come what may. Default: any number, and a bound while the pool is overrun.
    pub(in crate::config) concurrency: Option<Concurrency>,
    /// How requests wait where `concurrency` is reached, or the bound of a pool that is overrun.
    pub(in crate::config) queue: Option<At<Queue>>,
}

/// How requests wait for a pool.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct Queue {
    /// Requests of one tenant that may wait at once, from 0 (none waits) to 100000; what comes beyond is
    /// answered 503. Default: 50.
    pub(in crate::config) length: Option<Whole<0, 100_000>>,
    /// How long a request may wait, above 0; one that waits longer is answered 503. Default: `1s`.
    pub(in crate::config) wait: Option<At<Written<Duration>>>,
}

/// TLS to the endpoints; certificates are always verified.
#[derive(Debug, Default)]
pub(in crate::config) struct UpstreamTls {
    /// Whether TLS is spoken.
    pub(in crate::config) on: bool,
    /// PEM file of the authorities.
    pub(in crate::config) ca: Option<At<Written<FilePath>>>,
    /// PEM file of the certificate that is shown.
    pub(in crate::config) cert: Option<At<Written<FilePath>>>,
    /// PEM file of its key.
    pub(in crate::config) key: Option<At<Written<FilePath>>>,
    /// The name in the certificate.
    pub(in crate::config) server_name: Option<ServerName<'static>>,
}

/// How TLS is spoken to the endpoints.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct UpstreamTlsTable {
    /// PEM file of the authorities that are trusted. Default: those of the system. Relative paths
    /// start at the folder of this file.
    ca: Option<At<Written<FilePath>>>,
    /// PEM file of the certificate chain, the leaf first, that endpoints are shown when they ask for
    /// one. Default: none is shown.
    cert: Option<At<Written<FilePath>>>,
    /// PEM file of its private key. Must be there with `cert`.
    key: Option<At<Written<FilePath>>>,
    /// The name that is asked for (SNI) and that the certificate must carry; needed where a pool mixes
    /// names, or names and addresses, and for Unix sockets. Default: the one DNS name that the
    /// endpoints are found by, or the address of each.
    server_name: Option<Written<ServerName<'static>>>,
}

impl UpstreamTls {
    /// Whether nothing but `true` or `false` is said.
    pub(in crate::config) fn says_nothing(&self) -> bool {
        let Self { on: _, ca, cert, key, server_name } = self;
        ca.is_none() && cert.is_none() && key.is_none() && server_name.is_none()
    }
}

impl<'de> Deserialize<'de> for UpstreamTls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UpstreamTlsVisitor)
    }
}

struct UpstreamTlsVisitor;

impl<'de> Visitor<'de> for UpstreamTlsVisitor {
    type Value = UpstreamTls;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true, or a table as in { ca = \"ca.pem\" }")
    }

    fn visit_bool<E: Error>(self, on: bool) -> Result<UpstreamTls, E> {
        Ok(UpstreamTls { on, ..UpstreamTls::default() })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<UpstreamTls, A::Error> {
        let table = UpstreamTlsTable::deserialize(MapAccessDeserializer::new(map))?;
        let server_name = table.server_name.map(|name| name.0);
        Ok(UpstreamTls { on: true, ca: table.ca, cert: table.cert, key: table.key, server_name })
    }
}

impl JsonSchema for UpstreamTls {
    fn schema_name() -> Cow<'static, str> {
        "UpstreamTls".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = generator.subschema_for::<UpstreamTlsTable>();
        schemars::json_schema!({ "anyOf": [{ "type": "boolean" }, table] })
    }
}

/// Ejection of an endpoint by what traffic sees.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct Eject {
    /// Connect failures, resets and 5xx answers in a row that eject, from 0 (never) to 10000.
    /// Default: 5.
    pub(in crate::config) failures: Option<Whole<0, 10_000>>,
    /// Length of the first ejection, above 0; the n-th lasts n times as long. Default: `10s`.
    pub(in crate::config) base: Option<At<Written<Duration>>>,
    /// Longest ejection, no shorter than `base`. Default: `300s`, or `base` where that is longer.
    pub(in crate::config) max: Option<At<Written<Duration>>>,
    /// The largest share of the pool that may be ejected at once, from `0%` to `100%`; one of
    /// several endpoints always may. Default: `30%`.
    pub(in crate::config) share: Option<Written<Percent>>,
    /// Successes, one request at a time, that are asked of an endpoint after an ejection before it gets all of its
    /// traffic, from 0 (none) to 1000. Default: 3.
    pub(in crate::config) trials: Option<Whole<0, 1000>>,
    /// How often the endpoints are compared with each other, from `1s` on. Default: `10s`.
    pub(in crate::config) interval: Option<At<Written<Duration>>>,
    /// Ejects an endpoint that fails more of its requests than the others: `true`, `false` or a table of when.
    /// Default: `true`, or `false` where `failures` is 0.
    pub(in crate::config) success_rate: Option<Switch<SuccessRate>>,
    /// Ejects an endpoint that is slower than the others: `true`, `false` or a table of when.
    /// Default: `false`.
    pub(in crate::config) latency: Option<Switch<Latency>>,
}

/// Connections that are kept open to each endpoint.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct Connections {
    /// Idle connections kept to one endpoint, from 0 to 65535, over all workers. Default: 256.
    pub(in crate::config) idle: Option<Whole<0, 65_535>>,
    /// How long a connection may be idle, above 0. Stay below what the endpoint allows.
    /// Default: `30s`.
    pub(in crate::config) idle_timeout: Option<At<Written<Duration>>>,
    /// How old a connection may get, above 0. Default: `10m`.
    pub(in crate::config) max_age: Option<At<Written<Duration>>>,
    /// With `true`, no connection carries requests of two tenants, and `idle` is of each tenant. Default: `false`.
    pub(in crate::config) per_tenant: Option<bool>,
}

/// Deadlines. What is not written is taken from the pool, then from what is built in.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct Timeouts {
    /// To open a connection, above 0. Built in: `1s`.
    pub(in crate::config) connect: Option<At<Written<Duration>>>,
    /// For the TLS handshake, above 0. Built in: `2s`.
    pub(in crate::config) tls: Option<At<Written<Duration>>>,
    /// For one attempt up to the head of its answer, above 0; starts anew with each part of the
    /// request's body that the endpoint takes, so that a long upload which moves on is bounded by
    /// `total` alone. Built in: half of `total`.
    pub(in crate::config) attempt: Option<At<Written<Duration>>>,
    /// From the end of the request to the head of the answer, above 0. Built in: none but
    /// `attempt`.
    pub(in crate::config) first_byte: Option<At<Written<Duration>>>,
    /// Longest silence within an answer, above 0. Built in: `30s`.
    pub(in crate::config) idle: Option<At<Written<Duration>>>,
    /// From the head of the request to the end of the answer; `0s` = no such deadline.
    /// Built in: `30s`.
    pub(in crate::config) total: Option<Written<Duration>>,
}

/// Retry rules. What is not written is taken from the pool, then from what is built in.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct Retry {
    /// Tries in all, the first included, from 1 (no retry) to 10. Built in: 3.
    pub(in crate::config) attempts: Option<Whole<1, 10>>,
    /// What is retried: `connect`, `reset`, `timeout`, statuses as in `"503"`, and statuses of gRPC as in
    /// `"grpc-unavailable"`. Built in: `connect`, `reset`, `timeout`, `502`, `503`, `504`.
    pub(in crate::config) on: Option<Vec<Written<RetryOn>>>,
    /// Retries as a share of requests, from `0%` to `100%`, beside `budget-floor`. Built in: `20%`.
    pub(in crate::config) budget: Option<Written<Percent>>,
    /// Retries a second that are always allowed, from 0 to 100000. Built in: 10.
    pub(in crate::config) budget_floor: Option<Whole<0, 100_000>>,
    /// First back-off, doubled each time and drawn from between 0 and itself; `0s` = none. The first retry waits for
    /// none where it goes to an endpoint that has not failed of late. Built in: `25ms`.
    pub(in crate::config) backoff: Option<Written<Duration>>,
    /// Longest back-off, no shorter than `backoff`. Built in: `250ms`.
    pub(in crate::config) max_backoff: Option<At<Written<Duration>>>,
    /// The longest `Retry-After` of an endpoint that is waited for; where it asks for more, its answer is
    /// passed on. `0s` = none is. Built in: `2s`.
    pub(in crate::config) max_retry_after: Option<Written<Duration>>,
    /// The part of a request's body that is kept for a retry, up to `1GiB`; a longer body is
    /// not retried. No more than `16MiB` of it are kept in memory: `[replay-files]` of `gateway.toml` says where
    /// the rest goes. Built in: `64KiB`.
    pub(in crate::config) replay: Option<At<Written<ByteSize>>>,
    /// Sends a second attempt to another endpoint where the first takes longer than most. Built in: none
    /// is sent.
    pub(in crate::config) hedge: Option<At<Hedge>>,
}

/// A second attempt beside a slow one. The first answer is the client's.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct Hedge {
    /// How slow it must be: slower than this share of the first attempts of late, from `p50` to `p99`, or
    /// `"off"`. Default: `p95`.
    pub(in crate::config) after: Option<Written<HedgeAfter>>,
    /// A second attempt is never sent earlier than this. Default: `10ms`.
    pub(in crate::config) floor: Option<Written<Duration>>,
    /// Methods of requests that may be under way twice at once, as in `["GET", "PUT"]`; calls of gRPC are
    /// `POST`. Default: `["GET", "HEAD", "OPTIONS"]`.
    pub(in crate::config) methods: Option<At<Vec<Written<Method>>>>,
}
