//! The body of a client's request on one stream.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::{Frame, SizeHint};

/// The body of a request, for who reads it. `None` = there is none.
#[derive(Debug)]
pub(in crate::proxy) struct Body {
    stream: RecvStream,
    /// Bytes that are still to come, where the head has told. The library refuses others.
    left: Option<u64>,
    /// Trailers may follow.
    data_ended: bool,
}

impl Body {
    /// The body that follows a head with these fields; `None` = none does.
    pub(super) fn of(headers: &HeaderMap, stream: RecvStream) -> Option<Self> {
        if stream.is_end_stream() {
            return None;
        }
        Some(Self { stream, left: length(headers), data_ended: false })
    }

    /// The next part.
    ///
    /// # Errors
    /// When the client resets the stream, or breaks off.
    pub(in crate::proxy) fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        if !self.data_ended {
            match ready!(self.stream.poll_data(context)) {
                Some(Ok(data)) => return Poll::Ready(Some(Ok(self.take(data)))),
                Some(Err(error)) => return Poll::Ready(Some(Err(told(&error)))),
                None => self.data_ended = true,
            }
        }
        Poll::Ready(match ready!(self.stream.poll_trailers(context)) {
            Ok(Some(trailers)) => Some(Ok(Frame::trailers(trailers))),
            // A stream that was reset "without an error" ends as if it were whole.
            Ok(None) => (!self.stream.is_end_stream()).then(|| Err(RESET.to_owned())),
            Err(error) => Some(Err(told(&error))),
        })
    }

    fn take(&mut self, data: Bytes) -> Frame<Bytes> {
        // Who reads it has room for it. It fails where the stream has been reset.
        drop(self.stream.flow_control().release_capacity(data.len()));
        self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
        Frame::data(data)
    }

    /// Whether all of it was read.
    pub(in crate::proxy) fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    /// How much is still to come.
    pub(in crate::proxy) fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

fn told(error: &h2::Error) -> String {
    match error.reason() {
        Some(Reason::NO_ERROR | Reason::CANCEL) => RESET.to_owned(),
        _ => error.to_string(),
    }
}

/// What the head says of the body's length, where all that it says is the same.
fn length(headers: &HeaderMap) -> Option<u64> {
    let mut all = headers.get_all(CONTENT_LENGTH).iter();
    let first = all.next()?;
    let text = first.to_str().ok()?;
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && all.all(|next| next == first);
    text.parse().ok().filter(|_| is_plain)
}

const RESET: &str = "the client reset the stream";
