//! HTTP/1.1 towards clients (RFC 9112): one connection, its requests one after the other. Driven
//! by the connection's own task alone; an exchange is polled within it.

mod answer;
mod body;
mod outbound;
mod request;
mod wire;

use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::{StatusCode, Version};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::http1::Fault;
use crate::http1::encoder::Encoder;
use crate::http1::sending::Sending;
use crate::tls::stream::Stream;

use super::alarm::Alarm;
use super::answer::{Answer, AnswerBody};
use super::connection::{Busy, Peer, is_leaving};
use super::courtesy::Manners;
use super::exchange;
use super::incoming::{Incoming, Switch};
use super::unread;
use super::worker::Worker;

pub(super) use answer::{Asked, has_body, interim};
pub(super) use body::Body;
pub(super) use outbound::Switched;
pub(super) use request::Unread;

use outbound::Writer;
use request::Head;
use wire::{BodyEnd, Bounds, Wire};

/// A client's connection.
pub(super) struct Connection {
    worker: Rc<Worker>,
    peer: Rc<Peer>,
    wire: Rc<Wire>,
    step: Step,
    /// The present request.
    asked: Asked,
    /// The client keeps the connection after it, as far as is known.
    keeps: bool,
    /// The answer to it.
    sending: Sending<AnswerBody>,
    /// The exchange goes on until its answer was sent.
    busy: Option<Busy>,
    /// The answer ends with the connection.
    open_ended: bool,
    /// Who takes over where the endpoint switches protocols.
    heir: Option<oneshot::Sender<Switched>>,
    /// No further request is served.
    leaving: bool,
    manners: Manners,
}

/// What a connection is at.
enum Step {
    /// It waits for a request.
    Head,
    /// The request is being served.
    Exchange(Pin<Box<dyn Future<Output = Answer>>>),
    /// The answer is being sent.
    Answer,
    /// The rest of the request's body is still to come.
    Rest,
    /// The last word to a client that could not be understood.
    LastWord(Bytes),
    /// What we say is over; what the client still sends is read, so that it hears us.
    Farewell(Farewell),
    Over,
}

/// Between the end of what we say and the end of the connection.
struct Farewell {
    /// `None` until what we say has ended.
    alarm: Option<Alarm>,
    /// Bytes that are still read.
    left: usize,
}

/// Why a connection has ended otherwise than it should.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    /// The answer could not be sent whole.
    #[error("the answer was cut off: {0}")]
    Cut(#[source] Fault),
    /// The client left before its answer.
    #[error("the client left before its answer was whole")]
    Left,
}

impl Connection {
    /// Serves what comes by `stream`, of which `ahead` was read.
    pub(super) fn new(worker: Rc<Worker>, peer: Rc<Peer>, stream: Stream, ahead: Bytes) -> Self {
        let shared = (Rc::clone(&worker.room), Arc::clone(&worker.account));
        let wire = Wire::new(stream, ahead, Rc::clone(&peer.activity), shared);
        Self {
            worker,
            peer,
            wire,
            step: Step::Head,
            asked: Asked { version: Version::HTTP_11, head: false },
            keeps: true,
            sending: Sending::nothing(),
            busy: None,
            open_ended: false,
            heir: None,
            leaving: false,
            manners: Manners::default(),
        }
    }

    /// Finish what is under way, then end.
    pub(super) fn leave(&mut self) {
        self.leaving = true;
    }

    /// Where its client is.
    pub(super) fn client(&self) -> Option<IpAddr> {
        self.peer.address
    }

    /// Says goodbye where no answer is cut off with the connection (RFC 9112 §9.8).
    pub(super) fn cut(&self) {
        if matches!(self.step, Step::Head) {
            self.wire.say_goodbye();
        }
    }

    fn bounds(&self) -> Bounds {
        let limits = &self.worker.gateway.downstream;
        // Twice our own limits: what is between them is answered by an exchange, which knows more of it.
        let size = usize::try_from(limits.max_header_size.0).unwrap_or(usize::MAX / 4);
        Bounds { size: size * 2, fields: limits.max_headers * 2 }
    }

