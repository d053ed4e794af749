//! What is not whole is never passed on as if it were; and how long each side is waited for.

use std::net::SocketAddr;
use std::time::Duration;
use std::{fs, io};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::world::client::{Client, Frames, Hyper, head};
use crate::world::config::{NO_RETRY, one_tenant, one_tenant_with};
use crate::world::gateway::Gateway;
use crate::world::origin::{Origin, Step};
use crate::world::raw_h2::{CONTINUATION, END_STREAM, GET, HEADERS, RawH2, block, frame, request};
use crate::world::tls::Certificates;
use crate::world::{STEP, eventually, within};

const FIELDS: &[&str] = &["Host: a", "X-Tenant-ID: acme"];

fn rejected(reason: &str) -> String {
    format!("tenantry_downstream_rejected_connections_total{{reason=\"{reason}\"}}")
}

fn retired(reason: &str) -> String {
    format!("tenantry_downstream_retired_connections_total{{reason=\"{reason}\"}}")
}

/// Both kinds of client get the head and a part, and then learn that it is not whole.
async fn is_cut(gateway: &Gateway, case: &str) {
    let answer = gateway.get("/").await;
    assert_eq!((answer.status, answer.whole), (200, false), "{case}: {answer:?}");
    let answer = Hyper::h2(gateway.address()).await.get("acme", "/").await;
    assert_eq!((answer.status, answer.whole), (200, false), "{case}, HTTP/2: {answer:?}");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_never_whole_to_the_client() {
    let sized = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n";
    let ways = [
        ("sized and closed", Step::raw(sized).and_close()),
        ("chunked and closed", Step::raw(chunked).and_close()),
        ("a chunk cut short", Step::raw(format!("{chunked}9\r\nno")).and_close()),
        ("a bad chunk", Step::raw(format!("{chunked}zz\r\n"))),
        ("a last chunk cut short", Step::raw(format!("{chunked}0\r\n")).and_close()),
    ];
    for (case, step) in ways {
        let origin = Origin::start([step]).await;
        let gateway = Gateway::start(&one_tenant_with(&[origin.address], NO_RETRY)).await;
        is_cut(&gateway, case).await;
    }
}

/// Where only the end of the connection tells the end of an answer, that of a cut one is a reset.
#[tokio::test]
async fn a_cut_answer_to_an_http10_client_does_not_end_like_a_whole_one() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n";
    for (last, whole) in [("zz\r\n", false), ("0\r\n\r\n", true)] {
        let origin = Origin::start([Step::raw(format!("{chunked}{last}"))]).await;
        let gateway = Gateway::start(&one_tenant_with(&[origin.address], NO_RETRY)).await;
        let mut client = TcpStream::connect(gateway.address()).await.unwrap();
        let request = "GET / HTTP/1.0\r\nHost: a\r\nX-Tenant-ID: acme\r\n\r\n";
        client.write_all(request.as_bytes()).await.unwrap();

        let mut answer = Vec::new();
        let ended = within("the end", client.read_to_end(&mut answer)).await;

        assert_eq!(ended.is_ok(), whole, "{last:?}: {ended:?}");
    }
}

#[tokio::test]
async fn an_answer_without_a_length_that_ends_by_a_reset_is_not_whole() {
    let open_end = "HTTP/1.1 200 OK\r\n\r\nhalf";
    let origin = Origin::start([Step::raw(open_end).and_reset()]).await;
    let gateway = Gateway::start(&one_tenant_with(&[origin.address], NO_RETRY)).await;
    for _ in 0..5 {
        // The reset may overtake the head, which is then no answer at all.
        let answer = gateway.get("/").await;
        assert!(answer.status == 502 || !answer.whole, "{answer:?}");
    }
}

