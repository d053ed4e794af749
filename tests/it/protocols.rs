//! HTTP/1.1 and HTTP/2 on both sides: bodies, trailers, answers without a body, connections.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};

use crate::world::client::{Client, Frames, Hyper, ask, head};
use crate::world::config::{one_tenant, one_tenant_with};
use crate::world::eventually;
use crate::world::gateway::Gateway;
use crate::world::h2_origin::{H2Origin, Speaks};
use crate::world::message::{Asked, payload};
use crate::world::narrow::Narrow;
use crate::world::origin::{Origin, Step};
use crate::world::unreachable::Refusing;

const ALL_FOUR: [(Speaks, Speaks); 4] = [
    (Speaks::H1, Speaks::H1),
    (Speaks::H1, Speaks::H2),
    (Speaks::H2, Speaks::H1),
    (Speaks::H2, Speaks::H2),
];

/// A gateway in front of an origin that speaks `up`.
async fn gateway_for(address: SocketAddr, up: Speaks) -> Gateway {
    let protocol = match up {
        Speaks::H1 => "protocol = \"h1\"",
        Speaks::H2 => "protocol = \"h2\"",
    };
    Gateway::start(&one_tenant_with(&[address], protocol)).await
}

async fn client_of(gateway: &Gateway, down: Speaks) -> Hyper {
    match down {
        Speaks::H1 => Hyper::h1(gateway.address()).await,
        Speaks::H2 => Hyper::h2(gateway.address()).await,
    }
}

fn framed(body: impl Into<Bytes>, sized: bool) -> Frames {
    if sized { Frames::sized(body) } else { Frames::unsized_of(body) }
}

/// Gives the body back, with a length if the request had one.
fn mirror(asked: &Asked) -> Response<Frames> {
    let sized = asked.headers.contains_key("content-length");
    Response::new(framed(asked.body.clone(), sized))
}

fn trailers(value: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(
        http::HeaderName::from_static("x-sum"),
        HeaderValue::from_static(value),
    )])
}

#[tokio::test]
async fn bodies_of_every_size_pass_both_ways_between_all_protocols() {
    for (down, up) in ALL_FOUR {
        let origin = H2Origin::start(up, mirror).await;
        let gateway = gateway_for(origin.address, up).await;
        let mut client = client_of(&gateway, down).await;
        for size in [0, 1, 100 << 10, 5 << 20] {
            for sized in [true, false] {
                let sent = payload(size);
                let body = framed(sent.clone(), sized);
                let answer = client.ask(client.request("PUT", "acme", "/", body)).await;

                let case = format!("{down:?} to {up:?}, {size} bytes, sized: {sized}");
                assert!(answer.status == 200 && answer.whole, "{case}: {answer:?}");
                assert!(answer.body == sent, "{case}: {} bytes came back", answer.body.len());
                let asked = origin.asked().pop().expect("a request");
                assert!(asked.body == sent, "{case}: {} bytes came", asked.body.len());
                if size > 0 {
                    let length = sized.then(|| size.to_string());
                    assert_eq!(asked.one("content-length"), length, "{case}");
                    assert_eq!(answer.one("content-length"), length, "{case}");
                }
            }
        }
    }
}

#[tokio::test]
async fn trailers_pass_both_ways_between_all_protocols() {
    for (down, up) in ALL_FOUR {
        let origin = H2Origin::start(up, |_| {
            let body = Frames::sized("answer").with_trailers(trailers("back"));
            let answer = Response::builder().header("trailer", "x-sum");
            answer.body(body).expect("an answer")
        })
        .await;
        let gateway = gateway_for(origin.address, up).await;
        let mut client = client_of(&gateway, down).await;
        let body = Frames::sized("request").with_trailers(trailers("there"));
        let mut request = client.request("POST", "acme", "/", body);
        request.headers_mut().insert("trailer", HeaderValue::from_static("x-sum"));
        request.headers_mut().insert("te", HeaderValue::from_static("trailers"));

        let answer = client.ask(request).await;

        let case = format!("{down:?} to {up:?}");
        assert_eq!(answer.text(), "answer", "{case}");
        assert_eq!(answer.trailers, trailers("back"), "{case}");
        assert_eq!(origin.only().await.trailers, trailers("there"), "{case}");
    }
}

