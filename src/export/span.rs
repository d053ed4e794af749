//! The spans of one exchange, from its record: the exchange itself, and below it, for each attempt,
//! the wait for it, the attempt, and the wait for its connection. Names and attributes are those of
//! OpenTelemetry's semantic conventions for HTTP, where these have one.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use http::{Method, Version};
use tokio::time::Instant;

use crate::model::address::Address;
use crate::telemetry::access_log::mask::Mask;
use crate::telemetry::record::{Ending, Record, Tag};
use crate::telemetry::trace::ids::{SpanId, TraceId};
use crate::telemetry::trace::{Attempt, Dial, Dialed, Trace};

/// One span.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub(super) trace: TraceId,
    /// The trace's number has 64 bits where it comes from.
    pub(super) narrow: bool,
    pub(super) id: SpanId,
    pub(super) parent: Option<SpanId>,
    /// The parent is the client's.
    pub(super) is_entry: bool,
    pub(super) is_debug: bool,
    pub(super) state: String,
    pub(super) kind: Kind,
    pub(super) name: Cow<'static, str>,
    /// Nanoseconds since 1970.
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) attributes: Vec<(&'static str, Value)>,
    /// When the head of the answer came.
    pub(super) answered: Option<u64>,
    /// What failed.
    pub(super) error: Option<Cow<'static, str>>,
    /// Who is on the other side.
    pub(super) remote: Option<SocketAddr>,
}

impl Span {
    /// About how many bytes it has on the wire.
    pub(super) fn size(&self) -> usize {
        let text = |value: &Value| match value {
            Value::Text(text) => text.len(),
            Value::Number(_) => 0,
        };
        let own = |(name, value): &(&str, Value)| name.len() + text(value) + ATTRIBUTE;
        let attributes: usize = self.attributes.iter().map(own).sum();
        SPAN + self.name.len() + self.state.len() + attributes
    }
}

/// Which side of a request a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It was asked.
    Server,
    /// It asks.
    Client,
    /// Neither.
    Internal,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Number(i64),
}

/// The spans of a record; none where it has no trace.
pub(super) fn spans(record: &Record, mask: &Mask) -> Vec<Span> {
    let Some(trace) = record.trace.as_deref() else { return Vec::new() };
    let of = Of { record, trace };
    let mut spans = vec![of.exchange(mask)];
    for (number, attempt) in (1..).zip(&trace.attempts) {
        spans.push(of.queue(attempt));
        spans.push(of.attempt(number, attempt, mask));
        spans.extend(attempt.dial.map(|dial| of.connect(attempt, dial)));
    }
    spans
}

/// What the spans of one exchange have in common.
struct Of<'r> {
    record: &'r Record,
    trace: &'r Trace,
}

