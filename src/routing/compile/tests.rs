//! What a new table shares with the one before.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode};

use crate::base::memory::Account;
use crate::base::units::{ByteSize, Rate};
use crate::config::spec::{
    ActionSpec, LimitsSpec, RateSpec, RedirectSpec, RespondSpec, RouteSpec, SplitBy, SplitSpec,
    TenantState,
};
use crate::limits::Shared;
use crate::limits::admission::{self, Asker, OF_TENANT, Scope};
use crate::limits::fleet::Whose;
use crate::model::ids::TenantId;
use crate::pool::samples::pools;
use crate::routing::action::Action;
use crate::routing::samples::{get, route, spec, tenant};

use super::*;

fn forward(text: &str, pool: &str) -> RouteSpec {
    let action = ActionSpec::Pool(PoolId(pool.into()));
    RouteSpec { action, ..route("", text) }
}

fn sample() -> RoutesSpec {
    spec(
        vec![
            ("acme", tenant(Some("a"), vec![forward("/x", "b")], &["shared"])),
            ("globex", tenant(Some("a"), vec![], &["shared"])),
            ("initech", tenant(Some("b"), vec![], &[])),
        ],
        vec![("shared", vec![route("", "/s/*")])],
    )
}

fn edit(spec: &mut RoutesSpec, id: &str, edit: impl FnOnce(&mut TenantSpec)) {
    let (id, mut tenant) = spec.tenants.get(id).cloned().unwrap();
    edit(Arc::make_mut(&mut tenant));
    spec.tenants.insert((id, tenant));
}

fn is_shared(now: &Table, before: &Table, id: &str) -> bool {
    Arc::ptr_eq(now.tenant(id).unwrap(), before.tenant(id).unwrap())
}

#[test]
fn unchanged_tenants_are_shared_with_the_table_before() {
    let pools = pools(&["a", "b"]);
    let before = compile(&sample(), None, &pools, 1);
    let mut spec = sample();
    edit(&mut spec, "globex", |tenant| tenant.state = TenantState::Suspended);

    let now = compile(&spec, Some(&before), &pools, 2);

    assert!(is_shared(&now, &before, "acme"));
    assert!(is_shared(&now, &before, "initech"));
    assert_eq!(now.tenant("globex").unwrap().state, TenantState::Suspended);
    assert_eq!(now.generation, 2);
}

#[test]
fn an_edit_touches_only_tenants_whose_specs_are_others() {
    let pools = pools(&["a", "b"]);
    let old = sample();
    let before = compile(&old, None, &pools, 1);
    let mut spec = old.clone();
    edit(&mut spec, "globex", |tenant| tenant.state = TenantState::Suspended);
    let initech = spec.tenants.remove("initech").unwrap();
    for id in ["a", "zeta"] {
        spec.tenants.insert((TenantId::new(id).unwrap(), Arc::clone(&initech.1)));
    }
    let previous = Previous { table: &before, spec: Some(&old), pools: &pools };

    let now = compile_edited(&spec, &previous, &pools, 2);

    assert!(is_shared(&now, &before, "acme"));
    assert!(now.tenant("initech").is_none());
    assert_eq!(now.tenants().len(), 4);
    let told = |id: &str| now.tenant(id).map(|tenant| (tenant.state, tenant.slot())).unwrap();
    assert_eq!(told("globex"), (TenantState::Suspended, before.tenant("globex").unwrap().slot()));
    assert_eq!((told("a").1, told("zeta").1), (3, 4));
    assert_eq!((now.generation, now.next_slot), (2, 5));
}

#[test]
fn an_edit_of_what_tenants_share_reaches_those_whose_specs_are_the_same() {
    let old_pools = pools(&["a", "b"]);
    let old = sample();
    let before = compile(&old, None, &old_pools, 1);
    let previous = Previous { table: &before, spec: Some(&old), pools: &old_pools };
    let mut sets = old.clone();
    let shared = sets.route_sets.get_mut("shared").unwrap();
    Arc::make_mut(shared).routes.push(route("", "/t"));

    let other_set = compile_edited(&sets, &previous, &old_pools, 2);
    let other_pools = compile_edited(&old, &previous, &pools(&["a", "b"]), 2);

    assert!(!is_shared(&other_set, &before, "acme") && is_shared(&other_set, &before, "initech"));
    assert!(!is_shared(&other_pools, &before, "initech"));
}

