//! How long attempts take of late, as quantiles: counts by time in steps of a sixteenth, of the last
//! thousand attempts and those up to a thousand before them. Pure; owned by one worker.
//!
//! The answer is no less than the true quantile of those attempts, and up to a sixteenth above it. What
//! was given up is told with the time until then: it counts as one that takes at least as long, so
//! that giving up slow attempts does not make them look fast.

use std::time::Duration;

use crate::base::log_linear::{place, places, reached};

/// The times of attempts.
#[derive(Debug)]
pub struct Latencies {
    now: Generation,
    before: Generation,
}

#[derive(Debug)]
struct Generation {
    counts: Box<[u16; PLACES]>,
    sum: u16,
}

impl Default for Latencies {
    fn default() -> Self {
        Self { now: Generation::empty(), before: Generation::empty() }
    }
}

impl Generation {
    fn empty() -> Self {
        Self { counts: Box::new([0; PLACES]), sum: 0 }
    }
}

impl Latencies {
    /// One attempt took so long.
    pub fn observe(&mut self, took: Duration) {
        self.now.counts[place::<BITS>(took)] += 1; // its sum is bounded, and so is it
        self.now.sum += 1;
        if self.now.sum >= GENERATION {
            self.before = std::mem::replace(&mut self.now, Generation::empty());
        }
    }

    /// The time that so many per cent of the attempts do not go beyond; `None` while too few are known.
    pub fn quantile(&self, percent: u8) -> Option<Duration> {
        let percent = u32::from(percent.min(100));
        let sum = u32::from(self.now.sum) + u32::from(self.before.sum);
        // As many that tells of the slow ones by more than a handful.
        let beyond = 100 - percent.min(99);
        if sum < FEWEST.max(BEYOND * 100 / beyond) {
            return None;
        }
        let rank = (sum * percent).div_ceil(100);
        let counts = self.now.counts.iter().zip(self.before.counts.iter());
        let sums = counts.map(|(now, before)| u64::from(*now) + u64::from(*before));
        reached::<BITS>(sums, rank.into())
    }
}

/// 1,000: a p95 is told by the slowest 50 to 100, and forgotten after as many requests.
const GENERATION: u16 = 1_000;
/// A hundred attempts at least, and five beyond the quantile.
const FEWEST: u32 = 100;
const BEYOND: u32 = 5;
/// Four bits: times are told to a sixteenth.
const BITS: u32 = 4;
const PLACES: usize = places(BITS);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_is_told_of_few_attempts() {
        let mut latencies = Latencies::default();
        let told = |latencies: &Latencies| [50, 95, 99].map(|at| latencies.quantile(at).is_some());
        (0..99).for_each(|_| latencies.observe(Duration::from_millis(5)));
        assert_eq!(told(&latencies), [false; 3]);
        latencies.observe(Duration::from_millis(5));
        assert_eq!(told(&latencies), [true, true, false]);
        (0..400).for_each(|_| latencies.observe(Duration::from_millis(5)));
        assert_eq!(told(&latencies), [true; 3]);
    }

    #[test]
    fn what_was_long_ago_is_forgotten() {
        let mut latencies = Latencies::default();
        (0..2_000).for_each(|_| latencies.observe(Duration::from_secs(9)));
        (0..2_000).for_each(|_| latencies.observe(Duration::from_millis(1)));
        assert!(latencies.quantile(99).unwrap() < Duration::from_millis(2));
    }

    #[test]
    fn times_beyond_all_bounds_are_counted_at_the_bounds() {
        for took in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
            let mut latencies = Latencies::default();
            (0..200).for_each(|_| latencies.observe(took));
            let told = latencies.quantile(95).unwrap();
            assert!(told <= Duration::from_secs(135) && told > Duration::ZERO);
        }
    }

    proptest! {
        #[test]
        fn a_quantile_is_no_less_than_the_true_one_and_a_sixteenth_above_it_at_most(
            micros in proptest::collection::vec(64_u64..100_000_000, 500..1_999),
            percent in 50_u8..=99,
        ) {
            let mut latencies = Latencies::default();
            micros.iter().for_each(|micros| latencies.observe(Duration::from_micros(*micros)));
            let mut sorted = micros.clone();
            sorted.sort_unstable();
            let rank = (sorted.len() * usize::from(percent)).div_ceil(100);
            let exact = u128::from(sorted[rank - 1]);

            let told = latencies.quantile(percent).unwrap().as_micros();

            prop_assert!(told > exact && told * 16 <= exact * 17, "{} {}", told, exact);
        }
    }
}
