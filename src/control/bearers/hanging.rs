//! Files that do not answer: which, who waits for each, and how many threads are held by them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::base::mounts::{self, Mount};
use crate::model::ids::TenantId;

/// Files that somebody is still reading. Nobody begins with one of them before that has ended, nor with any other of a file
/// system that several of them are on.
#[derive(Debug, Default)]
pub(super) struct Hanging {
    files: BTreeMap<PathBuf, Stuck>,
    /// File systems that do not answer, by where they are mounted, and who waits for each.
    mounts: BTreeMap<PathBuf, BTreeSet<TenantId>>,
    threads: usize,
}

#[derive(Debug)]
struct Stuck {
    /// Its file system, if that may stop answering as a whole.
    mount: Option<Mount>,
    of: BTreeSet<TenantId>,
}

impl Hanging {
    /// A thread has not come back from this file, for which tenants wait. Tells what does not answer since then: the file, or
    /// all that it is mounted with.
    pub(super) fn begin(&mut self, file: &Path, of: impl IntoIterator<Item = TenantId>) -> PathBuf {
        self.threads += 1;
        if self.threads == MOST {
            tracing::error!(
                "{MOST} files of tenants' certificates do not answer: no others are read before one does"
            );
        }
        let stuck = || Stuck { mount: mounts::apart(file), of: BTreeSet::new() };
        let stuck = self.files.entry(file.to_path_buf()).or_insert_with(stuck);
        stuck.of.extend(of);
        let Some(mount) = stuck.mount.clone() else { return file.to_path_buf() };
        if self.mounts.contains_key(&mount.at) || self.count(&mount) < MOST_OF_ONE {
            return file.to_path_buf();
        }
        let at = mount.at.display();
        tracing::error!(%at, "a file system does not answer: tenants' certificates on it are not read before it does");
        self.mounts.insert(mount.at.clone(), BTreeSet::new());
        mount.at
    }

    /// A thread has come back; tells who waited for it.
    pub(super) fn end(&mut self, file: &Path) -> BTreeSet<TenantId> {
        self.threads = self.threads.saturating_sub(1);
        let Some(Stuck { mount, mut of }) = self.files.remove(file) else { return BTreeSet::new() };
        if let Some(waiting) = mount.and_then(|mount| self.mounts.remove(&mount.at)) {
            of.extend(waiting);
        }
        of
    }

    /// What was on a file system that is no more, as one that was unmounted by force, hangs no more: another may be there now.
    /// Tells who waited for it. Its threads are held still.
    pub(super) fn leave_gone(&mut self, is_there: impl Fn(&Mount) -> bool) -> BTreeSet<TenantId> {
        let mut waiting = BTreeSet::new();
        let (files, mounts) = (&mut self.files, &mut self.mounts);
        files.retain(|_, Stuck { mount, of }| {
            let Some(gone) = mount.as_ref().filter(|mount| !is_there(mount)) else { return true };
            waiting.append(of);
            waiting.extend(mounts.remove(&gone.at).into_iter().flatten());
            false
        });
        waiting
    }

    /// A tenant waits for this file.
    pub(super) fn wait(&mut self, file: &Path, tenant: &TenantId) {
        let stuck = self.files.get_mut(file).map(|stuck| &mut stuck.of);
        let mut mounts = self.mounts.iter_mut();
        let of = stuck.or_else(|| mounts.find_map(|(at, of)| file.starts_with(at).then_some(of)));
        if let Some(of) = of {
            of.insert(tenant.clone());
        }
    }

    /// A tenant waits for nothing any more.
    pub(super) fn forget(&mut self, tenant: &TenantId) {
        let stuck = self.files.values_mut().map(|stuck| &mut stuck.of);
        for of in stuck.chain(self.mounts.values_mut()) {
            of.remove(tenant);
        }
    }