    fn poll_head(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let bounds = self.bounds();
        let Poll::Ready(head) = self.wire.poll_head(context, bounds, self.peer.purse()) else {
            // Asked only now: a request that has come already is served.
            if self.leaving && self.wire.is_between_requests() {
                self.step = Step::FAREWELL;
                return Poll::Ready(());
            }
            return Poll::Pending;
        };
        match head {
            Ok(Some(head)) => self.begin(head),
            // TLS says goodbye also to who has left first.
            Ok(None) if self.wire.is_tls() => self.step = Step::FAREWELL,
            Ok(None) => self.step = Step::Over,
            Err(unread) => {
                tracing::debug!(client = ?self.peer.address, %unread, "no request could be read");
                let (problem, bytes) = unread::answer(&unread, &self.worker.date());
                self.worker.meter.answered(problem);
                self.step = Step::LastWord(bytes);
            }
        }
        Poll::Ready(())
    }

    /// Begins with the exchange of a request.
    fn begin(&mut self, head: Head) {
        let Head { mut parts, decoder, keeps, switches, .. } = head;
        self.manners.begin(self.worker.clock.recent());
        self.asked = Asked::of(&parts);
        self.keeps = keeps;
        let body = if decoder.is_ended() { None } else { Some(Body::of(&self.wire)) };
        let switch = switches.then(|| {
            let (heir, inheritance) = oneshot::channel();
            self.heir = Some(heir);
            Switch::Http1(inheritance)
        });
        let (worker, peer) = (Rc::clone(&self.worker), Rc::clone(&self.peer));
        // The room first: what is made elsewhere and moved there would be copied with all that an
        // exchange may come to need.
        let exchange = Box::write(Box::new_uninit(), async move {
            let body = Incoming::http1(body, switch);
            let answer = exchange::serve(&worker, &peer, &mut parts, body).await;
            worker.room.take_parts(parts);
            answer
        });
        self.step = Step::Exchange(Box::into_pin(exchange));
    }

    fn poll_exchange(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        let Step::Exchange(exchange) = &mut self.step else {
            return Poll::Ready(Ok(()));
        };
        match exchange.as_mut().poll(context) {
            Poll::Ready(answer) => Poll::Ready(self.send(answer)),
            Poll::Pending => {
                drop(self.wire.poll_interim(context));
                self.poll_gone(context)
            }
        }
    }

    /// A client that leaves before its answer is whole takes its request with it.
    fn poll_gone(&self, context: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        ready!(self.wire.poll_gone(context));
        Poll::Ready(Err(ConnectionError::Left))
    }

    /// Begins with the answer.
    fn send(&mut self, answer: Answer) -> Result<(), ConnectionError> {
        let Answer { mut head, mut body } = answer;
        let encoder = answer::frame(&mut head, &body, self.asked);
        let status = head.status();
        let switches = status == StatusCode::SWITCHING_PROTOCOLS;
        if !switches {
            self.heir = None;
        }
        self.open_ended = encoder == Encoder::Close;
        let unread = self.wire.settle_body();
        self.keeps &= !self.open_ended && !unread;
        if self.keeps && !switches {
            self.keeps = !self.leaving && !is_leaving(&self.worker, &self.peer);
        }
        let asked = self.asked;
        self.busy = body.let_go();
        if !answer::has_body(asked, status) {
            body = body.without_content();
        }
        let (keeps, date) = (self.keeps, self.worker.date());
        let write = |out: &mut _| {
            answer::write(&head, asked, keeps, &date, out);
            Ok(encoder)
        };
        let buffer = self.worker.room.buffer();
        self.sending.begin(buffer, write, body).map_err(ConnectionError::Cut)?;
        self.worker.room.take_answer(head);
        self.step = Step::Answer;
        Ok(())
    }

