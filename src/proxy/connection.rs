//! Path 2: one client's connection: TLS, HTTP/1.1 or HTTP/2, patience, and leaving in good order
//! when the process drains.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use http::header::HeaderValue;
use http::request::Parts;
use http::{Request, Response};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use crate::base::ahead::Ahead;
use crate::base::snapshot::Snapshot;
use crate::base::socket::Socket;
use crate::model::ends::Ends;
use crate::tls::certificates::Certificates;
use crate::tls::stream::Stream;
use crate::upstream::LocalExecutor;
use crate::upstream::proxy_header::Whom;

use super::activity::{Activity, Limits, Patience};
use super::alarm::Alarm;
use super::answer::AnswerBody;
use super::ear::{Ear, FIRST_WORD, until_draining};
use super::exchange;
use super::forwarded::{self, Told, Trust};
use super::frames::{self, Flood, Frames};
use super::handshakes::Refusal;
use super::headcount::Share;
use super::http1::{self, Asked};
use super::incoming::Incoming;
use super::io::{Io, sniff};
use super::open::{Arrival, Open};
use super::proxy_header;
use super::seats::Seat;
use super::secured::Secured;
use super::settings;
use super::worker::{Phase, Worker};

/// Who is downstream.
#[derive(Debug)]
pub(super) struct Peer {
    /// The client's address; `None` = it is on a Unix socket.
    pub(super) address: Option<IpAddr>,
    /// From where to where it connected.
    ends: Option<Ends>,
    /// The same as a field's value.
    pub(super) client: HeaderValue,
    /// `http` or `https`.
    pub(super) scheme: &'static str,
    /// What is made of what it says of others; `None` = nothing.
    pub(super) trust: Option<Trust>,
    /// What its TLS was begun with; `None` = plain.
    pub(super) secured: Option<Box<Secured>>,
    /// What its connection is doing.
    pub(super) activity: Rc<Activity>,
    /// Its connection counts as open for as long as somebody knows the client: a tunnel outlives
    /// what speaks HTTP.
    open: Open,
}

impl Peer {
    /// Whom a connection to an endpoint is for. A trusted proxy does not tell its client's port.
    pub(super) fn whom(&self, told: Option<&Told>) -> Whom {
        let named = told.map(|told| told.client).filter(|client| *client != self.address);
        let Some(client) = named.flatten() else {
            return self.ends.map_or(Whom::Unknown, Whom::Client);
        };
        // Of somebody who came over a Unix socket nobody knows where to.
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let destination = self.ends.map_or(nowhere, |ends| ends.destination);
        Whom::Client(Ends { source: SocketAddr::new(client, 0), destination })
    }
}

/// An exchange of a client's connection under way; ends when dropped.
#[derive(Debug)]
pub(super) struct Busy(Rc<Peer>);

