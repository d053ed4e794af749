//! The PROXY protocol towards endpoints: whose connection is whose.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::world::client::{Client, Hyper, get, head};
use crate::world::config::{one_tenant, one_tenant_with};
use crate::world::eventually;
use crate::world::gateway::Gateway;
use crate::world::origin::{Origin, Step};
use crate::world::tls::Certificates;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const FIELDS: &[&str] = &["Host: a", "X-Tenant-ID: acme"];

/// What came on one connection: the header, and the first lines of the requests behind it.
#[derive(Clone, Debug, Default)]
struct Came {
    header: Vec<u8>,
    requests: Vec<String>,
}

impl Came {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.header).into_owned()
    }
}

/// An endpoint that reads a header first. It keeps its connections open.
struct Reader {
    address: SocketAddr,
    came: Arc<Mutex<Vec<Came>>>,
    _tasks: JoinSet<()>,
}

impl Reader {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind an origin");
        let address = listener.local_addr().expect("its address");
        let came: Arc<Mutex<Vec<Came>>> = Arc::default();
        let mut tasks = JoinSet::new();
        let shared = Arc::clone(&came);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(Self::serve(stream, Arc::clone(&shared)));
            }
        });
        Self { address, came, _tasks: tasks }
    }

    async fn serve(stream: TcpStream, came: Arc<Mutex<Vec<Came>>>) {
        Self::converse(stream, &came).await;
    }

    /// `None`: the gateway has left.
    async fn converse(mut stream: TcpStream, came: &Mutex<Vec<Came>>) -> Option<()> {
        let header = read_header(&mut stream).await?;
        let index = {
            let mut came = came.lock().expect("nobody panicked");
            came.push(Came { header, requests: Vec::new() });
            came.len() - 1
        };
        loop {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.ok()?);
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            came.lock().expect("nobody panicked")[index].requests.push(head);
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            stream.write_all(answer).await.ok()?;
        }
    }

    fn came(&self) -> Vec<Came> {
        self.came.lock().expect("nobody panicked").clone()
    }

    async fn wait_for(&self, connections: usize) -> Vec<Came> {
        eventually("a header", || self.came(), |came| came.len() >= connections).await
    }
}

async fn read_header(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut header = vec![stream.read_u8().await.ok()?];
    if header[0] == b'P' {
        while !header.ends_with(b"\r\n") {
            header.push(stream.read_u8().await.ok()?);
        }
        return Some(header);
    }
    header.resize(16, 0);
    stream.read_exact(&mut header[1..]).await.ok()?;
    let size = usize::from(u16::from_be_bytes([header[14], header[15]]));
    header.resize(16 + size, 0);
    stream.read_exact(&mut header[16..]).await.ok()?;
    Some(header)
}

/// A gateway that speaks to another one, which believes it, with an origin behind both.
async fn two_gateways(version: &str, more: &str) -> (Gateway, Gateway, Origin) {
    let origin = Origin::saying("hello").await;
    let believing = "proxy-protocol = { from = [\"127.0.0.1\"] }\n";
    let back = Gateway::start_with(believing, &one_tenant(&[origin.address])).await;
    let keys = format!("proxy-protocol = \"{version}\"");
    let front = Gateway::start_with(more, &one_tenant_with(&[back.address()], &keys)).await;
    (front, back, origin)
}

#[tokio::test]
async fn an_endpoint_hears_of_the_client_and_of_where_it_connected_to() {
    let origin = Reader::start().await;
    let text = one_tenant_with(&[origin.address], "proxy-protocol = \"v1\"");
    let gateway = Gateway::start(&text).await;
    let client = TcpStream::connect(gateway.address()).await.expect("connect");
    let (from, to) = (client.local_addr().expect("an address"), gateway.address());
    assert_eq!(Client::over(client).ask(head("GET /", FIELDS)).await.text(), "ok");
    let line = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n", from.port(), to.port());
    assert_eq!(origin.wait_for(1).await[0].text(), line);

    let origin = Reader::start().await;
    let text = one_tenant_with(&[origin.address], "proxy-protocol = \"v2\"");
    gateway.reload(&text).await;
    let client = TcpStream::connect(gateway.address()).await.expect("connect");
    let from = client.local_addr().expect("an address").port().to_be_bytes();
    assert_eq!(Client::over(client).ask(head("GET /", FIELDS)).await.text(), "ok");
    let header = origin.wait_for(1).await.remove(0).header;
    let ports = [from, to.port().to_be_bytes()].concat();
    let expected = [SIGNATURE, &[0x21, 0x11, 0, 12, 127, 0, 0, 1, 127, 0, 0, 1], &ports].concat();
    assert_eq!(header, expected);
}

#[tokio::test]
async fn no_connection_that_names_a_client_serves_another_request() {
    let origin = Reader::start().await;
    let keys = "proxy-protocol = \"v2\"";
    let gateway = Gateway::start(&one_tenant_with(&[origin.address], keys)).await;
    let mut client = Client::connect(gateway.address()).await;
    for _ in 0..2 {
        assert_eq!(client.ask(head("GET /", FIELDS)).await.text(), "ok");
    }
    assert_eq!(get(gateway.address(), "acme", "/").await.text(), "ok");

    let came = origin.wait_for(3).await;

    assert_eq!(came.len(), 3);
    for connection in &came {
        assert_eq!(connection.requests.len(), 1, "{connection:?}");
        assert!(connection.requests[0].contains("connection: close\r\n"), "{connection:?}");
    }
    assert_eq!(came[0].header, came[1].header, "the same client");
    assert_ne!(came[0].header, came[2].header, "another one");
    gateway.metric_becomes("tenantry_upstream_connections_opened_total{pool=\"app\"}", 3.0).await;
    gateway.metric_becomes("tenantry_upstream_connections{pool=\"app\"}", 0.0).await;
}