#[tokio::test]
async fn trailers_of_an_answer_never_change_what_was_said_before() {
    let origin = Origin::start([Step::raw(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, Set-Cookie\r\n\r\n\
         2\r\nok\r\n0\r\nX-Sum: 1\r\nSet-Cookie: a=b\r\nContent-Length: 9\r\n\r\n",
    )])
    .await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;
    let fields = ["Host: a", "X-Tenant-ID: acme", "TE: trailers", "Connection: TE"];

    let answer = ask(gateway.address(), "GET /", &fields).await;

    assert_eq!((answer.text().as_str(), answer.whole), ("ok", true));
    assert_eq!(answer.trailers, trailers("1"));
}

#[tokio::test]
async fn a_head_has_a_length_and_no_body() {
    let origin = Origin::start([Step::raw("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")]).await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;
    let mut client = Client::connect(gateway.address()).await;
    for _ in 0..3 {
        let answer = client.ask(head("HEAD /", &["Host: a", "X-Tenant-ID: acme"])).await;
        assert_eq!((answer.status, answer.one("content-length").as_deref()), (200, Some("5")));
    }
    let answer = Hyper::h2(gateway.address()).await;
    let mut h2 = answer;
    let answer = h2.ask(h2.request("HEAD", "acme", "/", Frames::default())).await;

    assert_eq!((answer.status, answer.one("content-length").as_deref()), (200, Some("5")));
    assert!(answer.whole && answer.body.is_empty());
    assert_eq!(origin.connections(), 1, "its connection serves on");
}

