//! Limits that several gateways share, in a real Redis.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use proptest::prelude::{Just, Strategy, prop_assert_eq, prop_oneof};
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;
use tenantry::base::units::Percent;
use tenantry::config::spec::{RedisAt, SharedLimitsSpec};
use tenantry::limits::fleet::redis::{Redis as Shared, SCRIPT};
use tenantry::limits::fleet::store::{Ask, Store};
use tenantry::limits::gcra::{Pace, Ticks};
use tokio::time::{Instant, sleep};

use crate::world::client::{Client, get, head};
use crate::world::config::{NO_RETRY, pool};
use crate::world::gateway::Gateway;
use crate::world::message::Answer;
use crate::world::origin::Origin;
use crate::world::pki::Authority;
use crate::world::redis::Redis;
use crate::world::{DEADLINE, STEP, within};

const UP: &str = "tenantry_shared_limits_up";

fn calls(result: &str) -> String {
    format!("tenantry_shared_limits_calls_total{{result=\"{result}\"}}")
}

fn requests(kind: &str) -> String {
    format!("tenantry_shared_limits_requests_total{{kind=\"{kind}\"}}")
}

/// `acme` with these limits, which gateways share.
fn routes(origin: &Origin, limits: &str) -> String {
    let pool = pool("app", &[origin.address], NO_RETRY);
    format!("{pool}\n[tenants.acme]\npool = \"app\"\nlimits = {{ {limits}, scope = \"shared\" }}\n")
}

/// A gateway that shares the limits of these routes.
async fn gateway(table: &str, routes: &str) -> Gateway {
    Gateway::start_with(table, routes).await
}

/// As many, once they share.
async fn together(count: usize, table: &str, routes: &str) -> Vec<Gateway> {
    let mut all = Vec::new();
    for _ in 0..count {
        let one = gateway(table, routes).await;
        one.metric_becomes(UP, 1.0).await;
        all.push(one);
    }
    all
}

/// A client that asks again and again.
struct Asker(Client);

impl Asker {
    async fn of(address: SocketAddr) -> Self {
        Self(Client::connect(address).await)
    }

    async fn ask(&mut self) -> Answer {
        self.0.ask(head("GET /", &["Host: localhost", "X-Tenant-ID: acme"])).await
    }

    /// The status, which is that of a request that was served or that was refused by the limit.
    async fn passes(&mut self) -> bool {
        let answer = self.ask().await;
        match answer.status {
            200 => true,
            429 => {
                assert_eq!(answer.problem().as_deref(), Some("tenant-rate-limited"));
                assert!(answer.one("retry-after").is_some());
                false
            }
            status => panic!("{status}: {}", answer.text()),
        }
    }
}

/// How many come through over all gateways in turn, until nobody passes any more.
async fn admitted(gateways: &[Gateway]) -> usize {
    let mut askers = Vec::new();
    for gateway in gateways {
        askers.push(Asker::of(gateway.address()).await);
    }
    let (mut admitted, mut refused) = (0, 0);
    while refused < 5 * askers.len() {
        for asker in &mut askers {
            let passes = asker.passes().await;
            admitted += usize::from(passes);
            refused = if passes { 0 } else { refused + 1 };
        }
    }
    admitted
}

/// How far the one word in Redis lies ahead of when it was written.
fn ahead(redis: &Redis) -> u64 {
    let keys: Vec<String> = redis.tell(&["KEYS", "*"]);
    let word = keys.first().and_then(|key| redis.tell::<Option<String>>(&["GET", key]));
    word.map_or(0, |word| word.split_once(' ').expect("two").1.parse().expect("a number"))
}

/// What `acme` has used of its limit, as a gateway tells it.
async fn used(gateway: &Gateway) -> Value {
    let usage = gateway.admin("/api/v1/tenants/acme/usage").await.json();
    usage["limits"][0].clone()
}

