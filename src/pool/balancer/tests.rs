//! The laws that every balancer keeps.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use crate::model::endpoint::{Endpoint, Health};
use crate::model::ids::EndpointId;
use crate::model::latency::Sample;
use crate::model::lateness::Weight;
use crate::model::members::{Eligible, Found, Members};

use super::{Balancer, KINDS, Kind, PickKey, build, names};

#[test]
fn every_kind_keeps_the_laws() {
    for kind in KINDS {
        no_endpoint_gives_no_pick(kind);
        only_eligible_endpoints_are_picked(kind);
        one_endpoint_takes_all(kind);
        share_follows_weight_while_all_are_idle(kind, &[1, 1, 1, 1]);
        share_follows_weight_while_all_are_idle(kind, &[5, 1, 1]);
        share_follows_weight_while_all_are_idle(kind, &[100, 37, 9, 200]);
        share_follows_weight_while_all_are_idle(kind, &(1..=600).collect::<Vec<_>>());
        share_follows_weight_while_all_are_idle(kind, &[u32::MAX, u32::MAX - 1, u32::MAX / 3]);
        the_largest_weights_do_no_harm(kind);
        a_key_goes_to_an_eligible_endpoint(kind);
        threads_may_pick_at_once_while_endpoints_change(kind);
    }
}

#[test]
fn every_kind_is_found_by_its_name() {
    let listed: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();

    assert_eq!(names(), listed);
    assert!(names().iter().all(|name| build(name).is_some()));
    assert!(build("p2c").is_none());
}

#[test]
fn least_request_spares_the_busy_endpoint() {
    let members = members(&[1, 1]);
    let set = members.load();
    let balancer = build("least-request").unwrap();
    set.eligible.endpoints[0].enter();

    for _ in 0..100 {
        let picked = balancer.pick(&set.eligible).unwrap();
        assert_eq!(picked.id, set.eligible.endpoints[1].id);
    }
}

#[test]
fn least_request_lets_a_heavier_endpoint_carry_more() {
    let members = members(&[10, 1]);
    let set = members.load();
    let balancer = build("least-request").unwrap();
    for _ in 0..5 {
        set.eligible.endpoints[0].enter();
    }
    set.eligible.endpoints[1].enter();

    for _ in 0..100 {
        let picked = balancer.pick(&set.eligible).unwrap();
        assert_eq!(picked.id, set.eligible.endpoints[0].id);
    }
}

fn took(endpoint: &Endpoint, millis: u64) {
    endpoint.learn(Sample::Took(Duration::from_millis(millis)), Instant::now());
}

/// How many of 10,000 picks each endpoint gets.
fn shares(balancer: &dyn Balancer, eligible: &Eligible) -> Vec<u32> {
    let mut shares = vec![0; eligible.endpoints.len()];
    for _ in 0..10_000 {
        shares[pick(balancer, eligible)] += 1;
    }
    shares
}

#[tokio::test(start_paused = true)]
async fn peak_ewma_spares_the_slow_endpoint_and_who_is_busy() {
    let members = members(&[1, 1]);
    let set = members.load();
    let balancer = build("peak-ewma").unwrap();
    let [fast, slow] = &*set.eligible.endpoints else { panic!("two endpoints") };
    took(fast, 10);
    took(slow, 100);

    assert_eq!(shares(balancer.as_ref(), &set.eligible), [10_000, 0]);

    (0..8).for_each(|_| fast.enter());
    assert_eq!(shares(balancer.as_ref(), &set.eligible)[1], 0, "9 by 10 ms against 100 ms");
    (0..2).for_each(|_| fast.enter());
    assert_eq!(shares(balancer.as_ref(), &set.eligible), [0, 10_000]);
}

