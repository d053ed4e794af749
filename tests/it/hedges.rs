//! Second attempts beside slow ones: which answer is the client's, what they cost, and when there are none.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::world::client::{Client, Frames, Hyper, head};
use crate::world::config::{NO_RETRY, one_tenant_with};
use crate::world::eventually;
use crate::world::gateway::Gateway;
use crate::world::h2_origin::H2Origin;
use crate::world::message::payload;
use crate::world::origin::{Origin, Step};

/// Each endpoint has its turn, and one failure would eject. The floor is above what a busy machine takes
/// for a request that nobody holds up: a second attempt that nobody expects spoils what is counted.
fn keys(retry: &str) -> String {
    format!(
        "balance = \"round-robin\"\neject = {{ failures = 1, base = \"60s\" }}\n\
         retry = {{ backoff = \"1ms\", hedge = {{ after = \"p95\", floor = \"1s\" }}{retry} }}"
    )
}

/// The same with a low floor, where many second attempts are needed and one more does no harm.
fn soon() -> String {
    keys("").replace("floor = \"1s\"", "floor = \"200ms\"")
}

fn hedges(result: &str) -> String {
    format!("tenantry_hedges_total{{pool=\"app\",result=\"{result}\"}}")
}

fn refused(reason: &str) -> String {
    format!("tenantry_hedges_refused_total{{pool=\"app\",reason=\"{reason}\"}}")
}

fn request(method: &str, body: &[u8]) -> Vec<u8> {
    let length = format!("Content-Length: {}", body.len());
    let fields = ["Host: a", "X-Tenant-ID: acme", &length];
    [head(&format!("{method} /"), &fields).as_bytes(), body].concat()
}

/// A gateway that has seen how long requests take, and a client of it.
async fn learnt(endpoints: &[SocketAddr], keys: &str) -> (Gateway, Client) {
    let gateway = Gateway::start(&one_tenant_with(endpoints, keys)).await;
    let mut client = Client::connect(gateway.address()).await;
    for _ in 0..120 {
        assert_eq!(client.ask(request("GET", b"")).await.status, 200);
    }
    (gateway, client)
}

/// The same, where the tenant's only route says this of retries.
async fn learnt_by(endpoints: &[SocketAddr], retry: &str) -> (Gateway, Client) {
    let route = format!("[[tenants.acme.routes]]\npath = \"/*\"\nretry = {{ {retry} }}\n");
    let gateway = Gateway::start(&(one_tenant_with(endpoints, &keys("")) + &route)).await;
    let mut client = Client::connect(gateway.address()).await;
    for _ in 0..120 {
        assert_eq!(client.ask(request("GET", b"")).await.status, 200);
    }
    (gateway, client)
}

/// An endpoint that begins to hold its answers, and one that goes on.
async fn two() -> (Origin, Origin) {
    (Origin::saying("slow").await, Origin::saying("good").await)
}

#[tokio::test]
async fn the_first_answer_is_the_clients_and_the_other_attempt_ends() {
    let (slow, good) = two().await;
    let (gateway, mut client) = learnt(&[slow.address, good.address], &keys("")).await;
    slow.rescript([Step::stall()]);
    let before = slow.asked().len();
    let body = payload(3_000);

    for method in ["GET", "HEAD", "GET", "OPTIONS"] {
        client.send(request(method, &body)).await;
        let answer = client.answer_to(method).await;
        let text = if method == "HEAD" { "" } else { "good" };
        assert_eq!((answer.status, answer.text().as_str()), (200, text), "{method}");
    }

    let begun = slow.asked().len();
    assert!(begun > before);
    let asked = slow.wait_for(begun).await;
    assert!(asked[before..].iter().all(|asked| asked.body == body), "both had the body");
    assert!(good.asked().iter().rev().take(4).all(|asked| asked.body == body));
    let won = (begun - before) as f64;
    gateway.metric_becomes(&hedges("won"), won).await;
    let cancelled = format!(
        "tenantry_attempts_total{{pool=\"app\",endpoint=\"{}\",outcome=\"cancelled\"}}",
        slow.address
    );
    gateway.metric_becomes(&cancelled, won).await;
    let ejections = gateway.metric("tenantry_ejections_total{pool=\"app\"}").await;
    assert_eq!(ejections.unwrap_or_default(), 0.0, "who loses has not failed");
    let open = "tenantry_upstream_connections{pool=\"app\"}";
    gateway.metric_becomes(open, 1.0).await; // the good one's: what loses is closed
}

