//! Opening connections: dial, TLS handshake, HTTP handshake, each with its limit.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use super::connections::{Key, Shared};
use super::executor::LocalExecutor;
use super::stream::Stream;
use super::{Client, ConnectError, Connection, Destination, Sender, StreamCount, Streams};

impl<B> Client<B>
where
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    pub(super) async fn open_h1(
        &self,
        to: &Destination<'_>,
    ) -> Result<Connection<B>, ConnectError> {
        let io = TokioIo::new(dial(to).await?);
        let (sender, connection) = http1::Builder::new()
            .max_header_size(self.limits.size)
            .max_headers(self.limits.fields)
            .handshake(io)
            .await
            .map_err(ConnectError::Preface)?;
        self.run(to, connection.with_upgrades());
        Ok(Connection {
            sender: Sender::H1(sender),
            key: Key::of(to),
            born: Instant::now(),
            keep: to.keep,
            reused: false,
        })
    }

    /// One connection carries many requests, so those that come while it opens wait for it rather
    /// than open more.
    pub(super) async fn open_h2(
        &self,
        to: &Destination<'_>,
    ) -> Result<Connection<B>, ConnectError> {
        let opening = self.shelves.opening(to);
        let failures = opening.failures.get();
        let _turn = opening.turn.lock().await;
        if let Some(connection) = self.shelves.take(to, Duration::MAX) {
            return Ok(connection);
        }
        if opening.failures.get() != failures {
            return Err(ConnectError::Shared);
        }
        let opened = self.handshake_h2(to).await;
        if opened.is_err() {
            opening.failures.set(failures.wrapping_add(1));
        }
        opened
    }

    async fn handshake_h2(&self, to: &Destination<'_>) -> Result<Connection<B>, ConnectError> {
        let io = TokioIo::new(dial(to).await?);
        let executor = LocalExecutor::new(Rc::clone(&self.tasks));
        let size = u32::try_from(self.limits.size).unwrap_or(u32::MAX);
        let (sender, connection) = http2::Builder::new(executor)
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(size)
            .handshake(io)
            .await
            .map_err(ConnectError::Preface)?;
        let streams = Streams::new();
        self.run(to, heeding(connection, Rc::clone(&streams)));
        let born = Instant::now();
        let count = StreamCount::enter(&streams);
        let shared = Shared::new(sender.clone(), streams, born, to.keep);
        self.shelves.share(Key::of(to), shared);
        Ok(Connection {
            sender: Sender::H2 { sender, stream: count },
            key: Key::of(to),
            born,
            keep: to.keep,
            reused: false,
        })
    }

    /// Drives a connection until it ends. What it dies of is told to the request that it carries.
    fn run<C>(&self, to: &Destination<'_>, connection: C)
    where
        C: Future<Output = hyper::Result<()>> + 'static,
    {
        let meter = Rc::clone(&self.meter);
        let pool = to.pool.clone();
        meter.upstream_opened(&pool);
        self.tasks.borrow_mut().spawn(|_stop| async move {
            if let Err(error) = connection.await {
                tracing::debug!(pool = %pool.name, %error, "an upstream connection ended");
            }
            meter.upstream_closed(&pool);
        });
    }
}

/// Drives an HTTP/2 connection and notes how many streams the endpoint allows.
async fn heeding<B>(
    mut connection: http2::Connection<TokioIo<Stream>, B, LocalExecutor>,
    streams: Rc<Streams>,
) -> hyper::Result<()>
where
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    std::future::poll_fn(|context| {
        let polled = Pin::new(&mut connection).poll(context);
        let allowed = connection.current_max_send_streams();
        streams.allowed.set(u32::try_from(allowed).unwrap_or(u32::MAX));
        polled
    })
    .await
}

async fn dial(to: &Destination<'_>) -> Result<Stream, ConnectError> {
    let stream = timeout(to.connect_limit, TcpStream::connect(to.endpoint.address))
        .await
        .map_err(|_| ConnectError::Timeout(to.connect_limit))?
        .map_err(ConnectError::Refused)?;
    stream.set_nodelay(true).map_err(ConnectError::Refused)?;
    let Some((config, name)) = to.tls else {
        return Ok(Stream::Plain(stream));
    };
    let connector = TlsConnector::from(Arc::clone(config));
    let name = name.cloned().unwrap_or_else(|| ServerName::from(to.endpoint.address.ip()));
    let stream = timeout(to.tls_limit, connector.connect(name, stream))
        .await
        .map_err(|_| ConnectError::TlsTimeout(to.tls_limit))?
        .map_err(ConnectError::Tls)?;
    Ok(Stream::Tls(Box::new(stream)))
}

/// 64 KiB a stream and 1 MiB a connection bound what an endpoint may send ahead of a slow client.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
