//! The meaning of how a pool's traffic is spread over its endpoints.

use std::sync::Arc;
use std::time::Duration;

use crate::base::units::Percent;
use crate::model::address::Address;

/// One endpoint that is written in the routes file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSpec {
    /// Where it listens.
    pub address: Address,
    /// Its share of the traffic beside the others' weights; 0 = none. Default 1.
    pub weight: u32,
    /// Lower numbers come first. Default 0.
    pub priority: u16,
    /// The zone that it stands in; `None` = it is not said.
    pub zone: Option<Arc<str>>,
    /// Whether it gets new requests.
    pub state: EndpointState,
}

impl EndpointSpec {
    /// An address of which no more is said.
    pub fn new(address: Address) -> Self {
        Self { address, weight: 1, priority: 0, zone: None, state: EndpointState::Active }
    }
}

/// Whether an endpoint gets new requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointState {
    /// It does.
    Active,
    /// It finishes those that it has.
    Draining,
}

/// How a pool's traffic is spread over its endpoints, beside what the balancer does.
#[derive(Clone, Debug, PartialEq)]
pub struct SpreadSpec {
    /// How endpoints come to their share that join or recover; `None` = at once.
    pub slow_start: Option<SlowStartSpec>,
    /// What the healthy endpoints of a priority can bear, as a multiple of their part of all. Default 1.4.
    pub overprovisioning: f64,
    /// How the gateway's own zone comes first; `None` = zones do not matter.
    pub zones: Option<ZonesSpec>,
    /// How many endpoints each tenant has, of each priority; `None` = all have all. Beside it zones do not
    /// matter.
    pub shard: Option<usize>,
}

/// How the gateway's own zone comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZonesSpec {
    /// With fewer endpoints it is nothing special. Default 2.
    pub min_endpoints: u32,
    /// Requests in flight for each of its endpoints, beyond which other zones help. Default 16.
    pub spill_above: u32,
}

impl Default for ZonesSpec {
    fn default() -> Self {
        Self { min_endpoints: 2, spill_above: 16 }
    }
}

impl Default for SpreadSpec {
    fn default() -> Self {
        let zones = Some(ZonesSpec::default());
        Self { slow_start: None, overprovisioning: 1.4, zones, shard: None }
    }
}

/// How endpoints come to their share that join or recover.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlowStartSpec {
    /// How long it takes. Default 30 s.
    pub window: Duration,
    /// 1 = evenly; more = fast in the beginning. Default 1.
    pub aggression: f64,
    /// The share that they begin with. Default 10 %.
    pub min: Percent,
}
