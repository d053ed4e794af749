//! RFC 9113 sections 6.6, 8 and 8.3.2: what an endpoint of HTTP/2 may say that is no answer, and
//! answers that have no content (RFC 9110 section 6.4.1). The endpoint is one of frames alone.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::world::client::{Client, Frames, Hyper, collect, head};
use crate::world::config::{NO_RETRY, one_tenant_with};
use crate::world::gateway::Gateway;
use crate::world::message::Answer;
use crate::world::raw_h2::{
    ACK, DATA, END_HEADERS, END_STREAM, Fate, GET, HEADERS, PUSH_PROMISE, RST_STREAM, RawH2,
    SETTINGS, block, frame, request,
};

type Fields<'f> = &'f [(&'f [u8], &'f [u8])];

const OK: (&[u8], &[u8]) = (b":status", b"200");

/// An endpoint that says frames to each request.
struct Saying {
    address: SocketAddr,
    /// The kinds of frames that it got.
    heard: Arc<Mutex<Vec<u8>>>,
    _tasks: JoinSet<()>,
}

impl Saying {
    /// These, whatever the number of the request's stream.
    async fn frames(frames: Vec<u8>) -> Self {
        Self::start(move |_| frames.clone()).await
    }

    /// Those for the number of the request's stream.
    async fn start(frames: impl Fn(u32) -> Vec<u8> + Clone + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind an endpoint");
        let address = listener.local_addr().expect("its address");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&heard);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut serving = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (frames, all) = (frames.clone(), Arc::clone(&all));
                serving.spawn(async move { drop(say(stream, frames, &all).await) });
            }
        });
        Self { address, heard, _tasks: tasks }
    }

    async fn gateway(&self) -> Gateway {
        let keys = format!("protocol = \"h2\"\n{NO_RETRY}\neject = {{ failures = 0 }}");
        Gateway::start(&one_tenant_with(&[self.address], &keys)).await
    }
}

async fn say(
    mut stream: TcpStream,
    frames: impl Fn(u32) -> Vec<u8>,
    all: &Mutex<Vec<u8>>,
) -> std::io::Result<()> {
    stream.read_exact(&mut [0; 24]).await?; // the preface
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let size = usize::from(head[1]) << 8 | usize::from(head[2]);
        stream.read_exact(&mut vec![0; size]).await?;
        all.lock().unwrap_or_else(PoisonError::into_inner).push(head[3]);
        let number = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        match (head[3], head[4]) {
            (HEADERS, _) => stream.write_all(&frames(number)).await?,
            (SETTINGS, 0) => stream.write_all(&frame(SETTINGS, ACK, 0, &[])).await?,
            _ => {}
        }
    }
}

/// What a client of HTTP/1.1 gets where the endpoint says this.
async fn heard(frames: Vec<u8>) -> Answer {
    let endpoint = Saying::frames(frames).await;
    endpoint.gateway().await.get("/").await
}

fn answer(fields: Fields<'_>) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(fields))
}

#[tokio::test]
async fn a_head_that_is_malformed_reaches_no_client() {
    let cases: &[Fields<'_>] = &[
        &[],
        &[(b"x-a", b"1")],
        &[OK, OK],
        &[(b":status", b"20")],
        &[(b":status", b"2000")],
        &[(b":status", b"abc")],
        &[(b":status", b"099")],
        &[(b":status", b"101")],
        &[(b"x-a", b"1"), OK],
        &[OK, (b":x", b"/")],
        &[OK, (b"X-A", b"1")],
        &[OK, (b"x a", b"1")],
        &[OK, (b"", b"1")],
        &[OK, (b"x\x7f", b"1")],
        &[OK, (b"x:a", b"1")],
        &[OK, (b"x-a", b"a\r\nset-cookie: b")],
        &[OK, (b"x-a", b"a\nb")],
        &[OK, (b"x-a", b"a\rb")],
        &[OK, (b"x-a", b"a\0b")],
        &[OK, (b"x-a", b" a")],
        &[OK, (b"x-a", b"a\t")],
        &[OK, (b"connection", b"close")],
        &[OK, (b"transfer-encoding", b"chunked")],
        &[OK, (b"keep-alive", b"timeout=5")],
        &[OK, (b"proxy-connection", b"close")],
        &[OK, (b"upgrade", b"websocket")],
        &[OK, (b"content-length", b"5")],
        &[OK, (b"content-length", b"0"), (b"content-length", b"5")],
        &[OK, (b"content-length", b"+0")],
        &[OK, (b"content-length", b"x")],
    ];
    let mut passed = Vec::new();
    for fields in cases {
        let said = heard(answer(fields)).await;
        if said.status != 502 {
            let fields: Vec<_> = fields
                .iter()
                .map(|(name, value)| format!("{}={}", name.escape_ascii(), value.escape_ascii()))
                .collect();
            passed.push(format!("{fields:?}: {} {:?}", said.status, said.headers));
        }
    }
    assert!(passed.is_empty(), "{passed:#?}");
}

