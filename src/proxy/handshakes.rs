//! The TLS handshakes of one worker: so many at once, and none for longer than its time.

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::base::socket::Socket;

/// The handshakes of one worker.
#[derive(Debug)]
pub(super) struct Handshakes {
    turns: Semaphore,
    waiting: Cell<usize>,
}

/// Why there was no handshake.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// It did not end in time.
    #[error("it did not end in time")]
    Late,
    /// Others had all the turns, or waited for this one's.
    #[error("too many handshakes are under way")]
    Crowded,
    /// It failed.
    #[error(transparent)]
    Failed(#[from] io::Error),
}

impl Refusal {
    /// The metric's word for it.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Late => "tls_timeout",
            Self::Crowded => "tls_crowded",
            Self::Failed(_) => "tls_failed",
        }
    }
}

impl Handshakes {
    /// At most `most` at once.
    pub(super) fn new(most: usize) -> Self {
        Self { turns: Semaphore::new(most.min(Semaphore::MAX_PERMITS)), waiting: Cell::new(0) }
    }

    /// Shakes hands within `limit`, the wait for a turn included. Who has said nothing yet takes no
    /// turn; who has had one for a while gives it up once others wait: a client that means it is
    /// done by then, so that those who stop half-way cannot keep all the others out.
    ///
    /// # Errors
    /// Why there was no handshake.
    pub(super) async fn accept(
        &self,
        stream: Socket,
        tls: Arc<ServerConfig>,
        limit: Duration,
    ) -> Result<TlsStream<Socket>, Refusal> {
        let end = Instant::now() + limit;
        timeout_at(end, stream.readable()).await.map_err(|_| Refusal::Late)??;
        let waiting = Waiting::begin(&self.waiting);
        let turn = timeout_at(end, self.turns.acquire()).await;
        drop(waiting);
        let Ok(Ok(_turn)) = turn else { return Err(Refusal::Crowded) };
        let mut handshake = Box::pin(TlsAcceptor::from(tls).accept(stream));
        loop {
            let now = Instant::now();
            if let Ok(done) = timeout_at(end.min(now + PATIENCE), handshake.as_mut()).await {
                return Ok(done?);
            }
            if Instant::now() >= end {
                return Err(Refusal::Late);
            }
            if self.waiting.get() > 0 {
                return Err(Refusal::Crowded);
            }
        }
    }
}

/// Counts one who waits, until dropped.
struct Waiting<'w>(&'w Cell<usize>);

impl<'w> Waiting<'w> {
    fn begin(count: &'w Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// 1 s: three round trips of a client at the other end of the world.
const PATIENCE: Duration = Duration::from_secs(1);
