//! Canaries that are rolled back, from table to table.

use std::time::Duration;

use http::HeaderMap;

use crate::base::units::Percent;
use crate::config::spec::{ActionSpec, CanarySpec, RollbackSpec, RouteSpec, SplitBy};
use crate::model::canary::Progress;
use crate::model::members::Found;
use crate::pool::{Pool, samples};
use crate::routing;
use crate::routing::action::Action;
use crate::routing::samples::{get, route, spec, tenant};

use super::*;

const CONDITION: &str = "/split";

fn split(weights: [u32; 2]) -> SplitSpec {
    let rollback = RollbackSpec {
        errors: Some(Percent::new(5.0)),
        errors_factor: None,
        latency: None,
        latency_factor: None,
        percentile: 95,
        requests: 10,
        window: Duration::from_secs(60),
    };
    let canary = CanarySpec {
        pool: PoolId("canary".into()),
        headers: Vec::new(),
        tenants: Vec::new(),
        rollback: Some(rollback),
    };
    SplitSpec {
        pools: vec![(PoolId("stable".into()), weights[0]), (PoolId("canary".into()), weights[1])],
        by: SplitBy::RequestId,
        canary: Some(Box::new(canary)),
    }
}

/// A table in which `acme` has this split and other routes beside it, and a set has the same split.
fn table(split: Option<SplitSpec>, others: &[&str], before: Option<&Table>) -> Table {
    let with = |split| RouteSpec { action: ActionSpec::Split(split), ..route("", CONDITION) };
    let mut routes: Vec<RouteSpec> = others.iter().map(|text| route("", text)).collect();
    routes.extend(split.map(with));
    let shared = vec![with(self::split([1, 1]))];
    let acme = tenant(Some("stable"), routes, &["shared"]);
    let spec = spec(vec![("acme", acme)], vec![("shared", shared)]);
    let generation = before.map_or(1, |before| before.generation + 1);
    // Other pools of the same names each time: all routes are made anew.
    routing::compile(&spec, before, &pools(), generation)
}

/// Pools with an endpoint each.
fn pools() -> BTreeMap<PoolId, Arc<Pool>> {
    let pools = samples::pools(&["stable", "canary"]);
    for pool in pools.values() {
        pool.members.replace(&[endpoint()]);
    }
    pools
}

fn endpoint() -> Found {
    Found::new(([10, 0, 0, 1], 80), "the test")
}

/// The canary of the tenant's own split.
fn own(table: &Table) -> Arc<Watched> {
    let mut canaries = table.canaries();
    let own = canaries.find(|(owner, _)| matches!(owner, Owner::Tenant(_)));
    Arc::clone(own.expect("it has one").1)
}

fn fail(table: &Table, requests: usize) {
    for worker in 0..requests {
        own(table).progress().count(worker, Side::Canary, Outcome::Failed, Duration::ZERO);
    }
}

/// How many of a hundred requests the canary gets.
fn gets(table: &Table) -> usize {
    let headers = HeaderMap::new();
    let tenant = table.tenant("acme").expect("the tenant");
    let route = tenant.find(&get("", CONDITION, &headers)).expect("the route");
    let Action::Split(split) = &route.action else { panic!("it is no split") };
    let keys = (0..100).map(|number| format!("request-{number}"));
    let pools = keys.map(|key| split.choose(("acme", &headers), key.as_bytes()).label.name.clone());
    pools.filter(|pool| **pool == *"canary").count()
}

/// Two canaries that were rolled back.
pub(crate) async fn rolled_back() -> Splits {
    let (splits, table) = (Splits::default(), table(Some(split([95, 5])), &[], None));
    splits.adopt(&table).await;
    for (_, watched) in table.canaries() {
        for worker in 0..10 {
            watched.progress().count(worker, Side::Canary, Outcome::Failed, Duration::ZERO);
        }
    }
    splits.look(None, Instant::now(), &Metrics::new());
    splits
}

fn state(splits: &Splits) -> Option<RolledBack> {
    let list = splits.list();
    list.into_iter().find(|shown| shown.owner != Owner::RouteSet("shared".into()))?.rolled_back
}

