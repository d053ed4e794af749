//! The request's body on its way to endpoints: one stream from the client that several attempts
//! may read in turn. Counted, limited, kept for a retry as far as its rule and the tenant's memory
//! allow, and never collected beyond that.
//!
//! **Invariant:** one reader at a time. An attempt that was given up may still have a connection
//! that sends; what it took would be a hole in the body of the next one.

use std::cell::RefCell;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderName;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::base::memory::{Account, Held, Refused};
use crate::limits::limit::Limit;
use crate::limits::pacer::Pacer;
use crate::resilience::allowance::Allowance;

use super::activity::{Activity, Uploading};
use super::hygiene;
use super::incoming::Incoming;
use super::mirror::{Copying, Kept};
use super::pace::{Pace, Rate};
use super::part::Part;

/// Why a request's body ended before its end. The endpoint is not to blame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(super) enum BodyFault {
    /// Larger than allowed.
    #[error("the request body is larger than {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: u64,
        /// Whose it is; `None` = the gateway's.
        by: Option<Limit>,
    },
    /// The client fell silent.
    #[error("the client sent nothing of the request body for {limit:?}")]
    Stalled {
        /// The limit.
        limit: Duration,
    },
    /// The client sent too little.
    #[error("the client sent less than {rate} bytes of the request body a second")]
    Trickle {
        /// The rate that was asked for.
        rate: u64,
    },
    /// The client was still sending when the time for an answer was over.
    #[error("the request body was not there whole within {limit:?}")]
    Slow {
        /// The limit.
        limit: Duration,
    },
    /// The client left, or broke the framing.
    #[error("the request body broke off: {0}")]
    Broken(String),
}

/// What bounds a request's body.
#[derive(Debug)]
pub(super) struct BodyRule {
    /// Largest size, in bytes.
    pub(super) max: u64,
    /// Which limit says so; `None` = the gateway's.
    pub(super) by: Option<Limit>,
    /// Longest silence.
    pub(super) silence: Duration,
    /// How fast it must come.
    pub(super) rate: Rate,
    /// Bytes kept for a retry.
    pub(super) replay: u64,
    /// The tenant's memory for what is kept.
    pub(super) allowance: Arc<Allowance>,
    /// The memory of the process for what is kept.
    pub(super) account: Arc<Account>,
    /// Names that no trailer may carry.
    pub(super) owned: Rc<hygiene::OwnedNames>,
    /// The same, since the head's `Connection` field names them.
    pub(super) nominated: Vec<HeaderName>,
    /// Tells the client's connection that bytes are the body's.
    pub(super) uploading: Option<Uploading>,
    /// How fast it may go.
    pub(super) pacer: Option<Box<Pacer>>,
}

/// The body as one attempt reads it.
pub(super) enum RequestBody {
    /// There is none.
    Empty,
    /// What was kept, then what the client still sends.
    Stream(Reader),
    /// All of it is here.
    Kept(Kept),
}

/// Reads the stream until the next reader is made.
pub(super) struct Reader {
    stream: Rc<RefCell<Stream>>,
    number: u32,
}

/// The client's stream. Clones are handles to the same one.
#[derive(Clone)]
pub(super) struct Upload(Option<Rc<RefCell<Stream>>>);

struct Stream {
    incoming: Incoming,
    rule: BodyRule,
    pace: Pace,
    /// The number of the present reader.
    reader: u32,
    /// Who waits in it.
    reading: Option<Waker>,
    /// Parts of what is kept that it has had.
    position: usize,
    kept: Vec<Part>,
    kept_bytes: u64,
    kept_held: Held,
    keeping: bool,
    read: u64,
    /// When an endpoint last took a part.
    taken: Option<Instant>,
    ended: Option<Instant>,
    fault: Option<BodyFault>,
    silence: Option<Pin<Box<Sleep>>>,
    /// Who waits for the end.
    waiter: Option<Waker>,
    /// Another pool gets a copy.
    copy: Option<Box<Copying>>,
}

impl Upload {
    /// The stream of a request whose body is `incoming`.
    pub(super) fn new(incoming: Incoming, rule: impl FnOnce() -> BodyRule) -> Self {
        if incoming.is_end_stream() {
            return Self(None);
        }
        let rule = rule();
        Self(Some(Rc::new(RefCell::new(Stream {
            incoming,
            keeping: rule.replay > 0,
            kept_held: rule.account.take(0),
            pace: Pace::new(rule.rate),
            rule,
            reader: 0,
            reading: None,
            position: 0,
            kept: Vec::new(),
            kept_bytes: 0,
            read: 0,
            taken: None,
            ended: None,
            fault: None,
            silence: None,
            waiter: None,
            copy: None,
        }))))
    }