#[tokio::test]
async fn a_gateway_behind_a_gateway_believes_what_the_header_says() {
    for version in ["v1", "v2"] {
        let more = "proxy-protocol = { from = [\"127.0.0.1\"] }\n\
                    trusted-proxies = [\"10.0.0.0/8\"]\n";
        let (front, _back, origin) = two_gateways(version, more).await;
        for (at, (header, fields, client)) in [
            ("PROXY TCP4 192.0.2.7 10.0.0.1 4711 80\r\n", "", "192.0.2.7"),
            ("PROXY TCP6 2001:db8::7 ::1 4711 80\r\n", "", "2001:db8::7"),
            ("PROXY TCP4 10.0.0.7 10.0.0.1 1 80\r\n", "X-Forwarded-For: 192.0.2.8", "192.0.2.8"),
            ("PROXY TCP4 10.0.0.7 10.0.0.1 1 80\r\n", "X-Forwarded-For: fd00::8", "fd00::8"),
        ]
        .into_iter()
        .enumerate()
        {
            let mut fields = [FIELDS, &[fields]].concat();
            fields.retain(|field| !field.is_empty());
            let mut client_side = Client::connect(front.address()).await;
            let answer = client_side.ask(header.to_owned() + &head("GET /", &fields)).await;
            assert_eq!(answer.status, 200, "{version} {header}");
            let asked = origin.wait_for(at + 1).await.remove(at);
            assert_eq!(asked.all("x-forwarded-for"), [client], "{version} {header}");
        }
    }
}

#[tokio::test]
async fn streams_of_one_http2_connection_and_a_switch_of_protocols_each_have_their_own_connection()
{
    let (front, _back, origin) = two_gateways("v2", "").await;
    let mut client = Hyper::h2(front.address()).await;
    for _ in 0..3 {
        assert_eq!(client.get("acme", "/").await.status, 200);
    }
    assert_eq!(origin.wait_for(3).await.len(), 3);

    origin.rescript([Step::raw(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n",
    )
    .and_echo()]);
    let fields = [FIELDS, &["Connection: upgrade", "Upgrade: echo"]].concat();
    let mut tunnel = Client::connect(front.address()).await;
    assert_eq!(tunnel.ask(head("GET /", &fields)).await.status, 101);
    tunnel.send("over and back").await;
    assert_eq!(tunnel.wire.exact("over and back").await, Some(()));
}

#[tokio::test]
async fn the_header_comes_before_tls() {
    let certificates = Certificates::of(&["localhost"]);
    let origin = Origin::saying("hello").await;
    let more =
        format!("proxy-protocol = {{ from = [\"127.0.0.1\"] }}\n{}", certificates.listener());
    let back = Gateway::start_with(&more, &one_tenant(&[origin.address])).await;
    let keys = format!(
        "proxy-protocol = \"v2\"\ntls = {{ ca = \"{}\", server-name = \"localhost\" }}\n\
         health = {{ http = \"/\", host = \"localhost\", status = \"200-499\", interval = \"30ms\" }}",
        certificates.ca()
    );
    let front = Gateway::start(&one_tenant_with(&[back.address()], &keys)).await;

    // It goes nowhere before its first check has passed.
    let mut client = Client::connect(front.address()).await;
    let fields = ["Host: localhost", "X-Tenant-ID: acme"];
    assert_eq!(client.ask(head("GET /", &fields)).await.status, 200);
    let asked = origin.only().await;
    assert_eq!(asked.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(asked.all("x-forwarded-proto"), ["https"]);
}

#[tokio::test]
async fn health_checks_speak_for_nobody() {
    for (probe, requests) in [("http = \"/check\"", 1), ("tcp = true", 0)] {
        for (version, header) in
            [("v1", b"PROXY UNKNOWN\r\n".to_vec()), ("v2", [SIGNATURE, &[0x20, 0, 0, 0]].concat())]
        {
            let origin = Reader::start().await;
            let keys = format!(
                "proxy-protocol = \"{version}\"\nhealth = {{ {probe}, interval = \"30ms\" }}"
            );
            let gateway = Gateway::start(&one_tenant_with(&[origin.address], &keys)).await;

            let first = origin.wait_for(2).await.remove(0);

            assert_eq!(first.header, header, "{probe} {version}");
            assert_eq!(first.requests.len(), requests, "{probe} {version}");
            assert_eq!(gateway.get("/").await.text(), "ok");
        }
    }
}

#[tokio::test]
async fn an_edit_of_the_key_holds_for_every_request_after_it() {
    let plain = Origin::saying("plain").await;
    let text = one_tenant(&[plain.address]);
    let gateway = Gateway::start(&text).await;
    for _ in 0..2 {
        assert_eq!(gateway.get("/").await.text(), "plain");
    }
    let reader = Reader::start().await;
    let keys = "proxy-protocol = \"v1\"";

    gateway.reload(&one_tenant_with(&[reader.address], keys)).await;
    assert_eq!(gateway.get("/").await.text(), "ok");
    gateway.reload(&one_tenant_with(&[plain.address], "")).await;

    assert_eq!(gateway.get("/").await.text(), "plain");
    assert!(reader.wait_for(1).await[0].text().starts_with("PROXY TCP4 "));
    assert_eq!(plain.asked().len(), 3);
}
