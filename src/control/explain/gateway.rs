//! What `gateway.toml` says that holds for the requests of all tenants: sizes, times, and what is kept
//! of each. It is what the process runs with, whatever the file says by now.

use crate::config::Files;
use crate::config::places::{Places, Steps, names};
use crate::config::spec::{
    AccessLogFormat, AccessLogOutput, AccessLogSpec, ContextFormat, DownstreamSpec, ExporterKind,
    GatewaySpec, IncomingTrust, SharedLimitsSpec, TracingSpec,
};

use super::settings::{BUILT_IN, Setting, span};

/// What holds for all requests, and where it is said. `file` is what the spec was read from; where
/// nobody knows it, no place is told.
pub fn of_gateway(spec: &GatewaySpec, file: Option<&Files>) -> Vec<Setting> {
    let rows = [
        downstream(&spec.downstream),
        vec![
            ("memory.buffers", spec.memory.buffers.map_or("a quarter".to_owned(), text)),
            ("memory.buffers-per-client", per_client(spec)),
            ("memory.client-limits", text(spec.memory.client_limits)),
        ],
        access_log(&spec.access_log),
        spec.shared_limits.as_deref().map_or_else(Vec::new, shared_limits),
        spec.tracing.as_ref().map_or_else(|| vec![("tracing", "off".to_owned())], tracing),
    ];
    let rows = rows.concat();
    let wanted: Vec<Steps> = rows.iter().map(|(key, _)| steps(key)).collect();
    let places = match file {
        Some(file) => Places::of(file).find(file, &wanted),
        None => vec![None; wanted.len()],
    };
    let setting = |((key, value), place): ((&str, String), Option<String>)| {
        let set_by = if place.is_some() || file.is_none() { GATEWAY } else { BUILT_IN };
        Setting { key: key.to_owned(), value, set_by: set_by.to_owned(), place }
    };
    rows.into_iter().zip(places).map(setting).collect()
}

type Row = (&'static str, String);

fn per_client(spec: &GatewaySpec) -> String {
    match spec.memory.buffers_per_client {
        None => "three eighths".to_owned(),
        Some(size) if size.0 == 0 => "all".to_owned(),
        Some(size) => text(size),
    }
}

fn steps(key: &str) -> Steps {
    names(&key.split('.').collect::<Vec<_>>())
}

fn downstream(spec: &DownstreamSpec) -> Vec<Row> {
    vec![
        ("downstream.header-timeout", span(spec.header_timeout)),
        ("downstream.idle-timeout", span(spec.idle_timeout)),
        ("downstream.body-timeout", span(spec.body_timeout)),
        ("downstream.tunnel-timeout", span(spec.tunnel_timeout)),
        ("downstream.min-body-rate", text(spec.min_body_rate)),
        ("downstream.body-rate-window", span(spec.body_rate_window)),
        ("downstream.handshake-timeout", span(spec.handshake_timeout)),
        ("downstream.max-handshakes", text(spec.max_handshakes)),
        ("downstream.max-connection-age", spec.max_connection_age.map_or("any".to_owned(), span)),
        ("downstream.max-requests", text(spec.max_requests)),
        ("downstream.max-header-size", text(spec.max_header_size)),
        ("downstream.max-target-size", text(spec.max_target_size)),
        ("downstream.max-headers", text(spec.max_headers)),
        ("downstream.max-body", text(spec.max_body)),
        ("downstream.max-streams", text(spec.max_streams)),
        ("downstream.max-connections", text(spec.max_connections)),
        ("downstream.max-connections-per-client", text(spec.max_connections_per_client)),
    ]
}

fn access_log(spec: &AccessLogSpec) -> Vec<Row> {
    let (output, value) = match &spec.output {
        AccessLogOutput::Off => ("access-log.output", "off".to_owned()),
        AccessLogOutput::Stdout => ("access-log.output", "stdout".to_owned()),
        AccessLogOutput::File(file) => ("access-log.file", file.path.display().to_string()),
    };
    if spec.output == AccessLogOutput::Off {
        return vec![(output, value)];
    }
    let format = match &spec.format {
        AccessLogFormat::Json => "json",
        AccessLogFormat::Combined => "combined",
        AccessLogFormat::Pieces(_) => "its own",
    };
    vec![
        (output, value),
        ("access-log.format", format.to_owned()),
        ("access-log.sample", text(spec.sample)),
        ("access-log.errors", text(spec.errors)),
    ]
}

fn shared_limits(spec: &SharedLimitsSpec) -> Vec<Row> {
    vec![
        ("shared-limits.url", spec.place.clone()),
        ("shared-limits.timeout", span(spec.timeout)),
        ("shared-limits.reserve", text(spec.reserve)),
    ]
}

fn tracing(spec: &TracingSpec) -> Vec<Row> {
    let exporter = match spec.exporter {
        ExporterKind::OtlpHttp => "otlp-http",
        ExporterKind::OtlpGrpc => "otlp-grpc",
        ExporterKind::Zipkin => "zipkin",
    };
    let incoming = match spec.incoming {
        IncomingTrust::Follow => "follow",
        IncomingTrust::Join => "join",
        IncomingTrust::Ignore => "ignore",
    };
    let start = match spec.start {
        ContextFormat::W3c => "w3c",
        ContextFormat::B3 => "b3",
        ContextFormat::B3Multi => "b3-multi",
    };
    vec![
        ("tracing.exporter", exporter.to_owned()),
        ("tracing.sample", text(spec.sample)),
        ("tracing.incoming", incoming.to_owned()),
        ("tracing.start", start.to_owned()),
    ]
}

fn text(value: impl ToString) -> String {
    value.to_string()
}

/// The level that `gateway.toml` is.
const GATEWAY: &str = "gateway";
