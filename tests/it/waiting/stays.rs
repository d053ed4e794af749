//! One stay of a request among those who wait: what is counted of it, by whom, and when it ends.

use std::net::SocketAddr;

use tokio::time::{Instant, sleep};

use crate::world::client::ask;
use crate::world::config::{NO_RETRY, one_tenant_with, pool};
use crate::world::gateway::Gateway;
use crate::world::origin::{Origin, Step};
use crate::world::unreachable::{Refusing, Silent};
use crate::world::{DEADLINE, STEP};

use super::{FIELDS, WAITING, asking, became, becomes, checked_by};

/// How often a connection to an endpoint was refused.
fn refused(endpoint: SocketAddr) -> String {
    format!("tenantry_attempts_total{{pool=\"app\",endpoint=\"{endpoint}\",outcome=\"connect\"}}")
}

const OPEN: &str = "tenantry_breakers{pool=\"app\",state=\"open\"}";

#[tokio::test]
async fn who_is_at_a_slow_endpoint_after_a_wait_waits_no_more() {
    let checks = Origin::start([Step::answer(503, "")]).await;
    let slow = Origin::start([Step::ok("slow").held()]).await;
    let keys = format!(
        "{}\nwait = {{ time = \"1h\", length = 1 }}\ntimeouts = {{ total = \"0s\" }}",
        checked_by(&checks)
    );
    let gateway = Gateway::start(&one_tenant_with(&[slow.address], &keys)).await;
    becomes(&gateway, "down").await;
    let mut first = asking(&gateway, "acme", "/").await;
    gateway.metric_becomes(WAITING, 1.0).await;

    checks.rescript([Step::ok("")]);
    slow.wait_for(1).await;

    gateway.metric_becomes(WAITING, 0.0).await;
    gateway.metric_becomes(&became("released"), 1.0).await;
    checks.rescript([Step::answer(503, "")]);
    becomes(&gateway, "down").await;
    let mut second = asking(&gateway, "acme", "/").await;
    gateway.metric_becomes(WAITING, 1.0).await;
    checks.rescript([Step::ok("")]);
    slow.wait_for(2).await;
    for client in [&mut first, &mut second] {
        slow.release();
        slow.release();
        assert_eq!(client.answer_to("GET").await.text(), "slow");
    }
}

#[tokio::test]
async fn who_fails_after_its_turn_and_waits_on_has_a_seat_again() {
    let silent = Silent::new();
    let keys =
        format!("wait = \"1h\"\n{NO_RETRY}\ntimeouts = {{ connect = \"700ms\", total = \"0s\" }}");
    let gateway = Gateway::start(&one_tenant_with(&[silent.address], &keys)).await;
    let _client = asking(&gateway, "acme", "/").await;

    gateway.metric_at_least(&became("released"), 2.0).await;

    gateway.metric_becomes(WAITING, 1.0).await;
}

#[tokio::test]
async fn rounds_of_a_wait_open_no_breaker() {
    let gone = Refusing::new();
    let address = gone.address;
    let keys = format!(
        "wait = \"1h\"\n{NO_RETRY}\neject = {{ failures = 0 }}\ntimeouts = {{ total = \"0s\" }}\n\
         breaker = {{ requests = 2, window = \"60s\", open = \"60s\" }}"
    );
    let gateway = Gateway::start(&one_tenant_with(&[address], &keys)).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(asking(&gateway, "acme", "/").await);
    }

    gateway.metric_at_least(&refused(address), 9.0).await;

    assert_eq!(gateway.metric(OPEN).await, Some(0.0));
    let _back = Origin::start_on(gone, [Step::ok("back")]);
    for client in &mut clients {
        assert_eq!(client.answer_to("GET").await.text(), "back");
    }
}

