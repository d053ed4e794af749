//! What a worker counted for each tenant since its last flush.

use std::time::Duration;

use crate::model::ids::Label;

use super::by_slot::{BySlot, Places, index};
use super::delta::{CLASSES, PoolCounts};
use super::histogram::ShortHistogram;

/// Requests of one tenant to one pool. With many tenants in use each line of the caches is a miss,
/// so it has two of them, and in this order: a fast request that went well touches the first alone.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub(super) struct TenantDelta {
    /// The [`index`] of the pool.
    pub(super) pool: u32,
    /// The place + 1 of what this tenant sent to another pool; 0 = it sent nothing to any other.
    next: u32,
    /// By class of status.
    pub(super) requests: [u32; CLASSES.len()],
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) duration: ShortHistogram,
    /// The [`index`] of the tenant.
    pub(super) tenant: u32,
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

    /// Counts one request.
    pub(super) fn request(&mut self, status: u16, duration: Duration, bytes: (u64, u64)) {
        let class = usize::from(status / 100).min(CLASSES.len() - 1);
        self.requests[class] = self.requests[class].saturating_add(1);
        self.duration.observe(duration);
        self.bytes_in += bytes.0;
        self.bytes_out += bytes.1;
    }
}

impl TenantDeltas {
    /// What is counted of this tenant and this pool, which is introduced among `pools`.
    pub(super) fn at(
        &mut self,
        tenant: Option<&Label>,
        pool: Option<&Label>,
        pools: &mut BySlot<PoolCounts>,
    ) -> &mut TenantDelta {
        let wanted = index(pool);
        let mut at = self.places.get(index(tenant));
        while let Some(place) = at
            && self.touched[place].pool != wanted
        {
            at = (self.touched[place].next as usize).checked_sub(1);
        }
        let place = at.unwrap_or_else(|| {
            pools.introduce(pool);
            self.touch(tenant, wanted)
        });
        &mut self.touched[place]
    }

    /// What was touched.
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

    #[cold]
    fn touch(&mut self, tenant: Option<&Label>, pool: u32) -> usize {
        let before = self.places.get(index(tenant)).map_or(0, |place| place + 1);
        let next = u32::try_from(before).unwrap_or(0);
        self.touched.push(TenantDelta { next, ..TenantDelta::of(index(tenant), pool) });
        self.places.set(tenant, self.touched.len() - 1);
        self.touched.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(slot: u32) -> Label {
        Label { name: format!("n{slot}").into(), slot }
    }

    #[test]
    fn a_tenant_takes_two_lines_of_the_caches() {
        assert_eq!((size_of::<TenantDelta>(), align_of::<TenantDelta>()), (128, 64));
    }

    #[test]
    fn pools_of_one_tenant_are_counted_apart() {
        let (mut deltas, mut pools) = (TenantDeltas::default(), BySlot::default());
        for (tenant, pool) in [(0, Some(5)), (0, None), (1, Some(5)), (0, Some(5)), (0, Some(0))] {
            let pool = pool.map(label);
            let at = deltas.at(Some(&label(tenant)), pool.as_ref(), &mut pools);
            at.request(200, Duration::ZERO, (1, 2));
        }

        let mut counted: Vec<_> =
            deltas.iter().map(|of| (of.tenant, of.pool, of.requests[2], of.bytes_out)).collect();
        counted.sort_unstable();
        assert_eq!(counted, [(1, 0, 1, 2), (1, 1, 1, 2), (1, 6, 2, 4), (2, 6, 1, 2)]);
        let names = |labels: &[Label]| labels.iter().map(|label| label.slot).collect::<Vec<_>>();
        assert_eq!((names(deltas.fresh()), names(pools.fresh())), (vec![0, 1], vec![5, 0]));

        drop(deltas.take());
        let again = deltas.at(Some(&label(0)), Some(&label(5)), &mut pools);
        assert_eq!((again.requests, again.next), ([0; 6], 0));
        assert!(deltas.fresh().is_empty(), "they were introduced");
    }
}
