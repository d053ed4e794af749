//! The canary of a split: who gets it, and that one that fails gets nothing any more.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::world::client::{Client, ask, head};
use crate::world::config::{NO_RETRY, pool};
use crate::world::gateway::Gateway;
use crate::world::origin::{Origin, Step};
use crate::world::{DEADLINE, STEP, eventually};

/// `acme` and `globex` use a set with this split; all of what `globex` asks for goes to the canary.
fn routes(stable: SocketAddr, canary: SocketAddr, weights: [u32; 2]) -> String {
    routes_with(stable, (canary, ""), weights)
}

/// With further keys of the canary's pool.
fn routes_with(
    stable: SocketAddr,
    (canary, more): (SocketAddr, &str),
    [stable_weight, canary_weight]: [u32; 2],
) -> String {
    let keys = format!("eject = {{ failures = 0 }}\n{NO_RETRY}");
    let of_canary = format!("{keys}\n{more}");
    let pools =
        format!("{}{}", pool("stable", &[stable], &keys), pool("canary", &[canary], &of_canary));
    format!(
        "{pools}[route-sets.shared]\n[[route-sets.shared.routes]]\nname = \"shop\"\n\
         [route-sets.shared.routes.split]\n\
         pools = {{ stable = {stable_weight}, canary = {canary_weight} }}\n\
         [route-sets.shared.routes.split.canary]\npool = \"canary\"\n\
         headers = {{ X-Canary = \"yes\" }}\ntenants = [\"globex\"]\n\
         rollback = {{ errors = \"20%\", requests = 10 }}\n\
         [tenants.acme]\npool = \"stable\"\nuse = [\"shared\"]\n\
         [tenants.globex]\npool = \"stable\"\nuse = [\"shared\"]\n"
    )
}

/// The status of an answer to this tenant, with this further field.
async fn status(gateway: &Gateway, tenant: &str, field: &str) -> u16 {
    let tenant = format!("X-Tenant-ID: {tenant}");
    ask(gateway.address(), "GET /", &["Host: a", &tenant, field]).await.status
}

async fn splits(gateway: &Gateway) -> Value {
    gateway.admin("/api/v1/splits").await.json()
}

/// The metric of the requests of this side that have come to this.
async fn counted(gateway: &Gateway, side: &str, outcome: &str) -> String {
    let id = splits(gateway).await[0]["id"].as_str().expect("an id").to_owned();
    let of = format!("split=\"{id}\",owner=\"route-sets.shared\",route=\"shop\"");
    format!("tenantry_split_requests_total{{{of},side=\"{side}\",outcome=\"{outcome}\"}}")
}

/// Waits until so many requests of this side have come to this.
async fn come_to(gateway: &Gateway, side: &str, outcome: &str, requests: u32) {
    let series = counted(gateway, side, outcome).await;
    gateway.metric_becomes(&series, f64::from(requests)).await;
}

/// Waits until the canary has this state, and gives the split.
async fn becomes(gateway: &Gateway, state: &str) -> Value {
    let started = Instant::now();
    loop {
        let told = splits(gateway).await;
        if told[0]["state"] == state {
            return told[0].clone();
        }
        assert!(started.elapsed() < DEADLINE, "it is not {state}: {told}");
        sleep(STEP).await;
    }
}

/// Asks for the canary until the stable pool answers.
async fn until_rolled_back(gateway: &Gateway) {
    let started = Instant::now();
    while status(gateway, "acme", "X-Canary: yes").await != 200 {
        assert!(started.elapsed() < DEADLINE, "it is not rolled back: {}", splits(gateway).await);
        sleep(STEP).await;
    }
}

#[tokio::test]
async fn a_canary_is_for_who_asks_for_it_and_for_who_is_named_and_for_its_share() {
    let (stable, canary) = (Origin::saying("stable").await, Origin::saying("canary").await);
    let text = routes(stable.address, canary.address, [1, 0]);
    let gateway = Gateway::start(&text).await;
    let says = async |tenant: &str, field: &str| {
        let tenant = format!("X-Tenant-ID: {tenant}");
        ask(gateway.address(), "GET /", &["Host: a", &tenant, field]).await.text()
    };

    assert_eq!(says("acme", "X-Canary: yes").await, "canary");
    assert_eq!(says("acme", "X-Canary: no").await, "stable");
    assert_eq!(says("globex", "X-Other: 1").await, "canary");
    gateway.reload(&routes(stable.address, canary.address, [0, 1])).await;
    assert_eq!(says("acme", "X-Other: 1").await, "canary", "the share is changed live");
}