#[tokio::test]
async fn two_gateways_let_through_what_one_would() {
    let (redis, origin) = (Redis::start(&[]).await, Origin::saying("hello").await);
    let limits = "requests = \"3/h\", burst = 60, fields = \"always\"";
    let two = together(2, &redis.table(""), &routes(&origin, limits)).await;

    let admitted = admitted(&two).await;

    assert!((60..=60 + 2 * 12).contains(&admitted), "{admitted}");
    for gateway in &two {
        let limit = used(gateway).await;
        assert_eq!((&limit["scope"], &limit["degraded"]), (&"shared".into(), &false.into()));
        assert_eq!(limit["left"], 0, "{limit}");
        assert_eq!(gateway.status().await["shared_limits"]["shared"], true);
        let counted = gateway.metric(&requests("counted")).await.expect("a count");
        let granted = gateway.metric(&requests("granted")).await.expect("a count");
        assert!(counted + granted >= 20.0, "{counted} {granted}");
    }
    let keys: Vec<String> = redis.tell(&["KEYS", "*"]);
    let [key] = keys.as_slice() else { panic!("{keys:?}") };
    assert!(key.starts_with("tenantry:tenant:acme:"), "{key}");
    let left: u64 = redis.tell(&["PTTL", key]);
    assert!((1000..=2 * 20 * 3600 * 1000).contains(&left), "it goes by itself: {left}");
}

#[tokio::test]
async fn a_burst_that_comes_at_once_comes_through() {
    let origin = Origin::saying("hello").await;
    let limits = "requests = \"3/h\", burst = 60";
    // A request waits for the store for a second at most: a busy machine may be late once, and not each time.
    for _ in 0..3 {
        let redis = Redis::start(&[]).await;
        let one = together(1, &redis.table("reserve = \"0%\""), &routes(&origin, limits)).await;
        let begun = Instant::now();

        let all = (0..60).map(|_| get(one[0].address(), "acme", "/"));
        let answers = futures_util::future::join_all(all).await;

        let took = begun.elapsed();
        let refused = answers.iter().filter(|answer| answer.status != 200).count();
        if refused == 0 {
            assert_eq!(get(one[0].address(), "acme", "/").await.status, 429);
            return;
        }
        let why = "10 may be owed, and nobody else has used it";
        assert!(took > Duration::from_millis(800), "{refused} were refused: {why}");
    }
    panic!("some are refused each time");
}

#[tokio::test]
async fn who_came_at_once_is_refused_soon_where_others_have_used_the_limit_up() {
    let (redis, origin) = (Redis::start(&[]).await, Origin::saying("hello").await);
    let limits = "requests = \"3/h\", burst = 60";
    let two = together(2, &redis.table("reserve = \"0%\""), &routes(&origin, limits)).await;
    let used = admitted(&two[..1]).await;
    assert_eq!(used, 60);

    let all = (0..60).map(|_| get(two[1].address(), "acme", "/"));
    let answers = futures_util::future::join_all(all).await;

    let passed = answers.iter().filter(|answer| answer.status == 200).count();
    assert!(passed <= 2 * 10, "it could not know: {passed}");
    assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 429)));
}

#[tokio::test]
async fn a_route_is_the_same_limit_at_each_gateway() {
    let (redis, origin) = (Redis::start(&[]).await, Origin::saying("hello").await);
    let limits = "requests = \"3/h\", burst = 30, scope = \"shared\"";
    let route = format!("[[tenants.acme.routes]]\npath = \"/*\"\nlimits = {{ {limits} }}\n");
    let pool = pool("app", &[origin.address], NO_RETRY);
    let routes = format!("{pool}\n[tenants.acme]\npool = \"app\"\n{route}");
    let two = together(2, &redis.table(""), &routes).await;
    let (mut client, mut other) =
        (Client::connect(two[0].address()).await, Client::connect(two[1].address()).await);
    let mut admitted = 0;
    for _ in 0..40 {
        for client in [&mut client, &mut other] {
            let answer =
                client.ask(head("GET /a", &["Host: localhost", "X-Tenant-ID: acme"])).await;
            admitted += usize::from(answer.status == 200);
            if answer.status != 200 {
                assert_eq!(answer.problem().as_deref(), Some("route-rate-limited"));
            }
        }
    }

    assert!((30..=30 + 2 * 10).contains(&admitted), "{admitted}");
    let keys: Vec<String> = redis.tell(&["KEYS", "*"]);
    let [key] = keys.as_slice() else { panic!("{keys:?}") };
    assert!(key.starts_with("tenantry:route:acme:"), "{key}");
}

