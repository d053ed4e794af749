//! Connections to endpoints: dial, keep, send. Belongs to one worker and never leaves its thread:
//! a connection is used by requests of the worker that opened it alone, so nothing here is locked.
//! Knows endpoints and bytes, not tenants, routes or retries.

mod connect;
mod connections;
mod error;
mod executor;
mod stream;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::time::Instant;

use crate::base::tasks::LocalTasks;
use crate::config::spec::{ConnectionsSpec, Protocol};
use crate::model::endpoint::Endpoint;
use crate::model::ids::Label;
use crate::telemetry::meter::Meter;

use connections::{Key, MAX_STREAMS, Shelves};

pub use error::{ConnectError, SendError};
pub use executor::LocalExecutor;

/// Where an attempt goes and how.
#[derive(Clone, Copy, Debug)]
pub struct Destination<'a> {
    /// The endpoint.
    pub endpoint: &'a Endpoint,
    /// The pool, for metrics.
    pub pool: &'a Label,
    /// Connections are shared by attempts of equal transport only.
    pub transport: u64,
    /// What is spoken.
    pub protocol: Protocol,
    /// With it, TLS and the name that the certificate must carry; without a name, the address.
    pub tls: Option<(&'a Arc<ClientConfig>, Option<&'a ServerName<'static>>)>,
    /// How connections are kept; `idle` is this worker's share.
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

/// The connections of one worker to all endpoints. `B` is the request's body.
#[derive(Debug)]
pub struct Client<B> {
    shelves: Shelves<B>,
    tasks: Rc<RefCell<LocalTasks>>,
    meter: Rc<Meter>,
    limits: HeadLimits,
}

/// One open connection, or one stream's share of an HTTP/2 connection, taken out for one request.
/// Dropping it closes an HTTP/1.1 connection; [`Client::put_back`] keeps it for the next request.
#[derive(Debug)]
pub struct Connection<B> {
    sender: Sender<B>,
    key: Key,
    born: Instant,
    keep: ConnectionsSpec,
    /// Whether it has carried a request before.
    pub reused: bool,
}

#[derive(Debug)]
enum Sender<B> {
    H1(http1::SendRequest<B>),
    H2 { sender: http2::SendRequest<B>, stream: StreamCount },
}

/// What is known of one HTTP/2 connection by those who use it.
#[derive(Debug)]
struct Streams {
    open: Cell<u32>,
    /// How many the endpoint takes at once; it says so after the connection has opened.
    allowed: Cell<u32>,
    /// A request was given up on it, and no answer has come since: it may be dead.
    doubtful: Cell<bool>,
}

impl Streams {
    fn new() -> Rc<Self> {
        let allowed = Cell::new(MAX_STREAMS);
        Rc::new(Self { open: Cell::new(0), allowed, doubtful: Cell::new(false) })
    }
}

/// One stream in use of an HTTP/2 connection; gives its place back on drop.
#[derive(Debug)]
struct StreamCount(Rc<Streams>);

impl StreamCount {
    fn enter(streams: &Rc<Streams>) -> Self {
        streams.open.set(streams.open.get() + 1);
        Self(Rc::clone(streams))
    }
}

impl Drop for StreamCount {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
    }
}

impl<B> Client<B>
where
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// No connections yet. Connections that open run in `tasks`.
    pub fn new(tasks: Rc<RefCell<LocalTasks>>, meter: Rc<Meter>, limits: HeadLimits) -> Self {
        Self { shelves: Shelves::default(), tasks, meter, limits }
    }

    /// A connection that is open already, if there is one that was idle no longer than `rested`.
    pub fn reuse(&self, to: &Destination<'_>, rested: Duration) -> Option<Connection<B>> {
        let connection = self.shelves.take(to, rested)?;
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

    /// Keeps a connection whose answer was read whole for the next request.
    pub fn put_back(&self, connection: Connection<B>) {
        self.shelves.put(connection);
    }

    /// Closes the connections that were idle for too long or are too old. Called each second.
    pub fn sweep(&self) {
        self.shelves.sweep(Instant::now());
    }
}

impl<B> Connection<B>
where
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// How the connection failed; with the request where nothing of it was sent.
    pub async fn send(&mut self, request: Request<B>) -> Result<Response<Incoming>, SendError<B>> {
        let sent = match &mut self.sender {
            Sender::H1(sender) => sender.try_send_request(request).await,
            Sender::H2 { sender, stream } => {
                let sent = sender.try_send_request(request).await;
                if sent.is_ok() {
                    stream.0.doubtful.set(false);
                }
                sent
            }
        };
        sent.map_err(SendError::of)
    }

    /// Says that no answer came in time. An HTTP/1.1 connection ends with its request; one of
    /// HTTP/2 that has died without a word would else take request after request with it: it gets
    /// no new ones until an answer comes.
    pub fn doubt(&self) {
        if let Sender::H2 { stream, .. } = &self.sender {
            stream.0.doubtful.set(true);
        }
    }

    /// Whether it is one stream of an HTTP/2 connection.
    pub fn is_http2(&self) -> bool {
        matches!(self.sender, Sender::H2 { .. })
    }

    /// Heeds an endpoint's `Keep-Alive: timeout=N`: gives the connection up one second before the
    /// endpoint does, so that no request is sent into a closing connection.
    pub fn heed_keep_alive(&mut self, timeout: Duration) {
        let margin = timeout.saturating_sub(Duration::from_secs(1));
        self.keep.idle_timeout = self.keep.idle_timeout.min(margin);
    }
}