#[tokio::test]
async fn a_canary_that_fails_stays_rolled_back_until_its_split_is_reset_or_edited() {
    let (stable, canary) =
        (Origin::saying("stable").await, Origin::start([Step::answer(500, "")]).await);
    let text = routes(stable.address, canary.address, [0, 1]);
    let gateway = Gateway::start_with_workers(2, "", &text).await;
    assert_eq!(status(&gateway, "acme", "X-Other: 1").await, 500);

    until_rolled_back(&gateway).await;

    for (tenant, field) in [("acme", "X-Other: 1"), ("globex", "X-Other: 1")] {
        assert_eq!(status(&gateway, tenant, field).await, 200, "{tenant}");
    }
    let failed = canary.asked().len();
    let id = splits(&gateway).await[0]["id"].as_str().expect("an id").to_owned();
    let of = format!("split=\"{id}\",owner=\"route-sets.shared\",route=\"shop\"");
    let series =
        format!("tenantry_split_requests_total{{{of},side=\"canary\",outcome=\"failed\"}}");
    gateway.metric_becomes(&series, failed as f64).await;
    gateway.metric_becomes(&format!("tenantry_split_rolled_back{{{of}}}"), 1.0).await;
    let told = splits(&gateway).await;
    let split = &told[0];
    assert_eq!((&split["owner"], &split["route"]), (&json!("route-sets.shared"), &json!("shop")));
    assert_eq!((&split["state"], &split["canary"]), (&json!("rolled-back"), &json!("canary")));
    assert_eq!(split["rolled_back"]["reason"], "errors", "{told}");
    assert_eq!(split["shares"][0], json!({"pool": "canary", "weight": 1, "share": 0.0}));
    assert_eq!(split["shares"][1], json!({"pool": "stable", "weight": 0, "share": 1.0}));
    assert_eq!(split["requests"]["canary"]["failed"], failed);

    // Other pools, and so other routes, of the same split.
    gateway.reload(&text.replace("attempts = 1", "attempts = 2")).await;
    assert_eq!(status(&gateway, "acme", "X-Canary: yes").await, 200);
    gateway.kept("splits.json").await;
    let folder = gateway.stop_and_keep().await;
    let gateway = Gateway::start_in(folder, 2, "").await.expect("it starts again");
    assert_eq!(status(&gateway, "acme", "X-Canary: yes").await, 200);
    assert_eq!(splits(&gateway).await[0]["id"], json!(id));
    assert_eq!(canary.asked().len(), failed);

    let reset = format!("POST /api/v1/splits/{id}/reset");
    let answer = gateway.tell(&reset, &json!({})).await;
    assert_eq!((answer.status, &answer.json()["changed"]), (200, &json!(true)));
    assert_eq!(answer.json()["split"]["state"], "active");
    assert_eq!(status(&gateway, "acme", "X-Other: 1").await, 500);
    until_rolled_back(&gateway).await;
    gateway.reload(&routes(stable.address, canary.address, [1, 99])).await;
    assert_eq!(status(&gateway, "globex", "X-Other: 1").await, 500, "it was edited");

    for odd in ["0123456789abcdef", "x", "..%2f", "%00"] {
        let line = format!("POST /api/v1/splits/{odd}/reset");
        let answer = gateway.tell(&line, &json!({})).await;
        assert_eq!(answer.json()["type"], "urn:tenantry:admin:unknown-split", "{odd}");
    }
}

#[tokio::test]
async fn a_stable_pool_that_fails_rolls_no_canary_back() {
    let (stable, canary) =
        (Origin::start([Step::answer(500, "")]).await, Origin::saying("canary").await);
    let gateway = Gateway::start(&routes(stable.address, canary.address, [1, 0])).await;
    for _ in 0..20 {
        assert_eq!(status(&gateway, "acme", "X-Canary: no").await, 500);
        assert_eq!(status(&gateway, "acme", "X-Canary: yes").await, 200);
    }

    for (side, outcome) in [("stable", "failed"), ("canary", "served")] {
        come_to(&gateway, side, outcome, 20).await;
    }
    assert_eq!(splits(&gateway).await[0]["state"], "active");
    assert_eq!(status(&gateway, "globex", "X-Other: 1").await, 200);
}

