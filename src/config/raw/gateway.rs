//! The words of `gateway.toml`.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use http::HeaderName;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

use crate::base::network::Peers;
use crate::base::role::Role;
use crate::base::units::{ByteSize, Percent, Rate};
use crate::config::spec::{AccessLogFormat, ChainField, FileMode, LogFormat};
use crate::config::text::{
    AccessOutput, AdminAddress, DnsServer, FilePath, Filter, StateFolder, Written, ZoneName,
};
use crate::model::address::Address;

use super::replay::ReplayFiles;
use super::shape::{At, Pairs, Whole, table_alone};
use super::shared_limits::SharedLimits;
use super::tls::ListenerTls;
use super::tracing::Tracing;
use super::usage::Usage;

/// `gateway.toml`: what Tenantry reads when it starts; its listeners are followed while it runs.
/// Relative paths start at the folder of this file.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct Gateway {
    /// Where clients connect. Default: one listener at `0.0.0.0:8080`, without TLS.
    pub(in crate::config) listeners: Option<At<Vec<At<Listener>>>>,
    /// The operators' API: health, metrics, reload, drains. Without a `token-file` or client
    /// certificates it serves whoever reaches it: keep it off public networks then.
    pub(in crate::config) admin: Option<Admin>,
    /// The routes file, or a folder of `*.toml` files. Default: `routes.toml`.
    pub(in crate::config) routes: Option<Written<FilePath>>,
    /// The folder that keeps the last good routes over a restart, or `"off"` (a folder of that name is
    /// `"./off"`). Default: `state`.
    pub(in crate::config) state: Option<At<Written<StateFolder>>>,
    /// Networks of the proxies in front of all listeners, as in `["10.0.0.0/8"]`, or a table: they
    /// are believed when they say whom a request is for. Default: nobody is.
    pub(in crate::config) trusted_proxies: Option<At<TrustedProxies>>,
    /// Worker threads, from 1 to 1024. Default: one for each core.
    pub(in crate::config) workers: Option<Whole<1, 1024>>,
    /// A file with the tokens, one a line, of those who may ask what became of a request of theirs
    /// (`X-Tenantry-Debug`). It is read again when it changes. Default: none, nobody may.
    pub(in crate::config) debug_token_file: Option<At<Written<FilePath>>>,
    /// The zone that this gateway stands in, as in `eu-1a`: endpoints that say the same come first.
    /// Default: none, zones do not matter.
    pub(in crate::config) zone: Option<Written<ZoneName>>,
    /// How names are resolved.
    #[serde(default, deserialize_with = "dns")]
    pub(in crate::config) dns: Option<Dns>,
    /// The gateway's own log, on standard error.
    pub(in crate::config) log: Option<Log>,
    /// One line for each request.
    pub(in crate::config) access_log: Option<AccessLog>,
    /// What is measured.
    pub(in crate::config) metrics: Option<Metrics>,
    /// Spans of requests, and where they go. Default: there are none, and what requests say of
    /// traces is passed on as it is.
    pub(in crate::config) tracing: Option<At<Tracing>>,
    /// What tenants have used, in files to bill by. Default: none are written.
    pub(in crate::config) usage: Option<At<Usage>>,
    /// Files for what of requests' bodies is kept for a retry beyond memory. Default: there are none.
    pub(in crate::config) replay_files: Option<At<ReplayFiles>>,
    /// Where limits with `scope = "shared"` are counted for all gateways together. Default: nowhere, each gateway
    /// counts by itself.
    pub(in crate::config) shared_limits: Option<At<SharedLimits>>,
    /// What a client may take.
    pub(in crate::config) downstream: Option<Downstream>,
    /// What all clients and endpoints together may take of the memory.
    pub(in crate::config) memory: Option<Memory>,
    /// How the process ends after SIGTERM or SIGINT.
    pub(in crate::config) drain: Option<Drain>,
}

/// One address that accepts connections.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct Listener {
    /// Address and port, as in `0.0.0.0:8080`, or `[::]:8080` for IPv4 and IPv6; port 0 takes a
    /// free one. Or a Unix socket, as in `unix:/run/tenantry/http.sock`. Must be there.
    pub(in crate::config) address: Option<At<Written<Address>>>,
    /// The mode of a Unix socket's file: who may write to it may connect. Default: `0660`.
    pub(in crate::config) mode: Option<At<Written<FileMode>>>,
    /// With it, the listener speaks TLS. Default: it does not.
    pub(in crate::config) tls: Option<At<ListenerTls>>,
    /// Connections at once on this listener, from 1 to 10000000. Default: what `downstream` allows.
    pub(in crate::config) max_connections: Option<Whole<1, 10_000_000>>,
    /// With it, every connection must begin with a PROXY protocol header (version 1 or 2), which
    /// names the client. Default: no header is read.
    pub(in crate::config) proxy_protocol: Option<At<ProxyProtocol>>,
    /// Proxies in front of this listener, in place of the `trusted-proxies` of all; `[]` = none.
    /// Default: those of all.
    pub(in crate::config) trusted_proxies: Option<At<TrustedProxies>>,
}

