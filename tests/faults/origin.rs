//! Endpoints that break on demand: on threads of their own within the suite, or as a process that can be killed and
//! stopped.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::{SocketAddr, TcpListener as Bound};
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustls::ServerConfig;
use socket2::{Domain, SockRef, Socket, Type};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

use super::streams;
use super::world::process::Process;

/// How an endpoint behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Sound,
    /// Resets what connects, and the connections that it has.
    ResetsConnections,
    /// Resets what connects by TLS once it has read the first bytes of it.
    ResetsHandshakes,
    /// Resets while it is sent the body of a request.
    ResetsUploads,
    /// Resets once it has read the request.
    ResetsRequests,
    /// The same to users, and checks well.
    ResetsUsers,
    /// Resets within the head of its answer.
    ResetsHeads,
    /// Resets within the body of its answer.
    ResetsBodies,
    /// Takes connections and requests, and never answers.
    Silent,
    /// A byte a second, from the first one of its answer.
    Drips,
    /// The same from the first one of the body, to users: checks want no body.
    DripsBodies,
    /// Answers with bytes that are no HTTP.
    Garbage,
    /// Resets the stream once it has read the request, and keeps the connection: of HTTP/2.
    ResetsStreams,
    /// Answers so much later.
    Slow(Duration),
    /// Answers requests with this status, and checks well; calls of gRPC with UNAVAILABLE.
    Says(u16),
}

/// What an endpoint speaks.
#[derive(Clone, Debug)]
pub(crate) enum Speaks {
    H1,
    /// HTTP/1.1 over TLS.
    Tls(Arc<ServerConfig>),
    /// HTTP/2 by prior knowledge, and gRPC.
    H2,
}

/// What an endpoint has noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A connection was opened.
    Opened,
    /// A request of a user was read.
    Request,
    /// A connection or a request met something else than a sound endpoint.
    Hurt,
}

/// An endpoint on a thread of its own. It ends when this is dropped.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    mode: watch::Sender<Mode>,
    counts: Arc<[AtomicUsize; 3]>,
}

impl Origin {
    pub(crate) fn start(address: &str, speaks: Speaks) -> Self {
        let listener = listen(address.parse().expect("an address"));
        let address = listener.local_addr().expect("an endpoint's address");
        let mode = watch::Sender::new(Mode::Sound);
        let mut told = mode.subscribe();
        let counts = Arc::new([const { AtomicUsize::new(0) }; 3]);
        let noted = Arc::clone(&counts);
        let note = move |event: Event| {
            noted[event as usize].fetch_add(1, Ordering::Relaxed);
        };
        let serve = async move {
            let serving = accept(listener, speaks, told.clone(), note);
            let dropped = async { while told.changed().await.is_ok() {} };
            tokio::select! {
                () = serving => {}
                () = dropped => {}
            }
        };
        let endpoint = thread::Builder::new().name("endpoint".to_owned());
        endpoint.spawn(|| super::block_on(serve)).expect("a thread");
        Self { address, mode, counts }
    }

    pub(crate) fn be(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// How many requests of users it has read.
    pub(crate) fn seen(&self) -> usize {
        self.count(Event::Request)
    }

    /// How many connections were opened to it, those of checks included.
    pub(crate) fn opened(&self) -> usize {
        self.count(Event::Opened)
    }

    /// How many connections and requests have met it while it was not sound.
    pub(crate) fn hurt(&self) -> usize {
        self.count(Event::Hurt)
    }

    fn count(&self, event: Event) -> usize {
        self.counts[event as usize].load(Ordering::Relaxed)
    }
}

/// An address of all interfaces is one of the machine's own alone: what breaks here is nobody else's to reach.
fn listen(address: SocketAddr) -> Bound {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    if address.ip().is_unspecified() {
        socket.bind_device(Some(b"lo")).expect("bind to the loopback interface");
    }
    // One that was killed has left connections behind.
    socket.set_reuse_address(true).expect("use an address again");
    socket.bind(&address.into()).expect("bind an endpoint");
    socket.listen(1024).expect("listen as an endpoint");
    socket.set_nonblocking(true).expect("an endpoint's socket");
    socket.into()
}

/// An endpoint that is a process.
pub(crate) struct Apart {
    pub(crate) address: SocketAddr,
    /// HTTP/1.1 where it is not HTTP/2.
    is_h2: bool,
    process: Option<Process>,
    folder: TempDir,
}

impl Apart {
    pub(crate) fn start(speaks: &Speaks) -> Self {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let folder = tempfile::tempdir().expect("a folder");
        // The port is taken and given back: nobody else takes one of this address.
        let last = 11 + STARTED.fetch_add(1, Ordering::Relaxed) % 200;
        let listener = Bound::bind(format!("127.0.2.{last}:0")).expect("bind an endpoint");
        let address = listener.local_addr().expect("an endpoint's address");
        drop(listener);
        let is_h2 = matches!(speaks, Speaks::H2);
        let mut apart = Self { address, is_h2, process: None, folder };
        apart.restart();
        apart
    }

