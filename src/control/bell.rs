//! Several files that are watched together: one bell rings when any of them changes.

use std::collections::BTreeSet;
use std::future::pending;
use std::path::PathBuf;

use crate::base::watch::{FileEvents, Watcher};

/// Watches files. Dropping it ends that.
#[derive(Debug)]
pub(super) struct Bell {
    events: FileEvents,
    files: BTreeSet<PathBuf>,
    /// One for all files, of which there may be thousands; `None` where there is none.
    watcher: Option<Watcher>,
    /// Whether it has been rung, and nobody has heard it.
    is_rung: bool,
}

impl Bell {
    /// Watches nothing yet.
    pub(super) fn new(events: FileEvents) -> Self {
        Self { events, files: BTreeSet::new(), watcher: None, is_rung: false }
    }

    /// Watches these files from now on, which need not exist. What changes after this has returned
    /// is heard; what changed before, the owner is about to read.
    pub(super) async fn watch(&mut self, files: impl Iterator<Item = &PathBuf>) {
        let files: BTreeSet<PathBuf> = files.cloned().collect();
        if files == self.files {
            return;
        }
        self.watcher = match files.is_empty() {
            true => None,
            false => Some(Watcher::of_all(files.iter().cloned().collect(), &self.events).await),
        };
        self.files = files;
    }

    /// Rings, as if a file had changed.
    pub(super) fn ring(&mut self) {
        self.is_rung = true;
    }

    /// Resolves when a file has changed. May be dropped at any time without losing a change.
    pub(super) async fn rang(&mut self) {
        if !self.is_rung {
            match &mut self.watcher {
                Some(watcher) => watcher.changed().await,
                None => pending().await,
            }
        }
        self.is_rung = false;
    }
}
