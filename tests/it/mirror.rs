//! Copies of requests for another pool: what they are, and that nobody waits or suffers for them.

use std::net::SocketAddr;
use std::time::Duration;

use http::{Method, Version};
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::world::client::{Client, Frames, Hyper, ask, head};
use crate::world::config::pool;
use crate::world::gateway::Gateway;
use crate::world::h2_origin::H2Origin;
use crate::world::message::Answer;
use crate::world::narrow::Narrow;
use crate::world::origin::{Origin, Step};
use crate::world::unreachable::Refusing;
use crate::world::{STEP, eventually, resting, within};

/// A pool `app`, and one `shadow` that gets copies of the requests of `acme`.
fn routes(app: SocketAddr, shadow: SocketAddr, (pool_keys, keys): (&str, &str)) -> String {
    let pools = format!("{}{}", pool("app", &[app], ""), pool("shadow", &[shadow], pool_keys));
    format!(
        "{pools}[tenants.acme]\npool = \"app\"\n[[tenants.acme.routes]]\n\
         mirror = {{ pool = \"shadow\"{keys} }}\n"
    )
}

async fn start(app: SocketAddr, shadow: SocketAddr, keys: (&str, &str)) -> Gateway {
    Gateway::start_with_workers(1, "", &routes(app, shadow, keys)).await
}

async fn post(gateway: &Gateway, body: &[u8], fields: &[&str]) -> Answer {
    let length = format!("Content-Length: {}", body.len());
    let all = [&["Host: a", "X-Tenant-ID: acme", &length], fields].concat();
    let mut client = Client::connect(gateway.address()).await;
    client.send([head("POST /a?b=c", &all).as_bytes(), body].concat()).await;
    client.answer_to("POST").await
}

fn outcome(name: &str) -> String {
    format!("tenantry_mirrored_requests_total{{pool=\"shadow\",outcome=\"{name}\"}}")
}

#[tokio::test]
async fn a_copy_is_the_request_with_a_mark_and_the_answer_is_the_primarys() {
    let (app, shadow) = (Origin::saying("app").await, Origin::saying("shadow").await);
    let gateway = start(app.address, shadow.address, ("", "")).await;

    let posted = post(&gateway, b"hello", &["X-Own: 1", "X-Tenantry-Mirror: 1"]).await;
    let got = gateway.get("/x").await;

    assert_eq!((posted.text(), got.text()), ("app".to_owned(), "app".to_owned()));
    let (asked, copies) = (app.wait_for(2).await, shadow.wait_for(2).await);
    for (asked, copy) in asked.iter().zip(&copies) {
        assert_eq!((&copy.method, &copy.target), (&asked.method, &asked.target));
        assert_eq!(copy.body, asked.body);
        assert_eq!(asked.one("x-tenantry-mirror"), None, "nobody but the gateway says so");
        assert_eq!(copy.one("x-tenantry-mirror").as_deref(), Some("1"));
        let same =
            ["host", "x-own", "x-request-id", "x-tenant-id", "x-forwarded-for", "content-length"];
        for name in same {
            assert_eq!(copy.all(name), asked.all(name), "{name}");
        }
    }
    gateway.metric_becomes(&outcome("answered"), 2.0).await;
    let of_shadow = "tenantry_requests_total{tenant=\"acme\",pool=\"shadow\",class=\"2xx\"}";
    assert_eq!(gateway.metric(of_shadow).await, None, "a copy is no request of the tenant");
}

#[tokio::test]
async fn nobody_waits_for_a_shadow_that_says_nothing_and_there_are_no_more_copies_than_may_be() {
    let (app, shadow) = (Origin::saying("app").await, Origin::start([Step::stall()]).await);
    let keys = ", concurrency = 2, timeout = \"60s\"";
    let gateway = start(app.address, shadow.address, ("", keys)).await;

    for _ in 0..10 {
        assert_eq!(gateway.get("/").await.text(), "app");
    }

    gateway.metric_becomes(&outcome("busy"), 8.0).await;
    assert_eq!(shadow.wait_for(2).await.len(), 2);
    let began = Instant::now();
    within("the end", gateway.stop()).await;
    assert!(began.elapsed() < Duration::from_secs(5), "a drain waits for no copy");
}

