//! Who is a member, and who of them gets traffic.

use std::time::Duration;

use crate::model::drains::Drained;
use crate::model::lateness::Weight;
use crate::model::rules::OwnZone;
use crate::model::warmth::SlowStart;

use super::*;

fn found(addresses: &[(&str, u16)]) -> Vec<Found> {
    addresses
        .iter()
        .map(|(address, priority)| Found {
            priority: *priority,
            ..Found::new(address.parse::<Address>().unwrap(), "test")
        })
        .collect()
}

fn eligible(members: &Members) -> Vec<String> {
    let set = members.load();
    set.eligible.endpoints.iter().map(|endpoint| endpoint.label.to_string()).collect()
}

#[test]
fn an_address_that_stays_keeps_its_endpoint() {
    let members = Members::new(1, Health::Unchecked, 0.5);
    members.replace(&found(&[("10.0.0.1:80", 0), ("10.0.0.2:80", 0)]));
    let before = members.load().all[1].endpoint.id;

    let change = members.replace(&found(&[("10.0.0.2:80", 0), ("10.0.0.3:80", 0)]));

    assert_eq!(members.load().all[0].endpoint.id, before);
    assert_eq!(change.joined[0].label.as_ref(), "10.0.0.3:80");
    assert_eq!(change.left[0].label.as_ref(), "10.0.0.1:80");
}

#[test]
fn an_address_that_left_and_came_back_is_a_new_endpoint() {
    let members = Members::new(1, Health::Unchecked, 0.5);
    members.replace(&found(&[("10.0.0.1:80", 0)]));
    let first = Arc::clone(&members.load().all[0].endpoint);
    first.set_health(Health::Down, None);
    members.replace(&[]);
    members.replace(&found(&[("10.0.0.1:80", 0)]));

    let second = Arc::clone(&members.load().all[0].endpoint);

    assert_ne!(first.id, second.id);
    assert_eq!(second.health(), Health::Unchecked);
}

#[test]
fn an_address_named_by_two_sources_counts_once() {
    let members = Members::new(1, Health::Unchecked, 0.5);
    members.replace(&found(&[("10.0.0.1:80", 0), ("10.0.0.1:80", 3)]));

    assert_eq!(members.load().all.len(), 1);
    assert_eq!(members.load().all[0].priority, 0);
}

#[test]
fn below_the_panic_share_all_are_used_rather_than_few() {
    let members = Members::new(1, Health::Unchecked, 0.5);
    members.replace(&found(&[("10.0.0.1:80", 0), ("10.0.0.2:80", 0), ("10.0.0.3:80", 0)]));
    let endpoint = |at: usize| Arc::clone(&members.load().all[at].endpoint);

    endpoint(0).set_health(Health::Down, None);
    members.refresh();
    assert_eq!(eligible(&members), ["10.0.0.2:80", "10.0.0.3:80"]);

    endpoint(1).eject(Duration::from_secs(10));
    members.refresh();
    assert_eq!(eligible(&members).len(), 3);
    assert!(members.load().eligible.panicking);
}

#[test]
fn a_later_priority_serves_only_when_the_earlier_has_nobody() {
    let members = Members::new(1, Health::Unchecked, 0.5);
    members.replace(&found(&[("10.0.0.1:80", 10), ("10.0.0.2:80", 20)]));
    assert_eq!(eligible(&members), ["10.0.0.1:80"]);

    members.load().all[0].endpoint.set_health(Health::Down, None);
    members.refresh();

    assert_eq!(eligible(&members), ["10.0.0.2:80"]);
}

fn drained() -> Drained {
    Drained { since: std::time::SystemTime::UNIX_EPOCH, reason: None }
}

#[test]
fn a_drained_endpoint_is_picked_in_no_case() {
    let members = Members::new(1, Health::Unchecked, 0.5);
    members.replace(&found(&[("10.0.0.1:80", 0), ("10.0.0.2:80", 0), ("10.0.0.3:80", 0)]));
    let first = Arc::clone(&members.load().all[0].endpoint);

    members.drains().insert(&first.address, &drained());
    members.refresh();
    assert_eq!(eligible(&members), ["10.0.0.2:80", "10.0.0.3:80"]);

    for member in &members.load().all {
        member.endpoint.set_health(Health::Down, None);
    }
    members.refresh();
    assert_eq!(eligible(&members), ["10.0.0.2:80", "10.0.0.3:80"]); // panicking

    members.drains().remove(&first.address);
    members.refresh();
    assert_eq!(eligible(&members).len(), 3);
}

