//! Connections that switch protocols: WebSockets, and whatever else both sides agree on.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use tenantry::app::nofile;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};

use crate::world::client::{Client, ask, head};
use crate::world::config::{NO_RETRY, one_tenant, one_tenant_with};
use crate::world::gateway::Gateway;
use crate::world::origin::{Origin, Step};
use crate::world::{eventually, resting, within};

/// A WebSocket server that gives each message back, and closes when it is asked to.
struct EchoServer {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl EchoServer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind an origin");
        let address = listener.local_addr().expect("its address");
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(Self::serve(stream));
            }
        });
        Self { address, _tasks: tasks }
    }

    async fn serve(stream: TcpStream) {
        let Ok(mut socket) = accept_async(stream).await else { return };
        while let Some(Ok(message)) = socket.next().await {
            let sent = match &message {
                Message::Text(text) if text.as_str() == "close" => {
                    let frame = CloseFrame { code: CloseCode::Away, reason: "asked to".into() };
                    socket.close(Some(frame)).await
                }
                Message::Text(_) | Message::Binary(_) => socket.send(message).await,
                _ => Ok(()),
            };
            if sent.is_err() {
                return;
            }
        }
    }
}

async fn open(gateway: &Gateway) -> Result<WebSocketStream<TcpStream>, Error> {
    let address = gateway.address();
    let mut request = format!("ws://{address}/chat").into_client_request().expect("a request");
    request.headers_mut().insert("x-tenant-id", "acme".parse().expect("a value"));
    let stream = TcpStream::connect(address).await.expect("connect");
    let (socket, answer) = within("the switch", client_async(request, stream)).await?;
    assert_eq!(answer.status(), 101);
    assert!(answer.headers().contains_key("x-request-id"));
    Ok(socket)
}

async fn next(socket: &mut WebSocketStream<TcpStream>) -> Option<Result<Message, Error>> {
    within("a message", socket.next()).await
}

#[tokio::test]
async fn a_websocket_carries_messages_both_ways() {
    let server = EchoServer::start().await;
    let gateway = Gateway::start(&one_tenant(&[server.address])).await;
    let mut socket = open(&gateway).await.expect("a WebSocket");
    let messages = [
        Message::text("hello"),
        Message::text(""),
        Message::binary(vec![7; 1 << 20]),
        Message::text("again"),
    ];
    for message in messages {
        socket.send(message.clone()).await.expect("sent");
        let echo = next(&mut socket).await.expect("a message").expect("no error");
        assert!(echo == message, "{} bytes came back", echo.len());
    }
    socket.send(Message::Ping("beat".into())).await.expect("sent");
    let pong = next(&mut socket).await.expect("a message").expect("no error");
    assert_eq!(pong, Message::Pong("beat".into()));
}

#[tokio::test]
async fn a_websocket_closes_in_good_order_from_either_side() {
    let server = EchoServer::start().await;
    let gateway = Gateway::start(&one_tenant(&[server.address])).await;

    let mut by_server = open(&gateway).await.expect("a WebSocket");
    by_server.send(Message::text("close")).await.expect("sent");
    let Some(Ok(Message::Close(Some(frame)))) = next(&mut by_server).await else {
        panic!("no closing frame came");
    };
    let end = next(&mut by_server).await;
    let mut by_client = open(&gateway).await.expect("a WebSocket");
    by_client.close(None).await.expect("sent");
    let answered = next(&mut by_client).await;

    assert_eq!((frame.code, frame.reason.as_str()), (CloseCode::Away, "asked to"));
    assert!(end.is_none(), "{end:?}");
    assert!(matches!(answered, Some(Ok(Message::Close(_)))), "{answered:?}");
}

#[tokio::test]
async fn a_tunnel_outlives_the_time_limits_of_requests() {
    let server = EchoServer::start().await;
    let limits = "timeouts = { total = \"1s\", attempt = \"1s\", idle = \"1s\" }";
    let more = "[downstream]\nidle-timeout = \"1s\"\nheader-timeout = \"1s\"\n\
                body-timeout = \"1s\"";
    let gateway = Gateway::start_with(more, &one_tenant_with(&[server.address], limits)).await;
    let mut socket = open(&gateway).await.expect("a WebSocket");

    // A silence that is three times each of these limits.
    let silence = tokio::time::timeout(std::time::Duration::from_secs(3), socket.next()).await;
    assert!(silence.is_err(), "the tunnel ended: {silence:?}");
    socket.send(Message::text("still here")).await.expect("sent");

    let echo = next(&mut socket).await.expect("a message").expect("no error");
    assert_eq!(echo, Message::text("still here"));
}