#[tokio::test]
async fn a_shadow_that_is_late_or_gone_fails_no_request() {
    let (app, slow, gone) =
        (Origin::saying("app").await, Origin::start([Step::stall()]).await, Refusing::new());
    for (shadow, keys, name) in
        [(slow.address, ", timeout = \"20ms\"", "timeout"), (gone.address, "", "failed")]
    {
        let keys = ("eject = { failures = 1 }", keys);
        let gateway = start(app.address, shadow, keys).await;
        for _ in 0..3 {
            assert_eq!(post(&gateway, b"hello", &[]).await.text(), "app");
        }
        gateway.metric_becomes(&outcome(name), 3.0).await;
        assert_eq!(gateway.metric("tenantry_ejections_total{pool=\"shadow\"}").await, Some(0.0));
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_or_breaks_off_is_not_copied() {
    let (app, shadow) = (Origin::saying("app").await, Origin::saying("shadow").await);
    let gateway = start(app.address, shadow.address, ("", ", max-body = \"1KiB\"")).await;

    assert_eq!(post(&gateway, &[b'x'; 1025], &[]).await.text(), "app");
    gateway.metric_becomes(&outcome("too_large"), 1.0).await;
    assert_eq!(app.only().await.body.len(), 1025);
    // One that does not say its length is copied up to the bound.
    let mut client = Client::connect(gateway.address()).await;
    let fields = ["Host: a", "X-Tenant-ID: acme", "Transfer-Encoding: chunked"];
    let chunked = |size: usize| format!("{size:x}\r\n{}\r\n0\r\n\r\n", "y".repeat(size));
    client.send(head("POST /", &fields) + &chunked(1025)).await;
    assert_eq!(client.answer_to("POST").await.status, 200);
    gateway.metric_becomes(&outcome("too_large"), 2.0).await;
    let mut leaving = Client::connect(gateway.address()).await;
    leaving.send(head("POST /", &fields) + "5\r\nhello\r\n").await;
    eventually("the begin of it", || app.asked().len(), |count| *count == 3).await;
    drop(leaving);
    gateway.metric_becomes(&outcome("incomplete"), 1.0).await;
    assert_eq!(shadow.asked().len(), 0);

    client.send(head("POST /", &fields) + &chunked(1024)).await;
    assert_eq!(client.answer_to("POST").await.status, 200);
    let copy = shadow.only().await;
    assert_eq!((copy.body.len(), copy.all("transfer-encoding").len()), (1024, 0));
    assert_eq!(copy.one("content-length").as_deref(), Some("1024"));
}

#[tokio::test]
async fn both_answers_are_compared_where_that_is_wished() {
    let (app, shadow) = (Origin::saying("app").await, Origin::start([Step::answer(503, "")]).await);
    let gateway = start(app.address, shadow.address, ("", ", compare = true")).await;

    assert_eq!(gateway.get("/").await.status, 200);
    assert_eq!(post(&gateway, b"hello", &[]).await.status, 200);

    let compared = "tenantry_mirror_compared_total{pool=\"shadow\",primary=\"2xx\",mirror=\"5xx\"}";
    gateway.metric_becomes(compared, 2.0).await;
    for side in ["primary", "mirror"] {
        let count =
            format!("tenantry_mirror_first_byte_seconds_count{{pool=\"shadow\",side=\"{side}\"}}");
        assert_eq!(gateway.metric(&count).await, Some(2.0));
    }
}

#[tokio::test]
async fn a_shadow_may_speak_another_protocol_than_the_pool() {
    let (app, shadow) = (Origin::saying("app").await, H2Origin::saying("shadow").await);
    let gateway = start(app.address, shadow.address, ("protocol = \"h2\"", "")).await;
    assert_eq!(post(&gateway, b"hello", &[]).await.text(), "app");
    let copy = shadow.only().await;
    assert_eq!((&*copy.method, &*copy.target, &*copy.body), ("POST", "/a?b=c", &b"hello"[..]));
    assert_eq!(copy.all("host"), ["a"]);

    // And a client, too.
    let (app, shadow) = (Origin::saying("app").await, Origin::saying("shadow").await);
    let gateway = start(app.address, shadow.address, ("", "")).await;
    let mut client = Hyper::h2(gateway.address()).await;
    let mut request = http::Request::new(Frames::unsized_of("hello"));
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = "http://a.example/two".parse().expect("a target");
    request.headers_mut().insert("x-tenant-id", "acme".parse().expect("a value"));
    assert_eq!(client.ask(request).await.status, 200);
    let copy = shadow.only().await;
    assert_eq!((&*copy.target, &*copy.body), ("/two", &b"hello"[..]));
    assert_eq!(copy.one("host").as_deref(), Some("a.example"));
}

#[tokio::test]
async fn nothing_of_a_share_of_nothing_is_copied_and_a_full_shadow_gets_none() {
    let (app, shadow) = (Origin::saying("app").await, Origin::saying("shadow").await);
    let gateway = start(app.address, shadow.address, ("", ", share = \"0%\"")).await;
    for _ in 0..20 {
        assert_eq!(gateway.get("/").await.status, 200);
    }
    assert_eq!(gateway.metric(&outcome("answered")).await, None);

    // The pool has one request at once: a copy does not wait for its turn.
    let stalling = Origin::start([Step::stall()]).await;
    let gateway = start(app.address, stalling.address, ("concurrency = 1", "")).await;
    for _ in 0..3 {
        assert_eq!(gateway.get("/").await.status, 200);
    }
    gateway.metric_becomes(&outcome("busy"), 2.0).await;
    assert_eq!((shadow.asked().len(), stalling.asked().len()), (0, 1));
}

#[tokio::test]
async fn a_tenth_is_copied_where_the_share_is_a_tenth() {
    let (app, shadow) = (Origin::saying("app").await, Origin::saying("shadow").await);
    let gateway = start(app.address, shadow.address, ("", ", share = \"10%\"")).await;
    let mut client = Client::connect(gateway.address()).await;
    for _ in 0..400 {
        let request = head("GET /", &["Host: a", "X-Tenant-ID: acme"]);
        assert_eq!(client.ask(request).await.text(), "app");
    }

    let copies = resting("copies", || shadow.asked().len()).await;

    // 40 by chance; fewer than 10 or more than 90 come once in a hundred million runs.
    assert!((10..=90).contains(&copies), "{copies} of 400");
}

#[tokio::test]
async fn a_request_that_switches_protocols_has_no_copy() {
    let (app, shadow) = (Origin::saying("app").await, Origin::saying("shadow").await);
    let gateway = start(app.address, shadow.address, ("", "")).await;

    let fields = ["Host: a", "X-Tenant-ID: acme", "Connection: upgrade", "Upgrade: websocket"];
    assert_eq!(ask(gateway.address(), "GET /", &fields).await.status, 200);

    gateway.metric_becomes(&outcome("upgrade"), 1.0).await;
    assert_eq!(shadow.asked().len(), 0);
}

#[tokio::test]
async fn a_pool_that_gets_copies_is_kept_over_reloads_and_its_bound_with_it() {
    let (app, shadow) = (Origin::saying("app").await, Origin::start([Step::stall()]).await);
    let keys = |total: usize| format!(", concurrency = 1, timeout = \"{total}s\"");
    let gateway = start(app.address, shadow.address, ("", &keys(60))).await;
    assert_eq!(gateway.get("/").await.status, 200);
    shadow.wait_for(1).await;

    for total in [61, 62, 63] {
        gateway.reload(&routes(app.address, shadow.address, ("", &keys(total)))).await;
        assert_eq!(gateway.get("/").await.status, 200);
    }

    gateway.metric_becomes(&outcome("busy"), 3.0).await;
    sleep(STEP).await;
    assert_eq!(shadow.asked().len(), 1);
}

/// An endpoint that answers 413 as soon as it has a head, and takes little more than that: its sockets and those of
/// who sends to it are small.
async fn refusing_early() -> (SocketAddr, JoinSet<()>) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_tcp_mss(536).expect("small segments");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("bind");
    socket.listen(16).expect("listen");
    socket.set_nonblocking(true).expect("do not block");
    let listener = TcpListener::from_std(socket.into()).expect("a listener");
    let address = listener.local_addr().expect("its address");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.expect("a head"));
            }
            let answer = b"HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(answer).await.expect("answer");
            open.push(stream);
        }
    });
    (address, tasks)
}

