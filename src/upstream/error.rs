//! What can go wrong on the way to an endpoint, by stage. Facts only: who decides on a retry or a
//! status is above.

use std::io;
use std::time::Duration;

use crate::http1::Fault;
use crate::http2::receiving;

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
    Preface(#[source] h2::Error),
    /// The connection that several requests waited for did not open.
    #[error("connect failed for the request that this one waited for")]
    Shared,
}

/// What a connection says of its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// One of HTTP/1.1.
    #[error(transparent)]
    H1(#[from] Fault),
    /// One of HTTP/2.
    #[error("{0}")]
    H2(#[source] h2::Error),
    /// The endpoint reset the stream "without an error", and yet not at its end.
    #[error("the endpoint reset the stream within its answer")]
    ResetStream,
    /// The library took a name of a field that is none.
    #[error("a field's name has a quotation mark")]
    FieldName,
    /// The library took a value that has space at an end.
    #[error("a field's value begins or ends with a space")]
    FieldValue,
    /// An answer of status 101, which HTTP/2 does not know (RFC 9113 §8.6).
    #[error("it switches protocols, which HTTP/2 does not")]
    Switches,
    /// Answers of status 1xx without end.
    #[error("too many answers of status 1xx come before it")]
    Interim,
}

/// Why a request that had a connection brought no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The connection was gone before anything of the request was sent.
    #[error("the connection was gone before the request: {0}")]
    Unsent(#[source] Cause),
    /// The endpoint said that it did not begin with the request (`REFUSED_STREAM`, `GOAWAY`).
    #[error("the endpoint did not begin with the request: {0}")]
    Declined(#[source] Cause),
    /// The connection died after the request had begun.
    #[error("the connection died before an answer: {0}")]
    Reset(#[source] Cause),
    /// What came is no HTTP answer, or its head is too large.
    #[error("the answer is not valid HTTP: {0}")]
    BadAnswer(#[source] Cause),
    /// The request is not one that can be sent, so the endpoint is not to blame.
    #[error("the request was not sent: {0}")]
    Request(&'static str),
    /// The request's own body failed, so the endpoint is not to blame.
    #[error("the request body failed: {0}")]
    RequestBody(#[source] Cause),
}

impl SendError {
    /// `begun` says that the endpoint may have had a part of the request.
    pub(super) fn of_h1(fault: Fault, begun: bool) -> Self {
        match fault {
            Fault::Unsendable(why) => Self::Request(why),
            Fault::Body(_) => Self::RequestBody(fault.into()),
            Fault::Io(_) | Fault::Closed if !begun => Self::Unsent(fault.into()),
            Fault::Io(_) | Fault::Closed => Self::Reset(fault.into()),
            Fault::Syntax(_) | Fault::Head(_) | Fault::Chunk(_) | Fault::TooLarge(_) => {
                Self::BadAnswer(fault.into())
            }
        }
    }

    /// What befell a request that was sent by HTTP/2.
    pub(super) fn of_h2(error: h2::Error) -> Self {
        if was_not_begun(&error) {
            Self::Declined(error.into())
        } else if error.is_library() && error.is_reset() {
            Self::BadAnswer(error.into()) // what the library finds malformed of it
        } else {
            Self::Reset(error.into())
        }
    }

    /// What befell one that the library did not take.
    pub(super) fn of_unsent_h2(error: h2::Error) -> Self {
        // Without a cause from the connection it is the request itself.
        if error.is_io() || error.is_go_away() || error.is_reset() {
            Self::Unsent(error.into())
        } else {
            Self::Request("it cannot be written as HTTP/2")
        }
    }
}

impl From<h2::Error> for Cause {
    fn from(error: h2::Error) -> Self {
        Self::H2(error)
    }
}

impl From<receiving::Fault> for Cause {
    fn from(fault: receiving::Fault) -> Self {
        match fault {
            receiving::Fault::Reset => Self::ResetStream,
            receiving::Fault::Failed(error) => Self::H2(error),
        }
    }
}

/// Whether an HTTP/2 endpoint said that it did not begin with the stream (RFC 9113 §8.7).
fn was_not_begun(error: &h2::Error) -> bool {
    error.is_remote() && (error.reason() == Some(h2::Reason::REFUSED_STREAM) || error.is_go_away())
}
