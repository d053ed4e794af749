//! What is billed by: the generator's own counts against the files, over reloads, restarts and kills.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tenantry::control::generation::ReloadResult;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::world::client::{Client, Frames, Hyper, head};
use crate::world::config::pool;
use crate::world::gateway::Gateway;
use crate::world::message::Answer;
use crate::world::origin::{Origin, Step};
use crate::world::{STEP, eventually, within};

/// Four tenants; one of them may send two requests a minute.
fn routes(origin: &Origin, more: &str) -> String {
    format!(
        "{}\n[tenant]\nfrom = [{{ header = \"X-Tenant-ID\" }}]\n\
         [tenants.acme]\npool = \"app\"\n[tenants.globex]\npool = \"app\"\n\
         [tenants.narrow]\npool = \"app\"\nlimits = {{ requests = \"2/m\", burst = 2 }}\n{more}\n",
        pool("app", &[origin.address], "")
    )
}

const LEAVES: &str = "[tenants.leaves]\npool = \"app\"\n";

fn usage(interval: &str) -> String {
    format!(
        "[usage]\nfolder = \"usage\"\ngateway = \"edge-1\"\nflush-interval = \"{interval}\"\n\
         [drain]\naccept = \"10ms\"\n"
    )
}

/// What one tenant has sent and got, as the generator knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Sums {
    requests: u64,
    sent: u64,
    got: u64,
    refused: u64,
}

#[derive(Debug, Default)]
struct Generator(BTreeMap<String, Sums>);

impl Generator {
    /// So many requests with a body, on a connection of their own.
    async fn send(&mut self, gateway: &Gateway, tenant: &str, requests: usize) {
        let mut client = Client::connect(gateway.address()).await;
        let sums = self.0.entry(tenant.to_owned()).or_default();
        for number in 0..requests {
            // Bodies of requests that are refused may be read or not.
            let body = "x".repeat(if tenant == "narrow" { 0 } else { number % 7 });
            let length = format!("Content-Length: {}", body.len());
            let fields = ["Host: a", &format!("X-Tenant-ID: {tenant}"), &length];
            let answer = client.ask(head("POST /", &fields) + &body).await;
            sums.add(body.len(), &answer);
        }
    }
}

impl Sums {
    fn add(&mut self, sent: usize, answer: &Answer) {
        assert!(answer.whole, "{answer:?}");
        self.requests += 1;
        self.got += answer.body.len() as u64;
        match answer.status {
            200 => self.sent += sent as u64,
            429 => self.refused += 1,
            other => panic!("{other}"),
        }
    }

    fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        self.sent += other.sent;
        self.got += other.got;
        self.refused += other.refused;
    }
}

/// Many clients at once, which send until the gateway has gone.
#[derive(Clone, Default)]
struct Crowd {
    answered: Arc<AtomicUsize>,
    leaves: Arc<AtomicBool>,
}

impl Crowd {
    async fn over_http1(self, address: SocketAddr, tenant: &'static str) -> (&'static str, Sums) {
        let (mut sums, mut client) = (Sums::default(), Client::connect(address).await);
        for number in 0.. {
            let body = "x".repeat(if tenant == "narrow" { 0 } else { number % 7 });
            let length = format!("Content-Length: {}", body.len());
            let fields = ["Host: a", &format!("X-Tenant-ID: {tenant}"), &length];
            let answer = client.ask(head("POST /", &fields) + &body).await;
            if answer.status == 0 {
                break;
            }
            sums.add(body.len(), &answer);
            self.answered.fetch_add(1, Ordering::Relaxed);
        }
        (tenant, sums)
    }

    async fn over_http2(self, address: SocketAddr, tenant: &'static str) -> (&'static str, Sums) {
        let (mut sums, mut client) = (Sums::default(), Hyper::h2(address).await);
        for number in 0.. {
            let size = number % 9;
            let body = Frames::sized("x".repeat(size));
            let answer = client.ask(client.request("POST", tenant, "/", body)).await;
            if answer.status == 0 {
                break;
            }
            sums.add(size, &answer);
            self.answered.fetch_add(1, Ordering::Relaxed);
        }
        (tenant, sums)
    }

