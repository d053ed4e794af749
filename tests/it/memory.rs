//! The memory that all clients and endpoints together may take: what goes first when it is used up,
//! and that all of it comes back.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::world::client::{Client, Frames, Hyper, head};
use crate::world::config::{one_tenant, pool};
use crate::world::gateway::Gateway;
use crate::world::message::{Answer, payload};
use crate::world::origin::{Origin, Step};
use crate::world::pouring::Pouring;
use crate::world::raw_h2::{self, RawH2, WINDOW_UPDATE, frame};
use crate::world::{eventually, resting, within};

const FIELDS: &[&str] = &["Host: a", "X-Tenant-ID: acme"];
const HELD: &str = "tenantry_buffers_bytes";
/// The smallest budget: some fifty requests use it up.
const SMALL: &str = "[memory]\nbuffers = \"1MiB\"\nbuffers-per-client = \"0B\"";

fn refused(what: &str) -> String {
    format!("tenantry_buffers_refused_total{{what=\"{what}\"}}")
}

/// Streams of one connection whose requests wait for an endpoint that never answers, until the
/// gateway has no memory for more of them.
async fn use_up(gateway: &Gateway, origin: &Origin) -> Hyper {
    let mut h2 = Hyper::h2(gateway.address()).await;
    for _ in 0..100 {
        let request = h2.request("GET", "acme", "/", Frames::default());
        h2.send(request);
    }
    gateway.metric_at_least(&refused("request"), 1.0).await;
    resting("the last request that is let in", || origin.asked().len()).await;
    h2
}

#[tokio::test]
async fn what_is_under_way_goes_on_while_new_requests_are_refused_and_all_comes_back() {
    let origin = Origin::start([Step::ok("late").held()]).await;
    let gateway = Gateway::start_with(SMALL, &one_tenant(&[origin.address])).await;
    let mut client = Client::connect(gateway.address()).await;
    client.send(head("GET /", FIELDS)).await;
    origin.wait_for(1).await;
    let mut other = Client::connect(gateway.address()).await;
    let h2 = use_up(&gateway, &origin).await;
    assert_eq!(gateway.metric("tenantry_buffers_limit_bytes").await, Some(1_048_576.0));
    let held = gateway.metric(HELD).await.unwrap_or_default();
    assert!((900_000.0..1_048_576.0).contains(&held), "{held}");

    let answer = other.ask(head("GET /", FIELDS)).await;

    assert_eq!((answer.status, answer.problem().as_deref()), (503, Some("overloaded")));
    assert_eq!(answer.one("retry-after").as_deref(), Some("1"));
    assert!(gateway.metric(&refused("request")).await > Some(0.0));
    for _ in 0..100 {
        origin.release();
    }
    assert_eq!(client.answer_to("GET").await.text(), "late");
    drop((h2, client, other));
    gateway.metric_becomes(HELD, 0.0).await;
}

#[tokio::test]
async fn where_memory_is_used_up_an_idle_connection_goes_for_a_new_one() {
    let origin = Origin::start([Step::ok("hello"), Step::ok("late").held()]).await;
    let gateway = Gateway::start_with(SMALL, &one_tenant(&[origin.address])).await;
    let mut idle = Client::connect(gateway.address()).await;
    assert_eq!(idle.ask(head("GET /", FIELDS)).await.status, 200);
    let _busy = use_up(&gateway, &origin).await;

    let mut first = Client::connect(gateway.address()).await;
    assert!(idle.is_closed().await);
    first.send("GET / HTTP/1.1\r\n").await; // it is not idle from here on
    let mut second = Client::connect(gateway.address()).await;
    // The first one's bytes may not have been read when the second one came: then it goes.
    let is_refused = tokio::select! {
        closed = second.is_closed() => closed,
        closed = first.is_closed() => !closed,
    };

    let refused = gateway.metric(&refused("connection")).await.unwrap_or_default();
    assert_eq!(is_refused, refused > 0.0, "{refused}");
}

