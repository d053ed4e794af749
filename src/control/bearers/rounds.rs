//! Rounds of reading: a part of what is due at a time, so that nobody waits long for anything else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::base::mounts;
use crate::config::spec::{DomainsSpec, TenantSpec};
use crate::model::ids::TenantId;
use crate::tls::tenants::reading::{self, Means, Own};

use super::super::references::{BETWEEN_READINGS, READINGS};
use super::due::Part;
use super::each::{Came, Ended, Note, each};
use super::files::{Look, Looked, Reader, Said};
use super::hanging::Hanging;
use super::told::Held;
use super::{Keeper, Wish};

/// A tenant whose files are to be read.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    id: TenantId,
    spec: Arc<TenantSpec>,
    before: Option<Arc<Held>>,
}

/// A tenant whose files were read.
#[derive(Debug)]
pub(super) struct Fresh {
    pub(super) own: Own,
    pub(super) said: BTreeMap<PathBuf, Said>,
}

/// What came of work that had taken too long.
#[derive(Debug)]
pub(super) enum Late {
    Read(Reading, Ended<Option<Fresh>>),
    LookedAt(PathBuf),
}

impl Reading {
    /// Of one that presents nothing.
    #[cfg(test)]
    pub(super) fn of(id: &TenantId, spec: &Arc<TenantSpec>) -> Self {
        Self { id: id.clone(), spec: Arc::clone(spec), before: None }
    }

    /// Reads; `None` where the tenant names no file.
    pub(super) fn read(&self, means: &Means, reader: &Reader, note: &Note<'_>) -> Option<Fresh> {
        let mut said = BTreeMap::new();
        let mut read = |path: &Path| {
            note(path);
            let (read, now) = reader.found(path);
            said.entry(path.to_path_buf()).or_insert(now);
            read
        };
        let own = Own::read_by(bearing(&self.spec)?, self.before(), means, &mut read);
        Some(Fresh { own, said })
    }

    fn before(&self) -> Option<&Own> {
        self.before.as_ref().map(|held| &held.own)
    }

    /// What is known while a file of it hangs.
    fn late(&self, file: &Path) -> Option<Fresh> {
        let own = Own::late(bearing(&self.spec)?, self.before(), file);
        Some(Fresh { own, said: BTreeMap::new() })
    }

    fn failed(&self) -> Option<Fresh> {
        let own = Own::failed(bearing(&self.spec)?, self.before());
        Some(Fresh { own, said: BTreeMap::new() })
    }
}

impl Keeper {
    /// Whether there is something to do that can be done.
    pub(super) fn is_busy(&self) -> bool {
        !self.due.is_empty() && !self.hanging.is_full()
    }

    /// Does what somebody waits for, as far as there is time: the longer one where no file hangs. With `also_late`, what
    /// hangs is waited for, too.
    pub(super) async fn finish(
        &mut self,
        at_once: usize,
        (short, long): (Duration, Duration),
        also_late: bool,
    ) {
        let began = Instant::now();
        let left = |hanging: &Hanging| {
            let limit = if hanging.is_any() { short } else { long };
            limit.checked_sub(began.elapsed()).filter(|left| !left.is_zero())
        };
        while let Some(left) = left(&self.hanging) {
            while let Ok(late) = self.late.try_recv() {
                self.take_late(late, Wish::Asked).await;
            }
            if self.loaded.has_changed().is_ok_and(|is_so| is_so) {
                self.take(Wish::Changed).await;
            }
            if self.due.is_asked() && !self.hanging.is_full() {
                self.work(at_once).await;
                continue;
            }
            if !also_late || !self.hanging.is_any() {
                return;
            }
            if let Ok(Some(late)) = timeout(left, self.late.recv()).await {
                self.take_late(late, Wish::Asked).await;
            }
        }
    }

    /// Does a part of what is due, on this many threads.
    pub(super) async fn work(&mut self, at_once: usize) {
        let was_any = self.hanging.is_any();
        match self.due.next() {
            Some((wish, Part::Tenants(ids))) => self.read(ids, wish, at_once).await,
            Some((wish, Part::Files(files))) => self.look(files, wish, at_once).await,
            None => {}
        }
        // While any hangs nothing is kept for anybody, so that it is enough to look when the first one begins to.
        if !was_any && self.hanging.is_any() {
            self.take_back();
        }
    }

    /// Reads the files of tenants, and puts in use what is good of them.
    async fn read(&mut self, ids: BTreeSet<TenantId>, wish: Wish, at_once: usize) {
        let (Some(spec), Some(means)) = (self.spec.clone(), self.means.clone()) else { return };
        let bearers = self.live().bearers.clone();
        let (mut free, mut read) = (Vec::new(), Vec::new());
        for id in ids {
            let Some(tenant) = spec.tenant(id.as_str()) else { continue };
            let Some(domains) = bearing(tenant) else { continue };
            let before = bearers.get(id.as_str()).cloned();
            let one = Reading { id, spec: Arc::clone(tenant), before };
            match self.hanging.first(reading::files(domains)) {
                Some(file) => {
                    read.extend(one.late(file).map(|fresh| (one.id.clone(), fresh)));
                    self.hanging.wait(file, &one.id);
                }
                None => free.push(one),
            }
        }
        let free: Arc<[Reading]> = free.into();
        let (reader, tell) = (self.reader.clone(), self.tell_late.clone());
        let work = move |one: &Reading, note: &Note<'_>| one.read(&means, &reader, note);
        // The keeper is gone where the process is ending.
        let late = move |one: &Reading, ended| drop(tell.send(Late::Read(one.clone(), ended)));
        let came = each(Arc::clone(&free), (at_once, ROUND), work, late).await;
        for (one, came) in free.iter().zip(came) {
            let fresh = match came {
                Came::Done(fresh) => fresh,
                Came::Failed => one.failed(),
                Came::Late(file) => {
                    let fresh = one.late(&file);
                    self.hang(&file, [one.id.clone()]);
                    fresh
                }
                Came::Untried => {
                    self.due.read([one.id.clone()], wish);
                    continue;
                }
            };
            read.extend(fresh.map(|fresh| (one.id.clone(), fresh)));
        }
        self.put_in_use(read, wish).await;
    }

