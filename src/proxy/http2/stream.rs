//! One stream: a request, its exchange, and the answer piece by piece as the client takes it.

use std::error::Error;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::{CONTENT_LENGTH, DATE, HeaderValue};
use http::{Method, Request, Response};
use http_body::Body as _;
use tokio::sync::oneshot;

use crate::proxy::answer::{Answer, AnswerBody};
use crate::proxy::exchange;
use crate::proxy::http1::{self, Asked};
use crate::proxy::incoming::Incoming;

use super::body::Body;
use super::shared::Shared;
use super::tunnel::Tunnel;

/// Who takes the stream over where the endpoint switches protocols, and what the client sends on it.
type Heir = (oneshot::Sender<Tunnel>, RecvStream);

/// Serves a stream to its end, or until its client resets it.
pub(super) fn serve(
    shared: &Rc<Shared>,
    request: Request<RecvStream>,
    mut reply: SendResponse<Bytes>,
) -> Pin<Box<dyn Future<Output = ()>>> {
    let shared = Rc::clone(shared);
    let (head, content) = request.into_parts();
    let asked = Asked::of(&head);
    let (body, heir) = if head.method == Method::CONNECT {
        let (heir, switch) = oneshot::channel();
        (Incoming::switching(switch), Some((heir, content)))
    } else {
        (Incoming::http2(Body::of(&head.headers, content)), None)
    };
    Box::pin(async move {
        // Filled where it lies: an answer is large, and each hand that it goes through copies it.
        let mut answer = None;
        {
            let mut head = head; // gone before an answer that may take long
            let mut exchange = pin!(exchange::serve(&shared.worker, &shared.peer, &mut head, body));
            // Who waits for the answer no more needs none.
            poll_fn(|context| match exchange.as_mut().poll(context) {
                Poll::Ready(made) => {
                    answer = Some(made);
                    Poll::Ready(())
                }
                Poll::Pending => reply.poll_reset(context).map(|_| ()),
            })
            .await;
        }
        let Some(answer) = &mut answer else { return };
        if !http1::has_body(asked, answer.head.status()) {
            // The library sends what it is given, also to a `HEAD` and with a 204 (RFC 9110 §6.4.1).
            let body = std::mem::replace(&mut answer.body, AnswerBody::empty());
            answer.body = body.without_content();
        }
        if let Err(error) = send(&shared, answer, &mut reply, heir).await {
            tracing::debug!(%error, "a stream ended before its answer");
        }
    })
}

/// Sends an answer.
async fn send(
    shared: &Shared,
    Answer { head, body }: &mut Answer,
    reply: &mut SendResponse<Bytes>,
    heir: Option<Heir>,
) -> Result<(), h2::Error> {
    let status = head.status();
    let mut head = std::mem::take(&mut **head);
    let headers = head.headers_mut();
    if !headers.contains_key(DATE)
        && let Ok(date) = HeaderValue::from_bytes(&shared.worker.clock.date())
    {
        headers.insert(DATE, date);
    }
    shared.teach_names(headers);
    if let Some((heir, content)) = heir.filter(|(heir, _)| !heir.is_closed())
        && status.is_success()
    {
        let stream = begin(reply, head, false)?;
        // Where nobody takes it the tunnel ends at once.
        drop(heir.send(Tunnel::new(stream, content)));
        return Ok(());
    }
    if body.is_end_stream() {
        return begin(reply, head, true).map(|_| ());
    }
    if !headers.contains_key(CONTENT_LENGTH)
        && let Some(length) = body.size_hint().exact()
    {
        headers.insert(CONTENT_LENGTH, length.into());
    }
    let mut stream = begin(reply, head, false)?;
    pass(body, &mut stream).await
}

fn begin(
    reply: &mut SendResponse<Bytes>,
    head: Response<()>,
    is_all: bool,
) -> Result<SendStream<Bytes>, h2::Error> {
    let begun = reply.send_response(head, is_all);
    begun.inspect_err(|_| reply.send_reset(Reason::INTERNAL_ERROR))
}

/// Sends a body as far as the client opens its window: a part is asked for once the one before is
/// on its way.
async fn pass(body: &mut AnswerBody, stream: &mut SendStream<Bytes>) -> Result<(), h2::Error> {
    loop {
        let next = poll_fn(|context| match Pin::new(&mut *body).poll_frame(context) {
            Poll::Ready(next) => Poll::Ready(Ok(next)),
            Poll::Pending => poll_reset(stream, context).map(Err),
        });
        let frame = match next.await? {
            None => return stream.send_data(Bytes::new(), true),
            Some(Ok(frame)) => frame,
            Some(Err(fault)) => {
                tracing::debug!(%fault, "an answer is cut off");
                stream.send_reset(reason(&fault));
                return Ok(());
            }
        };
        match frame.into_data() {
            Ok(data) => {
                let is_last = body.is_end_stream();
                // The end of a small answer may lie with the library: nothing follows it there.
                let needs_no_room = data.is_empty() || (is_last && data.len() <= SMALL);
                if !needs_no_room {
                    make_room(stream).await?;
                }
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

/// Waits until the client takes something.
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

/// With what a stream is reset whose answer is cut off: with what the endpoint's was.
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

/// 1 KiB: the answer to a usual small request.
const SMALL: usize = 1 << 10;