#[tokio::test]
async fn in_time_as_many_come_through_as_the_rate_brings() {
    let (redis, origin) = (Redis::start(&[]).await, Origin::saying("hello").await);
    let limits = "requests = \"100/s\", burst = 20";
    let two = together(2, &redis.table(""), &routes(&origin, limits)).await;
    let begun = Instant::now();
    let each = two.iter().map(|gateway| async {
        let (mut asker, mut admitted) = (Asker::of(gateway.address()).await, 0_u64);
        while admitted < 100 {
            admitted += u64::from(asker.passes().await);
        }
    });

    within("what the rate brings", futures_util::future::join_all(each)).await;

    // Of 200, a burst and what each may have beforehand come at once, and the others 10 ms apart.
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(10 * (200 - 20 - 2 * 10)), "{took:?}");
    // What is beyond that is a busy machine.
    assert!(took < Duration::from_secs(8), "{took:?}");
}

#[tokio::test]
async fn who_waits_for_a_shared_limit_gets_a_turn() {
    let (redis, origin) = (Redis::start(&[]).await, Origin::saying("hello").await);
    let limits = "requests = \"20/s\", burst = 1, overflow = \"wait\", wait = \"20s\"";
    let two = together(2, &redis.table(""), &routes(&origin, limits)).await;
    let begun = Instant::now();
    let all = (0..20).map(|at| get(two[at % 2].address(), "acme", "/"));

    let answers = futures_util::future::join_all(all).await;

    assert!(answers.iter().all(|answer| answer.status == 200));
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(50 * (20 - 1 - 2)), "{took:?}");
    // A second by the rate; what is beyond it is a busy machine.
    assert!(took < Duration::from_secs(15), "{took:?}");
}

#[tokio::test]
async fn without_redis_each_gateway_holds_its_limits_alone_and_nobody_sees_an_error() {
    let (mut redis, origin) = (Redis::start(&[]).await, Origin::saying("hello").await);
    let limits = "requests = \"3/h\", burst = 50";
    let two = together(2, &redis.table(""), &routes(&origin, limits)).await;
    let [first, second] = two.as_slice() else { unreachable!() };
    let mut client = Asker::of(first.address()).await;
    let mut other = Asker::of(second.address()).await;
    for _ in 0..5 {
        assert!(client.passes().await && other.passes().await);
    }

    redis.kill();

    let mut alone = 5;
    while first.metric(UP).await != Some(0.0) {
        alone += usize::from(client.passes().await);
    }
    while client.passes().await {
        alone += 1;
    }
    assert_eq!(alone, 50, "what a gateway may let through by itself");
    let limit = used(first).await;
    assert_eq!((&limit["scope"], &limit["degraded"]), (&"shared".into(), &true.into()));
    let told = first.status().await["shared_limits"].clone();
    assert_eq!(told["shared"], false);
    assert!(told["fault"].is_string(), "{told}");

    redis.revive().await;
    first.metric_becomes(UP, 1.0).await;
    second.metric_becomes(UP, 1.0).await;

    // What it knew is lost; what the first one has taken comes back with its next question.
    assert!(!client.passes().await);
    let begun = Instant::now();
    while ahead(&redis) < 49 * 1200 * 16_000_000_000 {
        assert!(begun.elapsed() < DEADLINE, "nobody has asked");
        client.passes().await;
        sleep(STEP).await;
    }
    let mut more = 0;
    while other.passes().await {
        more += 1;
    }
    // What it had beforehand, which it keeps, and what it may owe until it hears of the other one.
    assert!(more <= 2 * 10, "its own count has room for 45, and there is none over all: {more}");
}

#[tokio::test]
async fn scripts_that_are_flushed_are_loaded_again() {
    let (redis, origin) = (Redis::start(&[]).await, Origin::saying("hello").await);
    let limits = "requests = \"3/h\", burst = 40";
    let two = together(2, &redis.table(""), &routes(&origin, limits)).await;
    let mut client = Asker::of(two[0].address()).await;
    assert!(client.passes().await);

    let () = redis.tell(&["SCRIPT", "FLUSH"]);

    let admitted = 1 + admitted(&two).await;
    assert!((40..=40 + 2 * 10).contains(&admitted), "{admitted}");
    for gateway in &two {
        assert_eq!(gateway.metric(UP).await, Some(1.0));
        assert_eq!(gateway.metric(&calls("nonsense")).await, Some(0.0));
    }
}