#[tokio::test]
async fn the_time_that_a_client_gives_is_not_held_against_a_canary() {
    let (stable, canary) = (Origin::saying("stable").await, Origin::start([Step::stall()]).await);
    let with_header = (canary.address, "deadline-header = \"X-Request-Timeout\"");
    let gateway = Gateway::start(&routes_with(stable.address, with_header, [1, 0])).await;
    for _ in 0..30 {
        assert_eq!(status(&gateway, "globex", "X-Request-Timeout: 1").await, 504);
    }

    // One that a busy machine holds up for a second has failed by right.
    gateway.metric_at_least(&counted(&gateway, "canary", "left").await, 29.0).await;
    assert_eq!(splits(&gateway).await[0]["state"], "active");
    let failed = counted(&gateway, "canary", "failed").await;
    let before = gateway.metric(&failed).await.unwrap_or_default();
    // In more than a second one that is well would have answered.
    assert_eq!(status(&gateway, "globex", "X-Request-Timeout: 1500").await, 504);
    gateway.metric_at_least(&failed, before + 1.0).await;
}

#[tokio::test]
async fn a_canary_that_says_that_time_is_over_while_its_client_has_more_has_failed() {
    let late = "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nGrpc-Status: 4\r\n\
                Content-Length: 0\r\n\r\n";
    let (stable, canary) = (Origin::saying("stable").await, Origin::start([Step::raw(late)]).await);
    let with_header = (canary.address, "deadline-header = \"X-Request-Timeout\"");
    let gateway = Gateway::start(&routes_with(stable.address, with_header, [1, 0])).await;

    assert_eq!(status(&gateway, "globex", "X-Request-Timeout: 60000").await, 200);

    come_to(&gateway, "canary", "failed", 1).await;
}

#[tokio::test]
async fn a_canary_is_not_slow_for_clients_that_leave_in_the_midst_of_what_they_send() {
    let (stable, canary) = (Origin::saying("stable").await, Origin::saying("canary").await);
    let gateway = Gateway::start(&routes(stable.address, canary.address, [1, 0])).await;
    let fields = &["Host: a", "X-Tenant-ID: globex", "Content-Length: 10"];
    for number in 1..=12 {
        let mut client = Client::connect(gateway.address()).await;
        client.send(head("PUT /", fields) + "half").await;
        eventually("a half", || canary.asked().len(), |asked| *asked >= number).await;
    }

    come_to(&gateway, "canary", "left", 12).await;
    assert_eq!(splits(&gateway).await[0]["requests"]["canary"]["p50_ms"], Value::Null);
}

#[tokio::test]
async fn one_tenant_s_open_breaker_takes_no_canary_from_all_others() {
    // The first six are of globex, all of whose requests go there; most are needed for one to be judged by share.
    let script = vec![Step::answer(500, ""); 6].into_iter().chain([Step::ok("")]);
    let (stable, canary) = (Origin::saying("stable").await, Origin::start(script).await);
    let breaker = "breaker = { requests = 6, window = \"60s\", open = \"60s\", trials = 1 }";
    let with_breaker = routes_with(stable.address, (canary.address, breaker), [1, 0]);
    let gateway = Gateway::start(&with_breaker.replace("requests = 10", "requests = 60")).await;
    assert_eq!(status(&gateway, "globex", "X-Other: 1").await, 500);
    for _ in 0..50 {
        assert_eq!(status(&gateway, "acme", "X-Other: 1").await, 200, "it is not the canary's");
    }
    for _ in 0..5 {
        assert_eq!(status(&gateway, "globex", "X-Other: 1").await, 500);
    }
    for _ in 0..44 {
        assert_eq!(status(&gateway, "acme", "X-Canary: yes").await, 200);
    }
    for _ in 0..30 {
        assert_eq!(status(&gateway, "globex", "X-Other: 1").await, 503);
    }

    come_to(&gateway, "canary", "refused", 30).await;
    come_to(&gateway, "canary", "failed", 6).await;
    let told = splits(&gateway).await;
    assert_eq!(
        (&told[0]["state"], &told[0]["window"]["canary"]["failing"]),
        (&json!("active"), &json!(0.12))
    );
}