#[tokio::test(start_paused = true)]
async fn peak_ewma_lets_a_heavier_endpoint_carry_more() {
    let members = members(&[4, 1]);
    let set = members.load();
    let balancer = build("peak-ewma").unwrap();
    set.eligible.endpoints.iter().for_each(|endpoint| took(endpoint, 10));
    (0..3).for_each(|_| set.eligible.endpoints[0].enter());

    // 4 by 10 ms at the weight of 4 are 1 by 10 ms at the weight of 1: the first draw stands.
    let even = shares(balancer.as_ref(), &set.eligible);
    assert!((7_700..8_300).contains(&even[0]), "{even:?}");
    set.eligible.endpoints[1].enter();
    assert_eq!(shares(balancer.as_ref(), &set.eligible), [10_000, 0]);
}

#[tokio::test(start_paused = true)]
async fn peak_ewma_tries_who_is_unknown_and_neither_floods_nor_starves_it() {
    let members = members(&[1, 1]);
    let set = members.load();
    let balancer = build("peak-ewma").unwrap();
    let [known, unknown] = &*set.eligible.endpoints else { panic!("two endpoints") };
    took(known, 10);

    assert_eq!(shares(balancer.as_ref(), &set.eligible), [0, 10_000]);
    (0..50).for_each(|_| unknown.enter()); // streams that were there before
    (0..48).for_each(|_| known.enter());
    assert_eq!(shares(balancer.as_ref(), &set.eligible), [10_000, 0]);
    (0..2).for_each(|_| known.enter());

    assert_eq!(shares(balancer.as_ref(), &set.eligible), [0, 10_000]);
}

#[tokio::test(start_paused = true)]
async fn peak_ewma_does_not_flood_an_endpoint_that_is_back_after_a_while() {
    let members = members(&[1, 1]);
    let set = members.load();
    let balancer = build("peak-ewma").unwrap();
    let [here, away] = &*set.eligible.endpoints else { panic!("two endpoints") };
    took(away, 10);

    for seconds in [10, 60, 300, 1_200, 10_000] {
        tokio::time::advance(Duration::from_secs(seconds)).await;
        took(here, 10);
        assert_eq!(shares(balancer.as_ref(), &set.eligible), [0, 10_000], "it is tried");
        (0..2).for_each(|_| away.enter());
        assert_eq!(shares(balancer.as_ref(), &set.eligible), [10_000, 0], "{seconds} s: no flood");
        (0..2).for_each(|_| away.leave());
    }
}

#[tokio::test(start_paused = true)]
async fn peak_ewma_comes_back_to_an_endpoint_that_was_slow_once_and_has_streams_under_way() {
    let members = members(&[1, 1]);
    let set = members.load();
    let balancer = build("peak-ewma").unwrap();
    let [fast, slow] = &*set.eligible.endpoints else { panic!("two endpoints") };
    took(slow, 2_000);
    (0..50).for_each(|_| slow.enter());
    (0..60).for_each(|_| fast.enter());

    tokio::time::advance(Duration::from_secs(120)).await;
    took(fast, 10);

    assert_eq!(shares(balancer.as_ref(), &set.eligible), [0, 10_000]);
}

#[tokio::test(start_paused = true)]
async fn peak_ewma_counts_requests_while_nothing_is_known() {
    let members = members(&[1, 1]);
    let set = members.load();
    let balancer = build("peak-ewma").unwrap();
    (0..2).for_each(|_| set.eligible.endpoints[0].enter());
    set.eligible.endpoints[1].enter();

    assert_eq!(shares(balancer.as_ref(), &set.eligible), [0, 10_000]);
}

#[tokio::test(start_paused = true)]
async fn peak_ewma_comes_back_to_an_endpoint_that_was_slow_once() {
    let members = members(&[1, 1]);
    let set = members.load();
    let balancer = build("peak-ewma").unwrap();
    let [fast, slow] = &*set.eligible.endpoints else { panic!("two endpoints") };
    took(fast, 10);
    took(slow, 100);

    let mut seconds = 0;
    while shares(balancer.as_ref(), &set.eligible)[1] == 0 {
        assert!(seconds < 60, "it is never tried again");
        tokio::time::advance(Duration::from_secs(1)).await;
        seconds += 1;
        took(fast, 10); // traffic goes on
    }

    // 100 ms fade below 10 ms in 10 s · ln 10.
    assert!((22..=24).contains(&seconds), "{seconds} s");
}

