//! The bytes of a client's connection, as its two halves share them: what comes is read by the
//! connection between requests and by who forwards a body within one; what goes is written by the
//! connection alone.
//!
//! **Invariant:** one reader at a time. While a body is being read, the connection does not read,
//! and it looks for the next request only where the body has ended. Whoever still has the body of
//! an earlier request finds it ended, and nobody but the connection keeps the socket open.

use std::cell::{Cell, RefCell};
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes};
use http_body::Frame;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::base::memory::{Account, Refused};
use crate::base::purse::{Appetite, Paid, Purse, Short};
use crate::http1::Fault;
use crate::http1::chunks::Part;
use crate::http1::decoder::Decoder;
use crate::http1::gather::{Gathered, SOME};
use crate::http1::reading::Reading;
use crate::http1::room::Room;
use crate::proxy::activity::Activity;
use crate::tls::stream::Stream;

use super::request::{self, Head, Unread};

/// A client's connection below its requests.
#[derive(Debug)]
pub(in crate::proxy) struct Wire {
    pub(super) stream: RefCell<Stream>,
    /// An interim answer was written and may not have left.
    unflushed: Cell<bool>,
    pub(super) inbound: RefCell<Inbound>,
    pub(super) activity: Rc<Activity>,
    room: Rc<Room>,
}

/// What has come and is still to come.
#[derive(Debug)]
pub(super) struct Inbound {
    /// Read and not looked at: of the next head, or of the body and behind it.
    pub(super) gathered: Gathered,
    /// Where a body is read to.
    reading: Reading,
    /// What counts a head that is larger than usual, until its exchange does.
    head: Option<Paid>,
    /// How far a head that is not whole was judged.
    judged: Judged,
    /// The number of the present request.
    pub(super) number: u64,
    /// Of its body.
    pub(super) decoder: Decoder,
    /// The client waits for a word before it sends the body.
    expects: bool,
    /// The body broke off, or is none: nothing that follows is understood any more.
    broken: bool,
    /// Nobody reads the body any more.
    pub(super) abandoned: bool,
    /// Who waits in it.
    reader: Option<Waker>,
    /// The connection, where it has to hear of the body's end, or has something to say.
    waiter: Option<Waker>,
}

/// How far a head that is not whole was judged.
#[derive(Clone, Copy, Debug)]
enum Judged {
    Not,
    /// By its beginning; so many bytes have no end of a line.
    Begin(usize),
    /// By its first line.
    Line,
}

/// What bounds a head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// In bytes.
    pub(super) size: usize,
    pub(super) fields: usize,
}

/// How the body of a request has ended, as the connection sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyEnd {
    /// It was read whole: what follows is the next request.
    Whole,
    /// Nobody will read the rest.
    Unread,
}

impl Wire {
    /// `ahead` was read of `stream`.
    pub(super) fn new(
        stream: Stream,
        ahead: Bytes,
        activity: Rc<Activity>,
        (room, account): (Rc<Room>, Arc<Account>),
    ) -> Rc<Self> {
        let mut gathered = Gathered::default();
        gathered.ahead = ahead;
        let inbound = Inbound {
            gathered,
            reading: Reading::new(Rc::clone(&room), account),
            head: None,
            judged: Judged::Not,
            number: 0,
            decoder: Decoder::Length(0),
            expects: false,
            broken: false,
            abandoned: false,
            reader: None,
            waiter: None,
        };
        Rc::new(Self {
            stream: stream.into(),
            unflushed: Cell::new(false),
            inbound: inbound.into(),
            activity,
            room,
        })
    }

    /// The head of the next request; `None` where the client has left instead. What came before it
    /// of empty lines is passed over (RFC 9112 §2.2). `purse` is the connection's.
    ///
    /// # Errors
    /// When what comes is no head.
    pub(super) fn poll_head(
        &self,
        context: &mut Context<'_>,
        bounds: Bounds,
        purse: &Arc<Purse>,
    ) -> Poll<Result<Option<Head>, Unread>> {
        let mut inbound = self.inbound.borrow_mut();
        if !inbound.gathered.is_empty() {
            self.activity.read(); // it came behind the last request
        }
        loop {
            inbound.pass_over_empty_lines();
            if inbound.gathered.may_be_whole() {
                let mut bytes = inbound.gathered.take();
                let length = bytes.len();
                let head = request::read(&mut bytes, &self.room, bounds.fields)?;
                if length - bytes.len() > bounds.size {
                    return Poll::Ready(Err(Unread::TooLarge));
                }
                if let Some(head) = head {
                    inbound.begin(&head, bytes);
                    return Poll::Ready(Ok(Some(head)));
                }
                inbound.gathered.put_back(&bytes);
            }
            inbound.judge()?;
            let came = inbound.gathered.bytes();
            if came.len() > bounds.size {
                let line = came.contains(&b'\n');
                let too_large = if line { Unread::TooLarge } else { Unread::Target };
                return Poll::Ready(Err(too_large));
            }
            let length = came.len();
            if length > USUAL_HEAD {
                inbound.count_head(length, purse)?;
            }
            match ready!(self.poll_gather(&mut inbound, context)) {
                Ok(1..) => self.activity.read(),
                Ok(0) | Err(_) => return Poll::Ready(Ok(None)),
            }
        }
    }

