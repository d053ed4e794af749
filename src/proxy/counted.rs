//! What is counted of an attempt, and what it says of its endpoint.

use tokio::time::Instant;

use crate::pool::InFlight;
use crate::telemetry::delta::AttemptOutcome;

use super::attempt::{self, Answered};
use super::error::ExchangeError;
use super::forward::Effort;
use super::spans::Watched;

/// Counts an attempt once, however it ends.
pub(super) struct Counted<'c, 'p> {
    effort: &'c Effort<'p>,
    picked: &'c InFlight,
    started: Instant,
    outcome: Option<AttemptOutcome>,
    /// Its span, where the exchange's are kept.
    span: Option<Watched<'c>>,
}

impl<'c, 'p> Counted<'c, 'p> {
    /// Begins with an attempt.
    pub(super) fn begin(
        effort: &'c Effort<'p>,
        picked: &'c InFlight,
        started: Instant,
        span: Option<Watched<'c>>,
    ) -> Self {
        Self { effort, picked, started, outcome: None, span }
    }

    /// The attempt has ended so.
    pub(super) fn end(mut self, answered: &Result<Answered, ExchangeError>) {
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
        if let Some(verdict) = self.effort.verdict(answered, self.started) {
            self.effort.judge(self.picked, verdict, self.started);
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
        let pool = &self.effort.pool.label;
        worker.meter.attempt(pool, self.picked.endpoint(), outcome, first_byte);
        if let Some(watched) = self.span.take() {
            watched.end((!answered).then(|| outcome.as_str()));
        }
    }
}
