//! What one tenant may spend on retries, apart for each pool, and on memory for replays. Lives as
//! long as the tenant does, across reloads.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::budget::Budget;

/// What one tenant may spend. Costs a few words until the tenant is used.
#[derive(Debug, Default)]
pub struct Allowance {
    budgets: OnceLock<Box<Node>>,
    replay_bytes: AtomicU64,
}

/// The budget at one pool, and the next one. Tenants use few pools, so a list is looked through
/// faster than anything cleverer; it only grows, so readers take no lock.
#[derive(Debug)]
struct Node {
    pool: u32,
    budget: Budget,
    next: OnceLock<Box<Node>>,
}

impl Allowance {
    /// The retry budget at the pool with this slot.
    pub fn budget(&self, pool: u32) -> &Budget {
        let mut place = &self.budgets;
        loop {
            let node = place.get_or_init(|| {
                Box::new(Node { pool, budget: Budget::full(), next: OnceLock::new() })
            });
            if node.pool == pool {
                return &node.budget;
            }
            place = &node.next;
        }
    }

    /// Takes `bytes` of the memory for replays where no more than `cap` are then in use. What was
    /// taken is given back with [`Allowance::give_back`].
    pub fn take(&self, bytes: u64, cap: u64) -> bool {
        let before = self.replay_bytes.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) <= cap {
            return true;
        }
        self.give_back(bytes);
        false
    }

    /// Gives memory for replays back.
    pub fn give_back(&self, bytes: u64) {
        self.replay_bytes.fetch_sub(bytes, Ordering::Relaxed);
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
        let allowance = Allowance::default();
        while allowance.budget(1).withdraw(fill) {}

        assert!(!allowance.budget(1).withdraw(fill));
        assert!(allowance.budget(2).withdraw(fill));
    }

    #[test]
    fn memory_beyond_the_cap_is_refused_and_not_counted() {
        let allowance = Allowance::default();
        assert!(allowance.take(60, 100));
        assert!(!allowance.take(60, 100));
        assert_eq!(allowance.replay_bytes(), 60);
        allowance.give_back(60);
        assert!(allowance.take(100, 100));
    }
}
