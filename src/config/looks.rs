//! Files by what they look like, so that those are not read again that have stayed.

use std::collections::HashMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::files::File;
use super::shared_text::{LONG, SharedText, Spare};

/// What files looked like when they were read, and what they said.
#[derive(Debug, Default)]
pub struct Looks {
    known: HashMap<Arc<Path>, Look>,
    /// Those of the reading that is under way.
    next: HashMap<Arc<Path>, Look>,
    read: usize,
    /// For the next long text.
    spare: Spare,
}

#[derive(Debug)]
struct Look {
    /// `None` = another change may have left it with the same one.
    stamp: Option<Stamp>,
    text: SharedText,
}

/// What the system changes with each write, rename and swap of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// Of a file that is about to be read. `None` where it was changed so shortly before that another
    /// change might leave it with the same look: the clock of a file system goes in steps.
    pub fn of(found: &Metadata, now: SystemTime) -> Option<Self> {
        let seconds = u64::try_from(found.ctime()).ok()?;
        let changed = UNIX_EPOCH.checked_add(Duration::from_secs(seconds))?;
        let is_old = now.duration_since(changed).is_ok_and(|age| age > STEP);
        is_old.then(|| Self {
            file: (found.dev(), found.ino()),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }
}

impl Looks {
    /// How many files the last reading had to read.
    pub fn read(&self) -> usize {
        self.read
    }

    /// A reading begins.
    pub(super) fn begin(&mut self) {
        self.next.clear();
        self.read = 0;
    }

    /// A file that looks like this, if it was read then.
    pub(super) fn find(&mut self, path: &Path, stamp: Stamp) -> Option<File> {
        self.known.get(path).filter(|look| look.stamp == Some(stamp))?;
        let (path, look) = self.known.remove_entry(path)?;
        let text = look.text.clone();
        self.next.insert(Arc::clone(&path), look);
        Some(File { path, text })
    }

    /// What a file said when it was last read.
    pub(super) fn last(&mut self, path: &Path) -> Option<File> {
        let (path, look) = self.known.remove_entry(path)?;
        Some(File { path, text: look.text })
    }

    /// A file was read.
    pub(super) fn note(&mut self, stamp: Option<Stamp>, file: &File) {
        self.read += 1;
        let look = Look { stamp, text: file.text.clone() };
        self.next.insert(Arc::clone(&file.path), look);
    }

    /// For the next long text.
    pub(super) fn spare(&self) -> &Spare {
        &self.spare
    }

    /// The reading has ended. Those that were not met are gone.
    pub(super) fn end(&mut self) {
        self.known = std::mem::take(&mut self.next);
        if !self.known.values().any(|look| look.text.len() >= LONG) {
            self.spare.clear();
        }
    }
}

/// 2 s: the coarsest clock of a file system that is still in use.
const STEP: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_is_known_by_its_look_once_that_is_old_enough() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        fs::write(&path, "a").unwrap();
        let found = fs::metadata(&path).unwrap();
        let later = SystemTime::now() + STEP * 2;

        assert_eq!(Stamp::of(&found, UNIX_EPOCH), None);
        let stamp = Stamp::of(&found, later).unwrap();
        fs::write(folder.path().join("b"), "b").unwrap();
        fs::rename(folder.path().join("b"), &path).unwrap();

        assert_ne!(Stamp::of(&fs::metadata(&path).unwrap(), later), Some(stamp));
    }
}
