//! One HTTP/1.1 connection to an endpoint (RFC 9112), driven by the task of the request that it
//! carries: no task of its own, no channel, and the request's head is written from where it lies.
//!
//! **Invariants:** one request at a time. What is not the answer to it (bytes before the request,
//! bytes after the answer) ends the connection, and what fails is never used again.

mod answer;
mod body;
mod chunks;
mod line;
mod request;
mod sending;

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Method, Response, StatusCode};
use http_body::{Frame, SizeHint};
use tokio::io::AsyncReadExt;
use tokio::time::{Sleep, sleep};

use crate::base::memory::{Account, Refused, Space};

use super::stream::Stream;
use super::{Call, HeadLimits, Payload};

pub(super) use line::{Line, Open};

use body::Decoder;
use chunks::Part;
use sending::Sending;

/// Why a connection of HTTP/1.1 is of no more use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// The endpoint closed it.
    #[error("the endpoint closed the connection before its answer was whole")]
    Closed,
    /// What came is no HTTP.
    #[error("what came is no HTTP: {0}")]
    Syntax(#[source] httparse::Error),
    /// A head of an answer that nobody should believe.
    #[error("the head of the answer is not valid: {0}")]
    Head(&'static str),
    /// A body of an answer that nobody should believe.
    #[error("a chunk of the answer is not valid: {0}")]
    Chunk(&'static str),
    /// A head of an answer that is too large.
    #[error("the head of the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// The request cannot be sent as it is.
    #[error("the request was not sent: {0}")]
    Request(&'static str),
    /// The request's own body failed.
    #[error("the request body failed: {0}")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// An open connection. `B` is the request's body.
#[derive(Debug)]
pub(super) struct Wire<B> {
    stream: Stream,
    sending: Sending<B>,
    /// The body is held back until then: the client waits for a 100 (RFC 9110 §10.1.1).
    held: Option<Pin<Box<Sleep>>>,
    /// Why the rest of the request cannot be sent; the answer may be on its way all the same.
    broken: Option<Fault>,
    /// What was read of a head that is not whole.
    read: BytesMut,
    /// How much of it was looked through.
    seen: usize,
    /// Heads of status 1xx that came before the answer.
    interim: u32,
    /// What was read and not looked at.
    ahead: Bytes,
    method: Method,
    decoder: Decoder,
    /// The endpoint keeps the connection after this answer.
    keeps: bool,
    /// For how long, where it says so.
    pub(super) rest: Option<Duration>,
    /// Room for the next read, in bytes.
    room: usize,
    account: Arc<Account>,
    /// The memory behind `read`, and all parts of it that are on their way. A head, and what comes
    /// with it, counts as the exchange's.
    memory: Option<Arc<Space>>,
    limits: HeadLimits,
}

impl<B: Payload> Wire<B> {
    /// A connection that has just opened.
    pub(super) fn new(stream: Stream, account: Arc<Account>, limits: HeadLimits) -> Self {
        Self {
            stream,
            sending: Sending::nothing(),
            held: None,
            broken: None,
            read: BytesMut::new(),
            seen: 0,
            interim: 0,
            ahead: Bytes::new(),
            method: Method::GET,
            decoder: Decoder::Length(0),
            keeps: true,
            rest: None,
            room: LEAST_ROOM,
            account,
            memory: None,
            limits,
        }
    }

    /// Begins with a request.
    ///
    /// # Errors
    /// When it cannot be sent as it is.
    pub(super) fn begin(&mut self, call: Call<'_>, body: B) -> Result<(), Fault> {
        self.keeps = false; // until an answer says otherwise
        // RFC 9112 §9.2: what comes before any request was sent is no answer. A connection that
        // rested was asked when it was taken.
        if self.sending.sent == 0 && self.stream.has_spoken() {
            return Err(Fault::Head("it came before the request"));
        }
        self.method = call.head.method.clone();
        self.interim = 0;
        self.ahead = Bytes::new();
        self.sending.begin(call.head, call.added, body)?;
        self.held = self.sending.is_held().then(|| Box::pin(sleep(CONTINUE)));
        Ok(())
    }

    /// Sends on and waits for the head of the answer. Heads of status 1xx are told to `interim`, save
    /// 100, which lets the body go, and 101, which is the answer.
    ///
    /// # Errors
    /// When the connection or the request's body fails, or what comes is no answer.
    pub(super) fn poll_answer(
        &mut self,
        context: &mut Context<'_>,
        interim: &dyn Fn(Response<()>),
    ) -> Poll<Result<Response<()>, Fault>> {
        loop {
            if self.held.as_mut().is_some_and(|held| held.as_mut().poll(context).is_ready()) {
                self.let_go();
            }
            if let Poll::Ready(Err(fault)) = self.poll_send(context) {
                return Poll::Ready(Err(fault));
            }
            if !answer::may_begin(&self.read) {
                return Poll::Ready(Err(answer::blame(&self.read)));
            }
            if answer::is_whole(&self.read, self.seen) {
                self.seen = 0;
                if let Some(answer) = self.read_head(interim)? {
                    return Poll::Ready(Ok(answer));
                }
                continue;
            }
            self.seen = self.read.len();
            if self.seen > self.limits.size {
                return Poll::Ready(Err(Fault::TooLarge(self.limits.size)));
            }
            if ready!(self.poll_read(context))? == 0 {
                let fault = self.broken.take().unwrap_or_else(|| answer::blame(&self.read));
                return Poll::Ready(Err(fault));
            }
        }
    }

    /// Sends what is left of the request.
    ///
    /// # Errors
    /// When the request's body fails, or is not as long as its head says. What the connection says is
    /// told when an answer is waited for.
    pub(super) fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        if self.sending.is_done() || self.broken.is_some() {
            return Poll::Ready(Ok(()));
        }
        match ready!(self.sending.poll(&mut self.stream, context)) {
            Err(fault @ Fault::Io(_)) => self.broken = Some(fault),
            sent => return Poll::Ready(sent),
        }
        Poll::Ready(Ok(()))
    }

    /// The next part of the answer's body.
    ///
    /// # Errors
    /// When it breaks off or is not valid.
    pub(super) fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        loop {
            match self.decoder.next(&mut self.ahead) {
                Ok(Part::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(Part::Trailers(fields)) => {
                    return Poll::Ready(Some(Ok(Frame::trailers(fields))));
                }
                Ok(Part::End) => return Poll::Ready(None),
                Ok(Part::More) => {}
                Err(fault) => return Poll::Ready(Some(Err(fault))),
            }
            ready!(self.poll_turn(context));
            self.make_room();
            let read = match self.poll_read(context) {
                Poll::Ready(Ok(read)) => read,
                Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                Poll::Pending => {
                    self.leave_room();
                    return Poll::Pending;
                }
            };
            if read == 0
                && let Err(fault) = self.decoder.close()
            {
                return Poll::Ready(Some(Err(fault)));
            }
            let bytes = self.read.split().freeze();
            self.ahead = match &self.memory {
                Some(memory) => memory.part(bytes),
                None => bytes,
            };
        }
    }

    /// All that is left of the answer's body, if it has come already and ends by its length.
    pub(super) fn take_rest(&mut self) -> Option<Bytes> {
        self.decoder.take_rest(&mut self.ahead)
    }

    /// Whether all of the answer's body was read.
    pub(super) fn is_end_stream(&self) -> bool {
        self.decoder.is_ended()
    }

    /// How much of the answer's body is still to come.
    pub(super) fn size_hint(&self) -> SizeHint {
        self.decoder.size_hint()
    }

    /// Whether all of the request was sent, or will never be.
    pub(super) fn is_sent(&self) -> bool {
        self.sending.is_done() || self.broken.is_some()
    }

    /// Whether the endpoint may have had a part of the request. Below TLS one write may be several,
    /// and an error says nothing of those before it.
    pub(super) fn has_begun(&self) -> bool {
        self.sending.sent > 0 || self.stream.is_tls()
    }

    /// Bytes of the request that the connection has taken.
    pub(super) fn sent(&self) -> u64 {
        self.sending.sent
    }

    /// Whether the exchange has left the connection fit for another one.
    pub(super) fn is_reusable(&self) -> bool {
        self.keeps
            && self.sending.is_done()
            && self.decoder.is_ended()
            && self.ahead.is_empty()
            && self.read.is_empty()
    }

    /// Whether an idle connection is open and silent. One that has sent something unasked must not
    /// be taken for one that answers the next request. Costs no system call where nothing came.
    pub(super) fn is_silent(&mut self) -> bool {
        self.stream.is_silent()
    }

    /// Gives back the memory that the next request would use.
    pub(super) fn rest(&mut self) {
        self.read = BytesMut::new();
        self.memory = None;
        self.ahead = Bytes::new();
        self.sending.rest();
    }

    /// The bytes below HTTP, once the endpoint has switched protocols, and what was read of them.
    pub(super) fn into_stream(self) -> (Stream, Bytes) {
        (self.stream, self.ahead)
    }

    /// Reads the head that was found whole, and tells whether it is the last word.
    fn read_head(&mut self, interim: &dyn Fn(Response<()>)) -> Result<Option<Response<()>>, Fault> {
        let mut bytes = self.read.split().freeze();
        let whole = bytes.len();
        let head = answer::read(&mut bytes, &self.method, self.limits.fields)?;
        if whole - bytes.len() > self.limits.size {
            return Err(Fault::TooLarge(self.limits.size));
        }
        let status = head.answer.status();
        if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
            self.interim += 1;
            if self.interim > MOST_INTERIM {
                return Err(Fault::Head("too many of status 1xx come before it"));
            }
            self.read.extend_from_slice(&bytes);
            self.let_go();
            if status != StatusCode::CONTINUE {
                interim(head.answer);
            }
            return Ok(None);
        }
        if status == StatusCode::SWITCHING_PROTOCOLS && !self.sending.is_done() {
            // RFC 9110 §7.8: what follows would be read as the rest of the request's body.
            return Err(Fault::Head("it switches protocols before the request was whole"));
        }
        if self.held.take().is_some() {
            // The endpoint does not want the body, and nothing else can follow the head.
            self.broken = Some(Fault::Request("the endpoint answered before its body"));
        }
        self.ahead = if bytes.is_empty() { Bytes::new() } else { bytes };
        (self.decoder, self.keeps, self.rest) = (head.decoder, head.keeps, head.rest);
        self.decoder.check(&self.ahead)?;
        Ok(Some(head.answer))
    }

    /// The body may go.
    fn let_go(&mut self) {
        self.held = None;
        self.sending.let_go();
    }

    /// Where memory is short, the next part of a body is read once the one before it has been taken:
    /// one that waits for its client holds no more than what it began with.
    fn poll_turn(&self, context: &Context<'_>) -> Poll<()> {
        match &self.memory {
            Some(memory) if self.account.is_tight() => memory.poll_free(context),
            _ => Poll::Ready(()),
        }
    }

    /// Makes room for the next part of a body. Memory that the parts before it do not need any more
    /// is used again; where they do, more is taken: little of it where it is short, so that who
    /// reads slowly holds little.
    fn make_room(&mut self) {
        if self.read.try_reclaim(self.room) {
            return;
        }
        let large = (self.room > LEAST_ROOM)
            .then(|| self.account.ask(Refused::Read, self.room as u64))
            .flatten();
        let memory = large.unwrap_or_else(|| {
            self.room = LEAST_ROOM;
            self.account.count(LEAST_ROOM as u64)
        });
        self.memory = Some(Space::new(memory));
        self.read = BytesMut::with_capacity(self.room);
    }

    /// Nothing has come: where memory is short, what it would be read into is given back.
    fn leave_room(&mut self) {
        if self.memory.is_some() && self.account.is_tight() {
            self.read = BytesMut::new();
            self.memory = None;
            self.room = LEAST_ROOM;
        }
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.read.reserve(self.room);
        let room = self.read.capacity() - self.read.len();
        let read = ready!(pin!(self.stream.read_buf(&mut self.read)).poll(context))?;
        // Large answers come in large reads, and small ones do not hold large buffers.
        self.room = if read == room { (self.room * 2).min(MOST_ROOM) } else { LEAST_ROOM };
        Poll::Ready(Ok(read))
    }
}

/// 8 KiB: a usual answer comes in one read.
const LEAST_ROOM: usize = 8 << 10;
/// 256 KiB: beyond it a larger read saves nothing.
const MOST_ROOM: usize = 256 << 10;
/// 500 ms: who knows of expectations answers one at once, and who does not must not cost more.
const CONTINUE: Duration = Duration::from_millis(500);
/// 32: servers send one or two.
const MOST_INTERIM: u32 = 32;

#[cfg(test)]
mod tests;