impl Of<'_> {
    fn exchange(&self, mask: &Mask) -> Span {
        let Self { record, trace } = self;
        let method = method(&record.method);
        let shown = if method == OTHER { "HTTP" } else { method };
        let name = match &record.route {
            Some(route) => format!("{shown} {}", cut(route)),
            None => shown.to_owned(),
        };
        let end = record.started + record.duration;
        Span {
            parent: trace.parent,
            is_entry: true,
            kind: Kind::Server,
            attributes: self.of_exchange(method, mask),
            error: self.failure(),
            remote: record.client.map(|client| SocketAddr::new(client, 0)),
            ..self.span(trace.span, name.into(), (record.started, end))
        }
    }

    fn of_exchange(&self, method: &'static str, mask: &Mask) -> Vec<(&'static str, Value)> {
        let Self { record, trace } = self;
        let mut all = Attributes(Vec::with_capacity(20));
        all.text("http.request.method", method);
        if method == OTHER {
            all.text("http.request.method_original", record.method.as_str());
        }
        all.text("url.scheme", trace.scheme);
        if let Some(line) = record.line.as_deref() {
            let target = mask.target(&line.target);
            let (path, query) = target.split_once('?').unwrap_or((&target, ""));
            all.text("url.path", path);
            all.text("url.query", query);
            let (host, port) = host_and_port(&line.host);
            all.text("server.address", host);
            all.number("server.port", port.map(u64::from));
            all.text("user_agent.original", &line.agent);
        }
        all.text("client.address", &record.client.map(|at| at.to_string()).unwrap_or_default());
        all.text("network.protocol.name", "http");
        all.text("network.protocol.version", version(record.version));
        let status = u64::from(record.status);
        all.number("http.response.status_code", Some(status).filter(|status| *status > 0));
        all.number("http.request.body.size", Some(record.bytes_in));
        all.number("http.response.body.size", Some(record.bytes_out));
        all.text("error.type", &self.failure().unwrap_or_default());
        all.text("tenantry.tenant", name(&record.tenant));
        all.text("enduser.id", record.caller.as_ref().map_or("", |caller| &*caller.subject));
        all.text("tenantry.route", record.route.as_deref().unwrap_or_default());
        all.text("tenantry.pool", name(&record.pool));
        all.text("tenantry.endpoint", record.endpoint.as_deref().unwrap_or_default());
        all.text("tenantry.request_id", &String::from_utf8_lossy(record.request_id.as_bytes()));
        all.number("tenantry.attempts", Some(record.attempts.into()));
        let queued = record.queued.as_ref().map(|queued| queued.as_millis());
        all.number("tenantry.queue.milliseconds", queued.and_then(|time| u64::try_from(time).ok()));
        all.0
    }

    /// What went wrong with the exchange: the gateway's own problem, an endpoint's failure, or an
    /// answer that was cut off. That a client asked for what is not there is no failure of ours.
    fn failure(&self) -> Option<Cow<'static, str>> {
        let record = self.record;
        match (record.status, record.problem) {
            (500.., Some(problem)) => Some(problem.into()),
            (500.., None) => Some(record.status.to_string().into()),
            _ if record.ending == Ending::Cut => Some("cut".into()),
            _ => None,
        }
    }

    /// The wait until an endpoint was picked.
    fn queue(&self, attempt: &Attempt) -> Span {
        let mut all = Attributes(Vec::new());
        all.text("tenantry.wait", if attempt.after.is_some() { "retry" } else { "pick" });
        Span {
            parent: Some(self.trace.span),
            attributes: all.0,
            ..self.span(SpanId::random(), "queue".into(), (attempt.wanted, attempt.started))
        }
    }

    fn attempt(&self, number: u64, attempt: &Attempt, mask: &Mask) -> Span {
        let Self { record, trace } = self;
        let end = attempt.ended.unwrap_or(record.started + record.duration);
        let error = match (attempt.error, attempt.status) {
            (Some(error), _) => Some(error.into()),
            (None, Some(status @ 400..)) => Some(status.to_string().into()),
            _ if attempt.ended.is_none() && record.ending == Ending::Cut => Some("cut".into()),
            _ => None,
        };
        let mut all = Attributes(Vec::with_capacity(12));
        all.text("http.request.method", method(&record.method));
        all.text("url.full", &mask.target(&attempt.url));
        all.peer(&attempt.address, ["server.address", "server.port"]);
        all.number("http.response.status_code", attempt.status.map(u64::from));
        all.number("http.request.resend_count", Some(number - 1).filter(|count| *count > 0));
        all.text("error.type", error.as_deref().unwrap_or_default());
        all.text("tenantry.pool", name(&record.pool));
        all.text("tenantry.endpoint", &attempt.endpoint);
        all.number("tenantry.attempt", Some(number));
        all.text("tenantry.retry.reason", attempt.after.unwrap_or_default());
        Span {
            parent: Some(trace.span),
            kind: Kind::Client,
            attributes: all.0,
            answered: attempt.answered.map(|at| self.at(at)),
            error,
            remote: attempt.address.net(),
            ..self.span(attempt.span, "attempt".into(), (attempt.started, end))
        }
    }

    fn connect(&self, attempt: &Attempt, dial: Dial) -> Span {
        let end = dial.ended.or(attempt.ended).unwrap_or(dial.started);
        let mut all = Attributes(Vec::new());
        all.peer(&attempt.address, ["network.peer.address", "network.peer.port"]);
        let (word, error) = match dial.outcome {
            Dialed::Opened => ("opened", None),
            Dialed::Shared => ("shared", None),
            Dialed::Failed => ("failed", Some(attempt.error.unwrap_or("connect").into())),
        };
        all.text("tenantry.connection", word);
        all.text("error.type", error.as_deref().unwrap_or_default());
        Span {
            parent: Some(attempt.span),
            attributes: all.0,
            error,
            ..self.span(SpanId::random(), "connect".into(), (dial.started, end))
        }
    }

    fn span(&self, id: SpanId, name: Cow<'static, str>, (from, to): (Instant, Instant)) -> Span {
        let trace = self.trace;
        let start = self.at(from);
        Span {
            trace: trace.id,
            narrow: trace.narrow,
            id,
            parent: None,
            is_entry: false,
            is_debug: trace.is_debug(),
            state: trace.state.clone(),
            kind: Kind::Internal,
            name,
            start,
            end: self.at(to).max(start),
            attributes: Vec::new(),
            answered: None,
            error: None,
            remote: None,
        }
    }

    /// All times of a trace hang on one reading of the wall clock, so that they agree.
    fn at(&self, instant: Instant) -> u64 {
        let since = instant.saturating_duration_since(self.record.started);
        let began = self.trace.began.duration_since(SystemTime::UNIX_EPOCH);
        let at: Duration = began.unwrap_or_default() + since;
        u64::try_from(at.as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Attributes that have something to say.
struct Attributes(Vec<(&'static str, Value)>);

impl Attributes {
    fn text(&mut self, name: &'static str, value: &str) {
        if !value.is_empty() {
            self.0.push((name, Value::Text(cut(value).to_owned())));
        }
    }

    fn number(&mut self, name: &'static str, value: Option<u64>) {
        if let Some(value) = value {
            self.0.push((name, Value::Number(i64::try_from(value).unwrap_or(i64::MAX))));
        }
    }

    fn peer(&mut self, address: &Address, [host, port]: [&'static str; 2]) {
        match address {
            Address::Net(address) => {
                self.text(host, &address.ip().to_string());
                self.number(port, Some(address.port().into()));
            }
            Address::Unix(path) => self.text(host, &path.to_string_lossy()),
        }
    }
}

/// Others would be as many names as clients like.
fn method(method: &Method) -> &'static str {
    let known = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
    known.into_iter().find(|known| *known == method.as_str()).unwrap_or(OTHER)
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "1.1",
    }
}

fn host_and_port(host: &str) -> (&str, Option<u16>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, port.parse().ok()),
        _ => (host, None),
    }
}

/// What fits, without its end within a character.
fn cut(value: &str) -> &str {
    value.get(..value.floor_char_boundary(LONGEST)).unwrap_or(value)
}

const OTHER: &str = "_OTHER";

/// Of a span: its numbers, times and flags, and the tags of all fields.
const SPAN: usize = 120;
/// Of an attribute: the tags and lengths of its fields, or its number.
const ATTRIBUTE: usize = 16;

/// 1 KiB of each text: a client cannot fill a collector by long targets.
const LONGEST: usize = 1024;

fn name(tag: &Option<Tag>) -> &str {
    tag.as_ref().and_then(|tag| tag.name.as_deref()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        let text = "ä".repeat(LONGEST);
        assert_eq!(cut(&text), "ä".repeat(LONGEST / 2));
        assert_eq!(cut(&text[..LONGEST]), &text[..LONGEST]);
        let odd = format!("a{text}");
        assert_eq!(cut(&odd).len(), LONGEST - 1);
    }

    #[test]
    fn methods_that_clients_make_up_are_one() {
        assert_eq!(method(&Method::PATCH), "PATCH");
        assert_eq!(method(&Method::from_bytes(b"get").unwrap()), OTHER);
        assert_eq!(method(&Method::from_bytes(b"BREW").unwrap()), OTHER);
    }

    #[test]
    fn a_host_is_told_from_its_port() {
        for (written, host, port) in [
            ("a.example", "a.example", None),
            ("a.example:81", "a.example", Some(81)),
            ("[::1]", "[::1]", None),
            ("[::1]:81", "[::1]", Some(81)),
            ("", "", None),
        ] {
            assert_eq!(host_and_port(written), (host, port));
        }
    }
}
