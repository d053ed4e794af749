//! Which trace a head belongs to, and what its endpoint is told.

use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

use crate::base::units::Percent;

use super::context::{Decision, Formats, Incoming, Outgoing, Parent};
use super::*;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";
const NARROW: &str = "a3ce929d0e0e4736";

fn head(fields: &[(&str, &str)]) -> HeaderMap {
    let mut head = HeaderMap::new();
    for (name, value) in fields {
        head.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
    }
    head
}

fn read(fields: &[(&str, &str)]) -> Incoming {
    Incoming::read(&head(fields))
}

fn known() -> Parent {
    let (trace, span) = (TraceId::read(TRACE.as_bytes()), SpanId::read(SPAN.as_bytes()));
    Parent { trace: trace.unwrap(), span: span.unwrap(), narrow: false }
}

fn options(trust: Trust, percent: f64) -> Options {
    Options { sample: Sample::of(Percent::new(percent)), trust, start: Formats::W3C, queue: 1 }
}

fn tracer(trust: Trust, percent: f64) -> (Tracer, Ended) {
    Tracer::start(options(trust, percent))
}

/// The head that an endpoint gets of this one.
fn passed(tracer: &Tracer, mut head: HeaderMap) -> (Box<Trace>, HeaderMap) {
    let mut trace = tracer.begin(&head, "http").unwrap();
    tracer.decide(&mut trace, None, &head);
    trace.clean(&mut head);
    trace.outgoing(None, trace.formats()).fields(|name, value| {
        head.append(name, value);
    });
    (trace, head)
}

#[test]
fn a_traceparent_names_trace_span_and_decision() {
    for (flags, decision) in [
        ("00", Decision::Leave),
        ("01", Decision::Keep),
        ("ff", Decision::Keep),
        ("02", Decision::Leave),
    ] {
        let incoming = read(&[("traceparent", &format!("00-{TRACE}-{SPAN}-{flags}"))]);
        assert_eq!(incoming.parent, Some(known()), "{flags}");
        assert_eq!(incoming.decision, Some(decision), "{flags}");
    }
}

#[test]
fn a_traceparent_that_is_none_names_nothing() {
    let zeros = "0".repeat(32);
    for bad in [
        String::new(),
        "00".to_owned(),
        format!("00-{TRACE}-{SPAN}"),
        format!("00-{TRACE}-{SPAN}-"),
        format!("00-{TRACE}-{SPAN}-1"),
        format!("00-{TRACE}-{SPAN}-01-"),
        format!("00-{TRACE}-{SPAN}-01-more"),
        format!("00-{TRACE}-{SPAN}-0g"),
        format!("00-{zeros}-{SPAN}-01"),
        format!("00-{TRACE}-0000000000000000-01"),
        format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
        format!("ff-{TRACE}-{SPAN}-01"),
        format!("0-{TRACE}-{SPAN}-01"),
        format!("00_{TRACE}-{SPAN}-01"),
        format!("cc-{TRACE}-{SPAN}-01.what"),
        format!("00-{TRACE}-{SPAN}-01,00-{TRACE}-{SPAN}-01"),
    ] {
        let incoming = read(&[("traceparent", &bad), ("tracestate", "a=1")]);
        assert_eq!((incoming.parent, incoming.decision), (None, None), "{bad:?}");
        assert!(incoming.formats.w3c && !incoming.has_state, "{bad:?}");
    }
    let good = format!("00-{TRACE}-{SPAN}-01");
    assert_eq!(read(&[("traceparent", &good), ("traceparent", &good)]).parent, None, "twice");
}

#[test]
fn a_later_version_is_read_by_what_is_known_of_it() {
    for field in [format!("cc-{TRACE}-{SPAN}-01"), format!("cc-{TRACE}-{SPAN}-01-what-the-future")]
    {
        assert_eq!(read(&[("traceparent", &field)]).parent, Some(known()), "{field}");
    }
}

