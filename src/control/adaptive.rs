//! Has the limits of pools that ask for it follow how long their requests take.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::Instant;

use crate::pool::Pool;
use crate::resilience::adaptive::Limiter;

/// What is known of the pools, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Limiters(HashMap<u32, Limiter>);

impl Limiters {
    /// Takes what workers have seen and moves limits by it. To be called about every 100 ms.
    pub(super) fn adjust(&mut self, pools: &[Arc<Pool>], now: Instant) {
        let mut before = std::mem::take(&mut self.0);
        for pool in pools {
            let Some(gate) = &pool.gate else { continue };
            let state = gate.state();
            // Where it is open nothing limits the pool any more.
            let Some(limit) = state.limit else { continue };
            let Some((spec, times)) = pool.adaptive() else {
                // Its limit may have been moved by who did not know yet that it stands still now.
                pool.set_limit();
                continue;
            };
            let slot = pool.label.slot;
            let mut limiter = before.remove(&slot).unwrap_or_else(|| Limiter::new(now));
            let mut seen = times.take();
            seen.sees(state.inside);
            let next = limiter.step(&spec, limit, &seen, now);
            // An edit of the pool may set it at the same time, and goes before.
            if next != limit && gate.move_limit(limit, next) {
                tracing::debug!(
                    pool = %pool.label.name, limit = next, before = limit,
                    slowdown = limiter.slowdown(), "the limit of requests at once has moved"
                );
            }
            times.tell(limiter.slowdown());
            self.0.insert(slot, limiter);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::config::spec::{AdaptiveSpec, ConcurrencySpec, PoolSpec};
    use crate::model::answer_times::Times;
    use crate::model::endpoint::Health;
    use crate::model::ids::Label;
    use crate::model::latency::Sample;
    use crate::model::members::Members;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const ADAPTIVE: AdaptiveSpec = AdaptiveSpec { min: 10, max: 100, tolerance: 1.5 };

    fn pool(limit: u32, adaptive: Option<AdaptiveSpec>) -> Arc<Pool> {
        let concurrency = ConcurrencySpec { limit, length: 0, wait: SECOND, adaptive };
        let spec = PoolSpec { concurrency: Some(concurrency), ..PoolSpec::default() };
        let members = Arc::new(Members::new(1, Health::Unchecked, 0.5));
        let label = Label { name: "shop".into(), slot: 3 };
        Arc::new(Pool::build(label, Arc::new(spec), members, 0, None).unwrap())
    }

    fn limit(pool: &Pool) -> Option<u32> {
        pool.gate.as_ref().and_then(|gate| gate.state().limit)
    }

    /// Requests end that took so long while so many were under way.
    fn see(pool: &Pool, took: Duration, inside: u32) {
        let mut times = Times::default();
        (0..100).for_each(|_| times.add(1, Sample::Took(took), inside));
        assert!(pool.answer_times.as_ref().unwrap().try_add(&mut times));
    }

    #[test]
    fn a_limit_follows_what_workers_see_and_is_told() {
        let (pool, mut limiters) = (pool(10, Some(ADAPTIVE)), Limiters::default());
        let (pools, mut now) = ([Arc::clone(&pool)], Instant::now());
        limiters.adjust(&pools, now);
        let mut step = |millis, inside| {
            see(&pool, Duration::from_millis(millis), inside);
            now += 5 * SECOND;
            limiters.adjust(&pools, now);
            limit(&pool).unwrap()
        };
        (0..5).for_each(|_| assert_eq!(step(10, 3), 10, "it is not used"));
        let risen = (0..9).fold(0, |_, _| step(10, 100));
        assert!(risen > 30, "{risen}");
        let fallen = step(100, 100);
        assert!(fallen < risen, "{fallen}");
        let slowdown = pool.answer_times.as_ref().unwrap().slowdown().unwrap();
        assert!((slowdown - 10.0).abs() < 0.01, "{slowdown}");
    }

    #[test]
    fn a_slowdown_is_told_no_more_once_the_pool_has_nothing_to_do() {
        let (pool, mut limiters) = (pool(10, Some(ADAPTIVE)), Limiters::default());
        let (pools, mut now) = ([Arc::clone(&pool)], Instant::now());
        limiters.adjust(&pools, now);
        for millis in [10, 10, 30] {
            see(&pool, Duration::from_millis(millis), 10);
            now += 5 * SECOND;
            limiters.adjust(&pools, now);
        }
        let slowdown = || pool.answer_times.as_ref().unwrap().slowdown();
        assert!(slowdown().is_some_and(|slowdown| slowdown > 2.0));

        now += 60 * SECOND;
        limiters.adjust(&pools, now);

        assert_eq!(slowdown(), None);
    }

    #[test]
    fn a_limit_that_stands_still_is_what_is_written_and_an_open_gate_stays_open() {
        let (pool, mut limiters) = (pool(50, None), Limiters::default());
        let gate = Arc::clone(pool.gate.as_ref().unwrap());
        gate.set_limit(7);
        limiters.adjust(&[Arc::clone(&pool)], Instant::now());
        assert_eq!(limit(&pool), Some(50));
        gate.open();
        limiters.adjust(&[Arc::clone(&pool)], Instant::now());
        assert_eq!(limit(&pool), None);
    }
}
