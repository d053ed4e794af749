//! Endpoints behind Unix sockets.

use crate::world::client::{Client, Hyper, head};
use crate::world::eventually;
use crate::world::gateway::Gateway;
use crate::world::h2_origin::H2Origin;
use crate::world::origin::{Origin, Step};
use crate::world::tls::Certificates;
use crate::world::unix::Relay;

const FIELDS: &[&str] = &["Host: shop.example", "X-Tenant-ID: acme"];

/// A pool of these endpoints, as they are written, with further keys.
fn routes(endpoints: &[String], keys: &str) -> String {
    let endpoints: Vec<String> = endpoints.iter().map(|at| format!("\"{at}\"")).collect();
    let endpoints = endpoints.join(", ");
    format!("[pools.app]\nendpoints = [{endpoints}]\n{keys}\n[tenants.acme]\npool = \"app\"\n")
}

#[tokio::test]
async fn a_unix_socket_serves_as_any_endpoint_does_and_connections_to_it_are_kept() {
    let origin = Origin::saying("hello").await;
    let relay = Relay::to(origin.address);
    let gateway = Gateway::start(&routes(&[relay.address()], "")).await;
    let mut client = Client::connect(gateway.address()).await;
    let body = "x".repeat(300_000);
    let fields = [FIELDS, &["Content-Length: 300000"]].concat();

    for _ in 0..3 {
        assert_eq!(client.ask(head("PUT /", &fields) + &body).await.text(), "hello");
    }

    let asked = origin.wait_for(3).await;
    assert_eq!(relay.connections(), 1);
    assert_eq!(asked[2].all("host"), ["shop.example"], "the host is the client's");
    assert_eq!(asked[2].all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(asked[2].body.len(), body.len());
}

#[tokio::test]
async fn a_unix_socket_is_named_in_metrics_log_and_admin_api() {
    let origin = Origin::saying("hello").await;
    let relay = Relay::to(origin.address);
    let gateway = Gateway::start(&routes(&[relay.address()], "")).await;
    assert_eq!(gateway.get("/").await.status, 200);

    let name = relay.address();
    let series =
        format!("tenantry_attempts_total{{pool=\"app\",endpoint=\"{name}\",outcome=\"2xx\"}}");
    gateway.metric_becomes(&series, 1.0).await;
    let pools = gateway.admin("/api/v1/pools").await.json();
    assert_eq!(pools[0]["members"][0]["address"], name, "{pools}");
    let log = || std::fs::read_to_string(gateway.path("access.log")).unwrap_or_default();
    eventually("the line", log, |log| log.contains(&format!("\"endpoint\":\"{name}\""))).await;
}

#[tokio::test]
async fn a_check_by_http_asks_localhost_and_one_by_tcp_connects() {
    for (probe, host) in [
        ("http = \"/check\"", Some("localhost")),
        ("http = \"/check\", host = \"app.example\"", Some("app.example")),
        ("tcp = true", None),
    ] {
        let origin = Origin::saying("hello").await;
        let relay = Relay::to(origin.address);
        let keys = format!("health = {{ {probe}, interval = \"30ms\" }}");
        let gateway = Gateway::start(&routes(&[relay.address()], &keys)).await;
        assert_eq!(gateway.get("/").await.status, 200, "{probe}");
        let asked = origin.wait_for(1).await;
        let check = asked.iter().find(|asked| asked.target == "/check");
        assert_eq!(check.and_then(|check| check.one("host")).as_deref(), host, "{probe}");
    }
}

#[tokio::test]
async fn where_nobody_listens_any_more_the_next_endpoint_is_tried() {
    let (first, second) = (Origin::saying("hello").await, Origin::saying("hello").await);
    let (gone, there) = (Relay::to(first.address), Relay::to(second.address));
    let keys = "balance = \"round-robin\"\neject = { failures = 0 }";
    let gateway = Gateway::start(&routes(&[gone.address(), there.address()], keys)).await;
    drop(gone);

    for _ in 0..4 {
        assert_eq!(gateway.get("/").await.text(), "hello");
    }

    assert!(first.asked().is_empty());
    let alone = Gateway::start(&routes(&["unix:/nowhere/app.sock".to_owned()], "")).await;
    assert_eq!(alone.get("/").await.status, 502);
}

#[tokio::test]
async fn a_file_may_list_unix_sockets_beside_addresses() {
    let (first, second) = (Origin::saying("net").await, Origin::saying("unix").await);
    let relay = Relay::to(second.address);
    let folder = tempfile::tempdir().expect("a folder");
    let list = folder.path().join("endpoints.json");
    let text = format!("[{{\"targets\": [\"{}\", \"{}\"]}}]", first.address, relay.address());
    std::fs::write(&list, text).expect("write the list");
    let text = format!(
        "[pools.app]\nfile = \"{}\"\nbalance = \"round-robin\"\n[tenants.acme]\npool = \"app\"\n",
        list.display()
    );
    let gateway = Gateway::start(&text).await;

    let said = [gateway.get("/").await.text(), gateway.get("/").await.text()];

    assert!(said.contains(&"net".to_owned()) && said.contains(&"unix".to_owned()), "{said:?}");
}

#[tokio::test]
async fn http2_tls_and_a_switch_of_protocols_pass_a_unix_socket() {
    let h2 = H2Origin::saying("two").await;
    let relay = Relay::to(h2.address);
    let gateway = Gateway::start(&routes(&[relay.address()], "protocol = \"h2\"")).await;
    assert_eq!(Hyper::h2(gateway.address()).await.get("acme", "/").await.text(), "two");

    let certificates = Certificates::of(&["localhost"]);
    let secure = Origin::start_tls(certificates.server(&[]), [Step::ok("secure")]).await;
    let relay = Relay::to(secure.address);
    let tls = format!("tls = {{ ca = \"{}\", server-name = \"localhost\" }}", certificates.ca());
    let gateway = Gateway::start(&routes(&[relay.address()], &tls)).await;
    assert_eq!(gateway.get("/").await.text(), "secure");

    let echo = Step::raw(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n",
    );
    let origin = Origin::start([echo.and_echo()]).await;
    let relay = Relay::to(origin.address);
    let gateway = Gateway::start(&routes(&[relay.address()], "")).await;
    let fields = [FIELDS, &["Connection: upgrade", "Upgrade: echo"]].concat();
    let mut tunnel = Client::connect(gateway.address()).await;
    assert_eq!(tunnel.ask(head("GET /", &fields)).await.status, 101);
    tunnel.send("over and back").await;
    assert_eq!(tunnel.wire.exact("over and back").await, Some(()));
}
