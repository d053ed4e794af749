//! A pool whose limit of requests at once follows how long they take.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::world::client::{Client, head};
use crate::world::config::pool;
use crate::world::gateway::Gateway;
use crate::world::origin::Origin;
use crate::world::within;

const FIELDS: &[&str] = &["Host: localhost", "X-Tenant-ID: acme"];
const LIMIT: &str = "tenantry_pool_concurrency_limit_requests{pool=\"app\"}";
const INSIDE: &str = "tenantry_pool_concurrency_requests{pool=\"app\"}";
const WAITING: &str = "tenantry_queue_waiting_requests{pool=\"app\"}";
const SLOWDOWN: &str = "tenantry_pool_concurrency_slowdown_ratio{pool=\"app\"}";

fn routes(endpoint: SocketAddr, keys: &str) -> String {
    pool("app", &[endpoint], keys) + "[tenants.acme]\npool = \"app\"\n"
}

/// An endpoint that takes as long for each request as it is told to.
struct Paced {
    address: SocketAddr,
    millis: Arc<AtomicU64>,
    _serving: JoinSet<()>,
}

impl Paced {
    async fn start(millis: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let millis = Arc::new(AtomicU64::new(millis));
        let mut serving = JoinSet::new();
        let told = Arc::clone(&millis);
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&told)));
            }
        });
        Self { address, millis, _serving: serving }
    }

    fn takes(&self, millis: u64) {
        self.millis.store(millis, Ordering::SeqCst);
    }
}

async fn serve(mut stream: TcpStream, millis: Arc<AtomicU64>) {
    let mut came = Vec::new();
    while let Ok(1..) = stream.read_buf(&mut came).await {
        if !came.ends_with(b"\r\n\r\n") {
            continue;
        }
        came.clear();
        sleep(Duration::from_millis(millis.load(Ordering::SeqCst))).await; // what its work takes
        if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.is_err() {
            return;
        }
    }
}

/// Asks again and again; gives the first status that is not 200.
async fn ask(address: SocketAddr) -> u16 {
    let mut client = Client::connect(address).await;
    loop {
        let status = client.ask(head("GET /", FIELDS)).await.status;
        if status != 200 {
            return status;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limit_rises_while_it_is_used_and_falls_while_requests_take_longer() {
    let endpoint = Paced::start(30).await;
    let keys = "concurrency = { min = 2, max = 20 }\nqueue = { length = 100, wait = \"10s\" }";
    let gateway = Gateway::start_with_workers(2, "", &routes(endpoint.address, keys)).await;
    assert_eq!(gateway.metric(LIMIT).await, Some(2.0));
    assert_eq!(gateway.metric(SLOWDOWN).await, None);

    let mut asking = JoinSet::new();
    for _ in 0..25 {
        asking.spawn(ask(gateway.address()));
    }
    gateway.metric_at_least(LIMIT, 8.0).await;

    endpoint.takes(400);
    gateway.metric_at_least(SLOWDOWN, 3.0).await;
    within("a lower limit", async {
        while gateway.metric(LIMIT).await.is_none_or(|limit| limit > 6.0) {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;

    endpoint.takes(30);
    gateway.metric_at_least(LIMIT, 8.0).await;
    let refused = asking.try_join_next();
    assert!(refused.is_none(), "who waits has its turn: {refused:?}");
}

#[tokio::test]
async fn a_limit_that_is_not_used_stays_and_its_bounds_are_told() {
    let origin = Origin::saying("hello").await;
    let keys = "concurrency = { min = 5, max = 9, tolerance = 2 }";
    let gateway = Gateway::start(&routes(origin.address, keys)).await;
    for _ in 0..20 {
        assert_eq!(gateway.get("/").await.status, 200);
    }

    let pools = gateway.admin("/api/v1/pools").await.json();
    let told = &pools[0]["concurrency"];
    assert_eq!((&told["limit"], &told["requests"]), (&5.into(), &0.into()));
    assert_eq!((&told["adaptive"]["min"], &told["adaptive"]["max"]), (&5.into(), &9.into()));
    let told = gateway.admin("/api/v1/explain?target=/&tenant=acme").await.json();
    let settings = told["settings"].as_array().expect("settings");
    let setting = |key: &str| {
        let found = settings.iter().find(|setting| setting["key"] == key);
        found.map(|found| found["value"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(setting("concurrency").as_deref(), Some("adaptive"));
    assert_eq!(setting("concurrency.min").as_deref(), Some("5"));
    assert_eq!(setting("concurrency.max").as_deref(), Some("9"));
    assert_eq!(setting("concurrency.tolerance").as_deref(), Some("2"));
}

/// A gateway with an endpoint that answers nobody, these keys of its pool, and a request under way there.
async fn filled(keys: &str) -> (Gateway, Paced, Client) {
    let endpoint = Paced::start(600_000).await;
    let gateway = Gateway::start(&routes(endpoint.address, keys)).await;
    let mut inside = Client::connect(gateway.address()).await;
    inside.send(head("GET /", FIELDS)).await;
    gateway.metric_becomes(INSIDE, 1.0).await;
    (gateway, endpoint, inside)
}

/// Nothing else goes on meanwhile: the endpoint never answers, who waits waits for an hour, and the client never sends the body that
/// it tells of.
#[tokio::test]
async fn who_is_shed_has_503_with_retry_after_and_waits_for_nothing() {
    for limit in ["1", "{ min = 1, max = 1 }"] {
        let keys = format!(
            "concurrency = {limit}\nqueue = {{ length = 1, wait = \"1h\" }}\ntimeouts = {{ total = \"2h\" }}"
        );
        let (gateway, _endpoint, _inside) = filled(&keys).await;
        let mut waits = Client::connect(gateway.address()).await;
        waits.send(head("GET /", FIELDS)).await;
        gateway.metric_becomes(WAITING, 1.0).await;

        let mut shed = Client::connect(gateway.address()).await;
        shed.send(head("POST /", &[FIELDS, &["Content-Length: 1000"]].concat())).await;
        let answer = shed.answer_to("POST").await;

        assert_eq!((answer.status, answer.one("retry-after").as_deref()), (503, Some("3600")));
        assert_eq!(answer.json()["type"], "urn:tenantry:problem:queue-full");
        let now = (gateway.metric(INSIDE).await, gateway.metric(WAITING).await);
        assert_eq!(now, (Some(1.0), Some(1.0)), "nobody has gone on for it");
    }
}

#[tokio::test]
async fn checks_and_the_admin_listener_go_on_while_a_pool_is_full() {
    const CHECKS: &str =
        "tenantry_health_checks_total{pool=\"app\",cause=\"interval\",result=\"passed\"}";
    let keys = "concurrency = { min = 1, max = 1 }\nqueue = { length = 0, wait = \"3s\" }\n\
                health = { tcp = true, interval = \"50ms\" }";
    let (gateway, _endpoint, _inside) = filled(keys).await;
    assert_eq!(gateway.get("/").await.status, 503);

    let checks = gateway.metric(CHECKS).await.unwrap_or_default();
    gateway.metric_at_least(CHECKS, checks + 3.0).await;
    for path in ["/healthz", "/readyz", "/metrics", "/api/v1/pools"] {
        assert_eq!(gateway.admin(path).await.status, 200, "{path}");
    }
    assert_eq!(gateway.metric(INSIDE).await, Some(1.0));
}