#[tokio::test]
async fn nothing_is_left_of_a_copy_that_was_answered_before_its_end() {
    let app = Origin::saying("app").await;
    let (shadow, _tasks) = refusing_early().await;
    let more = "[downstream]\nmax-body = \"2MiB\"";
    let routes = routes(app.address, shadow, ("", ", max-body = \"1MiB\""));
    let gateway = Gateway::start_with_workers(1, more, &routes).await;

    for _ in 0..3 {
        assert_eq!(post(&gateway, &[b'x'; 1 << 20], &[]).await.text(), "app");
    }

    gateway.metric_becomes(&outcome("answered"), 3.0).await;
    gateway.metric_becomes("tenantry_upstream_connections{pool=\"shadow\"}", 0.0).await;
}

#[tokio::test]
async fn there_are_no_more_copies_than_may_be_over_all_workers() {
    let (app, shadow) = (Origin::saying("app").await, Origin::start([Step::stall()]).await);
    let keys = ", concurrency = 1, timeout = \"60s\"";
    let routes = routes(app.address, shadow.address, ("", keys));
    let gateway = Gateway::start_with_workers(2, "", &routes).await;

    for _ in 0..16 {
        assert_eq!(gateway.get("/").await.text(), "app");
    }

    gateway.metric_becomes(&outcome("busy"), 15.0).await;
    assert_eq!(shadow.wait_for(1).await.len(), 1);
}

