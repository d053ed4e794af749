//! Breakers: what fails again and again is refused at once, for the tenant whose requests they are alone.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::world::client::ask;
use crate::world::config::{NO_RETRY, pool};
use crate::world::gateway::Gateway;
use crate::world::origin::{Origin, Step};
use crate::world::{DEADLINE, STEP, eventually};

/// What a pool with a breaker says; nobody is ejected.
fn breaker(open: &str) -> String {
    format!(
        "eject = {{ failures = 0 }}\n{NO_RETRY}\n\
         breaker = {{ requests = 6, window = \"60s\", open = \"{open}\", trials = 2 }}"
    )
}

/// A pool with a breaker, which `acme` and `globex` share.
fn shared(endpoints: &[SocketAddr], open: &str) -> String {
    let pool = pool("app", endpoints, &breaker(open));
    format!("{pool}[tenants.acme]\npool = \"app\"\n[tenants.globex]\npool = \"app\"\n")
}

async fn statuses(gateway: &Gateway, tenant: &str, count: usize) -> Vec<u16> {
    statuses_at(gateway, tenant, "/", count).await
}

async fn statuses_at(gateway: &Gateway, tenant: &str, path: &str, count: usize) -> Vec<u16> {
    let (line, field) = (format!("GET {path}"), format!("X-Tenant-ID: {tenant}"));
    let mut statuses = Vec::new();
    for _ in 0..count {
        statuses.push(ask(gateway.address(), &line, &["Host: a", &field]).await.status);
    }
    statuses
}

#[tokio::test]
async fn what_fails_again_and_again_is_refused_at_once_with_when_to_come_again() {
    let sick = Origin::start([Step::answer(500, "")]).await;
    let gateway = Gateway::start(&shared(&[sick.address], "60s")).await;

    assert_eq!(statuses(&gateway, "acme", 6).await, [500; 6]);
    let refused = ask(gateway.address(), "GET /", &["Host: a", "X-Tenant-ID: acme"]).await;

    assert_eq!((refused.status, refused.problem().as_deref()), (503, Some("breaker-open")));
    let again: u64 = refused.one("retry-after").and_then(|value| value.parse().ok()).unwrap();
    assert!((1..=60).contains(&again), "{again}");
    assert_eq!(statuses(&gateway, "acme", 10).await, [503; 10]);
    assert_eq!(sick.asked().len(), 6, "no endpoint is asked");
    gateway.metric_becomes("tenantry_breakers{pool=\"app\",state=\"open\"}", 1.0).await;
    let opened = "tenantry_breaker_transitions_total{pool=\"app\",to=\"open\"}";
    gateway.metric_becomes(opened, 1.0).await;
    let pools = gateway.admin("/api/v1/pools").await.json();
    assert_eq!(pools[0]["breakers"]["open"], 1, "{pools}");
}

#[tokio::test]
async fn the_breaker_of_one_tenant_opens_no_other_ones() {
    // The first six are of acme.
    let origin = Origin::start(vec![Step::answer(500, ""); 6].into_iter().chain([Step::ok("")]));
    let origin = origin.await;
    let gateway = Gateway::start(&shared(&[origin.address], "60s")).await;

    assert_eq!(statuses(&gateway, "acme", 8).await, [500, 500, 500, 500, 500, 500, 503, 503]);
    assert_eq!(statuses(&gateway, "globex", 10).await, [200; 10]);
    assert_eq!(statuses(&gateway, "acme", 2).await, [503; 2]);
}

