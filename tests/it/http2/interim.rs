//! Answers of status 1xx that come before the final one (RFC 9110 section 15.2), where one side or both
//! speak HTTP/2.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::world::client::{Client, head};
use crate::world::config::{NO_RETRY, one_tenant, one_tenant_with};
use crate::world::gateway::Gateway;
use crate::world::origin::{Origin, Step};
use crate::world::within;

const FIELDS: &[&str] = &["Host: a", "X-Tenant-ID: acme"];

/// An endpoint that speaks HTTP/2 and serves each stream by a function.
struct Endpoint {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Endpoint {
    async fn start<F>(
        serve: impl Fn(RecvStream, SendResponse<Bytes>) -> F + Clone + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind an endpoint");
        let address = listener.local_addr().expect("its address");
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let serve = serve.clone();
                connections.spawn(async move {
                    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                    let mut streams = JoinSet::new();
                    while let Some(Ok((request, answer))) = connection.accept().await {
                        streams.spawn(serve(request.into_body(), answer));
                    }
                });
            }
        });
        Self { address, _tasks: tasks }
    }

    async fn gateway(&self) -> Gateway {
        let keys = format!("protocol = \"h2\"\n{NO_RETRY}\neject = {{ failures = 0 }}");
        Gateway::start(&one_tenant_with(&[self.address], &keys)).await
    }
}

fn hint(status: u16) -> Response<()> {
    let hint = Response::builder().status(status).header("link", "</a.css>");
    hint.body(()).expect("a hint")
}

/// Says these before an answer of 200.
async fn say(statuses: &[u16], mut answer: SendResponse<Bytes>) {
    for status in statuses {
        drop(answer.send_informational(hint(*status)));
    }
    if let Ok(mut body) = answer.send_response(Response::new(()), false) {
        drop(body.send_data(Bytes::from("ok"), true));
    }
}

/// A client of HTTP/2 that hears of interim answers.
struct H2Client {
    requests: h2::client::SendRequest<Bytes>,
    _tasks: JoinSet<()>,
}

impl H2Client {
    async fn connect(gateway: &Gateway) -> Self {
        let stream = TcpStream::connect(gateway.address()).await.expect("connect");
        let (requests, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { drop(connection.await) });
        Self { requests, _tasks: tasks }
    }

    /// Begins a request; its body is still to come where `fields` say so.
    async fn begin(
        &mut self,
        method: &str,
        fields: &[(&str, &str)],
    ) -> (ResponseFuture, SendStream<Bytes>) {
        let mut requests = self.requests.clone().ready().await.expect("a stream");
        let request = Request::builder().method(method).uri("http://a.example/");
        let mut request = request.header("x-tenant-id", "acme");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("a request");
        requests.send_request(request, method == "GET").expect("a request")
    }
}

/// The next interim answer; `None` once the final one is there.
async fn next_hint(answer: &mut ResponseFuture) -> Option<Response<()>> {
    let hint = std::future::poll_fn(|context| answer.poll_informational(context));
    within("a hint", hint).await.map(|hint| hint.expect("a hint"))
}

/// The interim answers and the final one.
async fn heard(mut answer: ResponseFuture) -> (Vec<Response<()>>, u16) {
    let mut hints = Vec::new();
    while let Some(hint) = next_hint(&mut answer).await {
        hints.push(hint);
    }
    (hints, within("the answer", answer).await.expect("an answer").status().as_u16())
}

fn statuses(hints: &[Response<()>]) -> Vec<u16> {
    hints.iter().map(|hint| hint.status().as_u16()).collect()
}

#[tokio::test]
async fn interim_answers_of_an_http1_endpoint_reach_a_client_of_http2() {
    let origin = Origin::start([Step::raw(
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nConnection: x-hop\r\nX-Hop: 1\r\n\
         Content-Length: 3\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n\
         HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    )])
    .await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;
    let mut client = H2Client::connect(&gateway).await;

    let (answer, _) = client.begin("GET", &[]).await;
    let (hints, status) = heard(answer).await;

    assert_eq!((statuses(&hints), status), (vec![103, 102, 100], 200));
    assert_eq!(hints[0].headers()["link"], "</a.css>");
    assert_eq!(hints[0].headers()["via"], "1.1 tenantry");
    for ended in ["connection", "x-hop", "content-length"] {
        assert!(!hints[0].headers().contains_key(ended), "{ended}");
    }
}

