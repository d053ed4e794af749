//! Several gateways, a store, and what comes through in all.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::timeout;

use crate::base::memory::Account;
use crate::base::units::Rate;
use crate::config::spec::RateSpec;
use crate::limits::Shared;
use crate::limits::gcra::Meter;
use crate::limits::ledger::Ledger;

use super::desk::{Desk, Question};
use super::store::{Answer, Ask};
use super::*;

const A_SECOND: u64 = Ticks::A_SECOND;
const ACME: Whose<'_> = Whose { tenant: "acme", route: None };

/// What the script does, in Rust: tests/it holds the script itself against the same rule.
#[derive(Default)]
pub(super) struct Words(HashMap<String, (u64, u64)>);

impl Words {
    pub(super) fn ask(&mut self, ask: &Ask, now: u64) -> Answer {
        let (interval, depth) = (ask.pace.interval(), ask.pace.depth());
        let (at, was) = self.0.get(&ask.key).copied().unwrap_or((now, 0));
        let since = now.saturating_sub(at);
        let age = ask.age.0.min(since);
        let ahead = was.saturating_sub(since - age);
        let ahead = ahead.saturating_sub(ask.back * interval);
        let ahead = (ahead + ask.spent * interval).saturating_sub(age).max(ask.own);
        let granted = ask.wanted.min(depth.saturating_sub(ahead) / interval);
        let ahead = ahead + granted * interval;
        self.0.insert(ask.key.clone(), (now, ahead));
        Answer { granted, ahead, replaced: false }
    }
}

struct Gateway {
    fleet: Arc<Fleet>,
    arrivals: Arrivals,
    desk: Desk,
    ledger: Arc<Ledger>,
    pending: Vec<(Vec<Question>, Vec<Answer>)>,
}

impl Gateway {
    fn new() -> Self {
        let (fleet, arrivals) = Fleet::new(Percent::new(20.0));
        fleet.set(Mode::Shared);
        let some = Some(Arc::clone(&fleet));
        let shared = Shared::with_fleet(1 << 16, Account::unlimited(), Arc::default(), some);
        let ledger = Ledger::new(&shared, "acme");
        let desk = Desk::new(Arc::clone(&fleet), "test".to_owned());
        Self { fleet, arrivals, desk, ledger, pending: Vec::new() }
    }

    /// Whether a request comes through.
    fn admits(&self, pace: Pace, now: u64) -> bool {
        let (cell, now) = (self.ledger.own(), Ticks(now));
        let Ok(grant) = cell.meter.take(pace, now, Ticks(0)) else { return false };
        let taken = self.fleet.take(cell, ACME, (pace, now));
        if taken.is_err() {
            cell.meter.give_back(pace, grant, now);
        }
        taken.is_ok()
    }

    fn plan(&mut self, words: &mut Words, now: u64) {
        self.desk.welcome(&mut self.arrivals, Ticks(now));
        let questions = self.desk.plan(Ticks(now));
        let answers = questions.iter().map(|question| words.ask(&question.ask, now)).collect();
        self.pending.push((questions, answers));
    }

    fn learn(&mut self) {
        for (questions, answers) in self.pending.drain(..) {
            self.desk.learn(&questions, &answers);
        }
    }

    fn look(&mut self, words: &mut Words, now: u64) {
        self.plan(words, now);
        self.learn();
    }
}

fn pace(count: u32, burst: u32) -> Pace {
    Pace::of(&RateSpec { rate: Rate { count, per: Duration::from_secs(1) }, burst })
}

#[derive(Clone, Debug)]
enum Step {
    Ask(u8),
    Plan,
    Learn,
}

fn steps() -> impl Strategy<Value = Vec<(usize, u64, Step)>> {
    let step = prop_oneof![
        4 => (1_u8..40).prop_map(Step::Ask),
        2 => Just(Step::Plan),
        2 => Just(Step::Learn),
    ];
    let pause = prop_oneof![6 => 0_u64..20, 1 => 900_u64..1500];
    proptest::collection::vec((0_usize..4, pause, step), 1..200)
}

