//! Path 1: may this connection come in? Each worker has a socket of its own for each listener; the
//! kernel spreads the connections over them.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};

use crate::base::tasks::Stop;

use super::connection;
use super::worker::Worker;

/// Accepts until `stop`, then what the kernel has accepted already, so that none of it is refused.
pub(super) async fn run(
    worker: Rc<Worker>,
    socket: std::net::TcpListener,
    number: usize,
    tls: Option<Arc<ServerConfig>>,
    mut stop: Stop,
) {
    let listener = match TcpListener::from_std(socket) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(listener = number, %error, "a listener cannot be used");
            return;
        }
    };
    loop {
        tokio::select! {
            biased;
            () = stop.requested() => break,
            accepted = listener.accept() => admit(&worker, accepted, number, tls.as_ref()).await,
        }
    }
    match listener.into_std() {
        Ok(socket) => accept_rest(&worker, &socket, number, tls.as_ref()).await,
        Err(error) => tracing::warn!(listener = number, %error, "a listener was lost"),
    }
}

/// Accepts what waits in the kernel's queue. Asks the kernel itself: the runtime would tell only of
/// those that it has heard of already.
async fn accept_rest(
    worker: &Rc<Worker>,
    socket: &std::net::TcpListener,
    number: usize,
    tls: Option<&Arc<ServerConfig>>,
) {
    for _ in 0..QUEUE {
        let accepted = match socket.accept() {
            Ok(accepted) => accepted,
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(_) => return, // none is left
        };
        let (stream, address) = accepted;
        let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
        admit(worker, stream.map(|stream| (stream, address)), number, tls).await;
    }
}

async fn admit(
    worker: &Rc<Worker>,
    accepted: io::Result<(TcpStream, SocketAddr)>,
    number: usize,
    tls: Option<&Arc<ServerConfig>>,
) {
    let (stream, address) = match accepted {
        Ok(accepted) => accepted,
        Err(error) => {
            worker.meter.connection_rejected("accept_failed");
            if worker.lines.admits() {
                tracing::warn!(listener = number, %error, "a connection could not be accepted");
            }
            tokio::time::sleep(ACCEPT_PAUSE).await;
            return;
        }
    };
    if worker.open_connections.get() >= worker.max_connections {
        worker.meter.connection_rejected("too_many");
        return;
    }
    let serving = connection::serve(Rc::clone(worker), stream, address, number, tls.cloned());
    worker.tasks.borrow_mut().spawn(|_stop| serving);
}

/// 4,096: what the queue holds; who comes after that finds the listener closed.
const QUEUE: usize = 4096;
/// 50 ms: out of file descriptors is not over in an instant, and asking again at once burns a core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
