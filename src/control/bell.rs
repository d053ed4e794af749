//! Several files that are watched together: one bell rings when any of them changes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use tokio::sync::mpsc;

use crate::base::tasks::{Stop, Tasks};
use crate::base::watch::{FileEvents, Watcher};

/// Watches files. Dropping it ends that.
#[derive(Debug)]
pub(super) struct Bell {
    events: FileEvents,
    ring: mpsc::Sender<()>,
    heard: mpsc::Receiver<()>,
    /// What watches each file, for as long as it is held.
    watched: BTreeMap<PathBuf, Tasks>,
}

impl Bell {
    /// Watches nothing yet.
    pub(super) fn new(events: FileEvents) -> Self {
        // Room for one: a second ring before the first is heard says nothing new.
        let (ring, heard) = mpsc::channel(1);
        Self { events, ring, heard, watched: BTreeMap::new() }
    }

    /// Watches these files from now on, which need not exist. What changes after this has returned
    /// is heard; what changed before, the owner is about to read.
    pub(super) async fn watch(&mut self, files: impl Iterator<Item = &PathBuf>) {
        let files: BTreeSet<&PathBuf> = files.collect();
        self.watched.retain(|file, _| files.contains(file));
        for file in files {
            if self.watched.contains_key(file) {
                continue;
            }
            let watcher = Watcher::new(file.clone(), &self.events).await;
            let mut tasks = Tasks::new("certificate file");
            let ring = self.ring.clone();
            tasks.spawn(|stop| listen(watcher, ring, stop));
            self.watched.insert(file.clone(), tasks);
        }
    }

    /// Rings, as if a file had changed.
    pub(super) fn ring(&self) {
        // A full channel already says that something changed.
        self.ring.try_send(()).unwrap_or_default();
    }

    /// Resolves when a file has changed. May be dropped at any time without losing a change.
    pub(super) async fn rang(&mut self) {
        // It never ends: the bell holds a sender itself.
        self.heard.recv().await;
    }
}

async fn listen(mut watcher: Watcher, ring: mpsc::Sender<()>, mut stop: Stop) {
    loop {
        tokio::select! {
            () = stop.requested() => return,
            () = watcher.changed() => ring.try_send(()).unwrap_or_default(),
        }
    }
}
