//! The meaning of `[tracing]`.

use std::time::Duration;

use http::{HeaderName, HeaderValue};

use crate::base::units::Percent;

use super::UpstreamTlsSpec;

/// Spans, and where they go.
#[derive(Clone, Debug, PartialEq)]
pub struct TracingSpec {
    /// How they are sent.
    pub exporter: ExporterKind,
    /// Where to.
    pub collector: CollectorSpec,
    /// The share of requests whose spans are kept, where nobody has decided before. Default 100 %.
    pub sample: Percent,
    /// What a client's word counts. Default: all of it.
    pub incoming: IncomingTrust,
    /// How endpoints are told of a trace that begins here. Default `traceparent`.
    pub start: ContextFormat,
    /// The name under which spans are shown. Default `tenantry`.
    pub service_name: String,
    /// Traces that may wait to be sent; more are dropped and counted. Default 4096.
    pub queue: usize,
    /// Spans that are sent at once. Default 512.
    pub batch: usize,
    /// How often they are sent. Default 1 s.
    pub interval: Duration,
}

/// Where spans are sent.
#[derive(Clone, Debug, PartialEq)]
pub struct CollectorSpec {
    /// The host: a name, or an address (one of IPv6 without brackets).
    pub host: String,
    /// The port.
    pub port: u16,
    /// Host and port as they are written.
    pub authority: String,
    /// The path with the query; `/` for gRPC.
    pub path: String,
    /// How TLS is spoken; `None` = it is not.
    pub tls: Option<UpstreamTlsSpec>,
    /// Fields that go along, such as a token.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// How long a request may take. Default 10 s.
    pub timeout: Duration,
}

/// How spans are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExporterKind {
    /// OTLP as protobuf over HTTP/1.1.
    OtlpHttp,
    /// OTLP over gRPC.
    OtlpGrpc,
    /// Zipkin v2, as JSON.
    Zipkin,
}

/// What a client's word of its trace counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IncomingTrust {
    /// Its trace goes on, and what it decided holds.
    Follow,
    /// Its trace goes on; whether it is kept is drawn here.
    Join,
    /// Nothing: a trace begins here.
    Ignore,
}

/// How a trace is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContextFormat {
    /// `traceparent`.
    W3c,
    /// `b3`.
    B3,
    /// `X-B3-TraceId` and its fellows.
    B3Multi,
}
