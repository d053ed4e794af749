//! Every problem that the gateway answers with, provoked over the wire.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tempfile::TempDir;
use tenantry::proxy::PROBLEMS;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::spills;
use crate::world::client::{Client, Frames, Hyper, ask, head};
use crate::world::config::{NO_RETRY, one_tenant, one_tenant_with, pool};
use crate::world::gateway::Gateway;
use crate::world::message::Answer;
use crate::world::origin::{Origin, Step};
use crate::world::pki::{Authority, Wishes};
use crate::world::resting;
use crate::world::tls::Certificates;
use crate::world::unreachable::{Refusing, Silent};

/// The id of every request of these tests.
const ID: &str = "X-Request-ID: it-1";

/// A tenant with a pool of its own for each way in which a pool can fail.
struct World {
    gateway: Gateway,
    origins: Vec<Origin>,
    _refusing: Refusing,
    _silent: Silent,
    _files: TempDir,
    _certificates: [Certificates; 2],
    authority: Authority,
}

impl World {
    async fn start() -> Self {
        let certificates = [Certificates::of(&["127.0.0.1"]), Certificates::of(&["127.0.0.1"])];
        let (refusing, silent) = (Refusing::new(), Silent::new());
        let files = tempfile::tempdir().expect("a folder");
        let list = files.path().join("nobody.json");
        std::fs::write(&list, "[]").expect("write the list");
        let origins = vec![
            Origin::saying("hello").await,
            Origin::start_tls(certificates[0].server(&[]), [Step::ok("secure")]).await,
            Origin::start([Step::close()]).await,
            Origin::start([Step::raw("SSH-2.0-OpenSSH_9.6\r\n\r\n")]).await,
            Origin::start([Step::stall()]).await,
        ];
        let tls = format!("tls = {{ ca = \"{}\" }}", certificates[1].ca());
        let at = |number: usize| origins[number].address;
        let pools = [
            ("fine", at(0), String::new()),
            ("refusing", refusing.address, String::new()),
            ("silent", silent.address, "timeouts = { connect = \"50ms\" }".to_owned()),
            ("distrusted", at(1), tls.clone()),
            ("no-tls", at(4), format!("{tls}\ntimeouts = {{ tls = \"50ms\" }}")),
            ("closing", at(2), String::new()),
            ("babbling", at(3), String::new()),
            ("stalling", at(4), String::new()),
            ("slow", at(4), "timeouts = { attempt = \"50ms\" }".to_owned()),
            ("overdue", at(4), "timeouts = { attempt = \"5s\", total = \"50ms\" }".to_owned()),
            ("crowded", at(4), "concurrency = 1\nqueue = { length = 0 }".to_owned()),
            ("queueing", at(4), "concurrency = 1\nqueue = { wait = \"50ms\" }".to_owned()),
        ];
        let mut routes = format!(
            "[pools.nobody]\nfile = \"{}\"\n[tenants.nobody]\npool = \"nobody\"\n\
             [tenants.gone]\nstate = \"suspended\"\n\
             [tenants.worked-on]\nstate = \"maintenance\"\nmaintenance = {{ retry-after = \"1s\" }}\n\
             [tenants.narrow]\n[[tenants.narrow.routes]]\npath = \"/x\"\npool = \"fine\"\n",
            list.display()
        );
        routes += LIMITED;
        routes += GUARDED;
        routes += &issuer_at(refusing.address);
        for (name, address, keys) in pools {
            routes += &pool(name, &[address], &format!("{NO_RETRY}\n{keys}"));
            routes += &format!("[tenants.{name}]\npool = \"{name}\"\n");
        }
        let authority = Authority::new();
        let more = format!(
            "[downstream]\nbody-timeout = \"50ms\"\n\
             [[listeners]]\naddress = \"127.0.0.1:0\"\n[[listeners.tls.certificates]]\n{}",
            authority.server(&["shop.example"]).keys
        );
        let gateway = Gateway::start_with(&more, &routes).await;
        Self {
            gateway,
            origins,
            _refusing: refusing,
            _silent: silent,
            _files: files,
            _certificates: certificates,
            authority,
        }
    }

