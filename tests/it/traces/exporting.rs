//! What becomes of spans when the collector is busy, gone, or says no, and that no request waits.

use crate::world::client::{Client, get, head};
use crate::world::config::one_tenant;
use crate::world::gateway::Gateway;
use crate::world::origin::Origin;
use crate::world::pki::Authority;
use crate::world::unreachable::{Refusing, Silent};

use super::collector::{Collector, tracing};

/// A gateway with one endpoint.
async fn gateway(config: &str) -> (Origin, Gateway) {
    let origin = Origin::saying("hello").await;
    let gateway = Gateway::start_with(config, &one_tenant(&[origin.address])).await;
    (origin, gateway)
}

fn spans_that(result: &str) -> String {
    format!("tenantry_trace_spans_total{{result=\"{result}\"}}")
}

fn exports_that(result: &str) -> String {
    format!("tenantry_trace_exports_total{{result=\"{result}\"}}")
}

#[tokio::test]
async fn a_busy_collector_is_asked_again_and_nothing_is_lost() {
    let mut collector = Collector::start().await;
    for (number, exporter) in (1..).zip(["otlp-http", "otlp-grpc", "zipkin"]) {
        let (_origin, gateway) = gateway(&collector.config(exporter, "")).await;
        collector.order("busy 2 0").await;

        gateway.get("/").await;

        assert_eq!(collector.spans(number * 4).await.len(), number * 4, "{exporter}");
        gateway.metric_becomes(&spans_that("exported"), 4.0).await;
        assert_eq!(gateway.metric(&exports_that("busy")).await, Some(2.0), "{exporter}");
        assert_eq!(gateway.metric(&exports_that("ok")).await, Some(1.0), "{exporter}");
    }
}

#[tokio::test]
async fn a_kept_connection_that_has_died_costs_nothing() {
    let mut collector = Collector::start().await;
    let (_origin, gateway) = gateway(&collector.config("otlp-http", "")).await;
    gateway.get("/").await;
    collector.spans(4).await;
    collector.order("drop 1").await;

    gateway.get("/").await;

    collector.spans(4 + 3).await; // the endpoint's connection was kept, too
    gateway.metric_becomes(&exports_that("ok"), 2.0).await;
    assert_eq!(gateway.metric(&exports_that("broken")).await, Some(0.0));
}

#[tokio::test]
async fn what_a_collector_will_never_take_is_lost_at_once_and_counted() {
    let mut collector = Collector::start().await;
    for exporter in ["otlp-http", "otlp-grpc", "zipkin"] {
        let (_origin, gateway) = gateway(&collector.config(exporter, "")).await;
        collector.order("refuse 1").await;
        let before = collector.taken().len();

        gateway.get("/").await;
        gateway.metric_becomes(&spans_that("refused"), 4.0).await;
        gateway.get("/").await;

        collector.spans(before + 3).await;
        gateway.metric_becomes(&spans_that("exported"), 3.0).await;
        assert_eq!(gateway.metric(&exports_that("refused")).await, Some(1.0), "{exporter}");
    }
}

#[tokio::test]
async fn spans_that_a_collector_rejects_of_a_batch_are_counted() {
    let mut collector = Collector::start().await;
    for exporter in ["otlp-http", "otlp-grpc"] {
        let (_origin, gateway) = gateway(&collector.config(exporter, "")).await;
        collector.order("reject 1").await;

        gateway.get("/").await;

        gateway.metric_becomes(&spans_that("exported"), 3.0).await;
        assert_eq!(gateway.metric(&spans_that("rejected")).await, Some(1.0), "{exporter}");
    }
}

