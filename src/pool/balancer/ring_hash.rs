//! Ring hash with bounded load: each endpoint has points on a ring, as many as its weight says, and a key
//! goes to the endpoint of the next point on from its hash. One that comes or goes moves the keys of its
//! own points alone. Whoever has 1.25 times its share of the requests in flight is passed over, so that
//! a key that everybody asks for spreads to the next endpoints (Mirrokni, Thorup, Zadimoghaddam:
//! "Consistent Hashing with Bounded Loads").

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicUsize, Ordering};

use crate::model::endpoint::Endpoint;
use crate::model::members::{Cohort, Eligible};
use crate::pool::hash::{hash, mixed};

use super::homes::{Homes, Placed};
use super::least_request::pick_less_busy;
use super::{Balancer, Kind, PickKey};

pub(super) const KIND: Kind = Kind {
    name: "ring-hash",
    about: "equal keys to one endpoint, by a ring, but none gets over 1.25 times its share",
    build,
};

#[derive(Default)]
struct RingHash {
    ring: Homes<Ring>,
}

impl Balancer for RingHash {
    fn pick<'a>(&self, eligible: &'a Eligible) -> Option<&'a Arc<Endpoint>> {
        pick_less_busy(eligible)
    }

    fn pick_for<'a>(&self, eligible: &'a Eligible, key: PickKey) -> Option<&'a Arc<Endpoint>> {
        let Some(hash) = key.hash() else { return self.pick(eligible) };
        let found = self.ring.ask(eligible, Ring::of, |ring, placed| ring.find(placed, hash));
        found.or_else(|| self.pick(eligible))
    }

    fn prepare(&self, eligible: &Eligible) -> bool {
        self.ring.prepare(eligible, Ring::of)
    }

    fn is_keyed(&self) -> bool {
        true
    }
}

/// The ring of one set of endpoints.
#[derive(Debug)]
struct Ring {
    /// In their order: the upper bits of each are its place on the ring, the lower ones its endpoint's
    /// among the eligible.
    points: Box<[u64]>,
    load: Load,
    weights: Box<[u32]>,
    total: u64,
}

impl Ring {
    fn of(eligible: &Eligible) -> Self {
        let mut points = Vec::new();
        // With so many endpoints that no ring is small enough there is none.
        if let Some(shift) = shift(eligible) {
            for (place, endpoint) in eligible.endpoints.iter().enumerate() {
                let hash = hash(&endpoint.label);
                let own =
                    (0..count(eligible.counted(place), shift)).map(|nth| mixed(hash, nth) & !PLACE);
                points.extend(own.map(|point| point | place as u64));
            }
            points.sort_unstable();
        }
        Self {
            points: points.into(),
            load: Load::of(eligible),
            weights: eligible.weights.clone(),
            total: eligible.weights.iter().copied().map(u64::from).sum(),
        }
    }

    /// The endpoint that a key of this hash goes to; `None` where all that were looked at have their
    /// share.
    fn find<'a>(&self, placed: &Placed<'_, 'a>, hash: u64) -> Option<&'a Arc<Endpoint>> {
        let all = self.load.look(placed) + 1; // with this one
        let start = self.points.partition_point(|point| *point < hash & !PLACE);
        let (before, from) = self.points.split_at_checked(start)?;
        let near = from.iter().chain(before).take(FARTHEST);
        let mut places = near.map(|point| (point & PLACE) as usize);
        let (place, endpoint) = places.find_map(|place| {
            let endpoint = placed.endpoint(place)?;
            let weight = self.weights.get(place).copied().unwrap_or(0);
            let in_flight = self.load.note(place, endpoint);
            // in_flight < 5/4 · all · weight/total
            let has = 4 * u128::from(in_flight) * u128::from(self.total);
            let has_room = has < 5 * u128::from(all) * u128::from(weight);
            has_room.then_some((place, endpoint))
        })?;
        self.load.enter(place);
        Some(endpoint)
    }
}

