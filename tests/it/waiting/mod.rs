//! Requests that wait while no endpoint of their pool may be picked.

mod edits;
mod stays;

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::world::client::{Client, Frames, Hyper, ask, head};
use crate::world::config::{NO_RETRY, one_tenant_with, pool};
use crate::world::gateway::Gateway;
use crate::world::origin::{Origin, Step};
use crate::world::unreachable::Refusing;
use crate::world::waiters::{come_and_leave, half_sent, post};
use crate::world::{DEADLINE, STEP, within};

const FIELDS: &[&str] = &["Host: localhost", "X-Tenant-ID: acme"];
const WAITING: &str = "tenantry_waiting_requests{pool=\"app\"}";
const BYTES: &str = "tenantry_waiting_bytes{pool=\"app\"}";
/// Checks that soon tell. Nobody is ejected.
const CHECKED: &str = "health = { http = \"/check\", interval = \"30ms\", rise = 1, fall = 1 }\n\
                       eject = { failures = 0 }";

/// The same, where another origin answers the checks.
fn checked_by(checks: &Origin) -> String {
    let port = format!("http = \"/check\", port = {}", checks.address.port());
    CHECKED.replace("http = \"/check\"", &port)
}

fn became(outcome: &str) -> String {
    format!("tenantry_wait_requests_total{{pool=\"app\",outcome=\"{outcome}\"}}")
}

/// Waits until the first endpoint of the first pool is this by its checks.
async fn becomes(gateway: &Gateway, health: &str) {
    let started = Instant::now();
    loop {
        let pools = gateway.admin("/api/v1/pools").await.json();
        let member = &pools[0]["members"][0];
        if member["health"] == health {
            return;
        }
        assert!(started.elapsed() < DEADLINE, "it is not {health}: {member}");
        sleep(STEP).await;
    }
}

/// A gateway whose pool has this one endpoint, whose checks find it down, and has requests wait so.
async fn down(endpoint: SocketAddr, wait: &str) -> Gateway {
    let keys = format!("{CHECKED}\nwait = {wait}\ntimeouts = {{ total = \"0s\" }}");
    let gateway = Gateway::start(&one_tenant_with(&[endpoint], &keys)).await;
    becomes(&gateway, "down").await;
    gateway
}

/// A client that has asked and waits for its answer.
async fn asking(gateway: &Gateway, tenant: &str, target: &str) -> Client {
    let tenant = format!("X-Tenant-ID: {tenant}");
    let mut client = Client::connect(gateway.address()).await;
    client.send(head(&format!("GET {target}"), &["Host: localhost", &tenant])).await;
    client
}

/// Pools that wait so, and a split between them of which each request gets the canary that has the field `X-Canary: yes`.
fn canary([stable, canary]: [SocketAddr; 2], wait: &str, rollback: &str) -> String {
    let keys = format!("wait = \"{wait}\"\n{NO_RETRY}\ntimeouts = {{ total = \"0s\" }}");
    let pools = format!("{}{}", pool("stable", &[stable], &keys), pool("canary", &[canary], &keys));
    format!(
        "{pools}[tenants.acme]\npool = \"stable\"\n[[tenants.acme.routes]]\nname = \"shop\"\n\
         [tenants.acme.routes.split]\npools = {{ stable = 1, canary = 0 }}\n\
         [tenants.acme.routes.split.canary]\npool = \"canary\"\n\
         headers = {{ X-Canary = \"yes\" }}\nrollback = {{ {rollback} }}\n"
    )
}

/// A client that has asked for the canary and waits for its answer.
async fn asking_canary(gateway: &Gateway) -> Client {
    let mut client = Client::connect(gateway.address()).await;
    client.send(head("GET /", &[FIELDS, &["X-Canary: yes"]].concat())).await;
    client
}

