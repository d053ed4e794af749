//! What is tried again, where, and when no more.

use std::net::SocketAddr;
use std::time::Duration;

use tenantry::control::generation::ReloadResult;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::world::client::{Client, get, head};
use crate::world::config::{one_tenant_with, pool};
use crate::world::gateway::Gateway;
use crate::world::h2_origin::H2Origin;
use crate::world::message::{Answer, payload};
use crate::world::origin::{Origin, Step};
use crate::world::unreachable::{Refusing, Silent};
use crate::world::{STEP, eventually, within};

/// Each endpoint has its turn, also after failures, and no pause is long.
const IN_TURN: &str =
    "balance = \"round-robin\"\neject = { failures = 0 }\nretry = { backoff = \"1ms\" }";

async fn in_turn(endpoints: &[SocketAddr]) -> Gateway {
    Gateway::start(&one_tenant_with(endpoints, IN_TURN)).await
}

/// A request of `acme` with a body and these fields, on a connection of its own.
async fn send(gateway: &Gateway, method: &str, fields: &[&str], body: &[u8]) -> Answer {
    let length = format!("Content-Length: {}", body.len());
    let all = [&["Host: a", "X-Tenant-ID: acme", &length], fields].concat();
    let mut client = Client::connect(gateway.address()).await;
    client.send([head(&format!("{method} /"), &all).as_bytes(), body].concat()).await;
    client.answer_to(method).await
}

/// The statuses of so many requests, one after the other.
async fn statuses(gateway: &Gateway, count: usize, method: &str, fields: &[&str]) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..count {
        statuses.push(send(gateway, method, fields, b"hello").await.status);
    }
    statuses
}

/// Waits until a counter is above 0.
async fn counted(gateway: &Gateway, series: &str) {
    let some = async {
        while gateway.metric(series).await.unwrap_or_default() == 0.0 {
            sleep(STEP * 10).await;
        }
    };
    within(series, some).await;
}

fn retries(reason: &str) -> String {
    format!("tenantry_retries_total{{pool=\"app\",reason=\"{reason}\"}}")
}

fn refused(reason: &str) -> String {
    format!("tenantry_retries_refused_total{{pool=\"app\",reason=\"{reason}\"}}")
}

#[tokio::test]
async fn a_refused_connection_is_tried_elsewhere_for_every_method() {
    let (gone, good) = (Refusing::new(), Origin::saying("here").await);
    let gateway = in_turn(&[gone.address, good.address]).await;

    for method in ["GET", "POST", "PATCH", "PUT", "DELETE"] {
        assert_eq!(statuses(&gateway, 4, method, &[]).await, [200; 4], "{method}");
    }

    let asked = good.wait_for(20).await;
    assert!(asked.iter().all(|asked| asked.body == b"hello"));
    counted(&gateway, &retries("connect")).await;
}

#[tokio::test]
async fn a_silent_address_is_left_after_the_time_to_connect() {
    let (silent, good) = (Silent::new(), Origin::saying("here").await);
    let keys = format!("{IN_TURN}\ntimeouts = {{ connect = \"50ms\" }}");
    let gateway = Gateway::start(&one_tenant_with(&[silent.address, good.address], &keys)).await;

    assert_eq!(statuses(&gateway, 4, "POST", &[]).await, [200; 4]);

    counted(&gateway, &retries("connect")).await;
}

#[tokio::test]
async fn a_reset_is_retried_for_what_may_be_done_twice_alone() {
    let (bad, good) = (Origin::start([Step::reset()]).await, Origin::saying("here").await);
    let gateway = in_turn(&[bad.address, good.address]).await;

    assert_eq!(statuses(&gateway, 4, "GET", &[]).await, [200; 4]);
    assert_eq!(statuses(&gateway, 4, "POST", &["Idempotency-Key: k"]).await, [200; 4]);
    let resets = bad.asked().len();
    assert!(resets >= 4, "{resets}");
    gateway.metric_becomes(&retries("reset"), resets as f64).await;

    let mut plain = statuses(&gateway, 4, "POST", &[]).await;
    plain.sort_unstable();
    assert_eq!(plain, [200, 200, 502, 502]);
    let posts = |origin: &Origin| {
        let plain = |asked: &&crate::world::message::Asked| {
            asked.method == "POST" && asked.one("idempotency-key").is_none()
        };
        origin.asked().iter().filter(plain).count()
    };
    assert_eq!((posts(&bad), posts(&good)), (2, 2), "each reached one endpoint, once");
    gateway.metric_becomes(&refused("not_idempotent"), 2.0).await;
}