impl Busy {
    /// The exchange goes on as a tunnel within the connection.
    pub(super) fn go_on(peer: &Rc<Peer>) -> Self {
        peer.activity.go_on();
        Self(Rc::clone(peer))
    }

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
pub(super) async fn serve(worker: Rc<Worker>, mut stream: TcpStream, arrival: Arrival) {
    let Arrival { address, front, mut open, seated: _seated } = arrival;
    let mut ends = match prepare(&stream, address) {
        Ok(ends) => ends,
        Err(error) => {
            tracing::debug!(client = ?address, %error, "a connection ended at once");
            return;
        }
    };
    if front.spec.proxy_protocol.is_some() {
        let listener = open.seat.listener();
        let Some((client, share)) = proxied(&worker, &mut stream, ends, listener).await else {
            return;
        };
        ends = client;
        open.share = share;
    }
    let stream = Socket::new(stream);
    match front.tls.clone() {
        None => plain(&worker, stream, (ends, open)).await,
        Some(tls) => secure(&worker, stream, (ends, open), tls).await,
    }
}

/// Both ends of a connection that was accepted; `None` = it is one over a Unix socket.
fn prepare(stream: &TcpStream, address: Option<SocketAddr>) -> io::Result<Option<Ends>> {
    let Some(source) = address else { return Ok(None) };
    // Without it small answers would wait for the client's acknowledgement of the last one.
    stream.set_nodelay(true)?;
    Ok(Some(Ends { source, destination: stream.local_addr()? }))
}

/// For whom the load balancer at the other end connects. It must say so in the time of a head.
async fn proxied(
    worker: &Rc<Worker>,
    stream: &mut TcpStream,
    own: Option<Ends>,
    listener: usize,
) -> Option<(Option<Ends>, Option<Share>)> {
    let address = own.map(|own| own.source);
    let limits = &worker.gateway.downstream;
    let header = timeout(limits.header_timeout, proxy_header::receive(stream));
    let client = match until_draining(worker, listener, header).await? {
        Ok(Ok(client)) => client.or(own),
        Ok(Err(error)) => {
            worker.meter.connection_rejected("proxy_header");
            tracing::debug!(client = ?address, %error, "a PROXY protocol header cannot be used");
            return None;
        }
        Err(_) => {
            worker.meter.connection_rejected("proxy_header");
            tracing::debug!(client = ?address, "a PROXY protocol header took too long");
            return None;
        }
    };
    let Some(named) = client else { return Some((None, None)) };
    let share = worker.headcount.share(named.source.ip(), limits.max_connections_per_client);
    if share.is_none() {
        worker.meter.connection_rejected("too_many_of_client");
    }
    Some((client, Some(share?)))
}

async fn plain(worker: &Rc<Worker>, mut stream: Socket, client: (Option<Ends>, Open)) {
    let limits = &worker.gateway.downstream;
    let seat = Rc::clone(&client.1.seat);
    let first = timeout(limits.idle_timeout, sniff(&mut stream, limits.header_timeout));
    let asked = std::future::poll_fn(|context| seat.poll_asked(context));
    seat.set_silent(true);
    let first = until_draining(worker, seat.listener(), async {
        tokio::select! {
            biased;
            first = first => Some(first),
            () = asked => None,
        }
    });
    match first.await.flatten() {
        Some(Ok(Ok((ahead, is_http2)))) => {
            let stream = Stream::Plain(stream);
            speak(worker, stream, ahead, is_http2, peer(client, None)).await;
        }
        Some(Ok(Err(error))) if error.kind() == io::ErrorKind::TimedOut => {
            worker.meter.connection_rejected("slow_head");
        }
        Some(Err(_)) => worker.meter.connection_retired("idle"),
        _ => {}
    }
}

async fn secure(
    worker: &Rc<Worker>,
    stream: Socket,
    client: (Option<Ends>, Open),
    tls: Snapshot<Certificates>,
) {
    let end = Instant::now() + worker.gateway.downstream.handshake_timeout;
    let seat = Rc::clone(&client.1.seat);
    let asked = std::future::poll_fn(|context| seat.poll_asked(context));
    // Who says nothing takes no turn of a handshake, and makes room for others.
    let shaken = tokio::select! {
        biased;
        first = timeout_at(end, stream.readable()) => match first {
            Ok(Ok(())) => {
                seat.set_silent(false);
                worker.handshakes.accept(stream, tls.load(), end).await
            }
            Ok(Err(error)) => Err(Refusal::Failed(error)),
            Err(_) => Err(Refusal::Late),
        },
        () = asked => return,
    };
    match shaken {
        Err(error) => {
            worker.meter.connection_rejected(error.reason());
            tracing::debug!(client = ?client.0, %error, "a TLS handshake failed");
        }
        Ok((stream, secured)) => {
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let stream = Stream::Tls(Box::new(stream.into()));
            speak(worker, stream, Bytes::new(), is_http2, peer(client, Some(secured))).await;
        }
    }
}

fn peer((ends, open): (Option<Ends>, Open), secured: Option<Box<Secured>>) -> Rc<Peer> {
    let address = ends.map(|ends| ends.source.ip().to_canonical());
    let client = forwarded::address_value(address);
    let trust = Trust::of(open.trusted_proxies(), address);
    let (clock, account) = (Rc::clone(&open.worker.clock), &open.worker.account);
    let (scheme, activity) = match secured {
        Some(_) => ("https", Activity::over_tls(clock, account)),
        None => ("http", Activity::new(clock)),
    };
    Rc::new(Peer { address, ends, client, scheme, trust, secured, activity, open })
}

async fn speak(worker: &Rc<Worker>, stream: Stream, ahead: Bytes, is_http2: bool, peer: Rc<Peer>) {
    let activity = Rc::clone(&peer.activity);
    let seat = Rc::clone(&peer.open.seat);
    seat.speaks(Rc::clone(&activity), !is_http2);
    if is_http2 {
        let flood = Flood::default();
        let stream = Frames::new(Ahead::new(ahead, stream), Rc::clone(&flood));
        let io = Io::new(stream, Rc::clone(&activity));
        let executor = LocalExecutor::new(Rc::clone(&worker.tasks));
        let service = {
            let worker = Rc::clone(worker);
            // Boxed: the library moves what it is given half a dozen times before it runs it.
            service_fn(move |request| {
                Box::pin(stream_of(Rc::clone(&worker), Rc::clone(&peer), request))
            })
        };
        let limits = &worker.gateway.downstream;
        let connection = settings::http2(executor, limits).serve_connection(io, service);
        let ended =
            Driven { connection, protocol: Protocol::Http2, worker, activity, seat }.run().await;
        let reason = flood.get().or_else(|| ended.as_ref().err().and_then(frames::reason));
        if let Some(reason) = reason {
            worker.meter.connection_rejected(reason);
        }
        tell_end(ended);
    } else {
        let connection = http1::Connection::new(Rc::clone(worker), peer, stream, ahead);
        tell_end(
            Driven { connection, protocol: Protocol::Http1, worker, activity, seat }.run().await,
        );
    }
}

fn tell_end<E: std::fmt::Display>(ended: Result<(), E>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a client's connection ended");
    }
}

