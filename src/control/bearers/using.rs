//! How what was read comes to be in use.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use crate::config;
use crate::config::places::Places;
use crate::config::spec::TenantSpec;
use crate::model::ids::TenantId;
use crate::tls::tenants::reading::{self, Own, Wrong};
use crate::tls::tenants::{Claim, Tenants};

use super::super::generation::Fault;
use super::super::load::in_background;
use super::files::Said;
use super::news::{News, tell_new};
use super::rounds::{Fresh, bearing};
use super::told::{BearerList, Held};
use super::{Change, Keeper, Wish, problem};

impl Keeper {
    /// Nobody is shown what it has no right to any more, whatever the files say that are to be read.
    pub(super) fn restrict(&mut self, changes: &[Change], wish: Wish) {
        let before = self.live();
        let (mut bearers, mut shown) =
            (before.bearers.clone(), Tenants::clone(&self.bearers.shown.load()));
        let is_first = bearers.is_empty();
        for Change { id, before: spec, .. } in changes {
            match bearers.get(id.as_str()) {
                Some(held) => shown.remove(&held.own.claims),
                None => shown.remove(&bare(spec.as_ref())),
            }
        }
        for change in changes {
            let Change { id, before: spec, now } = change;
            self.hanging.forget(id);
            let named = now.as_deref().and_then(bearing);
            let now_named: BTreeSet<&PathBuf> =
                named.into_iter().flat_map(reading::files).collect();
            let domains = spec.iter().flat_map(|spec| spec.domains.as_deref());
            let left = domains.flat_map(reading::files).filter(|path| !now_named.contains(path));
            self.files.set(id, left.cloned().collect(), BTreeMap::new());
            let Some(domains) = named else {
                shown.add(&bare(now.as_ref()));
                bearers.remove(id.as_str());
                self.forget(id);
                continue;
            };
            let old = bearers.get(id.as_str()).cloned();
            let own = Own::within(domains, old.as_ref().map(|old| &old.own));
            shown.add(&own.claims);
            let (problems, doubts) =
                old.map_or_else(Default::default, |old| (old.problems.clone(), old.doubts.clone()));
            bearers.insert(id.clone(), Arc::new(Held { own, problems, doubts }));
            self.due.read([id.clone()], wish);
        }
        match (is_first, bearers.is_empty()) {
            (true, false) => self.add_bare(&bearers, &mut shown),
            (_, true) => shown = Tenants::default(),
            (false, false) => {}
        }
        self.show(shown);
        self.publish(bearers);
    }

    /// Puts in use what is good, and tells what is not.
    pub(super) async fn put_in_use(&mut self, read: Vec<(TenantId, Fresh)>, wish: Wish) {
        let Some(read) = placed(self.written.clone(), read).await else { return };
        let mut bearers = self.live().bearers.clone();
        let mut shown = Tenants::clone(&self.bearers.shown.load());
        for held in read.iter().filter_map(|(id, ..)| bearers.get(id.as_str())) {
            shown.remove(&held.own.claims);
        }
        let (mut is_good, mut is_refused, mut news) = (false, false, Vec::new());
        for (id, held, said) in read {
            self.files.set(&id, BTreeSet::new(), said);
            shown.add(&held.own.claims);
            is_good |= held.problems.is_empty();
            is_refused |= self.note(&id, &held, wish);
            let held = Arc::new(held);
            let before = bearers.insert(id.clone(), Arc::clone(&held));
            news.push(News { tenant: id, before, now: held });
        }
        self.show(shown);
        tell_new(&news);
        for (result, is_so) in [("ok", is_good), ("refused", is_refused)] {
            if is_so {
                self.metrics.tenant_certificates_read(result);
            }
        }
        self.publish(bearers);
    }

