//! A line as a JSON object.

use std::net::IpAddr;
use std::time::Duration;

use http::Version;
use serde::Serialize;

use crate::telemetry::record::Record;

use super::mask::Mask;

/// One line, in the order in which it is read.
#[derive(Debug, Serialize)]
struct LineBody<'a> {
    time: String,
    request_id: &'a str,
    /// `null` where the client has no address, as on a Unix socket.
    client: Option<IpAddr>,
    method: &'a str,
    host: Option<&'a str>,
    path: Option<&'a str>,
    query: Option<&'a str>,
    version: &'static str,
    tenant: Option<&'a str>,
    /// Only where it is proven.
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    route: Option<&'a str>,
    pool: Option<&'a str>,
    endpoint: Option<&'a str>,
    attempts: u32,
    /// Only where it waited.
    #[serde(skip_serializing_if = "Option::is_none")]
    queue_ms: Option<f64>,
    /// `null` where the client left before an answer.
    status: Option<u16>,
    problem: Option<&'a str>,
    ending: &'static str,
    duration_ms: f64,
    first_byte_ms: Option<f64>,
    bytes_in: u64,
    bytes_out: u64,
    user_agent: Option<&'a str>,
    /// Only where there is tracing.
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    span_id: Option<String>,
}

/// Appends the line of a record.
pub(super) fn write(record: &Record, mask: &Mask, bytes: &mut Vec<u8>) {
    let request_id = String::from_utf8_lossy(record.request_id.as_bytes());
    let line = record.line.as_deref();
    let target = line.map(|line| mask.target(&line.target));
    let (path, query) = match target.as_deref().map(|target| (target, target.split_once('?'))) {
        Some((_, Some((path, query)))) => (Some(path), Some(query)),
        Some((path, None)) => (Some(path), None),
        None => (None, None),
    };
    let body = LineBody {
        time: humantime::format_rfc3339_millis(record.began()).to_string(),
        request_id: &request_id,
        client: record.client,
        method: record.method.as_str(),
        host: line.map(|line| line.host.as_str()),
        path,
        query,
        version: version(record.version),
        tenant: record.tenant.as_ref().and_then(|tenant| tenant.name.as_deref()),
        subject: record.caller.as_ref().and_then(|caller| caller.subject()),
        route: record.route.as_deref(),
        pool: record.pool.as_ref().and_then(|pool| pool.name.as_deref()),
        endpoint: record.endpoint.as_deref(),
        attempts: record.attempts,
        queue_ms: record.queued.as_deref().copied().map(milliseconds),
        status: (record.status > 0).then_some(record.status),
        problem: record.problem,
        ending: record.ending.as_str(),
        duration_ms: milliseconds(record.duration),
        first_byte_ms: record.to_first_byte().map(milliseconds),
        bytes_in: record.bytes_in,
        bytes_out: record.bytes_out,
        user_agent: line.map(|line| line.agent.as_str()),
        trace_id: record.trace.as_ref().map(|trace| trace.id.to_string()),
        span_id: record.trace.as_ref().map(|trace| trace.span.to_string()),
    };
    let start = bytes.len();
    match serde_json::to_writer(&mut *bytes, &body) {
        Ok(()) => bytes.push(b'\n'),
        Err(_) => bytes.truncate(start), // cannot happen: text and numbers alone
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_3 => "HTTP/3",
        _ => "HTTP/1.1",
    }
}
