//! RFC 9110 sections 6.6.1, 8.6 and 15, RFC 9112 sections 4 to 9: answers of an endpoint that is
//! broken, hostile or old. Whatever it says answers the request that it was asked, or nobody's.

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use rustls::{ServerConfig, ServerConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::world::client::{Client, get, head};
use crate::world::config::{NO_RETRY, one_tenant_with};
use crate::world::gateway::Gateway;
use crate::world::message::Answer;
use crate::world::origin::{Origin, Step};
use crate::world::tls::Certificates;
use crate::world::within;

const FIELDS: &[&str] = &["Host: a", "X-Tenant-ID: acme"];
const EVIL: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";

struct World {
    origin: Origin,
    gateway: Gateway,
}

impl World {
    async fn start() -> Self {
        let origin = Origin::saying("").await;
        let gateway = Gateway::start(&one_tenant_with(&[origin.address], NO_RETRY)).await;
        Self { origin, gateway }
    }

    /// What a client gets when the endpoint says this, be it by closing or not. The next requests,
    /// on the same connection and on another one, get answers of their own.
    async fn hear(&self, method: &str, said: impl Into<Step>) -> Answer {
        self.origin.rescript([said.into(), Step::ok("next")]);
        let mut client = Client::connect(self.gateway.address()).await;
        let answer = client.ask(head(&format!("{method} /"), FIELDS)).await;
        let next = client.ask(head("GET /next", FIELDS)).await;
        assert!(matches!((next.status, next.text().as_str()), (0, _) | (200, "next")), "{next:?}");
        let other = get(self.gateway.address(), "acme", "/other").await;
        assert_eq!((other.status, other.text().as_str()), (200, "next"));
        answer
    }

    /// Sends a head until it is refused before its body is asked for, which the gateway does where the endpoint
    /// had no core for half a second: what comes next is then rightly the body.
    async fn refuses_unasked(&self, head: &str) -> (Client, Answer) {
        for _ in 0..5 {
            let mut client = Client::connect(self.gateway.address()).await;
            let refused = client.ask(head).await;
            if refused.interim.is_empty() {
                return (client, refused);
            }
        }
        panic!("the body is asked for each time");
    }

    async fn refuses(&self, said: &[u8]) {
        let answer = self.hear("GET", Step::raw(said)).await;
        let told = (answer.status, answer.problem());
        let what = String::from_utf8_lossy(said);
        assert_eq!(told, (502, Some("bad-answer".to_owned())), "{what:?}");
    }
}

#[tokio::test]
async fn an_answer_whose_head_may_be_read_in_two_ways_is_refused() {
    let world = World::start().await;
    let bad: &[&[u8]] = &[
        b"X : 1\r\n",
        b"X\t: 1\r\n",
        b"X: 1\r\n folded\r\n",
        b"X: 1\r\n\tfolded\r\n",
        b" X: 1\r\n",
        b"X: a\0b\r\n",
        b"X: a\rb\r\n",
        b"X: a\x7fb\r\n",
        b"X\0: 1\r\n",
        b": 1\r\n",
        b"no colon\r\n",
        b"X\xe9: 1\r\n",
        b"Content-Length: +2\r\n",
        b"Content-Length: -2\r\n",
        b"Content-Length: 0x2\r\n",
        b"Content-Length: 2, 2\r\n",
        b"Content-Length: 2 2\r\n",
        b"Content-Length:\r\n",
        b"Content-Length: two\r\n",
        b"Content-Length: 18446744073709551618\r\n",
        b"Content-Length: 2\r\nContent-Length: 3\r\n",
        b"Content-Length : 2\r\n",
        b"Content-Length: 2\r\nContent-Length:\r\n",
        b"Transfer-Encoding: gzip\r\n",
        b"Transfer-Encoding: chunked, gzip\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding: \"chunked\"\r\n",
        b"Transfer-Encoding: chunked;a\r\n",
        b"Transfer-Encoding: ,chunked\r\n",
        b"Transfer-Encoding:\r\n",
        b"Transfer-Encoding: \x0bchunked\r\n",
        b"Transfer-Encoding: identity\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Transfer-Encoding:\r\n chunked\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    ];
    for fields in bad {
        let answer = [b"HTTP/1.1 200 OK\r\n", *fields, b"\r\n2\r\nok\r\n0\r\n\r\n"].concat();
        world.refuses(&answer).await;
    }
}

#[tokio::test]
async fn an_answer_whose_first_line_is_none_is_refused() {
    let world = World::start().await;
    for line in [
        "HTTP/1.1 20 OK",
        "HTTP/1.1 2000 OK",
        "HTTP/1.1 099 OK",
        "HTTP/1.1 000 OK",
        "HTTP/1.1 OK",
        "HTTP/1.1  200 OK",
        "HTTP/1.2 200 OK",
        "HTTP/2.0 200 OK",
        "http/1.1 200 OK",
        " HTTP/1.1 200 OK",
        "HTTP/1.1 +20 OK",
        "HTTP/1.1 200OK",
        "ICY 200 OK",
        "\r\nHTTP/1.1 200 OK",
        "HTTP/1.1 200 \u{1}",
        "HTTP/1.1 101 Switching",
    ] {
        world.refuses(format!("{line}\r\nContent-Length: 0\r\n\r\n").as_bytes()).await;
    }
}

#[tokio::test]
async fn a_coding_in_an_answer_of_http10_is_refused() {
    let world = World::start().await;
    world
        .refuses(b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
        .await;
}

#[tokio::test]
async fn chunks_of_an_answer_that_are_none_never_make_it_whole() {
    let world = World::start().await;
    let bad: &[&[u8]] = &[
        b"x\r\n",
        b"\r\n",
        b" 2\r\nok\r\n0\r\n\r\n",
        b"+2\r\nok\r\n0\r\n\r\n",
        b"0x2\r\nok\r\n0\r\n\r\n",
        b"2\nok\n0\n\n",
        b"2\rok",
        b"2\r\nok0\r\n\r\n",
        b"2\r\nokay\r\n0\r\n\r\n",
        b"2\r\nok\n0\r\n\r\n",
        b"2;a\nok\r\n0\r\n\r\n",
        b"10000000000000002\r\nok\r\n0\r\n\r\n",
        b"2\r\nok\r\n0\r\nX : 1\r\n\r\n",
        b"2\r\nok\r\n0\r\nX: 1\r\n folded\r\n\r\n",
        b"2\r\nok\r\n0\r\nX: 1\nY: 2\r\n\r\n",
    ];
    for body in bad {
        let said = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *body].concat();
        let answer = world.hear("GET", Step::raw(said)).await;
        let what = String::from_utf8_lossy(body);
        assert!(answer.status == 502 || !answer.whole, "{what:?}: {answer:?}");
    }
}

#[tokio::test]
async fn trailers_that_the_connection_field_of_an_answer_names_end_here() {
    let world = World::start().await;
    let said = "HTTP/1.1 200 OK\r\nConnection: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n\
                2\r\nok\r\n0\r\nX-Sum: 1\r\nX-Kept: 2\r\nProxy-Authentication-Info: x\r\n\r\n";
    let answer = world.hear("GET", Step::raw(said)).await;
    assert_eq!((answer.text().as_str(), answer.whole), ("ok", true));
    let trailers: Vec<&str> = answer.trailers.keys().map(http::HeaderName::as_str).collect();
    assert_eq!(trailers, ["x-kept"]);
}

#[tokio::test]
async fn a_length_beside_chunks_is_not_passed_on_and_ends_the_connection_to_the_endpoint() {
    let world = World::start().await;
    for fields in [
        "Content-Length: 90\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n",
    ] {
        let before = world.origin.connections();
        let said = format!("HTTP/1.1 200 OK\r\n{fields}\r\n2\r\nok\r\n0\r\n\r\n{EVIL}");
        let answer = world.hear("GET", Step::raw(said)).await;
        assert_eq!((answer.text().as_str(), answer.whole), ("ok", true));
        assert_eq!(answer.headers.get("content-length"), None);
        assert!(world.origin.connections() > before);
    }
}

#[tokio::test]
async fn the_connection_field_of_an_answer_takes_only_what_it_can_do_without() {
    let world = World::start().await;
    let nominated = "Connection: X-Hop, Content-Length, Content-Type, Transfer-Encoding, Via";
    let sized = "Content-Length: 2\r\n\r\nok";
    let chunked = "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    for framed in [sized, chunked] {
        let said =
            format!("HTTP/1.1 200 OK\r\n{nominated}\r\nX-Hop: 1\r\nContent-Type: a/b\r\n{framed}");
        let answer = world.hear("GET", Step::raw(said)).await;
        assert_eq!((answer.text().as_str(), answer.whole), ("ok", true), "{framed:?}");
        assert_eq!((answer.all("content-type").len(), answer.all("x-hop").len()), (1, 0));
    }
}

#[tokio::test]
async fn an_answer_that_has_no_body_has_none_whatever_its_fields_say() {
    let world = World::start().await;
    let chunked = "Transfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n";
    let sized = "Content-Length: 4\r\n\r\nevil";
    for (method, status) in [("GET", 204), ("GET", 304), ("HEAD", 200), ("HEAD", 404)] {
        for fields in [chunked, sized, &format!("Content-Length: 0\r\n\r\n{EVIL}")] {
            let said = format!("HTTP/1.1 {status} Said\r\n{fields}");
            let answer = world.hear(method, Step::raw(said)).await;
            assert_eq!((answer.status, answer.body.len()), (status, 0), "{method} {fields:?}");
        }
    }
}

#[tokio::test]
async fn a_204_says_no_length_and_ends_a_connection_on_which_it_had_one() {
    let world = World::start().await;
    for fields in ["Content-Length: 4\r\n", "Transfer-Encoding: chunked\r\n"] {
        let before = world.origin.connections();
        let said = format!("HTTP/1.1 204 None\r\n{fields}\r\n");
        let answer = world.hear("GET", Step::raw(said)).await;
        assert_eq!(answer.status, 204);
        assert_eq!(answer.headers.get("content-length"), None);
        assert_eq!(answer.headers.get("transfer-encoding"), None);
        // The body that it spoke of may be on its way still.
        assert!(world.origin.connections() > before);
    }
}

#[tokio::test]
async fn interim_answers_with_a_length_have_no_body() {
    let world = World::start().await;
    let said = format!("HTTP/1.1 103 Early\r\nContent-Length: 4\r\n\r\n{EVIL}");
    let answer = world.hear("GET", Step::raw(said)).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "evil"), "it is the answer itself");
}

