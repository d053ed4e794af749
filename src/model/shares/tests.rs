//! Shares by priority, by health, by zone and by warmth.

use proptest::prelude::{any, prop, proptest};
use proptest::strategy::Strategy;

use super::*;

const RULE: Rule = Rule { panic_permille: 500, overprovisioning: 140, near: None, waits: false };

fn fact(priority: u16, healthy: bool) -> Fact {
    Fact { weight: 1, priority, healthy, warmth: 100, joining: false, near: false }
}

/// So many endpoints of a priority, of which so many are healthy.
fn group(priority: u16, members: usize, healthy: usize) -> Vec<Fact> {
    (0..members).map(|at| fact(priority, at < healthy)).collect()
}

/// The part of the traffic that each priority gets, in hundredths, and which ones panic.
fn parts(facts: &[Fact], rule: &Rule) -> (Vec<u64>, Vec<bool>) {
    let division = divide(facts, rule);
    let all: u64 = division.weights.iter().map(|weight| u64::from(*weight)).sum();
    let of = |group: &Group| {
        let own = facts.iter().zip(&division.weights);
        let own = own.filter(|(fact, _)| fact.priority == group.priority);
        let sum: u64 = own.map(|(_, weight)| u64::from(*weight)).sum();
        (sum * 100 + all / 2) / all.max(1)
    };
    (
        division.groups.iter().map(of).collect(),
        division.groups.iter().map(|group| group.panicking).collect(),
    )
}

/// The table of Envoy's documentation for two priorities of which each has 100 endpoints.
#[test]
fn the_next_priority_gets_what_the_first_cannot_bear() {
    for (first, second, wanted) in [
        (100, 100, [100, 0]),
        (72, 100, [100, 0]),
        (71, 100, [99, 1]),
        (50, 100, [70, 30]),
        (25, 100, [35, 65]),
        (0, 100, [0, 100]),
        (72, 0, [100, 0]),
    ] {
        let facts = [group(0, 100, first), group(1, 100, second)].concat();

        let (parts, panicking) = parts(&facts, &RULE);

        assert_eq!(parts, wanted, "{first} {second}");
        assert_eq!(panicking, [false, false], "{first} {second}");
    }
}

#[test]
fn three_priorities_hand_on_in_order() {
    let of = |first, second, third| {
        let facts = [group(0, 100, first), group(1, 100, second), group(2, 100, third)].concat();
        parts(&facts, &RULE)
    };

    assert_eq!(of(50, 50, 100).0, [70, 30, 0]);
    assert_eq!(of(25, 25, 100).0, [35, 35, 30]);
    assert_eq!(of(25, 25, 25), (vec![35, 35, 30], vec![false, false, false]));
    assert_eq!(of(20, 20, 20), (vec![33, 33, 33], vec![true, true, true]), "by their members");
    assert_eq!(of(20, 20, 50), (vec![28, 28, 44], vec![false, false, false]));
    assert_eq!(of(20, 20, 0).0, [33, 33, 33], "all panic");
}

#[test]
fn a_priority_panics_only_while_all_together_cannot_bear_the_traffic() {
    let of = |first, second| parts(&[group(0, 10, first), group(1, 10, second)].concat(), &RULE);

    assert_eq!(of(2, 10), (vec![28, 72], vec![false, false]));
    assert_eq!(of(2, 5).1, [true, false], "98 %: the first panics");
    assert_eq!(of(2, 6).1, [false, false], "112 %");
    assert_eq!(of(0, 5), (vec![0, 100], vec![false, false]), "who has nobody gets nothing");
    assert_eq!(of(0, 0), (vec![100, 0], vec![true, false]), "the first ones are tried");
}

#[test]
fn a_pool_of_one_priority_panics_by_its_share_alone() {
    let of = |healthy, permille| {
        let rule = Rule { panic_permille: permille, ..RULE };
        parts(&group(7, 10, healthy), &rule).1
    };

    assert_eq!(of(5, 500), [false]);
    assert_eq!(of(4, 500), [true]);
    assert_eq!(of(8, 900), [true], "as it is written, also above 71 %");
    assert_eq!(of(1, 0), [false]);
    assert_eq!(of(0, 0), [true], "nobody is healthy");
}

#[test]
fn where_somebody_is_waited_for_nobody_is_used_while_all_are_ill() {
    let rule = Rule { waits: true, ..RULE };
    let facts = [group(0, 10, 0), group(1, 10, 0)].concat();

    let division = divide(&facts, &rule);

    assert!(division.weights.iter().all(|weight| *weight == 0));
    assert!(division.groups.iter().all(|group| group.share == 0 && !group.panicking));
}

