//! How what was read comes to be in use.

use super::*;

impl Keeper {
    /// Nobody is shown what it has no right to any more, whatever the files say that are about to be read.
    pub(super) fn restrict(&mut self, changes: &[Change]) {
        let before = self.live();
        let (mut bearers, mut shown) =
            (before.bearers.clone(), Tenants::clone(&self.bearers.shown.load()));
        let is_first = bearers.is_empty();
        for Change { id, before: spec, .. } in changes {
            match bearers.get(id.as_str()) {
                Some(bearer) => shown.remove(&bearer.held.own.claims),
                None => shown.remove(&bare(spec.as_ref())),
            }
        }
        for change in changes {
            let Change { id, before: spec, now } = change;
            let now_named: BTreeSet<&PathBuf> =
                change.bearing().into_iter().flat_map(reading::files).collect();
            let domains = spec.iter().flat_map(|spec| spec.domains.as_deref());
            let left = domains.flat_map(reading::files).filter(|path| !now_named.contains(path));
            self.files.set(id, left.cloned().collect(), BTreeMap::new());
            let Some(domains) = change.bearing() else {
                shown.add(&bare(now.as_ref()));
                bearers.remove(id.as_str());
                self.forget(id);
                continue;
            };
            let old = bearers.get(id.as_str()).map(|bearer| Arc::clone(&bearer.held));
            let own = Own::within(domains, old.as_ref().map(|old| &old.own));
            shown.add(&own.claims);
            let (problems, doubts) =
                old.map_or_else(Default::default, |old| (old.problems.clone(), old.doubts.clone()));
            let held = Arc::new(Held { own, problems, doubts });
            bearers.insert(Bearer { id: id.clone(), held });
        }
        match (is_first, bearers.is_empty()) {
            (true, false) => self.add_bare(&bearers, &mut shown),
            (_, true) => shown = Tenants::default(),
            (false, false) => {}
        }
        self.show(shown);
        self.publish(bearers);
    }

    /// Reads the files of tenants that are others, and puts in use what is good of them.
    pub(super) async fn read(&mut self, changes: Vec<Change>, wish: Wish) {
        match self.hanging.len() < MOST_HANGING {
            true => self.read_some(changes, wish).await,
            false => self.untried.extend(changes.into_iter().map(|change| change.id)),
        }
        self.measure();
        self.watch().await;
    }

    async fn read_some(&mut self, changes: Vec<Change>, wish: Wish) {
        let Some(means) = self.means.clone() else { return };
        let is_free =
            |change: &Change| change.bearing().is_some() && !self.hanging.contains(&change.id);
        let changes: Arc<[Change]> = changes.into_iter().filter(is_free).collect();
        let bearers = self.live().bearers.clone();
        let (read_by, tell) = (bearers.clone(), self.tell_late.clone());
        let work = move |change: &Change| fresh(change, &read_by, &means);
        // The keeper is gone where the process is ending.
        let late = move |change: &Change| drop(tell.send(change.id.clone()));
        let came = each(Arc::clone(&changes), LIMIT, work, late).await;
        let mut read = Vec::with_capacity(changes.len());
        for (change, came) in changes.iter().zip(came) {
            let id = change.id.clone();
            let unread = |(what, hint)| {
                let before = bearers.get(id.as_str()).map(|bearer| &bearer.held.own);
                let own = Own::unread(change.bearing()?, before, what, hint);
                Some(Fresh { held: Held { own, ..Held::default() }, said: BTreeMap::new() })
            };
            let fresh = match came {
                Came::Done(fresh) => fresh,
                Came::Failed => unread(FAILED),
                Came::Late => {
                    self.hanging.insert(id.clone());
                    unread(LATE)
                }
                Came::Untried => {
                    self.untried.insert(id);
                    continue;
                }
            };
            read.extend(fresh.map(|fresh| (id, fresh)));
        }
        if read.is_empty() {
            return;
        }
        let written = self.written.clone();
        let root = written.root.clone();
        let placed = in_background(READING, &root, move || {
            place_faults(&written, read.iter_mut().map(|(id, fresh)| (&*id, &mut fresh.held)));
            Ok(read)
        });
        match placed.await {
            Ok(read) => self.put_in_use(read, wish).await,
            Err(faults) => faults.iter().for_each(|fault| tracing::error!("{fault}")),
        }
    }

