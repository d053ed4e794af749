//! The bytes of a client's connection, as its two halves share them: what comes is read by the
//! connection between requests and by who forwards a body within one; what goes is written by the
//! connection alone.
//!
//! **Invariant:** one reader at a time. While a body is being read, the connection does not read,
//! and it looks for the next request only where the body has ended.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::header::HeaderMap;
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use crate::http1::Fault;
use crate::http1::chunks::Part;
use crate::http1::decoder::Decoder;
use crate::http1::fields::is_whole;
use crate::proxy::activity::Activity;
use crate::tls::stream::Stream;

use super::request::{self, Head, Unread};

/// A client's connection below its requests.
#[derive(Debug)]
pub(in crate::proxy) struct Wire {
    stream: RefCell<Stream>,
    inbound: RefCell<Inbound>,
    activity: Rc<Activity>,
}

/// What has come and is still to come.
#[derive(Debug)]
struct Inbound {
    /// Read of the next head.
    read: BytesMut,
    /// How much of it was looked through.
    seen: usize,
    /// Read, and of the body or behind it.
    ahead: Bytes,
    /// Of the present body.
    decoder: Decoder,
    /// The client waits for a word before it sends the body.
    expects: bool,
    /// Room for the next read of a body, in bytes.
    room: usize,
    /// The body broke off, or is none: nothing that follows is understood any more.
    broken: bool,
    /// Nobody reads the body any more.
    abandoned: bool,
    /// Who waits for the body's end.
    waiter: Option<Waker>,
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

/// The body of a request, for who reads it.
#[derive(Debug)]
pub(in crate::proxy) struct Body(Rc<Wire>);

impl Wire {
    /// `ahead` was read of `stream`.
    pub(super) fn new(stream: Stream, ahead: Bytes, activity: Rc<Activity>) -> Rc<Self> {
        let inbound = Inbound {
            read: BytesMut::new(),
            seen: 0,
            ahead,
            decoder: Decoder::Length(0),
            expects: false,
            room: LEAST_ROOM,
            broken: false,
            abandoned: false,
            waiter: None,
        };
        Rc::new(Self { stream: stream.into(), inbound: inbound.into(), activity })
    }

    /// The head of the next request; `None` where the client has left instead. What came before it
    /// of empty lines is passed over (RFC 9112 §2.2).
    ///
    /// # Errors
    /// When what comes is no head.
    pub(super) fn poll_head(
        &self,
        context: &mut Context<'_>,
        bounds: Bounds,
        headers: &mut HeaderMap,
    ) -> Poll<Result<Option<Head>, Unread>> {
        let mut inbound = self.inbound.borrow_mut();
        if !inbound.ahead.is_empty() {
            let ahead = std::mem::take(&mut inbound.ahead);
            inbound.read.extend_from_slice(&ahead);
        }
        if !inbound.read.is_empty() {
            self.activity.read(); // it came behind the last request
        }
        loop {
            inbound.pass_over_empty_lines();
            let (length, seen) = (inbound.read.len(), inbound.seen);
            if is_whole(&inbound.read, seen) {
                let mut bytes = std::mem::take(&mut inbound.read).freeze();
                inbound.seen = 0;
                let head = request::read(&mut bytes, std::mem::take(headers), bounds.fields)?;
                if length - bytes.len() > bounds.size {
                    return Poll::Ready(Err(Unread::TooLarge));
                }
                let Some(head) = head else {
                    return Poll::Ready(Err(Unread::Unclear("its head ends within a line")));
                };
                inbound.begin(&head, bytes);
                return Poll::Ready(Ok(Some(head)));
            }
            inbound.seen = length;
            if length > bounds.size {
                let line = inbound.read.contains(&b'\n');
                let too_large = if line { Unread::TooLarge } else { Unread::Target };
                return Poll::Ready(Err(too_large));
            }
            match ready!(self.poll_read_some(&mut inbound, context)) {
                Ok(1..) => self.activity.read(),
                Ok(0) | Err(_) => return Poll::Ready(Ok(None)),
            }
        }
    }