#[tokio::test]
async fn an_answer_by_tls_that_ends_without_a_goodbye_is_not_whole() {
    let certificates = Certificates::of(&["127.0.0.1"]);
    let keys = format!("{NO_RETRY}\ntls = {{ ca = \"{}\" }}", certificates.ca());
    let ways = [
        ("HTTP/1.1 200 OK\r\n\r\nhalf", false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhalf", true),
    ];
    for (answer, whole) in ways {
        let script = [Step::raw(answer).and_close()];
        let origin = Origin::start_tls(certificates.server(&[]), script).await;
        let gateway = Gateway::start(&one_tenant_with(&[origin.address], &keys)).await;
        let answer = gateway.get("/").await;
        assert_eq!((answer.status, answer.whole), (200, whole), "{answer:?}");
    }
}

#[tokio::test]
async fn an_answer_that_ends_with_its_connection_is_whole() {
    let origin = Origin::start([Step::raw("HTTP/1.1 200 OK\r\n\r\nall of it").and_close()]).await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;

    let answer = gateway.get("/").await;

    assert_eq!((answer.text().as_str(), answer.whole), ("all of it", true));
    assert_eq!(answer.all("transfer-encoding"), ["chunked"], "its end can be told");
}

#[tokio::test]
async fn the_access_log_says_that_an_answer_was_cut() {
    let half = Step::raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").and_close();
    let origin = Origin::start([Step::ok("whole"), half]).await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;
    gateway.get("/whole").await;
    gateway.get("/half").await;
    let read = || std::fs::read_to_string(gateway.path("access.log")).unwrap_or_default();

    let log = eventually("two lines", read, |log| log.lines().count() == 2).await;

    let endings: Vec<(String, String)> = log
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line is JSON"))
        .map(|line: serde_json::Value| (line["path"].to_string(), line["ending"].to_string()))
        .collect();
    let expected = [("\"/whole\"", "\"whole\""), ("\"/half\"", "\"cut\"")];
    assert_eq!(endings, expected.map(|(path, end)| (path.to_owned(), end.to_owned())));
}

#[tokio::test]
async fn the_access_log_says_how_much_came_of_a_body_that_did_not_come_whole() {
    let origin = Origin::start([Step::ok("never asked for the whole")]).await;
    let more = "[downstream]\nbody-timeout = \"50ms\"";
    let gateway = Gateway::start_with(more, &one_tenant(&[origin.address])).await;
    let fields = [FIELDS, &["Content-Length: 9"]].concat();
    let mut client = Client::connect(gateway.address()).await;
    let answer = client.ask(head("PUT /", &fields) + "half").await;
    let read = || std::fs::read_to_string(gateway.path("access.log")).unwrap_or_default();

    let log = eventually("a line", read, |log| log.lines().count() == 1).await;

    let line: serde_json::Value = serde_json::from_str(&log).expect("a line is JSON");
    assert_eq!((answer.status, &line["bytes_in"]), (408, &serde_json::json!(4)));
}

#[tokio::test]
async fn an_endpoint_that_falls_silent_within_its_answer_is_cut_off() {
    let half = Step::raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").and_stall();
    let total = "timeouts = { attempt = \"1500ms\", total = \"2s\" }";
    for limit in ["timeouts = { idle = \"300ms\" }", total] {
        let origin = Origin::start([half.clone()]).await;
        let gateway = Gateway::start(&one_tenant_with(&[origin.address], limit)).await;
        is_cut(&gateway, limit).await;
    }
}

#[tokio::test]
async fn an_answer_is_waited_for_from_the_end_of_the_request_on() {
    let origin = Origin::start([Step::stall()]).await;
    let keys = format!("{NO_RETRY}\ntimeouts = {{ first-byte = \"80ms\" }}");
    let gateway = Gateway::start(&one_tenant_with(&[origin.address], &keys)).await;
    let mut client = Client::connect(gateway.address()).await;
    client.send(head("PUT /", &[FIELDS, &["Content-Length: 4"]].concat()) + "ha").await;

    // A pause that is longer than the limit, within the request.
    let early = tokio::time::timeout(Duration::from_millis(200), client.answer_head()).await;
    client.send("lf").await;
    let answer = client.answer_to("PUT").await;

    assert!(early.is_err(), "{early:?}");
    assert_eq!((answer.status, answer.problem().as_deref()), (504, Some("answer-timeout")));
}

#[tokio::test]
async fn a_request_ends_with_the_last_byte_of_its_length() {
    let origin = Origin::start([Step::stall()]).await;
    let timeouts = "timeouts = { first-byte = \"80ms\", attempt = \"60s\", total = \"60s\" }";
    let keys = format!("{NO_RETRY}\n{timeouts}");
    let gateway = Gateway::start(&one_tenant_with(&[origin.address], &keys)).await;
    let mut client = Hyper::h2(gateway.address()).await;
    // What ends the stream comes after the body, and no endpoint of HTTP/1 asks for it.
    let body = Frames::sized("half").with_trailers(http::HeaderMap::new());
    let mut request = client.request("PUT", "acme", "/", body);
    request.headers_mut().insert("content-length", "4".parse().expect("a value"));

    let answer = client.ask(request).await;

    assert_eq!((answer.status, answer.problem().as_deref()), (504, Some("answer-timeout")));
}

#[tokio::test]
async fn a_request_that_breaks_off_is_never_whole_at_the_endpoint() {
    let origin = Origin::saying("hello").await;
    let gateway = Gateway::start(&one_tenant_with(&[origin.address], NO_RETRY)).await;
    let ways = [("Content-Length: 10", "half"), ("Transfer-Encoding: chunked", "4\r\nhalf\r\n")];
    for (at, (framing, part)) in ways.into_iter().enumerate() {
        let mut client = Client::connect(gateway.address()).await;
        client.send(head("PUT /", &[FIELDS, &[framing]].concat()) + part).await;
        let body = || origin.asked().get(at).map(|asked| asked.body.clone());
        eventually("the part", body, |body| body.as_deref() == Some(b"half")).await;
        drop(client);
        eventually("the end at the origin", || origin.open(), |open| *open == 0).await;
        assert!(!origin.asked()[at].whole, "{framing}");
    }
}

#[tokio::test]
async fn a_head_that_comes_too_slowly_ends_the_connection() {
    let origin = Origin::saying("hello").await;
    let more = "[downstream]\nheader-timeout = \"100ms\"";
    let gateway = Gateway::start_with(more, &one_tenant(&[origin.address])).await;
    for part in ["G", "P", "PRI * HT", "GET / HTTP/1.1\r\nHost: a\r\nX-Tena"] {
        let mut client = Client::connect(gateway.address()).await;
        client.send(part).await;
        assert!(client.is_closed().await, "{part:?}");
    }
    let mut second = Client::connect(gateway.address()).await;
    assert_eq!(second.ask(head("GET /", FIELDS)).await.status, 200);
    second.send("GET / HTTP").await;
    assert!(second.is_closed().await, "the second request of a connection");
    gateway.metric_becomes(&rejected("slow_head"), 5.0).await;
}

#[tokio::test]
async fn a_head_of_http2_that_trickles_ends_its_connection_beside_a_stream_that_waits() {
    let origin = Origin::start([Step::stall().unread()]).await;
    let more = "[downstream]\nheader-timeout = \"100ms\"";
    let gateway = Gateway::start_with(more, &one_tenant(&[origin.address])).await;
    let beside = request(1, &GET);
    // In its first frame, and in the next one.
    let begun = frame(HEADERS, END_STREAM, 3, &block(&GET));
    let next = [&begun[..], &frame(CONTINUATION, 0, 3, &[0; 9999])[..20]].concat();
    let first = frame(HEADERS, END_STREAM, 3, &[0; 9999])[..20].to_vec();
    for first in [first, next] {
        let mut client = RawH2::connect(gateway.address()).await;
        assert!(client.send(&beside).await && client.send(&first).await);

        let mut trickle = tokio::time::interval(Duration::from_millis(10));
        let trickling = async {
            while client.send(b"\0").await {
                trickle.tick().await;
            }
        };

        within("the end of the connection", trickling).await;
    }
    gateway.metric_becomes(&rejected("slow_head"), 2.0).await;
}

#[tokio::test]
async fn the_rest_of_an_upload_after_an_early_answer_is_timed_as_a_body() {
    let early = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly";
    let origin = Origin::start([Step::raw("").after(early), Step::ok("next")]).await;
    let more = "[downstream]\nheader-timeout = \"100ms\"";
    let gateway = Gateway::start_with(more, &one_tenant(&[origin.address])).await;
    let mut client = Client::connect(gateway.address()).await;
    client.send(head("PUT /", &[FIELDS, &["Content-Length: 40"]].concat())).await;
    assert_eq!(client.answer_to("PUT").await.text(), "early");

    for _ in 0..8 {
        sleep(Duration::from_millis(40)).await; // in all far longer than a head may take
        client.send("parts").await;
    }

    assert_eq!(origin.only().await.body, b"parts".repeat(8));
    assert_eq!(client.ask(head("GET /", FIELDS)).await.text(), "next");
}

#[tokio::test]
async fn a_trickle_does_not_win_time_for_a_head() {
    let origin = Origin::saying("hello").await;
    let more = "[downstream]\nheader-timeout = \"100ms\"";
    let gateway = Gateway::start_with(more, &one_tenant(&[origin.address])).await;
    // Of a field that never ends, and of the empty lines that may stand before a request.
    for (first, drop) in [("GET / HTTP/1.1\r\nX: ", "x"), ("", "\r\n"), ("", "\n")] {
        let mut client = Client::connect(gateway.address()).await;
        client.send(first).await;

        let mut trickle = tokio::time::interval(Duration::from_millis(10));
        let trickling = async {
            loop {
                trickle.tick().await;
                if client.wire.write(drop.as_bytes()).await.is_err() {
                    return;
                }
            }
        };

        within("the end of the connection", trickling).await;
    }
    gateway.metric_becomes(&rejected("slow_head"), 3.0).await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_its_time() {
    let origin = Origin::saying("hello").await;
    let more = "[downstream]\nidle-timeout = \"2s\"";
    let gateway = Gateway::start_with(more, &one_tenant(&[origin.address])).await;

    let mut silent = Client::connect(gateway.address()).await;
    let mut served = Client::connect(gateway.address()).await;
    let answer = served.ask(head("GET /", FIELDS)).await;
    let mut h2 = Hyper::h2(gateway.address()).await;
    let by_h2 = h2.get("acme", "/").await;

    assert_eq!([answer.status, by_h2.status], [200; 2]);
    assert!(silent.is_closed().await);
    assert!(served.is_closed().await);
    h2.wait_closed().await;
    gateway.metric_becomes(&retired("idle"), 3.0).await;
}

/// Their ends are spread, so that they do not take a worker for themselves: the last ones come late.
#[tokio::test]
async fn of_many_connections_that_are_idle_together_one_that_asks_before_its_end_is_served() {
    let origin = Origin::saying("hello").await;
    let more = "[downstream]\nidle-timeout = \"400ms\"";
    let gateway = Gateway::start_with(more, &one_tenant(&[origin.address])).await;
    for _ in 0..10 {
        let mut clients = Vec::new();
        for _ in 0..400 {
            clients.push(TcpStream::connect(gateway.address()).await.expect("connect"));
        }
        let mut last = clients.pop().expect("a client");
        let ended = within("the end", clients[0].read(&mut [0; 64])).await;
        assert_eq!(ended.expect("the end"), 0);
        let sent = last.write_all(head("GET /", FIELDS).as_bytes()).await;
        let mut answer = [0; 15];
        if sent.is_ok() && within("an answer", last.read_exact(&mut answer)).await.is_ok() {
            return assert_eq!(&answer, b"HTTP/1.1 200 OK");
        }
        // Else the machine gave this test no time while they ended.
    }
    panic!("it was closed each time");
}

#[tokio::test]
async fn a_slow_answer_is_no_idle_connection() {
    let origin = Origin::start([Step::ok("late").held()]).await;
    let more = "[downstream]\nidle-timeout = \"1s\"\nheader-timeout = \"1s\"";
    let gateway = Gateway::start_with(more, &one_tenant(&[origin.address])).await;
    let mut client = Client::connect(gateway.address()).await;
    client.send(head("GET /", FIELDS)).await;

    let early = tokio::time::timeout(Duration::from_millis(2_500), client.answer_head()).await;
    origin.release();

    assert!(early.is_err(), "{early:?}");
    assert_eq!(client.answer_to("GET").await.text(), "late");
}

/// From here an end of its side and an end of the connection look the same.
#[tokio::test]
async fn a_client_that_ends_its_side_before_its_answer_has_left() {
    let origin = Origin::start([Step::ok("late").held()]).await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;
    let mut client = Client::connect(gateway.address()).await;
    client.send(head("GET /", FIELDS)).await;
    origin.wait_for(1).await;

    client.wire.stream.shutdown().await.expect("our end");

    assert!(client.is_closed().await);
    origin.release();
    eventually("the end at the origin", || origin.open(), |open| *open == 0).await;
}

#[tokio::test]
async fn a_connection_serves_so_many_requests_and_says_when_it_ends() {
    let origin = Origin::saying("hello").await;
    let more = "[downstream]\nmax-requests = 3";
    let gateway = Gateway::start_with(more, &one_tenant(&[origin.address])).await;
    let mut client = Client::connect(gateway.address()).await;
    for expected in [None, None, Some("close")] {
        let answer = client.ask(head("GET /", FIELDS)).await;
        assert_eq!((answer.status, answer.one("connection").as_deref()), (200, expected));
    }
    assert!(client.is_closed().await);

    let mut h2 = Hyper::h2(gateway.address()).await;
    for _ in 0..3 {
        assert_eq!(h2.get("acme", "/").await.status, 200);
    }
    h2.wait_closed().await;
    gateway.metric_becomes(&retired("requests"), 2.0).await;
}

/// Half of the time that the gateway waits for a first word then: a test that a busy machine has kept
/// from asking for longer than that has shown nothing.
const SOON: Duration = Duration::from_millis(250);

/// Waits until the kernel has the connection on the gateway's side, too: a client has connected once it has an answer, and
/// its last packet may wait for a processor still. A listener that closes by then is none of its own.
async fn has_come(stream: &TcpStream) {
    let port = |address: io::Result<SocketAddr>| {
        format!("0100007F:{:04X}", address.expect("an address").port())
    };
    let sides = [port(stream.peer_addr()), port(stream.local_addr()), "01".to_owned()];
    let listed = || fs::read_to_string("/proc/net/tcp").expect("a list of connections");
    let is_whole = |list: &String| {
        list.lines().any(|line| line.split_whitespace().skip(1).take(3).eq(sides.iter()))
    };
    eventually("the connection", listed, is_whole).await;
}

#[tokio::test]
async fn who_had_connected_before_the_listeners_closed_may_still_ask() {
    let origin = Origin::saying("hello").await;
    let more = "[drain]\naccept = \"0s\"";
    for _ in 0..20 {
        let gateway = Gateway::start_with(more, &one_tenant(&[origin.address])).await;
        let address = gateway.address();
        let stream = TcpStream::connect(address).await.expect("connect");
        has_come(&stream).await;
        let mut client = Client::over(stream);
        let began = Instant::now();

        let asking = async {
            within("closed listeners", async {
                while TcpStream::connect(address).await.is_ok() {
                    sleep(STEP).await;
                }
            })
            .await;
            client.send(head("GET /", FIELDS)).await;
            let was_soon = began.elapsed() < SOON;
            (was_soon, client.answer_to("GET").await)
        };
        let (ended, (was_soon, answer)) = tokio::join!(gateway.stop(), asking);

        if was_soon {
            let told = (answer.status, answer.one("connection"));
            assert_eq!(told, (200, Some("close".to_owned())));
            assert_eq!(ended.cut_off, 0);
            return;
        }
    }
    panic!("this machine is too busy");
}

#[tokio::test]
async fn a_client_that_is_slow_to_send_is_no_fault_of_the_endpoint() {
    let origin = Origin::saying("hello").await;
    let keys =
        format!("{NO_RETRY}\ntimeouts = {{ attempt = \"200ms\" }}\neject = {{ failures = 1 }}");
    let more = "[downstream]\nbody-timeout = \"300ms\"";
    let gateway = Gateway::start_with(more, &one_tenant_with(&[origin.address], &keys)).await;
    let mut client = Client::connect(gateway.address()).await;
    let half = head("PUT /", &[FIELDS, &["Content-Length: 9"]].concat()) + "half";

    let answer = client.ask(half).await;

    assert_eq!((answer.status, answer.problem().as_deref()), (408, Some("body-timeout")));
    let up = format!("tenantry_endpoint_up{{pool=\"app\",endpoint=\"{}\"}}", origin.address);
    assert_eq!(gateway.metric(&up).await, Some(1.0));
}