/// The scale of the points: by all endpoints of the same priority as they are written, whatever their health and however far
/// they have come, so that one that goes down, is back or warms up moves no point of another one. `None` where no ring is small
/// enough.
fn shift(eligible: &Eligible) -> Option<i32> {
    let counted = (0..eligible.endpoints.len()).map(|place| eligible.counted(place).div_ceil(100));
    let own = Cohort::of(counted.map(|weight| u32::try_from(weight).unwrap_or(u32::MAX)));
    let cohort = &eligible.cohort;
    let heaviest = cohort.heaviest.max(own.heaviest);
    let total = |shift: i32| {
        let (weight, count) = (cohort.weight.max(own.weight), cohort.count.max(own.count));
        // No less than the sum of all counts.
        if shift < 0 { (weight >> shift.unsigned_abs()) + count } else { weight << shift }
    };
    let points = |shift: i32| count(u64::from(heaviest) * 100, shift);
    let enough = (-31..=8).find(|shift| points(*shift) >= ENOUGH).unwrap_or(8);
    (-31..=enough).rev().find(|shift| total(*shift) <= MOST)
}

/// How many points an endpoint has of whose weight so many hundredths count. The scale is a power of two, so that an endpoint
/// that joins or leaves seldom changes it.
fn count(counted: u64, shift: i32) -> u64 {
    let scaled = if shift < 0 { counted >> shift.unsigned_abs() } else { counted << shift };
    (scaled / 100).max(counted.min(1))
}

/// How many requests are in flight at all endpoints together, without a look at all for each request: a
/// request looks at one in turn and at those that it may go to.
#[derive(Debug)]
struct Load {
    seen: Box<[AtomicU32]>,
    /// Of all that is seen.
    sum: AtomicI64,
    turn: AtomicUsize,
}

impl Load {
    fn of(eligible: &Eligible) -> Self {
        let seen: Box<[AtomicU32]> =
            eligible.endpoints.iter().map(|endpoint| endpoint.in_flight().into()).collect();
        let sum = eligible.endpoints.iter().map(|endpoint| i64::from(endpoint.in_flight())).sum();
        Self { seen, sum: AtomicI64::new(sum), turn: AtomicUsize::new(0) }
    }

    /// Looks at the next one in turn, and tells the sum.
    fn look(&self, placed: &Placed<'_, '_>) -> u64 {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        if let Some(place) = turn.checked_rem(self.seen.len()) {
            match placed.endpoint(place) {
                Some(endpoint) => {
                    self.note(place, endpoint);
                }
                None => self.forget(place),
            }
        }
        u64::try_from(self.sum.load(Ordering::Relaxed)).unwrap_or(0)
    }

    fn note(&self, place: usize, endpoint: &Endpoint) -> u32 {
        let now = endpoint.in_flight();
        if let Some(seen) = self.seen.get(place)
            && seen.load(Ordering::Relaxed) != now
        {
            let before = seen.swap(now, Ordering::Relaxed);
            self.sum.fetch_add(i64::from(now) - i64::from(before), Ordering::Relaxed);
        }
        now
    }

    /// It is out: what is in flight there is no part of the others' share.
    fn forget(&self, place: usize) {
        if let Some(seen) = self.seen.get(place) {
            let before = seen.swap(0, Ordering::Relaxed);
            self.sum.fetch_sub(i64::from(before), Ordering::Relaxed);
        }
    }

    /// The request is about to be in flight there, unless it is asked for again.
    fn enter(&self, place: usize) {
        if let Some(seen) = self.seen.get(place) {
            seen.fetch_add(1, Ordering::Relaxed);
            self.sum.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn build() -> Arc<dyn Balancer> {
    Arc::new(RingHash::default())
}

/// 256 to 511 points for the heaviest endpoint: shares of equal weights differ by about a
/// sixteenth. What that leaves uneven the bound evens out under load.
const ENOUGH: u64 = 256;
/// 512 KiB. Beyond 256 endpoints each has fewer points.
const MOST: u64 = 1 << 16;
/// The lower 16 bits of a point.
const PLACE: u64 = (1 << 16) - 1;
/// 256 points, far more than a request looks at before it finds who has room: then the figures are out
/// of date, and any endpoint is as good.
const FARTHEST: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_follow_weights_and_nobody_with_a_weight_has_none() {
        assert_eq!([0, 1, 3, 1000].map(|weight| count(100 * weight, -2)), [0, 1, 1, 250]);
        assert_eq!([0, 1, 3].map(|weight| count(100 * weight, 8)), [0, 256, 768]);
        assert_eq!([1, 15, 40].map(|counted| count(counted, 8)), [2, 38, 102], "not all of it");
        assert_eq!(count(u64::from(u32::MAX) * 100, 8), u64::from(u32::MAX) << 8);
    }
}
