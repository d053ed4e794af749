//! What one exchange leaves behind: filled on the request's way, read once at its end.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Version};
use tokio::time::Instant;

use crate::model::caller::Caller;
use crate::model::ids::Label;

use super::trace::Trace;

/// A tenant or a pool. Metrics count by its number; its name is shared by all workers, and counting
/// one more holder of it would write to a line of the caches that all of them read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Its number, as in its [`Label`].
    pub slot: u32,
    /// Its name; only where the exchange leaves a line in the access log, or spans.
    pub name: Option<Arc<str>>,
}

/// How an exchange ended for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The answer was sent whole.
    Whole,
    /// The answer was cut off: the client left, or the endpoint failed within the body.
    Cut,
}

/// What one exchange leaves behind.
#[derive(Clone, Debug)]
pub struct Record {
    /// When the request's head was read. The access log takes the wall clock from here: now minus
    /// what has passed since.
    pub started: Instant,
    /// From the start to the end of the exchange; set once, at the end, so that the metrics and
    /// the access log tell the same time.
    pub duration: Duration,
    /// The id of the request, as the endpoint and the client see it.
    pub request_id: HeaderValue,
    /// The client's address; `None` = it is on a Unix socket, and nobody names another.
    pub client: Option<IpAddr>,
    /// The request's method.
    pub method: Method,
    /// The request's protocol version.
    pub version: Version,
    /// Host, path with query, and user agent; only where this exchange leaves a line in the
    /// access log, or spans.
    pub line: Option<Box<Line>>,
    /// Whether it leaves a line in the access log.
    pub logged: bool,
    /// The trace that it belongs to, where there is tracing.
    pub trace: Option<Box<Trace>>,
    /// Target and host as the client sent them, where they were changed on the request's way and a
    /// failure would still leave a line.
    pub asked: Option<(PathAndQuery, Option<HeaderValue>)>,
    /// The tenant, once it is known.
    pub tenant: Option<Tag>,
    /// Who sent the request, where that is proven.
    pub caller: Option<Box<Caller>>,
    /// The route's name, once one matched; only where there is a `line`.
    pub route: Option<Arc<str>>,
    /// The pool, once one was chosen.
    pub pool: Option<Tag>,
    /// The endpoint of the last attempt; only where there is a `line`.
    pub endpoint: Option<Arc<str>>,
    /// How long it waited for a turn; `None` = there was room. Boxed, since it is rare.
    pub queued: Option<Box<Duration>>,
    /// Attempts made.
    pub attempts: u32,
    /// The answer's status; 0 where the client left before there was one.
    pub status: u16,
    /// Name of the problem type, where the gateway itself answered with one.
    pub problem: Option<&'static str>,
    /// When the head of the endpoint's answer was there.
    pub first_byte: Option<Instant>,
    /// Bytes of the request's body that were read.
    pub bytes_in: u64,
    /// Bytes of the answer's body that were sent.
    pub bytes_out: u64,
    /// How it ended for the client.
    pub ending: Ending,
}

/// The parts of a request that only an access log line needs.
#[derive(Clone, Debug, Default)]
pub struct Line {
    /// The host that was asked for.
    pub host: String,
    /// Path and query as the client sent them.
    pub target: String,
    /// The client's `User-Agent`.
    pub agent: String,
    /// The values of the fields that the log's format asks for besides, in its order.
    pub headers: Box<[Option<String>]>,
}

impl Tag {
    /// Its number alone.
    pub fn of(slot: u32) -> Self {
        Self { slot, name: None }
    }

    /// With its name.
    pub fn named(label: &Label) -> Self {
        Self { slot: label.slot, name: Some(Arc::clone(&label.name)) }
    }
}

impl Record {
    /// When it began, by the wall clock.
    pub(super) fn began(&self) -> SystemTime {
        let began = SystemTime::now().checked_sub(self.started.elapsed());
        began.unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// From the start to the head of the endpoint's answer.
    pub(super) fn to_first_byte(&self) -> Option<Duration> {
        self.first_byte.map(|first_byte| first_byte.saturating_duration_since(self.started))
    }
}

impl Ending {
    /// The access log's word.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Cut => "cut",
        }
    }
}