#[tokio::test]
async fn a_crowd_of_copies_leaves_room_for_requests_that_go_to_the_shadow_in_earnest() {
    let (app, shadow) = (Origin::saying("app").await, Origin::start([Step::stall()]).await);
    let of_acme = routes(app.address, shadow.address, ("concurrency = 4", ", timeout = \"60s\""));
    let routes = format!("{of_acme}[tenants.globex]\npool = \"shadow\"\n");
    let gateway = Gateway::start_with_workers(1, "", &routes).await;
    for _ in 0..6 {
        assert_eq!(gateway.get("/").await.text(), "app");
    }
    gateway.metric_becomes(&outcome("busy"), 4.0).await;
    assert_eq!(shadow.wait_for(2).await.len(), 2);

    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = Client::connect(gateway.address()).await;
        client.send(head("GET /", &["Host: a", "X-Tenant-ID: globex"])).await;
        clients.push(client);
    }

    shadow.wait_for(4).await;
}

#[tokio::test]
async fn an_endpoint_that_copies_cannot_reach_is_ejected_as_by_anybody() {
    let (app, one, other) = (Origin::saying("app").await, Refusing::new(), Refusing::new());
    for protocol in ["h1", "h2"] {
        let keys = format!("protocol = \"{protocol}\"\neject = {{ failures = 1 }}");
        let routes = format!(
            "{}{}[tenants.acme]\npool = \"app\"\n[[tenants.acme.routes]]\nmirror = {{ pool = \"shadow\" }}\n",
            pool("app", &[app.address], ""),
            pool("shadow", &[one.address, other.address], &keys)
        );
        let gateway = Gateway::start_with_workers(1, "", &routes).await;
        assert_eq!(gateway.get("/").await.text(), "app");

        gateway.metric_becomes("tenantry_ejections_total{pool=\"shadow\"}", 1.0).await;
    }
}

