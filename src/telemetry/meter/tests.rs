//! Counts of workers, as a scrape shows them.

use std::sync::Arc;

use http::{HeaderValue, Method, Version};
use tokio::time::Instant;

use crate::model::endpoint::Health;
use crate::model::ids::EndpointId;
use crate::telemetry::recent::Sort;
use crate::telemetry::record::Ending;
use crate::telemetry::registry::Metrics;

use super::*;

fn label(name: &str, slot: u32) -> Label {
    Label { name: name.into(), slot }
}

fn record(tenant: Option<Label>, pool: Option<Label>, status: u16) -> Record {
    Record {
        started: Instant::now(),
        duration: Duration::from_millis(20),
        request_id: HeaderValue::from_static("1"),
        client: Some("127.0.0.1".parse().unwrap()),
        method: Method::GET,
        version: Version::HTTP_11,
        line: None,
        logged: false,
        trace: None,
        asked: None,
        tenant: tenant.as_ref().map(Tag::named),
        caller: None,
        route: None,
        pool: pool.as_ref().map(Tag::named),
        endpoint: None,
        queued: None,
        attempts: 1,
        status,
        problem: None,
        first_byte: None,
        bytes_in: 10,
        bytes_out: 100,
        ending: Ending::Whole,
    }
}

/// Counts an exchange as a worker does.
fn count(meter: &Meter, record: &Record) {
    let label = |tag: &Tag| Label { name: tag.name.clone().unwrap(), slot: tag.slot };
    if let Some(tenant) = &record.tenant {
        meter.hear_of_tenant(tenant.slot, || label(tenant));
    }
    if let Some(pool) = &record.pool {
        meter.hear_of_pool(&label(pool));
    }
    meter.exchange(record);
}

fn merge_all(metrics: &Metrics, deltas: &mut mpsc::Receiver<Delta>) -> usize {
    std::iter::from_fn(|| deltas.try_recv().ok()).map(|delta| metrics.merge(&delta)).count()
}

/// The value of one line of the text format.
fn value(metrics: &Metrics, series: &str) -> Option<f64> {
    let text = metrics.render().unwrap();
    let line = text.lines().find(|line| line.rsplit_once(' ').is_some_and(|l| l.0 == series));
    line.and_then(|line| line.rsplit_once(' ')).map(|(_, value)| value.parse().unwrap())
}

#[test]
fn workers_add_up_by_name() {
    let metrics = Metrics::new();
    let (sender, mut deltas) = mpsc::channel(4);
    let meters = [Meter::new(0, sender.clone()), Meter::new(1, sender)];

    for meter in &meters {
        meter.exchange_started();
        meter.exchange_started();
        count(meter, &record(Some(label("acme", 7)), Some(label("shop", 1)), 200));
        meter.flush();
    }

    assert_eq!(merge_all(&metrics, &mut deltas), 2);
    let requests = "tenantry_requests_total{tenant=\"acme\",pool=\"shop\",class=\"2xx\"}";
    assert_eq!(value(&metrics, requests), Some(2.0));
    assert_eq!(value(&metrics, "tenantry_requests_in_flight"), Some(2.0));
    let duration = "tenantry_request_duration_seconds";
    assert_eq!(value(&metrics, &format!("{duration}_sum{{tenant=\"acme\"}}")), Some(0.04));
    let bucket = |le| format!("{duration}_bucket{{tenant=\"acme\",le=\"{le}\"}}");
    assert_eq!(value(&metrics, &bucket("0.01")), Some(0.0));
    assert_eq!(value(&metrics, &bucket("0.025")), Some(2.0));
    assert_eq!(value(&metrics, &bucket("+Inf")), Some(2.0));
    let bytes = "tenantry_body_bytes_total{tenant=\"acme\",direction=\"response\"}";
    assert_eq!(value(&metrics, bytes), Some(200.0));
}