#[tokio::test]
async fn the_listed_statuses_are_retried_and_a_500_is_not() {
    for (status, retried) in [(502, true), (503, true), (504, true), (500, false), (404, false)] {
        let bad = Origin::start([Step::answer(status, "")]).await;
        let good = Origin::saying("here").await;
        let gateway = in_turn(&[bad.address, good.address]).await;

        let mut seen = statuses(&gateway, 4, "GET", &[]).await;

        seen.sort_unstable();
        let expected = if retried { [200; 4] } else { [200, 200, status, status] };
        assert_eq!(seen, expected, "{status}");
        // Where it is retried, the endpoint's turn comes again with each request.
        let asked = bad.asked().len();
        assert!(if retried { asked >= 3 } else { asked == 2 }, "{status}: {asked}");
    }
}

#[tokio::test]
async fn the_last_answer_is_passed_on_when_the_tries_are_used_up() {
    let bad = Origin::start([Step::answer(503, "first"), Step::answer(503, "busy")]).await;
    let gateway = in_turn(&[bad.address]).await;

    let answer = send(&gateway, "GET", &[], b"").await;

    assert_eq!((answer.status, answer.text().as_str()), (503, "busy"));
    assert_eq!(answer.problem(), None);
    assert_eq!(bad.asked().len(), 3);
    gateway.metric_becomes(&retries("status"), 2.0).await;
    gateway.metric_becomes(&refused("attempts"), 1.0).await;
}

#[tokio::test]
async fn a_failure_that_the_rule_does_not_name_is_counted_and_an_answer_is_not() {
    let script = [Step::reset(), Step::reset(), Step::answer(503, "busy")];
    let bad = Origin::start(script).await;
    let keys = "eject = { failures = 0 }\nretry = { on = [\"connect\"] }";
    let gateway = Gateway::start(&one_tenant_with(&[bad.address], keys)).await;

    assert_eq!(statuses(&gateway, 3, "GET", &[]).await, [502, 502, 503]);

    assert_eq!(bad.asked().len(), 3, "nothing is tried again");
    let ended = "tenantry_requests_total{tenant=\"acme\",pool=\"app\",class=\"5xx\"}";
    gateway.metric_becomes(ended, 3.0).await; // and so all else of them is counted
    assert_eq!(gateway.metric(&refused("not_listed")).await, Some(2.0));
}

#[tokio::test]
async fn a_connection_that_its_endpoint_closed_while_idle_fails_no_request() {
    let origin = Origin::start([Step::ok("closed after this").and_close()]).await;
    let gateway = in_turn(&[origin.address]).await;
    let mut client = Client::connect(gateway.address()).await;

    for method in ["POST", "GET", "POST", "POST"] {
        let request =
            head(&format!("{method} /"), &["Host: a", "X-Tenant-ID: acme", "Content-Length: 0"]);
        assert_eq!(client.ask(request).await.status, 200, "{method}");
        eventually("the end of the idle connection", || origin.open(), |open| *open == 0).await;
    }

    assert_eq!((origin.asked().len(), origin.connections()), (4, 4), "none was asked twice");
}

#[tokio::test]
async fn what_may_not_be_sent_twice_takes_no_connection_that_rested_for_long() {
    let origin = Origin::saying("ok").await;
    let gateway = in_turn(&[origin.address]).await;
    let rest = async || {
        let started = Instant::now();
        eventually("a second", || started.elapsed(), |time| *time > Duration::from_secs(1)).await;
    };

    assert_eq!(statuses(&gateway, 2, "POST", &[]).await, [200; 2]);
    assert_eq!(origin.connections(), 1, "a fresh connection is used again");
    rest().await;
    assert_eq!(statuses(&gateway, 1, "GET", &[]).await, [200]);
    rest().await;
    assert_eq!(statuses(&gateway, 1, "POST", &["Idempotency-Key: k"]).await, [200]);
    assert_eq!(origin.connections(), 1, "so is a rested one for what may be sent twice");
    rest().await;
    assert_eq!(statuses(&gateway, 1, "POST", &[]).await, [200]);
    assert_eq!(origin.connections(), 2);
}