    /// Whether nothing of a next request has come.
    pub(super) fn is_between_requests(&self) -> bool {
        self.inbound.borrow().gathered.is_empty()
    }

    /// Ready when the client leaves while it is waited for nothing. What it sends meanwhile is kept
    /// for its next request, as far as one read brings it.
    pub(super) fn poll_gone(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut inbound = self.inbound.borrow_mut();
        if !inbound.decoder.is_ended() {
            inbound.wait(context);
            return self.poll_hangup(context);
        }
        if !inbound.gathered.is_empty() {
            return self.poll_hangup(context);
        }
        match ready!(self.poll_gather(&mut inbound, context)) {
            Ok(1..) => self.poll_hangup(context),
            Ok(0) | Err(_) => Poll::Ready(()),
        }
    }

    /// Ready when a client that is watched has left, though not all that it has sent was read.
    fn poll_hangup(&self, context: &mut Context<'_>) -> Poll<()> {
        self.activity.poll_hangup(context, || self.stream.borrow().hangup())
    }

    /// The answer begins: a client that was not asked for its body by now is not asked any more. Tells
    /// whether the connection cannot be used after it, as far as is known: of a body that nobody reads
    /// the rest is not read only to keep a connection.
    pub(super) fn settle_body(&self) -> bool {
        let mut inbound = self.inbound.borrow_mut();
        inbound.broken |= std::mem::take(&mut inbound.expects);
        matches!(inbound.body_end(), Some(BodyEnd::Unread))
    }

    /// Waits until the body has ended or will not be read.
    pub(super) fn poll_body_end(&self, context: &Context<'_>) -> Poll<BodyEnd> {
        let mut inbound = self.inbound.borrow_mut();
        if let Some(end) = inbound.body_end() {
            return Poll::Ready(end);
        }
        inbound.wait(context);
        Poll::Pending
    }

    /// Gives back what a connection that waits for its next request does not need.
    pub(super) fn rest(&self) {
        let mut inbound = self.inbound.borrow_mut();
        inbound.reading.end();
        if inbound.gathered.is_empty() {
            inbound.gathered = Gathered::default();
        }
    }

    /// Whether it is encrypted.
    pub(super) fn is_tls(&self) -> bool {
        self.stream.borrow().is_tls()
    }

    /// Writes the interim answers that are to go before everything else.
    pub(super) fn poll_interim(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(mut first) = self.activity.take_first() {
            let written = Pin::new(&mut *self.stream.borrow_mut()).poll_write(context, &first);
            self.note(&written);
            match written {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(size)) => first.advance(size),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {}
            }
            if !first.is_empty() {
                self.activity.put_first(first);
            }
            if written.is_pending() {
                return Poll::Pending;
            }
            self.unflushed.set(true);
        }
        if self.unflushed.get() {
            ready!(Pin::new(&mut *self.stream.borrow_mut()).poll_flush(context))?;
            self.unflushed.set(false);
        }
        Poll::Ready(Ok(()))
    }

    /// Ends what we say.
    pub(super) fn poll_shutdown(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream.borrow_mut()).poll_shutdown(context)
    }

    /// Says that nothing follows, without waiting for it.
    pub(super) fn say_goodbye(&self) {
        self.stream.borrow_mut().say_goodbye();
    }

    /// Has the connection end with a reset instead of an end, so that what was cut does not look
    /// whole.
    pub(super) fn reset(&self) {
        self.stream.borrow().reset_on_close();
    }

    /// Reads on after the last word and forgets it. Gives how many bytes came.
    pub(super) fn poll_forget(&self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut space = [MaybeUninit::uninit(); SOME];
        let mut space = ReadBuf::uninit(&mut space);
        let read = Pin::new(&mut *self.stream.borrow_mut()).poll_read(context, &mut space);
        read.map_ok(|()| space.filled().len())
    }

    fn poll_gather(
        &self,
        inbound: &mut Inbound,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        inbound.gathered.poll_read(&mut *self.stream.borrow_mut(), &self.room, context)
    }

    pub(super) fn poll_body(
        &self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let mut inbound = self.inbound.borrow_mut();
        if inbound.broken {
            return Poll::Ready(Some(Err(Fault::Closed)));
        }
        loop {
            let Inbound { decoder, gathered, .. } = &mut *inbound;
            let part = match decoder.next(&mut gathered.ahead) {
                Ok(Part::More) => None,
                Ok(Part::Data(data)) => Some(Some(Ok(Frame::data(data)))),
                Ok(Part::Trailers(fields)) => Some(Some(Ok(Frame::trailers(fields)))),
                Ok(Part::End) => Some(None),
                Err(fault) => Some(Some(Err(fault))),
            };
            let part = match part {
                Some(part) => part,
                None => match ready!(self.poll_read_body(&mut inbound, context)) {
                    Ok(1..) => continue,
                    Ok(0) => Some(Err(Fault::Closed)),
                    Err(error) => Some(Err(error.into())),
                },
            };
            inbound.broken = matches!(part, Some(Err(_)));
            if inbound.broken || inbound.decoder.is_ended() {
                inbound.reading.end();
                inbound.wake();
            }
            return Poll::Ready(part);
        }
    }

    fn poll_read_body(
        &self,
        inbound: &mut Inbound,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if std::mem::take(&mut inbound.expects) {
            self.activity.tell(b"HTTP/1.1 100 Continue\r\n\r\n");
            inbound.wake(); // the connection sends it
        }
        let stream = &mut *self.stream.borrow_mut();
        let left = inbound.decoder.left();
        let Poll::Ready(part) = inbound.reading.poll(stream, left, context) else {
            inbound.reader = Some(context.waker().clone());
            return Poll::Pending;
        };
        inbound.gathered.ahead = part?;
        self.activity.read();
        Poll::Ready(Ok(inbound.gathered.ahead.len()))
    }

    /// Notes whether the client takes what is written.
    pub(super) fn note<T>(&self, written: &Poll<io::Result<T>>) {
        if written.is_pending() {
            self.activity.stuck();
        } else {
            self.activity.wrote();
        }
    }
}

