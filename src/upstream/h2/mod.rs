//! One stream of an HTTP/2 connection to an endpoint (RFC 9113), whose frames a library reads and
//! writes.

mod streams;
mod upload;

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use tokio::sync::oneshot;

use crate::base::memory::Space;
use crate::base::tasks::LocalTasks;
use crate::http1::room::AnswerHead;
use crate::http1::sending::Payload;
use crate::http2::receiving::Body;
use crate::model::fields::{is_no_token, is_spaced};

use super::Call;
use super::error::{Cause, SendError};
use super::h1::{MOST_INTERIM, expects_continue};

use streams::StreamCount;
use upload::Upload;

pub(super) use streams::{MAX_STREAMS, Streams, drive};

/// One stream's share of an HTTP/2 connection.
#[derive(Debug)]
pub(super) struct Channel {
    sender: SendRequest<Bytes>,
    tasks: Rc<RefCell<LocalTasks>>,
    /// Shared with the task that sends the rest of the request.
    count: Rc<StreamCount>,
    /// The head of the answer is there.
    answered: bool,
    answer: Option<Body>,
    /// Lets the task that sends the rest of the request go on where the channel is gone; without that
    /// word it ends with it.
    sending: Option<oneshot::Sender<()>>,
    /// The last part of the answer, where it is still on its way.
    last: Weak<Space>,
}

impl Channel {
    /// A stream of the connection that `sender` leads to.
    pub(super) fn new(
        sender: SendRequest<Bytes>,
        streams: &Rc<Streams>,
        tasks: &Rc<RefCell<LocalTasks>>,
    ) -> Self {
        Self {
            sender,
            tasks: Rc::clone(tasks),
            count: Rc::new(StreamCount::enter(streams)),
            answered: false,
            answer: None,
            sending: None,
            last: Weak::new(),
        }
    }

    /// Says that no answer came in time.
    pub(super) fn doubt(&self) {
        self.count.streams().doubtful.set(true);
    }

    /// The next part of the answer's body.
    pub(super) fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cause>>> {
        let Some(answer) = &mut self.answer else {
            return Poll::Ready(None);
        };
        let account = &self.count.streams().account;
        // Where memory is short, one part at a time; what is not read waits in the window.
        if account.is_tight()
            && self.last.upgrade().is_some_and(|last| last.poll_free(context).is_pending())
        {
            return Poll::Pending;
        }
        let frame = ready!(answer.poll_frame(context));
        let last = &mut self.last;
        let counted = |frame: Frame<Bytes>| {
            frame.map_data(|data| {
                let space = Space::new(account.count(data.len() as u64));
                *last = Arc::downgrade(&space);
                space.part(data)
            })
        };
        Poll::Ready(frame.map(|frame| frame.map(counted).map_err(Cause::from)))
    }

    /// Whether all of the answer's body was read.
    pub(super) fn is_end_stream(&self) -> bool {
        self.answer.as_ref().is_none_or(Body::is_end_stream)
    }

    /// How much of the answer's body is still to come.
    pub(super) fn size_hint(&self) -> SizeHint {
        self.answer.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// How the stream failed, and whether the endpoint may have acted.
    pub(super) async fn send<B: Payload>(
        &mut self,
        call: Call<'_>,
        body: B,
    ) -> Result<AnswerHead, SendError> {
        let request = request(call, &body);
        let is_all = body.is_end_stream();
        let waits = !is_all && expects_continue(&call.head.headers);
        self.count.turn().await;
        let ready = poll_fn(|context| self.sender.poll_ready(context)).await;
        ready.map_err(SendError::of_unsent_h2)?;
        let sent = self.sender.send_request(request, is_all);
        let (mut answer, stream) = sent.map_err(SendError::of_unsent_h2)?;
        let mut upload = (!is_all).then(|| Upload::new(body, stream, waits));
        let mut heard = 0;
        let response = poll_fn(|context| {
            let before = heard;
            if let Err(error) = poll_hints(&mut answer, &mut heard, call, context) {
                return Poll::Ready(Err(error));
            }
            let polled = Pin::new(&mut answer).poll(context).map_err(SendError::of_h2);
            // Who has answered may not want the body that was held back.
            if polled.is_pending()
                && let Some(held) = &mut upload
                && held.poll_wanted(heard > before, context).is_ready()
                && let Some(wanted) = upload.take()
            {
                self.sending = wanted.go(&self.count, &self.tasks, context);
            }
            polled
        });
        let (head, body) = response.await?.into_parts();
        self.count.streams().doubtful.set(false);
        check(&head.headers)?;
        self.answered = true;
        self.answer = Body::of(&head.headers, body);
        Ok(Box::new(Response::from_parts(head, ())))
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        // An endpoint that answers early may still want the rest of the request.
        if self.answered
            && self.is_end_stream()
            && let Some(sending) = self.sending.take()
        {
            _ = sending.send(()); // it fails where all was sent meanwhile
        }
    }
}

/// The head of a request, which says how long its body is where that is known.
fn request<B: Payload>(call: Call<'_>, body: &B) -> Request<()> {
    let mut request = Request::from_parts(call.head.clone(), ());
    let is_bodiless =
        matches!(*request.method(), Method::GET | Method::HEAD | Method::DELETE | Method::CONNECT);
    let headers = request.headers_mut();
    for (name, value) in call.added {
        headers.append(name, value.clone());
    }
    if let Some(length) = body.size_hint().exact()
        && !(length == 0 && is_bodiless)
        && !headers.contains_key(CONTENT_LENGTH)
    {
        headers.insert(CONTENT_LENGTH, length.into());
    }
    request
}

/// Passes on what came of status 1xx, and counts it.
fn poll_hints(
    answer: &mut ResponseFuture,
    heard: &mut u32,
    call: Call<'_>,
    context: &mut Context<'_>,
) -> Result<(), SendError> {
    while let Poll::Ready(Some(hint)) = answer.poll_informational(context) {
        let hint = hint.map_err(SendError::of_h2)?;
        *heard += 1;
        if *heard > MOST_INTERIM {
            return Err(SendError::BadAnswer(Cause::Interim));
        }
        if hint.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(SendError::BadAnswer(Cause::Switches));
        }
        check(hint.headers())?;
        (call.interim)(Box::new(hint));
    }
    Ok(())
}

