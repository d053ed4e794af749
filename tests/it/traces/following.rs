//! Which trace a request belongs to, what its endpoint hears of it, and which spans it leaves.

use std::net::SocketAddr;

use serde_json::Value;

use crate::world::client::{Client, ask, get, head};
use crate::world::config::{NO_RETRY, one_tenant, one_tenant_with, pool};
use crate::world::eventually;
use crate::world::gateway::Gateway;
use crate::world::h2_origin::H2Origin;
use crate::world::origin::{Origin, Step};
use crate::world::unreachable::Refusing;

use super::collector::{Collector, Span};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// `GET` by `acme` with further fields.
async fn asking(address: SocketAddr, target: &str, fields: &[&str]) {
    let fields = [&["Host: shop.example:81", "X-Tenant-ID: acme"], fields].concat();
    let answer = ask(address, &format!("GET {target}"), &fields).await;
    assert_ne!(answer.status, 0);
}

fn named<'s>(spans: &'s [Span], name: &str) -> Vec<&'s Span> {
    spans.iter().filter(|span| span.name == name).collect()
}

fn served(spans: &[Span]) -> Vec<&Span> {
    spans.iter().filter(|span| span.kind == "SERVER").collect()
}

/// The only span that is named so.
fn only<'s>(spans: &'s [Span], name: &str) -> &'s Span {
    let [span] = named(spans, name)[..] else { panic!("{name} in {spans:#?}") };
    span
}

#[tokio::test]
async fn a_trace_is_followed_from_the_client_to_the_endpoint_by_each_exporter() {
    let collector = Collector::start().await;
    for (number, exporter) in (0..).zip(["otlp-http", "otlp-grpc", "zipkin"]) {
        let origin = Origin::saying("hello").await;
        let routes = pool("app", &[origin.address], "")
            + "[tenants.acme]\n[[tenants.acme.routes]]\nname = \"goods\"\npath = \"/goods/*\"\n\
               pool = \"app\"\n";
        let more = "service-name = \"edge\"\nheaders = { X-Token = \"s3cret\" }";
        let gateway = Gateway::start_with(&collector.config(exporter, more), &routes).await;
        let mut client = Client::connect(gateway.address()).await;
        let parent = format!("traceparent: 00-{TRACE}-{PARENT}-01");
        let fields = ["Host: shop.example:81", "X-Tenant-ID: acme", "User-Agent: it", &parent];
        let fields = [&fields[..], &["tracestate: a=1", "tracestate: b=2"]].concat();

        let answer = client.ask(&head("GET /goods/7?token=s3cret&a=b", &fields)).await;
        let id = answer.one("x-request-id").expect("the request's id");
        let all = collector.spans(number * 7 + 4).await;
        client.ask(&head("GET /goods/8", &fields)).await;
        let spans = &all[number * 7..];
        let again = &collector.spans(number * 7 + 7).await[number * 7 + 4..];

        let [entry] = served(spans)[..] else { panic!("{spans:#?}") };
        assert_eq!((&*entry.name, &*entry.trace), ("GET goods", TRACE), "{exporter}");
        assert_eq!(entry.parent.as_deref(), Some(PARENT));
        assert_eq!((&*entry.service, &entry.error), ("edge", &None));
        let state = if exporter == "zipkin" { "" } else { "a=1,b=2" };
        assert_eq!(entry.state, state);
        for (name, value) in [
            ("http.request.method", "GET"),
            ("url.path", "/goods/7"),
            ("url.query", "token=***&a=b"),
            ("url.scheme", "http"),
            ("server.address", "shop.example"),
            ("server.port", "81"),
            ("client.address", "127.0.0.1"),
            ("http.response.status_code", "200"),
            ("http.response.body.size", "5"),
            ("network.protocol.version", "1.1"),
            ("user_agent.original", "it"),
            ("tenantry.tenant", "acme"),
            ("tenantry.route", "goods"),
            ("tenantry.pool", "app"),
            ("tenantry.endpoint", &origin.address.to_string()),
            ("tenantry.request_id", &id),
            ("tenantry.attempts", "1"),
        ] {
            assert_eq!(entry.says(name), value, "{name} by {exporter}");
        }
        let attempt = only(spans, "attempt");
        assert_eq!(attempt.parent.as_ref(), Some(&entry.id));
        assert_eq!(attempt.kind, "CLIENT");
        assert_eq!(attempt.says("server.port"), origin.address.port().to_string());
        assert_eq!(attempt.says("tenantry.attempt"), "1");
        assert!(attempt.events.contains_key("first byte"), "{attempt:?}");
        let queue = only(spans, "queue");
        assert_eq!((queue.parent.as_ref(), queue.start), (Some(&entry.id), entry.start));
        let connect = only(spans, "connect");
        assert_eq!(connect.parent.as_ref(), Some(&attempt.id));
        assert_eq!(connect.says("tenantry.connection"), "opened");
        assert!(named(again, "connect").is_empty(), "the connection was kept: {again:#?}");

        let asked = &origin.asked()[0];
        assert_eq!(asked.all("traceparent"), [format!("00-{TRACE}-{}-01", attempt.id)]);
        assert_eq!(asked.all("tracestate"), ["a=1", "b=2"]);
        assert_eq!(collector.fields()[number * 2]["x-token"], "s3cret");
    }
}

