//! What a scrape shows of the control side, and that Prometheus finds nothing wrong with it.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::base::tasks::{Stopped, Tasks};
use crate::model::address::Address;
use crate::model::canary::{self, Side};
use crate::model::endpoint::{Endpoint, Health};
use crate::model::ids::{EndpointId, Label};
use crate::model::members::Found;
use crate::model::rules::{OwnZone, Rules};
use crate::telemetry::checks;
use crate::telemetry::delta::{AttemptOutcome, QueueOutcome};
use crate::telemetry::keeping;
use crate::telemetry::meter::Meter;
use crate::telemetry::mirrors::{Outcome, Seen};
use crate::telemetry::resilience::POOL_OVERRUNS;
use crate::telemetry::shared_limits;
use crate::telemetry::waiting::WaitOutcome;

use super::*;

fn shows(metrics: &Metrics, line: &str) -> bool {
    metrics.render().unwrap().lines().any(|shown| shown == line)
}

fn pool_of(addresses: &[&str]) -> Arc<Members> {
    let found: Vec<Found> = addresses
        .iter()
        .map(|address| Found::new(address.parse::<Address>().unwrap(), "test"))
        .collect();
    let members = Members::new(1, Health::Unchecked, 0.5);
    members.replace(&found);
    Arc::new(members)
}

/// A pool with an endpoint in the own zone and one in another.
fn zoned() -> Arc<Members> {
    let members = Members::new(2, Health::Unchecked, 0.5);
    let zone = OwnZone { name: "a".into(), min_endpoints: 1, spill_above: 1 };
    members.set_rules(Rules { zone: Some(zone), turns: Some(1), ..Rules::of_panic_share(0.5) });
    let found = |(zone, host): (&str, u8)| Found {
        zone: Some(zone.into()),
        ..Found::new(([10, 0, 0, host], 80), "test")
    };
    members.replace(&[("a", 1), ("b", 2)].map(found));
    Arc::new(members)
}

fn pool() -> Label {
    Label { name: "shop".into(), slot: 0 }
}

fn endpoint(address: &str) -> Endpoint {
    Endpoint::new(EndpointId(1), address.parse().unwrap(), Health::Up)
}

/// Counts attempts at an endpoint, and what goes with them.
fn tried(meter: &Meter) {
    meter.attempt(&pool(), &endpoint("[::1]:80"), AttemptOutcome::Success, Some(Duration::ZERO));
    meter.hedged(&pool(), "won");
    meter.hedge_refused(&pool(), "budget");
    meter.spilled(&pool(), "kept");
    meter.spill_opened(&pool());
    meter.sticky(&pool(), "kept");
    resilience(meter);
}

/// Counts a request and its copy.
fn copied(meter: &Meter) {
    let seen = Seen { status: Some(200), took: Duration::from_millis(1) };
    meter.mirrored(&pool(), Outcome::Answered);
    meter.compared(&pool(), seen, seen);
}

/// Counts a check, and an ejection that it has ended.
fn tried_out(metrics: &Metrics) {
    let split = SplitLabels(["5f0c1a9be2d4470e", "tenants.acme", "/"]);
    metrics.split_state(split, true);
    metrics.split_requests(split, (Side::Canary, canary::Outcome::Failed), 1);
    metrics.split_rolled_back(split, "errors");
}

/// What comes of what is kept.
fn kept(metrics: &Metrics) {
    metrics.set(&keeping::STORED_TENANTS, &["served"], 1.0);
    metrics.set(&keeping::ABOVE_PLAN, &[], 1.0);
    metrics.set(&keeping::STORE_DAMAGED, &[], 0.0);
    metrics.add(&keeping::TENANT_CHANGES, &["ok"], 1);
    metrics.add(&keeping::AUDIT_LOG_LOST, &["write"], 1);
}

/// What gateways share.
fn shared(metrics: &Metrics) {
    metrics.set(&shared_limits::UP, &[], 1.0);
    metrics.add(&shared_limits::CALLS, &["ok"], 1);
    metrics.add_seconds(&shared_limits::CALL_SECONDS, &[], Duration::from_millis(1));
    metrics.add_seconds(&shared_limits::LATE_SECONDS, &[], Duration::from_millis(1));
    metrics.add(&shared_limits::REQUESTS, &["granted"], 1);
    metrics.set(&shared_limits::IN_USE, &[], 1.0);
}

fn checked(metrics: &Metrics) {
    metrics.add(&checks::HEALTH_CHECKS, &["shop", "interval", "passed"], 1);
    metrics.add(&checks::EJECTIONS_ENDED_EARLY, &["shop"], 1);
    metrics.add(&POOL_OVERRUNS, &["shop"], 1);
    metrics.publish_overruns(vec![("near".into(), Arc::default())]);
}

