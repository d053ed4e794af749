//! What a client may take: connections, their age, handshakes, and time for a body.

use std::mem::MaybeUninit;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::world::client::{Client, Frames, Hyper, head};
use crate::world::config::{NO_RETRY, one_tenant, one_tenant_with};
use crate::world::gateway::Gateway;
use crate::world::origin::{Origin, Step};
use crate::world::pki::{Authority, Wishes};
use crate::world::tls::Certificates;
use crate::world::within;

const FIELDS: &[&str] = &["Host: localhost", "X-Tenant-ID: acme"];

fn rejected(reason: &str) -> String {
    format!("tenantry_downstream_rejected_connections_total{{reason=\"{reason}\"}}")
}

async fn status(client: &mut Client) -> u16 {
    client.ask(head("GET /", FIELDS)).await.status
}

#[tokio::test]
async fn at_the_limit_the_connection_that_is_idle_for_longest_makes_room() {
    let origin = Origin::saying("hello").await;
    let more = "[downstream]\nmax-connections = 3";
    let gateway = Gateway::start_with(more, &one_tenant(&[origin.address])).await;
    let mut silent = Client::connect(gateway.address()).await;
    let mut first = Client::connect(gateway.address()).await;
    assert_eq!(status(&mut first).await, 200);
    let mut h2 = Hyper::h2(gateway.address()).await;
    assert_eq!(h2.get("acme", "/").await.status, 200);
    sleep(Duration::from_millis(5)).await; // ages are told in milliseconds
    assert_eq!(status(&mut first).await, 200);

    let mut fourth = Client::connect(gateway.address()).await;
    assert_eq!(status(&mut fourth).await, 200);
    assert!(silent.is_closed().await, "it has been there for longest and said nothing");
    let mut fifth = Client::connect(gateway.address()).await;
    assert_eq!(status(&mut fifth).await, 200);
    h2.wait_closed().await;

    assert_eq!(status(&mut first).await, 200);
    assert_eq!(status(&mut fourth).await, 200);
    gateway.metric_becomes(&rejected("evicted"), 2.0).await;
    let open = format!("tenantry_downstream_connections{{listener=\"{}\"}}", gateway.address());
    gateway.metric_becomes(&open, 3.0).await;
}

/// They kept everybody out for as long as a handshake may take, and came again then.
#[tokio::test]
async fn connections_that_have_not_begun_their_handshake_make_room() {
    let origin = Origin::saying("hello").await;
    let authority = Authority::new();
    let pair = authority.server(&["shop.example"]);
    let tls = format!("[[listeners]]\naddress = \"127.0.0.1:0\"\n[listeners.tls]\n{}\n", pair.keys);
    let more = format!("{tls}[downstream]\nmax-connections = 2\nhandshake-timeout = \"60s\"");
    let gateway = Gateway::start_with(&more, &one_tenant(&[origin.address])).await;
    let secure = gateway.listeners(2).await[1];
    let mut first = Client::connect(secure).await;
    let mut second = Client::connect(secure).await;
    let open = format!("tenantry_downstream_connections{{listener=\"{secure}\"}}");
    gateway.metric_becomes(&open, 2.0).await;

    let mut plain = Client::connect(gateway.address()).await;
    assert_eq!(status(&mut plain).await, 200);
    let client = Wishes::of(&authority).client();
    assert!(client.is_served(secure, "shop.example").await);

    assert!(first.is_closed().await && second.is_closed().await);
    gateway.metric_becomes(&rejected("evicted"), 2.0).await;
}

#[tokio::test]
async fn an_idle_connection_makes_room_on_whichever_worker_it_is() {
    let origin = Origin::saying("hello").await;
    let more = "[downstream]\nmax-connections = 1";
    let gateway = Gateway::start_with_workers(4, more, &one_tenant(&[origin.address])).await;
    let mut last: Option<Client> = None;
    for _ in 0..20 {
        let mut client = Client::connect(gateway.address()).await;
        assert_eq!(status(&mut client).await, 200);
        if let Some(mut before) = last.replace(client) {
            assert!(before.is_closed().await);
        }
    }
    gateway.metric_becomes(&rejected("evicted"), 19.0).await;
    assert_eq!(gateway.metric(&rejected("too_many")).await, None);
}

