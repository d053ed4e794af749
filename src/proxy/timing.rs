//! How long an endpoint takes to the head of its answer, for pools whose balancer asks for that. All of
//! it is out of line: other pools pay a look at a bit.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::health::passive::Verdict;
use crate::model::endpoint::Endpoint;
use crate::model::latency::{Sample, UNANSWERED};

use super::attempt::Answered;
use super::clock::Clock;
use super::error::ExchangeError;
use super::forward::{Effort, Trial};
use super::outgoing::Outgoing;
use super::request_body::{Side, Upload};

/// An attempt under way that is timed. Its endpoint learns of its end; where it is dropped, with its
/// client or because another attempt beside it was faster, that it took longer than that.
pub(super) struct Timing {
    endpoint: Arc<Endpoint>,
    started: Instant,
    upload: Upload,
    side: Side,
    clock: Rc<Clock>,
    /// Its failures in a row are counted ([`Endpoint::failures`]).
    is_judged: bool,
    has_ended: bool,
}

impl Trial<'_, '_> {
    /// Times this attempt, where the pool's balancer asks how long they take.
    #[inline]
    pub(super) fn timing(&self, started: Instant, outgoing: &Outgoing<'_>) -> Option<Box<Timing>> {
        self.effort.pool.is_timed().then(|| Timing::begin(self, started, outgoing))
    }
}

impl Timing {
    /// Begins with an attempt.
    #[cold]
    #[inline(never)]
    fn begin(trial: &Trial<'_, '_>, started: Instant, outgoing: &Outgoing<'_>) -> Box<Self> {
        let Effort { worker, pool, .. } = trial.effort;
        Box::new(Self {
            endpoint: Arc::clone(trial.picked.endpoint()),
            started,
            upload: outgoing.upload.clone(),
            side: outgoing.side(),
            clock: Rc::clone(&worker.clock),
            is_judged: pool.spec.eject.failures > 0,
            has_ended: false,
        })
    }

    /// The attempt has ended so, and the clock was read and the endpoint judged since. A failure that the
    /// endpoint is to blame for counts as an answer that was waited for: who fails at once must not be taken
    /// for the fastest. One that had no more time than its client gave is given up.
    #[cold]
    #[inline(never)]
    pub(super) fn end(mut self, effort: &Effort<'_>, answered: &Result<Answered, ExchangeError>) {
        if let Err(ExchangeError::Attempt(error)) = answered
            && effort.excuses(error, self.started)
        {
            return;
        }
        self.has_ended = true;
        let verdict = match answered {
            Ok((answer, _)) if answer.status().as_u16() >= 500 => Some(Verdict::Failure),
            Ok(_) => Some(Verdict::Success),
            Err(ExchangeError::Attempt(error)) => error.verdict(),
            Err(_) => None, // it says nothing of the endpoint
        };
        let Some(verdict) = verdict else { return };
        let now = self.clock.recent();
        let taken = now.saturating_duration_since(self.since());
        let is_to_blame = is_to_blame(&self.endpoint, verdict, self.is_judged, now);
        let is_early = self.upload.awaits_client();
        if let Some(sample) = sample(taken, verdict, is_to_blame, is_early) {
            self.endpoint.learn(sample, now);
        }
    }

    /// Since when the endpoint, and not the client, was waited for.
    fn since(&self) -> Instant {
        let own = self.started.max(self.upload.taken(self.side).unwrap_or(self.started));
        own.max(self.upload.ended_at().unwrap_or(self.started))
    }
}

impl Drop for Timing {
    fn drop(&mut self) {
        if !self.has_ended && !self.upload.awaits_client() {
            let now = self.clock.now();
            let waited = now.saturating_duration_since(self.since());
            self.endpoint.learn(Sample::MoreThan(waited), now);
        }
    }
}

/// What an answer, or what stands for it, says of its endpoint. One that came before all of the request
/// was there says how long the client took.
fn sample(taken: Duration, verdict: Verdict, is_to_blame: bool, is_early: bool) -> Option<Sample> {
    if is_to_blame {
        return Some(Sample::Took(taken.max(UNANSWERED)));
    }
    let sample = match verdict {
        Verdict::Success => Sample::Took(taken),
        // It is of this one request, and says no more than that it took that long.
        Verdict::Failure | Verdict::Busy | Verdict::Unreachable => Sample::MoreThan(taken),
    };
    (!is_early).then_some(sample)
}

/// Whether the endpoint is to blame, and not the request: nobody can turn the traffic of all away from an
/// endpoint by requests that fail. Where failures in a row are not counted, each is the endpoint's.
fn is_to_blame(endpoint: &Endpoint, verdict: Verdict, is_judged: bool, now: Instant) -> bool {
    match verdict {
        Verdict::Success => false,
        Verdict::Unreachable => true,
        Verdict::Failure | Verdict::Busy if !is_judged => true,
        Verdict::Failure | Verdict::Busy => {
            endpoint.failures() >= IN_A_ROW && !endpoint.fails_one_tenant_alone(now)
        }
    }
}

/// 2: a request that fails wherever it goes is seldom followed by a second one, with nothing between them
/// that is served; an endpoint that is broken fails the next one, too.
const IN_A_ROW: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::endpoint::Health;
    use crate::model::ids::EndpointId;

    const MILLI: Duration = Duration::from_millis(1);

    fn endpoint() -> Endpoint {
        Endpoint::new(EndpointId(1), ([10, 0, 0, 1], 80).into(), Health::Unchecked)
    }

    #[tokio::test(start_paused = true)]
    async fn requests_that_fail_of_themselves_turn_nobody_away_from_their_endpoint() {
        let endpoint = endpoint();
        let now = Instant::now();
        let is_to_blame = || is_to_blame(&endpoint, Verdict::Failure, true, now);

        endpoint.serves(1, now);
        endpoint.add_failure(Some(2));
        assert!(!is_to_blame(), "once is no sign");
        endpoint.add_failure(Some(2));
        assert!(!is_to_blame(), "it serves others");
        endpoint.add_failure(Some(3));
        assert!(is_to_blame(), "it fails two tenants");

        endpoint.clear_failures();
        endpoint.add_failure(Some(1));
        endpoint.add_failure(Some(1));
        assert!(is_to_blame(), "it serves nobody else");
        assert_eq!(
            sample(MILLI, Verdict::Failure, false, false),
            Some(Sample::MoreThan(MILLI)),
            "who fails at once is no faster for it"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_that_is_broken_is_not_taken_for_the_fastest() {
        let endpoint = endpoint();
        let now = Instant::now();

        assert!(is_to_blame(&endpoint, Verdict::Unreachable, true, now));
        assert!(is_to_blame(&endpoint, Verdict::Failure, false, now), "nobody counts failures");
        assert!(!is_to_blame(&endpoint, Verdict::Success, false, now));
        let failed = |taken| sample(taken, Verdict::Failure, true, true);
        assert_eq!(failed(MILLI), Some(Sample::Took(UNANSWERED)));
        assert_eq!(failed(3 * UNANSWERED), Some(Sample::Took(3 * UNANSWERED)));
    }

    #[test]
    fn an_answer_before_all_of_the_request_was_there_says_nothing() {
        assert_eq!(sample(MILLI, Verdict::Success, false, false), Some(Sample::Took(MILLI)));
        assert_eq!(sample(MILLI, Verdict::Success, false, true), None);
        assert_eq!(sample(MILLI, Verdict::Failure, false, true), None);
    }
}
