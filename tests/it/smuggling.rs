//! The bytes of one message never become another's: neither a client's nor an endpoint's.

use http::{Method, Request};

use crate::world::client::{Client, Frames, Hyper, ask, get, head};
use crate::world::config::{NO_RETRY, one_tenant, one_tenant_with, pool};
use crate::world::gateway::Gateway;
use crate::world::h2_origin::H2Origin;
use crate::world::origin::{Origin, Step};
use crate::world::{eventually, within};

const FIELDS: &[&str] = &["Host: a", "X-Tenant-ID: acme"];
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\nX-Tenant-ID: acme\r\n\r\n";

fn saw_smuggled(origin: &Origin) -> bool {
    origin.heads().concat().contains("smuggled")
}

async fn world() -> (Origin, Gateway) {
    let origin = Origin::saying("hello").await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;
    (origin, gateway)
}

#[tokio::test]
async fn a_body_that_was_refused_is_not_read_as_the_next_request() {
    let (origin, gateway) = world().await;
    let fields = [FIELDS, &["Content-Length: 20971520"]].concat();
    let mut client = Client::connect(gateway.address()).await;

    let refused = client.ask(head("PUT /", &fields) + SMUGGLED).await;

    assert_eq!(refused.status, 413);
    assert!(client.is_closed().await);
    assert!(!saw_smuggled(&origin));
}

#[tokio::test]
async fn a_body_that_the_gateway_answers_itself_is_not_read_as_the_next_request() {
    let (origin, gateway) = world().await;
    let length = format!("Content-Length: {}", SMUGGLED.len());
    for tenant in ["X-Tenant-ID: nobody", "X-Tenant-ID: a,b", "X-Other: 1"] {
        let mut client = Client::connect(gateway.address()).await;
        let request = head("POST /", &["Host: a", tenant, &length]) + SMUGGLED;
        let refused = client.ask(request).await;
        assert!((400..500).contains(&refused.status), "{refused:?}");
        // Whether the connection serves on is the gateway's choice; the body is no request.
        let next = client.ask(head("GET /next", FIELDS)).await;
        assert!(matches!(next.status, 0 | 200), "{next:?}");
    }
    assert!(!saw_smuggled(&origin));
}

#[tokio::test]
async fn a_connection_whose_request_was_not_read_to_its_end_serves_no_other() {
    let early = Step::answer(403, "no").unread();
    let origin = Origin::start([early, Step::ok("next")]).await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;
    let fields = [FIELDS, &["Content-Length: 4000000"]].concat();
    let mut client = Client::connect(gateway.address()).await;
    let refused = client.ask(head("PUT /", &fields) + "the start of a body").await;

    let next = gateway.get("/").await;

    assert_eq!((refused.status, next.text().as_str()), (403, "next"));
    assert_eq!(origin.connections(), 2);
}

#[tokio::test]
async fn what_an_endpoint_says_unasked_answers_nobody() {
    let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    let step = Step::raw(format!("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmine{evil}"));
    let origin = Origin::start([step, Step::ok("next")]).await;
    let gateway = Gateway::start(&one_tenant_with(&[origin.address], NO_RETRY)).await;

    let first = gateway.get("/").await;
    let next = gateway.get("/").await;

    assert_eq!(first.text(), "mine");
    assert_eq!((next.status, next.text().as_str()), (200, "next"));
    assert_eq!(origin.connections(), 2);
}

#[tokio::test]
async fn an_answer_with_a_body_where_none_may_be_answers_nobody_else() {
    let raw = "HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\nevil";
    let to_head = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    for (method, bytes, status) in [("GET", raw, 304), ("HEAD", to_head, 200)] {
        let origin = Origin::start([Step::raw(bytes), Step::ok("next")]).await;
        let gateway = Gateway::start(&one_tenant_with(&[origin.address], NO_RETRY)).await;
        let first = ask(gateway.address(), &format!("{method} /"), FIELDS).await;
        let next = gateway.get("/").await;
        assert_eq!((first.status, first.body.len()), (status, 0));
        assert_eq!((next.status, next.text().as_str()), (200, "next"), "{method}");
    }
}

#[tokio::test]
async fn an_answer_with_a_length_beside_its_chunks_has_one_end() {
    let both = "HTTP/1.1 200 OK\r\nContent-Length: 50\r\nTransfer-Encoding: chunked\r\n\r\n\
                2\r\nok\r\n0\r\n\r\n";
    let origin = Origin::start([Step::raw(both)]).await;
    let gateway = Gateway::start(&one_tenant_with(&[origin.address], NO_RETRY)).await;

    let answer = gateway.get("/").await;

    let framed = answer.all("content-length").len() + answer.all("transfer-encoding").len();
    assert!(framed == 1 && answer.whole, "{answer:?}");
    assert!(answer.status == 502 || answer.text() == "ok", "{answer:?}");
}

#[tokio::test]
async fn a_switch_to_http2_is_not_passed_on() {
    let (origin, gateway) = world().await;
    let ways: [&[&str]; 3] = [
        &["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"],
        &["Connection: Upgrade", "Upgrade: H2C"],
        &["Connection: Upgrade", "Upgrade: websocket, h2c"],
    ];
    for fields in ways {
        let answer = ask(gateway.address(), "GET /", &[FIELDS, fields].concat()).await;
        assert_eq!(answer.status, 200, "{fields:?}");
    }
    let heads = origin.heads().concat().to_ascii_lowercase();
    assert!(!heads.contains("h2c") && !heads.contains("http2-settings"), "{heads}");
}

