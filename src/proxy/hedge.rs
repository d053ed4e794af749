//! A second attempt beside a first one that takes longer than most of its route have of late: the first
//! answer is the client's, and the other attempt is dropped, which cancels it at its endpoint and counts
//! against nobody. Paid from the retry budget, so that an outage is no storm of them.
//!
//! Routes without `retry.hedge` do not come here.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::config::spec::HedgeSpec;
use crate::model::ids::{EndpointId, Label};
use crate::resilience::latencies::Latencies;
use crate::routing::route::Route;
use crate::telemetry::delta::AttemptOutcome;
use crate::telemetry::meter::Meter;
use crate::telemetry::trace::{Attempt, Dial};

use super::attempt::Answered;
use super::error::{AttemptError, ExchangeError};
use super::forward::{Effort, Trial};
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

/// Makes the first attempt of an exchange, and another one beside it where it takes too long.
pub(super) async fn race<'e, 'p>(
    first: Trial<'e, 'p>,
    outgoing: &mut Outgoing<'_>,
    route: Option<&Route>,
    visit: &mut Visit,
) -> Raced<'e, 'p> {
    let effort = first.effort;
    let (worker, label) = (effort.worker, &effort.pool.label);
    let key = key(label, route);
    let delay = effort.rule.hedge.and_then(|hedge| worker.delays.of(key, hedge));
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
    let second = if early.is_none() { second(&first, outgoing) } else { None };
    let Some(second) = second else {
        let answered = match early {
            Some(answered) => answered,
            None => one.as_mut().await,
        };
        drop(one);
        timed.learn(is_measure(effort, &answered));
        told.end(FIRST, &first, &answered);
        return Raced { trial: first, answered, failed: None };
    };

    let counted = Counted { meter: &worker.meter, pool: label, result: "left" };
    let mut twin = outgoing.twin();
    told.begin(SECOND, &second, &mut twin);
    told.visit.note(|record| record.attempts = 2);
    let mut two = Box::pin(second.run_apart(&twin, worker.clock.now(), told.dial(SECOND)));
    let is_failure = |answered: &Brought| effort.failure(answered).is_some();
    let (side, answered, other) = both(is_failure, one.as_mut(), two.as_mut()).await;
    drop((one, two)); // the one that still runs is cancelled

    let has_failed = is_failure(&answered);
    counted.ends(side, has_failed, other.is_some());
    let second_failed = if side == SECOND { has_failed } else { other.is_some() };
    let failed = second_failed.then(|| second.picked.endpoint().id);
    let (mine, its) = if side == FIRST { (first, second) } else { (second, first) };
    // Of the second one nothing is learnt. A first one that was given up takes at least so long.
    timed.learn(match (side, &other) {
        (FIRST, _) => is_measure(effort, &answered),
        (_, other) => other.is_none(),
    });
    match &other {
        Some(other) => told.end(1 - side, &its, other),
        None => told.give_up(1 - side, &its),
    }
    told.end(side, &mine, &answered);
    let endpoint = &mine.picked.endpoint().label;
    told.visit.note_for_log(|record| record.endpoint = Some(Arc::clone(endpoint)));
    Raced { trial: mine, answered, failed }
}

/// Whether a first attempt tells how long others take. An answer that fails, or a connection that does,
/// may come at once, and so does the end of a time that the client has made short.
fn is_measure(effort: &Effort<'_>, brought: &Brought) -> bool {
    match brought {
        Ok((answer, _)) => answer.status().as_u16() < 500,
        Err(ExchangeError::Attempt(AttemptError::Timeout { .. })) => {
            !effort.is_given_up_by_client()
        }
        Err(_) => false,
    }
}

/// The second attempt, where there may be one. Counts why there is none.
fn second<'e, 'p>(first: &Trial<'e, 'p>, outgoing: &Outgoing<'_>) -> Option<Trial<'e, 'p>> {
    let Effort { worker, pool, .. } = first.effort;
    let begun = begin_second(first, outgoing);
    begun.inspect_err(|reason| worker.meter.hedge_refused(&pool.label, *reason)).ok()
}

