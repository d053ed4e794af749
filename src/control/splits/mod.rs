//! Splits with a canary: how each of them fares, which are rolled back, and the word of an operator that ends that.
//!
//! **Invariant:** nothing but an edit of the split or of its route's conditions, which make it another one, or an operator's
//! word ends a roll-back: no reload, no tenant that goes and comes back, and no restart where there is a folder for state.
//! An idle split costs a few hundred bytes and a look at a few numbers a second, since many tenants may have one each.

mod absent;
mod kept;
mod watching;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::mem::take;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio::task::yield_now;
use tokio::time::Instant;

use crate::config::spec::SplitSpec;
use crate::model::canary::{Counts, Outcome, Side};
use crate::model::ids::PoolId;
use crate::resilience::canary::{Broken, Watch, judge};
use crate::routing::canary::{Owner, Watched};
use crate::routing::table::Table;
use crate::telemetry::registry::{Metrics, SplitLabels};

use absent::Absent;
use kept::Kept;
pub(super) use watching::watch;

/// All splits with a canary. Clones are handles to the same.
#[derive(Clone, Debug, Default)]
pub struct Splits(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    by_id: BTreeMap<Id, Split>,
    /// Roll-backs of splits that are not there: of another start, or of a tenant that is gone and may come back.
    absent: Absent,
    /// Series that are to end: the splits are gone, or their routes have other names.
    gone: Vec<Id>,
    /// How many tables were adopted.
    tables: u64,
    /// Those that are new with the table that is being adopted.
    new: Vec<Id>,
    /// What is rolled back is another than what was kept last.
    changed: bool,
}

/// What a split is known by, for good: its owner and the conditions of its route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id(u64);

/// One split with a canary.
#[derive(Debug)]
struct Split {
    owner: Owner,
    /// The one that the table of now has.
    watched: Arc<Watched>,
    watch: Watch,
    /// What was counted when it was looked at last.
    counts: [Counts; 2],
    /// What of that lies within the window.
    recent: [Counts; 2],
    rolled_back: Option<RolledBack>,
    /// Whether it is rolled back, as it was told last; `None` = it was not, as long as there is nothing to tell.
    told: Option<bool>,
    /// It breaks its rule, and there is nobody to roll back to.
    is_alone: bool,
    /// The number of the last table that had it.
    table: u64,
}

/// That a canary gets no requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolledBack {
    /// Since when.
    pub since: SystemTime,
    /// The rule that it broke, from a closed set.
    pub reason: Arc<str>,
    /// What it did, in words.
    pub why: Arc<str>,
}

/// A split as it is shown.
#[derive(Clone, Debug)]
pub struct Shown {
    /// What it is known by.
    pub id: Id,
    /// Whose route it is of.
    pub owner: Owner,
    /// The route's name.
    pub route: Arc<str>,
    /// What it is.
    pub spec: Arc<SplitSpec>,
    /// Since it is what it is, or since the start: in the order of [`Side::BOTH`].
    pub counts: [Counts; 2],
    /// Within the window of its rule, where it has one.
    pub recent: [Counts; 2],
    /// There while the canary gets no requests.
    pub rolled_back: Option<RolledBack>,
}

/// What became of a reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// The canary gets its share again.
    Done,
    /// It has it already; what was counted against it counts no more.
    NotRolledBack,
    /// There is no such split.
    NoSplit,
}

impl Splits {
    /// With what was rolled back before the start, where that was kept.
    pub(super) async fn open(folder: Option<&Path>) -> Self {
        let splits = Self::default();
        if let Some(folder) = folder {
            let absent = kept::load(folder).await;
            splits.locked().absent = absent;
        }
        splits
    }

    /// A table is about to be published: its splits go on where those of the table before it are, as far as they are the same.
    /// Some at a time, as there may be as many as there are tenants.
    pub(super) async fn adopt(&self, table: &Table) {
        self.locked().tables += 1;
        let mut canaries = table.canaries();
        loop {
            let some: Vec<_> = canaries
                .by_ref()
                .take(AT_ONCE)
                .map(|(owner, watched)| (Id(watched.id(&owner)), owner, watched))
                .collect();
            if some.is_empty() {
                break;
            }
            self.take_up(some);
            yield_now().await;
        }
        self.locked().let_go();
    }