#[tokio::test]
async fn a_copy_from_a_gateway_in_front_stays_one_and_is_not_copied_again() {
    let (app, shadow) = (Origin::saying("app").await, Origin::saying("shadow").await);
    let routes = routes(app.address, shadow.address, ("", ""));
    let trusting = "trusted-proxies = [\"127.0.0.1\"]\n";
    let gateway = Gateway::start_with_workers(1, trusting, &routes).await;
    let fields = ["Host: a", "X-Tenant-ID: acme", "X-Tenantry-Mirror: 1"];

    assert_eq!(ask(gateway.address(), "GET /copy", &fields).await.text(), "app");
    assert_eq!(ask(gateway.address(), "GET /own", &fields[..2]).await.text(), "app");

    let asked = app.wait_for(2).await;
    assert_eq!(asked[0].one("x-tenantry-mirror").as_deref(), Some("1"));
    assert_eq!(asked[1].one("x-tenantry-mirror"), None);
    assert_eq!(shadow.only().await.target, "/own");
}

#[tokio::test]
async fn a_request_that_waits_for_its_turn_has_no_copy() {
    let (app, shadow) =
        (Origin::start([Step::ok("app").held()]).await, Origin::saying("shadow").await);
    let routes = format!(
        "{}{}[tenants.acme]\npool = \"app\"\n[[tenants.acme.routes]]\nmirror = {{ pool = \"shadow\" }}\n",
        pool("app", &[app.address], "concurrency = 1\nqueue = { wait = \"30s\" }"),
        pool("shadow", &[shadow.address], "")
    );
    let gateway = Gateway::start_with_workers(1, "", &routes).await;
    let fields = ["Host: a", "X-Tenant-ID: acme"];
    let (mut first, mut second) =
        (Client::connect(gateway.address()).await, Client::connect(gateway.address()).await);
    first.send(head("GET /first", &fields)).await;
    app.wait_for(1).await;
    second.send(head("GET /second", &fields)).await;

    gateway.metric_becomes(&outcome("crowded"), 1.0).await;

    app.release();
    app.release();
    assert_eq!(first.answer_to("GET").await.text(), "app");
    assert_eq!(second.answer_to("GET").await.text(), "app");
    assert_eq!(shadow.only().await.target, "/first");
}

#[tokio::test]
async fn copies_that_are_late_cost_others_no_connection_that_they_share() {
    let (app, shadow) = (Origin::saying("app").await, Narrow::start().await);
    let of_acme =
        routes(app.address, shadow.address, ("protocol = \"h2\"", ", timeout = \"20ms\""));
    let routes = format!("{of_acme}[tenants.globex]\npool = \"shadow\"\n");
    let gateway = Gateway::start_with_workers(1, "", &routes).await;
    for count in [1.0, 2.0] {
        assert_eq!(gateway.get("/").await.text(), "app");
        gateway.metric_becomes(&outcome("timeout"), count).await;
    }
    shadow.release();

    let mut client = Client::connect(gateway.address()).await;
    client.send(head("GET /", &["Host: a", "X-Tenant-ID: globex"])).await;
    assert_eq!(client.answer_to("GET").await.status, 200);

    let opened = "tenantry_upstream_connections_opened_total{pool=\"shadow\"}";
    gateway.metric_becomes(opened, 1.0).await;
}

