//! Guards: what a worker counts for one request (the exchange, one attempt, one connection that
//! was reused) takes under 100 ns, for one tenant and for a thousand, flushes included. `merge` is what
//! the control side does once a second for each tenant that had a request: where traffic goes round
//! all tenants that is paid for each request, and may take 100 ns.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use http::{HeaderValue, Method, Version};
use tokio::time::Instant;

use tenantry::model::endpoint::{Endpoint, Health};
use tenantry::model::ids::{EndpointId, Label};
use tenantry::telemetry::delta::{AttemptOutcome, Delta};
use tenantry::telemetry::meter::Meter;
use tenantry::telemetry::record::{Ending, Record, Tag};
use tenantry::telemetry::registry::{Metrics, deltas};

fn record(tenant: u32) -> Record {
    Record {
        started: Instant::now(),
        duration: Duration::from_micros(u64::from(tenant) * 7 + 400),
        request_id: HeaderValue::from_static("0195"),
        client: Some(std::net::Ipv4Addr::LOCALHOST.into()),
        method: Method::GET,
        version: Version::HTTP_11,
        line: None,
        logged: false,
        trace: None,
        asked: None,
        tenant: Some(Tag::of(tenant)),
        caller: None,
        route: None,
        pool: Some(Tag::of(3)),
        endpoint: None,
        queued: None,
        attempts: 1,
        status: 200,
        problem: None,
        first_byte: None,
        bytes_in: 0,
        bytes_out: 128,
        ending: Ending::Whole,
    }
}

fn label(tenant: u32) -> Label {
    Label { name: format!("tenant-{tenant}").into(), slot: tenant }
}

fn count(criterion: &mut Criterion) {
    let pool = Label { name: "shop".into(), slot: 3 };
    let endpoints: Vec<Endpoint> = (1..=8)
        .map(|number| {
            let address = ([10, 0, 0, number], 80).into();
            Endpoint::new(EndpointId((3 << 32) | u64::from(number)), address, Health::Up)
        })
        .collect();
    for tenants in [1, 1_000, 100_000] {
        let records: Vec<Record> = (0..tenants).map(record).collect();
        let labels: Vec<Label> = (0..tenants).map(label).collect();
        let (sender, mut receiver) = deltas();
        let meter = Meter::new(0, sender);
        let mut number = 0;
        criterion.bench_function(&format!("record/{tenants}_tenants"), |bench| {
            bench.iter(|| {
                let record = &records[number % records.len()];
                let endpoint = &endpoints[number % endpoints.len()];
                let label = &labels[number % labels.len()];
                meter.exchange_started();
                meter.hear_of_tenant(label.slot, || label.clone());
                meter.hear_of_pool(&pool);
                meter.upstream_reused(&pool);
                let first_byte = Some(Duration::from_micros(300));
                meter.attempt(&pool, endpoint, AttemptOutcome::Success, first_byte);
                meter.exchange(black_box(record));
                number += 1;
                // As often as a worker at full load does.
                if number % REQUESTS_A_FLUSH == 0 {
                    meter.flush();
                    drop(receiver.try_recv());
                }
            });
        });
    }
}

fn merge(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("merge");
    for tenants in [1_000, 20_000] {
        let records: Vec<Record> = (0..tenants).map(record).collect();
        let (sender, mut receiver) = deltas();
        let meter = Meter::new(0, sender);
        let metrics = Metrics::new();
        (0..tenants)
            .map(label)
            .for_each(|label| meter.hear_of_tenant(label.slot, || label.clone()));
        let mut flushed = || {
            records.iter().for_each(|record| meter.exchange(record));
            meter.flush();
            receiver.try_recv()
        };
        let merge = |delta: Result<Delta, _>| {
            if let Ok(delta) = &delta {
                metrics.merge(delta);
            }
            delta
        };
        group.throughput(Throughput::Elements(tenants.into()));
        group.bench_function(format!("{tenants}_tenants"), |bench| {
            bench.iter_batched(&mut flushed, merge, BatchSize::PerIteration);
        });
    }
    group.finish();
}

/// Requests of one worker at full load between two flushes.
const REQUESTS_A_FLUSH: usize = 50_000;

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(700));
    targets = count, merge
}
criterion_main!(benches);
