//! One stream: a request, its exchange, and the answer piece by piece as the client takes it.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::{CONTENT_LENGTH, DATE, HeaderValue};
use http::{Method, Request, Response};
use http_body::Body as _;
use tokio::sync::oneshot;

use crate::http2::sending::pass;
use crate::proxy::answer::{Answer, AnswerBody};
use crate::proxy::exchange;
use crate::proxy::http1::{self, Asked};
use crate::proxy::incoming::Incoming;

use super::body::Body;
use super::hints::Hints;
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
    let hints = Rc::new(Hints::default());
    let (body, heir) = if head.method == Method::CONNECT {
        let (heir, switch) = oneshot::channel();
        (Incoming::switching(switch), Some((heir, content)))
    } else {
        (Incoming::http2(Body::of(&head.headers, content, &hints), Rc::clone(&hints)), None)
    };
    // The room first: what is made elsewhere and moved there would be copied with all that an
    // exchange may come to need.
    let stream = Box::write(Box::new_uninit(), async move {
        // Filled where it lies: an answer is large, and each hand that it goes through copies it.
        let mut answer = None;
        {
            let mut head = head; // gone before an answer that may take long
            let mut exchange = pin!(exchange::serve(&shared.worker, &shared.peer, &mut head, body));
            poll_fn(|context| {
                let polled = exchange.as_mut().poll(context);
                let told = hints.take(context);
                // Who waits for the answer no more needs none, and no hint. An answer that is there hears
                // of that as it is sent.
                let asks = polled.is_pending() || !told.is_empty();
                if asks && reply.poll_reset(context).is_ready() {
                    return Poll::Ready(());
                }
                for hint in told {
                    // It fails with its connection, of which the answer will hear.
                    drop(reply.send_informational(hint));
                }
                polled.map(|made| answer = Some(made))
            })
            .await;
        }
        let Some(made) = &mut answer else { return };
        if !http1::has_body(asked, made.head.status()) {
            // The library sends what it is given, also to a `HEAD` and with a 204 (RFC 9110 §6.4.1).
            let body = std::mem::replace(&mut made.body, AnswerBody::empty());
            made.body = body.without_content();
        }
        if let Err(error) = send(&shared, made, &mut reply, heir).await {
            tracing::debug!(%error, "a stream ended before its answer");
        }
        if let Some(Answer { head, body }) = answer {
            drop(body); // the exchange ends with it
            shared.worker.room.take_answer(head); // of which the library has taken all
        }
    });
    Box::into_pin(stream)
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
    pass(body, &mut stream, &Cell::default()).await
}

fn begin(
    reply: &mut SendResponse<Bytes>,
    head: Response<()>,
    is_all: bool,
) -> Result<SendStream<Bytes>, h2::Error> {
    let begun = reply.send_response(head, is_all);
    begun.inspect_err(|_| reply.send_reset(Reason::INTERNAL_ERROR))
}