proptest! {
    #[test]
    fn over_all_gateways_no_more_come_through_than_burst_rate_and_reserves(
        count in 1_u32..500,
        burst in 1_u32..200,
        gateways in 1_usize..4,
        steps in steps(),
    ) {
        let (pace, mut words) = (pace(count, burst), Words::default());
        let mut all: Vec<_> = (0..gateways).map(|_| Gateway::new()).collect();
        let (mut now, mut admitted) = (A_SECOND, 0);
        for (which, milliseconds, step) in steps {
            now += milliseconds * A_SECOND / 1000;
            let gateway = &mut all[which % gateways];
            match step {
                Step::Ask(times) => {
                    admitted += (0..times).filter(|_| gateway.admits(pace, now)).count() as u64;
                }
                Step::Plan => {
                    gateway.learn(); // it asks once at a time
                    gateway.plan(&mut words, now);
                }
                Step::Learn => gateway.learn(),
            }
            let brought = (now - A_SECOND) / pace.interval();
            let reserves = match gateways {
                1 => 0, // its own count holds
                _ => all.len() as u64 * all[0].fleet.reserve(pace),
            };
            prop_assert!(admitted <= u64::from(burst) + brought + reserves, "{admitted}");
        }
    }
}

#[tokio::test]
async fn in_the_long_run_what_the_rate_brings_comes_through() {
    fastrand::seed(1); // who looks when is chance
    let (pace, mut words) = (pace(100, 50), Words::default());
    let mut all = [Gateway::new(), Gateway::new(), Gateway::new()];
    let mut admitted = [0_u64; 3];
    for millisecond in 0..20_000 {
        let now = (1000 + millisecond) * A_SECOND / 1000;
        for (gateway, admitted) in all.iter_mut().zip(&mut admitted) {
            *admitted += u64::from(gateway.admits(pace, now));
            if fastrand::u8(..5) == 0 {
                gateway.look(&mut words, now);
            }
        }
    }
    let sum: u64 = admitted.iter().sum();
    assert!((2000..=2050 + 3 * 10).contains(&sum), "{sum}");
    assert!(admitted.iter().all(|one| *one > 200), "{admitted:?}");
}

#[tokio::test]
async fn what_nobody_uses_is_given_back_and_the_limit_leaves_the_list() {
    let (pace, mut words) = (pace(1, 20), Words::default());
    let (mut one, mut other) = (Gateway::new(), Gateway::new());
    let mut now = A_SECOND;
    for _ in 0..5 {
        assert!(one.admits(pace, now));
    }
    one.look(&mut words, now);
    let held = one.ledger.own().known_lease().unwrap().balance();
    assert_eq!(held, 10, "twice what was used");

    now += A_SECOND;
    one.look(&mut words, now);
    assert_eq!(one.ledger.own().known_lease().unwrap().balance(), 0);
    one.look(&mut words, now);
    assert!(one.desk.is_empty());

    let mut admitted = 0;
    for _ in 0..30 {
        admitted += u64::from(other.admits(pace, now));
        other.look(&mut words, now);
    }
    assert_eq!(admitted, 20 - 5 + 1, "all but what was used, and what a second has brought");
    assert!(one.admits(pace, now), "it may owe some, since it does not know yet");
    assert_eq!(one.arrivals.len(), 1, "it is back on the list");
}

#[tokio::test]
async fn who_is_refused_is_told_when_to_come_again() {
    let (pace, mut words) = (pace(2, 20), Words::default());
    let (mut one, mut other) = (Gateway::new(), Gateway::new());
    let now = A_SECOND;
    let mut ask = |gateway: &mut Gateway| {
        let admits = gateway.admits(pace, now);
        gateway.look(&mut words, now);
        admits
    };
    while ask(&mut one) {}
    assert!(ask(&mut other), "it could not know");
    assert!(!ask(&mut other));

    let later = other.fleet.take(other.ledger.own(), ACME, (pace, Ticks(now))).unwrap_err();
    assert_eq!(later, Later(A_SECOND), "one is owed, and one is wanted");
}

#[tokio::test]
async fn while_the_store_is_late_what_it_last_said_holds_and_all_of_it_is_counted_later() {
    let (pace, mut words) = (pace(1, 100), Words::default());
    let mut all = [Gateway::new(), Gateway::new()];
    for gateway in &mut all {
        assert_eq!((0..10).filter(|_| gateway.admits(pace, A_SECOND)).count(), 10);
        gateway.look(&mut words, A_SECOND);
        gateway.look(&mut words, A_SECOND);
        gateway.fleet.set(Mode::Late);
    }
    let [one, other] = &mut all;

    let admitted = (0..200).filter(|_| one.admits(pace, A_SECOND)).count();
    assert_eq!(admitted, 90, "it knows of nobody else");
    let admitted = (0..200).filter(|_| other.admits(pace, A_SECOND)).count();
    assert_eq!(admitted, 60, "it has heard of what the other one has");

    for gateway in &mut all {
        gateway.fleet.set(Mode::Shared);
        gateway.look(&mut words, A_SECOND);
    }
    let ahead = words.0.values().next().unwrap().1;
    assert_eq!(ahead, 170 * A_SECOND, "nothing of it is forgotten");
}

