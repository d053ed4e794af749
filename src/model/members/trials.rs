//! Which members are on trial after an ejection: they get one request at a time beside the others.

use std::sync::Arc;

use crate::model::endpoint::Endpoint;
use crate::model::shares::{self, Fact, Rule};

use super::Member;

/// Whether an endpoint of these has a part in the traffic by its own state. One on trial has none yet, so that
/// others stand in for it as they did while it was ejected; where all are on trial, there is nobody else.
pub(super) fn able(all: &[Member]) -> impl Fn(&Endpoint) -> bool + use<> {
    let is_sound = |endpoint: &Endpoint| endpoint.is_eligible() && !endpoint.is_on_trial();
    let is_any_sound = all.iter().any(|member| is_sound(&member.endpoint));
    move |endpoint| if is_any_sound { is_sound(endpoint) } else { endpoint.is_eligible() }
}

/// Those on trial that requests are tried at. Of those that have no part in the traffic, by these `weights`, they
/// are the ones that would have one were they not on trial: not those that stand by.
pub(super) fn tried(
    present: &[&Member],
    facts: &[Fact],
    weights: &[u32],
    rule: &Rule,
) -> Box<[Arc<Endpoint>]> {
    let waits = |member: &Member, weight: u32| {
        weight == 0 && member.endpoint.is_on_trial() && member.endpoint.is_eligible()
    };
    let waiting: Vec<bool> =
        present.iter().zip(weights).map(|(member, weight)| waits(member, *weight)).collect();
    if !waiting.contains(&true) {
        return Box::default();
    }
    let hope = |(fact, waits): (&Fact, &bool)| Fact { healthy: fact.healthy || *waits, ..*fact };
    let hoped: Vec<Fact> = facts.iter().zip(&waiting).map(hope).collect();
    let parts = shares::divide(&hoped, rule).weights;
    let all = present.iter().zip(waiting).zip(parts);
    all.filter(|((_, waits), part)| *waits && *part > 0)
        .map(|((member, _), _)| Arc::clone(&member.endpoint))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::model::drains::Drained;
    use crate::model::endpoint::Health;
    use crate::model::members::{Found, Members};
    use crate::model::rules::{OwnZone, Rules};
    use crate::model::warmth::SlowStart;

    /// A pool with these rules and endpoints of these priorities and zones.
    fn pool(rules: Rules, places: &[(u16, &str)]) -> Members {
        let members = Members::new(1, Health::Unchecked, 0.5);
        members.set_rules(rules);
        let found = |(host, (priority, zone)): (u8, &(u16, &str))| Found {
            priority: *priority,
            zone: Some((*zone).into()),
            ..Found::new(([10, 0, 0, host], 80), "test")
        };
        members.replace(&(0..).zip(places).map(found).collect::<Vec<_>>());
        members.settle();
        members
    }

    fn plain() -> Rules {
        Rules::of_panic_share(0.5)
    }

    fn change(members: &Members, at: usize, change: fn(&super::Endpoint)) {
        change(&members.load().all[at].endpoint);
        members.refresh();
    }

    fn eject(members: &Members, at: usize) {
        change(members, at, |one| one.eject(Duration::from_secs(10)));
    }

    fn return_on_trial(members: &Members, at: usize) {
        change(members, at, |one| {
            one.begin_trial(3);
            one.readmit();
        });
    }

    /// Hosts and weights of those that may be picked, and hosts of those on trial.
    fn shown(members: &Members) -> (Vec<(u8, u32)>, Vec<u8>) {
        let set = members.load();
        let host = |one: &super::Endpoint| {
            set.all.iter().position(|member| member.endpoint.id == one.id).unwrap() as u8
        };
        let eligible = set.eligible.endpoints.iter().zip(&set.eligible.weights);
        let picked = eligible.map(|(one, weight)| (host(one), *weight)).collect();
        (picked, set.eligible.on_trial.iter().map(|one| host(one)).collect())
    }

    #[test]
    fn an_endpoint_on_trial_is_picked_beside_the_others_only_where_there_are_others() {
        let members = pool(plain(), &[(0, ""), (0, "")]);

        return_on_trial(&members, 0);
        assert_eq!(shown(&members), (vec![(1, 1)], vec![0]));
        return_on_trial(&members, 1);
        assert_eq!(shown(&members), (vec![(0, 1), (1, 1)], vec![]), "there is nobody else");
        change(&members, 1, |one| {
            one.set_health(Health::Down, None);
        });
        assert_eq!(shown(&members), (vec![(0, 1)], vec![]), "nobody panics");

        change(&members, 0, super::Endpoint::end_trial);
        change(&members, 1, |one| {
            one.set_health(Health::Up, None);
            one.end_trial();
        });
        assert_eq!(shown(&members), (vec![(0, 1), (1, 1)], vec![]));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_was_ejected_has_its_trial_and_then_its_slow_start() {
        let slow_start = SlowStart { window: Duration::from_secs(30), aggression: 1.0, min: 0.1 };
        let rules = Rules { slow_start: Some(slow_start), ..plain() };
        let members = pool(rules, &[(0, ""), (0, ""), (0, "")]);
        eject(&members, 0);

        return_on_trial(&members, 0);
        tokio::time::advance(Duration::from_secs(60)).await;
        members.refresh();
        assert_eq!(shown(&members), (vec![(1, 1), (2, 1)], vec![0]));
        assert_eq!(members.load().warming(), 0, "it does not get warm on trial");

        change(&members, 0, super::Endpoint::end_trial);
        assert_eq!(shown(&members), (vec![(0, 1), (1, 10), (2, 10)], vec![]));
        tokio::time::advance(Duration::from_secs(15)).await;
        members.tick();
        assert_eq!(shown(&members).0, [(0, 1), (1, 2), (2, 2)]);
    }

    #[test]
    fn one_on_trial_is_as_lost_to_its_priority_as_one_that_is_ejected() {
        let members = pool(plain(), &[(0, ""), (0, ""), (1, "")]);
        let all = shown(&members);
        eject(&members, 0);
        let ejected = shown(&members);
        assert_eq!(ejected, (vec![(1, 7), (2, 3)], vec![]));

        return_on_trial(&members, 0);
        assert_eq!(shown(&members), (ejected.0, vec![0]));
        return_on_trial(&members, 1);
        assert_eq!(shown(&members), (vec![(2, 1)], vec![0, 1]), "the next ones stand in");

        change(&members, 0, super::Endpoint::end_trial);
        change(&members, 1, super::Endpoint::end_trial);
        assert_eq!(shown(&members), all);
    }

    #[test]
    fn one_that_stands_by_has_its_trial_once_it_is_needed() {
        let members = pool(plain(), &[(0, ""), (0, ""), (1, "")]);
        return_on_trial(&members, 2);
        assert_eq!(shown(&members), (vec![(0, 1), (1, 1)], vec![]));

        eject(&members, 0);
        assert_eq!(shown(&members), (vec![(1, 1)], vec![2]), "the others cannot bear all of it");
    }

    #[test]
    fn one_on_trial_is_lost_to_its_zone() {
        let zone = OwnZone { name: "a".into(), min_endpoints: 2, spill_above: 16 };
        let rules = Rules { zone: Some(zone), ..plain() };
        let members = pool(rules, &[(0, "a"), (0, "a"), (0, "b")]);
        assert_eq!(shown(&members).0, [(0, 1), (1, 1)]);

        return_on_trial(&members, 0);

        assert_eq!(shown(&members), (vec![(1, 7), (2, 3)], vec![0]));
    }

    #[test]
    fn the_panic_threshold_counts_one_on_trial_as_one_that_is_ejected() {
        let members = pool(plain(), &[(0, ""), (0, ""), (0, "")]);
        change(&members, 1, |one| {
            one.set_health(Health::Down, None);
        });
        eject(&members, 0);
        let panic = (vec![(0, 1), (1, 1), (2, 1)], vec![]);
        assert_eq!(shown(&members), panic);

        return_on_trial(&members, 0);
        assert_eq!(shown(&members), panic);
        assert!(members.load().eligible.panicking);

        change(&members, 1, |one| {
            one.set_health(Health::Up, None);
        });
        assert_eq!(shown(&members), (vec![(1, 1), (2, 1)], vec![0]));
    }

    #[test]
    fn one_that_is_drained_has_no_trial_until_it_is_back() {
        let members = pool(plain(), &[(0, ""); 5]);
        let address = members.load().all[0].endpoint.address.clone();
        let since = std::time::SystemTime::UNIX_EPOCH;
        members.drains().insert(&address, &Drained { since, reason: None });
        return_on_trial(&members, 0);
        assert_eq!(shown(&members), (vec![(1, 1), (2, 1), (3, 1), (4, 1)], vec![]));

        return_on_trial(&members, 1);
        assert_eq!(shown(&members), (vec![(2, 1), (3, 1), (4, 1)], vec![1]));
        members.drains().remove(&address);
        members.refresh();
        assert_eq!(shown(&members), (vec![(2, 1), (3, 1), (4, 1)], vec![0, 1]));
    }
}