/// One of ten endpoints takes twenty times as long; requests come at a steady pace, and each ends when
/// its endpoint has answered.
#[tokio::test(start_paused = true)]
async fn peak_ewma_sends_little_to_one_slow_endpoint_of_ten() {
    let share = |balance: &'static str| async move {
        let members = members(&[1; 10]);
        let set = members.load();
        let balancer = build(balance).unwrap();
        let mut under_way: Vec<(Instant, Instant, usize)> = Vec::new();
        let mut slow = 0;
        for _ in 0..20_000 {
            tokio::time::advance(Duration::from_millis(1)).await;
            let now = Instant::now();
            under_way.retain(|(began, end, place)| {
                if *end <= now {
                    let endpoint = &set.eligible.endpoints[*place];
                    endpoint.leave();
                    endpoint.learn(Sample::Took(now - *began), now);
                }
                *end > now
            });
            let place = pick(balancer.as_ref(), &set.eligible);
            set.eligible.endpoints[place].enter();
            let takes = if place == 0 { 200 } else { 10 };
            under_way.push((now, now + Duration::from_millis(takes), place));
            slow += u32::from(place == 0);
        }
        slow
    };

    let (least_request, peak_ewma) = (share("least-request").await, share("peak-ewma").await);

    assert!(peak_ewma < 40, "{peak_ewma} of 20,000");
    assert!(peak_ewma * 4 < least_request, "{peak_ewma} beside {least_request}");
}

/// Also while there is little to do, when those of a small weight, as while they warm up, would be idle for
/// most of the time and so win each comparison.
#[test]
fn an_endpoint_of_small_weight_gets_no_more_than_its_share_while_requests_are_in_flight() {
    const PICKS: usize = 20_000;
    for name in ["least-request", "random", "round-robin"] {
        for weights in [&[10, 10, 1][..], &[14, 3, 3], &[100, 1]] {
            for at_once in [1, 2, 4, 8, 30] {
                let members = members(weights);
                let balancer = build(name).unwrap();
                let set = members.load();
                let (mut in_flight, mut picks) = (Vec::new(), vec![0; weights.len()]);
                for _ in 0..PICKS {
                    if in_flight.len() == at_once {
                        let ends: usize = in_flight.swap_remove(fastrand::usize(..at_once));
                        set.eligible.endpoints[ends].leave();
                    }
                    let place = pick(balancer.as_ref(), &set.eligible);
                    set.eligible.endpoints[place].enter();
                    in_flight.push(place);
                    picks[place] += 1;
                }

                let last = f64::from(*weights.last().unwrap());
                let share = last / weights.iter().copied().map(f64::from).sum::<f64>();
                let expected = PICKS as f64 * share;
                let seen = f64::from(*picks.last().unwrap());
                // Six standard deviations, and a tenth for what evens out loads.
                let most = expected * 1.1 + 6.0 * expected.sqrt();
                assert!(seen < most, "{name} {weights:?} {at_once}: {seen}, not {expected}");
                assert!(seen > expected / 2.0, "{name} {weights:?} {at_once}: {seen}");
            }
        }
    }
}

#[test]
fn round_robin_takes_turns_exactly() {
    let members = members(&[5, 1, 1]);
    let set = members.load();
    let balancer = build("round-robin").unwrap();

    let turns: Vec<usize> = (0..14).map(|_| pick(balancer.as_ref(), &set.eligible)).collect();

    assert_eq!(turns, [0, 0, 1, 0, 2, 0, 0, 0, 0, 1, 0, 2, 0, 0]);
}

