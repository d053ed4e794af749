//! How long the requests of pools take whose limit follows that, as one worker sees it: sums of its own, added to
//! those of all workers about ten times a second, so that no request writes what other workers write, too.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::base::fair::Gate;
use crate::model::answer_times::{AnswerTimes, Times};
use crate::model::latency::Sample;
use crate::pool::Pool;

/// A worker's sums, by the numbers of their pools.
#[derive(Debug, Default)]
pub(super) struct Lately(RefCell<Vec<Option<Rc<Own>>>>);

/// A worker's sums of one pool.
#[derive(Debug)]
pub(super) struct Own {
    all: Arc<AnswerTimes>,
    gate: Arc<Gate>,
    sums: RefCell<Sums>,
}

#[derive(Debug)]
struct Sums {
    times: Times,
    /// When they were last added to those of all.
    added: Instant,
}

impl Lately {
    /// The sums of this pool; `None` where nobody asks for them.
    pub(super) fn of(&self, pool: &Pool, now: Instant) -> Option<Rc<Own>> {
        let (times, gate) = (pool.answer_times.as_ref()?, pool.gate.as_ref()?);
        let mut all = self.0.borrow_mut();
        let place = pool.label.slot as usize;
        if place >= all.len() {
            all.resize(place + 1, None);
        }
        let own = match &all[place] {
            Some(known) if known.is_of(times, gate) => Rc::clone(known),
            _ => Rc::clone(all[place].insert(Rc::new(Own::new(times, gate, now)))),
        };
        Some(own)
    }

    /// Lets go of those that have not been used for a while: their pools may be gone.
    pub(super) fn tidy(&self, now: Instant) {
        for own in self.0.borrow_mut().iter_mut() {
            if own.as_ref().is_some_and(|own| own.is_idle(now)) {
                *own = None;
            }
        }
    }
}

impl Own {
    fn new(all: &Arc<AnswerTimes>, gate: &Arc<Gate>, now: Instant) -> Self {
        let sums = Sums { times: Times::default(), added: now };
        Self { all: Arc::clone(all), gate: Arc::clone(gate), sums: RefCell::new(sums) }
    }

    fn is_of(&self, all: &Arc<AnswerTimes>, gate: &Arc<Gate>) -> bool {
        Arc::ptr_eq(&self.all, all) && Arc::ptr_eq(&self.gate, gate)
    }

    fn is_idle(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.sums.borrow().added) > IDLE
    }

    /// Counts a request of this kind that has ended now.
    pub(super) fn add(&self, kind: u8, sample: Sample, now: Instant) {
        let mut sums = self.sums.borrow_mut();
        let since = now.saturating_duration_since(sums.added);
        if since > STALE {
            sums.times = Times::default();
        }
        sums.times.add(kind, sample, self.gate.state().inside);
        if since >= EVERY && self.all.try_add(&mut sums.times) {
            sums.added = now;
        }
    }
}

/// 100 ms: as often as a limit may move.
const EVERY: Duration = Duration::from_millis(100);
/// 1 s: what was left over before a pause says nothing of now.
const STALE: Duration = Duration::from_secs(1);
/// 10 s: as long as what is seen of a pool may take to mean anything.
const IDLE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn sums_are_added_ten_times_a_second_and_what_is_stale_is_left_out() {
        let (all, gate) = (Arc::<AnswerTimes>::default(), Arc::new(Gate::new(9)));
        let mut now = Instant::now();
        let own = Own::new(&all, &gate, now);
        for _ in 0..99 {
            now += MS;
            own.add(1, Sample::Took(MS), now);
        }
        assert_eq!(all.take().count(), 0);
        now += MS;
        own.add(1, Sample::Took(MS), now);
        assert_eq!(all.take().count(), 100);

        own.add(1, Sample::Took(MS), now);
        now += 2 * STALE;
        own.add(1, Sample::Took(MS), now);
        assert_eq!(all.take().count(), 1);
    }
}
