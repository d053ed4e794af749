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
use super::news::{News, tell_new};
use super::rounds::{Fresh, bearing};
use super::told::{BearerList, Held};
use super::{Change, Keeper, Wish, problem};

impl Keeper {
    /// Nobody is shown what it has no right to any more, whatever the files say that are to be read. A host that a
    /// tenant with certificates has from another one keeps that one's until the new one's files are read, so that it is
    /// never without one; where a file hangs nobody knows when that is, nor while a thread is held by a file system that is
    /// gone.
    pub(super) fn restrict(&mut self, changes: &[Change], wish: Wish) {
        let before = self.live();
        let (mut bearers, old) = (before.bearers.clone(), self.bearers.shown.load());
        let mut shown = Tenants::clone(&old);
        let is_first = bearers.is_empty();
        let is_soon = !self.hanging.is_any();
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
            let known = bearers.get(id.as_str()).cloned();
            let own = Own::within(domains, known.as_ref().map(|known| &known.own));
            match is_soon {
                true => shown.add_before_reading(&own.claims, &old),
                false => shown.add(&own.claims),
            }
            let (problems, doubts) = known.map_or_else(Default::default, |known| {
                (known.problems.clone(), known.doubts.clone())
            });
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

    /// Those whose files are still to be read are shown what is their own, and no more what their hosts were shown before: a
    /// file has begun to hang, so that nobody knows how long they wait.
    pub(super) fn take_back(&mut self) {
        let live = self.live();
        let mut shown = Tenants::clone(&self.bearers.shown.load());
        for held in self.due.tenants().filter_map(|id| live.bearers.get(id.as_str())) {
            shown.remove(&held.own.claims);
            shown.add(&held.own.claims);
        }
        self.show(shown);
    }

    /// Puts in use what is good, and tells what is not.
    pub(super) async fn put_in_use(&mut self, read: Vec<(TenantId, Fresh)>, wish: Wish) {
        if read.is_empty() {
            return;
        }
        let placed = self.placed(read.iter().map(|(id, fresh)| (id, &fresh.own))).await;
        let mut bearers = self.live().bearers.clone();
        let mut shown = Tenants::clone(&self.bearers.shown.load());
        for held in read.iter().filter_map(|(id, _)| bearers.get(id.as_str())) {
            shown.remove(&held.own.claims);
        }
        let (mut is_good, mut is_refused, mut news) = (false, false, Vec::new());
        for ((id, Fresh { own, said }), Told { problems, doubts }) in read.into_iter().zip(placed) {
            let held = Held { own, problems, doubts };
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
            is_moved.then(|| (id.clone(), Arc::clone(held)))
        };
        let all: Vec<(TenantId, Arc<Held>)> = ids.into_iter().filter_map(held).collect();
        if all.is_empty() {
            return;
        }
        let placed = self.placed(all.iter().map(|(id, held)| (id, &held.own))).await;
        let mut bearers = before.bearers.clone();
        for ((id, held), Told { problems, doubts }) in all.into_iter().zip(placed) {
            bearers.insert(id, Arc::new(Held { own: held.own.clone(), problems, doubts }));
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

/// What is told of one tenant.
#[derive(Debug, Default)]
struct Told {
    problems: Vec<Fault>,
    doubts: Vec<Fault>,
}

impl Keeper {
    /// Says where what is wrong with each of these is written. A pass over all routes finds that, which serves until they are
    /// others.
    async fn placed<'o>(
        &mut self,
        all: impl Iterator<Item = (&'o TenantId, &'o Own)>,
    ) -> Vec<Told> {
        let wrong =
            |(id, own): (&TenantId, &Own)| (id.clone(), own.problems.clone(), own.doubts.clone());
        let all: Vec<_> = all.map(wrong).collect();
        if all.iter().all(|(_, problems, doubts)| problems.is_empty() && doubts.is_empty()) {
            return all.iter().map(|_| Told::default()).collect();
        }
        let (written, places, all) = (self.written.clone(), self.places.clone(), Arc::new(all));
        let (root, own) = (written.root.clone(), Arc::clone(&all));
        let placed = in_background(READING, &root, move || {
            let places = places.unwrap_or_else(|| Arc::new(Places::of(&written)));
            let fault =
                |id: &TenantId, wrong: &Wrong| Fault::from(problem((&written, &places), id, wrong));
            Ok((told(&own, fault), places))
        });
        match placed.await {
            Ok((placed, places)) => {
                self.places = Some(places);
                placed
            }
            Err(faults) => {
                faults.iter().for_each(|fault| tracing::error!("{fault}"));
                // It is told and in use all the same.
                told(&all, |_, wrong| somewhere(root.clone(), wrong))
            }
        }
    }
}

fn told(
    all: &[(TenantId, Vec<Wrong>, Vec<Wrong>)],
    fault: impl Fn(&TenantId, &Wrong) -> Fault,
) -> Vec<Told> {
    let each = |id: &TenantId, wrong: &[Wrong]| wrong.iter().map(|one| fault(id, one)).collect();
    let told = all.iter().map(|(id, problems, doubts)| Told {
        problems: each(id, problems),
        doubts: each(id, doubts),
    });
    told.collect()
}

/// What is wrong where nobody knows the place.
fn somewhere(file: PathBuf, wrong: &Wrong) -> Fault {
    let (what, hint) = (wrong.what.clone(), Some(wrong.hint.to_owned()));
    Fault { file, line: None, column: None, key: None, what, hint }
}

const READING: &str = "reading certificates of tenants";
