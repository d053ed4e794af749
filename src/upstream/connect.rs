//! Opening connections: dial, TLS handshake, HTTP handshake, each with its limit.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use h2::client;
use rustls::pki_types::ServerName;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use crate::base::socket::Socket;
use crate::http1::sending::Payload;
use crate::tls::stream::Stream;

use super::connections::{Key, Place, Shared};
use super::h1::{self, Open, Wire};
use super::h2::{Channel, MAX_STREAMS, Streams, drive};
use super::{Client, ConnectError, Connection, Destination, Line, dial, proxy_header};

impl<B: Payload> Client<B> {
    pub(super) async fn open_h1(
        &self,
        to: &Destination<'_>,
    ) -> Result<Connection<B>, ConnectError> {
        let shared = (Rc::clone(&self.room), Arc::clone(&self.account));
        let wire = Wire::new(dial(to).await?, shared, self.limits);
        let open = Open::count(&self.meter, to.pool);
        Ok(Connection {
            line: Line::H1(h1::Line::new(wire, Rc::clone(&self.tasks), open)),
            place: Place::of(to),
            reused: false,
        })
    }

    /// One connection carries many requests, so those that come while it opens wait for it rather
    /// than open more.
    pub(super) async fn open_h2(
        &self,
        to: &Destination<'_>,
    ) -> Result<Connection<B>, ConnectError> {
        let opening = self.shelves.opening(Key::of(to));
        let failures = opening.failures.get();
        let _turn = opening.turn.lock().await;
        if let Some(connection) = self.shelves.take(to, Duration::MAX, Instant::now()) {
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
        let stream = dial(to).await?;
        let size = u32::try_from(self.limits.size).unwrap_or(u32::MAX);
        let (sender, connection) = client::Builder::new()
            .enable_push(false)
            .initial_max_send_streams(MAX_STREAMS as usize)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buffer_size(SEND_BUFFER)
            .max_header_list_size(size)
            .handshake(stream)
            .await
            .map_err(ConnectError::Preface)?;
        let (streams, unused) = Streams::new(Arc::clone(&self.account));
        self.run(to, drive(connection, Rc::downgrade(&streams), unused));
        let channel = Channel::new(sender.clone(), &streams, &self.tasks);
        let place = Place::of(to);
        self.shelves.share(Key::of(to), Shared::new(sender, streams, Rc::clone(&place)));
        Ok(Connection { line: Line::H2(Box::new(channel)), place, reused: false })
    }

    /// Drives a connection until it ends. What it dies of is told to the requests that it carries.
    fn run<C>(&self, to: &Destination<'_>, connection: C)
    where
        C: Future<Output = Result<(), h2::Error>> + 'static,
    {
        let open = Open::count(&self.meter, to.pool);
        self.tasks.borrow_mut().spawn(|_stop| async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an upstream connection ended");
            }
            drop(open);
        });
    }
}

async fn dial(to: &Destination<'_>) -> Result<Stream, ConnectError> {
    let stream = timeout(to.connect_limit, open(to))
        .await
        .map_err(|_| ConnectError::Timeout(to.connect_limit))?
        .map_err(ConnectError::Refused)?;
    let stream = Socket::new(stream);
    let Some((config, name)) = to.tls else {
        return Ok(Stream::Plain(stream));
    };
    let connector = TlsConnector::from(Arc::clone(config));
    let name = match (name, to.endpoint.address.ip()) {
        (Some(name), _) => name.clone(),
        (None, Some(address)) => ServerName::from(address),
        (None, None) => return Err(ConnectError::Tls(io::Error::other(NAMELESS))),
    };
    let stream = timeout(to.tls_limit, connector.connect(name, stream))
        .await
        .map_err(|_| ConnectError::TlsTimeout(to.tls_limit))?
        .map_err(ConnectError::Tls)?;
    Ok(Stream::Tls(Box::new(stream.into())))
}

async fn open(to: &Destination<'_>) -> io::Result<TcpStream> {
    let mut stream = dial::connect(&to.endpoint.address).await?;
    if let Some((version, whom)) = to.proxy {
        // Ahead of everything else, TLS included.
        stream.write_all(&proxy_header::header(version, whom)).await?;
    }
    Ok(stream)
}

/// Why a Unix socket that a file lists is not spoken to by TLS.
const NAMELESS: &str = "a Unix socket has no name; the pool's tls needs a server-name";
/// 64 KiB of a request's body wait for a slow endpoint at most.
const SEND_BUFFER: usize = STREAM_WINDOW as usize;
/// 64 KiB a stream bound what an endpoint may send ahead of a slow client, and a connection has room
/// for all of its streams: with less, a few clients that read nothing would stall everybody else's
/// answers on it.
pub(super) const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = MAX_STREAMS * STREAM_WINDOW;