    /// A WebSocket whose messages come back, closed by its client.
    async fn over_websocket(
        self,
        address: SocketAddr,
        tenant: &'static str,
    ) -> (&'static str, Sums) {
        let (mut sums, mut client) = (Sums::default(), Client::connect(address).await);
        let fields = ["Host: a", &format!("X-Tenant-ID: {tenant}"), "Connection: upgrade"];
        let asking = ["Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AA=="];
        client.send(head("GET /chat", &[fields.as_slice(), &asking].concat())).await;
        assert_eq!(client.answer_head().await.status, 101);
        sums.requests = 1;
        while !self.leaves.load(Ordering::Relaxed) {
            let mut echo = [0; 11];
            let stream = &mut client.wire.stream;
            stream.write_all(b"\x81\x85\0\0\0\0hello").await.expect("sent");
            within("an echo", stream.read_exact(&mut echo)).await.expect("an echo");
            sums.sent += 11;
            sums.got += 11;
            self.answered.fetch_add(1, Ordering::Relaxed);
        }
        (tenant, sums)
    }

    /// Waits until so many more were answered.
    async fn goes_on(&self, more: usize) {
        let answered = || self.answered.load(Ordering::Relaxed);
        let until = answered() + more;
        eventually("answers", answered, |answered| *answered >= until).await;
    }
}

/// What all files of a folder say.
fn exported(folder: &Path) -> BTreeMap<String, Sums> {
    let mut all = BTreeMap::<String, Sums>::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if !name.ends_with(".ndjson") && !name.ends_with(".ndjson.partial") {
            continue;
        }
        // It may be renamed between the two calls: then its other name is read.
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for line in text.lines() {
            let line: Value = serde_json::from_str(line).expect("a line of JSON");
            assert_eq!(line["gateway"], "edge-1");
            let number = |key: &str| line[key].as_u64().expect("a number");
            let sums = all.entry(line["tenant"].as_str().expect("an id").to_owned()).or_default();
            sums.requests += number("requests");
            sums.sent += number("request_bytes");
            sums.got += number("response_bytes");
            let refused = line["refused"].as_object().expect("a table").values();
            sums.refused += refused.map(|count| count.as_u64().expect("a number")).sum::<u64>();
        }
    }
    all
}

#[tokio::test]
async fn the_files_have_each_request_over_reloads_and_restarts() {
    let origin = Origin::saying("hello").await;
    let mut generator = Generator::default();
    let mut gateway = Gateway::start_with_workers(2, &usage("1h"), &routes(&origin, LEAVES)).await;
    for round in 0..3 {
        generator.send(&gateway, "acme", 40).await;
        generator.send(&gateway, "globex", 7).await;
        generator.send(&gateway, "narrow", 5).await;
        if round == 0 {
            generator.send(&gateway, "leaves", 9).await;
        }
        // A tenant that is removed is billed for what it has used.
        let reloaded = gateway.reload(&routes(&origin, "")).await;
        assert!(matches!(reloaded, ReloadResult::Live { .. }), "{reloaded:?}");
        generator.send(&gateway, "acme", 11).await;
        let folder = gateway.stop_and_keep().await;
        assert_eq!(exported(&folder.path().join("usage")), generator.0, "round {round}");
        gateway = match Gateway::start_in(folder, 2, &usage("1h")).await {
            Ok(gateway) => gateway,
            Err(error) => panic!("the gateway does not start again: {error}"),
        };
    }
    let used: Value = gateway.admin("/api/v1/tenants/acme/usage").await.json();
    assert_eq!(used["since_start"]["requests"], 0);
    // Over the turn of an hour, the day has all of it but at midnight.
    assert!(used["day"]["requests"].as_u64().expect("a number") <= generator.0["acme"].requests);
}

