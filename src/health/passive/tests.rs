//! Ejection from traffic on a paused clock, and its bounds under any traffic.

use std::sync::Arc;

use proptest::prelude::{ProptestConfig, any, prop, proptest};
use tokio::time::advance;

use crate::base::units::Percent;
use crate::model::endpoint::Health;
use crate::model::members::Found;

use super::Verdict::{Failure, Success, Unreachable};
use super::*;

const SPEC: EjectSpec = EjectSpec { success_rate: None, ..EjectSpec::USUAL };

struct World {
    members: Members,
    spec: EjectSpec,
}

impl World {
    fn new(count: u8) -> Self {
        let members = Members::new(1, Health::Unchecked, 0.5);
        let found = |host: u8| Found::new(([10, 0, 0, host], 80), "test");
        members.replace(&(0..count).map(found).collect::<Vec<_>>());
        Self { members, spec: SPEC }
    }

    fn endpoint(&self, at: usize) -> Arc<Endpoint> {
        Arc::clone(&self.members.load().all[at].endpoint)
    }

    fn see(&self, at: usize, verdict: Verdict) -> Option<Ejected> {
        match self.of(1, at, verdict) {
            Some(Judged::Ejected(ejected)) => Some(ejected),
            Some(Judged::Spared) => panic!("there is one tenant"),
            Some(Judged::Recovered) | None => None,
        }
    }

    fn of(&self, tenant: u32, at: usize, verdict: Verdict) -> Option<Judged> {
        let now = Instant::now();
        let attempt = Attempt { verdict, tenant, began: now, now };
        observe(&self.members, &self.endpoint(at), &self.spec, attempt)
    }

    /// As many failures as eject.
    fn fail(&self, at: usize) -> Option<Ejected> {
        (0..self.spec.failures).filter_map(|_| self.see(at, Failure)).last()
    }

    fn release(&self) -> Vec<(Arc<Endpoint>, Ejected)> {
        release(&self.members, &self.spec)
    }

    /// Serves requests of this tenant until the endpoint at this place has passed its trial.
    fn recovers(&self, at: usize, tenant: u32) {
        for left in (0..self.spec.trials).rev() {
            let now = Instant::now();
            assert!(self.endpoint(at).admits(tenant, true, now));
            let judged = self.of(tenant, at, Success);
            assert_eq!(judged, (left == 0).then_some(Judged::Recovered));
        }
        assert!(!self.endpoint(at).is_on_trial());
    }

    fn ejected(&self) -> usize {
        let set = self.members.load();
        set.all.iter().filter(|member| member.endpoint.ejected_for().is_some()).count()
    }

    /// Lets time pass as control does: with a tick each 100 ms.
    async fn pass(&self, time: Duration) {
        let ticks = time.as_millis() / 100;
        for _ in 0..ticks {
            advance(Duration::from_millis(100)).await;
            self.release();
        }
    }
}

fn seconds(time: u64, count: u32) -> Option<Ejected> {
    Some(Ejected { time: Duration::from_secs(time), count, cause: Cause::Failures })
}

