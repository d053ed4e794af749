//! A look at all files once all is quiet, after changes that were known by their names: beside
//! everything else, so that the next change need not wait for it.

use std::future::pending;

use crate::base::tasks::Blocking;
use crate::config::{Files, Looks};

use super::load::{self, Loaded};
use super::reload::Reloader;

/// A look that is under way, if one is.
#[derive(Debug, Default)]
pub(super) struct Review(Option<Running>);

#[derive(Debug)]
struct Running {
    /// What was applied when it began.
    applied: Files,
    reading: Blocking<Reading>,
}

/// Whether all files say what is applied, and what they look like.
type Reading = (bool, Looks);

/// What a look has found.
#[derive(Debug)]
pub(super) struct Reviewed {
    applied: Files,
    agrees: bool,
    looks: Looks,
}

impl Review {
    /// Resolves when a look has ended; never while there is none. May be dropped at any time.
    pub(super) async fn ended(&mut self) -> Reviewed {
        let Some(running) = &mut self.0 else { return pending().await };
        let reading = running.reading.ended().await;
        // Without a result, as after a panic, all files are read again.
        let (agrees, looks) = reading.unwrap_or_default();
        match self.0.take() {
            Some(Running { applied, .. }) => Reviewed { applied, agrees, looks },
            None => pending().await,
        }
    }
}

impl Reloader {
    /// Begins a look.
    pub(super) async fn begin_review(&mut self) {
        let Some(applied) = self.applied.as_ref().map(Loaded::as_they_are) else {
            return;
        };
        let (routes, mut looks) = (self.routes.clone(), self.take_looks().await);
        let (before, mut overlay) = (applied.clone(), self.stored.overlay());
        let read = move || {
            let found = load::read(&routes, &mut looks).map(|files| overlay.over(files));
            (found.as_ref() == Ok(&before), looks)
        };
        self.review = Review(Some(Running { applied, reading: Blocking::start(read) }));
    }

    /// What the files looked like, as the last reading has left it.
    pub(super) async fn take_looks(&mut self) -> Looks {
        match self.review.0 {
            Some(_) => self.review.ended().await.looks,
            None => std::mem::take(&mut self.looks),
        }
    }

    /// Takes in what a look has found; tells whether there is something that nobody has told of.
    pub(super) fn judge(&mut self, reviewed: Reviewed) -> bool {
        let Reviewed { applied, agrees, looks } = reviewed;
        let read = looks.read();
        self.looks = looks;
        let is_of_now = self.applied.as_ref().is_some_and(|now| now.as_they_are() == applied);
        // What has changed since is looked at again, or is told already; what was refused is read
        // again, as the watcher has taken for seen whatever has become of it.
        let found = !self.current || (is_of_now && !agrees);
        tracing::debug!(files = read, agrees, found, "all files were looked at");
        found
    }
}
