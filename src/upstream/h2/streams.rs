//! What is known of an HTTP/2 connection by those who share it, and who drives it.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::Connection;
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

use crate::base::memory::Account;
use crate::tls::stream::Stream;

/// What is known of one HTTP/2 connection by those who use it.
#[derive(Debug)]
pub(in crate::upstream) struct Streams {
    /// Where counts what waits for clients.
    pub(super) account: Arc<Account>,
    pub(in crate::upstream) open: Cell<u32>,
    /// How many there were in all: their numbers run out (RFC 9113 §5.1.1).
    pub(super) begun: Cell<u32>,
    /// Those of them that the library was given; the others wait for a turn.
    sent: Cell<u32>,
    /// Wakes who waits for a turn.
    turns: Notify,
    /// How many the endpoint takes at once; it says so after the connection has opened.
    pub(super) allowed: Cell<u32>,
    /// A request was given up on it, and no answer has come since: it may be dead.
    pub(in crate::upstream) doubtful: Cell<bool>,
    /// The connection has ended.
    pub(in crate::upstream) ended: Cell<bool>,
    /// Tells who drives the connection that nobody uses it any more.
    _users: oneshot::Sender<Infallible>,
}

/// Ends once all who use a connection are gone.
pub(in crate::upstream) type Unused = oneshot::Receiver<Infallible>;

impl Streams {
    /// Those of a connection that opens, and what tells that nobody uses it any more.
    pub(in crate::upstream) fn new(account: Arc<Account>) -> (Rc<Self>, Unused) {
        let (users, unused) = oneshot::channel();
        let streams = Self {
            account,
            open: Cell::new(0),
            begun: Cell::new(0),
            sent: Cell::new(0),
            turns: Notify::new(),
            allowed: Cell::new(MAX_STREAMS),
            doubtful: Cell::new(false),
            ended: Cell::new(false),
            _users: users,
        };
        (Rc::new(streams), unused)
    }

    /// Whether another request may go by it, or at least wait for its turn.
    pub(in crate::upstream) fn has_room(&self) -> bool {
        let open = self.open.get();
        // The first one goes to a connection in any case: a new one would allow no more.
        (open == 0 || open < self.allowed.get().min(MAX_STREAMS)) && !self.is_worn()
    }

    /// Waits until the endpoint takes another stream, or the connection has ended. The library would take
    /// one beyond what is allowed for sent, and begin it where nobody waits for it any more; so it does with
    /// those of the first moment, in which an endpoint is taken to allow [`MAX_STREAMS`].
    async fn turn(&self) {
        let is_full = || self.sent.get() >= self.allowed.get() && !self.ended.get();
        while is_full() {
            let turn = self.turns.notified();
            if is_full() {
                turn.await;
            }
        }
    }

    /// Whether it is to be replaced before its streams' numbers run out.
    pub(in crate::upstream) fn is_worn(&self) -> bool {
        self.begun.get() >= MOST_STREAMS
    }
}

/// One stream in use of an HTTP/2 connection; gives its place back on drop.
#[derive(Debug)]
pub(super) struct StreamCount {
    streams: Rc<Streams>,
    /// The library has it.
    sent: Cell<bool>,
}

impl StreamCount {
    pub(super) fn enter(streams: &Rc<Streams>) -> Self {
        streams.open.set(streams.open.get() + 1);
        streams.begun.set(streams.begun.get().saturating_add(1));
        Self { streams: Rc::clone(streams), sent: Cell::new(false) }
    }

    /// Waits for its turn to be sent.
    pub(super) async fn turn(&self) {
        self.streams.turn().await;
        self.streams.sent.set(self.streams.sent.get() + 1);
        self.sent.set(true);
    }

    pub(super) fn streams(&self) -> &Rc<Streams> {
        &self.streams
    }
}

impl Drop for StreamCount {
    fn drop(&mut self) {
        let streams = &self.streams;
        streams.open.set(streams.open.get() - 1);
        if self.sent.get() {
            streams.sent.set(streams.sent.get() - 1);
            streams.turns.notify_waiters();
        }
    }
}

/// Drives a connection until it ends, notes how many streams the endpoint allows, and has it say
/// goodbye once nobody uses it.
///
/// # Errors
/// What it dies of; the streams that it carries are told as well.
pub(in crate::upstream) async fn drive(
    mut connection: Connection<Stream, Bytes>,
    streams: Weak<Streams>,
    mut unused: Unused,
) -> Result<(), h2::Error> {
    let mut driven = poll_fn(|context| {
        let polled = Pin::new(&mut connection).poll(context);
        if let Some(streams) = streams.upgrade() {
            let allowed = connection.max_concurrent_send_streams();
            streams.ended.set(polled.is_ready());
            let before = streams.allowed.replace(u32::try_from(allowed).unwrap_or(u32::MAX));
            if polled.is_ready() || streams.allowed.get() > before {
                streams.turns.notify_waiters();
            }
        }
        polled
    });
    tokio::select! {
        ended = &mut driven => return ended,
        _ = &mut unused => {}
    }
    // The library does not hear of that by itself. An endpoint that takes nothing more is not waited for.
    timeout(FAREWELL, driven).await.unwrap_or(Ok(()))
}

/// 100 streams: what servers commonly allow; more requests open a second connection. Those that
/// allow fewer say so.
pub(in crate::upstream) const MAX_STREAMS: u32 = 100;
/// 2^28 streams in a connection's life, a quarter of the numbers that there are: requests that wait
/// for their turn are numbered later than they are counted.
pub(super) const MOST_STREAMS: u32 = 1 << 28;
/// 5 s.
const FAREWELL: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn streams() -> Rc<Streams> {
        Streams::new(Account::unlimited()).0
    }

    #[test]
    fn a_connection_is_replaced_before_the_numbers_of_its_streams_run_out() {
        let streams = streams();
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
        let streams = streams();
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
