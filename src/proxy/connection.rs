//! Path 2: one client's connection: TLS, HTTP/1.1 or HTTP/2, patience, and leaving in good order
//! when the process drains.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::HeaderValue;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use crate::base::ahead::Ahead;
use crate::base::purse::Purse;
use crate::base::snapshot::Snapshot;
use crate::base::socket::Socket;
use crate::model::ends::Ends;
use crate::tls::certificates::Certificates;
use crate::tls::stream::Stream;
use crate::upstream::proxy_header::Whom;

use super::activity::Activity;
use super::driven::Driven;
use super::ear::until_draining;
use super::forwarded::{self, Told, Trust};
use super::frames::{Flood, Frames};
use super::handshakes::Refusal;
use super::http1;
use super::http2;
use super::io::{Io, Reads, sniff};
use super::open::{Arrival, Open};
use super::proxy_header;
use super::seats::Seated;
use super::secured::Secured;
use super::streams::{Begun, WithStreams};
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
    /// `http` or `https`.
    pub(super) fn scheme(&self) -> &'static str {
        if self.secured.is_some() { "https" } else { "http" }
    }

    /// The same as a field's value.
    pub(super) fn scheme_value(&self) -> HeaderValue {
        const HTTP: HeaderValue = HeaderValue::from_static("http");
        const HTTPS: HeaderValue = HeaderValue::from_static("https");
        if self.secured.is_some() { HTTPS } else { HTTP }
    }

    /// Counts what its connection holds.
    pub(super) fn purse(&self) -> &Arc<Purse> {
        self.open.purse()
    }

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

    /// One begins.
    pub(super) fn begin(peer: Rc<Peer>) -> Self {
        peer.activity.begin();
        Self(peer)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.activity.end();
    }
}

/// The task of one connection. Most connections wait for most of their time: what this takes is what
/// an idle client costs, so all that is rare or passes lies elsewhere.
#[expect(clippy::large_enum_variant, reason = "nearly all are of the largest, for nearly all time")]
pub(super) enum Serving {
    /// Until it speaks HTTP; what is needed for that alone is gone then.
    Begins(Pin<Box<dyn Future<Output = Option<Self>>>>),
    /// It speaks HTTP/1.
    Http1(Driven<http1::Connection>),
    /// It speaks HTTP/2.
    Http2(Pin<Box<dyn Future<Output = ()>>>),
}

impl Serving {
    /// Serves a connection until it ends.
    pub(super) fn new(worker: Rc<Worker>, stream: TcpStream, arrival: Arrival) -> Self {
        Self::Begins(Box::pin(async move {
            let client = arrival.address.map(|address| address.ip());
            let begins = begin(Rc::clone(&worker), stream, arrival);
            worker.door.receive(client, begins).await
        }))
    }
}

impl Future for Serving {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        loop {
            match this {
                Self::Begins(begins) => match ready!(begins.as_mut().poll(context)) {
                    Some(next) => *this = next,
                    None => return Poll::Ready(()),
                },
                Self::Http1(driven) => {
                    return Pin::new(driven).poll(context).map(tell_end);
                }
                Self::Http2(driven) => return driven.as_mut().poll(context),
            }
        }
    }
}

/// A connection that is about to speak HTTP.
struct Spoken {
    stream: Stream,
    /// What was read of it.
    ahead: Bytes,
    is_http2: bool,
    peer: Rc<Peer>,
}

