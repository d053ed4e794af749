//! The connections that wait for their next request, by endpoint: idle HTTP/1.1 connections, the
//! latest first, and HTTP/2 connections that are shared.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use foldhash::fast::RandomState;
use h2::client::SendRequest;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::base::tasks::LocalTasks;
use crate::config::spec::{ConnectionsSpec, Protocol};
use crate::http1::sending::Payload;
use crate::model::endpoint::Endpoint;
use crate::model::ids::EndpointId;

use super::h2::{Channel, Streams};
use super::{Connection, Destination, Line, h1};

/// Whom a connection may serve: attempts at this endpoint that speak in this way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    endpoint: EndpointId,
    transport: u64,
}

impl Key {
    pub(super) fn of(to: &Destination<'_>) -> Self {
        Self { endpoint: to.endpoint.id, transport: to.transport }
    }
}

#[derive(Debug)]
pub(super) struct Shelves<B> {
    shelves: RefCell<HashMap<Key, Shelf<B>, RandomState>>,
    /// Those that send the rest of a request by HTTP/2.
    tasks: Rc<RefCell<LocalTasks>>,
}

#[derive(Debug)]
struct Shelf<B> {
    idle: Vec<Idle<B>>,
    shared: Vec<Shared>,
    opening: Rc<Opening>,
}

/// What a connection is and how it is kept. Apart from it: a connection is handed on several times
/// with each request.
#[derive(Debug)]
pub(super) struct Place {
    endpoint: Arc<Endpoint>,
    key: Key,
    keep: ConnectionsSpec,
    born: Instant,
    /// When it is too old.
    end: Instant,
}

impl Place {
    /// That of a connection which opens now.
    pub(super) fn of(to: &Destination<'_>) -> Rc<Self> {
        let (endpoint, key, keep) = (Arc::clone(to.endpoint), Key::of(to), to.keep);
        let born = Instant::now();
        let end = after(born, keep.max_age);
        Rc::new(Self { endpoint, key, keep, born, end })
    }

    pub(super) fn born(&self) -> Instant {
        self.born
    }

    fn is_aged(&self, now: Instant) -> bool {
        now > self.end
    }
}

#[derive(Debug)]
struct Idle<B> {
    line: h1::Line<B>,
    place: Rc<Place>,
    since: Instant,
    /// Until when it may be, and live at all.
    until: Instant,
}

/// An HTTP/2 connection that carries several requests at once.
#[derive(Debug)]
pub(super) struct Shared {
    sender: SendRequest<Bytes>,
    streams: Rc<Streams>,
    place: Rc<Place>,
    last_used: Instant,
}

impl Shared {
    pub(super) fn new(sender: SendRequest<Bytes>, streams: Rc<Streams>, place: Rc<Place>) -> Self {
        let last_used = place.born;
        Self { sender, streams, place, last_used }
    }
}

/// Whose turn it is to open an HTTP/2 connection to an endpoint.
#[derive(Debug, Default)]
pub(super) struct Opening {
    pub(super) turn: Mutex<()>,
    /// Grows with each connection that did not open.
    pub(super) failures: Cell<u64>,
}

impl<B> Default for Shelf<B> {
    fn default() -> Self {
        Self { idle: Vec::new(), shared: Vec::new(), opening: Rc::default() }
    }
}

impl<B: Payload> Shelves<B> {
    pub(super) fn new(tasks: Rc<RefCell<LocalTasks>>) -> Self {
        Self { shelves: RefCell::default(), tasks }
    }

    /// Takes a connection that can carry a request now and was idle no longer than `rested`.
    pub(super) fn take(
        &self,
        to: &Destination<'_>,
        rested: Duration,
        now: Instant,
    ) -> Option<Connection<B>> {
        let key = Key::of(to);
        let mut shelves = self.shelves.borrow_mut();
        let shelf = shelves.get_mut(&key)?;
        match to.protocol {
            Protocol::H1 => shelf.take_idle(rested, now),
            Protocol::H2 => shelf.take_stream(&self.tasks, now),
        }
    }

    /// Keeps a connection for the next request, if it may live on and there is room.
    pub(super) fn put(&self, connection: Connection<B>, now: Instant) {
        let Connection { line: Line::H1(line), place, .. } = connection else {
            return; // an HTTP/2 connection never left its shelf
        };
        let mut most = place.keep.idle_timeout;
        if let Some(kept) = line.kept_for() {
            // One second before the endpoint does, so that no request is sent into a closing one.
            most = most.min(kept.saturating_sub(Duration::from_secs(1)));
        }
        if !line.is_reusable() || place.is_aged(now) || place.endpoint.is_drained() {
            return line.say_goodbye();
        }
        let mut shelves = self.shelves.borrow_mut();
        let shelf = shelves.entry(place.key).or_default();
        if shelf.idle.len() >= place.keep.idle {
            return line.say_goodbye();
        }
        let until = after(now, most).min(place.end);
        shelf.idle.push(Idle { line, place, since: now, until });
    }

