//! Path 4: attempts until there is an answer, or the deadline or the budget is used up.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::base::fair::Gate;
use crate::health::passive::{Attempt, Verdict};
use crate::http1::room::AnswerHead;
use crate::model::ids::EndpointId;
use crate::pool::balancer::PickKey;
use crate::pool::{InFlight, Pool};
use crate::resilience::deadline::Deadlines;
use crate::resilience::retry::{Facts, Failure, Refusal, RetryRule};
use crate::routing::route::Route;
use crate::routing::tenant::Tenant;
use crate::telemetry::delta::AttemptOutcome;

use super::admission::{self, Place};
use super::answer::Lease;
use super::attempt::{self, Answered, Bounds};
use super::breaking::{self, OnTrial};
use super::choice::Choice;
use super::error::{AttemptError, ExchangeError};
use super::judged;
use super::outgoing::Outgoing;
use super::spans::{self, Watched};
use super::visit::Visit;
use super::worker::Worker;

/// Sends a request until an endpoint answers.
///
/// # Errors
/// How the last attempt failed, or why there was none.
pub(super) async fn send(
    worker: &Worker,
    choice: &Choice<'_>,
    outgoing: &mut Outgoing<'_>,
    visit: &mut Visit,
) -> Result<(AnswerHead, Box<Lease>), ExchangeError> {
    let mut effort = Effort::of(worker, choice, visit);
    if choice.pool.breakers.is_some() {
        effort.on_trial = Cell::new(breaking::enter(worker, choice)?);
    }
    if let Some(gate) = &choice.pool.gate {
        effort.come(gate, choice, outgoing, visit).await?;
    }
    effort.tenant.deposit(effort.pool.label.slot, effort.rule.fill());
    let mut tried: Vec<EndpointId> = Vec::new(); // and failed
    let mut last = None;
    loop {
        let picked = effort.pick(&tried, last, outgoing).ok_or(ExchangeError::NoEndpoint)?;
        let made = tried.len() as u32 + 1;
        visit.note(|record| record.attempts = made);
        visit.note_for_log(|record| record.endpoint = Some(picked.endpoint().label.clone()));
        let id = picked.endpoint().id;

        let mut trial = Trial::begin(&effort, picked);
        let answered = trial.run(outgoing, made, last, visit).await;
        let Some(failure) = effort.failure(&answered) else {
            return effort.settle(answered, trial, outgoing, visit);
        };
        last = Some(failure);
        effort.reaches.set(effort.reaches.get() || failure != Failure::Connect);
        tried.push(id);
        match effort.may_retry(failure, &tried, outgoing) {
            Ok(pause) => {
                worker.meter.retry(&effort.pool.label, failure.reason());
                drop((answered, trial)); // the endpoint is free while we wait
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await; // even a sleep of nothing takes a timer's tick
                }
            }
            Err(refusal) => {
                effort.note_refusal(refusal);
                visit.trail(|trail| trail.gave_up(refusal));
                return effort.settle(answered, trial, outgoing, visit);
            }
        }
    }
}

/// What stays the same over all attempts of an exchange.
struct Effort<'e> {
    worker: &'e Worker,
    pool: &'e Pool,
    deadlines: Deadlines,
    rule: RetryRule<'e>,
    tenant: &'e Tenant,
    route: Option<&'e Route>,
    /// When the whole exchange must have ended.
    end: Option<Instant>,
    /// When the first attempt may begin.
    began: Instant,
    /// Its place among the pool's requests: until it is told the last word, then the answer's.
    place: Cell<Place>,
    /// An attempt that failed may have come to somebody.
    reaches: Cell<bool>,
    /// Its place among those on trial, while the tenant's breaker is half open.
    on_trial: Cell<OnTrial<'e>>,
}

