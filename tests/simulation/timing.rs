//! How long an attempt takes, where the balancer or the pool's limit asks for it: a short form of `proxy/timing.rs`,
//! `proxy/lately.rs` and `proxy/usual.rs`. There is one worker here, which keeps nothing back.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use tenantry::health::passive::Verdict;
use tenantry::model::answer_times::{AnswerTimes, Times};
use tenantry::model::endpoint::Endpoint;
use tenantry::model::latency::{Sample, UNANSWERED};
use tenantry::pool::Pool;
use tenantry::resilience::retry::Failure;
use tenantry::resilience::typical::{Ended, Judgement, Typical};
use tenantry::telemetry::sightings::kind;

use super::effort::{Outcome, verdict};
use super::gateway::Gateway;

/// An attempt under way. Dropped, it was given up.
pub(crate) struct Timing<'t> {
    /// The balancer asks for it.
    endpoint: Option<&'t Arc<Endpoint>>,
    /// The pool's limit asks for it.
    of_pool: Option<OfPool<'t>>,
    compared: Option<Compared<'t>>,
    began: Instant,
    is_judged: bool,
    has_ended: Cell<bool>,
}

/// The balancer goes round endpoints that are late.
struct Compared<'t> {
    pool: &'t Pool,
    endpoint: &'t Arc<Endpoint>,
    typical: &'t RefCell<Typical>,
    kind: u8,
}

struct OfPool<'t> {
    pool: &'t Pool,
    times: &'t AnswerTimes,
    kind: u8,
}

impl<'t> Timing<'t> {
    pub(crate) fn begin(
        gateway: &'t Gateway,
        (endpoint, tenant): (&'t Arc<Endpoint>, u32),
        began: Instant,
    ) -> Self {
        let (pool, typical) = (&gateway.pool, &gateway.typical);
        let times = pool.answer_times.as_deref();
        let compared = Compared { pool, endpoint, typical, kind: kind(tenant, "") };
        Self {
            endpoint: pool.has_timed_balancer().then_some(endpoint),
            of_pool: times.map(|times| OfPool { pool, times, kind: kind(tenant, "") }),
            compared: pool.goes_round_late().then_some(compared),
            began,
            is_judged: pool.spec.eject.failures > 0,
            has_ended: Cell::new(false),
        }
    }

    pub(crate) fn end(self, outcome: &Outcome) {
        self.has_ended.set(true);
        let (now, verdict) = (Instant::now(), verdict(outcome));
        let taken = now.saturating_duration_since(self.began);
        if let Some(compared) = &self.compared {
            compared.compare(outcome, taken, self.began);
        }
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

impl Compared<'_> {
    /// `Effort::compare`.
    fn compare(&self, outcome: &Outcome, taken: Duration, began: Instant) {
        let ended = match outcome {
            Ok(status) if status.is_server_error() => Ended::Failed,
            Ok(status) if status.is_client_error() => Ended::Refused,
            Ok(_) => Ended::Served,
            Err(Failure::Timeout) if !self.pool.excuses_late() => Ended::GivenUp,
            Err(_) => return,
        };
        self.weigh(taken, began, ended);
    }

    /// `Effort::weigh`.
    fn weigh(&self, taken: Duration, began: Instant, ended: Ended) {
        let judged = self.typical.borrow_mut().judge(self.kind, taken, ended);
        match judged {
            None => {}
            Some(Judgement::InTime) => self.endpoint.comes_in_time(),
            Some(Judgement::Late(weight)) => {
                self.endpoint.comes_late(weight, began, Instant::now());
            }
        }
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
        if let Some(compared) = self.compared.as_ref().filter(|of| !of.pool.excuses_late()) {
            compared.weigh(waited, self.began, Ended::GivenUp);
        }
        if let Some(endpoint) = self.endpoint {
            endpoint.learn(Sample::MoreThan(waited), now);
        }
        if let Some(of_pool) = &self.of_pool {
            of_pool.tell(Sample::MoreThan(waited));
        }
    }
}
