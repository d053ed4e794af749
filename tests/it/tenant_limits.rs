//! What tenants, routes and clients may ask for, as the wire says it.

use std::time::Duration;

use futures_util::future::join_all;
use sfv::{BareItem, List, ListEntry, Parser};
use tokio::time::Instant;

use crate::world::client::{Client, Frames, Hyper, ask, get, head};
use crate::world::config::{NO_RETRY, pool};
use crate::world::gateway::Gateway;
use crate::world::message::Answer;
use crate::world::origin::{Origin, Step};
use crate::world::within;

const FIELDS: &[&str] = &["Host: localhost", "X-Tenant-ID: acme"];
const SWITCH: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: mine\r\n\r\n";

/// `acme` with these keys, and `globex` with none; both have the route set `shared`.
fn routes(origin: &Origin, acme: &str, shared: &str) -> String {
    let keys = format!("{NO_RETRY}\ntimeouts = {{ total = \"5m\" }}");
    let pool = pool("app", &[origin.address], &keys);
    format!(
        "{pool}\n[[route-sets.shared.routes]]\npath = \"/shared\"\n{shared}\n\
         [tenants.globex]\npool = \"app\"\nuse = [\"shared\"]\n\
         [tenants.acme]\npool = \"app\"\nuse = [\"shared\"]\n{acme}\n"
    )
}

fn waits(limit: &str) -> String {
    format!("tenantry_limit_waits_total{{limit=\"{limit}\"}}")
}

const IN_FLIGHT: &str = "tenantry_requests_in_flight";

/// The items of a list of structured fields, with their whole numbers.
fn items(answer: &Answer, field: &str) -> Vec<(String, Vec<(String, i64)>)> {
    let list: List = Parser::new(&answer.all(field).join(", ")).parse().expect("a list");
    let item = |entry: &ListEntry| {
        let ListEntry::Item(item) = entry else { panic!("{entry:?}") };
        let BareItem::String(name) = &item.bare_item else { panic!("{item:?}") };
        let numbers = item.params.iter().filter_map(|(key, value)| match value {
            BareItem::Integer(number) => Some((key.as_str().to_owned(), (*number).into())),
            _ => None,
        });
        (name.as_str().to_owned(), numbers.collect())
    };
    list.iter().map(item).collect()
}

fn item(name: &str, numbers: &[(&str, i64)]) -> (String, Vec<(String, i64)>) {
    (name.to_owned(), numbers.iter().map(|(key, number)| ((*key).to_owned(), *number)).collect())
}

#[tokio::test]
async fn a_tenant_gets_its_burst_and_then_an_answer_that_names_the_limit() {
    let origin = Origin::saying("hello").await;
    let limits = "limits = { requests = \"2/h\", burst = 3 }";
    let gateway = Gateway::start(&routes(&origin, limits, "")).await;
    let mut h1 = Client::connect(gateway.address()).await;
    let mut h2 = Hyper::h2(gateway.address()).await;
    assert_eq!(h1.ask(head("GET /", FIELDS)).await.status, 200);
    assert_eq!(h2.get("acme", "/").await.status, 200);
    let last = h1.ask(head("GET /", FIELDS)).await;
    assert_eq!((last.status, last.one("ratelimit")), (200, None), "it is told where it is wished");

    for answer in [h1.ask(head("GET /", FIELDS)).await, h2.get("acme", "/").await] {
        assert_eq!(answer.status, 429);
        assert_eq!(answer.problem().as_deref(), Some("tenant-rate-limited"));
        let body = answer.json();
        assert_eq!(body["limit"]["name"], "tenant");
        assert_eq!(body["limit"]["allows"], "2/h, 3 at once");
        assert_eq!(body["tenant"], "acme");
        let after: i64 = answer.one("retry-after").expect("a time").parse().expect("seconds");
        assert!((1700..=1800).contains(&after), "{after}");
        assert_eq!(items(&answer, "ratelimit-policy"), [item("tenant", &[("q", 3), ("w", 5400)])]);
        assert_eq!(items(&answer, "ratelimit"), [item("tenant", &[("r", 0), ("t", after)])]);
    }

    assert_eq!(get(gateway.address(), "globex", "/").await.status, 200);
    let answers = "tenantry_gateway_answers_total{problem=\"tenant-rate-limited\"}";
    gateway.metric_becomes(answers, 2.0).await;
    gateway.logs("\"problem\":\"tenant-rate-limited\"", 2).await;
    assert_eq!(origin.asked().len(), 4);
}

