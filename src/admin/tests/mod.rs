//! The API as an operator's client sees it: over a real connection to a real listener.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::base::fair::Gate;
use crate::base::snapshot::Snapshot;
use crate::base::tasks::{Stopped, Tasks};
use crate::base::tokens::Tokens;
use crate::base::units::Rate;
use crate::config::Place;
use crate::config::spec::{AdaptiveSpec, AdminSpec, DrainSpec, RateSpec};
use crate::control::drains::Drainer;
use crate::control::explain::Explainer;
use crate::control::generation::{
    Fault, Live, LiveCertificates, LivePool, ReloadResult, SourceResult, SourceStatus,
};
use crate::control::history::History;
use crate::control::roster::{Roster, Wanted};
use crate::control::stored::Handle;
use crate::control::{self, nothing, splits};
use crate::model::endpoint::Health;
use crate::model::members::{Found, Members};
use crate::telemetry::recent::Sort;
use crate::telemetry::registry::Metrics;
use crate::tls::expiry::{Expiry, Role};

use super::access::Access;
use super::connections::{self, LIMITS, Limits};
use super::dashboard::picture::Ask;
use super::dashboard::watchers::{self, Refused, WATCHERS, Watchers};
use super::guard::Reach;
use super::{About, Listener, State, serve_as};

mod described;
mod operating;
mod reading;
mod roles;

/// The API on a port of its own, and the other ends of its handles.
struct World {
    address: std::net::SocketAddr,
    live: Snapshot<Live>,
    draining: watch::Sender<bool>,
    end: watch::Receiver<bool>,
    reloads: mpsc::Receiver<control::Ask>,
    tasks: Tasks,
    state: State,
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.body))
    }

    fn problem(&self) -> Value {
        assert!(self.head.contains("content-type: application/problem+json"), "{}", self.head);
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        assert!(problem["type"].as_str().unwrap().starts_with("urn:tenantry:admin:"));
        problem
    }
}

impl World {
    async fn start() -> Self {
        Self::with(LIMITS, Reach::ThisMachine).await
    }

    async fn with(limits: Limits, reach: Reach) -> Self {
        Self::guarded(limits, reach, (None, false)).await
    }

    /// With these tokens, and whether the metrics are there without one.
    async fn guarded(
        limits: Limits,
        reach: Reach,
        (tokens, public_metrics): (Option<Tokens>, bool),
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let live = Snapshot::new(Arc::new(Live::none()));
        let draining = watch::Sender::new(false);
        let (end, ending) = watch::channel(false);
        let (reload, reloads) = mpsc::channel(1);
        let drain = DrainSpec { accept: Duration::from_secs(1), timeout: Duration::from_secs(30) };
        let (file, key) = ("gateway.toml".into(), "admin.address".to_owned());
        let place = Place { file, line: 1, column: 1, key };
        let spec = AdminSpec {
            address,
            place,
            token_file: None,
            tls: None,
            public_metrics,
            certificates: Vec::new(),
            tenant_keys: vec![vec!["cors".to_owned()]],
            tenant_changes: RateSpec {
                rate: Rate { count: 10, per: Duration::from_secs(1) },
                burst: 10_000,
            },
        };
        let tokens = tokens.map(|tokens| Snapshot::new(Arc::new(tokens)));
        let metrics = Arc::new(Metrics::new());
        let state = State {
            fleet: Some(crate::limits::fleet::Fleet::new(crate::base::units::Percent::new(20.0)).0),
            about: Arc::new(About { started: Instant::now(), workers: 2, drain }),
            front: Snapshot::new(Arc::new(super::Front {
                listeners: vec![Listener { address: "0.0.0.0:8443".parse().unwrap(), tls: true }],
                ..super::Front::default()
            })),
            metrics: Arc::clone(&metrics),
            explainer: Explainer::new(Snapshot::new(Arc::new(nothing())), live.clone(), Vec::new()),
            drainer: Drainer::new(live.clone()),
            roster: Roster::new(
                Snapshot::new(Arc::new(nothing())),
                live.clone(),
                Arc::new(Metrics::new()),
            ),
            splits: splits::tests::rolled_back().await,
            stored: Handle::new(Snapshot::new(Arc::default()), History::of_one(17)).0,
            live: live.clone(),
            certificates: Snapshot::new(Arc::new(LiveCertificates::none())),
            bearers: Snapshot::new(Arc::default()),
            draining: draining.subscribe(),
            end,
            reload,
            levels: None,
            access: Access::new(&spec, tokens, metrics),
        };
        let mut tasks = Tasks::new("test");
        let kept = state.clone();
        let front = connections::Front { tls: None, limits };
        tasks.spawn(move |stop| serve_as(front, reach, listener, state, stop));
        Self { address, live, draining, end: ending, reloads, tasks, state: kept }
    }

