//! B3, as Zipkin's tracers write it: one field, `b3: <trace>-<span>-<decision>-<parent>`, or several
//! that begin with `X-B3-`.

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::context::{Decision, Parent, Said};
use super::ids::{SpanId, TraceId};

/// What the single field says; `None` where it is not there.
pub(super) fn read_single(headers: &HeaderMap) -> Option<Said> {
    let mut fields = headers.get_all(B3).iter();
    let field = fields.next()?.as_bytes();
    if fields.next().is_some() {
        return Some(Said::NOTHING);
    }
    Some(parse_single(field).unwrap_or(Said::NOTHING))
}

fn parse_single(field: &[u8]) -> Option<Said> {
    if let Some(decision) = decision(field) {
        return Some(Said { parent: None, decision: Some(decision) }); // no trace, and what of it
    }
    let mut parts = field.split(|byte| *byte == b'-');
    let parent = parent(parts.next()?, parts.next()?)?;
    let decision = match parts.next() {
        Some(text) => Some(decision(text)?),
        None => None,
    };
    if let Some(above) = parts.next() {
        SpanId::read(above)?;
    }
    parts.next().is_none().then_some(Said { parent: Some(parent), decision })
}

/// What the fields say together; `None` where none of them is there.
pub(super) fn read_multi(headers: &HeaderMap) -> Option<Said> {
    let [trace, span, _, sampled, flags] = MULTI.map(|name| {
        let mut fields = headers.get_all(&name).iter();
        fields.next().map(|field| if fields.next().is_some() { &[][..] } else { field.as_bytes() })
    });
    if trace.is_none() && sampled.is_none() && flags.is_none() {
        return None;
    }
    let parent = trace.zip(span).and_then(|(trace, span)| parent(trace, span));
    let said = match (flags, sampled) {
        (Some(b"1"), _) => Some(Decision::Debug),
        (_, Some(b"true")) => Some(Decision::Keep), // as tracers wrote before there was a standard
        (_, Some(b"false")) => Some(Decision::Leave),
        (_, Some(text)) => decision(text).filter(|said| *said != Decision::Debug),
        (_, None) => None,
    };
    Some(Said { parent, decision: said })
}

fn parent(trace: &[u8], span: &[u8]) -> Option<Parent> {
    let narrow = match trace.len() {
        16 => true,
        32 => false,
        _ => return None,
    };
    Some(Parent { trace: TraceId::read(trace)?, span: SpanId::read(span)?, narrow })
}

fn decision(text: &[u8]) -> Option<Decision> {
    match text {
        b"0" => Some(Decision::Leave),
        b"1" => Some(Decision::Keep),
        b"d" => Some(Decision::Debug),
        _ => None,
    }
}

/// What a span tells of itself: which one it is, and under which one it hangs.
pub(super) struct Place {
    pub(super) span: SpanId,
    /// Zipkin's tracers share the span of who asks, and so must know what is above it.
    pub(super) above: Option<SpanId>,
}

/// The value of the single field.
pub(super) fn write_single(trace: &str, at: &Place, decision: Decision) -> HeaderValue {
    let word = match decision {
        Decision::Leave => '0',
        Decision::Keep => '1',
        Decision::Debug => 'd',
    };
    let above = at.above.map(|above| format!("-{above}")).unwrap_or_default();
    value(format!("{trace}-{}-{word}{above}", at.span))
}

/// The several fields.
pub(super) fn write_multi(
    trace: &str,
    at: &Place,
    decision: Decision,
) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    let (sampled, flags) = match decision {
        Decision::Leave => (Some("0"), None),
        Decision::Keep => (Some("1"), None),
        Decision::Debug => (None, Some("1")), // it says that it is kept, too
    };
    let values = [
        Some(value(trace.to_owned())),
        Some(value(at.span.to_string())),
        at.above.map(|above| value(above.to_string())),
        sampled.map(HeaderValue::from_static),
        flags.map(HeaderValue::from_static),
    ];
    MULTI.into_iter().zip(values).filter_map(|(name, value)| Some((name, value?)))
}

/// Hex digits and hyphens are a valid value; the fallback is never taken.
fn value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// The single field.
pub(super) const B3: HeaderName = HeaderName::from_static("b3");
/// The several: trace, span, the span above it, whether it is sampled, flags.
pub(super) const MULTI: [HeaderName; 5] = [
    HeaderName::from_static("x-b3-traceid"),
    HeaderName::from_static("x-b3-spanid"),
    HeaderName::from_static("x-b3-parentspanid"),
    HeaderName::from_static("x-b3-sampled"),
    HeaderName::from_static("x-b3-flags"),
];