#[tokio::test]
async fn an_http10_endpoint_is_answered_for_in_http11() {
    let world = World::start().await;
    let closing = Step::raw("HTTP/1.0 200 OK\r\n\r\nall of it").and_close();
    let sized = Step::raw("HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\nall of it");
    let kept = "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 9\r\n\r\nall of it";
    for step in [closing, sized, Step::raw(kept)] {
        let answer = world.hear("GET", step).await;
        assert_eq!((answer.text().as_str(), answer.whole), ("all of it", true));
        assert_eq!(answer.all("via"), ["1.0 tenantry"]);
    }
}

#[tokio::test]
async fn an_answer_without_a_date_gets_one() {
    let world = World::start().await;
    let answer = world.hear("GET", Step::ok("hello")).await;
    assert!(answer.one("date").is_some_and(|date| date.ends_with(" GMT")), "{answer:?}");
}

#[tokio::test]
async fn bytes_after_an_answer_never_answer_anybody() {
    let world = World::start().await;
    for said in [
        format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok{EVIL}"),
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n{EVIL}"),
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok\r\n".to_owned(),
    ] {
        let answer = world.hear("GET", Step::raw(said)).await;
        assert_eq!((answer.text().as_str(), answer.whole), ("ok", true));
    }
}

/// An endpoint that says something in one flight with its part of the handshake, so that it is there before
/// anybody can have asked. Gives what it hears until the end of its connection.
async fn speak_first(listener: TcpListener, config: ServerConfig) -> Vec<u8> {
    let (mut stream, _) = listener.accept().await.expect("a connection");
    let mut tls = ServerConnection::new(Arc::new(config)).expect("a server");
    tls.writer().write_all(EVIL.as_bytes()).expect("room");
    let (mut heard, mut part) = (Vec::new(), vec![0; 16 << 10]);
    while let Ok(size @ 1..) = stream.read(&mut part).await {
        let mut bytes = &part[..size];
        while !bytes.is_empty() {
            tls.read_tls(&mut bytes).expect("bytes of TLS");
            tls.process_new_packets().expect("records of TLS");
        }
        // At the end of what is there, it would wait for more.
        drop(tls.reader().read_to_end(&mut heard));
        let mut flight = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut flight).expect("room");
        }
        drop(stream.write_all(&flight).await);
    }
    heard
}