#[tokio::test]
async fn in_the_long_run_small_bursts_at_many_gateways_come_to_the_rate() {
    fastrand::seed(1); // who asks and who looks when is chance
    for burst in [1, 2, 5] {
        let (pace, mut words) = (pace(10, burst), Words::default());
        let mut all: Vec<_> = (0..10).map(|_| Gateway::new()).collect();
        let mut admitted = 0;
        for millisecond in 0..60_000 {
            let now = (1000 + millisecond) * A_SECOND / 1000;
            for gateway in &mut all {
                admitted += u64::from(fastrand::u8(..4) == 0 && gateway.admits(pace, now));
                if fastrand::u8(..5) == 0 {
                    gateway.look(&mut words, now);
                }
            }
        }
        let most = 600 + u64::from(burst) * 11;
        assert!((510..=most).contains(&admitted), "{burst}: {admitted}");
    }
}

#[tokio::test]
async fn a_gateway_by_itself_is_held_back_by_its_own_count_alone() {
    for (count, burst, round) in [(10, 1, 7), (100, 10, 20), (1000, 50, 25), (10_000, 100, 6)] {
        let (pace, mut words) = (pace(count, burst), Words::default());
        let mut gateway = Gateway::new();
        let (alone, mut admitted, mut most) = (Meter::default(), 0, 0);
        gateway.fleet.heed(Ticks(round * A_SECOND / 1000));
        for millisecond in 0..3000 {
            let now = (1000 + millisecond) * A_SECOND / 1000;
            for _ in 0..20 {
                most += u32::from(alone.take(pace, Ticks(now), Ticks(0)).is_ok());
                admitted += u32::from(gateway.admits(pace, now));
            }
            match millisecond % round {
                0 => gateway.plan(&mut words, now),
                answered if answered == round - 5 => gateway.learn(),
                _ => {}
            }
        }
        // What is on its way counts as owed, so that the first burst is a little slower.
        let least = most - burst.div_ceil(5) - most / 200;
        assert!(
            (least..=most).contains(&admitted),
            "{count} {burst} {round}: {admitted} of {most}"
        );
    }
}

#[tokio::test]
async fn one_that_comes_now_and_then_costs_one_question_each() {
    let (pace, mut words) = (pace(10, 50), Words::default());
    let mut gateway = Gateway::new();
    let (mut asked, mut back) = (0, 0);
    for step in 0..1200 {
        let now = A_SECOND + step * A_SECOND / 200;
        if step % 60 == 0 {
            assert!(gateway.admits(pace, now));
        }
        gateway.plan(&mut words, now);
        let questions = &gateway.pending[0].0;
        asked += questions.len();
        back += questions.iter().map(|question| question.ask.back).sum::<u64>();
        gateway.learn();
    }
    assert_eq!((asked, back), (20, 0));
}

#[tokio::test]
async fn what_waits_is_not_told_as_taken() {
    let (pace, mut words) = (pace(1, 5), Words::default());
    let mut gateway = Gateway::new();
    assert!(gateway.admits(pace, A_SECOND));
    let cell = Arc::clone(gateway.ledger.own());
    for _ in 0..10 {
        assert!(cell.meter.take(pace, Ticks(A_SECOND), Ticks(10 * A_SECOND)).is_ok());
        cell.undecided.fetch_add(1, Ordering::Relaxed);
    }

    gateway.look(&mut words, A_SECOND);

    assert_eq!(words.0.values().next().unwrap().1, A_SECOND, "one has passed");
}

