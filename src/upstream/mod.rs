//! Connections to endpoints: dial, keep, send. Belongs to one worker and never leaves its thread:
//! a connection is used by requests of the worker that opened it alone, so nothing here is locked.
//! Knows endpoints and bytes, not tenants, routes or retries.

mod connect;
mod connections;
pub mod dial;
mod error;
mod h1;
mod h2;
pub mod proxy_header;
mod switched;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue};
use http_body::{Frame, SizeHint};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::time::Instant;

use crate::base::memory::Account;
use crate::base::purse::Appetite;
use crate::base::tasks::LocalTasks;
use crate::config::spec::{ConnectionsSpec, Protocol, ProxyVersion};
use crate::http1::room::{AnswerHead, Room};
use crate::http1::sending::Payload;
use crate::model::endpoint::Endpoint;
use crate::model::ids::Label;
use crate::telemetry::meter::Meter;

use connections::{Place, Shelves};
use h2::Channel;
use proxy_header::Whom;

pub use error::{Cause, ConnectError, SendError};
pub use switched::Switched;

/// Where an attempt goes and how.
#[derive(Clone, Copy, Debug)]
pub struct Destination<'a> {
    /// The endpoint.
    pub endpoint: &'a Arc<Endpoint>,
    /// The pool, for metrics.
    pub pool: &'a Label,
    /// Connections are shared by attempts of equal transport only.
    pub transport: u64,
    /// What is spoken.
    pub protocol: Protocol,
    /// With it, TLS and the name that the certificate must carry; without a name, the address.
    pub tls: Option<(&'a Arc<ClientConfig>, Option<&'a ServerName<'static>>)>,
    /// With it, a new connection begins with a PROXY protocol header.
    pub proxy: Option<(ProxyVersion, Whom)>,
    /// How connections are kept; `idle` is this worker's share, and 0 where each is one client's.
    pub keep: ConnectionsSpec,
    /// To open a connection.
    pub connect_limit: Duration,
    /// For the TLS handshake.
    pub tls_limit: Duration,
}

/// The bounds that every answer's head must keep.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Size of a head, in bytes.
    pub size: usize,
    /// Fields in a head.
    pub fields: usize,
}

/// A field of a head.
pub type Field = (HeaderName, HeaderValue);
/// Fields that are added to a request's own: putting them into its map would cost more.
pub type Fields = Vec<Field>;

/// A request without its body.
#[derive(Clone, Copy)]
pub struct Call<'r> {
    /// Method, target and fields.
    pub head: &'r Parts,
    /// Fields that follow those of the head.
    pub added: &'r Fields,
    /// Hears each answer of status 1xx that comes before the final one, save 101.
    pub interim: &'r dyn Fn(AnswerHead),
}

/// The connections of one worker to all endpoints. `B` is the request's body.
#[derive(Debug)]
pub struct Client<B> {
    shelves: Shelves<B>,
    tasks: Rc<RefCell<LocalTasks>>,
    meter: Rc<Meter>,
    room: Rc<Room>,
    account: Arc<Account>,
    limits: HeadLimits,
}

/// One open connection, or one stream's share of an HTTP/2 connection, taken out for one request.
/// Dropping it closes an HTTP/1.1 connection; [`Client::put_back`] keeps it for the next request.
#[derive(Debug)]
pub struct Connection<B> {
    line: Line<B>,
    place: Rc<Place>,
    /// Whether it has carried a request before.
    pub reused: bool,
}

#[derive(Debug)]
enum Line<B> {
    H1(h1::Line<B>),
    /// Boxed: it is large, and one of HTTP/1.1 would carry its size along.
    H2(Box<Channel>),
}

impl<B: Payload> Client<B> {
    /// No connections yet. Connections that open run in `tasks`; they read and write with the worker's
    /// memory, and what they read counts in its account.
    pub fn new(
        tasks: Rc<RefCell<LocalTasks>>,
        meter: Rc<Meter>,
        (room, account): (Rc<Room>, Arc<Account>),
        limits: HeadLimits,
    ) -> Self {
        let shelves = Shelves::new(Rc::clone(&tasks));
        Self { shelves, tasks, meter, room, account, limits }
    }