    /// A request for another host than its connection was begun for.
    async fn misdirect(&self) -> Answer {
        let client = Wishes::of(&self.authority).client();
        let stream = client.connect(self.gateway.app.addresses()[1], "shop.example").await;
        Client::over(stream).ask(head("GET /", &["Host: a", ID, "X-Tenant-ID: fine"])).await
    }

    /// A request of a tenant, with further fields, and then these bytes.
    async fn send(&self, line: &str, tenant: &str, fields: &[&str], body: &str) -> Answer {
        let tenant = format!("X-Tenant-ID: {tenant}");
        let fields = [&["Host: a", ID, &tenant], fields].concat();
        let mut client = Client::connect(self.gateway.address()).await;
        client.ask(head(line, &fields) + body).await
    }

    /// One answer for each problem.
    async fn provoke(&self) -> Vec<(&'static str, Answer)> {
        let address = self.gateway.address();
        let wide = format!("X-Wide: {}", "x".repeat(17 << 10));
        let long = format!("GET /{}", "x".repeat(17 << 10));
        let large = "Content-Length: 20971520";
        let mut answers = vec![
            ("tenant-missing", ask(address, "GET /", &["Host: a", ID]).await),
            ("tenant-ambiguous", self.send("GET /", "a,b", &[], "").await),
            ("tenant-unknown", self.send("GET /", "unheard-of", &[], "").await),
            ("tenant-suspended", self.send("GET /", "gone", &[], "").await),
            ("maintenance", self.send("GET /", "worked-on", &[], "").await),
            ("no-route", self.send("GET /y", "narrow", &[], "").await),
            ("bad-request", self.send("GET /a/../b", "fine", &[], "").await),
            ("target-too-long", self.send(&long, "fine", &[], "").await),
            ("misdirected", self.misdirect().await),
            ("head-too-large", self.send("GET /", "fine", &[&wide], "").await),
            ("method-not-served", self.send("CONNECT a:80", "fine", &[], "").await),
            ("authorizer-unavailable", self.send("GET /", "asking", &[], "").await),
            ("issuer-unavailable", self.send("GET /", "fine", &[&token()], "").await),
            ("loop", self.send("GET /", "fine", &["Via: 1.1 tenantry"; 8], "").await),
            ("body-too-large", self.send("PUT /", "fine", &[large], "").await),
            ("tenant-body-too-large", self.send("PUT /", "of-bodies", &[large], "").await),
            ("route-body-too-large", self.send("PUT /small", "of-bodies", &[large], "").await),
            ("body-timeout", self.send("PUT /", "fine", &["Content-Length: 9"], "half").await),
        ];
        let chunked = ["Transfer-Encoding: chunked"];
        answers.push(("body-broken", self.send("PUT /", "fine", &chunked, "zz\r\n").await));
        let tenants = [
            ("no-endpoint", "nobody"),
            ("connect-failed", "refusing"),
            ("connect-timeout", "silent"),
            ("tls-failed", "distrusted"),
            ("tls-timeout", "no-tls"),
            ("connection-lost", "closing"),
            ("bad-answer", "babbling"),
            ("answer-timeout", "slow"),
            ("total-timeout", "overdue"),
        ];
        for (name, tenant) in tenants {
            answers.push((name, self.send("GET /", tenant, &[], "").await));
        }
        self.send("GET /", "tripping", &[], "").await;
        answers.push(("breaker-open", self.send("GET /", "tripping", &[], "").await));
        answers.push(("authorizer-busy", self.besiege().await));
        answers.extend(overloads().await);
        answers.push(("replay-lost", spills::lost(ID).await));
        answers.push(("tenant-quarantined", quarantined().await));
        answers.extend(self.exceed().await);
        for (name, tenant, field) in [
            ("unauthenticated", "keyed", "X-Other: x"),
            ("other-tenant", "fine", KEY),
            ("network-refused", "walled", "X-Other: x"),
            ("method-not-allowed", "post-only", "X-Other: x"),
        ] {
            answers.push((name, self.send("GET /", tenant, &[field], "").await));
        }
        answers
    }
}

