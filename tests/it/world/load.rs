//! Clients that ask all the time, and notice every request that is not served.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinSet;

use super::client::{Client, head};
use super::{eventually, within};

/// Load that runs until it is stopped.
pub(crate) struct Load {
    shared: Arc<Shared>,
    clients: JoinSet<()>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    served: AtomicUsize,
    connections: AtomicUsize,
    failures: Mutex<Vec<String>>,
}

impl Load {
    /// Starts so many clients of each tenant. They ask with `GET` and with `POST` in turn, on
    /// connections that they keep.
    pub(crate) fn start(address: SocketAddr, tenants: &[&str], clients: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let mut tasks = JoinSet::new();
        for tenant in tenants {
            for _ in 0..clients {
                tasks.spawn(ask(address, (*tenant).to_owned(), Arc::clone(&shared)));
            }
        }
        Self { shared, clients: tasks }
    }

    /// How many requests were served so far.
    pub(crate) fn served(&self) -> usize {
        self.shared.served.load(Ordering::Relaxed)
    }

    /// How many connections its clients have begun: one each, unless they were told to leave.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Waits until so many more requests were served.
    pub(crate) async fn serves(&self, more: usize) {
        let wanted = self.served() + more;
        eventually("more requests", || self.served(), |served| *served >= wanted).await;
    }

    /// Ends the load; fails if a request was not served with 200.
    pub(crate) async fn stop(mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        within("the last answers", async { while self.clients.join_next().await.is_some() {} })
            .await;
        let failures = self.shared.failures.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(failures.is_empty(), "{} were served; lost: {failures:#?}", self.served());
    }
}

async fn ask(address: SocketAddr, tenant: String, shared: Arc<Shared>) {
    let tenant = format!("X-Tenant-ID: {tenant}");
    let get = head("GET /", &["Host: a", &tenant]);
    let post = head("POST /", &["Host: a", &tenant, "Content-Length: 5"]) + "hello";
    let connect = async || {
        shared.connections.fetch_add(1, Ordering::Relaxed);
        Client::connect(address).await
    };
    let mut client = connect().await;
    while !shared.stop.load(Ordering::Relaxed) {
        for request in [&get, &post] {
            let answer = client.ask(request).await;
            if answer.status == 200 && answer.whole {
                shared.served.fetch_add(1, Ordering::Relaxed);
            } else {
                let what = format!("{} {:?}", answer.status, answer.problem());
                shared.failures.lock().unwrap_or_else(PoisonError::into_inner).push(what);
                client = connect().await;
            }
            if answer.one("connection").as_deref() == Some("close") {
                client = connect().await;
            }
        }
    }
}
