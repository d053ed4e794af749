//! Picking and counting, through the pool's door.

use crate::model::endpoint::Health;
use crate::model::members::Found;

use super::*;

fn pool(balance: &str, count: u8) -> Result<Pool, PoolError> {
    let members = Arc::new(Members::new(1, Health::Unchecked, 0.5));
    let found = |last: u8| Found {
        weight: u32::from(last) + 1,
        ..Found::new(([10, 0, 0, last], 80), "test")
    };
    members.replace(&(0..count).map(found).collect::<Vec<_>>());
    let spec = PoolSpec { balance: balance.into(), ..PoolSpec::default() };
    Pool::build(Label { name: "shop".into(), slot: 0 }, Arc::new(spec), members, 0, None)
}

#[test]
fn an_unknown_balancer_is_refused_with_the_known_ones() {
    let error = pool("p2c", 1).unwrap_err();

    let known = balancer::names().join(", ");
    assert_eq!(error.to_string(), format!("no balancer \"p2c\" (known: {known})"));
}

#[test]
fn one_that_may_well_answer_is_offered_while_it_would_be_picked() {
    let pool = pool("random", 4).unwrap();
    let set = pool.members.load();
    let all: Vec<_> = set.all.iter().map(|member| &member.endpoint).collect();
    let is_down = |count: usize| {
        for (place, endpoint) in all.iter().enumerate() {
            let health = if place < count { Health::Down } else { Health::Up };
            endpoint.set_health(health, None);
        }
        pool.members.refresh();
    };

    is_down(1);
    assert!(pool.offers_sound(&[all[0].id]) && pool.has_sound_untried(&[all[0].id]));
    assert!(
        !pool.offers_sound(&[all[1].id, all[2].id, all[3].id]),
        "all that are sound were tried"
    );
    is_down(3);
    assert!(pool.has_sound_untried(&[all[0].id]));
    assert!(!pool.offers_sound(&[all[0].id]), "so few are healthy that all are picked");
    is_down(0);
    for endpoint in &all[1..] {
        endpoint.add_failure(None);
    }
    assert!(!pool.offers_sound(&[all[0].id]), "the others fail");
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
fn an_edit_of_a_pool_has_no_request_work_out_what_its_balancer_has() {
    let before = pool("maglev", 5).unwrap();
    drop(before.pick(PickKey::of(1), &[]).unwrap());
    let after = |balance: &str, members: &Arc<Members>| {
        let spec = PoolSpec { balance: balance.into(), ..PoolSpec::default() };
        let (label, members) = (before.label.clone(), Arc::clone(members));
        Pool::build(label, Arc::new(spec), members, 0, None).unwrap().following(&before)
    };
    let (same, other) = (after("maglev", &before.members), after("ring-hash", &before.members));
    let elsewhere = after("maglev", &pool("maglev", 5).unwrap().members);
    for members in [&before.members, &elsewhere.members] {
        members.load().all[0].endpoint.eject(std::time::Duration::from_secs(60));
        members.refresh();
    }

    assert!(same.prepare(), "it has the table of before");
    assert!(!other.prepare() && !elsewhere.prepare(), "nobody has asked these");
}

#[test]
fn the_second_choice_of_a_key_is_the_same_each_time() {
    for count in [3, 5, 9] {
        let pool = pool("maglev", count).unwrap();
        for hash in 0..400 {
            let key = PickKey::of(hash << 55 | 1);
            let first = pool.pick(key, &[]).unwrap().endpoint().id;
            let second = pool.pick(key, &[first]).unwrap().endpoint().id;
            assert_ne!(first, second);
            for _ in 0..5 {
                assert_eq!(pool.pick(key, &[first]).unwrap().endpoint().id, second);
            }
        }
    }
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
fn a_retry_goes_to_the_one_sound_endpoint_among_failing_ones() {
    for balance in balancer::names() {
        let pool = pool(balance, 6).unwrap();
        let all: Vec<Arc<Endpoint>> =
            pool.members.load().all.iter().map(|member| Arc::clone(&member.endpoint)).collect();
        for failing in &all[1..] {
            failing.add_failure(None);
        }

        for _ in 0..50 {
            let picked = pool.pick(PickKey::default(), &[all[5].id]).unwrap();
            assert_eq!(picked.endpoint().id, all[0].id, "{balance}");
        }
    }
}

#[test]
fn of_those_left_out_the_most_hopeful_untried_one_is_picked() {
    let pool = pool("random", 5).unwrap();
    let all: Vec<Arc<Endpoint>> =
        pool.members.load().all.iter().map(|member| Arc::clone(&member.endpoint)).collect();
    let ids: Vec<EndpointId> = all.iter().map(|endpoint| endpoint.id).collect();
    let left_out =
        |tried: &[EndpointId]| pool.pick_left_out(tried).map(|picked| picked.endpoint().id);
    all[0].set_health(Health::Down, None);
    all[1].eject(std::time::Duration::from_secs(10));
    all[2].set_health(Health::Pending, None);

    for _ in 0..50 {
        assert_eq!(left_out(&ids[4..]), Some(ids[3]));
        assert_eq!(left_out(&ids[3..]), Some(ids[2]));
        assert_eq!(left_out(&ids[2..]), Some(ids[1]));
        assert_eq!(left_out(&ids[1..]), Some(ids[0]));
        assert_eq!(left_out(&ids), None);
    }
}

#[test]
fn an_endpoint_that_fails_or_is_down_is_not_sound() {
    let pool = pool("random", 3).unwrap();
    let all: Vec<Arc<Endpoint>> =
        pool.members.load().all.iter().map(|member| Arc::clone(&member.endpoint)).collect();

    assert!(pool.has_sound_untried(&[all[0].id]));
    all[1].add_failure(None);
    all[2].set_health(Health::Down, None);

    assert!(!pool.has_sound_untried(&[all[0].id]));
    assert!(pool.has_sound_untried(&[]));
}

#[test]
fn an_endpoint_that_is_out_for_now_is_sound_until_it_fails() {
    let pool = pool("random", 2).unwrap();
    let all: Vec<Arc<Endpoint>> =
        pool.members.load().all.iter().map(|member| Arc::clone(&member.endpoint)).collect();
    let outs: [fn(&Endpoint); 2] = [
        |endpoint| endpoint.set_health(Health::Pending, None),
        |endpoint| endpoint.eject(std::time::Duration::from_secs(10)),
    ];
    for out in outs {
        out(&all[1]);
        pool.members.refresh();
        assert!(pool.has_sound_untried(&[all[0].id]));

        all[1].add_failure(None);
        assert!(!pool.has_sound_untried(&[all[0].id]));
        all[1].clear_failures();
    }
}

#[test]
fn a_tenant_whose_own_endpoints_refuse_is_served_by_the_next_ones() {
    let built = pool("random", 6).unwrap();
    let mut spec = PoolSpec { balance: "random".into(), ..PoolSpec::default() };
    spec.spread.shard = Some(2);
    let members = Arc::clone(&built.members);
    let label = Label { name: "shop".into(), slot: 0 };
    let pool = Pool::build(label, Arc::new(spec), members, 0, None).unwrap();
    let all: Vec<EndpointId> =
        pool.members.load().all.iter().map(|member| member.endpoint.id).collect();
    let is_own = |endpoint: &EndpointId| pool.may_serve("acme", *endpoint) == Some(true);
    let own: Vec<EndpointId> = all.iter().copied().filter(is_own).collect();
    assert_eq!(own.len(), 2);

    let picked = pool.pick_own("acme", PickKey::default(), &own).unwrap();
    assert!(own.contains(&picked.endpoint().id), "its own alone, where it may have done harm");
    let next = pool.pick_next("acme", &own).unwrap();
    assert!(!own.contains(&next.endpoint().id));
    assert!(pool.pick_next("acme", &all).is_none());
}

#[test]
fn a_pool_without_endpoints_gives_no_pick() {
    let pool = pool("least-request", 0).unwrap();

    assert!(pool.pick(PickKey::default(), &[]).is_none());
    assert!(pool.pick_left_out(&[]).is_none());
}

#[test]
fn requests_of_a_tenant_are_on_trial_only_at_endpoints_that_it_has() {
    let mut pool = pool("random", 10).unwrap();
    pool.shards = Some(Box::new(Shards::new(2)));
    let tenants = ["acme", "globex", "initech", "umbrella", "hooli", "wonka"];
    let endpoint = Arc::clone(&pool.members.load().all[3].endpoint);
    let has = |tenant: &str| pool.may_serve(tenant, endpoint.id) == Some(true);
    assert!(tenants.into_iter().any(has) && !tenants.into_iter().all(has));
    let own = tenants.map(has);

    for (tenant, own) in tenants.into_iter().zip(own) {
        endpoint.begin_trial(1);
        pool.members.refresh();
        let now = tokio::time::Instant::now();
        assert_eq!(pool.pick_own_on_trial((tenant, 1), true, now).is_some(), own, "{tenant}");
        // All others of its requests go elsewhere meanwhile.
        assert!((0..50).all(|_| {
            let picked = pool.pick_own(tenant, PickKey::default(), &[]).unwrap();
            picked.endpoint().id != endpoint.id
        }));
    }
}

#[test]
fn an_edit_leaves_a_limit_that_follows_where_it_is_within_its_new_bounds() {
    let limited = |limit: u32, adaptive: Option<AdaptiveSpec>| {
        let (length, wait) = (50, std::time::Duration::from_secs(1));
        let concurrency = Some(ConcurrencySpec { limit, length, wait, adaptive });
        let spec = PoolSpec { concurrency, ..PoolSpec::default() };
        let members = Arc::new(Members::new(1, Health::Unchecked, 0.5));
        let label = Label { name: "shop".into(), slot: 0 };
        Pool::build(label, Arc::new(spec), members, 0, None).unwrap()
    };
    let within = |min: u32, max: u32| limited(min, Some(AdaptiveSpec { min, max, tolerance: 1.5 }));
    let limit = |pool: &Pool| pool.gate.as_ref().unwrap().state().limit.unwrap();

    let first = within(20, 1_000);
    assert_eq!(limit(&first), 20);
    assert!(first.gate.as_ref().unwrap().move_limit(20, 300));
    assert!(!first.gate.as_ref().unwrap().move_limit(20, 400), "it is another one meanwhile");
    for (next, becomes) in
        [(within(20, 1_000), 300), (within(20, 200), 200), (within(350, 500), 350)]
    {
        first.gate.as_ref().unwrap().set_limit(300);
        let next = next.following(&first);
        let times = [&next, &first].map(|pool| pool.answer_times.clone().unwrap());
        assert!(Arc::ptr_eq(&times[0], &times[1]), "what was seen is seen there");
        next.set_limit();
        assert_eq!(limit(&next), becomes);
    }

    let still = limited(64, None).following(&first);
    still.set_limit();
    assert_eq!(limit(&still), 64, "it is written");
    assert!(!still.is_timed() && first.is_timed() && !first.has_timed_balancer());
    let again = within(20, 1_000).following(&still);
    again.set_limit();
    assert_eq!(limit(&again), 64, "from there on");
}
