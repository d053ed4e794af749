//! Guards: a table of 100,000 tenants compiles in about 100 ms, and in a small part of that when one
//! tenant of it was edited and all others are known to be those of before; one of 1,000 in about 1 ms.

mod world;

use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};

use tenantry::base::units::ByteSize;
use tenantry::config::spec::RoutesSpec;
use tenantry::routing::{Previous, compile, compile_edited};

fn table_compile(criterion: &mut Criterion) {
    let pools = world::pools();
    for tenants in [1_000, 100_000] {
        let spec = world::spec(tenants);
        criterion.bench_function(&format!("table_compile/first/{tenants}"), |bench| {
            bench.iter_with_large_drop(|| compile(&spec, None, &pools, 1));
        });

        // Read anew, as a reload reads it: every spec is equal to the one before and none is it.
        let before = compile(&spec, None, &pools, 1);
        let mut edited = world::spec(tenants);
        edit_one(&mut edited);
        criterion.bench_function(&format!("table_compile/one_edited/{tenants}"), |bench| {
            bench.iter_with_large_drop(|| compile(&edited, Some(&before), &pools, 2));
        });

        // As after an edit of the files: the others' specs are those of before.
        let mut kept = spec.clone();
        edit_one(&mut kept);
        let previous = Previous { table: &before, spec: Some(&spec), pools: &pools };
        criterion.bench_function(&format!("table_compile/one_of_kept/{tenants}"), |bench| {
            bench.iter_with_large_drop(|| compile_edited(&kept, &previous, &pools, 2));
        });
    }
}

fn edit_one(spec: &mut RoutesSpec) {
    if let Some((id, mut tenant)) = spec.tenants.iter().next().cloned() {
        Arc::make_mut(&mut tenant).replay_memory = ByteSize(1);
        spec.tenants.insert((id, tenant));
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = table_compile
}
criterion_main!(benches);