#[tokio::test]
async fn the_breaker_of_a_tenant_at_one_pool_leaves_it_served_at_another_one() {
    let sick = Origin::start([Step::answer(500, "")]).await;
    let well = Origin::saying("well").await;
    let other = pool("other", &[well.address], &breaker("60s"));
    let route = "[[tenants.acme.routes]]\npath = \"/other\"\npool = \"other\"\n";
    let gateway =
        Gateway::start(&format!("{other}{}{route}", shared(&[sick.address], "60s"))).await;

    assert_eq!(statuses(&gateway, "acme", 7).await, [500, 500, 500, 500, 500, 500, 503]);

    assert_eq!(statuses_at(&gateway, "acme", "/other", 10).await, [200; 10]);
    assert_eq!(statuses(&gateway, "acme", 2).await, [503; 2], "nor does that close it");
    gateway.metric_becomes("tenantry_breakers{pool=\"app\",state=\"open\"}", 1.0).await;
    let pools = gateway.admin("/api/v1/pools").await.json();
    let mut all = pools.as_array().expect("pools").iter();
    let other = all.find(|pool| pool["name"] == "other").expect("the other one");
    assert_eq!(other["breakers"]["open"], 0, "{pools}");
}

#[tokio::test]
async fn it_closes_once_requests_on_trial_are_served() {
    let origin = Origin::start([Step::answer(500, "")]).await;
    let gateway = Gateway::start(&shared(&[origin.address], "3s")).await;
    assert_eq!(statuses(&gateway, "acme", 7).await, [500, 500, 500, 500, 500, 500, 503]);
    origin.rescript([Step::ok("")]);

    let started = Instant::now();
    loop {
        assert!(started.elapsed() < DEADLINE, "no request is on trial");
        match statuses(&gateway, "acme", 1).await[..] {
            [200] => break,
            [503] => sleep(STEP).await,
            ref other => panic!("{other:?}"),
        }
    }

    assert_eq!(statuses(&gateway, "acme", 10).await, [200; 10]);
    gateway.metric_becomes("tenantry_breakers{pool=\"app\",state=\"open\"}", 0.0).await;
    let closed = "tenantry_breaker_transitions_total{pool=\"app\",to=\"closed\"}";
    gateway.metric_becomes(closed, 1.0).await;
}

#[tokio::test]
async fn a_request_that_another_endpoint_serves_after_a_retry_opens_nothing() {
    let sick = Origin::start([Step::answer(503, "")]).await;
    let well = Origin::saying("well").await;
    let keys = "balance = \"round-robin\"\neject = { failures = 0 }\n\
                retry = { budget-floor = 1000 }\n\
                breaker = { requests = 6, failures = \"30%\" }";
    let pool = pool("app", &[sick.address, well.address], keys);
    let gateway = Gateway::start(&format!("{pool}[tenants.acme]\npool = \"app\"\n")).await;

    assert_eq!(statuses(&gateway, "acme", 40).await, [200; 40]);
    assert!(sick.asked().len() >= 10, "it was asked all the time");
}

#[tokio::test]
async fn a_client_that_leaves_while_its_request_is_on_trial_locks_nobody_out() {
    let origin = Origin::start([Step::answer(500, "")]).await;
    let gateway = Gateway::start(&shared(&[origin.address], "3s")).await;
    assert_eq!(statuses(&gateway, "acme", 7).await, [500, 500, 500, 500, 500, 500, 503]);
    origin.rescript([Step::stall()]);

    // Two are let on trial, and leave: `shared` says no more.
    let mut waiting = Vec::new();
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nX-Tenant-ID: acme\r\n\r\n";
    let started = Instant::now();
    while origin.asked().len() < 8 {
        assert!(started.elapsed() < DEADLINE, "no request is on trial");
        let mut client = TcpStream::connect(gateway.address()).await.unwrap();
        client.write_all(request).await.unwrap();
        let known = origin.asked().len();
        let mut byte = [0];
        tokio::select! {
            _ = client.read(&mut byte) => sleep(STEP).await, // it was refused
            () = eventually_asked(&origin, known + 1) => waiting.push(client),
        }
    }
    origin.rescript([Step::ok("")]);
    drop(waiting);

    let left = Instant::now();
    while statuses(&gateway, "acme", 1).await != [200] {
        assert!(left.elapsed() < DEADLINE, "nobody is let on trial any more");
    }
}