#[test]
fn a_tenant_that_changes_keeps_its_number_live_state_and_routes() {
    let pools = pools(&["a", "b"]);
    let before = compile(&sample(), None, &pools, 1);
    let mut spec = sample();
    edit(&mut spec, "acme", |tenant| tenant.replay_memory = ByteSize(1));

    let now = compile(&spec, Some(&before), &pools, 2);

    let (now, before) = (now.tenant("acme").unwrap(), before.tenant("acme").unwrap());
    assert!(!Arc::ptr_eq(now, before));
    assert_eq!(now.label(), before.label());
    assert!(Arc::ptr_eq(now.allowance(), before.allowance()));
    let own = |tenant: &Tenant| tenant.routes.as_ref().and_then(|routes| routes.own.clone());
    assert!(own(now).is_some() && same(own(now).as_ref(), own(before).as_ref()));
}

#[test]
fn a_new_pool_reaches_those_that_use_it_alone() {
    let old = pools(&["a", "b"]);
    let before = compile(&sample(), None, &old, 1);
    let mut new = old.clone();
    new.extend(pools(&["b"]));

    let now = compile(&sample(), Some(&before), &new, 2);

    assert!(!is_shared(&now, &before, "acme"));
    assert!(!is_shared(&now, &before, "initech"));
    assert!(is_shared(&now, &before, "globex"));
    let headers = HeaderMap::new();
    let found = now.tenant("acme").unwrap().find(&get("", "/x", &headers)).unwrap();
    let Action::Forward(pool) = &found.action else {
        panic!("the route forwards");
    };
    assert!(Arc::ptr_eq(pool, &new["b"]));
}

#[test]
fn an_edited_set_reaches_those_that_use_it_alone() {
    let pools = pools(&["a", "b"]);
    let before = compile(&sample(), None, &pools, 1);
    let mut spec = sample();
    let set = spec.route_sets.get_mut("shared").unwrap();
    Arc::make_mut(set).routes.push(route("", "/t"));

    let now = compile(&spec, Some(&before), &pools, 2);

    assert!(!is_shared(&now, &before, "globex"));
    assert!(is_shared(&now, &before, "initech"));
}

#[test]
fn tenants_that_use_the_same_sets_share_their_list() {
    let pools = pools(&["a", "b"]);
    let twins = vec![
        ("acme", tenant(Some("a"), vec![], &["shared"])),
        ("globex", tenant(Some("b"), vec![], &["shared"])),
        ("initech", tenant(Some("b"), vec![forward("/x", "b")], &["shared"])),
    ];
    let twins = spec(twins, vec![("shared", vec![route("", "/s/*")])]);
    let first = compile(&twins, None, &pools, 1);
    let mut edited = twins.clone();
    edit(&mut edited, "globex", |tenant| tenant.state = TenantState::Suspended);
    let second = compile(&edited, Some(&first), &pools, 2);

    let routes = |table: &Table, id: &str| table.tenant(id).unwrap().routes.clone().unwrap();
    assert!(Arc::ptr_eq(&routes(&first, "acme"), &routes(&first, "globex")));
    assert!(!Arc::ptr_eq(&routes(&first, "acme"), &routes(&first, "initech")));
    assert!(Arc::ptr_eq(&routes(&first, "acme"), &routes(&second, "globex")));
    assert!(is_shared(&second, &first, "acme"));
}

#[test]
fn a_number_is_never_given_to_two_names() {
    let pools = pools(&["a", "b"]);
    let first = compile(&sample(), None, &pools, 1);
    let mut spec = sample();
    let gone = spec.tenants.remove("acme").unwrap();
    let second = compile(&spec, Some(&first), &pools, 2);
    spec.tenants.insert((TenantId::new("zeta").unwrap(), gone.1));
    let third = compile(&spec, Some(&second), &pools, 3);

    let slot = |table: &Table, id: &str| table.tenant(id).unwrap().slot();
    assert!(second.tenant("acme").is_none());
    assert_eq!(slot(&third, "globex"), slot(&first, "globex"));
    assert_eq!(slot(&third, "zeta"), 3);
}

#[test]
fn a_tenant_whose_pool_is_missing_reaches_nothing_until_it_is_there() {
    let all = pools(&["a", "b"]);
    let mut some = all.clone();
    some.remove("b");

    let broken = compile(&sample(), None, &some, 1);
    let mended = compile(&sample(), Some(&broken), &all, 2);

    let headers = HeaderMap::new();
    for id in ["acme", "initech"] {
        let tenant = broken.tenant(id).unwrap();
        assert!(tenant.pool.is_none() && tenant.find(&get("", "/s/x", &headers)).is_none(), "{id}");
    }
    assert!(broken.tenant("globex").unwrap().pool.is_some());
    assert!(mended.tenant("acme").unwrap().find(&get("", "/x", &headers)).is_some());
    assert!(mended.tenant("initech").unwrap().pool.is_some());
}