#[tokio::test]
async fn a_stream_that_an_http2_endpoint_did_not_begin_with_is_retried() {
    // RST_STREAM with REFUSED_STREAM; GOAWAY that names no stream as begun.
    let refuse = |stream: [u8; 4]| [frame(3, 0, stream), [0, 0, 0, 7].to_vec()].concat();
    let go_away = |_| [frame(7, 0, [0; 4]), [0; 8].to_vec()].concat();
    let answers: [fn([u8; 4]) -> Vec<u8>; 2] = [refuse, go_away];
    for answer in answers {
        let (address, _tasks) = raw_h2(answer).await;
        let good = H2Origin::saying("here").await;
        let keys = format!("{IN_TURN}\nprotocol = \"h2\"");
        let gateway = Gateway::start(&one_tenant_with(&[address, good.address], &keys)).await;

        assert_eq!(statuses(&gateway, 4, "POST", &[]).await, [200; 4]);

        assert!(good.asked().iter().all(|asked| asked.body == b"hello"));
        counted(&gateway, &retries("untouched")).await;
    }
}

/// An HTTP/2 endpoint that says one frame to each request.
async fn raw_h2(answer: fn([u8; 4]) -> Vec<u8>) -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind an origin");
    let address = listener.local_addr().expect("the origin's address");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(async move { drop(speak_h2(stream, answer).await) });
        }
    });
    (address, tasks)
}

async fn speak_h2(mut stream: TcpStream, answer: fn([u8; 4]) -> Vec<u8>) -> std::io::Result<()> {
    stream.read_exact(&mut [0; 24]).await?; // the preface
    stream.write_all(&frame(4, 0, [0; 4])).await?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let size = usize::from(head[1]) << 8 | usize::from(head[2]);
        stream.read_exact(&mut vec![0; size]).await?;
        match (head[3], head[4]) {
            (1, _) => stream.write_all(&answer([head[5], head[6], head[7], head[8]])).await?,
            (4, 0) => stream.write_all(&frame(4, 1, [0; 4])).await?,
            _ => {}
        }
    }
}

/// The head of a frame; its payload is 4 bytes for a reset, 8 for a farewell, and else empty.
fn frame(kind: u8, flags: u8, stream: [u8; 4]) -> Vec<u8> {
    let size = match kind {
        3 => 4,
        7 => 8,
        _ => 0,
    };
    [&[0, 0, size, kind, flags], &stream[..]].concat()
}

#[tokio::test]
async fn a_body_of_64_kib_is_sent_again_and_a_larger_one_is_not() {
    let (bad, good) =
        (Origin::start([Step::answer(503, "busy")]).await, Origin::saying("ok").await);
    let gateway = in_turn(&[bad.address, good.address]).await;

    let small = payload(64 << 10);
    for _ in 0..4 {
        assert_eq!(send(&gateway, "PUT", &[], &small).await.status, 200);
    }
    assert!(good.wait_for(4).await.iter().all(|asked| asked.body == small));
    assert!(bad.wait_for(3).await.iter().all(|asked| asked.body == small));

    let large = payload((64 << 10) + 1);
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(send(&gateway, "PUT", &[], &large).await.status);
    }
    seen.sort_unstable();
    assert_eq!(seen, [200, 200, 503, 503]);
    gateway.metric_becomes(&refused("body_too_large"), 2.0).await;
}

#[tokio::test]
async fn a_body_that_comes_in_tiny_parts_is_sent_again_whole() {
    let (bad, good) =
        (Origin::start([Step::answer(503, "busy")]).await, Origin::saying("ok").await);
    let gateway = in_turn(&[bad.address, good.address]).await;
    let chunks: String = (0..3_000).map(|at| format!("1\r\n{}\r\n", at % 10)).collect();
    let fields = ["Host: a", "X-Tenant-ID: acme", "Transfer-Encoding: chunked"];
    for _ in 0..2 {
        let request = head("PUT /", &fields) + &chunks + "0\r\n\r\n";
        assert_eq!(Client::connect(gateway.address()).await.ask(request).await.status, 200);
    }

    let body: String = (0..3_000).map(|at| (at % 10).to_string()).collect();
    assert!(good.wait_for(2).await.iter().all(|asked| asked.body == body.as_bytes()));
    assert!(!bad.asked().is_empty());
}

