//! A second attempt beside a first one that takes longer than most of its route have of late: the first
//! answer is the client's, and the other attempt is dropped, which cancels it at its endpoint and counts
//! against nobody. Paid from the retry budget, so that an outage is no storm of them.
//!
//! Routes without `retry.hedge` do not come here.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::time::{Instant, sleep_until};

use crate::health::passive::Verdict;
use crate::http1::room::AnswerHead;
use crate::model::ids::{EndpointId, Label};
use crate::resilience::hedging::{self, HedgeRule};
use crate::telemetry::delta::AttemptOutcome;
use crate::telemetry::meter::Meter;
use crate::telemetry::trace::{Attempt, Dial};

use super::admission::{self, Place};
use super::attempt::Answered;
use super::body_rule::BodyFault;
use super::choice::Choice;
use super::delays::{self, Measure, Timed};
use super::error::{AttemptError, ExchangeError};
use super::forward::{Effort, Trial};
use super::grpc::GRPC_STATUS;
use super::outgoing::Outgoing;
use super::spans;
use super::visit::Visit;

/// What came of a first attempt and of what was sent beside it.
pub(super) struct Raced<'e, 'p> {
    /// The attempt whose outcome this is.
    pub(super) trial: Trial<'e, 'p>,
    pub(super) answered: Brought,
    /// The endpoint of the second one, where that has failed.
    pub(super) failed: Option<EndpointId>,
}

type Brought = Result<Answered, ExchangeError>;

/// The rule of this exchange, where there may be a second attempt beside its first one.
#[cold]
#[inline(never)]
pub(super) fn rule<'c>(choice: &'c Choice<'_>, outgoing: &Outgoing<'_>) -> Option<HedgeRule<'c>> {
    let route = choice.route.and_then(|route| route.retry.hedge.as_ref());
    let rule = HedgeRule::resolve(route, choice.pool.spec.retry.hedge.as_ref())?;
    (rule.allows(&outgoing.head.method) && outgoing.may_have_twin()).then_some(rule)
}

/// Makes the first attempt of an exchange, and another one beside it where it takes too long.
pub(super) async fn race<'e, 'p>(
    rule: HedgeRule<'_>,
    first: Trial<'e, 'p>,
    outgoing: &mut Outgoing<'_>,
    choice: &Choice<'_>,
    visit: &mut Visit,
) -> Raced<'e, 'p> {
    let effort = first.effort;
    let (worker, label) = (effort.worker, &effort.pool.label);
    let key = delays::key(label, choice.route);
    let delay = worker.delays.of(key, &rule);
    let mut timed = Timed { delays: &worker.delays, key, started: effort.began, delay };
    let dials = <[Cell<Option<Dial>>; 2]>::default();
    let mut told = Told { visit, dials: &dials, spans: [None, None], began: [None, None] };
    told.begin(FIRST, &first, outgoing);
    let outgoing = &*outgoing;

    let mut one = Box::pin(first.run_apart(outgoing, timed.started, told.dial(FIRST)));
    let early = match delay {
        None => Some(one.as_mut().await),
        Some(delay) => tokio::select! {
            biased;
            answered = one.as_mut() => Some(answered),
            () = sleep_until(timed.started + delay) => None,
        },
    };
    let second = if early.is_none() { second(&first, outgoing, choice) } else { None };
    let Some((second, place)) = second else {
        let answered = match early {
            Some(answered) => answered,
            None => one.as_mut().await,
        };
        drop(one);
        timed.learn(measure(&answered, timed.started));
        hear(&first, &answered);
        told.end(FIRST, &first, &answered);
        return Raced { trial: first, answered, failed: None };
    };

    let counted = Counted { meter: &worker.meter, pool: label, result: "left" };
    let mut twin = outgoing.twin();
    told.begin(SECOND, &second, &mut twin);
    told.visit.note(|record| record.attempts = 2);
    let began = worker.clock.now();
    let mut two = Box::pin(second.run_apart(&twin, began, told.dial(SECOND)));
    let weigh = |brought: &Brought| weight(effort, brought);
    let (side, answered, other) = both(weigh, one.as_mut(), two.as_mut()).await;
    drop((one, two)); // the one that still runs is cancelled

    counted.ends(side, weigh(&answered).is_some(), other.is_some());
    if let Some(other) = &other {
        effort.has_reached(other);
    }
    let trials = [first, second];
    learn(&mut timed, (side, &answered), other.as_ref(), began);
    if side == SECOND {
        if other.is_none() {
            lose(&trials[FIRST], timed.started, outgoing);
        }
        effort.has_place(place);
    }
    let of_second = if side == SECOND { Some(&answered) } else { other.as_ref() };
    let has_failed = of_second.is_some_and(|brought| weigh(brought).is_some_and(|it| it > OURS));
    let failed = has_failed.then(|| trials[SECOND].picked.endpoint().id);
    told.end_both(&trials, (side, &answered), other.as_ref());
    let [first, second] = trials;
    let trial = if side == FIRST { first } else { second };
    Raced { trial, answered, failed }
}

