//! The file of the audit log, and the thread that writes it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use rustix::fs::OFlags;

use crate::telemetry::keeping::AUDIT_LOG_LOST;
use crate::telemetry::registry::Metrics;

use super::floods::Floods;
use super::{Message, QUEUE, Words};

pub(super) struct Writer {
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) messages: Receiver<Message>,
    pub(super) words: Arc<Words>,
    pub(super) floods: Arc<Floods>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) failing: bool,
}

impl Writer {
    pub(super) fn run(&mut self) {
        loop {
            let first = match self.messages.recv_timeout(TOLD) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            self.take(first);
            if self.words.reopen.swap(false, Ordering::AcqRel) {
                self.reopen();
            }
            if self.words.end.load(Ordering::Acquire) {
                return self.take(None);
            }
        }
    }

    /// Writes what waits as one piece, so that many are kept by one wait for the disk.
    fn take(&mut self, first: Option<Message>) {
        let (mut bytes, mut waiting, mut lines) = (Vec::new(), Vec::new(), 0);
        for message in first.into_iter().chain(self.messages.try_iter().take(QUEUE)) {
            if let Message::Line(line, kept) = message {
                bytes.extend(line);
                waiting.extend(kept);
                lines += 1;
            }
        }
        self.floods.append_left_out(&mut bytes);
        if bytes.is_empty() {
            return;
        }
        match self.write(bytes) {
            Ok(()) if self.failing => {
                self.failing = false;
                tracing::info!("the audit log is written again");
            }
            Ok(()) => {}
            Err(error) => {
                self.metrics.add(&AUDIT_LOG_LOST, &["write"], lines);
                if !self.failing {
                    let path = self.path.display();
                    tracing::error!(%path, %error, "the audit log cannot be written: its lines are \
                        lost until it can, and changes are made all the same");
                }
                self.failing = true;
            }
        }
        drop(waiting); // which wakes them
    }

    fn write(&mut self, mut bytes: Vec<u8>) -> io::Result<()> {
        if self.failing && ends_within_a_line(&self.file) {
            bytes.insert(0, b'\n');
        }
        self.file.write_all(&bytes)?;
        match self.file.sync_data() {
            // A pipe, say, has no disk.
            Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(()),
            done => done,
        }
    }

    fn reopen(&mut self) {
        match open(&self.path) {
            Ok(file) => self.file = file,
            Err(error) => {
                tracing::error!(%error, "the audit log's old file is written on");
            }
        }
    }
}

/// Opens the file to append to. What a process that was killed has left of a line is ended, where the file may
/// be read. What is no file, as a pipe, is only written to, and nobody waits for who reads it.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(MODE);
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return options.custom_flags(NO_WAIT).open(path);
    }
    let mut file = match options.read(true).open(path) {
        Err(why) if why.kind() == ErrorKind::PermissionDenied => options.read(false).open(path)?,
        opened => opened?,
    };
    if ends_within_a_line(&file) {
        file.write_all(b"\n")?;
    }
    Ok(file)
}

fn ends_within_a_line(file: &File) -> bool {
    let length = file.metadata().map_or(0, |about| about.len());
    let mut last = [b'\n'];
    let Some(at) = length.checked_sub(1) else { return false };
    file.read_exact_at(&mut last, at).is_ok() && last != *b"\n"
}

/// Who has changed what is for those alone who run the gateway. A file that is there already keeps its
/// mode.
const MODE: u32 = 0o600;

/// `O_NONBLOCK`: without a reader a pipe cannot be opened, and one that is full takes nothing.
const NO_WAIT: i32 = OFlags::NONBLOCK.bits().cast_signed();

/// 10 s: how soon it is told that lines were left out, where no other line comes.
const TOLD: Duration = Duration::from_secs(10);
