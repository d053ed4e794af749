//! Connections of the admin API's clients: few, and none for ever. Who reaches this listener may
//! not use up the process's sockets, which the data path needs.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::base::tasks::{Stop, Tasks};

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

/// Accepts connections until `stop`, then lets requests that are under way finish.
pub(super) async fn serve(listener: TcpListener, router: Router, limits: Limits, mut stop: Stop) {
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
            Ok((stream, _)) => {
                let router = router.clone();
                connections.spawn(move |stop| async move {
                    serve_one(stream, router, limits, stop).await;
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

async fn serve_one(stream: TcpStream, router: Router, limits: Limits, mut stop: Stop) {
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