fn begin_second<'e, 'p>(
    first: &Trial<'e, 'p>,
    outgoing: &Outgoing<'_>,
) -> Result<Trial<'e, 'p>, &'static str> {
    let effort = first.effort;
    if effort.rule.attempts < 2 {
        return Err("attempts");
    }
    if !outgoing.upload.is_sent_and_kept() {
        return Err("body");
    }
    // Others wait for a place: what is sent twice would take theirs.
    if effort.pool.gate.as_ref().is_some_and(|gate| gate.state().waiting > 0) {
        return Err("queue");
    }
    let tried = [first.picked.endpoint().id];
    let picked = effort.pick(&tried, None).filter(|picked| {
        let endpoint = picked.endpoint();
        !tried.contains(&endpoint.id) && endpoint.failures() == 0
    });
    let picked = picked.ok_or("no_endpoint")?;
    if !effort.tenant.allowance().withdraw(effort.pool.label.slot, effort.rule.fill()) {
        return Err("budget");
    }
    Ok(Trial::begin(effort, picked))
}

/// Waits for the first of two that is no failure, or for both. Gives the place of what is told, that, and
/// what the other one has brought, where it has failed. Of two failures the later one is told, save
/// where the earlier is an answer and the later none.
async fn both<T, E, F, G>(
    is_failure: impl Fn(&Result<T, E>) -> bool,
    mut one: Pin<&mut F>,
    mut two: Pin<&mut G>,
) -> (usize, Result<T, E>, Option<Result<T, E>>)
where
    F: Future<Output = Result<T, E>>,
    G: Future<Output = Result<T, E>>,
{
    let mut failed: Option<(usize, Result<T, E>)> = None;
    let ended = std::future::poll_fn(|context| {
        for side in [FIRST, SECOND] {
            if failed.as_ref().is_some_and(|(known, _)| *known == side) {
                continue;
            }
            let polled =
                if side == FIRST { one.as_mut().poll(context) } else { two.as_mut().poll(context) };
            let Poll::Ready(brought) = polled else { continue };
            if failed.is_some() || !is_failure(&brought) {
                return Poll::Ready((side, brought));
            }
            failed = Some((side, brought));
        }
        Poll::Pending
    });
    let (side, brought) = ended.await;
    match failed {
        Some((earlier, Ok(answer))) if brought.is_err() && is_failure(&brought) => {
            (earlier, Ok(answer), Some(brought))
        }
        failed => (side, brought, failed.map(|(_, other)| other)),
    }
}

/// How long the first attempts of routes take that want second ones, as one worker sees it.
#[derive(Debug, Default)]
pub(super) struct Delays {
    known: RefCell<HashMap<u64, Known>>,
    tidied: Cell<Option<Instant>>,
}

#[derive(Debug, Default)]
struct Known {
    latencies: Latencies,
    /// What was told for a quantile, and how many attempts ago.
    told: Option<(u8, Option<Duration>)>,
    since: u32,
    is_used: bool,
}

/// Routes of one name to one pool are told together: it is the same endpoints and the same path.
fn key(pool: &Label, route: Option<&Route>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (pool.slot, route.map(|route| &route.name)).hash(&mut hasher);
    hasher.finish()
}

impl Delays {
    /// After how long a second attempt goes; `None` while too little is known.
    fn of(&self, key: u64, rule: &HedgeSpec) -> Option<Duration> {
        let percent = rule.after?;
        let mut known = self.known.borrow_mut();
        let known = known.get_mut(&key)?;
        known.is_used = true;
        let told = match known.told {
            Some((of, told)) if of == percent && known.since < LOOK => told,
            _ => {
                let told = known.latencies.quantile(percent);
                (known.told, known.since) = (Some((percent, told)), 0);
                told
            }
        };
        told.map(|delay| delay.max(rule.floor))
    }