#[tokio::test]
async fn a_breaker_does_not_hide_a_canary_that_fails() {
    let (stable, canary) =
        (Origin::saying("stable").await, Origin::start([Step::answer(500, "")]).await);
    let breaker = "breaker = { requests = 9, window = \"60s\", open = \"60s\", trials = 1 }";
    let text = routes_with(stable.address, (canary.address, breaker), [0, 1]);
    let gateway = Gateway::start(&text).await;

    until_rolled_back(&gateway).await;

    assert_eq!(becomes(&gateway, "rolled-back").await["rolled_back"]["reason"], "errors");
    assert_eq!(canary.asked().len(), 9, "the breaker let no more through, and ten are asked for");
}

#[tokio::test]
async fn a_tenant_s_own_full_queue_is_not_held_against_a_canary() {
    let (stable, canary) =
        (Origin::saying("stable").await, Origin::start([Step::ok("late").held()]).await);
    let small = "concurrency = 1\nqueue = { length = 0 }";
    let text = routes_with(stable.address, (canary.address, small), [1, 0]);
    let gateway = Gateway::start(&text).await;
    let mut first = Client::connect(gateway.address()).await;
    first.send(head("GET /", &["Host: a", "X-Tenant-ID: globex"])).await;
    canary.wait_for(1).await;
    for _ in 0..20 {
        assert_eq!(status(&gateway, "globex", "X-Other: 1").await, 503);
    }
    canary.release();
    assert_eq!(first.answer_to("GET").await.text(), "late");

    come_to(&gateway, "canary", "refused", 20).await;
    come_to(&gateway, "canary", "served", 1).await;
    assert_eq!(splits(&gateway).await[0]["state"], "active");
}

#[tokio::test]
async fn a_canary_that_takes_too_long_is_rolled_back() {
    let (stable, canary) =
        (Origin::saying("stable").await, Origin::start([Step::ok("late").held()]).await);
    let text = routes(stable.address, canary.address, [1, 0]);
    let slow = "latency = \"100ms\", percentile = 50";
    let gateway = Gateway::start(&text.replace("errors = \"20%\"", slow)).await;
    let mut clients = Vec::new();
    for _ in 0..12 {
        let mut client = Client::connect(gateway.address()).await;
        client.send(head("GET /", &["Host: a", "X-Tenant-ID: globex"])).await;
        clients.push(client);
    }
    canary.wait_for(12).await;
    // All of them are there: each takes longer than this from here on.
    sleep(Duration::from_millis(150)).await;
    (0..12).for_each(|_| canary.release());
    for client in &mut clients {
        assert_eq!(client.answer_to("GET").await.text(), "late");
    }

    let split = becomes(&gateway, "rolled-back").await;

    assert_eq!(split["rolled_back"]["reason"], "latency", "{split}");
    assert!(split["requests"]["canary"]["p50_ms"].as_f64() > Some(100.0), "{split}");
    assert_eq!(split["requests"]["canary"]["failed"], 0, "slow is not broken");
    assert_eq!(status(&gateway, "globex", "X-Other: 1").await, 200);
}

#[tokio::test]
async fn a_canary_that_fails_many_times_as_often_as_the_others_is_rolled_back() {
    // One of ten fails there as well: it is the factor that is exceeded.
    let now_and_then = [500, 200, 200, 200, 200, 200, 200, 200, 200, 200];
    let script = now_and_then.repeat(4).into_iter().map(|status| Step::answer(status, ""));
    let (stable, canary) =
        (Origin::start(script).await, Origin::start([Step::answer(500, "")]).await);
    let text = routes(stable.address, canary.address, [1, 0]);
    let beside = "errors-factor = 5, requests = 40, window = \"10m\"";
    let gateway = Gateway::start(&text.replace("errors = \"20%\", requests = 10", beside)).await;
    for _ in 0..40 {
        assert_eq!(status(&gateway, "globex", "X-Other: 1").await, 500);
    }
    come_to(&gateway, "canary", "failed", 40).await;
    assert_eq!(splits(&gateway).await[0]["state"], "active", "there is nothing to compare with");

    for _ in 0..40 {
        status(&gateway, "acme", "X-Other: 1").await;
    }
    let split = becomes(&gateway, "rolled-back").await;

    assert_eq!(split["rolled_back"]["reason"], "errors_factor", "{split}");
    let why = "100.0% of its requests failed, more than 5 times the 10.0% of the other pools";
    assert_eq!(split["rolled_back"]["why"], why, "{split}");
    assert_eq!(split["shares"][0], json!({"pool": "canary", "weight": 0, "share": 0.0}));
    let before = canary.asked().len();
    for _ in 0..5 {
        status(&gateway, "globex", "X-Other: 1").await;
    }
    assert_eq!(canary.asked().len(), before, "it gets nothing any more");
}