impl World {
    /// The answer to one that comes while as many are asked for as may be.
    async fn besiege(&self) -> Answer {
        let before = self.origins[4].asked().len();
        let mut clients = Vec::new();
        for _ in 0..64 {
            let mut client = Client::connect(self.gateway.address()).await;
            client.send(head("GET /", &["Host: a", ID, "X-Tenant-ID: besieged"])).await;
            clients.push(client);
        }
        self.origins[4].wait_for(before + 64).await;
        self.send("GET /", "besieged", &[], "").await
    }

    /// One answer for each limit.
    async fn exceed(&self) -> Vec<(&'static str, Answer)> {
        let mut answers = Vec::new();
        for (name, tenant, path) in [
            ("tenant-rate-limited", "of-tenant", "/"),
            ("client-rate-limited", "of-client", "/"),
            ("tenant-quota-used-up", "of-quota", "/"),
            ("subject-rate-limited", "of-subject", "/"),
            ("route-rate-limited", "of-routes", "/rate"),
            ("route-client-rate-limited", "of-routes", "/client"),
            ("route-subject-rate-limited", "of-routes", "/subject"),
            ("route-quota-used-up", "of-routes", "/quota"),
            ("subject-quota-used-up", "of-subject-quota", "/"),
            ("route-subject-quota-used-up", "of-routes", "/subject-quota"),
        ] {
            let line = format!("GET {path}");
            assert_eq!(self.send(&line, tenant, &[], "").await.status, 200, "{name}");
            answers.push((name, self.send(&line, tenant, &[], "").await));
        }
        for (name, tenant, path) in [
            ("tenant-concurrency-limited", "at-once", "/"),
            ("route-concurrency-limited", "of-routes", "/at-once"),
            ("client-concurrency-limited", "client-at-once", "/"),
            ("route-client-concurrency-limited", "of-routes", "/client-at-once"),
            ("subject-concurrency-limited", "subject-at-once", "/"),
            ("route-subject-concurrency-limited", "of-routes", "/subject-at-once"),
            ("queue-full", "crowded", "/"),
            ("queue-timeout", "queueing", "/"),
        ] {
            let line = format!("GET {path}");
            let named = format!("X-Tenant-ID: {tenant}");
            let mut first = Client::connect(self.gateway.address()).await;
            let before = self.origins[4].asked().len();
            first.send(head(&line, &["Host: a", ID, &named])).await;
            self.origins[4].wait_for(before + 1).await;
            answers.push((name, self.send(&line, tenant, &[], "").await));
        }
        answers
    }
}

/// An issuer whose keys are not to be had.
fn issuer_at(address: SocketAddr) -> String {
    format!(
        "[identity.issuers.down]\nissuer = \"https://down.example\"\naudience = [\"gateway\"]\n\
         jwks-url = \"http://{address}/\"\n"
    )
}

/// A token of an issuer that is down. Nobody can tell that it is not signed.
fn token() -> String {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let claims = "{\"iss\":\"https://down.example\",\"aud\":\"gateway\",\"exp\":9999999999,\
                  \"sub\":\"ann\",\"tenant\":\"fine\"}";
    format!("Authorization: Bearer {}.{}.AAAA", part("{\"alg\":\"EdDSA\"}"), part(claims))
}

