//! Sums of tenants: so many under names of their own, the rest together under `_other`. Who was
//! seen first keeps its name until the tenant is gone, so that a series does not come and go.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::model::ids::Label;

use super::delta::TenantCounts;

/// Sums of tenants.
#[derive(Clone, Debug)]
pub(super) struct TenantSums {
    /// How many may have a name.
    most: usize,
    /// By slot: the place in `named` + 1, 0 for one that was not seen, or [`FOLDED`].
    places: Vec<u32>,
    named: Vec<Named>,
    names: HashMap<Arc<str>, u32, RandomState>,
    /// What named no tenant that is known.
    nobody: Option<TenantCounts>,
    others: Option<TenantCounts>,
    /// How many live tenants are among the others.
    folded: usize,
    /// Who is live; `None` where nobody has told.
    live: Option<Slots>,
    /// The name of the others and of their pools.
    other: Label,
}

#[derive(Clone, Debug)]
struct Named {
    label: Label,
    counts: TenantCounts,
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
            named: Vec::new(),
            names: HashMap::default(),
            nobody: None,
            others: None,
            folded: 0,
            live: None,
            other: Label { name: OTHER.into(), slot: u32::MAX },
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

    /// Adds what was counted.
    pub(super) fn merge(&mut self, tenant: Option<&Label>, counts: &TenantCounts) {
        let Some(tenant) = tenant else {
            self.nobody.get_or_insert_default().merge(counts);
            return;
        };
        let named = self.place(tenant).and_then(|place| self.named.get_mut(place as usize - 1));
        match named {
            Some(named) => named.counts.merge(counts),
            // One tenant has few pools, and all others together as many as there are.
            None => self.others.get_or_insert_default().fold(counts, &self.other),
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

    /// The requests of a tenant with a name, and how many of them were answered 5xx.
    pub(super) fn since_start(&self, tenant: &str) -> Option<(u64, u64)> {
        let place = *self.names.get(tenant)? as usize;
        let counts = &self.named.get(place.checked_sub(1)?)?.counts;
        Some(counts.requests().fold((0, 0), |(all, failed), of_pool| {
            (all + of_pool.counts.iter().sum::<u64>(), failed + of_pool.counts[5])
        }))
    }

    /// How many live tenants are among the others.
    pub(super) fn folded(&self) -> usize {
        self.folded
    }

    /// The place of a tenant with a name, counted from 1; `None` for one among the others.
    fn place(&mut self, tenant: &Label) -> Option<u32> {
        match self.places.get(tenant.slot as usize) {
            Some(&FOLDED) if self.named.len() >= self.most => None,
            Some(0 | &FOLDED) | None => self.seek(tenant),
            Some(place) => Some(*place),
        }
    }

    #[cold]
    fn seek(&mut self, tenant: &Label) -> Option<u32> {
        let slot = tenant.slot as usize;
        let known = self.names.get(&tenant.name).copied();
        if known.is_none() && self.live.as_ref().is_some_and(|live| !live.contains(tenant.slot)) {
            return None; // the last words of one that is gone
        }
        if slot >= self.places.len() {
            self.places.resize(slot + 1, 0);
        }
        let was_folded = self.places.get(slot) == Some(&FOLDED);
        let place = known.or_else(|| self.enter(tenant));
        match (was_folded, place) {
            (true, Some(_)) => self.folded -= 1,
            (false, None) => self.folded += 1,
            _ => {}
        }
        if let Some(own) = self.places.get_mut(slot) {
            *own = place.unwrap_or(FOLDED);
        }
        place
    }

    /// Gives a tenant a name of its own where there is room. One that is called as the others are
    /// is among them.
    fn enter(&mut self, tenant: &Label) -> Option<u32> {
        if self.named.len() >= self.most || tenant.name == self.other.name {
            return None;
        }
        self.named.push(Named { label: tenant.clone(), counts: TenantCounts::default() });
        let place = u32::try_from(self.named.len()).ok()?;
        self.names.insert(Arc::clone(&tenant.name), place);
        Some(place)
    }
}

impl Slots {
    fn contains(&self, slot: u32) -> bool {
        let word = self.0.get(slot as usize / 64).copied().unwrap_or_default();
        word >> (slot % 64) & 1 == 1
    }
}

impl FromIterator<u32> for Slots {
    fn from_iter<I: IntoIterator<Item = u32>>(slots: I) -> Self {
        let mut words = Vec::new();
        for slot in slots {
            let word = slot as usize / 64;
            if word >= words.len() {
                words.resize(word + 1, 0);
            }
            words[word] |= 1 << (slot % 64);
        }
        Self(words)
    }
}

/// Never the place of a name: there are fewer.
const FOLDED: u32 = u32::MAX;
const OTHER: &str = "_other";

#[cfg(test)]
mod tests {
    use super::*;

    fn label(slot: u32) -> Label {
        Label { name: format!("t{slot}").into(), slot }
    }

    /// One request of each of these tenants, to a pool of its own.
    fn count(sums: &mut TenantSums, slots: impl IntoIterator<Item = u32>) {
        for slot in slots {
            let mut counts = TenantCounts::default();
            counts.request(Some(&Label { name: format!("p{slot}").into(), slot }), 200);
            counts.request(None, 404);
            sums.merge(Some(&label(slot)), &counts);
        }
    }

    /// The names and how many requests each has.
    fn shown(sums: &TenantSums) -> Vec<(&str, u64)> {
        let total = |counts: &TenantCounts| {
            counts.requests().map(|of_pool| of_pool.counts.iter().sum::<u64>()).sum()
        };
        sums.sorted().map(|(name, counts)| (name, total(counts))).collect()
    }

    #[test]
    fn the_first_that_are_seen_have_names_and_the_rest_are_one() {
        let mut sums = TenantSums::new(2);
        sums.merge(None, &TenantCounts::default());

        count(&mut sums, [5, 1, 3, 4, 3, 1, 5]);

        assert_eq!(shown(&sums), [("", 0), ("_other", 6), ("t1", 4), ("t5", 4)]);
        assert_eq!(sums.folded(), 2);
        let others = sums.others.as_ref().unwrap();
        let pools: Vec<_> =
            others.requests().map(|of| of.pool.as_ref().map(|p| &*p.name)).collect();
        assert_eq!(pools, [Some("_other"), None], "their pools are one, too");
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
        let counts = TenantCounts::default();
        sums.merge(Some(&Label { name: OTHER.into(), slot: 0 }), &counts);
        sums.merge(Some(&label(1)), &counts);

        assert_eq!(shown(&sums), [("_other", 0), ("t1", 0)]);
    }

    #[test]
    fn none_has_a_name_where_none_may() {
        let mut sums = TenantSums::new(0);
        count(&mut sums, 0..5);
        assert_eq!((shown(&sums), sums.folded()), (vec![("_other", 10)], 5));
    }
}
