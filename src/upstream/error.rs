//! What can go wrong on the way to an endpoint, by stage. Facts only: who decides on a retry or a
//! status is above.

use std::io;
use std::time::Duration;

use http::Request;
use hyper::client::conn::TrySendError;

/// Why there is no connection to an endpoint.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The endpoint, or the way to it, refused.
    #[error("connect failed: {0}")]
    Refused(#[source] io::Error),
    /// No answer in time.
    #[error("connect took longer than {0:?}")]
    Timeout(Duration),
    /// The handshake failed: another protocol, or a certificate that is not trusted.
    #[error("TLS handshake failed: {0}")]
    Tls(#[source] io::Error),
    /// The handshake did not end in time.
    #[error("TLS handshake took longer than {0:?}")]
    TlsTimeout(Duration),
    /// The connection opened and does not speak HTTP/2.
    #[error("the endpoint does not speak HTTP/2: {0}")]
    Preface(#[source] hyper::Error),
    /// The connection that several requests waited for did not open.
    #[error("connect failed for the request that this one waited for")]
    Shared,
}

/// Why a request that had a connection brought no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError<B> {
    /// The connection was gone, or the endpoint said that it did not begin: the endpoint has not
    /// acted. Carries the request where it can be had back.
    #[error("the endpoint did not begin with the request: {source}")]
    Untouched {
        /// The request, whole, where it can be had back.
        request: Option<Box<Request<B>>>,
        /// What the connection says.
        source: hyper::Error,
    },
    /// The connection died after the request had begun.
    #[error("the connection died before an answer: {0}")]
    Reset(#[source] hyper::Error),
    /// What came is no HTTP answer, or its head is too large.
    #[error("the answer is not valid HTTP: {0}")]
    BadAnswer(#[source] hyper::Error),
    /// The request's own body failed, so the endpoint is not to blame.
    #[error("the request body failed: {0}")]
    RequestBody(#[source] hyper::Error),
}

impl<B> SendError<B> {
    pub(super) fn of(mut error: TrySendError<Request<B>>) -> Self {
        let request = error.take_message().map(Box::new);
        let source = error.into_error();
        if request.is_some() || was_not_begun(&source) {
            return Self::Untouched { request, source };
        }
        if source.is_user() || source.is_body_write_aborted() {
            return Self::RequestBody(source);
        }
        if source.is_parse() {
            return Self::BadAnswer(source);
        }
        Self::Reset(source)
    }
}

/// Whether an HTTP/2 endpoint said that it did not begin with the stream (RFC 9113 §8.7).
fn was_not_begun(error: &hyper::Error) -> bool {
    let cause =
        std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|cause| {
        cause.is_remote()
            && (cause.reason() == Some(h2::Reason::REFUSED_STREAM) || cause.is_go_away())
    })
}
