//! One HTTP/1.1 connection to an endpoint (RFC 9112), driven by the task of the request that it
//! carries: no task of its own, no channel, and the request's head is written from where it lies.
//!
//! **Invariants:** one request at a time. What is not the answer to it (bytes before the request,
//! bytes after the answer) ends the connection, and what fails is never used again.

mod answer;
mod line;
mod request;

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body::{Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use crate::base::memory::Account;
use crate::base::purse::Appetite;
use crate::http1::Fault;
use crate::http1::chunks::Part;
use crate::http1::decoder::Decoder;
use crate::http1::gather::{Gathered, SOME};
use crate::http1::reading::Reading;
use crate::http1::room::{AnswerHead, Room};
use crate::http1::sending::Payload;
use crate::http1::sending::Sending;
use crate::tls::stream::Stream;

use super::{Call, HeadLimits};

pub(super) use line::{Line, Open, PATIENCE};
pub(super) use request::expects_continue;

/// An open connection. `B` is the request's body.
#[derive(Debug)]
pub(super) struct Wire<B> {
    stream: Stream,
    sending: Sending<B>,
    /// The body is held back until then: the client waits for a 100 (RFC 9110 §10.1.1).
    held: Option<Pin<Box<Sleep>>>,
    /// Why the rest of the request cannot be sent; the answer may be on its way all the same.
    broken: Option<Fault>,
    /// What was read and not looked at, of a head or behind it.
    gathered: Gathered,
    /// Where a body is read to. A head, and what comes with it, counts as the exchange's, save where much is expected.
    reading: Reading,
    /// The size of the last answer, in bytes, where it said that: the next one is taken to be as long.
    usual: u64,
    /// Heads of status 1xx that came before the answer.
    interim: u32,
    method: Method,
    decoder: Decoder,
    /// The endpoint keeps the connection after this answer.
    keeps: bool,
    /// It is the client's that has asked, and nobody else may have it.
    is_own: bool,
    /// For how long, where it says so.
    pub(super) rest: Option<Duration>,
    room: Rc<Room>,
    limits: HeadLimits,
}

/// What was made of the bytes of an answer.
enum Word {
    /// A head that is not whole.
    Partial,
    /// A head of status 1xx, which another one follows.
    Interim,
    /// The answer's own head.
    Last(AnswerHead),
}

impl<B: Payload> Wire<B> {
    /// A connection that has just opened.
    pub(super) fn new(
        stream: Stream,
        (room, account): (Rc<Room>, Arc<Account>),
        limits: HeadLimits,
    ) -> Self {
        Self {
            stream,
            sending: Sending::nothing(),
            held: None,
            broken: None,
            gathered: Gathered::default(),
            reading: Reading::new(Rc::clone(&room), account),
            usual: 0,
            interim: 0,
            method: Method::GET,
            decoder: Decoder::Length(0),
            keeps: true,
            is_own: false,
            rest: None,
            room,
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
        self.reading.set_appetite(Appetite::Usual);
        self.gathered.ahead = Bytes::new();
        let held = !body.is_end_stream() && expects_continue(&call.head.headers);
        let is_own = &mut self.is_own;
        let write = |out: &mut _| {
            let (encoder, own) = request::write_head(call.head, call.added, out)?;
            *is_own = own;
            Ok(encoder)
        };
        self.room.take_buffer(self.sending.take_buffer()); // of the last request
        self.sending.begin(self.room.buffer(), write, body)?;
        if held {
            self.sending.hold();
            self.held = Some(Box::pin(sleep(CONTINUE)));
        }
        Ok(())
    }

    /// Sends on and waits for the head of the answer. Heads of status 1xx are told to `interim`, save
    /// 101, which is the answer; each lets the body go.
    ///
    /// # Errors
    /// When the connection or the request's body fails, or what comes is no answer.
    pub(super) fn poll_answer(
        &mut self,
        context: &mut Context<'_>,
        interim: &dyn Fn(AnswerHead),
    ) -> Poll<Result<AnswerHead, Fault>> {
        loop {
            if self.held.as_mut().is_some_and(|held| held.as_mut().poll(context).is_ready()) {
                self.let_go();
            }
            if let Poll::Ready(Err(fault)) = self.poll_send(context) {
                return Poll::Ready(Err(fault));
            }
            let whole = self.gathered.may_be_whole();
            if !answer::may_begin(self.gathered.bytes()) {
                return Poll::Ready(Err(answer::blame(self.gathered.bytes())));
            }
            if whole {
                match self.read_head(interim)? {
                    Word::Last(answer) => return Poll::Ready(Ok(answer)),
                    Word::Interim => continue,
                    Word::Partial => {}
                }
            }
            if self.gathered.bytes().len() > self.limits.size {
                return Poll::Ready(Err(Fault::TooLarge(self.limits.size)));
            }
            if ready!(self.poll_read(context))? == 0 {
                let came = self.gathered.bytes();
                let fault = self.broken.take().unwrap_or_else(|| answer::blame(came));
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
            let part = self.decoder.next(&mut self.gathered.ahead);
            if self.decoder.is_ended() {
                self.reading.end();
            }
            match part {
                Ok(Part::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(Part::Trailers(fields)) => {
                    return Poll::Ready(Some(Ok(Frame::trailers(fields))));
                }
                Ok(Part::End) => return Poll::Ready(None),
                Ok(Part::More) => {}
                Err(fault) => return Poll::Ready(Some(Err(fault))),
            }
            ready!(self.reading.poll_turn(context));
            let left = self.decoder.left();
            let part = match ready!(self.reading.poll(&mut self.stream, left, context)) {
                Ok(part) => part,
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            };
            if part.is_empty()
                && let Err(fault) = self.decoder.close()
            {
                return Poll::Ready(Some(Err(fault)));
            }
            self.gathered.ahead = part;
        }
    }

    /// How large the reads of the answer's body may get.
    pub(super) fn set_appetite(&mut self, appetite: Appetite) {
        self.reading.set_appetite(appetite);
    }

    /// All that is left of the answer's body, if it has come already and ends by its length.
    pub(super) fn take_rest(&mut self) -> Option<Bytes> {
        let rest = self.decoder.take_rest(&mut self.gathered.ahead)?;
        self.reading.end();
        Some(rest)
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
        self.keeps && self.sending.is_done() && self.decoder.is_ended() && self.gathered.is_empty()
    }

    /// Whether an idle connection is open and silent. One that has sent something unasked must not
    /// be taken for one that answers the next request. Costs no system call where nothing came.
    pub(super) fn is_silent(&mut self) -> bool {
        self.stream.is_silent()
    }

    /// Says that no further request follows.
    pub(super) fn say_goodbye(&mut self) {
        self.stream.say_goodbye();
    }

    /// Gives back the memory that the next request would use.
    pub(super) fn rest(&mut self) {
        self.reading.end();
        self.gathered = Gathered::default();
        self.room.take_buffer(self.sending.take_buffer());
    }

    /// The bytes below HTTP, once the endpoint has switched protocols, and what was read of them.
    pub(super) fn into_stream(self) -> (Stream, Bytes) {
        (self.stream, self.gathered.ahead)
    }

    /// Reads a head and what comes with it: a body, too, where one is expected that does not fit in beside a head.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let is_long = self.usual > SOME as u64 && self.gathered.is_empty();
        if !is_long || self.reading.is_tight() {
            return self.gathered.poll_read(&mut self.stream, &self.room, context);
        }
        let read = self.reading.poll(&mut self.stream, Some(self.usual), context);
        self.gathered.ahead = ready!(read)?;
        Poll::Ready(Ok(self.gathered.ahead.len()))
    }

    /// Reads a head where there is a whole one.
    fn read_head(&mut self, interim: &dyn Fn(AnswerHead)) -> Result<Word, Fault> {
        let mut bytes = self.gathered.take();
        let whole = bytes.len();
        let read = answer::read(&mut bytes, &self.room, &self.method, self.limits.fields);
        let Some(head) = read? else {
            self.gathered.put_back(&bytes);
            self.reading.end();
            return Ok(Word::Partial);
        };
        let size = whole - bytes.len();
        if size > self.limits.size {
            return Err(Fault::TooLarge(self.limits.size));
        }
        let status = head.answer.status();
        if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
            self.interim += 1;
            if self.interim > MOST_INTERIM {
                return Err(Fault::Head("too many of status 1xx come before it"));
            }
            self.gathered.ahead = bytes;
            self.let_go();
            interim(head.answer);
            return Ok(Word::Interim);
        }
        if status == StatusCode::SWITCHING_PROTOCOLS && !self.sending.is_done() {
            // RFC 9110 §7.8: what follows would be read as the rest of the request's body.
            return Err(Fault::Head("it switches protocols before the request was whole"));
        }
        if self.held.take().is_some() {
            // The endpoint does not want the body, and nothing else can follow the head.
            self.broken = Some(Fault::Unsendable("the endpoint answered before its body"));
        }
        self.gathered.ahead = if bytes.is_empty() { Bytes::new() } else { bytes };
        // An endpoint that answers before it has the request may not look at the rest of it, and
        // would take that for its next request (RFC 9112 §9.3).
        let keeps = head.keeps && self.sending.is_done() && !self.is_own;
        (self.decoder, self.keeps, self.rest) = (head.decoder, keeps, head.rest);
        self.usual = self.decoder.left().map_or(0, |body| body.saturating_add(size as u64));
        if self.decoder.is_ended() {
            self.reading.end();
        }
        self.decoder.check(&self.gathered.ahead)?;
        Ok(Word::Last(head.answer))
    }

    /// The body may go.
    fn let_go(&mut self) {
        self.held = None;
        self.sending.let_go();
    }
}

/// 500 ms: who knows of expectations answers one at once, and who does not must not cost more.
pub(super) const CONTINUE: Duration = Duration::from_millis(500);
/// 32: servers send one or two.
pub(super) const MOST_INTERIM: u32 = 32;

#[cfg(test)]
mod tests;
