//! An HTTP/2 endpoint whose answers to `/pour` never end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::SendStream;
use http::Response;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Pours as much as the gateway gives it room for, and answers any other request with `ok`.
pub(crate) struct Pouring {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    poured: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Pouring {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind an origin");
        let address = listener.local_addr().expect("the origin's address");
        let poured = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&poured);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&count)));
            }
        });
        Self { address, poured, _tasks: tasks }
    }

    /// How many bytes the gateway has given it room for.
    pub(crate) fn poured(&self) -> usize {
        self.poured.load(Ordering::Relaxed)
    }
}

async fn serve(stream: TcpStream, poured: Arc<AtomicUsize>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    let mut answers = JoinSet::new();
    while let Some(Ok((request, mut answer))) = connection.accept().await {
        let Ok(mut body) = answer.send_response(Response::new(()), false) else { return };
        if request.uri().path() == "/pour" {
            answers.spawn(pour(body, Arc::clone(&poured)));
        } else {
            drop(body.send_data(Bytes::from_static(b"ok"), true));
        }
    }
}

async fn pour(mut body: SendStream<Bytes>, poured: Arc<AtomicUsize>) {
    loop {
        body.reserve_capacity(PART);
        let room = std::future::poll_fn(|context| body.poll_capacity(context)).await;
        let Some(Ok(room)) = room else { return };
        let size = room.min(PART);
        if body.send_data(Bytes::from(vec![b'x'; size]), false).is_err() {
            return;
        }
        poured.fetch_add(size, Ordering::Relaxed);
    }
}

/// 16 KiB: one frame.
const PART: usize = 16 << 10;
