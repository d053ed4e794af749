//! WebSockets within HTTP/2 (RFC 8441), to endpoints that speak HTTP/1.1.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use h2::client::SendRequest;
use h2::ext::Protocol;
use h2::{RecvStream, SendStream};
use http::{Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_tungstenite::accept_async;

use crate::world::config::{NO_RETRY, one_tenant_with};
use crate::world::gateway::Gateway;
use crate::world::origin::{Origin, Step};
use crate::world::{eventually, within};

/// A client of HTTP/2 that knows what the gateway has said of itself.
struct Client {
    sender: SendRequest<Bytes>,
    _tasks: JoinSet<()>,
}

impl Client {
    async fn connect(gateway: &Gateway) -> Self {
        let stream = TcpStream::connect(gateway.address()).await.expect("connect");
        let (sender, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { drop(connection.await) });
        let enabled = || sender.is_extended_connect_protocol_enabled();
        eventually("the setting", enabled, |enabled| *enabled).await;
        Self { sender, _tasks: tasks }
    }

    async fn open(
        &mut self,
        protocol: &'static str,
    ) -> Result<(Response<RecvStream>, SendStream<Bytes>), h2::Error> {
        let request = Request::connect("http://a.example/chat?room=1")
            .extension(Protocol::from_static(protocol))
            .header("x-tenant-id", "acme")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-protocol", "talk")
            .body(())
            .expect("a request");
        let mut sender = self.sender.clone().ready().await.expect("a stream");
        let (answer, sending) = sender.send_request(request, false).expect("a call");
        Ok((within("an answer", answer).await?, sending))
    }
}

/// A WebSocket server that gives each message back.
async fn echo() -> (std::net::SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind an origin");
    let address = listener.local_addr().expect("its address");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(async move {
                let Ok(mut socket) = accept_async(stream).await else { return };
                while let Some(Ok(message)) = socket.next().await {
                    if message.is_text() && socket.send(message).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, tasks)
}

/// A message of a client, under a mask of zeros, and as it comes back.
fn hello() -> (Bytes, Bytes) {
    (Bytes::from_static(b"\x81\x85\0\0\0\0hello"), Bytes::from_static(b"\x81\x05hello"))
}

#[tokio::test]
async fn a_websocket_of_http2_is_one_of_http1_to_its_endpoint() {
    let (address, _tasks) = echo().await;
    // The connection is not idle while the tunnel is, and has other streams beside it.
    let downstream = "[downstream]\nidle-timeout = \"2s\"\nheader-timeout = \"2s\"";
    let gateway = Gateway::start_with(downstream, &one_tenant_with(&[address], NO_RETRY)).await;
    let mut client = Client::connect(&gateway).await;
    let (answer, mut sending) = client.open("websocket").await.expect("an answer");

    assert_eq!(answer.status(), 200);
    for none in ["sec-websocket-accept", "connection", "upgrade", "content-length"] {
        assert!(!answer.headers().contains_key(none), "{none}");
    }
    let mut reading = answer.into_body();
    for turn in 0..2 {
        let (sent, expected) = hello();
        sending.send_data(sent, false).expect("room");
        let back = within("the echo", reading.data()).await.expect("more").expect("data");
        assert_eq!(back, expected, "{turn}");
        // Longer than the gateway waits for an idle connection.
        tokio::time::sleep(std::time::Duration::from_millis(2400)).await;
    }
    gateway.metric_becomes("tenantry_upstream_connections{pool=\"app\"}", 1.0).await;

    sending.send_data(Bytes::from_static(b"\x88\x80\0\0\0\0"), true).expect("room");

    let close = within("the close", reading.data()).await.expect("more").expect("data");
    assert_eq!(close[0], 0x88);
    let rest = within("the end", async {
        while let Some(Ok(data)) = reading.data().await {
            assert!(data.is_empty(), "{data:?}");
        }
        reading.is_end_stream()
    });
    assert!(rest.await, "it ends in good order");
    gateway.metric_becomes("tenantry_upstream_connections{pool=\"app\"}", 0.0).await;
}

#[tokio::test]
async fn an_endpoint_is_asked_to_switch_in_its_own_words() {
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                  Upgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n";
    let origin = Origin::start([Step::raw(switch).and_echo()]).await;
    let gateway = Gateway::start(&one_tenant_with(&[origin.address], NO_RETRY)).await;
    let mut client = Client::connect(&gateway).await;

    let (answer, _sending) = client.open("websocket").await.expect("an answer");

    assert_eq!(answer.status(), 200);
    let asked = &origin.asked()[0];
    assert_eq!((asked.method.as_str(), asked.target.as_str()), ("GET", "/chat?room=1"));
    assert_eq!(
        (asked.one("connection"), asked.one("upgrade")),
        (Some("upgrade".into()), Some("websocket".into()))
    );
    assert_eq!(
        (asked.one("host"), asked.one("via")),
        (Some("a.example".into()), Some("2.0 tenantry".into()))
    );
    assert_eq!(asked.one("sec-websocket-key").map(|key| key.len()), Some(24));
    assert_eq!(asked.one("sec-websocket-protocol").as_deref(), Some("talk"));
    assert_eq!(asked.all("x-tenant-id"), ["acme"]);
}

#[tokio::test]
async fn an_answer_that_does_not_switch_opens_no_stream() {
    let to_another =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n";
    let cases = [
        (Step::answer(426, "no"), 426),
        (Step::answer(302, "there"), 302),
        (Step::ok("a page"), 502),
        (Step::raw(to_another), 502),
    ];
    for (step, status) in cases {
        let origin = Origin::start([step]).await;
        let gateway = Gateway::start(&one_tenant_with(&[origin.address], NO_RETRY)).await;
        let mut client = Client::connect(&gateway).await;
        let (answer, _sending) = client.open("websocket").await.expect("an answer");
        assert_eq!(answer.status(), status);
    }
}

#[tokio::test]
async fn an_answer_of_a_route_itself_opens_no_stream() {
    let routes = "[tenants.acme]\nroutes = [{ path = \"/*\", respond = { status = 200, body = \"fixed\" } }]\n";
    let gateway = Gateway::start(routes).await;
    let mut client = Client::connect(&gateway).await;

    let (answer, _sending) = client.open("websocket").await.expect("an answer");

    assert_eq!(answer.status(), 502);
}

#[tokio::test]
async fn a_connect_that_tells_the_length_of_a_body_is_refused_alone() {
    let (address, _origin) = echo().await;
    let gateway = Gateway::start(&one_tenant_with(&[address], NO_RETRY)).await;
    let client = Client::connect(&gateway).await;

    let request = Request::connect("http://a.example/chat")
        .extension(Protocol::from_static("websocket"))
        .header("x-tenant-id", "acme")
        .header("content-length", "5")
        .body(())
        .expect("a request");
    let mut sender = client.sender.clone().ready().await.expect("a stream");
    let (answer, _sending) = sender.send_request(request, false).expect("a call");
    let answer = within("an answer", answer).await.expect("an answer");

    assert_eq!(answer.status(), 400);
    let get = Request::get("http://a.example/").body(()).expect("a request");
    let mut sender = client.sender.clone().ready().await.expect("a stream");
    let (answer, _) = sender.send_request(get, true).expect("a call");
    let answer = within("an answer", answer).await.expect("the connection is as it was");
    assert_eq!(answer.status(), 400, "it names no tenant");
}

#[tokio::test]
async fn another_protocol_and_an_endpoint_of_http2_are_refused() {
    let origin = Origin::saying("hello").await;
    let keys = format!("{NO_RETRY}\nprotocol = \"h2\"");
    for (protocol, keys) in [("connect-udp", NO_RETRY), ("websocket", &keys)] {
        let gateway = Gateway::start(&one_tenant_with(&[origin.address], keys)).await;
        let mut client = Client::connect(&gateway).await;
        let (answer, _sending) = client.open(protocol).await.expect("an answer");
        assert_eq!(answer.status(), 501, "{protocol}");
    }
    assert_eq!(origin.connections(), 0);
}

/// Switches, says `bytes`, and gives what it has got once that has ended; then it says `goodbye`.
async fn switching(
    bytes: Bytes,
) -> (std::net::SocketAddr, tokio::sync::oneshot::Receiver<Vec<u8>>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind an origin");
    let address = listener.local_addr().expect("its address");
    let (tell, got) = tokio::sync::oneshot::channel();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("a head"));
        }
        let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                      Upgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n";
        let (mut reading, mut writing) = stream.split();
        let mut got = Vec::new();
        let bytes = [switch.as_bytes(), &bytes].concat();
        let (said, heard) = tokio::join!(writing.write_all(&bytes), reading.read_to_end(&mut got));
        said.and(heard.map(drop)).expect("both directions");
        writing.write_all(b"goodbye").await.expect("the other side listens still");
        drop(tell.send(got));
    });
    (address, got, tasks)
}

