//! gRPC by tonic, on both sides. Messages are bytes, so that nothing needs a compiler of schemas.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes};
use http::Uri;
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder, Streaming};
use tonic::codegen::tokio_stream::{self, Stream, StreamExt};
use tonic::codegen::{BoxFuture, BoxStream, Service};
use tonic::metadata::MetadataMap;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status};

use super::{wire, within};

/// A service of every kind of call:
///
/// - `Say` gives its message back; to `fail` it answers with a status alone, to `wait` never,
/// - `Count` sends as many numbers as it is told to, then fails if it is told so too,
/// - `Pour` sends as many of 64 KiB,
/// - `Sum` answers a stream of messages with their number and size,
/// - `Chat` gives each message back at once, and fails at `fail`.
///
/// The metadata `x-word` and `x-bytes-bin` come back with each answer, and the name of the server.
pub(crate) struct Talk {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    name: &'static str,
    under_way: AtomicUsize,
    poured: AtomicUsize,
}

impl Talk {
    pub(crate) async fn start(name: &'static str) -> Self {
        Self::listen(name, None).await
    }

    pub(crate) async fn start_tls(name: &'static str, tls: Arc<ServerConfig>) -> Self {
        Self::listen(name, Some(tls)).await
    }

    async fn listen(name: &'static str, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind a server");
        let address = listener.local_addr().expect("its address");
        let shared =
            Arc::new(Shared { name, under_way: AtomicUsize::new(0), poured: AtomicUsize::new(0) });
        let service = Calls(Arc::clone(&shared));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            let server = Server::builder();
            drop(match tls.map(TlsAcceptor::from) {
                None => server.serve_with_incoming(service, incoming).await,
                Some(tls) => {
                    let secured = incoming.then(move |stream| {
                        let tls = tls.clone();
                        async move { tls.accept(stream?).await }
                    });
                    server.serve_with_incoming(service, secured).await
                }
            });
        });
        Self { address, shared, _tasks: tasks }
    }

    /// How many calls of `Say` that wait, `Pour` and `Chat` have not ended.
    pub(crate) fn under_way(&self) -> usize {
        self.shared.under_way.load(Ordering::Relaxed)
    }

    /// How many messages `Pour` has made.
    pub(crate) fn poured(&self) -> usize {
        self.shared.poured.load(Ordering::Relaxed)
    }
}

#[derive(Clone)]
struct Calls(Arc<Shared>);

impl Service<http::Request<Body>> for Calls {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(Raw).max_decoding_message_size(LARGEST);
            let path = request.uri().path().to_owned();
            Ok(match path.as_str() {
                "/talk.Talk/Say" => grpc.unary(Call(shared, say), request).await,
                "/talk.Talk/Count" => grpc.server_streaming(Call(shared, count), request).await,
                "/talk.Talk/Pour" => grpc.server_streaming(Call(shared, pour), request).await,
                "/talk.Talk/Sum" => grpc.client_streaming(Call(shared, sum), request).await,
                "/talk.Talk/Chat" => grpc.streaming(Call(shared, chat), request).await,
                _ => Status::unimplemented("no such call").into_http(),
            })
        })
    }
}

/// A call by a function.
struct Call<F>(Arc<Shared>, F);

impl<F, A, B, Answering> Service<Request<A>> for Call<F>
where
    F: Fn(Arc<Shared>, Request<A>) -> Answering,
    Answering: Future<Output = Result<Response<B>, Status>>,
{
    type Response = Response<B>;
    type Error = Status;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<A>) -> Answering {
        self.1(Arc::clone(&self.0), request)
    }
}

/// Counts as under way until it is dropped.
struct UnderWay(Arc<Shared>);