#[tokio::test]
async fn who_waits_is_let_in_in_order_and_overtaken_by_nobody() {
    let (pace, mut words) = (pace(1, 2), Words::default());
    let (mut one, mut other) = (Gateway::new(), Gateway::new());
    assert!(other.admits(pace, A_SECOND) && other.admits(pace, A_SECOND));
    other.look(&mut words, A_SECOND);
    assert!(one.admits(pace, A_SECOND), "it owes one");
    one.look(&mut words, A_SECOND);
    assert!(!one.admits(pace, A_SECOND));

    let mut places: Vec<_> = (0..3).map(|_| one.fleet.stand(one.ledger.own(), ACME)).collect();
    let mut now = A_SECOND * 3;
    assert!(!one.admits(pace, now), "there is room for one, and somebody waits for it");
    let gone = places.remove(1);
    one.desk.let_in(Ticks(now));
    drop(gone);
    assert_eq!(timeout(Duration::ZERO, places[0].turn()).await, Ok(Held::Shared));
    assert!(timeout(Duration::ZERO, places[1].turn()).await.is_err());

    one.look(&mut words, now);
    now += A_SECOND;
    one.desk.let_in(Ticks(now));
    assert_eq!(timeout(Duration::ZERO, places[1].turn()).await, Ok(Held::Shared));
    one.look(&mut words, now);
    assert!(!one.admits(pace, now));
    now += A_SECOND;
    assert!(one.admits(pace, now), "nobody waits any more");
}

#[tokio::test]
async fn a_line_is_as_long_as_those_who_still_stand_in_it() {
    let mut gateway = Gateway::new();
    let pace = pace(1, 1);
    assert!(gateway.admits(pace, A_SECOND));
    gateway.look(&mut Words::default(), A_SECOND);
    let cell = Arc::clone(gateway.ledger.own());
    let line = cell.known_lease().unwrap().line();
    let mut places: Vec<_> = (0..1000).map(|_| gateway.fleet.stand(&cell, ACME)).collect();
    assert_eq!(line.len(), 1000);

    let mut last = places.pop().unwrap();
    drop(places);
    assert_eq!(line.len(), 1);

    gateway.desk.let_in(Ticks(2 * A_SECOND));
    assert!(line.is_empty());
    assert_eq!(timeout(Duration::ZERO, last.turn()).await, Ok(Held::Shared));
    drop(last);
    assert!(line.is_empty());
}

#[tokio::test]
async fn a_turn_that_is_not_taken_goes_back_and_a_line_of_a_lost_store_is_let_in() {
    let (pace, mut words) = (pace(1, 1), Words::default());
    let mut gateway = Gateway::new();
    assert!(gateway.admits(pace, A_SECOND));
    gateway.look(&mut words, A_SECOND);
    let now = 2 * A_SECOND;
    let cell = Arc::clone(gateway.ledger.own());
    let first = gateway.fleet.stand(&cell, ACME);
    let mut second = gateway.fleet.stand(&cell, ACME);
    gateway.desk.let_in(Ticks(now));
    drop(first);
    gateway.desk.let_in(Ticks(now));
    assert_eq!(timeout(Duration::ZERO, second.turn()).await, Ok(Held::Shared));

    let mut third = gateway.fleet.stand(&cell, ACME);
    gateway.fleet.set(Mode::Lost);
    gateway.desk.release();
    assert_eq!(timeout(Duration::ZERO, third.turn()).await, Ok(Held::Own));
    let mut late = gateway.fleet.stand(&cell, ACME);
    assert_eq!(timeout(Duration::ZERO, late.turn()).await, Ok(Held::Own), "nobody would come");
}

#[tokio::test]
async fn a_store_that_has_lost_its_words_gives_nobody_what_it_has_taken_itself() {
    let (pace, mut words) = (pace(1, 100), Words::default());
    let mut gateway = Gateway::new();
    for _ in 0..90 {
        gateway.admits(pace, A_SECOND);
        gateway.look(&mut words, A_SECOND);
    }
    words = Words::default();
    gateway.desk.forget(Ticks(A_SECOND));
    let mut admitted = 0;
    for _ in 0..90 {
        admitted += u64::from(gateway.admits(pace, A_SECOND));
        gateway.look(&mut words, A_SECOND);
    }
    assert_eq!(admitted, 10);

    // A key that is gone without a loss of the store is seen by the next answer.
    words = Words::default();
    gateway.ledger.own().known_lease().unwrap().refuse();
    for _ in 0..2 {
        gateway.look(&mut words, A_SECOND + A_SECOND / 2);
    }
    assert!(words.0.values().next().unwrap().1 >= 99 * A_SECOND, "it has heard of it");
}