#[test]
fn drained_endpoints_do_not_count_for_the_panic_share() {
    let members = Members::new(1, Health::Unchecked, 0.9);
    members.replace(&found(&[("10.0.0.1:80", 0), ("10.0.0.2:80", 0)]));
    members.drains().insert(&"10.0.0.1:80".parse().unwrap(), &drained());
    members.refresh();

    assert_eq!(eligible(&members), ["10.0.0.2:80"]);
    assert!(!members.load().eligible.panicking);
}

#[test]
fn an_address_stays_drained_when_it_comes_back_and_in_the_pools_next_members() {
    let members = Members::new(1, Health::Unchecked, 0.5);
    members.replace(&found(&[("10.0.0.1:80", 0)]));
    members.drains().insert(&"10.0.0.1:80".parse().unwrap(), &drained());
    members.refresh();

    members.replace(&[]);
    members.replace(&found(&[("10.0.0.1:80", 0), ("10.0.0.2:80", 0)]));
    let next = Members::new(2, Health::Unchecked, 0.5).with_drains(Arc::clone(&members.drains));
    next.replace(&found(&[("10.0.0.1:80", 0), ("10.0.0.2:80", 0)]));

    assert_eq!(eligible(&members), ["10.0.0.2:80"]);
    assert_eq!(eligible(&next), ["10.0.0.2:80"]);
}

fn slow_start() -> Rules {
    let slow_start = SlowStart { window: Duration::from_secs(30), aggression: 1.0, min: 0.1 };
    Rules { slow_start: Some(slow_start), ..Rules::of_panic_share(0.5) }
}

/// A pool in use of so many members, with a slow start.
fn in_use(count: u8) -> Members {
    let members = Members::new(1, Health::Unchecked, 0.5);
    members.set_rules(slow_start());
    members.replace(&numbered(0..count));
    members.settle();
    members
}

fn numbered(hosts: impl Iterator<Item = u8>) -> Vec<Found> {
    hosts.map(|host| Found::new(([10, 0, 0, host], 80), "test")).collect()
}

fn weights(members: &Members) -> Vec<u32> {
    members.load().eligible.weights.to_vec()
}

/// Control's ticks for so long.
async fn pass(members: &Members, seconds: u64) {
    for _ in 0..seconds * 10 {
        tokio::time::advance(Duration::from_millis(100)).await;
        members.tick();
    }
}

#[tokio::test(start_paused = true)]
async fn who_joins_a_pool_in_use_comes_to_its_share_little_by_little() {
    let members = in_use(2);
    assert_eq!(weights(&members), [1, 1]);
    assert_eq!(members.load().warming(), 0);

    members.replace(&numbered(0..3));
    assert_eq!(weights(&members), [10, 10, 1]);
    assert!(members.load().eligible.cumulative.is_some());
    let compared = || {
        let set = members.load();
        set.all.iter().map(|member| member.endpoint.peers().is_some()).collect::<Vec<_>>()
    };
    assert_eq!(compared(), [true, true, false], "who is cold is not late");
    pass(&members, 15).await;
    assert_eq!(weights(&members), [2, 2, 1]);
    assert_eq!(members.load().warming(), 1);
    pass(&members, 16).await;

    assert_eq!(weights(&members), [1, 1, 1]);
    assert_eq!(compared(), [true; 3]);
    assert!(members.load().eligible.cumulative.is_none());
    let version = members.load().eligible.version;
    pass(&members, 60).await;
    assert_eq!(members.load().eligible.version, version, "nobody warms up: nothing is done");
}

