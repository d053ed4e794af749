//! An HTTP/1 endpoint that answers by script and remembers what it got.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

use super::eventually;
use super::message::{Asked, fields};
use super::unreachable::Refusing;
use super::wire::{Framing, Piece, Wire};

/// What an origin does with one request.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    first: Vec<u8>,
    reads: bool,
    held: bool,
    takes: Duration,
    answer: Vec<u8>,
    more: usize,
    after: After,
}

#[derive(Clone, Copy, Debug)]
enum After {
    Keep,
    Close,
    Reset,
    Stall,
    Echo,
}

impl Step {
    /// Answers 200 with this body.
    pub(crate) fn ok(body: &str) -> Self {
        Self::answer(200, body)
    }

    /// Answers with this status and body.
    pub(crate) fn answer(status: u16, body: &str) -> Self {
        let length = body.len();
        Self::raw(format!("HTTP/1.1 {status} Said\r\nContent-Length: {length}\r\n\r\n{body}"))
    }

    /// Answers with these bytes.
    pub(crate) fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        let (first, answer) = (Vec::new(), bytes.into());
        let (held, takes) = (false, Duration::ZERO);
        Self { first, reads: true, held, takes, answer, more: 0, after: After::Keep }
    }

    /// Closes the connection without a word.
    pub(crate) fn close() -> Self {
        Self::raw("").and_close()
    }

    /// Resets the connection without a word.
    pub(crate) fn reset() -> Self {
        Self::raw("").and_reset()
    }

    /// Says nothing, and keeps the connection open.
    pub(crate) fn stall() -> Self {
        Self::raw("").and_stall()
    }

    /// Closes the connection after its bytes.
    pub(crate) fn and_close(self) -> Self {
        Self { after: After::Close, ..self }
    }

    /// Resets the connection after its bytes.
    pub(crate) fn and_reset(self) -> Self {
        Self { after: After::Reset, ..self }
    }

    /// Falls silent after its bytes, and reads no more.
    pub(crate) fn and_stall(self) -> Self {
        Self { after: After::Stall, ..self }
    }

    /// Sends back what comes after its bytes, as it comes.
    pub(crate) fn and_echo(self) -> Self {
        Self { after: After::Echo, ..self }
    }

    /// Says this as soon as it has the head, before it reads the body.
    pub(crate) fn after(self, first: &str) -> Self {
        Self { first: first.into(), ..self }
    }

    /// Answers as soon as it has the head, and never reads the body.
    pub(crate) fn unread(self) -> Self {
        Self { reads: false, ..self }
    }

    /// Answers when the test says [`Origin::release`].
    pub(crate) fn held(self) -> Self {
        Self { held: true, ..self }
    }

    /// Answers so long after the request, and no sooner.
    pub(crate) fn taking(self, takes: Duration) -> Self {
        Self { takes, ..self }
    }

    /// Writes so many further bytes after the answer; [`Origin::written`] counts them.
    pub(crate) fn with_more(self, more: usize) -> Self {
        Self { more, ..self }
    }
}

/// An endpoint. Dropped, it closes its socket and all connections.
pub(crate) struct Origin {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

struct Shared {
    state: Mutex<State>,
    released: Semaphore,
}

#[derive(Default)]
struct State {
    script: Vec<Step>,
    connections: usize,
    open: usize,
    asked: Vec<Asked>,
    heads: Vec<Vec<u8>>,
    written: usize,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Origin {
    /// Answers every request with 200 and this body.
    pub(crate) async fn saying(body: &str) -> Self {
        Self::start([Step::ok(body)]).await
    }

    /// Answers the requests, in the order in which their heads come, by these steps; the last one
    /// is for all that follow.
    pub(crate) async fn start(script: impl IntoIterator<Item = Step>) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), script).await
    }

    /// As [`Origin::start`], at an address that an origin had before.
    pub(crate) async fn start_at(
        address: SocketAddr,
        script: impl IntoIterator<Item = Step>,
    ) -> Self {
        let listener = TcpListener::bind(address).await.expect("bind an origin");
        Self::serve(listener, script, None)
    }

    /// As [`Origin::start`], at an address that has refused connections until now.
    pub(crate) fn start_on(refusing: Refusing, script: impl IntoIterator<Item = Step>) -> Self {
        Self::serve(refusing.listen(), script, None)
    }

    /// As [`Origin::start`], with TLS.
    pub(crate) async fn start_tls(
        tls: Arc<ServerConfig>,
        script: impl IntoIterator<Item = Step>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind an origin");
        Self::serve(listener, script, Some(tls))
    }

    fn serve(
        listener: TcpListener,
        script: impl IntoIterator<Item = Step>,
        tls: Option<Arc<ServerConfig>>,
    ) -> Self {
        let address = listener.local_addr().expect("the origin's address");
        let state = State { script: script.into_iter().collect(), ..State::default() };
        let shared = Arc::new(Shared { state: Mutex::new(state), released: Semaphore::new(0) });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&shared), tls));
        Self { address, shared, _tasks: tasks }
    }

    /// Answers by these steps from now on.
    pub(crate) fn rescript(&self, script: impl IntoIterator<Item = Step>) {
        self.shared.state().script = script.into_iter().collect();
    }

    /// Lets one held answer go.
    pub(crate) fn release(&self) {
        self.shared.released.add_permits(1);
    }

    /// How many connections came.
    pub(crate) fn connections(&self) -> usize {
        self.shared.state().connections
    }

    /// How many connections are open.
    pub(crate) fn open(&self) -> usize {
        self.shared.state().open
    }

    /// The requests whose heads have come.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.shared.state().asked.clone()
    }

    /// The bytes of the heads that have come.
    pub(crate) fn heads(&self) -> Vec<String> {
        let state = self.shared.state();
        state.heads.iter().map(|head| String::from_utf8_lossy(head).into_owned()).collect()
    }

    /// How many bytes of [`Step::with_more`] were written.
    pub(crate) fn written(&self) -> usize {
        self.shared.state().written
    }

    /// Waits until so many requests have come whole.
    pub(crate) async fn wait_for(&self, count: usize) -> Vec<Asked> {
        let whole = |asked: &Vec<Asked>| asked.iter().filter(|asked| asked.whole).count() >= count;
        eventually("a request at the origin", || self.asked(), whole).await
    }

    /// The one request that has come whole.
    pub(crate) async fn only(&self) -> Asked {
        let mut asked = self.wait_for(1).await;
        assert_eq!(asked.len(), 1, "{asked:?}");
        asked.remove(0)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, tls: Option<Arc<ServerConfig>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let number = {
            let mut state = shared.state();
            state.connections += 1;
            state.connections - 1
        };
        let connection = Connection { number, shared: Arc::clone(&shared) };
        connections.spawn(connection.serve(stream, tls.clone()));
    }
}