    fn poll_answer(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        match self.sending.poll(&mut Writer(&self.wire), context) {
            Poll::Pending => self.poll_gone(context),
            Poll::Ready(Err(fault)) => Poll::Ready(Err(ConnectionError::Cut(fault))),
            Poll::Ready(Ok(())) => {
                self.busy = None;
                self.worker.room.take_buffer(self.sending.take_buffer());
                self.step = Step::Rest;
                if let Some(heir) = self.heir.take() {
                    // Where nobody takes it the connection ends.
                    drop(heir.send(Switched::of(&self.wire)));
                    self.step = Step::Over;
                }
                Poll::Ready(Ok(()))
            }
        }
    }

    fn poll_rest(&mut self, context: &mut Context<'_>) -> Poll<()> {
        // Who sends many requests at once, and they are answered here, has its turn as all others.
        ready!(tokio::task::coop::poll_proceed(context)).made_progress();
        let end = ready!(self.wire.poll_body_end(context));
        if end == BodyEnd::Unread || !self.keeps {
            self.step = Step::FAREWELL;
        } else {
            self.wire.rest();
            self.manners.rest();
            self.step = Step::Head;
        }
        Poll::Ready(())
    }

    fn poll_last_word(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Step::LastWord(bytes) = &mut self.step else {
            return Poll::Ready(());
        };
        while !bytes.is_empty() {
            let mut writer = Writer(&self.wire);
            let written = tokio::io::AsyncWrite::poll_write(Pin::new(&mut writer), context, bytes);
            match ready!(written) {
                Ok(size @ 1..) => bytes.advance(size),
                _ => {
                    self.step = Step::Over;
                    return Poll::Ready(());
                }
            }
        }
        self.step = Step::FAREWELL;
        Poll::Ready(())
    }

    /// Reads on after the last word, so that it arrives: a system that has unread bytes at the close
    /// of a connection resets it, and with it goes what the client has not read yet (RFC 9112 §9.6).
    fn poll_farewell(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Step::Farewell(farewell) = &mut self.step else {
            return Poll::Ready(());
        };
        if farewell.alarm.is_none() {
            if ready!(self.wire.poll_shutdown(context)).is_err() {
                return Poll::Ready(());
            }
            farewell.alarm = Some(Alarm::at(Instant::now() + FAREWELL));
        }
        while farewell.left > 0
            && farewell.alarm.as_mut().is_some_and(|alarm| alarm.poll(context).is_pending())
        {
            match ready!(self.wire.poll_forget(context)) {
                Ok(read @ 1..) => farewell.left = farewell.left.saturating_sub(read),
                _ => break,
            }
        }
        Poll::Ready(())
    }
}

impl Connection {
    fn go_on(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        loop {
            match &self.step {
                Step::Head => ready!(self.poll_head(context)),
                Step::Exchange(_) => ready!(self.poll_exchange(context))?,
                Step::Answer => ready!(self.poll_answer(context))?,
                Step::Rest => ready!(self.poll_rest(context)),
                Step::LastWord(_) => ready!(self.poll_last_word(context)),
                Step::Farewell(_) => {
                    ready!(self.poll_farewell(context));
                    self.step = Step::Over;
                }
                Step::Over => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl Step {
    const FAREWELL: Self = Self::Farewell(Farewell { alarm: None, left: LAST_WORDS });
}

impl Future for Connection {
    type Output = Result<(), ConnectionError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let now = this.worker.clock.recent();
        let client = || this.peer.address;
        let turn = ready!(this.worker.courtesy.poll(&mut this.manners, now, client, context));
        let polled = this.go_on(context);
        this.worker.courtesy.end(&turn, &mut this.manners);
        polled
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.open_ended && matches!(self.step, Step::Answer) {
            // The end of the connection would be that of an answer which is not whole.
            self.wire.reset();
        }
    }
}

/// 1 s, and 256 KiB: long enough for who has read the answer to leave.
const FAREWELL: Duration = Duration::from_secs(1);
const LAST_WORDS: usize = 256 << 10;

#[cfg(test)]
mod tests;