/// Finds what RFC 9113 §8.2.1 calls malformed and the library lets pass.
fn check(headers: &HeaderMap) -> Result<(), SendError> {
    if headers.keys().any(|name| is_no_token(name.as_str())) {
        return Err(SendError::BadAnswer(Cause::FieldName));
    }
    if headers.values().any(|value| is_spaced(value.as_bytes())) {
        return Err(SendError::BadAnswer(Cause::FieldValue));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body_util::Empty;
    use tokio::net::TcpListener;
    use tokio::sync::{Semaphore, mpsc};
    use tokio::task::{JoinSet, LocalSet};
    use tokio::time::{Instant, timeout};

    use crate::base::memory::Account;
    use crate::base::tasks::LocalTasks;
    use crate::config::spec::{ConnectionsSpec, Protocol};
    use crate::http1::room::Room;
    use crate::model::endpoint::{Endpoint, Health};
    use crate::model::ids::{EndpointId, Label};
    use crate::telemetry::meter::Meter;
    use crate::upstream::{Client, Connection, Destination, Fields, HeadLimits, Line};

    use super::streams::MOST_STREAMS;
    use super::*;

    fn client() -> Client<Empty<Bytes>> {
        let tasks = Rc::new(RefCell::new(LocalTasks::new("test")));
        let meter = Rc::new(Meter::new(0, mpsc::channel(1).0));
        let shared = (Room::new(), Account::unlimited());
        Client::new(tasks, meter, shared, HeadLimits { size: 64 << 10, fields: 256 })
    }

    /// Answers by the number of the connection, from 200 on; a request for `/held` once it is let go.
    async fn answering(listener: TcpListener, held: Arc<Semaphore>) {
        let mut connections = JoinSet::new();
        for status in 200_u16.. {
            let (stream, _) = listener.accept().await.unwrap();
            let held = Arc::clone(&held);
            connections.spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                let mut answers = JoinSet::new();
                while let Some(Ok((request, mut stream))) = connection.accept().await {
                    let held = Arc::clone(&held);
                    answers.spawn(async move {
                        if request.uri().path() == "/held" {
                            held.acquire().await.unwrap().forget();
                        }
                        let answer = Response::builder().status(status).body(()).unwrap();
                        stream.send_response(answer, true).unwrap();
                    });
                }
            });
        }
    }

    async fn ask(connection: &mut Connection<Empty<Bytes>>, path: &str) -> u16 {
        fn ignore(_: AnswerHead) {}
        let head = Request::get(format!("http://a{path}")).body(()).unwrap().into_parts().0;
        let added = Fields::new();
        let call = Call { head: &head, added: &added, interim: &ignore };
        connection.send(call, Empty::new()).await.unwrap().status().as_u16()
    }

    #[tokio::test]
    async fn a_request_without_a_number_goes_by_a_new_connection_while_those_before_it_end() {
        const LONG: Duration = Duration::from_secs(20);
        let held = Arc::new(Semaphore::new(0));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().into();
        let mut server = JoinSet::new();
        server.spawn(answering(listener, Arc::clone(&held)));
        let asking = async {
            let to = Destination {
                endpoint: &Arc::new(Endpoint::new(EndpointId(1), address, Health::Up)),
                pool: &Label { name: "shop".into(), slot: 0 },
                transport: 0,
                protocol: Protocol::H2,
                tls: None,
                proxy: None,
                keep: ConnectionsSpec::USUAL,
                connect_limit: LONG,
                tls_limit: LONG,
            };
            let client = client();
            let reuse = || client.reuse(&to, Duration::MAX, Instant::now());

            let mut first = Box::pin(client.open(&to)).await.unwrap();
            let Line::H2(channel) = &first.line else { panic!("it is not HTTP/2") };
            channel.count.streams().begun.set(MOST_STREAMS - 2);
            let (mut second, mut third) = (reuse().unwrap(), reuse().unwrap());
            assert!(reuse().is_none(), "its numbers have run out");
            let mut fourth = Box::pin(client.open(&to)).await.unwrap();
            let last = async {
                let status = ask(&mut fourth, "/").await;
                held.add_permits(3);
                status
            };
            tokio::join!(
                ask(&mut first, "/held"),
                ask(&mut second, "/held"),
                ask(&mut third, "/held"),
                last
            )
        };

        let statuses = LocalSet::new().run_until(timeout(LONG, Box::pin(asking))).await.unwrap();

        assert_eq!(statuses, (200, 200, 200, 201));
    }
}
