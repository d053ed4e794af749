//! How many connections each worker has. The kernel spreads them by a hash, which is even for
//! thousands and far from it for a few: of four that live for long one worker may get all.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The connections of each worker.
#[derive(Debug)]
pub struct Loads {
    workers: Vec<Line>,
    moved: AtomicU64,
}

/// A line of the caches for each worker: it writes to its own all the time.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Line(AtomicUsize);

/// One connection of a worker, until dropped.
#[derive(Debug)]
pub struct Load {
    loads: Arc<Loads>,
    worker: usize,
}

impl Loads {
    /// Nobody has any.
    pub fn new(workers: usize) -> Arc<Self> {
        let workers = std::iter::repeat_with(Line::default).take(workers.max(1)).collect();
        Arc::new(Self { workers, moved: AtomicU64::new(0) })
    }

    /// How many each worker has, in the order of their numbers.
    pub fn of_each(&self) -> impl Iterator<Item = usize> {
        self.workers.iter().map(|line| line.0.load(Ordering::Relaxed))
    }

    /// How many connections are served by another worker than the one that they came to.
    pub fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    /// Counts a connection of `worker`.
    pub fn take(self: &Arc<Self>, worker: usize) -> Load {
        self.workers[worker].0.fetch_add(1, Ordering::Relaxed);
        Load { loads: Arc::clone(self), worker }
    }

    /// Who had better serve a connection that has come to `worker`: the one that has the fewest, where
    /// that is so much less that it is worth the way there; it is counted as theirs.
    pub fn place(self: &Arc<Self>, worker: usize) -> Load {
        let all = self.workers.len();
        let others = (1..all).map(|step| (worker + step) % all);
        let count = |worker: usize| self.workers[worker].0.load(Ordering::Relaxed);
        let least = others.map(|other| (count(other), other)).min_by_key(|(count, _)| *count);
        match least {
            Some((least, other)) if is_worth_it(count(worker), least) => self.take(other),
            _ => self.take(worker),
        }
    }
}

impl Load {
    /// Whose it is.
    pub fn worker(&self) -> usize {
        self.worker
    }

    /// It was moved there from another worker.
    pub fn note_moved(&self) {
        self.loads.moved.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.loads.workers[self.worker].0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A few connections are spread evenly; of many the kernel's own spread is left alone within half of
/// what it differs by, as they may end the next moment.
fn is_worth_it(own: usize, least: usize) -> bool {
    own.saturating_sub(least) > least.isqrt() / 2
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spread(loads: &Arc<Loads>, to: impl Iterator<Item = usize>) -> Vec<Load> {
        to.map(|worker| loads.place(worker)).collect()
    }

    #[test]
    fn a_few_that_come_to_one_worker_are_spread_over_all() {
        let loads = Loads::new(4);

        let all = spread(&loads, std::iter::repeat_n(2, 8));

        assert_eq!(loads.of_each().collect::<Vec<_>>(), [2, 2, 2, 2]);
        drop(all);
        assert_eq!(loads.of_each().sum::<usize>(), 0);
    }

    #[test]
    fn one_worker_keeps_all() {
        let loads = Loads::new(1);
        let all = spread(&loads, std::iter::repeat_n(0, 3));
        assert!(all.iter().all(|load| load.worker() == 0));
    }

    proptest! {
        /// However they come: no worker has more above the least than half the root of that, and one.
        #[test]
        fn none_has_far_more_than_another(
            workers in 1..9usize,
            came in prop::collection::vec(any::<prop::sample::Index>(), 0..2000),
        ) {
            let loads = Loads::new(workers);
            let all = spread(&loads, came.iter().map(|index| index.index(workers)));
            let each: Vec<usize> = loads.of_each().collect();
            let (least, most) = (*each.iter().min().unwrap(), *each.iter().max().unwrap());
            prop_assert_eq!(each.iter().sum::<usize>(), all.len());
            prop_assert!(most - least <= least.isqrt() / 2 + 1, "{:?}", each);
        }
    }
}
