//! How long endpoints are told that they have, and what a client's own time does.

use std::time::Duration;

use http::Response;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::world::client::{Client, Frames, Hyper, ask, get, head};
use crate::world::config::{NO_RETRY, one_tenant_with};
use crate::world::gateway::Gateway;
use crate::world::h2_origin::{H2Origin, Speaks};
use crate::world::message::Asked;
use crate::world::origin::{Origin, Step};
use crate::world::{DEADLINE, eventually, within};

const HEADER: &str = "deadline-header = \"X-Request-Timeout\"\ntimeouts = { total = \"20s\" }\n\
                      balance = \"round-robin\"\neject = { failures = 0 }";

fn told(asked: &Asked) -> u64 {
    asked.one("x-request-timeout").expect("a time").parse().expect("milliseconds")
}

async fn ask_with(gateway: &Gateway, field: &str) -> u16 {
    let fields = ["Host: a", "X-Tenant-ID: acme", field];
    ask(gateway.address(), "GET /", &fields).await.status
}

#[tokio::test]
async fn each_attempt_is_told_what_is_left() {
    let slow = Origin::start([Step::stall()]).await;
    let good = Origin::saying("here").await;
    let keys = HEADER.replace("total", "attempt = \"1s\", total");
    let gateway = Gateway::start(&one_tenant_with(&[slow.address, good.address], &keys)).await;

    for _ in 0..2 {
        assert_eq!(get(gateway.address(), "acme", "/").await.text(), "here");
    }

    let first = told(&slow.asked()[0]);
    let second = good.asked().iter().map(told).min().expect("a retry");
    assert!(first <= 20_000 && first > 10_000, "{first}");
    assert!(second <= 19_000, "{second} after {first}");
}

#[tokio::test]
async fn a_client_shortens_its_time_and_never_makes_it_longer() {
    let origin = Origin::saying("ok").await;
    let gateway = Gateway::start(&one_tenant_with(&[origin.address], HEADER)).await;
    for (field, most) in [
        ("X-Request-Timeout: 5000", 5_000),
        ("X-Request-Timeout: 50000", 20_000),
        ("X-Request-Timeout: soon", 20_000),
        ("X-Request-Timeout: 1\r\nX-Request-Timeout: 2", 20_000),
        ("X-Request-Timeout: 18446744073709551615", 20_000),
        ("X-Other: 1", 20_000),
    ] {
        assert_eq!(ask_with(&gateway, field).await, 200, "{field}");
        let last = told(origin.asked().last().expect("a request"));
        assert!(last <= most && last + 4_000 > most, "{field}: {last}");
    }
}

#[tokio::test]
async fn without_a_total_time_only_a_clients_own_is_told() {
    let origin = Origin::saying("ok").await;
    let keys = HEADER.replace("20s", "0s");
    let gateway = Gateway::start(&one_tenant_with(&[origin.address], &keys)).await;

    assert_eq!(get(gateway.address(), "acme", "/").await.status, 200);
    assert_eq!(ask_with(&gateway, "X-Request-Timeout: 7000").await, 200);

    let asked = origin.asked();
    assert_eq!(asked[0].one("x-request-timeout"), None);
    assert!((3_000..=7_000).contains(&told(&asked[1])));
}

#[tokio::test]
async fn a_time_that_its_client_made_short_is_no_fault_of_the_endpoint() {
    let origin = Origin::start([Step::stall()]).await;
    let keys = "deadline-header = \"X-Request-Timeout\"\neject = { failures = 1, base = \"60s\" }\n\
                panic-below = \"0%\"\nretry = { backoff = \"1ms\" }\nbalance = \"round-robin\"";
    let other = Origin::saying("here").await;
    let gateway = Gateway::start(&one_tenant_with(&[origin.address, other.address], keys)).await;
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(ask_with(&gateway, "X-Request-Timeout: 300").await);
    }

    assert!(statuses.iter().all(|status| matches!(status, 200 | 504)), "{statuses:?}");
    let late = statuses.iter().filter(|status| **status == 504).count();
    assert!(late > 0, "{statuses:?}");
    let ejections = gateway.metric("tenantry_ejections_total{pool=\"app\"}").await;
    assert_eq!(ejections.unwrap_or_default(), 0.0);
    let retries = "tenantry_retries_refused_total{pool=\"app\",reason=\"deadline\"}";
    gateway.metric_becomes(retries, late as f64).await;
}