    pub(super) fn share(&self, key: Key, shared: Shared) {
        self.shelves.borrow_mut().entry(key).or_default().shared.push(shared);
    }

    pub(super) fn opening(&self, key: Key) -> Rc<Opening> {
        let mut shelves = self.shelves.borrow_mut();
        Rc::clone(&shelves.entry(key).or_default().opening)
    }

    /// Lets go of what is closed, was idle too long, is too old or leads to an endpoint that is
    /// drained, and of empty shelves. One that somebody opens a connection for stays: requests that
    /// come meanwhile would else not wait for it but open another one.
    pub(super) fn sweep(&self, now: Instant) {
        self.shelves.borrow_mut().retain(|_, shelf| {
            let gone = shelf.idle.extract_if(.., |idle| !idle.may_live(now));
            gone.for_each(|idle| idle.line.say_goodbye());
            shelf.idle.iter().filter(|idle| idle.rests(now)).for_each(|idle| idle.line.rest());
            shelf.shared.retain_mut(|shared| shared.may_live(now));
            let opens = Rc::strong_count(&shelf.opening) > 1;
            opens || !shelf.idle.is_empty() || !shelf.shared.is_empty()
        });
    }
}

impl<B: Payload> Shelf<B> {
    /// The latest idle connection: its endpoint is the least likely to have closed it.
    fn take_idle(&mut self, rested: Duration, now: Instant) -> Option<Connection<B>> {
        // The others have been idle for longer still.
        let recent = |idle: &mut Idle<B>| {
            rested == Duration::MAX || now.duration_since(idle.since) <= rested
        };
        while let Some(idle) = self.idle.pop_if(recent) {
            if idle.may_live(now) {
                let Idle { line, place, .. } = idle;
                return Some(Connection { line: Line::H1(line), place, reused: true });
            }
            idle.line.say_goodbye();
        }
        None
    }

    fn take_stream(
        &mut self,
        tasks: &Rc<RefCell<LocalTasks>>,
        now: Instant,
    ) -> Option<Connection<B>> {
        let shared =
            self.shared.iter_mut().find_map(|shared| shared.has_room(now).then_some(shared))?;
        shared.last_used = now;
        Some(Connection {
            line: Line::H2(Box::new(Channel::new(shared.sender.clone(), &shared.streams, tasks))),
            place: Rc::clone(&shared.place),
            reused: true,
        })
    }
}

impl<B: Payload> Idle<B> {
    /// Whether no request has come for it for a while.
    fn rests(&self, now: Instant) -> bool {
        now.duration_since(self.since) > REST
    }

    fn may_live(&self, now: Instant) -> bool {
        now <= self.until && !self.place.endpoint.is_drained() && self.line.is_silent()
    }
}

impl Shared {
    /// Whether the connection takes new requests: it has not ended, and its endpoint has not said goodbye.
    fn is_open(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        !self.streams.ended.get()
            && !matches!(self.sender.poll_ready(&mut context), Poll::Ready(Err(_)))
    }

    fn has_room(&mut self, now: Instant) -> bool {
        self.is_open()
            && !self.streams.doubtful.get()
            && self.streams.has_room()
            && !self.place.is_aged(now)
    }

    /// One that still carries requests stays, however old; it gets no new ones.
    fn may_live(&mut self, now: Instant) -> bool {
        let rested = now.duration_since(self.last_used) > self.place.keep.idle_timeout;
        let done = rested
            || self.place.is_aged(now)
            || self.place.endpoint.is_drained()
            || self.streams.doubtful.get()
            || self.streams.is_worn();
        self.is_open() && (self.streams.open.get() > 0 || !done)
    }
}

/// So long after `start`; as good as never where the clock does not reach so far.
fn after(start: Instant, time: Duration) -> Instant {
    start.checked_add(time).unwrap_or(start + NEVER)
}

/// A hundred years.
const NEVER: Duration = Duration::from_secs(100 * 365 * 86_400);
/// 1 s: a connection that is in use is not idle for longer, and keeps its buffers.
const REST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use http_body_util::Empty;

    use super::*;

    // Requests that came after a sweep opened a second HTTP/2 connection beside the one under way.
    #[test]
    fn a_sweep_leaves_the_turn_to_who_opens_a_connection() {
        let shelves = Shelves::<Empty<Bytes>>::new(Rc::new(RefCell::new(LocalTasks::new("test"))));
        let key = Key { endpoint: EndpointId(1), transport: 0 };
        let opening = shelves.opening(key);

        shelves.sweep(Instant::now());

        assert!(Rc::ptr_eq(&opening, &shelves.opening(key)));
        drop(opening);
        shelves.sweep(Instant::now());
        assert!(shelves.shelves.borrow().is_empty());
    }
}
