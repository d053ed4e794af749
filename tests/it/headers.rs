//! What passes through the gateway, what ends there, and what it says of itself.

use http::HeaderValue;

use crate::world::client::{Client, Frames, Hyper, ask, head};
use crate::world::config::one_tenant;
use crate::world::gateway::Gateway;
use crate::world::h2_origin::H2Origin;
use crate::world::message::{Answer, Asked};
use crate::world::origin::{Origin, Step};

/// A request with these fields and what it looked like at the origin.
async fn through(fields: &[&str]) -> (Asked, Answer) {
    let origin = Origin::saying("hello").await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;
    let fields = [&["Host: shop.example:81", "X-Tenant-ID: acme"], fields].concat();
    let answer = ask(gateway.address(), "GET /", &fields).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    (origin.only().await, answer)
}

/// What a client gets of an origin's answer.
async fn back(answer: &str) -> Answer {
    let origin = Origin::start([Step::raw(answer)]).await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;
    gateway.get("/").await
}

fn names(headers: &http::HeaderMap) -> Vec<&str> {
    let mut names: Vec<&str> = headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn hop_by_hop_fields_of_a_request_end_at_the_gateway() {
    let (asked, _) = through(&[
        "Connection: keep-alive, X-Private, x-odd",
        "Connection: X-Second",
        "X-Private: 1",
        "X-Odd: 1",
        "X-Second: 1",
        "Keep-Alive: timeout=5",
        "Proxy-Connection: keep-alive",
        "Proxy-Authorization: Basic x",
        "Proxy-Authenticate: Basic",
        "TE: gzip",
        "Upgrade: h2c",
        "HTTP2-Settings: AAMAAABk",
        "X-Kept: 1",
    ])
    .await;
    let expected = [
        "host",
        "via",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-kept",
        "x-request-id",
        "x-tenant-id",
    ];
    assert_eq!(names(&asked.headers), expected);
}

#[tokio::test]
async fn hop_by_hop_fields_of_an_answer_end_at_the_gateway() {
    let answer = back(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive, X-Private\r\n\
         X-Private: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: x\r\n\
         Proxy-Authenticate: Basic\r\nProxy-Authentication-Info: x\r\nUpgrade: h2c\r\nX-Kept: 1\r\nDate: then\r\n\r\nok",
    )
    .await;
    let expected = ["content-length", "date", "via", "x-kept", "x-request-id"];
    assert_eq!(names(&answer.headers), expected);
    assert_eq!(answer.one("date").as_deref(), Some("then"));
    assert_eq!(answer.text(), "ok");
}

#[tokio::test]
async fn a_connection_field_cannot_take_what_the_message_needs() {
    let origin = Origin::saying("hello").await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;
    let fields = [
        "Host: a",
        "X-Tenant-ID: acme",
        "Connection: Host, Content-Length, Authorization, Cookie, X-Forwarded-For, X-Request-ID, Via",
        "Authorization: Bearer x",
        "Cookie: a=b",
        "X-Request-ID: mine",
        "Content-Length: 3",
    ];

    let request = head("POST /", &fields) + "abc";
    let answer = Client::connect(gateway.address()).await.ask(request).await;

    assert_eq!(answer.status, 200);
    let asked = origin.only().await;
    assert_eq!(asked.body, b"abc");
    assert_eq!(asked.one("authorization").as_deref(), Some("Bearer x"));
    assert_eq!(asked.one("cookie").as_deref(), Some("a=b"));
    assert_eq!(asked.one("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(asked.one("x-request-id").as_deref(), Some("mine"));
    assert_eq!(asked.one("via").as_deref(), Some("1.1 tenantry"));
}

#[tokio::test]
async fn who_asked_is_said_by_the_gateway_alone() {
    let (asked, _) = through(&[
        "X-Forwarded-For: 9.9.9.9",
        "X-Forwarded-For: 8.8.8.8",
        "X-Forwarded-Host: evil.example",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Port: 1",
        "X-Forwarded-Prefix: /evil",
        "X-Real-IP: 9.9.9.9",
        "Forwarded: for=9.9.9.9",
    ])
    .await;
    assert_eq!(asked.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(asked.all("x-forwarded-host"), ["shop.example:81"]);
    assert_eq!(asked.all("x-forwarded-proto"), ["http"]);
    let text = format!("{:?}", asked.headers);
    assert!(!text.contains("9.9.9.9") && !text.contains("evil"), "{text}");
    assert_eq!(asked.all("forwarded"), [""; 0]);
    assert_eq!(asked.all("x-forwarded-port"), [""; 0]);
}

#[tokio::test]
async fn via_grows_by_the_gateway_both_ways() {
    let origin = Origin::start([Step::raw(
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nVia: 1.1 inner\r\n\r\n",
    )])
    .await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;
    let fields = ["Host: a", "X-Tenant-ID: acme", "Via: 1.0 outer"];

    let answer = ask(gateway.address(), "GET /", &fields).await;
    Hyper::h2(gateway.address()).await.get("acme", "/").await;

    assert_eq!(answer.all("via"), ["1.1 inner", "1.1 tenantry"]);
    let asked = origin.wait_for(2).await;
    assert_eq!(asked[0].all("via"), ["1.0 outer", "1.1 tenantry"]);
    assert_eq!(asked[1].all("via"), ["2.0 tenantry"]);
}

#[tokio::test]
async fn a_plain_request_id_is_kept_everywhere() {
    let longest = "Az09._-".repeat(18) + "ab";
    for id in ["mine-1", &longest] {
        let (asked, answer) = through(&[&format!("X-Request-ID: {id}")]).await;
        assert_eq!(asked.all("x-request-id"), [id]);
        assert_eq!(answer.all("x-request-id"), [id]);
    }
}

#[tokio::test]
async fn any_other_request_id_is_replaced_by_one_that_all_sides_share() {
    let long = "a".repeat(129);
    let mut seen = Vec::new();
    for id in ["", "two words", "a,b", "x\"y", "{id}", &long] {
        let (asked, answer) = through(&[&format!("X-Request-ID: {id}")]).await;
        let new = asked.one("x-request-id").expect("an id");
        assert_eq!(new.len(), 32, "{new}");
        assert!(new.bytes().all(|byte| byte.is_ascii_hexdigit()), "{new}");
        assert_eq!(answer.all("x-request-id"), [new.as_str()]);
        assert!(!seen.contains(&new), "{new} came twice");
        seen.push(new);
    }
}

#[tokio::test]
async fn the_id_of_an_answer_is_the_requests_and_not_the_origins() {
    let answer = back("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Request-ID: origin\r\n\r\n").await;
    let id = answer.one("x-request-id").expect("an id");
    assert_eq!(id.len(), 32, "{id}");
}

#[tokio::test]
async fn of_te_only_trailers_passes() {
    let (asked, _) = through(&["TE: gzip;q=0.5, Trailers", "Connection: TE"]).await;
    assert_eq!(asked.all("te"), ["trailers"]);
    assert_eq!(asked.all("connection"), ["te"]);

    let origin = H2Origin::saying("hello").await;
    let routes = one_tenant(&[origin.address]).replace("[tenants", "protocol = \"h2\"\n[tenants");
    let gateway = Gateway::start(&routes).await;
    let fields = ["Host: a", "X-Tenant-ID: acme", "TE: trailers, deflate", "Connection: TE"];
    ask(gateway.address(), "GET /", &fields).await;
    let asked = origin.only().await;
    assert_eq!(asked.all("te"), ["trailers"]);
    assert_eq!(asked.all("connection"), [""; 0]);
}

#[tokio::test]
async fn the_crumbs_of_an_http2_cookie_are_one_field_in_http1() {
    let origin = Origin::saying("hello").await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;
    let mut client = Hyper::h2(gateway.address()).await;
    let mut request = client.request("GET", "acme", "/", Frames::default());
    for crumb in ["a=1", "b=2", "c=3"] {
        request.headers_mut().append("cookie", HeaderValue::from_static(crumb));
    }

    client.ask(request).await;

    assert_eq!(origin.only().await.all("cookie"), ["a=1; b=2; c=3"]);
}

#[tokio::test]
async fn fields_that_the_gateway_does_not_know_pass_with_all_their_values() {
    let (asked, _) = through(&[
        "X-Many: 1",
        "Accept: a, b",
        "X-Many: 2",
        "X-Empty:",
        "X-Many: 1",
        "Authorization: Bearer x.y.z",
        "X-Bytes: caf\u{e9}",
    ])
    .await;
    assert_eq!(asked.all("x-many"), ["1", "2", "1"]);
    assert_eq!(asked.all("x-empty"), [""]);
    assert_eq!(asked.all("accept"), ["a, b"]);
    assert_eq!(asked.one("x-bytes").as_deref(), Some("caf\u{e9}"));

    let answer = back(
        "HTTP/1.1 200 Fine\r\nContent-Length: 0\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\
         Server: mine\r\nX-Empty:\r\n\r\n",
    )
    .await;
    assert_eq!(answer.all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(answer.all("server"), ["mine"]);
    assert_eq!(answer.all("x-empty"), [""]);
}

#[tokio::test]
async fn an_http2_client_is_introduced_as_any_other() {
    let origin = Origin::saying("hello").await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;

    let answer = Hyper::h2(gateway.address()).await.get("acme", "/x").await;

    assert_eq!(answer.status, 200);
    assert_eq!(answer.all("connection"), [""; 0]);
    let asked = origin.only().await;
    assert_eq!(asked.all("host"), ["a.example"]);
    assert_eq!(asked.all("x-forwarded-host"), ["a.example"]);
    assert_eq!(asked.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(asked.all("x-tenant-id"), ["acme"]);
}
