//! Limits together: what one refuses takes nothing of the others.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use crate::base::memory::Account;
use crate::base::units::Rate;
use crate::limits::ledger::Ledger;

use super::*;

fn rate(count: u32, burst: u32) -> RateSpec {
    RateSpec { rate: Rate { count, per: Duration::from_secs(1) }, burst }
}

fn each(requests: RateSpec, overflow: Overflow) -> EachLimitSpec {
    EachLimitSpec { requests: Some(requests), overflow: Some(overflow), ..EachLimitSpec::UNSAID }
}

fn limits(requests: Option<RateSpec>, client: Option<RateSpec>) -> LimitsSpec {
    let client = client.map(|requests| each(requests, Overflow::Reject));
    LimitsSpec { requests, client, fields: LimitFields::Always, ..LimitsSpec::UNSAID }
}

fn waits(longest: u64, waiting: u32) -> Overflow {
    Overflow::Wait { longest: Duration::from_secs(longest), waiting }
}

struct World {
    shared: Arc<Shared>,
    ledger: Arc<Ledger>,
}

impl World {
    fn new() -> Self {
        let shared = Shared::new(1 << 16, Account::unlimited(), Arc::default());
        let ledger = Ledger::new(&shared, "acme");
        Self { shared, ledger }
    }

    fn scopes<'s>(
        &'s self,
        tenant: &'s LimitsSpec,
        route: Option<&'s LimitsSpec>,
    ) -> Vec<Scope<'s>> {
        let whose = |route| Whose { tenant: "acme", route };
        let (of_acme, of_seven) = (whose(None), whose(Some(7)));
        let cell = self.ledger.route(7);
        let of_route = |spec| Scope { cell, spec, names: OF_ROUTE, whose: of_seven };
        let cell = self.ledger.own();
        let of_tenant = Scope { cell, spec: tenant, names: OF_TENANT, whose: of_acme };
        route.map(of_route).into_iter().chain([of_tenant]).collect()
    }

    /// What became of a request of this client, that went on where it could.
    fn ask(&self, scopes: &[Scope<'_>], client: u128) -> Result<Told, Limit> {
        let now = self.shared.now();
        let slots = take(
            &self.shared,
            scopes,
            Asker { client: Some(client), caller: None },
            (now, Duration::MAX),
        );
        slots.map(|slots| slots.go(now)).map_err(|refused| refused.limit)
    }
}

fn caller(proof: Proof, subject: &str) -> Caller {
    Caller { subject: subject.into(), proof, told: Box::default() }
}

fn by_subject(requests: RateSpec) -> LimitsSpec {
    let subject = Some(each(requests, Overflow::Reject));
    LimitsSpec { subject, ..limits(None, None) }
}

#[tokio::test(start_paused = true)]
async fn each_subject_of_each_kind_has_its_own_and_whoever_shows_nothing_is_one() {
    let world = World::new();
    let (of_tenant, of_route) = (by_subject(rate(1, 2)), by_subject(rate(1, 1)));
    let (own, both) = (world.scopes(&of_tenant, None), world.scopes(&of_tenant, Some(&of_route)));
    let ask = |scopes: &[Scope<'_>], caller: Option<&Caller>, client: u128| {
        let (now, asker) = (world.shared.now(), Asker { client: Some(client), caller });
        let slots = take(&world.shared, scopes, asker, (now, Duration::MAX));
        slots.map(|slots| slots.go(now)).map_err(|refused| refused.limit)
    };
    let callers = [
        Some(caller(Proof::ApiKey, "ci")),
        Some(caller(Proof::ApiKey, "shop")),
        Some(caller(Proof::Token { forward: false, issuer: 1 }, "ci")),
        Some(caller(Proof::Token { forward: false, issuer: 2 }, "ci")),
        Some(caller(Proof::Certificate, "ci")),
        Some(caller(Proof::ApiKey, "")),
        None,
    ];
    for caller in &callers {
        assert!(ask(&both, caller.as_ref(), 1).is_ok(), "{caller:?}");
        assert_eq!(ask(&both, caller.as_ref(), 2).unwrap_err(), Limit::RouteSubject);
        let told = ask(&own, caller.as_ref(), 3).unwrap();
        assert_eq!(told.state, "\"subject\";r=0;t=1");
        assert_eq!(ask(&own, caller.as_ref(), 4).unwrap_err(), Limit::Subject);
    }
    let again = caller(Proof::Token { forward: true, issuer: 1 }, "ci");
    let refused = ask(&own, Some(&again), 5).unwrap_err();
    assert_eq!(refused, Limit::Subject, "who it is does not go by what endpoints are told");
}