#[test]
fn each_action_is_compiled_to_what_it_does() {
    let pools = pools(&["a", "b"]);
    let split = |weights: [u32; 2]| {
        let pools = vec![(PoolId("a".into()), weights[0]), (PoolId("b".into()), weights[1])];
        ActionSpec::Split(SplitSpec { pools, by: SplitBy::RequestId, canary: None })
    };
    let redirect = RedirectSpec { status: StatusCode::FOUND, to: "/there".into() };
    let respond = RespondSpec {
        status: StatusCode::GONE,
        content_type: HeaderValue::from_static("text/plain"),
        body: "gone".into(),
    };
    let with = |text: &str, action| RouteSpec { action, ..route("", text) };
    let routes = vec![
        with("/split", split([0, 1])),
        with("/redirect", ActionSpec::Redirect(redirect)),
        with("/respond", ActionSpec::Respond(respond)),
        with("/own", ActionSpec::TenantPool),
    ];
    let table =
        compile(&spec(vec![("acme", tenant(Some("a"), routes, &[]))], vec![]), None, &pools, 1);
    let headers = HeaderMap::new();
    let action =
        |path| &table.tenant("acme").unwrap().find(&get("", path, &headers)).unwrap().action;

    assert!(
        matches!(action("/split"), Action::Split(it) if it.by_weight(b"1").label.name.as_ref() == "b")
    );
    assert!(matches!(action("/redirect"), Action::Redirect(it) if it.status == StatusCode::FOUND));
    assert!(matches!(action("/respond"), Action::Respond(it) if it.body == "gone"));
    assert!(matches!(action("/own"), Action::TenantPool));
}

#[test]
fn tables_of_a_chain_of_edits_route_like_tables_made_anew() {
    let pools = pools(&["a", "b"]);
    let mut spec = sample();
    let mut chained = compile(&spec, None, &pools, 1);
    let headers = HeaderMap::new();
    for round in 2..20 {
        let id = ["acme", "globex", "initech"][round % 3];
        let text = format!("/r{}", round % 5);
        edit(&mut spec, id, |tenant| match round % 4 {
            0 => tenant.routes.push(forward(&text, "b")),
            1 => tenant.pool = None,
            2 => tenant.route_sets.clear(),
            _ => tenant.route_sets.push("shared".into()),
        });

        chained = compile(&spec, Some(&chained), &pools, round as u64);

        let fresh = compile(&spec, None, &pools, round as u64);
        for tenant in fresh.tenants() {
            let same = chained.tenant(tenant.id()).unwrap();
            assert!(super::same(same.pool.as_ref(), tenant.pool.as_ref()), "round {round}");
            for path in ["/x", "/s/1", "/r0", "/r1", "/r2", "/r3", "/r4"] {
                let query = get("", path, &headers);
                let name = |tenant: &Tenant| tenant.find(&query).map(|route| route.name.clone());
                assert_eq!(name(same), name(tenant), "round {round}: {path}");
            }
        }
    }
}

#[test]
fn keys_follow_their_tenants_in_whatever_order_they_are_edited() {
    use crate::config::spec::{AccessSpec, KeySpec};
    use crate::model::key::KeyDigest;

    /// A tenant, and the key that it has from now on.
    struct Edit(&'static str, Option<&'static [u8]>);

    let of = |secret: &[u8]| {
        let key = KeySpec {
            name: "k".into(),
            digest: KeyDigest::of(secret),
            subject: "k".into(),
            expires: None,
        };
        Some(Arc::new(AccessSpec { keys: vec![key], ..AccessSpec::default() }))
    };
    let pools = pools(&["a", "b"]);
    let plain = sample();
    let steps: [&[Edit]; 5] = [
        &[Edit("acme", Some(b"1")), Edit("globex", Some(b"2"))],
        &[Edit("acme", Some(b"2")), Edit("globex", Some(b"1"))],
        &[Edit("acme", None), Edit("initech", Some(b"2"))],
        &[Edit("initech", None), Edit("acme", Some(b"2")), Edit("globex", None)],
        &[Edit("acme", None)],
    ];
    let (mut spec, mut table) = (plain.clone(), compile(&plain, None, &pools, 1));
    assert!(!table.knows_credentials());
    for step in steps {
        let before = spec.clone();
        for Edit(id, key) in step {
            edit(&mut spec, id, |tenant| tenant.access = key.and_then(of));
        }
        let previous = Previous { table: &table, spec: Some(&before), pools: &pools };
        table = compile_edited(&spec, &previous, &pools, 2);

        let whole = compile(&spec, None, &pools, 2);
        for secret in [b"1", b"2"] {
            let owner = |table: &Table| {
                table.keys.find(&KeyDigest::of(secret)).map(|key| Arc::clone(&key.tenant))
            };
            assert_eq!(owner(&table), owner(&whole));
        }
        assert!(table.knows_credentials(), "also of the last one, once it is gone");
    }
}