#[tokio::test]
async fn the_first_attempt_may_still_win_and_the_second_is_cancelled() {
    let (one, other) = two().await;
    let (gateway, mut client) = learnt(&[one.address, other.address], &keys("")).await;
    let before = [one.asked().len(), other.asked().len()];
    let origins = [&one, &other];
    for origin in origins {
        origin.rescript([Step::ok("held").held()]);
    }
    let asked = || [one.asked().len() - before[0], other.asked().len() - before[1]];

    client.send(request("GET", b"")).await;
    let first = eventually("the first attempt", asked, |asked| asked[0] + asked[1] > 0).await;
    // Where both have come by the time of the look it does not matter who was first.
    let winner = usize::from(first[0] == 0);
    eventually("both attempts", asked, |asked| *asked == [1, 1]).await;
    origins[winner].release();

    assert_eq!(client.answer_to("GET").await.text(), "held");
    let series = hedges(if first == [1, 1] { "won" } else { "lost" });
    if first != [1, 1] {
        gateway.metric_becomes(&series, 1.0).await;
    }
    gateway.metric_becomes("tenantry_requests_in_flight", 0.0).await;
}

/// Longer than a second attempt waits for.
async fn some_time() {
    let since = Instant::now();
    let late = |since: &Duration| *since > Duration::from_millis(1_500);
    eventually("some time", || since.elapsed(), late).await;
}

/// Two requests at once, of which one comes to the endpoint that holds its answer and the other to one that
/// does not. Gives how many came to each of both, after more time than a second attempt waits for.
async fn held_alone(
    gateway: &Gateway,
    (slow, good): (&Origin, &Origin),
    method: &str,
) -> [usize; 2] {
    let before = [slow.asked().len(), good.asked().len()];
    let clients = two_ask(gateway, &request(method, b"hello")).await;
    slow.wait_for(before[0] + 1).await;
    some_time().await;
    let came = [slow.asked().len() - before[0], good.asked().len() - before[1]];
    slow.release();
    are_served(clients, method).await;
    came
}

/// Two clients that have sent this at once.
async fn two_ask(gateway: &Gateway, request: &[u8]) -> [Client; 2] {
    let mut clients =
        [Client::connect(gateway.address()).await, Client::connect(gateway.address()).await];
    for client in &mut clients {
        client.send(request).await;
    }
    clients
}

async fn are_served(clients: [Client; 2], method: &str) {
    for mut client in clients {
        assert_eq!(client.answer_to(method).await.status, 200);
    }
}

#[tokio::test]
async fn what_may_not_be_done_twice_is_not() {
    let (slow, good) = two().await;
    let (gateway, _client) = learnt(&[slow.address, good.address], &keys("")).await;
    slow.rescript([Step::ok("slow").held()]);

    for method in ["POST", "PUT", "DELETE"] {
        assert_eq!(held_alone(&gateway, (&slow, &good), method).await, [1, 1], "{method}");
    }
    assert_eq!(gateway.metric(&hedges("won")).await.unwrap_or_default(), 0.0);
    // It is by its method alone, which others of this gateway have second attempts with.
    let asked = || slow.asked().len() + good.asked().len();
    let before = asked();
    let clients = two_ask(&gateway, &request("GET", b"hello")).await;
    eventually("a second attempt", asked, |asked| *asked >= before + 3).await;
    slow.release();
    are_served(clients, "GET").await;
}

#[tokio::test]
async fn a_key_says_that_a_request_may_come_again_and_not_that_it_may_come_twice_at_once() {
    let (slow, good) = two().await;
    let (gateway, _client) = learnt(&[slow.address, good.address], &keys("")).await;
    slow.rescript([Step::ok("slow").held()]);
    let before = [slow.asked().len(), good.asked().len()];
    let fields = ["Host: a", "X-Tenant-ID: acme", "Idempotency-Key: k", "Content-Length: 0"];
    let clients = two_ask(&gateway, head("POST /", &fields).as_bytes()).await;
    slow.wait_for(before[0] + 1).await;
    some_time().await;
    let came = [slow.asked().len() - before[0], good.asked().len() - before[1]];
    slow.release();
    are_served(clients, "POST").await;

    assert_eq!(came, [1, 1]);
}