    /// A connection that is open already, if there is one that was idle no longer than `rested`.
    /// `now` may be a little late: no timer here is finer than that.
    pub fn reuse(
        &self,
        to: &Destination<'_>,
        rested: Duration,
        now: Instant,
    ) -> Option<Connection<B>> {
        let connection = self.shelves.take(to, rested, now)?;
        self.meter.upstream_reused(to.pool);
        Some(connection)
    }

    /// A new connection.
    ///
    /// # Errors
    /// By the stage that failed: dial, TLS, HTTP/2 preface.
    pub async fn open(&self, to: &Destination<'_>) -> Result<Connection<B>, ConnectError> {
        match to.protocol {
            Protocol::H1 => self.open_h1(to).await,
            Protocol::H2 => self.open_h2(to).await,
        }
    }

    /// Keeps a connection whose answer was read whole for the next request. Where the answer came
    /// before the end of the request, the rest of that is sent, and the connection closed.
    pub fn put_back(&self, connection: Connection<B>, now: Instant) {
        match connection.line {
            Line::H1(line) if !line.is_sent() => line.finish(),
            line => self.shelves.put(Connection { line, ..connection }, now),
        }
    }

    /// Closes the connections that were idle for too long, are too old, or whose endpoints are
    /// drained. Called each second.
    pub fn sweep(&self) {
        self.shelves.sweep(Instant::now());
    }
}

impl<B: Payload> Connection<B> {
    /// Sends a request and waits for the head of its answer. The body is then read by
    /// [`Connection::poll_frame`].
    ///
    /// # Errors
    /// How the connection failed, and whether the endpoint may have acted.
    pub async fn send(&mut self, call: Call<'_>, body: B) -> Result<AnswerHead, SendError> {
        match &mut self.line {
            Line::H1(line) => line.send(call, body).await,
            // Boxed for the same reason.
            Line::H2(channel) => Box::pin(channel.send(call, body)).await,
        }
    }

    /// The next part of the answer's body.
    pub fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cause>>> {
        match &mut self.line {
            Line::H1(line) => line.poll_frame(context),
            Line::H2(channel) => channel.poll_frame(context),
        }
    }

    /// How large the reads of the answer's body may get. Those of HTTP/2 are frames, which are small.
    pub fn set_appetite(&self, appetite: Appetite) {
        if let Line::H1(line) = &self.line {
            line.set_appetite(appetite);
        }
    }

    /// All that is left of the answer's body, if it has come already: a small answer comes whole.
    pub fn take_rest(&mut self) -> Option<Bytes> {
        match &self.line {
            Line::H1(line) => line.take_rest(),
            Line::H2(_) => None,
        }
    }

    /// Whether all of the answer's body was read.
    pub fn is_end_stream(&self) -> bool {
        match &self.line {
            Line::H1(line) => line.is_end_stream(),
            Line::H2(channel) => channel.is_end_stream(),
        }
    }

    /// Whether all of the request was sent, so that another one may follow. On HTTP/2, where each is a stream of
    /// its own, that makes no difference.
    pub fn is_sent(&self) -> bool {
        match &self.line {
            Line::H1(line) => line.is_sent(),
            Line::H2(_) => true,
        }
    }

    /// When it had opened.
    pub fn opened(&self) -> Instant {
        self.place.born()
    }

    /// How much of the answer's body is still to come, in bytes.
    pub fn size_hint(&self) -> SizeHint {
        match &self.line {
            Line::H1(line) => line.size_hint(),
            Line::H2(channel) => channel.size_hint(),
        }
    }

    /// The bytes of a connection whose endpoint has switched protocols; `None` where that cannot
    /// be: within HTTP/2.
    pub fn into_switched(self) -> Option<Switched> {
        match self.line {
            Line::H1(line) => line.into_switched(),
            Line::H2(_) => None,
        }
    }

    /// Says that no answer came in time. An HTTP/1.1 connection ends with its request; one of
    /// HTTP/2 that has died without a word would else take request after request with it: it gets
    /// no new ones until an answer comes.
    pub fn doubt(&self) {
        if let Line::H2(channel) = &self.line {
            channel.doubt();
        }
    }
}
