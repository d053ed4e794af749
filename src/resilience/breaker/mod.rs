//! A breaker: where too many of a tenant's requests to a pool fail, the next ones are refused at once for a while, so that
//! neither they nor the pool pay for what will fail. One for each tenant and pool, so that nothing a tenant does opens
//! another one's. All workers share it: a word for its state and one for what was seen, and no lock.

pub mod state;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::spec::BreakerSpec;
use crate::model::breakers::{Breakers, Phase};

use state::{Admission, State, Window, millis};

/// The breaker of one tenant at one pool.
#[derive(Debug)]
pub struct Breaker {
    born: Instant,
    state: AtomicU64,
    window: AtomicU64,
    /// When the trials that are under way began.
    tried_since: AtomicU64,
    standing: Arc<Breakers>,
}

/// What a breaker has become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Became {
    /// Too many failed: refuses all for so long.
    Open(Duration),
    /// Its time is over: lets a few pass.
    HalfOpen,
    /// Those were served.
    Closed,
}

impl Became {
    /// The label's value. Never rename one.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open(_) => "open",
            Self::HalfOpen => "half_open",
            Self::Closed => "closed",
        }
    }
}

impl Breaker {
    /// A closed one.
    pub fn new(standing: Arc<Breakers>, now: Instant) -> Self {
        Self {
            born: now,
            state: AtomicU64::new(State::default().word()),
            window: AtomicU64::new(Window::default().word()),
            tried_since: AtomicU64::new(0),
            standing,
        }
    }

    /// Whether a request may go on; tells what the breaker became by that.
    ///
    /// # Errors
    /// It may not; come again after so long.
    pub fn admit(&self, rules: &BreakerSpec, now: Instant) -> Result<Option<Became>, Duration> {
        let known = self.state();
        if known.phase == Phase::Closed {
            return Ok(None);
        }
        let now = self.millis(now);
        let mut admission = Admission::Passes;
        let changed = self.change(|state| {
            let (after, admitted) = state.admit(rules, now);
            admission = admitted;
            after
        });
        match (admission, changed) {
            (Admission::Refused(time), _) => Err(time),
            (_, Some((Phase::Open, Phase::HalfOpen))) => {
                self.tried_since.store(now, Ordering::Relaxed);
                Ok(Some(Became::HalfOpen))
            }
            _ => Ok(None),
        }
    }

    /// Takes what came of an attempt that began then: served, or failed. Tells what the breaker became by that.
    pub fn note(
        &self,
        rules: &BreakerSpec,
        failed: bool,
        (began, now): (Instant, Instant),
    ) -> Option<Became> {
        let (began, now) = (self.millis(began), self.millis(now));
        let phase = self.state().phase;
        if phase == Phase::Open {
            return None; // of before
        }
        if phase == Phase::HalfOpen && began < self.tried_since.load(Ordering::Relaxed) {
            return None;
        }
        let mut trips = false;
        if phase == Phase::Closed {
            let half = (millis(rules.window) / 2).max(1);
            let seen = |word| Some(Window::of(word).with(now / half, failed).word());
            let before = self.window.fetch_update(Ordering::Relaxed, Ordering::Relaxed, seen);
            let after = Window::of(before.unwrap_or_else(|word| word)).with(now / half, failed);
            trips = failed && after.trips(rules);
            if !trips {
                return None;
            }
        }
        let mut until = 0;
        let changed = self.change(|state| {
            let after = state.after(rules, failed, trips, now);
            until = after.at;
            after
        });
        let (_, after) = changed?;
        // What was seen before says nothing of what comes after.
        self.window.store(Window::default().word(), Ordering::Relaxed);
        match after {
            Phase::Open => Some(Became::Open(Duration::from_millis(until.saturating_sub(now)))),
            Phase::Closed => Some(Became::Closed),
            Phase::HalfOpen => None,
        }
    }

    /// How it stands.
    pub fn state(&self) -> State {
        State::of(self.state.load(Ordering::Relaxed))
    }

