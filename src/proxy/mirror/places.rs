//! How many copies a worker has under way, and their tasks.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use crate::base::tasks::LocalTasks;

/// The copies of a worker.
#[derive(Debug)]
pub(in crate::proxy) struct Mirrors {
    /// By the numbers of their pools. Over reloads, too: what counts is what a pool has.
    under_way: Rc<RefCell<BTreeMap<u32, u32>>>,
    tasks: RefCell<LocalTasks>,
}

/// One of them, until dropped.
pub(super) struct Place {
    under_way: Rc<RefCell<BTreeMap<u32, u32>>>,
    pool: u32,
}

impl Default for Mirrors {
    fn default() -> Self {
        Self { under_way: Rc::default(), tasks: RefCell::new(LocalTasks::new("mirror")) }
    }
}

impl Mirrors {
    /// A place for one more copy for a pool that has so many at most.
    pub(super) fn enter(&self, pool: u32, most: u32) -> Option<Place> {
        let mut under_way = self.under_way.borrow_mut();
        let count = under_way.entry(pool).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Place { under_way: Rc::clone(&self.under_way), pool })
    }

    /// Sends a copy, until the worker drains.
    pub(super) fn spawn(&self, sending: impl Future<Output = ()> + 'static) {
        self.tasks.borrow_mut().spawn(|mut stop| async move {
            tokio::select! {
                () = stop.requested() => {}
                () = sending => {}
            }
        });
    }

    /// Gives up the copies that are under way: nobody waits for them.
    pub(in crate::proxy) async fn stop(&self) {
        let tasks = self.tasks.replace(LocalTasks::new("mirror"));
        tasks.stop(Duration::ZERO).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut under_way = self.under_way.borrow_mut();
        if let Some(count) = under_way.get_mut(&self.pool) {
            *count -= 1;
            if *count == 0 {
                under_way.remove(&self.pool);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_has_no_more_copies_than_it_may_and_a_place_comes_back() {
        let mirrors = Mirrors::default();
        let (first, second) = (mirrors.enter(7, 2), mirrors.enter(7, 2));
        assert!(first.is_some() && second.is_some());
        assert!(mirrors.enter(7, 2).is_none());
        assert!(mirrors.enter(7, 3).is_some(), "another route of the pool may say more");
        assert!(mirrors.enter(8, 1).is_some(), "another pool");

        drop(first);
        assert!(mirrors.enter(7, 2).is_some());
        drop(second);
        assert!(mirrors.under_way.borrow().is_empty());
    }
}
