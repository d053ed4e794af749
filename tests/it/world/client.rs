//! Clients: one that sends the very bytes it is told to, and hyper's for HTTP/2.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use super::message::{Answer, fields};
use super::wire::{Framing, Piece, Stream, Wire};
use super::{eventually, within};

/// `GET path` by a tenant, on a connection of its own.
pub(crate) async fn get(address: SocketAddr, tenant: &str, path: &str) -> Answer {
    let head = format!("GET {path} HTTP/1.1\r\nHost: a.example\r\nX-Tenant-ID: {tenant}\r\n\r\n");
    Client::connect(address).await.ask(&head).await
}

/// A request with these lines of fields, on a connection of its own. `Host` is among them or not,
/// as the test likes.
pub(crate) async fn ask(address: SocketAddr, line: &str, fields: &[&str]) -> Answer {
    Client::connect(address).await.ask(&head(line, fields)).await
}

/// The bytes of a head.
pub(crate) fn head(line: &str, fields: &[&str]) -> String {
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    format!("{line} HTTP/1.1\r\n{fields}\r\n")
}

/// An HTTP/1 client that sends what it is told to.
pub(crate) struct Client {
    pub(crate) wire: Wire,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self { wire: Wire::connect(address).await }
    }

    /// The same from an address of this machine.
    pub(crate) async fn connect_from(from: &str, to: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(format!("{from}:0").parse().expect("an address")).expect("bind");
        Self::over(within("a connection", socket.connect(to)).await.expect("connect"))
    }

    pub(crate) fn over(stream: impl Stream + 'static) -> Self {
        Self { wire: Wire::new(stream) }
    }

    /// Sends a request and reads its answer.
    pub(crate) async fn ask(&mut self, request: impl AsRef<[u8]>) -> Answer {
        let request = request.as_ref();
        self.send(request).await;
        let method = request.split(|byte| *byte == b' ').next();
        self.answer_to(&String::from_utf8_lossy(method.unwrap_or_default())).await
    }

    /// Sends bytes. That the gateway no longer reads is seen by its answer.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        drop(within("room for the request", self.wire.write(bytes.as_ref())).await);
    }

    /// Reads the answer to a request of this method. No answer has the status 0.
    pub(crate) async fn answer_to(&mut self, method: &str) -> Answer {
        within("an answer", self.read(method)).await
    }

    /// Reads the head of the answer alone.
    pub(crate) async fn answer_head(&mut self) -> Answer {
        within("the head of an answer", self.read_head(Vec::new())).await
    }

    async fn read(&mut self, method: &str) -> Answer {
        let mut interim = Vec::new();
        let mut answer = loop {
            let answer = self.read_head(interim).await;
            if !(100..200).contains(&answer.status) || answer.status == 101 {
                break answer;
            }
            interim = answer.interim;
            interim.push(answer.status);
        };
        if method == "HEAD" || matches!(answer.status, 0 | 101 | 204 | 304) {
            answer.whole = answer.status != 0;
            return answer;
        }
        let framing = Framing::of(&answer.headers, Framing::UntilEnd);
        let mut body = Vec::new();
        let mut trailers = HeaderMap::new();
        let whole = self.wire.body(framing, |piece| match piece {
            Piece::Data(data) => body.extend_from_slice(&data),
            Piece::Trailers(fields) => trailers = fields,
        });
        answer.whole = whole.await;
        Answer { body, trailers, ..answer }
    }

    async fn read_head(&mut self, interim: Vec<u16>) -> Answer {
        let Some(head) = self.wire.head().await else {
            return Answer { interim, ..Answer::default() };
        };
        let head = String::from_utf8_lossy(&head).into_owned();
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let status = status.expect("a status");
        Answer { status, headers: fields(lines), interim, ..Answer::default() }
    }

    /// Whether the gateway closes the connection without another byte.
    pub(crate) async fn is_closed(&mut self) -> bool {
        within("the end of the connection", self.wire.rest()).await.is_empty()
    }
}

/// A body of given frames.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    frames: Vec<Frame<Bytes>>,
    length: Option<u64>,
    endless: bool,
}

impl Frames {
    /// A body that says its length.
    pub(crate) fn sized(data: impl Into<Bytes>) -> Self {
        let data = data.into();
        let length = Some(data.len() as u64);
        let frames = if data.is_empty() { Vec::new() } else { vec![Frame::data(data)] };
        Self { frames, length, endless: false }
    }

    /// A body that does not, in frames of 16 KiB.
    pub(crate) fn unsized_of(data: impl Into<Bytes>) -> Self {
        let mut data = data.into();
        let mut frames = Vec::new();
        while !data.is_empty() {
            frames.push(Frame::data(data.split_to(data.len().min(16 << 10))));
        }
        frames.reverse();
        Self { frames, length: None, endless: false }
    }

