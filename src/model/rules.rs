//! By what rules the traffic of a pool is divided, as its definition and the gateway's say.

use std::sync::Arc;

use super::shares::{Near, Rule};
use super::warmth::SlowStart;

/// How a pool's traffic is divided among its members.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// The share of healthy members, of one, below which all are used.
    pub panic_share: f64,
    /// What healthy members can bear, in hundredths of their part of all.
    pub overprovisioning: u32,
    /// How members come to their share that join or recover; `None` = at once.
    pub slow_start: Option<SlowStart>,
    /// The gateway's own zone, which comes first; `None` = zones do not matter.
    pub zone: Option<OwnZone>,
    /// Where nobody is healthy nobody is used, and requests wait: for as many turns at once with each endpoint that
    /// comes; `None` = they do not wait, and all are used.
    pub turns: Option<u32>,
}

/// The zone that the gateway stands in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnZone {
    /// Its name.
    pub name: Arc<str>,
    /// With fewer endpoints it is nothing special.
    pub min_endpoints: u32,
    /// Requests in flight for each of its endpoints, beyond which other zones help.
    pub spill_above: u32,
}

impl Rules {
    /// Where nothing but this is said.
    pub fn of_panic_share(panic_share: f64) -> Self {
        Self { panic_share, overprovisioning: 140, slow_start: None, zone: None, turns: None }
    }

    /// With what the own zone bears by its load.
    pub(super) fn rule(&self, bears: u64) -> Rule {
        let near = |zone: &OwnZone| Near { min_endpoints: zone.min_endpoints, bears };
        Rule {
            panic_permille: (self.panic_share.clamp(0.0, 1.0) * 1000.0).round() as u32,
            overprovisioning: self.overprovisioning,
            near: self.zone.as_ref().map(near),
            waits: self.turns.is_some(),
        }
    }

    /// Whether something stands in the gateway's own zone.
    pub(super) fn is_near(&self, zone: Option<&Arc<str>>) -> bool {
        self.zone.as_ref().is_some_and(|own| zone == Some(&own.name))
    }
}
