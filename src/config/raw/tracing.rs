//! The words of `[tracing]`.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::base::units::Percent;
use crate::config::spec::{ContextFormat, ExporterKind, IncomingTrust};
use crate::config::text::{CollectorUrl, Written};

use super::pool::UpstreamTls;
use super::shape::{At, Pairs, Whole};

/// Spans of requests, and where they go.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct Tracing {
    /// How spans are sent: `otlp-http`, `otlp-grpc` or `zipkin`. Must be there.
    pub(in crate::config) exporter: Option<Written<ExporterKind>>,
    /// The collector, as in `http://127.0.0.1:4318`; without a path, the usual one is meant. Default:
    /// this machine, at the usual port.
    pub(in crate::config) url: Option<At<Written<CollectorUrl>>>,
    /// How TLS is spoken to a collector at `https://`.
    pub(in crate::config) tls: Option<At<UpstreamTls>>,
    /// Headers that are sent along, such as a token: `{ Authorization = "Bearer ${TOKEN}" }`.
    pub(in crate::config) headers: Option<Pairs<HeaderName, Written<HeaderValue>>>,
    /// The share of requests whose spans are kept where nobody has decided before, from `0%` to
    /// `100%`; a tenant may have its own. Default: `100%`.
    pub(in crate::config) sample: Option<Written<Percent>>,
    /// What a request's own `traceparent` or B3 headers count. `follow`: its trace goes on, and it
    /// decides whether spans are kept; `join`: its trace goes on, and `sample` decides; `ignore`: a
    /// trace begins here. Default: `follow`.
    pub(in crate::config) incoming: Option<Written<IncomingTrust>>,
    /// How endpoints are told of a trace that begins here: `w3c` (`traceparent`), `b3` or `b3-multi`
    /// (`X-B3-TraceId` and so on). One that goes on is told as it came. Default: `w3c`.
    pub(in crate::config) start: Option<Written<ContextFormat>>,
    /// The name under which spans are shown. Default: `tenantry`.
    pub(in crate::config) service_name: Option<At<String>>,
    /// Traces that may wait to be sent, from 1 to 1048576; more are dropped and counted.
    /// Default: 4096.
    pub(in crate::config) queue: Option<Whole<1, 1_048_576>>,
    /// Spans that are sent at once, from 1 to 2048. Default: 512.
    pub(in crate::config) batch: Option<Whole<1, 2048>>,
    /// How often spans are sent, above 0. Default: `1s`.
    pub(in crate::config) interval: Option<At<Written<Duration>>>,
    /// How long the collector may take over a request, above 0. Default: `10s`.
    pub(in crate::config) timeout: Option<At<Written<Duration>>>,
}

/// Which of a tenant's requests leave spans.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct TenantTracing {
    /// The share of its requests whose spans are kept, from `0%` to `100%`, in place of the
    /// gateway's.
    pub(in crate::config) sample: Option<Written<Percent>>,
}
