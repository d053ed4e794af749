//! Works when the health service of gRPC (grpc/doc/health-checking.md) says that a service, or the
//! server as a whole, is serving.

use std::future::Future;
use std::pin::Pin;

use bytes::{BufMut, Bytes, BytesMut};
use h2::RecvStream;
use http::header::{CONTENT_TYPE, TE, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use prost::Message;

use crate::base::join::driven;
use crate::model::address::Address;

use super::asking::{AGENT, broken, fill, full_uri, host, http2};
use super::way::Way;
use super::{Probe, ProbeError};

#[derive(Debug)]
pub(super) struct Grpc {
    /// Empty: the server as a whole.
    pub(super) service: String,
    pub(super) host: Option<HeaderValue>,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) way: Way,
}

impl Probe for Grpc {
    fn check(
        &self,
        address: Address,
    ) -> Pin<Box<dyn Future<Output = Result<(), ProbeError>> + Send + '_>> {
        Box::pin(self.ask(address))
    }
}

/// `grpc.health.v1.HealthCheckRequest`
#[derive(Clone, PartialEq, prost::Message)]
struct Question {
    #[prost(string, tag = "1")]
    service: String,
}

/// `grpc.health.v1.HealthCheckResponse`
#[derive(Clone, PartialEq, prost::Message)]
struct Word {
    #[prost(int32, tag = "1")]
    status: i32,
}

impl Grpc {
    async fn ask(&self, address: Address) -> Result<(), ProbeError> {
        let to = self.way.to(&address)?;
        let line = self.way.open(&to).await?;
        let request = self.request(&to)?;
        let (sender, connection) = http2(line).await?;
        let exchange = async {
            let mut sender = sender.ready().await.map_err(broken)?;
            let (response, mut sending) = sender.send_request(request, false).map_err(broken)?;
            sending.send_data(self.question(), true).map_err(broken)?;
            self.hear(response.await.map_err(broken)?).await
        };
        driven(exchange, connection).await
    }

    fn request(&self, to: &Address) -> Result<Request<()>, ProbeError> {
        let host = host(self.host.as_ref(), to)?;
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = full_uri(self.way.tls.is_some(), &host, PATH)?;
        let headers = request.headers_mut();
        fill(headers, [(USER_AGENT, AGENT)], &self.headers);
        headers.insert(CONTENT_TYPE, KIND);
        headers.insert(TE, HeaderValue::from_static("trailers"));
        Ok(request)
    }

    /// The message behind its prefix: that it is not compressed, and its length.
    fn question(&self) -> Bytes {
        let message = Question { service: self.service.clone() }.encode_to_vec();
        let mut framed = BytesMut::with_capacity(PREFIX + message.len());
        framed.put_u8(0);
        framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
        framed.put_slice(&message);
        framed.freeze()
    }

    async fn hear(&self, response: Response<RecvStream>) -> Result<(), ProbeError> {
        let (head, mut body) = response.into_parts();
        if head.status != StatusCode::OK {
            let expected = "200, as gRPC has it".to_owned();
            return Err(ProbeError::Status { status: head.status.as_u16(), expected });
        }
        let kind = head.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        if !kind.starts_with(KIND.as_bytes()) {
            let kind = String::from_utf8_lossy(kind.get(..64).unwrap_or(kind)).into_owned();
            return Err(ProbeError::Answer(format!("content-type {kind:?} is not gRPC")));
        }
        // A call that failed may have its status in the head, which is all of the answer then.
        if head.headers.contains_key(GRPC_STATUS) {
            return self.judge(&head.headers, &[]);
        }
        let mut message = BytesMut::new();
        while let Some(data) = body.data().await {
            let data = data.map_err(broken)?;
            if message.len() + data.len() > LARGEST {
                return Err(ProbeError::Answer(format!("a message of over {LARGEST} bytes")));
            }
            message.extend_from_slice(&data);
            body.flow_control().release_capacity(data.len()).map_err(broken)?;
        }
        let trailers = body.trailers().await.map_err(broken)?.unwrap_or_default();
        self.judge(&trailers, &message)
    }

    /// What an answer with these last fields and this message says.
    fn judge(&self, fields: &HeaderMap, message: &[u8]) -> Result<(), ProbeError> {
        let status = fields.get(GRPC_STATUS).and_then(|status| status.to_str().ok());
        let Some(code) = status.and_then(|status| status.parse::<u16>().ok()) else {
            return Err(ProbeError::Answer("no grpc-status".to_owned()));
        };
        match code {
            OK => self.judge_word(message),
            NOT_FOUND => Err(ProbeError::UnknownService(self.service.clone())),
            UNIMPLEMENTED => Err(ProbeError::NoHealthService),
            code => {
                let name = CODES.get(usize::from(code)).copied().unwrap_or("UNKNOWN");
                let message = fields.get(GRPC_MESSAGE).map(decoded).unwrap_or_default();
                Err(ProbeError::Call { code, name, message })
            }
        }
    }

    fn judge_word(&self, framed: &[u8]) -> Result<(), ProbeError> {
        match read(framed)? {
            SERVING => Ok(()),
            SERVICE_UNKNOWN => Err(ProbeError::UnknownService(self.service.clone())),
            0 => Err(ProbeError::NotServing("UNKNOWN".to_owned())),
            2 => Err(ProbeError::NotServing("NOT_SERVING".to_owned())),
            other => Err(ProbeError::NotServing(other.to_string())),
        }
    }
}

/// The status in a message behind its prefix.
fn read(framed: &[u8]) -> Result<i32, ProbeError> {
    let bad = |what: &str| ProbeError::Answer(format!("no health message: {what}"));
    let Some((&[flag, a, b, c, d], message)) = framed.split_first_chunk::<PREFIX>() else {
        return Err(bad("it ends too soon"));
    };
    if flag != 0 {
        return Err(bad("it is compressed, which nobody asked for"));
    }
    if usize::try_from(u32::from_be_bytes([a, b, c, d])) != Ok(message.len()) {
        return Err(bad("its length is not the one that it says"));
    }
    Word::decode(message).map(|word| word.status).map_err(|error| bad(&error.to_string()))
}

/// A `grpc-message`, which has all but printable ASCII in percent; so much of it as a line takes.
fn decoded(value: &HeaderValue) -> String {
    let mut bytes = value.as_bytes();
    let mut text = Vec::new();
    while let Some((first, rest)) = bytes.split_first()
        && text.len() < LONGEST_REASON
    {
        let digit = |at: usize| rest.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        match (*first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                text.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
                bytes = rest.get(2..).unwrap_or_default();
            }
            _ => {
                text.push(*first);
                bytes = rest;
            }
        }
    }
    let text = String::from_utf8_lossy(&text);
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}

const PATH: PathAndQuery = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
const KIND: HeaderValue = HeaderValue::from_static("application/grpc");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

const OK: u16 = 0;
const NOT_FOUND: u16 = 5;
const UNIMPLEMENTED: u16 = 12;

/// The names of gRPC's statuses (grpc/doc/statuscodes.md), by their numbers.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// `ServingStatus.SERVING`
const SERVING: i32 = 1;
/// `ServingStatus.SERVICE_UNKNOWN`, which is said by who is watched alone; but who knows.
const SERVICE_UNKNOWN: i32 = 3;
/// A flag, and a length of four bytes.
const PREFIX: usize = 5;
/// 1 KiB: a message of one small number takes seven bytes.
const LARGEST: usize = 1 << 10;
/// 200 bytes of what an endpoint says go into a line of the log.
const LONGEST_REASON: usize = 200;

#[cfg(test)]
mod tests;