#[tokio::test]
async fn over_all_workers_not_one_more_and_not_one_less_comes_through() {
    let origin = Origin::saying("hello").await;
    let limits = "limits = { requests = \"2/h\", burst = 40 }";
    let gateway = Gateway::start_with_workers(4, "", &routes(&origin, limits, "")).await;

    let clients = (0..20).map(|_| async {
        let mut client = Client::connect(gateway.address()).await;
        let mut served = 0;
        for _ in 0..5 {
            served += usize::from(client.ask(head("GET /", FIELDS)).await.status == 200);
        }
        served
    });

    assert_eq!(join_all(clients).await.into_iter().sum::<usize>(), 40);
}

#[tokio::test]
async fn a_route_that_tenants_share_is_limited_for_each_of_them() {
    let origin = Origin::saying("hello").await;
    let limits = "limits = { requests = \"1/h\", burst = 2 }";
    let gateway = Gateway::start(&routes(&origin, "", limits)).await;
    let ask = |tenant, path| get(gateway.address(), tenant, path);

    for tenant in ["acme", "globex"] {
        let mut told = Vec::new();
        for _ in 0..3 {
            told.push(ask(tenant, "/shared").await);
        }
        let statuses: Vec<u16> = told.iter().map(|answer| answer.status).collect();
        assert_eq!(statuses, [200, 200, 429], "{tenant}");
        assert_eq!(told[2].problem().as_deref(), Some("route-rate-limited"));
        assert_eq!(ask(tenant, "/").await.status, 200, "another route");
    }
}

#[tokio::test]
async fn answers_of_a_route_itself_count_as_well() {
    let origin = Origin::saying("hello").await;
    let own = "limits = { requests = \"1/h\", burst = 2 }\n[[tenants.acme.routes]]\n\
               path = \"/there\"\nredirect = { to = \"/here\" }\n[[tenants.acme.routes]]\n\
               path = \"/said\"\nrespond = { body = \"here\" }\n";
    let gateway = Gateway::start(&routes(&origin, own, "")).await;

    let mut statuses = Vec::new();
    for path in ["/there", "/said", "/there", "/said"] {
        statuses.push(gateway.get(path).await.status);
    }

    assert_eq!(statuses, [308, 200, 429, 429]);
}

#[tokio::test]
async fn each_client_has_its_own_and_one_with_a_network_of_ipv6_has_one() {
    let origin = Origin::saying("hello").await;
    let limits = "limits = { client = { requests = \"1/h\", burst = 1 } }";
    let trusting = "trusted-proxies = [\"127.0.0.0/8\"]";
    let gateway = Gateway::start_with(trusting, &routes(&origin, limits, "")).await;
    let from = |client: &str| {
        let named = format!("X-Forwarded-For: {client}");
        let address = gateway.address();
        async move { ask(address, "GET /", &[FIELDS, &[&named]].concat()).await }
    };

    for (client, status) in [
        ("192.0.2.1", 200),
        ("192.0.2.1", 429),
        ("::ffff:192.0.2.1", 429),
        ("192.0.2.2", 200),
        ("2001:db8::1", 200),
        ("2001:db8::ffff:1", 429),
        ("2001:db8:0:1::1", 200),
    ] {
        let answer = from(client).await;
        assert_eq!(answer.status, status, "{client}");
        if status == 429 {
            assert_eq!(answer.problem().as_deref(), Some("client-rate-limited"));
            assert_eq!(answer.json()["limit"]["name"], "client");
        }
    }
}

#[tokio::test]
async fn each_client_has_so_many_requests_under_way() {
    let origin = Origin::start([Step::ok("slow").held()]).await;
    let limits = "limits = { client = { concurrency = 1 } }";
    let trusting = "trusted-proxies = [\"127.0.0.0/8\"]";
    let gateway = Gateway::start_with(trusting, &routes(&origin, limits, "")).await;
    let from = async |client: &str| {
        let named = format!("X-Forwarded-For: {client}");
        let mut connection = Client::connect(gateway.address()).await;
        connection.send(head("GET /", &[FIELDS, &[&named]].concat())).await;
        connection
    };
    let mut first = from("2001:db8::1").await;
    origin.wait_for(1).await;

    let refused = from("2001:db8::2").await.answer_to("GET").await;
    assert_eq!(refused.problem().as_deref(), Some("client-concurrency-limited"));
    assert_eq!(refused.json()["limit"]["name"], "client-concurrency");
    let mut other = from("2001:db8:0:1::1").await;
    origin.wait_for(2).await;

    origin.release();
    origin.release();
    for client in [&mut first, &mut other] {
        assert_eq!(client.answer_to("GET").await.status, 200);
    }
    origin.rescript([Step::ok("quick")]);
    assert_eq!(from("2001:db8::2").await.answer_to("GET").await.status, 200);
}

