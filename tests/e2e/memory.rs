//! What the process takes while bodies pass that are larger than any memory, and while clients ask
//! for much and read nothing. The peak is the kernel's own count (`VmHWM`).
//!
//! `TENANTRY_BODY_MIB` sets the size of the bodies. By hand, with a release build, 10 GiB are the
//! proof: `TENANTRY_BODY_MIB=10240 cargo test --release --test e2e memory::bodies -- --nocapture`.

use std::convert::Infallible;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::thread;
use std::time::Instant;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::tls::make;
use crate::world::gateway::Gateway;
use crate::world::{PATIENCE, eventually, eventually_within};

const MIB: u64 = 1 << 20;

/// So many zeros, none of them in memory twice.
struct Zeros(u64);

impl Body for Zeros {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        const PART: &[u8] = &[0; 64 << 10];
        let this = self.get_mut();
        let size = this.0.min(PART.len() as u64);
        this.0 -= size;
        let part = Bytes::from_static(&PART[..size as usize]);
        Poll::Ready((size > 0).then(|| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.0 == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spoken {
    H1,
    H2,
}

/// What both sides of the gateway speak.
#[derive(Clone, Copy, Debug)]
struct Way {
    client: Spoken,
    server: Spoken,
    tls: bool,
    /// How large bodies are where nobody says, in MiB: a debug build is slow with frames, and with ciphers.
    quick: u64,
}

const WAYS: [Way; 6] = [
    Way { client: Spoken::H1, server: Spoken::H1, tls: false, quick: 256 },
    Way { client: Spoken::H1, server: Spoken::H2, tls: false, quick: 64 },
    Way { client: Spoken::H2, server: Spoken::H1, tls: false, quick: 64 },
    Way { client: Spoken::H2, server: Spoken::H2, tls: false, quick: 64 },
    Way { client: Spoken::H1, server: Spoken::H1, tls: true, quick: 48 },
    Way { client: Spoken::H2, server: Spoken::H2, tls: true, quick: 48 },
];

impl Way {
    fn in_words(&self, size: u64) -> String {
        let tls = if self.tls { ", over TLS on both sides" } else { "" };
        format!("{} MiB, {:?} to {:?}{tls}", size / MIB, self.client, self.server)
    }
}

/// Certificates that both sides of the gateway are encrypted with.
struct Keys(TempDir);

impl Keys {
    fn make() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        make(folder.path());
        Self(folder)
    }

    fn file(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    /// For `gateway.toml`, where a listener is said.
    fn listener(&self) -> String {
        format!(
            "tls = {{ cert = \"{}\", key = \"{}\" }}\n",
            self.file("leaf.pem"),
            self.file("leaf.key")
        )
    }

    /// For a pool.
    fn pool(&self) -> String {
        format!("tls = {{ ca = \"{}\", server-name = \"localhost\" }}\n", self.file("ca.pem"))
    }

    fn acceptor(&self, spoken: Spoken) -> TlsAcceptor {
        let chain = CertificateDer::pem_file_iter(self.file("leaf.pem")).expect("a chain");
        let chain = chain.map(|one| one.expect("a certificate")).collect();
        let key = PrivateKeyDer::from_pem_file(self.file("leaf.key")).expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.expect("versions").with_no_client_auth();
        let mut config = config.with_single_cert(chain, key).expect("a pair");
        config.alpn_protocols = spoken.alpn();
        TlsAcceptor::from(Arc::new(config))
    }

    fn connector(&self, spoken: Spoken) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_file(self.file("ca.pem")).expect("the authority");
        roots.add(authority).expect("an authority");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.expect("versions").with_root_certificates(roots);
        let mut config = config.with_no_client_auth();
        config.alpn_protocols = spoken.alpn();
        TlsConnector::from(Arc::new(config))
    }
}

impl Spoken {
    fn alpn(self) -> Vec<Vec<u8>> {
        match self {
            Self::H1 => vec![b"http/1.1".to_vec()],
            Self::H2 => vec![b"h2".to_vec()],
        }
    }
}

/// A connection, encrypted or not.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

async fn count(mut body: Incoming) -> u64 {
    let mut size = 0;
    while let Some(frame) = body.frame().await {
        size += frame.expect("a part").data_ref().map_or(0, |data| data.len() as u64);
    }
    size
}

/// Answers `GET /N` with so many zeros, and any other request with the size of its body.
async fn answer(request: Request<Incoming>) -> Result<Response<Zeros>, Infallible> {
    if let Ok(size) = request.uri().path().trim_matches('/').parse() {
        return Ok(Response::new(Zeros(size)));
    }
    let size = count(request.into_body()).await;
    let answer = Response::builder().header("x-size", size).body(Zeros(0));
    Ok(answer.expect("an answer"))
}

/// The endpoint of every protocol.
async fn endpoint(
    spoken: Spoken,
    acceptor: Option<TlsAcceptor>,
    tasks: &mut JoinSet<()>,
) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind an origin");
    let address = listener.local_addr().expect("the origin's address");
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).expect("set nodelay");
            let stream: Box<dyn Stream> = match &acceptor {
                Some(acceptor) => Box::new(acceptor.accept(stream).await.expect("a handshake")),
                None => Box::new(stream),
            };
            let io = TokioIo::new(stream);
            match spoken {
                Spoken::H1 => connections.spawn(async move {
                    let server = hyper::server::conn::http1::Builder::new();
                    drop(server.serve_connection(io, service_fn(answer)).await);
                }),
                Spoken::H2 => connections.spawn(async move {
                    let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    drop(server.serve_connection(io, service_fn(answer)).await);
                }),
            };
        }
    });
    address
}