impl<'e> Effort<'e> {
    fn of(worker: &'e Worker, choice: &'e Choice<'_>, visit: &Visit) -> Self {
        let deadlines = choice.deadlines();
        Self {
            worker,
            pool: choice.pool,
            end: deadlines.end(visit.started()),
            deadlines,
            rule: choice.retry_rule(),
            tenant: choice.tenant,
            route: choice.route,
            // A wait for a limit is nobody's first byte.
            began: if visit.is_limited() { worker.clock.recent() } else { visit.started() },
            place: Cell::new(None),
            reaches: Cell::new(false),
            on_trial: Cell::new(None),
        }
    }

    /// Comes into a pool that takes so many requests at once.
    async fn come(
        &mut self,
        gate: &Arc<Gate>,
        choice: &Choice<'_>,
        outgoing: &Outgoing<'_>,
        visit: &mut Visit,
    ) -> Result<(), ExchangeError> {
        let place = match admission::try_enter(self.worker, choice, gate) {
            Ok(place) => place,
            Err(comer) => {
                // Boxed: it is rare, and larger than all the rest.
                let wait = comer.wait(self.worker, choice, outgoing, (self.end, visit));
                let place = Box::pin(wait).await?;
                self.began = self.worker.clock.recent(); // read at the wait's end
                place
            }
        };
        self.place = Cell::new(place);
        Ok(())
    }

    /// The endpoint of the next attempt. After a failure that was no answer, one that is out is
    /// better than one that has just failed.
    fn pick(
        &self,
        tried: &[EndpointId],
        last: Option<Failure>,
        outgoing: &Outgoing<'_>,
    ) -> Option<InFlight> {
        if tried.is_empty()
            && self.pool.members.is_watchful()
            && let Some(picked) = self.pick_on_trial(outgoing)
        {
            return Some(picked);
        }
        if self.pool.is_sharded() {
            return self.pick_own(tried, last);
        }
        let picked = self.pool.pick(PickKey::default(), tried)?;
        let silent = !matches!(last, None | Some(Failure::Status(_)));
        if silent && tried.contains(&picked.endpoint().id) {
            return self.pool.pick_left_out(tried).or(Some(picked));
        }
        Some(picked)
    }

    /// The same in a pool of which each tenant has a few endpoints. A request that has reached none of them
    /// has harmed nobody, and goes on to others before it fails.
    #[inline(never)]
    fn pick_own(&self, tried: &[EndpointId], last: Option<Failure>) -> Option<InFlight> {
        let tenant = self.tenant.id();
        let picked = self.pool.pick_own(tenant, PickKey::default(), tried)?;
        let silent = !matches!(last, None | Some(Failure::Status(_)));
        if silent && tried.contains(&picked.endpoint().id) {
            let next = (!self.reaches.get()).then(|| self.pool.pick_next(tenant, tried)).flatten();
            let left_out = || self.pool.pick_own_left_out(tenant, tried);
            return next.or_else(left_out).or(Some(picked));
        }
        Some(picked)
    }

    /// An endpoint that comes back from an ejection, where this request is the next one of its trial.
    #[cold]
    #[inline(never)]
    fn pick_on_trial(&self, outgoing: &Outgoing<'_>) -> Option<InFlight> {
        let (now, slot) = (self.worker.clock.recent(), self.tenant.slot());
        match self.pool.is_sharded() {
            false => self.pool.pick_on_trial(slot, outgoing.idempotent, now),
            true => {
                let tenant = (self.tenant.id(), slot);
                self.pool.pick_own_on_trial(tenant, outgoing.idempotent, now)
            }
        }
    }

    fn has_sound_untried(&self, tried: &[EndpointId]) -> bool {
        match self.pool.is_sharded() {
            false => self.pool.has_sound_untried(tried),
            true => {
                self.pool.has_own_sound_untried(self.tenant.id(), tried)
                    || (!self.reaches.get() && self.pool.has_sound_untried(tried))
            }
        }
    }

    /// What might be tried again; `None` where there is an answer to pass on, or the client itself
    /// is at fault.
    fn failure(&self, answered: &Result<Answered, ExchangeError>) -> Option<Failure> {
        match answered {
            Ok((answer, _)) => {
                let status = answer.status();
                self.rule.lists_status(status).then_some(Failure::Status(status))
            }
            Err(ExchangeError::Attempt(error)) => Some(error.failure()),
            Err(_) => None,
        }
    }

