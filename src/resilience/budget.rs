//! Retries as a share of requests: a bucket that each request fills a little and each retry
//! empties by one, so that retries cannot multiply the load of a pool that is down.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::base::units::Percent;

/// The bucket of one tenant at one pool. Holds at most ten seconds' worth of its floor, and starts
/// full. One atomic word: the upper half is the time of the last change in milliseconds since
/// `born`, the lower half thousandths of a retry.
#[derive(Debug)]
pub struct Budget {
    born: Instant,
    word: AtomicU64,
}

/// How fast a bucket fills.
#[derive(Clone, Copy, Debug)]
pub struct Fill {
    /// Retries earned by one request.
    pub share: Percent,
    /// Retries earned a second, whatever the traffic.
    pub floor: u32,
}

impl Fill {
    /// Thousandths of a retry that the bucket holds at most.
    fn capacity(self) -> u64 {
        // At least one retry, so that a share without a floor can be spent at all.
        (u64::from(self.floor) * SPAN_SECONDS * 1000).clamp(1000, u64::from(u32::MAX))
    }
}

impl Budget {
    /// A full bucket.
    pub fn full() -> Self {
        Self { born: Instant::now(), word: AtomicU64::new(u64::from(u32::MAX)) }
    }

    /// A request came. Where the bucket is full, as it is in good times, this only reads.
    pub fn deposit(&self, fill: Fill) {
        let capacity = fill.capacity();
        let earned = (fill.share.share() * 1000.0) as u64;
        let add = |word: u64| {
            let held = word & HELD;
            (held < capacity).then(|| (word & !HELD) | (held + earned).min(capacity))
        };
        // `Err` says that the bucket was full already.
        self.word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).ok();
    }

    /// Takes one retry out, if there is one.
    pub fn withdraw(&self, fill: Fill) -> bool {
        let now = self.now();
        let take = |word: u64| {
            let held = held(word, now, fill);
            (held >= 1000).then(|| (now << 32) | (held - 1000))
        };
        self.word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// Milliseconds since `born`.
    fn now(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX) & HELD
    }
}

/// Thousandths of a retry that a bucket with this word holds now.
fn held(word: u64, now: u64, fill: Fill) -> u64 {
    let since = now.wrapping_sub(word >> 32) & HELD;
    // A clock read before another thread's write looks like a huge step: no time passed.
    let since = if since > u64::from(u32::MAX / 2) { 0 } else { since };
    let earned = since.saturating_mul(u64::from(fill.floor));
    (word & HELD).saturating_add(earned).min(fill.capacity())
}

/// 10 s: Finagle's and linkerd's window for the same purpose.
const SPAN_SECONDS: u64 = Duration::from_secs(10).as_secs();
const HELD: u64 = u32::MAX as u64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FILL: Fill = Fill { share: Percent::new(20.0), floor: 10 };

    fn withdrawn(budget: &Budget, fill: Fill, tries: usize) -> usize {
        (0..tries).filter(|_| budget.withdraw(fill)).count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_bucket_holds_ten_seconds_of_its_floor() {
        let budget = Budget::full();
        assert_eq!(withdrawn(&budget, FILL, 1000), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn an_empty_bucket_earns_its_floor_each_second() {
        let budget = Budget::full();
        withdrawn(&budget, FILL, 1000);

        tokio::time::advance(Duration::from_secs(2)).await;

        assert_eq!(withdrawn(&budget, FILL, 1000), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn five_requests_earn_one_retry() {
        let budget = Budget::full();
        withdrawn(&budget, FILL, 1000);

        for _ in 0..50 {
            budget.deposit(FILL);
        }

        assert_eq!(withdrawn(&budget, FILL, 1000), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_budget_without_a_floor_lives_on_its_share() {
        let fill = Fill { share: Percent::new(10.0), floor: 0 };
        let budget = Budget::full();
        assert_eq!(withdrawn(&budget, fill, 10), 1);
        for _ in 0..10 {
            budget.deposit(fill);
        }
        assert_eq!(withdrawn(&budget, fill, 10), 1);
    }

    proptest! {
        #[test]
        fn retries_stay_below_the_share_and_the_floor(
            steps in proptest::collection::vec((0u64..500, 0usize..40, 0usize..40), 1..60)
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let budget = Budget::full();
                let (mut requests, mut retries, mut millis) = (0usize, 0usize, 0u64);
                for (pause, sent, wanted) in steps {
                    tokio::time::advance(Duration::from_millis(pause)).await;
                    millis += pause;
                    (0..sent).for_each(|_| budget.deposit(FILL));
                    requests += sent;
                    retries += withdrawn(&budget, FILL, wanted);
                    let allowed = 100.0 + 0.2 * requests as f64 + 10.0 * millis as f64 / 1000.0;
                    assert!(retries as f64 <= allowed + 1.0, "{retries} > {allowed}");
                }
            });
        }
    }
}