/// One exchange of HTTP/2, as hyper asks for it.
async fn stream_of(
    worker: Rc<Worker>,
    peer: Rc<Peer>,
    request: Request<hyper::body::Incoming>,
) -> Result<Response<AnswerBody>, Infallible> {
    let (mut head, body) = request.into_parts();
    let body = Incoming::http2(body, head.extensions.remove::<OnUpgrade>());
    let asked = Asked::of(&head);
    let answer = respond(&worker, &peer, &mut head, body).await;
    // The library sends what it is given, also to a `HEAD` and with a 204 (RFC 9110 §6.4.1).
    let is_bare = !http1::has_body(asked, answer.status());
    Ok(if is_bare { answer.map(AnswerBody::without_content) } else { answer })
}

/// One exchange.
pub(super) async fn respond(
    worker: &Rc<Worker>,
    peer: &Rc<Peer>,
    head: &mut Parts,
    body: Incoming,
) -> Response<AnswerBody> {
    let busy = Busy::begin(Rc::clone(peer));
    let mut answer = exchange::serve(worker, peer, head, body).await;
    answer.body_mut().hold(busy);
    answer
}

/// Whether a client is to be told to open another connection for its next request. Counts that it is.
pub(super) fn is_leaving(worker: &Worker, peer: &Peer) -> bool {
    let worn = worn(worker, &peer.activity);
    count_retired(worker, worn);
    worn.is_some() || worker.phase_at(peer.open.seat.listener()) != Phase::Serving
}

/// Why a connection has served its time, if it has: its client is asked to open another. In the
/// metric's words.
pub(super) fn worn(worker: &Worker, activity: &Activity) -> Option<&'static str> {
    let limits = &worker.gateway.downstream;
    if activity.served() >= limits.max_requests {
        return Some("requests");
    }
    limits.max_connection_age.filter(|age| activity.is_older(*age)).map(|_| "age")
}

