//! Tenants that share a pool of limited capacity.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::world::client::{Client, Hyper, get, head};
use crate::world::config::pool;
use crate::world::gateway::Gateway;
use crate::world::message::Asked;
use crate::world::origin::{Origin, Step};
use crate::world::waiters::{come_and_leave, half_sent, post};
use crate::world::within;

const FIELDS: &[&str] = &["Host: localhost", "X-Tenant-ID: acme"];
const WAITING: &str = "tenantry_queue_waiting_requests{pool=\"app\"}";
const INSIDE: &str = "tenantry_pool_concurrency_requests{pool=\"app\"}";

fn became(outcome: &str) -> String {
    format!("tenantry_queue_requests_total{{pool=\"app\",outcome=\"{outcome}\"}}")
}

/// A pool `app` that has `keys`, and these tenants of it.
fn shared(endpoint: SocketAddr, keys: &str, tenants: &[(&str, &str)]) -> String {
    let tenants =
        tenants.iter().map(|(id, keys)| format!("[tenants.{id}]\npool = \"app\"\n{keys}\n"));
    pool("app", &[endpoint], keys) + &tenants.collect::<String>()
}

/// A gateway whose pool has one place, which is taken, and the origin that holds who took it.
async fn occupied(keys: &str) -> (Gateway, Origin, Client) {
    let origin = Origin::start([Step::ok("hello").held()]).await;
    let keys = format!("concurrency = 1\n{keys}");
    let gateway = Gateway::start(&shared(origin.address, &keys, &[("acme", "")])).await;
    let first = asking(&gateway).await;
    origin.wait_for(1).await;
    (gateway, origin, first)
}

/// A client that has asked and waits for its answer.
async fn asking(gateway: &Gateway) -> Client {
    asking_at(gateway, "acme", "/").await
}

async fn asking_at(gateway: &Gateway, tenant: &str, path: &str) -> Client {
    let tenant = format!("X-Tenant-ID: {tenant}");
    let mut client = Client::connect(gateway.address()).await;
    client.send(head(&format!("GET {path}"), &["Host: localhost", &tenant])).await;
    client
}

/// Lets all answers go that are held.
fn release(origin: &Origin) {
    (0..9).for_each(|_| origin.release());
}

async fn is_served(client: &mut Client) {
    assert_eq!(client.answer_to("GET").await.status, 200);
}

/// An endpoint that takes its time for each request, and notes how many it had at once.
struct Slow {
    address: SocketAddr,
    most: Arc<AtomicUsize>,
    _serving: JoinSet<()>,
}

impl Slow {
    async fn start(takes: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut serving = JoinSet::new();
        let noted = Arc::clone(&most);
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, takes, Arc::clone(&now), Arc::clone(&noted)));
            }
        });
        Self { address, most, _serving: serving }
    }
}

async fn serve(
    mut stream: TcpStream,
    takes: Duration,
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
) {
    let mut came = Vec::new();
    while let Ok(1..) = stream.read_buf(&mut came).await {
        if !came.ends_with(b"\r\n\r\n") {
            continue;
        }
        came.clear();
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        sleep(takes).await; // what its work takes
        now.fetch_sub(1, Ordering::SeqCst);
        if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.is_err() {
            return;
        }
    }
}

