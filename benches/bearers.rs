//! Guards: of 10,000 tenants with certificates of their own, a name is found in less than 300 ns, and an edit of one is taken
//! in within 30 µs, the reading of its files not counted. Tells what one takes in memory, with its key, chain, names and
//! the keys of its tickets.

#![expect(clippy::expect_used, reason = "a bench that cannot be set up shall stop")]
#![expect(clippy::print_stderr, reason = "criterion measures no memory")]

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use tokio::time::Instant;

use tenantry::config::spec::{DomainsSpec, HostSpec, TenantCertificateSpec};
use tenantry::tls::tenants::Tenants;
use tenantry::tls::tenants::reading::{Means, Own};

const TENANTS: usize = 10_000;

fn host(number: usize) -> String {
    format!("shop.customer-{number}.example")
}

/// A tenant with a certificate, in files of its own.
fn bearer(folder: &Path, number: usize) -> DomainsSpec {
    let made = rcgen::generate_simple_self_signed([host(number)]).expect("a certificate");
    let path = |end: &str| folder.join(format!("{number}.{end}"));
    fs::write(path("pem"), made.cert.pem()).expect("write a certificate");
    fs::write(path("key"), made.signing_key.serialize_pem()).expect("write a key");
    let certificate =
        TenantCertificateSpec { certificate: path("pem"), key: path("key"), hosts: Vec::new() };
    DomainsSpec {
        hosts: vec![HostSpec::Exact(host(number))],
        certificates: vec![certificate],
        earlier: None,
    }
}

/// What the process has in memory.
fn resident() -> usize {
    let text = fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.expect("a number") * 4096
}

fn bearers(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let specs: Vec<DomainsSpec> = (0..TENANTS).map(|at| bearer(folder.path(), at)).collect();
    let means = Means::new().expect("cryptography");
    let (began, before) = (Instant::now(), resident());
    let mut tenants = Tenants::default();
    let read = |spec: &DomainsSpec| {
        let own = Own::read(spec, None, &means);
        assert!(own.problems.is_empty(), "{:?}", own.problems);
        own
    };
    let own: Vec<Own> = specs.iter().map(read).collect();
    own.iter().for_each(|own| tenants.add(&own.claims));
    let each = resident().saturating_sub(before) / TENANTS;
    eprintln!("bearers: {TENANTS} read in {:?}, {each} bytes each", began.elapsed());

    let name = host(TENANTS / 2);
    criterion.bench_function("bearers/find", |bench| {
        bench.iter(|| tenants.exact(black_box(&name)));
    });
    criterion.bench_function("bearers/read_one", |bench| {
        bench.iter(|| Own::read(&specs[0], Some(&own[0]), &means));
    });
    criterion.bench_function("bearers/edit_one", |bench| {
        bench.iter(|| {
            let mut now = tenants.clone();
            now.remove(&own[0].claims);
            now.add(&own[0].claims);
            now
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = bearers
}
criterion_main!(benches);