#[tokio::test]
async fn so_many_requests_are_under_way_at_once_until_their_answers_have_ended() {
    let origin = Origin::start([Step::ok("slow").held()]).await;
    let gateway = Gateway::start(&routes(&origin, "limits = { concurrency = 2 }", "")).await;
    let mut first = Client::connect(gateway.address()).await;
    first.send(head("GET /", FIELDS)).await;
    let mut h2 = Hyper::h2(gateway.address()).await;
    h2.send(h2.request("GET", "acme", "/", Frames::default()));
    origin.wait_for(2).await;

    let refused = gateway.get("/").await;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.problem().as_deref(), Some("tenant-concurrency-limited"));
    assert_eq!(refused.json()["limit"]["allows"], "2 at once");
    assert_eq!(refused.one("retry-after").as_deref(), Some("1"));
    assert_eq!(items(&refused, "ratelimit"), [item("tenant-concurrency", &[("r", 0)])]);

    gateway.metric_becomes(IN_FLIGHT, 2.0).await;
    drop(h2); // its client has left
    gateway.metric_becomes(IN_FLIGHT, 1.0).await;
    origin.release();
    origin.release();
    assert_eq!(first.answer_to("GET").await.status, 200);
    origin.rescript([Step::ok("quick")]);
    for _ in 0..10 {
        assert_eq!(gateway.get("/").await.status, 200);
    }
}

#[tokio::test]
async fn a_tunnel_is_under_way_until_it_ends() {
    let origin = Origin::start([Step::raw(SWITCH).and_echo(), Step::ok("hello")]).await;
    let gateway = Gateway::start(&routes(&origin, "limits = { concurrency = 1 }", "")).await;
    let mut tunnel = Client::connect(gateway.address()).await;
    let asking = [FIELDS, &["Connection: Upgrade", "Upgrade: mine"]].concat();
    tunnel.send(head("GET /", &asking)).await;
    assert_eq!(tunnel.answer_head().await.status, 101);
    assert_eq!(gateway.get("/").await.status, 429);

    gateway.metric_becomes(IN_FLIGHT, 1.0).await; // it is told once a second
    drop(tunnel);
    gateway.metric_becomes(IN_FLIGHT, 0.0).await;

    assert_eq!(gateway.get("/").await.status, 200);
}

#[tokio::test]
async fn who_may_wait_goes_at_the_rate() {
    let origin = Origin::saying("hello").await;
    let limits = "limits = { requests = \"20/s\", burst = 1, overflow = \"wait\", wait = \"30s\" }";
    let gateway = Gateway::start_with_workers(2, "", &routes(&origin, limits, "")).await;
    let started = Instant::now();

    let asked = (0..9).map(|_| gateway.get("/"));
    let statuses: Vec<u16> = join_all(asked).await.iter().map(|answer| answer.status).collect();

    assert_eq!(statuses, [200; 9]);
    assert!(started.elapsed() >= Duration::from_millis(8 * 50), "{:?}", started.elapsed());
    // One that comes late for its turn waits for none.
    let waited = gateway.metric_at_least(&waits("tenant"), 1.0).await;
    assert!(waited <= 8.0, "{waited}");
}

#[tokio::test]
async fn who_would_wait_too_long_is_refused_at_once() {
    let origin = Origin::saying("hello").await;
    let limits = "limits = { requests = \"1/h\", burst = 1, overflow = \"wait\", wait = \"1m\" }";
    let gateway = Gateway::start(&routes(&origin, limits, "")).await;

    assert_eq!(gateway.get("/").await.status, 200);
    assert_eq!(gateway.get("/").await.status, 429);
}

#[tokio::test]
async fn nobody_waits_for_a_limit_until_its_own_time_is_over() {
    let origin = Origin::saying("hello").await;
    let limits = "limits = { requests = \"1/m\", burst = 1, overflow = \"wait\", wait = \"1m\" }\n\
                  routes = [{ path = \"/hurried\", timeouts = { total = \"30s\" } }]";
    let gateway = Gateway::start(&routes(&origin, limits, "")).await;

    assert_eq!(gateway.get("/").await.status, 200);
    assert_eq!(gateway.get("/hurried").await.status, 429);
}

