//! Sums of tenants: so many under names of their own, the rest together under `_other`. Whoever is
//! seen has a name while there is room; then the busiest have them, by a review each minute.
//!
//! **Invariants:** the sum of all that is shown is what was counted, and never falls. What is shown
//! under a name only grows; a name that has ended begins anew at 0. What was counted under names that
//! have ended is shown under `_ended_` and a number that is never used again, as a new series of this
//! size: who looks at growth alone, as `rate()` does, sees no request twice. docs/metrics.md tells why.

mod review;

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::model::ids::Label;

use super::delta::{CLASSES, QueueCounts, Requests, add_each};
use super::histogram::{Histogram, each_counted};
use super::tenant_delta::TenantDelta;

/// Sums of tenants.
#[derive(Clone, Debug)]
pub(super) struct TenantSums {
    /// How many may have a name.
    most: usize,
    slots: Vec<Slot>,
    /// By slot: what workers have told of those that are live.
    labels: Vec<Option<Arc<str>>>,
    named: Vec<Named>,
    names: HashMap<Arc<str>, u32, RandomState>,
    /// What named no tenant that is known.
    nobody: Option<TenantCounts>,
    others: Option<TenantCounts>,
    ended: Option<Ended>,
    /// How many names have gone from one tenant to another.
    handed_over: u64,
    /// How many live tenants are among the others.
    folded: usize,
    /// Who is live; `None` where nobody has told.
    live: Option<Slots>,
}

#[derive(Clone, Debug)]
struct Named {
    label: Label,
    counts: TenantCounts,
    /// It has lost its name to a busier one, and is shown as it is until the next review, so that
    /// whoever scrapes has its last value. What comes meanwhile is among the others.
    leaves: bool,
}

/// What is known of a number.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// The place in `named` + 1, 0 for one that was not seen, or [`FOLDED`].
    place: u32,
    /// Requests, those of a minute ago counting half of those of now.
    traffic: u32,
}

/// What was counted under names that have ended.
#[derive(Clone, Debug)]
struct Ended {
    name: String,
    number: u64,
    counts: TenantCounts,
}

/// What was counted for one tenant.
#[derive(Clone, Debug, Default)]
pub(super) struct TenantCounts {
    /// By pool: few, so that looking through them is the fastest way.
    pub(super) requests: Vec<ClassCounts>,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) duration: Histogram,
    /// Boxed: most tenants never wait.
    pub(super) queue: Option<Box<QueueCounts>>,
}

/// Requests of one tenant to one pool, by class.
#[derive(Clone, Debug)]
pub(super) struct ClassCounts {
    pub(super) pool: PoolName,
    pub(super) counts: [u64; CLASSES.len()],
}

/// Which pool it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PoolName {
    /// None was chosen.
    None,
    /// Its place among the sums of pools.
    Place(u32),
    /// One of the many that tenants without a name of their own have.
    Other,
}

/// The numbers of tenants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slots(Vec<u64>);

