//! Who works: as checks find it, and as traffic shows it.

use std::net::SocketAddr;
use std::time::Duration;

use http::{Response, StatusCode};
use serde_json::Value;
use tenantry::control::generation::ReloadResult;
use tokio::time::{Instant, sleep};

use crate::world::client::{Frames, Hyper, ask};
use crate::world::config::{NO_RETRY, one_tenant_with, pool};
use crate::world::declining::Declining;
use crate::world::gateway::Gateway;
use crate::world::h2_origin::{H2Origin, Speaks};
use crate::world::origin::{Origin, Step};
use crate::world::unreachable::{Refusing, Silent};
use crate::world::{DEADLINE, STEP, eventually};

/// A check has as much time as its interval, in which a busy machine answers; those that follow a failure come soon.
const CHECKED: &str = "health = { http = \"/check\", status = 200, interval = \"1s\", \
                       fast-interval = \"30ms\", rise = 2, fall = 3 }\n\
                       eject = { failures = 0 }\nbalance = \"round-robin\"";

/// The pool `app` as `/api/v1/pools` shows it.
async fn shown(gateway: &Gateway) -> Value {
    gateway.admin("/api/v1/pools").await.json()[0].clone()
}

/// What `/api/v1/pools` says of an endpoint.
async fn member(gateway: &Gateway, address: SocketAddr) -> Value {
    let pool = shown(gateway).await;
    let members = pool["members"].as_array().cloned().unwrap_or_default();
    let found = members.into_iter().find(|member| member["address"] == address.to_string());
    found.unwrap_or_else(|| panic!("{address} is not in {pool}"))
}

/// Waits until `/api/v1/pools` says so of an endpoint's health.
async fn becomes(gateway: &Gateway, address: SocketAddr, health: &str) -> Value {
    let started = Instant::now();
    loop {
        let member = member(gateway, address).await;
        if member["health"] == health {
            return member;
        }
        assert!(started.elapsed() < DEADLINE, "{address} is not {health}: {member}");
        sleep(STEP).await;
    }
}

/// As [`CHECKED`], with no end of an attempt that comes soon. One that falls silent is down after more than a second:
/// requests that are to come to it before that do so on a busy machine, too, and one that is well stays up there.
const PATIENT: &str = "health = { http = \"/check\", interval = \"400ms\", timeout = \"400ms\", rise = 2, \
                       fall = 3 }\neject = { failures = 0 }\nbalance = \"round-robin\"\n\
                       timeouts = { attempt = \"10m\", total = \"10m\" }";

#[tokio::test]
async fn who_waits_for_an_endpoint_that_is_found_down_is_served_by_another_one() {
    // Also where a second attempt might run beside the first one, and does not yet.
    let endless = PATIENT.replace("attempt = \"10m\", total = \"10m\"", "total = \"0s\"");
    let hedged = format!("{PATIENT}\nretry = {{ hedge = {{ floor = \"10m\" }} }}");
    for keys in [PATIENT, &hedged, &endless] {
        let (sick, well) = (Origin::saying("sick").await, Origin::saying("well").await);
        let gateway = Gateway::start(&one_tenant_with(&[sick.address, well.address], keys)).await;
        becomes(&gateway, sick.address, "up").await;
        becomes(&gateway, well.address, "up").await;

        sick.rescript([Step::stall()]);
        let (one, other) = tokio::join!(gateway.get("/"), gateway.get("/"));

        assert_eq!([one.text(), other.text()], ["well", "well"], "{keys}");
        assert_eq!(asked(&sick, "/"), 1, "it has had one of them");
        becomes(&gateway, sick.address, "down").await;
    }
}

/// The same, where an endpoint is found down so late that requests come to it before.
fn slowly(keys: &str) -> String {
    keys.replace("fall = 3", "fall = 6")
}

/// Lets all answers go that are held, those to checks that wait no more as well.
fn release_all(origin: &Origin) {
    origin.asked().iter().for_each(|_| origin.release());
}