/// The system spreads them by a hash: that eight of them fall into four equal parts, it brings about
/// once in 26 times.
#[tokio::test]
async fn a_few_connections_are_spread_evenly_over_the_workers() {
    let origin = Origin::saying("hello").await;
    let gateway = Gateway::start_with_workers(4, "", &one_tenant(&[origin.address])).await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut client = Client::connect(gateway.address()).await;
        assert_eq!(status(&mut client).await, 200);
        clients.push(client);
    }

    for worker in 0..4 {
        let series = format!("tenantry_worker_connections{{worker=\"{worker}\"}}");
        assert_eq!(gateway.metric(&series).await, Some(2.0), "{worker}");
    }

    for client in &mut clients {
        assert_eq!(status(client).await, 200);
    }
    drop(clients);
    gateway.metric_becomes("tenantry_worker_connections{worker=\"3\"}", 0.0).await;
}

#[tokio::test]
async fn where_all_are_busy_a_new_connection_is_refused() {
    let origin = Origin::start([Step::ok("late").held()]).await;
    let more = "[downstream]\nmax-connections = 1";
    let gateway = Gateway::start_with(more, &one_tenant(&[origin.address])).await;
    let mut busy = Client::connect(gateway.address()).await;
    busy.send(head("GET /", FIELDS)).await;
    origin.wait_for(1).await;

    assert!(Client::connect(gateway.address()).await.is_closed().await);

    origin.release();
    assert_eq!(busy.answer_to("GET").await.text(), "late");
    gateway.metric_becomes(&rejected("too_many"), 1.0).await;
}

#[tokio::test]
async fn a_listener_has_a_limit_of_its_own() {
    let origin = Origin::start([Step::ok("late").held(), Step::ok("next")]).await;
    let more = "max-connections = 1\n[[listeners]]\naddress = \"127.0.0.1:0\"";
    let gateway = Gateway::start_with(more, &one_tenant(&[origin.address])).await;
    let (narrow, wide) = (gateway.app.addresses()[0], gateway.app.addresses()[1]);
    let mut busy = Client::connect(narrow).await;
    busy.send(head("GET /", FIELDS)).await;
    origin.wait_for(1).await;

    assert!(Client::connect(narrow).await.is_closed().await);

    origin.release();
    assert_eq!(busy.answer_to("GET").await.status, 200);
    assert_eq!(status(&mut Client::connect(wide).await).await, 200);
    gateway.metric_becomes(&rejected("too_many_of_listener"), 1.0).await;
}