/// As [`shared`], of ten tenants and with a breaker of the whole pool, which the failures of six of them open.
fn whole(endpoint: SocketAddr, open: &str) -> String {
    let keys = format!(
        "eject = {{ failures = 0 }}\n{NO_RETRY}\n\
         breaker = {{ requests = 4, window = \"60s\", open = \"{open}\", trials = 2, whole-pool = true }}"
    );
    let tenants = (0..10).map(|at| format!("[tenants.t{at}]\npool = \"app\"\n"));
    tenants.fold(pool("app", &[endpoint], &keys), |text, tenant| text + &tenant)
}

#[tokio::test]
async fn what_fails_for_many_tenants_is_refused_to_those_that_have_not_asked_yet() {
    let origin = Origin::start([Step::answer(500, "")]).await;
    let gateway = Gateway::start(&whole(origin.address, "3s")).await;
    for at in 0..6 {
        assert_eq!(statuses(&gateway, &format!("t{at}"), 1).await, [500]);
    }

    let refused = ask(gateway.address(), "GET /", &["Host: a", "X-Tenant-ID: t9"]).await;
    assert_eq!((refused.status, refused.problem().as_deref()), (503, Some("breaker-open")));
    assert!(refused.one("retry-after").is_some());
    assert_eq!(origin.asked().len(), 6, "no endpoint is asked");

    origin.rescript([Step::ok("")]);
    let started = Instant::now();
    let mut served = 0;
    while served < 20 {
        assert!(started.elapsed() < DEADLINE, "it does not close");
        if statuses(&gateway, "t9", 1).await == [200] {
            served += 1;
        } else {
            served = 0;
            sleep(STEP).await;
        }
    }
    let became =
        |to| format!("tenantry_pool_breaker_transitions_total{{pool=\"app\",to=\"{to}\"}}");
    for to in ["open", "half_open", "closed"] {
        gateway.metric_becomes(&became(to), 1.0).await;
    }
    gateway.metric_becomes("tenantry_pool_breaker{pool=\"app\",state=\"open\"}", 0.0).await;
    let pools = gateway.admin("/api/v1/pools").await.json();
    assert_eq!(pools[0]["breakers"]["pool"], "closed", "{pools}");
}

#[tokio::test]
async fn a_tenant_whose_requests_all_fail_opens_the_pool_s_breaker_for_nobody() {
    let origin = Origin::start([Step::answer(500, "")]).await;
    let gateway = Gateway::start(&whole(origin.address, "60s")).await;
    assert_eq!(statuses(&gateway, "t0", 4).await, [500; 4]);
    assert_eq!(statuses(&gateway, "t1", 4).await, [500; 4]);
    assert_eq!(statuses(&gateway, "t0", 20).await, [503; 20], "their own have opened");
    origin.rescript([Step::ok("")]);

    for at in 2..10 {
        assert_eq!(statuses(&gateway, &format!("t{at}"), 3).await, [200; 3]);
    }
}

/// Waits until an origin was asked so often.
async fn eventually_asked(origin: &Origin, count: usize) {
    let asked = || origin.asked().len();
    eventually("the request on trial", asked, |asked| *asked >= count).await;
}

#[tokio::test]
async fn an_endpoint_that_fails_as_large_a_share_is_ejected_though_there_are_few_others() {
    let sick = Origin::start([Step::answer(500, "")]).await;
    let well = Origin::saying("well").await;
    let keys = format!(
        "balance = \"round-robin\"\n{NO_RETRY}\n\
         eject = {{ failures = 10000, base = \"60s\", interval = \"1s\" }}\n\
         breaker = {{ failures = \"90%\", requests = 4 }}"
    );
    let routes = format!(
        "{}[tenants.acme]\npool = \"app\"\n",
        pool("app", &[sick.address, well.address], &keys)
    );
    let gateway = Gateway::start(&routes).await;

    let mut rounds = 0;
    while statuses(&gateway, "acme", 10).await.contains(&500) {
        rounds += 1;
        assert!(rounds < 10_000, "it fails all of its requests, and stays");
    }

    let outliers = "tenantry_outlier_ejections_total{pool=\"app\",cause=\"failure_share\"}";
    gateway.metric_becomes(outliers, 1.0).await;
}