#[tokio::test]
async fn methods_that_are_listed_may_come_twice_at_once() {
    let (slow, good) = two().await;
    let keys = keys("").replace("\"p95\"", "\"p95\", methods = [\"GET\", \"PUT\"]");
    let (gateway, mut client) = learnt(&[slow.address, good.address], &keys).await;
    slow.rescript([Step::stall()]);
    let before = slow.asked().len();

    while slow.asked().len() == before {
        assert_eq!(client.ask(request("PUT", b"body")).await.text(), "good");
    }

    gateway.metric_becomes(&hedges("won"), 1.0).await;
}

#[tokio::test]
async fn a_second_attempt_that_fails_at_once_does_not_take_the_answer_of_a_slow_first_one() {
    for status in [500, 501, 429] {
        let (slow, bad) = two().await;
        let keys = keys("").replace("failures = 1", "failures = 0");
        let (gateway, mut client) = learnt(&[slow.address, bad.address], &keys).await;
        slow.rescript([Step::ok("slow").held()]);
        bad.rescript([Step::answer(status, "bad")]);
        let before = [slow.asked().len(), bad.asked().len()];
        let came = || [slow.asked().len() - before[0], bad.asked().len() - before[1]];
        client.send(request("GET", b"")).await;
        let mut failures = 1_u32; // the second attempt's
        if eventually("an attempt", came, |came| *came != [0, 0]).await[0] == 0 {
            // It was the other one's turn.
            assert_eq!(client.answer_to("GET").await.status, status);
            client.send(request("GET", b"")).await;
            failures += 1;
        }
        slow.wait_for(before[0] + 1).await;
        let failed = format!(
            "tenantry_attempts_total{{pool=\"app\",endpoint=\"{}\",outcome=\"{}xx\"}}",
            bad.address,
            status / 100
        );
        gateway.metric_at_least(&failed, f64::from(failures)).await;
        slow.release();
        let answer = client.answer_to("GET").await;

        assert_eq!((answer.status, answer.text().as_str()), (200, "slow"), "{status}");
        gateway.metric_becomes(&hedges("failed"), 1.0).await;
    }
}

#[tokio::test]
async fn an_endpoint_that_hangs_is_ejected_though_it_only_loses() {
    let (hangs, good) = two().await;
    let (gateway, mut client) = learnt(&[hangs.address, good.address], &soon()).await;
    hangs.rescript([Step::stall()]);
    let ejections = "tenantry_ejections_total{pool=\"app\"}";

    let mut asked = 0;
    while gateway.metric(ejections).await.unwrap_or_default() == 0.0 {
        asked += 1;
        assert!(asked <= 1000, "it is asked on and on");
        assert_eq!(client.ask(request("GET", b"")).await.text(), "good");
    }

    assert!(asked > 5, "{asked}: one that loses may have bad luck");
}

/// Sends a request that either endpoint holds. It comes to one of them alone, and that is counted for this reason.
async fn has_no_second(
    (gateway, client): (&Gateway, &mut Client),
    origins: [&Origin; 2],
    body: &[u8],
    reason: &str,
) {
    for origin in origins {
        origin.rescript([Step::ok("held").held()]);
    }
    let asked = || origins.map(|origin| origin.asked().len()).iter().sum::<usize>();
    let before = asked();

    client.send(request("GET", body)).await;
    gateway.metric_becomes(&refused(reason), 1.0).await;

    assert_eq!(asked(), before + 1);
    for origin in origins {
        origin.release();
    }
    assert_eq!(client.answer_to("GET").await.text(), "held");
}

#[tokio::test]
async fn a_second_attempt_has_no_place_beyond_those_of_the_pool() {
    let (slow, good) = two().await;
    let keys = format!("{}\nconcurrency = 1", keys(""));
    let (gateway, mut client) = learnt(&[slow.address, good.address], &keys).await;

    has_no_second((&gateway, &mut client), [&slow, &good], b"", "queue").await;
}

#[tokio::test]
async fn a_body_that_is_too_large_to_be_kept_is_not_sent_twice() {
    let (slow, good) = two().await;
    let (gateway, mut client) = learnt(&[slow.address, good.address], &keys("")).await;
    let large = payload((64 << 10) + 1);

    has_no_second((&gateway, &mut client), [&slow, &good], &large, "body").await;
}

#[tokio::test]
async fn a_route_that_allows_one_attempt_has_no_second_one() {
    let (slow, good) = two().await;
    let (gateway, mut client) = learnt_by(&[slow.address, good.address], "attempts = 1").await;

    has_no_second((&gateway, &mut client), [&slow, &good], b"", "attempts").await;
}

