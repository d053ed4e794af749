//! Traces: which one a request belongs to, what is kept of its way, and the queue to who exports it.
//! A worker reads a head, draws, notes times, and puts the whole into a queue; it never waits.

pub mod context;
pub mod ids;

mod b3;
mod w3c;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use http::HeaderMap;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use crate::model::address::Address;

use super::record::Record;
use super::sample::Sample;

use context::{Decision, Formats, Incoming, KeepsState, Outgoing};
use ids::{SpanId, TraceId};

/// What is traced, and how.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// The share of requests whose spans are kept, where nobody has decided before.
    pub sample: Sample,
    /// What a client's word counts.
    pub trust: Trust,
    /// How endpoints are told of a trace that begins here.
    pub start: Formats,
    /// Traces that may wait for who exports them; more are dropped and counted.
    pub queue: usize,
}

/// What a client's word counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Its trace goes on, and what it decided holds.
    Follow,
    /// Its trace goes on; whether it is kept is drawn here.
    Join,
    /// Nothing: a trace begins here.
    Ignore,
}

/// The trace of one exchange, and what is kept of it.
#[derive(Clone, Debug)]
pub struct Trace {
    /// The trace.
    pub id: TraceId,
    /// Its number has 64 bits where it comes from.
    pub narrow: bool,
    /// The exchange's own span.
    pub span: SpanId,
    /// The client's span.
    pub parent: Option<SpanId>,
    /// When the exchange began, by the wall clock.
    pub began: SystemTime,
    /// `http` or `https`: how the client asked.
    pub scheme: &'static str,
    /// `tracestate`, where the spans are kept and it goes on.
    pub state: String,
    /// The attempts, in order; only where the spans are kept.
    pub attempts: Vec<Attempt>,
    /// What came, as it came.
    incoming: Formats,
    /// How endpoints are told.
    formats: Formats,
    keeps_state: KeepsState,
    /// `None`: nobody has decided yet.
    decision: Option<Decision>,
}

/// One attempt at one endpoint.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Its span, which the endpoint's hangs under.
    pub span: SpanId,
    /// The endpoint, as in logs and metrics.
    pub endpoint: Arc<str>,
    /// Where the endpoint listens.
    pub address: Address,
    /// What it is asked for; empty where it listens on a Unix socket.
    pub url: String,
    /// Since when it was waited for: the exchange's start, or the end of the attempt before.
    pub wanted: Instant,
    /// When the endpoint was picked.
    pub started: Instant,
    /// What the attempt before ended with.
    pub after: Option<&'static str>,
    /// The wait for a connection, where none was open.
    pub dial: Option<Dial>,
    /// When the head of the answer came.
    pub answered: Option<Instant>,
    /// The answer's status.
    pub status: Option<u16>,
    /// How it ended, in the metrics' words; `None`: with an answer.
    pub error: Option<&'static str>,
    /// When it ended; `None`: with the exchange, since its answer is the client's.
    pub ended: Option<Instant>,
}

/// A wait for a connection.
#[derive(Clone, Copy, Debug)]
pub struct Dial {
    /// Since when.
    pub started: Instant,
    /// Until when; `None`: the attempt was given up meanwhile.
    pub ended: Option<Instant>,
    /// What became of it.
    pub outcome: Dialed,
}

/// What becomes of a wait for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialed {
    /// A new connection.
    Opened,
    /// A connection that another request had opened meanwhile.
    Shared,
    /// None.
    Failed,
}

/// Begins traces and takes those that have ended. Cheap to clone, one for each worker.
#[derive(Clone, Debug)]
pub struct Tracer {
    /// `None` where nothing is traced.
    desk: Option<Arc<Desk>>,
}

#[derive(Debug)]
struct Desk {
    options: Options,
    queue: mpsc::Sender<Box<Record>>,
    /// Told when half of the queue is used.
    filling: Arc<Notify>,
    dropped: AtomicU64,
}

/// Where the traces that have ended come out.
#[derive(Debug)]
pub struct Ended {
    /// Their records; each has its trace. Taken without waiting, so that a worker need not wake
    /// who takes them.
    pub queue: mpsc::Receiver<Box<Record>>,
    /// Told when half of the queue is used.
    pub filling: Arc<Notify>,
}

impl Tracer {
    /// Traces, and what comes of it.
    pub fn start(options: Options) -> (Self, Ended) {
        let (queue, ended) = mpsc::channel(options.queue.max(1));
        let filling = Arc::new(Notify::new());
        let desk =
            Desk { options, queue, filling: Arc::clone(&filling), dropped: AtomicU64::new(0) };
        (Self { desk: Some(Arc::new(desk)) }, Ended { queue: ended, filling })
    }

