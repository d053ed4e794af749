//! Round robin: endpoints take turns by weight, smoothly: nginx's order, `a a b a c a a` for the
//! weights 5, 1, 1. The order is worked out once for each set of endpoints.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::model::endpoint::Endpoint;
use crate::model::members::Eligible;

use super::random::draw;
use super::table::Table;
use super::{Balancer, Kind};

pub(super) const KIND: Kind =
    Kind { name: "round-robin", about: "endpoints take turns by weight, smoothly", build };

struct RoundRobin {
    turn: AtomicUsize,
    /// The places of endpoints in the order of their turns; empty where a draw takes the place of turns.
    schedule: Table<Box<[u32]>>,
    /// A longer schedule is scaled down to so many turns.
    most_turns: i64,
}

impl Balancer for RoundRobin {
    fn pick<'a>(&self, eligible: &'a Eligible) -> Option<&'a Arc<Endpoint>> {
        let count = eligible.endpoints.len();
        if count == 0 {
            return None;
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        if eligible.cumulative.is_none() {
            return eligible.endpoints.get(turn % count);
        }
        let schedule = |eligible: &Eligible| -> Box<[u32]> {
            order(&eligible.weights, self.most_turns).into()
        };
        let scheduled = self.schedule.ask(eligible, schedule, |order| {
            order.get(turn.checked_rem(order.len())?).map(|place| *place as usize)
        });
        eligible.endpoints.get(scheduled.or_else(|| draw(eligible))?)
    }
}

/// Smooth weighted round robin: in each turn every endpoint gains its weight, and the one with
/// most takes the turn and pays the sum of the weights.
fn order(weights: &[u32], most_turns: i64) -> Vec<u32> {
    let Some(weights) = reduced(weights, most_turns) else {
        return Vec::new();
    };
    let total: i64 = weights.iter().sum();
    let mut credit = vec![0i64; weights.len()];
    let mut order = Vec::with_capacity(usize::try_from(total).unwrap_or(0));
    for _ in 0..total {
        let mut best = 0;
        let mut most = i64::MIN;
        for (place, (credit, weight)) in credit.iter_mut().zip(&weights).enumerate() {
            *credit += weight;
            if *credit > most {
                (best, most) = (place, *credit);
            }
        }
        if let Some(credit) = credit.get_mut(best) {
            *credit -= total;
        }
        order.push(u32::try_from(best).unwrap_or(u32::MAX));
    }
    order
}

/// The weights in lowest terms, and scaled down where the schedule would get too long; `None`
/// where it would no longer follow them, as there are too many endpoints, or one has too little.
fn reduced(weights: &[u32], most_turns: i64) -> Option<Vec<i64>> {
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    let lowest: Vec<i64> = weights.iter().map(|weight| i64::from(weight / divisor)).collect();
    let total: i64 = lowest.iter().sum();
    let count = i64::try_from(weights.len()).ok()?;
    let limit = (MAX_WORK / count.max(1)).min(most_turns);
    if total <= limit {
        return Some(lowest);
    }
    let scaled = |weight: &i64| {
        let (weight, limit, total) = (i128::from(*weight), i128::from(limit), i128::from(total));
        i64::try_from((weight * limit + total / 2) / total).ok().filter(|turns| *turns >= MIN_TURNS)
    };
    lowest.iter().map(scaled).collect()
}

fn gcd(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

fn build() -> Arc<dyn Balancer> {
    of(MAX_TURNS)
}

/// One that draws by weight where turns would take more than 1 KiB.
pub(super) fn build_small() -> Arc<dyn Balancer> {
    of(FEW_TURNS)
}

fn of(most_turns: i64) -> Arc<RoundRobin> {
    let (turn, schedule) = Default::default();
    Arc::new(RoundRobin { turn, schedule, most_turns })
}

/// 256 KiB of memory a pool at most.
const MAX_TURNS: i64 = 65_536;

/// 256: those of thousands of balancers stay within some megabytes.
const FEW_TURNS: i64 = 256;

/// Turns times endpoints. The first request after a change pays for the schedule: about 2 ms.
const MAX_WORK: i64 = 1 << 21;

/// With fewer turns of an endpoint rounding would bend its share by more than 3 %: who is drawn has all of
/// it.
const MIN_TURNS: i64 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_come_in_the_order_of_nginx() {
        assert_eq!(order(&[5, 1, 1], MAX_TURNS), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(order(&[10, 2, 2], MAX_TURNS), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(order(&[1, 2], MAX_TURNS), [1, 0, 1]);
    }

    #[test]
    fn a_schedule_stays_short_whatever_the_weights() {
        for weights in [vec![u32::MAX, u32::MAX - 1], vec![u32::MAX - 1, 7 << 23], vec![65_537, 30]]
        {
            for (most_turns, slack) in [(MAX_TURNS, weights.len()), (FEW_TURNS, weights.len())] {
                let order = order(&weights, most_turns);
                let most = usize::try_from(most_turns).unwrap() + slack;

                assert!(order.len() <= most, "{weights:?}: {}", order.len());
            }
        }
    }

    /// Its rounded share would be several times what it has.
    #[test]
    fn who_has_too_little_for_a_turn_is_drawn_instead() {
        for weights in [vec![u32::MAX, 1], vec![u32::MAX - 1, u32::MAX - 2, 7], vec![65_537, 3]] {
            assert_eq!(order(&weights, MAX_TURNS), [0u32; 0], "{weights:?}");
        }
        assert_eq!(order(&[1000, 1], FEW_TURNS), [0u32; 0]);
        assert_eq!(order(&[1000, 1], MAX_TURNS).len(), 1001);
        assert_eq!(order(&[1000, 999], FEW_TURNS).len(), 256);
    }

    #[test]
    fn a_crowd_of_different_weights_is_drawn_instead() {
        let weights: Vec<u32> = (1..=2_000).collect();

        assert_eq!(order(&weights, MAX_TURNS), [0u32; 0]);
    }
}