    async fn ask(&self, method: &str, path: &str) -> Answer {
        self.ask_with(method, path, "Host: localhost\r\n").await
    }

    async fn ask_with(&self, method: &str, path: &str, headers: &str) -> Answer {
        self.ask_whole(method, path, headers, "").await
    }

    async fn ask_whole(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request =
            format!("{method} {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n{body}");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    /// With a JSON body.
    async fn send(&self, method: &str, path: &str, body: &str) -> Answer {
        self.send_as(method, path, "Content-Type: application/json\r\n", body).await
    }

    async fn send_as(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let length = body.len();
        let headers = format!("Host: localhost\r\n{headers}Content-Length: {length}\r\n");
        self.ask_whole(method, path, &headers, body).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path).await
    }

    fn publish(&self, change: impl FnOnce(&mut Live)) {
        let mut live = Live::clone(&self.live.load());
        change(&mut live);
        self.live.publish(Arc::new(live));
    }
}

fn fault() -> Fault {
    Fault {
        file: PathBuf::from("routes.toml"),
        line: Some(3),
        column: Some(7),
        key: Some("pools.shop.balance".to_owned()),
        what: "no balancer \"p2c\"".to_owned(),
        hint: Some("write \"least-request\"".to_owned()),
    }
}

#[tokio::test]
async fn readiness_follows_the_table_and_the_drain_and_liveness_does_not() {
    let world = World::start().await;

    let early = world.get("/readyz").await;
    assert_eq!(early.status, 503);
    assert_eq!(early.problem()["detail"], "no routes are live yet");
    assert_eq!(world.get("/healthz").await.status, 200);

    world.publish(|live| live.generation = 1);
    assert_eq!(world.get("/readyz").await.status, 200);

    world.draining.send_replace(true);
    let late = world.get("/readyz").await;
    assert_eq!(late.status, 503);
    assert!(late.problem()["detail"].as_str().unwrap().contains("draining"));
    assert_eq!(world.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn a_web_page_cannot_have_the_routes_loaded() {
    for reach in [Reach::ThisMachine, Reach::Network] {
        let mut world = World::with(LIMITS, reach).await;
        for mark in ["Origin: http://evil.example", "Origin: null", "Sec-Fetch-Site: cross-site"] {
            let headers = format!("Host: {}\r\n{mark}\r\nContent-Length: 0\r\n", world.address);

            let answer = world.ask_with("POST", "/api/v1/reload", &headers).await;

            assert_eq!(answer.status, 403, "{mark}");
            assert_eq!(answer.problem()["type"], "urn:tenantry:admin:browser");
        }
        assert!(world.reloads.try_recv().is_err());
    }
}

#[tokio::test]
async fn a_foreign_name_that_leads_to_loopback_is_told_nothing() {
    let near = World::start().await;
    let far = World::with(LIMITS, Reach::Network).await;
    for path in ["/metrics", "/api/v1/pools", "/api/v1/config", "/nowhere"] {
        let headers = "Host: evil.example:9900\r\n";

        let answer = near.ask_with("GET", path, headers).await;

        assert_eq!(answer.status, 403, "{path}");
        assert_eq!(answer.problem()["type"], "urn:tenantry:admin:foreign-host");
        assert_ne!(far.ask_with("GET", path, headers).await.status, 403, "{path}");
    }
}

#[tokio::test]
async fn metrics_are_served_in_the_text_format() {
    let answer = World::start().await.get("/metrics").await;

    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("content-type: text/plain; version=0.0.4"));
    assert!(answer.body.contains("tenantry_build_info{version="));
}

#[tokio::test]
async fn status_tells_what_runs() {
    let world = World::start().await;
    world.publish(|live| live.generation = 4);

    let status = world.get("/api/v1/status").await.json();

    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["pid"], std::process::id());
    assert_eq!(status["workers"], 2);
    assert_eq!(status["listeners"], json!([{"address": "0.0.0.0:8443", "tls": true}]));
    assert_eq!(status["generation"], 4);
    assert_eq!(status["ready"], true);
    assert_eq!(status["draining"], false);
}

