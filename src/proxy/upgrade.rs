//! Tunnels: once an endpoint has agreed to switch protocols, bytes go both ways until one side
//! ends or both fall silent.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::HeaderMap;
use http::header::{CONNECTION, HeaderValue, UPGRADE};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};
use tokio::time::{Instant, sleep_until};

use crate::base::purse::Paid;
use crate::pool::InFlight;
use crate::telemetry::record::Ending;
use crate::upstream::Switched;

use super::admission::Place;
use super::answer::Lease;
use super::budget;
use super::connection::{Busy, Peer};
use super::courtesy::Manners;
use super::incoming::Switch;
use super::visit::Visit;
use super::worker::Worker;

/// Makes the head of a 101 answer fit to be passed on: the protocol is the endpoint's choice.
pub(super) fn announce(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
}

/// Joins both sides in a task of the worker; the exchange's record ends with it.
pub(super) fn join(
    worker: &Rc<Worker>,
    (client, peer, busy): (Switch, Rc<Peer>, Option<Busy>),
    lease: Lease,
    visit: Visit,
) {
    let Lease { connection, in_flight, held, place, .. } = lease;
    let Some(endpoint) = connection.into_switched() else {
        return; // of HTTP/2, which knows no such answer
    };
    let paid = peer.purse().take(budget::TUNNEL);
    let tunnel = Tunnel {
        worker: Rc::clone(worker),
        peer,
        _busy: busy,
        _in_flight: in_flight,
        _place: place,
        _held: (held, paid),
        visit,
    };
    worker.tasks.borrow_mut().spawn(|_stop| async move {
        match client {
            Switch::Http1(client) => match client.await {
                Ok(client) => tunnel.run(client, endpoint).await,
                Err(_) => tracing::debug!("the client left before its connection switched"),
            },
            Switch::Http2(client) => match client.await {
                Ok(client) => tunnel.run(client, endpoint).await,
                Err(_) => tracing::debug!("a stream did not switch protocols"),
            },
        }
    });
}

struct Tunnel {
    worker: Rc<Worker>,
    /// Its connection stays open.
    peer: Rc<Peer>,
    /// A connection of HTTP/2 is not idle meanwhile.
    _busy: Option<Busy>,
    /// The endpoint is busy for as long as the tunnel is open.
    _in_flight: InFlight,
    /// The pool has one more request for as long.
    _place: Place,
    /// Memory of the exchange that became a tunnel, and for what is copied.
    _held: (Arc<Paid>, Paid),
    visit: Visit,
}

impl Tunnel {
    async fn run<C: AsyncRead + AsyncWrite + Unpin>(mut self, client: C, mut endpoint: Switched) {
        let heard = Rc::new(Cell::new(Instant::now()));
        let mut client = Noted::new(client, &heard);
        let mut endpoint = Noted::new(endpoint.stream(), &heard);
        let ended = self.carry(&mut client, &mut endpoint, &heard).await;
        self.visit.note(|record| {
            record.bytes_in = client.read;
            record.bytes_out = endpoint.read;
            record.ending = if ended.is_ok() { Ending::Whole } else { Ending::Cut };
        });
    }

    async fn carry<C, E>(
        &self,
        client: &mut Noted<C>,
        endpoint: &mut Noted<E>,
        heard: &Rc<Cell<Instant>>,
    ) -> io::Result<()>
    where
        C: AsyncRead + AsyncWrite + Unpin,
        E: AsyncRead + AsyncWrite + Unpin,
    {
        let limit = self.worker.gateway.downstream.tunnel_timeout;
        let mut copy = std::pin::pin!(copy_bidirectional(client, endpoint));
        let (courtesy, mut manners) = (&self.worker.courtesy, Manners::default());
        manners.begin(Instant::now());
        loop {
            let silent = heard.get() + limit;
            if Instant::now() >= silent {
                self.worker.meter.connection_retired("tunnel");
                return Err(io::ErrorKind::TimedOut.into());
            }
            tokio::select! {
                ended = poll_fn(|context| {
                    let now = self.worker.clock.recent();
                    let client = || self.peer.address;
                    let turn = ready!(courtesy.poll(&mut manners, now, client, context));
                    let polled = copy.as_mut().poll(context);
                    courtesy.end(&turn, &mut manners);
                    polled
                }) => return ended.map(|_| ()),
                () = sleep_until(silent) => {}
            }
        }
    }
}

/// One side of a tunnel: counts the bytes that come from it and notes when they came.
struct Noted<S> {
    stream: S,
    read: u64,
    heard: Rc<Cell<Instant>>,
}

impl<S> Noted<S> {
    fn new(stream: S, heard: &Rc<Cell<Instant>>) -> Self {
        Self { stream, read: 0, heard: Rc::clone(heard) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Noted<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(context, buffer);
        let read = buffer.filled().len() - before;
        if read > 0 {
            this.read += read as u64;
            this.heard.set(Instant::now());
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Noted<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
