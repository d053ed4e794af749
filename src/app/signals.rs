//! What the operating system asks of the process.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// One wish of the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT: drain and end; the second one ends at once.
    Stop,
    /// SIGHUP: read the routes again and open the access log again.
    Reload,
}

/// The signals of this process from now on. While it lives, none of them kills the process.
#[derive(Debug)]
pub struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

impl Signals {
    /// Starts to listen. Call it before anything that a signal must not cut in two.
    ///
    /// # Errors
    /// When the system refuses to install a handler.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// The next signal. A wish to stop goes before a wish to reload.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Signal::Stop,
            _ = self.interrupt.recv() => Signal::Stop,
            _ = self.hang_up.recv() => Signal::Reload,
        }
    }

    /// The next wish to stop; reloads that are asked for meanwhile are passed over.
    pub async fn stop(&mut self) {
        while self.next().await != Signal::Stop {}
    }
}