#[tokio::test]
async fn config_tells_what_is_live_and_what_is_wrong() {
    let world = World::start().await;
    assert_eq!(world.get("/api/v1/config").await.json()["live_since"], Value::Null);
    world.publish(|live| {
        *live = live.clone().with_routes("# none\n");
        live.generation = 2;
        live.since = SystemTime::UNIX_EPOCH + Duration::from_millis(1500);
        live.problems = vec![fault()];
        live.failed_since = Some(SystemTime::UNIX_EPOCH);
    });

    let config = world.get("/api/v1/config").await.json();

    assert_eq!(config["generation"], 2);
    assert_eq!(config["live_since"], "1970-01-01T00:00:01.500Z");
    assert_eq!(config["files"], json!(["routes.toml"]));
    assert_eq!(config["failed_since"], "1970-01-01T00:00:00.000Z");
    assert_eq!(config["problems"][0]["line"], 3);
    assert_eq!(config["problems"][0]["key"], "pools.shop.balance");
    assert_eq!(config["problems"][0]["hint"], "write \"least-request\"");
}

#[tokio::test]
async fn pools_tell_how_each_member_is_and_where_it_came_from() {
    let world = World::start().await;
    let members = Members::new(1, Health::Pending, 0.5);
    let origin: Arc<str> = "dns shop.internal:80".into();
    let found = Found::new(([10, 0, 0, 1], 80), Arc::clone(&origin));
    members.replace(&[Found { weight: 3, priority: 10, ..found }]);
    let endpoint = Arc::clone(&members.load().all[0].endpoint);
    endpoint.set_health(Health::Down, Some("connection refused".to_owned()));
    endpoint.eject(Duration::from_secs(60));
    members.refresh();
    let source = SourceStatus::new(origin);
    world.publish(|live| {
        live.pools = vec![LivePool {
            name: "shop".into(),
            slot: 0,
            members: Arc::new(members),
            gate: None,
            overrun: None,
            adaptive: None,
            breakers: None,
            has_own_breaker: false,
            shard: None,
            sources: vec![source.clone()],
        }];
    });
    assert_eq!(world.get("/api/v1/pools").await.json()[0]["sources"][0]["result"], "waiting");
    let error = "no answer from 127.0.0.1:53".to_owned();
    source.last.publish(Arc::new(SourceResult::Failed { at: SystemTime::UNIX_EPOCH, error }));

    let pools = world.get("/api/v1/pools").await.json();

    let member = &pools[0]["members"][0];
    assert_eq!(pools[0]["name"], "shop");
    assert_eq!(pools[0]["panicking"], true);
    assert_eq!((&pools[0]["draining"], &pools[0]["warming"]), (&Value::Null, &json!(0)));
    assert_eq!(member["address"], "10.0.0.1:80");
    assert_eq!(member["weight"], 3);
    assert_eq!(member["priority"], 10);
    assert_eq!(member["origin"], "dns shop.internal:80");
    assert_eq!(member["health"], "down");
    assert_eq!(member["reason"], "connection refused");
    assert!((1..=60_000).contains(&member["ejected_for_ms"].as_u64().unwrap()));
    assert_eq!(member["in_flight"], 0);
    assert_eq!(member["eligible"], false);
    assert_eq!(pools[0]["sources"][0]["result"], "failed");
    assert_eq!(pools[0]["sources"][0]["error"], "no answer from 127.0.0.1:53");
}