#[tokio::test]
async fn each_attempt_has_a_span_that_says_why_it_was_made() {
    let collector = Collector::start().await;
    let refusing = Refusing::new();
    let origin = Origin::start([Step::answer(503, "no"), Step::ok("yes")]).await;
    let keys = "retry = { attempts = 3, on = [\"connect\", \"503\"], backoff = \"1ms\" }";
    let routes = pool("busy", &[origin.address], keys)
        + &pool("gone", &[refusing.address], keys)
        + "[tenants.busy]\npool = \"busy\"\n[tenants.gone]\npool = \"gone\"\n";
    let gateway = Gateway::start_with(&collector.config("otlp-http", ""), &routes).await;

    get(gateway.address(), "busy", "/").await;
    let busy = collector.spans(1 + 3 + 2).await;
    get(gateway.address(), "gone", "/").await;
    let gone = collector.spans(busy.len() + 1 + 3 * 3).await.split_off(busy.len());

    let table = |spans: &[Span]| -> Vec<[String; 4]> {
        let words = ["tenantry.attempt", "tenantry.retry.reason", "error.type"];
        let row = |span: &&Span| {
            let [number, reason, error] = words.map(|word| span.says(word));
            [number, reason, error, span.says("http.response.status_code")]
        };
        named(spans, "attempt").iter().map(row).collect()
    };
    assert_eq!(table(&busy), [["1", "", "503", "503"], ["2", "status", "", "200"]]);
    assert_eq!(
        table(&gone),
        [
            ["1", "", "connect", ""],
            ["2", "connect", "connect", ""],
            ["3", "connect", "connect", ""]
        ]
    );
    let waits = |spans: &[Span]| -> Vec<String> {
        named(spans, "queue").iter().map(|span| span.says("tenantry.wait")).collect()
    };
    assert_eq!(waits(&busy), ["pick", "retry"]);
    assert_eq!(waits(&gone), ["pick", "retry", "retry"]);
    let told: Vec<_> = origin.asked().iter().map(|asked| asked.all("traceparent")).collect();
    let attempts = named(&busy, "attempt").into_iter();
    let own: Vec<_> =
        attempts.map(|span| [format!("00-{}-{}-01", span.trace, span.id)].to_vec()).collect();
    assert_eq!(told, own, "each attempt's own span is the endpoint's parent");
}