#[tokio::test]
async fn the_files_equal_the_counts_of_who_sends_at_once_while_it_reloads_and_drains() {
    let switching =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let origin = Origin::saying("hello").await;
    let chat = Origin::start([Step::raw(switching).and_echo()]).await;
    let chat = pool("chat", &[chat.address], "") + "[tenants.chat]\npool = \"chat\"\n";
    let forms = [routes(&origin, &chat), routes(&origin, &(chat.clone() + LEAVES))];
    let gateway = Gateway::start_with_workers(2, &usage("1h"), &forms[0]).await;
    let (address, crowd, mut clients) = (gateway.address(), Crowd::default(), JoinSet::new());
    for tenant in ["acme", "acme", "acme", "globex", "narrow"] {
        clients.spawn(crowd.clone().over_http1(address, tenant));
        clients.spawn(
            crowd.clone().over_http2(address, if tenant == "acme" { "acme" } else { "globex" }),
        );
    }
    clients.spawn(crowd.clone().over_websocket(address, "chat"));

    for round in 1..=6 {
        crowd.goes_on(50).await;
        let reloaded = gateway.reload(&forms[round % 2]).await;
        assert!(matches!(reloaded, ReloadResult::Live { .. }), "{reloaded:?}");
    }
    crowd.goes_on(50).await;
    let leave = async {
        crowd.goes_on(1).await;
        crowd.leaves.store(true, Ordering::Relaxed);
    };
    let (folder, ()) = tokio::join!(gateway.stop_and_keep(), leave);

    let mut counted = BTreeMap::<String, Sums>::new();
    for (tenant, sums) in within("the clients", clients.join_all()).await {
        counted.entry(tenant.to_owned()).or_default().merge(&sums);
    }
    assert_eq!(exported(&folder.path().join("usage")), counted);
    assert!(counted["narrow"].refused > 0 && counted["chat"].sent > 0, "{counted:?}");
}

#[tokio::test]
async fn compute_is_what_the_endpoint_takes_for_each_request() {
    const TAKES: Duration = Duration::from_millis(50);
    let origin = Origin::start([Step::ok("hello").taking(TAKES)]).await;
    let gateway = Gateway::start_with_workers(2, &usage("1h"), &routes(&origin, "")).await;
    let (address, began, each) = (gateway.address(), Instant::now(), 10);
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.extend([Hyper::h1(address).await, Hyper::h2(address).await]);
    }
    let clients = clients.into_iter().map(async |mut client: Hyper| {
        for _ in 0..each {
            assert_eq!(client.get("acme", "/").await.status, 200);
        }
    });

    futures_util::future::join_all(clients).await;
    let folder = gateway.stop_and_keep().await;

    let computed = computed(&folder.path().join("usage"), "acme");
    // Eight clients with a request each are busy for eight times as long as it takes, at the most. Without others at
    // work that is a tenth more than what the endpoint takes.
    assert!(computed >= 8 * each * TAKES, "{computed:?}");
    assert!(computed <= 8 * began.elapsed(), "{computed:?} in {:?}", began.elapsed());
}

/// What all files of a folder say of one tenant's endpoints.
fn computed(folder: &Path, tenant: &str) -> Duration {
    let mut all = Duration::ZERO;
    for entry in fs::read_dir(folder).expect("the folder") {
        let path = entry.expect("an entry").path();
        if path.to_string_lossy().contains(".ndjson") {
            let text = fs::read_to_string(&path).expect("a file");
            let lines = text.lines().map(|line| serde_json::from_str(line).expect("JSON"));
            for line in lines.filter(|line: &Value| line["tenant"] == tenant) {
                let more = line["compute_microseconds"].as_u64().expect("a number");
                all += Duration::from_micros(more);
            }
        }
    }
    all
}

