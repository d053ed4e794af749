//! What tenants have of a pool, and how that changes.

use std::collections::{BTreeSet, HashMap};

use proptest::prelude::{ProptestConfig, prop, proptest};

use crate::model::endpoint::Health;
use crate::model::members::{Found, Members};
use crate::pool::balancer;

use super::*;

const SIZE: usize = 3;

// Worked out apart from this code.
const ACME: usize = 959;
const OF_ACME: [u8; 3] = [2, 4, 9];
const GLOBEX: usize = 2232;
const OF_GLOBEX: [u8; 3] = [0, 5, 8];

fn members(hosts: impl IntoIterator<Item = u8>) -> Members {
    let members = Members::new(1, Health::Unchecked, 0.0);
    replace(&members, hosts);
    members
}

fn replace(members: &Members, hosts: impl IntoIterator<Item = u8>) {
    let found = hosts.into_iter().map(|host| Found::new(([10, 0, 0, host], 80), "test"));
    members.replace(&found.collect::<Vec<_>>());
}

fn set_health(members: &Members, host: u8, health: Health) {
    let label = format!("10.0.0.{host}:80");
    for member in members.load().all.iter().filter(|one| *one.endpoint.label == *label) {
        member.endpoint.set_health(health, None);
    }
    members.refresh();
}

/// The endpoints that requests of a kind of tenants may come to.
fn serving(kind: usize, members: &Members) -> BTreeSet<String> {
    let eligible = shard(kind, members);
    eligible.endpoints.iter().map(|endpoint| endpoint.label.to_string()).collect()
}

fn shard(kind: usize, members: &Members) -> Eligible {
    let set = members.load();
    eligible(kind, &set, &own(kind, &set, SIZE))
}

fn host(label: &str) -> u8 {
    label.trim_start_matches("10.0.0.").trim_end_matches(":80").parse().unwrap()
}

#[test]
fn each_kind_has_as_many_as_are_asked_for_and_all_endpoints_are_used_alike() {
    let members = members(0..20);
    let mut counts: HashMap<String, usize> = HashMap::new();

    for kind in 0..KINDS {
        let serving = serving(kind, &members);
        assert_eq!(serving.len(), SIZE);
        for label in serving {
            *counts.entry(label).or_default() += 1;
        }
    }

    let even = KINDS * SIZE / 20;
    for (label, count) in &counts {
        assert!(count.abs_diff(even) < even / 5, "{label} is had by {count}, not {even}");
    }
    assert_eq!(counts.len(), 20);
}

/// How seldom two tenants have the same: with 3 of 20 it is one pair in 1,140 by chance, and one in 4,096 are
/// of one kind.
#[test]
fn two_tenants_seldom_have_the_very_same() {
    let members = members(0..20);
    let shards: Vec<_> =
        (0..2000).map(|tenant| serving(kind(&format!("tenant-{tenant}")), &members)).collect();
    let (mut pairs, mut same, mut apart) = (0u32, 0u32, 0u32);
    for (at, one) in shards.iter().enumerate() {
        for other in &shards[..at] {
            pairs += 1;
            same += u32::from(one == other);
            apart += u32::from(one.is_disjoint(other));
        }
    }

    let share = f64::from(same) / f64::from(pairs);
    let by_chance = 1.0 / 1140.0 + 1.0 / 4096.0;
    assert!(share < by_chance * 1.3, "{same} of {pairs} pairs");
    assert!(f64::from(apart) / f64::from(pairs) > 0.55, "{apart} of {pairs} pairs are apart");
}

#[test]
fn what_a_tenant_has_is_the_same_in_every_process() {
    assert_eq!((kind("acme"), kind("globex")), (ACME, GLOBEX));
    let members = members(0..10);
    let hosts = |kind: usize| -> Vec<u8> {
        serving(kind, &members).iter().map(|label| host(label)).collect()
    };
    assert_eq!(hosts(ACME), OF_ACME);
    assert_eq!(hosts(GLOBEX), OF_GLOBEX);
    assert_eq!(hash("a"), 0xaf63_dc4c_8601_ec8c); // of the published test suite of FNV-1a
    assert_eq!(mixed(0), 0xe220_a839_7b1d_cdaf); // the first number of SplitMix64 from 0
}