#[tokio::test]
async fn trailers_count_towards_the_largest_body() {
    let (app, shadow) = (Origin::saying("app").await, Origin::saying("shadow").await);
    let gateway = start(app.address, shadow.address, ("", ", max-body = \"1KiB\"")).await;
    let fields = ["Host: a", "X-Tenant-ID: acme", "Transfer-Encoding: chunked"];
    let mut client = Client::connect(gateway.address()).await;

    let body = format!("5\r\nhello\r\n0\r\nX-Sum: {}\r\n\r\n", "z".repeat(1100));
    client.send(head("POST /", &fields) + &body).await;

    assert_eq!(client.answer_to("POST").await.status, 200);
    gateway.metric_becomes(&outcome("too_large"), 1.0).await;
    assert_eq!(shadow.asked().len(), 0);
}

#[tokio::test]
async fn a_copy_is_tried_once_by_the_key_of_its_pool_whatever_that_says_of_retries() {
    let app = Origin::saying("app").await;
    let shadows = [Origin::start([Step::reset()]).await, Origin::start([Step::reset()]).await];
    let keys = "balance = \"maglev\"\nhash = { header = \"X-User\" }\neject = { failures = 0 }\n\
                sticky = { cookie = \"stay\", keys = [\"0123456789abcdef0123456789abcdef\"] }\n\
                retry = { attempts = 3, on = [\"reset\"], replay = \"1KiB\", hedge = { floor = \"1ms\" } }";
    let pools = [
        pool("app", &[app.address], "deadline-header = \"X-Left\"\ntimeouts = { total = \"60s\" }"),
        pool("shadow", &[shadows[0].address, shadows[1].address], keys),
    ];
    let routes = "[tenants.acme]\npool = \"app\"\n[[tenants.acme.routes]]\n\
                  mirror = { pool = \"shadow\", timeout = \"5s\" }\n";
    let gateway = Gateway::start_with_workers(1, "", &(pools.concat() + routes)).await;

    for _ in 0..8 {
        let answer = post(&gateway, b"hello", &["X-User: 7", "Cookie: stay=1; own=2"]).await;
        assert_eq!((answer.text().as_str(), answer.one("set-cookie")), ("app", None));
    }

    gateway.metric_becomes(&outcome("failed"), 8.0).await;
    let mut came = [shadows[0].asked().len(), shadows[1].asked().len()];
    came.sort_unstable();
    assert_eq!(came, [0, 8], "one key, one endpoint, one attempt each");
    for copy in shadows.iter().flat_map(Origin::asked) {
        assert_eq!(copy.all("cookie"), ["own=2"], "that of the shadow is the gateway's");
        let left: u64 = copy.one("x-left").expect("it is told").parse().expect("a number");
        assert!((1..=5_000).contains(&left), "{left}: it has the mirror's time");
    }
    for asked in app.asked() {
        let left: u64 = asked.one("x-left").expect("it is told").parse().expect("a number");
        assert!(left > 5_000, "{left}");
    }
}

#[tokio::test]
async fn what_a_breaker_refuses_has_no_copy() {
    let (app, shadow) =
        (Origin::start([Step::answer(500, "")]).await, Origin::saying("shadow").await);
    let keys = "eject = { failures = 0 }\nretry = { attempts = 1 }\n\
                breaker = { requests = 3, window = \"60s\", open = \"60s\" }";
    let routes = format!(
        "{}{}[tenants.acme]\npool = \"app\"\n[[tenants.acme.routes]]\nmirror = {{ pool = \"shadow\" }}\n",
        pool("app", &[app.address], keys),
        pool("shadow", &[shadow.address], "")
    );
    let gateway = Gateway::start_with_workers(1, "", &routes).await;

    for _ in 0..3 {
        assert_eq!(gateway.get("/").await.status, 500);
    }
    for _ in 0..5 {
        assert_eq!(gateway.get("/").await.status, 503);
    }

    gateway.metric_becomes(&outcome("crowded"), 5.0).await;
    gateway.metric_becomes(&outcome("answered"), 3.0).await;
    assert_eq!(shadow.asked().len(), 3);
}