#[tokio::test]
async fn a_204_and_a_304_have_no_body() {
    let origin = Origin::start([
        Step::raw("HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n"),
        Step::raw("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: \"a\"\r\n\r\n"),
        Step::ok("next"),
    ])
    .await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;
    let mut client = Client::connect(gateway.address()).await;
    let request = head("GET /", &["Host: a", "X-Tenant-ID: acme"]);

    let none = client.ask(&request).await;
    let unmodified = client.ask(&request).await;
    let next = client.ask(&request).await;

    assert_eq!((none.status, none.one("content-length")), (204, None));
    assert_eq!((unmodified.status, unmodified.one("etag").as_deref()), (304, Some("\"a\"")));
    assert_eq!((next.status, next.text().as_str()), (200, "next"));
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn interim_answers_of_an_endpoint_reach_a_client_that_knows_them() {
    let origin = Origin::start([Step::raw(
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nConnection: x-hop\r\nX-Hop: 1\r\n\
         Content-Length: 3\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n\
         HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    )])
    .await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;
    let fields = ["Host: a", "X-Tenant-ID: acme"];
    let mut client = Client::connect(gateway.address()).await;

    client.send(head("GET /", &fields)).await;
    let hints = client.answer_head().await;
    let answer = client.answer_to("GET").await;
    let old = client.ask("GET / HTTP/1.0\r\nX-Tenant-ID: acme\r\n\r\n").await;

    assert_eq!((hints.status, hints.one("link").as_deref()), (103, Some("</a.css>")));
    assert_eq!(hints.one("via").as_deref(), Some("1.1 tenantry"));
    for ended in ["connection", "x-hop", "content-length"] {
        assert_eq!(hints.one(ended), None);
    }
    assert_eq!(
        (answer.status, answer.text().as_str(), answer.interim),
        (200, "ok", vec![102, 100])
    );
    assert_eq!((old.status, old.text().as_str(), old.interim), (200, "ok", vec![]));
}

#[tokio::test]
async fn an_interim_answer_is_passed_on_before_the_final_one_is_there() {
    let hints = Step::raw("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n").and_stall();
    let origin = Origin::start([hints]).await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;
    let mut client = Client::connect(gateway.address()).await;

    client.send(head("GET /", &["Host: a", "X-Tenant-ID: acme"])).await;

    assert_eq!(client.answer_head().await.status, 103);
}

#[tokio::test]
async fn a_body_that_the_endpoint_does_not_want_is_not_asked_for() {
    let early = Step::answer(403, "no").unread();
    let origin = Origin::start([early.clone(), early]).await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;

    for _ in 0..2 {
        let mut client = Client::connect(gateway.address()).await;
        let answer = client.ask(expecting(5)).await;
        assert_eq!((answer.status, answer.text().as_str()), (403, "no"));
        assert!(answer.interim.is_empty() && answer.all("connection") == ["close"], "{answer:?}");
    }
    assert_eq!(origin.connections(), 2, "what would follow a head is its body");
}

fn expecting(length: usize) -> String {
    let length = format!("Content-Length: {length}");
    head("PUT /", &["Host: a", "X-Tenant-ID: acme", "Expect: 100-continue", &length])
}

#[tokio::test]
async fn a_body_is_asked_for_once_the_endpoint_is_connected() {
    let origin = Origin::saying("thanks").await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;
    let mut client = Client::connect(gateway.address()).await;

    client.send(expecting(5)).await;
    let interim = client.answer_head().await;
    let asked = eventually("the head", || origin.asked(), |asked| asked.len() == 1).await;
    client.send("hello").await;
    let answer = client.answer_to("PUT").await;

    assert_eq!((interim.status, asked[0].body.len()), (100, 0));
    assert_eq!((answer.status, answer.text().as_str()), (200, "thanks"));
    assert_eq!(origin.only().await.body, b"hello");
}

#[tokio::test]
async fn a_body_is_not_asked_for_where_nobody_would_take_it() {
    let nobody = Refusing::new();
    let gateway = Gateway::start(&one_tenant(&[nobody.address])).await;
    let mut client = Client::connect(gateway.address()).await;

    let answer = client.ask(expecting(5)).await;
    let refused = ask(gateway.address(), "PUT /", &["Host: a", "Content-Length: 5"]).await;

    assert_eq!((answer.status, answer.interim), (502, vec![]));
    assert_eq!((refused.status, refused.interim), (400, vec![]));
}

#[tokio::test]
async fn an_answer_that_comes_before_the_body_was_read_is_passed_on() {
    let early = Step::answer(403, "no").unread();
    let origin = Origin::start([early.clone(), early.and_close()]).await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;
    for _ in 0..2 {
        let mut client = Client::connect(gateway.address()).await;
        client
            .send(head("PUT /", &["Host: a", "X-Tenant-ID: acme", "Content-Length: 4194304"]))
            .await;
        let answer = client.answer_to("PUT").await;
        assert_eq!((answer.status, answer.text().as_str()), (403, "no"));
    }
}

#[tokio::test]
async fn a_connection_to_an_endpoint_serves_many_requests_of_many_clients() {
    let origin = Origin::saying("hello").await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;
    for _ in 0..5 {
        let mut client = Hyper::h1(gateway.address()).await;
        for _ in 0..5 {
            assert_eq!(client.get("acme", "/").await.status, 200);
        }
    }
    assert_eq!((origin.asked().len(), origin.connections()), (25, 1));
}

#[tokio::test]
async fn a_connection_that_the_endpoint_gives_up_is_not_used_again() {
    let short = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n";
    let ways = [
        format!("{short}Connection: close\r\n\r\n"),
        format!("{short}Keep-Alive: timeout=1\r\n\r\n"),
        "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned(),
    ];
    for way in ways {
        let origin = Origin::start([Step::raw(way.clone())]).await;
        let gateway = Gateway::start(&one_tenant(&[origin.address])).await;
        for _ in 0..3 {
            assert_eq!(gateway.get("/").await.status, 200, "{way}");
        }
        let used: Vec<usize> = origin.asked().iter().map(|asked| asked.connection).collect();
        assert_eq!(used, [0, 1, 2], "{way}");
    }
}

#[tokio::test]
async fn requests_share_one_http2_connection_to_an_endpoint() {
    let origin = H2Origin::saying("hello").await;
    let gateway = gateway_for(origin.address, Speaks::H2).await;
    let mut clients = Vec::new();
    for _ in 0..10 {
        clients.push(Hyper::h2(gateway.address()).await);
    }
    let mut asking = tokio::task::JoinSet::new();
    for mut client in clients {
        asking.spawn(async move { client.get("acme", "/").await.status });
    }
    assert_eq!(asking.join_all().await, [200; 10]);
    assert_eq!((origin.asked().len(), origin.connections()), (10, 1));
}

#[tokio::test]
async fn more_requests_than_an_http2_connection_allows_open_another_one() {
    let origin = Narrow::start().await;
    let gateway = gateway_for(origin.address, Speaks::H2).await;
    let mut asking = tokio::task::JoinSet::new();
    for count in 1..=6 {
        let mut client = Hyper::h2(gateway.address()).await;
        asking.spawn(async move { client.get("acme", "/").await.status });
        // No answer comes before: none of them may wait behind another one.
        eventually("the request", || origin.asked(), |asked| *asked == count).await;
    }

    origin.release();

    assert_eq!(asking.join_all().await, [200; 6]);
    gateway.metric_becomes("tenantry_upstream_connections_opened_total{pool=\"app\"}", 3.0).await;
}

#[tokio::test]
async fn an_http10_client_is_answered_in_its_own_way() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    let origin = Origin::start([Step::raw(chunked)]).await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;
    let mut client = Client::connect(gateway.address()).await;

    let answer = client.ask("GET /x HTTP/1.0\r\nX-Tenant-ID: acme\r\n\r\n").await;

    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    assert_eq!(answer.all("transfer-encoding"), [""; 0]);
    assert!(client.is_closed().await);
    let asked = origin.only().await;
    assert!(origin.heads()[0].starts_with("GET /x HTTP/1.1\r\n"), "{:?}", origin.heads());
    assert_eq!(asked.all("host"), [""], "RFC 9112 §3.2 wants the field even where it says nothing");
    assert_eq!(asked.all("via"), ["1.0 tenantry"]);
}

