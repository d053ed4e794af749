//! Header hygiene. Guards the cost of cleaning one request's and one answer's head: a pass over the
//! names and no allocation where there is nothing to take away.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use tenantry::config::spec::{NameFrom, NamingSpec};
use tenantry::proxy::hygiene::{OwnedNames, clean_answer, clean_request};

fn fields(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    lines
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect()
}

const BROWSER: &[(&str, &str)] = &[
    ("host", "acme.example.com"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
    ("accept", "text/html,application/xhtml+xml"),
    ("accept-language", "en"),
    ("accept-encoding", "gzip, br"),
    ("cookie", "session=0123456789abcdef"),
    ("x-tenant-id", "acme"),
    ("sec-fetch-mode", "navigate"),
];
const HOSTILE: &[(&str, &str)] = &[
    ("host", "acme.example.com"),
    ("connection", "keep-alive, x-tenant-id, x-secret"),
    ("keep-alive", "timeout=5"),
    ("te", "trailers, deflate"),
    ("x-tenant-id", "acme"),
    ("x_tenant_id", "globex"),
    ("x-forwarded-for", "10.0.0.1"),
    ("x-secret", "1"),
];
const ANSWER: &[(&str, &str)] = &[
    ("content-type", "application/json"),
    ("content-length", "128"),
    ("date", "Sat, 21 Nov 2026 20:40:26 GMT"),
    ("server", "app"),
];

fn hygiene(c: &mut Criterion) {
    let header = HeaderName::from_static("x-tenant-id");
    let naming = NamingSpec { from: vec![NameFrom::Header(header.clone())], forward_as: header };
    let owned = OwnedNames::of(&naming);
    let mut group = c.benchmark_group("hygiene");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    for (name, lines) in [("browser", BROWSER), ("hostile", HOSTILE)] {
        let head = fields(lines);
        group.bench_function(format!("request/{name}"), |b| {
            let clean = |mut head: HeaderMap| {
                black_box(clean_request(&mut head, &owned));
                head
            };
            b.iter_batched(|| head.clone(), clean, BatchSize::SmallInput);
        });
    }
    let head = fields(ANSWER);
    group.bench_function("answer", |b| {
        let fresh = || {
            let mut answer = Response::new(());
            *answer.headers_mut() = head.clone();
            answer
        };
        let clean = |mut answer: Response<()>| {
            black_box(clean_answer(&mut answer));
            answer
        };
        b.iter_batched(fresh, clean, BatchSize::SmallInput);
    });
    group.finish();
}

criterion_group!(benches, hygiene);
criterion_main!(benches);
