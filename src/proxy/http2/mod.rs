//! HTTP/2 towards clients (RFC 9113): one connection, whose frames a library reads and writes. Here
//! its streams begin, it is asked whether it is still there, and it ends in good order.

mod body;
mod hints;
mod presence;
mod shared;
mod stream;
mod tunnel;

use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::Reason;
use h2::server::{self, Handshake};

use crate::base::ahead::Ahead;
use crate::tls::stream::Stream;

use super::connection::Peer;
use super::driven::{self, Protocol};
use super::frames::Frames;
use super::io::{Io, Reads};
use super::settings;
use super::streams::Begun;
use super::worker::Worker;

pub(super) use body::Body;
pub(super) use hints::Hints;
pub(super) use tunnel::Tunnel;

use presence::Presence;
use shared::Shared;

/// What the library reads from and writes to.
type Wire = Io<Frames<Ahead<Stream>>>;

/// A client's connection.
pub(super) struct Connection {
    step: Step,
    shared: Rc<Shared>,
    begun: Begun,
    reads: Rc<Reads>,
}

/// What a connection is at.
enum Step {
    /// The client's first frames are waited for; whether it shall end once they are there.
    Opening(Handshake<Wire, Bytes>, bool),
    /// Streams come and go.
    Serving(server::Connection<Wire, Bytes>, Presence),
}

impl Connection {
    /// Speaks HTTP/2 on `wire`, which tells of its `reads`. Streams are begun by `begun`.
    pub(super) fn new(
        (worker, peer): (Rc<Worker>, Rc<Peer>),
        wire: Wire,
        reads: Rc<Reads>,
        begun: Begun,
    ) -> Self {
        let handshake = settings::http2(&worker.gateway.downstream).handshake(wire);
        let shared = Rc::new(Shared::new(worker, peer));
        Self { step: Step::Opening(handshake, false), shared, begun, reads }
    }

    fn poll_opening(&mut self, context: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        let Step::Opening(handshake, leaving) = &mut self.step else {
            return Poll::Ready(Ok(()));
        };
        let mut connection = ready!(Pin::new(handshake).poll(context))?;
        if *leaving {
            connection.graceful_shutdown();
        }
        let limits = &self.shared.worker.gateway.downstream;
        let pings = connection.ping_pong();
        let presence = Presence::new(pings, limits.idle_timeout / 2, limits.header_timeout);
        self.step = Step::Serving(connection, presence);
        Poll::Ready(Ok(()))
    }
}

impl Future for Connection {
    type Output = Result<(), h2::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        ready!(this.poll_opening(context))?;
        let Step::Serving(connection, presence) = &mut this.step else {
            return Poll::Pending;
        };
        if presence.poll_gone(context, this.reads.last()).is_ready() {
            tracing::debug!("a client does not answer its PING");
            connection.abrupt_shutdown(Reason::NO_ERROR);
        }
        while let Some(accepted) = ready!(connection.poll_accept(context)) {
            let (request, reply) = accepted?;
            this.begun.begin(stream::serve(&this.shared, request, reply));
        }
        Poll::Ready(Ok(()))
    }
}

impl driven::Connection for Connection {
    type Error = h2::Error;

    const PROTOCOL: Protocol = Protocol::Http2;

    fn leave(&mut self) {
        match &mut self.step {
            Step::Opening(_, leaving) => *leaving = true,
            Step::Serving(connection, _) => connection.graceful_shutdown(),
        }
    }

    fn client(&self) -> Option<IpAddr> {
        self.shared.peer.address
    }
}
