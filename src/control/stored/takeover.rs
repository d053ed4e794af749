//! Opens what tenants are kept in, also where another gateway had it until now: what that one has left goes
//! live, and its history goes on.
//!
//! **Invariant:** a number is never that of two generations: what this gateway has made live meanwhile gets a
//! new one, where the other has used its own.

use tokio::time::Instant;

use super::super::history::{By, Cause, Generation};
use super::super::reload::{Reloader, Wish as Load};
use super::Entry;
use super::change::Made;
use super::store::StoreError;

impl Reloader {
    /// Opens what tenants are kept in. What another gateway has left there goes live first.
    pub(super) async fn open_store(&mut self) -> Result<(), StoreError> {
        let was_open = self.stored.store.is_some();
        let before = self.stored.overlay.entries.clone();
        let noted = self.stored.hold().await?;
        if was_open {
            return Ok(());
        }
        self.go_on(noted).await;
        let said = |entry: &Entry| (entry.definition.clone(), entry.marks.clone());
        let same = |a: &Entry, b: &Entry| said(a) == said(b);
        let now = self.stored.overlay.entries.clone();
        if now.differences(&before, same).next().is_some() {
            self.reload(Load::Changed).await;
        }
        Ok(())
    }

    /// Opens what another gateway has had until now, if it has ended.
    pub(in crate::control) async fn hold_store(&mut self) {
        if self.stored.waits
            && let Ok(noted) = self.stored.hold().await
        {
            self.go_on(noted).await;
        }
    }

    /// As soon as another gateway has ended, what it has left goes live.
    pub(in crate::control) async fn take_over(&mut self) {
        match self.open_store().await {
            Ok(()) => {
                tracing::info!("what the API keeps is this gateway's to write now");
                self.stored.publish(self.applied.as_ref());
            }
            Err(error) => tracing::debug!(%error, "another gateway has what the API keeps"),
        }
    }

    /// Goes on with the history that is in the file.
    async fn go_on(&mut self, noted: Vec<Generation>) {
        let history = self.noted.history();
        let is_known = history.go_on_from(noted);
        self.stored.remember(history.rows()).await;
        if !is_known {
            self.renumber().await;
        }
    }

    /// Gives what is live a number of its own, behind all that the history has.
    async fn renumber(&mut self) {
        let Some(loaded) = self.applied.clone() else { return };
        let last = self.noted.last();
        self.live.publish(self.live.load().numbered(last));
        match self.serve(Made::of(loaded), Instant::now()).await {
            Ok(()) => {
                // Who has asked for what comes next is yet to be noted with it.
                let asked = self.noted.by.replace(By::of(Cause::Start));
                self.note().await;
                self.noted.by = asked;
            }
            Err(faults) => {
                tracing::error!(
                    problems = faults.len(),
                    "what is live keeps the number of another"
                );
            }
        }
    }
}
