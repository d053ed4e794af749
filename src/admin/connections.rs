//! Connections of the admin API's clients: few, and none for ever. Who reaches this listener may
//! not use up the process's sockets, which the data path needs.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use crate::base::snapshot::Snapshot;
use crate::base::tasks::{Stop, Tasks};
use crate::model::identity::Identity;
use crate::tls::certificates::Certificates;

use super::access::Visitor;

/// What clients may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Connections at once; more wait in the kernel's queue.
    pub(super) connections: usize,
    /// Longest time up to the end of a request's head, the wait for a next request included.
    pub(super) head: Duration,
    /// How old a connection may get.
    pub(super) age: Duration,
    /// How long a request under way may take when its connection shall end.
    pub(super) grace: Duration,
}

/// What holds in a process: room for a few dashboards and scrapers. A scrape each minute opens a
/// new connection, one each 15 s keeps its own.
pub(super) const LIMITS: Limits = Limits {
    connections: 128,
    head: Duration::from_secs(30),
    age: Duration::from_secs(600),
    grace: Duration::from_secs(10),
};

/// How connections are met.
#[derive(Clone, Debug)]
pub(super) struct Front {
    /// What is presented to clients; `None` = no TLS.
    pub(super) tls: Option<Snapshot<Certificates>>,
    /// What they may take.
    pub(super) limits: Limits,
}

/// Accepts connections until `stop`, then lets requests that are under way finish.
pub(super) async fn serve(listener: TcpListener, router: Router, front: Front, mut stop: Stop) {
    let limits = front.limits;
    let mut connections = Tasks::new("admin");
    let room = Arc::new(Semaphore::new(limits.connections));
    loop {
        let accepted = async {
            // The semaphore is never closed, so that this fails never.
            let permit = Arc::clone(&room).acquire_owned().await.ok();
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            () = stop.requested() => break,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (router, tls) = (router.clone(), front.tls.as_ref().map(Snapshot::load));
                let visitor = Visitor { address: peer.ip(), identity: None };
                connections.spawn(move |stop| async move {
                    match tls {
                        None => serve_one(stream, (router, visitor), limits, stop).await,
                        Some(tls) => {
                            serve_secured(stream, &tls, (router, visitor), limits, stop).await;
                        }
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the admin API cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.stop(limits.grace).await;
}

async fn serve_secured(
    stream: TcpStream,
    tls: &Certificates,
    (router, visitor): (Router, Visitor),
    limits: Limits,
    mut stop: Stop,
) {
    let shaken = tokio::select! {
        () = stop.requested() => return,
        shaken = timeout(limits.head, shake(stream, tls)) => shaken,
    };
    match shaken {
        Ok(Ok((stream, identity))) => {
            let visitor = Visitor { identity, ..visitor };
            serve_one(stream, (router, visitor), limits, stop).await;
        }
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake of the admin API failed"),
        Err(_) => tracing::debug!("a TLS handshake of the admin API did not end in time"),
    }
}

/// Shakes hands by what there is for the name that the client asks for; tells who it is by its
/// certificate.
async fn shake(
    stream: TcpStream,
    tls: &Certificates,
) -> io::Result<(TlsStream<TcpStream>, Option<Arc<Identity>>)> {
    let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let asked = hello.client_hello();
    let name = asked.server_name().map(|name| name.trim_end_matches('.').to_ascii_lowercase());
    let entry = tls
        .find(name.as_deref())
        .ok_or_else(|| io::Error::other("no certificate is for the name that was asked for"))?;
    let mut config = ServerConfig::clone(&*entry.config().map_err(io::Error::other)?);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = hello.into_stream(Arc::new(config)).await?;
    let shown = entry.identify(stream.get_ref().1).map_err(io::Error::other)?;
    Ok((stream, shown.map(Arc::new)))
}

async fn serve_one<S>(
    stream: S,
    (router, visitor): (Router, Visitor),
    limits: Limits,
    mut stop: Stop,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let router = router.layer(Extension(visitor));
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
    );
    // How a client's connection fails is the client's affair.
    tokio::select! {
        ended = connection.as_mut() => return drop(ended),
        () = stop.requested() => {}
        () = sleep(limits.age) => {}
    }
    connection.as_mut().graceful_shutdown();
    drop(timeout(limits.grace, connection).await);
}

/// 100 ms: out of sockets, the next try fails as fast.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
