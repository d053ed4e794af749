//! Endpoints that speak HTTP/2: one that leaves while requests are under way, and those of gRPC.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::world::client::{Frames, Hyper};
use crate::world::config::{NO_RETRY, one_tenant_with};
use crate::world::gateway::Gateway;
use crate::world::h2_origin::{H2Origin, Speaks};
use crate::world::raw_h2::{ACK, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, SETTINGS, frame};
use crate::world::{eventually, within};

async fn gateway_to(address: SocketAddr) -> Gateway {
    Gateway::start(&one_tenant_with(&[address], "protocol = \"h2\"")).await
}

/// Serves each connection by a function that is told its number.
async fn endpoint<F>(
    serve: impl Fn(TcpStream, usize) -> F + Send + 'static,
) -> (SocketAddr, JoinSet<()>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind an origin");
    let address = listener.local_addr().expect("the origin's address");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        for number in 0.. {
            let Ok((stream, _)) = listener.accept().await else { return };
            connections.spawn(serve(stream, number));
        }
    });
    (address, tasks)
}

/// Begins with stream 1 only, says so when stream 3 comes, and then answers the first one. Every later
/// connection answers all.
async fn leave(
    mut stream: TcpStream,
    number: usize,
    begun: Arc<AtomicUsize>,
) -> std::io::Result<()> {
    stream.read_exact(&mut [0; 24]).await?; // the preface
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
    let answer = |id| frame(HEADERS, END_HEADERS | END_STREAM, id, &[0x88]);
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let size = usize::from(head[1]) << 8 | usize::from(head[2]);
        stream.read_exact(&mut vec![0; size]).await?;
        let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        match (head[3], head[4]) {
            (HEADERS, _) if number > 0 => stream.write_all(&answer(id)).await?,
            (HEADERS, _) if id == 1 => drop(begun.fetch_add(1, Ordering::Relaxed)),
            (HEADERS, _) => {
                stream.write_all(&frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0])).await?;
                stream.write_all(&answer(1)).await?;
            }
            (SETTINGS, 0) => stream.write_all(&frame(SETTINGS, ACK, 0, &[])).await?,
            _ => {}
        }
    }
}

#[tokio::test]
async fn an_endpoint_that_leaves_answers_what_it_began_and_gets_the_rest_anew() {
    let begun = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&begun);
    let (address, _tasks) = endpoint(move |stream, number| {
        let begun = Arc::clone(&count);
        async move { drop(leave(stream, number, begun).await) }
    })
    .await;
    let gateway = gateway_to(address).await;
    let mut first = Hyper::h2(gateway.address()).await;
    let mut second = Hyper::h2(gateway.address()).await;
    let post = first.request("POST", "acme", "/", Frames::sized("hello"));
    let mut asking = JoinSet::new();
    asking.spawn(async move { first.ask(post).await.status });
    eventually("the first", || begun.load(Ordering::Relaxed), |begun| *begun == 1).await;
    let post = second.request("POST", "acme", "/", Frames::sized("hello"));

    let statuses = (second.ask(post).await.status, within("it", asking.join_all()).await);

    assert_eq!(statuses, (200, vec![200]), "neither is lost, and a POST may be sent again here");
    let retries = "tenantry_retries_total{pool=\"app\",reason=\"untouched\"}";
    gateway.metric_becomes(retries, 1.0).await;
}

#[tokio::test]
async fn an_answer_of_trailers_alone_ends_with_its_head() {
    for down in [Speaks::H1, Speaks::H2] {
        let origin = H2Origin::start(Speaks::H2, |_| {
            let answer = Response::builder().header("content-type", "application/grpc");
            let answer = answer.header("grpc-status", "5").header("grpc-message", "none");
            answer.body(Frames::default()).expect("an answer")
        })
        .await;
        let gateway = gateway_to(origin.address).await;
        let mut client = match down {
            Speaks::H1 => Hyper::h1(gateway.address()).await,
            Speaks::H2 => Hyper::h2(gateway.address()).await,
        };
        let mut request = client.request("POST", "acme", "/pkg.Service/Call", Frames::sized("\0"));
        request.headers_mut().insert("te", "trailers".parse().expect("a value"));

        let answer = client.ask(request).await;

        assert!(answer.whole && answer.body.is_empty() && answer.trailers.is_empty(), "{answer:?}");
        assert_eq!((answer.status, answer.one("grpc-status").as_deref()), (200, Some("5")));
        assert_eq!(answer.one("grpc-message").as_deref(), Some("none"));
        assert_eq!(origin.only().await.one("te").as_deref(), Some("trailers"));
    }
}

/// An endpoint that answers each call by this status, in an answer of trailers alone.
async fn failing_calls(status: &'static str) -> H2Origin {
    H2Origin::start(Speaks::H2, move |_| {
        let answer = Response::builder().header("content-type", "application/grpc");
        answer.header("grpc-status", status).body(Frames::default()).expect("an answer")
    })
    .await
}

