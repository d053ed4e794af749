//! TLS with clients and with endpoints, over the wire.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;

use http::Response;
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::world::client::{Client, Frames, Hyper, head};
use crate::world::config::{NO_RETRY, one_tenant, one_tenant_with};
use crate::world::gateway::Gateway;
use crate::world::h2_origin::{H2Origin, Speaks};
use crate::world::message::payload;
use crate::world::origin::{Origin, Step};
use crate::world::raw_h2::{END_HEADERS, END_STREAM, HEADERS, SETTINGS, frame};
use crate::world::tls::Certificates;
use crate::world::within;

const FIELDS: &[&str] = &["Host: localhost", "X-Tenant-ID: acme"];

#[tokio::test]
async fn a_tls_listener_speaks_what_the_client_offers() {
    let certificates = Certificates::of(&["localhost"]);
    let origin = Origin::saying("hello").await;
    let routes = one_tenant(&[origin.address]);
    let gateway = Gateway::start_with(&certificates.listener(), &routes).await;
    let connect = |protocols| certificates.connect(gateway.address(), "localhost", protocols);

    let both = connect(&["http/1.1", "h2"]).await;
    let chosen = both.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
    let by_h2 = Hyper::h2_over(both).await.get("acme", "/h2").await;
    let by_h1 = Hyper::h1_over(connect(&["http/1.1"]).await).await.get("acme", "/h1").await;
    let by_none = Client::over(connect(&[]).await).ask(head("GET /none", FIELDS)).await;

    assert_eq!(chosen.as_deref(), Some(&b"h2"[..]));
    for answer in [by_h2, by_h1, by_none] {
        assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
    }
    for asked in origin.wait_for(3).await {
        assert_eq!(asked.all("x-forwarded-proto"), ["https"]);
    }
}

