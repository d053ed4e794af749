//! A breaker: where too many of a tenant's requests to a pool fail, the next ones are refused at once for a while, so that
//! neither they nor the pool pay for what will fail. One for each tenant and pool, so that nothing a tenant does opens
//! another one's, and, where a pool asks for it, one of the pool itself. All workers share it: a word for its state and one
//! for what was seen, and no lock.

mod ballot;
pub mod state;
pub mod whole;
mod words;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::spec::BreakerSpec;
use crate::model::breakers::{Breakers, Phase, Words};

use ballot::Ballot;
use words::Core;
pub use words::{Admitted, OnTrial};

/// The breaker of one tenant at one pool.
#[derive(Debug)]
pub struct Breaker {
    words: Words,
    standing: Arc<Breakers>,
    /// What it says to the breaker of the whole pool.
    ballot: Ballot,
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
        Self { words: Words::new(now), standing, ballot: Ballot::default() }
    }

    /// Whether a request may go on.
    ///
    /// # Errors
    /// It may not; come again after so long.
    pub fn admit(
        &self,
        rules: &BreakerSpec,
        now: Instant,
    ) -> Result<Admitted<OnTrial<'_>>, Duration> {
        self.core().admit(rules, now)
    }

    /// Takes what came of a request that was not on trial and began then: served, or failed. Tells what the breaker
    /// became by that.
    pub fn note(
        &self,
        rules: &BreakerSpec,
        failed: bool,
        times: (Instant, Instant),
    ) -> Option<Became> {
        self.core().note(rules, failed, times, |window| window.trips(rules))
    }

    /// Whether all requests pass.
    pub fn is_closed(&self) -> bool {
        self.core().state().phase == Phase::Closed
    }

    fn core(&self) -> Core<'_> {
        Core { words: &self.words, standing: &self.standing.tenants }
    }
}

impl Drop for Breaker {
    fn drop(&mut self) {
        self.core().leaves();
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
        whole_pool: true,
    };

    fn now() -> (Instant, Instant) {
        (Instant::now(), Instant::now())
    }

    fn new() -> (Breaker, Arc<Breakers>) {
        let standing = Arc::new(Breakers::default());
        (Breaker::new(Arc::clone(&standing), Instant::now()), standing)
    }

    /// A request that is let on trial.
    fn admitted(breaker: &Breaker, became: Option<Became>) -> OnTrial<'_> {
        let admitted = breaker.admit(&RULES, Instant::now()).unwrap();
        assert!(became.is_none() || admitted.became == became);
        admitted.trial.unwrap()
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
        assert_eq!(standing.tenants.counts(), Counts { open: 1, half_open: 0 });
        advance(Duration::from_secs(3)).await;
        let refused = breaker.admit(&RULES, Instant::now()).map(|_| ());
        assert_eq!(refused, Err(Duration::from_secs(2)));
        advance(Duration::from_secs(2)).await;
        let first = admitted(&breaker, Some(Became::HalfOpen));
        let second = admitted(&breaker, None);
        assert!(breaker.admit(&RULES, Instant::now()).is_err());
        assert_eq!(standing.tenants.counts(), Counts { open: 0, half_open: 1 });
        assert_eq!(first.ends(&RULES, false, Instant::now()), None);
        assert_eq!(second.ends(&RULES, false, Instant::now()), Some(Became::Closed));
        assert_eq!(standing.tenants.counts(), Counts::default());
        assert_eq!(breaker.note(&RULES, true, now()), None, "what was before is forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn requests_on_trial_that_end_without_a_word_lock_nobody_out() {
        let (breaker, _) = opened();
        advance(Duration::from_secs(5)).await;
        for _ in 0..100 {
            let trial = admitted(&breaker, None);
            drop(trial); // its client has left, or the pool's queue was full
        }
        let (first, second) = (admitted(&breaker, None), admitted(&breaker, None));
        let refused = breaker.admit(&RULES, Instant::now()).map(|_| ());
        assert_eq!(refused, Err(Duration::from_secs(1)), "not for half a minute");
        first.ends(&RULES, false, Instant::now());
        assert_eq!(second.ends(&RULES, false, Instant::now()), Some(Became::Closed));
    }

    #[tokio::test(start_paused = true)]
    async fn late_failures_of_before_it_opened_do_not_reopen_it_when_it_has_closed() {
        let began = Instant::now();
        let (breaker, _) = opened();
        advance(Duration::from_secs(5)).await;
        for _ in 0..RULES.trials {
            admitted(&breaker, None).ends(&RULES, false, Instant::now());
        }
        for _ in 0..100 {
            assert_eq!(breaker.note(&RULES, true, (began, Instant::now())), None);
        }
        let became: Vec<Became> =
            (0..10).filter_map(|_| breaker.note(&RULES, true, now())).collect();
        assert_eq!(became.len(), 1, "those of now do");
    }

    #[tokio::test(start_paused = true)]
    async fn one_whose_tenant_has_left_does_not_count_as_open_for_ever() {
        let (_breaker, standing) = opened();
        advance(Duration::from_secs(4)).await;
        assert_eq!(standing.tenants.counts(), Counts { open: 1, half_open: 0 });
        advance(Duration::from_secs(1)).await;
        assert_eq!(standing.tenants.counts(), Counts { open: 0, half_open: 1 });
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_sent_before_it_opened_decides_no_trial() {
        let began = Instant::now();
        let (breaker, _) = opened();
        advance(Duration::from_secs(5)).await;
        let trial = admitted(&breaker, Some(Became::HalfOpen));
        assert_eq!(breaker.note(&RULES, true, (began, Instant::now())), None);
        let became = trial.ends(&RULES, true, Instant::now());
        assert_eq!(became, Some(Became::Open(Duration::from_secs(10))));

        // And what was on trial before it opened anew decides no other trial.
        advance(Duration::from_secs(10)).await;
        let (late, other) = (admitted(&breaker, None), admitted(&breaker, None));
        other.ends(&RULES, true, Instant::now());
        advance(Duration::from_secs(15)).await;
        let next = admitted(&breaker, Some(Became::HalfOpen));
        assert_eq!(late.ends(&RULES, true, Instant::now()), None);
        assert_eq!(next.ends(&RULES, false, Instant::now()), None);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_goes_while_it_is_open_is_counted_no_more() {
        let (breaker, standing) = opened();
        drop(breaker);
        assert_eq!(standing.tenants.counts(), Counts::default());
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
            assert_eq!((told, standing.tenants.counts().open), (1, 1));
        }
    }
}
