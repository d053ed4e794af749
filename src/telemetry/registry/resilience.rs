//! What control counts and looks at of endpoints that fail.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Metrics, locked};
use crate::model::breakers::{Breakers, Counts};
use crate::model::ids::{EndpointId, Label};
use crate::telemetry::delta::Delta;
use crate::telemetry::exposition::Samples;
use crate::telemetry::resilience;
use crate::telemetry::sightings::Sighting;
use crate::telemetry::strains::Strain;

/// How the breakers of a pool stand, for the gauges that are read at a scrape.
#[derive(Debug)]
pub struct NamedBreakers {
    /// The pool's name.
    pub pool: Arc<str>,
    /// How they stand.
    pub breakers: Arc<Breakers>,
    /// Whether the pool has one of its own.
    pub has_whole: bool,
}

impl Metrics {
    /// Moves out what attempts have said of endpoints since it was taken before.
    pub fn take_sightings(&self) -> HashMap<EndpointId, Sighting> {
        locked(&self.sightings).take()
    }

    /// Moves out what attempts have said of how overrun pools are since it was taken before, by the numbers of pools.
    pub fn take_strains(&self) -> HashMap<u32, Strain> {
        locked(&self.strains).take()
    }

    /// Counts an endpoint that control has ejected.
    pub fn ejected(&self, pool: &Label, cause: &'static str) {
        let mut delta = Delta::default();
        delta.eject(pool, cause);
        locked(&self.totals).merge(&delta);
    }

    /// Counts an endpoint that control has spared, since one tenant alone fails there.
    pub fn spared(&self, pool: &Label) {
        let mut delta = Delta::default();
        delta.pools.at(pool).spared += 1;
        locked(&self.totals).merge(&delta);
    }

    /// Sets the breakers that a scrape looks at.
    pub fn publish_breakers(&self, breakers: Vec<NamedBreakers>) {
        self.breakers.publish(Arc::new(breakers));
    }

    pub(super) fn breakers(&self) -> [Samples; 2] {
        let mut tenants = Samples::of(&resilience::BREAKERS);
        let mut wholes = Samples::of(&resilience::POOL_BREAKER);
        let tell = |samples: &mut Samples, pool: &str, counts: Counts| {
            samples.count(&[pool, "open"], counts.open);
            samples.count(&[pool, "half_open"], counts.half_open);
        };
        for NamedBreakers { pool, breakers, has_whole } in self.breakers.load().iter() {
            tell(&mut tenants, pool, breakers.tenants.counts());
            if *has_whole {
                tell(&mut wholes, pool, breakers.whole.standing.counts());
            }
        }
        [tenants, wholes]
    }
}
