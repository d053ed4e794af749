//! Path 4: attempts until there is an answer, or the deadline or the budget is used up.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::base::fair::Gate;
use crate::config::spec::TimeoutsSpec;
use crate::http1::room::AnswerHead;
use crate::model::endpoint::{Endpoint, Health};
use crate::model::ids::EndpointId;
use crate::pool::{InFlight, Pool};
use crate::resilience::deadline::{Deadlines, leaves_time};
use crate::resilience::retry::{Facts, Failure, Refusal, RetryRule};
use crate::routing::route::Route;
use crate::routing::tenant::Tenant;
use crate::telemetry::trace::Dial;

use super::admission::{self, Place};
use super::answer::Lease;
use super::attempt::{self, Answered, Bounds};
use super::breaking::{self, OnTrial};
use super::choice::Choice;
use super::countdown::Countdown;
use super::counted::Counted;
use super::error::{AttemptError, ExchangeError};
use super::hedge;
use super::judge::asks_to_wait;
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
    if let Some(countdown) = outgoing.countdown() {
        effort.hurry(countdown, visit)?;
    }
    if choice.pool.breakers.is_some() {
        effort.on_trial = Cell::new(breaking::enter(worker, choice)?);
    }
    if let Some(gate) = choice.pool.gate() {
        effort.come(gate, choice, outgoing, visit).await?;
    }
    effort.deposit(visit);
    let mut tried: Vec<EndpointId> = Vec::new(); // and failed
    let mut last = None;
    loop {
        let picked = effort.pick(&tried, last, outgoing);
        let picked = picked.map_or_else(|| effort.pick_at_last(&tried, visit), Ok)?;
        let made = tried.len() as u32 + 1;
        visit.note(|record| record.attempts = made);
        visit.note_for_log(|record| record.endpoint = Some(picked.endpoint().label.clone()));
        let id = picked.endpoint().id;

        let mut trial = Trial::begin(&effort, picked);
        let answered = if effort.rule.hedge.is_some()
            && made == 1
            && let Some(rule) = hedge::rule(choice, outgoing)
        {
            let raced = Box::pin(hedge::race(rule, trial, outgoing, choice, visit)).await;
            trial = raced.trial;
            tried.extend(raced.failed);
            raced.answered
        } else {
            trial.run(outgoing, &tried, last, visit).await
        };
        let Some(failure) = effort.failure(&answered) else {
            return effort.settle(answered, trial, outgoing, visit);
        };
        last = Some(failure);
        effort.reaches.set(effort.reaches.get() || failure != Failure::Connect);
        tried.push(id);
        if effort.rule.judge(failure, facts(&tried, outgoing)).is_ok() {
            outgoing.upload.written().await;
        }
        match effort.may_retry((failure, &answered), &tried, (&*outgoing, &*visit)) {
            Ok(pause) => {
                worker.meter.retry(&effort.pool.label, failure.reason());
                drop((answered, trial)); // the endpoint is free while we wait
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await; // even a sleep of nothing takes a timer's tick
                    effort.is_in_time()?;
                }
            }
            Err(refusal) => {
                worker.meter.retry_refused(&effort.pool.label, refusal.reason());
                visit.trail(|trail| trail.gave_up(refusal));
                return effort.settle(answered, trial, outgoing, visit);
            }
        }
    }
}