#[tokio::test]
async fn a_reload_answers_with_the_new_generation_or_all_problems() {
    let mut world = World::start().await;
    let mut reloads = std::mem::replace(&mut world.reloads, mpsc::channel(1).1);
    world.tasks.spawn(|_stop| async move {
        let took = Duration::from_millis(12);
        let good = ReloadResult::Live { generation: 5, took };
        reloads.recv().await.unwrap().answer.send(good).unwrap();
        let bad = ReloadResult::Refused { generation: 5, problems: vec![fault()] };
        reloads.recv().await.unwrap().answer.send(bad).unwrap();
    });

    let good = world.ask("POST", "/api/v1/reload").await;
    let bad = world.ask("POST", "/api/v1/reload").await;
    let ended = world.ask("POST", "/api/v1/reload").await;

    assert_eq!(good.status, 200);
    assert_eq!(good.json(), json!({"generation": 5, "took_ms": 12}));
    assert_eq!(bad.status, 422);
    assert_eq!(bad.problem()["generation"], 5);
    assert_eq!(bad.problem()["problems"][0]["what"], "no balancer \"p2c\"");
    assert_eq!(ended.status, 503);
    ended.problem();
}

#[tokio::test]
async fn an_unknown_path_and_a_wrong_method_are_problems() {
    let world = World::start().await;

    let unknown = world.get("/api/v1/statsu").await;
    let wrong = world.get("/api/v1/reload").await;
    let written = world.ask("DELETE", "/api/v1/pools").await;

    assert_eq!(unknown.status, 404);
    assert!(unknown.problem()["detail"].as_str().unwrap().contains("/api/v1/status"));
    assert_eq!(wrong.status, 405);
    assert!(wrong.head.contains("allow: post"), "{}", wrong.head);
    wrong.problem();
    assert_eq!(written.status, 405);
}

#[tokio::test]
async fn the_docs_show_every_endpoint_as_it_answers() {
    let world = World::start().await;
    let source = SourceStatus::new("test".into());
    source.last.publish(Arc::new(SourceResult::Waiting));
    let members = Members::new(1, Health::Up, 0.5);
    let address: crate::model::address::Address = "10.0.0.1:80".parse().unwrap();
    members.replace(&[Found::new(address, "test")]);
    world.publish(|live| {
        live.problems = vec![fault()];
        let (members, sources) = (Arc::new(members), vec![source]);
        let (gate, breakers) = (Some(Arc::new(Gate::new(100))), Some(Arc::default()));
        let adaptive = AdaptiveSpec { min: 20, max: 1000, tolerance: 1.5 };
        live.pools = vec![LivePool {
            name: "shop".into(),
            slot: 0,
            members,
            gate,
            adaptive: Some((adaptive, Arc::default())),
            overrun: None,
            breakers,
            has_own_breaker: true,
            shard: None,
            sources,
        }];
        *live = Live::clone(live).with_routes(ROUTES);
        live.ends = vec![Expiry { file: "ca.pem".into(), role: Role::PoolAuthorities, at: 1 }];
    });

    for endpoint in super::ENDPOINTS {
        let section = documented(endpoint.path);
        let is_read = endpoint.path.starts_with("/api/") && section.contains("`GET`");
        if is_read && section.contains("```json") {
            let shown = section.split("```").find_map(|block| block.strip_prefix("json\n"));
            let shown: Value = serde_json::from_str(shown.unwrap()).unwrap();
            let answered = world.get(endpoint.path).await.json();
            // Whether it is drained, and who issues tokens, are things that differ.
            let told = |value: &Value| -> Vec<String> {
                let differs =
                    |key: &String| key.contains("drained.") || key.starts_with("issuers.");
                keys(value).into_iter().filter(|key| !differs(key)).collect()
            };
            assert_eq!(told(&shown), told(&answered), "{}", endpoint.path);
        }
    }
}

/// One pool, one tenant with a route that has a condition of each kind.
const ROUTES: &str = "[pools.shop]\nendpoints = [\"10.0.0.1:80\"]\n[tenants.acme]\n\
     pool = \"shop\"\n[[tenants.acme.routes]]\npath = \"/a/*\"\nheaders = { x-beta = \"1\" }\n\
     query = { page = \"2\" }\npool = \"shop\"\n";

