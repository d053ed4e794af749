//! How endpoints are asked: by gRPC, over TLS, at another port.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http::{HeaderMap, HeaderValue, Response};
use rustls::HandshakeKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_rustls::TlsAcceptor;

use crate::world::client::Frames;
use crate::world::config::{one_tenant_with, pool};
use crate::world::gateway::Gateway;
use crate::world::h2_origin::{H2Origin, Speaks};
use crate::world::origin::{Origin, Step};
use crate::world::tls::Certificates;
use crate::world::{DEADLINE, STEP, eventually};

/// Waits until the first endpoint of the first pool is this by its checks, and gives the reason.
async fn becomes(gateway: &Gateway, health: &str) -> String {
    let started = Instant::now();
    loop {
        let pools = gateway.admin("/api/v1/pools").await.json();
        let member = &pools[0]["members"][0];
        let reason = member["reason"].as_str().unwrap_or_default();
        // A loaded machine may need longer for a handshake than checks that come so often have: the next one tells.
        if member["health"] == health && !reason.starts_with("no answer within") {
            return reason.to_owned();
        }
        assert!(started.elapsed() < DEADLINE, "it is not {health}: {member}");
        sleep(STEP).await;
    }
}

/// Keys of a pool whose checks are these, often.
fn checked(keys: &str) -> String {
    format!(
        "health = {{ {keys}, interval = \"50ms\", rise = 1, fall = 1 }}\neject = {{ failures = 0 }}"
    )
}

/// A health service that says this of everything.
async fn health_service(certificates: &Certificates, word: &'static [u8]) -> H2Origin {
    H2Origin::start_tls(Speaks::H2, certificates.server(&["h2"]), move |asked| {
        assert_eq!(asked.target, "/grpc.health.v1.Health/Check");
        let status = HeaderValue::from_static("0");
        let trailers =
            HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), status)]);
        let mut answer = Response::new(Frames::unsized_of(word).with_trailers(trailers));
        let kind = HeaderValue::from_static("application/grpc");
        answer.headers_mut().insert("content-type", kind);
        answer
    })
    .await
}

#[tokio::test]
async fn another_port_is_asked_over_tls_of_its_own() {
    let certificates = Certificates::of(&["checks.internal"]);
    let traffic = Origin::saying("traffic").await;
    let management =
        Origin::start_tls(certificates.server(&["http/1.1"]), [Step::ok("fine")]).await;
    let keys = checked(&format!(
        "http = \"/check\", method = \"HEAD\", headers = {{ X-Key = \"secret\" }}, port = {}, \
         tls = {{ ca = \"{}\", server-name = \"checks.internal\" }}",
        management.address.port(),
        certificates.ca()
    ));
    let keys = format!("{keys}\nproxy-protocol = \"v1\"");
    let gateway = Gateway::start(&one_tenant_with(&[traffic.address], &keys)).await;

    becomes(&gateway, "up").await;
    let asked = management.asked().remove(0);
    assert_eq!((&*asked.method, &*asked.target), ("HEAD", "/check"));
    assert_eq!(asked.one("x-key").as_deref(), Some("secret"));
    assert_eq!(asked.one("host"), Some(management.address.to_string()));
    assert_eq!(traffic.connections(), 0, "its own port is for requests");

    management.rescript([Step::answer(503, "")]);
    assert_eq!(becomes(&gateway, "down").await, "status 503, expected 200-399");
}

#[tokio::test]
async fn a_management_port_may_speak_no_tls_where_requests_do() {
    let certificates = Certificates::of(&["app.internal"]);
    let traffic = Origin::start_tls(certificates.server(&["http/1.1"]), [Step::ok("secure")]).await;
    let management = Origin::saying("fine").await;
    let keys =
        checked(&format!("http = \"/check\", port = {}, tls = false", management.address.port()));
    let tls = format!("tls = {{ ca = \"{}\", server-name = \"app.internal\" }}", certificates.ca());
    let keys = format!("{keys}\n{tls}");
    let gateway = Gateway::start(&one_tenant_with(&[traffic.address], &keys)).await;

    becomes(&gateway, "up").await;
    assert_eq!(gateway.get("/").await.text(), "secure");
}

