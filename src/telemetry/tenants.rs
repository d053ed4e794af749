//! Sums of tenants: so many under names of their own, the rest together under `_other`. Who was
//! seen first keeps its name until the tenant is gone, so that a series does not come and go.

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
    /// By slot: the place in `named` + 1, 0 for one that was not seen, or [`FOLDED`].
    places: Vec<u32>,
    /// By slot: what workers have told of those that are live.
    labels: Vec<Option<Arc<str>>>,
    named: Vec<Named>,
    names: HashMap<Arc<str>, u32, RandomState>,
    /// What named no tenant that is known.
    nobody: Option<TenantCounts>,
    others: Option<TenantCounts>,
    /// How many live tenants are among the others.
    folded: usize,
    /// Who is live; `None` where nobody has told.
    live: Option<Slots>,
}

#[derive(Clone, Debug)]
struct Named {
    label: Label,
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
            places: Vec::new(),
            labels: Vec::new(),
            named: Vec::new(),
            names: HashMap::default(),
            nobody: None,
            others: None,
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
        for (slot, place) in (0..).zip(&mut self.places) {
            if *place != FOLDED {
                *place = 0; // those that stay get theirs below
            } else if !live.contains(slot) {
                self.folded -= 1;
                *place = 0;
            }
        }
        for (slot, label) in (0..).zip(&mut self.labels) {
            if !live.contains(slot) {
                *label = None;
            }
        }
        self.named.retain(|named| live.contains(named.label.slot));
        self.names.clear();
        for (place, named) in (1..).zip(&self.named) {
            self.names.insert(Arc::clone(&named.label.name), place);
            if let Some(own) = self.places.get_mut(named.label.slot as usize) {
                *own = place;
            }
        }
        self.live = Some(live);
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
                Some(slot) => match (self.place(slot), pool) {
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
            let named = match self.place(*slot) {
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
        sums.sort_unstable_by_key(|(name, _)| *name);
        sums.into_iter()
    }

    /// How many live tenants are among the others.
    pub(super) fn folded(&self) -> usize {
        self.folded
    }

    /// The place of a tenant with a name, counted from 1; `None` for one among the others.
    fn place(&mut self, slot: u32) -> Option<u32> {
        match self.places.get(slot as usize) {
            Some(&FOLDED) if self.named.len() >= self.most => None,
            Some(0 | &FOLDED) | None => self.seek(slot),
            Some(place) => Some(*place),
        }
    }

    #[cold]
    fn seek(&mut self, slot: u32) -> Option<u32> {
        let at = slot as usize;
        // None: the last words of one that is gone.
        let name = Arc::clone(self.labels.get(at)?.as_ref()?);
        if at >= self.places.len() {
            self.places.resize(at + 1, 0);
        }
        let was_folded = self.places[at] == FOLDED;
        let known = self.names.get(&name).copied();
        let place = known.or_else(|| self.enter(Label { name, slot }));
        match (was_folded, place) {
            (true, Some(_)) => self.folded -= 1,
            (false, None) => self.folded += 1,
            _ => {}
        }
        self.places[at] = place.unwrap_or(FOLDED);
        place
    }

    /// Gives a tenant a name of its own where there is room. One that is called as the others are
    /// is among them.
    fn enter(&mut self, tenant: Label) -> Option<u32> {
        if self.named.len() >= self.most || *tenant.name == *OTHER {
            return None;
        }
        let name = Arc::clone(&tenant.name);
        self.named.push(Named { label: tenant, counts: TenantCounts::default() });
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

/// Never the place of a name: there are fewer.
const FOLDED: u32 = u32::MAX;
const OTHER: &str = "_other";

#[cfg(test)]
mod tests {
    use super::super::delta::One;
    use super::*;

    fn label(slot: u32) -> Label {
        Label { name: format!("t{slot}").into(), slot }
    }

    /// One request of each of these tenants to a pool of its own, and one to none.
    fn count(sums: &mut TenantSums, slots: impl IntoIterator<Item = u32>) {
        for slot in slots {
            sums.learn(&[label(slot)]);
            for pool in [PoolName::Place(slot), PoolName::None] {
                merge(sums, pool, slot + 1);
            }
        }
    }

    fn merge(sums: &mut TenantSums, pool: PoolName, tenant: u32) {
        let (mut delta, mut all) = (TenantDelta::of(tenant, 0), Requests::default());
        let one = One::of(200, std::time::Duration::ZERO, (1, 2));
        delta.count(&one);
        all.count(&one);
        sums.merge(&all, std::iter::once((pool, &delta)));
    }

    /// The names and how many requests each has.
    fn shown(sums: &TenantSums) -> Vec<(&str, u64)> {
        let total = |counts: &TenantCounts| {
            counts.requests.iter().map(|of_pool| of_pool.counts.iter().sum::<u64>()).sum()
        };
        sums.sorted().map(|(name, counts)| (name, total(counts))).collect()
    }

    #[test]
    fn the_first_that_are_seen_have_names_and_the_rest_are_one() {
        let mut sums = TenantSums::new(2);
        merge(&mut sums, PoolName::None, 0);

        count(&mut sums, [5, 1, 3, 4, 3, 1, 5]);

        assert_eq!(shown(&sums), [("", 1), ("_other", 6), ("t1", 4), ("t5", 4)]);
        assert_eq!(sums.folded(), 2);
        let others = sums.others.as_ref().unwrap();
        let pools: Vec<_> = others.requests.iter().map(|of| of.pool).collect();
        assert_eq!(pools, [PoolName::Other, PoolName::None], "their pools are one, too");
    }

    #[test]
    fn a_tenant_that_is_gone_leaves_its_name_to_the_next_one_that_is_seen() {
        let mut sums = TenantSums::new(2);
        sums.keep((0..4).collect());
        count(&mut sums, [0, 1, 2, 3]);
        assert_eq!((shown(&sums).len(), sums.folded()), (3, 2));

        sums.keep([1, 2, 3].into_iter().collect());
        count(&mut sums, [3, 2, 1, 0]);

        // Of the one that is gone only its last words came, which nobody is shown by name.
        assert_eq!(shown(&sums), [("_other", 8), ("t1", 4), ("t3", 2)]);
        assert_eq!(sums.folded(), 1);
        sums.keep([1].into_iter().collect());
        assert_eq!((shown(&sums), sums.folded()), (vec![("_other", 8), ("t1", 4)], 0));
    }

    #[test]
    fn what_is_held_does_not_grow_with_who_comes_and_goes() {
        let mut sums = TenantSums::new(10);
        for round in 0..100 {
            let slots = round * 50..round * 50 + 50;
            sums.keep(slots.clone().collect());
            count(&mut sums, slots.clone().rev());
            count(&mut sums, slots);
            assert_eq!((sums.named.len(), sums.names.len(), sums.folded()), (10, 10, 40));
        }
    }

    #[test]
    fn a_name_that_the_others_have_is_no_second_series() {
        let mut sums = TenantSums::new(10);
        sums.learn(&[Label { name: OTHER.into(), slot: 0 }, label(1)]);
        merge(&mut sums, PoolName::None, 1);
        merge(&mut sums, PoolName::None, 2);

        assert_eq!(shown(&sums), [("_other", 1), ("t1", 1)]);
    }

    #[test]
    fn none_has_a_name_where_none_may() {
        let mut sums = TenantSums::new(0);
        count(&mut sums, 0..5);
        assert_eq!((shown(&sums), sums.folded()), (vec![("_other", 10)], 5));
    }
}