#[tokio::test(start_paused = true)]
async fn five_failures_in_a_row_eject() {
    let world = World::new(3);

    assert_eq!((0..4).filter_map(|_| world.see(0, Failure)).next(), None);
    assert_eq!(world.see(0, Failure), seconds(10, 1));

    let set = world.members.load();
    assert_eq!(set.eligible.endpoints.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_success_between_starts_the_row_anew() {
    let world = World::new(3);

    for _ in 0..10 {
        for _ in 0..4 {
            assert_eq!(world.see(0, Failure), None);
        }
        assert_eq!(world.see(0, Success), None);
    }

    assert_eq!(world.ejected(), 0);
}

#[tokio::test(start_paused = true)]
async fn one_that_breaks_off_each_answer_after_its_head_is_ejected() {
    let world = World::new(3);
    for _ in 0..5 {
        assert_eq!(world.see(0, Success), None);
        world.endpoint(0).breaks_off(Some(1));
    }
    assert_eq!(world.see(0, Success), seconds(10, 1));

    // And passes no trial by heads.
    world.pass(Duration::from_millis(10_100)).await;
    for _ in 0..5 {
        assert_eq!(world.see(0, Success), None);
        world.endpoint(0).breaks_off(Some(1));
    }
    assert!(world.endpoint(0).is_on_trial());
    assert_eq!(world.see(0, Success), Some(again(20, 2)));
}

#[tokio::test(start_paused = true)]
async fn one_answer_that_ends_whole_clears_those_that_broke_off() {
    let world = World::new(3);
    for _ in 0..10 {
        for _ in 0..4 {
            assert_eq!(world.see(0, Success), None);
            world.endpoint(0).breaks_off(Some(1));
        }
        world.endpoint(0).ends_whole();
    }
    assert_eq!(world.see(0, Success), None);
    assert!(!world.endpoint(0).is_in_doubt());
}

#[tokio::test(start_paused = true)]
async fn a_tenant_whose_answers_break_off_takes_no_endpoint_from_the_others() {
    let world = World::new(3);
    world.of(2, 0, Success);
    for _ in 0..5 {
        assert_eq!(world.of(1, 0, Success), None);
        world.endpoint(0).breaks_off(Some(1));
    }
    assert_eq!(world.of(1, 0, Success), Some(Judged::Spared));
    assert_eq!(world.of(1, 0, Success), None, "it is counted once");
    assert_eq!(world.ejected(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_ejected_endpoint_comes_back_when_its_time_is_over() {
    let world = World::new(3);
    world.fail(0);

    world.pass(Duration::from_millis(9_900)).await;
    assert_eq!(world.ejected(), 1);
    world.pass(Duration::from_millis(200)).await;

    assert_eq!(world.ejected(), 0);
    let shown = || {
        let set = world.members.load();
        (set.eligible.endpoints.len(), set.eligible.on_trial.len())
    };
    assert_eq!(shown(), (2, 1), "one request at a time");
    world.recovers(0, 1);
    assert_eq!(shown(), (3, 0));
    assert_eq!(world.endpoint(0).failures(), 0);
}

#[tokio::test(start_paused = true)]
async fn without_trials_it_gets_all_of_its_traffic_at_once() {
    let mut world = World::new(3);
    world.spec.trials = 0;
    world.fail(0);
    world.pass(Duration::from_millis(10_100)).await;

    let set = world.members.load();
    assert_eq!((set.eligible.endpoints.len(), set.eligible.on_trial.len()), (3, 0));
}

/// A world in which the first endpoint is on trial, after failures of several tenants.
async fn on_trial() -> World {
    let world = World::new(4);
    for tenant in [1, 1, 1, 1, 2] {
        world.of(tenant, 0, Failure);
    }
    world.pass(Duration::from_millis(10_100)).await;
    assert!(world.endpoint(0).is_on_trial());
    world
}

fn again(time: u64, count: u32) -> Ejected {
    Ejected { time: Duration::from_secs(time), count, cause: Cause::Trial }
}

#[tokio::test(start_paused = true)]
async fn one_on_trial_that_takes_no_connection_is_ejected_at_once_and_for_longer() {
    let world = on_trial().await;
    assert_eq!(world.of(1, 0, Unreachable), Some(Judged::Ejected(again(20, 2))));
    assert!(!world.endpoint(0).is_on_trial());
}

#[tokio::test(start_paused = true)]
async fn one_on_trial_that_fails_two_tenants_is_ejected_at_once() {
    let world = on_trial().await;
    assert_eq!(world.of(1, 0, Failure), None, "another one shall say so");
    assert_eq!(world.of(2, 0, Failure), Some(Judged::Ejected(again(20, 2))));
}

#[tokio::test(start_paused = true)]
async fn one_on_trial_that_fails_the_only_tenant_is_ejected_when_nobody_else_has_come() {
    let world = on_trial().await;
    assert_eq!(world.of(1, 0, Failure), None);
    assert!(!world.endpoint(0).admits(1, true, Instant::now()), "no further one of it fails");

    advance(Duration::from_millis(1_800)).await;
    assert!(world.release().is_empty());
    advance(Duration::from_millis(300)).await;
    let lost: Vec<Ejected> = world.release().into_iter().map(|(_, ejected)| ejected).collect();

    assert_eq!(lost, [again(20, 2)]);
    assert_eq!(world.members.load().eligible.on_trial.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_tenant_whose_requests_fail_does_not_keep_out_one_that_serves_others() {
    let world = on_trial().await;
    assert_eq!(world.of(1, 0, Failure), None);
    world.recovers(0, 2);
    assert_eq!(world.ejected(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_tenant_that_always_fails_ejects_nobody_anew_while_another_one_comes_now_and_then() {
    let world = on_trial().await;
    world.of(2, 1, Success); // elsewhere
    let mut failed = 0;
    for second in 0..60 {
        if second % 20 == 19 {
            world.of(2, 2, Success);
        }
        if world.endpoint(0).admits(1, true, Instant::now()) {
            assert_eq!(world.of(1, 0, Failure), None);
            failed += 1;
        }
        world.pass(Duration::from_secs(1)).await;
        assert_eq!(world.ejected(), 0, "{second}");
    }
    assert_eq!(failed, 5, "less and less often");
    world.recovers(0, 2);

    let world = on_trial().await;
    world.of(2, 1, Success);
    assert_eq!(world.of(1, 0, Failure), None);
    world.pass(Duration::from_secs(33)).await;
    assert_eq!(world.ejected(), 1, "the other one comes no more");
}

#[tokio::test(start_paused = true)]
async fn a_trial_does_not_wait_for_ever_for_a_tenant_that_has_left() {
    let world = on_trial().await;
    assert_eq!(world.of(1, 0, Failure), None);
    assert_eq!(world.of(2, 0, Success), None);
    world.pass(Duration::from_secs(60)).await;
    for _ in 0..2 {
        assert!(world.endpoint(0).admits(1, true, Instant::now()));
        world.of(1, 0, Success);
    }
    assert!(!world.endpoint(0).is_on_trial());
}

#[tokio::test(start_paused = true)]
async fn one_on_trial_that_gets_no_request_holds_up_no_other_ejection() {
    let world = on_trial().await;
    world.endpoint(0).set_health(Health::Down, None);
    world.members.refresh();
    assert!(world.fail(1).is_some(), "the first one is down");

    // Now there is no room for it any more.
    world.endpoint(0).set_health(Health::Unchecked, None);
    world.members.refresh();
    assert_eq!(world.of(1, 0, Failure), None);
    world.pass(Duration::from_secs(5)).await;
    assert_eq!(world.ejected(), 1);
    assert!(world.endpoint(0).is_on_trial());
}

#[tokio::test(start_paused = true)]
async fn one_on_trial_that_stands_by_holds_up_no_other_ejection() {
    let world = World::new(3);
    for tenant in [1, 1, 1, 1, 2] {
        world.of(tenant, 2, Failure);
    }
    let found = |host: u8| Found {
        priority: u16::from(host == 2),
        ..Found::new(([10, 0, 0, host], 80), "test")
    };
    world.members.replace(&[found(0), found(1), found(2)]);
    world.pass(Duration::from_millis(10_100)).await;
    assert!(world.endpoint(2).is_on_trial());
    assert!(world.fail(0).is_some());
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_before_a_trial_says_nothing_in_it() {
    let world = World::new(4);
    let began = Instant::now();
    for tenant in [1, 1, 1, 1, 2] {
        world.of(tenant, 0, Failure);
    }
    world.pass(Duration::from_millis(10_100)).await;
    for (tenant, verdict) in [(1, Failure), (2, Failure), (3, Unreachable), (4, Success)] {
        let attempt = Attempt { verdict, tenant, began, now: Instant::now() };
        let judged = observe(&world.members, &world.endpoint(0), &world.spec, attempt);
        assert_eq!(judged, None, "{verdict:?}");
    }
    assert_eq!(world.endpoint(0).trial_needs(), Some(3));
}

#[tokio::test(start_paused = true)]
async fn one_on_trial_has_its_place_among_those_that_are_out() {
    let world = on_trial().await;
    assert_eq!(world.fail(1), None, "30 % of four are one");
    world.recovers(0, 1);
    assert!(world.fail(1).is_some());
}

#[tokio::test(start_paused = true)]
async fn each_ejection_lasts_longer_up_to_the_longest() {
    let mut world = World::new(3);
    world.spec.max = Duration::from_secs(35);
    let mut times = Vec::new();

    for _ in 0..5 {
        let ejected = world.fail(0).unwrap();
        times.push(ejected.time.as_secs());
        world.pass(ejected.time + Duration::from_millis(200)).await;
        world.recovers(0, 1);
    }

    assert_eq!(times, [10, 20, 30, 35, 35]);
}

#[tokio::test(start_paused = true)]
async fn each_spell_without_an_ejection_shortens_the_next() {
    let world = World::new(3);
    for count in 1..=3 {
        assert_eq!(world.fail(0).map(|ejected| ejected.count), Some(count));
        world.pass(Duration::from_secs(u64::from(count) * 10) + Duration::from_millis(200)).await;
        world.recovers(0, 1);
    }

    world.pass(Duration::from_millis(9_500)).await;
    assert_eq!(world.endpoint(0).ejections(), 3);
    world.pass(Duration::from_secs(1)).await;
    assert_eq!(world.endpoint(0).ejections(), 2);
    world.pass(Duration::from_secs(20)).await;
    assert_eq!(world.endpoint(0).ejections(), 0);

    assert_eq!(world.fail(0), seconds(10, 1));
}

#[tokio::test(start_paused = true)]
async fn the_only_endpoint_is_never_ejected() {
    let world = World::new(1);

    assert_eq!((0..100).filter_map(|_| world.see(0, Failure)).next(), None);
}

#[tokio::test(start_paused = true)]
async fn one_of_several_may_always_be_ejected_and_no_more_than_the_share() {
    for (count, allowed) in [(2, 1), (3, 1), (4, 1), (7, 2), (10, 3), (20, 6)] {
        let world = World::new(count);
        for at in 0..usize::from(count) {
            world.fail(at);
        }
        assert_eq!(world.ejected(), allowed, "of {count}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_had_no_room_is_ejected_when_there_is_some() {
    let world = World::new(2);
    world.fail(0);
    assert_eq!(world.fail(1), None);

    world.pass(Duration::from_millis(10_200)).await;
    world.recovers(0, 1);

    assert_eq!(world.fail(1), seconds(10, 1));
}

#[tokio::test(start_paused = true)]
async fn zero_failures_switches_ejection_off() {
    let mut world = World::new(3);
    world.spec.failures = 0;

    assert_eq!((0..100).filter_map(|_| world.see(0, Failure)).next(), None);
}

#[tokio::test(start_paused = true)]
async fn failures_of_an_ejected_endpoint_do_not_count_after_it() {
    let world = World::new(3);
    world.fail(0);

    for _ in 0..50 {
        assert_eq!(world.see(0, Failure), None);
    }

    assert_eq!(world.endpoint(0).ejections(), 1);
    world.pass(Duration::from_secs(11)).await;
    assert_eq!((world.ejected(), world.endpoint(0).failures()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_ejected_endpoint_shows_whether_it_has_failed_since() {
    let world = World::new(3);
    world.fail(0);
    assert_eq!(world.endpoint(0).failures(), 0);

    world.see(0, Failure);
    assert_eq!(world.endpoint(0).failures(), 1);

    world.see(0, Success);
    assert_eq!(world.endpoint(0).failures(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_left_is_not_ejected() {
    let world = World::new(3);
    let gone = world.endpoint(0);
    world.members.replace(&[]);

    let now = Instant::now();
    let attempt = Attempt { verdict: Failure, tenant: 1, began: now, now };
    let verdicts = (0..20).map(|_| observe(&world.members, &gone, &world.spec, attempt));

    assert_eq!(verdicts.flatten().next(), None);
}

#[test]
fn of_many_workers_that_see_the_failures_one_ejects() {
    for _ in 0..50 {
        let world = World::new(10);
        let endpoint = world.endpoint(0);

        let told: usize = std::thread::scope(|scope| {
            let worker = || (0..200).filter_map(|_| world.see(0, Failure)).count();
            let workers: Vec<_> = (0..4).map(|_| scope.spawn(worker)).collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).sum()
        });

        assert_eq!(told, 1);
        assert_eq!(endpoint.ejections(), 1);
        assert_eq!(world.members.load().eligible.endpoints.len(), 9);
    }
}

#[test]
fn many_workers_never_eject_more_than_the_share() {
    for _ in 0..20 {
        let world = World::new(10);

        std::thread::scope(|scope| {
            for first in 0..4 {
                let world = &world;
                scope.spawn(move || {
                    for round in 0..100 {
                        world.see((first + round) % 10, Failure);
                    }
                });
            }
        });

        assert!(world.ejected() <= 3, "{} are ejected", world.ejected());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn whatever_traffic_does_the_bounds_hold(
        count in 1u8..20,
        share in 0.0f64..100.0,
        failures in 1u32..6,
        steps in prop::collection::vec((any::<u8>(), 0u8..4), 0..300),
    ) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async {
            let mut world = World::new(count);
            world.spec.share = Percent::new(share);
            world.spec.failures = failures;
            for (at, step) in steps {
                let at = usize::from(at % count);
                let told = match step {
                    0 => world.see(at, Success),
                    1 | 2 => world.fail(at),
                    _ => {
                        world.pass(Duration::from_secs(3)).await;
                        None
                    }
                };
                if let Some(ejected) = told {
                    assert!(ejected.time <= SPEC.max && ejected.time >= SPEC.base);
                    assert_eq!(ejected.time, (SPEC.base * ejected.count).min(SPEC.max));
                }
                let most = ((f64::from(count) * share / 100.0 + 1e-6) as usize).max(1);
                assert!(world.ejected() <= if count == 1 { 0 } else { most });
            }
            world.pass(SPEC.max + Duration::from_secs(3)).await;
            assert_eq!(world.ejected(), 0, "nobody stays out");
        });
    }
}

#[tokio::test(start_paused = true)]
async fn a_tenant_whose_requests_fail_takes_no_endpoint_from_the_others() {
    let world = World::new(3);
    world.of(2, 0, Success);

    for round in 1..=20 {
        let judged = world.of(1, 0, Failure);
        assert_eq!(judged, (round % 5 == 0).then_some(Judged::Spared), "{round}");
    }
    assert_eq!(world.ejected(), 0);

    advance(Duration::from_secs(31)).await; // the other one has not come since
    let judged: Vec<_> = (0..5).filter_map(|_| world.of(1, 0, Failure)).collect();
    assert!(matches!(judged[..], [Judged::Ejected(_)]), "{judged:?}");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_fails_several_tenants_or_takes_no_connection_is_ejected() {
    let world = World::new(10);
    for tenant in [1, 2] {
        world.of(tenant, 0, Success);
        world.of(tenant, 1, Success);
    }

    let several = [1, 1, 1, 1, 2].map(|tenant| world.of(tenant, 0, Failure));
    assert!(matches!(several, [.., Some(Judged::Ejected(_))]), "{several:?}");
    let unreachable = [1; 5].map(|tenant| world.of(tenant, 1, Unreachable));
    assert!(matches!(unreachable, [.., Some(Judged::Ejected(_))]), "{unreachable:?}");
}

#[tokio::test(start_paused = true)]
async fn who_says_when_to_come_again_is_not_asked_before_but_is_ejected_as_others() {
    let world = World::new(4);
    let (busy, failing) = (world.endpoint(0), world.endpoint(1));
    let is_suspected = async |endpoint: &Endpoint| {
        tokio::time::timeout(Duration::from_secs(1), endpoint.suspicion().raised()).await.is_ok()
    };

    let ejected: Vec<Ejected> =
        (0..SPEC.failures).filter_map(|_| world.see(0, Verdict::Busy)).collect();
    world.see(1, Failure);

    assert_eq!(ejected.len(), 1);
    assert!(!is_suspected(&busy).await && is_suspected(&failing).await);
}
