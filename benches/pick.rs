//! Guards: picking an endpoint, the count of requests in flight included, takes under 100 ns for
//! every balancer, for 4 endpoints and for 256.

#[expect(dead_code, reason = "each bench uses its part of the shared world")]
mod world;

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};

use tenantry::pool::balancer::{PickKey, names};

fn pick(criterion: &mut Criterion) {
    for balance in names() {
        for (title, weights) in [
            ("4_equal", vec![1; 4]),
            ("4_weighted", vec![5, 1, 1, 3]),
            ("256_weighted", (1..=256).collect()),
        ] {
            let pool = world::pool("bench", balance, &weights);
            criterion.bench_function(&format!("pick/{balance}/{title}"), |bench| {
                bench.iter(|| drop(black_box(pool.pick(PickKey::default(), &[]))));
            });
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(500));
    targets = pick
}
criterion_main!(benches);