    /// Whether to try again, and after how long.
    fn may_retry(
        &self,
        failure: Failure,
        tried: &[EndpointId],
        outgoing: &Outgoing<'_>,
    ) -> Result<Duration, Refusal> {
        let attempts = tried.len() as u32;
        let facts = Facts {
            attempts,
            idempotent: outgoing.idempotent,
            replayable: outgoing.is_repeatable(),
        };
        self.rule.judge(failure, facts)?;
        // The budget keeps retries from adding to the load of endpoints in trouble, and the pause
        // gives them time. A request that reached nobody needs neither before it goes to one that
        // is sound: it would have come there anyway.
        let free = failure == Failure::Connect && self.has_sound_untried(tried);
        let pause = if free { Duration::ZERO } else { self.rule.pause(failure, attempts) };
        if self.end.is_some_and(|end| Instant::now() + pause >= end) {
            return Err(Refusal::Deadline);
        }
        let allowance = self.tenant.allowance();
        if !allowance.withdraw(self.pool.label.slot, self.rule.fill()) && !free {
            return Err(Refusal::Budget);
        }
        Ok(pause)
    }

    fn note_refusal(&self, refusal: Refusal) {
        // A failure that no rule names was never a candidate.
        if refusal != Refusal::NotListed {
            self.worker.meter.retry_refused(&self.pool.label, refusal.reason());
        }
    }

    /// The last word: an answer is passed on, an error is told.
    fn settle(
        &self,
        answered: Result<Answered, ExchangeError>,
        trial: Trial<'_, '_>,
        outgoing: &Outgoing<'_>,
        visit: &mut Visit,
    ) -> Result<(AnswerHead, Box<Lease>), ExchangeError> {
        outgoing.upload.settle();
        if self.pool.breakers.is_some() {
            let on_trial = self.on_trial.take();
            let verdict = attempt::verdict(&answered);
            breaking::note(self.worker, (self.pool, self.tenant), on_trial, self.began, verdict);
        }
        if answered.as_ref().map_or(true, |(answer, _)| answer.status().is_server_error()) {
            let endpoint = &trial.picked.endpoint().label;
            visit.note_failure(|record| record.endpoint = Some(endpoint.clone()));
        }
        let (answer, connection) = answered.map_err(|error| {
            visit.note(|record| record.bytes_in = outgoing.upload.bytes());
            self.whole(error, visit)
        })?;
        visit.answers();
        let now = self.worker.clock.recent(); // read at the attempt's end
        visit.note(|record| record.first_byte = Some(now));
        // Boxed: it is handed on several times, and is large. The room first, as it would be copied.
        let lease = Box::write(
            Box::new_uninit(),
            Lease {
                connection,
                in_flight: trial.picked,
                silence: self.deadlines.idle,
                end: self.end,
                upload: outgoing.upload.clone(),
                held: Arc::clone(&outgoing.held),
                nominated: Vec::new(),
                place: self.place.take(),
            },
        );
        Ok((answer, lease))
    }

    /// An attempt that ran out of the exchange's own time says so.
    fn whole(&self, error: ExchangeError, visit: &mut Visit) -> ExchangeError {
        if let ExchangeError::Attempt(error) = &error
            && self.worker.lines.admits()
        {
            let pool = &self.pool.label.name;
            let id = visit.request_id();
            let request_id = id.to_str().unwrap_or_default();
            tracing::warn!(%pool, request_id, %error, "a request could not be served");
        }
        match (error, self.deadlines.total) {
            (ExchangeError::Attempt(AttemptError::Timeout { .. }), Some(limit))
                if self.end.is_some_and(|end| Instant::now() >= end) =>
            {
                ExchangeError::Overdue { limit }
            }
            (error, _) => error,
        }
    }
}

