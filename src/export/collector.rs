//! A collector, and the requests to it. The connection is kept from one to the next, and opened anew
//! where it has died.

use std::error::Error;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderValue, USER_AGENT};
use http::uri::PathAndQuery;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use prost::Message;
use rustls::ClientConfig;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use crate::config::spec::{CollectorSpec, ExporterKind, Protocol};
use crate::tls::client::{self, ClientTlsError, SystemRoots};

use super::fault::{Fault, retry_after};
use super::link::{self, Channel, Drivers, Http1, words};
use super::otlp::{ExportRequest, ExportResponse, RpcStatus};

/// A collector.
pub(super) struct Collector {
    spec: CollectorSpec,
    tls: Option<Arc<ClientConfig>>,
    drivers: Drivers,
    http1: Option<Http1>,
    http2: Option<Channel>,
}

impl Collector {
    /// One that nobody has connected to yet.
    ///
    /// # Errors
    /// When its certificates, or the system's, cannot be used.
    pub(super) fn new(spec: CollectorSpec, exporter: ExporterKind) -> Result<Self, ClientTlsError> {
        let protocol = match exporter {
            ExporterKind::OtlpGrpc => Protocol::H2,
            ExporterKind::OtlpHttp | ExporterKind::Zipkin => Protocol::H1,
        };
        let tls = spec
            .tls
            .as_ref()
            .map(|tls| client::build(tls, protocol, &SystemRoots::default()))
            .transpose()?;
        Ok(Self { spec, tls, drivers: Drivers::new(), http1: None, http2: None })
    }

    /// Host and port.
    pub(super) fn authority(&self) -> &str {
        &self.spec.authority
    }

    /// Whether TLS is spoken.
    pub(super) fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    /// Lets go of the connection: an answer that has not come in time may come yet.
    pub(super) fn hang_up(&mut self) {
        (self.http1, self.http2) = (None, None);
    }

    /// Sends a body by POST. Gives that of the answer.
    pub(super) async fn post(&mut self, kind: &'static str, body: Bytes) -> Result<Bytes, Fault> {
        let mut kept = self.http1.take().filter(|sender| !sender.is_closed());
        loop {
            let was_kept = kept.is_some();
            let mut sender = match kept.take() {
                Some(sender) => sender,
                None => link::http1(&self.spec, self.tls.as_ref(), &self.drivers).await?,
            };
            let request = self.request(kind, body.clone())?;
            match sender.send_request(request).await {
                Ok(answer) => {
                    let read = read(answer).await?;
                    self.http1 = Some(sender);
                    return read;
                }
                // It may have died meanwhile, which says nothing of the collector.
                Err(_) if was_kept => {}
                Err(error) => return Err(Fault::Broken(words(&error))),
            }
        }
    }

    fn request(&self, kind: &'static str, body: Bytes) -> Result<Request<Full<Bytes>>, Fault> {
        let mut request = Request::post(self.spec.path.as_str())
            .header(HOST, self.spec.authority.as_str())
            .header(CONTENT_TYPE, kind)
            .header(USER_AGENT, AGENT)
            .body(Full::new(body))
            .map_err(|error| Fault::Refused(error.to_string()))?;
        for (name, value) in &self.spec.headers {
            request.headers_mut().append(name, value.clone());
        }
        Ok(request)
    }

    /// Exports by gRPC.
    pub(super) async fn call(&mut self, request: &ExportRequest) -> Result<ExportResponse, Fault> {
        let mut kept = self.http2.take().filter(|channel| !channel.is_closed());
        loop {
            let was_kept = kept.is_some();
            let channel = match kept.take() {
                Some(channel) => channel,
                None => link::http2(&self.spec, self.tls.as_ref(), &self.drivers).await?,
            };
            let status = match self.export(channel.clone(), request.clone()).await {
                Ok(answer) => {
                    self.http2 = Some(channel);
                    return Ok(answer);
                }
                Err(status) => status,
            };
            match status.source() {
                None => {
                    self.http2 = Some(channel);
                    return Err(judge(&status));
                }
                Some(_) if was_kept => {} // the connection's own error, as above
                Some(cause) => return Err(Fault::Broken(words(cause))),
            }
        }
    }

    async fn export(
        &self,
        channel: Channel,
        message: ExportRequest,
    ) -> Result<ExportResponse, Status> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let origin = Uri::builder()
            .scheme(scheme)
            .authority(self.spec.authority.as_str())
            .path_and_query("/")
            .build()
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, AGENT);
        headers.extend(self.spec.headers.iter().cloned());
        let mut request = tonic::Request::new(message);
        *request.metadata_mut() = MetadataMap::from_headers(headers);
        let mut client = tonic::client::Grpc::with_origin(channel, origin);
        client.ready().await.map_err(|error| Status::from_error(Box::new(error)))?;
        let codec = ProstCodec::<ExportRequest, ExportResponse>::default();
        let answer = client.unary(request, PathAndQuery::from_static(EXPORT), codec).await?;
        Ok(answer.into_inner())
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.drivers.end();
    }
}

/// Reads an answer. The outer error is the connection's.
async fn read(answer: Response<Incoming>) -> Result<Result<Bytes, Fault>, Fault> {
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, ANSWER).collect().await;
    let body = body.map_err(|error| Fault::Broken(words(&*error)))?.to_bytes();
    if head.status.is_success() {
        return Ok(Ok(body));
    }
    let why = format!("{}{}", head.status, reason(&head.headers, &body));
    Ok(Err(match head.status.as_u16() {
        429 | 502 | 503 | 504 => Fault::Busy { why, after: retry_after(&head.headers) },
        _ => Fault::Refused(why),
    }))
}

/// What a collector says of a failure, as far as it fits in a line.
fn reason(headers: &HeaderMap, body: &Bytes) -> String {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let text = match RpcStatus::decode(body.clone()) {
        Ok(status) if kind.starts_with(PROTOBUF.as_bytes()) => status.message,
        _ => String::from_utf8_lossy(body).into_owned(),
    };
    let text = one_line(&text);
    if text.is_empty() { text } else { format!(": {text}") }
}

/// Words of a collector, as far as they fit in a line of the log, and without what would end it.
pub(super) fn one_line(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// What the specification of OTLP makes of a status.
fn judge(status: &Status) -> Fault {
    let wished = RpcStatus::decode(status.details()).ok().and_then(|status| status.retry_delay());
    let why = format!("{:?}: {}", status.code(), one_line(status.message()));
    match status.code() {
        Code::ResourceExhausted if wished.is_none() => Fault::Refused(why),
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => Fault::Busy { why, after: wished },
        _ => Fault::Refused(why),
    }
}

const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("tenantry/", env!("CARGO_PKG_VERSION")));
const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
/// The type of a body of OTLP.
pub(super) const PROTOBUF: &str = "application/x-protobuf";
/// 64 KiB: an answer says a sentence at most.
const ANSWER: usize = 64 << 10;