#[tokio::test]
async fn an_empty_budget_pays_for_no_second_attempt() {
    let (slow, good) = two().await;
    // It holds one retry in all, for good.
    let (gateway, mut client) =
        learnt_by(&[slow.address, good.address], "budget = \"0%\", budget-floor = 0").await;
    slow.rescript([Step::stall()]);
    let before = slow.asked().len();
    while slow.asked().len() == before {
        assert_eq!(client.ask(request("GET", b"")).await.text(), "good");
    }
    slow.rescript([Step::ok("slow").held()]);

    assert_eq!(held_alone(&gateway, (&slow, &good), "GET").await, [1, 1]);

    gateway.metric_becomes(&refused("budget"), 1.0).await;
    gateway.metric_becomes(&hedges("won"), 1.0).await;
}

#[tokio::test]
async fn a_pool_of_one_has_no_other_endpoint() {
    let origin = Origin::saying("only").await;
    let (gateway, mut client) = learnt(&[origin.address], &keys("")).await;
    origin.rescript([Step::ok("late").held()]);

    client.send(request("GET", b"")).await;
    gateway.metric_becomes(&refused("no_endpoint"), 1.0).await;
    origin.release();

    assert_eq!(client.answer_to("GET").await.text(), "late");
}

#[tokio::test]
async fn a_client_that_leaves_ends_both_attempts() {
    let (one, other) = two().await;
    let (gateway, client) = learnt(&[one.address, other.address], &keys("")).await;
    drop(client);
    for origin in [&one, &other] {
        origin.rescript([Step::ok("held").held()]);
    }
    let before = one.asked().len() + other.asked().len();
    let mut streams = Hyper::h2(gateway.address()).await;
    streams.send(streams.request("GET", "acme", "/", Frames::default()));
    let asked = || one.asked().len() + other.asked().len() - before;
    eventually("both attempts", asked, |asked| *asked == 2).await;

    drop(streams);

    gateway.metric_becomes(&hedges("left"), 1.0).await;
    gateway.metric_becomes("tenantry_upstream_connections{pool=\"app\"}", 0.0).await;
    assert_eq!(asked(), 2);
}

#[tokio::test]
async fn a_route_may_have_none() {
    let (slow, good) = two().await;
    let (gateway, _client) =
        learnt_by(&[slow.address, good.address], "hedge = { after = \"off\" }").await;
    slow.rescript([Step::ok("slow").held()]);

    assert_eq!(held_alone(&gateway, (&slow, &good), "GET").await, [1, 1]);
}

/// Its process is gone, say, and nothing on the way says so: all that goes by it would be lost.
#[tokio::test]
async fn a_connection_of_http2_on_which_first_attempts_lost_in_a_row_gets_no_further_requests() {
    let (silent, good) = (H2Origin::saying("ok").await, H2Origin::saying("ok").await);
    // It is not the endpoint that is to go.
    let keys = soon().replace("failures = 1, base = \"60s\"", "failures = 0");
    let routes = format!("{keys}\nprotocol = \"h2\"");
    let routes = one_tenant_with(&[silent.address, good.address], &routes);
    let gateway = Gateway::start_with_workers(1, "", &routes).await;
    for _ in 0..120 {
        assert_eq!(gateway.get("/").await.status, 200);
    }
    assert_eq!(silent.connections(), 1);
    silent.silence(0);
    let before = silent.asked().len();

    while silent.asked().len() < before + 10 {
        assert_eq!(gateway.get("/").await.text(), "ok");
    }

    gateway.metric_at_least(&hedges("won"), 5.0).await;
    let connections: Vec<usize> = silent.asked().iter().map(|asked| asked.connection).collect();
    assert!(connections.last().is_some_and(|last| *last > 0), "{connections:?}");
}

#[tokio::test]
async fn a_connection_of_http2_on_which_a_request_got_no_answer_in_time_gets_no_further_ones() {
    let silent = H2Origin::saying("ok").await;
    let keys = format!(
        "protocol = \"h2\"\neject = {{ failures = 0 }}\ntimeouts = {{ attempt = \"2s\" }}\n{NO_RETRY}"
    );
    let routes = one_tenant_with(&[silent.address], &keys);
    let gateway = Gateway::start_with_workers(1, "", &routes).await;
    assert_eq!(gateway.get("/").await.status, 200);
    silent.silence(0);

    assert_eq!(gateway.get("/").await.status, 504);
    for _ in 0..3 {
        assert_eq!(gateway.get("/").await.status, 200);
    }
    assert_eq!(silent.connections(), 2);
}
