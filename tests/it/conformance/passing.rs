//! RFC 9110 sections 5.3, 7.8, 10 to 14, RFC 9112 sections 4 and 9.3: what is not the gateway's to
//! judge, to change or to begin too early.

use crate::world::client::{Client, Hyper, head};
use crate::world::config::{NO_RETRY, one_tenant_with};
use crate::world::gateway::Gateway;
use crate::world::h2_origin::H2Origin;
use crate::world::message::{all, fields};
use crate::world::origin::{Origin, Step};
use crate::world::tape::Tape;

use super::{World, get, request};

const FIELDS: &[&str] = &["Host: a", "X-Tenant-ID: acme"];

async fn gateway_to(origin: &Origin) -> Gateway {
    Gateway::start(&one_tenant_with(&[origin.address], NO_RETRY)).await
}

/// Fields of a request that are for others to judge.
const ASKED: &[&str] = &[
    "Authorization: Digest username=\"a\", realm=\"\\\"b\"",
    "If-Match: \"a\", W/\"b\"",
    "If-None-Match: *",
    "If-Modified-Since: yesterday",
    "If-Unmodified-Since: Sunday, 06-Nov-94 08:49:37 GMT",
    "If-Range: W/\"a\"",
    "Range: lines=1-2,9-",
    "Content-Range: bytes 0-1/9",
    "Accept: text/html;q=0.1234",
    "Accept-Encoding: x-gzip, identity;q=0",
    "From: nobody",
    "Referer: http://u@a/#b",
    "User-Agent: A/1 (b) C/2",
];

/// The same of an answer.
const SAID: &[&str] = &[
    "WWW-Authenticate: Basic realm=\"a\", Newauth realm=\"b\"",
    "WWW-Authenticate: Digest realm=\"c\"",
    "Authentication-Info: nextnonce=\"a\"",
    "Allow: GET, , WONDER",
    "Vary: *",
    "ETag: W/\"a\"",
    "Last-Modified: Sun Nov  6 08:49:37 1994",
    "Content-Range: lines 1-2/9",
    "Accept-Ranges: lines",
    "Content-Encoding: x-gzip",
    "Content-Location: /b#c",
    "Location: http://u@a/#b",
    "Retry-After: never",
    "Server: A/1 (b)",
    "Cache-Control: no-transform",
    "Trailer: X-Sum",
];

fn missing(lines: &[&str], headers: &http::HeaderMap) -> Vec<String> {
    let expected = fields(lines.iter().copied());
    let differs =
        |name: &&http::HeaderName| all(headers, name.as_str()) != all(&expected, name.as_str());
    expected.keys().filter(differs).map(ToString::to_string).collect()
}

#[tokio::test]
async fn what_others_judge_passes_as_it_is() {
    let said = SAID.join("\r\n");
    let answer = format!("HTTP/1.1 401 No\r\n{said}\r\nContent-Length: 2\r\n\r\nno");
    let origin = Origin::start([Step::raw(answer)]).await;
    let gateway = gateway_to(&origin).await;
    for method in ["GET", "PUT", "OPTIONS", "WONDER"] {
        let asking = head(&format!("{method} /"), &[FIELDS, ASKED].concat());
        let answer = Client::connect(gateway.address()).await.ask(asking).await;
        assert_eq!((answer.status, answer.text().as_str()), (401, "no"), "{method}");
        assert_eq!(missing(SAID, &answer.headers), [""; 0], "{method}");
    }
    for asked in origin.asked() {
        assert_eq!(missing(ASKED, &asked.headers), [""; 0], "{}", asked.method);
    }
}

#[tokio::test]
async fn an_answer_without_the_content_that_its_client_has_is_passed_on() {
    for status in [206, 304, 412, 416] {
        let origin = Origin::start([Step::raw(format!(
            "HTTP/1.1 {status} Said\r\nETag: \"a\"\r\nContent-Range: bytes 0-1/9\r\nContent-Length: 2\r\n\r\n{}",
            if status == 304 { "" } else { "no" }
        ))])
        .await;
        let gateway = gateway_to(&origin).await;
        let asking = [FIELDS, &["If-None-Match: \"a\"", "Range: bytes=0-1"]].concat();
        let answer = Client::connect(gateway.address()).await.ask(head("GET /", &asking)).await;
        assert_eq!((answer.status, answer.whole), (status, true));
        assert_eq!(answer.one("content-length").as_deref(), Some("2"), "{status}");
        assert_eq!(answer.one("content-range").as_deref(), Some("bytes 0-1/9"), "{status}");
    }
}