/// Sends one request on a connection of its own.
async fn ask(
    gateway: SocketAddr,
    (spoken, connector): (Spoken, Option<&TlsConnector>),
    request: Request<Zeros>,
    tasks: &mut JoinSet<()>,
) -> Response<Incoming> {
    let stream = tokio::net::TcpStream::connect(gateway).await.expect("connect");
    // Without it the windows of HTTP/2 open at the pace of delayed acknowledgements.
    stream.set_nodelay(true).expect("set nodelay");
    let name = ServerName::try_from("localhost").expect("a name");
    let stream: Box<dyn Stream> = match connector {
        Some(connector) => Box::new(connector.connect(name, stream).await.expect("a handshake")),
        None => Box::new(stream),
    };
    let io = TokioIo::new(stream);
    match spoken {
        Spoken::H1 => {
            let (mut sender, connection) = http1::handshake(io).await.expect("HTTP/1.1");
            tasks.spawn(async move { drop(connection.await) });
            sender.send_request(request).await.expect("an answer")
        }
        Spoken::H2 => {
            let made = http2::handshake(TokioExecutor::new(), io).await;
            let (mut sender, connection) = made.expect("HTTP/2");
            tasks.spawn(async move { drop(connection.await) });
            sender.send_request(request).await.expect("an answer")
        }
    }
}

/// So many bytes down, and then up.
async fn both_ways(
    gateway: SocketAddr,
    client: (Spoken, Option<&TlsConnector>),
    size: u64,
    tasks: &mut JoinSet<()>,
) {
    let scheme = if client.1.is_some() { "https" } else { "http" };
    let request = |method: &str, path: String, body| {
        let builder = Request::builder().method(method).header("x-tenant-id", "acme");
        let builder = match client.0 {
            Spoken::H1 => builder.uri(path).header("host", "localhost"),
            Spoken::H2 => builder.uri(format!("{scheme}://localhost{path}")),
        };
        builder.body(Zeros(body)).expect("a request")
    };
    let down = ask(gateway, client, request("GET", format!("/{size}"), 0), tasks).await;
    assert_eq!(count(down.into_body()).await, size, "down");
    let up = ask(gateway, client, request("PUT", "/up".to_owned(), size), tasks).await;
    assert_eq!(up.headers()["x-size"], *size.to_string(), "up");
}

/// Where memory is in pieces, a worker that touches memory which is to be of huge pages stands still for
/// milliseconds until the system has made one up.
#[test]
fn no_worker_waits_for_a_huge_page() {
    let gateway = Gateway::start(&routes("127.0.0.1:1".parse().expect("an address"), ""));

    let maps = fs::read_to_string(format!("/proc/{}/smaps", gateway.id())).expect("its memory");

    let mut flags = maps.lines().filter_map(|line| line.strip_prefix("VmFlags:")).peekable();
    assert!(flags.peek().is_some(), "{maps}");
    assert!(!flags.any(|flags| flags.split_whitespace().any(|flag| flag == "hg")), "{maps}");
}

