//! The breaker of a whole pool, for all of its tenants: where most of them fail, the next requests of all are refused.
//!
//! **Invariant:** what one tenant's requests come to neither opens it nor keeps it open for the others. Of each tenant a few
//! results count in half a window, and as many as one can say are left out when it is judged; on trial it has one request at a
//! time, and it takes a second tenant's failure to open it again.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::spec::BreakerSpec;
use crate::model::breakers::{Phase, Whole};

use super::ballot::Ballot;
use super::state::{State, millis};
use super::words::{Admitted, Core, OnTrial, half};
use super::{Became, Breaker};

/// The place of a tenant's request among those on trial for the whole pool. Dropped with nothing said of the request, it is the
/// next one's.
#[derive(Debug)]
pub struct OnTrialForAll<'b> {
    place: OnTrial<'b>,
    turn: Turn<'b>,
}

/// The one request that its tenant has on trial.
#[derive(Debug)]
struct Turn<'b> {
    ballot: &'b Ballot,
    since: u64,
    has_failed: bool,
}

impl OnTrialForAll<'_> {
    /// The request was served, or has failed; tells what the breaker became by that.
    pub fn ends(mut self, rules: &BreakerSpec, failed: bool, now: Instant) -> Option<Became> {
        if failed {
            self.turn.has_failed = true;
            if !self.turn.ballot.fails(self.turn.since) {
                return None; // it has said so before
            }
        }
        let tried = |state: State, since, now| state.tried_for_many(rules, since, failed, now);
        self.place.ends_as(rules, now, tried)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.has_failed {
            self.ballot.give_back(self.since);
        }
    }
}

/// Whether a request of the tenant with this breaker may go on.
///
/// # Errors
/// It may not; come again after so long.
pub fn admit<'b>(
    whole: &'b Whole,
    tenant: &'b Breaker,
    rules: &BreakerSpec,
    now: Instant,
) -> Result<Admitted<OnTrialForAll<'b>>, Duration> {
    let (core, ballot) = (core(whole), &tenant.ballot);
    let state = core.state();
    if state.phase == Phase::HalfOpen {
        // Before it takes a place, if only for a moment.
        has_turn(|since, stretch| !ballot.is_taken(since, stretch), state.at, (core, rules, now))?;
    }
    let Admitted { trial, became } = core.admit(rules, now)?;
    let Some(place) = trial else { return Ok(Admitted { trial: None, became }) };
    let since = place.since;
    has_turn(|since, stretch| ballot.take(since, stretch), since, (core, rules, now))?;
    let turn = Turn { ballot, since, has_failed: false };
    Ok(Admitted { trial: Some(OnTrialForAll { place, turn }), became })
}

/// Whether a tenant may have a request on trial now, and if not, when.
fn has_turn(
    may: impl Fn(u64, u64) -> bool,
    since: u64,
    (core, rules, now): (Core<'_>, &BreakerSpec, Instant),
) -> Result<(), Duration> {
    let open = millis(rules.open).max(1);
    let passed = core.millis(now).saturating_sub(since);
    if may(since, passed / open) {
        return Ok(());
    }
    Err(Duration::from_millis(open - passed % open))
}

/// Takes what came of a request of the tenant with this breaker that was not on trial and began then: served, or failed. Tells
/// what the breaker of the whole pool became by that.
pub fn note(
    whole: &Whole,
    tenant: &Breaker,
    rules: &BreakerSpec,
    failed: bool,
    (began, now): (Instant, Instant),
) -> Option<Became> {
    let core = core(whole);
    let votes = votes(rules);
    if !core.counts(core.millis(began))
        || !tenant.ballot.votes(core.millis(now) / half(rules), votes)
    {
        return None;
    }
    // As many as one tenant has said at most, in this half of the window and in the one before.
    core.note(rules, failed, (began, now), |window| window.trips_without(2 * votes, rules))
}

/// Whether all requests pass.
pub fn is_closed(whole: &Whole) -> bool {
    core(whole).state().phase == Phase::Closed
}

fn core(whole: &Whole) -> Core<'_> {
    Core { words: &whole.words, standing: &whole.standing }
}

