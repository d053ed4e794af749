//! One stream of an HTTP/2 connection to an endpoint (RFC 9113), which hyper drives in a task of the
//! worker, and what is known of the connection by those who share it.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;

use crate::base::memory::{Account, Space};
use crate::http1::room::AnswerHead;
use crate::http1::sending::Payload;
use crate::model::fields::{is_no_token, is_spaced};

use super::error::{Cause, SendError};

use super::Call;

/// One stream's share of an HTTP/2 connection.
#[derive(Debug)]
pub(super) struct Channel<B> {
    sender: SendRequest<B>,
    count: StreamCount,
    answer: Option<Incoming>,
    /// The last part of the answer, where it is still on its way.
    last: Weak<Space>,
}

/// What is known of one HTTP/2 connection by those who use it.
#[derive(Debug)]
pub(super) struct Streams {
    /// Where counts what waits for clients.
    account: Arc<Account>,
    pub(super) open: Cell<u32>,
    /// How many there were in all: their numbers run out (RFC 9113 §5.1.1).
    begun: Cell<u32>,
    /// How many the endpoint takes at once; it says so after the connection has opened.
    pub(super) allowed: Cell<u32>,
    /// A request was given up on it, and no answer has come since: it may be dead.
    pub(super) doubtful: Cell<bool>,
}

impl Streams {
    pub(super) fn new(account: Arc<Account>) -> Rc<Self> {
        let allowed = Cell::new(MAX_STREAMS);
        let (open, begun) = (Cell::new(0), Cell::new(0));
        Rc::new(Self { account, open, begun, allowed, doubtful: Cell::new(false) })
    }

    /// What the endpoint allows; hyper would queue a request beyond that behind the others.
    pub(super) fn has_room(&self) -> bool {
        let open = self.open.get();
        // The first one goes to a connection in any case: a new one would allow no more.
        (open == 0 || open < self.allowed.get().min(MAX_STREAMS)) && !self.is_worn()
    }

    /// Whether it is to be replaced before its streams' numbers run out.
    pub(super) fn is_worn(&self) -> bool {
        self.begun.get() >= MOST_STREAMS
    }
}

/// One stream in use of an HTTP/2 connection; gives its place back on drop.
#[derive(Debug)]
struct StreamCount(Rc<Streams>);

impl StreamCount {
    fn enter(streams: &Rc<Streams>) -> Self {
        streams.open.set(streams.open.get() + 1);
        streams.begun.set(streams.begun.get().saturating_add(1));
        Self(Rc::clone(streams))
    }
}

impl Drop for StreamCount {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
    }
}

impl<B> Channel<B> {
    /// A stream of the connection that `sender` leads to.
    pub(super) fn new(sender: SendRequest<B>, streams: &Rc<Streams>) -> Self {
        Self { sender, count: StreamCount::enter(streams), answer: None, last: Weak::new() }
    }

    pub(super) fn doubt(&self) {
        self.count.0.doubtful.set(true);
    }

    pub(super) fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cause>>> {
        let Some(answer) = &mut self.answer else {
            return Poll::Ready(None);
        };
        let account = &self.count.0.account;
        // Where memory is short, one part at a time; what is not read waits in the window.
        if account.is_tight()
            && self.last.upgrade().is_some_and(|last| last.poll_free(context).is_pending())
        {
            return Poll::Pending;
        }
        let frame = ready!(Pin::new(&mut *answer).poll_frame(context));
        // A stream that was reset "without an error" ends as if it were whole.
        if frame.is_none() && !answer.is_end_stream() {
            return Poll::Ready(Some(Err(Cause::ResetStream)));
        }
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

    pub(super) fn is_end_stream(&self) -> bool {
        self.answer.as_ref().is_none_or(Incoming::is_end_stream)
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.answer.as_ref().map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

impl<B: Payload> Channel<B> {
    pub(super) async fn send(&mut self, call: Call<'_>, body: B) -> Result<AnswerHead, SendError> {
        let mut request = Request::from_parts(call.head.clone(), body);
        for (name, value) in call.added {
            request.headers_mut().append(name, value.clone());
        }
        let sent = self.sender.try_send_request(request).await;
        let (head, body) = sent.map_err(SendError::of_h2)?.into_parts();
        self.count.0.doubtful.set(false);
        // What RFC 9113 §8.2.1 calls malformed and the library lets pass.
        if head.headers.keys().any(|name| is_no_token(name.as_str())) {
            return Err(SendError::BadAnswer(Cause::FieldName));
        }
        if head.headers.values().any(|value| is_spaced(value.as_bytes())) {
            return Err(SendError::BadAnswer(Cause::FieldValue));
        }
        self.answer = Some(body);
        Ok(Box::new(Response::from_parts(head, ())))
    }
}

/// 100 streams: what servers commonly allow; more requests open a second connection. Those that
/// allow fewer say so.
pub(super) const MAX_STREAMS: u32 = 100;
/// 2^28 streams in a connection's life, a quarter of the numbers that there are: requests that wait
/// for their turn are numbered later than they are counted.
const MOST_STREAMS: u32 = 1 << 28;

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::time::Duration;

    use http_body_util::Empty;
    use tokio::net::TcpListener;
    use tokio::sync::{Semaphore, mpsc};
    use tokio::task::{JoinSet, LocalSet};
    use tokio::time::{Instant, timeout};

    use crate::base::tasks::LocalTasks;
    use crate::config::spec::{ConnectionsSpec, Protocol};
    use crate::http1::room::Room;
    use crate::model::endpoint::{Endpoint, Health};
    use crate::model::ids::{EndpointId, Label};
    use crate::telemetry::meter::Meter;
    use crate::upstream::{Client, Connection, Destination, Fields, HeadLimits, Line};

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
                let mut connection = ::h2::server::handshake(stream).await.unwrap();
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
            channel.count.0.begun.set(MOST_STREAMS - 2);
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

    #[test]
    fn a_connection_is_replaced_before_the_numbers_of_its_streams_run_out() {
        let streams = Streams::new(Account::unlimited());
        drop(StreamCount::enter(&streams));
        assert!(streams.has_room());

        streams.begun.set(MOST_STREAMS - 1);
        assert!(streams.has_room());
        let last = StreamCount::enter(&streams);

        assert!(!streams.has_room() && streams.is_worn());
        drop(last);
        assert!(!streams.has_room(), "not even the first one of those at once");
    }

    #[test]
    fn a_connection_has_room_for_what_its_endpoint_allows() {
        let streams = Streams::new(Account::unlimited());
        streams.allowed.set(2);
        let one = StreamCount::enter(&streams);
        assert!(streams.has_room());
        let two = StreamCount::enter(&streams);
        assert!(!streams.has_room());

        drop((one, two));
        streams.allowed.set(0);

        assert!(streams.has_room(), "a new connection would allow no more");
    }
}