impl TenantSums {
    /// Nothing yet.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            slots: Vec::new(),
            labels: Vec::new(),
            named: Vec::new(),
            names: HashMap::default(),
            nobody: None,
            others: None,
            ended: None,
            handed_over: 0,
            folded: 0,
            live: None,
        }
    }

    /// Sets how many may have a name. Who has one keeps it.
    pub(super) fn limit(&mut self, most: usize) {
        self.most = most;
    }

    /// Sets who is live. Those that are gone leave their names to the next ones that are seen.
    pub(super) fn keep(&mut self, live: Slots) {
        for (number, slot) in (0..).zip(&mut self.slots) {
            if live.contains(number) {
                continue;
            }
            self.folded -= usize::from(slot.place == FOLDED);
            *slot = Slot::default();
        }
        for (slot, label) in (0..).zip(&mut self.labels) {
            if !live.contains(slot) {
                *label = None;
            }
        }
        self.end(|named| !live.contains(named.label.slot));
        self.live = Some(live);
    }

    /// Ends some names. What was counted under them moves, whole, to a name that was never used.
    fn end(&mut self, ends: impl Fn(&Named) -> bool) {
        let ended = self.named.extract_if(.., |named| ends(named));
        let mut sum = TenantCounts::default();
        for named in ended {
            sum.fold(&named.counts);
        }
        if !sum.is_empty() {
            let before = self.ended.take();
            let number = before.as_ref().map_or(1, |before| before.number + 1);
            sum.fold(&before.map(|before| before.counts).unwrap_or_default());
            self.ended = Some(Ended { name: format!("{ENDED}{number}"), number, counts: sum });
        }
        self.names.clear();
        for (place, named) in (1..).zip(&self.named) {
            self.names.insert(Arc::clone(&named.label.name), place);
            if let Some(slot) = self.slots.get_mut(named.label.slot as usize)
                && !named.leaves
            {
                slot.place = place;
            }
        }
    }

    /// Hears of names and their numbers. Those that are gone have none any more.
    pub(super) fn learn(&mut self, labels: &[Label]) {
        for Label { name, slot } in labels {
            if self.live.as_ref().is_some_and(|live| !live.contains(*slot)) {
                continue;
            }
            let at = *slot as usize;
            if at >= self.labels.len() {
                self.labels.resize(at + 1, None);
            }
            self.labels[at] = Some(Arc::clone(name));
        }
    }

    /// Adds what was counted of requests, `all` and by tenant, each with its pool. Where many
    /// tenants are in use most are among the others, which get what the rest leaves of all.
    pub(super) fn merge<'d>(
        &mut self,
        all: &Requests,
        deltas: impl Iterator<Item = (PoolName, &'d TenantDelta)>,
    ) {
        let mut left = all.clone();
        for (pool, delta) in deltas {
            let named = match delta.tenant.checked_sub(1) {
                Some(slot) => match (self.place(slot, delta.requests), pool) {
                    (Some(place), _) => {
                        self.named.get_mut(place as usize - 1).map(|of| &mut of.counts)
                    }
                    (None, PoolName::None) => Some(self.others.get_or_insert_default()),
                    (None, _) => None,
                },
                None => Some(self.nobody.get_or_insert_default()),
            };
            if let Some(named) = named {
                named.add(pool, delta);
                left.subtract(delta);
            }
        }
        if left.classes != [0; CLASSES.len()] {
            // One tenant has few pools, and all others together as many as there are.
            self.others.get_or_insert_default().add_all(PoolName::Other, &left);
        }
    }

    /// Adds what became of requests that waited, by the tenant's number.
    pub(super) fn merge_queues<'d>(
        &mut self,
        queues: impl IntoIterator<Item = (&'d u32, &'d QueueCounts)>,
    ) {
        for (slot, counts) in queues {
            let named = match self.place(*slot, 0) {
                Some(place) => self.named.get_mut(place as usize - 1).map(|of| &mut of.counts),
                None => Some(self.others.get_or_insert_default()),
            };
            if let Some(named) = named {
                named.queue.get_or_insert_default().merge(counts);
            }
        }
    }

    /// All sums, by their names.
    pub(super) fn sorted(&self) -> impl Iterator<Item = (&str, &TenantCounts)> {
        let mut sums: Vec<(&str, &TenantCounts)> =
            self.named.iter().map(|named| (named.label.name.as_ref(), &named.counts)).collect();
        sums.extend(self.nobody.iter().map(|counts| ("", counts)));
        sums.extend(self.others.iter().map(|counts| (OTHER, counts)));
        sums.extend(self.ended.iter().map(|ended| (ended.name.as_str(), &ended.counts)));
        sums.sort_unstable_by_key(|(name, _)| *name);
        sums.into_iter()
    }

    /// How many live tenants are among the others.
    pub(super) fn folded(&self) -> usize {
        self.folded
    }

    /// How many names have gone from one tenant to another.
    pub(super) fn handed_over(&self) -> u64 {
        self.handed_over
    }

    /// The place of a tenant with a name, counted from 1; `None` for one among the others. It has
    /// sent so many requests more.
    fn place(&mut self, slot: u32, requests: u8) -> Option<u32> {
        if let Some(known) = self.slots.get_mut(slot as usize) {
            known.traffic = known.traffic.saturating_add(requests.into());
        }
        match self.slots.get(slot as usize).map(|slot| slot.place) {
            Some(FOLDED) if self.named.len() >= self.most => None,
            Some(0 | FOLDED) | None => self.seek(slot, requests),
            Some(place) => Some(place),
        }
    }

    #[cold]
    fn seek(&mut self, slot: u32, requests: u8) -> Option<u32> {
        let at = slot as usize;
        // None: the last words of one that is gone.
        let name = Arc::clone(self.labels.get(at)?.as_ref()?);
        if at >= self.slots.len() {
            self.slots.resize(at + 1, Slot::default());
            self.slots[at].traffic = requests.into();
        }
        let was_folded = self.slots[at].place == FOLDED;
        let known = self.names.get(&name).copied();
        let place = match known {
            Some(place) => Some(place).filter(|place| self.take_back(*place)),
            None => self.enter(Label { name, slot }),
        };
        match (was_folded, place) {
            (true, Some(_)) => self.folded -= 1,
            (false, None) => self.folded += 1,
            _ => {}
        }
        self.slots[at].place = place.unwrap_or(FOLDED);
        place
    }

    /// Where there is room, one that is about to lose its name keeps it. Whether it has it now.
    fn take_back(&mut self, place: u32) -> bool {
        let is_room = self.named.len() < self.most;
        let named = (place as usize).checked_sub(1).and_then(|at| self.named.get_mut(at));
        named.is_some_and(|named| {
            named.leaves &= !is_room;
            !named.leaves
        })
    }

    /// Gives a tenant a name of its own where there is room. One that is called as the others are, or
    /// as those that have ended, is among the others.
    fn enter(&mut self, tenant: Label) -> Option<u32> {
        if self.named.len() >= self.most || is_reserved(&tenant.name) {
            return None;
        }
        let name = Arc::clone(&tenant.name);
        self.named.push(Named { label: tenant, counts: TenantCounts::default(), leaves: false });
        let place = u32::try_from(self.named.len()).ok()?;
        self.names.insert(name, place);
        Some(place)
    }
}