/// What the process has in memory, in bytes: `VmRSS` now, or `VmHWM` at most.
pub(crate) fn memory(gateway: &Gateway, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.id()));
    let status = status.expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    number.expect("a number of kB") << 10
}

/// Forgets the highest so far, and tells what there is now.
fn mark(gateway: &Gateway) -> u64 {
    fs::write(format!("/proc/{}/clear_refs", gateway.id()), "5").expect("forget the peak");
    memory(gateway, "VmRSS")
}

fn routes(endpoint: SocketAddr, keys: &str) -> String {
    format!(
        "[pools.app]\nendpoints = [\"{endpoint}\"]\ntimeouts = {{ total = \"0s\" }}\n{keys}\n\
         [tenants.acme]\npool = \"app\"\n"
    )
}

/// Tenants of two pools, by their ids and nothing else.
fn crowd(tenants: usize) -> String {
    let pool = |name: &str| format!("[pools.{name}]\nendpoints = [\"127.0.0.1:9\"]\n");
    let tenant = |number: usize| format!("[tenants.t{number}]\npool = \"pool_a\"\n");
    let all: String = (0..tenants).map(tenant).collect();
    format!("{}{}{all}", pool("pool_a"), pool("pool_b"))
}

#[test]
fn a_hundred_thousand_tenants_take_little_each_after_the_start_and_after_an_edit() {
    const TENANTS: usize = 100_000;
    let few = memory(&Gateway::start(&crowd(1)), "VmRSS");
    let mut gateway = Gateway::prepare("", &crowd(TENANTS));
    gateway.launch();
    let began = || gateway.ended().is_some() || gateway.admin("/readyz").status == 200;
    eventually_within(PATIENCE, "so large a start", began, |began| *began);
    gateway.wait_ready();
    let each = |gateway: &Gateway| memory(gateway, "VmRSS").saturating_sub(few) / TENANTS as u64;
    let served = |gateway: &Gateway| gateway.metric("tenantry_tenants{state=\"active\"}");

    let started = each(&gateway);
    gateway.edit(&format!("{}[tenants.new]\npool = \"pool_b\"\n", crowd(TENANTS)));
    let all = (TENANTS + 1) as f64;
    let is_done = |tenants: &Option<f64>| *tenants == Some(all);
    eventually_within(PATIENCE, "the edit", || served(&gateway), is_done);

    let edited = each(&gateway);
    println!("{started} bytes a tenant after the start, {edited} after an edit");
    // The tenants themselves are a part of it: what was read stays with the allocator for a while.
    assert!(started < 1024 && edited < 2048, "{started}, then {edited} bytes a tenant");
}

#[test]
fn bodies_of_any_size_pass_both_ways_in_the_same_memory() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let asked = std::env::var("TENANTRY_BODY_MIB").ok().and_then(|size| size.parse::<u64>().ok());
    for way in WAYS {
        let size = asked.unwrap_or(way.quick) * MIB;
        let keys = way.tls.then(Keys::make);
        let (acceptor, connector) = match &keys {
            Some(keys) => (Some(keys.acceptor(way.server)), Some(keys.connector(way.client))),
            None => (None, None),
        };
        let mut tasks = JoinSet::new();
        let address = runtime.block_on(endpoint(way.server, acceptor, &mut tasks));
        let protocol = if way.server == Spoken::H2 { "protocol = \"h2\"\n" } else { "" };
        let pool = keys.as_ref().map_or(String::new(), Keys::pool) + protocol;
        let listener = keys.as_ref().map_or(String::new(), Keys::listener);
        let more = format!("{listener}[downstream]\nmax-body = \"1000GiB\"\n");
        let gateway = Gateway::start_with(&more, &routes(address, &pool));
        let (to, client) = (gateway.listener(), (way.client, connector.as_ref()));
        runtime.block_on(both_ways(to, client, 16 * MIB, &mut tasks));

        let (before, started) = (mark(&gateway), Instant::now());
        runtime.block_on(both_ways(to, client, size, &mut tasks));

        let grown = memory(&gateway, "VmHWM").saturating_sub(before);
        let what = way.in_words(size);
        println!("{what}: {} KiB more at most, {:?}", grown >> 10, started.elapsed());
        assert!(grown < 32 * MIB, "{what}: {grown} bytes more");
    }
}