    pub(crate) fn restart(&mut self) {
        self.process = None;
        let program = std::env::current_exe().expect("this program");
        let mut command = super::own::tied(&program);
        command
            .args([AS_PROCESS, if self.is_h2 { H2 } else { H1 }, &self.address.to_string()])
            .arg(self.count())
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        self.process = Some(Process::start(&mut command));
    }

    pub(crate) fn signal(&self, name: &str) {
        self.process.as_ref().expect("it runs").signal(name);
    }

    /// How many requests of users it has read.
    pub(crate) fn seen(&self) -> usize {
        let length = fs::metadata(self.count()).map_or(0, |file| file.len());
        usize::try_from(length).unwrap_or(usize::MAX)
    }

    fn count(&self) -> PathBuf {
        self.folder.path().join("count")
    }
}

/// The first argument of a process that is an endpoint; what it speaks, its address and a file follow, which is a byte
/// longer with each request that it has read: a count that outlives it.
pub(crate) const AS_PROCESS: &str = "as-endpoint";
const H1: &str = "h1";
const H2: &str = "h2";

pub(crate) fn serve_as_process(speaks: &str, address: &str, count: &str) -> ExitCode {
    let speaks = if speaks == H2 { Speaks::H2 } else { Speaks::H1 };
    let count = OpenOptions::new().create(true).append(true).open(count).expect("open the count");
    let count = Rc::new(count);
    let note = move |event: Event| {
        if event == Event::Request {
            (&*count).write_all(b"|").expect("count a request");
        }
    };
    let listener = listen(address.parse().expect("an address"));
    let mode = watch::Sender::new(Mode::Sound);
    super::block_on(accept(listener, speaks, mode.subscribe(), note));
    ExitCode::SUCCESS
}

async fn accept(
    listener: Bound,
    speaks: Speaks,
    mode: watch::Receiver<Mode>,
    note: impl Fn(Event) + Clone + 'static,
) {
    let listener = TcpListener::from_std(listener).expect("an endpoint's socket");
    let mut serving = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        note(Event::Opened);
        serving.spawn_local(connection(stream, speaks.clone(), mode.clone(), note.clone()));
        while serving.try_join_next().is_some() {}
    }
}

async fn connection(
    mut stream: TcpStream,
    speaks: Speaks,
    mode: watch::Receiver<Mode>,
    note: impl Fn(Event) + Clone + 'static,
) {
    drop(stream.set_nodelay(true));
    // Closed once this is, too.
    let held = SockRef::from(&stream).try_clone().expect("an endpoint's connection");
    let end = match speaks {
        Speaks::Tls(_) if *mode.borrow() == Mode::ResetsHandshakes => {
            drop(stream.read(&mut [0; 16]).await);
            note(Event::Hurt);
            Some(End::Reset)
        }
        Speaks::Tls(tls) => {
            if let Ok(mut stream) = TlsAcceptor::from(tls).accept(stream).await {
                converse(&mut stream, mode, note).await;
            }
            None
        }
        Speaks::H1 => converse(&mut stream, mode, note).await,
        Speaks::H2 => streams::converse(stream, mode, note).await,
    };
    if end == Some(End::Reset) {
        // With this, closing is a RST.
        drop(held.set_linger(Some(Duration::ZERO)));
    }
}