/// Asks at its own pace, so many times or until it is dropped; gives the statuses.
async fn ask(address: SocketAddr, tenant: &'static str, pace: Duration, times: usize) -> Vec<u16> {
    let tenant = format!("X-Tenant-ID: {tenant}");
    let mut client = Client::connect(address).await;
    let mut ticks = interval(pace);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut statuses = Vec::new();
    while statuses.len() < times {
        ticks.tick().await;
        let answer = client.ask(head("GET /", &["Host: localhost", &tenant])).await;
        statuses.push(answer.status);
    }
    statuses
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_one_tenant_costs_the_others_no_request() {
    // 2 places of 20 ms: 100 requests a second, and a flood of about 1,000.
    let slow = Slow::start(Duration::from_millis(20)).await;
    let keys = "concurrency = 2\nqueue = { length = 20, wait = \"10s\" }";
    let flood = ("flood", "queue = { wait = \"200ms\" }");
    let tenants = [flood, ("a", ""), ("b", ""), ("c", ""), ("d", "")];
    let gateway = Gateway::start_with_workers(2, "", &shared(slow.address, keys, &tenants)).await;
    let mut flooding = JoinSet::new();
    for _ in 0..50 {
        flooding.spawn(ask(gateway.address(), "flood", Duration::from_millis(50), usize::MAX));
    }
    gateway.metric_at_least(&became("full"), 20.0).await;

    let mut calm = JoinSet::new();
    for tenant in ["a", "b", "c", "d"] {
        calm.spawn(ask(gateway.address(), tenant, Duration::from_millis(100), 15));
    }
    let calm = within("the calm ones", calm.join_all()).await;

    assert!(calm.iter().flatten().all(|status| *status == 200), "{calm:?}");
    assert_eq!(slow.most.load(Ordering::SeqCst), 2, "it holds over all workers");
    drop(flooding);
    gateway.metric_becomes(WAITING, 0.0).await;
    gateway.metric_becomes(INSIDE, 0.0).await;
    let flood = "tenantry_tenant_queue_requests_total{tenant=\"flood\",outcome=\"full\"}";
    gateway.metric_at_least(flood, 20.0).await;
    let calm = "tenantry_tenant_queue_requests_total{tenant=\"a\",outcome=\"served\"}";
    gateway.metric_at_least(calm, 1.0).await;
}

#[tokio::test]
async fn who_finds_the_queue_full_is_told_so() {
    let (gateway, origin, mut first) = occupied("queue = { length = 1, wait = \"1500ms\" }").await;
    let mut second = asking(&gateway).await;
    gateway.metric_becomes(WAITING, 1.0).await;

    let answer = gateway.get("/").await;

    assert_eq!((answer.status, answer.one("retry-after").as_deref()), (503, Some("2")));
    assert_eq!(
        answer.one("proxy-status").as_deref(),
        Some("tenantry; error=connection_limit_reached")
    );
    let problem = answer.json();
    assert_eq!(problem["type"], "urn:tenantry:problem:queue-full");
    assert_eq!(problem["tenant"], "acme");
    assert_eq!(gateway.metric(INSIDE).await, Some(1.0));
    release(&origin); // the second one waits no longer than for its time
    is_served(&mut first).await;
    is_served(&mut second).await;
    gateway.metric_becomes(&became("full"), 1.0).await;
    gateway.metric_becomes(&became("served"), 1.0).await;
    gateway.metric_becomes("tenantry_queue_wait_seconds_count{pool=\"app\"}", 1.0).await;
}

#[tokio::test]
async fn the_queue_of_a_tenant_is_as_long_as_it_says_itself_and_that_of_others_as_the_pool_says() {
    let origin = Origin::start([Step::ok("hello").held()]).await;
    let keys = "concurrency = 1\nqueue = { length = 2, wait = \"1h\" }";
    let tenants = [("acme", "queue = { length = 1 }"), ("globex", "")];
    let gateway = Gateway::start(&shared(origin.address, keys, &tenants)).await;
    let mut clients = vec![asking(&gateway).await];
    origin.wait_for(1).await;
    clients.push(asking(&gateway).await);
    gateway.metric_becomes(WAITING, 1.0).await;

    let refused = gateway.get("/").await; // of acme
    for _ in 0..2 {
        clients.push(asking_at(&gateway, "globex", "/").await);
    }
    gateway.metric_becomes(WAITING, 3.0).await;
    let other = get(gateway.address(), "globex", "/").await;

    for (answer, tenant) in [(refused, "acme"), (other, "globex")] {
        let problem = answer.json();
        assert_eq!(answer.status, 503, "{problem}");
        assert_eq!(problem["type"], "urn:tenantry:problem:queue-full");
        assert_eq!(problem["tenant"], tenant);
    }
    release(&origin);
    for client in &mut clients {
        is_served(client).await;
    }
    gateway.metric_becomes(&became("full"), 2.0).await;
    gateway.metric_becomes(&became("served"), 3.0).await;
}

#[tokio::test]
async fn who_waits_too_long_is_told_so() {
    let (gateway, _origin, _first) = occupied("queue = { wait = \"50ms\" }").await;

    let answer = gateway.get("/").await;

    assert_eq!((answer.status, answer.one("retry-after").as_deref()), (503, Some("1")));
    assert_eq!(answer.json()["type"], "urn:tenantry:problem:queue-timeout");
    gateway.metric_becomes(&became("late"), 1.0).await;
    gateway.metric_becomes(WAITING, 0.0).await;
}

#[tokio::test]
async fn nobody_waits_longer_than_an_exchange_may_last() {
    let keys = "queue = { wait = \"1h\" }\ntimeouts = { total = \"100ms\" }";
    let origin = Origin::start([Step::ok("hello").held()]).await;
    let keys = format!("concurrency = 1\n{keys}");
    let gateway = Gateway::start(&shared(origin.address, &keys, &[("acme", "")])).await;
    let mut streams = Hyper::h2(gateway.address()).await;

    let (first, second) = tokio::join!(gateway.get("/"), streams.get("acme", "/"));

    // One is at the endpoint when its time is over, the other may come after it or not.
    let statuses = [first.status, second.status];
    assert!(statuses.iter().all(|status| [503, 504].contains(status)), "{statuses:?}");
    gateway.metric_becomes(INSIDE, 0.0).await;
    gateway.metric_becomes(WAITING, 0.0).await;
}

#[tokio::test]
async fn a_client_that_leaves_while_it_waits_frees_its_place() {
    let (gateway, origin, mut first) = occupied("queue = { wait = \"1h\" }").await;
    let large = "x".repeat(30_000); // what the system holds: a close behind more would not come through

    let left = come_and_leave(&gateway, WAITING, &[post(1 << 20, &large)]).await;

    gateway.metric_becomes(&became("left"), left).await;
    release(&origin);
    is_served(&mut first).await;
    gateway.metric_becomes(INSIDE, 0.0).await;
    assert_eq!(origin.asked().len(), 1, "nobody else came there");
}

#[tokio::test]
async fn a_body_that_came_while_its_request_waited_is_passed_on_whole() {
    let (gateway, origin, mut first) = occupied("queue = { wait = \"1h\" }").await;
    let (mut client, rest, size) = half_sent(&gateway, WAITING).await;

    release(&origin);
    is_served(&mut first).await;
    client.send(rest).await;

    assert_eq!(client.answer_to("POST").await.status, 200);
    assert_eq!(origin.asked()[1].body.len(), size);
}

#[tokio::test]
async fn a_tunnel_keeps_its_place_until_it_ends() {
    let switch =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: mine\r\n\r\nhi";
    let origin = Origin::start([Step::raw(switch).and_echo()]).await;
    let keys = "concurrency = 1\nqueue = { length = 0 }";
    let gateway = Gateway::start(&shared(origin.address, keys, &[("acme", "")])).await;
    let mut tunnel = Client::connect(gateway.address()).await;
    let asking = [FIELDS, &["Connection: Upgrade", "Upgrade: mine"]].concat();
    tunnel.send(head("GET /", &asking)).await;
    assert_eq!(tunnel.answer_head().await.status, 101);
    assert_eq!(tunnel.wire.exact("hi").await, Some(()));

    assert_eq!(gateway.get("/").await.status, 503);
    drop(tunnel);

    gateway.metric_becomes(INSIDE, 0.0).await;
}

#[tokio::test]
async fn an_answer_keeps_its_place_until_its_body_has_ended() {
    let begun = Step::raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbegun").and_stall();
    let origin = Origin::start([begun]).await;
    let keys = "concurrency = 1\nqueue = { length = 0 }";
    let gateway = Gateway::start(&shared(origin.address, keys, &[("acme", "")])).await;
    let mut client = asking(&gateway).await;
    assert_eq!(client.answer_head().await.status, 200);

    assert_eq!(gateway.get("/").await.status, 503);
    drop(client);

    gateway.metric_becomes(INSIDE, 0.0).await;
}

#[tokio::test]
async fn a_retry_keeps_the_place_of_its_request() {
    let origin = Origin::start([Step::answer(503, "busy"), Step::ok("hello")]).await;
    let keys =
        "concurrency = 1\nqueue = { length = 0 }\nretry = { attempts = 2, backoff = \"1ms\" }";
    let gateway = Gateway::start(&shared(origin.address, keys, &[("acme", "")])).await;

    assert_eq!(gateway.get("/").await.status, 200);

    assert_eq!(origin.asked().len(), 2);
    gateway.metric_becomes(INSIDE, 0.0).await;
}

#[tokio::test]
async fn who_waits_is_served_when_an_edit_raises_the_limit_or_takes_it_away() {
    for limit in ["concurrency = 3\nqueue = { wait = \"1h\" }", ""] {
        let (gateway, origin, mut first) = occupied("queue = { wait = \"1h\" }").await;
        let (mut second, mut third) = (asking(&gateway).await, asking(&gateway).await);
        gateway.metric_becomes(WAITING, 2.0).await;

        gateway.edit(&shared(origin.address, limit, &[("acme", "")]));

        origin.wait_for(3).await;
        release(&origin);
        for client in [&mut first, &mut second, &mut third] {
            is_served(client).await;
        }
    }
}

#[tokio::test]
async fn who_waits_keeps_its_place_when_an_edit_changes_the_pool() {
    let (gateway, origin, mut first) = occupied("queue = { wait = \"1h\" }").await;
    let mut second = asking(&gateway).await;
    gateway.metric_becomes(WAITING, 1.0).await;
    let keys = "concurrency = 1\nqueue = { wait = \"2h\" }\nbalance = \"random\"";
    gateway.reload(&shared(origin.address, keys, &[("acme", "")])).await;
    let mut third = asking(&gateway).await;
    gateway.metric_becomes(WAITING, 2.0).await;
    assert_eq!(origin.asked().len(), 1, "the place is taken as before");

    release(&origin);

    for client in [&mut first, &mut second, &mut third] {
        is_served(client).await;
    }
}

/// Routes of every priority, in a set for all tenants.
const URGENCIES: &str = "[[route-sets.urgencies.routes]]\npath = \"/urgent\"\n\
                         queue = { priority = \"critical\" }\n\
                         [[route-sets.urgencies.routes]]\npath = \"/normal\"\n\
                         queue = { priority = \"normal\" }\n\
                         [[route-sets.urgencies.routes]]\npath = \"/later\"\n\
                         queue = { priority = \"batch\" }\n";

/// In which order the endpoint has those who have waited for a place, each of whom has come behind the one before.
async fn order(tenants: &[(&str, &str)], comers: &[(&str, &str)]) -> Vec<String> {
    let origin = Origin::start([Step::ok("hello").held()]).await;
    let keys = "concurrency = 1\nqueue = { wait = \"1h\" }\ntimeouts = { total = \"5m\" }";
    let routes = format!("{URGENCIES}{}", shared(origin.address, keys, tenants));
    let gateway = Gateway::start(&routes).await;
    let mut clients = vec![asking(&gateway).await];
    origin.wait_for(1).await;
    let mut waiting = 0.0;
    for (tenant, path) in comers {
        clients.push(asking_at(&gateway, tenant, path).await);
        waiting += 1.0;
        gateway.metric_becomes(WAITING, waiting).await;
    }
    for number in 2..=clients.len() {
        origin.release();
        origin.wait_for(number).await;
    }
    origin.release();
    for client in &mut clients {
        is_served(client).await;
    }
    let asked = origin.asked();
    let of = |asked: &Asked| asked.one("x-tenant-id").expect("a tenant");
    asked[1..].iter().map(|asked| format!("{} {}", of(asked), asked.target)).collect()
}

#[tokio::test]
async fn a_route_says_how_urgent_its_requests_are() {
    let tenants = [("acme", "use = [\"urgencies\"]\nqueue = { priority = \"critical\" }")];
    let comers = [("acme", "/later"), ("acme", "/normal"), ("acme", "/urgent")];

    let order = order(&tenants, &comers).await;

    assert_eq!(order, ["acme /urgent", "acme /normal", "acme /later"]);
}

#[tokio::test]
async fn no_route_is_more_urgent_than_its_tenant_says() {
    is_no_more_urgent("queue = { priority = \"normal\" }").await;
}

#[tokio::test]
async fn a_route_of_a_set_makes_no_tenant_critical_that_says_nothing() {
    is_no_more_urgent("").await;
}

/// A tenant with these keys is normal where a route that it shares is critical.
async fn is_no_more_urgent(keys: &str) {
    let plain = format!("use = [\"urgencies\"]\n{keys}");
    let tenants = [
        ("acme", ""),
        ("free", "use = [\"urgencies\"]\nqueue = { priority = \"batch\" }"),
        ("plain", &plain),
        ("status", "use = [\"urgencies\"]\nqueue = { priority = \"critical\" }"),
    ];
    let comers = [("free", "/urgent"), ("plain", "/urgent"), ("status", "/later"), ("status", "/")];

    let order = order(&tenants, &comers).await;

    assert_eq!(order[..2], ["status /", "plain /urgent"]);
    let mut rest = [order[2].as_str(), order[3].as_str()];
    rest.sort_unstable();
    assert_eq!(rest, ["free /urgent", "status /later"], "both are batch");
}

/// Has these come while another tenant has the only place, so that all of them wait; who has it is the first client.
async fn crowd(gateway: &Gateway, origin: &Origin, comers: &[(&str, &str)]) -> Vec<Client> {
    let before = origin.asked().len();
    let mut clients = vec![asking_at(gateway, "first", "/first").await];
    origin.wait_for(before + 1).await;
    for (tenant, path) in comers {
        clients.push(asking_at(gateway, tenant, path).await);
    }
    gateway.metric_becomes(WAITING, comers.len() as f64).await;
    clients
}

/// Has the pool learn that a request to `/slow` takes so long, and one to `/quick` next to nothing, and gives the order in
/// which it serves two of the one tenant and ten of another one then, and how long all but the slow one has taken.
async fn turns_by_what_is_learned(slow: Duration) -> (Vec<String>, Duration) {
    let origin = Origin::start([Step::ok("hello").held()]).await;
    let keys = "concurrency = 1\nqueue = { wait = \"1h\" }\ntimeouts = { total = \"5m\" }";
    let paths = ["/first", "/slow", "/quick"];
    let work = paths.map(|path| format!("[[route-sets.work.routes]]\npath = \"{path}\"\n"));
    let tenants = ["first", "acme", "globex"].map(|id| (id, "use = [\"work\"]"));
    let routes = work.concat() + &shared(origin.address, keys, &tenants);
    let gateway = Gateway::start(&routes).await;

    // Whoever has waited is learned from.
    let taught = [("acme", "/slow"), ("globex", "/quick")];
    let mut clients = crowd(&gateway, &origin, &taught).await;
    let started = Instant::now();
    for number in [2, 3] {
        origin.release();
        if origin.wait_for(number).await[number - 1].target == "/slow" {
            sleep(slow).await; // what its work takes
        }
    }
    origin.release();
    for client in &mut clients {
        is_served(client).await;
    }
    let teaching = started.elapsed().saturating_sub(slow);

    let mut comers = vec![("acme", "/slow"); 2];
    comers.extend([("globex", "/quick"); 10]);
    let mut clients = crowd(&gateway, &origin, &comers).await;
    let started = Instant::now();
    clients.iter().for_each(|_| origin.release());
    for client in &mut clients {
        is_served(client).await;
    }
    let rest = teaching + started.elapsed();
    let order = origin.asked().into_iter().skip(4).map(|asked| asked.target);
    (order.collect(), rest)
}

#[tokio::test]
async fn ten_quick_requests_of_one_tenant_have_their_turns_before_a_slow_one_of_another() {
    for slow in [1, 3, 9].map(Duration::from_secs) {
        let (order, rest) = turns_by_what_is_learned(slow).await;
        // Else the machine stood still for as long as a slow one takes, and the quick ones were no quicker.
        if rest < slow {
            assert_eq!(order, [vec!["/quick"; 10], vec!["/slow"; 2]].concat());
            return;
        }
    }
    panic!("nothing is quick at this machine");
}

#[tokio::test]
async fn how_urgent_a_request_is_is_told_with_who_says_so() {
    let origin = Origin::saying("hello").await;
    let uses = "use = [\"urgencies\"]";
    let low = format!("{uses}\nqueue = {{ priority = \"batch\" }}");
    let high = format!("{uses}\nqueue = {{ priority = \"critical\" }}");
    let tenants = [("acme", uses), ("free", low.as_str()), ("status", high.as_str())];
    let routes = shared(origin.address, "concurrency = 7", &tenants);
    let gateway = Gateway::start(&format!("{URGENCIES}{routes}")).await;
    for (tenant, path, expected) in [
        ("status", "/urgent", ("critical", "route")),
        ("acme", "/urgent", ("normal", "built in")),
        ("acme", "/later", ("batch", "route")),
        ("acme", "/", ("normal", "built in")),
        ("free", "/urgent", ("batch", "tenant")),
        ("free", "/later", ("batch", "route")),
        ("free", "/", ("batch", "tenant")),
    ] {
        let asked = format!("/api/v1/explain?target={path}&tenant={tenant}");
        let told = gateway.admin(&asked).await.json();
        let settings = told["settings"].as_array().expect("settings");
        let found = settings.iter().find(|setting| setting["key"] == "queue.priority");
        let found = found.expect("the priority");
        let told = (found["value"].as_str(), found["set_by"].as_str());
        assert_eq!(told, (Some(expected.0), Some(expected.1)), "{tenant} {path}");
        assert_eq!(found["place"].is_null(), expected.1 == "built in");
    }
}

#[tokio::test]
async fn who_shares_what_is_told_by_the_api() {
    let origin = Origin::saying("hello").await;
    let keys = "concurrency = 7\nqueue = { length = 9 }";
    let own = "queue = { weight = 3, priority = \"critical\", wait = \"2s\" }";
    let gateway = Gateway::start(&shared(origin.address, keys, &[("acme", own)])).await;
    assert_eq!(gateway.get("/").await.status, 200);

    let pools = gateway.admin("/api/v1/pools").await.json();
    assert_eq!(
        pools[0]["concurrency"],
        serde_json::json!({ "limit": 7, "requests": 0, "waiting": 0, "adaptive": null })
    );
    let told = gateway.admin("/api/v1/explain?target=/&tenant=acme").await.json();
    let settings = told["settings"].as_array().expect("settings");
    let setting = |key: &str| {
        let found = settings.iter().find(|setting| setting["key"] == key);
        found.map(|found| format!("{} by {}", found["value"], found["set_by"]))
    };
    assert_eq!(setting("concurrency").as_deref(), Some("\"7\" by \"pool\""));
    assert_eq!(setting("queue.weight").as_deref(), Some("\"3\" by \"tenant\""));
    assert_eq!(setting("queue.priority").as_deref(), Some("\"critical\" by \"tenant\""));
    assert_eq!(setting("queue.length").as_deref(), Some("\"9\" by \"pool\""));
    assert_eq!(setting("queue.wait").as_deref(), Some("\"2s\" by \"tenant\""));
    assert_eq!(get(gateway.address(), "acme", "/").await.status, 200);
}