#[tokio::test]
async fn what_a_server_refuses_degrades_and_passes() {
    let (redis, origin) = (Redis::start(&[]).await, Origin::saying("hello").await);
    let limits = "requests = \"100000/s\", burst = 100000";
    let one = gateway(&redis.table(""), &routes(&origin, limits)).await;
    one.metric_becomes(UP, 1.0).await;
    let mut client = Asker::of(one.address()).await;
    for (words, back, reason) in [
        (["CONFIG", "SET", "maxmemory", "1"], ["CONFIG", "SET", "maxmemory", "0"], "out_of_memory"),
        (
            ["CONFIG", "SET", "min-replicas-to-write", "1"],
            ["CONFIG", "SET", "min-replicas-to-write", "0"],
            "read_only",
        ),
    ] {
        let () = redis.tell(&words);
        let begun = Instant::now();
        while one.metric(&calls(reason)).await.is_none_or(|count| count < 1.0) {
            assert!(client.passes().await, "{reason}");
            assert!(begun.elapsed() < DEADLINE, "{reason}");
        }
        let () = redis.tell(&back);
        one.metric_becomes(UP, 1.0).await;
        assert!(client.passes().await);
    }
    let () = redis.tell(&["REPLICAOF", "127.0.0.1", "1"]);
    let begun = Instant::now();
    while one.metric(UP).await != Some(0.0) {
        assert!(client.passes().await);
        assert!(begun.elapsed() < DEADLINE, "it is a replica");
    }
    let () = redis.tell(&["REPLICAOF", "NO", "ONE"]);
    one.metric_becomes(UP, 1.0).await;
}

#[tokio::test]
async fn a_server_that_hangs_keeps_nobody_waiting() {
    let (redis, origin) = (Redis::start(&[]).await, Origin::saying("hello").await);
    let limits = "requests = \"60/h\", burst = 1000";
    let table = redis.table("timeout = \"1s\"\nreserve = \"100%\"");
    let one = gateway(&table, &routes(&origin, limits)).await;
    one.metric_becomes(UP, 1.0).await;
    let mut client = Asker::of(one.address()).await;
    assert!(client.passes().await);

    redis.signal("STOP");

    let begun = Instant::now();
    let mut passed = 0;
    while one.metric(UP).await != Some(0.0) {
        assert!(client.passes().await);
        passed += 1;
        assert!(begun.elapsed() < DEADLINE, "it is not missed");
    }
    assert!(passed > 0);
    assert!(one.metric(&calls("timeout")).await >= Some(1.0));

    redis.signal("CONT");
    one.metric_becomes(UP, 1.0).await;
    assert!(client.passes().await);
}

/// Asks again and again until it is told to leave: the statuses, and the longest wait.
async fn waits(address: SocketAddr, tenant: &str, leave: &AtomicBool) -> (BTreeSet<u16>, Duration) {
    let (mut client, mut statuses) = (Client::connect(address).await, BTreeSet::new());
    let mut longest = Duration::ZERO;
    while !leave.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let named = format!("X-Tenant-ID: {tenant}");
        let answer = client.ask(head("GET /", &["Host: localhost", &named])).await;
        longest = longest.max(begun.elapsed());
        statuses.insert(answer.status);
    }
    (statuses, longest)
}

#[tokio::test]
async fn many_clients_at_once_wait_no_longer_than_a_time_out_and_a_second_while_redis_is_lost() {
    let timeout = Duration::from_millis(200);
    for signal in ["KILL", "STOP"] {
        let (redis, origin) = (Redis::start(&[]).await, Origin::saying("hello").await);
        let limits = "requests = \"200/s\", burst = 100";
        // Of the default time-out: the table of these tests has a longer one.
        let table = redis.table("timeout = \"200ms\"");
        let free = "[tenants.free]\npool = \"app\"\n";
        let one = gateway(&table, &(routes(&origin, limits) + free)).await;
        one.metric_becomes(UP, 1.0).await;
        let (address, leave) = (one.address(), AtomicBool::new(false));
        let clients = (0..8).map(|_| waits(address, "acme", &leave));
        // What the machine itself makes a request wait, which has no limit to ask for.
        let machine = waits(address, "free", &leave);

        let lose = async {
            one.metric_at_least(
                "tenantry_requests_total{tenant=\"acme\",pool=\"app\",class=\"2xx\"}",
                1.0,
            )
            .await;
            redis.signal(signal);
            one.metric_becomes(UP, 0.0).await;
            // Some go on without it, over one more try of a connection at least.
            sleep(2 * timeout).await;
            leave.store(true, Ordering::Relaxed);
        };
        let all = futures_util::future::join_all(clients);
        let (told, (_, machine), ()) = tokio::join!(all, machine, lose);

        let statuses: BTreeSet<u16> = told.iter().flat_map(|(all, _)| all).copied().collect();
        let is_odd = |status: &u16| ![200, 429].contains(status);
        assert!(statuses.contains(&200) && !statuses.iter().any(is_odd), "{signal}: {statuses:?}");
        let longest = told.iter().map(|(_, longest)| *longest).max().unwrap_or_default();
        let most = timeout + Duration::from_secs(1) + 4 * machine;
        assert!(longest <= most, "{signal}: {longest:?}, and {machine:?} without a limit");
    }
}