#[tokio::test(start_paused = true)]
async fn who_recovers_begins_slowly_whatever_it_was_out_for() {
    let members = in_use(2);
    let first = Arc::clone(&members.load().all[0].endpoint);
    let cycle = |out: fn(&Members, &Endpoint), back: fn(&Members, &Endpoint)| {
        out(&members, &first);
        members.refresh();
        back(&members, &first);
        members.refresh();
        weights(&members)
    };

    let checks = cycle(
        |_, one| one.set_health(Health::Down, None),
        |_, one| {
            one.set_health(Health::Up, None);
        },
    );
    assert_eq!(checks, [1, 10]);
    pass(&members, 31).await;
    let ejection = cycle(|_, one| one.eject(Duration::from_secs(1)), |_, one| one.readmit());
    assert_eq!(ejection, [1, 10]);
    pass(&members, 31).await;
    let drain = cycle(
        |members, one| members.drains().insert(&one.address, &drained()),
        |members, one| members.drains().remove(&one.address),
    );
    assert_eq!(drain, [1, 10]);
    // Once more while it warms up: it begins again.
    pass(&members, 15).await;
    assert_eq!(weights(&members), [1, 2]);
    let again = cycle(|_, one| one.eject(Duration::from_secs(1)), |_, one| one.readmit());
    assert_eq!(again, [1, 10]);
}

#[tokio::test(start_paused = true)]
async fn the_first_members_have_their_whole_share_however_late_their_checks_are() {
    let members = Members::new(1, Health::Pending, 0.5);
    members.set_rules(slow_start());
    members.replace(&numbered(0..3));
    members.settle();
    let set_health = |at: usize, health| {
        members.load().all[at].endpoint.set_health(health, None);
        members.refresh();
    };

    set_health(0, Health::Up);
    pass(&members, 3).await;
    set_health(1, Health::Up);
    assert_eq!(weights(&members), [1, 1]);

    // One that its first check has found down recovers.
    set_health(2, Health::Down);
    set_health(2, Health::Up);
    assert_eq!(weights(&members), [10, 10, 1]);
}

#[tokio::test(start_paused = true)]
async fn all_that_recover_together_share_evenly() {
    let members = in_use(3);
    let all = |health| {
        for at in 0..3 {
            members.load().all[at].endpoint.set_health(health, None);
            members.refresh();
        }
    };

    all(Health::Down);
    all(Health::Up);

    assert_eq!(weights(&members), [1, 1, 1]);
    assert_eq!(members.load().warming(), 3);
}

/// Two priorities of two each, in use.
fn two_sites() -> Members {
    let members = Members::new(1, Health::Unchecked, 0.5);
    members.set_rules(slow_start());
    members.replace(&sites(4));
    members.settle();
    members
}

/// The even ones of so many are of the first priority.
fn sites(count: u8) -> Vec<Found> {
    let mut found = numbered(0..count);
    found.iter_mut().zip([0, 1].into_iter().cycle()).for_each(|(one, site)| one.priority = site);
    found
}