    fn take_up(&self, some: Vec<(Id, Owner, &Arc<Watched>)>) {
        let mut known = self.locked();
        some.into_iter().for_each(|(id, owner, watched)| known.take_up(id, owner, watched));
    }

    /// All of them, by the owner and the route.
    pub fn list(&self) -> Vec<Shown> {
        let (mut list, mut next) = (Vec::<Shown>::new(), Bound::Unbounded);
        loop {
            let known = self.locked();
            let some = known.by_id.range((next, Bound::Unbounded)).take(AT_ONCE);
            let before = list.len();
            list.extend(some.map(|(id, split)| split.shown(*id)));
            match list.last().filter(|_| list.len() > before) {
                Some(last) => next = Bound::Excluded(last.id),
                None => break,
            }
        }
        list.sort_by_cached_key(|shown| (shown.owner.to_string(), Arc::clone(&shown.route)));
        list
    }

    /// The one of this id.
    pub fn find(&self, id: Id) -> Option<Shown> {
        self.locked().by_id.get(&id).map(|split| split.shown(id))
    }

    /// A canary gets its share again, whatever it did until now.
    pub fn reset(&self, id: Id) -> Reset {
        let mut known = self.locked();
        let Some(split) = known.by_id.get_mut(&id) else { return Reset::NoSplit };
        let was = split.rolled_back.take();
        split.begin_anew();
        split.watched.progress().resume();
        if was.is_none() {
            return Reset::NotRolledBack;
        }
        tracing::info!(split = %id, owner = %split.owner, route = %split.watched.route,
            "an operator has reset the split: its canary gets its share again");
        known.changed = true;
        Reset::Done
    }

    /// Looks at some of them, those after this one: tells what they have counted, and rolls back those that break their rule.
    /// Gives the last one that it has looked at, unless there are no more.
    fn look(&self, after: Option<Id>, now: Instant, metrics: &Metrics) -> Option<Id> {
        let mut known = self.locked();
        let known = &mut *known;
        if !known.gone.is_empty() {
            metrics.forget_splits(&take(&mut known.gone).iter().map(Id::to_string).collect());
        }
        let next = after.map_or(Id(0), |Id(last)| Id(last.saturating_add(1)));
        let mut last = None;
        for (at, (id, split)) in known.by_id.range_mut(next..).take(AT_ONCE).enumerate() {
            known.changed |= split.look(*id, now, metrics);
            last = (at + 1 == AT_ONCE).then_some(*id);
        }
        last
    }

    /// What is rolled back now, where that is not what was kept last: what is gone for longest comes first.
    fn to_keep(&self) -> Option<Vec<(Id, Kept)>> {
        let mut known = self.locked();
        if !take(&mut known.changed) {
            return None;
        }
        let mut all = known.absent.list();
        all.extend(known.by_id.iter().filter_map(|(id, split)| Some((*id, split.to_keep()?))));
        Some(all)
    }

    /// What was given to be kept could not be.
    fn not_kept(&self) {
        self.locked().changed = true;
    }