#[tokio::test]
async fn a_body_that_is_malformed_is_never_whole() {
    // One that is too long was whole before anybody could tell, and ends where it said.
    let head = |fields: Fields<'_>| frame(HEADERS, END_HEADERS, 1, &block(fields));
    let data = |flags, data: &[u8]| frame(DATA, flags, 1, data);
    let five = || head(&[OK, (b"content-length", b"5")]);
    let trailers = |fields: Fields<'_>| answer(fields);
    let cases = [
        ("too short", [five(), data(END_STREAM, b"four")].concat()),
        ("too long", [five(), data(0, b"five!"), data(END_STREAM, b"!")].concat()),
        ("cut by trailers", [five(), data(0, b"four"), trailers(&[(b"x-a", b"1")])].concat()),
        ("a second head", [head(&[OK]), data(0, b"x"), head(&[OK])].concat()),
        (
            "a connection's field in trailers",
            [head(&[OK]), trailers(&[(b"connection", b"x")])].concat(),
        ),
        ("a line end in trailers", [head(&[OK]), trailers(&[(b"x-a", b"a\r\nb")])].concat()),
        ("an interim answer that ends all", answer(&[(b":status", b"103")])),
    ];
    for (what, frames) in cases {
        let said = heard(frames).await;
        let cut = !said.whole || said.status == 502;
        assert!(cut || (what == "too long" && said.body == b"five!"), "{what}: {said:?}");
    }
}

#[tokio::test]
async fn what_an_endpoint_may_not_do_to_its_connection_ends_it() {
    let promise = [&[0, 0, 0, 2][..], &block(&GET)].concat();
    let fine = || answer(&[OK]);
    for (what, frames) in [
        ("a pushed answer", [frame(PUSH_PROMISE, END_HEADERS, 1, &promise), fine()].concat()),
        ("a stream of its own", frame(HEADERS, END_HEADERS | END_STREAM, 2, &block(&[OK]))),
        ("data before the head", frame(DATA, END_STREAM, 1, b"x")),
    ] {
        let said = heard(frames).await;
        assert_eq!(said.status, 502, "{what}: {said:?}");
    }
}

#[tokio::test]
async fn an_answer_whose_request_is_reset_after_it_is_whole() {
    let begun = frame(HEADERS, END_HEADERS, 1, &block(&[OK]));
    let done = [frame(DATA, END_STREAM, 1, b"done"), frame(RST_STREAM, 0, 1, &[0; 4])].concat();
    let endpoint = Saying::frames([begun, done].concat()).await;
    let gateway = endpoint.gateway().await;
    let mut client = Client::connect(gateway.address()).await;
    let fields = ["Host: a", "X-Tenant-ID: acme", "Content-Length: 4194304"];
    client.send(head("PUT /", &fields) + "half of it").await;
    let answer = client.answer_to("PUT").await;
    assert_eq!((answer.status, answer.text().as_str(), answer.whole), (200, "done", true));
}

