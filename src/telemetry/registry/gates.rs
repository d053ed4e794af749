//! The gates of pools that a scrape looks at.

use std::sync::Arc;

use crate::base::fair::{Gate, State};
use crate::telemetry::exposition::Samples;
use crate::telemetry::{resilience, sharing};

use super::{Metrics, NamedGate, NamedOverrun};

impl Metrics {
    /// The gate of a pool that has one.
    pub fn gate(&self, pool: &str) -> Option<Arc<Gate>> {
        let gates = self.gates.load();
        gates.iter().find(|(name, ..)| **name == *pool).map(|(_, gate, _)| Arc::clone(gate))
    }

    /// Sets the gates that a scrape looks at.
    pub fn publish_gates(&self, gates: Vec<NamedGate>) {
        self.gates.publish(Arc::new(gates));
    }

    /// Sets the bounds of pools that are bounded while they are overrun, which a scrape looks at.
    pub fn publish_overruns(&self, overruns: Vec<NamedOverrun>) {
        self.overruns.publish(Arc::new(overruns));
    }

    pub(super) fn gates(&self) -> [Samples; 5] {
        let mut inside = Samples::of(&sharing::POOL_CONCURRENCY);
        let mut limit = Samples::of(&sharing::POOL_CONCURRENCY_LIMIT);
        let mut waiting = Samples::of(&sharing::QUEUE_WAITING);
        let mut slowdown = Samples::of(&sharing::POOL_CONCURRENCY_SLOWDOWN);
        let mut overrun = Samples::of(&resilience::POOL_OVERRUN);
        let mut tell = |pool: &Arc<str>, state: State| {
            inside.count(&[pool], u64::from(state.inside));
            limit.count(&[pool], u64::from(state.limit.unwrap_or_default()));
            waiting.count(&[pool], state.waiting as u64);
        };
        for (pool, bound) in self.overruns.load().iter() {
            overrun.count(&[pool], u64::from(bound.gate().is_some()));
            if let Some(gate) = bound.gate() {
                tell(pool, gate.state());
            }
        }
        for (pool, gate, times) in self.gates.load().iter() {
            tell(pool, gate.state());
            if let Some(times) = times.as_ref().and_then(|times| times.slowdown()) {
                slowdown.number(&[pool], f64::from(times));
            }
        }
        [inside, limit, waiting, slowdown, overrun]
    }
}
