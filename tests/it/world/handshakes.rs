//! Clients that open a connection by TLS, ask once and leave, all the time; every one must be served.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::task::JoinSet;

use super::client::{Client, head};
use super::pki::Visitor;
use super::{eventually, within};

/// Load of handshakes that runs until it is stopped.
pub(crate) struct Handshakes {
    shared: Arc<Shared>,
    clients: JoinSet<()>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    served: AtomicUsize,
}

impl Handshakes {
    /// Starts these clients, which had better resume no session.
    pub(crate) fn start(
        clients: impl IntoIterator<Item = Visitor>,
        address: SocketAddr,
        host: &'static str,
    ) -> Self {
        let shared = Arc::new(Shared::default());
        let mut tasks = JoinSet::new();
        for client in clients {
            let shared = Arc::clone(&shared);
            tasks.spawn(async move {
                while !shared.stop.load(Ordering::Relaxed) {
                    let stream = client.connect(address, host).await;
                    let fields =
                        [&format!("Host: {host}"), "X-Tenant-ID: acme", "Connection: close"];
                    let answer = Client::over(stream).ask(head("GET /", &fields)).await;
                    assert_eq!((answer.status, answer.whole), (200, true));
                    shared.served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Self { shared, clients: tasks }
    }

    /// Waits until so many more handshakes were made.
    pub(crate) async fn makes(&self, more: usize) {
        let served = || self.shared.served.load(Ordering::Relaxed);
        let wanted = served() + more;
        eventually("more handshakes", served, |served| *served >= wanted).await;
    }

    /// Ends the load; fails if a handshake or its request has failed.
    pub(crate) async fn stop(mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let ended = async {
            while let Some(ended) = self.clients.join_next().await {
                ended.expect("every handshake is made and every request served");
            }
        };
        within("the last handshakes", ended).await;
    }
}