impl TenantCounts {
    fn add(&mut self, pool: PoolName, delta: &TenantDelta) {
        let sums = self.of_pool(pool);
        each_counted(delta.classes, |class, count| sums[class] += u64::from(count));
        self.duration.add(&delta.duration);
        self.bytes_in += delta.bytes_in;
        self.bytes_out += delta.bytes_out;
    }

    fn add_all(&mut self, pool: PoolName, requests: &Requests) {
        add_each(self.of_pool(pool), &requests.classes);
        self.duration.merge(&requests.duration);
        self.bytes_in += requests.bytes_in;
        self.bytes_out += requests.bytes_out;
    }

    /// Whether nothing was counted.
    fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.queue.is_none()
    }

    /// Adds all that another one counted, its pools as one.
    fn fold(&mut self, other: &Self) {
        for ClassCounts { pool, counts } in &other.requests {
            let pool = if *pool == PoolName::None { PoolName::None } else { PoolName::Other };
            add_each(self.of_pool(pool), counts);
        }
        self.duration.merge(&other.duration);
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        if let Some(queue) = &other.queue {
            self.queue.get_or_insert_default().merge(queue);
        }
    }

    fn of_pool(&mut self, pool: PoolName) -> &mut [u64; CLASSES.len()] {
        let at = self.requests.iter().position(|of| of.pool == pool).unwrap_or_else(|| {
            self.requests.push(ClassCounts { pool, counts: [0; CLASSES.len()] });
            self.requests.len() - 1
        });
        &mut self.requests[at].counts
    }
}

impl PoolName {
    /// What stands for the pool of those that have no name of their own.
    pub(super) const OTHER: &str = OTHER;
}

impl Slots {
    /// Whether this one is among them.
    pub fn contains(&self, slot: u32) -> bool {
        let word = self.0.get(slot as usize / 64).copied().unwrap_or_default();
        word >> (slot % 64) & 1 == 1
    }

    /// Takes one in; whether it was not there.
    pub fn insert(&mut self, slot: u32) -> bool {
        let word = slot as usize / 64;
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        let before = self.0[word];
        self.0[word] |= 1 << (slot % 64);
        self.0[word] != before
    }

    /// Takes one out.
    pub fn remove(&mut self, slot: u32) {
        if let Some(word) = self.0.get_mut(slot as usize / 64) {
            *word &= !(1 << (slot % 64));
        }
        while self.0.last() == Some(&0) {
            self.0.pop(); // so that the same numbers are the same words
        }
    }
}

impl FromIterator<u32> for Slots {
    fn from_iter<I: IntoIterator<Item = u32>>(slots: I) -> Self {
        let mut all = Self::default();
        for slot in slots {
            all.insert(slot);
        }
        all
    }
}

/// Whether a name stands for something else than a tenant.
fn is_reserved(name: &str) -> bool {
    name == OTHER || name.starts_with(ENDED)
}

/// Never the place of a name: there are fewer.
const FOLDED: u32 = u32::MAX;
const OTHER: &str = "_other";
const ENDED: &str = "_ended_";

#[cfg(test)]
mod tests;