    /// Traces nothing.
    pub fn off() -> Self {
        Self { desk: None }
    }

    /// How many traces wait.
    pub fn waiting(&self) -> usize {
        let used = |desk: &Arc<Desk>| desk.queue.max_capacity() - desk.queue.capacity();
        self.desk.as_ref().map_or(0, used)
    }

    /// How many spans were dropped since this was last asked.
    pub fn take_dropped(&self) -> u64 {
        self.desk.as_ref().map_or(0, |desk| desk.dropped.swap(0, Ordering::Relaxed))
    }

    /// Begins the trace of a request, or goes on with the client's.
    pub fn begin(&self, headers: &HeaderMap, scheme: &'static str) -> Option<Box<Trace>> {
        let options = &self.desk.as_deref()?.options;
        Some(Box::new(Trace::begin(Incoming::read(headers), options, scheme)))
    }

    /// Decides whether the spans of a trace are kept, where nobody has: by the tenant's share, where
    /// it has one. Tells whether they are.
    pub fn decide(&self, trace: &mut Trace, own: Option<Sample>, headers: &HeaderMap) -> bool {
        let Some(desk) = &self.desk else { return false };
        let decision = *trace.decision.get_or_insert_with(|| {
            let share = own.unwrap_or(desk.options.sample);
            if share.draw() { Decision::Keep } else { Decision::Leave }
        });
        if decision.is_kept() && trace.keeps_state == KeepsState::Yes {
            trace.state = context::state(headers);
        }
        decision.is_kept()
    }

    /// Puts a record with its trace into the queue. A full queue drops and counts it.
    pub fn send(&self, record: Box<Record>) {
        let Some(desk) = &self.desk else { return };
        let spans = record.trace.as_ref().map_or(0, |trace| trace.spans());
        if desk.queue.try_send(record).is_err() {
            desk.dropped.fetch_add(spans, Ordering::Relaxed);
        } else if desk.queue.capacity() == desk.queue.max_capacity() / 2 {
            desk.filling.notify_one();
        }
    }
}

impl Trace {
    fn begin(incoming: Incoming, options: &Options, scheme: &'static str) -> Self {
        let parent = incoming.parent.filter(|_| options.trust != Trust::Ignore);
        let decision = incoming.decision.filter(|_| options.trust == Trust::Follow);
        let goes_on = parent.is_some() && incoming.has_state;
        // Who is not believed is not listened to either in how it says it.
        let heard = !incoming.formats.is_empty() && options.trust != Trust::Ignore;
        Self {
            id: parent.map_or_else(TraceId::random, |parent| parent.trace),
            narrow: parent.is_some_and(|parent| parent.narrow),
            span: SpanId::random(),
            parent: parent.map(|parent| parent.span),
            began: SystemTime::now(),
            scheme,
            state: String::new(),
            attempts: Vec::new(),
            incoming: incoming.formats,
            formats: if heard { incoming.formats } else { options.start },
            keeps_state: if goes_on { KeepsState::Yes } else { KeepsState::No },
            decision,
        }
    }

    /// Whether its spans are kept.
    pub fn is_kept(&self) -> bool {
        self.decision.is_some_and(Decision::is_kept)
    }

    /// Whether somebody looks for something, and keeps them whatever else says no.
    pub fn is_debug(&self) -> bool {
        self.decision == Some(Decision::Debug)
    }

    /// How its endpoint is told.
    pub fn formats(&self) -> Formats {
        self.formats
    }

    /// Takes away what the client said of it.
    pub fn clean(&self, headers: &mut HeaderMap) {
        context::remove(headers, self.incoming, self.keeps_state);
    }

    /// What the endpoint of an attempt is told: the attempt's span, or, where none is kept, the
    /// exchange's.
    pub fn outgoing(&self, attempt: Option<SpanId>, formats: Formats) -> Outgoing {
        Outgoing {
            trace: self.id,
            narrow: self.narrow,
            span: attempt.unwrap_or(self.span),
            above: if attempt.is_some() { Some(self.span) } else { self.parent },
            decision: self.decision.unwrap_or(Decision::Leave),
            formats,
        }
    }

    /// How many spans it makes.
    pub fn spans(&self) -> u64 {
        let dials = self.attempts.iter().filter(|attempt| attempt.dial.is_some()).count();
        (1 + 2 * self.attempts.len() + dials) as u64
    }
}

#[cfg(test)]
mod tests;
