//! What balancers that ask for keys promise besides.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tokio::runtime::Builder;
use tokio::time::{advance, pause};

use crate::model::address::Address;
use crate::model::endpoint::Health;
use crate::model::members::{Eligible, Members};
use crate::model::rules::{OwnZone, Rules};
use crate::model::warmth::SlowStart;

use super::tests::{found, members};
use super::{Balancer, PickKey, build, keyed_names};
use crate::pool::hash::mixed;

fn key(nth: u64) -> PickKey {
    PickKey::of(mixed(7, nth))
}

/// Where the keys go, once control has seen who is eligible.
fn homes(balancer: &dyn Balancer, eligible: &Eligible, keys: u64) -> Vec<Address> {
    balancer.prepare(eligible);
    homes_of_now(balancer, eligible, keys)
}

fn homes_of_now(balancer: &dyn Balancer, eligible: &Eligible, keys: u64) -> Vec<Address> {
    let home = |nth| balancer.pick_for(eligible, key(nth)).unwrap().address.clone();
    (0..keys).map(home).collect()
}

#[test]
fn those_that_ask_for_keys_are_known() {
    assert_eq!(keyed_names(), ["maglev", "ring-hash"]);
}

#[test]
fn a_key_has_one_home_at_all_gateways_and_after_a_restart() {
    for name in keyed_names() {
        // Others have other members' ids, and have met other versions of them.
        let (one, two) = (members(&[3, 1, 2, 1]), Members::new(9, Health::Unchecked, 0.5));
        two.replace(&found(&[1, 1]));
        two.replace(&found(&[3, 1, 2, 1]));
        let (first, second) = (build(name).unwrap(), build(name).unwrap());

        let homes_of = |members: &Members, balancer: &dyn Balancer| {
            homes(balancer, &members.load().eligible, 1_000)
        };
        let known = homes_of(&one, first.as_ref());
        assert_eq!(known, homes_of(&two, second.as_ref()), "{name}");
        one.refresh();
        assert_eq!(known, homes_of(&one, first.as_ref()), "{name}: nothing has changed");
    }
}

/// A change of these would send the keys of running gateways elsewhere than those of new ones.
#[test]
fn homes_are_the_same_in_every_version() {
    let last = |name| -> Vec<u8> {
        let members = members(&[1, 1, 2, 1, 3]);
        let homes = homes(build(name).unwrap().as_ref(), &members.load().eligible, 16);
        homes
            .iter()
            .map(|home| home.net().unwrap().ip().to_string().pop().unwrap() as u8 - b'0')
            .collect()
    };

    assert_eq!(last("maglev"), [4, 4, 4, 0, 4, 2, 2, 1, 4, 2, 1, 4, 4, 4, 4, 2]);
    assert_eq!(last("ring-hash"), [4, 3, 2, 2, 4, 0, 4, 4, 1, 2, 2, 2, 4, 4, 2, 1]);
}

#[test]
fn shares_of_keys_follow_weights() {
    const KEYS: u64 = 40_000;
    for (name, off) in [("maglev", 0.05), ("ring-hash", 0.3)] {
        for weights in [&[1; 10][..], &[5, 1, 1], &[100, 37, 9, 200], &[u32::MAX, u32::MAX / 3]] {
            let members = members(weights);
            let set = members.load();
            let mut shares: BTreeMap<Address, f64> = BTreeMap::new();
            for home in homes(build(name).unwrap().as_ref(), &set.eligible, KEYS) {
                *shares.entry(home).or_default() += 1.0;
            }
            let total: f64 = weights.iter().copied().map(f64::from).sum();
            for (endpoint, weight) in set.eligible.endpoints.iter().zip(weights) {
                let expected = KEYS as f64 * f64::from(*weight) / total;
                let seen = shares.get(&endpoint.address).copied().unwrap_or(0.0);
                let tolerance = off * expected + 6.0 * expected.sqrt();
                assert!((seen - expected).abs() < tolerance, "{name}: {seen} for {expected}");
            }
        }
    }
}

