//! What a client's connection is doing, as its two halves see it: bytes come in below HTTP,
//! exchanges begin and end above it. Tells when the connection has been waited for long enough.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::Instant;

use crate::base::purse::{Paid, Purse};
use crate::base::socket::Hangup;

use super::budget;
use super::clock::Clock;

/// Shared by the parts of one connection, all on one thread.
#[derive(Debug)]
pub(super) struct Activity {
    clock: Rc<Clock>,
    born: Instant,
    busy: Cell<u32>,
    served: Cell<u64>,
    /// Bodies of requests that the client has not sent whole; one may outlive its exchange, where
    /// the answer came early.
    uploads: Cell<u32>,
    /// The last bytes of such a body.
    body_since: Cell<Option<Instant>>,
    /// The first byte of a request whose head is not read yet.
    head_since: Cell<Option<Instant>>,
    /// The same of HTTP/2, where other requests may be under way.
    part_since: Cell<Option<Instant>>,
    idle_since: Cell<Instant>,
    /// The client has taken nothing of what waits for it.
    stuck_since: Cell<Option<Instant>>,
    /// With TLS, what counts the encrypted bytes that wait while the client takes nothing.
    backlog: Option<(Arc<Purse>, RefCell<Option<Paid>>)>,
    /// Whole heads that go out before the next bytes.
    first: RefCell<BytesMut>,
    /// Somebody waits in a request whose client may leave unheard: it has sent what nobody reads yet.
    watched: Cell<bool>,
    /// What tells when it leaves.
    hangup: RefCell<Option<Box<Hangup>>>,
}

/// A request's body that the client has not sent whole; ends when dropped.
#[derive(Debug)]
pub(super) struct Uploading(Rc<Activity>);

/// What the clock says of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// Ask again then.
    Until(Instant),
    /// It was idle for too long.
    Idle,
    /// It was slow for too long; with the metric's word for it.
    Over(&'static str),
}

/// It began a request and did not end its head in time.
const SLOW_HEAD: Patience = Patience::Over("slow_head");
/// It sent nothing more of a body whose answer it has.
const SLOW_BODY: Patience = Patience::Over("slow_body");
/// It took nothing of its answer for too long.
const SLOW_READER: Patience = Patience::Over("slow_reader");

/// How long a connection is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// For the end of a begun head.
    pub(super) head: Duration,
    /// Bytes between requests are a head, as they are in HTTP/1.
    pub(super) heads: bool,
    /// Between requests.
    pub(super) idle: Duration,
    /// For the client to take something of its answer, or to send something of a body.
    pub(super) send: Duration,
}

impl Activity {
    /// A connection that has just opened.
    pub(super) fn new(clock: Rc<Clock>) -> Rc<Self> {
        Rc::new(Self::plain(clock))
    }

    /// One below TLS, whose encrypted bytes `purse` counts while they wait for the client.
    pub(super) fn over_tls(clock: Rc<Clock>, purse: &Arc<Purse>) -> Rc<Self> {
        let backlog = Some((Arc::clone(purse), RefCell::default()));
        Rc::new(Self { backlog, ..Self::plain(clock) })
    }

    fn plain(clock: Rc<Clock>) -> Self {
        let born = clock.now();
        Self {
            clock,
            born,
            busy: Cell::new(0),
            served: Cell::new(0),
            uploads: Cell::new(0),
            body_since: Cell::new(None),
            head_since: Cell::new(None),
            part_since: Cell::new(None),
            idle_since: Cell::new(born),
            stuck_since: Cell::new(None),
            backlog: None,
            first: RefCell::default(),
            watched: Cell::new(false),
            hangup: RefCell::default(),
        }
    }

    /// Bytes came in.
    pub(super) fn read(&self) {
        let now = self.clock.now();
        if self.busy.get() > 0 {
            return;
        }
        if self.uploads.get() > 0 {
            self.body_since.set(Some(now));
        } else if self.head_since.get().is_none() {
            self.head_since.set(Some(now));
        }
    }

