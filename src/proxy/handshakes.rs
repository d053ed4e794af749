//! The TLS handshakes of one worker: so many at once, and none for longer than its time.

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::Error as TlsError;
use rustls::server::Acceptor;
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use crate::base::socket::Socket;
use crate::tls::certificates::Certificates;

use super::secured::{self, Secured};

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
    /// There is no certificate for the name that was asked for, or for none.
    #[error("no certificate is for the name {0:?}")]
    UnknownName(Option<Box<str>>),
    /// It failed.
    #[error(transparent)]
    Failed(#[from] io::Error),
    /// What was agreed on is not enough.
    #[error(transparent)]
    NotEnough(#[from] rustls::Error),
}

impl Refusal {
    /// The metric's word for it.
    pub(super) fn reason(&self) -> &'static str {
        let error = match self {
            Self::Late => return "tls_timeout",
            Self::Crowded => return "tls_crowded",
            Self::UnknownName(_) => return "tls_unknown_name",
            Self::Failed(error) => error.get_ref().and_then(|error| error.downcast_ref()),
            Self::NotEnough(error) => Some(error),
        };
        match error {
            Some(TlsError::NoCertificatesPresented) => "tls_no_client_certificate",
            Some(TlsError::InvalidCertificate(_)) => "tls_bad_client_certificate",
            Some(TlsError::NoApplicationProtocol) => "tls_no_protocol",
            _ => "tls_failed",
        }
    }
}

impl Handshakes {
    /// At most `most` at once.
    pub(super) fn new(most: usize) -> Self {
        Self { turns: Semaphore::new(most.min(Semaphore::MAX_PERMITS)), waiting: Cell::new(0) }
    }

    /// Shakes hands before `end`, the wait for a turn included, with somebody who has said something.
    /// Who has had a turn for a while gives it up once others wait: a client that means it is done
    /// by then, so that those who stop half-way cannot keep all the others out.
    ///
    /// # Errors
    /// Why there was no handshake.
    pub(super) async fn accept(
        &self,
        stream: Socket,
        certificates: Arc<Certificates>,
        end: Instant,
    ) -> Result<(TlsStream<Socket>, Box<Secured>), Refusal> {
        let waiting = Waiting::begin(&self.waiting);
        let turn = timeout_at(end, self.turns.acquire()).await;
        drop(waiting);
        let Ok(Ok(_turn)) = turn else { return Err(Refusal::Crowded) };
        let mut handshake = Box::pin(shake(stream, certificates));
        loop {
            let now = Instant::now();
            if let Ok(done) = timeout_at(end.min(now + PATIENCE), handshake.as_mut()).await {
                return done;
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

/// Reads which name the client asks for, and goes on with what there is for it.
async fn shake(
    stream: Socket,
    certificates: Arc<Certificates>,
) -> Result<(TlsStream<Socket>, Box<Secured>), Refusal> {
    let mut hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let asked = hello.client_hello();
    let name = asked.server_name().map(secured::plain);
    let Some(entry) = certificates.find(name).map(Arc::clone) else {
        let name = name.map(Into::into);
        // Whether it arrives changes nothing for us.
        drop(hello.io.write_all(UNRECOGNIZED_NAME).await);
        return Err(Refusal::UnknownName(name));
    };
    let stream = hello.into_stream(entry.config()?).await?;
    let secured = Secured::after(stream.get_ref().1, certificates, entry)?;
    Ok((stream, Box::new(secured)))
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

/// RFC 8446 §6: a record that holds the fatal alert `unrecognized_name`. Nothing is encrypted yet.
const UNRECOGNIZED_NAME: &[u8] = &[21, 3, 3, 0, 2, 2, 112];
/// 1 s: three round trips of a client at the other end of the world.
const PATIENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Poll;

    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

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
        // Nobody comes as far as to be shown anything.
        let (handshakes, tls) = (Handshakes::new(1), Arc::new(Certificates::default()));
        let ((first, _one), (second, _two)) = (stuck().await, stuck().await);
        tokio::time::pause();
        let mut first = pin!(handshakes.accept(first, Arc::clone(&tls), Instant::now() + limit));
        let begun = std::future::poll_fn(|context| Poll::Ready(first.as_mut().poll(context)));
        assert!(begun.await.is_pending());
        let second = handshakes.accept(second, tls, Instant::now() + rest);
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