#[tokio::test]
async fn what_failed_is_told_by_the_span_of_who_failed() {
    let collector = Collector::start().await;
    let refusing = Refusing::new();
    let cutting =
        Origin::start([Step::raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").and_close()])
            .await;
    let missing = Origin::start([Step::answer(404, "")]).await;
    let routes = [
        pool("refusing", &[refusing.address], NO_RETRY),
        pool("cutting", &[cutting.address], NO_RETRY),
        pool("missing", &[missing.address], NO_RETRY),
        "[tenants.refusing]\npool = \"refusing\"\n[tenants.cutting]\npool = \"cutting\"\n\
         [tenants.missing]\npool = \"missing\"\n"
            .to_owned(),
    ];
    let config = collector.config("otlp-http", "");
    let gateway = Gateway::start_with(&config, &routes.concat()).await;

    for (tenant, count, entry_error, attempt_error) in [
        ("refusing", 4, Some("connect-failed"), Some("connect")),
        ("cutting", 8, Some("cut"), Some("cut")),
        ("missing", 12, None, Some("404")),
        ("nobody", 13, None, None),
    ] {
        get(gateway.address(), tenant, "/").await;
        let all = collector.spans(count).await;
        let entry = *served(&all).last().expect("a span");
        assert_eq!(entry.error.as_deref(), entry_error, "{tenant}");
        if tenant == "nobody" {
            assert_eq!(entry.says("http.response.status_code"), "404");
            break;
        }
        let attempt = *named(&all, "attempt").last().expect("a span");
        assert_eq!(attempt.error.as_deref(), attempt_error, "{tenant}");
        let connect = *named(&all, "connect").last().expect("a span");
        assert_eq!(connect.error.is_some(), tenant == "refusing");
    }
}

#[tokio::test]
async fn a_client_that_leaves_leaves_its_spans_behind() {
    let collector = Collector::start().await;
    let origin = Origin::start([Step::stall()]).await;
    let routes = one_tenant_with(&[origin.address], NO_RETRY);
    let gateway = Gateway::start_with(&collector.config("otlp-grpc", ""), &routes).await;
    let mut client = Client::connect(gateway.address()).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Tenant-ID: acme\r\n\r\n").await;
    eventually("the request", || origin.asked().len(), |asked| *asked == 1).await;

    drop(client);

    let spans = collector.spans(4).await;
    assert_eq!(only(&spans, "attempt").error.as_deref(), Some("cancelled"));
    let entry = served(&spans)[0];
    assert_eq!(entry.error.as_deref(), Some("cut"));
    assert_eq!(entry.says("http.response.status_code"), "", "there was no answer");
}

#[tokio::test]
async fn tenants_are_sampled_by_their_own_shares_and_edits_take_effect_while_it_runs() {
    let collector = Collector::start().await;
    let origin = Origin::saying("hello").await;
    let routes = |quiet: &str| {
        pool("app", &[origin.address], "")
            + "[tenants.plain]\npool = \"app\"\n[tenants.loud]\npool = \"app\"\n\
               tracing = { sample = \"100%\" }\n[tenants.quiet]\npool = \"app\"\n"
            + &format!("tracing = {{ sample = \"{quiet}\" }}\n")
    };
    let config = collector.config("zipkin", "sample = \"0%\"");
    let gateway = Gateway::start_with(&config, &routes("0%")).await;
    for tenant in ["quiet", "plain", "loud", "quiet", "nobody"] {
        get(gateway.address(), tenant, "/").await;
    }
    gateway.reload(&routes("100%")).await;
    get(gateway.address(), "plain", "/").await;
    get(gateway.address(), "quiet", "/").await;

    let spans = collector.spans(3 + 3).await; // the first to connect left none

    let tenants: Vec<String> =
        served(&spans).iter().map(|span| span.says("tenantry.tenant")).collect();
    assert_eq!(tenants, ["loud", "quiet"]);
    let flags = |asked: &crate::world::message::Asked| {
        asked.one("traceparent").and_then(|parent| parent.get(53..).map(str::to_owned))
    };
    let flags: Vec<String> = origin.asked().iter().filter_map(flags).collect();
    assert_eq!(flags, ["00", "00", "01", "00", "00", "01"], "endpoints are told what was drawn");
}

#[tokio::test]
async fn the_client_s_decision_holds_unless_the_operator_says_no() {
    let collector = Collector::start().await;
    let mut count = 0;
    for (more, sampled, goes_on) in [
        ("sample = \"0%\"", "01", true),
        ("sample = \"0%\"\nincoming = \"join\"", "00", true),
        ("sample = \"0%\"\nincoming = \"ignore\"", "00", false),
        ("sample = \"100%\"\nincoming = \"join\"", "01", true),
    ] {
        let origin = Origin::saying("hello").await;
        let config = collector.config("otlp-http", more);
        let gateway = Gateway::start_with(&config, &one_tenant(&[origin.address])).await;

        let parent = format!("traceparent: 00-{TRACE}-{PARENT}-01");
        asking(gateway.address(), "/", &[&parent, "tracestate: a=1"]).await;

        let told = origin.asked()[0].one("traceparent").expect("it is told");
        assert!(told.ends_with(sampled), "{more}: {told}");
        assert_eq!(told.contains(TRACE), goes_on, "{more}: {told}");
        assert_eq!(origin.asked()[0].one("tracestate").is_some(), goes_on, "{more}");
        count += if sampled == "01" { 4 } else { 0 };
        collector.spans(count).await;
    }
    let origin = Origin::saying("hello").await;
    let config = collector.config("otlp-http", "");
    let gateway = Gateway::start_with(&config, &one_tenant(&[origin.address])).await;
    let parent = format!("traceparent: 00-{TRACE}-{PARENT}-00");
    asking(gateway.address(), "/", &[&parent]).await;
    asking(gateway.address(), "/last", &[]).await;

    let spans = collector.spans(count + 3).await;
    let paths: Vec<String> = served(&spans).iter().map(|span| span.says("url.path")).collect();
    assert_eq!(paths, ["/", "/", "/last"], "followed, joined, and the one that nobody decided");
}

#[tokio::test]
async fn b3_goes_on_as_it_came() {
    let collector = Collector::start().await;
    let origin = Origin::saying("hello").await;
    let routes = one_tenant(&[origin.address]);
    let config = collector.config("zipkin", "sample = \"0%\"\nstart = \"b3-multi\"");
    let gateway = Gateway::start_with(&config, &routes).await;
    let narrow = &TRACE[16..];

    asking(gateway.address(), "/single", &[&format!("b3: {narrow}-{PARENT}-d")]).await;
    let ids = [format!("X-B3-TraceId: {TRACE}"), format!("X-B3-SpanId: {PARENT}")];
    asking(gateway.address(), "/multi", &[&ids[0], &ids[1], "X-B3-Sampled: 1"]).await;
    asking(gateway.address(), "/denied", &["b3: 0"]).await;
    asking(gateway.address(), "/new", &[]).await;

    let spans = collector.spans(4 + 3).await;
    let asked = origin.asked();
    let of = |path: &str| {
        let entry = served(&spans).into_iter().find(|span| span.says("url.path") == path);
        let entry = entry.expect("a server's span");
        let below = |span: &&Span| span.parent.as_ref() == Some(&entry.id) && span.kind == "CLIENT";
        (entry, spans.iter().find(below).expect("an attempt"))
    };
    let (entry, attempt) = of("/single");
    assert!(entry.trace == narrow && entry.debug, "{entry:?}");
    assert_eq!(asked[0].all("b3"), [format!("{narrow}-{}-d-{}", attempt.id, entry.id)]);
    let (entry, attempt) = of("/multi");
    for (name, value) in [
        ("x-b3-traceid", Some(TRACE)),
        ("x-b3-spanid", Some(&attempt.id)),
        ("x-b3-parentspanid", Some(&entry.id)),
        ("x-b3-sampled", Some("1")),
        ("x-b3-flags", None),
        ("b3", None),
        ("traceparent", None),
    ] {
        assert_eq!(asked[1].one(name).as_deref(), value, "{name}");
    }
    let denied = asked[2].one("b3").expect("it is told");
    assert!(denied.ends_with("-0") && denied.len() == 32 + 1 + 16 + 2, "{denied}");
    assert_eq!(asked[3].one("x-b3-sampled").as_deref(), Some("0"), "as `start` says");
    assert_eq!(asked[3].one("traceparent"), None);
}

#[tokio::test]
async fn endpoints_of_http2_are_told_too_and_routes_may_keep_it_from_them() {
    let collector = Collector::start().await;
    let origin = H2Origin::saying("hello").await;
    let routes = pool("app", &[origin.address], "protocol = \"h2\"")
        + "[tenants.acme]\npool = \"app\"\n[[tenants.acme.routes]]\npath = \"/theirs\"\n\
           request-headers = { remove = [\"traceparent\", \"tracestate\"], add = { X-A = \"b\" } }\n\
           [[tenants.acme.routes]]\npath = \"/edited\"\nrequest-headers = { add = { X-A = \"b\" } }\n";
    let gateway = Gateway::start_with(&collector.config("otlp-http", ""), &routes).await;
    let parent = format!("traceparent: 00-{TRACE}-{PARENT}-01");

    for path in ["/", "/theirs", "/edited"] {
        asking(gateway.address(), path, &[&parent, "tracestate: a=1"]).await;
    }

    let spans = collector.spans(4 + 3 + 3).await;
    let attempts = named(&spans, "attempt");
    let asked = origin.asked();
    for (number, told) in [(0, true), (1, false), (2, true)] {
        let fields = told.then(|| format!("00-{TRACE}-{}-01", attempts[number].id));
        assert_eq!(asked[number].all("traceparent"), Vec::from_iter(fields), "{number}");
        assert_eq!(asked[number].one("tracestate").is_some(), told, "{number}");
    }
}

#[tokio::test]
async fn without_tracing_what_a_client_says_passes_through_untouched() {
    let origin = Origin::saying("hello").await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;
    let fields = ["traceparent: what?", "tracestate: a=1", "b3: 0", "X-B3-TraceId: x"];

    asking(gateway.address(), "/", &fields).await;
    asking(gateway.address(), "/", &[]).await;

    let asked = origin.asked();
    for field in fields {
        let (name, value) = field.split_once(": ").expect("a field");
        assert_eq!(asked[0].all(&name.to_lowercase()), [value]);
    }
    assert_eq!((asked[1].one("traceparent"), asked[1].one("b3")), (None, None));
}

#[tokio::test]
async fn the_access_log_names_the_trace() {
    let collector = Collector::start().await;
    let origin = Origin::saying("hello").await;
    let log = "[access-log]\nfile = \"access.log\"\n";
    for (config, traced) in
        [(String::new(), false), (collector.config("otlp-http", "sample = \"0%\""), true)]
    {
        let routes = one_tenant(&[origin.address]);
        let gateway = Gateway::start_with(&format!("{log}{config}"), &routes).await;
        let parent = format!("traceparent: 00-{TRACE}-{PARENT}-00");

        asking(gateway.address(), "/", &[&parent]).await;

        let path = gateway.path("access.log");
        let read = || std::fs::read_to_string(&path).unwrap_or_default();
        let text = eventually("a line", read, |text| text.ends_with('\n')).await;
        let line: Value = serde_json::from_str(&text).expect("JSON");
        let trace = traced.then_some(TRACE);
        assert_eq!(line.get("trace_id").and_then(Value::as_str), trace, "{line}");
        let told = origin.asked().last().and_then(|asked| asked.one("traceparent"));
        let span = told.as_deref().and_then(|told| told.get(36..52));
        assert_eq!(line.get("span_id").and_then(Value::as_str), span.filter(|_| traced));
    }
}