    /// Bytes of HTTP/2 came in: whether they end within a request's head, and whether they have
    /// ended one, so that it is another.
    pub(super) fn reads_head(&self, within: bool, another: bool) {
        if !within {
            self.part_since.set(None);
        } else if another || self.part_since.get().is_none() {
            self.part_since.set(Some(self.clock.now()));
        }
    }

    /// The time as the connection's worker knows it.
    pub(super) fn recent(&self) -> Instant {
        self.clock.recent()
    }

    /// Bytes went out.
    pub(super) fn wrote(&self) {
        if self.stuck_since.take().is_some() {
            self.count_backlog(|_| None);
            // The rest of a head may have waited for that: nothing is read while what is owed cannot go.
            if self.part_since.get().is_some() {
                self.part_since.set(Some(self.clock.now()));
            }
        }
    }

    /// Bytes wait to go out.
    pub(super) fn stuck(&self) {
        if self.stuck_since.get().is_none() {
            self.stuck_since.set(Some(self.clock.now()));
            self.count_backlog(|purse| Some(purse.take(budget::TLS_BACKLOG)));
        }
    }

    fn count_backlog(&self, paid: impl FnOnce(&Arc<Purse>) -> Option<Paid>) {
        if let Some((purse, backlog)) = &self.backlog {
            backlog.replace(paid(purse));
        }
    }

    /// A request's head was read: an exchange begins.
    pub(super) fn begin(&self) {
        add(&self.busy, 1);
        self.served.set(self.served.get() + 1);
        self.head_since.set(None);
    }

    /// An exchange goes on as a tunnel within the connection: it ends once more.
    pub(super) fn go_on(&self) {
        add(&self.busy, 1);
    }

    /// An exchange has ended.
    pub(super) fn end(&self) {
        if add(&self.busy, -1) == 0 {
            self.idle_since.set(self.clock.recent());
        }
    }

    /// A request has a body that is still to come.
    pub(super) fn upload(self: &Rc<Self>) -> Uploading {
        add(&self.uploads, 1);
        Uploading(Rc::clone(self))
    }

    /// An interim answer is to go out before the final one. Where the client takes nothing it is left
    /// out: it is a hint.
    pub(super) fn tell(&self, head: &[u8]) {
        let mut first = self.first.borrow_mut();
        if first.len() + head.len() <= MOST_FIRST {
            first.extend_from_slice(head);
        }
    }

    /// What is to go out before the next bytes: nothing, in nearly all cases.
    pub(super) fn take_first(&self) -> Option<BytesMut> {
        let mut first = self.first.borrow_mut();
        if first.is_empty() { None } else { Some(std::mem::take(&mut *first)) }
    }

    /// Gives back what of it could not go out.
    pub(super) fn put_first(&self, first: BytesMut) {
        self.first.replace(first);
    }

    /// Whether the client is to be watched, so that its request ends with it, whatever it has sent.
    pub(super) fn watch(&self, watched: bool) {
        self.watched.set(watched);
        if !watched {
            self.hangup.replace(None);
        }
    }

    /// Ready when a client that is watched has left, as the one tells that can be made for it.
    #[inline]
    pub(super) fn poll_hangup(
        &self,
        context: &mut Context<'_>,
        hangup: impl FnOnce() -> io::Result<Hangup>,
    ) -> Poll<()> {
        if self.watched.get() { self.poll_watched(context, hangup) } else { Poll::Pending }
    }

    #[cold]
    fn poll_watched(
        &self,
        context: &mut Context<'_>,
        hangup: impl FnOnce() -> io::Result<Hangup>,
    ) -> Poll<()> {
        let mut own = self.hangup.borrow_mut();
        if own.is_none() {
            // Where there is none to be had, the client is missed once the answer goes to it.
            *own = hangup().ok().map(Box::new);
        }
        own.as_mut().map_or(Poll::Pending, |own| own.poll(context))
    }

    /// Requests so far.
    pub(super) fn served(&self) -> u64 {
        self.served.get()
    }

