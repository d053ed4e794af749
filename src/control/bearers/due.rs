//! What is to be done when there is time.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::model::ids::TenantId;

use super::Wish;

/// Tenants whose files are to be read, and files to be looked at, each once.
#[derive(Debug, Default)]
pub(super) struct Due {
    asked: Parts,
    changed: Parts,
}

#[derive(Debug, Default)]
struct Parts {
    tenants: BTreeSet<TenantId>,
    files: BTreeSet<PathBuf>,
}

/// A part of it that takes a moment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The files of these are to be read.
    Tenants(BTreeSet<TenantId>),
    /// These are to be looked at.
    Files(BTreeSet<PathBuf>),
}

impl Due {
    pub(super) fn read(&mut self, tenants: impl IntoIterator<Item = TenantId>, wish: Wish) {
        self.of(wish).tenants.extend(tenants);
    }

    pub(super) fn look(&mut self, files: impl IntoIterator<Item = PathBuf>, wish: Wish) {
        self.of(wish).files.extend(files);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.asked.is_empty() && self.changed.is_empty()
    }

    /// Those whose files are to be read; one that is there twice may be given twice.
    pub(super) fn tenants(&self) -> impl Iterator<Item = &TenantId> {
        self.asked.tenants.iter().chain(&self.changed.tenants)
    }

    /// Whether somebody waits for some of it.
    pub(super) fn is_asked(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Nobody waits for it any more.
    pub(super) fn leave(&mut self) {
        let Parts { tenants, files } = std::mem::take(&mut self.asked);
        self.changed.tenants.extend(tenants);
        self.changed.files.extend(files);
    }

    /// What comes next: what somebody waits for, and tenants before files.
    pub(super) fn next(&mut self) -> Option<(Wish, Part)> {
        if let Some(part) = self.asked.next() {
            return Some((Wish::Asked, part));
        }
        self.changed.next().map(|part| (Wish::Changed, part))
    }

    fn of(&mut self, wish: Wish) -> &mut Parts {
        match wish {
            Wish::Asked => &mut self.asked,
            Wish::Changed => &mut self.changed,
        }
    }
}

impl Parts {
    fn is_empty(&self) -> bool {
        self.tenants.is_empty() && self.files.is_empty()
    }

    fn next(&mut self) -> Option<Part> {
        match self.tenants.is_empty() {
            false => Some(Part::Tenants(first(&mut self.tenants, READ))),
            true if self.files.is_empty() => None,
            true => Some(Part::Files(first(&mut self.files, LOOKED_AT))),
        }
    }
}

fn first<T: Ord>(set: &mut BTreeSet<T>, count: usize) -> BTreeSet<T> {
    std::iter::from_fn(|| set.pop_first()).take(count).collect()
}

/// 1,000: a fifth of a second on one core, for which an edit waits.
const READ: usize = 1000;

/// 10,000: a tenth of a second where none has changed.
const LOOKED_AT: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_waits_for_comes_first_and_in_parts() {
        let tenant = |number: usize| TenantId::new(&format!("t{number}")).unwrap();
        let mut due = Due::default();
        due.read((0..READ + 1).map(tenant), Wish::Changed);
        due.read((0..READ + 1).map(tenant), Wish::Changed);
        due.look([PathBuf::from("/a")], Wish::Asked);

        assert!(due.is_asked());
        assert_eq!(due.next(), Some((Wish::Asked, Part::Files([PathBuf::from("/a")].into()))));
        assert!(!due.is_asked() && !due.is_empty());
        let sizes = std::iter::from_fn(|| due.next()).map(|(_, part)| match part {
            Part::Tenants(ids) => ids.len(),
            Part::Files(files) => files.len(),
        });
        assert_eq!(sizes.collect::<Vec<usize>>(), [READ, 1]);
    }
}