/// Something of all that is counted of endpoints that fail.
fn resilience(meter: &Meter) {
    meter.retry(&pool(), "connect");
    meter.retry_refused(&pool(), "budget");
    meter.ejected(&pool(), "latency");
    meter.tried(&pool(), "passed");
    meter.breaker(&pool(), "open");
    meter.pool_breaker(&pool(), "open");
}

#[test]
fn promtool_finds_nothing() {
    let metrics = Metrics::new();
    let (sender, mut deltas) = deltas();
    let meter = Meter::new(0, sender);
    tried(&meter);
    meter.connection_opened(0);
    meter.connection_rejected("limit");
    meter.forwarded_fault("malformed");
    meter.debugged("told");
    meter.refused("missing");
    meter.limit_waited("tenant");
    meter.connection_retired("idle");
    meter.exchange_started();
    meter.hear_of_tenant(0, || Label { name: "a\"b\\c\n".into(), slot: 0 });
    meter.queued(&pool(), 0, QueueOutcome::Served, Duration::from_millis(3));
    meter.awaited(&pool(), WaitOutcome::Released, Duration::from_millis(3));
    meter.exchange(&record("tenant-unknown"));
    meter.authorized("allowed", Duration::from_millis(1));
    copied(&meter);
    meter.flush();
    metrics.merge(&deltas.try_recv().unwrap());
    metrics
        .publish_pools(vec![("shop".into(), pool_of(&["10.0.0.1:80"])), ("near".into(), zoned())]);
    let times = Arc::<AnswerTimes>::default();
    times.tell(Some(1.5));
    metrics.publish_gates(vec![("shop".into(), Arc::new(Gate::new(1)), Some(times))]);
    let (pool, breakers) = ("shop".into(), Arc::default());
    metrics.publish_breakers(vec![NamedBreakers { pool, breakers, has_whole: true }]);
    tried_out(&metrics);
    metrics.discovery_update("shop", "dns shop.internal:80", "ok");
    checked(&metrics);
    metrics.issuer_fetched("login", "ok");
    metrics.issuer_keys("login", 2, Some(std::time::SystemTime::UNIX_EPOCH));
    metrics.add(&metrics::TRACE_SPANS, &["exported"], 1);
    metrics.add(&metrics::TRACE_EXPORTS, &["ok"], 1);
    metrics.set(&metrics::TRACE_QUEUE, &[], 1.0);
    kept(&metrics);
    shared(&metrics);
    metrics.add(&metrics::USAGE_SAVES, &["ok"], 1);
    metrics.set(&metrics::USAGE_WAITING, &[], 0.0);
    metrics.config_live(3);
    metrics.publish_certificates(&["listener"], [("a.pem".to_owned(), "listener", 1)]);
    metrics.publish_tenant_certificates(1, 0, Some(1));
    let text = metrics.render().unwrap();

    for family in metrics::FAMILIES {
        assert!(text.contains(&format!("# TYPE {} ", family.name)), "{} is missing", family.name);
    }
    let (is_good, said) = promtool(&text);
    assert!(is_good && said.is_empty(), "{said}");
}

/// Whether the tool takes this text, and what it says.
fn promtool(text: &str) -> (bool, String) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is needed: install the Debian package prometheus");
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

fn record(problem: &'static str) -> crate::telemetry::record::Record {
    crate::telemetry::record::Record {
        started: tokio::time::Instant::now(),
        duration: Duration::from_millis(1),
        request_id: http::HeaderValue::from_static("1"),
        client: Some("127.0.0.1".parse().unwrap()),
        method: http::Method::GET,
        version: http::Version::HTTP_11,
        line: None,
        logged: false,
        trace: None,
        asked: None,
        tenant: Some(crate::telemetry::record::Tag::of(0)),
        caller: None,
        route: None,
        pool: None,
        endpoint: None,
        queued: None,
        attempts: 0,
        status: 404,
        problem: Some(problem),
        first_byte: None,
        bytes_in: 0,
        bytes_out: 0,
        ending: crate::telemetry::record::Ending::Whole,
    }
}