/// Learns how long the first attempt took, and the second one where its answer is told.
fn learn(
    timed: &mut Timed<'_>,
    (side, answered): (usize, &Brought),
    other: Option<&Brought>,
    began: Instant,
) {
    timed.learn(match (side, other) {
        (FIRST, _) => measure(answered, timed.started),
        (_, Some(first)) => measure(first, timed.started),
        (_, None) => Measure::AtLeast(timed.started.elapsed()),
    });
    let is_good = answered.as_ref().is_ok_and(|(answer, _)| !hedging::is_poor(answer.status()));
    if side == SECOND && is_good {
        timed.delays.learn(timed.key, None, Measure::Whole(began.elapsed()));
    }
}

/// What a first attempt tells of how long others take.
fn measure(brought: &Brought, started: Instant) -> Measure {
    match brought {
        Ok((answer, _)) if answer.status().as_u16() < 500 => Measure::Whole(started.elapsed()),
        Err(ExchangeError::Attempt(AttemptError::Timeout { .. })) => {
            Measure::AtLeast(started.elapsed())
        }
        _ => Measure::None,
    }
}

/// An endpoint that answers does not hang.
fn hear(trial: &Trial<'_, '_>, brought: &Brought) {
    if brought.is_ok() {
        trial.effort.worker.delays.answers(trial.picked.endpoint().id);
    }
}

/// A first attempt has brought nothing by the time that the second one had an answer. That is no failure
/// of its endpoint, unless that never does.
fn lose(first: &Trial<'_, '_>, began: Instant, outgoing: &Outgoing<'_>) {
    let effort = first.effort;
    if let Some(steered) = &outgoing.steered {
        steered.outrun(first.picked.endpoint());
    }
    let now = effort.worker.clock.recent();
    if effort.worker.delays.loses(first.picked.endpoint().id, now) {
        effort.doubt(first.picked.endpoint(), outgoing);
        effort.judge(&first.picked, Verdict::Failure, began);
    }
}

/// Whether what an attempt has brought is not to be told while the other one runs, and how much it is worth
/// where both have failed; `None`: it is told.
fn weight(effort: &Effort<'_>, brought: &Brought) -> Option<u8> {
    match brought {
        Ok((answer, _)) => {
            let is_poor = hedging::is_poor(answer.status())
                || has_failed_call(answer)
                || effort.failure(brought).is_some();
            is_poor.then_some(ANSWER)
        }
        Err(ExchangeError::Attempt(_)) => Some(ATTEMPT),
        // Our copy of the body cannot be had again: the other attempt has what it needs.
        Err(ExchangeError::Body(BodyFault::Lost) | ExchangeError::NoEndpoint) => Some(OURS),
        Err(_) => None,
    }
}

fn has_failed_call(answer: &AnswerHead) -> bool {
    answer.headers().get(GRPC_STATUS).is_some_and(|status| status != "0")
}

/// The second attempt, where there may be one, with its place in the pool. Counts why there is none.
fn second<'e, 'p>(
    first: &Trial<'e, 'p>,
    outgoing: &Outgoing<'_>,
    choice: &Choice<'_>,
) -> Option<(Trial<'e, 'p>, Place)> {
    let Effort { worker, pool, .. } = first.effort;
    let begun = begin_second(first, outgoing, choice);
    begun.inspect_err(|reason| worker.meter.hedge_refused(&pool.label, reason)).ok()
}

fn begin_second<'e, 'p>(
    first: &Trial<'e, 'p>,
    outgoing: &Outgoing<'_>,
    choice: &Choice<'_>,
) -> Result<(Trial<'e, 'p>, Place), &'static str> {
    let effort = first.effort;
    if effort.rule.attempts < 2 {
        return Err("attempts");
    }
    if !outgoing.upload.is_sent_and_kept() {
        return Err("body");
    }
    // What is sent twice takes two places, and none that others wait for.
    let place = match effort.pool.gate() {
        None => None,
        Some(gate) => {
            admission::try_enter(effort.worker, choice, gate).map_err(|_comer| "queue")?
        }
    };
    let tried = [first.picked.endpoint().id];
    let picked = effort.pick(&tried, None, outgoing).filter(|picked| {
        let endpoint = picked.endpoint();
        !tried.contains(&endpoint.id) && endpoint.failures() == 0
    });
    let picked = picked.ok_or("no_endpoint")?;
    if !effort.tenant.allowance().withdraw(effort.pool.label.slot, effort.rule.fill()) {
        return Err("budget");
    }
    Ok((Trial::begin(effort, picked), place))
}