/// The split of a gateway, once so many requests of its canary are counted.
async fn counted(gateway: &Gateway, count: u64) -> Value {
    let started = Instant::now();
    loop {
        let split = gateway.admin("/api/v1/splits").await.json()[0].clone();
        let of = |outcome: &str| split["requests"]["canary"][outcome].as_u64().unwrap_or_default();
        if of("served") + of("failed") == count {
            return split;
        }
        assert!(started.elapsed() < DEADLINE, "{count} are not counted: {split}");
        sleep(STEP).await;
    }
}

/// What was asked of an origin but for checks, in order.
fn targets(origin: &Origin) -> Vec<String> {
    let asked = origin.asked().into_iter().map(|asked| asked.target);
    asked.filter(|target| target != "/check").collect()
}

#[tokio::test]
async fn requests_wait_until_an_endpoint_is_healthy() {
    let origin = Origin::start([Step::answer(503, "")]).await;
    let gateway = down(origin.address, "\"1h\"").await;
    let mut first = asking(&gateway, "acme", "/").await;
    let mut streams = Hyper::h2(gateway.address()).await;
    let second = streams.request("GET", "acme", "/", Frames::default());
    let second = async { streams.ask(second).await };

    let release = async {
        gateway.metric_becomes(WAITING, 2.0).await;
        gateway.metric_at_least(BYTES, 1.0).await;
        let pools = gateway.admin("/api/v1/pools").await.json();
        assert_eq!(pools[0]["waiting"]["requests"], 2, "{pools}");
        assert_eq!(targets(&origin), Vec::<String>::new(), "it is known to be down");
        origin.rescript([Step::ok("back")]);
    };
    let (second, ()) =
        within("the release", Box::pin(async { tokio::join!(second, release) })).await;

    let first = first.answer_to("GET").await;
    assert_eq!((first.status, first.text()), (200, "back".to_owned()));
    assert_eq!((second.status, second.text()), (200, "back".to_owned()));
    gateway.metric_becomes(&became("released"), 2.0).await;
    gateway.metric_becomes("tenantry_wait_seconds_count{pool=\"app\"}", 2.0).await;
    gateway.metric_becomes(WAITING, 0.0).await;
    gateway.metric_becomes(BYTES, 0.0).await;
    assert_eq!(gateway.get("/").await.status, 200);
    gateway.metric_becomes(&became("released"), 2.0).await;
}

#[tokio::test]
async fn who_waits_in_vain_is_told_when_to_come_again() {
    let refusing = Refusing::new();
    let gateway = down(refusing.address, "\"1100ms\"").await;

    let answer = gateway.get("/").await;

    assert_eq!((answer.status, answer.problem().as_deref()), (503, Some("no-endpoint")));
    assert_eq!(answer.one("retry-after").as_deref(), Some("2"));
    let detail = answer.json()["detail"].as_str().unwrap_or_default().to_owned();
    let waited = detail.strip_prefix("nothing has come to serve this within ");
    let waited = waited.and_then(|waited| waited.split('s').next()?.parse::<f64>().ok());
    assert!(waited.is_some_and(|seconds| seconds >= 1.0), "{detail}");
    gateway.metric_becomes(&became("late"), 1.0).await;
    gateway.metric_becomes(WAITING, 0.0).await;
}

#[tokio::test]
async fn checks_that_are_wrong_delay_requests_and_lose_none() {
    let wrong = Origin::start([Step::answer(503, "")]).await;
    let traffic = Origin::saying("served").await;
    let health = format!(
        "health = {{ http = \"/check\", port = {}, interval = \"30ms\", rise = 1, fall = 1 }}",
        wrong.address.port()
    );
    let keys = format!("{health}\nwait = \"50ms\"");
    let gateway = Gateway::start(&one_tenant_with(&[traffic.address], &keys)).await;
    becomes(&gateway, "down").await;
    let started = Instant::now();

    assert_eq!(gateway.get("/").await.status, 200);

    assert!(started.elapsed() >= Duration::from_millis(50));
    gateway.metric_becomes(&became("late"), 1.0).await;
}

