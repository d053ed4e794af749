//! Path 2: one client's connection: TLS, HTTP/1.1 or HTTP/2, patience, and leaving in good order
//! when the process drains.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response, Version};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;

use crate::base::socket::Socket;
use crate::config::spec::DownstreamSpec;
use crate::upstream::LocalExecutor;

use super::activity::{Activity, Limits, Patience};
use super::alarm::Alarm;
use super::answer::AnswerBody;
use super::exchange;
use super::io::{Io, sniff};
use super::worker::{Phase, Worker};

/// Who is downstream.
#[derive(Debug)]
pub(super) struct Peer {
    /// The client's address.
    pub(super) address: IpAddr,
    /// The same as a field's value.
    pub(super) client: HeaderValue,
    /// `http` or `https`.
    pub(super) scheme: &'static str,
    /// What its connection is doing.
    pub(super) activity: Arc<Activity>,
    /// Its connection counts as open for as long as somebody knows the client: a tunnel outlives
    /// what speaks HTTP.
    _open: Open,
}

/// An exchange of a client's connection under way; ends when dropped.
#[derive(Debug)]
pub(super) struct Busy(Rc<Peer>);

impl Busy {
    fn begin(peer: Rc<Peer>) -> Self {
        peer.activity.begin();
        Self(peer)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.activity.end();
    }
}

/// Serves one connection until it ends.
pub(super) async fn serve(
    worker: Rc<Worker>,
    stream: TcpStream,
    address: SocketAddr,
    listener: usize,
    tls: Option<Arc<ServerConfig>>,
) {
    let open = Open::count(Rc::clone(&worker), listener);
    // Without it small answers would wait for the client's acknowledgement of the last one.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(client = %address, %error, "a connection ended at once");
        return;
    }
    let stream = Socket::new(stream);
    match tls {
        None => plain(&worker, stream, (address, open)).await,
        Some(tls) => secure(&worker, stream, (address, open), tls).await,
    }
}

async fn plain(worker: &Rc<Worker>, mut stream: Socket, client: (SocketAddr, Open)) {
    let limits = &worker.gateway.downstream;
    let first = timeout(limits.idle_timeout, sniff(&mut stream, limits.header_timeout));
    match until_draining(worker, first).await {
        Some(Ok(Ok((ahead, is_http2)))) => {
            speak(worker, stream, ahead, is_http2, peer(client, "http")).await;
        }
        Some(Ok(Err(error))) if error.kind() == io::ErrorKind::TimedOut => {
            worker.meter.connection_rejected("slow_head");
        }
        _ => {}
    }
}