#[test]
fn a_very_large_factor_keeps_the_first_priority_while_one_is_healthy() {
    let rule = Rule { overprovisioning: 100_000, ..RULE };
    let facts = [group(0, 100, 1), group(1, 100, 100)].concat();

    assert_eq!(parts(&facts, &rule).0, [100, 0]);
}

#[test]
fn weights_stay_as_they_are_written_where_nothing_divides_them() {
    let mut facts = group(3, 3, 3);
    for (fact, weight) in facts.iter_mut().zip([2, 4, 6]) {
        fact.weight = weight;
    }

    assert_eq!(divide(&facts, &RULE).weights, [2, 4, 6]);
    // All as cold as each other: nobody is ahead.
    facts.iter_mut().for_each(|fact| fact.warmth = 10);
    assert_eq!(divide(&facts, &RULE).weights, [2, 4, 6]);
    assert_eq!(divide(&[], &RULE), Division::default());
}

#[test]
fn who_warms_up_gets_a_part_of_its_share() {
    let mut facts = group(0, 3, 3);
    facts[2].warmth = 10;

    assert_eq!(divide(&facts, &RULE).weights, [10, 10, 1]);
}

#[test]
fn who_warms_up_in_a_panic_gets_no_less_than_who_is_down() {
    let mut facts = group(0, 3, 1);
    facts[0].warmth = 10;
    assert_eq!(divide(&facts, &RULE).weights, [1, 1, 1]);

    // Two groups that panic, of which each has its part.
    facts.extend(group(1, 3, 1));
    let division = divide(&facts, &RULE);
    assert!(division.groups.iter().all(|group| group.panicking));
    assert_eq!(division.weights[0], division.weights[1]);
}

#[test]
fn sets_that_are_joined_have_their_parts_whatever_the_weights_in_them() {
    let sets = [(9100, vec![(4, 1), (0, 1)]), (900, vec![(1, 700), (2, 1400)])];

    assert_eq!(joined(&sets), [(4, 91), (0, 91), (1, 6), (2, 12)]);
    assert_eq!(joined(&[]), []);
}

fn zoned(near: (usize, usize), far: (usize, usize)) -> Vec<Fact> {
    let mut facts = group(0, near.0, near.1);
    facts.iter_mut().for_each(|fact| fact.near = true);
    facts.extend(group(0, far.0, far.1));
    facts
}

fn near_part(facts: &[Fact], bears: u64) -> Option<u64> {
    let near = Some(Near { min_endpoints: 2, bears });
    let division = divide(facts, &Rule { near, ..RULE });
    let all: u64 = division.weights.iter().map(|weight| u64::from(*weight)).sum();
    let own = facts.iter().zip(&division.weights).filter(|(fact, _)| fact.near);
    let own: u64 = own.map(|(_, weight)| u64::from(*weight)).sum();
    let stays = division.groups[0].near?;
    assert!(
        (own * WHOLE).abs_diff(stays * all) <= all,
        "{stays} of {WHOLE} are not {own} of {all}"
    );
    Some(stays / 100)
}

#[test]
fn the_own_zone_comes_first_and_others_get_what_it_cannot_bear() {
    assert_eq!(near_part(&zoned((4, 4), (8, 8)), WHOLE), Some(100));
    assert_eq!(near_part(&zoned((4, 3), (8, 8)), WHOLE), Some(100));
    assert_eq!(near_part(&zoned((4, 2), (8, 8)), WHOLE), Some(70), "by health");
    assert_eq!(near_part(&zoned((4, 4), (8, 8)), 6000), Some(60), "by load");
    assert_eq!(near_part(&zoned((4, 0), (8, 8)), WHOLE), Some(0));
    assert_eq!(near_part(&zoned((6, 2), (2, 2)), WHOLE), Some(50), "as much as the others have");
}

#[test]
fn zones_do_not_matter_where_there_is_no_choice() {
    assert_eq!(near_part(&zoned((1, 1), (8, 8)), WHOLE), None, "too few are near");
    assert_eq!(near_part(&zoned((8, 8), (4, 0)), WHOLE), None, "nobody else is healthy");
    assert_eq!(near_part(&zoned((4, 1), (8, 2)), WHOLE), None, "panic");
    assert_eq!(near_part(&zoned((0, 0), (8, 8)), WHOLE), None);
}