#[test]
fn a_thousand_endpoints_have_keys_each_and_more_than_a_table_can_hold_do_no_harm() {
    for name in keyed_names() {
        let balancer = build(name).unwrap();
        let members = members(&[1; 1_000]);
        let mut homes = homes(balancer.as_ref(), &members.load().eligible, 40_000);
        homes.sort();
        homes.dedup();
        assert!(homes.len() > 990, "{name}: {}", homes.len());
    }
    let crowd = Eligible {
        endpoints: vec![Arc::clone(&members(&[1]).load().all[0].endpoint); 70_000].into(),
        weights: vec![1; 70_000].into(),
        version: 1,
        ..Eligible::default()
    };
    for name in keyed_names() {
        assert!(build(name).unwrap().pick_for(&crowd, key(1)).is_some(), "{name}");
    }
}

#[test]
fn a_key_that_everybody_asks_for_gives_nobody_more_than_its_bound() {
    let balancer = build("ring-hash").unwrap();
    let members = members(&[1, 1, 1, 1, 4]);
    let set = members.load();
    let share = |weight: u32| f64::from(weight) / 8.0;

    for all in 1..=400 {
        balancer.pick_for(&set.eligible, key(1)).unwrap().enter();

        for (endpoint, weight) in set.eligible.endpoints.iter().zip(&set.eligible.weights) {
            let bound = (1.25 * f64::from(all) * share(*weight)).ceil();
            assert!(f64::from(endpoint.in_flight()) <= bound, "{} of {all}", endpoint.in_flight());
        }
    }
}

#[test]
fn a_key_comes_home_when_the_crowd_is_gone() {
    let balancer = build("ring-hash").unwrap();
    let members = members(&[1; 8]);
    let set = members.load();
    let home = Arc::clone(balancer.pick_for(&set.eligible, key(1)).unwrap());
    home.enter();
    home.enter();
    let away = balancer.pick_for(&set.eligible, key(1)).unwrap();
    assert!(!Arc::ptr_eq(&home, away));
    let again = balancer.pick_for(&set.eligible, key(1)).unwrap();
    assert!(Arc::ptr_eq(again, away), "its second home is always the same");
    home.leave();
    home.leave();

    assert!(Arc::ptr_eq(&home, balancer.pick_for(&set.eligible, key(1)).unwrap()));
}

#[test]
fn without_a_key_requests_go_to_who_has_fewer() {
    for name in keyed_names() {
        let members = members(&[1, 1]);
        let set = members.load();
        set.eligible.endpoints[0].enter();
        let balancer = build(name).unwrap();

        for _ in 0..100 {
            let picked = balancer.pick_for(&set.eligible, PickKey::default()).unwrap();
            assert!(Arc::ptr_eq(picked, &set.eligible.endpoints[1]), "{name}");
        }
    }
}

/// How many of the keys that need not move do so when an endpoint goes.
fn moved(name: &str, weights: &[u32], gone: usize) -> usize {
    let balancer = build(name).unwrap();
    let members = members(weights);
    let before = homes(balancer.as_ref(), &members.load().eligible, 2_000);
    let gone = members.load().all[gone].endpoint.address.clone();
    let mut left = found(weights);
    left.retain(|found| found.address != gone);
    members.replace(&left);
    let after = homes(balancer.as_ref(), &members.load().eligible, 2_000);
    assert!(!after.contains(&gone));
    before.iter().zip(&after).filter(|(before, after)| **before != gone && before != after).count()
}

