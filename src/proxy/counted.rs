//! What is counted of an attempt, and what it says of its endpoint.

use tokio::time::Instant;

use crate::health::passive::Verdict;
use crate::pool::InFlight;
use crate::telemetry::delta::AttemptOutcome;

use super::attempt::{self, Answered};
use super::error::ExchangeError;
use super::forward::Effort;
use super::judge::asks_to_wait;
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
        let verdict = match answered {
            // RFC 9110 §15: a status above 599 is as good as one of class 5.
            Ok((answer, _)) if answer.status().as_u16() >= 500 => Some(failed(answered)),
            Ok(_) => Some(Verdict::Success),
            Err(ExchangeError::Attempt(error)) if !self.effort.excuses(error, self.started) => {
                error.verdict()
            }
            Err(_) => None,
        };
        if let Some(verdict) = verdict {
            self.effort.judge(self.picked, verdict);
        }
    }
}

/// What an answer that failed says of its endpoint.
#[cold]
fn failed(answered: &Result<Answered, ExchangeError>) -> Verdict {
    asks_to_wait(answered).map_or(Verdict::Failure, |_| Verdict::Busy)
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
