//! Splits with a canary: how each of them fares, which are rolled back, and the word of an operator that ends that.
//!
//! **Invariant:** nothing but an edit of the split or an operator's word ends a roll-back: no reload, no tenant that goes and
//! comes back, and no restart where there is a folder for state.

mod kept;
mod watching;

use std::collections::BTreeMap;
use std::fmt;
use std::mem::take;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio::time::Instant;

use crate::config::spec::SplitSpec;
use crate::model::canary::{Counts, Outcome, Side};
use crate::model::ids::PoolId;
use crate::resilience::canary::{Broken, Watch, judge};
use crate::routing::canary::{Owner, Watched};
use crate::routing::table::Table;
use crate::telemetry::registry::{Metrics, SplitLabels};

use kept::Kept;
pub(super) use watching::watch;

/// All splits with a canary. Clones are handles to the same.
#[derive(Clone, Debug, Default)]
pub struct Splits(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    by_id: BTreeMap<Id, Split>,
    /// Roll-backs of splits that are not there: of another start, or of a tenant that is gone and may come back.
    absent: BTreeMap<Id, Kept>,
    /// Series that are to end.
    gone: Vec<Id>,
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
    pub spec: SplitSpec,
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
            splits.locked().absent = kept::load(folder).await;
        }
        splits
    }

    /// A table is about to be published: its splits go on where those of the table before it are, as far as they are the same.
    pub(super) fn adopt(&self, table: &Table, _now: Instant) {
        let mut known = self.locked();
        let known = &mut *known;
        let mut before = take(&mut known.by_id);
        for (owner, watched) in table.canaries() {
            let id = Id(watched.id(&owner));
            let split = match before.remove(&id) {
                Some(split) if split.watched.edition == watched.edition => split.goes_on(watched),
                edited => {
                    if let Some(split) = edited.filter(|split| split.rolled_back.is_some()) {
                        tracing::info!(%owner, route = %split.watched.route,
                            "the split was edited: its canary is no longer rolled back");
                        known.changed = true;
                    }
                    let kept = known.absent.remove(&id);
                    known.changed |= kept.is_some();
                    let kept = kept.filter(|kept| kept.edition == watched.edition);
                    Split::begin(owner, watched, kept)
                }
            };
            known.by_id.insert(id, split);
        }
        for (id, split) in before {
            known.gone.push(id);
            if let Some(rolled_back) = split.rolled_back
                && known.absent.len() < MOST_ABSENT
            {
                let edition = split.watched.edition;
                known.absent.insert(id, Kept { edition, rolled_back });
            }
        }
    }

    /// All of them, by the owner and the route.
    pub fn list(&self) -> Vec<Shown> {
        let known = self.locked();
        let mut list: Vec<Shown> = known.by_id.iter().map(|(id, split)| split.shown(*id)).collect();
        drop(known);
        list.sort_by_cached_key(|shown| (shown.owner.to_string(), Arc::clone(&shown.route)));
        list
    }

    /// The one of this id.
    pub fn find(&self, id: Id) -> Option<Shown> {
        self.locked().by_id.get(&id).map(|split| split.shown(id))
    }

    /// A canary gets its share again, whatever it did until now.
    pub fn reset(&self, id: Id, _now: Instant) -> Reset {
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
        take(&mut known.gone)
            .into_iter()
            .filter(|id| !known.by_id.contains_key(id))
            .for_each(|id| metrics.forget_split(&id.to_string()));
        let next = after.map_or(Id(0), |Id(last)| Id(last.saturating_add(1)));
        let mut last = None;
        for (at, (id, split)) in known.by_id.range_mut(next..).take(AT_ONCE).enumerate() {
            known.changed |= split.look(*id, now, metrics);
            last = (at + 1 == AT_ONCE).then_some(*id);
        }
        last
    }

    /// What is rolled back now, where that is not what was kept last.
    fn to_keep(&self) -> Option<BTreeMap<Id, Kept>> {
        let mut known = self.locked();
        if !take(&mut known.changed) {
            return None;
        }
        let mut all = known.absent.clone();
        for (id, split) in &known.by_id {
            if let Some(rolled_back) = split.rolled_back.clone() {
                all.insert(*id, Kept { edition: split.watched.edition, rolled_back });
            }
        }
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

impl Split {
    fn begin(owner: Owner, watched: &Arc<Watched>, kept: Option<Kept>) -> Self {
        let rolled_back = kept.map(|kept| kept.rolled_back);
        if let Some(rolled_back) = &rolled_back {
            watched.progress().roll_back();
            tracing::warn!(%owner, route = %watched.route, why = %rolled_back.why,
                "the canary stays rolled back, as it was before");
        }
        let counts = watched.progress().counts();
        Self {
            owner,
            watched: Arc::clone(watched),
            watch: Watch::begin(counts.clone()),
            counts,
            recent: Default::default(),
            rolled_back,
        }
    }

    /// The same, in the next table.
    fn goes_on(mut self, watched: &Arc<Watched>) -> Self {
        if !Arc::ptr_eq(&self.watched, watched) {
            watched.follow(self.watched.progress());
            self.watched = Arc::clone(watched);
        }
        self
    }

    /// What was counted until now says nothing any more.
    fn begin_anew(&mut self) {
        self.watch = Watch::begin(self.watched.progress().counts());
        self.recent = Default::default();
    }

    /// Tells what was counted, and judges. Whether it is rolled back from now on.
    fn look(&mut self, id: Id, now: Instant, metrics: &Metrics) -> bool {
        let (id, owner) = (id.to_string(), self.owner.to_string());
        let labels = SplitLabels([&id, &owner, &self.watched.route]);
        let progress = Arc::clone(self.watched.progress());
        metrics.split_state(labels, self.rolled_back.is_some());
        let known: u64 = self.counts.iter().map(Counts::requests).sum();
        if progress.requests() != known {
            let counts = progress.counts();
            tell(&self.counts, &counts, labels, metrics);
            self.counts = counts;
        }
        let Some(rule) = self.watched.rollback() else { return false };
        self.recent = self.watch.within(rule.window, now, &self.counts);
        if self.rolled_back.is_some() {
            return false;
        }
        let Some(broken) = judge(rule, &self.recent) else { return false };
        if !self.watched.has_way_back() {
            return false; // a bad version is better than none
        }
        progress.roll_back();
        metrics.split_state(labels, true);
        metrics.split_rolled_back(labels, broken.reason());
        self.warn(&id, &broken);
        let (reason, why) = (broken.reason().into(), broken.to_string().into());
        self.rolled_back = Some(RolledBack { since: SystemTime::now(), reason, why });
        true
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
            spec: self.watched.spec.clone(),
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
/// 10,000 that are gone and may come back: a list that does nothing but grow would be a leak.
const MOST_ABSENT: usize = 10_000;

#[cfg(test)]
pub(crate) mod tests;