#[test]
fn load_moves_traffic_out_of_the_zone_until_all_have_as_much() {
    assert_eq!(bears(40, 4, 8, 10), WHOLE);
    assert_eq!(bears(80, 4, 8, 10), WHOLE / 2);
    assert_eq!(bears(10_000, 4, 8, 10), WHOLE / 3);
    assert_eq!(bears(0, 0, 8, 10), WHOLE);
    assert_eq!(bears(u64::MAX, u64::from(u32::MAX), 1, u32::MAX), WHOLE - 1);
}

fn facts() -> impl Strategy<Value = Vec<Fact>> {
    let one = (1u32..=65_535, 0u16..4, any::<bool>(), 1u32..=100, any::<bool>(), any::<bool>());
    prop::collection::vec(one, 0..40).prop_map(|all| {
        let fact = |(weight, priority, healthy, warmth, joining, near)| Fact {
            weight,
            priority,
            healthy,
            warmth,
            joining,
            near,
        };
        all.into_iter().map(fact).collect()
    })
}

fn rules() -> impl Strategy<Value = Rule> {
    let near = prop::option::of((0u32..6, 0..=WHOLE));
    (0u32..=1000, 100u32..=100_000, near).prop_map(|(panic_permille, overprovisioning, near)| {
        let near = near.map(|(min_endpoints, bears)| Near { min_endpoints, bears });
        Rule { panic_permille, overprovisioning, near, waits: false }
    })
}

proptest! {
    #[test]
    fn all_of_the_traffic_is_divided_and_nobody_is_left_without(facts in facts(), rule in rules()) {
        let division = divide(&facts, &rule);

        assert_eq!(division.weights.len(), facts.len());
        let shares: u64 = division.groups.iter().map(|group| group.share).sum();
        assert_eq!(shares, if facts.is_empty() { 0 } else { WHOLE });
        assert_eq!(facts.is_empty(), division.weights.iter().all(|weight| *weight == 0));
        // All weights together are a number that balancers can draw from.
        assert!(division.weights.iter().all(|weight| *weight <= 1 << 24));
    }

    #[test]
    fn waiting_changes_nothing_while_somebody_is_healthy(facts in facts(), rule in rules()) {
        let waits = divide(&facts, &Rule { waits: true, ..rule });

        match facts.iter().any(|fact| fact.healthy) {
            true => assert_eq!(waits, divide(&facts, &rule)),
            false => assert!(waits.weights.iter().all(|weight| *weight == 0)),
        }
    }

    #[test]
    fn who_is_ill_is_used_in_panic_alone(facts in facts(), rule in rules()) {
        let division = divide(&facts, &rule);

        for (fact, weight) in facts.iter().zip(&division.weights) {
            let group = division.groups.iter().find(|group| group.priority == fact.priority);
            let group = group.unwrap();
            assert!(*weight == 0 || fact.healthy || group.panicking, "{fact:?}");
        }
        if division.groups.len() > 1 {
            let bearable: u64 = division
                .groups
                .iter()
                .map(|group| bearable(group.healthy, group.members, &rule))
                .sum();
            assert!(bearable < WHOLE || division.groups.iter().all(|group| !group.panicking));
        }
    }

    /// Weights are the shares, to what balancers could show.
    #[test]
    fn the_weights_of_a_group_add_up_to_its_share(facts in facts(), rule in rules()) {
        let rule = Rule { near: None, ..rule };
        let division = divide(&facts, &rule);
        let all: u64 = division.weights.iter().map(|weight| u64::from(*weight)).sum();

        for group in &division.groups {
            let own = facts.iter().zip(&division.weights);
            let own = own.filter(|(fact, _)| fact.priority == group.priority);
            let own: u64 = own.map(|(_, weight)| u64::from(*weight)).sum();
            let off = (own as f64 / all as f64 - group.share as f64 / WHOLE as f64).abs();
            assert!(off < 0.001, "{group:?} has {own} of {all}");
        }
    }

    #[test]
    fn one_more_that_is_healthy_takes_nothing_from_its_priority(
        healthy in 0usize..20,
        members in 1usize..20,
        others in 0usize..20,
    ) {
        let healthy = healthy.min(members - 1);
        let part = |healthy| {
            let facts = [group(0, members, healthy), group(1, 20, others)].concat();
            divide(&facts, &Rule { panic_permille: 0, ..RULE }).groups[0].share
        };

        // Nobody healthy anywhere is the one case of its own.
        if healthy + others > 0 {
            assert!(part(healthy) <= part(healthy + 1));
        }
    }
}
