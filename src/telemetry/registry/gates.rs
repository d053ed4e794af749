//! The gates of pools that a scrape looks at.

use std::sync::Arc;

use crate::base::fair::Gate;
use crate::telemetry::exposition::Samples;
use crate::telemetry::sharing;

use super::{Metrics, NamedGate};

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

    pub(super) fn gates(&self) -> [Samples; 4] {
        let mut inside = Samples::of(&sharing::POOL_CONCURRENCY);
        let mut limit = Samples::of(&sharing::POOL_CONCURRENCY_LIMIT);
        let mut waiting = Samples::of(&sharing::QUEUE_WAITING);
        let mut slowdown = Samples::of(&sharing::POOL_CONCURRENCY_SLOWDOWN);
        for (pool, gate, times) in self.gates.load().iter() {
            let state = gate.state();
            inside.count(&[pool], u64::from(state.inside));
            limit.count(&[pool], u64::from(state.limit.unwrap_or_default()));
            waiting.count(&[pool], state.waiting as u64);
            if let Some(times) = times.as_ref().and_then(|times| times.slowdown()) {
                slowdown.number(&[pool], f64::from(times));
            }
        }
        [inside, limit, waiting, slowdown]
    }
}