/// The same when it goes down, and when it is back. The pool does not panic.
fn moved_by_health(name: &str, weights: &[u32], down: usize) -> usize {
    let balancer = build(name).unwrap();
    let members = Members::new(1, Health::Unchecked, 0.0);
    members.replace(&found(weights));
    let endpoint = Arc::clone(&members.load().all[down].endpoint);
    let before = homes(balancer.as_ref(), &members.load().eligible, 2_000);
    endpoint.set_health(Health::Down, None);
    members.refresh();
    let during = homes(balancer.as_ref(), &members.load().eligible, 2_000);
    assert!(!during.contains(&endpoint.address));
    endpoint.set_health(Health::Up, None);
    members.refresh();
    assert_eq!(before, homes(balancer.as_ref(), &members.load().eligible, 2_000), "it is back");
    let stayed = before.iter().zip(&during).filter(|(before, _)| **before != endpoint.address);
    stayed.filter(|(before, during)| before != during).count()
}

#[test]
fn keys_stay_on_a_ring_while_its_heaviest_endpoint_is_down() {
    for weights in [&[2, 1, 1, 1][..], &[4, 1, 1, 1], &[10, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]] {
        assert_eq!(moved_by_health("ring-hash", weights, 0), 0, "{weights:?}");
    }
}

/// By a clock that stands still.
fn paused<T>(test: impl Future<Output = T>) -> T {
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        pause();
        test.await
    })
}

/// The homes of keys while an endpoint is down, then at each step of its slow start, and when that is over.
async fn homes_while_it_warms_up(weights: &[u32], slow: usize) -> (Address, Vec<Vec<Address>>) {
    let balancer = build("ring-hash").unwrap();
    let members = Members::new(1, Health::Unchecked, 0.0);
    let slow_start = SlowStart { window: Duration::from_secs(30), aggression: 1.0, min: 0.1 };
    members.set_rules(Rules { slow_start: Some(slow_start), ..Rules::of_panic_share(0.0) });
    members.replace(&found(weights));
    members.settle();
    members.refresh();
    let endpoint = Arc::clone(&members.load().all[slow].endpoint);
    let first = homes(balancer.as_ref(), &members.load().eligible, 1_000);

    endpoint.set_health(Health::Down, None);
    members.refresh();
    let mut all = vec![homes(balancer.as_ref(), &members.load().eligible, 1_000)];
    endpoint.set_health(Health::Up, None);
    members.refresh();
    while members.load().warming() > 0 {
        all.push(homes(balancer.as_ref(), &members.load().eligible, 1_000));
        advance(slow_start.step()).await;
        members.tick();
    }
    all.push(homes(balancer.as_ref(), &members.load().eligible, 1_000));
    assert_eq!(all.last(), Some(&first), "all as it was");
    (endpoint.address.clone(), all)
}

#[test]
fn keys_of_others_that_go_over_to_a_later_priority_or_zone_go_nowhere_else() {
    let balancer = build("ring-hash").unwrap();
    let members = Members::new(1, Health::Unchecked, 0.0);
    let zone = OwnZone { name: "a".into(), min_endpoints: 1, spill_above: 1 };
    members.set_rules(Rules { zone: Some(zone), ..Rules::of_panic_share(0.0) });
    let mut all = found(&[1; 12]);
    for (at, found) in all.iter_mut().enumerate() {
        found.zone = Some(if at % 2 == 0 { "a" } else { "b" }.into());
        found.priority = u16::from(at >= 8);
    }
    members.replace(&all);
    let mut before: Vec<Address> = homes(balancer.as_ref(), &members.load().eligible, 2_000);
    let mut counted: BTreeMap<Address, u64> = BTreeMap::new();
    for down in [None, Some(0), Some(1), Some(2), Some(3), Some(5)] {
        if let Some(down) = down {
            members.load().all[down].endpoint.set_health(Health::Down, None);
            members.refresh();
        }
        let set = members.load();
        let now = homes(balancer.as_ref(), &set.eligible, 2_000);
        let places = set.eligible.endpoints.iter().enumerate();
        let counted_now: BTreeMap<Address, u64> =
            places.map(|(place, one)| (one.address.clone(), set.eligible.counted(place))).collect();
        let stays = |home: &Address| {
            let known = counted.get(home);
            known.is_some() && known == counted_now.get(home)
        };
        for (before, now) in before.iter().zip(&now) {
            assert!(before == now || !(stays(before) && stays(now)), "{down:?}: {before} -> {now}");
        }
        (before, counted) = (now, counted_now);
    }
    assert!(before.iter().any(|home| members.load().all[8].endpoint.address == *home));
}