#[tokio::test(start_paused = true)]
async fn what_breaks_its_rule_gets_nothing_in_this_table_and_the_next_until_its_split_is_edited() {
    let (splits, metrics) = (Splits::default(), Metrics::new());
    let first = table(Some(split([50, 50])), &[], None);
    splits.adopt(&first).await;
    fail(&first, 9);
    splits.look(None, Instant::now(), &metrics);
    assert_eq!(state(&splits), None, "nine are too few");
    assert!((30..70).contains(&gets(&first)));

    fail(&first, 1);
    splits.look(None, Instant::now(), &metrics);

    let rolled_back = state(&splits).expect("it is rolled back");
    assert_eq!(&*rolled_back.reason, "errors");
    assert_eq!(&*rolled_back.why, "100.0% of 10 requests failed, and 5% may");
    assert_eq!(gets(&first), 0);
    let text = metrics.render().expect("the metrics");
    let labels = |more: &str| {
        let id = splits.list()[1].id;
        format!("{{split=\"{id}\",owner=\"tenants.acme\",route=\"{CONDITION}\"{more}}}")
    };
    for line in [
        format!("tenantry_split_rolled_back{} 1", labels("")),
        format!("tenantry_split_rollbacks_total{} 1", labels(",reason=\"errors\"")),
        format!(
            "tenantry_split_requests_total{} 10",
            labels(",side=\"canary\",outcome=\"failed\"")
        ),
    ] {
        assert!(text.contains(&line), "{line}\n{text}");
    }

    let second = table(Some(split([50, 50])), &["/other"], Some(&first));
    splits.adopt(&second).await;
    assert_eq!((gets(&second), state(&splits)), (0, Some(rolled_back)));

    let third = table(Some(split([60, 40])), &["/other"], Some(&second));
    splits.adopt(&third).await;
    assert!(gets(&third) > 20 && state(&splits).is_none());
    // The set's own split has gone on all the time.
    assert!(splits.list().iter().all(|shown| shown.rolled_back.is_none()));
}

#[tokio::test(start_paused = true)]
async fn an_operator_ends_it_and_what_was_before_counts_no_more() {
    let (splits, metrics) = (Splits::default(), Metrics::new());
    let table = table(Some(split([0, 100])), &[], None);
    splits.adopt(&table).await;
    let id = Id(own(&table).id(&Owner::Tenant("acme".into())));
    assert_eq!(splits.reset(id), Reset::NotRolledBack);
    assert_eq!(splits.reset(Id(1)), Reset::NoSplit);
    assert_eq!(gets(&table), 100);
    fail(&table, 20);
    splits.look(None, Instant::now(), &metrics);
    assert_eq!(gets(&table), 0, "the other pool takes all of it, whatever its weight");
    let shares = splits.find(id).expect("the split");
    let shares: Vec<f64> = shares.shares().into_iter().map(|(_, share)| share).collect();
    assert_eq!(shares, [1.0, 0.0]);

    assert_eq!(splits.reset(id), Reset::Done);

    splits.look(None, Instant::now(), &metrics);
    assert_eq!((gets(&table), state(&splits)), (100, None));
    fail(&table, 10);
    splits.look(None, Instant::now(), &metrics);
    assert_eq!(gets(&table), 0);
}