    /// As it is, and then nothing, not even an end.
    pub(crate) fn never_ending(self) -> Self {
        Self { endless: true, length: None, ..self }
    }

    /// With trailers at its end.
    pub(crate) fn with_trailers(mut self, trailers: HeaderMap) -> Self {
        self.frames.insert(0, Frame::trailers(trailers));
        Self { length: None, ..self }
    }
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        match this.frames.pop() {
            None if this.endless => Poll::Pending,
            next => Poll::Ready(next.map(Ok)),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty() && !self.endless
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match self.length {
            Some(length) => http_body::SizeHint::with_exact(length),
            None => http_body::SizeHint::default(),
        }
    }
}

/// Hyper's client, for HTTP/1.1 or HTTP/2.
pub(crate) struct Hyper {
    sender: Sender,
    tasks: JoinSet<()>,
}

enum Sender {
    H1(http1::SendRequest<Frames>),
    H2(http2::SendRequest<Frames>),
}

impl Hyper {
    pub(crate) async fn h1(address: SocketAddr) -> Self {
        Self::h1_over(connect(address).await).await
    }

    /// HTTP/2 by prior knowledge.
    pub(crate) async fn h2(address: SocketAddr) -> Self {
        Self::h2_over(connect(address).await).await
    }

    pub(crate) async fn h1_over(stream: impl Stream + 'static) -> Self {
        let made = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = made.expect("an HTTP/1.1 connection");
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { drop(connection.await) });
        Self { sender: Sender::H1(sender), tasks }
    }

    pub(crate) async fn h2_over(stream: impl Stream + 'static) -> Self {
        let made = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (sender, connection) = made.expect("an HTTP/2 connection");
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { drop(connection.await) });
        Self { sender: Sender::H2(sender), tasks }
    }

    /// Sends a request and gives the answer as its head comes.
    pub(crate) async fn start(
        &mut self,
        request: Request<Frames>,
    ) -> hyper::Result<Response<Incoming>> {
        match &mut self.sender {
            Sender::H1(sender) => {
                within("a free connection", sender.ready()).await?;
                within("an answer", sender.send_request(request)).await
            }
            Sender::H2(sender) => within("an answer", sender.send_request(request)).await,
        }
    }

    /// Sends a request whose answer nobody waits for.
    pub(crate) fn send(&mut self, request: Request<Frames>) {
        match &mut self.sender {
            Sender::H1(sender) => {
                let answer = sender.send_request(request);
                self.tasks.spawn(async move { drop(answer.await) });
            }
            Sender::H2(sender) => {
                let answer = sender.send_request(request);
                self.tasks.spawn(async move { drop(answer.await) });
            }
        }
    }

    /// Sends a request and reads its answer; the status is 0 where none came.
    pub(crate) async fn ask(&mut self, request: Request<Frames>) -> Answer {
        match self.start(request).await {
            Ok(answer) => within("the body of an answer", collect(answer)).await,
            Err(_) => Answer::default(),
        }
    }

    /// Waits until the gateway takes no more requests on this connection.
    pub(crate) async fn wait_closed(&self) {
        let closed = || match &self.sender {
            Sender::H1(sender) => sender.is_closed(),
            Sender::H2(sender) => sender.is_closed(),
        };
        eventually("the end of the connection", closed, |closed| *closed).await;
    }

    /// `GET path` by a tenant.
    pub(crate) async fn get(&mut self, tenant: &str, path: &str) -> Answer {
        self.ask(self.request("GET", tenant, path, Frames::default())).await
    }

    /// A request of a tenant, in the form that the protocol wants.
    pub(crate) fn request(
        &self,
        method: &str,
        tenant: &str,
        path: &str,
        body: Frames,
    ) -> Request<Frames> {
        let builder = Request::builder().method(method).header("x-tenant-id", tenant);
        let builder = match self.sender {
            Sender::H1(_) => builder.uri(path).header("host", "a.example"),
            Sender::H2(_) => builder.uri(format!("http://a.example{path}")),
        };
        builder.body(body).expect("a request")
    }
}

async fn connect(address: SocketAddr) -> TcpStream {
    let stream = within("a connection", TcpStream::connect(address)).await.expect("connect");
    stream.set_nodelay(true).expect("set nodelay");
    stream
}

/// Reads an answer to its end.
pub(crate) async fn collect(answer: Response<Incoming>) -> Answer {
    let (head, mut incoming) = answer.into_parts();
    let mut answer =
        Answer { status: head.status.as_u16(), headers: head.headers, ..Answer::default() };
    loop {
        match incoming.frame().await {
            None => {
                answer.whole = true;
                return answer;
            }
            Some(Err(_)) => return answer,
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => answer.body.extend_from_slice(&data),
                Err(frame) => answer.trailers = frame.into_trailers().unwrap_or_default(),
            },
        }
    }
}