#[tokio::test]
async fn interim_answers_of_an_http2_endpoint_reach_clients_of_both_versions() {
    let endpoint = Endpoint::start(|_, answer| say(&[103, 100, 102], answer)).await;
    let gateway = endpoint.gateway().await;
    let mut new = H2Client::connect(&gateway).await;
    let mut old = Client::connect(gateway.address()).await;

    let (answer, _) = new.begin("GET", &[]).await;
    let (hints, status) = heard(answer).await;
    old.send(head("GET /", FIELDS)).await;
    let first = old.answer_head().await;
    let last = old.answer_to("GET").await;
    let oldest = old.ask("GET / HTTP/1.0\r\nHost: a\r\nX-Tenant-ID: acme\r\n\r\n").await;

    assert_eq!((statuses(&hints), status), (vec![103, 100, 102], 200));
    assert_eq!(hints[0].headers()["link"], "</a.css>");
    assert_eq!((first.status, first.one("link").as_deref()), (103, Some("</a.css>")));
    assert_eq!(first.one("via").as_deref(), Some("2.0 tenantry"));
    assert_eq!((last.status, last.text().as_str(), last.interim), (200, "ok", vec![100, 102]));
    assert_eq!((oldest.status, oldest.interim), (200, vec![]));
}

#[tokio::test]
async fn a_hint_reaches_a_client_of_http2_before_the_answer_is_there() {
    let stalls = Step::raw("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n").and_stall();
    let origin = Origin::start([stalls]).await;
    let gateway = Gateway::start(&one_tenant(&[origin.address])).await;
    let mut client = H2Client::connect(&gateway).await;

    let (mut answer, _) = client.begin("GET", &[]).await;

    assert_eq!(next_hint(&mut answer).await.expect("a hint").status(), 103);
}

#[tokio::test]
async fn interim_answers_without_end_or_that_switch_protocols_are_no_answer() {
    for said in [&[103; 33][..], &[101]] {
        let endpoint = Endpoint::start(move |_, answer| say(said, answer)).await;
        assert_eq!(endpoint.gateway().await.get("/").await.status, 502, "{said:?}");
    }
}

const EXPECT: &[(&str, &str)] = &[("expect", "100-continue"), ("content-length", "5")];

/// An endpoint that takes a body, in both versions; its answers.
async fn taking() -> (Origin, Endpoint) {
    let endpoint = Endpoint::start(|mut body, answer| async move {
        while let Some(Ok(part)) = body.data().await {
            drop(body.flow_control().release_capacity(part.len()));
        }
        say(&[], answer).await;
    })
    .await;
    (Origin::saying("ok").await, endpoint)
}

#[tokio::test]
async fn a_client_of_http2_that_waits_for_a_word_hears_it_and_sends_its_body() {
    let (origin, endpoint) = taking().await;
    let old = Gateway::start(&one_tenant(&[origin.address])).await;
    for gateway in [old, endpoint.gateway().await] {
        let mut client = H2Client::connect(&gateway).await;
        let (mut answer, mut body) = client.begin("PUT", EXPECT).await;

        let word = next_hint(&mut answer).await.expect("a word").status();
        body.send_data(Bytes::from("hello"), true).expect("the body");

        let (more, status) = heard(answer).await;
        assert_eq!((word.as_u16(), statuses(&more), status), (100, vec![], 200));
    }
    assert_eq!(origin.only().await.body, b"hello");
}

#[tokio::test]
async fn a_client_that_waits_for_a_word_hears_no_second_one_of_its_http2_endpoint() {
    let asks = |mut body: RecvStream, mut answer: SendResponse<Bytes>| async move {
        drop(answer.send_informational(hint(100)));
        while let Some(Ok(part)) = body.data().await {
            drop(body.flow_control().release_capacity(part.len()));
        }
        say(&[], answer).await;
    };
    let endpoint = Endpoint::start(asks).await;
    let gateway = endpoint.gateway().await;
    let mut client = H2Client::connect(&gateway).await;
    let (mut answer, mut body) = client.begin("PUT", EXPECT).await;

    assert_eq!(next_hint(&mut answer).await.expect("a word").status(), 100);
    body.send_data(Bytes::from("hello"), true).expect("the body");

    let (more, status) = heard(answer).await;
    assert_eq!((statuses(&more), status), (vec![], 200));
}

#[tokio::test]
async fn a_body_that_an_http2_endpoint_does_not_want_is_not_asked_for() {
    let refuses = |_, mut answer: SendResponse<Bytes>| async move {
        let refusal = Response::builder().status(403).body(()).expect("an answer");
        drop(answer.send_response(refusal, true));
    };
    let endpoint = Endpoint::start(refuses).await;
    let gateway = endpoint.gateway().await;
    let mut told = Vec::new();
    // An endpoint that a busy machine holds up for half a second is asked by right.
    while told.len() < 5 && told.last() != Some(&(vec![], vec![])) {
        let mut new = H2Client::connect(&gateway).await;
        let mut old = Client::connect(gateway.address()).await;

        let (answer, _body) = new.begin("PUT", EXPECT).await;
        let (hints, status) = heard(answer).await;
        let fields = [FIELDS, &["Expect: 100-continue", "Content-Length: 5"]].concat();
        let refused = old.ask(head("PUT /", &fields)).await;

        assert_eq!((status, refused.status), (403, 403));
        told.push((statuses(&hints), refused.interim));
    }
    assert_eq!(told.last(), Some(&(vec![], vec![])), "{told:?}");
}