#[tokio::test]
async fn bytes_of_a_tunnel_are_not_looked_at_and_its_sides_end_one_by_one() {
    let mut random = fastrand::Rng::with_seed(7);
    let mut noise = |size| Bytes::from_iter(std::iter::repeat_with(|| random.u8(..)).take(size));
    let (down, up) = (noise(3_000_000), noise(2_000_000));
    let (address, got, _tasks) = switching(down.clone()).await;
    let gateway = Gateway::start(&one_tenant_with(&[address], NO_RETRY)).await;
    let mut client = Client::connect(&gateway).await;
    let (answer, mut sending) = client.open("websocket").await.expect("an answer");
    let mut reading = answer.into_body();

    let send = async {
        let mut rest = up.clone();
        let mut sizes = [1, 70_000, 17, 16_384, 3].into_iter().cycle();
        while !rest.is_empty() {
            let part = rest.split_to(rest.len().min(sizes.next().unwrap_or(1)));
            sending.send_data(part, rest.is_empty()).expect("room");
        }
    };
    let read = async {
        let mut came = Vec::new();
        while let Some(part) = reading.data().await {
            let part = part.expect("no error");
            reading.flow_control().release_capacity(part.len()).expect("release");
            came.extend_from_slice(&part);
        }
        came
    };
    let ((), came) = within("both directions", async { tokio::join!(send, read) }).await;

    assert!(came == [&down[..], b"goodbye"].concat(), "{} bytes came", came.len());
    assert!(within("what was got", got).await.expect("an end") == up);
}