/// Waits for the first of two that is no failure, or for both. Gives the place of what is told, that, and
/// what the other one has brought, where it has failed. Of two failures the later one is told, save
/// where the earlier is worth more.
async fn both<T, F, G>(
    weigh: impl Fn(&T) -> Option<u8>,
    mut one: Pin<&mut F>,
    mut two: Pin<&mut G>,
) -> (usize, T, Option<T>)
where
    F: Future<Output = T>,
    G: Future<Output = T>,
{
    let mut failed: Option<(usize, T)> = None;
    let ended = std::future::poll_fn(|context| {
        for side in [FIRST, SECOND] {
            if failed.as_ref().is_some_and(|(known, _)| *known == side) {
                continue;
            }
            let polled =
                if side == FIRST { one.as_mut().poll(context) } else { two.as_mut().poll(context) };
            let Poll::Ready(brought) = polled else { continue };
            if failed.is_some() || weigh(&brought).is_none() {
                return Poll::Ready((side, brought));
            }
            failed = Some((side, brought));
        }
        Poll::Pending
    });
    let (side, brought) = ended.await;
    match failed {
        Some((earlier, other)) if weigh(&brought).is_some_and(|it| weigh(&other) > Some(it)) => {
            (earlier, other, Some(brought))
        }
        failed => (side, brought, failed.map(|(_, other)| other)),
    }
}

/// Counts a second attempt once, however it ends.
struct Counted<'c> {
    meter: &'c Meter,
    pool: &'c Label,
    result: &'static str,
}

impl Counted<'_> {
    /// The answer, or failure, that is told is this one's; and whether the other one has failed.
    fn ends(mut self, side: usize, has_failed: bool, other_failed: bool) {
        self.result = match side {
            SECOND if !has_failed => "won",
            FIRST if !has_failed && !other_failed => "lost",
            _ => "failed",
        };
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.meter.hedged(self.pool, self.result);
    }
}

/// What the exchange's trace and trail are told of both, also where they are dropped with their client.
struct Told<'t> {
    visit: &'t mut Visit,
    dials: &'t [Cell<Option<Dial>>; 2],
    spans: [Option<Box<Attempt>>; 2],
    began: [Option<Instant>; 2],
}

impl<'t> Told<'t> {
    fn begin(&mut self, side: usize, trial: &Trial<'_, '_>, outgoing: &mut Outgoing<'_>) {
        let Effort { pool, end, .. } = trial.effort;
        let scheme = if pool.spec.tls.is_some() { "https" } else { "http" };
        let asked = (scheme, &outgoing.head.uri);
        let mut span = spans::begin(self.visit, trial.picked.endpoint(), None, asked);
        if let Some(span) = span.as_mut().filter(|_| side == SECOND) {
            (span.after, span.wanted) = (Some("hedge"), span.started);
        }
        outgoing.tell(*end, self.visit.traced(), span.as_ref().map(|span| span.span));
        self.spans[side] = span;
        self.began[side] = self.visit.is_followed().then(Instant::now);
    }