#[tokio::test]
async fn an_endpoint_that_hangs_is_ejected_though_its_clients_give_up_first() {
    let (hangs, other) = (Origin::start([Step::stall()]).await, Origin::saying("here").await);
    let keys = "deadline-header = \"X-Request-Timeout\"\neject = { failures = 1, base = \"60s\" }\n\
                balance = \"round-robin\"";
    let gateway = Gateway::start(&one_tenant_with(&[hangs.address, other.address], keys)).await;

    while hangs.asked().is_empty() {
        ask_with(&gateway, "X-Request-Timeout: 1500").await;
    }

    gateway.metric_becomes("tenantry_ejections_total{pool=\"app\"}", 1.0).await;
}

#[tokio::test]
async fn a_deadline_that_is_over_is_told_and_nobody_is_asked() {
    let origin = Origin::saying("ok").await;
    let gateway = Gateway::start(&one_tenant_with(&[origin.address], HEADER)).await;

    assert_eq!(ask_with(&gateway, "X-Request-Timeout: 0").await, 504);

    assert!(origin.asked().is_empty());
}

#[tokio::test]
async fn what_the_route_tells_endpoints_is_not_taken_for_the_clients_word() {
    let origin = Origin::saying("ok").await;
    let routes = one_tenant_with(&[origin.address], HEADER)
        + "[[tenants.acme.routes]]\npath = \"/*\"\n\
           request-headers = { set = { X-Request-Timeout = \"0\" } }\n";
    let gateway = Gateway::start(&routes).await;

    assert_eq!(ask_with(&gateway, "X-Request-Timeout: 9000").await, 200);

    assert_eq!(origin.only().await.one("x-request-timeout").as_deref(), Some("0"));
}

#[tokio::test]
async fn nobody_tells_an_endpoint_a_deadline_by_what_looks_like_its_header() {
    let origin = Origin::saying("ok").await;
    let gateway = Gateway::start(&one_tenant_with(&[origin.address], HEADER)).await;
    let fields = [
        "Host: a",
        "X-Tenant-ID: acme",
        "X_Request_Timeout: 1",
        "TE: trailers",
        "Connection: TE",
        "Transfer-Encoding: chunked",
    ];
    let body = "1\r\na\r\n0\r\nX-Request-Timeout: 1\r\nX_Request_Timeout: 1\r\nX-Sum: 1\r\n\r\n";
    let mut client = Client::connect(gateway.address()).await;

    assert_eq!(client.ask(head("PUT /", &fields) + body).await.status, 200);

    let asked = origin.only().await;
    assert!(told(&asked) > 10_000);
    assert_eq!(asked.one("x_request_timeout"), None);
    let trailers: Vec<&str> = asked.trailers.keys().map(http::HeaderName::as_str).collect();
    assert_eq!(trailers, ["x-sum"]);
}

#[tokio::test]
async fn a_header_is_not_sent_where_no_pool_names_it() {
    let origin = Origin::saying("ok").await;
    let gateway = Gateway::start(&one_tenant_with(&[origin.address], NO_RETRY)).await;

    assert_eq!(ask_with(&gateway, "X-Request-Timeout: soon").await, 200);

    let asked = origin.only().await;
    assert_eq!(asked.one("x-request-timeout").as_deref(), Some("soon"), "it is the client's own");
}

#[tokio::test]
async fn a_call_of_grpc_is_told_in_its_own_words() {
    let origin = H2Origin::start(Speaks::H2, |_| {
        Response::builder().header("grpc-status", "0").body(Frames::default()).expect("an answer")
    })
    .await;
    let keys = "protocol = \"h2\"\ntimeouts = { total = \"20s\" }";
    let gateway = Gateway::start(&one_tenant_with(&[origin.address], keys)).await;
    let mut client = Hyper::h2(gateway.address()).await;
    for (said, most) in [(Some("5S"), 5_000), (Some("1H"), 20_000), (None, 20_000)] {
        let mut call = client.request("POST", "acme", "/talk", Frames::sized("hello"));
        let headers = call.headers_mut();
        headers.insert("content-type", "application/grpc".parse().expect("a value"));
        headers.insert("te", "trailers".parse().expect("a value"));
        if let Some(said) = said {
            headers.insert("grpc-timeout", said.parse().expect("a value"));
        }
        assert_eq!(client.ask(call).await.status, 200);

        let asked = origin.asked();
        let told = asked.last().and_then(|asked| asked.one("grpc-timeout")).expect("a time");
        let left: u64 = told.trim_end_matches('m').parse().expect("milliseconds");
        assert!(left <= most && left + 4_000 > most, "{said:?}: {told}");
    }
}