/// Writes to each client as much as it takes, and tells how much that was in all.
fn pouring() -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind an origin");
    let address = listener.local_addr().expect("the origin's address");
    let poured = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&poured);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let count = Arc::clone(&count);
            thread::spawn(move || pour(stream, &count));
        }
    });
    (address, poured)
}

fn pour(mut stream: TcpStream, count: &AtomicU64) -> std::io::Result<()> {
    let (mut asked, mut byte) = (Vec::new(), [0]);
    while !asked.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        asked.push(byte[0]);
    }
    if asked.starts_with(b"GET /small ") {
        return stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")?;
    loop {
        stream.write_all(&[0; 16 << 10])?;
        count.fetch_add(16 << 10, Ordering::Relaxed);
    }
}

const GREEDY: usize = 100;

/// Connections of clients that ask for much and read nothing.
type Greedy = fn(SocketAddr) -> Vec<TcpStream>;

/// As many connections that ask and do not read.
fn greedy_of_http1(gateway: SocketAddr) -> Vec<TcpStream> {
    let open = || {
        let mut stream = TcpStream::connect(gateway).expect("connect");
        let asked = b"GET /pour HTTP/1.1\r\nHost: a\r\nX-Tenant-ID: acme\r\n\r\n";
        stream.write_all(asked).expect("ask");
        stream
    };
    std::iter::repeat_with(open).take(GREEDY).collect()
}

/// One connection with as many streams, all windows wide open, that does not read.
fn greedy_of_http2(gateway: SocketAddr) -> Vec<TcpStream> {
    let frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        let size = u32::try_from(payload.len()).expect("a small frame").to_be_bytes();
        [&size[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    };
    let mut fields = Vec::new();
    for (name, value) in [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/pour"),
        ("x-tenant-id", "acme"),
    ] {
        let sized = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
        fields.extend([vec![0], sized(name), sized(value)].concat());
    }
    let window = 0x7fff_ffff_u32.to_be_bytes();
    let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    sent.extend(frame(4, 0, 0, &[&[0, 4], &window[..]].concat())); // SETTINGS
    sent.extend(frame(8, 0, 0, &(0x7fff_ffff_u32 - 65_535).to_be_bytes())); // WINDOW_UPDATE
    for number in 0..GREEDY {
        let stream = 2 * u32::try_from(number).expect("few streams") + 1;
        sent.extend(frame(1, 5, stream, &fields)); // HEADERS, whole and all
    }
    let mut stream = TcpStream::connect(gateway).expect("connect");
    stream.write_all(&sent).expect("ask");
    vec![stream]
}

/// Waits until more than `first` has been poured, and nothing for 300 ms.
fn rest(poured: &AtomicU64, first: u64) {
    let (mut last, mut looks) = (first, 0);
    let look = || {
        let now = poured.load(Ordering::Relaxed);
        looks = if now == last { looks + 1 } else { 0 };
        last = now;
        (now, looks)
    };
    eventually("the end of the pouring", look, |(now, looks)| *now > first && *looks > 15);
}

#[test]
fn clients_that_read_nothing_take_what_is_theirs_and_leave_it_to_the_next() {
    let greedy: [(&str, Greedy, u64); 2] =
        [("HTTP/1.1", greedy_of_http1, 1 << 20), ("HTTP/2", greedy_of_http2, 700 << 10)];
    for (what, greedy, each) in greedy {
        let (address, poured) = pouring();
        let gateway = Gateway::start(&routes(address, ""));
        let small = || gateway.get("acme", "/small", &[]).body;
        assert_eq!(small(), "ok", "{what}");
        let before = mark(&gateway);

        let mut peaks = Vec::new();
        for _ in 0..5 {
            let first = poured.load(Ordering::Relaxed);
            let clients = greedy(gateway.listener());
            rest(&poured, first);
            assert_eq!(small(), "ok", "{what}: a client beside them");
            drop(clients);
            let open = || gateway.metric("tenantry_upstream_connections{pool=\"app\"}");
            eventually("the end of the answers", open, |open| open.is_some_and(|open| open < 2.0));
            peaks.push(memory(&gateway, "VmHWM").saturating_sub(before));
        }

        println!("{what}: {peaks:?} bytes more at most");
        // The allocator of each worker keeps what it had for the next ones; five times over would be
        // more than this.
        let most = peaks.iter().max().copied().unwrap_or_default();
        assert!(most < GREEDY as u64 * each, "{what}: {peaks:?} bytes more");
    }
}