#[test]
fn a_tenant_falls_back_to_what_it_has_left_and_then_to_the_next_one_alone() {
    let members = members(0..10);
    let own: Vec<String> = serving(7, &members).into_iter().collect();

    set_health(&members, host(&own[0]), Health::Down);
    assert_eq!(serving(7, &members), own[1..].iter().cloned().collect());
    set_health(&members, host(&own[1]), Health::Down);
    set_health(&members, host(&own[2]), Health::Down);
    let next = serving(7, &members);
    assert_eq!(next.len(), 1);
    assert!(next.iter().all(|label| !own.contains(label)));

    // As if its own were no more, save that those are still its own.
    let without: Vec<u8> = (0..10).filter(|at| !own.iter().any(|one| host(one) == *at)).collect();
    assert!(serving(7, &self::members(without)).is_superset(&next));
    set_health(&members, host(&own[1]), Health::Up);
    assert_eq!(serving(7, &members), [own[1].clone()].into());
}

#[test]
fn a_tenant_has_some_of_each_priority() {
    let members = Members::new(1, Health::Unchecked, 0.0);
    let found = |host: u8| Found {
        priority: u16::from(host / 10),
        ..Found::new(([10, 0, 0, host], 80), "test")
    };
    members.replace(&(0..20).map(found).collect::<Vec<_>>());
    let of = |first: bool| {
        let serving = serving(3, &members);
        serving.iter().filter(|label| (host(label) < 10) == first).count()
    };
    assert_eq!((of(true), of(false)), (3, 0));

    (0..5).for_each(|host| set_health(&members, host, Health::Down));

    assert_eq!(of(false), 3, "30 % go to the next priority");
}

/// Of the first priority 65 of 100 are healthy and bear 91 %.
#[test]
fn a_tenant_sends_no_more_to_the_other_site_than_the_pool_does() {
    let members = Members::new(1, Health::Unchecked, 0.0);
    let found = |host: u8| Found {
        priority: u16::from(host >= 100),
        ..Found::new(([10, 0, 0, host], 80), "test")
    };
    members.replace(&(0..200).map(found).collect::<Vec<_>>());
    for host in 0..35 {
        set_health(&members, host, Health::Down);
    }
    let set = members.load();
    assert_eq!(set.groups.iter().map(|group| group.share).collect::<Vec<_>>(), [9100, 900]);

    for kind in 0..500 {
        let shard = shard(kind, &members);
        let weights = shard.endpoints.iter().zip(&shard.weights);
        let later = weights.filter(|(one, _)| host(&one.label) >= 100);
        let later: u64 = later.map(|(_, weight)| u64::from(*weight)).sum();
        let all: u64 = shard.weights.iter().map(|weight| u64::from(*weight)).sum();
        assert_eq!(later * 10_000 / all, 900, "kind {kind}: {:?}", shard.weights);
    }
}

#[test]
fn a_request_that_has_reached_nobody_goes_on_in_the_same_order_for_all_gateways() {
    let members = members(0..10);
    let set = members.load();
    let own: Vec<EndpointId> =
        super::own(kind("acme"), &set, SIZE).iter().map(|own| own.endpoint).collect();
    let mut tried = own.clone();

    while let Some(one) = next("acme", &set, &tried) {
        assert!(!tried.contains(&one.id));
        tried.push(one.id);
    }

    assert_eq!(tried.len(), 10);
    let after = next("acme", &set, &own).unwrap();
    assert_eq!(after.id, tried[3]);
    after.add_failure(None);
    assert_eq!(next("acme", &set, &own).unwrap().id, tried[4], "one that seems sound comes first");
    set_health(&members, host(&set.all[0].endpoint.label), Health::Down);
    let down = set.all[0].endpoint.id;
    let others: Vec<EndpointId> =
        tried.iter().copied().filter(|endpoint| *endpoint != down).collect();
    assert!(next("acme", &members.load(), &others).is_none(), "who is down is not asked");
}

