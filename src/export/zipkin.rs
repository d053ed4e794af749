//! Zipkin v2: a JSON array of spans.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

use super::Service;
use super::span::{Kind, Span, Value};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ZipkinSpan<'s> {
    trace_id: String,
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    name: &'s str,
    /// Microseconds since 1970.
    timestamp: u64,
    /// Microseconds; 0 would be none.
    duration: u64,
    local_endpoint: Endpoint<'s>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_endpoint: Option<Endpoint<'s>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    annotations: Vec<Annotation>,
    tags: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    debug: Option<bool>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint<'s> {
    #[serde(skip_serializing_if = "Option::is_none")]
    service_name: Option<&'s str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv4: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv6: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
}

#[derive(Debug, Serialize)]
struct Annotation {
    timestamp: u64,
    value: &'static str,
}

/// The body that exports these spans.
pub(super) fn body(spans: &[Span], service: &Service) -> Vec<u8> {
    let spans: Vec<ZipkinSpan<'_>> = spans.iter().map(|span| zipkin(span, service)).collect();
    serde_json::to_vec(&spans).unwrap_or_default() // cannot fail: text and numbers alone
}

fn zipkin<'s>(span: &'s Span, service: &'s Service) -> ZipkinSpan<'s> {
    let mut tags: BTreeMap<&'static str, String> = span
        .attributes
        .iter()
        .map(|(key, value)| match value {
            Value::Text(text) => (*key, text.clone()),
            Value::Number(number) => (*key, number.to_string()),
        })
        .collect();
    if let Some(error) = &span.error {
        tags.insert("error", error.to_string()); // by this tag Zipkin shows a span in red
        tags.insert("otel.status_code", "ERROR".to_owned());
    }
    let answered = span.answered.map(|at| Annotation { timestamp: at / 1000, value: "first byte" });
    ZipkinSpan {
        trace_id: match span.narrow {
            true => format!("{:016x}", span.trace.low()),
            false => span.trace.to_string(),
        },
        id: span.id.to_string(),
        parent_id: span.parent.map(|parent| parent.to_string()),
        kind: match span.kind {
            Kind::Server => Some("SERVER"),
            Kind::Client => Some("CLIENT"),
            Kind::Internal => None,
        },
        name: &span.name,
        timestamp: span.start / 1000,
        duration: ((span.end - span.start) / 1000).max(1),
        local_endpoint: Endpoint {
            service_name: Some(&service.name),
            ipv4: None,
            ipv6: None,
            port: None,
        },
        remote_endpoint: span.remote.map(endpoint),
        annotations: answered.into_iter().collect(),
        tags,
        debug: span.is_debug.then_some(true),
    }
}

fn endpoint<'s>(at: SocketAddr) -> Endpoint<'s> {
    let (ipv4, ipv6) = match at.ip() {
        IpAddr::V4(address) => (Some(address.to_string()), None),
        IpAddr::V6(address) => (None, Some(address.to_string())),
    };
    let port = Some(at.port()).filter(|port| *port > 0);
    Endpoint { service_name: None, ipv4, ipv6, port }
}
