//! How long an endpoint takes to the head of its answer, for pools whose balancer asks for that, or whose limit of
//! requests at once follows it. All of it is out of line: other pools pay a look at a bit.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::health::passive::Verdict;
use crate::model::endpoint::Endpoint;
use crate::model::latency::{Sample, UNANSWERED};
use crate::telemetry::sightings;

use super::attempt::Answered;
use super::clock::Clock;
use super::error::ExchangeError;
use super::forward::{Effort, Trial};
use super::lately::Own;
use super::outgoing::Outgoing;
use super::request_body::{Side, Upload};

/// An attempt under way that is timed. Its endpoint, or its pool's limit, learns of its end; where it is dropped, with its
/// client or because another attempt beside it was faster, that it took longer than that.
pub(super) struct Timing {
    endpoint: Arc<Endpoint>,
    started: Instant,
    upload: Upload,
    side: Side,
    clock: Rc<Clock>,
    /// Its failures in a row are counted ([`Endpoint::failures`]).
    is_judged: bool,
    /// The balancer asks for it: the endpoint learns.
    is_of_endpoint: bool,
    /// The pool's limit asks for it: what it is added to, and its kind.
    of_pool: Option<(Rc<Own>, u8)>,
    has_ended: bool,
}

impl Trial<'_, '_> {
    /// Times this attempt, where the pool's balancer or its limit asks how long they take.
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
        let Effort { worker, pool, tenant, route, .. } = trial.effort;
        let kind = || sightings::kind(tenant.slot(), route.map_or("", |route| &route.name));
        let own = worker.lately.of(pool, worker.clock.recent());
        Box::new(Self {
            endpoint: Arc::clone(trial.picked.endpoint()),
            started,
            upload: outgoing.upload.clone(),
            side: outgoing.side(),
            clock: Rc::clone(&worker.clock),
            is_judged: pool.spec.eject.failures > 0,
            is_of_endpoint: pool.has_timed_balancer(),
            of_pool: own.map(|own| (own, kind())),
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
        let Some(verdict) = effort.verdict(answered, self.started) else { return };
        let now = self.clock.recent();
        let taken = now.saturating_duration_since(self.since());
        let is_early = self.upload.awaits_client();
        if let Some((own, kind)) = &self.of_pool
            && !is_early
            && let Some(sample) = of_pool(taken, verdict, is_refused(answered))
        {
            own.add(*kind, sample, now);
        }
        if !self.is_of_endpoint {
            return;
        }
        let is_to_blame = is_to_blame(&self.endpoint, verdict, self.is_judged, now);
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
            if self.is_of_endpoint {
                self.endpoint.learn(Sample::MoreThan(waited), now);
            }
            if let Some((own, kind)) = &self.of_pool {
                own.add(*kind, Sample::MoreThan(waited), now);
            }
        }
    }
}

/// Whether it is an answer of class 4 or 5, which may come at once since nothing was done for it.
fn is_refused(answered: &Result<Answered, ExchangeError>) -> bool {
    answered.as_ref().is_ok_and(|(answer, _)| answer.status().as_u16() >= 400)
}

/// What the end of an attempt says of how busy its pool is: what fails or is refused no more than that it took that
/// long, and an endpoint that is not there nothing.
fn of_pool(taken: Duration, verdict: Verdict, is_refused: bool) -> Option<Sample> {
    match verdict {
        Verdict::Success if !is_refused => Some(Sample::Took(taken)),
        Verdict::Success | Verdict::Failure | Verdict::Busy => Some(Sample::MoreThan(taken)),
        Verdict::Unreachable => None,
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
    fn a_pool_is_no_faster_for_what_it_refuses() {
        let of = |verdict, is_refused| of_pool(MILLI, verdict, is_refused);
        assert_eq!(of(Verdict::Success, false), Some(Sample::Took(MILLI)));
        for (verdict, is_refused) in
            [(Verdict::Success, true), (Verdict::Failure, false), (Verdict::Busy, true)]
        {
            assert_eq!(of(verdict, is_refused), Some(Sample::MoreThan(MILLI)));
        }
        assert_eq!(of(Verdict::Unreachable, false), None);
    }

    #[test]
    fn an_answer_before_all_of_the_request_was_there_says_nothing() {
        assert_eq!(sample(MILLI, Verdict::Success, false, false), Some(Sample::Took(MILLI)));
        assert_eq!(sample(MILLI, Verdict::Success, false, true), None);
        assert_eq!(sample(MILLI, Verdict::Failure, false, true), None);
    }
}