/// The section of `docs/admin.md` on one path.
fn documented(path: &str) -> &'static str {
    let docs = include_str!("../../../docs/admin.md");
    let heading = format!("### `{path}`\n");
    let (_, rest) = docs.split_once(&heading).unwrap_or_else(|| panic!("{path} is missing"));
    rest.split("\n#").next().unwrap()
}

/// The keys of a value as paths, those of a list's first item for all of them.
fn keys(value: &Value) -> Vec<String> {
    match value {
        Value::Object(members) => members
            .iter()
            .flat_map(|(key, value)| {
                let below = keys(value).into_iter().map(move |path| format!("{key}.{path}"));
                std::iter::once(key.clone()).chain(below)
            })
            .collect(),
        Value::Array(items) => items.first().map(keys).unwrap_or_default(),
        _ => Vec::new(),
    }
}

#[tokio::test]
async fn who_sends_nothing_gives_its_place_to_the_next() {
    let head = Duration::from_millis(50);
    let world = World::with(Limits { connections: 1, head, ..LIMITS }, Reach::ThisMachine).await;
    let mut silent = TcpStream::connect(world.address).await.unwrap();

    let answer = tokio::time::timeout(Duration::from_secs(10), world.get("/healthz")).await;

    assert_eq!(answer.expect("the silent client was let go").status, 200);
    let mut rest = Vec::new();
    silent.read_to_end(&mut rest).await.unwrap();
}

#[tokio::test]
async fn an_old_connection_ends_between_two_requests() {
    let age = Duration::from_millis(50);
    let world = World::with(Limits { age, ..LIMITS }, Reach::ThisMachine).await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();

    let mut answers = String::new();
    let closed = stream.read_to_string(&mut answers);
    tokio::time::timeout(Duration::from_secs(10), closed).await.expect("closed").unwrap();

    assert!(answers.starts_with("HTTP/1.1 200"), "{answers}");
}

