//! The body of a client's request on one stream, which it may send once it is asked for it.

use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::RecvStream;
use http::HeaderMap;
use http::header::EXPECT;
use http_body::{Frame, SizeHint};

use crate::http1::fields::lists;
use crate::http2::receiving::{self, Fault};

use super::hints::Hints;

/// The body of a request, for who reads it. `None` = there is none.
#[derive(Debug)]
pub(in crate::proxy) struct Body {
    content: receiving::Body,
    /// The client waits for the word that it is wanted.
    asks: Option<Rc<Hints>>,
}

impl Body {
    /// The body that follows a head with these fields; `None` = none does.
    pub(super) fn of(headers: &HeaderMap, stream: RecvStream, hints: &Rc<Hints>) -> Option<Self> {
        let content = receiving::Body::of(headers, stream)?;
        let waits = headers.get_all(EXPECT).iter().any(|said| lists(said, b"100-continue"));
        Some(Self { content, asks: waits.then(|| Rc::clone(hints)) })
    }

    /// The next part.
    ///
    /// # Errors
    /// When the client resets the stream, or breaks off.
    pub(in crate::proxy) fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        if let Some(hints) = self.asks.take() {
            hints.ask();
        }
        self.content.poll_frame(context).map_err(|fault| told(&fault))
    }

    /// Whether all of it was read.
    pub(in crate::proxy) fn is_end_stream(&self) -> bool {
        self.content.is_end_stream()
    }

    /// How much is still to come.
    pub(in crate::proxy) fn size_hint(&self) -> SizeHint {
        self.content.size_hint()
    }
}

fn told(fault: &Fault) -> String {
    match fault {
        Fault::Reset => "the client reset the stream".to_owned(),
        other => other.to_string(),
    }
}
