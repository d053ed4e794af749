//! Who has a name, and what is counted under which.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::delta::One;
use super::*;

fn label(slot: u32) -> Label {
    Label { name: format!("t{slot}").into(), slot }
}

/// One request of each of these tenants to a pool of its own, and one to none.
fn count(sums: &mut TenantSums, slots: impl IntoIterator<Item = u32>) {
    for slot in slots {
        sums.learn(&[label(slot)]);
        for pool in [PoolName::Place(slot), PoolName::None] {
            merge(sums, pool, slot + 1);
        }
    }
}

fn merge(sums: &mut TenantSums, pool: PoolName, tenant: u32) {
    let (mut delta, mut all) = (TenantDelta::of(tenant, 0), Requests::default());
    let one = One::of(200, std::time::Duration::ZERO, (1, 2));
    delta.count(&one);
    all.count(&one);
    sums.merge(&all, std::iter::once((pool, &delta)));
}

/// The names and how many requests each has.
fn shown(sums: &TenantSums) -> Vec<(&str, u64)> {
    let total = |counts: &TenantCounts| {
        counts.requests.iter().map(|of_pool| of_pool.counts.iter().sum::<u64>()).sum()
    };
    sums.sorted().map(|(name, counts)| (name, total(counts))).collect()
}

#[test]
fn the_first_that_are_seen_have_names_and_the_rest_are_one() {
    let mut sums = TenantSums::new(2);
    merge(&mut sums, PoolName::None, 0);

    count(&mut sums, [5, 1, 3, 4, 3, 1, 5]);

    assert_eq!(shown(&sums), [("", 1), ("_other", 6), ("t1", 4), ("t5", 4)]);
    assert_eq!(sums.folded(), 2);
    let others = sums.others.as_ref().unwrap();
    let pools: Vec<_> = others.requests.iter().map(|of| of.pool).collect();
    assert_eq!(pools, [PoolName::Other, PoolName::None], "their pools are one, too");
}

#[test]
fn a_tenant_that_is_gone_leaves_its_name_to_the_next_one_that_is_seen() {
    let mut sums = TenantSums::new(2);
    sums.keep((0..4).collect());
    count(&mut sums, [0, 1, 2, 3]);
    assert_eq!((shown(&sums).len(), sums.folded()), (3, 2));

    sums.keep([1, 2, 3].into_iter().collect());
    count(&mut sums, [3, 2, 1, 0]);

    // Of the one that is gone only its last words came, which nobody is shown by name.
    assert_eq!(shown(&sums), [("_ended_1", 2), ("_other", 8), ("t1", 4), ("t3", 2)]);
    assert_eq!(sums.folded(), 1);
    sums.keep([1].into_iter().collect());
    let ended = vec![("_ended_2", 4), ("_other", 8), ("t1", 4)];
    assert_eq!((shown(&sums), sums.folded()), (ended, 0));
}

#[test]
fn what_is_held_does_not_grow_with_who_comes_and_goes() {
    let mut sums = TenantSums::new(10);
    for round in 0..100 {
        let slots = round * 50..round * 50 + 50;
        sums.keep(slots.clone().collect());
        count(&mut sums, slots.clone().rev());
        count(&mut sums, slots);
        assert_eq!((sums.named.len(), sums.names.len(), sums.folded()), (10, 10, 40));
    }
}

#[test]
fn a_name_that_the_others_have_is_no_second_series() {
    let mut sums = TenantSums::new(10);
    sums.learn(&[Label { name: OTHER.into(), slot: 0 }, label(1)]);
    merge(&mut sums, PoolName::None, 1);
    merge(&mut sums, PoolName::None, 2);

    assert_eq!(shown(&sums), [("_other", 1), ("t1", 1)]);
}

#[test]
fn none_has_a_name_where_none_may() {
    let mut sums = TenantSums::new(0);
    count(&mut sums, 0..5);
    assert_eq!((shown(&sums), sums.folded()), (vec![("_other", 10)], 5));
}

/// Requests of these tenants, as a worker tells of them.
fn send(sums: &mut TenantSums, slot: u32, requests: u32) {
    sums.learn(&[label(slot)]);
    for _ in 0..requests {
        merge(sums, PoolName::Place(0), slot + 1);
    }
}

