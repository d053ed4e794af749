//! Header hygiene. Guards the cost of checking and cleaning one request's and one answer's head: a few
//! passes over the names and no allocation where there is nothing to take away. `whole/browser` is all
//! of it for a usual request and its answer, which may take 0.5 µs.

#![expect(clippy::unwrap_used, reason = "a bench that cannot be set up shall stop")]

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tenantry::config;
use tenantry::config::spec::{NameFrom, NamingSpec};
use tenantry::proxy::guard::is_sound;
use tenantry::proxy::hygiene::{OwnedNames, clean_answer, clean_request};

fn fields(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    lines
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect()
}

fn request(lines: &[(&'static str, &'static str)]) -> Parts {
    let mut head = Request::get("/shop/cart.html?item=7").body(()).unwrap().into_parts().0;
    head.headers = fields(lines);
    head
}

fn answer(lines: &[(&'static str, &'static str)]) -> Response<()> {
    let mut answer = Response::new(());
    *answer.headers_mut() = fields(lines);
    answer
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
    let naming = NamingSpec {
        from: vec![NameFrom::Header(header.clone())],
        forward_as: header,
        identity: Default::default(),
    };
    let owned = OwnedNames::of(&naming);
    let gateway = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/gateway.toml");
    let limits = config::load_gateway(&gateway).unwrap().downstream;
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
        let head = request(lines);
        assert!(is_sound(&head, &limits), "{name} passes");
        group.bench_function(format!("guard/{name}"), |b| {
            b.iter(|| black_box(is_sound(black_box(&head), &limits)));
        });
    }
    let said = answer(ANSWER);
    group.bench_function("answer", |b| {
        let clean = |mut answer: Response<()>| {
            black_box(clean_answer(&mut answer));
            answer
        };
        b.iter_batched(|| said.clone(), clean, BatchSize::SmallInput);
    });
    let asked = request(BROWSER);
    group.bench_function("whole/browser", |b| {
        let pass = |(mut head, mut answer): (Parts, Response<()>)| {
            black_box(is_sound(&head, &limits));
            black_box(clean_request(&mut head.headers, &owned));
            black_box(clean_answer(&mut answer));
            (head, answer)
        };
        b.iter_batched(|| (asked.clone(), said.clone()), pass, BatchSize::SmallInput);
    });
    group.finish();
}

criterion_group!(benches, hygiene);
criterion_main!(benches);