/// One attempt under way. Counts how it ends, also when the client leaves and it is dropped.
struct Trial<'e, 'p> {
    effort: &'e Effort<'p>,
    picked: InFlight,
}

impl<'e, 'p> Trial<'e, 'p> {
    fn begin(effort: &'e Effort<'p>, picked: InFlight) -> Self {
        Self { effort, picked }
    }

    async fn run(
        &mut self,
        outgoing: &mut Outgoing<'_>,
        made: u32,
        last: Option<Failure>,
        visit: &mut Visit,
    ) -> Result<Answered, ExchangeError> {
        let effort = self.effort;
        let started = if made == 1 { effort.began } else { effort.worker.clock.now() };
        let began = visit.is_followed().then(Instant::now);
        let scheme = if effort.pool.spec.tls.is_some() { "https" } else { "http" };
        let asked = (scheme, &outgoing.head.uri);
        let span = spans::begin(visit, self.picked.endpoint(), last, asked);
        outgoing.tell(visit.traced(), span.as_ref().map(|span| span.span));
        let dial = Cell::new(None);
        let bounds = Bounds {
            deadlines: &effort.deadlines,
            started,
            end: effort.end,
            dial: (span.is_some() || began.is_some()).then_some(&dial),
        };
        let span = span.map(|span| Watched { span, visit: &mut *visit, dial: &dial });
        let counted = Counted { effort, picked: &self.picked, started, outcome: None, span };
        let answered =
            attempt::run(effort.worker, effort.pool, self.picked.endpoint(), bounds, outgoing)
                .await;
        counted.end(&answered);
        if let Some(began) = began {
            let endpoint = &self.picked.endpoint().label;
            visit.trail(|trail| trail.tried(endpoint, (began, dial.get()), &answered));
        }
        answered
    }
}

/// Counts an attempt once, however it ends.
struct Counted<'c, 'p> {
    effort: &'c Effort<'p>,
    picked: &'c InFlight,
    started: Instant,
    outcome: Option<AttemptOutcome>,
    /// Its span, where the exchange's are kept.
    span: Option<Watched<'c>>,
}

impl Counted<'_, '_> {
    fn end(mut self, answered: &Result<Answered, ExchangeError>) {
        self.effort.worker.clock.now();
        let outcome = match answered {
            Ok((answer, _)) => attempt::outcome_of(answer.status()),
            Err(ExchangeError::Attempt(error)) => error.outcome(),
            Err(_) => return, // the client's fault: the endpoint was not heard
        };
        self.outcome = Some(outcome);
        if let (Some(watched), Ok((answer, _))) = (&mut self.span, answered) {
            watched.span.status = Some(answer.status().as_u16());
        }
        if let Some(verdict) = attempt::verdict(answered) {
            self.judge(verdict);
        }
    }

    fn judge(&self, verdict: Verdict) {
        let Effort { worker, pool, tenant, route, .. } = *self.effort;
        let (began, now) = (self.started, worker.clock.recent());
        let attempt = Attempt { verdict, tenant: tenant.slot(), began, now };
        judged::judge(worker, (pool, self.picked.endpoint()), attempt, route);
    }
}

impl Drop for Counted<'_, '_> {
    fn drop(&mut self) {
        let outcome = self.outcome.unwrap_or(AttemptOutcome::Cancelled);
        let answered = matches!(
            outcome,
            AttemptOutcome::Informational
                | AttemptOutcome::Success
                | AttemptOutcome::Redirection
                | AttemptOutcome::ClientError
                | AttemptOutcome::ServerError
        );
        let worker = self.effort.worker;
        let now = worker.clock.recent(); // read at the attempt's end
        let first_byte = answered.then(|| now.saturating_duration_since(self.started));
        let pool = &self.effort.pool.label;
        worker.meter.attempt(pool, self.picked.endpoint(), outcome, first_byte);
        if let Some(watched) = self.span.take() {
            watched.end((!answered).then(|| outcome.as_str()));
        }
    }
}
