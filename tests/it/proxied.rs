//! The PROXY protocol: who the client is where a load balancer stands in front.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::sleep;

use crate::world::client::{Client, Hyper, head};
use crate::world::config::one_tenant;
use crate::world::gateway::Gateway;
use crate::world::origin::Origin;
use crate::world::tls::Certificates;
use crate::world::within;

const FIELDS: &[&str] = &["Host: localhost", "X-Tenant-ID: acme"];
const TRUSTED: &str = "proxy-protocol = { from = [\"127.0.0.1\"] }\n";
const LINE: &[u8] = b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 80\r\n";

/// Version 2 with one addition.
fn binary(command: u8) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    bytes.extend([0x20 | command, 0x11, 0, 17]);
    bytes.extend([192, 0, 2, 8, 10, 0, 0, 1, 0x12, 0x67, 0, 80]);
    bytes.extend([0x04, 0, 2, 0, 0]);
    bytes
}

fn rejected(reason: &str) -> String {
    format!("tenantry_downstream_rejected_connections_total{{reason=\"{reason}\"}}")
}

#[tokio::test]
async fn the_header_names_the_client_in_every_version_split_anywhere() {
    let origin = Origin::saying("hello").await;
    let gateway = Gateway::start_with(TRUSTED, &one_tenant(&[origin.address])).await;
    let cases: [(&[u8], &str); 5] = [
        (LINE, "192.0.2.7"),
        (&binary(1), "192.0.2.8"),
        (&binary(0), "127.0.0.1"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        (b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n", "2001:db8::1"),
    ];
    for (at, (header, expected)) in cases.into_iter().enumerate() {
        let mut whole = Client::connect(gateway.address()).await;
        let request = [header, head("GET /", FIELDS).as_bytes()].concat();
        assert_eq!(whole.ask(&request).await.status, 200, "case {at}");
        let mut split = Client::connect(gateway.address()).await;
        for byte in header {
            split.send([*byte]).await;
        }
        assert_eq!(split.ask(head("GET /", FIELDS)).await.status, 200, "case {at}");
        for asked in &origin.wait_for(at * 2 + 2).await[at * 2..] {
            assert_eq!(asked.all("x-forwarded-for"), [expected], "case {at}");
        }
    }
    let log = || std::fs::read_to_string(gateway.path("access.log")).unwrap_or_default();
    crate::world::eventually("the line", log, |log| log.contains("192.0.2.8")).await;
}

#[tokio::test]
async fn the_header_comes_before_tls_and_before_http2() {
    let certificates = Certificates::of(&["localhost"]);
    let origin = Origin::saying("hello").await;
    let more = format!(
        "{TRUSTED}[[listeners]]\naddress = \"127.0.0.1:0\"\n{TRUSTED}{}",
        certificates.listener()
    );
    let gateway = Gateway::start_with(&more, &one_tenant(&[origin.address])).await;

    let mut plain = TcpStream::connect(gateway.app.addresses()[0]).await.expect("connect");
    plain.write_all(&binary(1)).await.expect("write");
    assert_eq!(Hyper::h2_over(plain).await.get("acme", "/").await.status, 200);
    let mut secure = TcpStream::connect(gateway.app.addresses()[1]).await.expect("connect");
    secure.write_all(LINE).await.expect("write");
    let secure = certificates.handshake(secure, "localhost", &["h2"]).await;
    assert_eq!(Hyper::h2_over(secure).await.get("acme", "/").await.status, 200);

    let asked = origin.wait_for(2).await;
    assert_eq!(asked[0].all("x-forwarded-for"), ["192.0.2.8"]);
    assert_eq!(asked[1].all("x-forwarded-for"), ["192.0.2.7"]);
}

#[tokio::test]
async fn what_is_no_valid_header_closes_the_connection() {
    let origin = Origin::saying("hello").await;
    let more = format!("{TRUSTED}[downstream]\nheader-timeout = \"200ms\"");
    let gateway = Gateway::start_with(&more, &one_tenant(&[origin.address])).await;
    let request = head("GET /", FIELDS);
    let mut unknown_command = binary(1);
    unknown_command[12] = 0x22;
    let cases: [&[u8]; 8] = [
        request.as_bytes(),
        b"",
        b"PROXY TCP4 192.0.2.7",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 4711\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &binary(1)[..20],
        &unknown_command,
        &[LINE, LINE].concat(),
    ];
    for (at, bytes) in cases.into_iter().enumerate() {
        let mut client = Client::connect(gateway.address()).await;
        client.send(bytes).await;
        let said = within("the end", client.wire.rest()).await;
        // The second of two headers is a request, and no good one.
        assert!(said.is_empty() || at == 7 && said.starts_with(b"HTTP/1.1 400"), "case {at}");
    }
    assert!(origin.asked().is_empty());
    // The last one is another, whose header comes too late on a busy machine.
    gateway.metric_at_least(&rejected("proxy_header"), 7.0).await;
}

#[tokio::test]
async fn who_is_not_trusted_is_refused_and_clients_behind_one_balancer_are_told_apart() {
    let origin = Origin::saying("hello").await;
    let more = format!("{TRUSTED}[downstream]\nmax-connections-per-client = 1");
    let gateway = Gateway::start_with(&more, &one_tenant(&[origin.address])).await;
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.2:0".parse().expect("an address")).expect("bind");
    let stranger = socket.connect(gateway.address()).await.expect("connect");
    let mut stranger = Client::over(stranger);
    stranger.send(LINE).await;
    assert!(stranger.is_closed().await);

    let request = head("GET /", FIELDS);
    let mut first = Client::connect(gateway.address()).await;
    assert_eq!(first.ask([LINE, request.as_bytes()].concat()).await.status, 200);
    let mut other = Client::connect(gateway.address()).await;
    assert_eq!(other.ask([&binary(1), request.as_bytes()].concat()).await.status, 200);
    let mut second = Client::connect(gateway.address()).await;
    second.send(LINE).await;
    assert!(second.is_closed().await);

    drop(first);
    within("room for the client", async {
        loop {
            let mut again = Client::connect(gateway.address()).await;
            if again.ask([LINE, request.as_bytes()].concat()).await.status == 200 {
                return;
            }
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    gateway.metric_becomes(&rejected("proxy_untrusted"), 1.0).await;
}