#[tokio::test]
async fn a_tenant_has_a_memory_for_bodies_of_its_own() {
    let (bad, good) =
        (Origin::start([Step::answer(503, "busy")]).await, Origin::saying("ok").await);
    let routes = one_tenant_with(&[bad.address, good.address], IN_TURN);
    let gateway = Gateway::start(&format!("{routes}replay-memory = \"8KiB\"\n")).await;

    // More in sum than there is: what a request took is given back at its end.
    let small = payload(6 << 10);
    for _ in 0..10 {
        assert_eq!(send(&gateway, "PUT", &[], &small).await.status, 200);
    }

    let large = payload(9 << 10);
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(send(&gateway, "PUT", &[], &large).await.status);
    }
    seen.sort_unstable();
    assert_eq!(seen, [200, 200, 503, 503]);
    gateway.metric_becomes(&refused("body_too_large"), 2.0).await;
}

/// A pause of which no request has the time.
const LONG_PAUSE: &str =
    "balance = \"round-robin\"\nretry = { backoff = \"168h\", max-backoff = \"168h\" }";

#[tokio::test]
async fn a_request_that_failed_goes_to_a_sound_endpoint_without_a_pause() {
    for step in [Step::answer(503, ""), Step::reset(), Step::raw("what?\r\n\r\n".to_owned())] {
        let (bad, good) = (Origin::start([step]).await, Origin::saying("here").await);
        let gateway =
            Gateway::start(&one_tenant_with(&[bad.address, good.address], LONG_PAUSE)).await;

        assert_eq!(statuses(&gateway, 4, "GET", &[]).await, [200; 4]);

        assert!(!bad.asked().is_empty());
    }
}

#[tokio::test]
async fn a_request_that_two_endpoints_failed_waits_before_it_goes_to_a_third() {
    let bad = || Origin::start([Step::answer(503, "")]);
    let all = [bad().await, bad().await, bad().await];
    let addresses: Vec<SocketAddr> = all.iter().map(|one| one.address).collect();
    let gateway = Gateway::start(&one_tenant_with(&addresses, LONG_PAUSE)).await;
    let asked = || all.iter().map(|one| one.asked().len()).sum::<usize>();

    assert_eq!(statuses(&gateway, 1, "GET", &[]).await, [503]);
    assert_eq!(asked(), 2);
    // The third is sound; once it has failed, too, there is none to go to at once.
    while all.iter().any(|one| one.asked().is_empty()) {
        assert_eq!(statuses(&gateway, 1, "GET", &[]).await, [503]);
    }
    let before = asked();
    assert_eq!(statuses(&gateway, 3, "GET", &[]).await, [503; 3]);
    assert_eq!(asked(), before + 3);
    counted(&gateway, &refused("deadline")).await;
}

#[tokio::test]
async fn a_total_outage_is_no_storm_of_retries() {
    let (one, two) =
        (Origin::start([Step::answer(503, "")]).await, Origin::start([Step::reset()]).await);
    let keys = "eject = { failures = 0 }\n\
                retry = { backoff = \"0s\", budget = \"20%\", budget-floor = 1 }";
    let gateway = Gateway::start(&one_tenant_with(&[one.address, two.address], keys)).await;
    let started = Instant::now();

    let requests = 300;
    for status in statuses(&gateway, requests, "GET", &[]).await {
        assert!(matches!(status, 502 | 503), "{status}");
    }

    // A full bucket holds ten seconds' worth of its floor.
    let floor = 10.0 + started.elapsed().as_secs_f64();
    let attempts = one.asked().len() + two.asked().len();
    assert!(attempts > requests, "nothing was retried");
    assert!(attempts as f64 <= requests as f64 * 1.2 + floor + 1.0, "{attempts} attempts");
    counted(&gateway, &refused("budget")).await;
}