#[tokio::test]
async fn what_may_not_be_repeated_stays_with_an_endpoint_that_is_found_down() {
    let (sick, well) = (Origin::saying("sick").await, Origin::saying("well").await);
    let routes = one_tenant_with(&[sick.address, well.address], &slowly(PATIENT));
    let gateway = Gateway::start(&routes).await;
    becomes(&gateway, sick.address, "up").await;
    becomes(&gateway, well.address, "up").await;
    sick.rescript([Step::ok("late").held()]);
    let fields = &["Host: a", "X-Tenant-ID: acme", "Content-Length: 0"];
    let post = || ask(gateway.address(), "POST /", fields);
    let found = async {
        eventually("a POST", || asked(&sick, "/"), |asked| *asked == 1).await;
        // One of these waits there, too, until its worker, which is that of all, hears that it is down.
        let (one, other) = tokio::join!(gateway.get("/"), gateway.get("/"));
        assert_eq!([one.text(), other.text()], ["well", "well"]);
        assert_eq!(asked(&sick, "/"), 2, "it has had one of them");
        becomes(&gateway, sick.address, "down").await;
        release_all(&sick);
    };

    let (one, other, ()) = tokio::join!(post(), post(), found);

    let mut texts = [one.text(), other.text()];
    texts.sort();
    assert_eq!(texts, ["late", "well"]);
}

#[tokio::test]
async fn a_request_stays_with_an_endpoint_that_is_found_down_where_there_is_no_other() {
    let [only, other, well] =
        [Origin::saying("only").await, Origin::saying("").await, Origin::saying("well").await];
    // What waits at another pool goes on when its worker, which is that of all, hears of that one's endpoint.
    let witness = pool("witness", &[other.address, well.address], &slowly(PATIENT));
    let routes = one_tenant_with(&[only.address], PATIENT);
    let routes = format!("{routes}{witness}[tenants.witness]\npool = \"witness\"\n");
    let gateway = Gateway::start(&routes).await;
    becomes(&gateway, only.address, "up").await;
    let fields = &["Host: a", "X-Tenant-ID: witness"];
    let witness = || ask(gateway.address(), "GET /", fields);
    for endpoint in [&other, &well] {
        gateway.metric_becomes(&up(endpoint.address).replace("app", "witness"), 1.0).await;
    }
    only.rescript([Step::ok("late").held()]);
    let found = async {
        eventually("the request", || asked(&only, "/"), |asked| *asked == 1).await;
        becomes(&gateway, only.address, "down").await;
        other.rescript([Step::stall()]);
        let (one, another) = tokio::join!(witness(), witness());
        assert_eq!([one.text(), another.text()], ["well", "well"]);
        assert_eq!(asked(&other, "/"), 1, "it has had one of them");
        release_all(&only);
    };

    let (answer, ()) = tokio::join!(gateway.get("/"), found);

    assert_eq!((answer.status, answer.text()), (200, "late".to_owned()));
}

fn asked(origin: &Origin, target: &str) -> usize {
    origin.asked().iter().filter(|asked| asked.target == target).count()
}

/// Sends so many requests; all must be served.
async fn all_served(gateway: &Gateway, count: usize) {
    for _ in 0..count {
        assert_eq!(gateway.get("/").await.status, 200);
    }
}

#[tokio::test]
async fn a_check_takes_an_endpoint_out_and_brings_it_back() {
    let (sick, well) = (Origin::saying("sick").await, Origin::saying("well").await);
    let routes = one_tenant_with(&[sick.address, well.address], CHECKED);
    let gateway = Gateway::start(&routes).await;
    becomes(&gateway, sick.address, "up").await;
    becomes(&gateway, well.address, "up").await;
    all_served(&gateway, 4).await;
    assert_eq!(asked(&sick, "/"), 2);

    let checks = asked(&sick, "/check");
    sick.rescript([Step::answer(503, "")]);
    let member = becomes(&gateway, sick.address, "down").await;
    assert!(asked(&sick, "/check") >= checks + 3, "it takes three failures");
    assert_eq!(member["eligible"], false);
    assert!(member["reason"].as_str().is_some_and(|why| why.contains("503")), "{member}");
    gateway.metric_becomes(&up(sick.address), 0.0).await;
    all_served(&gateway, 10).await;
    assert_eq!(asked(&sick, "/"), 2, "an endpoint that is down gets no request");

    sick.rescript([Step::ok("sick")]);
    becomes(&gateway, sick.address, "up").await;
    gateway.metric_becomes(&up(sick.address), 1.0).await;
    all_served(&gateway, 4).await;
    assert_eq!(asked(&sick, "/"), 4);
}