#[tokio::test]
async fn what_an_endpoint_says_before_the_first_request_is_no_answer_and_it_is_asked_nothing() {
    let certificates = Certificates::of(&["127.0.0.1"]);
    let mut config = (*certificates.server(&[])).clone();
    config.send_half_rtt_data = true;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind an endpoint");
    let address = listener.local_addr().expect("its address");
    let keys = format!("{NO_RETRY}\ntls = {{ ca = \"{}\" }}", certificates.ca());
    let gateway = Gateway::start(&one_tenant_with(&[address], &keys)).await;

    let ended = within("the end of the connection", speak_first(listener, config));
    let (answer, heard) = tokio::join!(gateway.get("/"), ended);

    assert_eq!((answer.status, answer.problem().as_deref()), (502, Some("bad-answer")));
    assert_eq!(String::from_utf8_lossy(&heard), "");
}

#[tokio::test]
async fn a_switch_to_another_protocol_than_was_asked_for_is_a_bad_answer() {
    let world = World::start().await;
    let fields = [FIELDS, &["Connection: upgrade", "Upgrade: WebSocket, chat/2"]].concat();
    for (protocol, status) in [
        ("Upgrade: websocket\r\n", 101),
        ("Upgrade: chat/2, WEBSOCKET\r\n", 101),
        ("Upgrade: h2c\r\n", 502),
        ("Upgrade: websocket, h2c\r\n", 502),
        ("Upgrade: chat\r\n", 502),
        ("Upgrade:\r\n", 502),
        ("", 502),
    ] {
        let said = format!("HTTP/1.1 101 Switching\r\nConnection: upgrade\r\n{protocol}\r\n");
        world.origin.rescript([Step::raw(said)]);
        let mut client = Client::connect(world.gateway.address()).await;
        let answer = client.ask(head("GET /", &fields)).await;
        assert_eq!(answer.status, status, "{protocol:?}: {answer:?}");
    }
}