#[tokio::test]
async fn who_finds_no_room_to_wait_is_told_so_at_once() {
    let refusing = Refusing::new();
    let gateway = down(refusing.address, "{ time = \"1h\", length = 1 }").await;
    let _first = asking(&gateway, "acme", "/").await;
    gateway.metric_becomes(WAITING, 1.0).await;

    let answer = gateway.get("/").await;

    assert_eq!((answer.status, answer.problem().as_deref()), (503, Some("no-endpoint")));
    assert_eq!(answer.one("retry-after").as_deref(), Some("3600"));
    let detail = answer.json()["detail"].as_str().unwrap_or_default().to_owned();
    assert!(detail.contains("too many requests wait"), "{detail}");
    gateway.metric_becomes(&became("full"), 1.0).await;
    assert_eq!(gateway.metric(WAITING).await, Some(1.0));
}

#[tokio::test]
async fn what_waits_is_bounded_in_memory_too() {
    let refusing = Refusing::new();
    let gateway = down(refusing.address, "{ time = \"1h\", memory = \"64KiB\" }").await;
    let mut waiting = Vec::new();
    let started = Instant::now();
    while gateway.metric(&became("memory")).await.unwrap_or_default() == 0.0 {
        assert!(started.elapsed() < DEADLINE, "{} wait", waiting.len());
        waiting.push(asking(&gateway, "acme", "/").await);
        sleep(STEP).await;
    }

    let bytes = gateway.metric(BYTES).await.unwrap_or_default();
    assert!(bytes > 0.0 && bytes <= 65536.0, "{bytes}");
}

#[tokio::test]
async fn nobody_waits_longer_than_an_exchange_may_last() {
    let refusing = Refusing::new();
    let keys = format!("{CHECKED}\nwait = \"1h\"\ntimeouts = {{ total = \"100ms\" }}");
    let gateway = Gateway::start(&one_tenant_with(&[refusing.address], &keys)).await;
    becomes(&gateway, "down").await;

    let answer = gateway.get("/").await;

    assert_eq!((answer.status, answer.problem().as_deref()), (504, Some("total-timeout")));
    gateway.metric_becomes(&became("late"), 1.0).await;
}

#[tokio::test]
async fn a_client_that_leaves_while_it_waits_frees_its_place() {
    let refusing = Refusing::new();
    let gateway = down(refusing.address, "\"1h\"").await;

    let left = come_and_leave(&gateway, WAITING, &[]).await;

    gateway.metric_becomes(&became("left"), left).await;
}

#[tokio::test]
async fn a_body_that_came_while_its_request_waited_is_passed_on_whole() {
    let origin = Origin::start([Step::answer(503, "")]).await;
    let gateway = down(origin.address, "\"1h\"").await;
    let (mut client, rest, size) = half_sent(&gateway, WAITING).await;

    origin.rescript([Step::ok("")]);
    client.send(rest).await;

    assert_eq!(client.answer_to("POST").await.status, 200);
    let posted = origin.asked().into_iter().find(|asked| asked.method == "POST");
    assert_eq!(posted.map(|asked| asked.body.len()), Some(size));
}

#[tokio::test]
async fn an_endpoint_that_nobody_checks_and_that_restarts_is_waited_for() {
    let gone = Refusing::new();
    let keys = format!("wait = \"1h\"\n{NO_RETRY}\ntimeouts = {{ total = \"0s\" }}");
    let gateway = Gateway::start(&one_tenant_with(&[gone.address], &keys)).await;
    let mut client = Client::connect(gateway.address()).await;
    client.send(&post(4, "body")).await;
    gateway.metric_becomes(WAITING, 1.0).await;

    let origin = Origin::start_on(gone, [Step::ok("back")]);

    assert_eq!(client.answer_to("POST").await.text(), "back");
    assert_eq!(origin.only().await.body, b"body");
    gateway.metric_becomes(&became("released"), 1.0).await;
}

