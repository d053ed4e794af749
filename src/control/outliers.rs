//! Ends ejections whose time is over, lets those warm up that are back, has balancers and limits follow, and looks for
//! endpoints that differ from the others of their pool, and for pools that are overrun.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::base::snapshot::Snapshot;
use crate::base::tasks::Stop;
use crate::config::spec::PoolSpec;
use crate::health::outliers::{Allowed, Found, Watch};
use crate::health::passive::{self, Ejected};
use crate::model::endpoint::Endpoint;
use crate::pool::Pool;
use crate::telemetry::registry::Metrics;

use super::adaptive::Limiters;
use super::overruns::Overruns;
use super::reload::Reloader;

impl Reloader {
    /// What is watched: the pools that serve, and where it is counted.
    pub(super) fn watched(&self) -> (Snapshot<Vec<Arc<Pool>>>, Arc<Metrics>) {
        (self.serving.clone(), Arc::clone(&self.metrics))
    }
}

/// Ends ejections whose time is over, gives those that warm up more, has balancers work out what takes long,
/// and compares the endpoints of each pool once in each of its intervals.
pub(super) async fn watch(
    (serving, metrics): (Snapshot<Vec<Arc<Pool>>>, Arc<Metrics>),
    mut stop: Stop,
) {
    let mut readmitting = interval(READMIT_INTERVAL);
    let mut taking = interval(TAKE_INTERVAL);
    for ticks in [&mut readmitting, &mut taking] {
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    let mut watches = HashMap::new();
    let mut limiters = Limiters::default();
    let mut overruns = Overruns::default();
    loop {
        tokio::select! {
            () = stop.requested() => return,
            _ = readmitting.tick() => {
                let pools = serving.load();
                limiters.adjust(&pools, Instant::now());
                readmit(&pools, &metrics).await;
            }
            _ = taking.tick() => {
                let pools = serving.load();
                look(&pools, &metrics, &mut watches);
                overruns.look(&pools, &metrics);
            }
        }
    }
}

async fn readmit(pools: &[Arc<Pool>], metrics: &Metrics) {
    for pool in pools {
        for (endpoint, ejected) in passive::release(&pool.members, &pool.spec.eject) {
            tell(pool, &endpoint, ejected, metrics);
        }
        pool.members.tick();
        if pool.prepare() {
            tokio::task::yield_now().await; // it takes milliseconds
        }
    }
}

fn look(pools: &[Arc<Pool>], metrics: &Metrics, watches: &mut HashMap<u32, Watch>) {
    let now = Instant::now();
    // All of it, so that what was seen of endpoints that nobody compares does not pile up.
    let mut seen = metrics.take_sightings();
    let mut before = std::mem::take(watches);
    for pool in pools {
        let spec = &pool.spec.eject;
        let allowed = allowed(&pool.spec);
        if spec.success_rate.is_none() && spec.latency.is_none() && allowed.is_none() {
            continue;
        }
        let slot = pool.label.slot;
        let mut watch = before.remove(&slot).unwrap_or_else(|| Watch::begin(spec, now));
        for found in watch.look(&pool.members, (spec, allowed), &mut seen, now) {
            match found {
                Found::Ejected(endpoint, ejected) => tell(pool, &endpoint, ejected, metrics),
                Found::Spared => metrics.spared(&pool.label),
            }
        }
        watches.insert(slot, watch);
    }
}

/// The share of failures that the pool's breaker allows an endpoint. Whoever wants none ejected for failures wants none
/// for a breaker, either.
fn allowed(spec: &PoolSpec) -> Option<Allowed> {
    let breaker = spec.breaker.filter(|_| spec.eject.failures > 0)?;
    Some((breaker.failures, u64::from(breaker.requests)))
}

fn tell(pool: &Pool, endpoint: &Endpoint, ejected: Ejected, metrics: &Metrics) {
    metrics.ejected(&pool.label, ejected.cause.as_str());
    tracing::warn!(
        pool = %pool.label.name, endpoint = %endpoint.label, time = ?ejected.time,
        "an endpoint was ejected {}", ejected.cause.why()
    );
}

/// 100 ms: small beside the shortest sensible ejection.
const READMIT_INTERVAL: Duration = Duration::from_millis(100);
/// 1 s: workers tell what they have counted once a second.
const TAKE_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use crate::base::units::Percent;
    use crate::config::spec::BreakerSpec;

    use super::*;

    #[test]
    fn a_breaker_ejects_no_endpoint_where_failures_eject_none() {
        let breaker = BreakerSpec {
            failures: Percent::new(50.0),
            requests: 20,
            window: Duration::from_secs(10),
            open: Duration::from_secs(5),
            max: Duration::from_secs(60),
            trials: 3,
            whole_pool: false,
        };
        let mut spec = PoolSpec { breaker: Some(breaker), ..PoolSpec::default() };
        assert_eq!(allowed(&spec), Some((Percent::new(50.0), 20)));
        spec.eject.failures = 0;
        assert_eq!(allowed(&spec), None);
    }
}
