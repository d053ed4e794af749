//! The body of a message on one stream, on its way out.

use std::cell::Cell;
use std::error::Error;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body;

/// Sends a body as far as the other side opens its window: a part is asked for once the one before
/// is on its way. `sent` counts its bytes. A body that fails resets the stream, with the code that its own
/// stream failed by where it came by one, so that nobody takes what has come of it for the whole.
///
/// # Errors
/// When the other side resets the stream, or the connection fails.
pub async fn pass<B>(
    body: &mut B,
    stream: &mut SendStream<Bytes>,
    sent: &Cell<u64>,
) -> Result<(), h2::Error>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Unpin,
{
    loop {
        let next = poll_fn(|context| match Pin::new(&mut *body).poll_frame(context) {
            Poll::Ready(next) => Poll::Ready(Ok(next)),
            Poll::Pending => poll_reset(stream, context).map(Err),
        });
        let frame = match next.await? {
            None => return stream.send_data(Bytes::new(), true),
            Some(Ok(frame)) => frame,
            Some(Err(fault)) => {
                let fault = fault.into();
                tracing::debug!(%fault, "a body is cut off");
                stream.send_reset(reason(&*fault));
                return Ok(());
            }
        };
        match frame.into_data() {
            Ok(data) => {
                let is_last = body.is_end_stream();
                // The end of a small body may lie with the library: nothing follows it there.
                let needs_no_room = data.is_empty() || (is_last && data.len() <= SMALL);
                if !needs_no_room {
                    make_room(stream).await?;
                }
                sent.set(sent.get() + data.len() as u64);
                stream.send_data(data, is_last)?;
                if is_last {
                    return Ok(());
                }
            }
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    stream.reserve_capacity(0);
                    return stream.send_trailers(trailers);
                }
            }
        }
    }
}

/// Waits until the other side takes something.
async fn make_room(stream: &mut SendStream<Bytes>) -> Result<(), h2::Error> {
    // What is asked for is held for this stream alone. For all of a part the library asks once it
    // has the part.
    stream.reserve_capacity(1);
    poll_fn(|context| {
        while stream.capacity() == 0 {
            match ready!(stream.poll_capacity(context)) {
                Some(room) => room.map(|_| ())?,
                None => return Poll::Ready(Err(Reason::STREAM_CLOSED.into())),
            }
        }
        Poll::Ready(Ok(()))
    })
    .await
}

fn poll_reset(stream: &mut SendStream<Bytes>, context: &mut Context<'_>) -> Poll<h2::Error> {
    stream.poll_reset(context).map(|reset| reset.map_or_else(|error| error, h2::Error::from))
}

/// With what a stream is reset whose body is cut off.
fn reason(fault: &(dyn Error + 'static)) -> Reason {
    let mut cause = Some(fault);
    while let Some(fault) = cause {
        if let Some(error) = fault.downcast_ref::<h2::Error>() {
            return error.reason().unwrap_or(Reason::INTERNAL_ERROR);
        }
        cause = fault.source();
    }
    Reason::INTERNAL_ERROR
}

/// 1 KiB: the body of a usual small message.
const SMALL: usize = 1 << 10;