#[tokio::test]
async fn one_key_that_holds_something_else_is_replaced_and_degrades_nothing() {
    let (redis, origin) = (Redis::start(&[]).await, Origin::saying("hello").await);
    let limits = "requests = \"3/h\", burst = 20";
    let one = together(1, &redis.table(""), &routes(&origin, limits)).await;
    let mut client = Asker::of(one[0].address()).await;
    assert!(client.passes().await);
    let begun = Instant::now();
    while ahead(&redis) == 0 {
        assert!(begun.elapsed() < DEADLINE, "it is counted");
        sleep(STEP).await;
    }
    let keys: Vec<String> = redis.tell(&["KEYS", "*"]);
    let [key] = keys.as_slice() else { panic!("{keys:?}") };

    let () = redis.tell(&["DEL", key]);
    let _: u64 = redis.tell(&["RPUSH", key, "poison"]);

    let begun = Instant::now();
    while redis.tell::<String>(&["TYPE", key]) != "string" {
        assert!(begun.elapsed() < DEADLINE, "it is replaced");
        client.passes().await;
        sleep(STEP).await;
    }
    assert_eq!(one[0].metric(UP).await, Some(1.0));
    assert_eq!(one[0].metric(&calls("nonsense")).await, Some(0.0));
}

#[tokio::test]
async fn a_connection_that_is_cut_is_made_anew_and_what_was_counted_stays() {
    let (redis, origin) = (Redis::start(&[]).await, Origin::saying("hello").await);
    let limits = "requests = \"3/h\", burst = 40";
    let two = together(2, &redis.table(""), &routes(&origin, limits)).await;
    let mut all = Vec::new();
    for gateway in &two {
        all.push(Asker::of(gateway.address()).await);
    }
    let (mut admitted, mut refused) = (0, 0);
    while refused < 10 {
        let _: u64 = redis.tell(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        for asker in &mut all {
            let passes = asker.passes().await;
            admitted += usize::from(passes);
            refused = if passes { 0 } else { refused + 1 };
        }
    }
    assert!((20..=40 + 2 * 2 * 10).contains(&admitted), "{admitted}");
    for gateway in &two {
        gateway.metric_becomes(UP, 1.0).await;
    }
}

#[tokio::test]
async fn many_limits_are_asked_again_in_one_go_where_scripts_were_flushed() {
    let redis = Redis::start(&[]).await;
    let mut store = Shared::new(&spec(&redis)).expect("no TLS");
    store.open().await.expect("it is there");
    let pace = Pace::of_numbers(16_000_000_000, 10 * 16_000_000_000);
    let asks: Vec<_> = (0..300)
        .map(|at| {
            let key = format!("many:{at}");
            Ask { key, pace, spent: 1, own: 0, wanted: at % 20, back: 0, age: Ticks(0) }
        })
        .collect();

    let () = redis.tell(&["SCRIPT", "FLUSH"]);
    let answers = store.ask(&asks).await.expect("answers");

    let granted: Vec<_> = answers.iter().map(|answer| answer.granted).collect();
    let expected: Vec<_> = asks.iter().map(|ask| ask.wanted.min(9)).collect();
    assert_eq!(granted, expected);
    let calls: String = redis.tell(&["INFO", "commandstats"]);
    let runs = calls.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
    let runs = runs.and_then(|line| line.split(',').next()?.parse::<u64>().ok());
    assert_eq!(runs, Some(1 + 300 + 300), "the probe, and all of them twice");
}

#[tokio::test]
async fn time_brings_its_requests_once_however_many_gateways_tell_of_it() {
    let redis = Redis::start(&[]).await;
    let mut store = Shared::new(&spec(&redis)).expect("no TLS");
    store.open().await.expect("it is there");
    // 1000/s: each of those who ask says that its one may have come up to 5 ms ago.
    let interval = Ticks::of(Duration::from_millis(1)).0;
    let pace = Pace::of_numbers(interval, 5 * interval);
    let (key, age) = ("many:once".to_owned(), Ticks(5 * interval));
    let ask = Ask { key, pace, spent: 1, own: 0, wanted: 0, back: 0, age };
    let (begun, mut ahead) = (Instant::now(), 0);

    for _ in 0..200 {
        ahead = store.ask(std::slice::from_ref(&ask)).await.expect("an answer")[0].ahead;
    }

    let brought = Ticks::of(begun.elapsed()).0;
    assert!(ahead + brought >= 200 * interval, "{ahead} {brought}");
}

#[tokio::test]
async fn a_limit_that_is_whole_again_leaves_no_key() {
    let redis = Redis::start(&[]).await;
    let mut store = Shared::new(&spec(&redis)).expect("no TLS");
    store.open().await.expect("it is there");
    let pace = Pace::of_numbers(16_000_000, 16_000_000_000);
    let ask = Ask {
        key: "many:gone".to_owned(),
        pace,
        spent: 100,
        own: 0,
        wanted: 0,
        back: 0,
        age: Ticks(0),
    };

    let begun = Instant::now();

    store.ask(&[ask]).await.expect("an answer");

    let left: i64 = redis.tell(&["PTTL", "many:gone"]);
    let has_gone = left == -2 && begun.elapsed() >= Duration::from_secs(1); // a busy machine came late
    assert!(has_gone || (1..=1100).contains(&left), "{left}");
    while !redis.tell::<Vec<String>>(&["KEYS", "*"]).is_empty() {
        assert!(begun.elapsed() < DEADLINE, "it goes by itself");
        sleep(STEP).await;
    }
}

/// How a store is reached that no gateway asks.
fn spec(redis: &Redis) -> SharedLimitsSpec {
    let at = RedisAt::Unix(redis.socket().into());
    SharedLimitsSpec {
        place: "redis".to_owned(),
        at,
        database: 0,
        user: None,
        password: None,
        tls: None,
        timeout: Duration::from_secs(10),
        reserve: Percent::new(20.0),
        prefix: "many".to_owned(),
    }
}

#[tokio::test]
async fn a_password_is_read_anew_and_one_that_is_wrong_is_told() {
    let redis = Redis::start(&[]).await;
    let () = redis.tell(&["CONFIG", "SET", "requirepass", "right"]);
    let (folder, origin) = (tempfile::tempdir().expect("a folder"), Origin::saying("hello").await);
    let file = folder.path().join("password");
    std::fs::write(&file, "wrong\n").expect("write the password");
    let keys = format!("password-file = \"{}\"", file.display());
    let limits = "requests = \"1/h\", burst = 5";
    let one = gateway(&redis.table(&keys), &routes(&origin, limits)).await;

    one.metric_at_least(&calls("denied"), 1.0).await;
    let mut client = Asker::of(one.address()).await;
    for _ in 0..5 {
        assert!(client.passes().await);
    }
    assert!(!client.passes().await, "it holds its limits alone");
    let told = one.status().await["shared_limits"]["fault"].to_string();
    assert!(!told.contains("wrong\\n") && told.contains("lets the gateway not in"), "{told}");

    std::fs::write(&file, "right\n").expect("write the password");
    one.metric_becomes(UP, 1.0).await;
}

#[tokio::test]
async fn a_server_is_reached_by_tls_and_its_certificate_is_looked_at() {
    let (authority, origin) = (Authority::new(), Origin::saying("hello").await);
    let pair = authority.server(&["localhost"]);
    let (cert, key) = (pair.cert.display().to_string(), pair.key.display().to_string());
    let options = ["--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-auth-clients", "no"];
    let (redis, port) = Redis::start_at_a_port("--tls-port", &options).await;
    let routes = routes(&origin, "requests = \"1/h\", burst = 5");
    let table =
        |keys: &str| format!("[shared-limits]\nurl = \"rediss://localhost:{port}/3\"\n{keys}");

    let trusting = format!("tls = {{ ca = \"{}\" }}", authority.file());
    let one = gateway(&table(&trusting), &routes).await;
    one.metric_becomes(UP, 1.0).await;
    assert_eq!(one.get("/").await.status, 200);
    let begun = Instant::now();
    while !redis.tell::<String>(&["INFO", "keyspace"]).contains("db3:keys=1") {
        assert!(begun.elapsed() < DEADLINE, "it is in its database");
        sleep(STEP).await;
    }

    let stranger = Authority::new();
    let doubting = format!("tls = {{ ca = \"{}\" }}", stranger.file());
    let two = gateway(&table(&doubting), &routes).await;
    two.metric_at_least(&calls("unreachable"), 1.0).await;
    assert_eq!(two.get("/").await.status, 200);
}

#[tokio::test]
async fn a_limit_that_is_to_be_shared_without_a_server_is_held_alone() {
    let origin = Origin::saying("hello").await;
    let one = gateway("", &routes(&origin, "requests = \"1/h\", burst = 5")).await;

    assert_eq!(admitted(std::slice::from_ref(&one)).await, 5);

    let limit = used(&one).await;
    assert_eq!((&limit["scope"], &limit["degraded"]), (&"shared".into(), &true.into()));
    assert_eq!(one.status().await["shared_limits"], Value::Null);
}

/// What is asked of the script, at which time.
#[derive(Clone, Debug)]
struct Question {
    /// Microseconds since the one before; a clock may be set back.
    later: i64,
    spent: u64,
    /// How far the gateway's own word lies ahead, in percent of a burst.
    own: u64,
    wanted: u64,
    back: u64,
    /// In microseconds.
    age: u64,
}

fn questions() -> impl Strategy<Value = Vec<Question>> {
    let later = prop_oneof![8 => 0_i64..3_000_000, 1 => -2_000_000_i64..0];
    let own = prop_oneof![3 => Just(0_u64), 1 => 1_u64..=100];
    let back = prop_oneof![3 => Just(0_u64), 1 => 1_u64..4];
    let age = prop_oneof![1 => Just(0_u64), 1 => 0_u64..20_000, 1 => 0_u64..4_000_000];
    let one = (later, 0_u64..3, own, 0_u64..5, back, age);
    let one = one.prop_map(|(later, spent, own, wanted, back, age)| Question {
        later,
        spent,
        own,
        wanted,
        back,
        age,
    });
    proptest::collection::vec(one, 1..40)
}

#[tokio::test]
async fn the_script_counts_as_the_gateway_does() {
    let redis = Redis::start(&[]).await;
    let connection = RefCell::new(redis.connect().expect("it answers"));
    // Times are the test's.
    let timed = SCRIPT.replace("redis.call('TIME')", "{ARGV[8], ARGV[9]}");
    let script = timed.replace(", 'PX', stay)", ")");
    assert!(timed != SCRIPT && script != timed);
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
    let cases = (1_u64..90_000_000_000, 1_u64..2000, questions());

    let ran = runner.run(&cases, |(interval, burst, questions)| {
        // No more than a day, as the check of limits has it.
        let burst = burst.min(86_400 * 16_000_000_000 / interval).max(1);
        let pace = Pace::of_numbers(interval, interval * burst);
        let () = redis::cmd("FLUSHALL").query(&mut *connection.borrow_mut()).expect("an answer");
        // In microseconds of the store, and when the word is whole, in ticks of ours.
        let (mut now, mut word) = (1_800_000_000_000_000_i64, 0_u64);
        // The store's time may be set back: ours stands still then.
        let (mut ours, mut is_known) = (1_000_000_000_000_000_u64, false);
        for Question { later, spent, own, wanted, back, age } in questions {
            now += later;
            let since = u64::try_from(later).unwrap_or(0) * 16_000;
            ours += since;
            // Those that are spent came after it was last written.
            let age = age * 16_000;
            let began = ours - if is_known { age.min(since) } else { 0 };
            word = word.max(began).saturating_sub(back * interval).max(began);
            let own = pace.depth() / 100 * own;
            word = (word + spent * interval).max(ours + own);
            let mut granted = 0;
            while granted < wanted
                && word <= ours + pace.depth()
                && let Ok(grant) = pace.judge(word, ours, 0)
            {
                (granted, word) = (granted + 1, grant.left);
            }

            let told: (u64, u64) = redis::cmd("EVAL")
                .arg(&script)
                .arg(&[1])
                .arg("key")
                .arg(&[interval, pace.depth(), spent, own, wanted, back, age / 16_000])
                .arg(&[now / 1_000_000, now % 1_000_000])
                .query(&mut *connection.borrow_mut())
                .expect("an answer");

            prop_assert_eq!(told, (granted, word - ours));
            is_known = true;
        }
        Ok(())
    });
    ran.expect("they agree");
}