#[tokio::test]
async fn a_collector_that_never_answers_holds_up_nobody_and_what_is_lost_is_counted() {
    let mut collector = Collector::start().await;
    collector.order("hang").await;
    let silent = Silent::new();
    let urls = [
        collector.config("otlp-http", "queue = 2\nbatch = 1"),
        collector.config("otlp-grpc", "queue = 2\nbatch = 1"),
        tracing("zipkin", &format!("http://{}", silent.address), "queue = 2\nbatch = 1"),
    ];
    for config in urls {
        let (origin, gateway) = gateway(&config).await;

        let mut sent = 0;
        while gateway.metric(&spans_that("queue_full")).await.is_none_or(|lost| lost < 20.0) {
            assert_eq!(gateway.get("/").await.status, 200);
            sent += 1;
            assert!(sent < 100_000, "nothing is lost, so that the queue has no end");
        }
        let waiting = gateway.metric("tenantry_trace_queue_traces").await;
        assert!(waiting.is_some_and(|waiting| (1.0..=2.0).contains(&waiting)), "{waiting:?}");
        assert_eq!(gateway.metric(&spans_that("exported")).await, Some(0.0));
        assert_eq!(origin.asked().len(), sent, "each request has reached its endpoint");
        gateway.stop().await; // nor does it hold up the end
    }
}

#[tokio::test]
async fn a_collector_that_is_gone_fails_no_request() {
    let refusing = Refusing::new();
    let url = format!("http://{}", refusing.address);
    for exporter in ["otlp-http", "otlp-grpc", "zipkin"] {
        let (_origin, gateway) = gateway(&tracing(exporter, &url, "")).await;

        assert_eq!(gateway.get("/").await.status, 200);

        gateway.metric_at_least(&exports_that("unreachable"), 1.0).await;
        assert_eq!(gateway.get("/").await.status, 200);
    }
}

#[tokio::test]
async fn a_collector_that_is_too_slow_is_given_up_and_asked_again() {
    let mut collector = Collector::start().await;
    collector.order("hang").await;
    let (_origin, gateway) = gateway(&collector.config("otlp-http", "timeout = \"10ms\"")).await;

    gateway.get("/").await;

    gateway.metric_at_least(&exports_that("timeout"), 2.0).await;
}

#[tokio::test]
async fn long_heads_make_no_batch_that_a_server_of_grpc_refuses() {
    let collector = Collector::start().await;
    // All of them are sent at once, as soon as half of the queue is used.
    let more = format!("batch = 2048\nqueue = {}", REQUESTS * 2);
    let config = collector.config("otlp-grpc", &more).replace("20ms", "168h");
    let (_origin, gateway) = gateway(&config).await;
    let mut client = Client::connect(gateway.address()).await;
    let long = "x".repeat(1500);
    let (host, agent) = (format!("Host: {long}"), format!("User-Agent: {long}"));
    let asked = head(&format!("GET /{long}?{long}"), &[&host, &agent]);
    for _ in 0..REQUESTS {
        assert_eq!(client.ask(&asked).await.status, 400, "nobody is named, which leaves one span");
    }

    let spans = collector.spans(REQUESTS).await;
    let bytes = spans.iter().map(|span| span.says("url.path").len() * 4).sum::<usize>();
    assert!(bytes > 4 << 20, "{bytes} bytes fit into one message");
}

/// More than fit into the 4 MiB that servers of gRPC take.
const REQUESTS: usize = 1200;

#[tokio::test]
async fn what_waits_at_the_end_is_sent() {
    let collector = Collector::start().await;
    let config = collector.config("otlp-grpc", "").replace("20ms", "168h");
    let (_origin, gateway) = gateway(&config).await;
    get(gateway.address(), "acme", "/").await;
    gateway.metric_becomes("tenantry_trace_queue_traces", 1.0).await;
    assert!(collector.taken().is_empty());

    gateway.stop().await;

    assert_eq!(collector.spans(4).await.len(), 4);
}

#[tokio::test]
async fn a_collector_with_tls_is_believed_by_its_authority_alone() {
    let authority = Authority::new();
    let pair = authority.server(&["localhost"]);
    let collector = Collector::start_with(Some(&pair)).await;
    let stranger = Authority::new();
    for (number, exporter) in (1..).zip(["otlp-http", "otlp-grpc"]) {
        let tls = |authority: &Authority| format!("tls = {{ ca = \"{}\" }}", authority.file());
        let config = collector.secure_config(exporter, &tls(&stranger));
        let (_origin, wary) = gateway(&config).await;
        wary.get("/").await;
        wary.metric_at_least(&exports_that("unreachable"), 1.0).await;

        let config = collector.secure_config(exporter, &tls(&authority));
        let (_origin, trusting) = gateway(&config).await;
        trusting.get("/").await;

        assert_eq!(collector.spans(number * 4).await.len(), number * 4, "{exporter}");
    }
}