#[test]
fn requests_work_out_no_table_after_the_first_and_keys_stay_until_control_has() {
    for name in keyed_names() {
        let balancer = build(name).unwrap();
        let members = Members::new(1, Health::Unchecked, 0.0);
        members.replace(&found(&[1; 10]));
        let set = members.load();
        assert!(!balancer.prepare(&set.eligible), "{name}: nobody has asked");
        let before = homes_of_now(balancer.as_ref(), &set.eligible, 2_000);
        assert!(!balancer.prepare(&set.eligible), "{name}: the first request did it");

        let down = Arc::clone(&set.all[3].endpoint);
        down.set_health(Health::Down, None);
        members.refresh();
        let set = members.load();
        let meanwhile = homes_of_now(balancer.as_ref(), &set.eligible, 2_000);

        let of_others = before.iter().zip(&meanwhile).filter(|(home, _)| **home != down.address);
        assert!(of_others.clone().all(|(before, now)| before == now), "{name}");
        assert!(of_others.count() > 1_500 && !meanwhile.contains(&down.address), "{name}");
        let again = homes_of_now(balancer.as_ref(), &set.eligible, 2_000);
        assert_eq!(meanwhile, again, "{name}: theirs have one home, too");
        assert!(balancer.prepare(&set.eligible), "{name}: requests have not");
        assert!(!balancer.prepare(&set.eligible), "{name}: once");
    }
}

#[test]
fn an_address_that_left_and_came_back_is_found_by_no_table_of_before() {
    for name in keyed_names() {
        let balancer = build(name).unwrap();
        let members = members(&[1]);
        balancer.pick_for(&members.load().eligible, key(1)).unwrap();
        members.replace(&[]);
        members.replace(&found(&[1]));

        let set = members.load();
        let picked = balancer.pick_for(&set.eligible, key(1)).unwrap();
        assert!(Arc::ptr_eq(picked, &set.eligible.endpoints[0]), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn no_key_of_another_endpoint_moves_on_a_ring(count in 2usize..120, gone in 0usize..120) {
        prop_assert_eq!(moved("ring-hash", &vec![1; count], gone % count), 0);
    }

    #[test]
    fn no_key_of_another_endpoint_moves_on_a_ring_while_one_is_down(
        weights in proptest::collection::vec(1u32..=100, 2..60),
        down in 0usize..60,
    ) {
        let down = down % weights.len();
        prop_assert_eq!(moved_by_health("ring-hash", &weights, down), 0);
    }

    #[test]
    fn no_key_of_another_endpoint_moves_on_a_ring_while_one_warms_up(
        weights in prop_oneof![
            proptest::collection::vec(1u32..=1, 2..40),
            proptest::collection::vec(1u32..=100, 2..40),
        ],
        slow in 0usize..40,
    ) {
        let slow = slow % weights.len();
        let (address, steps) = paused(homes_while_it_warms_up(&weights, slow));
        prop_assert!(steps.len() > 10);
        for step in steps.windows(2) {
            for (before, after) in step[0].iter().zip(&step[1]) {
                prop_assert!(before == after || *after == address, "{before} -> {after}");
            }
        }
    }

    #[test]
    fn few_keys_of_other_endpoints_move_in_a_table(
        weights in proptest::collection::vec(1u32..=10, 2..60),
        gone in 0usize..60,
    ) {
        let moved = moved("maglev", &weights, gone % weights.len());
        prop_assert!(moved < 2_000 * 3 / 100, "{moved} of 2,000");
    }
}
