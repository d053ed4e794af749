//! What chance there is in the load: seeded, and apart from the draws of the code under test, so that the same users come at the
//! same moments whatever that decides.

use std::cell::RefCell;
use std::time::Duration;

use fastrand::Rng;

/// A row of draws.
pub(crate) struct Dice(RefCell<Rng>);

impl Dice {
    /// A row of its own for each seed and each `what`.
    pub(crate) fn of(seed: u64, what: u64) -> Self {
        Self(RefCell::new(Rng::with_seed(seed.wrapping_mul(SPREAD).wrapping_add(what))))
    }

    /// From 0 to below 1.
    pub(crate) fn share(&self) -> f64 {
        self.0.borrow_mut().f64()
    }

    /// From 0 to below `count`.
    pub(crate) fn below(&self, count: usize) -> usize {
        self.0.borrow_mut().usize(..count.max(1))
    }

    /// 1 on average, and mostly less: what lies between events that know nothing of each other.
    pub(crate) fn exponential(&self) -> f64 {
        (1.0 - self.share()).ln().abs()
    }

    /// So long on average.
    pub(crate) fn time(&self, mean: Duration) -> Duration {
        mean.mul_f64(self.exponential())
    }
}

/// Seeds lie side by side, and rows shall not.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
