//! An HTTP/2 endpoint that works and begins with no request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Refuses each stream (`REFUSED_STREAM`), as a server does that is full or about to leave.
pub(crate) struct Declining {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    declined: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Declining {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind an origin");
        let address = listener.local_addr().expect("the origin's address");
        let declined = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&declined);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(decline_all(stream, Arc::clone(&count)));
            }
        });
        Self { address, declined, _tasks: tasks }
    }

    /// How many requests it has declined.
    pub(crate) fn declined(&self) -> usize {
        self.declined.load(Ordering::Relaxed)
    }
}

async fn decline_all(stream: TcpStream, count: Arc<AtomicUsize>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((_, mut answer))) = connection.accept().await {
        count.fetch_add(1, Ordering::Relaxed);
        answer.send_reset(h2::Reason::REFUSED_STREAM);
    }
}
