//! The short way for what is edited most: a few files of a folder, of tenants alone. What others say is
//! not looked at, so that it takes as long for one of a hundred as for one of a hundred thousand.
//!
//! **Invariant:** it tells of nothing that is wrong, and takes nothing on that the long way would not:
//! where it does not do, the long way is gone.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use tokio::time::{Instant, sleep, sleep_until};

use crate::config::{self, Files};

use super::generation::Fault;
use super::load::{self, Edit, in_background};
use super::reload::{BETWEEN_READINGS, PATIENCE, READINGS, Reloader};

/// Names of files of the folder.
type Names = Arc<BTreeSet<OsString>>;

impl Reloader {
    /// A file was moved into its place, and these have changed before it. Whether that is dealt with,
    /// as far as it can be before all is quiet.
    pub(super) async fn edit_early(&mut self, names: &BTreeSet<OsString>) -> bool {
        let (started, names) = (Instant::now(), Arc::new(names.clone()));
        if self.holds_any_of(&names) {
            return false;
        }
        let Some(files) = self.read_names(&names).await else { return false };
        if self.are_applied(&files) {
            return true;
        }
        let Some(edit) = self.check_edit(files).await else { return false };
        let Some(before) = &self.applied else { return false };
        let (now, before) = (&edit.loaded.spec, &before.spec);
        if now == before || now.lacks_any_of(before) {
            return true;
        }
        // As for all files; what these mean was found out meanwhile.
        sleep_until(started + BETWEEN_READINGS).await;
        if self.read_names(&names).await.as_ref() != Some(&edit.loaded.files) {
            return true;
        }
        let applied = self.apply_edit(edit, started).await.is_ok();
        if applied {
            self.metrics.config_live(self.live.load().generation);
            self.unkept = true;
        }
        applied
    }

    /// These have changed, and nothing has followed for a while. Whether that is dealt with.
    pub(super) async fn edit_settled(&mut self, names: &BTreeSet<OsString>) -> bool {
        let (started, names) = (Instant::now(), Arc::new(names.clone()));
        if self.holds_any_of(&names) {
            return false;
        }
        let Some(files) = self.read_names_whole(&names).await else { return false };
        if self.are_applied(&files) {
            if std::mem::take(&mut self.unkept) {
                self.keep();
            }
            return true;
        }
        let Some(edit) = self.check_edit(files).await else { return false };
        if self.takes_from_held(&edit) {
            return false;
        }
        if self.applied.as_ref().is_some_and(|before| before.spec == edit.loaded.spec) {
            self.memory.learn(edit.learnt);
            self.confirm(edit.loaded);
            return true;
        }
        let applied = self.apply_edit(edit, started).await.is_ok();
        if applied {
            self.succeed();
        }
        applied
    }

    async fn apply_edit(&mut self, edit: Edit, started: Instant) -> Result<(), Vec<Fault>> {
        self.apply(edit.loaded, PATIENCE, started).await?;
        self.memory.learn(edit.learnt);
        Ok(())
    }

    /// Whether one of these files is broken: of it more is known than what is applied.
    fn holds_any_of(&self, names: &Names) -> bool {
        let mut held = self.applied.iter().flat_map(|applied| applied.quarantine.iter());
        held.any(|held| held.path().file_name().is_some_and(|name| names.contains(name)))
    }

    /// Whether tenants are gone while files are broken, which may be about to define them.
    fn takes_from_held(&self, edit: &Edit) -> bool {
        let now = &edit.loaded;
        let before = self.applied.as_ref().filter(|_| !now.quarantine.is_empty());
        before.is_some_and(|before| now.spec.lacks_any_of(&before.spec))
    }

    fn are_applied(&self, files: &Files) -> bool {
        self.applied.as_ref().is_some_and(|applied| applied.files == *files)
    }

    /// What these files mean; `None` where all have to be checked.
    pub(super) async fn check_edit(&mut self, files: Files) -> Option<Edit> {
        let before = self.applied.clone()?;
        let memory = std::mem::take(&mut self.memory);
        let root = files.root.clone();
        let check = move || {
            let edit = load::edit(files, &before, &memory);
            Ok((edit, memory))
        };
        // Without the memory, as after a panic, all is checked.
        let (edit, memory) = in_background("checking the routes", &root, check).await.ok()?;
        self.memory = memory;
        edit
    }

    /// What is wrong with files of tenants alone by themselves; `None` where all have to be checked.
    pub(super) async fn check_alone(&mut self, files: Files) -> Option<Vec<Fault>> {
        let before = self.applied.clone()?;
        let memory = std::mem::take(&mut self.memory);
        let root = files.root.clone();
        let check = move || Ok((load::wrong_alone(&files, &before, &memory), memory));
        // Without the memory, as after a panic, all is checked.
        let (wrong, memory) = in_background("checking the routes", &root, check).await.ok()?;
        self.memory = memory;
        wrong
    }

    /// As [`Reloader::read`], of these names alone: a reading counts once the next one agrees.
    async fn read_names_whole(&self, names: &Names) -> Option<Files> {
        let mut last = self.read_names(names).await?;
        for _ in 0..READINGS {
            sleep(BETWEEN_READINGS).await;
            let next = self.read_names(names).await?;
            if next == last {
                break;
            }
            last = next;
        }
        Some(last)
    }

    /// The files that are applied, with what those of these names say now; `None` where all have to
    /// be read.
    async fn read_names(&self, names: &Names) -> Option<Files> {
        // Of a tenant that a file defines no more, one that the API keeps may take the place.
        let is_told = self.current && !self.stored.is_shadowed();
        let before = self.applied.as_ref().filter(|_| is_told)?.files.clone();
        let names = Arc::clone(names);
        let read = move || Ok(config::read_named(&before, &names));
        in_background("reading the routes", Path::new(&self.routes), read).await.ok()?
    }
}