#[tokio::test]
async fn a_call_that_is_past_its_deadline_is_told_so_and_ends_at_the_endpoint() {
    let origin = Origin::start([Step::stall()]).await;
    let gateway = Gateway::start(&one_tenant_with(&[origin.address], NO_RETRY)).await;
    let mut client = Hyper::h2(gateway.address()).await;
    let mut call = client.request("POST", "acme", "/talk", Frames::sized("hello"));
    let headers = call.headers_mut();
    headers.insert("content-type", "application/grpc".parse().expect("a value"));
    headers.insert("te", "trailers".parse().expect("a value"));
    headers.insert("grpc-timeout", "150m".parse().expect("a value"));

    let answer = client.ask(call).await;

    assert_eq!(answer.headers.get("grpc-status").expect("a status"), "4");
    gateway.metric_becomes("tenantry_upstream_connections{pool=\"app\"}", 0.0).await;
}

#[tokio::test]
async fn what_a_client_asked_for_ends_at_the_endpoint_when_it_goes() {
    let origin = Origin::start([Step::ok("late").held()]).await;
    let gateway = Gateway::start(&one_tenant_with(&[origin.address], NO_RETRY)).await;
    let mut client = Client::connect(gateway.address()).await;
    client.send(head("GET /", &["Host: a", "X-Tenant-ID: acme"])).await;
    origin.wait_for(1).await;

    drop(client);

    gateway.metric_becomes("tenantry_upstream_connections{pool=\"app\"}", 0.0).await;
    let mut streams = Hyper::h2(gateway.address()).await;
    streams.send(streams.request("GET", "acme", "/", Frames::default()));
    origin.wait_for(2).await;

    drop(streams);

    gateway.metric_becomes("tenantry_upstream_connections{pool=\"app\"}", 0.0).await;
    gateway.metric_becomes("tenantry_requests_in_flight", 0.0).await;
    origin.release();
    origin.release();
    eventually("the end at the origin", || origin.open(), |open| *open == 0).await;
}

/// One of them is enough: a machine that is busy holds up each of them, and a timer that stands in the way all of them.
#[tokio::test]
async fn what_a_client_asked_for_ends_at_the_endpoint_within_a_tenth_of_a_second() {
    let endpoint = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = endpoint.local_addr().expect("an address");
    let gateway = Gateway::start(&one_tenant_with(&[address], NO_RETRY)).await;
    let started = Instant::now();
    let (mut plain, mut stream) = (Duration::MAX, Duration::MAX);
    while plain.max(stream) > AT_ONCE {
        assert!(started.elapsed() < DEADLINE, "at best {plain:?}, and {stream:?} of HTTP/2");
        let mut client = Client::connect(gateway.address()).await;
        client.send(head("GET /", &["Host: a", "X-Tenant-ID: acme"])).await;
        let asked = taken(&endpoint).await;
        plain = plain.min(end_of(asked, || drop(client)).await);

        let mut streams = Hyper::h2(gateway.address()).await;
        streams.send(streams.request("GET", "acme", "/", Frames::default()));
        let asked = taken(&endpoint).await;
        stream = stream.min(end_of(asked, || drop(streams)).await);
    }
}

/// The connection of a request that has come to an endpoint.
async fn taken(endpoint: &TcpListener) -> TcpStream {
    let accepted = within("a connection", endpoint.accept()).await;
    let (mut asked, _) = accepted.expect("a connection");
    let mut held = Vec::new();
    while !held.ends_with(b"\r\n\r\n") {
        let read = within("a head", asked.read_buf(&mut held)).await;
        assert!(read.expect("a head") > 0, "{held:?}");
    }
    asked
}

/// How long after this the connection ends.
async fn end_of(mut asked: TcpStream, goes: impl FnOnce()) -> Duration {
    let gone = Instant::now();
    goes();
    let read = within("the end", asked.read(&mut [0])).await;
    assert!(!matches!(read, Ok(1..)), "nothing else is sent");
    gone.elapsed()
}

/// A tenth of a second: nothing but the work of hearing of it.
const AT_ONCE: Duration = Duration::from_millis(100);
