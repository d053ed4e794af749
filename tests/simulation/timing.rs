//! How long an attempt takes, where the balancer asks for it: a short form of `proxy/timing.rs`.

use std::cell::Cell;
use std::sync::Arc;

use tokio::time::Instant;

use tenantry::health::passive::Verdict;
use tenantry::model::endpoint::Endpoint;
use tenantry::model::latency::{Sample, UNANSWERED};
use tenantry::pool::Pool;

/// An attempt under way. Dropped, it was given up.
pub(crate) struct Timing<'t> {
    endpoint: Option<&'t Arc<Endpoint>>,
    began: Instant,
    is_judged: bool,
    has_ended: Cell<bool>,
}

impl<'t> Timing<'t> {
    pub(crate) fn begin(pool: &Pool, endpoint: &'t Arc<Endpoint>, began: Instant) -> Self {
        let endpoint = pool.is_timed().then_some(endpoint);
        let is_judged = pool.spec.eject.failures > 0;
        Self { endpoint, began, is_judged, has_ended: Cell::new(false) }
    }

    pub(crate) fn end(self, verdict: Verdict) {
        self.has_ended.set(true);
        let Some(endpoint) = self.endpoint else { return };
        let now = Instant::now();
        let taken = now.saturating_duration_since(self.began);
        let is_to_blame = match verdict {
            Verdict::Success => false,
            Verdict::Unreachable => true,
            Verdict::Failure | Verdict::Busy if !self.is_judged => true,
            Verdict::Failure | Verdict::Busy => {
                endpoint.failures() >= 2 && !endpoint.fails_one_tenant_alone(now)
            }
        };
        let sample = match verdict {
            _ if is_to_blame => Sample::Took(taken.max(UNANSWERED)),
            Verdict::Success => Sample::Took(taken),
            _ => Sample::MoreThan(taken),
        };
        endpoint.learn(sample, now);
    }
}

impl Drop for Timing<'_> {
    fn drop(&mut self) {
        if let Some(endpoint) = self.endpoint.filter(|_| !self.has_ended.get()) {
            let now = Instant::now();
            endpoint.learn(Sample::MoreThan(now.saturating_duration_since(self.began)), now);
        }
    }
}