/// A tenant for each way not to be let in, and a key of the first.
const GUARDED: &str = "\
[pools.tripping]
endpoints = [\"127.0.0.1:1\"]
breaker = { requests = 1, open = \"60s\" }
[tenants.tripping]
pool = \"tripping\"
[tenants.keyed]
pool = \"fine\"
authenticate = [\"api-key\"]
[tenants.keyed.keys.one]
hash = \"sha256:af39e7ee34328643d6ea571e7a114534059d6c7cb3b902e130a26eda93bb4333\"
[tenants.walled]
pool = \"fine\"
deny = [\"127.0.0.0/8\"]
[tenants.post-only]
pool = \"fine\"
methods = [\"POST\"]
[identity.authorizers.down]
pool = \"refusing\"
[identity.authorizers.stalling]
pool = \"stalling\"
timeout = \"30s\"
on-error = \"allow\"
[tenants.besieged]
pool = \"fine\"
authorize = \"stalling\"
[tenants.asking]
pool = \"fine\"
authorize = \"down\"
";
const KEY: &str =
    "X-API-Key: tenantry_0000000000000000000000000000000000000000000000000000000000000000";

/// A tenant for each limit of its own, and one with a route for each of a route's.
const LIMITED: &str = "\
[tenants.of-tenant]
pool = \"fine\"
limits = { requests = \"1/h\" }
[tenants.of-quota]
pool = \"fine\"
limits = { quota = \"1/month\" }
[tenants.of-client]
pool = \"fine\"
limits = { client = { requests = \"1/h\" } }
[tenants.of-bodies]
pool = \"fine\"
limits = { max-body = \"1MiB\" }
[[tenants.of-bodies.routes]]
path = \"/small\"
limits = { max-body = \"1KiB\" }
[tenants.of-subject]
pool = \"fine\"
limits = { subject = { requests = \"1/h\" } }
[tenants.of-subject-quota]
pool = \"fine\"
limits = { subject = { quota = \"1/month\" } }
[tenants.client-at-once]
pool = \"stalling\"
limits = { client = { concurrency = 1 } }
[tenants.subject-at-once]
pool = \"stalling\"
limits = { subject = { concurrency = 1 } }
[tenants.at-once]
pool = \"stalling\"
limits = { concurrency = 1 }
[tenants.of-routes]
pool = \"fine\"
[[tenants.of-routes.routes]]
path = \"/rate\"
limits = { requests = \"1/h\" }
[[tenants.of-routes.routes]]
path = \"/client\"
limits = { client = { requests = \"1/h\" } }
[[tenants.of-routes.routes]]
path = \"/subject\"
limits = { subject = { requests = \"1/h\" } }
[[tenants.of-routes.routes]]
path = \"/at-once\"
pool = \"stalling\"
limits = { concurrency = 1 }
[[tenants.of-routes.routes]]
path = \"/client-at-once\"
pool = \"stalling\"
limits = { client = { concurrency = 1 } }
[[tenants.of-routes.routes]]
path = \"/subject-at-once\"
pool = \"stalling\"
limits = { subject = { concurrency = 1 } }
[[tenants.of-routes.routes]]
path = \"/quota\"
limits = { quota = \"1/month\" }
[[tenants.of-routes.routes]]
path = \"/subject-quota\"
limits = { subject = { quota = \"1/month\" } }
";

async fn overloads() -> [(&'static str, Answer); 2] {
    let all = overloaded("buffers = \"1MiB\"\nbuffers-per-client = \"0B\"", "overloaded").await;
    let share = overloaded("buffers-per-client = \"1MiB\"", "client-overloaded").await;
    [("overloaded", all), ("client-overloaded", share)]
}

/// The answer of a gateway whose memory is used up by requests that wait, or their client's share of it: which is
/// the problem's name.
async fn overloaded(bounds: &str, problem: &str) -> Answer {
    let origin = Origin::start([Step::stall()]).await;
    let more = format!("[memory]\n{bounds}");
    let gateway = Gateway::start_with(&more, &one_tenant(&[origin.address])).await;
    let mut h2 = Hyper::h2(gateway.address()).await;
    for _ in 0..100 {
        h2.send(h2.request("GET", "acme", "/", Frames::default()));
    }
    resting("the last request that is let in", || origin.asked().len()).await;
    // The gateway itself may have rested, on a busy machine, before all of these had come.
    let refused = format!("tenantry_gateway_answers_total{{problem=\"{problem}\"}}");
    gateway.metric_at_least(&refused, 1.0).await;
    // Another connection of this client may have one usual request under way.
    let mut request = h2.request("GET", "acme", "/", Frames::default());
    request.headers_mut().insert("x-request-id", "it-1".parse().expect("a value"));
    h2.ask(request).await
}

/// A request of a tenant whose file is broken.
async fn quarantined() -> Answer {
    let folder = tempfile::tempdir().expect("a folder");
    let routes = folder.path().join("routes.toml");
    std::fs::create_dir(&routes).expect("make the folder of routes");
    for (name, pool) in [("good", "app"), ("broken", "none")] {
        let text = format!("[tenants.{name}]\npool = \"{pool}\"\n");
        std::fs::write(routes.join(format!("{name}.toml")), text).expect("write a file");
    }
    let text = "[pools.app]\nendpoints = [\"127.0.0.1:1\"]\n";
    std::fs::write(routes.join("pools.toml"), text).expect("write the pools");
    let gateway = Gateway::start_in(folder, 1, "").await.expect("it starts");
    ask(gateway.address(), "GET /", &["Host: a", ID, "X-Tenant-ID: broken"]).await
}

#[tokio::test]
async fn every_problem_comes_over_the_wire_as_it_is_documented() {
    let world = World::start().await;

    let answers = world.provoke().await;

    for (name, answer) in &answers {
        let problem = PROBLEMS.iter().find(|problem| problem.name == *name).expect(name);
        let document = answer.json();
        assert_eq!(answer.problem().as_deref(), Some(*name), "{answer:?}");
        assert_eq!(answer.status, problem.status.as_u16(), "{name}");
        assert_eq!(document["status"], problem.status.as_u16(), "{name}");
        assert_eq!(document["title"], problem.title, "{name}");
        assert!(document["detail"].as_str().is_some_and(|text| !text.is_empty()), "{name}");
        assert_eq!(document["request_id"], "it-1", "{name}");
        assert_eq!(answer.one("x-request-id").as_deref(), Some("it-1"), "{name}");
        let kind = answer.one("content-type");
        assert_eq!(kind.as_deref(), Some("application/problem+json"), "{name}");
        let status = format!("tenantry; error={}", problem.proxy_error);
        assert_eq!(answer.one("proxy-status"), Some(status), "{name}");
        assert_eq!(answer.one("cache-control").as_deref(), Some("no-store"), "{name}");
        match (answer.status, answer.one("retry-after")) {
            (503, again) if *name == "breaker-open" => assert!(again.is_some(), "{name}"),
            (503, again) => assert_eq!(again.as_deref(), Some("1"), "{name}"),
            (429, again) => assert!(again.is_some(), "{name}"),
            (_, again) => assert_eq!(again, None, "{name}"),
        }
        assert!(answer.whole, "{name}");
        let text = answer.text();
        for origin in &world.origins {
            assert!(!text.contains(&origin.address.port().to_string()), "{name}: {text}");
        }
    }
    for (name, answer) in answers.iter().filter(|(_, answer)| answer.status == 429) {
        names_its_limit(&world.gateway, name, answer).await;
    }
    let provoked: BTreeSet<&str> = answers.iter().map(|(name, _)| *name).collect();
    let all: BTreeSet<&str> = PROBLEMS.iter().map(|problem| problem.name).collect();
    assert_eq!(provoked, all);
}

/// Asserts that a limit that has refused is named in the answer, in the metrics and in the log.
async fn names_its_limit(gateway: &Gateway, problem: &str, answer: &Answer) {
    let ends = ["-rate-limited", "-limited", "-used-up"];
    let limit = ends.iter().find_map(|end| problem.strip_suffix(end)).expect(problem);
    let told = &answer.json()["limit"];
    assert_eq!(told["name"], limit, "{problem}");
    assert!(told["allows"].as_str().is_some_and(|text| !text.is_empty()), "{problem}: {told}");
    let item = format!("\"{limit}\";");
    for (field, says) in [("ratelimit", "r=0"), ("ratelimit-policy", "q=1")] {
        let value = answer.one(field).unwrap_or_default();
        let rest = value.strip_prefix(&item);
        assert!(rest.is_some_and(|rest| rest.starts_with(says)), "{problem}: {field}: {value}");
    }
    let counted = format!("tenantry_gateway_answers_total{{problem=\"{problem}\"}}");
    gateway.metric_becomes(&counted, 1.0).await;
    gateway.logs(&format!("\"status\":429,\"problem\":\"{problem}\""), 1).await;
}

#[tokio::test]
async fn a_problem_names_its_tenant_once_it_is_known() {
    let world = World::start().await;

    let known = world.send("GET /", "refusing", &[], "").await;
    let unknown = world.send("GET /", "unheard-of", &[], "").await;

    assert_eq!(known.json()["tenant"], "refusing");
    assert_eq!(unknown.json()["tenant"], serde_json::Value::Null);
}

#[tokio::test]
async fn an_http2_client_gets_the_same_problems_and_a_head_no_body() {
    let world = World::start().await;

    let mut h2 = Hyper::h2(world.gateway.address()).await;
    let refused = h2.get("refusing", "/").await;
    let head = world.send("HEAD /", "refusing", &[], "").await;

    assert_eq!((refused.status, refused.problem().as_deref()), (502, Some("connect-failed")));
    assert_eq!(head.status, 502);
    assert!(head.one("content-length").is_some_and(|length| length != "0"));
}

#[tokio::test]
async fn an_endpoints_own_failure_is_not_the_gateways() {
    let own = "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\nRetry-After: 9\r\n\r\nbusy";
    let origin = Origin::start([Step::raw(own)]).await;
    let gateway = Gateway::start(&one_tenant_with(&[origin.address], NO_RETRY)).await;

    let answer = gateway.get("/").await;

    assert_eq!((answer.status, answer.text().as_str()), (503, "busy"));
    assert_eq!(answer.all("proxy-status"), [""; 0]);
    assert_eq!(answer.all("retry-after"), ["9"]);
}

#[tokio::test]
async fn a_head_with_too_many_or_too_long_fields_is_refused() {
    let origin = Origin::saying("hello").await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;
    let many = |count: usize| -> Vec<String> {
        let fields = (0..count).map(|number| format!("X-{number}: 1"));
        ["Host: a".to_owned(), "X-Tenant-ID: acme".to_owned()].into_iter().chain(fields).collect()
    };
    let long: Vec<String> = (0..3).map(|at| format!("X-{at}: {}", "y".repeat(12 << 10))).collect();
    let long = [many(0), long].concat();
    for (fields, expected) in [(many(126), 200), (many(127), 431), (long, 431)] {
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        let answer = ask(gateway.address(), "GET /", &fields).await;
        assert_eq!(answer.status, expected, "{} fields", fields.len());
    }
}

#[tokio::test]
async fn a_target_as_long_as_its_limit_passes_and_one_byte_more_is_too_long() {
    let origin = Origin::saying("hello").await;
    // Half of a head, where nothing is said of it.
    let cases = [
        ("", 16 << 10),
        ("[downstream]\nmax-header-size = \"4KiB\"", 2 << 10),
        ("[downstream]\nmax-target-size = \"200B\"", 200),
        ("[downstream]\nmax-target-size = \"24KiB\"", 24 << 10),
    ];
    for (more, most) in cases {
        let gateway = Gateway::start_with(more, &one_tenant(&[origin.address])).await;
        let exact = format!("/{}", "x".repeat(most - 1));
        let longer = format!("{exact}x");
        for mut client in [Hyper::h1(gateway.address()).await, Hyper::h2(gateway.address()).await] {
            let fits = client.get("acme", &exact).await;
            let refused = client.get("acme", &longer).await;
            assert_eq!((fits.status, fits.text().as_str()), (200, "hello"), "{most}");
            let told = (refused.status, refused.problem());
            assert_eq!(told, (414, Some("target-too-long".to_owned())), "{most}");
        }
        let targets = origin.asked().into_iter().rev().take(2).map(|asked| asked.target);
        assert!(targets.eq([exact.clone(), exact]), "{most}");
        let counted = "tenantry_gateway_answers_total{problem=\"target-too-long\"}";
        gateway.metric_becomes(counted, 2.0).await;
    }
    assert_eq!(origin.asked().len(), 2 * cases.len());
}

#[tokio::test]
async fn a_request_that_is_not_http_gets_a_problem_and_the_end_of_the_connection() {
    let origin = Origin::saying("hello").await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;
    let giant = head("GET /", &["Host: a", &format!("X-A: {}", "x".repeat(100 << 10))]);
    let bad = [
        ("hello\r\n\r\n", 400),
        ("GET / HTTP/3.0\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\n folded: x\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\na", 400),
        ("\u{16}\u{3}\u{1}\u{2}\u{0}\r\n\r\n", 400),
        (&giant, 431),
    ];
    for (bytes, expected) in bad {
        let mut client = Client::connect(gateway.address()).await;
        let answer = client.ask(bytes).await;
        let problem = if expected == 431 { "head-too-large" } else { "bad-request" };
        assert_eq!(answer.status, expected, "{bytes:.60}");
        assert_eq!(answer.problem().as_deref(), Some(problem), "{bytes:.60}");
        assert!(client.is_closed().await, "{bytes:.60}");
    }
    assert_eq!(origin.connections(), 0);
    gateway.metric_becomes("tenantry_gateway_answers_total{problem=\"bad-request\"}", 8.0).await;
    gateway.metric_becomes("tenantry_gateway_answers_total{problem=\"head-too-large\"}", 1.0).await;
}

#[tokio::test]
async fn a_client_that_is_still_sending_after_its_answer_is_not_reset() {
    let origin = Origin::saying("hello").await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;
    let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
    // More than the gateway reads before it answers.
    let giant = head("GET /", &["Host: a", &format!("X-A: {}", "x".repeat(150 << 10))]);
    let began = Instant::now();
    stream.write_all(giant.as_bytes()).await.unwrap();

    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();

    assert!(answer.starts_with(b"HTTP/1.1 431 ") && answer.ends_with(b"}"), "{answer:?}");
    // A reset would fail the second of these, or one soon after.
    for _ in 0..20 {
        let sent = stream.write_all(&[b'x'; 100]).await;
        // The gateway reads on for a second: a test that was held up for that long has shown nothing.
        assert!(sent.is_ok() || began.elapsed() > Duration::from_millis(900), "{sent:?}");
        sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn a_bad_request_behind_a_good_one_has_an_answer_of_its_own() {
    let origin = Origin::saying("hello").await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;
    let good = head("GET /", &["Host: a", "X-Tenant-ID: acme"]);
    let mut client = Client::connect(gateway.address()).await;

    let first = client.ask(good + "no request\r\n\r\n").await;
    let second = client.answer_to("GET").await;

    assert_eq!((first.status, first.body.as_slice()), (200, b"hello".as_slice()));
    assert_eq!((second.status, second.problem().as_deref()), (400, Some("bad-request")));
}

#[tokio::test]
async fn a_length_beside_chunks_never_reaches_an_origin() {
    let origin = Origin::saying("hello").await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;
    let fields =
        ["Host: a", "X-Tenant-ID: acme", "Content-Length: 30", "Transfer-Encoding: chunked"];
    let inner = "0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n";

    let mut client = Client::connect(gateway.address()).await;
    client.ask(head("POST /", &fields) + inner).await;

    for asked in origin.asked() {
        let both = asked.headers.contains_key("content-length")
            && asked.headers.contains_key("transfer-encoding");
        assert!(!both && asked.target == "/" && asked.body.is_empty(), "{asked:?}");
    }
}

#[tokio::test]
async fn a_body_without_a_length_is_refused_where_it_grows_too_large() {
    let origin = Origin::saying("hello").await;
    let more = "[downstream]\nmax-body = \"64KiB\"";
    let gateway = Gateway::start_with(more, &one_tenant(&[origin.address])).await;
    let large = vec![b'x'; 65 << 10];
    for mut client in [Hyper::h1(gateway.address()).await, Hyper::h2(gateway.address()).await] {
        let body = Frames::unsized_of(large.clone());
        let request = client.request("PUT", "acme", "/", body);
        let answer = client.ask(request).await;
        assert_eq!((answer.status, answer.problem().as_deref()), (413, Some("body-too-large")));
    }
    let exact = Frames::unsized_of(large[..64 << 10].to_vec());
    let mut client = Hyper::h1(gateway.address()).await;
    let fits = client.ask(client.request("PUT", "acme", "/", exact)).await;

    assert_eq!(fits.status, 200);
    let whole = origin.asked().iter().filter(|asked| asked.whole).count();
    assert_eq!(whole, 1, "no origin took a part for the whole");
}

#[tokio::test]
async fn a_body_with_too_large_a_length_is_refused_before_a_byte_of_it() {
    let origin = Origin::saying("hello").await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;
    let fields =
        ["Host: a", "X-Tenant-ID: acme", "Content-Length: 10485761", "Expect: 100-continue"];

    let answer = ask(gateway.address(), "PUT /", &fields).await;

    assert_eq!((answer.status, answer.interim), (413, vec![]));
    assert_eq!(origin.connections(), 0);
}

/// Its sender may be waiting for a word, and will never send an empty line.
#[tokio::test]
async fn bytes_that_begin_no_request_are_answered_before_the_end_of_a_head() {
    let gateway = Gateway::start(&one_tenant(&["127.0.0.1:1".parse().unwrap()])).await;
    for bytes in
        [&b"SSH-2.0-client\r\n"[..], b"\x16\x03\x01\x02\0\x01", b"GET /\r\n", b"HELO a\r\n"]
    {
        let mut client = Client::connect(gateway.address()).await;
        let answer = client.ask(bytes).await;
        assert_eq!(answer.status, 400, "{bytes:?}");
        assert!(answer.text().contains("urn:tenantry:problem:bad-request"), "{bytes:?}");
    }
}

#[tokio::test]
async fn what_is_no_valid_answer_is_a_bad_answer() {
    let many: String = (0..300).map(|number| format!("X-{number}: 1\r\n")).collect();
    let bad = [
        "hello\r\n\r\n".to_owned(),
        "HTTP/1.1 abc Odd\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nNo colon\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n1\r\na\r\n0\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok".to_owned(),
        "HTTP/3.0 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned(),
        format!("HTTP/1.1 200 OK\r\nX-A: {}\r\n\r\n", "x".repeat(65 << 10)),
        format!("HTTP/1.1 200 OK\r\n{many}Content-Length: 0\r\n\r\n"),
    ];
    let origin = Origin::saying("").await;
    let gateway = Gateway::start(&one_tenant_with(&[origin.address], NO_RETRY)).await;
    for bytes in bad {
        origin.rescript([Step::raw(bytes.clone())]);
        let answer = gateway.get("/").await;
        let told = (answer.status, answer.problem());
        assert_eq!(told, (502, Some("bad-answer".to_owned())), "{bytes:.60}");
    }
    origin.rescript([Step::ok("well")]);
    assert_eq!(gateway.get("/").await.text(), "well");
}

#[tokio::test]
async fn an_endpoint_that_does_not_speak_the_pools_protocol_is_a_fault_of_its_own() {
    let origin = Origin::saying("hello").await;
    let keys = format!("{NO_RETRY}\nprotocol = \"h2\"\ntimeouts = {{ attempt = \"5s\" }}");
    let gateway = Gateway::start(&one_tenant_with(&[origin.address], &keys)).await;

    let answer = gateway.get("/").await;

    assert_eq!(answer.status, 502, "{answer:?}");
    assert!(answer.problem().is_some());
}
