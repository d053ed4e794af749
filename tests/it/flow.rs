//! Bytes go on as they come, and no faster than they are taken: the gateway collects neither
//! requests nor answers.

use http_body_util::BodyExt;

use crate::world::client::{Client, Frames, Hyper, head};
use crate::world::config::{one_tenant, one_tenant_with};
use crate::world::gateway::Gateway;
use crate::world::h2_origin::{H2Origin, Speaks};
use crate::world::origin::{Origin, Step};
use crate::world::raw_h2::{GET, RawH2, SETTINGS, WINDOW_UPDATE, frame, request};
use crate::world::{STEP, eventually, resting, within};

/// 96 MiB: far more than all sockets on the way can hold.
const HUGE: usize = 96 << 20;
/// 32 MiB: what sockets on the way may hold at most, with a lot to spare.
const HELD_BY_SOCKETS: usize = 32 << 20;

const FIELDS: &[&str] = &["Host: a", "X-Tenant-ID: acme"];

fn huge_answer() -> Step {
    Step::raw(format!("HTTP/1.1 200 OK\r\nContent-Length: {HUGE}\r\n\r\n")).with_more(HUGE)
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_the_endpoint_and_no_byte_is_lost() {
    let origin = Origin::start([huge_answer()]).await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;
    let mut client = Client::connect(gateway.address()).await;
    client.send(head("GET /", FIELDS)).await;

    let written = resting("the end of the endpoint's writing", || origin.written()).await;
    let answer = client.answer_to("GET").await;

    assert!(written < HELD_BY_SOCKETS, "{written} bytes went somewhere");
    assert!(answer.whole && answer.body.len() == HUGE, "{} bytes came", answer.body.len());
}

#[tokio::test]
async fn a_stream_that_is_not_read_stops_the_endpoint_and_not_its_neighbours() {
    let origin = Origin::start([huge_answer(), Step::ok("small")]).await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;
    let mut client = Hyper::h2(gateway.address()).await;
    let request = client.request("GET", "acme", "/", Frames::default());
    let unread = client.start(request).await.expect("the head of the answer");

    let written = resting("the end of the endpoint's writing", || origin.written()).await;
    let neighbour = client.get("acme", "/").await;

    assert!(written < HELD_BY_SOCKETS, "{written} bytes went somewhere");
    assert_eq!(neighbour.text(), "small");
    drop(unread);
}

/// A client of HTTP/2 takes the head of a huge answer and no more, and its connection lives on. Waits
/// until the endpoint is free nevertheless, and the stream has failed.
async fn stall_one_stream(downstream: &str, timeouts: &str) {
    let origin = Origin::start([huge_answer(), Step::ok("small")]).await;
    let routes = one_tenant_with(&[origin.address], timeouts);
    let gateway = Gateway::start_with(downstream, &routes).await;
    let mut client = Hyper::h2(gateway.address()).await;
    let request = client.request("GET", "acme", "/", Frames::default());
    let unread = client.start(request).await.expect("the head of the answer");

    within("a free endpoint", async {
        while gateway.admin("/api/v1/pools").await.json()[0]["members"][0]["in_flight"] != 0 {
            tokio::time::sleep(STEP).await;
        }
    })
    .await;
    eventually("the end of its connection", || origin.open(), |open| *open == 0).await;

    assert_eq!(client.get("acme", "/").await.text(), "small");
    let read = within("the end of the stream", unread.into_body().collect()).await;
    assert!(read.is_err(), "what is missing must not look as if it were whole");
}

#[tokio::test]
async fn a_stalled_stream_holds_its_endpoint_no_longer_than_its_total_time() {
    stall_one_stream("", "timeouts = { total = \"4s\" }").await;
}

#[tokio::test]
async fn a_stalled_stream_without_a_total_time_is_not_waited_for_forever() {
    let downstream = "[downstream]\nbody-timeout = \"100ms\"";
    stall_one_stream(downstream, "timeouts = { total = \"0s\" }").await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_is_cut_off_and_counted() {
    let origin = Origin::start([huge_answer()]).await;
    let downstream = "[downstream]\nbody-timeout = \"100ms\"";
    let routes = one_tenant_with(&[origin.address], "timeouts = { total = \"0s\" }");
    let gateway = Gateway::start_with(downstream, &routes).await;
    let counted = "tenantry_downstream_rejected_connections_total{reason=\"slow_reader\"}";

    let mut client = Client::connect(gateway.address()).await;
    client.send(head("GET /", FIELDS)).await;
    gateway.metric_becomes(counted, 1.0).await;

    // One of HTTP/2 whose windows have room for all of it.
    let mut other = RawH2::connect(gateway.address()).await;
    let most = 0x7fff_ffff_u32;
    other.send(&frame(SETTINGS, 0, 0, &[&[0, 4], &most.to_be_bytes()[..]].concat())).await;
    other.send(&frame(WINDOW_UPDATE, 0, 0, &(most - 65_535).to_be_bytes())).await;
    other.send(&request(1, &GET)).await;
    gateway.metric_becomes(counted, 2.0).await;

    eventually("the end of the endpoint's connections", || origin.open(), |open| *open == 0).await;
    assert!(!client.answer_to("GET").await.whole, "what is missing looks as if it were whole");
}

#[tokio::test]
async fn an_endpoint_that_does_not_read_stops_the_client() {
    let origin = Origin::start([Step::stall().unread()]).await;
    let more = "[downstream]\nmax-body = \"1GiB\"";
    let gateway = Gateway::start_with(more, &one_tenant(&[origin.address])).await;
    let mut client = Client::connect(gateway.address()).await;
    let length = format!("Content-Length: {HUGE}");
    client.send(head("PUT /", &[FIELDS, &[&length]].concat())).await;

    let sent = std::cell::Cell::new(0);
    let part = vec![b'x'; 64 << 10];
    let writing = async {
        while sent.get() < HUGE && client.wire.write(&part).await.is_ok() {
            sent.set(sent.get() + part.len());
        }
        panic!("the gateway took all of it");
    };
    let taken = tokio::select! {
        taken = resting("the end of the client's writing", || sent.get()) => taken,
        () = writing => 0,
    };

    assert!(taken < HELD_BY_SOCKETS, "{taken} bytes went somewhere");
}

#[tokio::test]
async fn an_http2_endpoint_that_answers_late_gets_a_large_body_whole() {
    let origin = H2Origin::start(Speaks::H2, |asked| {
        http::Response::new(Frames::sized(asked.body.len().to_string()))
    })
    .await;
    let routes = one_tenant_with(&[origin.address], "protocol = \"h2\"");
    let gateway = Gateway::start_with("[downstream]\nmax-body = \"1GiB\"", &routes).await;
    let mut client = Hyper::h1(gateway.address()).await;
    let body = Frames::unsized_of(vec![b'x'; HUGE / 4]);

    let answer = client.ask(client.request("PUT", "acme", "/", body)).await;

    assert_eq!(answer.text(), (HUGE / 4).to_string());
}

#[tokio::test]
async fn a_part_of_an_answer_goes_on_before_the_next_one_comes() {
    let first = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n";
    let step = Step::raw("4\r\nlast\r\n0\r\n\r\n").after(first).held();
    let origin = Origin::start([step]).await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;

    let mut h1 = Client::connect(gateway.address()).await;
    h1.send(head("GET /", FIELDS)).await;
    assert_eq!(h1.answer_head().await.status, 200);
    assert_eq!(within("the first part", h1.wire.exact("5\r\nfirst\r\n")).await, Some(()));
    origin.release();
    assert_eq!(within("the last part", h1.wire.exact("4\r\nlast\r\n")).await, Some(()));

    let mut h2 = Hyper::h2(gateway.address()).await;
    let request = h2.request("GET", "acme", "/", Frames::default());
    let mut body = h2.start(request).await.expect("the head of the answer").into_body();
    for expected in ["first", "last"] {
        let frame = within(expected, body.frame()).await.expect("a part").expect("no error");
        assert_eq!(frame.into_data().expect("data"), expected);
        origin.release();
    }
}

#[tokio::test]
async fn a_part_of_a_request_goes_on_before_the_next_one_comes() {
    let origin = Origin::saying("thanks").await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;
    let mut client = Client::connect(gateway.address()).await;
    let fields = [FIELDS, &["Transfer-Encoding: chunked"]].concat();

    client.send(head("POST /", &fields) + "5\r\nfirst\r\n").await;
    let body = || origin.asked().first().map(|asked| asked.body.clone());
    eventually("the first part", body, |body| body.as_deref() == Some(b"first")).await;
    client.send("4\r\nlast\r\n0\r\n\r\n").await;

    assert_eq!(client.answer_to("POST").await.text(), "thanks");
    assert_eq!(origin.only().await.body, b"firstlast");
}

#[tokio::test]
async fn uploads_that_trickle_all_arrive_and_a_small_request_beside_them_is_answered() {
    const UPLOADS: usize = 40;
    const PARTS: usize = 24;
    let origin = Origin::saying("thanks").await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;
    let length = format!("Content-Length: {PARTS}");
    let mut clients = Vec::new();
    for _ in 0..UPLOADS {
        let mut client = Client::connect(gateway.address()).await;
        client.send(head("PUT /", &[FIELDS, &[&length]].concat())).await;
        clients.push(client);
    }

    for part in 1..=PARTS {
        for client in &mut clients {
            client.send("x").await;
        }
        let arrived = || origin.asked().iter().map(|asked| asked.body.len()).sum::<usize>();
        eventually("a part of each", arrived, |arrived| *arrived == part * UPLOADS).await;
        if part == PARTS - 1 {
            assert_eq!(gateway.get("/").await.text(), "thanks");
        }
    }

    for client in &mut clients {
        assert_eq!(client.answer_to("PUT").await.text(), "thanks");
    }
}