#[tokio::test]
async fn an_http10_client_keeps_its_connection_if_it_asks_to() {
    let origin = Origin::saying("hello").await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;
    let mut client = Client::connect(gateway.address()).await;
    for _ in 0..3 {
        let fields = "Host: a\r\nX-Tenant-ID: acme\r\nConnection: keep-alive\r\n";
        let answer = client.ask(format!("GET /x HTTP/1.0\r\n{fields}\r\n")).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
    }
}

#[tokio::test]
async fn requests_that_come_at_once_are_answered_in_their_order() {
    let origin = Origin::start([Step::ok("one"), Step::ok("two"), Step::ok("three")]).await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;
    let mut client = Client::connect(gateway.address()).await;
    let post = head("POST /", &["Host: a", "X-Tenant-ID: acme", "Content-Length: 3"]) + "abc";
    let get = head("GET /", &["Host: a", "X-Tenant-ID: acme"]);

    client.send(format!("{post}{get}{post}")).await;

    for expected in ["one", "two", "three"] {
        assert_eq!(client.answer_to("GET").await.text(), expected);
    }
    let bodies: Vec<Vec<u8>> = origin.asked().into_iter().map(|asked| asked.body).collect();
    assert_eq!(bodies, [b"abc".to_vec(), vec![], b"abc".to_vec()]);
}

