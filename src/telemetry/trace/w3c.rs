//! `traceparent` of W3C Trace Context: `00-<trace>-<span>-<flags>`.

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::context::{Decision, Parent, Said};
use super::ids::{SpanId, TraceId, hex};

/// What the field says; `None` where it is not there.
pub(super) fn read(headers: &HeaderMap) -> Option<Said> {
    let mut fields = headers.get_all(TRACEPARENT).iter();
    let field = fields.next()?;
    // §3.2: who finds it twice cannot know which one holds.
    let parent = if fields.next().is_some() { None } else { parse(field.as_bytes()) };
    Some(match parent {
        Some((parent, flags)) => Said {
            parent: Some(parent),
            decision: Some(if flags & SAMPLED > 0 { Decision::Keep } else { Decision::Leave }),
        },
        None => Said::NOTHING,
    })
}

fn parse(field: &[u8]) -> Option<(Parent, u8)> {
    let (version, rest) = field.split_at_checked(3)?;
    let version = version.strip_suffix(b"-").and_then(hex)?;
    let (known, more) = rest.split_at_checked(KNOWN)?;
    // §4.3: a later version may go on behind a hyphen; 255 is none.
    let ends_well = more.is_empty() || (version > 0 && more.starts_with(b"-"));
    if version == 0xff || !ends_well {
        return None;
    }
    let (trace, rest) = (known.get(..32)?, known.get(32..)?.strip_prefix(b"-")?);
    let (span, flags) = (rest.get(..16)?, rest.get(16..)?.strip_prefix(b"-")?);
    let flags = hex(flags)? as u8;
    let parent = Parent { trace: TraceId::read(trace)?, span: SpanId::read(span)?, narrow: false };
    Some((parent, flags))
}

/// The field's value.
pub(super) fn write(trace: TraceId, span: SpanId, decision: Decision) -> HeaderValue {
    let flags = if decision.is_kept() { SAMPLED } else { 0 };
    let text = format!("00-{trace}-{span}-{flags:02x}");
    // Hex digits are a valid value; the fallback is never taken.
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Names the trace and the span that asks.
pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// What the tracers on the way have to say of it, for each other.
pub(super) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The bytes behind the version: two numbers, the flags, and the hyphens between them.
const KNOWN: usize = 32 + 1 + 16 + 1 + 2;
/// The only flag that version 00 of the first edition knows; §3.2.2.3: others are not set.
const SAMPLED: u8 = 1;
