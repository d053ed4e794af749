//! The endpoints that a pick may take, with what balancers want to know of them together.

use std::sync::Arc;

use crate::model::endpoint::Endpoint;

/// The endpoints that the next pick may take.
#[derive(Debug, Default)]
pub struct Eligible {
    /// In the order of their addresses.
    pub endpoints: Box<[Arc<Endpoint>]>,
    /// The weight of each, beside the others' here: it is not as it was written where groups, zones or
    /// a slow start divide the traffic further.
    pub weights: Box<[u32]>,
    /// Running sums of the weights where they differ; `None` where all are equal.
    pub cumulative: Option<Box<[u64]>>,
    /// Grows with each change, so that what was derived from an older one can be told. No two sets of a
    /// pool have the same, be it of all its endpoints or of a part of them, so that what was derived
    /// from one is never taken for another's.
    pub version: u64,
    /// Too few are healthy: all are used rather than none.
    pub panicking: bool,
    /// Those that come back from an ejection, and get one request at a time beside the others. Nothing is
    /// derived from them, so that they may change while the version stays.
    pub on_trial: Box<[Arc<Endpoint>]>,
    /// All members of the priorities that serve, whatever their health.
    pub cohort: Cohort,
    /// How much of each one's weight as it is written counts now, in hundredths, beside the one of which most does: with all
    /// of it that is a hundred times its weight, whoever else warms up or stands in. `None` = `weights` are as written.
    pub counted: Option<Box<[u64]>>,
}

/// What the weights of some members come to, as they are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Cohort {
    /// The largest one.
    pub heaviest: u32,
    /// Their sum.
    pub weight: u64,
    /// How many there are.
    pub count: u64,
}

impl Cohort {
    /// Of these weights.
    pub fn of(weights: impl Iterator<Item = u32>) -> Self {
        weights.fold(Self::default(), |all, weight| Self {
            heaviest: all.heaviest.max(weight),
            weight: all.weight + u64::from(weight),
            count: all.count + 1,
        })
    }
}

impl Eligible {
    /// These endpoints, in the order of their addresses, and the weight of each.
    pub(super) fn of(
        endpoints: Box<[Arc<Endpoint>]>,
        weights: Box<[u32]>,
        version: u64,
        panicking: bool,
    ) -> Self {
        let cumulative = running_sums(&weights);
        let (on_trial, cohort, counted) = Default::default();
        Self { endpoints, weights, cumulative, version, panicking, on_trial, cohort, counted }
    }

    /// How much of the weight at this place counts, in hundredths of what is written.
    pub fn counted(&self, place: usize) -> u64 {
        let counted = self.counted.as_ref().and_then(|counted| counted.get(place).copied());
        let as_written = || self.weights.get(place).map_or(0, |weight| u64::from(*weight) * 100);
        counted.unwrap_or_else(as_written)
    }

    /// The `nth` part of these, for some of the pool's requests: the endpoints at these places, in their
    /// order, with weights of their own, and nobody on trial. Its version is of this part of this version
    /// alone.
    #[must_use]
    pub fn part(&self, nth: usize, places: &[(usize, u32)]) -> Self {
        let endpoint = |(place, _): &(usize, u32)| self.endpoints.get(*place).map(Arc::clone);
        let endpoints = places.iter().filter_map(endpoint).collect();
        let weights = places.iter().map(|(_, weight)| *weight).collect();
        let version = self.version + 1 + nth as u64 % (VERSIONS - 1);
        // Of weights of its own nothing more is known.
        let is_same = |(place, weight): &(usize, u32)| self.weights.get(*place) == Some(weight);
        let counted = self.counted.as_ref().filter(|_| places.iter().all(is_same));
        let counted =
            counted.map(|_| places.iter().map(|(place, _)| self.counted(*place)).collect());
        Self { counted, ..Self::of(endpoints, weights, version, self.panicking) }
    }

    /// The place of an endpoint among these.
    pub fn place_of(&self, endpoint: &Endpoint) -> Option<usize> {
        let found =
            self.endpoints.binary_search_by(|one| one.address.cmp(&endpoint.address)).ok()?;
        self.endpoints.get(found).is_some_and(|one| one.id == endpoint.id).then_some(found)
    }
}