#[tokio::test]
async fn a_tunnel_ends_when_both_sides_have_been_silent_for_its_limit() {
    let server = EchoServer::start().await;
    let more = "[downstream]\ntunnel-timeout = \"100ms\"";
    let gateway = Gateway::start_with(more, &one_tenant(&[server.address])).await;
    let mut socket = open(&gateway).await.expect("a WebSocket");

    let end = next(&mut socket).await;

    assert!(matches!(end, None | Some(Err(_))), "{end:?}");
    let counted = "tenantry_downstream_retired_connections_total{reason=\"tunnel\"}";
    gateway.metric_becomes(counted, 1.0).await;
}

fn switching() -> Step {
    Step::raw("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: mine\r\n\r\nhi")
        .and_echo()
}

const FIELDS: &[&str] = &["Host: a", "X-Tenant-ID: acme"];
const ASKING: &[&str] = &["Host: a", "X-Tenant-ID: acme", "Connection: Upgrade", "Upgrade: mine"];

#[tokio::test]
async fn bytes_that_come_with_the_switch_are_not_lost() {
    let origin = Origin::start([switching()]).await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;
    let mut client = Client::connect(gateway.address()).await;

    client.send(head("GET /", ASKING) + "ahead").await;
    let answer = client.answer_head().await;
    let seen = within("what was sent", client.wire.exact("hiahead")).await;

    assert_eq!(answer.status, 101);
    assert_eq!(answer.one("upgrade").as_deref(), Some("mine"));
    assert_eq!(answer.one("connection").as_deref(), Some("upgrade"));
    assert_eq!(seen, Some(()));
    let asked = &origin.asked()[0];
    assert_eq!(asked.all("upgrade"), ["mine"]);
    assert_eq!(asked.all("connection"), ["upgrade"]);
    assert_eq!(asked.all("x-tenant-id"), ["acme"]);
}

#[tokio::test]
async fn the_end_of_one_side_reaches_the_other_and_frees_both() {
    let origin = Origin::start([switching()]).await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;
    let mut client = Client::connect(gateway.address()).await;
    client.send(head("GET /", ASKING)).await;
    assert_eq!(client.answer_head().await.status, 101);

    client.wire.stream.shutdown().await.expect("our end");
    let rest = within("the end", client.wire.rest()).await;

    assert_eq!(rest, b"hi");
    eventually("the end at the origin", || origin.open(), |open| *open == 0).await;
}

#[tokio::test]
async fn an_endpoint_may_decline_to_switch() {
    let origin = Origin::start([Step::answer(426, "no")]).await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;
    let mut client = Client::connect(gateway.address()).await;

    let declined = client.ask(head("GET /", ASKING)).await;
    let next = client.ask(head("GET /", FIELDS)).await;

    assert_eq!((declined.status, declined.text().as_str()), (426, "no"));
    assert_eq!(next.status, 426, "the connection serves on");
}

#[tokio::test]
async fn a_switch_that_nobody_asked_for_is_a_bad_answer() {
    let origin = Origin::start([switching()]).await;
    let gateway = Gateway::start(&one_tenant_with(&[origin.address], NO_RETRY)).await;

    let answer = ask(gateway.address(), "GET /", FIELDS).await;

    assert_eq!((answer.status, answer.problem().as_deref()), (502, Some("bad-answer")));
    eventually("the end at the origin", || origin.open(), |open| *open == 0).await;
}

#[tokio::test]
async fn a_slow_side_of_a_tunnel_stops_the_other() {
    let origin = Origin::start([Step::raw(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: mine\r\n\r\n",
    )
    .with_more(96 << 20)])
    .await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;
    let mut client = Client::connect(gateway.address()).await;
    client.send(head("GET /", ASKING)).await;
    assert_eq!(client.answer_head().await.status, 101);

    let written = resting("the end of the endpoint's writing", || origin.written()).await;
    let mut part = [0; 16];
    let read = within("a part", client.wire.stream.read(&mut part)).await.expect("no error");

    assert!(written < 32 << 20, "{written} bytes went somewhere");
    assert!(read > 0);
}