/// Waits for the first word of a client, at most until a moment after the listeners have closed: a
/// connection that stays silent has nothing under way that a drain would have to wait for.
async fn until_draining<F: Future>(worker: &Rc<Worker>, first: F) -> Option<F::Output> {
    let leaving = async {
        let mut ear = Ear { worker, number: None };
        std::future::poll_fn(|context| {
            ear.listen(context);
            if worker.phase() >= Phase::Draining { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        tokio::time::sleep(FIRST_WORD).await;
    };
    tokio::select! {
        biased;
        first = first => Some(first),
        () = leaving => None,
    }
}

async fn secure(
    worker: &Rc<Worker>,
    stream: Socket,
    client: (SocketAddr, Open),
    tls: Arc<ServerConfig>,
) {
    let limit = worker.gateway.downstream.handshake_timeout;
    match timeout(limit, TlsAcceptor::from(tls).accept(stream)).await {
        Err(_) => worker.meter.connection_rejected("tls_timeout"),
        Ok(Err(error)) => {
            worker.meter.connection_rejected("tls_failed");
            tracing::debug!(client = %client.0, %error, "a TLS handshake failed");
        }
        Ok(Ok(stream)) => {
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let stream = Box::new(stream);
            speak(worker, stream, Bytes::new(), is_http2, peer(client, "https")).await;
        }
    }
}

fn peer((address, open): (SocketAddr, Open), scheme: &'static str) -> Rc<Peer> {
    let address = address.ip().to_canonical();
    // An address as text is a valid field value; the fallback is never taken.
    let client = HeaderValue::try_from(address.to_string())
        .unwrap_or_else(|_| HeaderValue::from_static("unknown"));
    let activity = Activity::new(Arc::clone(&open.worker.clock));
    Rc::new(Peer { address, client, scheme, activity, _open: open })
}

async fn speak<S>(worker: &Rc<Worker>, stream: S, ahead: Bytes, is_http2: bool, peer: Rc<Peer>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = Arc::clone(&peer.activity);
    let io = Io::new(stream, ahead, Arc::clone(&activity));
    let service = {
        let worker = Rc::clone(worker);
        service_fn(move |request| answer(Rc::clone(&worker), Rc::clone(&peer), request))
    };
    let limits = &worker.gateway.downstream;
    if is_http2 {
        let executor = LocalExecutor::new(Rc::clone(&worker.tasks));
        let connection = http2_builder(executor, limits).serve_connection(io, service);
        Driven { connection, protocol: Protocol::Http2, worker, activity }.run().await;
    } else {
        let connection = http1_builder(limits).serve_connection(io, service).with_upgrades();
        Driven { connection, protocol: Protocol::Http1, worker, activity }.run().await;
    }
}

/// One exchange, as hyper asks for it.
async fn answer(
    worker: Rc<Worker>,
    peer: Rc<Peer>,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Infallible> {
    let busy = Busy::begin(Rc::clone(&peer));
    let version = request.version();
    let (mut head, body) = request.into_parts();
    let mut answer = exchange::serve(&worker, &peer, &mut head, body).await;
    answer.body_mut().hold(busy);
    let worn = peer.activity.served() >= worker.gateway.downstream.max_requests;
    let leaving = worn || worker.phase() != Phase::Serving;
    if leaving && version < Version::HTTP_2 && !answer.status().is_informational() {
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(answer)
}

fn http1_builder(limits: &DownstreamSpec) -> http1::Builder {
    let mut builder = http1::Builder::new();
    // Twice our own limits: what is between them is answered with a problem document, what is
    // beyond both by hyper with a bare status.
    builder
        .max_header_size(head_size(limits) * 2)
        .max_headers(limits.max_headers * 2)
        .half_close(false);
    builder
}

fn http2_builder(
    executor: LocalExecutor,
    limits: &DownstreamSpec,
) -> http2::Builder<LocalExecutor> {
    let mut builder = http2::Builder::new(executor);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.max_streams)
        .max_header_list_size(u32::try_from(head_size(limits) * 2).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(limits.idle_timeout / 2)
        .keep_alive_timeout(limits.header_timeout);
    builder
}

fn head_size(limits: &DownstreamSpec) -> usize {
    usize::try_from(limits.max_header_size.0).unwrap_or(usize::MAX / 4)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

/// What hyper's two kinds of connection have in common.
trait Connection: Future<Output = hyper::Result<()>> {
    /// Finish what is under way, then end.
    fn leave(self: Pin<&mut Self>);
}

impl<S, I> Connection for http1::UpgradeableConnection<I, S>
where
    S: hyper::service::HttpService<Incoming, ResBody = AnswerBody>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    fn leave(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<S, I> Connection for http2::Connection<I, S, LocalExecutor>
where
    S: hyper::service::HttpService<Incoming, ResBody = AnswerBody>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S::Future: 'static,
    I: hyper::rt::Read + hyper::rt::Write + Unpin + 'static,
{
    fn leave(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// A connection with its clock and its ear for the process's phase.
struct Driven<'w, C> {
    connection: C,
    protocol: Protocol,
    worker: &'w Rc<Worker>,
    activity: Arc<Activity>,
}

impl<C: Connection> Driven<'_, C> {
    async fn run(self) {
        let Self { connection, protocol, worker, activity } = self;
        let mut connection = std::pin::pin!(connection);
        let mut alarm = Alarm::at(Instant::now());
        let mut ear = Ear { worker, number: None };
        let mut leaving = false;
        let ended = std::future::poll_fn(|context| {
            loop {
                if let Poll::Ready(ended) = connection.as_mut().poll(context) {
                    return Poll::Ready(ended);
                }
                // Asked only now: a request that has come already is answered before leaving.
                if leaving || !ear.hears(protocol, &activity, context) {
                    break;
                }
                leaving = true;
                alarm.reset(Instant::now() + FIRST_WORD);
                // Hyper would close one that has not asked yet, be its first request here or not.
                if protocol == Protocol::Http2 || activity.served() > 0 {
                    connection.as_mut().leave();
                }
            }
            while alarm.poll(context).is_ready() {
                match patience(worker, protocol, &activity, leaving) {
                    Patience::Until(when) => alarm.reset(when),
                    Patience::SlowHead => {
                        worker.meter.connection_rejected("slow_head");
                        return Poll::Ready(Ok(()));
                    }
                    Patience::SlowBody => {
                        worker.meter.connection_rejected("slow_body");
                        return Poll::Ready(Ok(()));
                    }
                    Patience::SlowReader => {
                        worker.meter.connection_rejected("slow_reader");
                        return Poll::Ready(Ok(()));
                    }
                    Patience::Idle if leaving => return Poll::Ready(Ok(())),
                    Patience::Idle => {
                        leaving = true;
                        connection.as_mut().leave();
                        alarm.reset(Instant::now() + worker.gateway.downstream.header_timeout);
                        context.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
            }
            Poll::Pending
        })
        .await;
        if let Some(problem) = activity.unread() {
            worker.meter.answered(problem);
        }
        if let Err(error) = ended {
            tracing::debug!(%error, "a client's connection ended");
        }
    }
}

/// A connection that is to leave ends by itself after its next answer, or once its client has
/// heard of it; one that never asks is not waited for as an idle one is.
fn patience(worker: &Worker, protocol: Protocol, activity: &Activity, leaving: bool) -> Patience {
    let limits = &worker.gateway.downstream;
    let (head, send) = (limits.header_timeout, limits.body_timeout);
    let (head, idle) = match protocol {
        Protocol::Http1 if leaving => (Some(head), FIRST_WORD),
        Protocol::Http1 => (Some(head), limits.idle_timeout),
        Protocol::Http2 if leaving => (None, head),
        Protocol::Http2 => (None, limits.idle_timeout),
    };
    activity.patience(Limits { head, idle, send })
}

/// Hears of the process's phase: the connection's task is woken when it changes.
struct Ear<'w> {
    worker: &'w Worker,
    number: Option<u64>,
}

impl Ear<'_> {
    /// Has the connection's task woken when the phase changes, from the first call on.
    fn listen(&mut self, context: &Context<'_>) {
        if self.number.is_none() {
            self.number = Some(self.worker.remember(context.waker()));
        }
    }

    /// Whether the connection shall end once nothing is under way. An HTTP/2 client is told early,
    /// since it can be told without losing a request (`GOAWAY`); an idle HTTP/1 connection stays
    /// open until the listeners close, since a request may be on its way.
    fn hears(
        &mut self,
        protocol: Protocol,
        activity: &Activity,
        context: &mut Context<'_>,
    ) -> bool {
        self.listen(context);
        match protocol {
            Protocol::Http1 => self.worker.phase() >= Phase::Draining,
            Protocol::Http2 => {
                self.worker.phase() >= Phase::Closing
                    || activity.served() >= self.worker.gateway.downstream.max_requests
            }
        }
    }
}

impl Drop for Ear<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.worker.forget(number);
        }
    }
}

/// Counts a connection as open until dropped.
#[derive(Debug)]
struct Open {
    worker: Rc<Worker>,
    listener: usize,
}

impl Open {
    fn count(worker: Rc<Worker>, listener: usize) -> Self {
        worker.open_connections.set(worker.open_connections.get() + 1);
        worker.meter.connection_opened(listener);
        Self { worker, listener }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.worker.open_connections.set(self.worker.open_connections.get() - 1);
        self.worker.meter.connection_closed(self.listener);
    }
}

/// 500 ms: the request of a connection that was accepted last may still be on its way.
const FIRST_WORD: Duration = Duration::from_millis(500);
/// 64 KiB a stream and 1 MiB a connection bound what a client may send ahead of a slow endpoint.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// 64 KiB a stream wait for a slow client at most.
const SEND_BUFFER: usize = 64 << 10;