#[tokio::test]
async fn a_large_answer_passes_through_tls_whole() {
    let certificates = Certificates::of(&["localhost"]);
    let size = 5 << 20;
    let step = Step::raw(format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n"));
    let origin = Origin::start([step.with_more(size)]).await;
    let routes = one_tenant(&[origin.address]);
    let gateway = Gateway::start_with(&certificates.listener(), &routes).await;

    let stream = certificates.connect(gateway.address(), "localhost", &["h2"]).await;
    let answer = Hyper::h2_over(stream).await.get("acme", "/").await;

    assert!(answer.whole && answer.body.len() == size);
}

#[tokio::test]
async fn plain_http_to_a_tls_listener_is_cut_off() {
    let certificates = Certificates::of(&["localhost"]);
    let origin = Origin::saying("hello").await;
    let routes = one_tenant(&[origin.address]);
    let gateway = Gateway::start_with(&certificates.listener(), &routes).await;
    let mut client = Client::connect(gateway.address()).await;

    client.send(head("GET /", FIELDS)).await;
    let said = client.wire.rest().await;

    assert!(!said.starts_with(b"HTTP/"), "{said:?}");
    assert_eq!(origin.connections(), 0);
    let rejected = "tenantry_downstream_rejected_connections_total{reason=\"tls_failed\"}";
    gateway.metric_becomes(rejected, 1.0).await;
}

#[tokio::test]
async fn a_handshake_that_is_not_finished_is_cut_off() {
    let certificates = Certificates::of(&["localhost"]);
    let origin = Origin::saying("hello").await;
    let more = format!("{}[downstream]\nhandshake-timeout = \"50ms\"", certificates.listener());
    let gateway = Gateway::start_with(&more, &one_tenant(&[origin.address])).await;

    assert!(Client::connect(gateway.address()).await.is_closed().await);
}

#[tokio::test]
async fn endpoints_are_reached_by_tls_with_an_authority_of_ones_own() {
    let certificates = Certificates::of(&["127.0.0.1"]);
    let answer = |_: &crate::world::message::Asked| Response::new(Frames::sized("secure"));
    for (speaks, protocol, alpn) in [(Speaks::H1, "h1", "http/1.1"), (Speaks::H2, "h2", "h2")] {
        let origin = H2Origin::start_tls(speaks, certificates.server(&[alpn]), answer).await;
        let keys = format!("protocol = \"{protocol}\"\ntls = {{ ca = \"{}\" }}", certificates.ca());
        let gateway = Gateway::start(&one_tenant_with(&[origin.address], &keys)).await;
        for _ in 0..3 {
            let answer = gateway.get("/").await;
            assert_eq!((answer.status, answer.text().as_str()), (200, "secure"), "{protocol}");
        }
        assert_eq!(origin.connections(), 1, "{protocol}");
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed_with_a_goodbye_on_both_sides() {
    let certificates = Certificates::of(&["127.0.0.1", "localhost"]);
    for (protocol, alpn) in [("h1", "http/1.1"), ("h2", "h2")] {
        let (address, goodbye, _tasks) =
            listening(certificates.server(&[alpn]), alpn == "h2").await;
        let keys = format!(
            "protocol = \"{protocol}\"\nconnections = {{ idle-timeout = \"1s\" }}\n\
             tls = {{ ca = \"{}\", server-name = \"localhost\" }}",
            certificates.ca()
        );
        let more = format!("{}[downstream]\nidle-timeout = \"2s\"\n", certificates.listener());
        let gateway = Gateway::start_with(&more, &one_tenant_with(&[address], &keys)).await;
        let stream = certificates.connect(gateway.address(), "localhost", &["http/1.1"]).await;
        let mut client = Client::over(stream);
        let asked = client.ask(head("GET /", FIELDS)).await;
        assert_eq!((asked.status, asked.text().as_str()), (204, ""), "{protocol}");

        let end = within("the client's end", client.wire.stream.read(&mut [0])).await;
        assert!(matches!(end, Ok(0)), "to the client: {end:?}");
        let end = within("the endpoint's end", goodbye).await;
        assert_eq!(end, Ok(Ok(0)), "to an endpoint of {protocol}");
    }
}

#[tokio::test]
async fn who_is_too_slow_with_a_head_is_told_goodbye() {
    let certificates = Certificates::of(&["localhost"]);
    let origin = Origin::saying("hello").await;
    let more = format!("{}[downstream]\nheader-timeout = \"1s\"\n", certificates.listener());
    let gateway = Gateway::start_with(&more, &one_tenant(&[origin.address])).await;
    let stream = certificates.connect(gateway.address(), "localhost", &["http/1.1"]).await;
    let mut client = Client::over(stream);
    client.send("GET / HT").await;
    let end = within("the end", client.wire.stream.read(&mut [0])).await;
    assert!(matches!(end, Ok(0)), "{end:?}");
}

/// An endpoint that is asked for by its name and answers one request with 204, and how its connection ends then.
async fn listening(
    tls: Arc<ServerConfig>,
    is_h2: bool,
) -> (SocketAddr, oneshot::Receiver<Result<usize, ErrorKind>>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("its address");
    let (tell, told) = oneshot::channel();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        let mut stream = TlsAcceptor::from(tls).accept(stream).await.expect("a handshake");
        assert_eq!(stream.get_ref().1.server_name(), Some("localhost"));
        let hello = if is_h2 { frame(SETTINGS, 0, 0, &[]) } else { Vec::new() };
        stream.write_all(&hello).await.expect("say hello");
        let (mut heard, mut answered) = (Vec::new(), false);
        let end = loop {
            let mut part = [0; 4096];
            match stream.read(&mut part).await {
                Ok(size @ 1..) => heard.extend_from_slice(&part[..size]),
                end => break end.map_err(|error| error.kind()),
            }
            let asked =
                if is_h2 { &[END_HEADERS | END_STREAM, 0, 0, 0, 1][..] } else { b"\r\n\r\n" };
            if !answered && heard.windows(asked.len()).any(|part| part == asked) {
                answered = true;
                let h1 = b"HTTP/1.1 204 None\r\n\r\n".to_vec();
                let h2 = frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x89]);
                stream.write_all(if is_h2 { &h2 } else { &h1 }).await.expect("answer");
            }
        };
        tell.send(end).expect("somebody who waits");
    });
    (address, told, tasks)
}