#[test]
fn a_tenant_of_many_requests_is_counted_to_the_last() {
    let metrics = Metrics::new();
    let (sender, mut deltas) = mpsc::channel(4);
    let meter = Meter::new(0, sender);
    let mut one = record(Some(label("acme", 0)), Some(label("shop", 0)), 200);
    let two = record(Some(label("acme", 0)), Some(label("cart", 1)), 404);
    one.duration = Duration::from_millis(2);

    for number in 0..3000 {
        count(&meter, if number % 10 == 0 { &two } else { &one });
        if number == 2000 {
            meter.flush();
        }
    }
    meter.flush();
    merge_all(&metrics, &mut deltas);

    let requests = |pool, class| {
        format!("tenantry_requests_total{{tenant=\"acme\",pool=\"{pool}\",class=\"{class}\"}}")
    };
    assert_eq!(value(&metrics, &requests("shop", "2xx")), Some(2700.0));
    assert_eq!(value(&metrics, &requests("cart", "4xx")), Some(300.0));
    let bucket =
        |le| format!("tenantry_request_duration_seconds_bucket{{tenant=\"acme\",le=\"{le}\"}}");
    assert_eq!(value(&metrics, &bucket("0.0025")), Some(2700.0));
    assert_eq!(value(&metrics, &bucket("+Inf")), Some(3000.0));
    let sum = "tenantry_request_duration_seconds_sum{tenant=\"acme\"}";
    assert!(value(&metrics, sum).is_some_and(|sum| (sum - 11.4).abs() < 1e-9));
    let bytes = "tenantry_body_bytes_total{tenant=\"acme\",direction=\"request\"}";
    assert_eq!(value(&metrics, bytes), Some(30_000.0));
    let (requests, failed) = metrics.since_start("acme").unwrap();
    assert_eq!((requests, failed), (3000, 0));
    assert_eq!(metrics.recent(|recent| recent.tenant_key(0, Sort::Requests)), 3000);
    assert_eq!(metrics.recent(|recent| recent.pool_key(1, Sort::Requests)), 300);
}

#[test]
fn a_full_channel_loses_nothing() {
    let metrics = Metrics::new();
    let (sender, mut deltas) = mpsc::channel(1);
    let meter = Meter::new(0, sender);

    for slot in 0..50 {
        let tenant = label(&format!("t{}", slot % 5), slot % 5);
        count(&meter, &record(Some(tenant), Some(label("shop", 0)), 503));
        meter.flush();
    }
    assert_eq!(merge_all(&metrics, &mut deltas), 1, "the first fills the channel");
    meter.flush();
    assert_eq!(merge_all(&metrics, &mut deltas), 1, "the rest goes as one");
    meter.flush();
    assert_eq!(merge_all(&metrics, &mut deltas), 0, "nothing new is not sent");

    for tenant in 0..5 {
        let series =
            format!("tenantry_requests_total{{tenant=\"t{tenant}\",pool=\"shop\",class=\"5xx\"}}");
        assert_eq!(value(&metrics, &series), Some(10.0));
    }
}

#[test]
fn a_request_without_a_tenant_or_an_answer_is_counted_as_such() {
    let metrics = Metrics::new();
    let (sender, mut deltas) = mpsc::channel(4);
    let meter = Meter::new(0, sender);
    let mut unknown = record(None, None, 404);
    unknown.problem = Some("tenant-unknown");

    meter.exchange(&unknown);
    count(&meter, &record(None, None, 0));
    count(&meter, &record(Some(label("acme", 0)), None, 999));
    meter.flush();
    merge_all(&metrics, &mut deltas);

    let requests = |tenant, class| {
        format!("tenantry_requests_total{{tenant=\"{tenant}\",pool=\"\",class=\"{class}\"}}")
    };
    assert_eq!(value(&metrics, &requests("", "4xx")), Some(1.0));
    assert_eq!(value(&metrics, &requests("", "none")), Some(1.0));
    assert_eq!(value(&metrics, &requests("acme", "5xx")), Some(1.0));
    let answers = "tenantry_gateway_answers_total{problem=\"tenant-unknown\"}";
    assert_eq!(value(&metrics, answers), Some(1.0));
}