#[tokio::test]
async fn a_check_by_grpc_speaks_http2_over_the_tls_of_a_pool_of_http1() {
    let certificates = Certificates::of(&["app.internal"]);
    let tls = format!("tls = {{ ca = \"{}\", server-name = \"app.internal\" }}", certificates.ca());
    let serving = health_service(&certificates, b"\0\0\0\0\x02\x08\x01").await;
    let keys = format!("{}\n{tls}", checked("grpc = \"shop.Cart\""));
    let gateway = Gateway::start(&one_tenant_with(&[serving.address], &keys)).await;

    becomes(&gateway, "up").await;
    assert_eq!(serving.asked()[0].body, b"\0\0\0\0\x0b\x0a\x09shop.Cart");

    let idle = health_service(&certificates, b"\0\0\0\0\x02\x08\x02").await;
    gateway.reload(&one_tenant_with(&[idle.address], &keys)).await;
    let reason = becomes(&gateway, "down").await;
    assert_eq!(reason, "the health service says NOT_SERVING, expected SERVING");
}

#[tokio::test]
async fn a_check_by_tcp_with_tls_verifies_the_certificate() {
    let certificates = Certificates::of(&["app.internal"]);
    let origin = Origin::start_tls(certificates.server(&["http/1.1"]), [Step::ok("fine")]).await;
    let other = Certificates::of(&["other.internal"]);
    let with = |ca: &Certificates| {
        let keys =
            format!("tcp = true, tls = {{ ca = \"{}\", server-name = \"app.internal\" }}", ca.ca());
        one_tenant_with(&[origin.address], &checked(&keys))
    };
    let gateway = Gateway::start(&with(&certificates)).await;
    becomes(&gateway, "up").await;

    gateway.reload(&with(&other)).await;

    let reason = becomes(&gateway, "down").await;
    assert!(reason.starts_with("TLS handshake failed: "), "{reason}");
}

#[tokio::test]
async fn no_check_takes_up_the_session_of_an_earlier_one() {
    let certificates = Certificates::of(&["app.internal"]);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind an endpoint");
    let address = listener.local_addr().expect("its address");
    let acceptor = TlsAcceptor::from(certificates.server(&["http/1.1"]));
    let kinds = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&kinds);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            noted.lock().expect("the kinds").extend(stream.get_ref().1.handshake_kind());
            // Tickets have come with it by the time that this was read.
            drop(stream.read(&mut [0; 1024]).await);
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await);
            drop(stream.shutdown().await);
        }
    });
    let tls = format!("tls = {{ ca = \"{}\", server-name = \"app.internal\" }}", certificates.ca());
    let keys = format!("{}\n{tls}", checked("http = \"/\""));
    let gateway = Gateway::start(&one_tenant_with(&[address], &keys)).await;

    becomes(&gateway, "up").await;

    let three = |kinds: &Vec<HandshakeKind>| kinds.len() >= 3;
    let kinds =
        eventually("three checks", || kinds.lock().expect("the kinds").clone(), three).await;
    assert!(
        !kinds.contains(&HandshakeKind::Resumed),
        "a session asks for no certificate: {kinds:?}"
    );
}

#[tokio::test]
async fn a_check_whose_tls_becomes_another_goes_on_and_its_pool_stays() {
    let certificates = Certificates::of(&["app.internal"]);
    let traffic = Origin::saying("traffic").await;
    let management =
        Origin::start_tls(certificates.server(&["http/1.1"]), [Step::ok("fine")]).await;
    let routes = |tls: &str| {
        let keys = format!("http = \"/\", port = {}, tls = {tls}", management.address.port());
        one_tenant_with(&[traffic.address], &checked(&keys))
    };
    let gateway = Gateway::start(&routes("false")).await;
    becomes(&gateway, "down").await;

    let tls = format!("{{ ca = \"{}\", server-name = \"app.internal\" }}", certificates.ca());
    gateway.reload(&routes(&tls)).await;

    becomes(&gateway, "up").await;
}

#[tokio::test]
async fn each_pool_asks_in_its_own_way() {
    let origin = Origin::saying("fine").await;
    let addresses: [SocketAddr; 1] = [origin.address];
    let plain = pool("app", &addresses, &checked("http = \"/plain\""));
    let options = pool("b", &addresses, &checked("http = \"/b\", method = \"OPTIONS\""));
    let routes = format!("{plain}{options}[tenants.acme]\npool = \"app\"\n");
    let gateway = Gateway::start(&routes).await;

    becomes(&gateway, "up").await;

    let asked = || -> BTreeSet<String> {
        origin.asked().iter().map(|asked| format!("{} {}", asked.method, asked.target)).collect()
    };
    let both = BTreeSet::from(["GET /plain", "OPTIONS /b"].map(str::to_owned));
    eventually("the checks of both, and no others", asked, |asked| *asked == both).await;
}