#[test]
fn a_draining_endpoint_is_nobody_s_own() {
    let members = members(0..10);
    let own = serving(7, &members);
    let first = own.first().unwrap().clone();
    let mut found: Vec<Found> =
        (0..10).map(|host| Found::new(([10, 0, 0, host], 80), "test")).collect();
    found[usize::from(host(&first))].draining = true;

    members.replace(&found);

    let now = serving(7, &members);
    assert_eq!((now.len(), now.intersection(&own).count()), (3, 2));
    assert!(!now.contains(&first));
}

#[test]
fn a_shard_is_worked_out_once_for_each_change() {
    let (members, shards) = (members(0..10), Shards::new(SIZE));
    let build = || balancer::build("round-robin").unwrap();
    let ask = || Arc::clone(shards.of("acme", &members.load(), build).as_ref().unwrap());

    let first = ask();
    assert!(Arc::ptr_eq(&first, &ask()));
    members.refresh();
    assert!(Arc::ptr_eq(&first, &ask()), "nothing is different");
    set_health(&members, host(&first.eligible.endpoints[0].label), Health::Down);
    let second = ask();

    assert!(!Arc::ptr_eq(&first, &second));
    assert!(Arc::ptr_eq(&first.own, &second.own), "the members are the same");
    assert!(Arc::ptr_eq(&first.balancer, &second.balancer), "turns go on");
    assert_eq!(second.eligible.endpoints.len(), SIZE - 1);
    assert!(second.eligible.version > first.eligible.version);
    replace(&members, 0..11);
    assert!(!Arc::ptr_eq(&second.own, &ask().own));
}

#[test]
fn a_pool_without_members_has_shards_without_members() {
    let members = members([]);
    let shards = Shards::new(SIZE);
    let shard = shards.of("acme", &members.load(), || balancer::build("random").unwrap());

    assert!(shard.as_ref().unwrap().eligible.endpoints.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn who_leaves_moves_those_alone_who_had_it_and_them_by_one(
        hosts in prop::collection::btree_set(0u8..60, 5..40),
        pick in 0usize..1000,
    ) {
        let all: Vec<u8> = hosts.iter().copied().collect();
        let gone = all[pick % all.len()];
        let label = format!("10.0.0.{gone}:80");
        let members = members(all.iter().copied());
        let before: Vec<_> = (0..200).map(|kind| serving(kind, &members)).collect();

        replace(&members, all.iter().copied().filter(|host| *host != gone));

        for (kind, before) in before.iter().enumerate() {
            let after = serving(kind, &members);
            let lost = before.difference(&after).count();
            assert_eq!(lost, usize::from(before.contains(&label)), "kind {kind}");
            assert_eq!(after.len(), SIZE);
        }
        // And who comes back gets the same again.
        replace(&members, all.iter().copied());
        for (kind, before) in before.iter().enumerate() {
            assert_eq!(&serving(kind, &members), before);
        }
    }

    #[test]
    fn nobody_is_left_without_while_one_endpoint_is_healthy(
        sick in prop::collection::btree_set(0u8..12, 0..12),
        kinds in prop::collection::vec(0..KINDS, 20),
    ) {
        let members = members(0..12);
        for host in &sick {
            set_health(&members, *host, Health::Down);
        }

        for kind in kinds {
            let serving = serving(kind, &members);
            assert!(!serving.is_empty() && serving.len() <= SIZE);
            if sick.len() < 12 {
                assert!(serving.iter().all(|label| !sick.contains(&host(label))));
            }
        }
    }
}