#[tokio::test]
async fn an_endpoint_that_answers_calls_by_unavailable_is_ejected_and_by_others_is_not() {
    const EJECTIONS: &str = "tenantry_ejections_total{pool=\"app\"}";
    for (status, ejects) in [("14", true), ("8", false), ("13", false), ("0", false)] {
        let (sick, well) = (failing_calls(status).await, failing_calls("0").await);
        let keys = "protocol = \"h2\"\nbalance = \"round-robin\"\neject = { failures = 5, base = \"60s\" }\n\
                    retry = { attempts = 1, on = [\"connect\", \"grpc-resource-exhausted\"] }";
        let routes = one_tenant_with(&[sick.address, well.address], keys);
        let gateway = Gateway::start(&routes).await;
        let mut client = Hyper::h2(gateway.address()).await;

        let mut failed = 0;
        for _ in 0..40 {
            let call = client.request("POST", "acme", "/pkg.Service/Call", Frames::sized("\0"));
            failed +=
                usize::from(client.ask(call).await.one("grpc-status").as_deref() != Some("0"));
        }

        let expected = if ejects {
            5
        } else if status == "0" {
            0
        } else {
            20
        };
        assert_eq!(failed, expected, "status {status}");
        gateway.metric_becomes(EJECTIONS, f64::from(u8::from(ejects))).await;
    }
}

#[tokio::test]
async fn a_name_with_a_quotation_mark_reaches_no_client() {
    let quoted = || HeaderName::from_lowercase(b"x-\"a").expect("a name to the library");
    for within_trailers in [false, true] {
        let origin = H2Origin::start(Speaks::H2, move |_| {
            let odd = HeaderMap::from_iter([(quoted(), HeaderValue::from_static("1"))]);
            let mut answer = Response::new(Frames::unsized_of("hello"));
            match within_trailers {
                true => answer = answer.map(|body| body.with_trailers(odd)),
                false => *answer.headers_mut() = odd,
            }
            answer
        })
        .await;
        let gateway = gateway_to(origin.address).await;

        let answer = gateway.get("/").await;

        assert_eq!(answer.status, if within_trailers { 200 } else { 502 });
        assert!(!answer.headers.contains_key(quoted()) && answer.trailers.is_empty(), "{answer:?}");
    }
}

/// Gives back each part of a request's body as it comes, and then how many there were.
async fn echo(stream: TcpStream, resets: Arc<AtomicUsize>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    let mut streams = JoinSet::new();
    while let Some(Ok((request, answer))) = connection.accept().await {
        streams.spawn(echo_one(request.into_body(), answer, Arc::clone(&resets)));
    }
}

async fn echo_one(mut body: RecvStream, mut answer: SendResponse<Bytes>, resets: Arc<AtomicUsize>) {
    let Ok(mut back) = answer.send_response(Response::new(()), false) else { return };
    let mut parts = 0;
    while let Some(part) = body.data().await {
        let Ok(part) = part else {
            resets.fetch_add(1, Ordering::Relaxed);
            return;
        };
        parts += 1;
        drop(body.flow_control().release_capacity(part.len()));
        drop(back.send_data(part, false));
    }
    let mut trailers = body.trailers().await.ok().flatten().unwrap_or_default();
    trailers.insert("grpc-status", parts.into());
    drop(back.send_trailers(trailers));
}

struct Call {
    sending: h2::SendStream<Bytes>,
    reading: RecvStream,
    _client: h2::client::SendRequest<Bytes>,
    _tasks: JoinSet<()>,
}

/// Begins a call whose both sides stay open.
async fn call(gateway: &Gateway) -> Call {
    let stream = TcpStream::connect(gateway.address()).await.expect("connect");
    let (client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { drop(connection.await) });
    let mut client = client.ready().await.expect("a stream");
    let request = Request::post("http://a.example/pkg.Service/Call").header("x-tenant-id", "acme");
    let request = request.header("te", "trailers").body(()).expect("a request");
    let (answer, sending) = client.send_request(request, false).expect("a call");
    let answer = within("the head", answer).await.expect("an answer");
    assert_eq!(answer.status(), 200);
    Call { sending, reading: answer.into_body(), _client: client, _tasks: tasks }
}

async fn echoing() -> (Gateway, Arc<AtomicUsize>, JoinSet<()>) {
    let resets = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&resets);
    let (address, tasks) = endpoint(move |stream, _| echo(stream, Arc::clone(&count))).await;
    (gateway_to(address).await, resets, tasks)
}

#[tokio::test]
async fn both_sides_of_a_call_stream_at_once_and_its_status_comes_last() {
    let (gateway, _, _tasks) = echoing().await;
    let mut call = call(&gateway).await;
    for part in ["one", "two", "three"] {
        call.sending.send_data(Bytes::from(part), false).expect("room");
        let back = within("the echo", call.reading.data()).await.expect("more").expect("data");
        assert_eq!(back, part, "it comes before the next is sent");
        call.reading.flow_control().release_capacity(back.len()).expect("release");
    }
    let trailers = HeaderMap::from_iter([(
        http::HeaderName::from_static("x-sum"),
        http::HeaderValue::from_static("1"),
    )]);
    call.sending.send_trailers(trailers).expect("trailers");

    assert!(within("the end", call.reading.data()).await.is_none());
    let trailers = within("the trailers", call.reading.trailers()).await.expect("trailers");
    let trailers = trailers.expect("trailers");
    assert!(trailers["grpc-status"] == "3" && trailers["x-sum"] == "1", "{trailers:?}");
}