    /// Whether the connection is as old as `age`, as far as the worker's clock has been read.
    pub(super) fn is_older(&self, age: Duration) -> bool {
        self.clock.recent().saturating_duration_since(self.born) >= age
    }

    /// When the connection will be as old as `age`.
    pub(super) fn end_of(&self, age: Duration) -> Instant {
        self.born + age
    }

    /// Since when nothing is under way. `heads` tells that bytes outside an exchange are a head, as
    /// they are in HTTP/1.
    pub(super) fn idle_since(&self, heads: bool) -> Option<Instant> {
        let under_way = self.busy.get() > 0 || self.uploads.get() > 0;
        let is_stuck = self.stuck_since.get().is_some();
        let waited_for = is_stuck || (heads && self.head_since.get().is_some());
        (!under_way && !waited_for).then(|| self.idle_since.get())
    }

    /// Whether the connection has been waited for long enough.
    pub(super) fn patience(&self, limits: Limits) -> Patience {
        let now = Instant::now();
        let is_read = self.stuck_since.get().is_none();
        let part = self.part_since.get().filter(|_| is_read);
        let by_part = part.map(|begun| (begun + limits.head, SLOW_HEAD));
        let (mut end, mut verdict) = self.due(now, limits);
        if let Some((due, slow)) = by_part
            && due < end
        {
            (end, verdict) = (due, slow);
        }
        // A head that begins meanwhile may be due as early as this.
        let earliest = now + limits.head.min(limits.idle);
        if now >= end { verdict } else { Patience::Until(end.min(earliest)) }
    }

    /// Until when it is waited for, by what is under way, and what it means when that is over.
    fn due(&self, now: Instant, limits: Limits) -> (Instant, Patience) {
        let Limits { head, heads, idle, send } = limits;
        if self.busy.get() > 0 {
            // An exchange has deadlines of its own, which nobody asks about while the client takes
            // nothing: then its body is not read from.
            return (self.stuck_since.get().unwrap_or(now) + send, SLOW_READER);
        }
        let idle_since = self.idle_since.get();
        match self.head_since.get() {
            // Where bytes of a body can be told from others, as heads can.
            _ if heads && self.uploads.get() > 0 => {
                let last = self.body_since.get().map_or(idle_since, |body| body.max(idle_since));
                (last + send, SLOW_BODY)
            }
            Some(begun) if heads => (begun + head, SLOW_HEAD),
            _ => (idle_since + idle, Patience::Idle),
        }
    }
}

impl Uploading {
    /// The connection that it comes by.
    pub(super) fn client(&self) -> Rc<Activity> {
        Rc::clone(&self.0)
    }
}

impl Drop for Uploading {
    fn drop(&mut self) {
        // What has come by now is the body's; what comes next begins a head, and an idle time.
        if add(&self.0.uploads, -1) == 0 {
            self.0.idle_since.set(self.0.clock.recent());
        }
    }
}

/// Adds to a word. Gives the sum.
fn add(word: &Cell<u32>, change: i32) -> u32 {
    let sum = word.get().saturating_add_signed(change);
    word.set(sum);
    sum
}