#[tokio::test]
async fn who_is_back_gets_those_who_waited_in_fair_turns() {
    let origin = Origin::start([Step::answer(503, "")]).await;
    let keys = format!(
        "{CHECKED}\nwait = {{ time = \"1h\", at-once = 1 }}\ntimeouts = {{ total = \"0s\" }}"
    );
    let pool = pool("app", &[origin.address], &keys);
    let tenants = "[tenants.acme]\npool = \"app\"\n[tenants.globex]\npool = \"app\"\n";
    let gateway = Gateway::start(&format!("{pool}{tenants}")).await;
    becomes(&gateway, "down").await;
    let mut clients = Vec::new();
    for (tenant, number) in [("acme", 1), ("acme", 2), ("acme", 3), ("acme", 4), ("globex", 5)] {
        clients.push(asking(&gateway, tenant, &format!("/{number}")).await);
        gateway.metric_becomes(WAITING, f64::from(number)).await;
    }

    origin.rescript([Step::ok("")]);

    for client in &mut clients {
        assert_eq!(client.answer_to("GET").await.status, 200);
    }
    let order = targets(&origin);
    let place = order.iter().position(|target| target == "/5");
    assert!(place.is_some_and(|place| place <= 1), "{order:?}");
}

#[tokio::test]
async fn who_waits_when_the_gateway_drains_is_answered_before_it_ends() {
    let refusing = Refusing::new();
    let keys = format!("{CHECKED}\nwait = \"1h\"\ntimeouts = {{ total = \"0s\" }}");
    // Who waits is answered a second before its end, which is as early as any is.
    let drain = "[drain]\naccept = \"10ms\"\ntimeout = \"4s\"\n";
    let routes = one_tenant_with(&[refusing.address], &keys);
    let gateway = Gateway::start_with(drain, &routes).await;
    becomes(&gateway, "down").await;
    let mut waiting = asking(&gateway, "acme", "/").await;
    gateway.metric_becomes(WAITING, 1.0).await;

    let answered = async move { waiting.answer_to("GET").await }; // the client leaves then
    let (_, answer) = tokio::join!(gateway.stop(), answered);

    // How many the drain has cut off says more of when a busy machine's client has read that.
    assert_eq!((answer.status, answer.problem().as_deref()), (503, Some("no-endpoint")));
}

#[tokio::test]
async fn a_pool_without_endpoints_has_requests_wait_until_one_is_named() {
    let origin = Origin::saying("found").await;
    let routes = "[pools.app]\nfile = \"app.json\"\nwait = \"1h\"\n\
                  timeouts = { total = \"0s\" }\n[tenants.acme]\npool = \"app\"\n";
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("app.json"), "[]").expect("write a list");
    let routes = routes.replace("app.json", &folder.path().join("app.json").to_string_lossy());
    let gateway = Gateway::start(&routes).await;
    let mut client = asking(&gateway, "acme", "/").await;
    gateway.metric_becomes(WAITING, 1.0).await;

    let named = json!([{ "targets": [origin.address.to_string()] }]).to_string();
    std::fs::write(folder.path().join("app.json"), named).expect("write a list");

    assert_eq!(client.answer_to("GET").await.text(), "found");
}

#[tokio::test]
async fn a_breaker_that_is_open_refuses_at_once_what_would_wait() {
    let refusing = Refusing::new();
    let keys = format!(
        "wait = \"50ms\"\n{NO_RETRY}\neject = {{ failures = 0 }}\n\
         breaker = {{ requests = 2, window = \"60s\", open = \"60s\" }}"
    );
    let gateway = Gateway::start(&one_tenant_with(&[refusing.address], &keys)).await;

    let mut problems = Vec::new();
    for _ in 0..4 {
        problems.push(ask(gateway.address(), "GET /", FIELDS).await.problem());
    }

    assert_eq!(problems.last().cloned().flatten().as_deref(), Some("breaker-open"), "{problems:?}");
    assert_eq!(gateway.metric(WAITING).await, Some(0.0), "and holds no seat");
}