    /// Where its wait for a connection is noted, where somebody asks.
    fn dial(&self, side: usize) -> Option<&'t Cell<Option<Dial>>> {
        let asks = self.spans[side].is_some() || self.began[side].is_some();
        asks.then_some(&self.dials[side])
    }

    fn end(&mut self, side: usize, trial: &Trial<'_, '_>, brought: &Brought) {
        let (status, error) = match brought {
            Ok((answer, _)) => (Some(answer.status().as_u16()), None),
            Err(ExchangeError::Attempt(error)) => (None, Some(error.outcome())),
            Err(_) => (None, Some(AttemptOutcome::Cancelled)),
        };
        self.end_span(side, status, error);
        if let Some(began) = self.began[side].take() {
            let (endpoint, dial) = (&trial.picked.endpoint().label, self.dials[side].get());
            self.visit.trail(|trail| trail.tried(endpoint, (began, dial), brought));
        }
    }

    /// This one is told, and the other one has brought that, or was given up.
    fn end_both(
        &mut self,
        trials: &[Trial<'_, '_>; 2],
        (side, answered): (usize, &Brought),
        other: Option<&Brought>,
    ) {
        let (mine, its) = (&trials[side], &trials[1 - side]);
        hear(mine, answered);
        match other {
            Some(other) => {
                hear(its, other);
                self.end(1 - side, its, other);
            }
            None => self.give_up(1 - side, its),
        }
        self.end(side, mine, answered);
        let endpoint = &mine.picked.endpoint().label;
        self.visit.note_for_log(|record| record.endpoint = Some(Arc::clone(endpoint)));
    }

    fn give_up(&mut self, side: usize, trial: &Trial<'_, '_>) {
        self.end_span(side, None, Some(AttemptOutcome::Cancelled));
        if let Some(began) = self.began[side].take() {
            let (endpoint, dial) = (&trial.picked.endpoint().label, self.dials[side].get());
            self.visit.trail(|trail| trail.gave_way(endpoint, (began, dial)));
        }
    }

    fn end_span(&mut self, side: usize, status: Option<u16>, error: Option<AttemptOutcome>) {
        let Some(span) = self.spans[side].take() else { return };
        let (now, dial) = (Instant::now(), self.dials[side].get());
        let error = error.map(AttemptOutcome::as_str);
        if let Some(trace) = self.visit.traced_whole() {
            let answered = error.is_none().then_some(now);
            let ended = Some(now);
            trace.attempts.push(Attempt { dial, answered, status, error, ended, ..*span });
        }
    }
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        for side in [FIRST, SECOND] {
            self.end_span(side, None, Some(AttemptOutcome::Cancelled));
        }
    }
}

const FIRST: usize = 0;
const SECOND: usize = 1;

/// What failures are worth: an answer more than none, and a fault of ours least.
const ANSWER: u8 = 2;
const ATTEMPT: u8 = 1;
const OURS: u8 = 0;

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::time::Duration;

    use tokio::time::sleep;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// What an attempt brings: an answer, which is poor where it is odd, or an error: 0 is the client's fault,
    /// 1 ours, and what is more the endpoint's.
    type Result8 = Result<u8, u8>;

    /// Which of two is told, what it brought, and what the other one did.
    async fn raced(one: (u32, Result8), two: (u32, Result8)) -> (usize, Result8, Option<Result8>) {
        let after = |(time, brought): (u32, Result8)| async move {
            sleep(MS * time).await;
            brought
        };
        let weigh = |brought: &Result8| match brought {
            Ok(answer) => (answer % 2 == 1).then_some(ANSWER),
            Err(0) => None,
            Err(1) => Some(OURS),
            Err(_) => Some(ATTEMPT),
        };
        let (mut one, mut two) = (pin!(after(one)), pin!(after(two)));
        both(weigh, one.as_mut(), two.as_mut()).await
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_that_is_no_failure_is_told() {
        assert_eq!(raced((5, Ok(2)), (9, Ok(4))).await, (FIRST, Ok(2), None));
        assert_eq!(raced((9, Ok(2)), (5, Ok(4))).await, (SECOND, Ok(4), None));
        assert_eq!(raced((5, Ok(2)), (5, Ok(4))).await, (FIRST, Ok(2), None));
        assert_eq!(raced((1, Ok(3)), (5, Ok(4))).await, (SECOND, Ok(4), Some(Ok(3))));
        assert_eq!(raced((5, Ok(2)), (1, Err(7))).await, (FIRST, Ok(2), Some(Err(7))));
        assert_eq!(raced((1, Err(0)), (5, Ok(4))).await, (FIRST, Err(0), None));
    }

    #[tokio::test(start_paused = true)]
    async fn of_two_failures_the_later_is_told_or_the_one_that_is_an_answer() {
        assert_eq!(raced((1, Err(5)), (2, Err(7))).await, (SECOND, Err(7), Some(Err(5))));
        assert_eq!(raced((2, Ok(3)), (1, Err(7))).await, (FIRST, Ok(3), Some(Err(7))));
        assert_eq!(raced((1, Ok(3)), (2, Err(7))).await, (FIRST, Ok(3), Some(Err(7))));
        assert_eq!(raced((1, Ok(3)), (2, Err(0))).await, (SECOND, Err(0), Some(Ok(3))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_cannot_be_read_again_does_not_end_the_attempt_that_has_had_it() {
        assert_eq!(raced((9, Ok(2)), (1, Err(1))).await, (FIRST, Ok(2), Some(Err(1))));
        assert_eq!(raced((1, Err(7)), (2, Err(1))).await, (FIRST, Err(7), Some(Err(1))));
        assert_eq!(raced((2, Err(7)), (1, Err(1))).await, (FIRST, Err(7), Some(Err(1))));
    }
}
