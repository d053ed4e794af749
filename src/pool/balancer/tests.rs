//! The laws that every balancer keeps.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;

use crate::model::endpoint::{Endpoint, Health};
use crate::model::ids::EndpointId;
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
        let picked = balancer.pick(&set.eligible, PickKey::default()).unwrap();
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
        let picked = balancer.pick(&set.eligible, PickKey::default()).unwrap();
        assert_eq!(picked.id, set.eligible.endpoints[0].id);
    }
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

fn members(weights: &[u32]) -> Members {
    let members = Members::new(1, Health::Unchecked, 0.5);
    members.replace(&found(weights));
    members
}

fn found(weights: &[u32]) -> Vec<Found> {
    let found = |(at, weight): (usize, &u32)| Found {
        address: ([10, 0, (at / 256) as u8, (at % 256) as u8], 80).into(),
        weight: *weight,
        priority: 0,
        origin: "test".into(),
        zone: None,
        draining: false,
    };
    weights.iter().enumerate().map(found).collect()
}

/// The place of the endpoint that is picked.
fn pick(balancer: &dyn Balancer, eligible: &Eligible) -> usize {
    let picked = balancer.pick(eligible, PickKey::default()).unwrap();
    eligible.endpoints.iter().position(|endpoint| Arc::ptr_eq(endpoint, picked)).unwrap()
}

fn no_endpoint_gives_no_pick(kind: &Kind) {
    let balancer = (kind.build)();

    assert!(balancer.pick(&Eligible::default(), PickKey::default()).is_none(), "{}", kind.name);
}

fn only_eligible_endpoints_are_picked(kind: &Kind) {
    let members = members(&[1, 2, 3, 4]);
    members.load().all[3].endpoint.set_health(Health::Down, None);
    members.refresh();
    let balancer = (kind.build)();
    let set = members.load();

    for _ in 0..1_000 {
        let picked = balancer.pick(&set.eligible, PickKey::default()).unwrap();
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
        let picked: &Arc<Endpoint> = balancer.pick(&set.eligible, PickKey::default()).unwrap();
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

fn threads_may_pick_at_once_while_endpoints_change(kind: &Kind) {
    let members = members(&[3, 1, 2]);
    let balancer = (kind.build)();
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..2_000 {
                    let set = members.load();
                    pick(balancer.as_ref(), &set.eligible);
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