#[tokio::test]
async fn what_is_had_and_owed_survives_a_loss_and_nothing_is_counted_more_than_twice() {
    let (pace, mut words) = (pace(1, 100), Words::default());
    let mut gateway = Gateway::new();
    let balance = |gateway: &Gateway| gateway.ledger.own().known_lease().unwrap().balance();
    for _ in 0..4 {
        assert!(gateway.admits(pace, A_SECOND));
    }
    gateway.look(&mut words, A_SECOND);
    assert_eq!(balance(&gateway), 8);
    gateway.desk.forget(Ticks(A_SECOND));
    assert_eq!(balance(&gateway), 8, "it was counted beforehand");
    for _ in 0..12 {
        assert!(gateway.admits(pace, A_SECOND));
    }
    for told in [4, 4, 0] {
        let questions = gateway.desk.plan(Ticks(A_SECOND));
        assert_eq!(questions[0].ask.spent, told);
        assert_eq!(questions[0].ask.own, 16 * A_SECOND);
        gateway.desk.forget(Ticks(A_SECOND));
    }
    assert_eq!(balance(&gateway), 0);
}

#[tokio::test]
async fn what_one_has_taken_alone_the_others_hear_once_it_is_back() {
    let (pace, mut words) = (pace(1, 100), Words::default());
    let (mut one, mut other) = (Gateway::new(), Gateway::new());
    for gateway in [&mut one, &mut other] {
        assert!(gateway.admits(pace, A_SECOND));
        gateway.look(&mut words, A_SECOND);
        gateway.fleet.set(Mode::Lost);
    }
    assert_eq!((0..200).filter(|_| one.admits(pace, A_SECOND)).count(), 99);

    words = Words::default();
    let later = 4 * A_SECOND;
    for gateway in [&mut one, &mut other] {
        gateway.desk.forget(Ticks(later));
        gateway.fleet.set(Mode::Shared);
        gateway.look(&mut words, later);
    }

    let refused = (0..200).filter(|_| !other.admits(pace, later)).count();
    assert_eq!(refused, 197, "its own count has room for all but what a second brings");
}

#[tokio::test]
async fn a_limit_that_becomes_another_is_another_word() {
    let (first, second, mut words) = (pace(1, 20), pace(1, 30), Words::default());
    let mut gateway = Gateway::new();
    assert!(gateway.admits(first, A_SECOND));
    gateway.look(&mut words, A_SECOND);
    assert!(gateway.admits(second, A_SECOND));
    gateway.look(&mut words, A_SECOND);

    let keys: Vec<&str> = words.0.keys().map(String::as_str).collect();
    assert_eq!(keys.len(), 2, "{keys:?}");
    assert!(keys.iter().all(|key| key.starts_with("test:tenant:acme:16000000000:")), "{keys:?}");
}

#[tokio::test]
async fn one_that_has_waited_does_not_turn_a_limit_back_and_late_answers_are_of_no_other() {
    let (first, second, mut words) = (pace(1, 20), pace(1, 30), Words::default());
    let mut gateway = Gateway::new();
    let lease = |gateway: &Gateway| {
        let lease = gateway.ledger.own().known_lease().unwrap();
        (lease.pace().unwrap().0, lease.balance())
    };
    assert!(gateway.admits(first, A_SECOND));
    gateway.plan(&mut words, A_SECOND);
    assert!(gateway.admits(second, A_SECOND));
    let waited = gateway.fleet.take_late(gateway.ledger.own(), ACME, (first, Ticks(A_SECOND)));
    assert_eq!((waited, lease(&gateway)), (Ok(Held::Shared), (second, -2)));

    assert!(gateway.admits(first, A_SECOND), "a table that was there before is back");
    gateway.learn();
    assert_eq!(lease(&gateway), (first, -1), "what was asked before is of the limit before");
}

#[tokio::test]
async fn more_limits_than_can_be_looked_after_are_held_alone() {
    let (fleet, arrivals) = Fleet::new(Percent::new(20.0));
    fleet.set(Mode::Shared);
    let shared = Shared::new(1 << 16, Account::unlimited(), Arc::default());
    let ledger = Ledger::new(&shared, "acme");
    let take = |route: u64| {
        let whose = Whose { tenant: "acme", route: Some(route) };
        fleet.take(ledger.route(route), whose, (pace(1, 5), Ticks(A_SECOND)))
    };
    assert_eq!(take(1), Ok(Held::Shared));
    fleet.listed.fetch_add(MOST - 2, Ordering::Relaxed);
    assert_eq!([take(2), take(3), take(3)], [Ok(Held::Shared), Ok(Held::Own), Ok(Held::Own)]);
    fleet.left();
    assert_eq!(take(3), Ok(Held::Shared));
    fleet.left();
    drop(arrivals);
    assert_eq!((0..10).map(|_| take(4)).collect::<Vec<_>>(), [Ok(Held::Own); 10]);
}