    /// Whether nothing of a next request has come.
    pub(super) fn is_between_requests(&self) -> bool {
        let inbound = self.inbound.borrow();
        inbound.read.is_empty() && inbound.ahead.is_empty()
    }

    /// Ready when the client leaves while it is waited for nothing. What it sends meanwhile is kept
    /// for its next request, as far as one read brings it.
    pub(super) fn poll_gone(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut inbound = self.inbound.borrow_mut();
        let awaited = inbound.decoder.is_ended() && inbound.ahead.is_empty();
        if !awaited || !inbound.read.is_empty() {
            return Poll::Pending;
        }
        match ready!(self.poll_read_some(&mut inbound, context)) {
            Ok(1..) => Poll::Pending,
            Ok(0) | Err(_) => Poll::Ready(()),
        }
    }

    /// Waits until the body has ended or will not be read. Of one that nobody reads, what has come
    /// already is passed over.
    pub(super) fn poll_body_end(&self, context: &Context<'_>) -> Poll<BodyEnd> {
        let mut inbound = self.inbound.borrow_mut();
        if inbound.abandoned && !inbound.broken {
            inbound.pass_over_body();
        }
        if inbound.broken {
            return Poll::Ready(BodyEnd::Unread);
        }
        if inbound.decoder.is_ended() {
            return Poll::Ready(BodyEnd::Whole);
        }
        if inbound.abandoned {
            return Poll::Ready(BodyEnd::Unread);
        }
        inbound.waiter = Some(context.waker().clone());
        Poll::Pending
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
        }
        Poll::Ready(Ok(()))
    }

    /// Ends what we say.
    pub(super) fn poll_shutdown(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream.borrow_mut()).poll_shutdown(context)
    }

    /// Has the connection end with a reset instead of an end, so that what was cut does not look
    /// whole.
    pub(super) fn reset(&self) {
        self.stream.borrow().reset_on_close();
    }

    /// Reads on after the last word and forgets it. Gives how many bytes came.
    pub(super) fn poll_forget(&self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut space = [MaybeUninit::uninit(); SMALL];
        let mut space = ReadBuf::uninit(&mut space);
        let read = Pin::new(&mut *self.stream.borrow_mut()).poll_read(context, &mut space);
        read.map_ok(|()| space.filled().len())
    }

    /// Reads what has come, so that a connection that waits holds no memory to read into.
    fn poll_read_some(
        &self,
        inbound: &mut Inbound,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut space = [MaybeUninit::uninit(); SMALL];
        let mut space = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut *self.stream.borrow_mut()).poll_read(context, &mut space))?;
        inbound.read.extend_from_slice(space.filled());
        Poll::Ready(Ok(space.filled().len()))
    }

    fn poll_body(&self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let mut inbound = self.inbound.borrow_mut();
        if inbound.broken {
            return Poll::Ready(Some(Err(Fault::Closed)));
        }
        loop {
            let Inbound { decoder, ahead, .. } = &mut *inbound;
            let part = match decoder.next(ahead) {
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
            // Where it cannot go now the connection sends it on.
            drop(self.poll_interim(context));
        }
        inbound.read.reserve(inbound.room);
        let room = inbound.read.capacity() - inbound.read.len();
        let mut stream = self.stream.borrow_mut();
        let read = ready!(pin!(stream.read_buf(&mut inbound.read)).poll(context))?;
        self.activity.read();
        // Large bodies come in large reads, and small ones do not hold large buffers.
        inbound.room = if read == room { (inbound.room * 2).min(MOST_ROOM) } else { LEAST_ROOM };
        inbound.ahead = inbound.read.split().freeze();
        Poll::Ready(Ok(read))
    }

    /// Notes whether the client takes what is written.
    fn note(&self, written: &Poll<io::Result<usize>>) {
        if written.is_pending() {
            self.activity.stuck();
        } else {
            self.activity.wrote();
        }
    }
}

