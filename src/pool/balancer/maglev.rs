//! Maglev: a table of 65,537 entries in which each endpoint has as many as its weight says; a key goes to
//! the endpoint of its hash's entry. Shares are even to a fraction of a percent, one endpoint that goes
//! moves few keys of the others, and a look-up is one look (Eisenbud and others: "Maglev: A Fast and
//! Reliable Software Network Load Balancer", section 3.4).

use std::sync::Arc;

use crate::model::endpoint::Endpoint;
use crate::model::members::Eligible;
use crate::pool::hash::{hash, mixed, scaled};

use super::homes::Homes;
use super::least_request::pick_less_busy;
use super::{Balancer, Kind, PickKey};

pub(super) const KIND: Kind = Kind {
    name: "maglev",
    about: "equal keys to one endpoint, by a table, in shares that are exact",
    build,
};

#[derive(Default)]
struct Maglev {
    entries: Homes<Entries>,
}

impl Balancer for Maglev {
    fn pick<'a>(&self, eligible: &'a Eligible) -> Option<&'a Arc<Endpoint>> {
        pick_less_busy(eligible)
    }

    fn pick_for<'a>(&self, eligible: &'a Eligible, key: PickKey) -> Option<&'a Arc<Endpoint>> {
        let Some(hash) = key.hash() else { return self.pick(eligible) };
        let found = self.entries.ask(eligible, Entries::of, |entries, placed| {
            // More than the first where the table is one of before, and its endpoint is out.
            let mut hashes = [hash].into_iter().chain((1..=FURTHER).map(|nth| mixed(hash, nth)));
            hashes.find_map(|hash| placed.endpoint(entries.place(hash)?))
        });
        found.or_else(|| self.pick(eligible))
    }

    fn prepare(&self, eligible: &Eligible) -> bool {
        self.entries.prepare(eligible, Entries::of)
    }

    fn is_keyed(&self) -> bool {
        true
    }
}

/// Places of endpoints. There is one table for each pool, so it is no larger than it must be.
#[derive(Debug)]
enum Entries {
    /// Of up to 256 endpoints.
    Few(Box<[u8]>),
    Many(Box<[u16]>),
}

impl Entries {
    fn of(eligible: &Eligible) -> Self {
        let entries = filled(eligible);
        let few: Result<Box<[u8]>, _> = entries.iter().map(|place| u8::try_from(*place)).collect();
        few.map_or(Self::Many(entries.into()), Self::Few)
    }

    /// `None` where there is no table.
    fn place(&self, hash: u64) -> Option<usize> {
        let at = scaled(hash, SIZE);
        match self {
            Self::Few(entries) => entries.get(at).copied().map(usize::from),
            Self::Many(entries) => entries.get(at).copied().map(usize::from),
        }
    }
}

/// The table: endpoints take free entries in turn, each in an order of its own. Empty where there are more
/// endpoints than entries, or none has a weight.
fn filled(eligible: &Eligible) -> Vec<u16> {
    let mut free = SIZE;
    let turns = turns(&eligible.weights);
    if turns.len() < free {
        return Vec::new();
    }
    let mut orders: Vec<Order> =
        eligible.endpoints.iter().map(|endpoint| Order::of(&endpoint.label)).collect();
    let mut entries = vec![FREE; SIZE];
    for place in turns {
        let Some(order) = orders.get_mut(usize::from(place)) else { continue };
        while let Some(entry) = entries.get_mut(order.next()) {
            if *entry == FREE {
                *entry = place;
                free -= 1;
                break;
            }
        }
        if free == 0 {
            break;
        }
    }
    entries
}

/// Whose turn it is, at least once for each entry: the n-th turn of each comes when n/weight of the time
/// is over. Sorted rather than played round by round, since rounds in which a light endpoint has no turn
/// take as long as others.
fn turns(weights: &[u32]) -> Vec<u16> {
    if weights.len() >= usize::from(FREE) {
        return Vec::new();
    }
    let total: f64 = weights.iter().copied().map(f64::from).sum();
    let mut turns = Vec::with_capacity(SIZE + weights.len());
    for (place, weight) in weights.iter().enumerate().filter(|(_, weight)| **weight > 0) {
        let pace = total / f64::from(*weight); // entries between two turns
        let count = (SIZE as f64 / pace).ceil() as u64;
        turns.extend((1..=count).map(|nth| {
            // Who has a weight has an entry, so its first turn comes in time. Whoever comes after the last
            // entry is taken is as late as anybody.
            let last = if nth == 1 { SIZE as f64 / 2.0 } else { 2.0 * SIZE as f64 };
            let time = (nth as f64 * pace).min(last) * PARTS;
            (time as u64) << 16 | place as u64
        }));
    }
    turns.sort_unstable();
    turns.into_iter().map(|turn| turn as u16).collect()
}

