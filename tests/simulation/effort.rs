//! One exchange: what its attempts share, how each is made, and what is made of it. The parts are short forms of those of `proxy`.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use tenantry::base::fair::{Came, Claim, Class, Handle, Kind, Permit};
use tenantry::config::spec::{RetrySpec, TimeoutsSpec};
use tenantry::health::passive::{self, Attempt, Judged, Verdict};
use tenantry::model::endpoint::Endpoint;
use tenantry::model::ids::EndpointId;
use tenantry::pool::balancer::PickKey;
use tenantry::pool::{InFlight, Pool};
use tenantry::resilience::breaker::{Admitted, Breaker, OnTrial};
use tenantry::resilience::deadline::{Deadlines, leaves_time};
use tenantry::resilience::retry::{Facts, Failure, Refusal, RetryRule};
use tenantry::telemetry::sightings::kind;

use super::book::Event;
use super::gateway::{Gateway, Lost, Tenant, Visit};
use super::server::{Condition, Server};
use super::timing::Timing;

/// What came of one attempt.
pub(crate) type Outcome = Result<StatusCode, Failure>;

/// What stays the same over all attempts of an exchange.
pub(crate) struct Effort<'g> {
    pub(crate) gateway: &'g Gateway,
    pub(crate) pool: &'g Pool,
    pub(crate) tenant: &'g Tenant,
    pub(crate) rule: RetryRule<'g>,
    deadlines: Deadlines,
    end: Option<Instant>,
}

impl<'g> Effort<'g> {
    pub(crate) fn of(gateway: &'g Gateway, tenant: &'g Tenant, came: Instant) -> Self {
        let pool = &gateway.pool;
        let deadlines = Deadlines::resolve(&TimeoutsSpec::UNSAID, &pool.spec.timeouts);
        let rule = RetryRule::resolve(&RetrySpec::UNSAID, &pool.spec.retry);
        let end = deadlines.end(came);
        Self { gateway, pool, tenant, rule, deadlines, end }
    }

