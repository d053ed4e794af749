//! How long an attempt takes, where the balancer or the pool's limit asks for it: a short form of `proxy/timing.rs` and
//! `proxy/lately.rs`. There is one worker here, which keeps nothing back.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use tenantry::health::passive::Verdict;
use tenantry::model::answer_times::{AnswerTimes, Times};
use tenantry::model::endpoint::Endpoint;
use tenantry::model::latency::{Sample, UNANSWERED};
use tenantry::pool::Pool;
use tenantry::telemetry::sightings::kind;

/// An attempt under way. Dropped, it was given up.
pub(crate) struct Timing<'t> {
    /// The balancer asks for it.
    endpoint: Option<&'t Arc<Endpoint>>,
    /// The pool's limit asks for it.
    of_pool: Option<OfPool<'t>>,
    began: Instant,
    is_judged: bool,
    has_ended: Cell<bool>,
}

struct OfPool<'t> {
    pool: &'t Pool,
    times: &'t AnswerTimes,
    kind: u8,
}

impl<'t> Timing<'t> {
    pub(crate) fn begin(
        pool: &'t Pool,
        (endpoint, tenant): (&'t Arc<Endpoint>, u32),
        began: Instant,
    ) -> Self {
        let times = pool.answer_times.as_deref();
        Self {
            endpoint: pool.has_timed_balancer().then_some(endpoint),
            of_pool: times.map(|times| OfPool { pool, times, kind: kind(tenant, "") }),
            began,
            is_judged: pool.spec.eject.failures > 0,
            has_ended: Cell::new(false),
        }
    }

    pub(crate) fn end(self, verdict: Verdict) {
        self.has_ended.set(true);
        let now = Instant::now();
        let taken = now.saturating_duration_since(self.began);
        if let Some(of_pool) = &self.of_pool {
            of_pool.add(verdict, taken);
        }
        let Some(endpoint) = self.endpoint else { return };
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

impl OfPool<'_> {
    /// `of_pool`.
    fn add(&self, verdict: Verdict, taken: Duration) {
        match verdict {
            Verdict::Success => self.tell(Sample::Took(taken)),
            Verdict::Failure | Verdict::Busy => self.tell(Sample::MoreThan(taken)),
            Verdict::Unreachable => {}
        }
    }

    /// `Own::add`.
    fn tell(&self, sample: Sample) {
        let mut times = Times::default();
        let inside = self.pool.gate.as_ref().map_or(0, |gate| gate.state().inside);
        times.add(self.kind, sample, inside);
        self.times.try_add(&mut times);
    }
}

impl Drop for Timing<'_> {
    fn drop(&mut self) {
        if self.has_ended.get() {
            return;
        }
        let now = Instant::now();
        let waited = now.saturating_duration_since(self.began);
        if let Some(endpoint) = self.endpoint {
            endpoint.learn(Sample::MoreThan(waited), now);
        }
        if let Some(of_pool) = &self.of_pool {
            of_pool.tell(Sample::MoreThan(waited));
        }
    }
}