#[derive(PartialEq, Eq)]
pub(crate) enum End {
    Reset,
}

/// Answers one request after the other; `None` where the gateway has left.
async fn converse<S>(
    stream: &mut S,
    mut mode: watch::Receiver<Mode>,
    note: impl Fn(Event),
) -> Option<End>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let request = tokio::select! {
            _ = mode.wait_for(|mode| *mode == Mode::ResetsConnections) => {
                note(Event::Hurt);
                return Some(End::Reset);
            }
            request = read_head(stream) => request?,
        };
        if !request.is_check {
            note(Event::Request);
        }
        let now = mode.borrow().as_met_by(&request);
        if now != Mode::Sound {
            note(Event::Hurt);
        }
        if now == Mode::ResetsUploads {
            return Some(End::Reset);
        }
        read_body(stream, request.to_come).await?;
        if let Some(end) = answer(stream, now).await? {
            return Some(end);
        }
    }
}

impl Mode {
    /// Some see nothing of it.
    pub(crate) fn as_met_by(self, request: &Request) -> Self {
        let is_spared = match self {
            Self::Says(_) | Self::ResetsUsers | Self::DripsBodies => request.is_check,
            Self::ResetsUploads => request.to_come == 0,
            Self::ResetsHandshakes => true,
            _ => false,
        };
        if is_spared { Self::Sound } else { self }
    }
}

/// Tells how the connection ends, where it does; `None` where the gateway has left.
async fn answer<S: AsyncWrite + Unpin>(stream: &mut S, mode: Mode) -> Option<Option<End>> {
    let body = SOUND.len() - BODY;
    match mode {
        Mode::Silent => std::future::pending().await,
        Mode::ResetsRequests | Mode::ResetsUsers => return Some(Some(End::Reset)),
        Mode::ResetsHeads | Mode::ResetsBodies => {
            let most = if mode == Mode::ResetsHeads { 20 } else { body + 2 };
            stream.write_all(&SOUND[..most]).await.ok()?;
            sleep(APART).await;
            return Some(Some(End::Reset));
        }
        Mode::Drips => drip(stream, SOUND).await?,
        Mode::DripsBodies => {
            stream.write_all(&SOUND[..body]).await.ok()?;
            drip(stream, &SOUND[body..]).await?;
        }
        Mode::Garbage => {
            let no_http = [0x16, 0x03, 0xFF, 0x00, b'\r', b'\n', b'\r', b'\n'];
            stream.write_all(&no_http).await.ok()?;
            return None;
        }
        Mode::Says(status) => {
            let answer = format!("HTTP/1.1 {status} So\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.ok()?;
        }
        Mode::Slow(time) => {
            sleep(time).await;
            stream.write_all(SOUND).await.ok()?;
        }
        _ => stream.write_all(SOUND).await.ok()?,
    }
    Some(None)
}

async fn drip<S: AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) -> Option<()> {
    for byte in bytes {
        sleep(Duration::from_secs(1)).await;
        stream.write_all(&[*byte]).await.ok()?;
    }
    Some(())
}

pub(crate) struct Request {
    pub(crate) is_check: bool,
    /// How many bytes of its body are not read yet.
    pub(crate) to_come: usize,
}

/// Reads the head of a request, and what has come of its body with it.
async fn read_head<S: AsyncRead + Unpin>(stream: &mut S) -> Option<Request> {
    let mut bytes = Vec::with_capacity(1024);
    let head = loop {
        if let Some(at) = bytes.windows(4).position(|end| end == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    let to_come = (head + length).saturating_sub(bytes.len());
    Some(Request { is_check: text.starts_with("get /healthz"), to_come })
}

async fn read_body<S: AsyncRead + Unpin>(stream: &mut S, mut to_come: usize) -> Option<()> {
    let mut bytes = [0; 4096];
    while to_come > 0 {
        let read = stream.read(&mut bytes).await.ok().filter(|read| *read > 0)?;
        to_come = to_come.saturating_sub(read);
    }
    Some(())
}

const SOUND: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nsound";
/// So many bytes of it are the body.
const BODY: usize = 5;
/// 5 ms: what was written is read before the reset, which would else throw it away.
const APART: Duration = Duration::from_millis(5);