/// What stays the same over all attempts of an exchange.
pub(super) struct Effort<'e> {
    pub(super) worker: &'e Worker,
    pub(super) pool: &'e Pool,
    pub(super) deadlines: Deadlines,
    pub(super) rule: RetryRule<'e>,
    pub(super) tenant: &'e Tenant,
    pub(super) route: Option<&'e Route>,
    /// When the whole exchange must have ended.
    pub(super) end: Option<Instant>,
    /// When the first attempt may begin.
    pub(super) began: Instant,
    /// Its place among the pool's requests: until it is told the last word, then the answer's.
    place: Cell<Place>,
    /// An attempt that failed may have come to somebody.
    pub(super) reaches: Cell<bool>,
    /// The next attempt is paid from the budget already.
    has_paid: Cell<bool>,
    /// Its place among those on trial, while the tenant's breaker is half open.
    pub(super) on_trial: Cell<OnTrial<'e>>,
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
            has_paid: Cell::new(false),
            on_trial: Cell::new(None),
        }
    }

    /// The client may give less time than there would be.
    #[cold]
    fn hurry(&mut self, countdown: &Countdown, visit: &Visit) -> Result<(), ExchangeError> {
        if let Some(given) = countdown.given {
            self.deadlines.shorten(given);
            self.end = self.deadlines.end(visit.started());
        }
        self.is_in_time() // a wait for a limit may have taken all of it
    }

    /// Whether another attempt may begin: nobody would wait for its answer once the time is over.
    #[cold]
    fn is_in_time(&self) -> Result<(), ExchangeError> {
        match (self.end, self.deadlines.total) {
            (Some(end), Some(limit)) if Instant::now() >= end => Err(self.overdue(limit)),
            _ => Ok(()),
        }
    }

    /// When an answer in the time that its client gives is cut off.
    #[cold]
    fn cut(&self, visit: &Visit) -> Option<Instant> {
        let route = self.route.map_or(&TimeoutsSpec::UNSAID, |route| &route.timeouts);
        let own = Deadlines::resolve(route, &self.pool.spec.timeouts);
        self.deadlines.cut(&own, visit.started())
    }

    fn overdue(&self, limit: Duration) -> ExchangeError {
        match self.deadlines.by_client {
            true => ExchangeError::PastDeadline { limit },
            false => ExchangeError::Overdue { limit },
        }
    }

    /// Keeps the place of the attempt that is told, and gives back that of the first one.
    #[cold]
    pub(super) fn has_place(&self, place: Place) {
        self.place.set(place);
    }

    /// Another attempt beside the one that is told has ended so: somebody may have got the request.
    #[cold]
    pub(super) fn has_reached(&self, other: &Result<Answered, ExchangeError>) {
        if self.failure(other) != Some(Failure::Connect) {
            self.reaches.set(true);
        }
    }

    /// A request pays for retries once, however often it is sent anew.
    #[inline]
    fn deposit(&self, visit: &Visit) {
        if self.tenant.has_taken() && !visit.is_sent_again() {
            self.tenant.deposit(self.pool.label.slot, self.rule.fill());
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
                let place = match Box::pin(wait).await {
                    Ok(place) => place,
                    Err(error) => {
                        // It is not the queue's time that is over where the client's own is.
                        if self.deadlines.by_client {
                            self.is_in_time()?;
                        }
                        return Err(error);
                    }
                };
                self.began = self.worker.clock.recent(); // read at the wait's end
                place
            }
        };
        self.place = Cell::new(place);
        Ok(())
    }

    /// What might be tried again; `None` where there is an answer to pass on, or the client itself
    /// is at fault.
    pub(super) fn failure(&self, answered: &Result<Answered, ExchangeError>) -> Option<Failure> {
        match answered {
            Ok(answered) => {
                let status = answered.0.status();
                if status.as_u16() < 400 {
                    return if self.rule.lists_grpc() { self.failed_call(answered) } else { None };
                }
                self.rule.lists_status(status).then_some(Failure::Status(status))
            }
            Err(ExchangeError::Attempt(error)) => Some(error.failure()),
            Err(_) => None,
        }
    }

    /// Whether to try again, and after how long.
    fn may_retry(
        &self,
        (failure, answered): (Failure, &Result<Answered, ExchangeError>),
        tried: &[EndpointId],
        (outgoing, visit): (&Outgoing<'_>, &Visit),
    ) -> Result<Duration, Refusal> {
        self.rule.judge(failure, facts(tried, outgoing))?;
        // The budget keeps retries from adding to the load of endpoints in trouble, and the pause
        // gives them time. A request that reached nobody needs neither before it goes to one that
        // is sound: it would have come there anyway.
        let free = failure == Failure::Connect && self.has_sound_untried(tried);
        let mut pause = if free { Duration::ZERO } else { self.pause(failure, tried) };
        if let Some(wait) = asks_to_wait(answered) {
            let elsewhere = self.is_elsewhere(tried);
            pause = self.rule.heed(failure, wait, elsewhere, pause)?;
        }
        if !leaves_time(pause, self.end) {
            return Err(Refusal::Deadline);
        }
        if visit.takes_anybody() && self.has_nobody_left(failure, tried, (outgoing, visit)) {
            return Err(Refusal::Attempts); // and this failure is the last word
        }
        let allowance = self.tenant.allowance();
        let has_paid = self.has_paid.take();
        if !has_paid && !allowance.withdraw(self.pool.label.slot, self.rule.fill()) && !free {
            return Err(Refusal::Budget);
        }
        Ok(pause)
    }

    /// Whether a request that waits for this endpoint is better sent to another one: it has been found down since, which
    /// others are not, and what failed there might be tried again.
    #[cold]
    fn is_better_elsewhere(
        &self,
        endpoint: &Endpoint,
        tried: &[EndpointId],
        outgoing: &Outgoing<'_>,
    ) -> bool {
        if endpoint.health() != Health::Down || !outgoing.upload.is_sent_and_kept() {
            return false;
        }
        let tried = [tried, &[endpoint.id]].concat();
        let pause = self.longest_pause(Failure::Timeout, &tried);
        let goes = self.rule.judge(Failure::Timeout, facts(&tried, outgoing)).is_ok()
            && leaves_time(pause, self.end)
            && self.offers_sound(&tried)
            // Now, as it is given up: others are about to ask for the same.
            && self.tenant.allowance().withdraw(self.pool.label.slot, self.rule.fill());
        self.has_paid.set(goes);
        goes
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
            breaking::settle(self, &answered, visit);
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
        let end = match self.deadlines.by_client {
            false => self.end,
            true => self.cut(visit),
        };
        // Boxed: it is handed on several times, and is large. The room first, as it would be copied.
        let lease = Box::write(
            Box::new_uninit(),
            Lease {
                connection,
                in_flight: trial.picked,
                silence: self.deadlines.idle,
                end,
                upload: outgoing.upload.clone(),
                held: Arc::clone(&outgoing.held),
                nominated: Vec::new(),
                place: self.kept_place(),
            },
        );
        Ok((answer, lease))
    }

    /// The place that the answer keeps to its end: in a pool that has a limit. What bounds one that is overrun counts who waits
    /// for an answer.
    fn kept_place(&self) -> Place {
        let mut place = self.place.take()?;
        if self.pool.gate.is_some() {
            return Some(place);
        }
        place.done();
        None
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
                self.overdue(limit)
            }
            (error, _) => error,
        }
    }
}