#[test]
fn domains_follow_their_tenants_in_whatever_order_they_are_edited() {
    use crate::config::spec::{DomainsSpec, HostSpec};

    let of = |host: &str| {
        let hosts = vec![HostSpec::Exact(host.to_owned()), HostSpec::Below(host.to_owned())];
        Some(Box::new(DomainsSpec { hosts, certificates: Vec::new(), earlier: None }))
    };
    let pools = pools(&["a", "b"]);
    let plain = sample();
    let steps: [&[(&str, Option<&str>)]; 4] = [
        &[("acme", Some("one.test")), ("globex", Some("two.test"))],
        &[("acme", Some("two.test")), ("globex", Some("one.test"))],
        &[("acme", None), ("initech", Some("two.test"))],
        &[("initech", None), ("acme", Some("two.test")), ("globex", None)],
    ];
    let (mut spec, mut table) = (plain.clone(), compile(&plain, None, &pools, 1));
    for step in steps {
        let before = spec.clone();
        for (id, host) in step {
            edit(&mut spec, id, |tenant| tenant.domains = host.and_then(of));
        }
        let previous = Previous { table: &table, spec: Some(&before), pools: &pools };
        table = compile_edited(&spec, &previous, &pools, 2);

        let whole = compile(&spec, None, &pools, 2);
        for host in ["one.test", "two.test", "a.one.test", "a.two.test"] {
            assert_eq!(table.domains.find(host), whole.domains.find(host), "{host}");
        }
    }
    assert_eq!(table.domains.find("a.two.test"), Some("acme"));
}

fn limited() -> LimitsSpec {
    let rate = Rate { count: 1, per: Duration::from_secs(60) };
    LimitsSpec { requests: Some(RateSpec { rate, burst: 1 }), ..LimitsSpec::UNSAID }
}

/// Asks for one request of a tenant's own limit.
fn is_admitted(shared: &Arc<Shared>, table: &Table, id: &str) -> bool {
    let tenant = table.tenant(id).unwrap();
    let scope = Scope {
        cell: tenant.ledger(shared).own(),
        spec: tenant.limits().unwrap(),
        names: OF_TENANT,
        whose: Whose { tenant: id, route: None },
    };
    let taken = admission::take(shared, &[scope], Asker::default(), (shared.now(), Duration::MAX));
    taken.map(|slots| slots.go(shared.now())).is_ok()
}

#[tokio::test(start_paused = true)]
async fn a_tenant_that_comes_back_finds_what_it_had_taken_for_as_long_as_it_counts() {
    let pools = pools(&["a", "b"]);
    let shared = Shared::new(1 << 16, Account::unlimited(), Arc::default());
    let mut with = sample();
    edit(&mut with, "acme", |tenant| tenant.limits = Some(Box::new(limited())));
    let mut without = with.clone();
    without.tenants.remove("acme");
    for (edited, wait) in [(false, 1), (true, 1), (false, 61), (true, 61)] {
        let first = compile(&with, None, &pools, 1);
        assert!(first.tenant("acme").unwrap().is_limited());
        assert!(!first.tenant("globex").unwrap().is_limited());
        assert!(is_admitted(&shared, &first, "acme") && !is_admitted(&shared, &first, "acme"));
        let next = |spec: &RoutesSpec, table: &Table, before: &RoutesSpec| match edited {
            false => compile(spec, Some(table), &pools, 2),
            true => {
                let previous = Previous { table, spec: Some(before), pools: &pools };
                compile_edited(spec, &previous, &pools, 2)
            }
        };
        let gone = next(&without, &first, &with);
        tokio::time::advance(Duration::from_secs(wait)).await;
        let still_gone = next(&without, &gone, &without);
        let back = next(&with, &still_gone, &without);

        assert_eq!(is_admitted(&shared, &back, "acme"), wait > 60, "{edited} {wait}");
        assert_ne!(back.tenant("acme").unwrap().slot(), first.tenant("acme").unwrap().slot());
        tokio::time::advance(Duration::from_secs(120)).await;
    }
}

#[test]
fn a_tenant_is_limited_where_one_of_its_routes_is() {
    let pools = pools(&["a", "b"]);
    let mut spec = sample();
    edit(&mut spec, "acme", |tenant| tenant.routes[0].limits = Some(Box::new(limited())));
    let own = compile(&spec, None, &pools, 1);
    let shared = spec.route_sets.get_mut("shared").unwrap();
    Arc::make_mut(shared).routes[0].limits = Some(Box::new(limited()));
    let all = compile(&spec, Some(&own), &pools, 2);

    let limited = |table: &Table| {
        ["acme", "globex", "initech"].map(|id| table.tenant(id).unwrap().is_limited())
    };
    assert_eq!((limited(&own), limited(&all)), ([true, false, false], [true, true, false]));
}