#[tokio::test]
async fn a_client_has_so_many_connections_over_all_workers_and_the_others_theirs() {
    let origin = Origin::saying("hello").await;
    let more = "[downstream]\nmax-connections-per-client = 4";
    let routes = one_tenant(&[origin.address]);
    let gateway = Gateway::start_with_workers(3, more, &routes).await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = Client::connect_from("127.0.0.1", gateway.address()).await;
        assert_eq!(status(&mut client).await, 200);
        clients.push(client);
    }

    let mut fifth = Client::connect_from("127.0.0.1", gateway.address()).await;
    assert!(fifth.is_closed().await, "an idle one of its own makes no room");
    assert_eq!(status(&mut Client::connect_from("127.0.0.2", gateway.address()).await).await, 200);

    clients.pop();
    within("room", async {
        while status(&mut Client::connect_from("127.0.0.1", gateway.address()).await).await != 200 {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    within("the count", async {
        while gateway.metric(&rejected("too_many_of_client")).await < Some(1.0) {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_old_connection_is_asked_to_leave_with_its_next_answer() {
    let origin = Origin::saying("hello").await;
    let more = "[downstream]\nmax-connection-age = \"2s\"";
    let gateway = Gateway::start_with(more, &one_tenant(&[origin.address])).await;
    let mut client = Client::connect(gateway.address()).await;
    let mut h2 = Hyper::h2(gateway.address()).await;
    assert_eq!(client.ask(head("GET /", FIELDS)).await.one("connection"), None);
    assert_eq!(h2.get("acme", "/").await.status, 200);

    h2.wait_closed().await; // nobody asked it anything
    let answer = client.ask(head("GET /", FIELDS)).await;

    assert_eq!((answer.status, answer.one("connection").as_deref()), (200, Some("close")));
    assert!(client.is_closed().await);
    let retired = "tenantry_downstream_retired_connections_total{reason=\"age\"}";
    gateway.metric_becomes(retired, 2.0).await;
}

#[tokio::test]
async fn a_request_under_way_outlives_the_age_of_its_connection() {
    let origin = Origin::start([Step::ok("late").held()]).await;
    let more = "[downstream]\nmax-connection-age = \"1s\"";
    let gateway = Gateway::start_with(more, &one_tenant(&[origin.address])).await;
    let mut h2 = Hyper::h2(gateway.address()).await;
    let asking = h2.get("acme", "/");
    let releasing = async {
        origin.wait_for(1).await;
        sleep(Duration::from_millis(1300)).await;
        origin.release();
    };

    let (answer, ()) = tokio::join!(asking, releasing);

    assert_eq!((answer.status, answer.text().as_str()), (200, "late"));
    h2.wait_closed().await;
}

#[tokio::test]
async fn a_body_that_trickles_is_given_up() {
    let origin = Origin::saying("hello").await;
    let more = "[downstream]\nmin-body-rate = \"1KiB\"\nbody-rate-window = \"200ms\"";
    let routes = one_tenant_with(&[origin.address], NO_RETRY);
    let gateway = Gateway::start_with(more, &routes).await;
    let mut client = Client::connect(gateway.address()).await;
    client.send(head("PUT /", &[FIELDS, &["Content-Length: 100000"]].concat())).await;
    let (mut reader, mut writer) = tokio::io::split(client.wire.stream);
    let trickling = async move {
        while writer.write_all(b"x").await.is_ok() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    let reading = async {
        let mut text = Vec::new();
        drop(tokio::io::AsyncReadExt::read_to_end(&mut reader, &mut text).await);
        String::from_utf8_lossy(&text).into_owned()
    };

    let text = within("the answer", async {
        tokio::select! {
            text = reading => text,
            () = trickling => String::new(),
        }
    });

    let text = text.await;
    assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
    assert!(text.contains("urn:tenantry:problem:body-timeout"), "{text}");
    let answers = "tenantry_gateway_answers_total{problem=\"body-timeout\"}";
    gateway.metric_becomes(answers, 1.0).await;
}

#[tokio::test]
async fn a_body_of_http2_that_trickles_is_given_up_and_its_connection_is_not() {
    let origin = Origin::saying("hello").await;
    let more = "[downstream]\nmin-body-rate = \"1MiB\"\nbody-rate-window = \"100ms\"";
    let routes = one_tenant_with(&[origin.address], NO_RETRY);
    let gateway = Gateway::start_with(more, &routes).await;
    let mut h2 = Hyper::h2(gateway.address()).await;
    // What ends the stream comes after the body, and this body never ends.
    let request = h2.request("PUT", "acme", "/", Frames::sized("half"));
    let (mut head, body) = request.into_parts();
    head.headers.insert("content-length", "9".parse().expect("a value"));

    let answer = h2.ask(http::Request::from_parts(head, body.never_ending())).await;

    assert_eq!((answer.status, answer.problem().as_deref()), (408, Some("body-timeout")));
    assert_eq!(h2.get("acme", "/").await.status, 200);
}

#[tokio::test]
async fn a_slow_upload_that_is_fast_enough_passes() {
    let origin = Origin::saying("hello").await;
    let more = "[downstream]\nmin-body-rate = \"1KiB\"\nbody-rate-window = \"2s\"";
    let gateway = Gateway::start_with(more, &one_tenant(&[origin.address])).await;
    let mut client = Client::connect(gateway.address()).await;
    client.send(head("PUT /", &[FIELDS, &["Content-Length: 32768"]].concat())).await;
    for _ in 0..16 {
        client.send([b'x'; 2048]).await;
        sleep(Duration::from_millis(200)).await; // more than a window in all
    }

    assert_eq!(client.answer_to("PUT").await.status, 200);
}

#[tokio::test]
async fn who_stops_within_a_handshake_does_not_keep_others_out() {
    let certificates = Certificates::of(&["localhost"]);
    let origin = Origin::saying("hello").await;
    let more = format!("{}[downstream]\nmax-handshakes = 2", certificates.listener());
    let gateway = Gateway::start_with(&more, &one_tenant(&[origin.address])).await;
    let mut stuck = Vec::new();
    for bytes in [&b"\x16"[..], b"\x16\x03\x01", b"", b"", b""] {
        let mut stream = TcpStream::connect(gateway.address()).await.expect("connect");
        stream.write_all(bytes).await.expect("write");
        stuck.push(stream);
    }

    let stream = certificates.connect(gateway.address(), "localhost", &["h2"]).await;

    assert_eq!(Hyper::h2_over(stream).await.get("acme", "/").await.status, 200);
    assert!(gateway.metric(&rejected("tls_timeout")).await.is_none_or(|count| count == 0.0));
}

/// The runtime takes a new connection for readable, and so each of them had a turn for as long as others
/// were not waiting.
#[tokio::test]
async fn who_says_nothing_on_a_listener_with_tls_takes_no_turn_of_a_handshake() {
    let certificates = Certificates::of(&["localhost"]);
    let origin = Origin::saying("hello").await;
    let more = format!("{}[downstream]\nmax-handshakes = 1", certificates.listener());
    let gateway = Gateway::start_with(&more, &one_tenant(&[origin.address])).await;
    let mut silent = Vec::new();
    for _ in 0..5 {
        silent.push(TcpStream::connect(gateway.address()).await.expect("connect"));
    }

    for _ in 0..2 {
        let stream = certificates.connect(gateway.address(), "localhost", &["h2"]).await;
        assert_eq!(Hyper::h2_over(stream).await.get("acme", "/").await.status, 200);
    }

    // Who has a turn and says nothing loses it, and its connection, once others wait.
    for stream in silent {
        let heard = socket2::SockRef::from(&stream).recv(&mut [MaybeUninit::uninit()]);
        let heard = heard.expect_err("it was cut off");
        assert_eq!(heard.kind(), std::io::ErrorKind::WouldBlock);
    }
}

#[tokio::test]
async fn many_handshakes_at_once_all_end_beside_as_many_that_stop_half_way() {
    let certificates = Arc::new(Certificates::of(&["localhost"]));
    let origin = Origin::saying("hello").await;
    let gateway =
        Gateway::start_with(&certificates.listener(), &one_tenant(&[origin.address])).await;
    let hello = certificates.hello("localhost", &["h2"]);
    let mut stopped = Vec::new();
    for _ in 0..40 {
        let mut client = Client::connect(gateway.address()).await;
        client.send(&hello).await;
        stopped.push(client);
    }

    let mut asking = JoinSet::new();
    for number in 0..40 {
        let (certificates, address) = (Arc::clone(&certificates), gateway.address());
        asking.spawn(async move {
            let protocol = if number % 2 == 0 { "h2" } else { "http/1.1" };
            let stream = certificates.connect(address, "localhost", &[protocol]).await;
            let mut client = match protocol {
                "h2" => Hyper::h2_over(stream).await,
                _ => Hyper::h1_over(stream).await,
            };
            client.get("acme", "/").await.status
        });
    }

    assert_eq!(asking.join_all().await, [200; 40]);
}

#[tokio::test]
async fn who_is_slow_within_a_handshake_gives_its_turn_to_who_waits_and_is_counted() {
    let certificates = Certificates::of(&["localhost"]);
    let origin = Origin::saying("hello").await;
    let more = format!("{}[downstream]\nmax-handshakes = 1", certificates.listener());
    let gateway = Gateway::start_with(&more, &one_tenant(&[origin.address])).await;
    let mut stuck = Client::connect(gateway.address()).await;
    stuck.send(b"\x16").await;

    let stream = certificates.connect(gateway.address(), "localhost", &["h2"]).await;

    assert_eq!(Hyper::h2_over(stream).await.get("acme", "/").await.status, 200);
    assert!(stuck.is_closed().await);
    gateway.metric_becomes(&rejected("tls_crowded"), 1.0).await;
}