fn up(address: SocketAddr) -> String {
    format!("tenantry_endpoint_up{{pool=\"app\",endpoint=\"{address}\"}}")
}

#[tokio::test]
async fn a_tcp_check_sees_an_endpoint_die_and_come_back() {
    let kept = Refusing::new(); // nobody else is given its address meanwhile
    let first = Origin::start_at(kept.address, [Step::ok("first")]).await;
    let second = Origin::saying("second").await;
    let keys = "health = { tcp = true, interval = \"30ms\", rise = 2, fall = 2 }";
    let routes = one_tenant_with(&[first.address, second.address], keys);
    let gateway = Gateway::start(&routes).await;
    becomes(&gateway, first.address, "up").await;

    let address = first.address;
    drop(first);
    becomes(&gateway, address, "down").await;
    all_served(&gateway, 10).await;

    let _back = restarted(address).await;
    becomes(&gateway, address, "up").await;
    all_served(&gateway, 10).await;
}

/// An origin at an address that one had before, whose socket may still be closing.
async fn restarted(address: SocketAddr) -> Origin {
    let free = || std::net::TcpListener::bind(address).is_ok();
    eventually("the old address", free, |free| *free).await;
    Origin::start_at(address, [Step::ok("back")]).await
}

#[tokio::test]
async fn five_failures_in_a_row_eject_and_one_more_for_longer() {
    let (sick, well) = (Origin::start([Step::answer(500, "")]).await, Origin::saying("well").await);
    // Long enough for a busy machine to ask several times while it is out.
    let keys = "balance = \"round-robin\"\neject = { failures = 5, base = \"5s\" }";
    let gateway = Gateway::start(&one_tenant_with(&[sick.address, well.address], keys)).await;

    failed(&gateway, 5).await;
    let left = ejected_for(&gateway, sick.address).await;
    assert!(left <= Duration::from_secs(5) && left > Duration::from_secs(1), "{left:?}");
    all_served(&gateway, 10).await;
    assert_eq!(asked(&sick, "/"), 5, "an ejected endpoint gets no request");

    readmitted(&gateway, sick.address).await;
    failed(&gateway, 1).await;
    all_served(&gateway, 10).await;
    assert_eq!(asked(&sick, "/"), 6, "it has had its trial");
    gateway.metric_becomes("tenantry_trials_total{pool=\"app\",result=\"failed\"}", 1.0).await;
    gateway.metric_becomes("tenantry_ejections_total{pool=\"app\"}", 2.0).await;
    all_served(&gateway, 10).await;
}

/// Sends requests until so many have failed.
async fn failed(gateway: &Gateway, count: usize) {
    let mut failed = 0;
    for _ in 0..1000 {
        failed += usize::from(gateway.get("/").await.status == 500);
        if failed == count {
            return;
        }
    }
    panic!("{failed} of {count} have failed");
}

/// For how long an endpoint is out.
async fn ejected_for(gateway: &Gateway, address: SocketAddr) -> Duration {
    let member = member(gateway, address).await;
    Duration::from_millis(member["ejected_for_ms"].as_u64().unwrap_or_default())
}

#[tokio::test]
async fn an_endpoint_that_is_well_again_gets_all_of_its_traffic_after_three_requests() {
    let (sick, well) = (Origin::start([Step::answer(500, "")]).await, Origin::saying("well").await);
    let keys = "balance = \"round-robin\"\neject = { failures = 5, base = \"1s\" }";
    let gateway = Gateway::start(&one_tenant_with(&[sick.address, well.address], keys)).await;
    failed(&gateway, 5).await;
    sick.rescript([Step::ok("well again")]);
    readmitted(&gateway, sick.address).await;
    let on_trial = member(&gateway, sick.address).await;
    assert_eq!((&on_trial["trials_left"], &on_trial["state"]), (&3.into(), &"trial".into()));

    all_served(&gateway, 3).await;

    assert_eq!(asked(&sick, "/"), 8, "one after the other");
    assert!(member(&gateway, sick.address).await["trials_left"].is_null());
    all_served(&gateway, 10).await;
    assert_eq!(asked(&sick, "/"), 13, "its share");
    gateway.metric_becomes("tenantry_trials_total{pool=\"app\",result=\"passed\"}", 1.0).await;
}