#[tokio::test]
async fn who_waits_for_another_to_end_goes_then_and_the_queue_has_an_end() {
    let origin = Origin::start([Step::ok("slow").held(), Step::ok("next")]).await;
    let limits = "limits = { concurrency = 1, overflow = \"wait\", wait = \"30s\", waiting = 1 }";
    let gateway = Gateway::start_with_workers(2, "", &routes(&origin, limits, "")).await;
    let mut first = Client::connect(gateway.address()).await;
    first.send(head("GET /", FIELDS)).await;
    origin.wait_for(1).await;
    let mut second = Client::connect(gateway.address()).await;
    second.send(head("GET /", FIELDS)).await;
    gateway.metric_becomes(&waits("tenant-concurrency"), 1.0).await;

    assert_eq!(gateway.get("/").await.status, 429);
    origin.release();

    assert_eq!(first.answer_to("GET").await.text(), "slow");
    assert_eq!(second.answer_to("GET").await.text(), "next");
}

#[tokio::test]
async fn who_waits_too_long_is_refused() {
    let origin = Origin::start([Step::ok("slow").held()]).await;
    let limits = "limits = { concurrency = 1, overflow = \"wait\", wait = \"50ms\" }";
    let gateway = Gateway::start(&routes(&origin, limits, "")).await;
    let mut first = Client::connect(gateway.address()).await;
    first.send(head("GET /", FIELDS)).await;
    origin.wait_for(1).await;

    let refused = gateway.get("/").await;

    assert_eq!(refused.problem().as_deref(), Some("tenant-concurrency-limited"));
    origin.release();
    assert_eq!(first.answer_to("GET").await.status, 200);
}

/// Also where it has sent what nobody reads before its turn: its end lies behind that.
#[tokio::test]
async fn a_client_that_leaves_while_it_waits_frees_its_place_at_once() {
    let origin = Origin::start([Step::ok("slow").held()]).await;
    let limits = "limits = { concurrency = 1, overflow = \"wait\", wait = \"1m\", waiting = 1 }";
    let gateway = Gateway::start(&routes(&origin, limits, "")).await;
    let mut first = Client::connect(gateway.address()).await;
    first.send(head("GET /", FIELDS)).await;
    origin.wait_for(1).await;
    let plain = head("GET /", FIELDS);
    let twice = plain.clone() + &plain;
    let post = head("POST /", &[FIELDS, &["Content-Length: 200000"]].concat());
    let body = post.clone() + &"x".repeat(20_000);
    let mut waited = 0.0;
    let leaves = async |gateway: &Gateway, waited: f64| {
        gateway.metric_becomes(&waits("tenant-concurrency"), waited).await;
        gateway.metric_becomes(IN_FLIGHT, 2.0).await;
        assert_eq!(gateway.get("/").await.status, 429, "its place is taken");
    };
    for request in [plain, twice, post, body] {
        println!("{} bytes", request.len());
        let mut client = Client::connect(gateway.address()).await;
        client.send(&request).await;
        waited += 1.0;
        leaves(&gateway, waited).await;
        drop(client);
        gateway.metric_becomes(IN_FLIGHT, 1.0).await;
    }
    let mut h2 = Hyper::h2(gateway.address()).await;
    h2.send(h2.request("POST", "acme", "/", Frames::sized("body").never_ending()));
    leaves(&gateway, waited + 1.0).await;
    drop(h2);
    gateway.metric_becomes(IN_FLIGHT, 1.0).await;

    let mut last = Client::connect(gateway.address()).await;
    last.send(head("GET /", FIELDS)).await;
    gateway.metric_becomes(&waits("tenant-concurrency"), waited + 2.0).await;
    origin.release();
    origin.release();
    assert_eq!(first.answer_to("GET").await.status, 200);
    assert_eq!(last.answer_to("GET").await.status, 200);
    assert_eq!(origin.asked().len(), 2, "no endpoint heard of who left");
}