    /// `breaking::enter`.
    pub(crate) fn enter(&self) -> Result<Option<OnTrial<'g>>, Lost> {
        let Some((breaker, rules)) = self.breaker().zip(self.pool.spec.breaker.as_ref()) else {
            return Ok(None);
        };
        match breaker.admit(rules, Instant::now()) {
            Ok(Admitted { trial, .. }) => Ok(trial),
            Err(_) => Err(Lost::Open),
        }
    }

    /// `breaking::note`.
    pub(crate) fn note(&self, on_trial: Option<OnTrial<'_>>, began: Instant, verdict: Verdict) {
        let Some((breaker, rules)) = self.breaker().zip(self.pool.spec.breaker.as_ref()) else {
            return;
        };
        let (failed, now) = (verdict != Verdict::Success, Instant::now());
        let _became = match on_trial {
            Some(on_trial) => on_trial.ends(rules, failed, now),
            None => breaker.note(rules, failed, (began, now)),
        };
    }

    fn breaker(&self) -> Option<&'g Breaker> {
        let all = self.pool.breakers.as_ref()?;
        Some(self.tenant.allowance.breaker(SLOT, all, Instant::now()))
    }

    /// `admission::try_enter` and `Comer::wait`.
    pub(crate) async fn come(&self) -> Result<Option<Permit>, Lost> {
        let gate = self.pool.gate().map(Handle::of);
        let Some((gate, spec)) = gate.zip(self.pool.spec.line()) else { return Ok(None) };
        let (now, kind) = (Instant::now(), Kind::named(""));
        if let Some(permit) = gate.try_enter(kind, now) {
            return Ok(Some(permit));
        }
        let until = self.end.map_or(now + spec.wait, |end| end.min(now + spec.wait));
        let claim = Claim {
            flow: self.tenant.slot,
            weight: 1,
            class: Class::Normal,
            most: spec.length,
            until,
            cost: gate.cost(kind),
        };
        match gate.come(kind, &claim, now) {
            Came::In(permit) => Ok(Some(permit)),
            Came::Waits(waiting) => waiting.turn().await.map(Some).ok_or(Lost::Crowded),
            Came::Full => Err(Lost::Crowded),
        }
    }

    /// `Effort::pick` of `picking.rs`.
    pub(crate) fn pick(&self, tried: &[EndpointId], last: Option<Failure>) -> Option<InFlight> {
        if tried.is_empty() && self.pool.members.is_watchful() {
            let may_repeat = self.rule.attempts > 1;
            let picked = self.pool.pick_on_trial(self.tenant.slot, may_repeat, Instant::now());
            if picked.is_some() {
                return picked;
            }
        }
        let picked = self.pool.pick(PickKey::default(), tried)?;
        let silent = !matches!(last, None | Some(Failure::Status(_)));
        if silent && tried.contains(&picked.endpoint().id) {
            return self.pool.pick_left_out(tried).or(Some(picked));
        }
        Some(picked)
    }

    /// `Effort::pick_at_last`.
    pub(crate) fn pick_at_last(&self, tried: &[EndpointId], visit: &Visit) -> Option<InFlight> {
        visit.takes_anybody.get().then(|| self.pool.pick_left_out(tried)).flatten()
    }

    /// One attempt, counted, judged and timed as `counted.rs`, `judged.rs`, `timing.rs` and `usual.rs` do.
    pub(crate) async fn attempt(&self, picked: InFlight) -> Outcome {
        let (began, endpoint) = (Instant::now(), picked.endpoint());
        self.gateway.book.note(Event::Sends(endpoint.id.0));
        let timing = Timing::begin(self.gateway, (endpoint, self.tenant.slot), began);
        let counted = Counted { gateway: self.gateway, began, is_late: true };
        let outcome = self.ask(endpoint, began).await;
        counted.end(&outcome);
        if outcome != Err(Failure::Timeout) || !self.pool.excuses_late() {
            self.judge(endpoint, verdict(&outcome), began);
        }
        timing.end(&outcome);
        if verdict(&outcome) != Verdict::Success {
            self.gateway.book.note(Event::FailsAt(endpoint.id.0));
        }
        outcome
    }

    /// The way there and back, no longer than an attempt may last.
    async fn ask(&self, endpoint: &Endpoint, began: Instant) -> Outcome {
        let line = &self.gateway.timeline;
        let server = self.gateway.servers.borrow().get(&endpoint.address).cloned();
        let Some(server) = server else {
            line.sleep(2 * LINK).await;
            return Err(Failure::Connect);
        };
        let talk = async {
            let is_open = server.reuse();
            if !is_open {
                self.dial(&server).await?;
            }
            line.sleep(LINK).await;
            let answer = server.answer(!is_open).await;
            line.sleep(LINK).await;
            let answer = answer.ok_or(Failure::Reset)?;
            server.keep();
            Ok::<StatusCode, Failure>(answer)
        };
        let Some(until) = self.deadlines.attempt_end(began, self.end) else { return talk.await };
        tokio::select! {
            biased;
            answered = talk => answered,
            () = line.sleep_until(until) => Err(Failure::Timeout),
        }
    }

    async fn dial(&self, server: &Server) -> Result<(), Failure> {
        let line = &self.gateway.timeline;
        if server.condition() == Condition::Unreachable {
            line.sleep(self.deadlines.connect).await;
            return Err(Failure::Connect);
        }
        line.sleep(2 * LINK).await;
        if server.condition() == Condition::Dead { Err(Failure::Connect) } else { Ok(()) }
    }

    /// `judged::judge`.
    fn judge(&self, endpoint: &Arc<Endpoint>, verdict: Verdict, began: Instant) {
        let (now, tenant) = (Instant::now(), self.tenant.slot);
        let mut sightings = self.gateway.sightings.borrow_mut();
        let seen = sightings.entry(endpoint.id).or_default();
        match verdict {
            Verdict::Success => seen.served += 1,
            _ => seen.failed += 1,
        }
        if matches!(verdict, Verdict::Failure | Verdict::Busy) {
            match seen.by_tenant.iter_mut().find(|(known, _)| *known == tenant) {
                Some((_, count)) => *count += 1,
                None => seen.by_tenant.push((tenant, 1)),
            }
        }
        if self.pool.attended && verdict != Verdict::Unreachable {
            seen.times.add(kind(tenant, ""), now.saturating_duration_since(began));
        }
        drop(sightings);
        let attempt = Attempt { verdict, tenant, began, now };
        let judged = passive::observe(&self.pool.members, endpoint, &self.pool.spec.eject, attempt);
        if let Some(Judged::Ejected(_)) = judged {
            self.gateway.book.note(Event::Ejects(endpoint.id.0));
        }
    }

    /// What might be tried again.
    pub(crate) fn failure(&self, outcome: &Outcome) -> Option<Failure> {
        match outcome {
            Ok(status) => self.rule.lists_status(*status).then_some(Failure::Status(*status)),
            Err(failure) => Some(*failure),
        }
    }

    /// `Effort::may_retry`: all requests may be repeated.
    pub(crate) fn may_retry(
        &self,
        failure: Failure,
        tried: &[EndpointId],
    ) -> Result<Duration, Refusal> {
        let attempts = u32::try_from(tried.len()).unwrap_or(u32::MAX);
        self.rule.judge(failure, Facts { attempts, idempotent: true, replayable: true })?;
        let free = failure == Failure::Connect && self.pool.has_sound_untried(tried);
        let pause = match free {
            true => Duration::ZERO,
            false => {
                let counts = self.pool.spec.eject.failures > 0;
                let is_sound = counts && attempts == 1 && self.pool.offers_sound(tried);
                self.rule.pause(failure, attempts, is_sound)
            }
        };
        if !leaves_time(pause, self.end) {
            return Err(Refusal::Deadline);
        }
        if !self.tenant.allowance.withdraw(SLOT, self.rule.fill()) && !free {
            return Err(Refusal::Budget);
        }
        Ok(pause)
    }
}

/// `Counted` of `counted.rs`: what attempts say of how overrun their pool is.
struct Counted<'g> {
    gateway: &'g Gateway,
    began: Instant,
    is_late: bool,
}

impl Counted<'_> {
    fn end(mut self, outcome: &Outcome) {
        self.is_late = *outcome == Err(Failure::Timeout);
        if matches!(outcome, Ok(status) if !status.is_server_error()) {
            self.gateway.strain.borrow_mut().served.observe(self.began.elapsed());
        }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        if self.is_late {
            self.gateway.strain.borrow_mut().late.observe(self.began.elapsed());
        }
    }
}

/// What an attempt says of its endpoint: `Effort::verdict` of `judge.rs`.
pub(crate) fn verdict(outcome: &Outcome) -> Verdict {
    match outcome {
        Ok(status) if status.is_server_error() => Verdict::Failure,
        Ok(_) => Verdict::Success,
        Err(Failure::Connect) => Verdict::Unreachable,
        Err(_) => Verdict::Failure,
    }
}

/// The pool's number among the tenants' budgets: there is one.
pub(crate) const SLOT: u32 = 0;
/// 250 µs each way: another rack.
const LINK: Duration = Duration::from_micros(250);
