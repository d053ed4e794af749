//! OTLP: the messages of `opentelemetry/proto/collector/trace/v1`, as far as they are used. Their
//! numbers are frozen; unknown ones of an answer are passed over.

use std::borrow::Cow;
use std::time::Duration;

use prost::Message;

use super::Service;
use super::span::{Kind, Span, Value};

#[derive(Clone, PartialEq, Message)]
pub(super) struct ExportRequest {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
    #[prost(string, tag = "3")]
    schema_url: String,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeSpans {
    #[prost(message, optional, tag = "1")]
    scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    spans: Vec<WireSpan>,
}

#[derive(Clone, PartialEq, Message)]
struct Scope {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    version: String,
}

#[derive(Clone, PartialEq, Message)]
struct WireSpan {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(string, tag = "3")]
    trace_state: String,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    start_time_unix_nano: u64,
    #[prost(fixed64, tag = "8")]
    end_time_unix_nano: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
    #[prost(message, repeated, tag = "11")]
    events: Vec<Event>,
    #[prost(message, optional, tag = "15")]
    status: Option<Status>,
    #[prost(fixed32, tag = "16")]
    flags: u32,
}

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(fixed64, tag = "1")]
    time_unix_nano: u64,
    #[prost(string, tag = "2")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(string, tag = "2")]
    message: String,
    #[prost(int32, tag = "3")]
    code: i32,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct AnyValue {
    #[prost(oneof = "AnyValueOf", tags = "1, 3")]
    value: Option<AnyValueOf>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum AnyValueOf {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(int64, tag = "3")]
    Number(i64),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ExportResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) partial_success: Option<PartialSuccess>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PartialSuccess {
    #[prost(int64, tag = "1")]
    pub(super) rejected_spans: i64,
    #[prost(string, tag = "2")]
    pub(super) error_message: String,
}

/// The request that exports these spans.
pub(super) fn request(spans: Vec<Span>, service: &Service) -> ExportRequest {
    let text = |key: &str, value: &str| key_value(key.to_owned(), Value::Text(value.to_owned()));
    let attributes = vec![
        text("service.name", &service.name),
        text("service.version", env!("CARGO_PKG_VERSION")),
        text("service.instance.id", &service.instance),
        text("host.name", &service.host),
    ];
    let scope =
        Scope { name: "tenantry".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
    let spans = spans.into_iter().map(wire).collect();
    ExportRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource { attributes }),
            scope_spans: vec![ScopeSpans { scope: Some(scope), spans }],
            schema_url: SCHEMA.to_owned(),
        }],
    }
}

fn wire(span: Span) -> WireSpan {
    let remote = match (span.parent, span.is_entry) {
        (None, _) => 0,
        (Some(_), false) => PARENT_IS_KNOWN,
        (Some(_), true) => PARENT_IS_KNOWN | PARENT_IS_REMOTE,
    };
    let event = |time_unix_nano| Event { time_unix_nano, name: "first byte".to_owned() };
    WireSpan {
        trace_id: span.trace.to_bytes().to_vec(),
        span_id: span.id.to_bytes().to_vec(),
        trace_state: span.state,
        parent_span_id: span.parent.map(|parent| parent.to_bytes().to_vec()).unwrap_or_default(),
        name: span.name.into_owned(),
        kind: match span.kind {
            Kind::Internal => 1,
            Kind::Server => 2,
            Kind::Client => 3,
        },
        start_time_unix_nano: span.start,
        end_time_unix_nano: span.end,
        attributes: span
            .attributes
            .into_iter()
            .map(|(key, value)| key_value(key.to_owned(), value))
            .collect(),
        events: span.answered.map(event).into_iter().collect(),
        status: span.error.map(|error| Status { message: said_by(error), code: ERROR }),
        flags: SAMPLED | remote,
    }
}

/// What a status says besides the attributes: the conventions leave out what is a status of HTTP.
fn said_by(error: Cow<'static, str>) -> String {
    let is_status = error.bytes().all(|byte| byte.is_ascii_digit());
    if is_status { String::new() } else { error.into_owned() }
}

fn key_value(key: String, value: Value) -> KeyValue {
    let value = match value {
        Value::Text(text) => AnyValueOf::Text(text),
        Value::Number(number) => AnyValueOf::Number(number),
    };
    KeyValue { key, value: Some(AnyValue { value: Some(value) }) }
}

/// `google.rpc.Status`: how a failure is told.
#[derive(Clone, PartialEq, Message)]
pub(super) struct RpcStatus {
    #[prost(string, tag = "2")]
    pub(super) message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

#[derive(Clone, PartialEq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

impl RpcStatus {
    /// How long the collector asks to be left alone.
    pub(super) fn retry_delay(&self) -> Option<Duration> {
        let info =
            self.details.iter().find(|any| any.type_url.ends_with("google.rpc.RetryInfo"))?;
        let delay = RetryInfo::decode(&*info.value).ok()?.retry_delay.unwrap_or_default();
        let (seconds, nanos) = (u64::try_from(delay.seconds), u32::try_from(delay.nanos));
        Some(Duration::new(seconds.ok()?, nanos.ok()?.min(999_999_999)))
    }
}

/// The conventions that the attributes follow.
const SCHEMA: &str = "https://opentelemetry.io/schemas/1.44.0";
const ERROR: i32 = 2;
const SAMPLED: u32 = 1;
const PARENT_IS_KNOWN: u32 = 0x100;
const PARENT_IS_REMOTE: u32 = 0x200;
