//! How many copies a pool has under way, and the tasks that send them.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::base::tasks::LocalTasks;

/// The copies of a worker.
#[derive(Debug)]
pub(in crate::proxy) struct Mirrors(RefCell<LocalTasks>);

/// One of the copies that a pool has under way, until dropped.
pub(super) struct Place(Arc<AtomicU32>);

impl Default for Mirrors {
    fn default() -> Self {
        Self(RefCell::new(LocalTasks::new("mirror")))
    }
}

impl Mirrors {
    /// Sends a copy, until the worker drains.
    pub(super) fn spawn(&self, sending: impl Future<Output = ()> + 'static) {
        self.0.borrow_mut().spawn(|mut stop| async move {
            tokio::select! {
                () = stop.requested() => {}
                () = sending => {}
            }
        });
    }

    /// Gives up the copies that are under way: nobody waits for them.
    pub(in crate::proxy) async fn stop(&self) {
        let tasks = self.0.replace(LocalTasks::new("mirror"));
        tasks.stop(Duration::ZERO).await;
    }
}

impl Place {
    /// A place for one more copy among those that a pool has under way, if there are fewer than `most`.
    pub(super) fn enter(under_way: &Arc<AtomicU32>, most: u32) -> Option<Self> {
        let more = |count: u32| (count < most).then(|| count + 1);
        under_way.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Self(Arc::clone(under_way)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_has_no_more_copies_than_it_may_and_a_place_comes_back() {
        let under_way = Arc::default();
        let (first, second) = (Place::enter(&under_way, 2), Place::enter(&under_way, 2));
        assert!(first.is_some() && second.is_some());
        assert!(Place::enter(&under_way, 2).is_none());
        assert!(Place::enter(&under_way, 3).is_some(), "another route of the pool may say more");

        drop(first);
        assert!(Place::enter(&under_way, 2).is_some());
        drop(second);
        assert_eq!(under_way.load(Ordering::Relaxed), 0);
    }
}
