//! What a worker counted for each tenant since its last flush.

use std::hint::black_box;

use crate::model::ids::Label;

use super::by_slot::{Places, index};
use super::delta::One;
use super::histogram::ShortHistogram;

/// At most 255 requests of one tenant to one pool. With many tenants in use each line of the caches
/// is a miss, so it has one of them: hence counts of a byte.
#[derive(Clone, Debug, Default)]
#[repr(align(64))]
pub(super) struct TenantDelta {
    /// The [`index`] of the tenant.
    pub(super) tenant: u32,
    /// The [`index`] of the pool.
    pub(super) pool: u32,
    /// The place + 1 of what this tenant sent to another pool; 0 = it sent nothing to any other.
    next: u32,
    /// Of all classes.
    pub(super) requests: u8,
    /// By class of status; what is left of the word stays 0.
    pub(super) classes: [u8; size_of::<u64>()],
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) duration: ShortHistogram,
}

/// Requests by tenant and pool, of those alone that were touched.
#[derive(Debug, Default)]
pub(super) struct TenantDeltas {
    /// What a tenant sent to the first pool. It leads to the others: a tenant has few, so that
    /// going through them is the fastest way.
    places: Places,
    touched: Vec<TenantDelta>,
}

impl TenantDelta {
    /// Nothing yet, by the numbers of the tenant and the pool.
    pub(super) fn of(tenant: u32, pool: u32) -> Self {
        Self { tenant, pool, ..Self::default() }
    }

    /// Counts one request. There has to be room.
    pub(super) fn count(&mut self, one: &One) {
        debug_assert!(!self.is_full());
        self.requests = self.requests.saturating_add(1);
        self.classes[one.class] = self.classes[one.class].saturating_add(1);
        self.duration.count_one(one.took);
        self.bytes_in += one.bytes_in;
        self.bytes_out += one.bytes_out;
    }

    /// Whether one more might be one too many for a count.
    fn is_full(&self) -> bool {
        self.requests == u8::MAX
    }
}

impl TenantDeltas {
    /// Hears of a tenant that a request is for, which will be counted at its end. With many tenants
    /// in use what counts it is in none of the near caches: it comes while the request is worked on.
    pub(super) fn hear(&mut self, slot: u32, label: impl FnOnce() -> Label) {
        match self.places.get(index(Some(slot))) {
            Some(place) => drop(black_box(self.touched[place].requests)),
            None => self.places.hear(slot, label),
        }
    }

    /// Where one more request of this tenant, which was heard of, and this pool is counted.
    pub(super) fn at(&mut self, tenant: Option<u32>, pool: Option<u32>) -> &mut TenantDelta {
        let (tenant, wanted) = (index(tenant), index(pool));
        let first = self.places.get(tenant);
        let mut at = first;
        while let Some(place) = at
            && self.touched[place].pool != wanted
        {
            at = (self.touched[place].next as usize).checked_sub(1);
        }
        let place = at.unwrap_or_else(|| self.touch(tenant, wanted, first));
        if self.touched[place].is_full() {
            self.set_aside(place);
        }
        &mut self.touched[place]
    }

    /// What was touched: of a tenant and a pool with many requests there are several.
    pub(super) fn iter(&self) -> impl Iterator<Item = &TenantDelta> {
        self.touched.iter()
    }

    /// The names of tenants that the control side has not heard of.
    pub(super) fn fresh(&self) -> &[Label] {
        self.places.fresh()
    }

    /// Whether there is nothing to tell.
    pub(super) fn is_empty(&self) -> bool {
        self.touched.is_empty()
    }

    /// Moves out what was counted; the array that finds it stays.
    pub(super) fn take(&mut self) -> Self {
        for touched in &self.touched {
            self.places.clear(touched.tenant);
        }
        let next = Vec::with_capacity(self.touched.len());
        Self { places: self.places.take(), touched: std::mem::replace(&mut self.touched, next) }
    }

    /// Keeps what is full beside those that are found, and begins anew in its place.
    #[cold]
    fn set_aside(&mut self, place: usize) {
        let TenantDelta { tenant, pool, next, .. } = self.touched[place];
        let anew = TenantDelta { next, ..TenantDelta::of(tenant, pool) };
        let full = std::mem::replace(&mut self.touched[place], anew);
        self.touched.push(full);
    }

    #[cold]
    fn touch(&mut self, tenant: u32, pool: u32, next: Option<usize>) -> usize {
        let next = next.map_or(0, |place| u32::try_from(place + 1).unwrap_or(0));
        self.touched.push(TenantDelta { next, ..TenantDelta::of(tenant, pool) });
        self.places.set(tenant, self.touched.len() - 1);
        self.touched.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn label(slot: u32) -> Label {
        Label { name: format!("n{slot}").into(), slot }
    }

    fn one(status: u16) -> One {
        One::of(status, Duration::ZERO, (1, 2))
    }

    #[test]
    fn a_tenant_takes_one_line_of_the_caches() {
        assert_eq!((size_of::<TenantDelta>(), align_of::<TenantDelta>()), (64, 64));
    }

    #[test]
    fn pools_of_one_tenant_are_counted_apart() {
        let mut deltas = TenantDeltas::default();
        for (tenant, pool) in [(0, Some(5)), (0, None), (1, Some(5)), (0, Some(5)), (0, Some(0))] {
            deltas.hear(tenant, || label(tenant));
            deltas.at(Some(tenant), pool).count(&one(200));
        }

        let mut counted: Vec<_> =
            deltas.iter().map(|of| (of.tenant, of.pool, of.classes[2], of.bytes_out)).collect();
        counted.sort_unstable();
        assert_eq!(counted, [(1, 0, 1, 2), (1, 1, 1, 2), (1, 6, 2, 4), (2, 6, 1, 2)]);
        let names: Vec<u32> = deltas.fresh().iter().map(|label| label.slot).collect();
        assert_eq!(names, [0, 1]);

        drop(deltas.take());
        deltas.hear(0, || label(0));
        let again = deltas.at(Some(0), Some(5));
        assert_eq!((again.requests, again.next), (0, 0));
        assert!(deltas.fresh().is_empty(), "they were introduced");
    }

    #[test]
    fn of_many_requests_none_is_lost() {
        let mut deltas = TenantDeltas::default();
        for flush in 1..3 {
            for number in 0..2000 {
                let (tenant, pool) = (number % 3, number % 5 / 3);
                let status = if number % 2 == 0 { 200 } else { 503 };
                deltas.at(Some(tenant), Some(pool)).count(&one(status));
            }
            deltas.at(Some(7), None).count(&one(0));

            let taken = deltas.take();
            let of = |tenant, pool| {
                taken.iter().filter(move |of| (of.tenant, of.pool) == (tenant, pool))
            };
            let mut all = 0;
            for (tenant, pool) in (1..=3).flat_map(|tenant| [(tenant, 1), (tenant, 2)]) {
                let sum = |count: fn(&TenantDelta) -> u64| of(tenant, pool).map(count).sum::<u64>();
                let requests = sum(|of| of.requests.into());
                assert_eq!(of(tenant, pool).count() as u64, requests.div_ceil(u8::MAX.into()));
                assert_eq!(sum(|of| of.classes.map(u64::from).iter().sum()), requests);
                assert_eq!(
                    (sum(|of| of.bytes_in), sum(|of| of.bytes_out)),
                    (requests, 2 * requests)
                );
                all += requests;
            }
            assert_eq!((all, of(8, 0).count()), (2000, 1), "flush {flush}");
        }
    }
}