#[tokio::test]
async fn an_http10_client_hears_no_interim_answer_and_no_chunks() {
    let world = World::start().await;
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: </a>\r\n\r\n";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    world.origin.rescript([Step::raw(format!("{interim}{chunked}"))]);
    let mut client = Client::connect(world.gateway.address()).await;

    let answer = client.ask("GET / HTTP/1.0\r\nX-Tenant-ID: acme\r\n\r\n").await;

    assert_eq!((answer.status, answer.text().as_str(), answer.interim), (200, "ok", vec![]));
    assert_eq!(answer.headers.get("transfer-encoding"), None);
}

#[tokio::test]
async fn a_body_that_was_expected_and_refused_is_not_read_as_the_next_request() {
    let world = World::start().await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\nX-Tenant-ID: acme\r\n\r\n";
    let length = format!("Content-Length: {}", smuggled.len());
    world.origin.rescript([Step::answer(403, "no").unread()]);
    for tenant in ["X-Tenant-ID: nobody", "X-Tenant-ID: a,b", "X-Tenant-ID: acme"] {
        let fields = ["Host: a", tenant, &length, "Expect: 100-continue"];

        let (mut client, refused) = world.refuses_unasked(&head("PUT /", &fields)).await;
        let next = client.ask(smuggled).await;

        assert!((400..500).contains(&refused.status), "{refused:?}");
        assert_eq!(next.status, 0, "{tenant}: {next:?}");
    }
    let targets: Vec<String> = world.origin.asked().into_iter().map(|asked| asked.target).collect();
    assert!(!targets.is_empty() && targets.iter().all(|target| target == "/"), "{targets:?}");
}

#[tokio::test]
async fn an_interim_answer_comes_after_the_answer_to_the_request_before_it() {
    let world = World::start().await;
    let large = "x".repeat(8 << 20);
    let hinted =
        "HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlast";
    world.origin.rescript([Step::ok(&large), Step::raw(hinted)]);
    let mut client = Client::connect(world.gateway.address()).await;

    client.send(head("GET /large", FIELDS) + &head("GET /hinted", FIELDS)).await;
    let first = client.answer_to("GET").await;
    let second = client.answer_to("GET").await;

    assert_eq!((first.status, first.body.len(), first.whole), (200, large.len(), true));
    assert!(first.body.iter().all(|byte| *byte == b'x'));
    assert_eq!((second.text().as_str(), second.interim), ("last", vec![103]));
}

#[tokio::test]
async fn a_switch_within_the_request_is_a_bad_answer() {
    let world = World::start().await;
    let said = "HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: mine\r\n\r\n";
    world.origin.rescript([Step::raw(said).unread()]);
    let asking = ["Connection: upgrade", "Upgrade: mine", "Content-Length: 10"];
    let mut client = Client::connect(world.gateway.address()).await;

    let answer = client.ask(head("PUT /", &[FIELDS, &asking].concat()) + "half").await;

    assert_eq!((answer.status, answer.problem().as_deref()), (502, Some("bad-answer")));
}
