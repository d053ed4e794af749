//! Which pools there are, and what control counts for each.

use std::collections::HashSet;
use std::sync::Arc;

use crate::telemetry::checks;
use crate::telemetry::metrics::{self, Family};
use crate::telemetry::resilience;

use super::{Metrics, NamedPool, locked};

impl Metrics {
    /// Sets the pools whose members a scrape looks at, and forgets what was counted for the
    /// sources and checks of pools that are no more.
    pub fn publish_pools(&self, pools: Vec<NamedPool>) {
        let names: HashSet<&str> = pools.iter().map(|(name, _)| name.as_ref()).collect();
        for family in OF_POOLS {
            if let Some(values) = locked(&self.values).get_mut(family.name) {
                values.by_labels.retain(|labels, _| {
                    labels.first().is_some_and(|pool| names.contains(pool.as_str()))
                });
            }
        }
        drop(names);
        self.pools.publish(Arc::new(pools));
    }
}

/// What control counts by pool: the first label.
static OF_POOLS: [&Family; 4] = [
    &metrics::DISCOVERY_UPDATES,
    &checks::HEALTH_CHECKS,
    &checks::EJECTIONS_ENDED_EARLY,
    &resilience::POOL_OVERRUNS,
];