#[tokio::test(start_paused = true)]
async fn it_stays_where_nobody_else_is_there() {
    let (splits, metrics) = (Splits::default(), Metrics::new());
    let table = table(Some(split([50, 50])), &[], None);
    splits.adopt(&table).await;
    let stable = table.tenant("acme").and_then(|tenant| tenant.pool.clone()).expect("its pool");
    stable.members.replace(&[]);
    fail(&table, 20);
    splits.look(None, Instant::now(), &metrics);
    assert_eq!(state(&splits), None, "a bad version is better than none");

    stable.members.replace(&[endpoint()]);
    splits.look(None, Instant::now(), &metrics);
    assert!(state(&splits).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_tenant_that_goes_and_comes_back_and_a_restart_end_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let (splits, metrics) = (Splits::default(), Metrics::new());
    let first = table(Some(split([50, 50])), &[], None);
    splits.adopt(&first).await;
    fail(&first, 10);
    splits.look(None, Instant::now(), &metrics);

    let without = table(None, &[], Some(&first));
    splits.adopt(&without).await;
    splits.look(None, Instant::now(), &metrics);
    assert!(!metrics.render().expect("the metrics").contains("owner=\"tenants.acme\""));
    let again = table(Some(split([50, 50])), &[], Some(&without));
    splits.adopt(&again).await;
    assert!(gets(&again) == 0 && state(&splits).is_some());

    kept::save(folder.path(), splits.to_keep().expect("it has changed")).await.expect("it is kept");
    assert_eq!(splits.to_keep(), None, "nothing has changed since");
    for (edit, expected) in [([50, 50], true), ([51, 49], false)] {
        let restarted = Splits::open(Some(folder.path())).await;
        let table = table(Some(split(edit)), &[], None);
        restarted.adopt(&table).await;
        assert_eq!((gets(&table) == 0, state(&restarted).is_some()), (expected, expected));
    }
}

/// A table of `acme` alone, with this name and these conditions of its route.
fn named(name: &str, host: &str, split: SplitSpec, before: &Table) -> Table {
    let action = ActionSpec::Split(split);
    let route = RouteSpec { action, name: name.into(), ..route(host, CONDITION) };
    let spec = spec(vec![("acme", tenant(Some("stable"), vec![route], &[]))], vec![]);
    routing::compile(&spec, Some(before), &pools(), before.generation + 1)
}

#[tokio::test(start_paused = true)]
async fn the_series_of_a_route_s_old_name_end_and_its_canary_stays_rolled_back() {
    let (splits, metrics) = (Splits::default(), Metrics::new());
    let first = table(Some(split([50, 50])), &[], None);
    splits.adopt(&first).await;
    fail(&first, 10);
    splits.look(None, Instant::now(), &metrics);
    let series = |name: &str| {
        let text = metrics.render().expect("the metrics");
        let label = format!("route=\"{name}\"");
        text.lines().filter(|line| line.contains(&label)).map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(!series(CONDITION).is_empty());

    let renamed = named("renamed", "", split([50, 50]), &first);
    splits.adopt(&renamed).await;
    splits.look(None, Instant::now(), &metrics);

    assert_eq!(series(CONDITION), [""; 0]);
    let state = |value: u8| {
        let (now, end) = (series("renamed"), format!("}} {value}"));
        now.iter()
            .any(|line| line.starts_with("tenantry_split_rolled_back") && line.ends_with(&end))
    };
    assert!(state(1) && splits.list()[0].rolled_back.is_some(), "it is the same split");
    // An edit under another name, too; and one under the same name tells that it has ended.
    let edited = named("edited", "", split([60, 40]), &renamed);
    splits.adopt(&edited).await;
    splits.look(None, Instant::now(), &metrics);
    assert_eq!((series("renamed"), series("edited")), (vec![], vec![]), "it has had no requests");
    fail(&edited, 10);
    splits.look(None, Instant::now(), &metrics);
    splits.adopt(&named("edited", "", split([61, 39]), &edited)).await;
    splits.look(None, Instant::now(), &metrics);
    assert!(series("edited").iter().any(|line| line.ends_with("} 0")), "{:?}", series("edited"));
}

#[tokio::test(start_paused = true)]
async fn other_conditions_make_another_split_and_the_old_ones_the_old_one() {
    let (splits, metrics) = (Splits::default(), Metrics::new());
    let first = named("shop", "", split([50, 50]), &table(None, &[], None));
    splits.adopt(&first).await;
    fail(&first, 10);
    splits.look(None, Instant::now(), &metrics);
    let id = splits.list()[0].id;

    let other = named("shop", "a.example", split([50, 50]), &first);
    splits.adopt(&other).await;

    let shown = splits.list();
    assert!(shown.len() == 1 && shown[0].id != id && shown[0].rolled_back.is_none());
    splits.adopt(&named("shop", "", split([50, 50]), &other)).await;
    let shown = splits.list();
    assert!(shown.len() == 1 && shown[0].id == id && shown[0].rolled_back.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_stands_wrong_ends_no_roll_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let kept = |id: u64, since: SystemTime| {
        let rolled_back = RolledBack { since, reason: "errors".into(), why: "".into() };
        (Id(id), Kept { edition: id, rolled_back })
    };
    let all = vec![
        kept(9, SystemTime::UNIX_EPOCH),
        kept(3, SystemTime::now() + Duration::from_secs(1 << 32)),
        kept(5, SystemTime::UNIX_EPOCH + Duration::from_secs(7)),
    ];
    kept::save(folder.path(), all).await.expect("it is kept");

    let splits = Splits::open(Some(folder.path())).await;

    splits.locked().changed = true;
    let ids = |kept: Vec<(Id, Kept)>| kept.into_iter().map(|(Id(id), _)| id).collect::<Vec<_>>();
    assert_eq!(splits.to_keep().map(ids), Some(vec![9, 3, 5]));
}

#[tokio::test(start_paused = true)]
async fn an_idle_split_is_small_and_has_no_series() {
    let (splits, metrics) = (Splits::default(), Metrics::new());
    let first = table(Some(split([50, 50])), &[], None);
    splits.adopt(&first).await;
    for _ in 0..100 {
        tokio::time::advance(Duration::from_secs(1)).await;
        splits.look(None, Instant::now(), &metrics);
    }

    assert!(!metrics.render().expect("the metrics").contains("tenantry_split"));
    for split in splits.locked().by_id.values() {
        let counts = split.counts.iter().chain(&split.recent);
        let bytes = size_of::<(Id, Split)>()
            + size_of::<Progress>()
            + split.watch.heap_bytes()
            + counts.map(Counts::heap_bytes).sum::<usize>()
            + split.watched.progress().heap_bytes();
        assert!(bytes <= 512, "{bytes}");
    }
    // One that has had requests keeps a few counts, and little once they are behind its window.
    fail(&first, 10);
    for seconds in [1, 70, 70, 1] {
        tokio::time::advance(Duration::from_secs(seconds)).await;
        splits.look(None, Instant::now(), &metrics);
    }
    let known = splits.locked();
    let split = known.by_id.values().find(|split| split.rolled_back.is_some()).expect("it fails");
    assert_eq!(split.recent, <[Counts; 2]>::default());
    assert!(split.watch.heap_bytes() < 8 * 1024, "{}", split.watch.heap_bytes());
}

#[tokio::test]
async fn a_damaged_file_is_no_reason_not_to_start() {
    let folder = tempfile::tempdir().expect("a folder");
    for text in ["", "{\"form\":1,\"rolled_back\":[{}]}", "\u{0}"] {
        std::fs::write(folder.path().join("splits.json"), text).expect("write the file");
        assert!(Splits::open(Some(folder.path())).await.list().is_empty());
    }
    let odd = "{\"form\":1,\"rolled_back\":[{\"split\":\"+123456789abcdef\",\"edition\":\"x\",\
               \"since\":18446744073709551615,\"reason\":\"\",\"why\":\"\"}]}";
    std::fs::write(folder.path().join("splits.json"), odd).expect("write the file");
    assert!(kept::load(folder.path()).await.list().is_empty());
}

#[tokio::test]
async fn more_splits_than_are_looked_at_at_once_are_all_looked_at() {
    let tenants: Vec<String> = (0..150).map(|number| format!("t{number}")).collect();
    let action = || ActionSpec::Split(split([1, 1]));
    let routes = || vec![RouteSpec { action: action(), ..route("", CONDITION) }];
    let all = tenants.iter().map(|id| (id.as_str(), tenant(Some("stable"), routes(), &[])));
    let spec = spec(all.collect(), vec![]);
    let table = routing::compile(&spec, None, &pools(), 1);
    let (splits, metrics, now) = (Splits::default(), Metrics::new(), Instant::now());
    splits.adopt(&table).await;
    table.canaries().for_each(|(_, watched)| {
        (0..10).for_each(|worker| {
            watched.progress().count(worker, Side::Canary, Outcome::Failed, Duration::ZERO);
        });
    });

    let (mut last, mut rounds) = (splits.look(None, now, &metrics), 1);
    while last.is_some() {
        (last, rounds) = (splits.look(last, now, &metrics), rounds + 1);
    }

    assert_eq!(rounds, 3);
    let list = splits.list();
    assert_eq!(list.len(), 150);
    assert!(list.iter().all(|shown| shown.rolled_back.is_some()));
}
