//! What a client of HTTP/2 may say that an endpoint of HTTP/1 would read as something else. The
//! judge is the endpoint: what reaches it are, by the letter, the requests that were answered, or
//! nothing at all.

use crate::world::config::{NO_RETRY, one_tenant_with};
use crate::world::gateway::Gateway;
use crate::world::raw_h2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Fate, GET, HEADERS, RawH2, block, frame, request,
};
use crate::world::tape::{Strict, Tape};

type Fields<'f> = Vec<(&'f [u8], &'f [u8])>;

async fn world() -> (Tape, Gateway) {
    let tape = Tape::start().await;
    let gateway = Gateway::start(&one_tenant_with(&[tape.address], NO_RETRY)).await;
    (tape, gateway)
}

/// The usual request and one more field.
fn with<'f>(name: &'f [u8], value: &'f [u8]) -> Fields<'f> {
    [&GET[..], &[(name, value)]].concat()
}

/// The usual request with another value of a field.
fn but<'f>(name: &[u8], value: &'f [u8]) -> Fields<'f> {
    let change = |(own, old)| if own == name { (own, value) } else { (own, old) };
    GET.into_iter().map(change).collect()
}

/// The usual request without a field.
fn without(name: &[u8]) -> Fields<'static> {
    GET.into_iter().filter(|(own, _)| *own != name).collect()
}