    fn observe(&self, key: u64, took: Duration) {
        let mut known = self.known.borrow_mut();
        if known.len() >= MOST && !known.contains_key(&key) {
            return;
        }
        let known = known.entry(key).or_default();
        known.latencies.observe(took);
        known.is_used = true;
        known.since += 1;
    }

    /// Forgets what nobody has asked for in a while.
    pub(super) fn tidy(&self, now: Instant) {
        let since = self.tidied.get().map(|tidied| now.saturating_duration_since(tidied));
        if since.is_some_and(|since| since < KEPT) {
            return;
        }
        self.tidied.set(Some(now));
        let is_used = |known: &mut Known| std::mem::take(&mut known.is_used);
        self.known.borrow_mut().retain(|_, known| is_used(known));
    }
}

/// Tells how long a first attempt took, also where its client leaves.
struct Timed<'d> {
    delays: &'d Delays,
    key: u64,
    started: Instant,
    delay: Option<Duration>,
}

impl Timed<'_> {
    /// It has ended now, and is a measure of the others or not.
    fn learn(&mut self, counts: bool) {
        self.delay = None;
        if counts {
            self.delays.observe(self.key, self.started.elapsed());
        }
    }
}

impl Drop for Timed<'_> {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        // It was slow before its client left.
        if self.delay.is_some_and(|delay| took >= delay) {
            self.delays.observe(self.key, took);
        }
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
/// A quantile of hundreds does not change by fewer.
const LOOK: u32 = 16;
/// 1,024 routes of 1.5 KiB each.
const MOST: usize = 1_024;
/// 5 min: a route that has a request in so much time keeps what is known of it.
const KEPT: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use tokio::time::sleep;

    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const RULE: HedgeSpec = HedgeSpec { after: Some(95), floor: Duration::from_millis(10) };

    /// Which of two is told, what it brought, and what the other one did. An odd answer is a failure.
    async fn raced(one: (u32, Result<u8, u8>), two: (u32, Result<u8, u8>)) -> Told3 {
        let after = |(time, brought): (u32, Result<u8, u8>)| async move {
            sleep(MS * time).await;
            brought
        };
        let is_failure = |brought: &Result<u8, u8>| match brought {
            Ok(answer) => answer % 2 == 1,
            Err(error) => *error != 0, // 0 is the client's fault
        };
        let (mut one, mut two) = (pin!(after(one)), pin!(after(two)));
        both(is_failure, one.as_mut(), two.as_mut()).await
    }

    type Told3 = (usize, Result<u8, u8>, Option<Result<u8, u8>>);

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

    #[test]
    fn a_delay_is_told_once_enough_is_known_and_never_below_its_floor() {
        let delays = Delays::default();
        (0..99).for_each(|_| delays.observe(1, MS * 40));
        assert_eq!(delays.of(1, &RULE), None);
        (0..100).for_each(|_| delays.observe(1, MS * 40));
        let told = delays.of(1, &RULE).unwrap();
        assert!(told > MS * 40 && told <= MS * 43, "{told:?}");
        assert_eq!(delays.of(1, &HedgeSpec { floor: MS * 90, ..RULE }), Some(MS * 90));
        assert_eq!(delays.of(1, &HedgeSpec { after: None, ..RULE }), None);
        assert_eq!(delays.of(2, &RULE), None, "another route");
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_asks_for_is_forgotten_and_routes_are_bounded() {
        let delays = Delays::default();
        (0..2 * MOST as u64).for_each(|key| delays.observe(key, MS));
        assert_eq!(delays.known.borrow().len(), MOST);
        delays.tidy(Instant::now());
        tokio::time::advance(KEPT).await;
        delays.observe(7, MS);
        delays.tidy(Instant::now());
        assert_eq!(delays.known.borrow().len(), 1);
    }
}