#[tokio::test]
async fn where_memory_is_short_a_body_is_passed_on_and_not_kept() {
    let waiting = Origin::start([Step::stall()]).await;
    let (bad, good) =
        (Origin::start([Step::answer(503, "busy")]).await, Origin::saying("ok").await);
    let keys = "balance = \"round-robin\"\neject = { failures = 0 }\nretry = { backoff = \"1ms\" }";
    let routes = pool("app", &[bad.address, good.address], keys)
        + &pool("slow", &[waiting.address], "")
        + "[tenants.acme]\npool = \"app\"\n[tenants.slow]\npool = \"slow\"\n";
    let gateway = Gateway::start_with(SMALL, &routes).await;
    let body = payload(20 << 10);
    let length = format!("Content-Length: {}", body.len());
    let put = [head("PUT /", &[FIELDS, &[&length]].concat()).as_bytes(), &body].concat();
    let mut client = Client::connect(gateway.address()).await;
    for _ in 0..2 {
        assert_eq!(client.ask(&put).await.status, 200, "it is kept, and sent again where it must");
    }
    // More than half of the budget.
    let mut h2 = Hyper::h2(gateway.address()).await;
    for _ in 0..46 {
        h2.send(h2.request("GET", "slow", "/", Frames::default()));
    }
    waiting.wait_for(46).await;

    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(client.ask(&put).await.status);
    }

    seen.sort_unstable();
    assert_eq!(seen, [200, 200, 503, 503]);
    assert!(gateway.metric(&refused("replay")).await > Some(0.0));
}

#[tokio::test]
async fn who_reads_nothing_is_held_to_little_where_memory_is_short() {
    let huge = 64 << 20;
    let step = Step::raw(format!("HTTP/1.1 200 OK\r\nContent-Length: {huge}\r\n\r\n"));
    let origin = Origin::start([step.with_more(huge)]).await;
    let more = "[memory]\nbuffers = \"2MiB\"\nbuffers-per-client = \"0B\"";
    let gateway = Gateway::start_with(more, &one_tenant(&[origin.address])).await;
    let mut clients = Vec::new();
    for _ in 0..16 {
        let mut client = Client::connect(gateway.address()).await;
        client.send(head("GET /", FIELDS)).await;
        clients.push(client);
    }
    gateway.metric_at_least(&refused("read"), 1.0).await;
    resting("the end of the endpoint's writing", || origin.written()).await;

    let held = gateway.metric(HELD).await.unwrap_or_default();
    assert!((8e5..2_097_152.0).contains(&held), "{held}");

    let last = clients.pop().expect("a client").answer_to("GET").await;
    assert!(last.whole && last.body.len() == huge, "{} bytes came", last.body.len());
    drop(clients);
    gateway.metric_becomes(HELD, 0.0).await;
}

#[tokio::test]
async fn what_waits_in_streams_that_nobody_reads_is_counted_and_comes_back() {
    let origin = Pouring::start().await;
    let gateway =
        Gateway::start(&(pool("app", &[origin.address], "protocol = \"h2\"") + TENANT)).await;
    let mut client = RawH2::connect(gateway.address()).await;
    client.send(&frame(raw_h2::SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff])).await;
    client.send(&frame(WINDOW_UPDATE, 0, 0, &(0x7fff_ffff_u32 - 65_535).to_be_bytes())).await;
    let fields = raw_h2::GET
        .map(|(name, value)| (name, if name == b":path" { &b"/pour"[..] } else { value }));
    for times in 0..50 {
        client.send(&raw_h2::request(2 * times + 1, &fields)).await;
    }
    resting("the end of the pouring", || origin.poured()).await;

    // The window and the buffer of each, 64 KiB.
    gateway.metric_at_least(HELD, f64::from((50 * (64 + 64)) << 10) + 1.0).await;

    drop(client);
    gateway.metric_becomes(HELD, 0.0).await;
}

