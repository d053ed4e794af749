//! An HTTP/2 endpoint that allows few streams a connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Takes two requests at once on each connection, and answers none before [`Narrow::release`].
pub(crate) struct Narrow {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

struct Shared {
    asked: AtomicUsize,
    released: Semaphore,
}

impl Narrow {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind an origin");
        let address = listener.local_addr().expect("the origin's address");
        let shared = Arc::new(Shared { asked: AtomicUsize::new(0), released: Semaphore::new(0) });
        let serving = Arc::clone(&shared);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&serving)));
            }
        });
        Self { address, shared, _tasks: tasks }
    }

    /// How many requests have come.
    pub(crate) fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::Relaxed)
    }

    /// Answers all requests, now and later.
    pub(crate) fn release(&self) {
        self.shared.released.close();
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let made = h2::server::Builder::new()
        .max_concurrent_streams(2)
        .handshake::<_, bytes::Bytes>(stream)
        .await;
    let Ok(mut connection) = made else { return };
    let mut answers = JoinSet::new();
    while let Some(Ok((_, mut answer))) = connection.accept().await {
        shared.asked.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::clone(&shared);
        answers.spawn(async move {
            let closed = shared.released.acquire().await.is_err();
            assert!(closed, "nothing is released one by one");
            drop(answer.send_response(http::Response::new(()), true)); // it may have been given up
        });
    }
}
