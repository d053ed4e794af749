//! What an endpoint says of trying again: `Retry-After`, and statuses of gRPC.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use http::Response;
use tokio::time::Instant;

use crate::world::client::{Client, Frames, Hyper, get, head};
use crate::world::config::one_tenant_with;
use crate::world::eventually;
use crate::world::gateway::Gateway;
use crate::world::h2_origin::{H2Origin, Speaks};
use crate::world::origin::{Origin, Step};

const KEYS: &str = "balance = \"round-robin\"\neject = { failures = 0 }\nretry = { on = [\"503\", \"429\"], backoff = \"1ms\" }";

/// [`KEYS`], where an endpoint that asks for so long is given it.
fn patient(longest: &str) -> String {
    format!("{}, max-retry-after = \"{longest}\" }}", KEYS.trim_end_matches(" }"))
}

fn busy(status: u16, retry_after: &str) -> Step {
    Step::raw(format!(
        "HTTP/1.1 {status} Busy\r\nRetry-After: {retry_after}\r\nContent-Length: 4\r\n\r\nbusy"
    ))
}

fn refused(reason: &str) -> String {
    format!("tenantry_retries_refused_total{{pool=\"app\",reason=\"{reason}\"}}")
}

#[tokio::test]
async fn an_endpoint_that_asks_for_a_second_is_given_it() {
    let origin = Origin::start([busy(503, "1"), Step::ok("served")]).await;
    let gateway = Gateway::start(&one_tenant_with(&[origin.address], KEYS)).await;
    let started = Instant::now();

    let answer = get(gateway.address(), "acme", "/").await;

    assert_eq!(answer.text(), "served");
    assert!(started.elapsed() >= Duration::from_secs(1), "{:?}", started.elapsed());
}

#[tokio::test]
async fn another_endpoint_has_not_asked_for_anything() {
    let (bad, good) = (Origin::start([busy(503, "100")]).await, Origin::saying("here").await);
    let gateway = Gateway::start(&one_tenant_with(&[bad.address, good.address], KEYS)).await;

    for _ in 0..4 {
        assert_eq!(get(gateway.address(), "acme", "/").await.text(), "here");
    }

    assert!(!bad.asked().is_empty());
    // Requests are counted by the service, whichever endpoint says so.
    bad.rescript([busy(429, "100")]);
    let mut statuses = Vec::new();
    for _ in 0..2 {
        statuses.push(get(gateway.address(), "acme", "/").await.status);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 429]);
    gateway.metric_becomes(&refused("retry_after"), 1.0).await;
}

#[tokio::test]
async fn an_endpoint_that_is_ejected_is_no_other_one_to_go_to() {
    let (busy_one, out) = (Origin::saying("ok").await, Origin::saying("ok").await);
    let keys = KEYS.replace("failures = 0", "failures = 1, base = \"60s\"");
    let addresses = [busy_one.address, out.address];
    let gateway = Gateway::start(&one_tenant_with(&addresses, &keys)).await;
    out.rescript([Step::answer(500, "out")]);
    let ejections = "tenantry_ejections_total{pool=\"app\"}";
    while gateway.metric(ejections).await.unwrap_or_default() == 0.0 {
        get(gateway.address(), "acme", "/").await;
    }
    // A 5xx would eject it as well: what is left of a pool of two would then be all of it.
    busy_one.rescript([busy(429, "1"), Step::ok("served")]);
    let started = Instant::now();

    let answer = get(gateway.address(), "acme", "/").await;

    assert_eq!(answer.text(), "served");
    assert!(started.elapsed() >= Duration::from_secs(1), "{:?}", started.elapsed());
}

#[tokio::test]
async fn who_asks_for_more_than_is_waited_for_is_passed_on() {
    let soon = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(60));
    for wait in ["3", "18446744073709551615", &soon] {
        let origin = Origin::start([busy(503, wait), Step::ok("never")]).await;
        let gateway = Gateway::start(&one_tenant_with(&[origin.address], KEYS)).await;

        let answer = get(gateway.address(), "acme", "/").await;

        // What is no number of seconds says nothing, and the retry goes as it would.
        if wait.len() > 13 && !wait.contains(' ') {
            assert_eq!(answer.text(), "never");
            continue;
        }
        assert_eq!((answer.status, answer.one("retry-after").as_deref()), (503, Some(wait)));
        assert_eq!(origin.asked().len(), 1);
        gateway.metric_becomes(&refused("retry_after"), 1.0).await;
    }
}

#[tokio::test]
async fn a_date_that_is_over_is_no_reason_to_wait() {
    let date = httpdate::fmt_http_date(SystemTime::now() - Duration::from_secs(60));
    let origin = Origin::start([busy(503, &date), Step::ok("served")]).await;
    let gateway = Gateway::start(&one_tenant_with(&[origin.address], &patient("0s"))).await;

    assert_eq!(get(gateway.address(), "acme", "/").await.text(), "served");
}