#[tokio::test]
async fn bytes_of_a_value_that_are_no_ascii_pass_as_they_are() {
    let tape = Tape::start().await;
    let said = b"HTTP/1.1 200 OK\r\nX-A: caf\xe9 \"\\\xff\"\r\nContent-Length: 0\r\n\r\n";
    let origin = Origin::start([Step::raw(&said[..])]).await;
    let asking = b"GET / HTTP/1.1\r\nHost: a\r\nX-Tenant-ID: acme\r\nX-A: \xe9\t\xc3\xa9\r\n\r\n";
    let has = |bytes: &[u8], line: &[u8]| bytes.windows(line.len()).any(|part| part == line);

    let gateway = Gateway::start(&one_tenant_with(&[tape.address], NO_RETRY)).await;
    assert_eq!(Client::connect(gateway.address()).await.ask(asking).await.status, 200);
    let gateway = gateway_to(&origin).await;
    let mut client = Client::connect(gateway.address()).await;
    client.send(asking).await;
    let head = client.wire.head().await.expect("a head");

    assert!(has(&tape.bytes().concat(), b"\r\nx-a: \xe9\t\xc3\xa9\r\n"));
    assert!(has(&head, b"\r\nx-a: caf\xe9 \"\\\xff\"\r\n"), "{}", head.escape_ascii());
}

#[tokio::test]
async fn a_request_whose_head_is_not_whole_does_nothing() {
    let world = World::start().await;
    let whole = request("DELETE /", "X-A: 1\r\n", "");
    for size in [whole.len() - 1, whole.len() - 2, whole.len() - 4, 40] {
        let mut client = Client::connect(world.gateway.address()).await;
        client.send(&whole[..size]).await;
        let other = Client::connect(world.gateway.address()).await.ask(get("/other")).await;
        assert_eq!(other.status, 200);
        drop(client);
    }
    let told: Vec<String> = world.recorder.take().await.iter().map(|one| one.told()).collect();
    assert_eq!(told, ["GET /other "; 4]);
}

#[tokio::test]
async fn a_field_of_this_hop_is_nominated_also_beside_a_switch() {
    let world = World::start().await;
    let fields = "Connection: upgrade, TE\r\nUpgrade: mine\r\nTE: trailers, deflate;q=0.5\r\n";
    let routed = world.routes(&request("GET /", fields, ""), "GET /").await;
    assert_eq!(routed.all("connection"), ["upgrade, te"]);
    assert_eq!((routed.all("upgrade"), routed.all("te")), (vec!["mine"], vec!["trailers"]));
}

#[tokio::test]
async fn who_waits_for_a_word_before_a_switch_hears_it_first() {
    let said = "HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: mine\r\n\r\n";
    let origin = Origin::start([Step::raw(said).after("HTTP/1.1 100 Continue\r\n\r\n")]).await;
    let gateway = gateway_to(&origin).await;
    let asking = ["Connection: upgrade", "Upgrade: mine", "Expect: 100-continue"];
    let asking = [FIELDS, &asking, &["Content-Length: 2"]].concat();
    let mut client = Client::connect(gateway.address()).await;
    client.send(head("PUT /", &asking)).await;

    let word = client.answer_head().await;
    client.send("hi").await;
    let switch = client.answer_head().await;

    assert_eq!((word.status, switch.status), (100, 101));
    assert_eq!(switch.one("upgrade").as_deref(), Some("mine"));
}

#[tokio::test]
async fn a_status_line_has_the_gateways_version_and_its_last_space() {
    for version in ["1.1", "1.0"] {
        for said in ["HTTP/1.1 299 Odd", "HTTP/1.0 299"] {
            let said = format!("{said}\r\nContent-Length: 0\r\n\r\n");
            let origin = Origin::start([Step::raw(said)]).await;
            let gateway = gateway_to(&origin).await;
            let mut client = Client::connect(gateway.address()).await;
            client
                .send(format!("GET / HTTP/{version}\r\nHost: a\r\nX-Tenant-ID: acme\r\n\r\n"))
                .await;
            let head = client.wire.head().await.expect("a head");
            let head = String::from_utf8_lossy(&head).into_owned();
            assert_eq!(head.split("\r\n").next(), Some("HTTP/1.1 299 "), "to HTTP/{version}");
        }
    }
}

#[tokio::test]
async fn an_interim_answer_says_nothing_of_a_body() {
    let said = "HTTP/1.1 103 Early\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\
                Trailer: X-A\r\nConnection: X-Hop\r\nX-Hop: 1\r\nLink: </a>\r\n\r\n\
                HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let origin = Origin::start([Step::raw(said)]).await;
    let gateway = gateway_to(&origin).await;
    let mut client = Client::connect(gateway.address()).await;
    client.send(head("GET /", FIELDS)).await;
    let interim = client.answer_head().await;
    assert_eq!((interim.status, interim.one("link").as_deref()), (103, Some("</a>")));
    for gone in ["content-length", "transfer-encoding", "connection", "x-hop"] {
        assert_eq!(interim.all(gone), [""; 0], "{gone}");
    }
    assert_eq!(client.answer_to("GET").await.status, 200);
}