struct Connection {
    number: usize,
    shared: Arc<Shared>,
}

/// What becomes of a connection after a step.
enum Then {
    Next,
    End,
    Reset,
}

impl Connection {
    async fn serve(self, stream: TcpStream, tls: Option<Arc<ServerConfig>>) {
        let _open = Open::count(&self.shared);
        stream.set_nodelay(true).expect("set nodelay");
        let socket = socket2::SockRef::from(&stream).try_clone().expect("a handle of the socket");
        let mut wire = match tls {
            None => Wire::new(stream),
            Some(tls) => match TlsAcceptor::from(tls).accept(stream).await {
                Ok(stream) => Wire::new(stream),
                Err(_) => return, // the gateway does not like our certificate
            },
        };
        while let Some(head) = wire.head().await {
            match self.answer(&mut wire, &head).await {
                Then::Next => {}
                Then::End => break,
                Then::Reset => {
                    socket.set_linger(Some(Duration::ZERO)).expect("set linger");
                    break;
                }
            }
        }
    }

    async fn answer(&self, wire: &mut Wire, head: &[u8]) -> Then {
        let (index, step, framing) = self.note(head);
        if wire.write(&step.first).await.is_err() {
            return Then::End;
        }
        if step.reads && !self.read_body(wire, framing, index).await {
            return Then::End;
        }
        if step.held {
            let permit = self.shared.released.acquire().await.expect("it is never closed");
            permit.forget();
        }
        sleep(step.takes).await;
        if wire.write(&step.answer).await.is_err() || !self.write_more(wire, step.more).await {
            return Then::End;
        }
        match step.after {
            After::Keep => Then::Next,
            After::Close => Then::End,
            After::Reset => Then::Reset,
            After::Stall => std::future::pending().await,
            After::Echo => {
                echo(wire).await;
                Then::End
            }
        }
    }

    fn note(&self, head: &[u8]) -> (usize, Step, Framing) {
        let text = String::from_utf8_lossy(head).into_owned();
        let mut lines = text.split("\r\n");
        let mut words = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
        let asked = Asked {
            method: words.next().unwrap_or_default(),
            target: words.next().unwrap_or_default(),
            headers: fields(lines),
            connection: self.number,
            ..Asked::default()
        };
        let framing = Framing::of(&asked.headers, Framing::Length(0));
        let mut state = self.shared.state();
        let index = state.asked.len();
        state.asked.push(asked);
        state.heads.push(head.to_owned());
        let step = match state.script.len() {
            0 => panic!("the origin has no script"),
            1 => state.script[0].clone(),
            _ => state.script.remove(0),
        };
        (index, step, framing)
    }

    async fn read_body(&self, wire: &mut Wire, framing: Framing, index: usize) -> bool {
        let whole = wire
            .body(framing, |piece| {
                let asked = &mut self.shared.state().asked[index];
                match piece {
                    Piece::Data(data) => asked.body.extend_from_slice(&data),
                    Piece::Trailers(trailers) => asked.trailers = trailers,
                }
            })
            .await;
        self.shared.state().asked[index].whole = whole;
        whole
    }

    async fn write_more(&self, wire: &mut Wire, mut left: usize) -> bool {
        let part = vec![b'x'; 16 << 10];
        while left > 0 {
            let size = left.min(part.len());
            match wire.stream.write(&part[..size]).await {
                Err(_) => return false,
                Ok(written) => {
                    left -= written;
                    self.shared.state().written += written;
                }
            }
        }
        true
    }
}

async fn echo(wire: &mut Wire) {
    let mut part = vec![0; 16 << 10];
    while let Ok(size) = wire.stream.read(&mut part).await {
        if size == 0 || wire.write(&part[..size]).await.is_err() {
            return;
        }
    }
}

/// Counts a connection as open until dropped.
struct Open(Arc<Shared>);

impl Open {
    fn count(shared: &Arc<Shared>) -> Self {
        shared.state().open += 1;
        Self(Arc::clone(shared))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.state().open -= 1;
    }
}
