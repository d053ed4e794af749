//! Opens connections to a collector: dial, TLS, and the handshake of HTTP.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tonic::body::Body;
use tonic::codegen::Service;

use crate::base::tasks::Tasks;
use crate::config::spec::CollectorSpec;
use crate::tls::client;

use super::fault::Fault;

/// What drives connections. A connection of HTTP/2 has a clone of it.
#[derive(Clone)]
pub(super) struct Drivers(Arc<Mutex<Option<Tasks>>>);

impl Drivers {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Some(Tasks::new("export")))))
    }

    /// Ends all connections at once; there are no new ones.
    pub(super) fn end(&self) {
        self.tasks().take();
    }

    fn run(&self, driver: impl Future + Send + 'static) {
        if let Some(tasks) = &mut *self.tasks() {
            tasks.spawn(|_stop| async move { drop(driver.await) });
        }
    }

    fn tasks(&self) -> MutexGuard<'_, Option<Tasks>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F: Future + Send + 'static> hyper::rt::Executor<F> for Drivers {
    fn execute(&self, driver: F) {
        self.run(driver);
    }
}

/// One connection that speaks HTTP/1.1.
pub(super) type Http1 = http1::SendRequest<Full<Bytes>>;

/// One connection that speaks HTTP/2, as the library for gRPC wants it.
#[derive(Clone)]
pub(super) struct Channel(http2::SendRequest<Body>);

impl Channel {
    pub(super) fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

/// The two ends of a connection's bytes.
trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// Opens a connection that speaks HTTP/1.1.
pub(super) async fn http1(
    spec: &CollectorSpec,
    tls: Option<&Arc<ClientConfig>>,
    drivers: &Drivers,
) -> Result<Http1, Fault> {
    let wire = TokioIo::new(dial(spec, tls).await.map_err(unreachable)?);
    let (sender, connection) = http1::handshake(wire).await.map_err(unreachable)?;
    drivers.run(connection);
    Ok(sender)
}

/// Opens a connection that speaks HTTP/2.
pub(super) async fn http2(
    spec: &CollectorSpec,
    tls: Option<&Arc<ClientConfig>>,
    drivers: &Drivers,
) -> Result<Channel, Fault> {
    let wire = TokioIo::new(dial(spec, tls).await.map_err(unreachable)?);
    let (sender, connection) = http2::Builder::new(drivers.clone())
        .timer(TokioTimer::new())
        .handshake(wire)
        .await
        .map_err(unreachable)?;
    drivers.run(connection);
    Ok(Channel(sender))
}

async fn dial(spec: &CollectorSpec, tls: Option<&Arc<ClientConfig>>) -> io::Result<Box<dyn Wire>> {
    let stream = TcpStream::connect((spec.host.as_str(), spec.port)).await?;
    stream.set_nodelay(true)?;
    let Some(config) = tls else { return Ok(Box::new(stream)) };
    Ok(Box::new(client::secure(stream, config, (spec.tls.as_ref(), &spec.host)).await?))
}

fn unreachable(error: impl std::error::Error) -> Fault {
    Fault::Unreachable(words(&error))
}

/// An error with what it comes of: the library's own words are seldom enough.
pub(super) fn words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        let more = deeper.to_string();
        if !words.contains(&more) {
            words.push_str(": ");
            words.push_str(&more);
        }
        cause = deeper.source();
    }
    words
}