/// All that comes before HTTP. `None` = it does not come to that.
async fn begin(worker: Rc<Worker>, mut stream: TcpStream, arrival: Arrival) -> Option<Serving> {
    let Arrival { address, front, mut open, seated } = arrival;
    let mut ends = match prepare(&stream, address) {
        Ok(ends) => ends,
        Err(error) => {
            tracing::debug!(client = ?address, %error, "a connection ended at once");
            return None;
        }
    };
    if front.spec.proxy_protocol.is_some() {
        ends = proxied(&worker, &mut stream, ends, &mut open).await?;
    }
    let stream = Socket::new(stream);
    let spoken = match front.tls.clone() {
        None => plain(&worker, stream, (ends, open)).await,
        Some(tls) => secure(&worker, stream, (ends, open), tls).await,
    };
    Some(speak(worker, spoken?, seated))
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
    open: &mut Open,
) -> Option<Option<Ends>> {
    let address = own.map(|own| own.source);
    let limits = &worker.gateway.downstream;
    let header = timeout(limits.header_timeout, proxy_header::receive(stream));
    let client = match until_draining(worker, &open.seat, header).await? {
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
    let Some(named) = client else { return Some(None) };
    if let Err(reason) = open.set_client(named.source.ip()) {
        worker.meter.connection_rejected(reason);
        return None;
    }
    Some(client)
}

async fn plain(
    worker: &Rc<Worker>,
    mut stream: Socket,
    client: (Option<Ends>, Open),
) -> Option<Spoken> {
    let limits = &worker.gateway.downstream;
    let seat = Rc::clone(&client.1.seat);
    let first = timeout(limits.idle_timeout, sniff(&mut stream, limits.header_timeout));
    let asked = std::future::poll_fn(|context| seat.poll_asked(context));
    seat.set_silent(true);
    let first = until_draining(worker, &seat, async {
        tokio::select! {
            biased;
            first = first => Some(first),
            () = asked => None,
        }
    });
    match first.await.flatten()? {
        Ok(Ok((ahead, is_http2))) => {
            let stream = Stream::Plain(stream);
            return Some(Spoken { stream, ahead, is_http2, peer: peer(client, None) });
        }
        Ok(Err(error)) if error.kind() == io::ErrorKind::TimedOut => {
            worker.meter.connection_rejected("slow_head");
        }
        Ok(Err(_)) => {}
        Err(_) => worker.meter.connection_retired("idle"),
    }
    None
}

async fn secure(
    worker: &Rc<Worker>,
    stream: Socket,
    client: (Option<Ends>, Open),
    tls: Snapshot<Certificates>,
) -> Option<Spoken> {
    let end = Instant::now() + worker.gateway.downstream.handshake_timeout;
    let seat = Rc::clone(&client.1.seat);
    let asked = std::future::poll_fn(|context| seat.poll_asked(context));
    // Who says nothing takes no turn of a handshake, and makes room for others.
    let shaken = tokio::select! {
        biased;
        first = timeout_at(end, stream.readable()) => match first {
            Ok(Ok(())) => {
                seat.set_silent(false);
                let address = client.0.map(|ends| ends.source.ip());
                worker.handshakes.accept(stream, address, tls.load(), end).await
            }
            Ok(Err(error)) => Err(Refusal::Failed(error)),
            Err(_) => Err(Refusal::Late),
        },
        () = asked => return None,
    };
    match shaken {
        Err(error) => {
            worker.meter.connection_rejected(error.reason());
            tracing::debug!(client = ?client.0, %error, "a TLS handshake failed");
            None
        }
        Ok((stream, secured)) => {
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let stream = Stream::Tls(Box::new(stream.into()));
            let peer = peer(client, Some(secured));
            Some(Spoken { stream, ahead: Bytes::new(), is_http2, peer })
        }
    }
}

fn peer((ends, open): (Option<Ends>, Open), secured: Option<Box<Secured>>) -> Rc<Peer> {
    let address = ends.map(|ends| ends.source.ip().to_canonical());
    let client = forwarded::address_value(address);
    let trust = Trust::of(open.trusted_proxies(), address);
    let clock = Rc::clone(&open.worker.clock);
    let activity = match secured {
        Some(_) => Activity::over_tls(clock, open.purse()),
        None => Activity::new(clock),
    };
    Rc::new(Peer { address, ends, client, trust, secured, activity, open })
}

fn speak(worker: Rc<Worker>, spoken: Spoken, seated: Seated) -> Serving {
    let Spoken { stream, ahead, is_http2, peer } = spoken;
    let activity = Rc::clone(&peer.activity);
    seated.seat.speaks(Rc::clone(&activity), !is_http2);
    if is_http2 {
        let stream = Ahead::new(ahead, stream);
        Serving::Http2(Box::pin(speak_http2(worker, stream, peer, seated)))
    } else {
        let connection = http1::Connection::new(worker, peer, stream, ahead);
        Serving::Http1(Driven::new(connection, activity, seated))
    }
}

async fn speak_http2(worker: Rc<Worker>, stream: Ahead<Stream>, peer: Rc<Peer>, seated: Seated) {
    let activity = Rc::clone(&peer.activity);
    let flood = Rc::new(Flood::default());
    let reads = Rc::new(Reads::new());
    let frames = Frames::new(stream, Rc::clone(&flood), Rc::clone(&activity));
    let io = Io::new(frames, Rc::clone(&activity), Rc::clone(&reads));
    let begun = Begun::default();
    let parties = (Rc::clone(&worker), peer);
    let connection = http2::Connection::new(parties, io, Rc::clone(&reads), begun.clone());
    let connection = WithStreams::new(connection, begun, reads);
    let ended = Driven::new(connection, activity, seated).await;
    if let Some(reason) = flood.reason(ended.as_ref().err()) {
        worker.meter.connection_rejected(reason);
    }
    tell_end(ended);
}

fn tell_end<E: std::fmt::Display>(ended: Result<(), E>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a client's connection ended");
    }
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

pub(super) fn count_retired(worker: &Worker, reason: Option<&'static str>) {
    if let Some(reason) = reason {
        worker.meter.connection_retired(reason);
    }
}
