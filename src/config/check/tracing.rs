//! The meaning of `[tracing]`.

use std::path::Path;
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TE, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue};

use crate::base::units::Percent;
use crate::config::faults::Faults;
use crate::config::key::Key;
use crate::config::raw::{At, Pairs, Tracing};
use crate::config::spec::{
    CollectorSpec, ContextFormat, ExporterKind, IncomingTrust, TracingSpec, UpstreamTlsSpec,
};
use crate::config::text::{CollectorUrl, Written};

use super::above_zero;
use super::pool_tls::ByUrl;

/// Checks the key `tracing`.
pub(super) fn check(
    At { value: raw, start }: At<Tracing>,
    folder: Option<&Path>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Option<TracingSpec> {
    let exporter = raw.exporter.map(|exporter| exporter.0);
    if exporter.is_none() {
        let hint = "write exporter = \"otlp-http\", \"otlp-grpc\" or \"zipkin\"";
        faults.add_missing(key, start, "does not say how spans are sent", hint);
    }
    let url_at = raw.url.as_ref().map_or(start, |url| url.start);
    let url = raw.url.map(|url| url.value.0);
    let is_secure = url.as_ref().is_some_and(|url| url.secure);
    if exporter == Some(ExporterKind::OtlpGrpc)
        && url.as_ref().is_some_and(|url| url.path.is_some())
    {
        let hint = "gRPC has a path of its own: end the URL behind the port, or write exporter = \
                    \"otlp-http\"";
        faults.add(&key.name("url"), url_at, "has a path", Some(hint.to_owned()));
    }
    let by_url = ByUrl { key: "url", scheme: "http", is_secure };
    let tls = by_url.tls(raw.tls, folder, &key.name("tls"), faults);
    let headers = headers(raw.headers, &key.name("headers"), faults);
    let timeout = above_zero(raw.timeout, &key.name("timeout"), faults);
    let interval = above_zero(raw.interval, &key.name("interval"), faults);
    let service_name = raw.service_name.map(|At { value, start }| {
        if value.trim().is_empty() {
            let hint = "write service-name = \"gateway\", or leave it out".to_owned();
            faults.add(&key.name("service-name"), start, "is empty", Some(hint));
        }
        value
    });
    exporter.map(|exporter| TracingSpec {
        exporter,
        collector: CollectorSpec {
            headers,
            timeout: timeout.unwrap_or(Duration::from_secs(10)),
            ..collector(exporter, url, tls)
        },
        sample: raw.sample.map_or(Percent::new(100.0), |sample| sample.0),
        incoming: raw.incoming.map_or(IncomingTrust::Follow, |incoming| incoming.0),
        start: raw.start.map_or(ContextFormat::W3c, |start| start.0),
        service_name: service_name.unwrap_or_else(|| "tenantry".to_owned()),
        queue: raw.queue.map_or(4096, |queue| queue.size()),
        batch: raw.batch.map_or(512, |batch| batch.size()),
        interval: interval.unwrap_or(Duration::from_secs(1)),
    })
}

/// Where spans go; port and path are the usual ones where none is written.
fn collector(
    exporter: ExporterKind,
    url: Option<CollectorUrl>,
    tls: Option<UpstreamTlsSpec>,
) -> CollectorSpec {
    let (port, path) = match exporter {
        ExporterKind::OtlpHttp => (4318, "/v1/traces"),
        ExporterKind::OtlpGrpc => (4317, "/"),
        ExporterKind::Zipkin => (9411, "/api/v2/spans"),
    };
    let here = || CollectorUrl {
        secure: false,
        host: "127.0.0.1".to_owned(),
        port: Some(port),
        path: None,
    };
    let url = url.unwrap_or_else(here);
    let (authority, port) = url.authority();
    CollectorSpec {
        host: url.host,
        port,
        authority,
        path: url.path.unwrap_or_else(|| path.to_owned()),
        tls,
        headers: Vec::new(),
        timeout: Duration::ZERO,
    }
}

fn headers(
    raw: Option<Pairs<HeaderName, Written<HeaderValue>>>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::new();
    for (At { value: name, start }, Written(mut value)) in raw.map_or(Vec::new(), |raw| raw.0) {
        if OWN.contains(&name) || name.as_str().starts_with("grpc-") {
            let hint = "take it out: the exporter says it itself".to_owned();
            faults.add(&key.name(name.as_str()), start, "cannot be set", Some(hint));
        }
        value.set_sensitive(true); // nor must it be shown
        headers.push((name, value));
    }
    headers
}

/// What the exporter itself says.
const OWN: [HeaderName; 6] =
    [CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TE, TRANSFER_ENCODING];