#[tokio::test]
async fn nothing_is_served_after_an_answer_that_said_close() {
    let origin = Origin::saying("hello").await;
    let more = "[downstream]\nmax-requests = 2";
    let gateway = Gateway::start_with(more, &one_tenant_with(&[origin.address], NO_RETRY)).await;
    let mut client = Client::connect(gateway.address()).await;
    client.send(head("GET /", FIELDS).repeat(4)).await;
    for expected in [None, Some("close")] {
        let answer = client.answer_to("GET").await;
        assert_eq!((answer.status, answer.one("connection").as_deref()), (200, expected));
    }
    assert!(client.is_closed().await);
    assert_eq!(origin.asked().len(), 2);
}

#[tokio::test]
async fn an_answer_that_is_not_read_to_its_end_ends_the_connection_to_the_endpoint() {
    let large = "x".repeat(8 << 20);
    let origin = Origin::start([Step::ok(&large), Step::ok("next")]).await;
    let gateway = gateway_to(&origin).await;
    let mut client = Client::connect(gateway.address()).await;
    client.send(head("GET /large", FIELDS)).await;
    assert_eq!(client.answer_head().await.status, 200);
    drop(client);

    let next = gateway.get("/next").await;

    assert_eq!((next.status, next.text().as_str()), (200, "next"));
    let used: Vec<usize> = origin.asked().iter().map(|asked| asked.connection).collect();
    assert_eq!(used, [0, 1]);
}

#[tokio::test]
async fn what_is_forwarded_in_http2_has_no_field_of_a_connection() {
    let origin = H2Origin::saying("hello").await;
    let gateway = Gateway::start(&one_tenant_with(&[origin.address], "protocol = \"h2\"")).await;
    let asking = [
        "Host: a.example:81",
        "X-Tenant-ID: acme",
        "Connection: keep-alive, TE, X-Hop",
        "Keep-Alive: timeout=5",
        "Proxy-Connection: x",
        "X-Hop: 1",
        "TE: trailers",
        "Transfer-Encoding: chunked",
    ];
    let bytes = head("PUT /x", &asking) + "2\r\nhi\r\n0\r\n\r\n";
    let answer = Client::connect(gateway.address()).await.ask(bytes).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
    let asked = origin.only().await;
    for gone in ["connection", "keep-alive", "proxy-connection", "x-hop", "transfer-encoding"] {
        assert_eq!(asked.all(gone), [""; 0], "{gone}");
    }
    assert_eq!((asked.all("te"), asked.body), (vec!["trailers".to_owned()], b"hi".to_vec()));
    assert_eq!(all(&asked.headers, "host"), ["a.example:81"]);
}

#[tokio::test]
async fn an_http2_endpoint_is_asked_for_the_whole_server_with_an_asterisk() {
    let origin = H2Origin::saying("hello").await;
    let gateway = Gateway::start(&one_tenant_with(&[origin.address], "protocol = \"h2\"")).await;
    for target in ["*", "http://a.example"] {
        let line = format!("OPTIONS {target}");
        let asking = head(&line, &["Host: a.example", "X-Tenant-ID: acme"]);
        let answer = Client::connect(gateway.address()).await.ask(asking).await;
        assert_eq!(answer.status, 200, "{target}");
    }
    let mut h2 = Hyper::h2(gateway.address()).await;
    assert_eq!(h2.get("acme", "").await.status, 200);
    let targets: Vec<String> = origin.asked().into_iter().map(|asked| asked.target).collect();
    assert_eq!(targets, ["*", "*", "/"]);
}

/// RFC 4559 §6: NTLM proves who has a connection, and all that follows there is taken for the same.
#[tokio::test]
async fn a_connection_whose_client_has_proved_itself_by_it_is_nobody_elses() {
    let origin = Origin::saying("hello").await;
    let gateway = gateway_to(&origin).await;
    let asked = async |credentials: &str| {
        let field = format!("Authorization: {credentials}");
        let fields = [FIELDS, &[&field]].concat();
        let answer = Client::connect(gateway.address()).await.ask(head("GET /", &fields)).await;
        (answer.status, origin.connections())
    };

    assert_eq!(asked("Basic YTpi").await, (200, 1));
    assert_eq!(asked("Negotiate YIIJvwYGKwYB").await, (200, 1), "it was idle");
    assert_eq!(asked("Basic YTpi").await, (200, 2));
    assert_eq!(asked("ntlm TlRMTVNTUAADAAAA").await, (200, 2));
    assert_eq!(asked("Bearer negotiate").await, (200, 3));
    assert_eq!(asked("Basic YTpi").await, (200, 3));
    let seen = origin.asked()[1].headers["authorization"].clone();
    assert_eq!(seen, "Negotiate YIIJvwYGKwYB");
}