#[tokio::test]
async fn an_endpoint_that_fails_a_part_of_its_requests_is_told_from_the_others() {
    let half = (0..10_000).map(|at| Step::answer(if at % 2 == 0 { 500 } else { 200 }, ""));
    let sick = Origin::start(half).await;
    let mut well = Vec::new();
    for _ in 0..4 {
        well.push(Origin::saying("well").await);
    }
    let addresses: Vec<SocketAddr> =
        std::iter::once(&sick).chain(&well).map(|origin| origin.address).collect();
    let keys = "balance = \"round-robin\"\n\
                eject = { base = \"60s\", interval = \"1s\", success-rate = { requests = 4 } }";
    let gateway = Gateway::start(&one_tenant_with(&addresses, keys)).await;

    let started = Instant::now();
    while member(&gateway, sick.address).await["ejected_for_ms"].is_null() {
        assert!(started.elapsed() < DEADLINE, "it fails half of its requests, and stays");
        gateway.get("/").await;
    }

    let outliers = "tenantry_outlier_ejections_total{pool=\"app\",cause=\"success_rate\"}";
    gateway.metric_becomes(outliers, 1.0).await;
    gateway.metric_becomes("tenantry_ejections_total{pool=\"app\"}", 1.0).await;
    all_served(&gateway, 10).await;
}

#[tokio::test]
async fn an_endpoint_that_cuts_off_each_answer_is_ejected() {
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf";
    let sick = Origin::start([Step::raw(cut).and_close()]).await;
    let well = Origin::saying("well").await;
    let keys = "balance = \"round-robin\"\neject = { failures = 5 }";
    let gateway = Gateway::start(&one_tenant_with(&[sick.address, well.address], keys)).await;

    let mut cuts = 0;
    for _ in 0..40 {
        cuts += usize::from(!gateway.get("/").await.whole);
    }

    assert_eq!(cuts, 6, "five, and the one whose head came after them");
    gateway.metric_becomes("tenantry_ejections_total{pool=\"app\"}", 1.0).await;
}

#[tokio::test]
async fn an_answer_above_all_classes_is_a_failure() {
    let (sick, well) = (Origin::start([Step::answer(700, "")]).await, Origin::saying("well").await);
    let keys = "balance = \"round-robin\"\neject = { failures = 5 }";
    let gateway = Gateway::start(&one_tenant_with(&[sick.address, well.address], keys)).await;

    let mut statuses = Vec::new();
    for _ in 0..20 {
        statuses.push(gateway.get("/").await.status);
    }

    assert_eq!(statuses.iter().filter(|status| **status == 700).count(), 5, "{statuses:?}");
    gateway.metric_becomes("tenantry_ejections_total{pool=\"app\"}", 1.0).await;
}

#[tokio::test]
async fn a_tenant_whose_requests_fail_takes_no_endpoint_from_the_others() {
    let (one, other) = (Origin::saying("one").await, Origin::saying("other").await);
    let keys = format!("balance = \"round-robin\"\neject = {{ failures = 5 }}\n{NO_RETRY}");
    let pool = pool("app", &[one.address, other.address], &keys);
    let routes =
        format!("{pool}[tenants.acme]\npool = \"app\"\n[tenants.globex]\npool = \"app\"\n");
    let gateway = Gateway::start_with_workers(1, "", &routes).await;
    let failed = async |tenant: &str, times: usize| {
        let field = format!("X-Tenant-ID: {tenant}");
        let mut failed = 0;
        for _ in 0..times {
            let status = ask(gateway.address(), "GET /", &["Host: a", &field]).await.status;
            failed += usize::from(status == 500);
        }
        failed
    };
    assert_eq!(failed("globex", 4).await, 0);
    one.rescript([Step::answer(500, "")]);

    assert_eq!(failed("acme", 40).await, 20, "an endpoint is out");
    gateway.metric_becomes("tenantry_ejections_spared_total{pool=\"app\"}", 4.0).await;
    assert_eq!(failed("globex", 40).await, 5, "now it is the endpoint");
    gateway.metric_becomes("tenantry_ejections_total{pool=\"app\"}", 1.0).await;
}