    /// The body from its start, or nothing if too much of it was read to have it again. A reader
    /// that was made before gets no more of it.
    pub(super) fn reader(&self) -> Option<RequestBody> {
        let Some(stream) = &self.0 else {
            return Some(RequestBody::Empty);
        };
        let number = stream.borrow_mut().turn()?;
        Some(RequestBody::Stream(Reader { stream: Rc::clone(stream), number }))
    }

    /// Has what comes of it copied, of which nothing was read yet.
    pub(super) fn copy_to(&self, copy: Box<Copying>) {
        if let Some(stream) = &self.0 {
            stream.borrow_mut().copy = Some(copy);
        }
    }

    /// At least so many bytes are still to come.
    pub(super) fn coming(&self) -> u64 {
        self.0.as_ref().map_or(0, |stream| stream.borrow().incoming.size_hint().lower())
    }

    /// When the client had sent all of it, if it has.
    pub(super) fn ended_at(&self) -> Option<Instant> {
        self.0.as_ref().and_then(|stream| stream.borrow().ended)
    }

    /// The client's connection, where it has not sent all of it.
    pub(super) fn client(&self) -> Option<Rc<Activity>> {
        let stream = self.0.as_ref()?.borrow();
        stream.rule.uploading.as_ref().map(Uploading::client)
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Whether [`Upload::reader`] would give a body.
    pub(super) fn is_replayable(&self) -> bool {
        self.0.as_ref().is_none_or(|stream| stream.borrow().is_whole())
    }

    /// Whether the endpoint has had all that the client has sent, or may have by now, and waits for
    /// more of it.
    pub(super) fn awaits_client(&self) -> bool {
        self.0.as_ref().is_some_and(|stream| stream.borrow().waits_for_more())
    }

    /// When an endpoint last took a part of it.
    pub(super) fn taken(&self) -> Option<Instant> {
        self.0.as_ref().and_then(|stream| stream.borrow().taken)
    }

    /// No further attempt will follow: nothing is kept from now on.
    pub(super) fn settle(&self) {
        if let Some(stream) = &self.0 {
            let mut stream = stream.borrow_mut();
            stream.keeping = false;
            stream.forget_read();
        }
    }

    /// Why the body ended before its end.
    pub(super) fn fault(&self) -> Option<BodyFault> {
        self.0.as_ref().and_then(|stream| stream.borrow().fault.clone())
    }

    /// Bytes read from the client.
    pub(super) fn bytes(&self) -> u64 {
        self.0.as_ref().map_or(0, |stream| stream.borrow().read)
    }

    /// Waits until the client has sent all of it.
    pub(super) async fn ended(&self) -> Instant {
        let Some(stream) = &self.0 else {
            return Instant::now();
        };
        std::future::poll_fn(|context| {
            let mut stream = stream.borrow_mut();
            if let Some(ended) = stream.ended {
                return Poll::Ready(ended);
            }
            stream.waiter = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }
}

impl Stream {
    /// Whether it is read from, and the client or a limit of bytes in a time has nothing to give.
    fn waits_for_more(&self) -> bool {
        self.silence.is_some() || self.rule.pacer.as_ref().is_some_and(|pacer| pacer.is_waiting())
    }

    /// Whether it can be read from its start.
    fn is_whole(&self) -> bool {
        self.fault.is_none() && (self.keeping || self.read == 0)
    }

    /// The number of a new reader; the one before hears that its turn is over.
    fn turn(&mut self) -> Option<u32> {
        if !self.is_whole() {
            return None;
        }
        self.reader = self.reader.wrapping_add(1);
        self.position = 0;
        if let Some(before) = self.reading.take() {
            before.wake();
        }
        Some(self.reader)
    }

    fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        if let Some(part) = self.kept.get(self.position).cloned() {
            self.position += 1;
            self.forget_read();
            return Poll::Ready(Some(Ok(part.into_frame())));
        }
        let Poll::Ready(polled) = self.poll_part(context) else {
            if !self.reading.as_ref().is_some_and(|known| known.will_wake(context.waker())) {
                self.reading = Some(context.waker().clone());
            }
            return Poll::Pending;
        };
        if self.copy.is_some() {
            self.copy = Copying::follow(self.copy.take(), polled.as_ref(), self.ended.is_some());
        }
        Poll::Ready(polled.map(|part| {
            let part = part?;
            self.keep(&part);
            Ok(part.into_frame())
        }))
    }

    fn poll_part(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Part, BodyFault>>> {
        if let Some(fault) = &self.fault {
            return Poll::Ready(Some(Err(fault.clone())));
        }
        if self.ended.is_some() {
            return Poll::Ready(None);
        }
        if let Some(pacer) = &mut self.rule.pacer {
            ready!(pacer.poll(context));
        }
        let polled = match self.incoming.poll_frame(context) {
            Poll::Pending => return self.poll_silence(context),
            Poll::Ready(polled) => polled,
        };
        self.silence = None;
        let part = match polled {
            None => {
                self.end();
                return Poll::Ready(None);
            }
            Some(Err(why)) => return self.fail(BodyFault::Broken(why)),
            Some(Ok(frame)) => Part::of(frame, &self.rule.nominated, &self.rule.owned),
        };
        if !self.pace.came(part.size()) {
            return self.fail(BodyFault::Trickle { rate: self.rule.rate.bytes });
        }
        if let Some(pacer) = &mut self.rule.pacer {
            pacer.count(part.size());
        }
        self.read = self.read.saturating_add(part.size());
        if self.read > self.rule.max {
            return self.fail(BodyFault::TooLarge { limit: self.rule.max, by: self.rule.by });
        }
        // HTTP/2 may say after the last byte of a length that it was the last; who sends so many
        // bytes to the endpoint does not ask again.
        if self.incoming.is_end_stream() || self.incoming.size_hint().exact() == Some(0) {
            self.end();
        }
        Poll::Ready(Some(Ok(part)))
    }

    fn poll_silence(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Part, BodyFault>>> {
        let limit = self.rule.silence;
        let silence = match &mut self.silence {
            Some(silence) => silence,
            none => {
                let now = Instant::now();
                let left = self.pace.wait(now).map_or(limit, |left| left.min(limit));
                none.insert(Box::pin(tokio::time::sleep_until(now + left)))
            }
        };
        match silence.as_mut().poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) if self.pace.came(0) => self.fail(BodyFault::Stalled { limit }),
            Poll::Ready(()) => self.fail(BodyFault::Trickle { rate: self.rule.rate.bytes }),
        }
    }

    fn fail(&mut self, fault: BodyFault) -> Poll<Option<Result<Part, BodyFault>>> {
        self.fault = Some(fault.clone());
        self.rule.uploading = None;
        self.forget();
        Poll::Ready(Some(Err(fault)))
    }

    fn end(&mut self) {
        self.ended.get_or_insert_with(Instant::now);
        self.rule.uploading = None;
        if let Some(waiter) = self.waiter.take() {
            waiter.wake();
        }
    }

    /// Keeps a part, or gives up on keeping where it does not fit.
    fn keep(&mut self, part: &Part) {
        if !self.keeping {
            self.forget();
            return;
        }
        let size = part.size();
        if self.may_keep(size) {
            self.kept_bytes += size;
            part.append_to(&mut self.kept);
            self.position = self.kept.len();
        } else {
            self.keeping = false;
            self.forget();
        }
    }

    /// Takes memory for a part, of the tenant's and of the process's.
    fn may_keep(&mut self, size: u64) -> bool {
        let rule = &self.rule;
        if self.kept_bytes + size > rule.replay || !rule.allowance.take(size) {
            return false;
        }
        let granted = self.kept_held.ask_more(Refused::Replay, size);
        if !granted {
            rule.allowance.give_back(size);
        }
        granted
    }

    /// Forgets what no other reader will ask for, once this one has had it.
    fn forget_read(&mut self) {
        if !self.keeping && self.position >= self.kept.len() {
            self.forget();
        }
    }

    fn forget(&mut self) {
        self.kept = Vec::new();
        self.position = 0;
        self.rule.allowance.give_back(std::mem::take(&mut self.kept_bytes));
        self.kept_held.clear();
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.forget();
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let reader = match self.get_mut() {
            Self::Stream(reader) => reader,
            Self::Kept(kept) => return Poll::Ready(kept.next().map(|part| Ok(part.into_frame()))),
            Self::Empty => return Poll::Ready(None),
        };
        let mut stream = reader.stream.borrow_mut();
        if stream.reader != reader.number {
            let why = "another attempt sends it".to_owned();
            return Poll::Ready(Some(Err(BodyFault::Broken(why))));
        }
        let polled = stream.poll_frame(context);
        if matches!(polled, Poll::Ready(Some(Ok(_)))) {
            stream.taken = Some(Instant::now());
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Kept(kept) => kept.is_ended(),
            Self::Stream(reader) => {
                let stream = reader.stream.borrow();
                stream.reader == reader.number
                    && stream.position >= stream.kept.len()
                    && stream.fault.is_none()
                    && stream.incoming.is_end_stream()
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        let reader = match self {
            Self::Stream(reader) => reader,
            Self::Kept(kept) => return SizeHint::with_exact(kept.size()),
            Self::Empty => return SizeHint::with_exact(0),
        };
        let stream = reader.stream.borrow();
        let kept: u64 = stream.kept.iter().skip(stream.position).map(Part::size).sum();
        let coming = stream.incoming.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(coming.lower().saturating_add(kept));
        if let Some(upper) = coming.upper() {
            hint.set_upper(upper.saturating_add(kept));
        }
        hint
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "RequestBody::Empty",
            Self::Stream(_) => "RequestBody::Stream",
            Self::Kept(_) => "RequestBody::Kept",
        })
    }
}