fn facts(tried: &[EndpointId], outgoing: &Outgoing<'_>) -> Facts {
    Facts {
        attempts: tried.len() as u32,
        idempotent: outgoing.idempotent,
        replayable: outgoing.is_repeatable(),
    }
}

/// One attempt under way. Counts how it ends, also when the client leaves and it is dropped.
pub(super) struct Trial<'e, 'p> {
    pub(super) effort: &'e Effort<'p>,
    pub(super) picked: InFlight,
}

impl<'e, 'p> Trial<'e, 'p> {
    pub(super) fn begin(effort: &'e Effort<'p>, picked: InFlight) -> Self {
        Self { effort, picked }
    }

    /// Makes the attempt without a word to its exchange, beside another one.
    pub(super) async fn run_apart(
        &self,
        outgoing: &Outgoing<'_>,
        started: Instant,
        dial: Option<&Cell<Option<Dial>>>,
    ) -> Result<Answered, ExchangeError> {
        let Effort { worker, pool, deadlines, end, .. } = self.effort;
        let (effort, picked) = (self.effort, &self.picked);
        let elsewhere = || effort.is_better_elsewhere(picked.endpoint(), &[], outgoing);
        let elsewhere: Option<&dyn Fn() -> bool> = Some(&elsewhere);
        let bounds = Bounds { deadlines, started, end: *end, dial, elsewhere };
        let counted = Counted::begin(effort, picked, (started, &outgoing.upload), None);
        let timing = self.timing(started, outgoing);
        let answered = attempt::run(worker, pool, picked.endpoint(), bounds, outgoing).await;
        counted.end(&answered);
        if let Some(timing) = timing {
            timing.end(effort, &answered);
        }
        answered
    }

    async fn run(
        &mut self,
        outgoing: &mut Outgoing<'_>,
        tried: &[EndpointId],
        last: Option<Failure>,
        visit: &mut Visit,
    ) -> Result<Answered, ExchangeError> {
        let effort = self.effort;
        let started = if tried.is_empty() { effort.began } else { effort.worker.clock.now() };
        let began = visit.is_followed().then(Instant::now);
        let scheme = if effort.pool.spec.tls.is_some() { "https" } else { "http" };
        let asked = (scheme, &outgoing.head.uri);
        let span = spans::begin(visit, self.picked.endpoint(), last, asked);
        outgoing.tell(effort.end, visit.traced(), span.as_ref().map(|span| span.span));
        let dial = Cell::new(None);
        let outgoing = &*outgoing;
        let elsewhere = || effort.is_better_elsewhere(self.picked.endpoint(), tried, outgoing);
        let bounds = Bounds {
            deadlines: &effort.deadlines,
            started,
            end: effort.end,
            dial: (span.is_some() || began.is_some()).then_some(&dial),
            elsewhere: Some(&elsewhere),
        };
        let span = span.map(|span| Watched { span, visit: &mut *visit, dial: &dial });
        let of = (started, &outgoing.upload);
        let counted = Counted::begin(effort, &self.picked, of, span);
        let timing = self.timing(started, outgoing);
        let answered =
            attempt::run(effort.worker, effort.pool, self.picked.endpoint(), bounds, outgoing)
                .await;
        counted.end(&answered);
        if let Some(timing) = timing {
            timing.end(effort, &answered);
        }
        if let Some(began) = began {
            let endpoint = &self.picked.endpoint().label;
            visit.trail(|trail| trail.tried(endpoint, (began, dial.get()), &answered));
        }
        answered
    }
}