    /// A panic elsewhere leaves whole values behind.
    fn locked(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// The table that is adopted has this one.
    fn take_up(&mut self, id: Id, owner: Owner, watched: &Arc<Watched>) {
        let table = self.tables;
        if self.by_id.get(&id).is_some_and(|split| split.table == table) {
            return; // of two routes with the same conditions the first takes all requests
        }
        let mut before = self.by_id.remove(&id);
        if before.as_ref().is_some_and(|split| split.watched.route != watched.route) {
            self.gone.push(id);
            before = before.map(|split| Split { told: None, ..split });
        }
        let split = match before {
            Some(split) if split.watched.edition == watched.edition => {
                split.goes_on(watched, table)
            }
            edited => {
                if edited.is_none() {
                    self.new.push(id);
                }
                let kept = self.absent.remove(id);
                let was = edited.as_ref().and_then(Split::to_keep).or(kept);
                self.changed |= was.is_some();
                if was.as_ref().is_some_and(|was| was.edition != watched.edition) {
                    tracing::info!(split = %id, %owner, route = %watched.route,
                        "the split was edited: its canary is no longer rolled back");
                }
                let kept = was.filter(|was| was.edition == watched.edition);
                let told = edited.and_then(|split| split.told);
                Split { told, ..Split::begin(owner, watched, kept, table) }
            }
        };
        self.by_id.insert(id, split);
    }

    /// The table that is adopted has none but those that were taken up.
    fn let_go(&mut self) {
        let (table, new) = (self.tables, take(&mut self.new));
        let gone = self.by_id.extract_if(.., |_, split| split.table != table);
        let (rolled_back, others): (Vec<_>, Vec<_>) =
            gone.partition(|(_, split)| split.rolled_back.is_some());
        self.gone.extend(others.iter().chain(&rolled_back).map(|(id, _)| *id));
        if rolled_back.is_empty() {
            return;
        }
        self.changed = true;
        let mut by_owner: HashMap<&Owner, Vec<&Split>> = HashMap::new();
        for split in new.iter().filter_map(|id| self.by_id.get(id)) {
            by_owner.entry(&split.owner).or_default().push(split);
        }
        for (id, split) in &rolled_back {
            let mut new = by_owner.get(&split.owner).into_iter().flatten();
            if let Some(next) = new.find(|new| split.is_followed_by(new)) {
                tracing::warn!(split = %id, owner = %split.owner, route = %next.watched.route,
                    "the conditions of a route were edited whose canary is rolled back: it is another route to the \
                     gateway now, and its canary gets its share");
            }
        }
        let kept = rolled_back.iter().filter_map(|(id, split)| Some((*id, split.to_keep()?)));
        self.absent.extend(kept);
    }
}

impl Split {
    fn begin(owner: Owner, watched: &Arc<Watched>, kept: Option<Kept>, table: u64) -> Self {
        let rolled_back = kept.map(|kept| kept.rolled_back);
        if let Some(rolled_back) = &rolled_back {
            watched.progress().roll_back();
            tracing::warn!(%owner, route = %watched.route, why = %rolled_back.why,
                "the canary stays rolled back, as it was before");
        }
        let (counts, watched) = (watched.progress().counts(), Arc::clone(watched));
        let (watch, recent) = (Watch::begin(counts.clone()), Default::default());
        Self {
            owner,
            watched,
            watch,
            counts,
            recent,
            rolled_back,
            told: None,
            is_alone: false,
            table,
        }
    }

    /// The same, in the next table.
    fn goes_on(mut self, watched: &Arc<Watched>, table: u64) -> Self {
        if !Arc::ptr_eq(&self.watched, watched) {
            watched.follow(self.watched.progress());
            self.watched = Arc::clone(watched);
        }
        Self { table, ..self }
    }

    /// Whether another split of the same owner is this one after an edit of its route's conditions, as people see it.
    fn is_followed_by(&self, new: &Self) -> bool {
        new.watched.route == self.watched.route || new.watched.edition == self.watched.edition
    }

    /// What was counted until now says nothing any more.
    fn begin_anew(&mut self) {
        self.watch = Watch::begin(self.watched.progress().counts());
        self.recent = Default::default();
    }

    fn to_keep(&self) -> Option<Kept> {
        let rolled_back = self.rolled_back.clone()?;
        Some(Kept { edition: self.watched.edition, rolled_back })
    }