#[tokio::test]
async fn the_last_requests_of_a_drain_are_in_the_files() {
    let origin = Origin::start([Step::ok("late").held()]).await;
    let gateway = Gateway::start_with(&usage("1h"), &routes(&origin, "")).await;
    let mut client = Client::connect(gateway.address()).await;
    client.send(head("GET /", &["Host: a", "X-Tenant-ID: acme"])).await;
    eventually("the request at the origin", || origin.asked().len(), |asked| *asked == 1).await;

    let release = async {
        sleep(STEP).await;
        origin.release();
        client.answer_to("GET").await
    };
    let (folder, answer): (TempDir, _) = tokio::join!(gateway.stop_and_keep(), release);

    assert_eq!(answer.status, 200);
    let used = exported(&folder.path().join("usage"));
    assert_eq!((used["acme"].requests, used["acme"].got), (1, 4));
}

#[tokio::test]
async fn what_is_used_is_told_while_it_is_used() {
    let origin = Origin::saying("hello").await;
    let gateway = Gateway::start_with(&usage("2s"), &routes(&origin, "")).await;
    let mut generator = Generator::default();
    generator.send(&gateway, "narrow", 5).await;

    within("the count", async {
        loop {
            let used: Value = gateway.admin("/api/v1/tenants/narrow/usage").await.json();
            if used["since_start"]["requests"] == 5 {
                assert_eq!(used["since_start"]["refused"]["tenant-rate-limited"], 3);
                assert_eq!(used["limits"][0]["limit"], "tenant");
                assert_eq!(used["limits"][0]["left"], 0);
                assert!(used["since_start"]["compute_microseconds"].as_u64() > Some(0));
                return;
            }
            sleep(STEP).await;
        }
    })
    .await;
    assert_eq!(gateway.admin("/api/v1/tenants/nobody/usage").await.status, 404);

    let folder = gateway.path("usage");
    eventually("the file", || exported(&folder), |used| *used == generator.0).await;
    gateway.metric_at_least("tenantry_usage_saves_total{result=\"ok\"}", 1.0).await;
}

#[tokio::test]
async fn who_waits_for_a_limit_keeps_no_endpoint_busy() {
    let origin = Origin::saying("hello").await;
    let patient = "[tenants.patient]\npool = \"app\"\nlimits = { requests = \"10/s\", burst = 1, \
                   overflow = \"wait\", wait = \"5s\", waiting = 9 }\n";
    let gateway = Gateway::start_with(&usage("2s"), &routes(&origin, patient)).await;
    let mut generator = Generator::default();
    generator.send(&gateway, "patient", 4).await;

    within("the count", async {
        loop {
            let used: Value = gateway.admin("/api/v1/tenants/patient/usage").await.json();
            let used = &used["since_start"];
            if used["requests"] == 4 {
                let number = |key: &str| used[key].as_u64().expect("a number");
                let waited = number("waited_microseconds");
                // Three of four had to come a tenth of a second after the one before.
                assert!(waited > 0 && waited < number("request_microseconds"), "{used}");
                let rest = number("request_microseconds") - waited;
                assert_eq!(number("compute_microseconds"), rest);
                return;
            }
            sleep(STEP).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_loses_nothing() {
    let origin = Origin::saying("hello").await;
    let gateway = Gateway::start_with(&usage("2s"), &routes(&origin, "")).await;
    let (folder, aside) = (gateway.path("usage"), gateway.path("aside"));
    eventually("the folder", || folder.exists(), |there| *there).await;
    fs::rename(&folder, &aside).expect("move the folder");
    fs::write(&folder, "no folder").expect("write a file in its place");
    let mut generator = Generator::default();
    generator.send(&gateway, "acme", 12).await;
    gateway.metric_at_least("tenantry_usage_saves_total{result=\"failed\"}", 1.0).await;

    fs::remove_file(&folder).expect("remove the file");
    fs::rename(&aside, &folder).expect("move the folder back");

    eventually("the file", || exported(&folder), |used| *used == generator.0).await;
    assert_eq!(gateway.stop().await.cut_off, 0);
}
