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

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Poll;

    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    fn presented() -> Arc<ServerConfig> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![CertificateDer::from(made.cert)], key);
        Arc::new(config.unwrap())
    }

    /// A client that has said one byte of a handshake and will never say more.
    async fn stuck() -> (Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap());
        let (far, near) = tokio::join!(far, listener.accept());
        let (mut far, near) = (far.unwrap(), Socket::new(near.unwrap().0));
        far.write_all(b"\x16").await.unwrap();
        near.readable().await.unwrap();
        (near, far)
    }

    /// Two clients that stop half-way where only one may shake hands at once; the first has the turn.
    /// Gives the metric's words for both.
    async fn two_of_one_turn(limit: Duration, rest: Duration) -> [&'static str; 2] {
        let (handshakes, tls) = (Handshakes::new(1), presented());
        let ((first, _one), (second, _two)) = (stuck().await, stuck().await);
        tokio::time::pause();
        let mut first = pin!(handshakes.accept(first, Arc::clone(&tls), limit));
        let begun = std::future::poll_fn(|context| Poll::Ready(first.as_mut().poll(context)));
        assert!(begun.await.is_pending());
        let second = handshakes.accept(second, tls, rest);
        let (first, second) = tokio::join!(first, second);
        [first.unwrap_err().reason(), second.unwrap_err().reason()]
    }

    #[tokio::test]
    async fn who_is_slow_gives_its_turn_to_who_waits() {
        let (limit, rest) = (PATIENCE * 5, PATIENCE * 5);
        assert_eq!(two_of_one_turn(limit, rest).await, ["tls_crowded", "tls_timeout"]);
    }

    #[tokio::test]
    async fn who_gets_no_turn_in_its_time_is_refused() {
        let (limit, rest) = (PATIENCE * 5, PATIENCE / 2);
        assert_eq!(two_of_one_turn(limit, rest).await, ["tls_timeout", "tls_crowded"]);
    }
}