    /// Looks at files; the tenants of those that say something else are to be read.
    async fn look(&mut self, files: BTreeSet<PathBuf>, wish: Wish, at_once: usize) {
        // It is told of those that hang already.
        self.due.read(self.files.of_hanging(&files, &self.hanging), wish);
        let mut last = self.look_once(&files, wish, at_once).await;
        for _ in 0..READINGS {
            if last.changed.is_empty() {
                break;
            }
            if self.loaded.has_changed().is_ok_and(|is_so| is_so) {
                // An edit waits for none of that: a host may be another's by now.
                self.due.look(last.paths(), wish);
                last.changed.clear();
                break;
            }
            // A program that writes in place empties the file first, and a part of a chain is as valid as the whole.
            sleep(BETWEEN_READINGS).await;
            let next = self.look_once(&last.paths(), wish, at_once).await;
            let is_same = next.changed == last.changed;
            last.changed = next.changed;
            last.same.extend(next.same);
            if is_same {
                break;
            }
        }
        self.files.note(last.same);
        let of = self.files.note(last.changed);
        self.due.read(of, wish);
    }

    async fn look_once(&mut self, files: &BTreeSet<PathBuf>, wish: Wish, at_once: usize) -> Looked {
        let looks = self.files.looks(files, &self.hanging);
        let (reader, tell, all) =
            (self.reader.clone(), self.tell_late.clone(), wish == Wish::Asked);
        let work = move |look: &Look, note: &Note<'_>| {
            note(&look.path);
            look.look(all, &reader)
        };
        let late = move |_: &Look, ended: Ended<_>| drop(tell.send(Late::LookedAt(ended.at)));
        let came = each(Arc::clone(&looks), (at_once, ROUND), work, late).await;
        let mut looked = Looked::default();
        for (look, came) in looks.iter().zip(came) {
            match came {
                Came::Done(Some(seen)) if look.is_changed(&seen) => looked.changed.push(seen),
                Came::Done(Some(seen)) => looked.same.push(seen),
                Came::Late(file) => {
                    self.hang(&file, look.of.iter().cloned());
                    // It is told of them.
                    self.due.read(look.of.iter().cloned(), wish);
                }
                Came::Untried => self.due.look([look.path.clone()], wish),
                Came::Done(None) | Came::Failed => {}
            }
        }
        looked
    }

    /// A thread has not come back from a file. Nobody follows it before it answers: others would not be heard of.
    fn hang(&mut self, file: &Path, of: impl IntoIterator<Item = TenantId>) {
        let silent = self.hanging.begin(file, of);
        let left = self.watching.leave(&silent);
        self.files.come_again(left);
    }

    /// A file answers again: what it said is in use, where it is wanted still.
    pub(super) async fn take_late(&mut self, late: Late, wish: Wish) {
        let (file, read) = match late {
            Late::LookedAt(file) => (file, None),
            Late::Read(reading, Ended { at, outcome }) => {
                (at, outcome.flatten().zip(Some(reading)))
            }
        };
        let mut waiting = self.hanging.end(&file);
        if let Some((fresh, Reading { id, spec: read, .. })) = read
            && waiting.remove(&id)
        {
            let now = self.spec.as_ref().and_then(|now| now.tenant(id.as_str()));
            match now.is_some_and(|now| now.domains == read.domains) {
                true => {
                    // Any may be another one by now.
                    self.due.look(fresh.said.keys().cloned(), Wish::Changed);
                    if self.files.has_other(&fresh.said) {
                        // Another tenant has read it since: no look will find that this one has not.
                        self.due.read([id.clone()], wish);
                    }
                    self.put_in_use(vec![(id, fresh)], wish).await;
                }
                false => self.due.read([id], wish),
            }
        }
        self.due.read(waiting, wish);
        // Nobody has followed them meanwhile.
        self.files.come_back();
    }

    /// Who waits for a file system that is there no more is read from what is there now.
    pub(super) fn leave_gone(&mut self) {
        let waiting = self.hanging.leave_gone(mounts::is_there);
        if !waiting.is_empty() {
            self.due.read(waiting, Wish::Changed);
            self.files.come_back();
        }
    }

    /// Has files followed that have come, where nothing else is to be done.
    pub(super) fn watch(&mut self) {
        if self.is_busy() || !self.watching.is_free() {
            return;
        }
        if self.watching.len() > self.files.len() * 2 {
            self.watching.clear();
            let all: Vec<PathBuf> = self.files.all().cloned().collect();
            self.files.come_again(all);
        }
        let come = self.files.take_come(&self.hanging);
        if !come.is_empty() {
            self.watching.add(come, |file| self.files.is_known(file));
        }
    }
}

/// The domains of a tenant that has certificates.
pub(super) fn bearing(spec: &TenantSpec) -> Option<&DomainsSpec> {
    spec.domains.as_deref().filter(|domains| !domains.certificates.is_empty())
}

/// 2 s: a round takes a tenth of that where files are on a disk of the machine.
const ROUND: Duration = Duration::from_secs(2);
