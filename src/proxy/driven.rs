//! A connection that speaks HTTP, of either version: its patience, and its ear for the end of the
//! process. This is what lies in memory for as long as a client stays connected, so it is a plain
//! struct: a compiler's state machine would hold what it is made of twice.

use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::time::Instant;

use super::activity::{Activity, Limits, Patience};
use super::alarm::Alarm;
use super::connection::{count_retired, worn};
use super::ear::{FIRST_WORD, hears};
use super::farewells::Place;
use super::http1;
use super::seats::Seated;
use super::worker::Worker;

/// What a connection speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// What the two kinds of connection have in common.
pub(super) trait Connection: Future<Output = Result<(), Self::Error>> + Unpin {
    /// Why it ends otherwise than it should.
    type Error;

    /// Which of them it is.
    const PROTOCOL: Protocol;

    /// Finish what is under way, then end.
    fn leave(&mut self);

    /// Where its client is; `None` = on a Unix socket.
    fn client(&self) -> Option<IpAddr>;

    /// It is closed now, whatever it is at. What is cut off must not look as if it had ended well.
    fn cut(&mut self) {}
}

impl Connection for http1::Connection {
    type Error = http1::ConnectionError;

    const PROTOCOL: Protocol = Protocol::Http1;

    fn leave(&mut self) {
        self.leave();
    }

    fn client(&self) -> Option<IpAddr> {
        self.client()
    }

    fn cut(&mut self) {
        http1::Connection::cut(self);
    }
}

/// A connection with its clock and its ear for the process's phase.
pub(super) struct Driven<C> {
    connection: C,
    activity: Rc<Activity>,
    alarm: Alarm,
    leaving: bool,
    /// It was waited for in vain, and waits for its turn to end.
    ends: Option<Place>,
    /// Lets it be asked to go, and hear of the process's phase.
    seated: Seated,
}

impl<C: Connection> Driven<C> {
    /// Drives `connection` until it ends.
    pub(super) fn new(connection: C, activity: Rc<Activity>, seated: Seated) -> Self {
        let alarm = Alarm::at(Instant::now());
        Self { connection, activity, alarm, leaving: false, ends: None, seated }
    }

    fn worker(&self) -> &Worker {
        &self.seated.worker
    }

    /// Whether it shall end once nothing is under way.
    fn hears(&self) -> bool {
        hears(self.worker(), &self.seated.seat, C::PROTOCOL, &self.activity)
    }

    fn poll_connection(&mut self, context: &mut Context<'_>) -> Poll<Result<(), C::Error>> {
        loop {
            if let Poll::Ready(ended) = Pin::new(&mut self.connection).poll(context) {
                return Poll::Ready(ended);
            }
            // Asked only now: a request that has come already is answered before leaving.
            let asked = self.seated.seat.poll_asked(context).is_ready();
            if asked && self.activity.idle_since(C::PROTOCOL == Protocol::Http1).is_some() {
                self.connection.leave();
                let farewell = Pin::new(&mut self.connection).poll(context);
                return if farewell.is_ready() { farewell } else { Poll::Ready(Ok(())) };
            }
            if self.leaving || !(self.hears() || asked) {
                return Poll::Pending;
            }
            self.leaving = true;
            if C::PROTOCOL == Protocol::Http2 {
                count_retired(self.worker(), worn(self.worker(), &self.activity));
            }
            self.alarm.reset(Instant::now() + FIRST_WORD);
            // One that has not asked yet may be about to: its first request may be here.
            if C::PROTOCOL == Protocol::Http2 || self.activity.served() > 0 {
                self.connection.leave();
            }
        }
    }

    /// `may_end`: it has waited for its turn to.
    fn poll_patience(
        &mut self,
        may_end: bool,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), C::Error>> {
        while self.alarm.poll(context).is_ready() {
            self.worker().clock.now();
            let patience = self.patience();
            match patience {
                Patience::Until(_) => self.ends = None,
                _ if may_end || self.leaving => {}
                _ => ready!(self.poll_end(context)),
            }
            match patience {
                Patience::Until(_) if !self.leaving && self.hears() => {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Patience::Until(when) => {
                    let end = self.end_of_age();
                    self.alarm.reset(end.map_or(when, |end| end.min(when)));
                }
                Patience::Over(reason) => {
                    self.worker().meter.connection_rejected(reason);
                    self.connection.cut();
                    return Poll::Ready(Ok(()));
                }
                Patience::Idle if self.leaving => return Poll::Ready(Ok(())),
                Patience::Idle => {
                    self.leaving = true;
                    self.worker().meter.connection_retired("idle");
                    self.connection.leave();
                    let limit = self.worker().gateway.downstream.header_timeout;
                    self.alarm.reset(Instant::now() + limit);
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
        Poll::Pending
    }

    /// Ready when it may end for want of patience.
    fn poll_end(&mut self, context: &Context<'_>) -> Poll<()> {
        let Self { connection, ends, seated, .. } = self;
        seated.worker.farewells.poll(ends, || connection.client(), context)
    }

    /// A connection that is to leave ends by itself after its next answer, or once its client has
    /// heard of it; one that never asks is not waited for as an idle one is.
    fn patience(&self) -> Patience {
        let limits = &self.worker().gateway.downstream;
        let (head, send) = (limits.header_timeout, limits.body_timeout);
        let heads = C::PROTOCOL == Protocol::Http1;
        let idle = match C::PROTOCOL {
            Protocol::Http1 if self.leaving => FIRST_WORD,
            Protocol::Http2 if self.leaving => head,
            _ => limits.idle_timeout,
        };
        self.activity.patience(Limits { head, heads, idle, send })
    }

    /// When a connection that is not too old will be.
    fn end_of_age(&self) -> Option<Instant> {
        let end = self.activity.end_of(self.worker().gateway.downstream.max_connection_age?);
        (end > self.worker().clock.recent()).then_some(end)
    }
}

impl<C: Connection> Future for Driven<C> {
    type Output = Result<(), C::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let may_end = this.ends.is_some() && this.poll_end(context).is_ready();
        match this.poll_connection(context) {
            Poll::Pending => this.poll_patience(may_end, context),
            ended => ended,
        }
    }
}