#[tokio::test]
async fn a_spent_budget_stays_spent_through_reloads() {
    let origins = [Origin::start([Step::answer(503, "")]).await, Origin::saying("other").await];
    let (sick, other) = (origins[0].address, origins[1].address);
    // Without a floor and a share the bucket is never filled again: it holds one retry in all.
    let routes = |total: usize, acme: &str| {
        let keys = format!(
            "eject = {{ failures = 0 }}\ntimeouts = {{ total = \"{total}s\" }}\n\
             retry = {{ attempts = 2, backoff = \"0s\", budget = \"0%\", budget-floor = 0 }}"
        );
        let (app, spare) = (pool("app", &[sick], &keys), pool("spare", &[other], ""));
        format!(
            "{app}\n{spare}\n[tenants.acme]\npool = \"app\"\n{acme}\n\
             [tenants.globex]\npool = \"app\"\n"
        )
    };
    let gateway = Gateway::start(&routes(9, "")).await;
    let attempts = async |tenant: &str| {
        let before = origins[0].asked().len();
        assert_eq!(get(gateway.address(), tenant, "/").await.status, 503);
        origins[0].asked().len() - before
    };
    assert_eq!([attempts("acme").await, attempts("acme").await], [2, 1]);

    // An edit elsewhere, one of the pool itself, and one of the tenant.
    let more = "[[tenants.acme.routes]]\npath = \"/x\"\npool = \"spare\"\n";
    for edit in [routes(9, "") + "[tenants.new]\npool = \"app\"\n", routes(8, ""), routes(8, more)]
    {
        assert!(matches!(gateway.reload(&edit).await, ReloadResult::Live { .. }));
        assert_eq!(attempts("acme").await, 1, "a fresh budget came with\n{edit}");
    }
    gateway.metric_becomes(&refused("budget"), 4.0).await;
    assert_eq!(attempts("globex").await, 2, "each tenant has its own");

    // A tenant that was away is another one.
    let alone = routes(8, "").replace("[tenants.acme]\npool = \"app\"\n", "");
    assert!(matches!(gateway.reload(&alone).await, ReloadResult::Live { .. }));
    assert_eq!(get(gateway.address(), "acme", "/").await.status, 404);
    gateway.reload(&routes(8, "")).await;
    assert_eq!([attempts("acme").await, attempts("acme").await], [2, 1]);
}

#[tokio::test]
async fn a_request_that_could_not_connect_needs_no_budget_where_an_endpoint_is_sound() {
    let (gone, good) = (Refusing::new(), Origin::saying("here").await);
    let keys = "balance = \"round-robin\"\neject = { failures = 0 }\n\
                retry = { backoff = \"0s\", budget = \"0%\", budget-floor = 0 }";
    let gateway = Gateway::start(&one_tenant_with(&[gone.address, good.address], keys)).await;

    assert_eq!(statuses(&gateway, 40, "POST", &[]).await, [200; 40]);
}

/// Ends an origin and waits until its port refuses connections. Where a [`Refusing`] keeps the port, nobody else
/// has it afterwards.
async fn end(origin: Origin) {
    let address = origin.address;
    drop(origin);
    let refuses = || std::net::TcpStream::connect(address).is_err();
    eventually("a closed port", refuses, |closed| *closed).await;
}

/// A budget that is spent by one retry, for good.
const ONE_RETRY: &str = "retry = { backoff = \"0s\", budget = \"0%\", budget-floor = 0 }";

#[tokio::test]
async fn a_request_that_could_not_connect_needs_no_budget_where_one_awaits_its_first_check() {
    let kept = Refusing::new();
    let gone = Origin::start_at(kept.address, [Step::ok("gone")]).await;
    let newcomer = Origin::start([Step::ok("checked").held(), Step::ok("served")]).await;
    let check = "health = { http = \"/check\", interval = \"20s\", timeout = \"20s\" }";
    let keys = format!("{check}\n{ONE_RETRY}");
    let gateway = Gateway::start(&one_tenant_with(&[gone.address], &keys)).await;
    assert_eq!(statuses(&gateway, 1, "GET", &[]).await, [200]);
    let both = [gone.address, newcomer.address];
    end(gone).await;
    gateway.reload(&one_tenant_with(&both, &keys)).await;
    newcomer.wait_for(1).await; // its first check, which is not answered

    assert_eq!(statuses(&gateway, 20, "POST", &[]).await, [200; 20]);

    newcomer.release();
}

#[tokio::test]
async fn a_request_that_could_not_connect_needs_no_budget_where_an_ejected_one_is_back() {
    let back = Origin::start([Step::answer(500, ""), Step::ok("back")]).await;
    let kept = Refusing::new();
    let gone = Origin::start_at(kept.address, [Step::ok("gone")]).await;
    let keys = format!(
        "balance = \"round-robin\"\neject = {{ failures = 1, base = \"60s\" }}\n{ONE_RETRY}"
    );
    let routes = one_tenant_with(&[back.address, gone.address], &keys);
    let gateway = Gateway::start(&routes).await;
    let mut first = statuses(&gateway, 2, "GET", &[]).await;
    first.sort_unstable();
    assert_eq!(first, [200, 500]);
    end(gone).await;

    // No more than one of two is ejected: the one that is gone stays the first choice.
    assert_eq!(statuses(&gateway, 20, "POST", &[]).await, [200; 20]);
}

