//! What a request's head says of the trace that it belongs to, and what its endpoint is told.

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::ids::{SpanId, TraceId};
use super::{b3, w3c};

/// Who asks, within which trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// The trace.
    pub trace: TraceId,
    /// The span that asks.
    pub span: SpanId,
    /// The trace's number has 64 bits where it comes from.
    pub narrow: bool,
}

/// Whether the spans of a trace are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// They are not.
    Leave,
    /// They are.
    Keep,
    /// They are, whatever else says no: somebody is looking for something.
    Debug,
}

/// What one format says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) parent: Option<Parent>,
    /// `None`: who asks leaves it to us.
    pub(super) decision: Option<Decision>,
}

/// The formats in which a context is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Formats {
    /// `traceparent`.
    pub w3c: bool,
    /// `b3`.
    pub single: bool,
    /// `X-B3-TraceId` and its fellows.
    pub multi: bool,
}

/// What a request's head says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Incoming {
    /// Who asks; `None`: nobody that could be read.
    pub parent: Option<Parent>,
    /// Whether its spans are kept; `None`: it does not say.
    pub decision: Option<Decision>,
    /// The formats that came, good or bad.
    pub formats: Formats,
    /// `tracestate` belongs to the parent.
    pub has_state: bool,
}

/// What an endpoint is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The trace.
    pub trace: TraceId,
    /// Its number has 64 bits where it comes from.
    pub narrow: bool,
    /// The span that asks.
    pub span: SpanId,
    /// The one above it.
    pub above: Option<SpanId>,
    /// Whether its spans are kept.
    pub decision: Decision,
    /// How it is told.
    pub formats: Formats,
}

impl Decision {
    /// Whether the spans are kept.
    pub fn is_kept(self) -> bool {
        self != Self::Leave
    }
}

impl Said {
    /// The field is there and cannot be read.
    pub(super) const NOTHING: Self = Self { parent: None, decision: None };
}

impl Formats {
    /// `traceparent` alone.
    pub const W3C: Self = Self { w3c: true, single: false, multi: false };
    /// `b3` alone.
    pub const B3: Self = Self { w3c: false, single: true, multi: false };
    /// `X-B3-TraceId` and its fellows alone.
    pub const B3_MULTI: Self = Self { w3c: false, single: false, multi: true };

    /// None of them.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// Those of which no field is taken.
    pub fn without(self, taken: impl Fn(&HeaderName) -> bool) -> Self {
        Self {
            w3c: self.w3c && !taken(&w3c::TRACEPARENT),
            single: self.single && !taken(&b3::B3),
            multi: self.multi && !b3::MULTI.iter().any(taken),
        }
    }
}

impl Incoming {
    /// Reads a head. Where several formats say something, the first of `traceparent`, `b3` and
    /// `X-B3-*` that names a parent holds, else the first that says anything.
    pub fn read(headers: &HeaderMap) -> Self {
        let w3c = w3c::read(headers);
        let single = b3::read_single(headers);
        let multi = b3::read_multi(headers);
        let formats =
            Formats { w3c: w3c.is_some(), single: single.is_some(), multi: multi.is_some() };
        if formats.is_empty() {
            return Self::default();
        }
        let said = || [w3c, single, multi].into_iter().flatten();
        let best = said()
            .find(|said| said.parent.is_some())
            .or_else(|| said().find(|said| said.decision.is_some()))
            .unwrap_or(Said::NOTHING);
        let has_state = w3c.is_some_and(|said| said.parent.is_some());
        Self { parent: best.parent, decision: best.decision, formats, has_state }
    }
}

impl Outgoing {
    /// The fields that tell it.
    pub fn fields(&self, mut add: impl FnMut(HeaderName, HeaderValue)) {
        let Formats { w3c, single, multi } = self.formats;
        if w3c {
            add(w3c::TRACEPARENT, w3c::write(self.trace, self.span, self.decision));
        }
        if !single && !multi {
            return;
        }
        // Who has 64 bits of it would not know it again by 128.
        let trace = match self.narrow {
            true => format!("{:016x}", self.trace.low()),
            false => self.trace.to_string(),
        };
        let at = b3::Place { span: self.span, above: self.above };
        if single {
            add(b3::B3, b3::write_single(&trace, &at, self.decision));
        }
        if multi {
            for (name, value) in b3::write_multi(&trace, &at, self.decision) {
                add(name, value);
            }
        }
    }
}

/// Takes away what a request said of its trace: its endpoint is told anew. `tracestate` stays where
/// it belongs to the trace that goes on.
pub fn remove(headers: &mut HeaderMap, incoming: Formats, keeps_state: KeepsState) {
    if incoming.w3c {
        headers.remove(w3c::TRACEPARENT);
    }
    if incoming.single {
        headers.remove(b3::B3);
    }
    for name in &b3::MULTI {
        headers.remove(name);
    }
    if keeps_state == KeepsState::No {
        headers.remove(w3c::TRACESTATE);
    }
}

/// Whether `tracestate` goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepsState {
    /// The trace goes on, and so does it.
    Yes,
    /// It belongs to no trace that goes on.
    No,
}

/// `tracestate` in one line, for the spans. One that is too long to wait in a queue is left out there.
pub(super) fn state(headers: &HeaderMap) -> String {
    let lines = headers.get_all(w3c::TRACESTATE).iter();
    if lines.map(|line| line.len() + 1).sum::<usize>() > LONGEST_STATE {
        return String::new();
    }
    let lines = headers.get_all(w3c::TRACESTATE).iter();
    let lines: Vec<&str> = lines.filter_map(|line| line.to_str().ok()).collect();
    lines.join(",")
}

/// 1 KiB: §3.3.1.5 has everybody pass on half of that.
const LONGEST_STATE: usize = 1 << 10;