/// Has a tenant ask so many times at once, and an origin that holds its answers give them after this time: each takes longer. Tells what
/// none takes longer than.
async fn all_take(
    gateway: &Gateway,
    (origin, tenant): (&Origin, &str),
    requests: usize,
    time: Duration,
) -> Duration {
    let (began, tenant) = (Instant::now(), format!("X-Tenant-ID: {tenant}"));
    let mut clients = Vec::new();
    for _ in 0..requests {
        let mut client = Client::connect(gateway.address()).await;
        client.send(head("GET /", &["Host: a", &tenant])).await;
        clients.push(client);
    }
    origin.wait_for(requests).await;
    sleep(time).await;
    (0..requests).for_each(|_| origin.release());
    for client in &mut clients {
        assert_eq!(client.answer_to("GET").await.status, 200);
    }
    began.elapsed()
}

#[tokio::test]
async fn a_canary_that_takes_many_times_as_long_as_the_others_is_rolled_back() {
    let held = || Origin::start([Step::ok("late").held()]);
    let (stable, canary) = (held().await, held().await);
    let text = routes(stable.address, canary.address, [1, 0]);
    // A quarter of them may be slow by the machine's fault: chance does not explain the others.
    let beside = "latency-factor = 2, percentile = 50, requests = 60, window = \"10m\"";
    let gateway = Gateway::start(&text.replace("errors = \"20%\", requests = 10", beside)).await;
    let time = Duration::from_millis(100);
    let longest = all_take(&gateway, (&stable, "acme"), 60, time).await;

    all_take(&gateway, (&canary, "globex"), 60, 3 * longest).await;
    let split = becomes(&gateway, "rolled-back").await;

    assert_eq!(split["rolled_back"]["reason"], "latency_factor", "{split}");
    let why = split["rolled_back"]["why"].as_str().unwrap_or_default();
    assert!(why.contains("at p50, more than 2 times the "), "{split}");
    let median = |side: &str| split["requests"][side]["p50_ms"].as_f64().expect("a median");
    assert!(median("canary") > 2.0 * median("stable"), "{split}");
    assert_eq!(split["requests"]["canary"]["failed"], 0, "slow is not broken");
    stable.release();
    assert_eq!(status(&gateway, "globex", "X-Other: 1").await, 200);
    assert_eq!(canary.asked().len(), 60, "it gets nothing any more");
}

#[tokio::test]
async fn a_route_with_another_name_is_the_same_split_and_has_one_series() {
    let (stable, canary) =
        (Origin::saying("stable").await, Origin::start([Step::answer(500, "")]).await);
    let text = routes(stable.address, canary.address, [0, 1]);
    let gateway = Gateway::start(&text).await;
    until_rolled_back(&gateway).await;
    let id = splits(&gateway).await[0]["id"].as_str().expect("an id").to_owned();
    let series = |route: &str| {
        let of = format!("split=\"{id}\",owner=\"route-sets.shared\",route=\"{route}\"");
        format!("tenantry_split_rolled_back{{{of}}}")
    };
    gateway.metric_becomes(&series("shop"), 1.0).await;

    gateway.reload(&text.replace("\"shop\"", "\"store\"")).await;

    gateway.metric_becomes(&series("store"), 1.0).await;
    assert_eq!(gateway.metric(&series("shop")).await, None, "it would fire for ever");
    assert_eq!(becomes(&gateway, "rolled-back").await["route"], "store");
}