/// 64 KiB: what an endpoint's head may have.
const MOST_FIRST: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Duration = Duration::from_secs(10);
    const IDLE: Duration = Duration::from_secs(75);
    const SEND: Duration = Duration::from_secs(30);
    const LIMITS: Limits = Limits { head: HEAD, heads: true, idle: IDLE, send: SEND };

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_is_waited_for_its_idle_time() {
        let activity = Activity::new(Clock::new());
        tokio::time::advance(IDLE - Duration::from_secs(1)).await;
        assert!(matches!(activity.patience(LIMITS), Patience::Until(_)));

        tokio::time::advance(Duration::from_secs(1)).await;

        assert_eq!(activity.patience(LIMITS), Patience::Idle);
    }

    #[tokio::test(start_paused = true)]
    async fn a_begun_head_must_end_in_its_own_time() {
        let activity = Activity::new(Clock::new());
        tokio::time::advance(Duration::from_secs(60)).await;
        activity.read();
        tokio::time::advance(HEAD - Duration::from_millis(1)).await;
        activity.read(); // a trickle does not win time
        assert!(matches!(activity.patience(LIMITS), Patience::Until(_)));

        tokio::time::advance(Duration::from_millis(1)).await;

        assert_eq!(activity.patience(LIMITS), SLOW_HEAD);
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_connection_is_left_alone_and_idle_time_counts_from_its_end() {
        let clock = Clock::new();
        let activity = Activity::new(Rc::clone(&clock));
        activity.read();
        activity.begin();
        tokio::time::advance(IDLE * 2).await;
        assert!(matches!(activity.patience(LIMITS), Patience::Until(_)));

        clock.now(); // for the exchange's record
        activity.end();

        assert!(matches!(activity.patience(LIMITS), Patience::Until(_)));
        tokio::time::advance(IDLE).await;
        assert_eq!(activity.patience(LIMITS), Patience::Idle);
    }

    // One byte a second of a head won the idle time each time, and for ever beside a stream that waits.
    #[tokio::test(start_paused = true)]
    async fn a_head_of_http2_must_end_in_its_time_whatever_is_under_way() {
        let limits = Limits { heads: false, ..LIMITS };
        for is_busy in [false, true] {
            let activity = Activity::new(Clock::new());
            if is_busy {
                activity.begin();
            }
            activity.reads_head(true, false);
            tokio::time::advance(HEAD - Duration::from_millis(1)).await;
            activity.reads_head(true, false); // a trickle does not win time
            assert!(matches!(activity.patience(limits), Patience::Until(_)));
            tokio::time::advance(Duration::from_millis(1)).await;
            assert_eq!(activity.patience(limits), SLOW_HEAD);

            activity.reads_head(true, true); // that one was whole, and the next one has begun

            assert!(matches!(activity.patience(limits), Patience::Until(_)));
            activity.reads_head(false, true);
            tokio::time::advance(HEAD).await;
            assert!(matches!(activity.patience(limits), Patience::Until(_)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_rest_of_a_body_after_its_answer_is_no_head() {
        let activity = Activity::new(Clock::new());
        activity.begin();
        let upload = activity.upload();
        activity.end(); // the answer came early
        for _ in 0..5 {
            tokio::time::advance(SEND - Duration::from_millis(1)).await;
            activity.read();
            assert!(matches!(activity.patience(LIMITS), Patience::Until(_)));
        }

        tokio::time::advance(SEND).await;
        assert_eq!(activity.patience(LIMITS), SLOW_BODY);
        drop(upload);

        assert!(matches!(activity.patience(LIMITS), Patience::Until(_)));
        activity.read();
        tokio::time::advance(HEAD).await;
        assert_eq!(activity.patience(LIMITS), SLOW_HEAD, "the next request's");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_not_waited_for_longer_than_its_time() {
        let activity = Activity::new(Clock::new());
        activity.begin();
        activity.stuck();
        tokio::time::advance(SEND - Duration::from_millis(1)).await;
        activity.stuck(); // the first time counts
        assert!(matches!(activity.patience(LIMITS), Patience::Until(_)));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(activity.patience(LIMITS), SLOW_READER);

        activity.wrote();

        assert!(matches!(activity.patience(LIMITS), Patience::Until(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_tls_holds_for_a_client_counts_while_the_client_takes_nothing() {
        let memory = crate::base::memory::Memory::new(1 << 20, 1);
        let purse = Purse::open(&memory.account(0), None, 0);
        let activity = Activity::over_tls(Clock::new(), &purse);
        for _ in 0..2 {
            activity.stuck();
            activity.stuck();
            assert_eq!(memory.held(), budget::TLS_BACKLOG);
            activity.wrote();
            assert_eq!(memory.held(), 0);
        }
        activity.stuck();

        drop(activity);

        assert_eq!(memory.held(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_connection_is_looked_at_as_early_as_its_next_head_may_be_due() {
        let activity = Activity::new(Clock::new());
        activity.begin();

        let next = activity.patience(LIMITS);

        assert_eq!(next, Patience::Until(Instant::now() + HEAD));
    }
}