#[tokio::test]
async fn a_silent_tunnel_is_no_idle_connection_that_makes_room() {
    let origin = EchoServer::start().await;
    let more = "[downstream]\nmax-connections = 1\nmax-connection-age = \"50ms\"";
    let gateway = Gateway::start_with(more, &one_tenant(&[origin.address])).await;
    let mut socket = open(&gateway).await.expect("a tunnel");
    socket.send(Message::text("before")).await.expect("send");
    assert_eq!(next(&mut socket).await.expect("a message").expect("text"), Message::text("before"));

    let mut refused = Client::connect(gateway.address()).await;
    assert!(refused.is_closed().await);

    socket.send(Message::text("after")).await.expect("send");
    assert_eq!(next(&mut socket).await.expect("a message").expect("text"), Message::text("after"));
    drop(socket);
    within("room", async { while gateway.get("/").await.status == 0 {} }).await;
}

#[tokio::test]
async fn either_side_of_a_tunnel_may_end_first_and_hear_the_rest_of_the_other() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind an origin");
    let gateway = Gateway::start(&one_tenant(&[listener.local_addr().expect("its address")])).await;
    for client_first in [true, false] {
        let mut client = Client::connect(gateway.address()).await;
        client.send(head("GET /", ASKING)).await;
        let (mut endpoint, _) = within("a connection", listener.accept()).await.expect("accept");
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            asked.push(endpoint.read_u8().await.expect("a head"));
        }
        let switch =
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: mine\r\n\r\n";
        endpoint.write_all(switch).await.expect("send");
        assert_eq!(client.answer_head().await.status, 101);

        let near: &mut dyn Both = &mut client.wire.stream;
        let far: &mut dyn Both = &mut endpoint;
        let (first, last) = if client_first { (near, far) } else { (far, near) };
        first.write_all(b"first").await.expect("send");
        first.shutdown().await.expect("end");
        let mut heard = Vec::new();
        within("the first end", last.read_to_end(&mut heard)).await.expect("no error");
        assert_eq!(heard, b"first");
        let late = vec![b'l'; 64 << 10];
        last.write_all(&late).await.expect("send");
        last.shutdown().await.expect("end");
        heard.clear();
        within("the last end", first.read_to_end(&mut heard)).await.expect("no error");
        assert!(heard == late, "{} bytes came, client first: {client_first}", heard.len());
    }
}

/// A side of a tunnel.
trait Both: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin {}
impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> Both for S {}

#[tokio::test]
async fn a_thousand_websockets_live_on_through_an_edit_of_the_routes() {
    // Each takes four sockets in this one process.
    nofile::raise();
    let (server, other) = (EchoServer::start().await, EchoServer::start().await);
    let gateway = Gateway::start_with_workers(2, "", &one_tenant(&[server.address])).await;
    let mut sockets = Vec::new();
    for _ in 0..1_000 {
        sockets.push(open(&gateway).await.expect("a WebSocket"));
    }

    all_echo(&mut sockets, "before").await;
    gateway.reload(&one_tenant(&[other.address])).await;
    all_echo(&mut sockets, "after").await;

    let open = "tenantry_upstream_connections{pool=\"app\"}";
    gateway.metric_becomes(open, 1_000.0).await;
    for socket in &mut sockets {
        socket.close(None).await.expect("sent");
    }
    for socket in &mut sockets {
        let answered = next(socket).await;
        assert!(matches!(answered, Some(Ok(Message::Close(_)))), "{answered:?}");
    }
    drop(sockets);
    gateway.metric_becomes(open, 0.0).await;
}

/// Sends on all of them, and then reads on all of them.
async fn all_echo(sockets: &mut [WebSocketStream<TcpStream>], word: &str) {
    let message = |number| Message::text(format!("{number} {word}"));
    for (number, socket) in sockets.iter_mut().enumerate() {
        socket.send(message(number)).await.expect("sent");
    }
    for (number, socket) in sockets.iter_mut().enumerate() {
        let echo = next(socket).await.expect("a message").expect("no error");
        assert_eq!(echo, message(number));
    }
}

#[tokio::test]
async fn an_open_websocket_goes_on_while_its_tenant_is_worked_on() {
    let server = EchoServer::start().await;
    let gateway = Gateway::start(&one_tenant(&[server.address])).await;
    let mut socket = open(&gateway).await.expect("a WebSocket");

    gateway.reload(&(one_tenant(&[server.address]) + "state = \"maintenance\"\n")).await;

    assert!(open(&gateway).await.is_err(), "a new one is refused");
    socket.send(Message::text("still here")).await.expect("sent");
    let heard = within("the echo", socket.next()).await.expect("a message").expect("no error");
    assert_eq!(heard, Message::text("still here"));
}