    /// Tells what was counted, and judges. Whether it is rolled back from now on.
    fn look(&mut self, id: Id, now: Instant, metrics: &Metrics) -> bool {
        let progress = Arc::clone(self.watched.progress());
        let known: u64 = self.counts.iter().map(Counts::requests).sum();
        let has_moved = progress.requests() != known;
        let state = self.rolled_back.is_some();
        let is_told = self.told == Some(state) || (known == 0 && !state);
        if !has_moved && is_told && self.watch.rests_at(&self.counts) {
            self.recent = Default::default();
            return false; // as most are at most times
        }
        let (id, owner) = (id.to_string(), self.owner.to_string());
        let labels = SplitLabels([&id, &owner, &self.watched.route]);
        metrics.split_state(labels, state);
        self.told = Some(state);
        if has_moved {
            let counts = progress.counts();
            tell(&self.counts, &counts, labels, metrics);
            self.counts = counts;
        }
        let Some(rule) = self.watched.rollback() else {
            self.watch = Watch::begin(self.counts.clone()); // nobody asks for a window
            return false;
        };
        self.recent = self.watch.within(rule.window, now, &self.counts);
        if state {
            return false;
        }
        let Some(broken) = judge(rule, &self.recent) else {
            self.is_alone = false;
            return false;
        };
        if !self.watched.has_way_back() {
            self.warn_alone(&id, &broken);
            return false; // a bad version is better than none
        }
        progress.roll_back();
        metrics.split_state(labels, true);
        metrics.split_rolled_back(labels, broken.reason());
        self.told = Some(true);
        self.warn(&id, &broken);
        let (reason, why) = (broken.reason().into(), broken.to_string().into());
        self.rolled_back = Some(RolledBack { since: SystemTime::now(), reason, why });
        true
    }

    fn warn_alone(&mut self, id: &str, broken: &Broken) {
        if !std::mem::replace(&mut self.is_alone, true) {
            tracing::warn!(split = id, owner = %self.owner, route = %self.watched.route, why = %broken,
                "a canary breaks its rule and keeps its requests: no other pool has an endpoint that is well");
        }
    }

    fn warn(&self, id: &str, broken: &Broken) {
        let pool = &self.watched.pool.label.name;
        tracing::warn!(split = id, owner = %self.owner, route = %self.watched.route, %pool, why = %broken,
            "A CANARY WAS ROLLED BACK: it gets no requests until its split is edited or reset");
    }

    fn shown(&self, id: Id) -> Shown {
        Shown {
            id,
            owner: self.owner.clone(),
            route: Arc::clone(&self.watched.route),
            spec: Arc::clone(&self.watched.spec),
            counts: self.counts.clone(),
            recent: self.recent.clone(),
            rolled_back: self.rolled_back.clone(),
        }
    }
}

impl Shown {
    /// The pool that is tried.
    pub fn canary(&self) -> Option<&PoolId> {
        self.spec.canary.as_ref().map(|canary| &canary.pool)
    }

    /// The part of 1 that each pool gets of the requests that are divided by weight, as things are now.
    pub fn shares(&self) -> Vec<(&PoolId, f64)> {
        let gone = self.canary().filter(|_| self.rolled_back.is_some());
        let others = self.spec.pools.iter().filter(|(pool, _)| Some(pool) != self.canary());
        let idle = gone.is_some() && others.clone().all(|(_, weight)| *weight == 0);
        let weight = |(pool, weight): &(PoolId, u32)| match Some(pool) == gone {
            true => 0.0,
            // As the table has it: those that had nothing take back what the canary had alone.
            false if idle => 1.0,
            false => f64::from(*weight),
        };
        let sum: f64 = self.spec.pools.iter().map(weight).sum();
        let share = |one: &'_ (PoolId, u32)| if sum > 0.0 { weight(one) / sum } else { 0.0 };
        self.spec.pools.iter().map(|one| (&one.0, share(one))).collect()
    }
}

/// Adds what is counted now and was not before.
fn tell(before: &[Counts; 2], now: &[Counts; 2], labels: SplitLabels<'_>, metrics: &Metrics) {
    for (side, (before, now)) in Side::BOTH.into_iter().zip(before.iter().zip(now)) {
        for outcome in Outcome::ALL {
            let more = now.of(outcome).saturating_sub(before.of(outcome));
            metrics.split_requests(labels, (side, outcome), more);
        }
    }
}

impl Id {
    /// As it is written.
    pub fn read(text: &str) -> Option<Self> {
        let is_plain = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        u64::from_str_radix(text, 16).ok().filter(|_| is_plain).map(Self)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// 64 at a time: who asks for the list, and a reload, wait for a fraction of a millisecond.
const AT_ONCE: usize = 64;

#[cfg(test)]
pub(crate) mod tests;