#[tokio::test]
async fn a_connect_is_refused_in_http2_too() {
    let (origin, gateway) = world().await;
    let mut client = Hyper::h2(gateway.address()).await;
    let mut request = Request::new(Frames::default());
    *request.method_mut() = Method::CONNECT;
    *request.uri_mut() = "a.example:80".parse().expect("an authority");
    request.headers_mut().insert("x-tenant-id", "acme".parse().expect("a value"));

    let answer = client.ask(request).await;

    assert_eq!((answer.status, answer.problem().as_deref()), (501, Some("method-not-served")));
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn requests_of_many_tenants_at_once_get_their_own_answers_each() {
    let tenants: Vec<String> = (0..8).map(|number| format!("t{number}")).collect();
    let mut origins = Vec::new();
    let mut routes = String::new();
    for tenant in &tenants {
        let origin = Origin::saying(tenant).await;
        routes += &pool(tenant, &[origin.address], "");
        routes += &format!("[tenants.{tenant}]\npool = \"{tenant}\"\n");
        origins.push(origin);
    }
    let gateway = Gateway::start_with_workers(2, "", &routes).await;
    let address = gateway.address();
    let mut asking = tokio::task::JoinSet::new();
    for number in 0..8 {
        let tenants = tenants.clone();
        asking.spawn(async move {
            let mut client = match number % 2 {
                0 => Hyper::h1(address).await,
                _ => Hyper::h2(address).await,
            };
            for turn in 0..50 {
                let tenant = &tenants[(number + turn) % tenants.len()];
                assert_eq!(client.get(tenant, "/").await.text(), *tenant);
            }
        });
    }
    within("all answers", asking.join_all()).await;
    for (tenant, origin) in tenants.iter().zip(&origins) {
        let foreign = origin.asked().iter().any(|asked| asked.all("x-tenant-id") != [&**tenant]);
        assert!(!foreign && !origin.asked().is_empty(), "{tenant}");
    }
}

#[tokio::test]
async fn a_stream_that_the_client_gives_up_frees_the_endpoint_and_no_other_stream() {
    let huge = Step::raw("HTTP/1.1 200 OK\r\nContent-Length: 67108864\r\n\r\n").with_more(64 << 20);
    let origin = Origin::start([huge, Step::ok("next")]).await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;
    let mut client = Hyper::h2(gateway.address()).await;
    let request = client.request("GET", "acme", "/", Frames::default());

    let answer = client.start(request).await.expect("the head of the answer");
    drop(answer);

    eventually("the end at the origin", || origin.open(), |open| *open == 0).await;
    assert_eq!(client.get("acme", "/").await.text(), "next");
}

#[tokio::test]
async fn the_host_of_an_http2_request_is_its_authority_whatever_else_it_says() {
    let h1 = Origin::saying("h1").await;
    let h2 = H2Origin::saying("h2").await;
    let routes = format!(
        "{}{}[tenants.h1]\npool = \"h1\"\n[tenants.h2]\npool = \"h2\"\n",
        pool("h1", &[h1.address], ""),
        pool("h2", &[h2.address], "protocol = \"h2\""),
    );
    let gateway = Gateway::start(&routes).await;
    for tenant in ["h1", "h2"] {
        let mut client = Hyper::h2(gateway.address()).await;
        let mut request = client.request("GET", tenant, "/", Frames::default());
        request.headers_mut().insert("host", "evil.example".parse().expect("a value"));
        let answer = client.ask(request).await;
        assert!(matches!(answer.status, 200 | 400), "{answer:?}");
    }
    let asked = [h1.asked(), h2.asked()].concat();
    assert!(asked.iter().all(|asked| asked.all("host") == ["a.example"]), "{asked:?}");
}

#[tokio::test]
async fn an_http2_request_with_two_lengths_reaches_no_endpoint() {
    let h1 = Origin::saying("h1").await;
    let h2 = H2Origin::saying("h2").await;
    let routes = format!(
        "{}{}[tenants.h1]\npool = \"h1\"\n[tenants.h2]\npool = \"h2\"\n",
        pool("h1", &[h1.address], ""),
        pool("h2", &[h2.address], "protocol = \"h2\""),
    );
    let gateway = Gateway::start(&routes).await;
    for (tenant, other) in [("h1", "4"), ("h2", "4"), ("h1", "44"), ("h2", "44")] {
        let mut client = Hyper::h2(gateway.address()).await;
        let mut request = client.request("PUT", tenant, "/", Frames::sized("body"));
        request.headers_mut().append("content-length", "4".parse().expect("a value"));
        request.headers_mut().append("content-length", other.parse().expect("a value"));
        let answer = client.ask(request).await;
        // Where they differ the stream is reset below HTTP.
        let expected = if other == "4" { (400, Some("bad-request")) } else { (0, None) };
        assert_eq!((answer.status, answer.problem().as_deref()), expected, "{tenant}");
    }
    let opened = (h1.connections(), h2.asked().len());
    assert_eq!(opened, (0, 0), "no connection is spent on it");
}

#[tokio::test]
async fn a_host_that_is_none_is_refused_or_passed_as_it_is_and_never_breaks_the_gateway() {
    let h2 = H2Origin::saying("h2").await;
    let gateway = Gateway::start(&one_tenant_with(&[h2.address], "protocol = \"h2\"")).await;
    for host in ["", "a b", "a/b", "a?b", "[::1", "a:b:c", "\u{e9}.example", "a:99999", "@"] {
        let fields = [&format!("Host: {host}"), "X-Tenant-ID: acme"];
        let answer = ask(gateway.address(), "GET /", &fields).await;
        assert!(matches!(answer.status, 200 | 400), "{host:?}: {answer:?}");
    }
    assert_eq!(get(gateway.address(), "acme", "/").await.status, 200);
}