#[test]
fn every_member_is_in_one_state() {
    let metrics = Metrics::new();
    let members = pool_of(&["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80", "10.0.0.4:80"]);
    let at = |index: usize| Arc::clone(&members.load().all[index].endpoint);
    at(0).set_health(Health::Down, Some("refused".to_owned()));
    at(1).eject(Duration::from_secs(60));
    at(2).enter();
    at(3).begin_trial(3);
    members.refresh();

    metrics.publish_pools(vec![("shop".into(), Arc::clone(&members))]);

    let counts = [("up", 0), ("unchecked", 1), ("pending", 0), ("down", 1), ("ejected", 1)];
    for (state, count) in counts.into_iter().chain([("drained", 0), ("trial", 1)]) {
        let line = format!("tenantry_pool_members{{pool=\"shop\",state=\"{state}\"}} {count}");
        assert!(shows(&metrics, &line), "{line}");
    }
    let of = |name: &str, address: &str, value: u32| {
        format!("tenantry_{name}{{pool=\"shop\",endpoint=\"{address}\"}} {value}")
    };
    assert!(shows(&metrics, &of("endpoint_up", "10.0.0.2:80", 0)));
    assert!(shows(&metrics, &of("endpoint_up", "10.0.0.3:80", 1)));
    assert!(shows(&metrics, &of("endpoint_in_flight_requests", "10.0.0.3:80", 1)));
    assert!(shows(&metrics, "tenantry_pool_panicking{pool=\"shop\"} 1"));
}

#[test]
fn the_sources_of_a_pool_that_is_gone_are_forgotten() {
    let metrics = Metrics::new();
    metrics.discovery_update("gone", "dns gone:80", "ok");
    metrics.discovery_update("shop", "dns shop:80", "failed");

    metrics.publish_pools(vec![("shop".into(), pool_of(&[]))]);

    let text = metrics.render().unwrap();
    assert!(!text.contains("gone"));
    assert!(text.contains("source=\"dns shop:80\",result=\"failed\"} 1"));
}

#[test]
fn an_issuer_that_is_gone_has_no_series() {
    let metrics = Metrics::new();
    metrics.issuer_fetched("gone", "ok");
    metrics.issuer_keys("gone", 2, None);
    metrics.issuer_fetched("login", "timeout");

    metrics.keep_issuers(|name| name == "login");

    let text = metrics.render().unwrap();
    assert!(!text.contains("gone"));
    assert!(text.contains("tenantry_issuer_fetches_total{issuer=\"login\",result=\"timeout\"} 1"));
}

#[test]
fn a_refused_reload_shows_until_one_works() {
    let metrics = Metrics::new();
    metrics.config_live(1);
    metrics.config_refused(2);
    assert!(shows(&metrics, "tenantry_config_problems 2"));
    assert!(shows(&metrics, "tenantry_config_generation 1"));

    metrics.config_live(2);

    assert!(shows(&metrics, "tenantry_config_problems 0"));
    assert!(shows(&metrics, "tenantry_config_reloads_total{result=\"ok\"} 2"));
    assert!(shows(&metrics, "tenantry_config_reloads_total{result=\"refused\"} 1"));
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_gone_for_long_is_forgotten_and_a_member_is_not() {
    let metrics = Arc::new(Metrics::new());
    metrics.publish_pools(vec![("shop".into(), pool_of(&["10.0.0.1:80"]))]);
    let (sender, receiver) = deltas();
    let meter = Meter::new(0, sender);
    let mut tasks = Tasks::new("test");
    tasks.spawn(|stop| Arc::clone(&metrics).run(receiver, stop));
    for (number, address) in [(1, "10.0.0.1:80"), (2, "10.0.0.2:80")] {
        let endpoint = Endpoint::new(EndpointId(number), address.parse().unwrap(), Health::Up);
        meter.attempt(&pool(), &endpoint, AttemptOutcome::Success, None);
    }
    meter.flush();
    let attempts = |address: &str| format!("endpoint=\"{address}\",outcome=\"2xx\"}} 1");

    tokio::time::sleep(Duration::from_secs(300)).await;
    assert!(metrics.render().unwrap().contains(&attempts("10.0.0.2:80")));

    tokio::time::sleep(Duration::from_secs(400)).await;
    assert!(!metrics.render().unwrap().contains(&attempts("10.0.0.2:80")));
    assert!(metrics.render().unwrap().contains(&attempts("10.0.0.1:80")));
    assert_eq!(tasks.stop(Duration::from_secs(1)).await, Stopped::Cleanly);
}

#[tokio::test(start_paused = true)]
async fn what_the_channel_holds_at_the_end_is_counted() {
    let metrics = Arc::new(Metrics::new());
    let (sender, receiver) = deltas();
    let meters = [Meter::new(0, sender.clone()), Meter::new(1, sender)];
    let mut tasks = Tasks::new("test");
    tasks.spawn(|stop| Arc::clone(&metrics).run(receiver, stop));
    for meter in &meters {
        meter.panicked();
        meter.flush();
    }

    assert_eq!(tasks.stop(Duration::from_secs(1)).await, Stopped::Cleanly);

    assert!(shows(&metrics, "tenantry_task_panics_total 2"));
}