    /// What is wrong may stand elsewhere now, where another text stands in its file.
    pub(super) async fn place_again(&mut self, old: &config::Files) {
        let before = self.live();
        if self.failing.is_empty() && self.doubted.is_empty() && self.unsettled.is_empty() {
            return;
        }
        let differences = self.written.files.differences(&old.files, config::File::eq);
        let changed = differences.filter_map(|found| found.before.or(found.now));
        let changed: BTreeSet<PathBuf> = changed.map(|file| file.path.to_path_buf()).collect();
        let is_meant = |fault: &Fault| {
            changed.contains(&fault.file) || fault.file == self.written.root && !changed.is_empty()
        };
        let told = self.failing.iter().chain(&self.doubted).chain(self.unsettled.keys());
        let ids: BTreeSet<&TenantId> = told.collect();
        let held = |id: &TenantId| {
            let held = before.of(id.as_str())?;
            let is_moved = held.problems.iter().chain(&held.doubts).any(is_meant);
            is_moved.then(|| (id.clone(), Held { own: held.own.clone(), ..Held::default() }))
        };
        let mut all: Vec<(TenantId, Held)> = ids.into_iter().filter_map(held).collect();
        if all.is_empty() {
            return;
        }
        let written = self.written.clone();
        let root = written.root.clone();
        let placed = in_background(READING, &root, move || {
            place_faults(&written, all.iter_mut().map(|(id, held)| (&*id, held)));
            Ok(all)
        });
        let Ok(placed) = placed.await else { return };
        let mut bearers = before.bearers.clone();
        for (id, held) in placed {
            bearers.insert(id, Arc::new(held));
        }
        self.publish(bearers);
    }

    /// The domains of all who have no certificate are nobody else's.
    fn add_bare(&self, bearers: &BearerList, shown: &mut Tenants) {
        let Some(spec) = &self.spec else { return };
        for (id, spec) in &spec.tenants {
            if spec.domains.is_some() && bearers.get(id.as_str()).is_none() {
                shown.add(&bare(Some(spec)));
            }
        }
    }

    fn show(&mut self, shown: Tenants) {
        self.retired.sweep();
        self.retired.add(self.bearers.shown.load());
        self.bearers.shown.publish(Arc::new(shown));
    }
}

/// What a tenant without certificates says of its domains.
fn bare(spec: Option<&Arc<TenantSpec>>) -> Vec<Claim> {
    let domains = spec.and_then(|spec| spec.domains.as_deref());
    domains.map_or_else(Vec::new, |domains| Own::bare(domains).claims)
}

/// Says where what is wrong is written; `None` where there is nothing.
async fn placed(
    written: config::Files,
    read: Vec<(TenantId, Fresh)>,
) -> Option<Vec<(TenantId, Held, BTreeMap<PathBuf, Said>)>> {
    let held = |(id, Fresh { own, said })| (id, Held { own, ..Held::default() }, said);
    let mut read: Vec<_> = read.into_iter().map(held).collect();
    let is_told = |held: &Held| !held.own.problems.is_empty() || !held.own.doubts.is_empty();
    if !read.iter().any(|(_, held, _)| is_told(held)) {
        return (!read.is_empty()).then_some(read);
    }
    let root = written.root.clone();
    let placed = in_background(READING, &root, move || {
        place_faults(&written, read.iter_mut().map(|(id, held, _)| (&*id, held)));
        Ok(read)
    });
    let told = |faults: Vec<Fault>| faults.iter().for_each(|fault| tracing::error!("{fault}"));
    placed.await.map_err(told).ok()
}

fn place_faults<'h>(
    files: &config::Files,
    all: impl Iterator<Item = (&'h TenantId, &'h mut Held)>,
) {
    let mut places = None;
    for (id, held) in all {
        let mut fault = |wrong: &Wrong| {
            let places = places.get_or_insert_with(|| Places::of(files));
            Fault::from(problem((files, places), id, wrong))
        };
        held.problems = held.own.problems.iter().map(&mut fault).collect();
        held.doubts = held.own.doubts.iter().map(&mut fault).collect();
    }
}

const READING: &str = "reading certificates of tenants";