#[test]
fn a_name_goes_to_one_that_is_busier_by_far_and_ends_a_review_later() {
    let mut sums = TenantSums::new(2);
    send(&mut sums, 1, 100);
    send(&mut sums, 2, 10);
    send(&mut sums, 3, 50);
    assert_eq!(shown(&sums), [("_other", 50), ("t1", 100), ("t2", 10)]);

    sums.review();
    assert_eq!(shown(&sums), [("_other", 50), ("t1", 100), ("t2", 10)], "it is still scraped");
    send(&mut sums, 2, 1);
    send(&mut sums, 3, 1);
    assert_eq!(shown(&sums), [("_other", 52), ("t1", 100), ("t2", 10)]);

    sums.review();
    send(&mut sums, 3, 5);
    assert_eq!(shown(&sums), [("_ended_1", 10), ("_other", 52), ("t1", 100), ("t3", 5)]);
    assert_eq!((sums.handed_over(), sums.folded()), (1, 1));
}

#[test]
fn two_that_are_alike_do_not_take_turns() {
    let mut sums = TenantSums::new(1);
    for minute in 0..20 {
        send(&mut sums, 1, if minute % 2 == 0 { 100 } else { 60 });
        send(&mut sums, 2, if minute % 2 == 0 { 60 } else { 100 });
        sums.review();
    }
    assert_eq!(sums.handed_over(), 0);
    assert_eq!(shown(&sums), [("_other", 1600), ("t1", 1600)]);
}

#[test]
fn who_is_busy_again_before_its_name_has_ended_keeps_it() {
    let mut sums = TenantSums::new(1);
    send(&mut sums, 1, 10);
    send(&mut sums, 2, 50);
    sums.review();
    send(&mut sums, 1, 200);
    sums.review();
    send(&mut sums, 1, 5);
    assert_eq!(shown(&sums), [("_other", 250), ("t1", 15)]);
    assert_eq!((sums.handed_over(), sums.folded()), (0, 1));
}

#[test]
fn what_was_counted_of_tenants_that_are_gone_stays_in_the_sum() {
    let mut sums = TenantSums::new(2);
    sums.keep((0..4).collect());
    send(&mut sums, 0, 3);
    send(&mut sums, 1, 4);
    sums.keep([1].into_iter().collect());
    assert_eq!(shown(&sums), [("_ended_1", 3), ("t1", 4)]);
    sums.keep(Slots::default());
    assert_eq!(shown(&sums), [("_ended_2", 7)]);
}

#[test]
fn a_tenant_that_is_called_as_those_that_have_ended_is_among_the_others() {
    let mut sums = TenantSums::new(1);
    sums.learn(&[Label { name: "_ended_1".into(), slot: 0 }]);
    merge(&mut sums, PoolName::None, 1);
    sums.review();
    sums.review();
    assert_eq!(shown(&sums), [("_other", 1)]);
}

#[derive(Clone, Debug)]
enum Event {
    Send(u32, u32),
    Review,
    Live(Vec<u32>),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        6 => (0..8_u32, 1..40_u32).prop_map(|(slot, requests)| Event::Send(slot, requests)),
        3 => Just(Event::Review),
        1 => prop::collection::vec(0..8_u32, 0..8).prop_map(Event::Live),
    ];
    prop::collection::vec(event, 0..60)
}

proptest! {
    /// Whatever is sent, and whoever comes and goes: the sum of all series is what was counted, no
    /// series falls while it is there, there are no more than there may be, and who looks at growth
    /// sees no request twice.
    #[test]
    fn names_are_handed_over_and_no_count_is_lost_or_seen_twice(
        most in 0..5_usize,
        events in events(),
    ) {
        let mut sums = TenantSums::new(most);
        let (mut sent, mut grown) = (0_u64, 0_u64);
        let mut before: BTreeMap<String, u64> = BTreeMap::new();
        for event in events {
            match event {
                Event::Send(slot, requests) => {
                    send(&mut sums, slot, requests);
                    sent += u64::from(requests);
                }
                Event::Review => sums.review(),
                Event::Live(live) => sums.keep(live.into_iter().collect()),
            }
            let now: BTreeMap<String, u64> =
                shown(&sums).into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
            prop_assert_eq!(now.values().sum::<u64>(), sent);
            let special = ["_other", ""];
            let named = now.keys().filter(|name| {
                !special.contains(&name.as_str()) && !name.starts_with(ENDED)
            });
            prop_assert!(named.count() <= most);
            prop_assert!(now.keys().filter(|name| name.starts_with(ENDED)).count() <= 1);
            for (name, count) in &now {
                let last = before.get(name).copied();
                prop_assert!(last.is_none_or(|last| last <= *count), "{} fell", name);
                grown += last.map_or(0, |last| count - last);
            }
            prop_assert!(grown <= sent, "growth of {} was seen for {} requests", grown, sent);
            let folded = sums.slots.iter().filter(|slot| slot.place == FOLDED).count();
            prop_assert_eq!(sums.folded(), folded);
            before = now;
        }
    }
}
