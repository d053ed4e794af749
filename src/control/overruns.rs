//! Bounds pools without a limit of their own while they are overrun.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::overrun::Overrun;
use crate::pool::Pool;
use crate::resilience::overrun::{Look, Step, Watch};
use crate::telemetry::registry::Metrics;
use crate::telemetry::resilience::POOL_OVERRUNS;

/// What is known of the pools, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Overruns(HashMap<u32, Watch>);

impl Overruns {
    /// Takes what workers have seen and bounds pools by it. To be called about once a second.
    pub(super) fn look(&mut self, pools: &[Arc<Pool>], metrics: &Metrics) {
        // All of it, so that what was seen of pools that nobody bounds does not pile up.
        let mut seen = metrics.take_strains();
        let mut before = std::mem::take(&mut self.0);
        for pool in pools {
            let Some(overrun) = &pool.overrun else { continue };
            let slot = pool.label.slot;
            let known = before.remove(&slot);
            // One that has gone and come again within a look is another pool.
            let known = known.filter(|watch| watch.has_bound() == overrun.gate().is_some());
            let mut watch = known.unwrap_or_default();
            let strain = seen.remove(&slot).unwrap_or_default();
            let step = watch.look(&Look::of(&strain, overrun.queued()));
            obey(step, pool, overrun, metrics);
            if overrun.excuses() != watch.excuses() {
                overrun.excuse(watch.excuses());
            }
            self.0.insert(slot, watch);
        }
    }
}

fn obey(step: Step, pool: &Pool, overrun: &Overrun, metrics: &Metrics) {
    let name = &pool.label.name;
    match step {
        Step::Stays => {}
        Step::Binds(limit) => {
            overrun.bind(limit);
            metrics.add(&POOL_OVERRUNS, &[name], 1);
            tracing::warn!(
                pool = %name, limit,
                "the pool is overrun: more attempts end too late than are answered, and answers take much longer than usual; \
                 until that is over so many requests at most wait for its endpoints at once"
            );
        }
        Step::Moves(limit) => {
            overrun.bind(limit);
            tracing::debug!(pool = %name, limit, "the bound of a pool that was overrun has moved");
        }
        Step::Frees => {
            overrun.free();
            tracing::info!(pool = %name, "the pool is not overrun any more: its bound is gone");
        }
        Step::GivesUp => {
            overrun.free();
            tracing::warn!(
                pool = %name,
                "answers take as long with a bound as without: the pool is slow, and not overrun; its bound is gone"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::mpsc::Receiver;

    use crate::config::spec::{ConcurrencySpec, PoolSpec};
    use crate::control::plan;
    use crate::model::endpoint::{Endpoint, Health};
    use crate::model::ids::{EndpointId, Label, PoolId};
    use crate::model::members::Members;
    use crate::telemetry::delta::{AttemptOutcome, Delta};
    use crate::telemetry::meter::Meter;
    use crate::telemetry::registry::deltas;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pool(spec: PoolSpec) -> Arc<Pool> {
        let members = Arc::new(Members::new(1, Health::Unchecked, 0.5));
        let label = Label { name: "shop".into(), slot: 3 };
        Arc::new(Pool::build(label, Arc::new(spec), members, 0, None).unwrap())
    }

    /// What is counted of a pool, and looked at.
    struct Counting {
        metrics: Metrics,
        meter: Meter,
        told: Receiver<Delta>,
        endpoint: Endpoint,
        overruns: Overruns,
    }

    impl Counting {
        fn begin() -> Self {
            let (sender, told) = deltas();
            let endpoint = Endpoint::new(EndpointId(1), ([10, 0, 0, 1], 80).into(), Health::Up);
            let (metrics, meter) = (Metrics::new(), Meter::new(0, sender));
            Self { metrics, meter, told, endpoint, overruns: Overruns::default() }
        }

        /// A second in which so many were late and so many served within so many milliseconds. Tells whether it is bounded then.
        fn second(&mut self, pool: &Arc<Pool>, (late, served, millis): (u32, u32, u64)) -> bool {
            let (meter, time) = (&self.meter, Some(Duration::from_millis(millis)));
            for _ in 0..served {
                meter.attempt(&pool.label, &self.endpoint, AttemptOutcome::Success, time);
            }
            (0..late).for_each(|_| meter.late_at(&pool.label, SECOND));
            meter.flush();
            while let Ok(delta) = self.told.try_recv() {
                self.metrics.merge(&delta);
            }
            self.overruns.look(&[Arc::clone(pool)], &self.metrics);
            pool.is_overrun()
        }
    }

    #[tokio::test]
    async fn what_workers_count_bounds_a_pool_and_frees_it() {
        let (pool, mut counting) = (pool(PoolSpec::default()), Counting::begin());
        let mut second = |of| counting.second(&pool, of);

        (0..5).for_each(|_| assert!(!second((0, 100, 10))));
        assert!(!second((60, 30, 900)));
        assert!(second((60, 30, 900)));
        (0..9).for_each(|_| assert!(second((0, 100, 10))));
        assert!(!second((0, 100, 10)));
    }

    #[tokio::test]
    async fn a_pool_that_goes_while_it_is_bounded_and_comes_again_at_once_begins_anew() {
        let (old, new) = (pool(PoolSpec::default()), pool(PoolSpec::default()));
        let mut counting = Counting::begin();
        (0..5).for_each(|_| assert!(!counting.second(&old, (0, 100, 10))));
        assert!(!counting.second(&old, (60, 30, 900)));
        assert!(counting.second(&old, (60, 30, 900)));
        assert!(old.is_overrun() && old.excuses_late());

        for _ in 0..60 {
            assert!(!counting.second(&new, (60, 30, 900)));
            assert!(!new.excuses_late());
        }
    }

    #[test]
    fn a_pool_that_gets_a_limit_of_its_own_or_is_unlimited_is_bounded_no_more() {
        let limit = ConcurrencySpec { limit: 5, length: 0, wait: SECOND, adaptive: None };
        let limited = PoolSpec { concurrency: Some(limit), ..PoolSpec::default() };
        let unlimited = PoolSpec { overrun: None, ..PoolSpec::default() };
        for (spec, stays) in [(limited, false), (unlimited, false), (PoolSpec::default(), true)] {
            let before = pool(PoolSpec::default());
            before.overrun.as_ref().unwrap().bind(20);
            let members = Arc::clone(&before.members);
            let next = Pool::build(before.label.clone(), Arc::new(spec), members, 0, None).unwrap();
            let next = Arc::new(next.following(&before));

            let id = PoolId("shop".into());
            plan::set_limits([&before], &[(id, Arc::clone(&next))].into());

            assert_eq!((before.is_overrun(), next.is_overrun()), (stays, stays));
        }
    }
}
