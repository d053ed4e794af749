//! Listeners at Unix sockets.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::world::client::{Client, Hyper, get, head};
use crate::world::config::{one_tenant, one_tenant_with};
use crate::world::gateway::Gateway;
use crate::world::message::Answer;
use crate::world::origin::{Origin, Step};
use crate::world::tls::Certificates;
use crate::world::{eventually, unix, within};

const FIELDS: &[&str] = &["Host: localhost", "X-Tenant-ID: acme"];

/// A path for a socket, in a folder of its own.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("http.sock")
    }

    /// Further lines of `gateway.toml`: a listener here, with these keys.
    fn listener(&self, keys: &str) -> String {
        format!("[[listeners]]\naddress = \"unix:{}\"\n{keys}\n", self.path().display())
    }

    async fn ask(&self, fields: &[&str]) -> Answer {
        let fields = [FIELDS, fields].concat();
        unix::connect(&self.path()).await.ask(head("GET /", &fields)).await
    }
}

#[tokio::test]
async fn clients_of_a_unix_socket_are_served_by_every_protocol_on_any_worker() {
    let origin = Origin::saying("hello").await;
    let certificates = Certificates::of(&["localhost"]);
    let (plain, secure) = (Place::new(), Place::new());
    let more = plain.listener("") + &secure.listener(&certificates.listener());
    let routes = one_tenant(&[origin.address]);
    let gateway = Gateway::start_with_workers(2, &more, &routes).await;
    let mut clients = Vec::new();
    for _ in 0..40 {
        clients.push(unix::connect(&plain.path()).await);
    }

    for client in &mut clients {
        for _ in 0..2 {
            assert_eq!(client.ask(head("GET /", FIELDS)).await.text(), "hello");
        }
    }
    let stream = unix::stream(&plain.path()).await;
    assert_eq!(Hyper::h2_over(stream).await.get("acme", "/").await.text(), "hello");
    let stream = unix::stream(&secure.path()).await;
    let stream = certificates.handshake(stream, "localhost", &["h2"]).await;
    assert_eq!(Hyper::h2_over(stream).await.get("acme", "/").await.text(), "hello");

    assert_eq!(get(gateway.address(), "acme", "/").await.text(), "hello", "TCP as well");
    let name = format!("unix:{}", plain.path().display());
    let opened = format!("tenantry_downstream_connections_total{{listener=\"{name}\"}}");
    gateway.metric_becomes(&opened, 41.0).await;
    let status = gateway.admin("/api/v1/status").await.json();
    assert_eq!(status["listeners"][1]["address"], name, "{status}");
}

#[tokio::test]
async fn who_connects_has_no_address_and_is_said_to_be_unknown() {
    let origin = Origin::saying("hello").await;
    let place = Place::new();
    let more = place.listener("") + "[downstream]\nmax-connections-per-client = 1\n";
    let gateway = Gateway::start_with(&more, &one_tenant(&[origin.address])).await;
    let _other = unix::connect(&place.path()).await;

    let forged = ["X-Forwarded-For: 6.6.6.6", "X-Real-IP: 6.6.6.6", "X-Forwarded-Proto: https"];
    assert_eq!(place.ask(&forged).await.status, 200);

    let asked = origin.only().await;
    assert_eq!(asked.all("x-forwarded-for"), ["unknown"]);
    assert_eq!(asked.all("x-real-ip"), [""; 0]);
    assert_eq!(asked.all("x-forwarded-proto"), ["http"]);
    let log = || std::fs::read_to_string(gateway.path("access.log")).unwrap_or_default();
    eventually("the line", log, |log| log.contains("\"client\":null")).await;
}