pub(super) fn members(weights: &[u32]) -> Members {
    let members = Members::new(1, Health::Unchecked, 0.5);
    members.replace(&found(weights));
    members
}

pub(super) fn found(weights: &[u32]) -> Vec<Found> {
    let found = |(at, weight): (usize, &u32)| Found {
        weight: *weight,
        ..Found::new(([10, 0, (at / 256) as u8, (at % 256) as u8], 80), "test")
    };
    weights.iter().enumerate().map(found).collect()
}

/// The place of the endpoint that is picked.
fn pick(balancer: &dyn Balancer, eligible: &Eligible) -> usize {
    let picked = balancer.pick(eligible).unwrap();
    eligible.endpoints.iter().position(|endpoint| Arc::ptr_eq(endpoint, picked)).unwrap()
}

fn no_endpoint_gives_no_pick(kind: &Kind) {
    let balancer = (kind.build)();

    assert!(balancer.pick(&Eligible::default()).is_none(), "{}", kind.name);
}

fn only_eligible_endpoints_are_picked(kind: &Kind) {
    let members = members(&[1, 2, 3, 4]);
    members.load().all[3].endpoint.set_health(Health::Down, None);
    members.refresh();
    let balancer = (kind.build)();
    let set = members.load();

    for _ in 0..1_000 {
        let picked = balancer.pick(&set.eligible).unwrap();
        assert_ne!(picked.id, set.all[3].endpoint.id, "{}", kind.name);
    }
}

fn one_endpoint_takes_all(kind: &Kind) {
    for weight in [1, 7, u32::MAX] {
        let members = members(&[weight]);
        let balancer = (kind.build)();
        let set = members.load();

        assert!((0..100).all(|_| pick(balancer.as_ref(), &set.eligible) == 0), "{}", kind.name);
    }
}

fn share_follows_weight_while_all_are_idle(kind: &Kind, weights: &[u32]) {
    const PICKS: u32 = 60_000;
    let members = members(weights);
    let balancer = (kind.build)();
    let set = members.load();
    let mut picks: BTreeMap<EndpointId, u32> = BTreeMap::new();

    for _ in 0..PICKS {
        let picked: &Arc<Endpoint> = balancer.pick(&set.eligible).unwrap();
        *picks.entry(picked.id).or_default() += 1;
    }

    let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
    for (endpoint, weight) in set.eligible.endpoints.iter().zip(weights) {
        let expected = f64::from(PICKS) * f64::from(*weight) / total;
        let seen = f64::from(picks.get(&endpoint.id).copied().unwrap_or(0));
        // Six standard deviations of a draw, and some for rounding.
        let tolerance = 6.0 * expected.sqrt() + 3.0;
        assert!(
            (seen - expected).abs() <= tolerance,
            "{}: weight {weight} of {total}: {seen} picks, expected {expected}",
            kind.name
        );
    }
}

fn the_largest_weights_do_no_harm(kind: &Kind) {
    let weights = vec![u32::MAX; 300].into_iter().chain([1, 2, 3]).collect::<Vec<_>>();
    let members = members(&weights);
    let balancer = (kind.build)();
    let set = members.load();
    for endpoint in &set.eligible.endpoints {
        endpoint.enter();
    }

    for _ in 0..1_000 {
        pick(balancer.as_ref(), &set.eligible);
    }
}

fn a_key_goes_to_an_eligible_endpoint(kind: &Kind) {
    let members = members(&[1, 2, 3, 4]);
    members.load().all[3].endpoint.set_health(Health::Down, None);
    let balancer = (kind.build)();
    assert!(balancer.pick_for(&Eligible::default(), PickKey::of(1)).is_none(), "{}", kind.name);
    for _ in 0..2 {
        let set = members.load();
        for hash in 0..1_000 {
            let picked = balancer.pick_for(&set.eligible, PickKey::of(hash << 54)).unwrap();
            let is_there = set.eligible.endpoints.iter().any(|one| Arc::ptr_eq(one, picked));
            assert!(is_there, "{}", kind.name);
        }
        members.refresh(); // three are left
    }
}