impl UnderWay {
    fn begin(shared: Arc<Shared>) -> Self {
        shared.under_way.fetch_add(1, Ordering::Relaxed);
        Self(shared)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn say(shared: Arc<Shared>, request: Request<Bytes>) -> Result<Response<Bytes>, Status> {
    match &request.get_ref()[..] {
        b"fail" => Err(failure()),
        b"wait" => {
            let _under_way = UnderWay::begin(shared);
            std::future::pending().await
        }
        _ => Ok(answer(&shared, request.metadata(), request.get_ref().clone())),
    }
}

async fn count(
    shared: Arc<Shared>,
    request: Request<Bytes>,
) -> Result<Response<BoxStream<Bytes>>, Status> {
    let asked = String::from_utf8_lossy(request.get_ref()).into_owned();
    let (number, fails) = asked.split_once(' ').map_or((&*asked, false), |(n, _)| (n, true));
    let number: usize = number.parse().map_err(|_| Status::invalid_argument("a number"))?;
    let numbers = (0..number).map(|number| Ok(Bytes::from(number.to_string())));
    let stream = tokio_stream::iter(numbers.chain(fails.then(|| Err(failure()))));
    Ok(answer(&shared, request.metadata(), Box::pin(stream)))
}

async fn pour(
    shared: Arc<Shared>,
    request: Request<Bytes>,
) -> Result<Response<BoxStream<Bytes>>, Status> {
    let number = String::from_utf8_lossy(request.get_ref()).parse();
    let number: usize = number.map_err(|_| Status::invalid_argument("a number"))?;
    let under_way = UnderWay::begin(Arc::clone(&shared));
    let messages = (0..number).map(move |_| {
        under_way.0.poured.fetch_add(1, Ordering::Relaxed);
        Ok(Bytes::from(vec![b'x'; POURED]))
    });
    Ok(answer(&shared, request.metadata(), Box::pin(tokio_stream::iter(messages))))
}

async fn sum(
    shared: Arc<Shared>,
    mut request: Request<Streaming<Bytes>>,
) -> Result<Response<Bytes>, Status> {
    let (mut number, mut size) = (0, 0);
    while let Some(message) = request.get_mut().message().await? {
        number += 1;
        size += message.len();
    }
    let sum = Bytes::from(format!("{number} of {size} bytes"));
    Ok(answer(&shared, request.metadata(), sum))
}

async fn chat(
    shared: Arc<Shared>,
    request: Request<Streaming<Bytes>>,
) -> Result<Response<BoxStream<Bytes>>, Status> {
    let (metadata, _, messages) = request.into_parts();
    let under_way = UnderWay::begin(Arc::clone(&shared));
    let back = messages.map(move |message| {
        let _kept = &under_way;
        message.and_then(|message| if message == "fail" { Err(failure()) } else { Ok(message) })
    });
    Ok(answer(&shared, &metadata, Box::pin(back)))
}

fn answer<T>(shared: &Shared, asked: &MetadataMap, message: T) -> Response<T> {
    let mut answer = Response::new(message);
    let metadata = answer.metadata_mut();
    metadata.insert("x-server", shared.name.parse().expect("a name"));
    for (from, to) in [("x-word", "x-word"), ("grpc-timeout", "x-timeout")] {
        if let Some(value) = asked.get(from) {
            metadata.insert(to, value.clone());
        }
    }
    if let Some(value) = asked.get_bin("x-bytes-bin") {
        metadata.insert_bin("x-bytes-bin", value.clone());
    }
    answer
}

/// The status that a call fails with.
pub(crate) fn failure() -> Status {
    let mut metadata = MetadataMap::new();
    metadata.insert("x-why", "because".parse().expect("a value"));
    let details = Bytes::from_static(&[0, 1, 0xff]);
    Status::with_details_and_metadata(Code::NotFound, "nothing: 5 % of \u{e9}", details, metadata)
}

/// A client with one connection to a gateway.
#[derive(Clone)]
pub(crate) struct Caller(tonic::client::Grpc<Channel>);

impl Caller {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = within("a connection", TcpStream::connect(address)).await.expect("connect");
        stream.set_nodelay(true).expect("set nodelay");
        Self::over(stream).await
    }

    /// Speaks on a stream that is there, and on no other.
    pub(crate) async fn over(stream: impl wire::Stream + 'static) -> Self {
        let endpoint = Endpoint::from_static("http://a.example");
        let connected = endpoint.connect_with_connector(Given(Some(TokioIo::new(stream))));
        let channel = within("a connection", connected).await.expect("connect");
        Self(tonic::client::Grpc::new(channel).max_decoding_message_size(LARGEST))
    }

    async fn ready(&mut self) {
        within("room for a call", self.0.ready()).await.expect("a connection");
    }

    pub(crate) async fn say(&mut self, request: Request<Bytes>) -> Result<Response<Bytes>, Status> {
        self.ready().await;
        within("an answer", self.0.unary(request, path("Say"), Raw)).await
    }

    /// A call of `Count` or `Pour`.
    pub(crate) async fn take(
        &mut self,
        name: &'static str,
        request: Request<Bytes>,
    ) -> Result<Response<Streaming<Bytes>>, Status> {
        self.ready().await;
        within("an answer", self.0.server_streaming(request, path(name), Raw)).await
    }

    pub(crate) async fn sum(
        &mut self,
        request: Request<impl Stream<Item = Bytes> + Send + 'static>,
    ) -> Result<Response<Bytes>, Status> {
        self.ready().await;
        within("an answer", self.0.client_streaming(request, path("Sum"), Raw)).await
    }

    pub(crate) async fn chat(
        &mut self,
        request: Request<impl Stream<Item = Bytes> + Send + 'static>,
    ) -> Result<Response<Streaming<Bytes>>, Status> {
        self.ready().await;
        within("an answer", self.0.streaming(request, path("Chat"), Raw)).await
    }
}

/// Connects once, by giving a stream that is there.
struct Given<S>(Option<TokioIo<S>>);

impl<S> Service<Uri> for Given<S> {
    type Response = TokioIo<S>;
    type Error = std::io::Error;
    type Future = Ready<std::io::Result<TokioIo<S>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        ready(self.0.take().ok_or_else(|| std::io::ErrorKind::NotConnected.into()))
    }
}

/// A request of `acme`.
pub(crate) fn request<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("x-tenant-id", "acme".parse().expect("a value"));
    request
}

/// The next message of a stream; `None` at its end.
pub(crate) async fn next(stream: &mut Streaming<Bytes>) -> Result<Option<Bytes>, Status> {
    within("a message", stream.message()).await
}

fn path(name: &'static str) -> PathAndQuery {
    format!("/talk.Talk/{name}").parse().expect("a path")
}

/// Messages as they are.
#[derive(Clone, Copy, Debug, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

/// 64 MiB: the largest message that either side takes.
const LARGEST: usize = 64 << 20;
/// 64 KiB: the size of a message of `Pour`.
pub(crate) const POURED: usize = 64 << 10;
