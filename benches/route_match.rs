//! Guards: naming a tenant and finding its route, with fifty routes, takes some 300 ns, with 1,000
//! tenants and with 100,000.

#![expect(clippy::unwrap_used, reason = "a bench that cannot be set up shall stop")]

mod world;

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use http::Request;
use http::request::Parts;

use tenantry::routing::naming::Shown;
use tenantry::routing::table::Table;
use tenantry::routing::{Query, compile, host};

fn head(tenant: usize, path: &str) -> Parts {
    let request = Request::builder()
        .uri(path)
        .header("host", "shop.example.com")
        .header("user-agent", "bench")
        .header("accept", "*/*")
        .header("x-tenant-id", format!("tenant-{tenant}"));
    request.body(()).unwrap().into_parts().0
}

fn found(table: &Table, head: &Parts) -> bool {
    let host = host::of(head);
    let Ok(named) = table.name(head, &Shown::default()) else {
        return false;
    };
    let query = Query {
        host: host.as_deref(),
        path: named.path,
        method: &head.method,
        headers: &head.headers,
        query: head.uri.query(),
    };
    named.tenant.find(&query).is_some()
}

fn route_match(criterion: &mut Criterion) {
    for tenants in [1_000, 100_000] {
        let table = compile(&world::spec(tenants), None, &world::pools(), 1);
        // Tenants spread over the whole table, so that the caches are as cold as they would be.
        let heads: Vec<Parts> = (0..1_000)
            .map(|at| head(at * (tenants / 1_000), &format!("/api/v1/part-{}/7/x", at % 50)))
            .collect();
        assert!(heads.iter().all(|head| found(&table, head)));
        let mut next = heads.iter().cycle();
        criterion.bench_function(&format!("route_match/{tenants}_tenants"), |bench| {
            bench.iter(|| next.next().map(|head| found(&table, black_box(head))));
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = route_match
}
criterion_main!(benches);