fn count_retired(worker: &Worker, reason: Option<&'static str>) {
    if let Some(reason) = reason {
        worker.meter.connection_retired(reason);
    }
}

/// What a connection speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// What the two kinds of connection have in common.
trait Connection: Future<Output = Result<(), Self::Error>> {
    /// Why it ends otherwise than it should.
    type Error;

    /// Finish what is under way, then end.
    fn leave(self: Pin<&mut Self>);

    /// It is closed now, whatever it is at. What is cut off must not look as if it had ended well.
    fn cut(self: Pin<&mut Self>) {}
}

impl Connection for http1::Connection {
    type Error = http1::ConnectionError;

    fn leave(self: Pin<&mut Self>) {
        self.get_mut().leave();
    }

    fn cut(self: Pin<&mut Self>) {
        self.get_mut().cut();
    }
}

impl<S, I> Connection for http2::Connection<I, S, LocalExecutor>
where
    S: hyper::service::HttpService<hyper::body::Incoming, ResBody = AnswerBody>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S::Future: 'static,
    I: hyper::rt::Read + hyper::rt::Write + Unpin + 'static,
{
    type Error = hyper::Error;

    fn leave(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// A connection with its clock and its ear for the process's phase.
struct Driven<'w, C> {
    connection: C,
    protocol: Protocol,
    worker: &'w Rc<Worker>,
    activity: Rc<Activity>,
    seat: Rc<Seat>,
}

impl<C: Connection> Driven<'_, C> {
    async fn run(self) -> Result<(), C::Error> {
        let Self { connection, protocol, worker, activity, seat } = self;
        let mut connection = std::pin::pin!(connection);
        let mut alarm = Alarm::at(Instant::now());
        let mut ear = Ear::new(worker, seat.listener());
        let mut leaving = false;
        std::future::poll_fn(|context| {
            loop {
                if let Poll::Ready(ended) = connection.as_mut().poll(context) {
                    return Poll::Ready(ended);
                }
                // Asked only now: a request that has come already is answered before leaving.
                let asked = seat.poll_asked(context).is_ready();
                if asked && activity.idle_since(protocol == Protocol::Http1).is_some() {
                    connection.as_mut().leave();
                    let farewell = connection.as_mut().poll(context);
                    return if farewell.is_ready() { farewell } else { Poll::Ready(Ok(())) };
                }
                if leaving || !(ear.hears(protocol, &activity, context) || asked) {
                    break;
                }
                leaving = true;
                if protocol == Protocol::Http2 {
                    count_retired(worker, worn(worker, &activity));
                }
                alarm.reset(Instant::now() + FIRST_WORD);
                // One that has not asked yet may be about to: its first request may be here.
                if protocol == Protocol::Http2 || activity.served() > 0 {
                    connection.as_mut().leave();
                }
            }
            while alarm.poll(context).is_ready() {
                worker.clock.now();
                match patience(worker, protocol, &activity, leaving) {
                    Patience::Until(_) if !leaving && ear.hears(protocol, &activity, context) => {
                        context.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    Patience::Until(when) => {
                        let end = end_of_age(worker, &activity);
                        alarm.reset(end.map_or(when, |end| end.min(when)));
                    }
                    Patience::Over(reason) => {
                        worker.meter.connection_rejected(reason);
                        connection.as_mut().cut();
                        return Poll::Ready(Ok(()));
                    }
                    Patience::Idle if leaving => return Poll::Ready(Ok(())),
                    Patience::Idle => {
                        leaving = true;
                        worker.meter.connection_retired("idle");
                        connection.as_mut().leave();
                        alarm.reset(Instant::now() + worker.gateway.downstream.header_timeout);
                        context.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
            }
            Poll::Pending
        })
        .await
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

/// When a connection that is not too old will be.
fn end_of_age(worker: &Worker, activity: &Activity) -> Option<Instant> {
    let end = activity.end_of(worker.gateway.downstream.max_connection_age?);
    (end > worker.clock.recent()).then_some(end)
}