#[tokio::test]
async fn a_pool_that_is_gone_is_not_dialled_again_and_again_for_each_request() {
    let gone = [Refusing::new(), Refusing::new(), Refusing::new()];
    let addresses: Vec<SocketAddr> = gone.iter().map(|gone| gone.address).collect();
    let keys = format!("eject = {{ failures = 2, base = \"60s\" }}\n{ONE_RETRY}");
    let gateway = Gateway::start(&one_tenant_with(&addresses, &keys)).await;

    assert_eq!(statuses(&gateway, 100, "GET", &[]).await, [502; 100]);

    // A few until each has failed, and one when one of them was ejected.
    gateway
        .metric_becomes(
            "tenantry_requests_total{tenant=\"acme\",pool=\"app\",class=\"5xx\"}",
            100.0,
        )
        .await;
    let mut attempts = 0.0;
    for address in addresses {
        let series = format!(
            "tenantry_attempts_total{{pool=\"app\",endpoint=\"{address}\",outcome=\"connect\"}}"
        );
        attempts += gateway.metric(&series).await.unwrap_or_default();
    }
    assert!((100.0..=106.0).contains(&attempts), "{attempts} attempts");
}

#[tokio::test]
async fn an_endpoint_that_is_out_is_tried_after_one_that_cannot_be_reached() {
    // The check finds fault with the one that serves, and none with the one that is gone.
    let good = Origin::start([Step::answer(500, "")]).await;
    let kept = Refusing::new();
    let gone = Origin::start_at(kept.address, [Step::ok("ok")]).await;
    let keys = "health = { http = \"/check\", interval = \"20s\" }\npanic-below = \"0%\"\n\
                eject = { failures = 0 }\nretry = { backoff = \"0s\" }";
    let gateway = Gateway::start(&one_tenant_with(&[good.address, gone.address], keys)).await;
    end(gone).await;
    good.rescript([Step::ok("served")]);

    assert_eq!(statuses(&gateway, 5, "POST", &[]).await, [200; 5]);
}

#[tokio::test]
async fn a_slow_attempt_is_given_up_for_another_endpoint() {
    let (slow, good) = (Origin::start([Step::stall()]).await, Origin::saying("here").await);
    let keys = format!("{IN_TURN}\ntimeouts = {{ attempt = \"1s\" }}");
    let gateway = Gateway::start(&one_tenant_with(&[slow.address, good.address], &keys)).await;

    assert_eq!(statuses(&gateway, 3, "GET", &[]).await, [200; 3]);

    gateway.metric_becomes(&retries("timeout"), slow.asked().len() as f64).await;
    // A `POST` may have been acted on.
    let mut posts = statuses(&gateway, 2, "POST", &[]).await;
    posts.sort_unstable();
    assert_eq!(posts, [200, 504]);
}

#[tokio::test]
async fn each_deadline_has_its_own_answer() {
    let slow = Origin::start([Step::stall()]).await;
    for (timeouts, problem) in [
        ("attempt = \"400ms\", total = \"800ms\"", "total-timeout"),
        ("attempt = \"100ms\", total = \"20s\"", "answer-timeout"),
        ("first-byte = \"100ms\", total = \"20s\"", "answer-timeout"),
    ] {
        let keys = format!("timeouts = {{ {timeouts} }}\nretry = {{ attempts = 2 }}");
        let gateway = Gateway::start(&one_tenant_with(&[slow.address], &keys)).await;
        let started = Instant::now();

        let answer = send(&gateway, "GET", &[], b"").await;

        assert_eq!(
            (answer.status, answer.problem().as_deref()),
            (504, Some(problem)),
            "{timeouts}"
        );
        assert!(started.elapsed() >= Duration::from_millis(100), "{timeouts}");
    }
}

#[tokio::test]
async fn the_time_to_the_first_byte_counts_from_the_end_of_the_request() {
    let origin = Origin::saying("whole").await;
    let keys = "timeouts = { first-byte = \"2s\" }\nretry = { attempts = 1 }";
    let gateway = Gateway::start(&one_tenant_with(&[origin.address], keys)).await;
    let mut client = Client::connect(gateway.address()).await;
    let fields = ["Host: a", "X-Tenant-ID: acme", "Content-Length: 2"];
    let started = Instant::now();

    client.send(head("POST /", &fields)).await;
    client.send("a").await;
    eventually("the head at the origin", || origin.asked().len(), |count| *count == 1).await;
    // Longer than an answer may take: the client's own slowness is not the endpoint's.
    eventually("some time", || started.elapsed(), |time| *time > Duration::from_millis(2500)).await;
    client.send("b").await;

    assert_eq!(client.answer_to("POST").await.status, 200);
}
