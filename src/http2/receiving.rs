//! The body of a message on one stream, as it comes.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::{Frame, SizeHint};

/// The body of a message, for who reads it.
#[derive(Debug)]
pub struct Body {
    stream: RecvStream,
    /// Bytes that are still to come, where the head has told. The library refuses others.
    left: Option<u64>,
    /// Trailers may follow.
    data_ended: bool,
}

/// Why a body breaks off.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The other side gave the stream up "without an error", and yet not at its end.
    #[error("the stream was reset")]
    Reset,
    /// The stream or its connection failed.
    #[error("{0}")]
    Failed(#[source] h2::Error),
}

impl Body {
    /// The body that follows a head with these fields; `None` = none does.
    pub fn of(headers: &HeaderMap, stream: RecvStream) -> Option<Self> {
        if stream.is_end_stream() {
            return None;
        }
        Some(Self { stream, left: length(headers), data_ended: false })
    }

    /// The next part. What is given away is taken from the window: who reads has room for it.
    ///
    /// # Errors
    /// When the other side resets the stream, or breaks off.
    pub fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        if !self.data_ended {
            match ready!(self.stream.poll_data(context)) {
                Some(Ok(data)) => return Poll::Ready(Some(Ok(self.take(data)))),
                Some(Err(error)) => return Poll::Ready(Some(Err(fault(error)))),
                None => self.data_ended = true,
            }
        }
        Poll::Ready(match ready!(self.stream.poll_trailers(context)) {
            Ok(Some(trailers)) => Some(Ok(Frame::trailers(trailers))),
            // A stream that was reset "without an error" ends as if it were whole.
            Ok(None) => (!self.stream.is_end_stream()).then_some(Err(Fault::Reset)),
            Err(error) => Some(Err(fault(error))),
        })
    }

    fn take(&mut self, data: Bytes) -> Frame<Bytes> {
        // It fails where the stream has been reset.
        drop(self.stream.flow_control().release_capacity(data.len()));
        self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
        Frame::data(data)
    }

    /// Whether all of it was read.
    pub fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    /// How much is still to come.
    pub fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

fn fault(error: h2::Error) -> Fault {
    match error.reason() {
        Some(Reason::NO_ERROR | Reason::CANCEL) => Fault::Reset,
        _ => Fault::Failed(error),
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