    /// The first of these files that hangs.
    pub(super) fn first<'f>(
        &self,
        mut files: impl Iterator<Item = &'f PathBuf>,
    ) -> Option<&'f Path> {
        files.find(|file| self.has(file)).map(PathBuf::as_path)
    }

    pub(super) fn has(&self, file: &Path) -> bool {
        self.files.contains_key(file) || self.mounts.keys().any(|mount| file.starts_with(mount))
    }

    /// Whether any does.
    pub(super) fn is_any(&self) -> bool {
        self.threads > 0
    }

    /// Whether no more threads are to be risked.
    pub(super) fn is_full(&self) -> bool {
        self.threads >= MOST
    }

    fn count(&self, mount: &Mount) -> usize {
        self.files.values().filter(|stuck| stuck.mount.as_ref() == Some(mount)).count()
    }
}

/// 64: each holds a thread of those that read, of which there are several hundred.
const MOST: usize = 64;

/// 4: one file may hang by itself where a program serves it.
const MOST_OF_ONE: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(number: usize) -> TenantId {
        TenantId::new(&format!("t{number}")).unwrap()
    }

    #[test]
    fn a_file_system_that_does_not_answer_is_asked_for_no_more_before_it_does() {
        // One that is mounted everywhere, and on no device.
        let file = |number: usize| PathBuf::from(format!("/proc/{number}.pem"));
        let mut hanging = Hanging::default();

        for number in 1..MOST_OF_ONE {
            assert_eq!(hanging.begin(&file(number), [tenant(number)]), file(number));
            assert!(hanging.has(&file(number)) && !hanging.has(&file(0)));
        }
        assert_eq!(hanging.begin(&file(9), [tenant(9)]), PathBuf::from("/proc"));
        assert!(hanging.has(&file(0)) && !hanging.has(Path::new("/etc/0.pem")));
        hanging.wait(&file(0), &tenant(0));
        hanging.wait(&file(1), &tenant(5));
        hanging.forget(&tenant(9));

        assert_eq!(hanging.end(&file(1)), [tenant(0), tenant(1), tenant(5)].into());
        assert!(!hanging.has(&file(0)) && hanging.has(&file(9)));
        assert_eq!(hanging.end(&file(9)), [].into());
    }

    #[test]
    fn a_share_that_was_unmounted_by_force_and_mounted_anew_is_read_again() {
        let file = |number: usize| PathBuf::from(format!("/proc/{number}.pem"));
        let mut hanging = Hanging::default();
        hanging.begin(Path::new("/etc/a.pem"), [tenant(8)]);
        for number in 0..MOST_OF_ONE {
            hanging.begin(&file(number), [tenant(number)]);
        }
        hanging.wait(&file(9), &tenant(9));
        assert!(hanging.leave_gone(|_| true).is_empty() && hanging.has(&file(9)));

        let waiting = hanging.leave_gone(|mount| mount.at != Path::new("/proc"));

        assert_eq!(waiting, (0..MOST_OF_ONE).chain([9]).map(tenant).collect());
        assert!(!hanging.has(&file(0)) && !hanging.has(&file(9)));
        assert!(hanging.has(Path::new("/etc/a.pem")) && hanging.is_any());
        // The threads may come back all the same.
        (0..MOST_OF_ONE).for_each(|number| assert_eq!(hanging.end(&file(number)), [].into()));
        assert_eq!(hanging.end(Path::new("/etc/a.pem")), [tenant(8)].into());
        assert!(!hanging.is_any());
    }

    #[test]
    fn no_more_threads_are_risked_than_a_few() {
        let file = |number: usize| PathBuf::from(format!("/{number}.pem"));
        let mut hanging = Hanging::default();
        for number in 0..MOST {
            assert!(!hanging.is_full());
            hanging.begin(&file(number), [tenant(number)]);
        }
        assert!(hanging.is_full() && hanging.is_any());

        (0..MOST)
            .for_each(|number| assert_eq!(hanging.end(&file(number)), [tenant(number)].into()));

        assert!(!hanging.is_full() && !hanging.is_any());
        assert!(hanging.files.is_empty());
    }
}