const TENANT: &str = "[tenants.acme]\npool = \"app\"\n";

/// Of 64 MiB.
const SHARED: &str = "[memory]\nbuffers = \"64MiB\"\nbuffers-per-client = \"2MiB\"\n";

/// What is asked from another address.
async fn ask_from(address: &str, gateway: &Gateway) -> Answer {
    Client::connect_from(address, gateway.address()).await.ask(head("GET /", FIELDS)).await
}

#[tokio::test]
async fn a_client_at_its_share_is_refused_while_another_one_is_served_and_all_of_it_comes_back() {
    let (pouring, origin) = (Pouring::start().await, Origin::saying("hello").await);
    let routes = pool("pouring", &[pouring.address], "protocol = \"h2\"")
        + "[tenants.pouring]\npool = \"pouring\"\n"
        + &one_tenant(&[origin.address]);
    let gateway = Gateway::start_with(SHARED, &routes).await;
    let mut before = Client::connect_from("127.0.0.1", gateway.address()).await;
    let mut greedy = RawH2::connect(gateway.address()).await;
    greedy.send(&frame(raw_h2::SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff])).await;
    greedy.send(&frame(WINDOW_UPDATE, 0, 0, &(0x7fff_ffff_u32 - 65_535).to_be_bytes())).await;
    let fields = raw_h2::GET.map(|(name, value)| match name {
        b":path" => (name, &b"/pour"[..]),
        b"x-tenant-id" => (name, &b"pouring"[..]),
        _ => (name, value),
    });
    for times in 0..50 {
        greedy.send(&raw_h2::request(2 * times + 1, &fields)).await;
    }
    gateway.metric_at_least(&refused("client_request"), 1.0).await;
    resting("the end of the pouring", || pouring.poured()).await;

    // The windows of HTTP/2 at the endpoint are more than a connection has room for beforehand.
    let much = || head("GET /small", &["Host: a", "X-Tenant-ID: pouring"]);
    let own = before.ask(much()).await;
    assert_eq!((own.status, own.problem().as_deref()), (503, Some("client-overloaded")));
    assert_eq!(own.one("retry-after").as_deref(), Some("1"));
    assert!(own.text().contains("memory.buffers-per-client"), "{}", own.text());
    assert_eq!(before.ask(head("GET /", FIELDS)).await.status, 200, "a usual one goes");
    assert!(Client::connect_from("127.0.0.1", gateway.address()).await.is_closed().await);
    let rejected = "tenantry_downstream_rejected_connections_total{reason=\"too_much_of_client\"}";
    gateway.metric_at_least(rejected, 1.0).await;
    gateway.metric_at_least(&refused("client_connection"), 1.0).await;
    assert_eq!(ask_from("127.0.0.2", &gateway).await.status, 200);
    assert_eq!(gateway.metric(&refused("request")).await, Some(0.0));

    drop(greedy);
    within("room for the client", async {
        while before.ask(much()).await.status != 200 {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(ask_from("127.0.0.1", &gateway).await.status, 200);
    drop(before);
    gateway.metric_becomes(HELD, 0.0).await;
}

#[tokio::test]
async fn of_large_answers_that_nobody_reads_a_client_holds_little_more_than_its_share() {
    const CLIENTS: usize = 22;
    let huge = 64 << 20;
    let step = Step::raw(format!("HTTP/1.1 200 OK\r\nContent-Length: {huge}\r\n\r\n"));
    let origin = Origin::start([step.with_more(huge)]).await;
    let gateway = Gateway::start_with(SHARED, &one_tenant(&[origin.address])).await;
    // All of them before any asks: from three quarters of the share on no more would be let in.
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(Client::connect(gateway.address()).await);
    }
    let open = format!("tenantry_downstream_connections{{listener=\"{}\"}}", gateway.address());
    gateway.metric_at_least(&open, CLIENTS as f64).await;
    for client in &mut clients {
        client.send(head("GET /", FIELDS)).await;
    }
    resting("the end of the endpoint's writing", || origin.written()).await;

    // Without the share it is above 3 MiB: each has parts of up to 256 KiB on their way.
    let held = gateway.metric(HELD).await.unwrap_or_default();
    assert!(held < 2.5 * 1_048_576.0, "{held}");

    let last = clients.pop().expect("a client").answer_to("GET").await;
    assert!(last.whole && last.body.len() == huge, "{} bytes came", last.body.len());
    drop(clients);
    gateway.metric_becomes(HELD, 0.0).await;
}

#[tokio::test]
async fn bodies_of_a_client_that_has_used_half_of_its_share_are_passed_on_and_not_kept() {
    let origin = Origin::start([Step::stall()]).await;
    let gateway = Gateway::start_with(SHARED, &one_tenant(&[origin.address])).await;
    let body = payload(60 << 10);
    let length = format!("Content-Length: {}", body.len());
    let put = [head("PUT /", &[FIELDS, &[&length]].concat()).as_bytes(), &body].concat();
    let mut clients = Vec::new();
    for times in 1..=11 {
        let mut client = Client::connect(gateway.address()).await;
        client.send(&put).await;
        origin.wait_for(times).await;
        clients.push(client);
    }

    assert!(gateway.metric(&refused("client_replay")).await > Some(0.0));
    assert_eq!(gateway.metric(&refused("replay")).await, Some(0.0));
    drop(clients);
    gateway.metric_becomes(HELD, 0.0).await;
}

#[tokio::test]
async fn a_proxy_that_is_trusted_has_no_share_of_one_client_and_whom_a_balancer_names_has() {
    let origin = Origin::start([Step::stall()]).await;
    let small = "[memory]\nbuffers-per-client = \"256KiB\"\n";
    let proxies = format!("trusted-proxies = [\"127.0.0.1\"]\n{small}");
    let gateway = Gateway::start_with(&proxies, &one_tenant(&[origin.address])).await;
    let mut h2 = Hyper::h2(gateway.address()).await;
    for _ in 0..50 {
        h2.send(h2.request("GET", "acme", "/", Frames::default()));
    }
    origin.wait_for(50).await;

    let balanced = format!("proxy-protocol = {{ from = [\"127.0.0.1\"] }}\n{small}");
    let other = Origin::start([Step::stall()]).await;
    let gateway = Gateway::start_with(&balanced, &one_tenant(&[other.address])).await;
    let mut stream = TcpStream::connect(gateway.address()).await.expect("connect");
    stream.write_all(b"PROXY TCP4 192.0.2.1 192.0.2.9 5000 80\r\n").await.expect("write");
    let mut h2 = Hyper::h2_over(stream).await;
    for _ in 0..50 {
        h2.send(h2.request("GET", "acme", "/", Frames::default()));
    }
    gateway.metric_at_least(&refused("client_request"), 1.0).await;
    assert!(other.asked().len() < 50);
}

#[tokio::test]
async fn whatever_ends_an_exchange_its_memory_comes_back() {
    let steps = [
        Step::ok("whole"),
        Step::raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").and_close(),
        Step::raw("HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n").and_stall(),
        Step::close(),
        Step::stall(),
    ];
    let origin = Origin::start(steps).await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;
    let fields = [FIELDS, &["Connection: upgrade", "Upgrade: a"]].concat();
    let mut clients = Vec::new();
    for _ in 0..5 {
        let mut client = Client::connect(gateway.address()).await;
        client.send(head("GET /", &fields)).await;
        clients.push(client);
    }
    eventually("all of them", || origin.asked().len(), |asked| *asked >= 5).await;
    assert!(gateway.metric(HELD).await > Some(100_000.0));

    drop(clients);

    gateway.metric_becomes(HELD, 0.0).await;
}
