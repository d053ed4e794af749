//! A pool without `concurrency` that is overrun: bounded meanwhile, by itself, and as before once it is over.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::world::client::{Client, head};
use crate::world::config::pool;
use crate::world::eventually;
use crate::world::gateway::Gateway;

const FIELDS: &[&str] = &["Host: localhost", "X-Tenant-ID: acme"];
const OVERRUN: &str = "tenantry_pool_overrun{pool=\"app\"}";
const OVERRUNS: &str = "tenantry_pool_overruns_total{pool=\"app\"}";
const LIMIT: &str = "tenantry_pool_concurrency_limit_requests{pool=\"app\"}";
const SERVED: &str = "tenantry_attempts_total{pool=\"app\",endpoint=";

/// An endpoint that answers at once, or, while it is overrun, every third request, late, and the others never.
struct Endpoint {
    address: SocketAddr,
    overrun: Arc<AtomicBool>,
    _serving: JoinSet<()>,
}

impl Endpoint {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (overrun, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut serving = JoinSet::new();
        let told = Arc::clone(&overrun);
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&told), Arc::clone(&count)));
            }
        });
        Self { address, overrun, _serving: serving }
    }

    fn is_overrun(&self, overrun: bool) {
        self.overrun.store(overrun, Ordering::SeqCst);
    }
}

async fn serve(mut stream: TcpStream, overrun: Arc<AtomicBool>, count: Arc<AtomicU64>) {
    let mut came = Vec::new();
    while let Ok(1..) = stream.read_buf(&mut came).await {
        if !came.ends_with(b"\r\n\r\n") {
            continue;
        }
        came.clear();
        if overrun.load(Ordering::SeqCst) {
            if !count.fetch_add(1, Ordering::SeqCst).is_multiple_of(3) {
                continue;
            }
            sleep(Duration::from_millis(1200)).await; // those before it in its queue
        }
        if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.is_err() {
            return;
        }
    }
}

/// Asks again and again, with a pause between, and notes whether an answer was 503 as of a full queue.
async fn ask(gateway: SocketAddr, shed: Arc<AtomicBool>) {
    let mut client = Client::connect(gateway).await;
    loop {
        let answer = client.ask(head("GET /", FIELDS)).await;
        if answer.status == 503 {
            let kind = answer.json()["type"].clone();
            assert!(kind.as_str().is_some_and(|kind| kind.contains(":queue-")), "{kind}");
            assert_eq!(answer.one("retry-after").as_deref(), Some("1"));
            shed.store(true, Ordering::SeqCst);
        }
        sleep(Duration::from_millis(500)).await; // so that a machine that is busy otherwise is not flooded
    }
}

fn routes(endpoint: SocketAddr, keys: &str) -> String {
    let keys = format!(
        "timeouts = {{ attempt = \"2500ms\" }}\nretry = {{ attempts = 1 }}\neject = {{ failures = 0 }}\n{keys}"
    );
    pool("app", &[endpoint], &keys) + "[tenants.acme]\npool = \"app\"\n"
}

/// So many are served in five seconds or more that it is known what is usual.
async fn serves_a_while(gateway: &Gateway) {
    for _ in 0..5 {
        let series = format!("{SERVED}\"{}\",outcome=\"2xx\"}}", endpoint_of(gateway).await);
        let now = gateway.metric(&series).await.unwrap_or_default();
        gateway.metric_at_least(&series, now + 30.0).await;
    }
}

/// Waits until it is overrun, or is so no more. It takes ten looks in a row at which nobody waits, which may be long in
/// coming on a busy machine.
async fn becomes(gateway: &Gateway, overrun: f64) {
    let reached = async {
        while gateway.metric(OVERRUN).await != Some(overrun) {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(Duration::from_secs(90), reached).await.expect("it becomes so");
}

async fn endpoint_of(gateway: &Gateway) -> String {
    let pools = gateway.admin("/api/v1/pools").await.json();
    pools[0]["members"][0]["address"].as_str().expect("an address").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_is_overrun_is_bounded_until_it_is_over_and_one_that_is_unlimited_never() {
    let endpoint = Endpoint::start().await;
    let bounded = Gateway::start(&routes(endpoint.address, "queue = { length = 5 }")).await;
    let unlimited = Gateway::start(&routes(endpoint.address, "concurrency = \"unlimited\"")).await;
    let shed = Arc::new(AtomicBool::new(false));
    let mut asking = JoinSet::new();
    for gateway in [&bounded, &unlimited] {
        (0..120).for_each(|_| drop(asking.spawn(ask(gateway.address(), Arc::clone(&shed)))));
    }
    for gateway in [&bounded, &unlimited] {
        serves_a_while(gateway).await;
    }
    assert_eq!((bounded.metric(OVERRUN).await, bounded.metric(LIMIT).await), (Some(0.0), None));

    endpoint.is_overrun(true);
    becomes(&bounded, 1.0).await;
    let pools = bounded.admin("/api/v1/pools").await.json();
    assert!(pools[0]["overrun"]["limit"].as_u64().is_some_and(|limit| limit >= 20), "{pools}");
    bounded.metric_at_least(LIMIT, 20.0).await;
    eventually("one is refused", || shed.load(Ordering::SeqCst), |shed| *shed).await;

    endpoint.is_overrun(false);
    becomes(&bounded, 0.0).await;
    assert!(bounded.metric(OVERRUNS).await.is_some_and(|count| count >= 1.0));
    assert_eq!(bounded.admin("/api/v1/pools").await.json()[0]["overrun"], serde_json::Value::Null);
    assert_eq!((unlimited.metric(OVERRUN).await, unlimited.metric(OVERRUNS).await), (None, None));
    assert_eq!(bounded.get("/").await.status, 200);
    let gone = asking.try_join_next();
    assert!(gone.is_none(), "{gone:?}");
}