#[tokio::test]
async fn an_endpoint_that_dies_is_found_by_checks_long_before_their_time() {
    let kept = Refusing::new(); // nobody else is given its address, and answers its checks
    let first = Origin::start_at(kept.address, [Step::ok("first")]).await;
    let second = Origin::saying("second").await;
    let keys = "balance = \"round-robin\"\neject = { failures = 0 }\n\
                health = { tcp = true, interval = \"1h\", fast-interval = \"10ms\" }";
    let gateway = Gateway::start(&one_tenant_with(&[first.address, second.address], keys)).await;
    becomes(&gateway, first.address, "up").await;
    let address = first.address;

    drop(first);
    all_served(&gateway, 2).await;

    becomes(&gateway, address, "down").await;
    let checks = |cause: &str, result: &str| {
        format!(
            "tenantry_health_checks_total{{pool=\"app\",cause=\"{cause}\",result=\"{result}\"}}"
        )
    };
    // Three take it down, and as many more as would bring it back watch it.
    gateway.metric_becomes(&checks("traffic", "failed"), 3.0 + 5.0).await;
    gateway.metric_becomes(&checks("interval", "passed"), 2.0).await;
}

#[tokio::test]
async fn checks_end_the_first_ejection_and_then_believe_traffic() {
    // Its health page says that all is well, whatever becomes of requests.
    let liar = H2Origin::start(Speaks::H1, |asked| {
        let mut answer = Response::new(Frames::sized("liar"));
        if asked.target != "/check" {
            *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        }
        answer
    })
    .await;
    let well = Origin::saying("well").await;
    let keys = "balance = \"round-robin\"\neject = { failures = 2, base = \"60s\" }\n\
                health = { http = \"/check\", interval = \"500ms\", rise = 2 }";
    let gateway = Gateway::start(&one_tenant_with(&[liar.address, well.address], keys)).await;
    becomes(&gateway, liar.address, "up").await;
    let eject = async || {
        for _ in 0..4 {
            gateway.get("/").await;
        }
    };

    eject().await;
    readmitted(&gateway, liar.address).await;
    gateway.metric_becomes("tenantry_ejections_ended_early_total{pool=\"app\"}", 1.0).await;

    eject().await;
    gateway.metric_becomes("tenantry_ejections_total{pool=\"app\"}", 2.0).await;
    let passed = "tenantry_health_checks_total{pool=\"app\",cause=\"interval\",result=\"passed\"}";
    let before = gateway.metric(passed).await.unwrap_or_default();
    gateway.metric_at_least(passed, before + 10.0).await;
    let member = member(&gateway, liar.address).await;
    assert_eq!((&member["health"], &member["eligible"]), (&"up".into(), &false.into()), "{member}");
    gateway.metric_becomes("tenantry_ejections_ended_early_total{pool=\"app\"}", 1.0).await;
}

async fn readmitted(gateway: &Gateway, address: SocketAddr) {
    let started = Instant::now();
    while member(gateway, address).await["eligible"] != true {
        assert!(started.elapsed() < DEADLINE, "{address} is not readmitted");
        sleep(STEP).await;
    }
}

#[tokio::test]
async fn an_endpoint_that_declines_requests_is_not_ejected_for_it() {
    let (full, well) = (Declining::start().await, H2Origin::saying("well").await);
    let keys =
        "protocol = \"h2\"\nbalance = \"round-robin\"\neject = { failures = 2, base = \"60s\" }";
    let gateway = Gateway::start(&one_tenant_with(&[full.address, well.address], keys)).await;

    all_served(&gateway, 20).await;

    let member = member(&gateway, full.address).await;
    assert!(member["ejected_for_ms"].is_null(), "it works, and has no room: {member}");
    assert!(full.declined() >= 5, "it is asked again and again: {}", full.declined());
}

#[tokio::test]
async fn one_dial_that_fails_is_one_failure_however_many_wait_for_it() {
    let (silent, well) = (Silent::new(), H2Origin::saying("well").await);
    let keys = "protocol = \"h2\"\nbalance = \"round-robin\"\n\
                eject = { failures = 5, base = \"60s\" }\ntimeouts = { connect = \"1s\" }";
    let gateway = Gateway::start(&one_tenant_with(&[silent.address, well.address], keys)).await;
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let mut client = Hyper::h2(gateway.address()).await;
        asking.spawn(async move { client.get("acme", "/").await.status });
    }

    assert_eq!(asking.join_all().await, [200; 16]);

    let member = member(&gateway, silent.address).await;
    assert!(member["ejected_for_ms"].is_null(), "one dial failed: {member}");
}