#[tokio::test]
async fn a_call_that_its_client_cancels_ends_at_the_endpoint() {
    let (gateway, resets, _tasks) = echoing().await;
    let mut call = call(&gateway).await;
    call.sending.send_data(Bytes::from("one"), false).expect("room");
    within("the echo", call.reading.data()).await.expect("more").expect("data");

    call.sending.send_reset(Reason::CANCEL);

    eventually("the end", || resets.load(Ordering::Relaxed), |resets| *resets == 1).await;
}

/// An endpoint that takes no more streams once it has answered the first one, until it is told to.
struct Full {
    address: SocketAddr,
    takes: mpsc::Sender<oneshot::Sender<usize>>,
    _tasks: JoinSet<()>,
}

impl Full {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind an endpoint");
        let address = listener.local_addr().expect("its address");
        let (takes, mut asked) = mpsc::channel(1);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let Ok((stream, _)) = listener.accept().await else { return };
            let (mut heard, mut waits) = (0, None);
            drop(be_full(stream, &mut asked, (&mut heard, &mut waits)).await);
            // The gateway has let go of a connection that nobody uses: nothing more is begun on it.
            let waits = match waits {
                Some(waits) => Some(waits),
                None => asked.recv().await,
            };
            _ = waits.map(|waits: oneshot::Sender<usize>| waits.send(heard));
        });
        Self { address, takes, _tasks: tasks }
    }

    /// Has it take streams again, and tells how many it has heard of once its client knows.
    async fn take_more(&self) -> usize {
        let (answer, heard) = oneshot::channel();
        self.takes.send(answer).await.expect("an endpoint");
        within("the answer to a PING", heard).await.expect("a number")
    }
}

async fn be_full(
    mut stream: TcpStream,
    asked: &mut mpsc::Receiver<oneshot::Sender<usize>>,
    (heard, waits): (&mut usize, &mut Option<oneshot::Sender<usize>>),
) -> std::io::Result<()> {
    let at_once = |most| frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, most]);
    stream.read_exact(&mut [0; 24]).await?; // the preface
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
    let mut pongs = 0;
    loop {
        let mut head = [0; 9];
        tokio::select! {
            read = stream.read_exact(&mut head) => drop(read?),
            Some(answer) = asked.recv() => {
                *waits = Some(answer);
                let more = [at_once(9), frame(PING, 0, 0, &[0; 8])].concat();
                stream.write_all(&more).await?;
                stream.read_exact(&mut head).await?;
            }
        }
        stream.read_exact(&mut vec![0; usize::from(head[1]) << 8 | usize::from(head[2])]).await?;
        let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        match (head[3], head[4]) {
            (HEADERS, _) => {
                let answer = frame(HEADERS, END_HEADERS | END_STREAM, id, &[0x88]);
                let before = if *heard == 0 { at_once(0) } else { Vec::new() };
                *heard += 1;
                stream.write_all(&[before, answer].concat()).await?;
            }
            (SETTINGS, 0) => stream.write_all(&frame(SETTINGS, ACK, 0, &[])).await?,
            // What is begun on that word is begun once another one is answered.
            (PING, ACK) if pongs == 0 => {
                pongs = 1;
                stream.write_all(&frame(PING, 0, 0, &[0; 8])).await?;
            }
            (PING, ACK) => {
                _ = waits.take().map(|waits| waits.send(*heard));
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_request_that_was_given_up_before_its_turn_is_never_begun() {
    let endpoint = Full::start().await;
    let keys = format!("protocol = \"h2\"\n{NO_RETRY}\ntimeouts = {{ attempt = \"2s\" }}");
    let gateway = Gateway::start(&one_tenant_with(&[endpoint.address], &keys)).await;
    let mut client = Hyper::h1(gateway.address()).await;

    let mut statuses = Vec::new();
    for _ in 0..2 {
        let get = client.request("GET", "acme", "/", Frames::default());
        statuses.push(client.ask(get).await.status);
    }

    assert_eq!((statuses, endpoint.take_more().await), (vec![200, 504], 1));
}

#[tokio::test]
async fn a_request_goes_as_soon_as_its_endpoint_takes_streams_again() {
    let endpoint = Full::start().await;
    let gateway = gateway_to(endpoint.address).await;
    let mut client = Hyper::h1(gateway.address()).await;
    let get = client.request("GET", "acme", "/", Frames::default());
    assert_eq!(client.ask(get).await.status, 200);
    let get = client.request("GET", "acme", "/", Frames::default());
    let mut asking = JoinSet::new();
    asking.spawn(async move { client.ask(get).await.status });
    gateway.metric_becomes("tenantry_requests_in_flight", 1.0).await;

    endpoint.take_more().await;

    assert_eq!(within("the answer", asking.join_all()).await, [200]);
}