#[tokio::test(start_paused = true)]
async fn a_flood_from_many_addresses_leaves_subjects_what_they_have() {
    // A table of one set: each client that comes crowds out another.
    let shared = Shared::new(1, Account::unlimited(), Arc::default());
    let ledger = Ledger::new(&shared, "acme");
    let spec = LimitsSpec { client: by_subject(rate(1, 1)).subject, ..by_subject(rate(1, 2)) };
    let whose = Whose { tenant: "acme", route: None };
    let scopes = [Scope { cell: ledger.own(), spec: &spec, names: OF_TENANT, whose }];
    let ask = |client: u128, caller: Option<&Caller>| {
        let asker = Asker { client: Some(client), caller };
        let slots = take(&shared, &scopes, asker, (shared.now(), Duration::MAX));
        slots.map(|slots| slots.go(shared.now())).map_err(|refused| refused.limit)
    };
    let known = caller(Proof::ApiKey, "known");
    assert!(ask(0, Some(&known)).is_ok());
    for client in 1..1000 {
        ask(client, None).ok();
    }
    tokio::time::advance(Duration::from_millis(1)).await;

    // The first has one left, and one that is new has all.
    let fresh = LimitsSpec { client: None, ..spec.clone() };
    let scopes = [Scope { cell: ledger.own(), spec: &fresh, names: OF_TENANT, whose }];
    let ask = |caller: &Caller| {
        let asker = Asker { client: None, caller: Some(caller) };
        let slots = take(&shared, &scopes, asker, (shared.now(), Duration::MAX));
        slots.map(|slots| slots.go(shared.now())).is_ok()
    };
    let new = caller(Proof::ApiKey, "new");
    assert_eq!([ask(&known), ask(&known)], [true, false]);
    assert_eq!([ask(&new), ask(&new), ask(&new)], [true, true, false]);
}

#[tokio::test(start_paused = true)]
async fn so_many_subjects_wait_and_clients_do_not_count_among_them() {
    let world = World::new();
    let waiting = each(rate(1, 1), waits(10, 1));
    let spec =
        LimitsSpec { client: Some(waiting.clone()), subject: Some(waiting), ..limits(None, None) };
    let scopes = world.scopes(&spec, None);
    let ask = |client: u128, name: &str| {
        let caller = caller(Proof::ApiKey, name);
        let asker = Asker { client: Some(client), caller: Some(&caller) };
        take(&world.shared, &scopes, asker, (world.shared.now(), Duration::MAX))
    };
    for (client, name) in [(1, "a"), (2, "b"), (3, "c")] {
        ask(client, name).unwrap().go(world.shared.now());
    }

    let by_subject = ask(4, "a").unwrap();
    assert_eq!(by_subject.wait().map(|(limit, _)| limit), Some(Limit::Subject));
    let by_client = ask(1, "d").unwrap();
    assert_eq!(by_client.wait().map(|(limit, _)| limit), Some(Limit::Client));

    assert_eq!(ask(5, "b").unwrap_err().limit, Limit::Subject, "one waits already");
    drop(by_subject);
    assert!(ask(5, "b").is_ok());
}

proptest! {
    /// Beside a model with a word for each limit, all of which are taken or none.
    #[test]
    fn any_asker_gets_what_each_limit_has_for_it_and_no_limit_takes_where_another_refuses(
        steps in proptest::collection::vec((0_u8..5, 0_u8..3, any::<bool>(), 0_u64..700), 1..200),
    ) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let world = World::new();
            let tenant = LimitsSpec {
                requests: Some(rate(4, 9)),
                client: Some(each(rate(2, 4), Overflow::Reject)),
                ..by_subject(rate(1, 3))
            };
            let route = by_subject(rate(1, 2));
            let (own, both) =
                (world.scopes(&tenant, None), world.scopes(&tenant, Some(&route)));
            let mut words: HashMap<(&str, Option<u8>), u64> = HashMap::new();
            for (subject, client, of_route, gap) in steps {
                tokio::time::advance(Duration::from_millis(gap)).await;
                let now = world.shared.now();
                let named = (subject > 0).then(|| caller(Proof::ApiKey, &subject.to_string()));
                let asker = Asker { client: Some(client.into()), caller: named.as_ref() };
                let scopes = if of_route { &both } else { &own };
                let mut wanted = vec![
                    ((Limit::Client, Some(client)), rate(2, 4)),
                    ((Limit::Subject, Some(subject)), rate(1, 3)),
                    ((Limit::Tenant, None), rate(4, 9)),
                ];
                if of_route {
                    wanted.insert(1, ((Limit::RouteSubject, Some(subject)), rate(1, 2)));
                }
                let judged = wanted.into_iter().map(|(key, rate)| {
                    let (limit, of): (Limit, Option<u8>) = key;
                    let key = (limit.as_str(), of);
                    let word = words.get(&key).copied().unwrap_or(0);
                    let grant = clients::pace(&rate).judge(word, clients::micros(now), 0);
                    grant.map(|grant| (key, grant.left)).map_err(|_| limit)
                });
                let judged: Result<Vec<_>, Limit> = judged.collect();
                let slots = take(&world.shared, scopes, asker, (now, Duration::MAX));
                let took = slots.map(|slots| slots.go(now)).map_err(|refused| refused.limit);
                prop_assert_eq!(took.map(drop), judged.clone().map(drop));
                words.extend(judged.into_iter().flatten());
            }
            Ok(())
        })?;
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_refused_by_one_limit_has_taken_nothing_of_the_others() {
    let world = World::new();
    let tenant = limits(Some(rate(1, 3)), Some(rate(1, 2)));
    let route = limits(Some(rate(1, 1)), None);
    let (both, own) = (world.scopes(&tenant, Some(&route)), world.scopes(&tenant, None));

    assert!(world.ask(&both, 1).is_ok());
    for _ in 0..10 {
        assert_eq!(world.ask(&both, 1).unwrap_err(), Limit::Route);
    }
    assert!(world.ask(&own, 1).is_ok(), "the client has one left");
    assert_eq!(world.ask(&own, 1).unwrap_err(), Limit::Client);
    assert!(world.ask(&own, 2).is_ok(), "the tenant has one left");
    for _ in 0..10 {
        assert_eq!(world.ask(&own, 3).unwrap_err(), Limit::Tenant);
    }

    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(world.ask(&own, 3).is_ok(), "it was refused by the tenant's alone");
}

