//! Endpoints that break on demand: within the suite, or as a process that can be killed and stopped.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustls::ServerConfig;
use socket2::SockRef;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

use super::world::process::Process;

/// How an endpoint behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Sound,
    /// Resets what connects, and the connections that it has.
    ResetsConnections,
    /// Resets once it has read the request.
    ResetsRequests,
    /// Resets within the head of its answer.
    ResetsHeads,
    /// Resets within the body of its answer.
    ResetsBodies,
    /// Takes connections and requests, and never answers.
    Silent,
    /// A byte a second, from the first one of its answer.
    Drips,
    /// Answers with bytes that are no HTTP.
    Garbage,
    /// Answers so much later.
    Slow(Duration),
    /// Answers requests with this status, and checks well.
    Says(u16),
}

/// An endpoint of the suite's own process. It ends when it is dropped.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    mode: watch::Sender<Mode>,
    seen: Arc<AtomicUsize>,
    _serving: JoinSet<()>,
}

impl Origin {
    pub(crate) async fn start(address: &str, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind(address).await.expect("bind an endpoint");
        let address = listener.local_addr().expect("an endpoint's address");
        let mode = watch::Sender::new(Mode::Sound);
        let seen = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&seen);
        let note = move || {
            count.fetch_add(1, Ordering::Relaxed);
        };
        let mut serving = JoinSet::new();
        serving.spawn_local(accept(listener, tls, mode.subscribe(), note));
        Self { address, mode, seen, _serving: serving }
    }

    pub(crate) fn be(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// How many requests of users it has read.
    pub(crate) fn seen(&self) -> usize {
        self.seen.load(Ordering::Relaxed)
    }
}

/// An endpoint that is a process.
pub(crate) struct Apart {
    pub(crate) address: SocketAddr,
    process: Option<Process>,
    folder: TempDir,
}

impl Apart {
    pub(crate) fn start(address: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        // The port is taken and given back: nobody else takes one of this address.
        let listener = std::net::TcpListener::bind(address).expect("bind an endpoint");
        let address = listener.local_addr().expect("an endpoint's address");
        drop(listener);
        let mut apart = Self { address, process: None, folder };
        apart.restart();
        apart
    }

    pub(crate) fn restart(&mut self) {
        self.process = None;
        let program = std::env::current_exe().expect("this program");
        let mut command = Command::new(program);
        command
            .args([AS_PROCESS, &self.address.to_string()])
            .arg(self.count())
            .stdin(Stdio::null());
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

/// The first argument of a process that is an endpoint; its address and a file follow, which is a byte
/// longer with each request that it has read: a count that outlives it.
pub(crate) const AS_PROCESS: &str = "as-endpoint";

pub(crate) fn serve_as_process(address: &str, count: &str) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let count = OpenOptions::new().create(true).append(true).open(count).expect("open the count");
    let count = Rc::new(count);
    let note = move || (&*count).write_all(b"|").expect("count a request");
    let serve = async {
        let listener = TcpListener::bind(address).await.expect("bind an endpoint");
        let mode = watch::Sender::new(Mode::Sound);
        accept(listener, None, mode.subscribe(), note).await;
    };
    LocalSet::new().block_on(&runtime, serve);
    ExitCode::SUCCESS
}

async fn accept(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    mode: watch::Receiver<Mode>,
    note: impl Fn() + Clone + 'static,
) {
    let tls = tls.map(TlsAcceptor::from);
    let mut serving = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        serving.spawn_local(connection(stream, tls.clone(), mode.clone(), note.clone()));
        while serving.try_join_next().is_some() {}
    }
}

async fn connection(
    mut stream: TcpStream,
    tls: Option<TlsAcceptor>,
    mode: watch::Receiver<Mode>,
    note: impl Fn(),
) {
    drop(stream.set_nodelay(true));
    match tls {
        Some(tls) => {
            if let Ok(mut stream) = tls.accept(stream).await {
                converse(&mut stream, mode, note).await;
            }
        }
        None => {
            if converse(&mut stream, mode, note).await == Some(End::Reset) {
                // With this, closing is a RST.
                drop(SockRef::from(&stream).set_linger(Some(Duration::ZERO)));
            }
        }
    }
}

#[derive(PartialEq, Eq)]
enum End {
    Reset,
}

/// Answers one request after the other; `None` where the gateway has left.
async fn converse<S>(
    stream: &mut S,
    mut mode: watch::Receiver<Mode>,
    note: impl Fn(),
) -> Option<End>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let read = tokio::select! {
            _ = mode.wait_for(|mode| *mode == Mode::ResetsConnections) => return Some(End::Reset),
            read = read_request(stream) => read,
        };
        let is_check = read?;
        if !is_check {
            note();
        }
        let now = *mode.borrow();
        match now {
            Mode::Sound | Mode::ResetsConnections => stream.write_all(SOUND).await.ok()?,
            Mode::ResetsRequests => return Some(End::Reset),
            Mode::ResetsHeads => {
                stream.write_all(&SOUND[..20]).await.ok()?;
                sleep(APART).await;
                return Some(End::Reset);
            }
            Mode::ResetsBodies => {
                stream.write_all(&SOUND[..SOUND.len() - 3]).await.ok()?;
                sleep(APART).await;
                return Some(End::Reset);
            }
            Mode::Silent => std::future::pending().await,
            Mode::Drips => {
                for byte in SOUND {
                    stream.write_all(&[*byte]).await.ok()?;
                    sleep(Duration::from_secs(1)).await;
                }
            }
            Mode::Garbage => {
                stream
                    .write_all(&[0x16, 0x03, 0xFF, 0x00, b'\r', b'\n', b'\r', b'\n'])
                    .await
                    .ok()?;
                return None;
            }
            Mode::Slow(time) => {
                sleep(time).await;
                stream.write_all(SOUND).await.ok()?;
            }
            Mode::Says(_) if is_check => stream.write_all(SOUND).await.ok()?,
            Mode::Says(status) => {
                let answer = format!("HTTP/1.1 {status} So\r\nContent-Length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.ok()?;
            }
        }
    }
}

/// Reads a request with its body and tells whether it is a health check.
async fn read_request<S: AsyncRead + Unpin>(stream: &mut S) -> Option<bool> {
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
    while bytes.len() < head + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    Some(text.starts_with("get /healthz"))
}

const SOUND: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nsound";
/// 5 ms: what was written is read before the reset, which would else throw it away.
const APART: Duration = Duration::from_millis(5);