#[tokio::test]
async fn a_proxy_at_a_unix_socket_may_be_trusted_by_either_way() {
    let origin = Origin::saying("hello").await;
    let (http, header, standard) = (Place::new(), Place::new(), Place::new());
    let more = http.listener("trusted-proxies = [\"unix\", \"10.0.0.0/8\"]")
        + &header.listener("proxy-protocol = { from = [\"unix\"] }")
        + &standard.listener("trusted-proxies = { from = [\"unix\"], field = \"forwarded\" }");
    let _gateway = Gateway::start_with(&more, &one_tenant(&[origin.address])).await;

    let chain = ["X-Forwarded-For: 6.6.6.6, 192.0.2.1, 10.0.0.1", "X-Forwarded-Proto: https"];
    assert_eq!(http.ask(&chain).await.status, 200);
    assert_eq!(standard.ask(&["Forwarded: for=192.0.2.2"]).await.status, 200);
    let mut client = unix::connect(&header.path()).await;
    let line = "PROXY TCP4 192.0.2.3 10.0.0.1 4711 80\r\n".to_owned();
    assert_eq!(client.ask(line + &head("GET /", FIELDS)).await.status, 200);

    let asked = origin.wait_for(3).await;
    assert_eq!(asked[0].all("x-real-ip"), ["192.0.2.1"]);
    assert_eq!(asked[0].all("x-forwarded-for"), ["6.6.6.6, 192.0.2.1, 10.0.0.1, unknown"]);
    assert_eq!(asked[0].all("x-forwarded-proto"), ["https"]);
    assert_eq!(asked[1].all("x-real-ip"), ["192.0.2.2"]);
    let elements = "for=192.0.2.2, for=unknown;host=\"localhost\";proto=http";
    assert_eq!(asked[1].all("forwarded"), [elements]);
    assert_eq!(asked[2].all("x-forwarded-for"), ["192.0.2.3"]);
}

#[tokio::test]
async fn an_endpoint_is_told_that_a_client_of_a_unix_socket_is_unknown() {
    let origin = Origin::saying("hello").await;
    let believing = "proxy-protocol = { from = [\"127.0.0.1\"] }\n";
    let back = Gateway::start_with(believing, &one_tenant(&[origin.address])).await;
    let place = Place::new();
    for version in ["v1", "v2"] {
        let routes = one_tenant_with(&[back.address()], &format!("proxy-protocol = \"{version}\""));
        let _front = Gateway::start_with(&place.listener(""), &routes).await;
        assert_eq!(place.ask(&[]).await.text(), "hello", "{version}");
    }
    // An address that nobody knows leaves the gateway in front the client.
    assert_eq!(origin.wait_for(2).await[1].all("x-forwarded-for"), ["127.0.0.1"]);
}

#[tokio::test]
async fn the_socket_has_its_mode_and_is_gone_at_the_end() {
    let origin = Origin::saying("hello").await;
    let (usual, own) = (Place::new(), Place::new());
    let more = usual.listener("") + &own.listener("mode = \"0602\"");
    let gateway = Gateway::start_with(&more, &one_tenant(&[origin.address])).await;
    let mode = |place: &Place| {
        let file = std::fs::metadata(place.path()).expect("the socket");
        file.permissions().mode() & 0o777
    };
    assert_eq!((mode(&usual), mode(&own)), (0o660, 0o602));

    within("the end", gateway.stop()).await;

    assert!(!usual.path().exists() && !own.path().exists());
}

#[tokio::test]
async fn a_socket_in_use_is_refused_and_that_of_a_dead_process_is_replaced() {
    let origin = Origin::saying("hello").await;
    let place = Place::new();
    drop(std::os::unix::net::UnixListener::bind(place.path()).expect("bind"));
    let routes = one_tenant(&[origin.address]);
    let first = Gateway::start_with(&place.listener(""), &routes).await;
    assert_eq!(place.ask(&[]).await.text(), "hello", "nobody had it any more");

    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("routes.toml"), &routes).expect("write the routes");
    let Err(error) = Gateway::start_in(folder, 1, &place.listener("")).await else {
        panic!("two gateways have one socket");
    };

    let text = error.to_string();
    let told = "http.sock: a program listens there already\n    hint: stop it";
    assert!(text.contains(told), "{text}");
    assert_eq!(place.ask(&[]).await.text(), "hello", "the first still has it");
    drop(first);
}

#[tokio::test]
async fn what_is_under_way_on_a_unix_socket_is_finished_by_a_drain() {
    let origin = Origin::start([Step::ok("late").held()]).await;
    let place = Place::new();
    let gateway = Gateway::start_with(&place.listener(""), &one_tenant(&[origin.address])).await;
    let mut client: Client = unix::connect(&place.path()).await;
    client.send(head("GET /", FIELDS)).await;
    origin.wait_for(1).await;

    let (ended, answer) = tokio::join!(gateway.stop(), async {
        eventually("the end of the socket", || place.path().exists(), |there| !there).await;
        origin.release();
        client.answer_to("GET").await
    });

    assert_eq!((ended.cut_off, answer.text().as_str()), (0, "late"));
}