#[tokio::test]
async fn a_wait_that_goes_beyond_the_deadline_is_not_made() {
    let origin = Origin::start([busy(503, "15"), Step::ok("never")]).await;
    let keys = format!("{}\ntimeouts = {{ total = \"10s\" }}", patient("20s"));
    let gateway = Gateway::start(&one_tenant_with(&[origin.address], &keys)).await;

    assert_eq!(get(gateway.address(), "acme", "/").await.text(), "busy");

    gateway.metric_becomes(&refused("deadline"), 1.0).await;
}

#[tokio::test]
async fn a_client_that_leaves_before_its_retry_ends_its_request() {
    let origin = Origin::start([busy(503, "20"), Step::ok("never")]).await;
    let gateway = Gateway::start(&one_tenant_with(&[origin.address], &patient("20s"))).await;
    let mut client = Client::connect(gateway.address()).await;
    client.send(head("GET /", &["Host: a", "X-Tenant-ID: acme"])).await;
    origin.wait_for(1).await;
    gateway.metric_becomes("tenantry_retries_total{pool=\"app\",reason=\"status\"}", 1.0).await;

    drop(client);

    gateway.metric_becomes("tenantry_requests_in_flight", 0.0).await;
    assert_eq!(origin.asked().len(), 1);
}

/// An endpoint of gRPC whose first calls fail with this status, in the head or in trailers, and the
/// others well.
async fn failing(times: usize, status: &'static str, in_head: bool) -> H2Origin {
    let asked = Arc::new(AtomicUsize::new(0));
    H2Origin::start(Speaks::H2, move |_| {
        let fails = asked.fetch_add(1, Ordering::Relaxed) < times;
        let answer = Response::builder().header("content-type", "application/grpc");
        let trailers = |status: &'static str| {
            let mut trailers = http::HeaderMap::new();
            trailers.insert("grpc-status", http::HeaderValue::from_static(status));
            Frames::unsized_of("message").with_trailers(trailers)
        };
        match (fails, in_head) {
            (true, true) => answer.header("grpc-status", status).body(Frames::default()),
            (true, false) => answer.body(trailers(status)),
            (false, _) => answer.body(trailers("0")),
        }
        .expect("an answer")
    })
    .await
}

#[tokio::test]
async fn a_call_that_failed_before_its_answer_began_is_made_again_where_its_status_is_listed() {
    // How often it fails, with what, whether in the head, and how often the endpoint is asked.
    let cases = [
        (2, "14", true, 3, "0"),
        (1, "8", true, 2, "0"),
        (5, "14", true, 3, "14"),
        (1, "5", true, 1, "5"),
        (1, "14", false, 1, "14"),
    ];
    for (times, status, in_head, asked, told) in cases {
        let origin = failing(times, status, in_head).await;
        let keys = "protocol = \"h2\"\neject = { failures = 0 }\nretry = { backoff = \"1ms\", \
                    on = [\"grpc-unavailable\", \"503\", \"grpc-resource-exhausted\"] }";
        let gateway = Gateway::start(&one_tenant_with(&[origin.address], keys)).await;
        let mut client = Hyper::h2(gateway.address()).await;
        let mut call = client.request("POST", "acme", "/talk", Frames::sized("hello"));
        call.headers_mut().insert("content-type", "application/grpc".parse().expect("a value"));

        let answer = client.ask(call).await;

        let said = answer.headers.get("grpc-status").or(answer.trailers.get("grpc-status"));
        assert_eq!(said.expect("a status"), told, "{times} {status} {in_head}");
        assert_eq!(origin.asked().len(), asked, "{times} {status} {in_head}");
        assert!(origin.asked().iter().all(|asked| asked.body == b"hello"));
        let retries = "tenantry_retries_total{pool=\"app\",reason=\"grpc_status\"}";
        if asked > 1 {
            gateway.metric_becomes(retries, (asked - 1) as f64).await;
        }
    }
}

#[tokio::test]
async fn without_a_listed_status_of_grpc_calls_are_passed_on_as_they_fail() {
    let origin = failing(1, "14", true).await;
    let keys = "protocol = \"h2\"";
    let gateway = Gateway::start(&one_tenant_with(&[origin.address], keys)).await;
    let mut client = Hyper::h2(gateway.address()).await;

    let call = client.request("GET", "acme", "/talk", Frames::default());
    let answer = client.ask(call).await;

    assert_eq!(answer.headers.get("grpc-status").expect("a status"), "14");
    eventually("one request", || origin.asked().len(), |asked| *asked == 1).await;
}
