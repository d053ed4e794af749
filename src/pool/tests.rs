//! Picking and counting, through the pool's door.

use crate::model::endpoint::Health;
use crate::model::members::Found;

use super::samples::pool_spec;
use super::*;

fn pool(balance: &str, count: u8) -> Result<Pool, PoolError> {
    let members = Arc::new(Members::new(1, Health::Unchecked, 0.5));
    let found = |last: u8| Found {
        address: ([10, 0, 0, last], 80).into(),
        weight: u32::from(last) + 1,
        priority: 0,
        origin: "test".into(),
    };
    members.replace(&(0..count).map(found).collect::<Vec<_>>());
    let spec = PoolSpec { balance: balance.into(), ..pool_spec() };
    Pool::build(Label { name: "shop".into(), slot: 0 }, Arc::new(spec), members, 0, None)
}

#[test]
fn an_unknown_balancer_is_refused_with_the_known_ones() {
    let error = pool("p2c", 1).unwrap_err();

    assert_eq!(
        error.to_string(),
        "no balancer \"p2c\" (known: least-request, random, round-robin)"
    );
}

#[test]
fn a_request_is_in_flight_until_its_guard_is_dropped() {
    let pool = pool("random", 1).unwrap();

    let first = pool.pick(PickKey::default(), &[]).unwrap();
    let second = pool.pick(PickKey::default(), &[]).unwrap();
    let endpoint = Arc::clone(first.endpoint());
    assert_eq!(endpoint.in_flight(), 2);
    drop(first);
    assert_eq!(endpoint.in_flight(), 1);
    drop(second);

    assert_eq!(endpoint.in_flight(), 0);
}

#[test]
fn a_tried_endpoint_is_picked_only_where_no_other_may_be() {
    for balance in balancer::names() {
        let pool = pool(balance, 5).unwrap();
        let ids: Vec<EndpointId> =
            pool.members.load().all.iter().map(|member| member.endpoint.id).collect();
        for left in 1..=ids.len() {
            let tried = &ids[left..];
            for _ in 0..200 {
                let picked = pool.pick(PickKey::default(), tried).unwrap();
                assert!(!tried.contains(&picked.endpoint().id), "{balance}: {left} are left");
            }
        }
        assert!(pool.pick(PickKey::default(), &ids).is_some(), "{balance}: all were tried");
    }
}

#[test]
fn a_pool_without_endpoints_gives_no_pick() {
    assert!(pool("least-request", 0).unwrap().pick(PickKey::default(), &[]).is_none());
}