#[tokio::test]
async fn an_authority_that_we_do_not_trust_is_refused_and_no_request_is_sent() {
    let (theirs, ours) = (Certificates::of(&["127.0.0.1"]), Certificates::of(&["127.0.0.1"]));
    let origin = Origin::start_tls(theirs.server(&[]), [Step::ok("hello")]).await;
    let keys = format!("{NO_RETRY}\ntls = {{ ca = \"{}\" }}", ours.ca());
    let gateway = Gateway::start(&one_tenant_with(&[origin.address], &keys)).await;

    let answer = gateway.get("/").await;

    assert_eq!((answer.status, answer.problem().as_deref()), (502, Some("tls-failed")));
    assert_eq!(origin.asked().len(), 0);
}

#[tokio::test]
async fn a_certificate_must_carry_the_name_that_is_written() {
    let certificates = Certificates::of(&["app.internal"]);
    let origin = Origin::start_tls(certificates.server(&[]), [Step::ok("hello")]).await;
    let with = |name: &str| {
        let ca = certificates.ca();
        let keys = format!("{NO_RETRY}\ntls = {{ ca = \"{ca}\"{name} }}");
        one_tenant_with(&[origin.address], &keys)
    };
    let gateway = Gateway::start(&with(", server-name = \"app.internal\"")).await;
    let right = gateway.get("/").await;
    gateway.reload(&with(", server-name = \"other.internal\"")).await;
    let wrong = gateway.get("/").await;
    gateway.reload(&with("")).await;
    let address = gateway.get("/").await;

    assert_eq!((right.status, right.text().as_str()), (200, "hello"));
    assert_eq!((wrong.status, wrong.problem().as_deref()), (502, Some("tls-failed")));
    assert_eq!((address.status, address.problem().as_deref()), (502, Some("tls-failed")));
    assert_eq!(origin.asked().len(), 1);
}

#[tokio::test]
async fn a_client_that_is_silent_after_its_handshake_does_not_hold_up_a_drain() {
    let certificates = Certificates::of(&["localhost"]);
    let origin = Origin::saying("hello").await;
    let more = format!(
        "{}[drain]\naccept = \"0s\"\ntimeout = \"10s\"\n\
         [downstream]\nheader-timeout = \"200ms\"",
        certificates.listener()
    );
    let gateway = Gateway::start_with(&more, &one_tenant(&[origin.address])).await;
    let by_h1 = certificates.connect(gateway.address(), "localhost", &["http/1.1"]).await;
    let by_h2 = certificates.connect(gateway.address(), "localhost", &["h2"]).await;

    let ended = gateway.stop().await;

    assert_eq!(ended.cut_off, 0);
    drop((by_h1, by_h2));
}

#[tokio::test]
async fn an_upload_by_tls_goes_on_while_its_early_answer_is_read_and_after_it() {
    let certificates = Certificates::of(&["127.0.0.1"]);
    let keys = format!("{NO_RETRY}\ntls = {{ ca = \"{}\" }}", certificates.ca());
    let long = 300_000;
    let early = format!("HTTP/1.1 200 OK\r\nContent-Length: {long}\r\n\r\n{}", "x".repeat(long));
    for early in ["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly", &early] {
        let script = [Step::raw("").after(early)];
        let origin = Origin::start_tls(certificates.server(&[]), script).await;
        let gateway = Gateway::start(&one_tenant_with(&[origin.address], &keys)).await;
        let body = payload(3_000_000);
        let fields = ["Host: a", "X-Tenant-ID: acme", &format!("Content-Length: {}", body.len())];
        let mut client = Client::connect(gateway.address()).await;

        client.send(head("PUT /", &fields)).await;
        client.send(&body[..1000]).await;
        let answer = client.answer_to("PUT").await;
        client.send(&body[1000..]).await;

        assert!((answer.status, answer.whole) == (200, true));
        assert!(origin.only().await.body == body);
    }
}