fn threads_may_pick_at_once_while_endpoints_change(kind: &Kind) {
    let members = members(&[3, 1, 2]);
    let balancer = (kind.build)();
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..2_000 {
                    let set = members.load();
                    pick(balancer.as_ref(), &set.eligible);
                    let key = PickKey::of(fastrand::u64(..));
                    let picked = balancer.pick_for(&set.eligible, key).unwrap();
                    assert!(set.eligible.endpoints.iter().any(|one| Arc::ptr_eq(one, picked)));
                }
            });
        }
        scope.spawn(|| {
            for count in (1..200).map(|round| 1 + round % 5) {
                members.replace(&found(&(1..=count).collect::<Vec<_>>()));
            }
        });
    });
}

/// Three of its answers were late, long enough ago or not.
fn late(endpoint: &Endpoint) {
    let now = Instant::now();
    (0..3).for_each(|_| endpoint.comes_late(Weight::Much, now, now));
}

#[tokio::test(start_paused = true)]
async fn least_request_goes_round_who_is_late_and_tries_it_by_one_request_now_and_then() {
    let members = members(&[1; 10]);
    let set = members.load();
    let balancer = build("least-request").unwrap();
    let slow = &set.eligible.endpoints[3];
    late(slow);

    let count = shares(balancer.as_ref(), &set.eligible)[3];
    assert!(count < 60, "{count} of 10,000: so few that they warm it and nobody sees them");
    for _ in 0..3 {
        tokio::time::advance(Duration::from_secs(11)).await;
        let trial = (0..1_000).find(|_| pick(balancer.as_ref(), &set.eligible) == 3);
        assert!(trial.is_some(), "it is tried");
        let now = Instant::now();
        slow.comes_late(Weight::Much, now, now);
        assert!(shares(balancer.as_ref(), &set.eligible)[3] < 60, "by one request");
    }

    (0..4).for_each(|_| slow.comes_in_time());
    let count = shares(balancer.as_ref(), &set.eligible)[3];
    assert!((800..1_200).contains(&count), "{count}: it is back");
}

#[tokio::test(start_paused = true)]
async fn who_is_late_bears_its_part_where_the_others_have_far_more_to_do_or_are_late_too() {
    let members = members(&[1, 1]);
    let set = members.load();
    let balancer = build("least-request").unwrap();
    let [slow, other] = &*set.eligible.endpoints else { panic!("two endpoints") };
    late(slow);
    (0..8).for_each(|_| other.enter());
    assert!(shares(balancer.as_ref(), &set.eligible)[0] < 100);
    other.enter();
    assert_eq!(shares(balancer.as_ref(), &set.eligible), [10_000, 0]);
    slow.enter();
    assert!(shares(balancer.as_ref(), &set.eligible)[0] < 100, "9 beside 1");

    late(other);
    assert_eq!(shares(balancer.as_ref(), &set.eligible), [10_000, 0], "all are alike");
}

#[tokio::test(start_paused = true)]
async fn three_of_ten_that_are_late_get_next_to_nothing() {
    let members = members(&[1; 10]);
    let set = members.load();
    let balancer = build("least-request").unwrap();
    set.eligible.endpoints[..3].iter().for_each(|endpoint| late(endpoint));

    let shares = shares(balancer.as_ref(), &set.eligible);

    let count: u32 = shares[..3].iter().sum();
    assert!(count < 100, "{count} of 10,000");
}

#[test]
fn requests_without_a_key_go_by_load_alone_where_nobody_compares_answers() {
    let members = members(&[1, 1]);
    let set = members.load();
    late(&set.eligible.endpoints[0]);
    for kind in KINDS {
        let balancer = (kind.build)();
        let few = shares(balancer.as_ref(), &set.eligible)[0] < 4_000;
        assert_eq!(few, balancer.goes_round_late(), "{}", kind.name);
    }
}
