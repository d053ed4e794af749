//! What the attempts at an endpoint say of it, for who compares endpoints: how many were served, whose
//! failed, and how long they took by kind. Counted by each worker by itself, summed on the control side
//! until somebody takes it.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::model::ids::EndpointId;

use super::delta::{AttemptOutcome, Delta, EndpointCounts};

/// What was seen of an endpoint since it was looked at before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sighting {
    /// Attempts that were answered, and not with a 5xx.
    pub served: u64,
    /// Attempts that say that it does not work.
    pub failed: u64,
    /// Of those that may be the request's own fault, how many were of which tenant, by its place. Of more than
    /// [`TENANTS`] tenants, one with less than its share may be missing, and its failures count for others.
    pub by_tenant: Vec<(u32, u64)>,
    /// How long they took, where somebody asks.
    pub times: Times,
}

/// How long attempts took, by kinds of requests that are alike.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Times(BTreeMap<u8, Box<[u32; MARKS]>>);

/// What a worker has seen of an endpoint since its last flush. Boxed there: most endpoints are well, and nobody asks how
/// fast they are.
#[derive(Clone, Debug, Default)]
pub(super) struct Sighted {
    failed: u64,
    /// Attempts that were answered and count as served nowhere here: copies of requests, of which nothing counts, and calls of
    /// gRPC whose answers say that they failed.
    unserved: u64,
    by_tenant: Vec<(u32, u64)>,
    times: Times,
}

/// The sums of what all workers have seen.
#[derive(Debug, Default)]
pub(super) struct Sightings(HashMap<EndpointId, Sighting>);

impl Sighted {
    /// An attempt has failed, of the tenant at this place where its request may be to blame.
    pub(super) fn fails(&mut self, tenant: Option<u32>) {
        self.failed += 1;
        if let Some(tenant) = tenant {
            add(&mut self.by_tenant, tenant, 1);
        }
    }

    /// One that was answered was not served: it is the copy of a request, or a call of gRPC that has failed.
    pub(super) fn answers_in_vain(&mut self) {
        self.unserved += 1;
    }

    /// An attempt with a request of this kind took so long.
    pub(super) fn takes(&mut self, kind: u8, time: Duration) {
        self.times.add(kind, time);
    }
}

impl Sightings {
    /// Adds what a worker has seen.
    pub(super) fn add(&mut self, delta: &Delta) {
        for (endpoint, counts) in &delta.endpoints {
            self.0.entry(*endpoint).or_default().add(counts);
        }
    }

    /// Moves out what was seen.
    pub(super) fn take(&mut self) -> HashMap<EndpointId, Sighting> {
        std::mem::take(&mut self.0)
    }
}

impl Sighting {
    fn add(&mut self, counts: &EndpointCounts) {
        let served = AttemptOutcome::ALL.into_iter().filter(|outcome| outcome.is_served());
        let served: u64 = served.map(|outcome| counts.outcomes[outcome as usize]).sum();
        let unserved = counts.sighted.as_ref().map_or(0, |sighted| sighted.unserved);
        self.served += served.saturating_sub(unserved);
        if let Some(sighted) = &counts.sighted {
            self.failed += sighted.failed;
            for (tenant, count) in &sighted.by_tenant {
                add(&mut self.by_tenant, *tenant, *count);
            }
            self.times.merge(&sighted.times);
        }
    }

    /// Adds what was seen of the same endpoint.
    pub fn merge(&mut self, other: &Self) {
        self.served += other.served;
        self.failed += other.failed;
        for (tenant, count) in &other.by_tenant {
            add(&mut self.by_tenant, *tenant, *count);
        }
        self.times.merge(&other.times);
    }

    /// Attempts in all.
    pub fn attempts(&self) -> u64 {
        self.served + self.failed
    }
}

impl Times {
    /// Counts one of a kind.
    pub fn add(&mut self, kind: u8, time: Duration) {
        let counts = self.0.entry(kind % KINDS).or_insert_with(|| Box::new([0; MARKS]));
        let mark = mark(time);
        counts[mark] = counts[mark].saturating_add(1);
    }

    fn merge(&mut self, other: &Self) {
        for (kind, more) in &other.0 {
            let counts = self.0.entry(*kind).or_insert_with(|| Box::new([0; MARKS]));
            for (count, more) in counts.iter_mut().zip(more.iter()) {
                *count = count.saturating_add(*more);
            }
        }
    }

    /// The kinds, with how many there were of each and the median of how long those took.
    pub fn kinds(&self) -> impl Iterator<Item = (u8, u64, Duration)> {
        self.0.iter().filter_map(|(kind, counts)| {
            let all: u64 = counts.iter().map(|count| u64::from(*count)).sum();
            let mut below = 0;
            let middle = counts.iter().position(|count| {
                below += u64::from(*count);
                2 * below >= all
            });
            Some((*kind, all, from(middle?))).filter(|(_, all, _)| *all > 0)
        })
    }
}

/// The kind of requests of this tenant to the route of this name: those of one kind take about as long, whoever else is
/// of it.
pub fn kind(tenant: u32, route: &str) -> u8 {
    let mixed = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    let hash = route.bytes().fold(tenant.wrapping_mul(0x9E37_79B9), mixed);
    (hash >> 24) as u8 % KINDS
}