/// Who may say for whom it connects.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct ProxyProtocol {
    /// Networks of the load balancers in front, as in `10.0.0.0/8`, or `unix` for all who connect
    /// over a Unix socket; everybody else is refused.
    /// Must be there.
    pub(in crate::config) from: Option<At<Vec<Written<Peers>>>>,
}

/// Proxies that are believed when they say whom a request is for.
#[derive(Debug, Default)]
pub(in crate::config) struct TrustedProxies {
    /// Their networks; `None` = not written.
    pub(in crate::config) from: Option<Vec<Written<Peers>>>,
    /// How they say it.
    pub(in crate::config) field: Option<Written<ChainField>>,
}

/// Proxies, and how they say whom a request is for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct TrustedProxiesTable {
    /// Networks of the proxies, as in `10.0.0.0/8`, or `unix` for all who connect over a Unix
    /// socket; none = nobody is believed. Must be there.
    from: Option<Vec<Written<Peers>>>,
    /// The field that they add to: `x-forwarded-for`, with `X-Forwarded-Proto`, `-Host` and `-Port`
    /// beside it, or `forwarded`. The others are not believed. Default: `x-forwarded-for`.
    field: Option<Written<ChainField>>,
}

impl<'de> Deserialize<'de> for TrustedProxies {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TrustedProxiesVisitor)
    }
}

struct TrustedProxiesVisitor;

impl<'de> Visitor<'de> for TrustedProxiesVisitor {
    type Value = TrustedProxies;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("networks, as in [\"10.0.0.0/8\"], or a table as in { from = […] }")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<TrustedProxies, A::Error> {
        let from = Vec::deserialize(SeqAccessDeserializer::new(seq))?;
        Ok(TrustedProxies { from: Some(from), field: None })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TrustedProxies, A::Error> {
        let table = TrustedProxiesTable::deserialize(MapAccessDeserializer::new(map))?;
        Ok(TrustedProxies { from: table.from, field: table.field })
    }
}

impl JsonSchema for TrustedProxies {
    fn schema_name() -> Cow<'static, str> {
        "TrustedProxies".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = generator.subschema_for::<TrustedProxiesTable>();
        let list = schemars::json_schema!({ "type": "array", "items": { "type": "string" } });
        schemars::json_schema!({ "anyOf": [list, table] })
    }
}

/// The operators' API.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct Admin {
    /// Address and port, or `"off"`. Default: `127.0.0.1:9900`.
    pub(in crate::config) address: Option<At<Written<AdminAddress>>>,
    /// File of the tokens that let somebody in, one a line; read again when it changes. Probes
    /// (`/healthz`, `/readyz`) need none. Default: nobody is asked for a token.
    pub(in crate::config) token_file: Option<At<Written<FilePath>>>,
    /// With it, it speaks TLS, as a listener does. Where `client-certificates` are `optional`, one
    /// of them is as good as a token; where they are `required`, a token is asked for besides.
    pub(in crate::config) tls: Option<At<ListenerTls>>,
    /// The file that a line of JSON is appended to for each change that somebody asks for, and for each generation
    /// that goes live. Default: none, the gateway's own log alone tells of changes.
    pub(in crate::config) audit_log: Option<At<Written<FilePath>>>,
    /// Whether `/metrics` is there for who shows neither token nor certificate. Default: `false`.
    pub(in crate::config) public_metrics: Option<bool>,
    /// Roles by names of client certificates (a URI, a DNS name or the common name): `admin`, `operator`, `viewer` or
    /// `tenant:ID`. Certificates of other names let nobody in then. Default: none, a certificate of the authorities is an
    /// admin's.
    pub(in crate::config) certificates: Option<Pairs<String, Written<Role>>>,
    /// Keys of a tenant that its own token (`tenant:ID`) may change, as in `["routes", "cors.origins"]`; with a key
    /// all that is below it. A tenant or its plan may say others (`tenant-keys` there). Default: none, it may only look.
    pub(in crate::config) tenant_keys: Option<Vec<At<String>>>,
    /// How many changes each token or certificate of a tenant (`tenant:ID`) may ask for, those that only tell what
    /// would be and those that are refused included.
    pub(in crate::config) tenant_changes: Option<TenantChanges>,
}

