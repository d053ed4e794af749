//! What one tenant may spend on retries and how its breaker stands, apart for each pool, and its memory for replays. Lives as
//! long as the tenant does, across reloads.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::time::Instant;

use crate::base::spool::Share;
use crate::base::units::ByteSize;
use crate::model::breakers::Breakers;

use super::breaker::Breaker;
use super::budget::{Budget, Fill};

/// What one tenant may spend. Costs a few words until the tenant is used.
#[derive(Debug)]
pub struct Allowance {
    budgets: OnceLock<Box<Node>>,
    replay_bytes: AtomicU64,
    replay_memory: AtomicU64,
    /// What bodies have of the files. There from the first one on.
    spools: OnceLock<Arc<Share>>,
}

/// Budget and breaker at one pool, and the next one. Tenants use few pools, so a list is looked through
/// faster than anything cleverer; it only grows, so readers take no lock.
#[derive(Debug)]
struct Node {
    pool: u32,
    budget: Budget,
    /// Its breaker there, once a request has come that may open it.
    breaker: OnceLock<Box<Breaker>>,
    next: OnceLock<Box<Node>>,
}

impl Allowance {
    /// An allowance of which nothing is taken.
    pub fn new(replay_memory: ByteSize) -> Self {
        Self {
            budgets: OnceLock::new(),
            replay_bytes: AtomicU64::new(0),
            replay_memory: AtomicU64::new(replay_memory.0),
            spools: OnceLock::new(),
        }
    }

    /// Changes the memory for replays; what is taken stays taken.
    pub fn set_replay_memory(&self, replay_memory: ByteSize) {
        self.replay_memory.store(replay_memory.0, Ordering::Relaxed);
    }

    /// A request came for the pool with this slot. A bucket that nobody has taken from is full: it
    /// is not there yet, and most tenants never need it.
    pub fn deposit(&self, pool: u32, fill: Fill) {
        let mut place = &self.budgets;
        while let Some(node) = place.get() {
            if node.pool == pool {
                return node.budget.deposit(fill);
            }
            place = &node.next;
        }
    }

    /// Takes one retry at the pool with this slot, if there is one.
    pub fn withdraw(&self, pool: u32, fill: Fill) -> bool {
        self.budget(pool).withdraw(fill)
    }

    /// Its breaker at the pool with this slot; a new one counts in `all`.
    pub fn breaker(&self, pool: u32, all: &Arc<Breakers>, now: Instant) -> &Breaker {
        let new = || Box::new(Breaker::new(Arc::clone(all), now));
        self.node(pool).breaker.get_or_init(new)
    }

    fn budget(&self, pool: u32) -> &Budget {
        &self.node(pool).budget
    }

    fn node(&self, pool: u32) -> &Node {
        let mut place = &self.budgets;
        loop {
            let node = place.get_or_init(|| {
                let (budget, breaker) = (Budget::full(), OnceLock::new());
                Box::new(Node { pool, budget, breaker, next: OnceLock::new() })
            });
            if node.pool == pool {
                return node;
            }
            place = &node.next;
        }
    }

    /// Takes `bytes` of the memory for replays if there are so many. What was taken is given back
    /// with [`Allowance::give_back`].
    pub fn take(&self, bytes: u64) -> bool {
        let before = self.replay_bytes.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) <= self.replay_memory.load(Ordering::Relaxed) {
            return true;
        }
        self.give_back(bytes);
        false
    }

    /// Gives memory for replays back.
    pub fn give_back(&self, bytes: u64) {
        self.replay_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Its share of the files for replays.
    pub fn spools(&self) -> &Arc<Share> {
        self.spools.get_or_init(Arc::default)
    }

    /// Bytes of replay memory in use.
    pub fn replay_bytes(&self) -> u64 {
        self.replay_bytes.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use crate::base::units::Percent;

    use super::super::budget::Fill;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_pool_has_a_budget_of_its_own() {
        let fill = Fill { share: Percent::new(0.0), floor: 1 };
        let allowance = Allowance::new(ByteSize(100));
        while allowance.withdraw(1, fill) {}

        assert!(!allowance.withdraw(1, fill));
        assert!(allowance.withdraw(2, fill));
    }

    #[test]
    fn memory_beyond_the_cap_is_refused_and_not_counted() {
        let allowance = Allowance::new(ByteSize(100));
        assert!(allowance.take(60));
        assert!(!allowance.take(60));
        assert_eq!(allowance.replay_bytes(), 60);
        allowance.give_back(60);
        assert!(allowance.take(100));
    }
}