#[tokio::test]
async fn a_canary_that_restarts_while_its_requests_wait_has_not_failed() {
    let (stable, gone) = (Origin::saying("stable").await, Refusing::new());
    let rollback = "errors = \"1%\", requests = 1";
    let gateway = Gateway::start(&canary([stable.address, gone.address], "1h", rollback)).await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(asking_canary(&gateway).await);
    }
    gateway.metric_becomes("tenantry_waiting_requests{pool=\"canary\"}", 5.0).await;

    let _back = Origin::start_on(gone, [Step::ok("canary")]);

    for client in &mut clients {
        assert_eq!(client.answer_to("GET").await.text(), "canary");
    }
    let split = counted(&gateway, 5).await;
    assert_eq!(split["requests"]["canary"]["failed"], 0, "{split}");
    assert_eq!(split["state"], "active");
}

#[tokio::test]
async fn a_wait_in_vain_counts_at_a_canary_with_all_of_its_time() {
    let (stable, refusing) = (Origin::saying("stable").await, Refusing::new());
    let rollback = "latency = \"250ms\", percentile = 50, requests = 10";
    let routes = canary([stable.address, refusing.address], "300ms", rollback);
    let gateway = Gateway::start(&routes).await;
    let mut clients = Vec::new();
    for _ in 0..10 {
        clients.push(asking_canary(&gateway).await);
    }
    for client in &mut clients {
        assert_eq!(client.answer_to("GET").await.problem().as_deref(), Some("connect-failed"));
    }

    let split = counted(&gateway, 10).await;
    assert_eq!(split["requests"]["canary"]["failed"], 10, "each once: {split}");
    let read = async || gateway.admin("/api/v1/splits").await.json()[0].clone();
    let started = Instant::now();
    let mut split = read().await;
    while split["state"] != "rolled-back" {
        assert!(started.elapsed() < DEADLINE, "it is quick: {split}");
        sleep(STEP).await;
        split = read().await;
    }
    assert_eq!(split["rolled_back"]["reason"], "latency", "{split}");
}

#[tokio::test]
async fn a_request_that_waited_is_compared_with_its_copy_by_what_its_client_saw() {
    let (shadow, gone) = (Origin::saying("shadow").await, Refusing::new());
    let keys = format!("wait = \"1h\"\n{NO_RETRY}\ntimeouts = {{ total = \"0s\" }}");
    let pools = pool("app", &[gone.address], &keys) + &pool("shadow", &[shadow.address], "");
    let mirror = "mirror = { pool = \"shadow\", compare = true }";
    let gateway = Gateway::start(&format!(
        "{pools}[tenants.acme]\npool = \"app\"\n[[tenants.acme.routes]]\n{mirror}\n"
    ))
    .await;
    let mut client = asking(&gateway, "acme", "/").await;
    gateway.metric_becomes(WAITING, 1.0).await;

    let _back = Origin::start_on(gone, [Step::ok("back")]);

    assert_eq!(client.answer_to("GET").await.text(), "back");
    let compared = "tenantry_mirror_compared_total{pool=\"shadow\",primary=\"2xx\",mirror=\"2xx\"}";
    gateway.metric_becomes(compared, 1.0).await;
}

#[tokio::test]
async fn a_flood_of_one_tenant_leaves_seats_to_others_where_connections_are_refused() {
    let refusing = Refusing::new();
    let keys = format!(
        "wait = {{ time = \"1h\", length = 4 }}\n{NO_RETRY}\ntimeouts = {{ total = \"0s\" }}"
    );
    let pool = pool("app", &[refusing.address], &keys);
    let tenants = "[tenants.acme]\npool = \"app\"\n[tenants.globex]\npool = \"app\"\n";
    let gateway = Gateway::start(&format!("{pool}{tenants}")).await;
    let _first = asking(&gateway, "acme", "/").await;
    let _second = asking(&gateway, "acme", "/").await;
    gateway.metric_becomes(WAITING, 2.0).await;

    assert_eq!(gateway.get("/").await.problem().as_deref(), Some("connect-failed"));

    gateway.metric_becomes(&became("full"), 1.0).await;
    let _other = asking(&gateway, "globex", "/").await;
    gateway.metric_becomes(WAITING, 3.0).await;
}
