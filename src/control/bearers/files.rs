//! The files of tenants' certificates: what they said when they were read, and whose they are. There may be tens of
//! thousands: what looks as it did is not read again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::config::pem::PemFault;
use crate::config::{Stamp, pem};
use crate::model::ids::TenantId;

use super::hanging::Hanging;

/// What a file says, or why it does not.
type Text = Result<Vec<u8>, PemFault>;

/// What reads a file.
#[derive(Clone)]
pub(super) struct Reader(Arc<dyn Fn(&Path) -> Text + Send + Sync>);

/// What the files said when they were read.
#[derive(Debug, Default)]
pub(super) struct Files {
    known: BTreeMap<PathBuf, File>,
    /// Those that have come since that was asked last.
    come: BTreeSet<PathBuf>,
    /// Those of them that hung when that was asked.
    aside: BTreeSet<PathBuf>,
}

#[derive(Clone, Debug)]
struct File {
    said: Said,
    /// The tenants that name it.
    of: BTreeSet<TenantId>,
}

/// What a file said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said {
    /// How it looked then; `None` = nobody can tell by that whether it is another one.
    look: Option<Stamp>,
    digest: u64,
}

/// A file that was looked at.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    path: PathBuf,
    said: Said,
}

/// Two that say the same are equal, however they look.
impl PartialEq for Seen {
    fn eq(&self, other: &Self) -> bool {
        (&self.path, self.said.digest) == (&other.path, other.said.digest)
    }
}

/// A file to be looked at.
#[derive(Clone, Debug)]
pub(super) struct Look {
    pub(super) path: PathBuf,
    said: Said,
    /// The tenants that name it.
    pub(super) of: Box<[TenantId]>,
}

impl Look {
    /// What it says now; `None` where that is what it said. With `all`, one that looks as it did is read, too.
    pub(super) fn look(&self, all: bool, reader: &Reader) -> Option<Seen> {
        let look = look(&self.path);
        if !all && look.is_some() && look == self.said.look {
            return None;
        }
        let said = Said { look, digest: pem::digest_of(&reader.read(&self.path)) };
        Some(Seen { path: self.path.clone(), said })
    }

    /// Whether it says something else.
    pub(super) fn is_changed(&self, now: &Seen) -> bool {
        now.said.digest != self.said.digest
    }
}

/// What a look has found.
#[derive(Debug, Default)]
pub(super) struct Looked {
    /// Those that say something else than when they were read.
    pub(super) changed: Vec<Seen>,
    /// Those that say the same and look otherwise.
    pub(super) same: Vec<Seen>,
}

impl Looked {
    /// Those that say something else.
    pub(super) fn paths(&self) -> BTreeSet<PathBuf> {
        self.changed.iter().map(|seen| seen.path.clone()).collect()
    }
}

impl Default for Reader {
    fn default() -> Self {
        Self(Arc::new(pem::read))
    }
}

impl Reader {
    /// Another one.
    #[cfg(test)]
    pub(super) fn of(read: impl Fn(&Path) -> Text + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    fn read(&self, path: &Path) -> Text {
        (self.0)(path)
    }

    /// What a file says now, with how it looked just before: what changes meanwhile is seen the next time.
    pub(super) fn found(&self, path: &Path) -> (Text, Said) {
        let look = look(path);
        let read = self.read(path);
        let digest = pem::digest_of(&read);
        (read, Said { look, digest })
    }
}

impl Files {
    /// A tenant names these files and no others, and this is what they said just before they were read.
    pub(super) fn set(
        &mut self,
        tenant: &TenantId,
        before: BTreeSet<PathBuf>,
        now: BTreeMap<PathBuf, Said>,
    ) {
        let known = &mut self.known;
        for path in before.iter().filter(|path| !now.contains_key(*path)) {
            let Some(file) = known.get_mut(path) else { continue };
            file.of.remove(tenant);
            if file.of.is_empty() {
                known.remove(path);
                self.come.remove(path);
                self.aside.remove(path);
            }
        }
        for (path, said) in now {
            let is_new = !known.contains_key(&path);
            if is_new {
                self.come.insert(path.clone());
            }
            let file = known.entry(path).or_insert_with(|| File { said, of: BTreeSet::new() });
            file.of.insert(tenant.clone());
            // Who else names it has read it as it was before, if that is another digest.
            if is_new || file.of.len() == 1 {
                file.said = said;
            }
        }
    }

    /// Those that have come since this was asked last, and do not hang.
    pub(super) fn take_come(&mut self, hanging: &Hanging) -> Vec<PathBuf> {
        let come = std::mem::take(&mut self.come).into_iter();
        let come = come.filter(|path| self.known.contains_key(path));
        let (aside, come): (Vec<PathBuf>, _) = come.partition(|path| hanging.has(path));
        self.aside.extend(aside);
        come
    }

    /// One that hung does so no more.
    pub(super) fn come_back(&mut self) {
        self.come.append(&mut self.aside);
    }

    /// These are told as such that have come.
    pub(super) fn come_again(&mut self, paths: impl IntoIterator<Item = PathBuf>) {
        self.come.extend(paths);
    }

    /// Whether one of these was read by others as it says something else.
    pub(super) fn has_other(&self, said: &BTreeMap<PathBuf, Said>) -> bool {
        let is_other = |(path, said): (&PathBuf, &Said)| {
            self.known.get(path).is_some_and(|file| file.said.digest != said.digest)
        };
        said.iter().any(is_other)
    }

    /// Whether a tenant names it.
    pub(super) fn is_known(&self, path: &Path) -> bool {
        self.known.contains_key(path)
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = &PathBuf> {
        self.known.keys()
    }

    /// Those of these that are known and do not hang, for a look at each.
    pub(super) fn looks(&self, paths: &BTreeSet<PathBuf>, hanging: &Hanging) -> Arc<[Look]> {
        let look = |path: &PathBuf| {
            let File { said, of } = self.known.get(path)?;
            let of = of.iter().cloned().collect();
            Some(Look { path: path.clone(), said: *said, of })
        };
        paths.iter().filter(|path| !hanging.has(path)).filter_map(look).collect()
    }

    /// Whose those of these are that hang.
    pub(super) fn of_hanging(
        &self,
        paths: &BTreeSet<PathBuf>,
        hanging: &Hanging,
    ) -> BTreeSet<TenantId> {
        let known = paths.iter().filter(|path| hanging.has(path));
        known.filter_map(|path| self.known.get(path)).flat_map(|file| &file.of).cloned().collect()
    }

    /// They are about to be read again, and say this; tells whose they are.
    pub(super) fn note(&mut self, seen: Vec<Seen>) -> BTreeSet<TenantId> {
        let mut of = BTreeSet::new();
        for Seen { path, said } in seen {
            if let Some(file) = self.known.get_mut(&path) {
                file.said = said;
                of.extend(file.of.iter().cloned());
            }
        }
        of
    }
}

fn look(path: &Path) -> Option<Stamp> {
    let now = SystemTime::now();
    fs::metadata(path).ok().and_then(|found| Stamp::of(&found, now))
}