/// How much of each weight counts, in hundredths: of a weight as it is written and as it is now, each. `None` where all are
/// as written.
pub(super) fn counted(weights: impl Iterator<Item = (u32, u32)> + Clone) -> Option<Box<[u64]>> {
    if weights.clone().all(|(written, now)| written == now) {
        return None;
    }
    let wide = |(written, now): (u32, u32)| (u128::from(written.max(1)), u128::from(now));
    // Of whom the largest part of its weight counts: all of it, be that a half of what it is for others.
    let more = |one: &(u128, u128), other: &(u128, u128)| (one.1 * other.0).cmp(&(other.1 * one.0));
    let (whole, now) = weights.clone().map(wide).max_by(more).unwrap_or((1, 1));
    let hundredths = |(_, own): (u128, u128)| (200 * own * whole + now) / (2 * now.max(1));
    let counted =
        weights.map(wide).map(hundredths).map(|own| u64::try_from(own).unwrap_or(u64::MAX).max(1));
    Some(counted.collect())
}

fn running_sums(weights: &[u32]) -> Option<Box<[u64]>> {
    let first = weights.first()?;
    if weights.iter().all(|weight| weight == first) {
        return None;
    }
    let mut sum = 0u64;
    Some(
        weights
            .iter()
            .map(|weight| {
                sum += u64::from(*weight);
                sum
            })
            .collect(),
    )
}

/// 8,192: a set of all eligible endpoints has a version of which this is a divisor, and its parts have
/// those up to the next one.
pub(super) const VERSIONS: u64 = 8192;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::endpoint::Health;
    use crate::model::members::{Found, Members};

    #[test]
    fn sums_are_kept_only_where_weights_differ() {
        assert_eq!(running_sums(&[2, 2]), None);
        assert_eq!(running_sums(&[1, 3, 2]).as_deref(), Some(&[1, 4, 6][..]));
    }

    #[test]
    fn of_each_weight_as_much_counts_as_of_the_others_that_are_warm() {
        let counted = |weights: &[(u32, u32)]| super::counted(weights.iter().copied());
        assert_eq!(counted(&[(3, 3), (1, 1)]), None);
        assert_eq!(counted(&[(1, 20), (1, 3), (2, 40)]).unwrap()[..], [100, 15, 200]);
        assert_eq!(counted(&[(2, 1), (2, 1)]).unwrap()[..], [200, 200], "in lowest terms");
        assert_eq!(counted(&[(1, 1), (1, 1000)]).unwrap()[0], 1, "nobody has nothing");
        let most = u32::MAX;
        assert_eq!(counted(&[(most, most), (most, 1)]).unwrap()[1], 100);
        assert_eq!(counted(&[(1, most), (most, most)]).unwrap()[1], 100);
    }

    #[test]
    fn in_a_part_as_much_of_each_weight_counts_as_among_all() {
        let members = Members::new(1, Health::Unchecked, 0.5);
        let found = |host| Found::new(([10, 0, 0, host], 80), "test");
        members.replace(&(0..3).map(found).collect::<Vec<_>>());
        let endpoints = members.load().eligible.endpoints.clone();
        let mut all = Eligible::of(endpoints, [20, 20, 3].into(), VERSIONS, false);
        all.counted = Some([100, 100, 15].into());

        let part = all.part(0, &[(0, 20), (2, 3)]);
        assert_eq!([part.counted(0), part.counted(1)], [100, 15]);
        let other = all.part(0, &[(0, 20), (2, 4)]);
        assert_eq!([other.counted(0), other.counted(1)], [2000, 400], "it has weights of its own");
    }

    /// What a balancer works out of one set, and keeps by its version, is never taken for another's.
    #[test]
    fn no_two_sets_of_a_pool_have_the_same_version() {
        let members = Members::new(1, Health::Unchecked, 0.5);
        let mut seen = BTreeSet::new();
        for count in 1..20u8 {
            let found = |host| Found::new(([10, 0, 0, host], 80), "test");
            members.replace(&(0..count).map(found).collect::<Vec<_>>());
            let set = members.load();

            assert!(seen.insert(set.eligible.version));
            for nth in [0, 1, 77, 4095] {
                let part = set.eligible.part(nth, &[(0, 1)]);
                assert!(seen.insert(part.version), "part {nth} of {count}");
                assert_eq!(part.version, set.eligible.part(nth, &[(0, 1)]).version);
            }
        }
    }
}
