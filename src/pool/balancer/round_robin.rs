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

#[derive(Default)]
struct RoundRobin {
    turn: AtomicUsize,
    /// The places of endpoints in the order of their turns; empty where a draw takes the place of turns.
    schedule: Table<Box<[u32]>>,
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
        let scheduled = self.schedule.ask(eligible, schedule, |order| {
            order.get(turn.checked_rem(order.len())?).map(|place| *place as usize)
        });
        eligible.endpoints.get(scheduled.or_else(|| draw(eligible))?)
    }
}

fn schedule(eligible: &Eligible) -> Box<[u32]> {
    order(&eligible.weights).into()
}

/// Smooth weighted round robin: in each turn every endpoint gains its weight, and the one with
/// most takes the turn and pays the sum of the weights.
fn order(weights: &[u32]) -> Vec<u32> {
    let Some(weights) = reduced(weights) else {
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
/// where there are so many endpoints that it would no longer follow their weights.
fn reduced(weights: &[u32]) -> Option<Vec<i64>> {
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    let lowest: Vec<i64> = weights.iter().map(|weight| i64::from(weight / divisor)).collect();
    let total: i64 = lowest.iter().sum();
    let count = i64::try_from(weights.len()).ok()?;
    let limit = (MAX_WORK / count.max(1)).min(MAX_TURNS);
    if total <= limit {
        return Some(lowest);
    }
    if limit < count * MIN_TURNS_EACH {
        return None;
    }
    let scaled = |weight: &i64| {
        let scaled = i128::from(*weight) * i128::from(limit) / i128::from(total);
        i64::try_from(scaled).unwrap_or(limit).max(1)
    };
    Some(lowest.iter().map(scaled).collect())
}

fn gcd(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

fn build() -> Arc<dyn Balancer> {
    Arc::new(RoundRobin::default())
}

/// 256 KiB of memory a pool at most; shares are exact to 1/65,536.
const MAX_TURNS: i64 = 65_536;

/// Turns times endpoints. The first request after a change pays for the schedule: about 2 ms.
const MAX_WORK: i64 = 1 << 21;

/// With fewer turns for each endpoint on average, rounding would bend the shares by more than a
/// draw does.
const MIN_TURNS_EACH: i64 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_come_in_the_order_of_nginx() {
        assert_eq!(order(&[5, 1, 1]), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(order(&[10, 2, 2]), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(order(&[1, 2]), [1, 0, 1]);
    }

    #[test]
    fn a_schedule_stays_short_whatever_the_weights() {
        for weights in [vec![u32::MAX, 1], vec![u32::MAX - 1, u32::MAX - 2, 7], vec![65_537, 3]] {
            let order = order(&weights);

            assert!(order.len() <= 65_536 + weights.len(), "{weights:?}: {}", order.len());
            for place in 0..weights.len() {
                assert!(order.contains(&(place as u32)), "{weights:?}: {place} never has a turn");
            }
        }
    }

    #[test]
    fn a_crowd_of_different_weights_is_drawn_instead() {
        let weights: Vec<u32> = (1..=2_000).collect();

        assert_eq!(order(&weights), [0u32; 0]);
    }
}