/// How many changes a tenant may ask for by itself.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct TenantChanges {
    /// Changes in a second, a minute or an hour, as in `"10/m"`. Default: `10/m`.
    pub(in crate::config) requests: Option<Written<Rate>>,
    /// How many of them may come at once after a pause, from 1 to 10000. Default: 20.
    pub(in crate::config) burst: Option<Whole<1, 10_000>>,
}

/// How names are resolved.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct Dns {
    /// Servers to ask, as in `10.0.0.2` or `10.0.0.2:53`. Default: those of the system.
    pub(in crate::config) servers: Option<Vec<Written<DnsServer>>>,
    /// How long one server may take to answer, above 0. Default: `2s`.
    pub(in crate::config) timeout: Option<At<Written<Duration>>>,
}

/// In the routes, the key of the same name takes an array; here it would be read as the servers.
fn dns<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Dns>, D::Error> {
    table_alone(deserializer, "a table, as in { servers = [\"10.0.0.2\"] }").map(Some)
}

/// The gateway's own log.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct Log {
    /// What is logged: `error`, `warn`, `info`, `debug` or `trace`, also by part of the program as
    /// in `warn,tenantry::control=debug`. Default: `info`.
    pub(in crate::config) filter: Option<Written<Filter>>,
    /// `text` for people or `json` for machines. Default: `text`.
    pub(in crate::config) format: Option<Written<LogFormat>>,
}

/// The access log.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct AccessLog {
    /// `off` or `stdout`. Default: `stdout`, unless there is a `file`.
    pub(in crate::config) output: Option<At<Written<AccessOutput>>>,
    /// The file that lines are appended to, in place of `output`. Default: none.
    pub(in crate::config) file: Option<At<Written<FilePath>>>,
    /// How a line looks: `json`, `combined` (as nginx and Apache write it), or a text with
    /// placeholders as in `{time} {tenant} {status} {duration}`. Default: `json`.
    pub(in crate::config) format: Option<Written<AccessLogFormat>>,
    /// Whether requests that failed (a 5xx, or an answer of the gateway to a problem) leave a line
    /// whatever the sample. Default: `true`.
    pub(in crate::config) errors: Option<bool>,
    /// What is shown as `***`.
    pub(in crate::config) mask: Option<Mask>,
    /// The share of requests that leave a line, from `0%` to `100%`. Default: `100%`.
    pub(in crate::config) sample: Option<Written<Percent>>,
    /// Lines that may wait for the writer, from 1 to 1048576; more are dropped and counted.
    /// Default: 8192.
    pub(in crate::config) queue: Option<Whole<1, 1_048_576>>,
}

/// Names whose values are secrets: they are shown as `***`, in logs and in what the admin API tells of tenants.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct Mask {
    /// Query parameters, in any case; `-` and `_` are the same. Default: none besides `defaults`.
    pub(in crate::config) query: Option<Vec<String>>,
    /// Headers. Default: none besides `defaults`.
    pub(in crate::config) headers: Option<Vec<Written<HeaderName>>>,
    /// Whether the usual names (`token`, `password`, `Authorization` and so on) are masked besides.
    /// Default: `true`.
    pub(in crate::config) defaults: Option<bool>,
}

/// What is measured.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct Metrics {
    /// Tenants that have series of their own, from 0 to 1000000: the busiest. The rest is summed under
    /// `_other`. Default: 1000.
    pub(in crate::config) tenants: Option<Whole<0, 1_000_000>>,
}