#[tokio::test(start_paused = true)]
async fn a_client_without_an_address_is_held_to_the_limits_of_all_alone() {
    let world = World::new();
    let tenant = limits(Some(rate(1, 2)), Some(rate(1, 1)));
    let scopes = world.scopes(&tenant, None);
    let ask = || {
        let slots =
            take(&world.shared, &scopes, Asker::default(), (world.shared.now(), Duration::MAX));
        slots.map(|slots| drop(slots.go(world.shared.now()))).map_err(|refused| refused.limit)
    };

    assert_eq!([ask(), ask(), ask()], [Ok(()), Ok(()), Err(Limit::Tenant)]);
}

#[tokio::test(start_paused = true)]
async fn so_many_wait_and_who_leaves_frees_its_place_at_once() {
    let world = World::new();
    let tenant = LimitsSpec { overflow: Some(waits(10, 2)), ..limits(Some(rate(1, 1)), None) };
    let scopes = world.scopes(&tenant, None);
    let ask =
        || take(&world.shared, &scopes, Asker::default(), (world.shared.now(), Duration::MAX));

    let first = ask().unwrap();
    assert_eq!(first.wait(), None);
    first.go(world.shared.now());
    let second = ask().unwrap();
    let third = ask().unwrap();
    let seconds = |slots: &Slots<'_>| slots.wait().map(|(limit, until)| (limit, until.duration()));
    assert_eq!(seconds(&second), Some((Limit::Tenant, Duration::from_secs(1))));
    assert_eq!(seconds(&third), Some((Limit::Tenant, Duration::from_secs(2))));
    let refused = ask().unwrap_err();
    assert_eq!(refused.retry_after, Duration::from_secs(3), "two wait");

    drop(third);
    let hurried = take(
        &world.shared,
        &scopes,
        Asker::default(),
        (world.shared.now(), Duration::from_secs(1)),
    );
    assert_eq!(hurried.unwrap_err().retry_after, Duration::from_secs(2), "its time would be over");
    assert_eq!(seconds(&ask().unwrap()), Some((Limit::Tenant, Duration::from_secs(2))));
}

#[tokio::test(start_paused = true)]
async fn so_many_of_all_clients_wait_for_others_of_their_own_to_end() {
    let world = World::new();
    let client = EachLimitSpec {
        concurrency: Some(1),
        overflow: Some(waits(10, 1)),
        ..EachLimitSpec::UNSAID
    };
    let tenant = LimitsSpec { client: Some(client), ..LimitsSpec::UNSAID };
    let scopes = world.scopes(&tenant, None);
    let enter = |number: u32| {
        let asker = Asker { client: Some(number.into()), ..Asker::default() };
        at_once::rooms(&world.shared, &scopes, asker)[0].enter()
    };
    let all = 0..at_once::MOST_IN_LINE;
    let inside: Vec<Entered<'_>> = all.clone().map(enter).collect();
    let mut in_line: Vec<Entered<'_>> = all.map(enter).collect();
    assert!(inside.iter().all(|one| matches!(one, Entered::Inside(_))));
    assert!(in_line.iter().all(|one| matches!(one, Entered::Waits(_))));

    let newcomer = enter(u32::MAX);
    assert!(matches!(newcomer, Entered::Inside(_)), "it needs not wait");
    assert!(matches!(enter(u32::MAX), Entered::Full), "too many others wait");
    in_line.pop();
    assert!(matches!(enter(u32::MAX), Entered::Waits(_)), "one has left");
    assert!(matches!(enter(u32::MAX), Entered::Waits(_)), "and left no place behind");
}

#[tokio::test(start_paused = true)]
async fn what_answers_tell_names_each_limit_that_applied() {
    let world = World::new();
    let tenant = limits(Some(rate(10, 20)), Some(rate(5, 5)));
    let silent = LimitsSpec { fields: LimitFields::Refused, ..limits(Some(rate(1, 9)), None) };

    let told = world.ask(&world.scopes(&tenant, Some(&silent)), 1).unwrap();

    assert_eq!(told.policy, "\"client\";q=5;w=1, \"tenant\";q=20;w=2");
    assert_eq!(told.state, "\"client\";r=4;t=1, \"tenant\";r=19;t=1");
}
