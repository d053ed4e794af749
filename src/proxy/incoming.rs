//! What comes with a request's head: its body, and the client's side of a connection that may
//! switch protocols; of HTTP/1.1 or of HTTP/2.

use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::oneshot;

use crate::base::purse::Appetite;

use super::http1::{self, Switched};
use super::http2::{self, Hints, Tunnel};

/// The rest of a request.
#[derive(Debug)]
pub(super) struct Incoming {
    content: Content,
    /// `None` where the client cannot switch protocols.
    pub(super) switch: Option<Switch>,
    /// Hears of interim answers, where the client is one of HTTP/2.
    pub(super) hints: Option<Rc<Hints>>,
}

#[derive(Debug)]
enum Content {
    Empty,
    Http1(http1::Body),
    Http2(http2::Body),
}

/// The client's side of a connection, or of a stream of HTTP/2, that is to switch protocols.
#[derive(Debug)]
pub(super) enum Switch {
    /// Once the answer that says so was sent.
    Http1(oneshot::Receiver<Switched>),
    /// The same.
    Http2(oneshot::Receiver<Tunnel>),
}

impl Incoming {
    /// Of HTTP/1.1; `None` = no body.
    pub(super) fn http1(body: Option<http1::Body>, switch: Option<Switch>) -> Self {
        Self { content: body.map_or(Content::Empty, Content::Http1), switch, hints: None }
    }

    /// Of HTTP/2; `None` = no body.
    pub(super) fn http2(body: Option<http2::Body>, hints: Rc<Hints>) -> Self {
        let content = body.map_or(Content::Empty, Content::Http2);
        Self { content, switch: None, hints: Some(hints) }
    }

    /// Of HTTP/2, where the stream is to switch protocols: it has no body before.
    pub(super) fn switching(switch: oneshot::Receiver<Tunnel>) -> Self {
        Self { content: Content::Empty, switch: Some(Switch::Http2(switch)), hints: None }
    }

    /// The next part of the body.
    ///
    /// # Errors
    /// When it breaks off or is not valid, in words.
    pub(super) fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        match &mut self.content {
            Content::Empty => Poll::Ready(None),
            Content::Http1(body) => body.poll_frame(context).map_err(|fault| fault.to_string()),
            Content::Http2(body) => body.poll_frame(context),
        }
    }

    /// How large its reads may get. Those of HTTP/2 are frames, which are small.
    pub(super) fn set_appetite(&self, appetite: Appetite) {
        if let Content::Http1(body) = &self.content {
            body.set_appetite(appetite);
        }
    }

    /// Whether all of the body was read.
    pub(super) fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Empty => true,
            Content::Http1(body) => body.is_end_stream(),
            Content::Http2(body) => body.is_end_stream(),
        }
    }

    /// How much of the body is still to come.
    pub(super) fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Empty => SizeHint::with_exact(0),
            Content::Http1(body) => body.size_hint(),
            Content::Http2(body) => body.size_hint(),
        }
    }
}
