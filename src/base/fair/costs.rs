//! What work of a kind takes, learned from what it took. A fixed number of words that all threads
//! write without a lock: an update that is lost is made up for by the next.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The kind of some work: kinds that share a number are learned as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind(u8);

/// What work of each kind takes.
pub(super) struct Costs([AtomicU32; KINDS]);

impl Kind {
    /// The kind with this name.
    pub fn named(name: &str) -> Self {
        // FNV-1a: a name is short.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self((hash ^ (hash >> 32)) as u8)
    }
}

impl Costs {
    pub(super) fn new() -> Self {
        Self(std::array::from_fn(|_| AtomicU32::new(0)))
    }

    /// What it is assumed to take, in µs.
    pub(super) fn of(&self, kind: Kind) -> u32 {
        match self.0[usize::from(kind.0)].load(Ordering::Relaxed) {
            0 => UNKNOWN,
            known => known,
        }
    }

    /// Learns what one has taken. Weighs an eighth, and counts for eight times of what is known at
    /// most: one endless stream says little of the next request.
    pub(super) fn learn(&self, kind: Kind, took: u32) {
        let word = &self.0[usize::from(kind.0)];
        let known = word.load(Ordering::Relaxed);
        let next = match known {
            0 => took,
            known => {
                let took = took.min(known.saturating_mul(8));
                known - known.div_ceil(8) + took.div_ceil(8)
            }
        };
        word.store(next.clamp(LEAST, MOST), Ordering::Relaxed);
    }
}

/// A time as a cost.
pub(super) fn cost(took: Duration) -> u32 {
    u32::try_from(took.as_micros()).unwrap_or(MOST).clamp(LEAST, MOST)
}

impl fmt::Debug for Costs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Costs").finish_non_exhaustive()
    }
}

/// 256 words of four bytes: most pools have fewer routes.
const KINDS: usize = 256;
/// 10 ms, until something is known.
const UNKNOWN: u32 = 10_000;
/// 100 µs: what a request costs the gateway itself.
const LEAST: u32 = 100;
/// 10 s: what takes longer is no request any more but a stream or a tunnel.
const MOST: u32 = 10_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_comes_near_what_is_taken_and_an_outlier_hardly_moves_it() {
        let (costs, kind) = (Costs::new(), Kind::named("shop/basket"));
        assert_eq!(costs.of(kind), UNKNOWN);
        for _ in 0..50 {
            costs.learn(kind, 2_000);
        }
        assert_eq!(costs.of(kind), 2_000);

        costs.learn(kind, cost(Duration::from_secs(3600)));

        assert!(costs.of(kind) < 4_000, "{}", costs.of(kind));
        for _ in 0..50 {
            costs.learn(kind, 2_000);
        }
        assert!(costs.of(kind) < 2_100, "{}", costs.of(kind));
    }

    #[test]
    fn a_cost_stays_within_its_bounds() {
        let (costs, kind) = (Costs::new(), Kind::named(""));
        for took in [0, u32::MAX, 0, u32::MAX] {
            for _ in 0..200 {
                costs.learn(kind, took);
                assert!((LEAST..=MOST).contains(&costs.of(kind)));
            }
        }
        assert_eq!(costs.of(kind), MOST);
    }
}