    async fn put_in_use(&mut self, read: Vec<(TenantId, Fresh)>, wish: Wish) {
        let mut bearers = self.live().bearers.clone();
        let mut shown = Tenants::clone(&self.bearers.shown.load());
        for bearer in read.iter().filter_map(|(id, _)| bearers.get(id.as_str())) {
            shown.remove(&bearer.held.own.claims);
        }
        let (mut is_good, mut is_refused, mut news) = (false, false, Vec::new());
        for (id, Fresh { held, said }) in read {
            self.files.set(&id, BTreeSet::new(), said);
            shown.add(&held.own.claims);
            is_good |= held.problems.is_empty();
            is_refused |= self.note(&id, &held, wish);
            let held = Arc::new(held);
            let old = bearers.insert(Bearer { id: id.clone(), held: Arc::clone(&held) });
            news.push(News { tenant: id, before: old.map(|old| old.held), now: held });
        }
        self.show(shown);
        tell_new(&news, wish);
        for result in [("ok", is_good), ("refused", is_refused)] {
            if let (result, true) = result {
                self.metrics.tenant_certificates_read(result);
            }
        }
        self.publish(bearers);
    }

    /// Hears of changes of the files, where they are others than before.
    async fn watch(&mut self) {
        let Some(paths) = self.files.others() else { return };
        if timeout(LIMIT, self.bell.watch(paths)).await.is_err() {
            tracing::error!("the files of tenants' certificates cannot be watched: one hangs");
            self.files.watch_again();
        }
        // One may have changed after it was read and before it was watched.
        self.bell.ring();
    }

    /// Looks at all files.
    pub(super) async fn look(&mut self, all: bool) -> Looked {
        if self.hanging.len() >= MOST_HANGING {
            return Looked::default();
        }
        let looks = self.files.looks(&self.hanging);
        let tell = self.tell_late.clone();
        let late = move |look: &Look| look.of.iter().for_each(|id| drop(tell.send(id.clone())));
        let came = each(Arc::clone(&looks), LIMIT, move |look: &Look| look.look(all), late).await;
        let mut looked = Looked::default();
        for (look, came) in looks.iter().zip(came) {
            match came {
                Came::Done(Some(seen)) if look.is_changed(&seen) => looked.changed.push(seen),
                Came::Done(Some(seen)) => looked.same.push(seen),
                Came::Late => {
                    tracing::warn!(file = %look.path.display(), "a file of a tenant's certificate hangs");
                    self.hanging.extend(look.of.iter().cloned());
                }
                Came::Untried => self.bell.ring(),
                Came::Done(None) | Came::Failed => {}
            }
        }
        looked
    }

    /// What is wrong may stand elsewhere now.
    pub(super) async fn place_again(&mut self) {
        let told = self.failing.iter().chain(&self.doubted).chain(self.unsettled.keys());
        let ids: BTreeSet<TenantId> = told.cloned().collect();
        let (before, written) = (self.live(), self.written.clone());
        let held = |id: TenantId| before.of(id.as_str()).map(|held| (id, held.own.clone()));
        let owns: Vec<(TenantId, Own)> = ids.into_iter().filter_map(held).collect();
        if owns.is_empty() {
            return;
        }
        let root = written.root.clone();
        let placed = in_background(READING, &root, move || {
            let held = |(id, own)| (id, Held { own, ..Held::default() });
            let mut all: Vec<(TenantId, Held)> = owns.into_iter().map(held).collect();
            place_faults(&written, all.iter_mut().map(|(id, held)| (&*id, held)));
            Ok(all)
        });
        let Ok(placed) = placed.await else { return };
        let mut bearers = before.bearers.clone();
        for (id, held) in placed {
            bearers.insert(Bearer { id, held: Arc::new(held) });
        }
        self.publish(bearers);
    }

    /// The domains of all who have no certificate are nobody else's.
    fn add_bare(&self, bearers: &Sorted<Bearer>, shown: &mut Tenants) {
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

/// Says where what is wrong is written.
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

const LATE: (&str, &str) = (
    "the files of the certificates are still being read",
    "look whether the file system that they are on answers; what was in use stays until it does",
);

const FAILED: (&str, &str) =
    ("reading the certificates failed", "this is a bug, please report it with the log");