#[tokio::test]
async fn a_request_on_trial_for_all_that_waits_in_vain_is_told_once_to_its_tenant_s_breaker() {
    let refusing = Refusing::new();
    let keys = format!(
        "wait = \"10ms\"\n{NO_RETRY}\neject = {{ failures = 0 }}\ntimeouts = {{ total = \"0s\" }}\n\
         breaker = {{ requests = 4, window = \"60s\", open = \"300ms\", max = \"300ms\", whole-pool = true }}"
    );
    let tenants = (0..10).map(|at| format!("[tenants.t{at}]\npool = \"app\"\n"));
    let pool = pool("app", &[refusing.address], &keys);
    let routes = tenants.fold(pool, |text, tenant| text + &tenant);
    let gateway = Gateway::start(&routes).await;
    let problem = async |tenant: usize| {
        let mut client = asking(&gateway, &format!("t{tenant}"), "/").await;
        client.answer_to("GET").await.problem().unwrap_or_default()
    };
    for tenant in 0..6 {
        assert_eq!(problem(tenant).await, "connect-failed");
    }

    // Its own breaker is closed, and knows nothing yet.
    let (started, mut tried) = (Instant::now(), 0);
    while tried < 3 {
        assert!(started.elapsed() < DEADLINE, "{tried} were on trial");
        match &*problem(9).await {
            "connect-failed" => tried += 1,
            "breaker-open" => sleep(STEP).await,
            other => panic!("{other}"),
        }
    }

    let half_open = "tenantry_pool_breaker_transitions_total{pool=\"app\",to=\"half_open\"}";
    gateway.metric_at_least(half_open, 1.0).await;
    assert_eq!(
        gateway.metric(OPEN).await,
        Some(0.0),
        "three failures open none that asks for four"
    );
}

#[tokio::test]
async fn a_breaker_that_opens_meanwhile_ends_no_wait() {
    let gone = Refusing::new();
    let keys = format!(
        "wait = {{ time = \"1h\", length = 1 }}\n{NO_RETRY}\neject = {{ failures = 0 }}\n\
         timeouts = {{ total = \"0s\" }}\n\
         breaker = {{ requests = 2, window = \"60s\", open = \"3s\", max = \"3s\" }}"
    );
    let gateway = Gateway::start(&one_tenant_with(&[gone.address], &keys)).await;
    let mut waiting = asking(&gateway, "acme", "/").await;
    gateway.metric_becomes(WAITING, 1.0).await;

    let mut problems = Vec::new();
    for _ in 0..3 {
        problems.push(gateway.get("/").await.problem().unwrap_or_default());
    }

    assert_eq!(problems, ["connect-failed", "connect-failed", "breaker-open"]);
    // By then it has asked anew, was refused, and is the one on trial.
    let half_open = "tenantry_breaker_transitions_total{pool=\"app\",to=\"half_open\"}";
    gateway.metric_at_least(half_open, 1.0).await;
    assert_eq!(gateway.metric(WAITING).await, Some(1.0), "it waits on");
    let _back = Origin::start_on(gone, [Step::ok("back")]);
    assert_eq!(waiting.answer_to("GET").await.text(), "back");
}

#[tokio::test]
async fn what_an_endpoint_did_after_a_wait_in_vain_is_told() {
    let wrong = Origin::start([Step::answer(503, "")]).await;
    let resets = Origin::start([Step::reset()]).await;
    let keys = format!(
        "{}\nwait = \"50ms\"\nretry = {{ attempts = 3, on = [\"reset\"] }}\n\
         breaker = {{ requests = 2, window = \"60s\", open = \"60s\" }}",
        checked_by(&wrong)
    );
    let gateway = Gateway::start(&one_tenant_with(&[resets.address], &keys)).await;
    becomes(&gateway, "down").await;

    let mut problems = Vec::new();
    for _ in 0..3 {
        problems.push(gateway.get("/").await.problem().unwrap_or_default());
    }

    assert_eq!(problems, ["connection-lost", "connection-lost", "breaker-open"]);
}

#[tokio::test]
async fn a_request_that_waits_earns_retries_once() {
    let closing = "HTTP/1.1 503 Said\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let gone = Refusing::new(); // nobody else gets the address while no origin is there
    let address = gone.address;
    let ill = Origin::start_at(address, [Step::raw(closing).and_close()]).await;
    // One retry at most, and each request earns four tenths of one.
    let keys = "wait = \"1h\"\neject = { failures = 0 }\ntimeouts = { total = \"0s\" }\n\
                retry = { attempts = 2, on = [\"503\"], budget = \"40%\", budget-floor = 0 }";
    let gateway = Gateway::start(&one_tenant_with(&[address], keys)).await;
    let status = async || ask(gateway.address(), "GET /", FIELDS).await.status;
    assert_eq!([status().await, status().await], [503; 2]);
    assert_eq!(ill.asked().len(), 3, "one retry, which was all that there is");
    drop(ill);
    let mut waiting = asking(&gateway, "acme", "/").await;
    gateway.metric_at_least(&refused(address), 4.0).await;

    let ill = Origin::start_on(gone, [Step::raw(closing).and_close()]);

    assert_eq!(waiting.answer_to("GET").await.status, 503);
    assert_eq!(ill.asked().len(), 1, "it has earned no retry");
}
