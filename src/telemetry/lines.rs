//! Lines that must not make anybody wait: a bounded queue, and a thread that writes what it holds.
//! A full queue drops the line and counts it; a write that fails loses the batch and counts it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Appended to a file.
    File(PathBuf),
}

/// Why lines cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinesError {
    /// The file cannot be opened.
    #[error("{} cannot be opened for writing: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The thread cannot be started.
    #[error("the thread that writes cannot be started: {0}")]
    Thread(io::Error),
}

/// Appends one line, with its end, to the bytes.
pub(super) type Format<T> = dyn FnMut(T, &mut Vec<u8>) + Send;

/// How lines are made and what is told of their fate.
pub(super) struct Plan<T> {
    /// The name of the thread, at most 15 bytes.
    pub(super) name: &'static str,
    pub(super) output: Output,
    /// Lines that may wait.
    pub(super) queue: usize,
    /// Appends one line, with its end, to the bytes.
    pub(super) format: Box<Format<T>>,
    /// Counts the lines that found the queue full.
    pub(super) dropped: Arc<AtomicU64>,
    /// Counts the writes that failed.
    pub(super) errors: Arc<AtomicU64>,
    /// Hears of the first failure after a success.
    pub(super) failed: fn(&io::Error),
}

/// Takes lines. Clones put into the same queue.
#[derive(Debug)]
pub(super) struct Lines<T> {
    queue: SyncSender<Message<T>>,
    dropped: Arc<AtomicU64>,
}

/// Owns the thread. Dropping it writes what the queue holds and ends the thread.
#[derive(Debug)]
pub(super) struct Writer<T> {
    queue: SyncSender<Message<T>>,
    words: Arc<Words>,
    thread: JoinHandle<()>,
    done: Receiver<()>,
}

/// What the owner asks of the thread.
#[derive(Debug, Default)]
struct Words {
    end: AtomicBool,
    reopen: AtomicBool,
}

#[derive(Debug)]
enum Message<T> {
    Line(T),
    /// Look at the owner's words.
    Nudge,
}

impl<T> Clone for Lines<T> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), dropped: Arc::clone(&self.dropped) }
    }
}

impl<T> Lines<T> {
    /// Puts a line into the queue, or drops and counts it. Never waits.
    pub(super) fn send(&self, line: T) {
        if self.queue.try_send(Message::Line(line)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<T> Writer<T> {
    /// Opens a file anew, after it was moved away.
    pub(super) fn reopen(&self) {
        self.words.reopen.store(true, Ordering::Release);
        self.nudge();
    }

    /// Writes what the queue holds, at most for `limit`; tells whether all of it was.
    pub(super) fn end(&self, limit: Duration) -> bool {
        self.words.end.store(true, Ordering::Release);
        self.nudge();
        // The thread drops its sender when it ends, which disconnects.
        self.done.recv_timeout(limit) == Err(RecvTimeoutError::Disconnected)
    }

    fn nudge(&self) {
        // A full queue keeps the thread awake: it looks at the words after a batch.
        drop(self.queue.try_send(Message::Nudge));
        self.thread.thread().unpark();
    }
}

impl<T> Drop for Writer<T> {
    fn drop(&mut self) {
        self.end(END_LIMIT);
    }
}

/// Starts the thread.
pub(super) fn start<T: Send + 'static>(plan: Plan<T>) -> Result<(Lines<T>, Writer<T>), LinesError> {
    let sink = Sink::open(&plan.output)?;
    let (queue, messages) = sync_channel(plan.queue.max(1));
    let (alive, done) = sync_channel(0);
    let words = Arc::new(Words::default());
    let name = plan.name;
    let lines = Lines { queue: queue.clone(), dropped: Arc::clone(&plan.dropped) };
    let mut desk = Desk {
        messages,
        words: Arc::clone(&words),
        sink,
        batch: Vec::with_capacity(BATCH_BYTES),
        failing: false,
        plan,
    };
    let run = move || {
        desk.run();
        drop::<SyncSender<()>>(alive); // tells the owner, after the last write
    };
    let thread =
        thread::Builder::new().name(name.to_owned()).spawn(run).map_err(LinesError::Thread)?;
    Ok((lines, Writer { queue, words, thread, done }))
}

/// What the thread works with.
struct Desk<T> {
    messages: Receiver<Message<T>>,
    words: Arc<Words>,
    sink: Sink,
    batch: Vec<u8>,
    /// The last write failed, perhaps within a line.
    failing: bool,
    plan: Plan<T>,
}

impl<T> Desk<T> {
    fn run(&mut self) {
        while let Ok(first) = self.messages.recv() {
            self.take(first);
            self.take_waiting();
            if self.words.reopen.swap(false, Ordering::AcqRel) {
                self.reopen();
            }
            if self.words.end.load(Ordering::Acquire) {
                self.take_waiting();
                return;
            }
            // A sender that wakes a thread pays for it. With a pause it does so at most fifty
            // times a second, however many lines there are.
            thread::park_timeout(PAUSE);
        }
    }

    /// Takes at most a queue full of messages, so that the owner's words are heard under any load.
    fn take_waiting(&mut self) {
        for _ in 0..self.plan.queue.max(1) {
            match self.messages.try_recv() {
                Ok(message) => self.take(message),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
        self.write();
    }

    fn take(&mut self, message: Message<T>) {
        if let Message::Line(line) = message {
            (self.plan.format)(line, &mut self.batch);
            if self.batch.len() >= BATCH_BYTES {
                self.write();
            }
        }
    }

    fn write(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        if self.failing {
            // The failure may have cut a line: the next one starts on its own.
            self.batch.insert(0, b'\n');
        }
        match self.sink.write_all(&self.batch) {
            Ok(()) => self.failing = false,
            Err(error) => {
                self.plan.errors.fetch_add(1, Ordering::Relaxed);
                if !self.failing {
                    (self.plan.failed)(&error);
                }
                self.failing = true;
            }
        }
        self.batch.clear();
    }

    fn reopen(&mut self) {
        match Sink::open(&self.plan.output) {
            Ok(sink) => {
                self.sink = sink;
                self.failing = false;
            }
            Err(error) => tracing::error!(%error, "the old file is written on"),
        }
    }
}

enum Sink {
    Stdout,
    Stderr,
    File(File),
}

impl Sink {
    fn open(output: &Output) -> Result<Self, LinesError> {
        Ok(match output {
            Output::Stdout => Self::Stdout,
            Output::Stderr => Self::Stderr,
            Output::File(path) => Self::File(append(path)?),
        })
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(bytes)?;
                stdout.flush()
            }
            Self::Stderr => io::stderr().lock().write_all(bytes),
            Self::File(file) => file.write_all(bytes),
        }
    }
}

fn append(path: &Path) -> Result<File, LinesError> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(MODE)
        .open(path)
        .map_err(|source| LinesError::Open { path: path.to_owned(), source })
}

/// Lines name clients: the owner writes them, the group (those who collect logs) reads them, and
/// nobody else does. A file that is there already keeps its mode.
const MODE: u32 = 0o640;

/// 64 KiB: a write of it costs little more than the bytes themselves.
const BATCH_BYTES: usize = 64 << 10;

/// 20 ms: soon enough for somebody who follows the file, rare enough for the senders.
const PAUSE: Duration = Duration::from_millis(20);

/// 2 s: a queue full of lines is written in milliseconds; a reader that hangs is not waited for.
const END_LIMIT: Duration = Duration::from_secs(2);