/// The place of a time among the counts: two to each doubling, from 1 µs on.
fn mark(time: Duration) -> usize {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1);
    let doublings = micros.ilog2();
    let half = micros >> doublings.saturating_sub(1) & 1;
    let half = if doublings == 0 { 0 } else { half };
    (2 * doublings as usize + usize::from(half == 1)).min(MARKS - 1)
}

/// The least time at a place.
fn from(mark: usize) -> Duration {
    let doubled = 1_u64 << (mark / 2);
    Duration::from_micros(if mark % 2 == 1 { doubled + doubled / 2 } else { doubled })
}

fn add(counts: &mut Vec<(u32, u64)>, tenant: u32, count: u64) {
    if let Some((_, sum)) = counts.iter_mut().find(|(known, _)| *known == tenant) {
        *sum += count;
    } else if counts.len() < TENANTS {
        counts.push((tenant, count));
    } else if let Some(least) = counts.iter_mut().min_by_key(|(_, sum)| *sum) {
        // Space-Saving (Metwally, Agrawal, El Abbadi): who has more than a share of all stays, whoever came first.
        *least = (tenant, least.1 + count);
    }
}

/// 16: a tenant's failures are known within a sixteenth of all.
pub const TENANTS: usize = 16;
/// 16 kinds: where two routes share one, their requests are compared as a mixture.
const KINDS: u8 = 16;
/// Up to 2 minutes; what takes longer counts as that.
const MARKS: usize = 54;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::model::endpoint::{Endpoint, Health};
    use crate::model::ids::Label;

    use super::*;

    #[test]
    fn the_tenant_with_most_failures_is_known_though_many_others_came_before_it() {
        let mut sighted = Sighted::default();
        for tenant in 0..16 {
            sighted.fails(Some(tenant));
        }
        for _ in 0..1000 {
            sighted.fails(Some(99));
        }
        sighted.fails(None);
        assert_eq!((sighted.failed, sighted.by_tenant.len()), (1017, TENANTS));
        assert!(sighted.by_tenant.contains(&(99, 1001)), "{:?}", sighted.by_tenant);

        let few = (0..16).map(|tenant| (tenant, 2)).collect();
        let mut sum = Sighting { failed: 32, by_tenant: few, ..Sighting::default() };
        sum.merge(&Sighting { failed: 100, by_tenant: vec![(99, 100)], ..Sighting::default() });
        assert!(sum.by_tenant.contains(&(99, 102)), "{:?}", sum.by_tenant);
    }

    #[test]
    fn copies_of_requests_that_are_served_hide_no_failure_of_others() {
        let pool = Label { name: "shop".into(), slot: 0 };
        let endpoint = Endpoint::new(EndpointId(1), ([10, 0, 0, 1], 80).into(), Health::Up);
        let mut delta = Delta::default();
        let counts = delta.endpoint(&pool, &endpoint);
        counts.outcomes[AttemptOutcome::Success as usize] = 10;
        let sighted = counts.sighted.get_or_insert_default();
        (0..9).for_each(|_| sighted.answers_in_vain());
        sighted.fails(Some(1));
        let mut all = Sightings::default();

        all.add(&delta);

        let seen = all.take().remove(&endpoint.id).unwrap();
        assert_eq!((seen.served, seen.failed), (1, 1));
    }

    #[test]
    fn the_median_is_that_of_each_kind() {
        let mut times = Times::default();
        for millis in [1, 1, 100, 100, 100] {
            times.add(1, Duration::from_millis(millis));
        }
        times.add(2, Duration::from_millis(1));
        let kinds: Vec<_> = times.kinds().collect();
        assert_eq!(
            kinds.iter().map(|(kind, all, _)| (*kind, *all)).collect::<Vec<_>>(),
            [(1, 5), (2, 1)]
        );
        assert!(kinds[0].2 > Duration::from_millis(60) && kinds[0].2 <= Duration::from_millis(100));
        assert!(kinds[1].2 <= Duration::from_millis(1));
    }

    proptest! {
        /// No failure is lost or counted twice, and who has more than a sixteenth of them is known.
        #[test]
        fn a_tenants_failures_are_known_within_a_sixteenth(
            tenants in prop::collection::vec(0_u32..40, 0..600),
        ) {
            let mut sighted = Sighted::default();
            for tenant in &tenants {
                sighted.fails(Some(*tenant));
            }
            let all = tenants.len() as u64;
            prop_assert_eq!(sighted.by_tenant.iter().map(|(_, count)| count).sum::<u64>(), all);
            for tenant in 0..40 {
                let own = tenants.iter().filter(|one| **one == tenant).count() as u64;
                let told = sighted.by_tenant.iter().find(|(known, _)| *known == tenant);
                prop_assert!(told.is_some() || own <= all / 16);
                prop_assert!(told.is_none_or(|(_, told)| (own..=own + all / 16).contains(told)));
            }
        }

        #[test]
        fn a_time_is_told_within_a_half(micros in 1_u64..134_000_000) {
            let time = Duration::from_micros(micros);
            let least = from(mark(time));
            prop_assert!(least <= time && time < least * 2, "{least:?} {time:?}");
            prop_assert!(mark(time) < MARKS - 1 || micros > 60_000_000);
        }

        #[test]
        fn nothing_is_too_long(time in any::<Duration>(), route in "\\PC*", tenant: u32) {
            prop_assert!(mark(time) < MARKS);
            prop_assert!(kind(tenant, &route) < KINDS);
        }
    }
}
