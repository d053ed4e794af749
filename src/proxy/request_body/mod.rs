//! The request's body on its way to endpoints: one stream from the client that several attempts
//! may read in turn. Counted, limited, kept for a retry as far as its rule and the tenant's memory
//! allow, and never collected beyond that.
//!
//! **Invariant:** one reader at a time. An attempt that was given up may still have a connection
//! that sends; what it took would be a hole in the body of the next one.

mod filed;
mod reading;

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http_body::Frame;
use tokio::time::{Instant, Sleep};

use crate::base::memory::Refused;
use crate::base::purse::{Paid, Passage};

use super::activity::{Activity, Uploading};
use super::body_rule::{BodyFault, BodyRule};
use super::incoming::Incoming;
use super::mirror::{Copying, Kept};
use super::pace::Pace;
use super::part::Part;
use super::spill::Spill;

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
    side: Side,
    /// It has had all of it: then it ends well, whoever reads by now.
    has_all: bool,
}

/// The client's stream. Clones are handles to the same one.
#[derive(Clone)]
pub(super) struct Upload(Option<Rc<RefCell<Stream>>>);

/// Whose reader it is, where two attempts are under way at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// That of the attempts that follow one another.
    Own,
    /// That of one beside the first of them.
    Beside,
}

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
    kept_held: Paid,
    passage: Passage,
    /// What is kept behind that. Boxed: it is rare.
    spill: Option<Box<Spill>>,
    keeping: bool,
    read: u64,
    /// When an endpoint last took a part, by [`Side`]: one does not tell how long another takes.
    taken: [Option<Instant>; 2],
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
            kept_held: rule.purse.take(0),
            passage: Passage::default(),
            pace: Pace::new(rule.rate),
            rule,
            reader: 0,
            reading: None,
            position: 0,
            kept: Vec::new(),
            kept_bytes: 0,
            spill: None,
            read: 0,
            taken: [None; 2],
            ended: None,
            fault: None,
            silence: None,
            waiter: None,
            copy: None,
        }))))
    }

    /// The body from its start, or nothing if too much of it was read to have it again. A reader
    /// that was made before gets no more of it.
    pub(super) fn reader(&self, side: Side) -> Option<RequestBody> {
        let Some(stream) = &self.0 else {
            return Some(RequestBody::Empty);
        };
        let number = stream.borrow_mut().turn()?;
        let stream = Rc::clone(stream);
        Some(RequestBody::Stream(Reader { stream, number, side, has_all: false }))
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

    /// Whether the reader of now has had all of it, and it can be had again: so that another attempt may
    /// have it beside the one under way.
    pub(super) fn is_sent_and_kept(&self) -> bool {
        self.0.as_ref().is_none_or(|stream| {
            let mut stream = stream.borrow_mut();
            stream.is_written() && stream.is_whole() && stream.is_read()
        })
    }

    /// Whether the endpoint has had all that the client has sent, or may have by now, and waits for
    /// more of it.
    pub(super) fn awaits_client(&self) -> bool {
        self.0.as_ref().is_some_and(|stream| stream.borrow().waits_for_more())
    }

    /// When an endpoint last took a part of it.
    pub(super) fn taken(&self, side: Side) -> Option<Instant> {
        self.0.as_ref().and_then(|stream| stream.borrow().taken[side as usize])
    }

    /// No further attempt will follow: nothing is kept from now on.
    pub(super) fn settle(&self) {
        if let Some(stream) = &self.0 {
            let mut stream = stream.borrow_mut();
            stream.keeping = false;
            stream.forget_read();
        }
    }

    /// The request is sent anew, of which nothing was read: it may be kept as if it had not been settled.
    #[cold]
    pub(super) fn keep_again(&self) {
        if let Some(stream) = &self.0 {
            let mut stream = stream.borrow_mut();
            if stream.read == 0 {
                stream.keeping = stream.rule.replay > 0;
            }
        }
    }

    /// Bytes of it that are kept in memory.
    #[cold]
    pub(super) fn kept(&self) -> u64 {
        self.0.as_ref().map_or(0, |stream| stream.borrow().kept_bytes)
    }

    /// Waits until what is kept in a file is there, or known not to be.
    #[cold]
    pub(super) async fn written(&self) {
        let Some(stream) = &self.0 else { return };
        std::future::poll_fn(|context| stream.borrow_mut().poll_written(context)).await;
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

    /// Whether the present reader has had all of it.
    fn is_read(&self) -> bool {
        self.ended.is_some() && self.has_kept()
    }

    /// Whether it has had all that is kept.
    fn has_kept(&self) -> bool {
        let is_read = |spill: &Spill| spill.is_read();
        self.position >= self.kept.len() && self.spill.as_deref().is_none_or(is_read)
    }

    /// The number of a new reader; the one before hears that its turn is over.
    fn turn(&mut self) -> Option<u32> {
        if !self.is_whole() {
            return None;
        }
        self.reader = self.reader.wrapping_add(1);
        self.position = 0;
        if let Some(spill) = &mut self.spill {
            spill.rewind();
        }
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
        if self.spill.is_some() {
            match self.poll_spill(context) {
                Poll::Ready(None) => {}
                Poll::Ready(Some(part)) => return Poll::Ready(Some(part.map(Part::into_frame))),
                Poll::Pending => {
                    self.reading = Some(context.waker().clone());
                    return Poll::Pending;
                }
            }
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
        self.incoming.set_appetite(self.kept_held.appetite());
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
            Some(Ok(frame)) => {
                let frame = frame.map_data(|data| self.passage.count(&self.kept_held, data));
                Part::of(frame, &self.rule.nominated, &self.rule.owned)
            }
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
        if self.spill.is_none() && self.may_keep(size) {
            self.kept_bytes += size;
            part.append_to(&mut self.kept);
            self.position = self.kept.len();
        } else if !self.keep_in_file(part) {
            self.keeping = false;
            self.forget();
        }
    }

    /// Takes memory for a part, of the tenant's and of the process's.
    fn may_keep(&mut self, size: u64) -> bool {
        let rule = &self.rule;
        let most = rule.replay.min(rule.memory);
        if self.kept_bytes + size > most || !rule.allowance.take(size) {
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
        if !self.keeping && self.has_kept() {
            self.forget();
        }
    }

    fn forget(&mut self) {
        self.kept = Vec::new();
        self.spill = None;
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