fn set_health(members: &Members, places: &[usize], health: Health) {
    for at in places {
        members.load().all[*at].endpoint.set_health(health, None);
        members.refresh();
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_that_recovers_from_a_panic_gets_no_less_than_those_that_are_down() {
    let members = in_use(3);
    set_health(&members, &[0, 1, 2], Health::Down);

    set_health(&members, &[0], Health::Up);

    assert!(members.load().eligible.panicking);
    assert_eq!(weights(&members), [1, 1, 1]);
    set_health(&members, &[1], Health::Up);
    assert_eq!(weights(&members), [1, 1], "no panic: those alone that are back");
}

#[tokio::test(start_paused = true)]
async fn a_site_that_is_back_is_not_given_everything_at_once() {
    let members = two_sites();
    set_health(&members, &[0, 2], Health::Down);
    assert!((members.load().failed_over() - 1.0).abs() < 1e-9);

    set_health(&members, &[0, 2], Health::Up);
    let begins = members.load().failed_over();
    assert!((begins - 0.86).abs() < 1e-9, "14 % can be borne: {begins}");
    pass(&members, 15).await;
    let half = members.load().failed_over();
    assert!(half > 0.25 && half < 0.35, "{half}");
    pass(&members, 16).await;
    assert!(members.load().failed_over().abs() < 1e-9);

    // Nobody else can bear it: what is back bears all.
    set_health(&members, &[0, 1, 2, 3], Health::Down);
    set_health(&members, &[0, 2], Health::Up);
    assert!(members.load().failed_over().abs() < 1e-9);
}

#[tokio::test(start_paused = true)]
async fn a_zone_that_is_back_is_not_given_everything_at_once() {
    let members = zoned(2, 2, 1000);
    members.set_rules(Rules { slow_start: slow_start().slow_start, ..rules_of_zone(1000) });
    members.refresh();
    set_health(&members, &[0, 1], Health::Down);
    set_health(&members, &[0, 1], Health::Up);

    let leaves = members.load().leaves_zone().unwrap();
    assert!((leaves - 0.86).abs() < 0.01, "{leaves}");
    pass(&members, 31).await;
    assert!(members.load().leaves_zone().unwrap().abs() < 1e-9);
}

fn rules_of_zone(spill_above: u32) -> Rules {
    let zone = OwnZone { name: "here".into(), min_endpoints: 2, spill_above };
    Rules { zone: Some(zone), ..Rules::of_panic_share(0.5) }
}

/// So many near and so many far, in use.
fn zoned(near: u8, far: u8, spill_above: u32) -> Members {
    let members = Members::new(1, Health::Unchecked, 0.5);
    members.set_rules(rules_of_zone(spill_above));
    members.replace(&in_zones(near, far, 0));
    members.settle();
    members
}

fn in_zones(near: u8, far: u8, priority: u16) -> Vec<Found> {
    let mut found = numbered(0..near + far);
    for (at, one) in found.iter_mut().enumerate() {
        let is_near = at < usize::from(near);
        one.zone = Some(if is_near { "here" } else { "there" }.into());
        one.priority = priority;
        one.address = ([10, 0, priority as u8 * 2 + u8::from(!is_near), at as u8], 80).into();
    }
    found
}

#[test]
fn endpoints_that_wait_for_their_first_check_send_no_traffic_to_the_other_site() {
    let members = two_sites();
    members.set_newcomer(Health::Pending);

    members.replace(&sites(12));

    assert!(members.load().failed_over().abs() < 1e-9);
    assert_eq!(weights(&members), [1, 1]);
    // One that was healthy once counts when it is not.
    set_health(&members, &[4, 6, 8, 10], Health::Up);
    set_health(&members, &[4, 6, 8, 10], Health::Down);
    assert!(members.load().failed_over() > 0.5);
}

#[test]
fn endpoints_that_wait_for_their_first_check_send_no_traffic_to_other_zones() {
    let members = zoned(2, 2, 1000);
    members.set_newcomer(Health::Pending);

    let more =
        || in_zones(8, 0, 0).into_iter().chain(in_zones(2, 2, 0).split_off(2)).collect::<Vec<_>>();
    members.replace(&more());

    assert_eq!(members.load().leaves_zone(), Some(0.0));
}

#[tokio::test(start_paused = true)]
async fn endpoints_that_come_to_their_first_share_slowly_send_no_traffic_away() {
    let members = two_sites();

    members.replace(&sites(20));

    for _ in 0..35 {
        assert!(members.load().failed_over().abs() < 1e-9);
        pass(&members, 1).await;
    }
    // A site that is all new takes over as one that is back.
    let members = Members::new(1, Health::Unchecked, 0.5);
    members.set_rules(slow_start());
    members.replace(&sites(4).into_iter().filter(|one| one.priority == 1).collect::<Vec<_>>());
    members.settle();
    members.replace(&sites(4));
    assert!((members.load().failed_over() - 0.86).abs() < 1e-9);
}

#[test]
fn endpoints_that_nobody_has_seen_serve_are_tried_where_nobody_is_healthy() {
    let members = in_use(2);
    members.set_newcomer(Health::Pending);

    members.replace(&numbered(2..4)); // all are exchanged at once

    assert_eq!(eligible(&members).len(), 2);
    assert!(members.load().eligible.panicking);
}

#[test]
fn a_zone_that_is_too_busy_is_not_saved_by_a_later_priority_that_serves_nobody() {
    let members = Members::new(1, Health::Unchecked, 0.5);
    members.set_rules(rules_of_zone(1));
    members.replace(&[in_zones(2, 2, 0), in_zones(8, 0, 1)].concat());
    for _ in 0..8 {
        members.load().all[0].endpoint.enter();
    }

    (0..100).for_each(|_| members.tick());

    assert_eq!(members.load().leaves_zone(), Some(0.5));
}

#[test]
fn a_drain_that_a_later_source_says_of_an_address_is_not_lost() {
    let members = Members::new(1, Health::Unchecked, 0.5);
    let mut found = [numbered(0..2), numbered(0..1)].concat();
    found[2].draining = true;

    members.replace(&found);

    assert_eq!(eligible(&members), ["10.0.0.1:80"]);
}

#[test]
fn what_goes_past_a_first_priority_that_is_drained_is_told() {
    let members = two_sites();
    let mut found = sites(4);
    found.iter_mut().filter(|one| one.priority == 0).for_each(|one| one.draining = true);

    members.replace(&found);

    assert!((members.load().failed_over() - 1.0).abs() < 1e-9);
    assert_eq!(members.load().groups[0].members, 0);
    found.iter_mut().for_each(|one| one.draining = true);
    members.replace(&found);
    assert!(members.load().failed_over().abs() < 1e-9, "there is no traffic");
}

#[test]
fn a_refresh_that_changes_nothing_has_nothing_worked_out_anew() {
    let members = two_sites();
    let version = |members: &Members| members.load().eligible.version;
    let before = version(&members);

    members.refresh();
    members.replace(&sites(4));
    assert_eq!(version(&members), before);

    // Nobody is picked who was not: but who are members is another question.
    members.replace(&sites(6));
    let more = version(&members);
    assert!(more > before);
    set_health(&members, &[1], Health::Down);
    assert_eq!(version(&members), more, "it was of the second site, which has no part");
    members.drains().insert(&members.load().all[1].endpoint.address.clone(), &drained());
    members.refresh();
    assert!(version(&members) > more);
}

#[tokio::test(start_paused = true)]
async fn a_slow_start_that_is_taken_out_ends_at_once() {
    let members = in_use(2);
    members.replace(&numbered(0..3));

    members.set_rules(Rules::of_panic_share(0.5));
    members.refresh();

    assert_eq!(weights(&members), [1, 1, 1]);
}

#[test]
fn who_is_written_as_draining_gets_nothing_and_counts_for_nothing() {
    let members = Members::new(1, Health::Unchecked, 0.0);
    let mut found = numbered(0..3);
    found[0].draining = true;
    let change = members.replace(&found);
    assert_eq!(eligible(&members), ["10.0.0.1:80", "10.0.0.2:80"]);
    assert_eq!(change.draining.len(), 1);
    members.load().all[0].endpoint.enter();
    assert_eq!(members.load().draining(), (1, 1));
    let since = members.load().all[0].draining;
    assert!(since.is_some());

    // Said again, with others: since then, and told once.
    members.load().all[1].endpoint.set_health(Health::Down, None);
    members.load().all[2].endpoint.set_health(Health::Down, None);
    assert!(members.replace(&found).draining.is_empty());
    assert_eq!(members.load().all[0].draining, since);
    assert_eq!(eligible(&members), ["10.0.0.1:80", "10.0.0.2:80"]); // panicking

    found[0].draining = false;
    let change = members.replace(&found);
    assert_eq!((change.back.len(), eligible(&members)), (1, vec!["10.0.0.0:80".to_owned()]));
}

#[test]
fn an_operator_s_drain_outlasts_what_is_written_and_the_other_way_round() {
    let members = Members::new(1, Health::Unchecked, 0.5);
    let mut found = numbered(0..2);
    found[0].draining = true;
    members.replace(&found);
    let address = members.load().all[0].endpoint.address.clone();
    members.drains().insert(&address, &drained());
    members.refresh();

    found[0].draining = false;
    members.replace(&found);
    assert_eq!(eligible(&members), ["10.0.0.1:80"]);

    found[0].draining = true;
    members.replace(&found);
    members.drains().remove(&address);
    members.refresh();
    assert_eq!(eligible(&members), ["10.0.0.1:80"]);
}

#[test]
fn shares_of_priorities_are_weights_and_told() {
    let members = Members::new(1, Health::Unchecked, 0.5);
    let list = [("10.0.0.1:80", 0), ("10.0.0.2:80", 0), ("10.0.1.1:80", 1), ("10.0.1.2:80", 1)];
    members.replace(&found(&list));
    assert_eq!(eligible(&members).len(), 2);
    assert!(members.load().failed_over().abs() < 1e-9);

    members.load().all[0].endpoint.set_health(Health::Down, None);
    members.refresh();

    assert_eq!(eligible(&members), ["10.0.0.2:80", "10.0.1.1:80", "10.0.1.2:80"]);
    assert_eq!(weights(&members), [14, 3, 3]);
    assert!((members.load().failed_over() - 0.3).abs() < 1e-9);
    assert_eq!(members.load().groups[1].share, 3000);
}

/// A pool that has requests wait, three at once with each endpoint, of two endpoints.
fn awaited() -> Members {
    let members = Members::new(1, Health::Unchecked, 0.5);
    members.set_rules(Rules { turns: Some(3), ..Rules::of_panic_share(0.5) });
    assert_eq!(turns(&members), Some(0));
    members.replace(&found(&[("10.0.0.1:80", 0), ("10.0.0.2:80", 0)]));
    members
}

/// How many of those who wait may have their turn.
fn turns(members: &Members) -> Option<u32> {
    members.room().and_then(|room| room.gate().state().limit)
}

#[test]
fn those_who_wait_have_turns_as_long_as_somebody_may_be_picked() {
    let members = awaited();
    assert_eq!(turns(&members), Some(6));
    let set = |at: usize, health| {
        members.load().all[at].endpoint.set_health(health, None);
        members.refresh();
        (turns(&members), members.load().eligible.endpoints.len())
    };

    assert_eq!(set(0, Health::Down), (Some(3), 1));
    assert_eq!(set(1, Health::Down), (Some(0), 0), "nobody panics");
    assert!(!members.load().eligible.panicking);
    assert_eq!(set(1, Health::Up), (Some(3), 1));

    let address = members.load().all[1].endpoint.address.clone();
    let since = std::time::SystemTime::UNIX_EPOCH;
    members.drains().insert(&address, &Drained { since, reason: None });
    members.refresh();
    assert_eq!(turns(&members), Some(0), "who is drained is none");
    members.drains().remove(&address);
    members.refresh();
    assert_eq!(turns(&members), Some(3));

    members.replace(&[]);
    assert_eq!(turns(&members), Some(0));
}

#[test]
fn a_pool_that_has_nobody_wait_has_no_room_and_panics() {
    let members = Members::new(1, Health::Unchecked, 0.5);
    members.replace(&found(&[("10.0.0.1:80", 0)]));
    members.load().all[0].endpoint.set_health(Health::Down, None);
    members.refresh();

    assert!(members.room().is_none());
    assert_eq!(eligible(&members), ["10.0.0.1:80"]);
}

#[test]
fn of_changes_at_once_the_last_one_has_the_last_word() {
    let members = awaited();
    for _ in 0..50 {
        std::thread::scope(|scope| {
            for (at, health) in [(0, Health::Down), (0, Health::Up), (1, Health::Down)] {
                let members = &members;
                scope.spawn(move || {
                    members.load().all[at].endpoint.set_health(health, None);
                    members.refresh();
                });
            }
        });
        let picked = members.load().eligible.endpoints.len() as u32;
        assert_eq!(turns(&members), Some(3 * picked));
        members.load().all[1].endpoint.set_health(Health::Up, None);
        members.refresh();
    }
}

#[tokio::test(start_paused = true)]
async fn those_that_are_late_are_told_unless_all_are_and_those_farther_away_are_others() {
    let members = Members::new(1, Health::Unchecked, 0.5);
    let found = |host, priority, zone: Option<&str>| Found {
        priority,
        zone: zone.map(Into::into),
        ..Found::new(([10, 0, 0, host], 80), "test")
    };
    members.replace(&[found(1, 0, None), found(2, 0, None)]);
    let set = members.load();
    let late = |endpoint: &Endpoint| {
        let now = Instant::now();
        (0..3).for_each(|_| endpoint.comes_late(Weight::Much, now, now));
    };
    late(&set.all[0].endpoint);
    assert_eq!(set.late(), 1);
    late(&set.all[1].endpoint);
    assert_eq!(set.late(), 0, "all are alike");

    let all = [found(1, 0, None), found(2, 0, None), found(3, 1, None), found(4, 0, Some("b"))];
    members.replace(&all);
    let peers: Vec<_> = members.load().all.iter().map(|one| one.endpoint.peers()).collect();
    assert_eq!(peers[0], peers[1]);
    assert!(peers[0] != peers[2] && peers[0] != peers[3] && peers[2] != peers[3], "{peers:?}");
    assert!(peers.iter().all(Option::is_some));
}