#[tokio::test]
async fn the_api_stops_when_it_is_asked_to() {
    let world = World::start().await;
    let address = world.address;
    // A client that keeps its connection open holds up nobody.
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");

    assert_eq!(world.tasks.stop(Duration::from_secs(10)).await, Stopped::Cleanly);

    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_question_that_cannot_be_answered_says_why() {
    let world = World::start().await;
    for (query, why) in [
        ("", "the target is missing"),
        ("target=x", "\"x\" is not a path or a URL"),
        ("target=/&method=G%20T", "\"G T\" is not a method"),
        ("target=/&tenant=a,b", "tenant has a character other than"),
        ("target=/&header=nonsense", "\"nonsense\" is not a header"),
        ("target=/&hedder=a", "there is no \"hedder\"; there is method, target, tenant, header"),
    ] {
        let answer = world.get(&format!("/api/v1/explain?{query}")).await;

        assert_eq!(answer.status, 400, "{query}");
        let detail = answer.problem()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(why), "{query}: {detail}");
    }

    for (body, status, why) in [
        (r#"{}"#, 422, "missing field `target`"),
        (r#"{"target": "/", "header": []}"#, 422, "unknown field `header`"),
        (r#"{"target": "x"}"#, 400, "\"x\" is not a path or a URL"),
        (r#"{"target": "/", "headers": ["nonsense"]}"#, 400, "\"nonsense\" is not a header"),
    ] {
        let answer = world.send("POST", "/api/v1/explain", body).await;

        assert_eq!(answer.status, status, "{body}");
        let detail = answer.problem()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(why), "{body}: {detail}");
    }

    let asked = world.send("POST", "/api/v1/explain", r#"{"target": "/"}"#).await;
    assert_eq!((asked.status, &asked.problem()["detail"]), (503, &json!("no table is live yet")));
    let early = world.get("/api/v1/explain?target=/").await;
    assert_eq!((early.status, &early.problem()["detail"]), (503, &json!("no table is live yet")));
}

#[tokio::test]
async fn a_list_that_cannot_be_made_says_why() {
    let world = World::start().await;
    for (path, why) in [
        ("tenants?limit=0", "limit=0 is not 1 to 1000"),
        ("tenants?sort=age", "sort: unknown variant `age`, expected one of `requests`"),
        ("tenants?state=gone", "state: unknown variant `gone`, expected one of `active`"),
        ("tenants?charts=2", "charts: provided string was not `true` or `false`"),
        ("tenants?serch=a", "unknown field `serch`, expected one of `search`, `state`, `sort`"),
        ("events?limit=101", "limit=101 is not 1 to 100"),
        ("events?every=0", "every=0 is not 1 to 15"),
        ("events?tenant=a,b", "tenant has a character other than"),
        ("events?after=a", "unknown field `after`, expected one of `search`, `state`, `sort`"),
    ] {
        let answer = world.get(&format!("/api/v1/{path}")).await;

        assert_eq!(answer.status, 400, "{path}");
        let detail = answer.problem()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(why), "{path}: {detail}");
    }

    let early = world.get("/api/v1/tenants").await;
    assert_eq!((early.status, &early.problem()["detail"]), (503, &json!("no table is live yet")));
}

#[tokio::test]
async fn the_page_runs_its_own_script_alone_and_asks_nobody_else() {
    let world = World::start().await;

    let page = world.get("/").await;
    assert_eq!(page.status, 200);
    for line in [
        "content-type: text/html; charset=utf-8",
        "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'",
        "frame-ancestors 'none'",
        "x-frame-options: deny",
    ] {
        assert!(page.head.contains(line), "{line} is not in {}", page.head);
    }
    let (style, script) = (world.get("/dashboard.css").await, world.get("/dashboard.js").await);
    for (name, body) in [("page", page.body), ("style", style.body), ("script", script.body)] {
        let body = body.replace("http://www.w3.org/2000/svg", ""); // a name, not a place
        for word in
            ["http:", "https:", "//cdn", "innerHTML", "eval(", "@import", "style=", "onclick="]
        {
            assert!(!body.contains(word), "{word} is in the {name}");
        }
    }
}

#[tokio::test]
async fn a_page_of_another_site_takes_no_watcher_s_place() {
    let world = World::start().await;

    let headers = "Host: localhost\r\nSec-Fetch-Site: cross-site\r\n";
    let answer = world.ask_with("GET", "/api/v1/events", headers).await;

    assert_eq!(
        (answer.status, &answer.problem()["type"]),
        (403, &json!("urn:tenantry:admin:browser"))
    );
}

#[tokio::test]
async fn a_watcher_that_reads_nothing_is_dropped_and_one_that_reads_stays() {
    let mut world = World::start().await;
    let (watchers, arrivals) = Watchers::new();
    let state = world.state.clone();
    world.tasks.spawn(move |stop| watchers::run(state, arrivals, stop));
    let ask = ask();
    let often = Duration::from_millis(1);
    let reads_nothing = watchers.watch(ask.clone(), often).unwrap();
    let mut reads = watchers.watch(ask, often).unwrap();

    let refused = "tenantry_admin_watchers_refused_total{reason=\"slow\"} 1";
    while !world.state.metrics.render().unwrap().contains(refused) {
        reads.frame().await.unwrap().unwrap();
    }
    reads.frame().await.unwrap().unwrap();

    let left: Vec<_> = reads_nothing.collect().await.unwrap().to_bytes().to_vec();
    let events = String::from_utf8(left).unwrap();
    assert_eq!(events.matches("event: picture").count(), 8, "what waited is still there");
}

#[tokio::test]
async fn who_watches_no_more_makes_room_at_once() {
    let mut world = World::start().await;
    let (watchers, arrivals) = Watchers::new();
    let state = world.state.clone();
    world.tasks.spawn(move |stop| watchers::run(state, arrivals, stop));
    let seldom = Duration::from_secs(15);
    let mut watching = Vec::new();
    for _ in 0..WATCHERS {
        let mut stream = watchers.watch(ask(), seldom).unwrap();
        stream.frame().await.unwrap().unwrap();
        watching.push(stream);
    }
    assert_eq!(watchers.watch(ask(), seldom).unwrap_err(), Refused::Full);

    watching.pop();

    watchers.watch(ask(), seldom).unwrap();
}

/// One tenant.
fn ask() -> Ask {
    let tenants = Wanted {
        search: String::new(),
        state: None,
        sort: Sort::Requests,
        limit: 1,
        after: None,
        charts: false,
    };
    Ask { tenants, tenant: None }
}