/// What waits is read again once its turn has come.
#[tokio::test]
async fn a_body_that_came_before_its_turn_arrives_whole() {
    let origin = Origin::start([Step::ok("slow").held(), Step::ok("next")]).await;
    let limits = "limits = { concurrency = 1, overflow = \"wait\", wait = \"30s\" }";
    let gateway = Gateway::start(&routes(&origin, limits, "")).await;
    let mut first = Client::connect(gateway.address()).await;
    first.send(head("GET /", FIELDS)).await;
    origin.wait_for(1).await;
    let mut second = Client::connect(gateway.address()).await;
    let post = head("POST /", &[FIELDS, &["Content-Length: 5000"]].concat());
    second.send(post + &"x".repeat(2500)).await;
    gateway.metric_becomes(&waits("tenant-concurrency"), 1.0).await;
    second.send("y".repeat(2500)).await;
    origin.release();

    assert_eq!(second.answer_to("POST").await.text(), "next");
    let asked = origin.wait_for(2).await;
    assert_eq!(asked[1].body, ("x".repeat(2500) + &"y".repeat(2500)).into_bytes());
}

#[tokio::test]
async fn what_was_taken_stays_over_reloads_and_for_a_tenant_that_comes_back() {
    let origin = Origin::saying("hello").await;
    let limits = "limits = { requests = \"1/h\", burst = 3, client = { requests = \"9/h\" } }";
    let all = routes(&origin, limits, "");
    let gateway = Gateway::start(&all).await;
    for _ in 0..3 {
        assert_eq!(gateway.get("/").await.status, 200);
    }

    gateway.reload(&all.replace("\"/shared\"", "\"/other\"")).await;
    assert_eq!(gateway.get("/").await.status, 429, "another part of the files has changed");
    gateway.reload(&all.replace("burst = 3", "burst = 5")).await;
    let more = [gateway.get("/").await.status, gateway.get("/").await.status];
    assert_eq!((more, gateway.get("/").await.status), ([200, 200], 429), "two more");
    let (without, _) = all.split_once("[tenants.acme]").expect("the tenant is the last");
    gateway.reload(without).await;
    assert_eq!(gateway.get("/").await.status, 404);

    gateway.reload(&all.replace("burst = 3", "burst = 5")).await;
    let back = gateway.get("/").await;
    assert_eq!(back.problem().as_deref(), Some("tenant-rate-limited"));
}

#[tokio::test]
async fn all_answers_tell_of_limits_where_that_is_wished() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nRateLimit: \"own\";r=1\r\n\r\n";
    let origin = Origin::start([Step::raw(answer)]).await;
    let limits = "[tenants.acme.limits]\nrequests = \"100/s\"\nburst = 200\nconcurrency = 8\n\
                  fields = \"always\"\nclient = { requests = \"60/m\" }";
    let gateway = Gateway::start(&routes(&origin, limits, "")).await;

    let answer = gateway.get("/").await;

    let policy = items(&answer, "ratelimit-policy");
    assert_eq!(
        policy,
        [
            item("client", &[("q", 60), ("w", 60)]),
            item("tenant", &[("q", 200), ("w", 2)]),
            item("tenant-concurrency", &[("q", 8)]),
        ]
    );
    let state = items(&answer, "ratelimit");
    assert_eq!(
        state,
        [
            item("own", &[("r", 1)]),
            item("client", &[("r", 59), ("t", 1)]),
            item("tenant", &[("r", 199), ("t", 1)]),
            item("tenant-concurrency", &[("r", 7)]),
        ]
    );
    let globex = get(gateway.address(), "globex", "/").await;
    assert_eq!(globex.one("ratelimit-policy"), None);
}

#[tokio::test]
async fn a_call_of_grpc_hears_of_a_limit_in_its_own_words() {
    let origin = Origin::saying("hello").await;
    let limits = "limits = { requests = \"1/h\", burst = 1 }";
    let gateway = Gateway::start(&routes(&origin, limits, "")).await;
    assert_eq!(gateway.get("/").await.status, 200);
    let mut h2 = Hyper::h2(gateway.address()).await;
    let mut call = h2.request("POST", "acme", "/", Frames::default());
    call.headers_mut().insert("content-type", "application/grpc".parse().expect("a value"));

    let answer = within("an answer", h2.ask(call)).await;

    assert_eq!(answer.status, 200);
    assert_eq!(answer.one("grpc-status").as_deref(), Some("14"), "UNAVAILABLE");
    assert!(answer.one("retry-after").is_some());
}

const HALF_A_MEBIBYTE: usize = 512 << 10;

/// What is sent, for so many seconds in which it may not have come at once.
async fn takes(at_least: u64, at_rate: impl Future) {
    let started = Instant::now();
    within("all of the bytes", at_rate).await;
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(at_least * 900), "{took:?}");
}