/// The order in which an endpoint takes entries: all of them, as the size is a prime number.
struct Order {
    at: usize,
    step: usize,
}

impl Order {
    fn of(label: &str) -> Self {
        let hash = hash(label);
        Self { at: scaled(mixed(hash, 1), SIZE), step: 1 + scaled(mixed(hash, 2), SIZE - 1) }
    }

    fn next(&mut self) -> usize {
        let at = self.at;
        let next = at + self.step;
        self.at = if next < SIZE { next } else { next - SIZE };
        at
    }
}

fn build() -> Arc<dyn Balancer> {
    Arc::new(Maglev::default())
}

/// A prime number; of a thousand endpoints each has 65 entries. 64 KiB of memory for each pool that is
/// in use, 128 KiB beyond 256 endpoints.
const SIZE: usize = 65_537;
/// 4: by then a key has met an endpoint that is there, unless nearly all are out.
const FURTHER: u64 = 4;
/// No endpoint has this place.
const FREE: u16 = u16::MAX;
/// 2^30: two turns are told apart by so small a part of an entry. A time then takes 48 bits.
const PARTS: f64 = (1u64 << 30) as f64;

#[cfg(test)]
mod tests {
    use crate::model::members::Members;

    use super::super::tests::{found, members};
    use super::*;

    /// The share of the entries of others that move when an endpoint of so many equal ones goes.
    fn moved(count: usize, gone: usize) -> f64 {
        let all = members(&vec![1; count]);
        let rest = Members::new(1, all.load().all[0].endpoint.health(), 0.5);
        let mut left = found(&vec![1; count]);
        left.remove(gone);
        rest.replace(&left);
        let (before, after) = (filled(&all.load().eligible), filled(&rest.load().eligible));
        let of_others =
            before.iter().zip(&after).filter(|(before, _)| usize::from(**before) != gone);
        let now = |before: u16| before - u16::from(usize::from(before) > gone);
        let (kept, moved): (Vec<_>, Vec<_>) =
            of_others.partition(|(before, after)| now(**before) == **after);
        moved.len() as f64 / (kept.len() + moved.len()) as f64
    }

    /// docs/balancing.md says so.
    #[test]
    fn shares_of_a_table_are_within_a_percent_or_an_entry() {
        let thousand = vec![1; 1_000];
        for weights in [&[1; 10][..], &[5, 1, 1], &[100, 37, 9, 200], &thousand] {
            let entries = filled(&members(weights).load().eligible);
            let total: f64 = weights.iter().copied().map(f64::from).sum();
            for (place, weight) in weights.iter().enumerate() {
                let own =
                    entries.iter().filter(|entry| usize::from(**entry) == place).count() as f64;
                let share = SIZE as f64 * f64::from(*weight) / total;
                let off = (own - share).abs();
                assert!(
                    off <= (share / 100.0).max(1.0),
                    "{place} of {}: {own} for {share}",
                    weights.len()
                );
            }
        }
    }

    /// docs/balancing.md says so.
    #[test]
    fn when_an_endpoint_goes_hardly_any_entry_of_others_moves() {
        let ten: Vec<f64> = (0..10).map(|gone| moved(10, gone)).collect();
        let thousand: Vec<f64> = (0..1_000).step_by(50).map(|gone| moved(1_000, gone)).collect();
        let mean = |all: &[f64]| all.iter().sum::<f64>() / all.len() as f64;

        assert!(mean(&ten) < 0.0025 && ten.iter().all(|one| *one < 0.005), "{ten:?}");
        assert!(mean(&thousand) < 0.0065 && thousand.iter().all(|one| *one < 0.01), "{thousand:?}");
    }

    #[test]
    fn who_has_a_weight_has_an_entry_however_light_it_is() {
        let weights: Vec<u32> = [1].into_iter().chain([1_000; 100]).collect();
        let entries = filled(&members(&weights).load().eligible);

        assert_eq!(entries.iter().filter(|place| **place == 0).count(), 1);
        assert!(!entries.contains(&FREE));
    }
}