#[test]
fn attempts_are_counted_by_endpoint_and_outcome() {
    let metrics = Metrics::new();
    let (sender, mut deltas) = mpsc::channel(4);
    let meter = Meter::new(0, sender);
    let pool = label("shop", 3);
    let endpoint = |number: u64, address: &str| {
        Endpoint::new(EndpointId(number), address.parse().unwrap(), Health::Up)
    };
    let (first, again) = (endpoint(1, "10.0.0.1:80"), endpoint(9, "10.0.0.1:80"));

    meter.attempt(&pool, &first, AttemptOutcome::Connect, None);
    meter.attempt(&pool, &again, AttemptOutcome::Connect, None);
    meter.attempt(&pool, &again, AttemptOutcome::Success, Some(Duration::from_millis(1)));
    meter.retry(&pool, "connect");
    meter.retry_refused(&pool, "budget");
    meter.upstream_opened(&pool);
    meter.upstream_opened(&pool);
    meter.upstream_closed(&pool);
    meter.flush();
    merge_all(&metrics, &mut deltas);

    let attempts = |outcome| {
        format!(
            "tenantry_attempts_total{{pool=\"shop\",endpoint=\"10.0.0.1:80\",outcome=\"{outcome}\"}}"
        )
    };
    assert_eq!(value(&metrics, &attempts("connect")), Some(2.0));
    assert_eq!(value(&metrics, &attempts("2xx")), Some(1.0));
    let retries = "tenantry_retries_total{pool=\"shop\",reason=\"connect\"}";
    assert_eq!(value(&metrics, retries), Some(1.0));
    assert_eq!(value(&metrics, "tenantry_upstream_connections{pool=\"shop\"}"), Some(1.0));
    let first_byte = "tenantry_attempt_first_byte_seconds_count{pool=\"shop\"}";
    assert_eq!(value(&metrics, first_byte), Some(1.0));
}

#[test]
fn a_pool_that_came_back_under_another_number_is_one_series() {
    let metrics = Metrics::new();
    let (sender, mut deltas) = mpsc::channel(4);
    let meter = Meter::new(0, sender);

    for slot in [1, 2] {
        count(&meter, &record(Some(label("acme", 0)), Some(label("shop", slot)), 200));
        meter.flush();
    }
    merge_all(&metrics, &mut deltas);

    let series = "tenantry_requests_total{tenant=\"acme\",pool=\"shop\",class=\"2xx\"}";
    assert_eq!(value(&metrics, series), Some(2.0));
}

#[test]
fn connections_are_counted_by_listener() {
    let metrics = Metrics::new();
    metrics.publish_listeners(vec!["127.0.0.1:80".into(), Arc::from("127.0.0.1:443")]);
    let (sender, mut deltas) = mpsc::channel(4);
    let meter = Meter::new(0, sender);

    meter.connection_opened(1);
    meter.connection_opened(1);
    meter.connection_closed(1);
    meter.connection_rejected("limit");
    meter.flush();
    merge_all(&metrics, &mut deltas);

    let open = |listener| format!("tenantry_downstream_connections{{listener=\"{listener}\"}}");
    assert_eq!(value(&metrics, &open("127.0.0.1:80")), Some(0.0));
    assert_eq!(value(&metrics, &open("127.0.0.1:443")), Some(1.0));
}

#[test]
fn outcomes_have_each_their_own_name_and_number() {
    let mut names: Vec<&str> = AttemptOutcome::ALL.map(AttemptOutcome::as_str).to_vec();
    for (number, outcome) in AttemptOutcome::ALL.into_iter().enumerate() {
        assert_eq!(outcome as usize, number);
    }
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), AttemptOutcome::ALL.len());
    assert_eq!(AttemptOutcome::from_status(304), AttemptOutcome::Redirection);
    assert_eq!(AttemptOutcome::from_status(101), AttemptOutcome::Informational);
    assert_eq!(AttemptOutcome::from_status(999), AttemptOutcome::ServerError);
}
