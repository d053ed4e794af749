//! The bound of a pool that has none of its own while it is overrun. Writer: `control`. Requests look at one word, which is
//! written when the bound comes and goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::base::fair::Gate;

/// A bound that is there only while it is needed.
#[derive(Debug)]
pub struct Overrun {
    is_bound: AtomicBool,
    is_slow: AtomicBool,
    gate: Arc<Gate>,
}

impl Overrun {
    /// There is no bound.
    pub fn new() -> Self {
        let gate = Arc::new(Gate::new(1));
        gate.open();
        Self { is_bound: AtomicBool::new(false), is_slow: AtomicBool::new(false), gate }
    }

    /// What requests come in by while there is a bound. Who comes by it leaves by it, whether the bound is still there or not,
    /// and who came before is not counted.
    #[inline]
    pub fn gate(&self) -> Option<&Arc<Gate>> {
        self.is_bound.load(Ordering::Relaxed).then_some(&self.gate)
    }

    /// How many wait before the bound.
    pub fn queued(&self) -> usize {
        self.gate.state().waiting
    }

    /// Whether who is late now is so for how many wait, and not for its endpoint.
    pub fn excuses(&self) -> bool {
        self.is_slow.load(Ordering::Relaxed)
    }

    /// Says whether it is so.
    pub fn excuse(&self, is_slow: bool) {
        self.is_slow.store(is_slow, Ordering::Relaxed);
    }

    /// Lets in so many at once from now on.
    pub fn bind(&self, limit: u32) {
        self.gate.set_limit(limit);
        self.is_bound.store(true, Ordering::Relaxed);
    }

    /// There is no bound any more: those who wait come in.
    pub fn free(&self) {
        self.is_bound.store(false, Ordering::Relaxed);
        self.excuse(false);
        self.gate.open();
    }
}

impl Default for Overrun {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Duration, Instant};

    use crate::base::fair::{Came, Claim, Class, Handle, Kind};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_came_by_it_leaves_by_it_and_who_waits_comes_in_once_there_is_no_bound() {
        let overrun = Overrun::new();
        assert!(overrun.gate().is_none());
        overrun.bind(1);
        let gate = Arc::clone(overrun.gate().unwrap());
        let (handle, kind, now) = (Handle::of(&gate), Kind::named(""), Instant::now());
        let inside = handle.try_enter(kind, now).unwrap();
        let until = now + Duration::from_secs(9);
        let claim = Claim { flow: 1, weight: 1, class: Class::Normal, most: 5, until, cost: 1 };
        let Came::Waits(waiting) = handle.come(kind, &claim, now) else { panic!("it is full") };
        assert_eq!(overrun.queued(), 1);

        overrun.free();

        assert!(overrun.gate().is_none());
        let late = waiting.turn().await;
        assert!(late.is_some());
        drop((inside, late));
        overrun.bind(1);
        assert_eq!((gate.state().inside, gate.state().limit), (0, Some(1)));
    }
}