/// What a client may take.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct Downstream {
    /// Longest time from the first byte of a request to the end of its head, above 0.
    /// Default: `10s`.
    pub(in crate::config) header_timeout: Option<At<Written<Duration>>>,
    /// How long a connection may wait for its next request, above 0. Default: `75s`.
    pub(in crate::config) idle_timeout: Option<At<Written<Duration>>>,
    /// Longest silence within a request's body, and longest time in which a client takes nothing of
    /// its answer, above 0. A stalled HTTP/2 stream ends after ten times as long, if `total` does not
    /// end it first. Default: `30s`.
    pub(in crate::config) body_timeout: Option<At<Written<Duration>>>,
    /// Longest silence of both sides of an upgraded connection (a WebSocket), above 0.
    /// Default: `5m`.
    pub(in crate::config) tunnel_timeout: Option<At<Written<Duration>>>,
    /// Bytes of a request's body that a client must send in each second of the time in which it is
    /// waited for, over `body-rate-window`; else it is answered 408. `0B` = any. Default: `500B`.
    pub(in crate::config) min_body_rate: Option<Written<ByteSize>>,
    /// The time over which `min-body-rate` is measured, above 0. Default: `30s`.
    pub(in crate::config) body_rate_window: Option<At<Written<Duration>>>,
    /// How long a TLS handshake may take, waiting for its turn included, above 0. Default: `5s`.
    pub(in crate::config) handshake_timeout: Option<At<Written<Duration>>>,
    /// TLS handshakes at once over all listeners, from 1 to 1000000, each worker having its
    /// share; more wait for their turn within `handshake-timeout`, and those that keep it waiting for
    /// 2.5 s give up theirs. Default: 4096.
    pub(in crate::config) max_handshakes: Option<Whole<1, 1_000_000>>,
    /// How old a connection may get before its client is asked to leave: HTTP/1 with its next answer
    /// (`Connection: close`), HTTP/2 at once (`GOAWAY`). What is under way ends in peace. `0s` = any
    /// age. Default: `1h`.
    pub(in crate::config) max_connection_age: Option<Written<Duration>>,
    /// Requests that one connection serves, from 1 to 1000000000. Default: 10000.
    pub(in crate::config) max_requests: Option<Whole<1, 1_000_000_000>>,
    /// Size of a request's head, from `1KiB` to `1MiB`. Default: `32KiB`.
    pub(in crate::config) max_header_size: Option<At<Written<ByteSize>>>,
    /// Length of a request's target, which is its path and query, from `128B` to `63KiB`. It is a part of the head,
    /// so that `max-header-size` is met first where that is less. Default: half of `max-header-size`, at most `63KiB`.
    pub(in crate::config) max_target_size: Option<At<Written<ByteSize>>>,
    /// Fields of a request's head, from 1 to 4096. Default: 128.
    pub(in crate::config) max_headers: Option<Whole<1, 4096>>,
    /// Size of a request's body, from `1B`. Default: `10MiB`.
    pub(in crate::config) max_body: Option<At<Written<ByteSize>>>,
    /// Concurrent HTTP/2 streams of one connection, from 1 to 10000. Default: 100.
    pub(in crate::config) max_streams: Option<Whole<1, 10_000>>,
    /// Connections at once over all listeners and workers, from 1 to 10000000; at most three
    /// quarters of the open files. Default: 100000.
    pub(in crate::config) max_connections: Option<Whole<1, 10_000_000>>,
    /// Connections at once of one client address (of one /64 of IPv6), from 1 to 10000000.
    /// Default: 25000.
    pub(in crate::config) max_connections_per_client: Option<Whole<1, 10_000_000>>,
}

/// What all clients and endpoints together may take of the memory.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct Memory {
    /// Connections, requests under way and the bodies that wait in the process, from `1MiB`. Beyond
    /// it reads get smaller, bodies are not kept for retries, idle connections go, and new requests
    /// are answered 503. Default: a quarter of what the process may use: of the
    /// machine's memory, or of its cgroup's where that is less.
    pub(in crate::config) buffers: Option<At<Written<ByteSize>>>,
    /// What one client address (one /64 of IPv6) may hold of `buffers`, from `256KiB`; `0B` = all, as behind a load
    /// balancer that names no clients. From half of it on its bodies are not kept for retries and its answers go part
    /// by part; from three quarters on its new connections are refused, and beyond it its new requests are answered
    /// 503. It does not hold for `trusted-proxies` and Unix sockets. Default: three eighths of `buffers`.
    pub(in crate::config) buffers_per_client: Option<At<Written<ByteSize>>>,
    /// What clients have taken of `limits.client` of all tenants and routes, 8 B each, from `64KiB` to `1GiB`; as
    /// much again for subjects, of `limits.subject`. It counts in `buffers` as it is used. Default: `8MiB`, a million
    /// clients.
    pub(in crate::config) client_limits: Option<At<Written<ByteSize>>>,
}

/// How the process ends.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct Drain {
    /// How long connections are still accepted after the signal; `0s` = not at all.
    /// Default: `1s`.
    pub(in crate::config) accept: Option<Written<Duration>>,
    /// How long requests in flight may take to finish; `0s` = not at all. Default: `30s`.
    pub(in crate::config) timeout: Option<Written<Duration>>,
}