#[tokio::test]
async fn an_answer_without_content_has_none_whoever_asks_and_answers() {
    for (method, status) in [("HEAD", "200"), ("GET", "204"), ("GET", "304"), ("HEAD", "404")] {
        let head = block(&[(b":status", status.as_bytes()), (b"x-a", b"1")]);
        let head = frame(HEADERS, END_HEADERS, 1, &head);
        let frames = [head, frame(DATA, END_STREAM, 1, b"what nobody may see")].concat();
        let endpoint = Saying::frames(frames).await;
        let gateway = endpoint.gateway().await;
        let asked = [&[(&b":method"[..], method.as_bytes())], &GET[1..]].concat();
        let mut client = RawH2::connect(gateway.address()).await;
        client.send(&request(1, &asked)).await;
        let fate = client.fate(1).await;
        let empty = match &fate {
            Fate::Answer(_, body) => body.is_empty(),
            _ => true, // it may be refused, too
        };
        assert!(empty, "{method} {status}: {fate:?}");
    }
}

#[tokio::test]
async fn an_answer_whose_end_comes_after_its_head_is_not_reset() {
    // The end of each answer comes with the head of the next one.
    let endpoint = Saying::start(|number| {
        let fields = block(&[OK, (b"content-length", b"4")]);
        let end = if number > 1 { frame(DATA, END_STREAM, number - 2, b"") } else { Vec::new() };
        [end, frame(HEADERS, END_HEADERS, number, &fields)].concat()
    })
    .await;
    let gateway = endpoint.gateway().await;
    let mut old = Client::connect(gateway.address()).await;
    let mut new = Hyper::h2(gateway.address()).await;

    let first = old.ask(head("HEAD /1", &["Host: a", "X-Tenant-ID: acme"])).await;
    let asked = new.request("HEAD", "acme", "/3", Frames::default());
    let second = new.start(asked).await.expect("a head");
    let third = old.ask(head("HEAD /5", &["Host: a", "X-Tenant-ID: acme"])).await;
    let second = collect(second).await;

    for answer in [first, second, third] {
        assert_eq!((answer.status, answer.whole, answer.body.len()), (200, true, 0));
        assert_eq!(answer.one("content-length").as_deref(), Some("4"));
    }
    let heard = endpoint.heard.lock().unwrap_or_else(PoisonError::into_inner).clone();
    assert!(!heard.contains(&RST_STREAM), "{heard:?}");
}

#[tokio::test]
async fn the_gateways_own_answers_have_no_content_where_there_is_none() {
    let routes = "[[tenants.acme.routes]]\npath = \"/fixed\"\n\
                  respond = { status = 404, body = \"fixed\" }\n\
                  [[tenants.acme.routes]]\npath = \"/reset\"\n\
                  respond = { status = 205, body = \"fixed\" }\n\
                  [[tenants.acme.routes]]\npath = \"/none\"\n\
                  respond = { status = 204, body = \"fixed\" }\n";
    let endpoint = Saying::frames(Vec::new()).await;
    let keys = "protocol = \"h2\"";
    let gateway = Gateway::start(&(one_tenant_with(&[endpoint.address], keys) + routes)).await;
    for (method, path, tenant, status) in [
        (&b"HEAD"[..], &b"/fixed"[..], &b"acme"[..], 404),
        (b"HEAD", b"/", b"nobody", 404),
        (b"GET", b"/reset", b"acme", 205),
        (b"GET", b"/none", b"acme", 204),
    ] {
        let fields: Fields<'_> = &[
            (b":method", method),
            (b":scheme", b"http"),
            (b":authority", b"a.example"),
            (b":path", path),
            (b"x-tenant-id", tenant),
        ];
        let mut client = RawH2::connect(gateway.address()).await;
        client.send(&request(1, fields)).await;
        let what = path.escape_ascii();
        assert_eq!(client.fate(1).await, Fate::Answer(status, Vec::new()), "{what}");
    }
    let reset = gateway.get("/reset").await;
    assert_eq!((reset.status, reset.one("content-length").as_deref()), (205, Some("0")));
}