impl Inbound {
    /// A request begins whose head was read; `ahead` follows it.
    fn begin(&mut self, head: &Head, ahead: Bytes) {
        self.ahead = ahead;
        self.decoder = head.decoder.clone();
        self.expects = head.expects && self.ahead.is_empty();
        self.room = LEAST_ROOM;
        self.abandoned = false;
        self.waiter = None;
    }

    fn pass_over_empty_lines(&mut self) {
        while let [b'\n', ..] | [b'\r', b'\n', ..] = self.read[..] {
            self.read.advance(if self.read[0] == b'\n' { 1 } else { 2 });
            self.seen = 0;
        }
    }

    fn pass_over_body(&mut self) {
        loop {
            match self.decoder.next(&mut self.ahead) {
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

    fn wake(&mut self) {
        if let Some(waiter) = self.waiter.take() {
            waiter.wake();
        }
    }
}

impl Body {
    /// The body of the request whose head was read last.
    pub(super) fn of(wire: &Rc<Wire>) -> Self {
        Self(Rc::clone(wire))
    }

    /// The next part.
    ///
    /// # Errors
    /// When it breaks off or is not valid.
    pub(in crate::proxy) fn poll_frame(
        &self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        self.0.poll_body(context)
    }

    /// Whether all of it was read.
    pub(in crate::proxy) fn is_end_stream(&self) -> bool {
        self.0.inbound.borrow().decoder.is_ended()
    }

    /// How much is still to come.
    pub(in crate::proxy) fn size_hint(&self) -> SizeHint {
        self.0.inbound.borrow().decoder.size_hint()
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        let mut inbound = self.0.inbound.borrow_mut();
        inbound.abandoned = true;
        inbound.wake();
    }
}

/// The connection once the endpoint has switched protocols: bytes from here on.
#[derive(Debug)]
pub(in crate::proxy) struct Switched(Rc<Wire>);

impl Switched {
    /// What of `wire` was read already is read first.
    pub(super) fn of(wire: &Rc<Wire>) -> Self {
        let mut inbound = wire.inbound.borrow_mut();
        if inbound.ahead.is_empty() {
            inbound.ahead = inbound.read.split().freeze();
        }
        Self(Rc::clone(wire))
    }
}

impl AsyncRead for Switched {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut inbound = self.0.inbound.borrow_mut();
        if inbound.ahead.is_empty() {
            return Pin::new(&mut *self.0.stream.borrow_mut()).poll_read(context, buffer);
        }
        let size = inbound.ahead.len().min(buffer.remaining());
        buffer.put_slice(&inbound.ahead[..size]);
        inbound.ahead.advance(size);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Switched {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.stream.borrow_mut()).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.stream.borrow_mut()).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_shutdown(context)
    }
}

/// Writes to the client.
pub(super) struct Writer<'w>(pub(super) &'w Wire);

impl Writer<'_> {
    fn poll(
        &self,
        context: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut Stream>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        ready!(self.0.poll_interim(context))?;
        let written = write(Pin::new(&mut *self.0.stream.borrow_mut()), context);
        self.0.note(&written);
        written
    }
}

impl AsyncWrite for Writer<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll(context, |stream, context| stream.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll(context, |stream, context| stream.poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut *self.0.stream.borrow_mut()).poll_flush(context);
        if flushed.is_pending() {
            self.0.activity.stuck();
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_shutdown(context)
    }
}

/// 4 KiB: a usual head, and a small body with it, comes in one read.
const SMALL: usize = 4 << 10;
/// 8 KiB: what a usual body takes.
const LEAST_ROOM: usize = 8 << 10;
/// 256 KiB: beyond it a larger read saves nothing.
const MOST_ROOM: usize = 256 << 10;