#[tokio::test]
async fn no_more_than_the_share_is_ejected() {
    let sick = [
        Origin::start([Step::answer(500, "")]).await,
        Origin::start([Step::answer(500, "")]).await,
        Origin::start([Step::answer(500, "")]).await,
    ];
    let addresses: Vec<SocketAddr> = sick.iter().map(|origin| origin.address).collect();
    let keys = "balance = \"round-robin\"\neject = { failures = 2, base = \"60s\" }";
    let gateway = Gateway::start(&one_tenant_with(&addresses, keys)).await;

    for _ in 0..30 {
        assert_eq!(gateway.get("/").await.status, 500);
    }

    let pool = shown(&gateway).await;
    let members = pool["members"].as_array().expect("members");
    let ejected = members.iter().filter(|member| !member["ejected_for_ms"].is_null()).count();
    assert_eq!(ejected, 1, "30 % of three: {pool}");
}

#[tokio::test]
async fn when_too_few_are_healthy_all_are_used() {
    let origins = [Origin::saying("1").await, Origin::saying("2").await, Origin::saying("3").await];
    let addresses: Vec<SocketAddr> = origins.iter().map(|origin| origin.address).collect();
    // The check asks for a body that two do not have, though they serve well.
    let keys = "health = { http = \"/check\", body = \"1\", interval = \"30ms\" }\n\
                balance = \"round-robin\"\npanic-below = \"50%\"";
    let gateway = Gateway::start(&one_tenant_with(&addresses, keys)).await;
    becomes(&gateway, addresses[1], "down").await;
    becomes(&gateway, addresses[2], "down").await;

    all_served(&gateway, 6).await;

    for origin in &origins {
        assert_eq!(asked(origin, "/"), 2);
    }
    assert_eq!(shown(&gateway).await["panicking"], true);
    gateway.metric_becomes("tenantry_pool_panicking{pool=\"app\"}", 1.0).await;
}

#[tokio::test]
async fn what_is_known_of_an_endpoint_lives_through_reloads() {
    let (sick, well) = (Origin::start([Step::answer(503, "")]).await, Origin::saying("well").await);
    let ejected = Origin::start([Step::answer(500, "")]).await;
    let second = "eject = { failures = 2, base = \"60s\" }\nbalance = \"round-robin\"";
    let routes = |total: usize, more: &str| {
        let keys = format!("{CHECKED}\ntimeouts = {{ total = \"{total}s\" }}");
        let first = one_tenant_with(&[sick.address, well.address], &keys);
        let pool = pool("other", &[ejected.address, well.address], second);
        format!("{first}\n{pool}\n[tenants.other]\npool = \"other\"\n{more}")
    };
    let gateway = Gateway::start(&routes(9, "")).await;
    becomes(&gateway, sick.address, "down").await;
    for _ in 0..4 {
        crate::world::client::get(gateway.address(), "other", "/").await;
    }
    let out = async || {
        let pools = gateway.admin("/api/v1/pools").await.json();
        let members = pools[1]["members"].as_array().cloned().unwrap_or_default();
        let is = |member: &Value| member["address"] == ejected.address.to_string();
        let member = members.into_iter().find(is).unwrap_or_default();
        !member["ejected_for_ms"].is_null()
    };
    assert!(out().await, "two failures eject");
    let served = asked(&sick, "/");

    // First a tenant that has nothing to do with it, then the pool's own time-outs.
    for (total, more) in [(9, "[tenants.third]\npool = \"other\"\n"), (8, "")] {
        let result = gateway.reload(&routes(total, more)).await;
        assert!(matches!(result, ReloadResult::Live { .. }), "{result:?}");
        assert_eq!(member(&gateway, sick.address).await["health"], "down");
        assert!(out().await, "the ejection is forgotten");
        all_served(&gateway, 6).await;
    }

    assert_eq!(asked(&sick, "/"), served);
}
