//! Limits together: what one refuses takes nothing of the others.

use std::sync::Arc;
use std::time::Duration;

use crate::base::memory::Account;
use crate::base::units::Rate;
use crate::config::spec::ClientLimitSpec;
use crate::limits::ledger::Ledger;

use super::*;

fn rate(count: u32, burst: u32) -> RateSpec {
    RateSpec { rate: Rate { count, per: Duration::from_secs(1) }, burst }
}

fn limits(requests: Option<RateSpec>, client: Option<RateSpec>) -> LimitsSpec {
    let client = client.map(|requests| ClientLimitSpec { requests, overflow: Overflow::Reject });
    LimitsSpec {
        requests,
        concurrency: None,
        overflow: Overflow::Reject,
        scope: LimitScope::Gateway,
        client,
        quota: None,
        upload: None,
        download: None,
        fields: LimitFields::Always,
    }
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
        let slots = take(&self.shared, scopes, Some(client), (now, Duration::MAX));
        slots.map(|slots| slots.go(now)).map_err(|refused| refused.limit)
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
        let slots = take(&world.shared, &scopes, None, (world.shared.now(), Duration::MAX));
        slots.map(|slots| drop(slots.go(world.shared.now()))).map_err(|refused| refused.limit)
    };

    assert_eq!([ask(), ask(), ask()], [Ok(()), Ok(()), Err(Limit::Tenant)]);
}

#[tokio::test(start_paused = true)]
async fn so_many_wait_and_who_leaves_frees_its_place_at_once() {
    let world = World::new();
    let tenant = LimitsSpec { overflow: waits(10, 2), ..limits(Some(rate(1, 1)), None) };
    let scopes = world.scopes(&tenant, None);
    let ask = || take(&world.shared, &scopes, None, (world.shared.now(), Duration::MAX));

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
    let hurried = take(&world.shared, &scopes, None, (world.shared.now(), Duration::from_secs(1)));
    assert_eq!(hurried.unwrap_err().retry_after, Duration::from_secs(2), "its time would be over");
    assert_eq!(seconds(&ask().unwrap()), Some((Limit::Tenant, Duration::from_secs(2))));
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