#[test]
fn b3_names_them_in_one_field_or_in_several() {
    for (field, decision) in [
        (format!("{TRACE}-{SPAN}"), None),
        (format!("{TRACE}-{SPAN}-0"), Some(Decision::Leave)),
        (format!("{TRACE}-{SPAN}-1"), Some(Decision::Keep)),
        (format!("{TRACE}-{SPAN}-d"), Some(Decision::Debug)),
        (format!("{TRACE}-{SPAN}-1-05e3ac9a4f6e3b90"), Some(Decision::Keep)),
    ] {
        let incoming = read(&[("b3", &field)]);
        assert_eq!((incoming.parent, incoming.decision), (Some(known()), decision), "{field}");
    }
    let ids = [("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN)];
    for (more, decision) in [
        (vec![], None),
        (vec![("x-b3-sampled", "1")], Some(Decision::Keep)),
        (vec![("x-b3-sampled", "true")], Some(Decision::Keep)),
        (vec![("x-b3-sampled", "0")], Some(Decision::Leave)),
        (vec![("x-b3-sampled", "d")], None),
        (vec![("x-b3-flags", "1"), ("x-b3-sampled", "0")], Some(Decision::Debug)),
        (vec![("x-b3-flags", "0"), ("x-b3-sampled", "0")], Some(Decision::Leave)),
    ] {
        let incoming = read(&[&ids[..], &more].concat());
        assert_eq!((incoming.parent, incoming.decision), (Some(known()), decision), "{more:?}");
    }
    let alone = read(&[("b3", "0")]);
    assert_eq!((alone.parent, alone.decision), (None, Some(Decision::Leave)));
    let alone = read(&[("x-b3-sampled", "0")]);
    assert_eq!((alone.parent, alone.decision), (None, Some(Decision::Leave)));
}

#[test]
fn b3_that_is_none_names_nothing() {
    for bad in ["", "-", "2", &format!("{TRACE}-{SPAN}-2"), &format!("{TRACE}-{SPAN}-1-"), TRACE] {
        let incoming = read(&[("b3", bad)]);
        assert_eq!((incoming.parent, incoming.decision), (None, None), "{bad:?}");
    }
    let short = [("x-b3-traceid", "a3ce929d0e0e473"), ("x-b3-spanid", SPAN)];
    assert_eq!(read(&short).parent, None);
    let twice = [("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN), ("x-b3-spanid", SPAN)];
    assert_eq!(read(&twice).parent, None);
}

#[test]
fn of_several_formats_the_first_that_names_a_parent_holds() {
    let w3c = format!("00-{TRACE}-{SPAN}-00");
    let single = format!("{TRACE}-05e3ac9a4f6e3b90-1");
    let multi = [("x-b3-traceid", NARROW), ("x-b3-spanid", SPAN), ("x-b3-sampled", "1")];
    let all = read(&[&[("traceparent", &*w3c), ("b3", &*single)][..], &multi].concat());
    assert_eq!((all.parent, all.decision), (Some(known()), Some(Decision::Leave)));
    let b3 = read(&[&[("traceparent", "?"), ("b3", &*single)][..], &multi].concat());
    assert_eq!(b3.parent.unwrap().span.to_string(), "05e3ac9a4f6e3b90");
    assert!(b3.formats.w3c && b3.formats.single && b3.formats.multi && !b3.has_state);
}

#[test]
fn a_trace_goes_on_in_the_format_that_it_came_in() {
    let (tracer, _ended) = tracer(Trust::Follow, 0.0);
    let field = format!("00-{TRACE}-{SPAN}-01");
    let (trace, passed_on) =
        passed(&tracer, head(&[("traceparent", &field), ("tracestate", "a=1"), ("x", "y")]));

    assert!(trace.is_kept(), "the client has decided");
    assert_eq!(trace.state, "a=1");
    let told = format!("00-{TRACE}-{}-01", trace.span);
    assert_eq!(passed_on, head(&[("tracestate", "a=1"), ("x", "y"), ("traceparent", &told)]));

    let field = format!("{NARROW}-{SPAN}-d");
    let (trace, passed_on) = passed(&tracer, head(&[("b3", &field), ("tracestate", "a=1")]));
    let told = format!("{NARROW}-{}-d-{SPAN}", trace.span);
    assert_eq!(passed_on, head(&[("b3", &told)]), "tracestate belongs to traceparent alone");

    let fields = [("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN), ("x-b3-sampled", "0")];
    let (trace, passed_on) = passed(&tracer, head(&fields));
    let span = trace.span.to_string();
    let told = [
        ("x-b3-traceid", TRACE),
        ("x-b3-spanid", &span),
        ("x-b3-parentspanid", SPAN),
        ("x-b3-sampled", "0"),
    ];
    assert_eq!((passed_on, trace.is_kept()), (head(&told), false));
}

#[test]
fn a_trace_that_nobody_began_begins_here() {
    let (tracer, _ended) = tracer(Trust::Follow, 100.0);
    let (trace, passed_on) = passed(&tracer, head(&[("traceparent", "?"), ("tracestate", "a=1")]));

    assert!(trace.is_kept() && trace.parent.is_none());
    let told = format!("00-{}-{}-01", trace.id, trace.span);
    assert_eq!(passed_on, head(&[("traceparent", &told)]));
}

#[test]
fn a_client_s_word_counts_what_the_operator_says() {
    let field = format!("00-{TRACE}-{SPAN}-01");
    for (trust, kept, goes_on) in
        [(Trust::Follow, true, true), (Trust::Join, false, true), (Trust::Ignore, false, false)]
    {
        let (tracer, _ended) = tracer(trust, 0.0);
        let (trace, passed_on) =
            passed(&tracer, head(&[("traceparent", &field), ("tracestate", "a=1")]));
        assert_eq!(trace.is_kept(), kept, "{trust:?}");
        assert_eq!(trace.id.to_string() == TRACE, goes_on, "{trust:?}");
        assert_eq!(trace.parent.is_some(), goes_on, "{trust:?}");
        assert_eq!(passed_on.contains_key("tracestate"), goes_on, "{trust:?}");
    }
}

#[test]
fn a_tenant_s_own_share_goes_before_the_general_one() {
    let all = Sample::of(Percent::new(100.0));
    for (percent, own, kept) in [(0.0, Some(all), true), (100.0, Some(Sample::NONE), false)] {
        let (tracer, _ended) = tracer(Trust::Follow, percent);
        let head = HeaderMap::new();
        let mut trace = tracer.begin(&head, "http").unwrap();
        assert_eq!(tracer.decide(&mut trace, own, &head), kept);
        assert_eq!(tracer.decide(&mut trace, None, &head), kept, "it is decided once");
    }
}

fn any_context() -> impl Strategy<Value = Outgoing> {
    let decisions = prop::sample::select(vec![Decision::Leave, Decision::Keep, Decision::Debug]);
    let formats = prop::sample::select(vec![Formats::W3C, Formats::B3, Formats::B3_MULTI]);
    (1_u128.., 1_u64.., 0_u64.., any::<bool>(), decisions, formats).prop_map(
        |(trace, span, above, narrow, decision, formats)| {
            let narrow = narrow && formats != Formats::W3C && trace as u64 > 0;
            let trace = if narrow { u128::from(trace as u64) } else { trace };
            Outgoing {
                trace: TraceId::read(format!("{trace:032x}").as_bytes()).unwrap(),
                narrow,
                span: SpanId::read(format!("{span:016x}").as_bytes()).unwrap(),
                above: SpanId::read(format!("{above:016x}").as_bytes()),
                decision,
                formats,
            }
        },
    )
}

/// Bytes that are nearly a context.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let texts = format!(
        "(00|cc|ff)?-?({TRACE}|{NARROW}|0+)?-?({SPAN}|[0-9a-fA-F]{{14,17}})?-?(0?[01d]|-)*"
    );
    prop_oneof![
        prop::string::string_regex(&texts).unwrap().prop_map(String::into_bytes),
        prop::collection::vec(0x20_u8..0x7f, 0..80),
        prop::collection::vec(0x80_u8.., 0..80),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read_as_it_was(context in any_context()) {
        let mut head = HeaderMap::new();
        context.fields(|name, value| { head.append(name, value); });

        let read = Incoming::read(&head);

        let Outgoing { trace, narrow, span, decision, formats, .. } = context;
        // W3C knows no debugging.
        let told = if formats.w3c && decision.is_kept() { Decision::Keep } else { decision };
        prop_assert_eq!(read.parent, Some(Parent { trace, span, narrow }));
        prop_assert_eq!(read.decision, Some(told));
        prop_assert_eq!(read.formats, formats);
    }

    #[test]
    fn any_bytes_are_read_and_what_goes_on_is_always_good(
        fields in prop::collection::vec((0_usize..8, nearly()), 0..6)
    ) {
        let names = ["traceparent", "tracestate", "b3", "x-b3-traceid", "x-b3-spanid",
            "x-b3-parentspanid", "x-b3-sampled", "x-b3-flags"];
        let mut asked = HeaderMap::new();
        for (name, value) in fields {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                asked.append(names[name], value);
            }
        }
        let (tracer, _ended) = tracer(Trust::Follow, 50.0);

        let (trace, told) = passed(&tracer, asked);

        let read = Incoming::read(&told);
        prop_assert_eq!(read.parent.map(|parent| (parent.trace, parent.span)), Some((trace.id, trace.span)));
        prop_assert_eq!(read.decision.map(Decision::is_kept), Some(trace.is_kept()));
        prop_assert_eq!(read.formats, trace.formats());
    }
}