#[tokio::test]
async fn a_client_that_leaves_frees_the_endpoint() {
    let origin = Origin::start([Step::stall(), Step::ok("next")]).await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;
    let mut client = Client::connect(gateway.address()).await;
    client.send(head("GET /", &["Host: a", "X-Tenant-ID: acme"])).await;
    origin.wait_for(1).await;

    drop(client);

    // Our origin's stalled side never reads again, so the end is seen by the gateway's numbers.
    gateway.metric_becomes("tenantry_upstream_connections{pool=\"app\"}", 0.0).await;
    assert_eq!(gateway.get("/").await.text(), "next");
    eventually("the next", || origin.asked().len(), |count| *count == 2).await;
}

#[tokio::test]
async fn answers_without_a_body_pass_between_all_protocols() {
    for (down, up) in ALL_FOUR {
        let origin = H2Origin::start(up, |asked| {
            let status = asked.target.trim_start_matches('/').parse().unwrap_or(200);
            let answer = Response::builder().status(status).header("etag", "\"a\"");
            match (asked.method.as_str(), status) {
                ("HEAD", 200) => answer.header("content-length", 5).body(Frames::default()),
                (_, 200) => answer.body(Frames::sized("hello")),
                _ => answer.body(Frames::default()),
            }
            .expect("an answer")
        })
        .await;
        let gateway = gateway_for(origin.address, up).await;
        let mut client = client_of(&gateway, down).await;
        for (method, path, status, length) in [
            ("HEAD", "/", 200, Some("5")),
            ("GET", "/204", 204, None),
            ("GET", "/304", 304, None),
            ("HEAD", "/304", 304, None),
        ] {
            let answer = client.ask(client.request(method, "acme", path, Frames::default())).await;
            let case = format!("{down:?} to {up:?}, {method} {path}");
            assert!(answer.whole && answer.body.is_empty(), "{case}: {answer:?}");
            assert_eq!(answer.status, status, "{case}");
            assert_eq!(answer.one("etag").as_deref(), Some("\"a\""), "{case}");
            assert_eq!(answer.one("content-length").as_deref(), length, "{case}");
        }
        let next = client.get("acme", "/").await;
        assert_eq!(next.text(), "hello", "{down:?} to {up:?}");
    }
}

#[tokio::test]
async fn an_empty_post_says_its_length_and_a_get_may_have_a_body() {
    let origin = Origin::saying("hello").await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;
    let mut h2 = Hyper::h2(gateway.address()).await;
    let fields = ["Host: a", "X-Tenant-ID: acme", "Content-Length: 0"];

    ask(gateway.address(), "POST /", &fields).await;
    h2.ask(h2.request("POST", "acme", "/", Frames::default())).await;
    h2.ask(h2.request("GET", "acme", "/", Frames::default())).await;
    h2.ask(h2.request("GET", "acme", "/", Frames::sized("body"))).await;

    let asked = origin.wait_for(4).await;
    let lengths: Vec<_> = asked.iter().map(|asked| asked.one("content-length")).collect();
    let expected = [Some("0"), Some("0"), None, Some("4")];
    assert_eq!(lengths, expected.map(|length| length.map(str::to_owned)));
    assert!(asked.iter().all(|asked| asked.all("transfer-encoding").is_empty()));
    assert_eq!(asked[3].body, b"body");
}

#[tokio::test]
async fn a_client_that_wants_its_connection_closed_gets_that() {
    let origin = Origin::saying("hello").await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;
    let mut client = Client::connect(gateway.address()).await;

    let answer =
        client.ask(head("GET /", &["Host: a", "X-Tenant-ID: acme", "Connection: close"])).await;

    assert_eq!((answer.status, answer.one("connection").as_deref()), (200, Some("close")));
    assert!(client.is_closed().await);
    assert_eq!(gateway.get("/").await.status, 200);
    assert_eq!(origin.connections(), 1, "the endpoint's connection stays");
}