    /// Changes the state; tells the phases before and after, where these differ, to the one that did it.
    fn change(&self, mut change: impl FnMut(State) -> State) -> Option<(Phase, Phase)> {
        let mut after = State::default();
        let before = self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
            after = change(State::of(word));
            Some(after.word())
        });
        let before = State::of(before.unwrap_or_else(|word| word)).phase;
        let changed = before != after.phase;
        if changed {
            self.standing.moves(before, after.phase);
        }
        changed.then_some((before, after.phase))
    }

    fn millis(&self, time: Instant) -> u64 {
        millis(time.saturating_duration_since(self.born))
    }
}

impl Drop for Breaker {
    fn drop(&mut self) {
        self.standing.moves(self.state().phase, Phase::Closed);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use crate::base::units::Percent;
    use crate::model::breakers::Counts;

    use super::*;

    const RULES: BreakerSpec = BreakerSpec {
        failures: Percent::new(50.0),
        requests: 10,
        window: Duration::from_secs(10),
        open: Duration::from_secs(5),
        max: Duration::from_secs(60),
        trials: 2,
    };

    fn now() -> (Instant, Instant) {
        (Instant::now(), Instant::now())
    }

    fn new() -> (Breaker, Arc<Breakers>) {
        let standing = Arc::new(Breakers::default());
        (Breaker::new(Arc::clone(&standing), Instant::now()), standing)
    }

    fn opened() -> (Breaker, Arc<Breakers>) {
        let (breaker, standing) = new();
        let became: Vec<Became> =
            (0..10).filter_map(|_| breaker.note(&RULES, true, now())).collect();
        assert_eq!(became, [Became::Open(Duration::from_secs(5))]);
        (breaker, standing)
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_by_a_share_of_enough_requests_within_the_window() {
        let (breaker, _) = new();
        for _ in 0..9 {
            assert_eq!(breaker.note(&RULES, true, now()), None);
        }
        advance(Duration::from_secs(11)).await;
        for _ in 0..6 {
            assert_eq!(breaker.note(&RULES, false, now()), None);
        }
        for _ in 0..5 {
            assert_eq!(breaker.note(&RULES, true, now()), None, "less than a half");
        }
        assert_eq!(breaker.note(&RULES, true, now()), Some(Became::Open(Duration::from_secs(5))));
    }

    #[tokio::test(start_paused = true)]
    async fn it_refuses_until_its_time_is_over_and_then_closes_by_trials() {
        let (breaker, standing) = opened();
        assert_eq!(standing.counts(), Counts { open: 1, half_open: 0 });
        advance(Duration::from_secs(3)).await;
        assert_eq!(breaker.admit(&RULES, Instant::now()), Err(Duration::from_secs(2)));
        advance(Duration::from_secs(2)).await;
        assert_eq!(breaker.admit(&RULES, Instant::now()), Ok(Some(Became::HalfOpen)));
        assert_eq!(breaker.admit(&RULES, Instant::now()), Ok(None));
        assert!(breaker.admit(&RULES, Instant::now()).is_err());
        assert_eq!(standing.counts(), Counts { open: 0, half_open: 1 });
        assert_eq!(breaker.note(&RULES, false, now()), None);
        assert_eq!(breaker.note(&RULES, false, now()), Some(Became::Closed));
        assert_eq!(standing.counts(), Counts::default());
        assert_eq!(breaker.note(&RULES, true, now()), None, "what was before is forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_sent_before_it_opened_decides_no_trial() {
        let began = Instant::now();
        let (breaker, _) = opened();
        advance(Duration::from_secs(5)).await;
        breaker.admit(&RULES, Instant::now()).unwrap();
        assert_eq!(breaker.note(&RULES, true, (began, Instant::now())), None);
        assert_eq!(breaker.note(&RULES, true, now()), Some(Became::Open(Duration::from_secs(10))));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_goes_while_it_is_open_is_counted_no_more() {
        let (breaker, standing) = opened();
        drop(breaker);
        assert_eq!(standing.counts(), Counts::default());
    }

    #[test]
    fn of_many_workers_that_see_the_failures_one_is_told() {
        for _ in 0..50 {
            let (breaker, standing) = new();
            let told: usize = std::thread::scope(|scope| {
                let worker = || (0..100).filter_map(|_| breaker.note(&RULES, true, now())).count();
                let workers: Vec<_> = (0..4).map(|_| scope.spawn(worker)).collect();
                workers.into_iter().map(|worker| worker.join().unwrap()).sum()
            });
            assert_eq!((told, standing.counts().open), (1, 1));
        }
    }
}
