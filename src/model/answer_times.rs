//! How long the requests of a pool take to the heads of their answers, by kinds of requests that are alike, for
//! who works out how many the pool bears at once. Each worker sums up what it sees by itself and adds that here
//! about ten times a second. Writers: `proxy` adds, `control` takes and tells what it makes of it.
//!
//! The means are those of logarithms: where one of ten requests takes a hundred times as long, the mean is 1.6 times
//! as long and not ten times, and what is twice as long counts the same for fast and for slow kinds.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError, TryLockError};
use std::time::Duration;

use super::latency::Sample;

/// What was seen within some time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Times {
    kinds: [KindTimes; KINDS],
    most: u32,
}

/// How long requests of one kind took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct KindTimes {
    /// Those that were answered.
    pub took: Sum,
    /// Those that would have taken longer: somebody gave them up, or they failed.
    pub given_up: Sum,
}

/// A number of requests, and how long they took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sum {
    count: u32,
    logs: f64,
    squares: f64,
}

/// What all workers have seen of a pool.
#[derive(Debug, Default)]
pub struct AnswerTimes {
    times: Mutex<Times>,
    /// How many times as long as usual requests take, as the bits of an `f32`; 0 = nobody knows.
    slowdown: AtomicU32,
}

impl Times {
    /// Counts a request of this kind, which ended or was given up while so many were under way.
    pub fn add(&mut self, kind: u8, sample: Sample, inside: u32) {
        let times = &mut self.kinds[usize::from(kind) % KINDS];
        match sample {
            Sample::Took(time) => times.took.add(time),
            Sample::MoreThan(time) => times.given_up.add(time),
        }
        self.sees(inside);
    }

    /// So many requests are under way now.
    pub fn sees(&mut self, inside: u32) {
        self.most = self.most.max(inside);
    }

    /// Adds what was seen elsewhere, or later.
    pub fn merge(&mut self, other: &Self) {
        for (times, more) in self.kinds.iter_mut().zip(&other.kinds) {
            times.took.merge(more.took);
            times.given_up.merge(more.given_up);
        }
        self.sees(other.most);
    }

    /// By kind.
    pub fn kinds(&self) -> &[KindTimes; KINDS] {
        &self.kinds
    }

    /// How many requests were under way at most.
    pub fn most(&self) -> u32 {
        self.most
    }

    /// How many ended, or were given up.
    pub fn count(&self) -> u64 {
        let of = |times: &KindTimes| u64::from(times.took.count) + u64::from(times.given_up.count);
        self.kinds.iter().map(of).sum()
    }

    /// The mean of all of them, whatever their kind and end; `None` where there were none.
    pub fn mean(&self) -> Option<Duration> {
        let mut all = Sum::default();
        for times in &self.kinds {
            all.merge(times.took);
            all.merge(times.given_up);
        }
        all.mean().map(|log| Duration::try_from_secs_f64(log.exp()).unwrap_or(Duration::MAX))
    }
}

impl Sum {
    fn add(&mut self, time: Duration) {
        self.count = self.count.saturating_add(1);
        let log = time.max(SHORTEST).as_secs_f64().ln();
        self.logs += log;
        self.squares += log * log;
    }

    /// Adds another one.
    pub fn merge(&mut self, other: Self) {
        self.count = self.count.saturating_add(other.count);
        self.logs += other.logs;
        self.squares += other.squares;
    }

    /// How many there were.
    pub fn count(self) -> u32 {
        self.count
    }

    /// The mean of the natural logarithms of their seconds; `None` where there were none.
    pub fn mean(self) -> Option<f64> {
        (self.count > 0).then(|| self.logs / f64::from(self.count))
    }

    /// How much the logarithms differ: the sum of the squares of what lies between each and the mean.
    pub fn spread(self) -> f64 {
        let mean = self.mean().unwrap_or_default();
        (self.squares - mean * self.logs).max(0.0)
    }
}

impl AnswerTimes {
    /// Adds what a worker has seen and has that begin anew. Waits for nobody: `false` where somebody else is at
    /// it, and nothing was done.
    pub fn try_add(&self, seen: &mut Times) -> bool {
        let mut times = match self.times.try_lock() {
            Ok(times) => times,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        times.merge(seen);
        *seen = Times::default();
        true
    }

    /// Moves out what was seen.
    pub fn take(&self) -> Times {
        std::mem::take(&mut *self.times.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tells how many times as long as usual requests take; `None`: nobody knows.
    pub fn tell(&self, slowdown: Option<f64>) {
        let bits = slowdown.map_or(0, |slowdown| (slowdown as f32).to_bits());
        self.slowdown.store(bits, Ordering::Relaxed);
    }

    /// How many times as long as usual requests take, as was told last; `None`: nobody knows.
    pub fn slowdown(&self) -> Option<f32> {
        let bits = self.slowdown.load(Ordering::Relaxed);
        (bits != 0).then(|| f32::from_bits(bits))
    }
}

/// 16 kinds: where two routes share one, their requests are seen as a mixture.
pub const KINDS: usize = 16;
/// 1 µs: nothing answers in less.
const SHORTEST: Duration = Duration::from_micros(1);

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_mean_is_that_of_logarithms_and_each_kind_has_its_own() {
        let mut times = Times::default();
        (0..9).for_each(|_| times.add(3, Sample::Took(10 * MS), 5));
        times.add(3, Sample::Took(1_000 * MS), 7);
        times.add(4, Sample::MoreThan(20 * MS), 6);

        let mean = times.kinds()[3].took.mean().unwrap().exp();
        assert!((mean - 0.0158).abs() < 0.0001, "{mean}");
        let given_up = times.kinds()[4].given_up;
        assert_eq!((given_up.count(), times.kinds()[4].took.mean()), (1, None));
        assert_eq!((times.count(), times.most()), (11, 7));
    }

    #[test]
    fn what_workers_add_is_taken_once_and_whole() {
        let all = AnswerTimes::default();
        for _ in 0..2 {
            let mut own = Times::default();
            own.add(1, Sample::Took(10 * MS), 3);
            assert!(all.try_add(&mut own));
            assert_eq!(own, Times::default());
        }
        let taken = all.take();
        assert_eq!((taken.count(), taken.most()), (2, 3));
        assert!((taken.mean().unwrap().as_secs_f64() - 0.01).abs() < 1e-6);
        assert_eq!(all.take(), Times::default());
    }

    #[test]
    fn a_worker_never_waits_and_keeps_what_it_could_not_add() {
        let all = AnswerTimes::default();
        let mut own = Times::default();
        own.add(1, Sample::Took(MS), 1);
        let held = all.times.lock().unwrap();
        assert!(!all.try_add(&mut own));
        drop(held);
        assert_eq!(own.count(), 1);
    }

    #[test]
    fn no_time_is_beyond_what_can_be_summed() {
        let mut times = Times::default();
        for time in [Duration::ZERO, Duration::MAX] {
            times.add(u8::MAX, Sample::Took(time), u32::MAX);
            times.add(0, Sample::MoreThan(time), 0);
        }
        let finite = |times: &KindTimes| times.took.mean().is_none_or(f64::is_finite);
        assert!(times.kinds().iter().all(finite) && times.mean().is_some());
    }

    #[test]
    fn the_slowdown_is_what_was_told_last() {
        let all = AnswerTimes::default();
        assert_eq!(all.slowdown(), None);
        all.tell(Some(1.5));
        assert_eq!(all.slowdown(), Some(1.5));
        all.tell(None);
        assert_eq!(all.slowdown(), None);
    }
}