fn put(length: Option<&'static [u8]>) -> Fields<'static> {
    let mut fields = but(b":method", b"PUT");
    fields.extend(length.map(|length| (&b"content-length"[..], length)));
    fields
}

/// Sends frames of stream 1 on a connection of their own, and tells what became of it.
async fn sent(gateway: &Gateway, frames: &[u8]) -> Fate {
    let mut client = RawH2::connect(gateway.address()).await;
    client.send(frames).await;
    client.fate(1).await
}

/// None of these requests may have an answer that an endpoint made, or reach one.
async fn all_refused(cases: &[Fields<'_>]) {
    let (tape, gateway) = world().await;
    let canary = request(1, &but(b":path", b"/canary"));
    let mut let_through = Vec::new();
    for fields in cases {
        let before = tape.bytes().concat().len();
        let fate = sent(&gateway, &request(1, fields)).await;
        let reached = tape.bytes().concat()[before..].escape_ascii().to_string();
        if !matches!(fate.status(), 0 | 400..500) || !reached.is_empty() {
            let line = |(name, value): &(&[u8], &[u8])| {
                format!("{}={}", name.escape_ascii(), value.escape_ascii())
            };
            let fields: Vec<String> = fields.iter().map(line).collect();
            let_through.push(format!("{fields:?}: {fate:?}, {reached}"));
        }
        assert_eq!(sent(&gateway, &canary).await, Fate::Answer(200, b"ok".to_vec()));
    }
    assert!(let_through.is_empty(), "{let_through:#?}");
}

async fn answered(fields: &[(&[u8], &[u8])]) -> Strict {
    let (tape, gateway) = world().await;
    let fate = sent(&gateway, &request(1, fields)).await;
    assert_eq!(fate, Fate::Answer(200, b"ok".to_vec()));
    let (mut requests, broken) = tape.requests().unwrap_or_else(|why| panic!("{why}"));
    assert_eq!((requests.len(), broken), (1, 0));
    requests.remove(0)
}

#[tokio::test]
async fn a_value_with_a_line_end_a_nul_or_space_around_it_reaches_no_endpoint() {
    let values: [&[u8]; 11] = [
        b"a\r\nx-tenant-id: evil",
        b"a\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n",
        b"a\nb",
        b"a\rb",
        b"a\0b",
        b"a\x7fb",
        b"a\x01",
        b" a",
        b"a ",
        b"\ta",
        b"a\t",
    ];
    let mut cases = Vec::new();
    for value in &values {
        for name in [&b"x-a"[..], b"cookie", b"host", b"content-type", b"te", b"x-tenant-id"] {
            cases.push(with(name, value));
        }
        for name in [b":method", b":scheme"] {
            cases.push(but(name, value));
        }
        cases.extend([but(b":authority", value), but(b":path", value)]);
    }
    all_refused(&cases).await;
}

#[tokio::test]
async fn a_name_that_is_no_lower_case_token_reaches_no_endpoint() {
    let names: [&[u8]; 17] = [
        b"",
        b"X-A",
        b"x-A",
        b"x a",
        b" x",
        b"x ",
        b"x:a",
        b"x:",
        b"x\r\ny",
        b"x\ny",
        b"x\0",
        b"x\t",
        b"x\xe9",
        b"x\x7f",
        b"x(a)",
        b"x\"a",
        b"content-length\r\nx",
    ];
    all_refused(&names.map(|name| with(name, b"1"))).await;
}

#[tokio::test]
async fn pseudo_fields_that_are_missing_twice_unknown_or_late_reach_no_endpoint() {
    let mut cases = vec![without(b":method"), without(b":path"), without(b":scheme")];
    for (name, value) in &GET[..4] {
        cases.push([&[(*name, *value)], &GET[..]].concat());
        let late = [&without(name)[..], &[(*name, *value)]].concat();
        cases.push(late);
    }
    for name in [&b":status"[..], b":protocol", b":host", b":", b":x", b":path "] {
        cases.push([&[(name, &b"200"[..])], &GET[..]].concat());
    }
    all_refused(&cases).await;
}

#[tokio::test]
async fn pseudo_fields_with_values_that_make_no_target_reach_no_endpoint() {
    let paths: [&[u8]; 12] = [
        b"",
        b"x",
        b"x/y",
        b"?x=1",
        b"http://evil.example/",
        b"evil.example:80",
        b"/a b",
        b"/ HTTP/1.1",
        b"/\xff\x00",
        b"@evil",
        b"*x",
        b"*",
    ];
    let authorities: [&[u8]; 9] = [
        b"",
        b"u@a.example",
        b"u:p@a.example",
        b"a.example/x",
        b"a.example?x",
        b"a b",
        b"a.example:99999x",
        b"a.example, b.example",
        b"http://a.example",
    ];
    let methods: [&[u8]; 5] = [b"", b"GET /x HTTP/1.1", b"G\tT", b"G:T", b"G\xe9T"];
    let mut cases: Vec<_> = paths.iter().map(|path| but(b":path", path)).collect();
    cases.extend(authorities.iter().map(|authority| but(b":authority", authority)));
    cases.extend(methods.iter().map(|method| but(b":method", method)));
    cases
        .extend([&b""[..], b"ht tp", b"http:", b"://", b"-"].map(|scheme| but(b":scheme", scheme)));
    all_refused(&cases).await;
}

#[tokio::test]
async fn an_asterisk_is_the_target_of_options_alone() {
    let mut fields = but(b":method", b"OPTIONS");
    fields[3].1 = b"*";
    let asked = answered(&fields).await;
    assert_eq!((asked.method.as_str(), asked.target.as_str()), ("OPTIONS", "*"));
}

#[tokio::test]
async fn a_host_that_is_not_the_authority_reaches_no_endpoint() {
    let mut cases: Vec<_> = [&b"evil.example"[..], b"a.example:81", b"a.example:443", b"", b"a"]
        .map(|host| with(b"host", host))
        .to_vec();
    cases.push([&GET[..], &[(b"host", b"a.example"), (b"host", b"a.example")]].concat());
    cases.push(without(b":authority"));
    all_refused(&cases).await;
}

#[tokio::test]
async fn a_host_that_says_what_the_authority_says_passes_once() {
    let same = answered(&with(b"host", b"A.example")).await;
    for port in [&b":80"[..], b":"] {
        let written = [b"a.example", port].concat();
        assert_eq!(answered(&with(b"host", &written)).await.all("host"), ["a.example"]);
    }
    let alone = answered(&[&without(b":authority")[..], &[(b"host", b"b.example")]].concat()).await;

    assert_eq!(same.all("host"), ["a.example"]);
    assert_eq!(alone.all("host"), ["b.example"]);
}

#[tokio::test]
async fn fields_of_one_connection_reach_no_endpoint() {
    let cases: [(&[u8], &[u8]); 11] = [
        (b"connection", b"close"),
        (b"connection", b"x-tenant-id"),
        (b"transfer-encoding", b"chunked"),
        (b"transfer-encoding", b"identity"),
        (b"upgrade", b"websocket"),
        (b"keep-alive", b"timeout=5"),
        (b"proxy-connection", b"close"),
        (b"te", b"gzip"),
        (b"te", b"trailers, chunked"),
        (b"te", b"chunked"),
        (b"te", b""),
    ];
    all_refused(&cases.map(|(name, value)| with(name, value))).await;
}

#[tokio::test]
async fn a_length_that_is_none_or_that_no_body_keeps_reaches_no_endpoint() {
    let lengths: [&[u8]; 11] = [
        b"",
        b"+0",
        b"-0",
        b"0x0",
        b"0,0",
        b"0, 5",
        b"5",
        b"1",
        b"a",
        b"18446744073709551616",
        b"0 ",
    ];
    let mut cases: Vec<_> = lengths.iter().map(|length| put(Some(length))).collect();
    cases.extend(lengths.iter().map(|length| with(b"content-length", length)));
    for (first, second) in [(b"0", b"0"), (b"0", b"1"), (b"1", b"0")] {
        let two: Fields<'_> = vec![(b"content-length", first), (b"content-length", second)];
        cases.push([&put(None)[..], &two].concat());
    }
    all_refused(&cases).await;
}

#[tokio::test]
async fn a_body_that_is_not_as_long_as_it_says_is_never_a_whole_request() {
    let smuggled = b"GET /smuggled HTTP/1.1\r\nHost: a\r\nX-Tenant-ID: acme\r\n\r\n";
    let data = |flags, bytes: &[u8]| frame(DATA, flags, 1, bytes);
    let cases = [
        ("short", data(END_STREAM, b"hell")),
        ("short, with trailers", [data(0, b"hell"), trailers(&[(b"x-a", b"1")])].concat()),
        ("none", data(END_STREAM, b"")),
        ("long", data(END_STREAM, smuggled)),
        ("long in two", [data(0, b"hello"), data(END_STREAM, smuggled)].concat()),
        ("long after its end", [data(END_STREAM, b"hello"), data(END_STREAM, smuggled)].concat()),
    ];
    for (what, body) in cases {
        let (tape, gateway) = world().await;
        let head = frame(HEADERS, END_HEADERS, 1, &block(&put(Some(b"5"))));

        let fate = sent(&gateway, &[head, body].concat()).await;
        let next = sent(&gateway, &request(1, &but(b":path", b"/next"))).await;

        assert_eq!(next.status(), 200, "{what}");
        let (requests, _) = tape.requests().unwrap_or_else(|why| panic!("{what}: {why}"));
        let (next, first) = requests.split_last().expect("the next one");
        assert_eq!(next.target, "/next", "{what}");
        let whole = what == "long after its end";
        assert!(whole || (first.is_empty() && fate.status() != 200), "{what}: {fate:?} {first:?}");
        assert!(first.iter().all(|asked| asked.body == b"hello"), "{what}: {first:?}");
    }
}

fn trailers(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(fields))
}

#[tokio::test]
async fn a_body_that_says_no_length_is_framed_whatever_it_holds() {
    let (tape, gateway) = world().await;
    let evil = b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let head = frame(HEADERS, END_HEADERS, 1, &block(&put(None)));
    let body = [frame(DATA, 0, 1, evil), frame(DATA, END_STREAM, 1, evil)].concat();

    assert_eq!(sent(&gateway, &[head, body].concat()).await.status(), 200);

    let (requests, broken) = tape.requests().expect("requests by the letter");
    assert_eq!((requests.len(), broken), (1, 0));
    assert_eq!(requests[0].body, [&evil[..], evil].concat());
}

#[tokio::test]
async fn crumbs_of_a_cookie_are_one_field_and_may_have_anything_between_them() {
    let crumbs: Fields<'_> =
        vec![(b"cookie", b"a=1"), (b"x-a", b"1"), (b"cookie", b"b=2"), (b"cookie", b"c")];
    let asked = answered(&[&GET[..], &crumbs].concat()).await;
    assert_eq!(asked.all("cookie"), ["a=1; b=2; c"]);
}

#[tokio::test]
async fn trailers_never_say_what_a_head_says() {
    let (tape, gateway) = world().await;
    let evil: [(&[u8], &[u8]); 9] = [
        (b"content-length", b"5"),
        (b"host", b"evil"),
        (b"x-tenant-id", b"evil"),
        (b"x-forwarded-for", b"1.2.3.4"),
        (b"authorization", b"evil"),
        (b"cookie", b"evil"),
        (b"content_length", b"5"),
        (b"trailer", b"evil"),
        (b"x-sum", b"1"),
    ];
    let bad: [(&[u8], &[u8]); 6] = [
        (b":path", b"/evil"),
        (b":status", b"200"),
        (b"transfer-encoding", b"chunked"),
        (b"connection", b"close"),
        (b"X-Sum", b"1"),
        (b"x-sum", b"1\r\n\r\nGET /smuggled HTTP/1.1"),
    ];
    let head = frame(HEADERS, END_HEADERS, 1, &block(&but(b":method", b"PUT")));
    for (name, value) in evil.into_iter().chain(bad) {
        let body = [frame(DATA, 0, 1, b"body"), trailers(&[(name, value)])].concat();
        sent(&gateway, &[&head[..], &body].concat()).await;
    }
    assert_eq!(sent(&gateway, &request(1, &GET)).await.status(), 200);

    tape.requests().expect("requests by the letter");
    let text = tape.bytes().concat();
    let text = String::from_utf8_lossy(&text).to_lowercase();
    assert!(
        !text.contains("evil") && !text.contains("smuggled") && !text.contains("1.2.3.4"),
        "{text}"
    );
    assert!(!text.contains("content-length") && !text.contains("content_length"), "{text}");
    assert!(text.contains("\r\nx-sum: 1\r\n"), "{text}");
}

#[tokio::test]
async fn a_head_within_a_head_is_one_head_or_none() {
    let (tape, gateway) = world().await;
    let whole = block(&GET);
    let (start, end) = whole.split_at(whole.len() / 2);
    let split = [frame(HEADERS, END_STREAM, 1, start), frame(CONTINUATION, END_HEADERS, 1, end)];
    let torn = [
        frame(HEADERS, END_STREAM, 1, start),
        frame(DATA, 0, 1, b"x"),
        frame(CONTINUATION, END_HEADERS, 1, end),
    ];
    let foreign = [frame(HEADERS, END_STREAM, 1, start), frame(CONTINUATION, END_HEADERS, 3, end)];

    assert_eq!(sent(&gateway, &split.concat()).await.status(), 200);
    for bad in [&torn.concat(), &foreign.concat(), &frame(CONTINUATION, END_HEADERS, 1, end)] {
        assert!(matches!(sent(&gateway, bad).await, Fate::GoAway(1) | Fate::Closed));
    }

    let (requests, broken) = tape.requests().expect("requests by the letter");
    assert_eq!((requests.len(), broken), (1, 0));
}