#[tokio::test]
async fn bodies_of_answers_keep_to_the_rate_of_all_of_the_tenants() {
    let body = "x".repeat(HALF_A_MEBIBYTE);
    let origin = Origin::start([Step::ok(&body)]).await;
    let limits = "limits = { download = \"512KiB/s\" }";
    let gateway = Gateway::start(&routes(&origin, limits, "")).await;
    let mut h2 = Hyper::h2(gateway.address()).await;

    // Of three seconds' worth one goes at once; who comes then waits for what all of them were ahead.
    takes(
        2,
        Box::pin(async {
            let (one, other, third) =
                tokio::join!(gateway.get("/"), gateway.get("/"), h2.get("acme", "/"));
            for answer in [one, other, third] {
                assert!(answer.status == 200 && answer.text() == body);
            }
            assert_eq!(gateway.get("/").await.status, 200);
        }),
    )
    .await;
}

#[tokio::test]
async fn bodies_of_requests_keep_to_the_rate_of_the_route() {
    let origin = Origin::saying("thanks").await;
    let limits = "limits = { upload = \"512KiB/s\" }";
    let gateway = Gateway::start(&routes(&origin, "", limits)).await;
    let body = "x".repeat(HALF_A_MEBIBYTE);
    let mut h1 = Client::connect(gateway.address()).await;
    let mut h2 = Hyper::h2(gateway.address()).await;
    let length = format!("Content-Length: {HALF_A_MEBIBYTE}");
    let post = head("POST /shared", &[FIELDS, &[&length]].concat()) + &body;

    takes(
        1,
        Box::pin(async {
            let request = h2.request("POST", "acme", "/shared", Frames::sized(body.clone()));
            let (one, other) = tokio::join!(h1.ask(&post), h2.ask(request));
            assert_eq!((one.text(), other.text()), ("thanks".to_owned(), "thanks".to_owned()));
            let small = head("POST /shared", &[FIELDS, &["Content-Length: 1"]].concat()) + "x";
            assert_eq!(h1.ask(small).await.text(), "thanks");
        }),
    )
    .await;

    let asked = origin.wait_for(3).await;
    assert!(asked[..2].iter().all(|asked| asked.body == body.as_bytes()));
}

#[tokio::test]
async fn a_quota_is_kept_over_a_restart() {
    let origin = Origin::saying("hello").await;
    let limits = "limits = { quota = \"3/month\", fields = \"always\" }";
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("routes.toml"), routes(&origin, limits, "")).expect("write");
    let gateway = Gateway::start_in(folder, 2, "").await.expect("a gateway");
    let first = gateway.get("/").await;
    assert_eq!(items(&first, "ratelimit-policy"), [item("tenant-quota", &[("q", 3)])]);
    assert_eq!(items(&first, "ratelimit")[0].1[0], ("r".to_owned(), 2));
    assert_eq!(gateway.get("/").await.status, 200);

    let folder = gateway.stop_and_keep().await;
    let gateway = Gateway::start_in(folder, 2, "").await.expect("a gateway");

    assert_eq!(gateway.get("/").await.status, 200);
    let refused = gateway.get("/").await;
    assert_eq!(refused.problem().as_deref(), Some("tenant-quota-used-up"));
    let after: u64 = refused.one("retry-after").expect("a time").parse().expect("seconds");
    assert!((1..=31 * 24 * 3600).contains(&after), "{after}");
}

#[tokio::test]
async fn a_quota_of_a_route_is_each_tenant_s_own_and_kept_over_a_restart() {
    let origin = Origin::saying("hello").await;
    let folder = tempfile::tempdir().expect("a folder");
    let routes = routes(&origin, "", "limits = { quota = \"2/month\" }");
    std::fs::write(folder.path().join("routes.toml"), routes).expect("write");
    let gateway = Gateway::start_in(folder, 2, "").await.expect("a gateway");
    for _ in 0..2 {
        assert_eq!(gateway.get("/shared").await.status, 200);
    }

    let folder = gateway.stop_and_keep().await;
    let gateway = Gateway::start_in(folder, 2, "").await.expect("a gateway");

    let refused = gateway.get("/shared").await;
    assert_eq!(refused.problem().as_deref(), Some("route-quota-used-up"));
    assert_eq!(refused.json()["limit"]["name"], "route-quota");
    assert_eq!(gateway.get("/").await.status, 200, "another route");
    assert_eq!(get(gateway.address(), "globex", "/shared").await.status, 200);
    let usage = gateway.admin("/api/v1/tenants/acme/usage").await.json();
    assert_eq!(
        (&usage["limits"][0]["limit"], &usage["limits"][0]["left"]),
        (&"route-quota".into(), &0.into())
    );
}