impl Inbound {
    /// Counts a head that is larger than usual as far as it has come.
    fn count_head(&mut self, length: usize, purse: &Arc<Purse>) -> Result<(), Unread> {
        let need = length.next_power_of_two() as u64; // as its buffer grows
        if self.head.as_ref().is_none_or(|paid| paid.bytes() < need) {
            self.head = None;
            let paid = purse.begin(Refused::Request, need).map_err(|short| match short {
                Short::Gateway => Unread::Overloaded,
                Short::Client => Unread::ClientOverloaded,
            });
            self.head = Some(paid?);
        }
        Ok(())
    }

    /// How large the reads of its body may get.
    pub(super) fn set_appetite(&mut self, appetite: Appetite) {
        self.reading.set_appetite(appetite);
    }

    /// A request begins whose head was read; `ahead` follows it.
    fn begin(&mut self, head: &Head, ahead: Bytes) {
        // Of nothing no hold is left on the memory that the head lies in.
        self.gathered.ahead = if ahead.is_empty() { Bytes::new() } else { ahead };
        self.decoder = head.decoder.clone();
        self.expects = head.expects && !self.decoder.is_ended() && self.gathered.is_empty();
        self.number += 1;
        (self.judged, self.broken, self.abandoned) = (Judged::Not, false, false);
        (self.head, self.reader, self.waiter) = (None, None, None);
    }

    /// What is no head is refused as soon as that shows: its sender may be waiting for a word. Looked
    /// at twice only, so that a head that comes byte by byte costs no more than its bytes.
    fn judge(&mut self) -> Result<(), Unread> {
        let came = self.gathered.bytes();
        let (fresh, is_first) = match self.judged {
            Judged::Not => (came, true),
            Judged::Begin(length) => (came.get(length..).unwrap_or(came), false),
            Judged::Line => return Ok(()),
        };
        let is_line = fresh.contains(&b'\n');
        self.judged = match () {
            () if came.is_empty() => return Ok(()),
            () if is_line => Judged::Line,
            () => Judged::Begin(came.len()),
        };
        if is_first || is_line { request::judge(came) } else { Ok(()) }
    }

    /// How the body has ended, if it has. Of one that nobody reads, what has come already is passed
    /// over.
    fn body_end(&mut self) -> Option<BodyEnd> {
        if self.abandoned && !self.broken {
            self.pass_over_body();
        }
        if !self.broken && self.decoder.is_ended() {
            return Some(BodyEnd::Whole);
        }
        (self.broken || self.abandoned).then_some(BodyEnd::Unread)
    }

    fn wait(&mut self, context: &Context<'_>) {
        if !self.waiter.as_ref().is_some_and(|known| known.will_wake(context.waker())) {
            self.waiter = Some(context.waker().clone());
        }
    }

    fn pass_over_empty_lines(&mut self) {
        self.gathered.pass_over(|bytes| match bytes {
            [b'\n', ..] => 1,
            [b'\r', b'\n', ..] => 2,
            _ => 0,
        });
    }

    fn pass_over_body(&mut self) {
        loop {
            match self.decoder.next(&mut self.gathered.ahead) {
                Ok(Part::Data(_) | Part::Trailers(_)) => {}
                Ok(Part::More | Part::End) => return,
                // What comes after it may look like chunks again, and is none.
                Err(_) => {
                    self.broken = true;
                    return;
                }
            }
        }
    }

    pub(super) fn wake(&mut self) {
        if let Some(waiter) = self.waiter.take() {
            waiter.wake();
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        // A socket that closes wakes nobody.
        if let Some(reader) = self.inbound.get_mut().reader.take() {
            reader.wake();
        }
    }
}

/// 4 KiB: what a connection counts with.
const USUAL_HEAD: usize = 4 << 10;