/// The results of a tenant that count in half a window: with a quarter of those that are asked for, three tenants are enough
/// to open it, and a busy one says no more than others do.
fn votes(rules: &BreakerSpec) -> u32 {
    (rules.requests / 4).max(1)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use tokio::runtime::Builder;
    use tokio::time::{advance, pause};

    use crate::base::units::Percent;
    use crate::model::breakers::{Breakers, Counts};

    use super::*;

    const RULES: BreakerSpec = BreakerSpec {
        failures: Percent::new(50.0),
        requests: 20,
        window: Duration::from_secs(10),
        open: Duration::from_secs(5),
        max: Duration::from_secs(60),
        trials: 2,
        whole_pool: true,
    };

    /// A pool and its tenants.
    struct World {
        all: Arc<Breakers>,
        tenants: Vec<Breaker>,
    }

    impl World {
        fn new(tenants: usize) -> Self {
            let all = Arc::<Breakers>::default();
            let new = |_| Breaker::new(Arc::clone(&all), Instant::now());
            let tenants = (0..tenants).map(new).collect();
            Self { all, tenants }
        }

        /// Requests of a tenant come, so far as they may, and end at once. Tells what became of that.
        fn ask(&self, tenant: usize, failed: bool) -> Result<Option<Became>, Duration> {
            let now = Instant::now();
            Ok(match self.enter(tenant)?.trial {
                Some(trial) => trial.ends(&RULES, failed, now),
                None => note(&self.all.whole, &self.tenants[tenant], &RULES, failed, (now, now)),
            })
        }

        fn enter(&self, tenant: usize) -> Result<Admitted<OnTrialForAll<'_>>, Duration> {
            admit(&self.all.whole, &self.tenants[tenant], &RULES, Instant::now())
        }

        fn counts(&self) -> Counts {
            self.all.whole.standing.counts()
        }

        /// Three tenants fail until all are refused.
        async fn open(&self) {
            for _ in 0..2 {
                let refused = (0..30).filter(|at| self.ask(at % 3, true).is_err()).count();
                if refused == 0 {
                    advance(RULES.window / 2).await; // each has said what it may
                }
            }
            assert_eq!(self.counts(), Counts { open: 1, half_open: 0 });
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_for_three_tenants_is_refused_to_all_and_for_two_to_nobody() {
        let two = World::new(3);
        for _ in 0..10 {
            (0..1000).for_each(|at| assert_eq!(two.ask(at % 2, true), Ok(None)));
            advance(RULES.window / 2).await;
        }
        assert_eq!(two.counts(), Counts::default());

        let three = World::new(4);
        three.open().await;
        assert_eq!(three.ask(3, false), Err(RULES.open), "nobody has asked for it before");
    }

    #[tokio::test(start_paused = true)]
    async fn many_tenants_with_one_request_each_open_it_where_half_of_them_fail() {
        let world = World::new(60);
        let became = (0..60).map(|tenant| world.ask(tenant, tenant % 4 == 0));
        assert_eq!(became.filter_map(Result::ok).flatten().count(), 0, "a quarter");
        let world = World::new(60);
        let became = (0..60).map(|tenant| world.ask(tenant, tenant % 4 != 0));
        assert_eq!(became.filter_map(Result::ok).flatten().count(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenant_that_always_fails_keeps_it_open_for_nobody() {
        let world = World::new(4);
        world.open().await;
        advance(RULES.open).await;

        // It comes first, and again and again.
        assert_eq!(world.enter(0).unwrap().became, Some(Became::HalfOpen));
        for _ in 0..20 {
            for _ in 0..50 {
                let refused = world.ask(0, true);
                assert!(matches!(refused, Ok(None) | Err(_)), "{refused:?}");
            }
            advance(RULES.open).await;
        }
        assert_eq!(world.counts(), Counts { open: 0, half_open: 1 });
        assert_eq!(world.ask(3, false), Ok(None));
        assert_eq!(world.ask(3, false), Ok(Some(Became::Closed)));
        assert_eq!(world.ask(0, true), Ok(None));
    }

    #[tokio::test(start_paused = true)]
    async fn the_failures_of_two_tenants_open_it_again_for_longer() {
        let world = World::new(4);
        world.open().await;
        advance(RULES.open).await;

        assert_eq!(world.ask(1, true), Ok(None));
        assert_eq!(world.ask(1, false), Err(RULES.open), "its turn is over");
        assert_eq!(world.ask(2, true), Ok(Some(Became::Open(RULES.open * 2))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenant_that_is_alone_by_then_closes_it_and_one_that_leaves_locks_nobody_out() {
        let world = World::new(4);
        world.open().await;
        advance(RULES.open).await;

        for _ in 0..100 {
            drop(world.enter(0).unwrap().trial.unwrap());
        }
        assert_eq!(world.ask(0, true), Ok(None));
        advance(RULES.open).await;
        assert_eq!(world.ask(0, false), Ok(None));
        assert_eq!(world.ask(0, false), Ok(Some(Became::Closed)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenant_has_one_request_on_trial_at_a_time() {
        let world = World::new(4);
        world.open().await;
        advance(RULES.open).await;

        let first = world.enter(0).unwrap().trial.unwrap();
        assert!(world.enter(0).is_err());
        let other = world.enter(1).unwrap().trial.unwrap();
        assert!(world.enter(2).is_err(), "two are on trial");
        assert_eq!(first.ends(&RULES, false, Instant::now()), None);
        assert_eq!(other.ends(&RULES, false, Instant::now()), Some(Became::Closed));
    }

    proptest! {
        /// Whatever one tenant's requests come to, and however many others there are.
        #[test]
        fn one_tenant_alone_opens_it_for_nobody(
            steps in prop::collection::vec((0_usize..6, any::<bool>(), 0_u64..3000), 1..400),
        ) {
            let runtime = Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(async {
                pause();
                let world = World::new(6);
                for (tenant, failed, later) in steps {
                    let failed = tenant == 0 && failed;
                    for _ in 0..=later % 7 {
                        assert_eq!(world.ask(tenant, failed), Ok(None));
                    }
                    advance(Duration::from_millis(later)).await;
                }
            });
        }
    }
}
