//! The audit log: one line of JSON for each change that somebody asks for, and for each generation that
//! goes live. A thread writes the lines and has the disk keep them before whoever waits hears of it.
//!
//! **Invariant:** a line that cannot be written refuses and delays nothing for longer than a second: it is
//! counted, and told in the gateway's own log.

mod file;
mod floods;
mod line;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::keeping::AUDIT_LOG_LOST;
use super::lines::LinesError;
use super::registry::Metrics;

use file::{Writer, open};
use floods::Floods;

pub use floods::Bound;
pub use line::{Event, Keys, Line, Turn};

/// Takes lines. Clones take them for the same file.
#[derive(Clone, Debug)]
pub struct AuditLog {
    /// `None` = there is none.
    desk: Option<Desk>,
}

#[derive(Clone, Debug)]
struct Desk {
    queue: SyncSender<Message>,
    floods: Arc<Floods>,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
enum Message {
    /// A line with its end, and who waits for it to be kept.
    Line(Vec<u8>, Option<oneshot::Sender<()>>),
    /// Look at the owner's words.
    Nudge,
}

/// Owns the file. Dropping it writes what waits.
#[derive(Debug)]
pub struct AuditLogOwner {
    writing: Option<Writing>,
}

#[derive(Debug)]
struct Writing {
    queue: SyncSender<Message>,
    words: Arc<Words>,
    done: Receiver<()>,
}

#[derive(Debug, Default)]
struct Words {
    end: AtomicBool,
    reopen: AtomicBool,
}

impl AuditLog {
    /// No audit log.
    pub fn off() -> Self {
        Self { desk: None }
    }

    /// Opens the file and starts the thread; `None` = there is none.
    ///
    /// # Errors
    /// When the file cannot be opened or the thread not be started.
    pub fn start(
        path: Option<&Path>,
        metrics: &Arc<Metrics>,
    ) -> Result<(Self, AuditLogOwner), LinesError> {
        let Some(path) = path else { return Ok((Self::off(), AuditLogOwner { writing: None })) };
        for why in ["queue", "write"] {
            metrics.add(&AUDIT_LOG_LOST, &[why], 0);
        }
        let file =
            open(path).map_err(|source| LinesError::Open { path: path.to_owned(), source })?;
        let (queue, messages) = sync_channel(QUEUE);
        let (alive, done) = sync_channel(0);
        let words = Arc::new(Words::default());
        let floods = Arc::<Floods>::default();
        let mut writer = Writer {
            path: path.to_owned(),
            file,
            messages,
            words: Arc::clone(&words),
            floods: Arc::clone(&floods),
            metrics: Arc::clone(metrics),
            failing: false,
        };
        let run = move || {
            writer.run();
            drop::<SyncSender<()>>(alive); // tells the owner, after the last line
        };
        thread::Builder::new()
            .name("audit-log".to_owned())
            .spawn(run)
            .map_err(LinesError::Thread)?;
        let desk = Desk { queue: queue.clone(), floods, metrics: Arc::clone(metrics) };
        let writing = Some(Writing { queue, words, done });
        Ok((Self { desk: Some(desk) }, AuditLogOwner { writing }))
    }

    /// Writes a line, and waits until the disk has it or cannot take it, at most for a second.
    pub async fn tell(&self, line: &Line, bound: Bound) {
        let Some(desk) = self.desk.as_ref().filter(|desk| desk.floods.admits(bound, line)) else {
            return;
        };
        let (kept, hears) = oneshot::channel();
        desk.send(line, Some(kept));
        // Who does not hear goes on: what became of the line is counted.
        drop(timeout(PATIENCE, hears).await);
    }

    /// Has a line written soon.
    pub fn note(&self, line: &Line) {
        if let Some(desk) = &self.desk {
            desk.send(line, None);
        }
    }
}

impl Desk {
    fn send(&self, line: &Line, kept: Option<oneshot::Sender<()>>) {
        let mut bytes = Vec::with_capacity(512);
        line.append_to(&mut bytes);
        if self.queue.try_send(Message::Line(bytes, kept)).is_err() {
            self.metrics.add(&AUDIT_LOG_LOST, &["queue"], 1);
            tracing::error!("a line of the audit log is lost: too many wait for the disk");
        }
    }
}

impl AuditLogOwner {
    /// Opens the file anew, after it was moved away. If that fails the old one is written on.
    pub fn reopen(&self) {
        if let Some(writing) = &self.writing {
            writing.words.reopen.store(true, Ordering::Release);
            writing.nudge();
        }
    }

    /// Writes what waits and ends, within `limit`; tells whether all of it was written.
    pub fn end(self, limit: Duration) -> bool {
        self.writing.as_ref().is_none_or(|writing| writing.end(limit))
    }
}

impl Writing {
    fn nudge(&self) {
        // A full queue keeps the thread awake: it looks at the words after a batch.
        drop(self.queue.try_send(Message::Nudge));
    }

    fn end(&self, limit: Duration) -> bool {
        self.words.end.store(true, Ordering::Release);
        self.nudge();
        // The thread drops its sender when it ends, which disconnects.
        self.done.recv_timeout(limit) == Err(RecvTimeoutError::Disconnected)
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.end(END_LIMIT);
    }
}

/// 1,024 lines, some hundred KiB: more than a disk that hangs for a moment leaves waiting.
const QUEUE: usize = 1024;

/// 1 s: a disk that works takes some milliseconds. Who asks for a change waits no longer for one that
/// does not.
const PATIENCE: Duration = Duration::from_secs(1);

/// 2 s: what waits is written in milliseconds; a disk that hangs is not waited for.
const END_LIMIT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
