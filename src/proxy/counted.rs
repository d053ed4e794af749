//! What is counted of an attempt, and what it says of its endpoint.

use tokio::time::Instant;

use crate::health::passive::Verdict;
use crate::pool::InFlight;
use crate::telemetry::delta::AttemptOutcome;

use super::attempt::{self, Answered};
use super::error::{AttemptError, ExchangeError};
use super::forward::Effort;
use super::request_body::Upload;
use super::spans::Watched;

/// Counts an attempt once, however it ends.
pub(super) struct Counted<'c, 'p> {
    effort: &'c Effort<'p>,
    picked: &'c InFlight,
    started: Instant,
    outcome: Option<AttemptOutcome>,
    /// It has no answer since nobody waits for one any longer, neither by the limits of its time nor as its client: so,
    /// unless it ends otherwise.
    is_late: bool,
    has_ended: bool,
    /// What its client sends.
    upload: &'c Upload,
    /// Its span, where the exchange's are kept.
    span: Option<Watched<'c>>,
}

impl<'c, 'p> Counted<'c, 'p> {
    /// Begins with an attempt.
    pub(super) fn begin(
        effort: &'c Effort<'p>,
        picked: &'c InFlight,
        (started, upload): (Instant, &'c Upload),
        span: Option<Watched<'c>>,
    ) -> Self {
        Self {
            effort,
            picked,
            started,
            outcome: None,
            is_late: true,
            has_ended: false,
            upload,
            span,
        }
    }

    /// The attempt has ended so.
    pub(super) fn end(mut self, answered: &Result<Answered, ExchangeError>) {
        self.effort.worker.clock.now();
        self.has_ended = true;
        self.is_late =
            matches!(answered, Err(ExchangeError::Attempt(AttemptError::Timeout { .. })));
        if self.effort.pool.goes_round_late() {
            self.effort.compare(self.picked, (self.started, self.upload), answered);
        }
        let outcome = match answered {
            Ok((answer, _)) => attempt::outcome_of(answer.status()),
            Err(ExchangeError::Attempt(error)) => error.outcome(),
            Err(_) => return, // the client's fault: the endpoint was not heard
        };
        self.outcome = Some(outcome);
        if let (Some(watched), Ok((answer, _))) = (&mut self.span, answered) {
            watched.span.status = Some(answer.status().as_u16());
        }
        if let Some(verdict) = self.effort.verdict(answered, self.started) {
            if verdict != Verdict::Success && outcome.is_served() {
                let Effort { worker, pool, .. } = self.effort; // a call of gRPC
                worker.meter.answered_in_vain(&pool.label, self.picked.endpoint());
            }
            self.effort.judge(self.picked, verdict, self.started);
        }
    }

    /// Tells of one that was not served, for who looks whether its pool is overrun.
    #[cold]
    #[inline(never)]
    fn tell_unserved(&self, is_answer: bool, now: Instant) {
        let (meter, pool) = (&self.effort.worker.meter, &self.effort.pool.label);
        let waited = now.saturating_duration_since(self.started);
        if is_answer {
            meter.failed_after(pool, waited);
        } else if self.is_late && !self.upload.awaits_client() {
            // Whose client has left while it was to send more was not late.
            meter.late_at(pool, waited);
        }
    }
}

impl Drop for Counted<'_, '_> {
    fn drop(&mut self) {
        let outcome = self.outcome.unwrap_or(AttemptOutcome::Cancelled);
        let answered = outcome.is_answer();
        let worker = self.effort.worker;
        let now = worker.clock.recent(); // read at the attempt's end
        let first_byte = answered.then(|| now.saturating_duration_since(self.started));
        if !self.has_ended && self.effort.pool.goes_round_late() {
            self.effort.compare_dropped(self.picked, (self.started, self.upload));
        }
        let pool = &self.effort.pool.label;
        worker.meter.attempt(pool, self.picked.endpoint(), outcome, first_byte);
        if !outcome.is_served() {
            self.tell_unserved(answered, now);
        }
        if let Some(watched) = self.span.take() {
            watched.end((!answered).then(|| outcome.as_str()));
        }
    }
}
