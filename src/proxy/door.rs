//! A listener while the process runs: what it says now, for the connections to come, and how many
//! are open. Shared by the workers; each has a socket of its own for it.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use tokio::sync::mpsc;

use crate::base::listening::Listening;
use crate::base::snapshot::Snapshot;
use crate::config::spec::ListenerSpec;
use crate::tls::certificates::Certificates;

/// A listener.
#[derive(Debug)]
pub struct Door {
    /// Its number: no other listener of this process ever has it.
    pub number: usize,
    front: Snapshot<Front>,
    /// Its open connections, over all workers.
    pub(super) open: Arc<AtomicUsize>,
}

/// What a listener says. A connection keeps what it came to.
#[derive(Debug)]
pub struct Front {
    /// As the config has it.
    pub spec: ListenerSpec,
    /// What it presents to clients; `None` = plain.
    pub tls: Option<Snapshot<Certificates>>,
}

/// What a worker is told of a listener.
#[derive(Debug)]
pub enum Order {
    /// Accept from this socket.
    Open(Arc<Door>, Listening),
    /// Accept no more, and have its connections end once nothing is under way on them. The sender is
    /// dropped when the socket is closed.
    Close(Arc<Door>, mpsc::Sender<()>),
}

impl Door {
    /// A listener that nobody has come to.
    pub fn new(number: usize, front: Front) -> Arc<Self> {
        let front = Snapshot::new(Arc::new(front));
        Arc::new(Self { number, front, open: Arc::default() })
    }

    /// What it says now.
    pub fn front(&self) -> Arc<Front> {
        self.front.load()
    }

    /// Has it say something else to the connections to come.
    pub fn change(&self, front: Front) {
        self.front.publish(Arc::new(front));
    }
}
