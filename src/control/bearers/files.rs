//! The files of tenants' certificates: what they said when they were read, and whose they are. There may be tens of
//! thousands: what looks as it did is not read again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::config::{Stamp, pem};
use crate::model::ids::TenantId;

/// What the files said when they were read.
#[derive(Clone, Debug, Default)]
pub(super) struct Files {
    known: Arc<BTreeMap<PathBuf, File>>,
    /// Whether there are others than when that was asked last.
    are_others: bool,
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

/// What a look at all files has found.
#[derive(Clone, Debug, Default)]
pub(super) struct Looked {
    /// Those that say something else than when they were read.
    pub(super) changed: Vec<Seen>,
    /// Those that say the same and look otherwise.
    pub(super) same: Vec<Seen>,
}

impl Said {
    /// What a file says now.
    pub(super) fn now(path: &Path) -> Self {
        // In this order, so that what changes meanwhile is seen the next time.
        let look = look(path);
        Self { look, digest: pem::digest(path) }
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
        let known = Arc::make_mut(&mut self.known);
        for path in before.iter().filter(|path| !now.contains_key(*path)) {
            let Some(file) = known.get_mut(path) else { continue };
            file.of.remove(tenant);
            if file.of.is_empty() {
                known.remove(path);
                self.are_others = true;
            }
        }
        for (path, said) in now {
            let is_new = !known.contains_key(&path);
            self.are_others |= is_new;
            let file = known.entry(path).or_insert_with(|| File { said, of: BTreeSet::new() });
            file.of.insert(tenant.clone());
            // Who else names it has read it as it was before, if that is another digest.
            if is_new || file.of.len() == 1 {
                file.said = said;
            }
        }
    }

    /// All of them, where there are others than when this was asked last.
    pub(super) fn others(&mut self) -> Option<impl Iterator<Item = &PathBuf>> {
        std::mem::take(&mut self.are_others).then(|| self.known.keys())
    }

    /// Looks at all of them. With `all`, those that look as they did are read, too.
    pub(super) fn look(&self, all: bool) -> Looked {
        let mut looked = Looked::default();
        for (path, File { said, .. }) in self.known.iter() {
            let look = look(path);
            if !all && look.is_some() && look == said.look {
                continue;
            }
            let now = Said { look, digest: pem::digest(path) };
            let seen = Seen { path: path.clone(), said: now };
            match now.digest == said.digest {
                true => looked.same.push(seen),
                false => looked.changed.push(seen),
            }
        }
        looked
    }

    /// They are about to be read again, and say this; tells whose they are.
    pub(super) fn note(&mut self, seen: Vec<Seen>) -> BTreeSet<TenantId> {
        let mut of = BTreeSet::new();
        let known = Arc::make_mut(&mut self.known);
        for Seen { path, said } in seen {
            if let Some(file) = known.get_mut(&path) {
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
