//! What is listed of a file, as a person asks for it.

use std::time::Duration;

use http::{HeaderValue, Method, Version};
use tokio::time::Instant;

use crate::config::{self, Files};
use crate::telemetry::meter::Meter;
use crate::telemetry::record::{Ending, Record, Tag};
use crate::telemetry::registry;

use super::super::load::{self, Loaded, Materials};
use super::super::nothing;
use super::super::plan::{Numbers, Pools};
use super::*;

const ROUTES: &str = "\
[tenant]
from = [{ header = \"x-tenant-id\" }, { host = \"{tenant}.example.com\" }]

[pools.app]
endpoints = [\"10.0.0.1:80\"]

[pools.billing]
endpoints = [\"10.0.0.2:80\"]

[tenants.acme]
pool = \"app\"
use = [\"shared\"]
routes = [{ path = \"/*\", host = \"Shop.acme.test\", pool = \"billing\" }]

[tenants.Zeta]
pool = \"app\"

[tenants.closed]
pool = \"billing\"
state = \"maintenance\"

[tenants.off]
pool = \"app\"
state = \"suspended\"

[route-sets.shared]
routes = [{ path = \"/*\", host = \"*.shared.test\" }]
";

const LIMITED: &str = "\
[tenant]
from = [{ header = \"x-tenant-id\" }]

[pools.app]
endpoints = [\"10.0.0.1:80\"]

[pools.billing]
endpoints = [\"10.0.0.2:80\"]
concurrency = 7

[tenants.acme]
pool = \"app\"
limits = { requests = \"10/s\", burst = 20, concurrency = 4, quota = \"1000/day\" }
queue = { weight = 3 }
routes = [{ name = \"slow\", path = \"/slow\", pool = \"billing\", limits = { requests = \"5/s\" } }]

[tenants.off]
pool = \"app\"
";

struct World {
    roster: Roster,
    table: Snapshot<Table>,
    metrics: Arc<Metrics>,
}

impl World {
    fn new(routes: &str) -> Self {
        let files = Files::of_text("routes.toml", routes);
        let known = config::Known { balancers: &["least-request"], keyed: &[] };
        let spec = config::check_routes(&files, &known);
        let spec = Arc::new(spec.unwrap_or_else(|problems| panic!("{problems}")));
        let made = load::make(Materials {
            loaded: Loaded { files, spec, doubts: [].into(), quarantine: Default::default() },
            running: Pools::new(),
            numbers: Numbers::default(),
            previous: Arc::new(nothing()),
            before: None,
            standing: Default::default(),
            generation: 1,
        });
        let made = made.unwrap();
        let live = Live { generation: 1, loaded: Some(Arc::new(made.loaded)), ..Live::none() };
        let live = Snapshot::new(Arc::new(live));
        let table = Snapshot::new(Arc::new(made.table));
        let metrics = Arc::new(Metrics::new());
        let roster = Roster::new(table.clone(), live, Arc::clone(&metrics));
        Self { roster, table, metrics }
    }

    /// A request of each of these was answered so.
    fn count(&self, ended: &[(&str, u16)]) {
        let (sender, mut deltas) = registry::deltas();
        let meter = Meter::new(0, sender);
        for (id, status) in ended {
            let label = self.table.load().tenant(id).unwrap().label();
            meter.hear_of_tenant(label.slot, || label.clone());
            meter.exchange(&record(Tag::of(label.slot), *status));
        }
        meter.flush();
        self.metrics.merge(&deltas.try_recv().unwrap());
    }

    fn page(&self, wanted: Wanted) -> Page {
        self.roster.page(&wanted).unwrap()
    }

    /// The ids that a search finds, by their ids.
    fn found(&self, search: &str) -> Vec<String> {
        let search = search.to_owned();
        ids(&self.page(Wanted { search, sort: Sort::Id, ..all() }))
    }
}

fn record(tenant: Tag, status: u16) -> Record {
    Record {
        started: Instant::now(),
        duration: Duration::from_millis(20),
        request_id: HeaderValue::from_static("1"),
        client: None,
        method: Method::GET,
        version: Version::HTTP_11,
        line: None,
        logged: false,
        trace: None,
        asked: None,
        tenant: Some(tenant),
        caller: None,
        route: None,
        pool: None,
        endpoint: None,
        queued: None,
        attempts: 1,
        status,
        problem: None,
        first_byte: None,
        bytes_in: 0,
        bytes_out: 0,
        ending: Ending::Whole,
    }
}

fn all() -> Wanted {
    Wanted {
        search: String::new(),
        state: None,
        sort: Sort::Requests,
        limit: 10,
        after: None,
        charts: false,
    }
}

fn ids(page: &Page) -> Vec<String> {
    page.tenants.iter().map(|tenant| tenant.id.clone()).collect()
}

#[tokio::test]
async fn a_search_finds_parts_of_ids_and_hosts_in_any_case() {
    let world = World::new(ROUTES);

    assert_eq!(world.found(""), ["Zeta", "acme", "closed", "off"]);
    assert_eq!(world.found("ZET"), ["Zeta"]);
    assert_eq!(world.found("shop.ACME"), ["acme"], "a host of its own route");
    assert_eq!(world.found("shared.test"), ["acme"], "a host of a set that it uses");
    assert_eq!(world.found("off.example"), ["off"], "the host that names it");
    assert_eq!(world.found("example.com").len(), 4);
    assert_eq!(world.found("e.test\tz"), [""; 0], "no text of two tenants matches");
    assert_eq!(world.found("nobody"), [""; 0]);
}

#[tokio::test]
async fn the_busiest_and_the_worst_come_first_and_pages_follow_one_another() {
    let world = World::new(ROUTES);
    world.count(&[("off", 403), ("off", 403), ("off", 403), ("acme", 502), ("acme", 200)]);
    world.count(&[("closed", 503), ("closed", 503)]);

    let page = world.page(Wanted { limit: 2, ..all() });
    assert_eq!((ids(&page), page.total, page.matching), (vec!["off".into(), "acme".into()], 4, 4));
    let next = world.page(Wanted { limit: 2, after: page.next, ..all() });
    assert_eq!((ids(&next), next.next), (vec!["closed".into(), "Zeta".into()], None));

    let worst = world.page(Wanted { sort: Sort::Errors, ..all() });
    assert_eq!(ids(&worst), ["closed", "acme", "Zeta", "off"]);
    let by_id = world.page(Wanted { sort: Sort::Id, limit: 1, after: Some("a".into()), ..all() });
    assert_eq!((ids(&by_id), by_id.next.as_deref()), (vec!["acme".into()], Some("acme")));

    let closed = world.page(Wanted { state: Some(State::Maintenance), ..all() });
    assert_eq!((ids(&closed), closed.matching, closed.total), (vec!["closed".into()], 1, 4));
    assert!(closed.tenants[0].rates.errors_per_second > 0.0, "{closed:?}");
}

#[tokio::test]
async fn one_tenant_is_told_whole() {
    let world = World::new(ROUTES);
    world.count(&[("acme", 200), ("acme", 503)]);

    let acme = world.roster.find("acme").unwrap();

    assert_eq!(acme.state, State::Active);
    assert_eq!(acme.pools.iter().collect::<Vec<_>>(), ["app", "billing"]);
    let hosts: Vec<&str> = acme.hosts.iter().map(String::as_str).collect();
    assert_eq!(hosts, ["*.shared.test", "acme.example.com", "shop.acme.test"]);
    assert_eq!((acme.routes, acme.route_sets.as_slice()), (1, &["shared".to_owned()][..]));
    assert_eq!(acme.since_start, Some(SinceStart { requests: 2, errors: 1 }));
    assert!(acme.rates.requests_per_second > 0.0, "{acme:?}");
    assert!(world.roster.find("closed").unwrap().retry_after_seconds.is_some());
    assert!(world.roster.find("nobody").is_none());
}

#[tokio::test]
async fn who_is_summed_with_others_in_the_metrics_has_rates_and_sums_here() {
    let world = World::new(ROUTES);
    world.metrics.limit_tenants(1);
    world.count(&[("off", 403), ("acme", 200)]);

    let (off, acme) = (world.roster.find("off").unwrap(), world.roster.find("acme").unwrap());

    assert!(off.rates.requests_per_second > 0.0 && acme.rates.requests_per_second > 0.0);
    let one = Some(SinceStart { requests: 1, errors: 0 });
    assert_eq!((off.since_start, acme.since_start), (one, one));
}

#[tokio::test]
async fn a_hundred_thousand_tenants_are_searched_and_found() {
    let mut routes = "[pools.app]\nendpoints = [\"10.0.0.1:80\"]\n".to_owned();
    for number in 0..100_000 {
        routes += &format!("[tenants.t{number:06}]\npool = \"app\"\n");
    }
    let world = World::new(&routes);
    world.count(&[("t077777", 200)]);

    assert_eq!(ids(&world.page(Wanted { limit: 1, ..all() })), ["t077777"]);
    assert_eq!(world.found("t05432").len(), 10);
    assert_eq!(world.page(Wanted { search: "9999".into(), ..all() }).matching, 19);
}

/// The JSON of a section of `docs/admin.md`.
fn documented(path: &str) -> serde_json::Value {
    let docs = include_str!("../../../docs/admin.md");
    let (_, section) = docs.split_once(&format!("### `{path}`\n")).unwrap();
    let block = section.split("```").find_map(|block| block.strip_prefix("json\n"));
    serde_json::from_str(block.unwrap()).unwrap()
}

#[tokio::test]
async fn the_docs_show_a_page_and_a_tenant_as_they_are() {
    let world = World::new(ROUTES);
    world.count(&[("acme", 200)]);
    let keys = |value: &serde_json::Value| -> Vec<String> {
        value.as_object().unwrap().keys().cloned().collect()
    };

    let (shown, page) = (documented("/api/v1/tenants"), world.page(all()));
    let page = serde_json::to_value(page).unwrap();
    assert_eq!(keys(&shown), keys(&page));
    assert_eq!(keys(&shown["tenants"][0]), keys(&page["tenants"][0]));

    let (shown, one) = (documented("/api/v1/tenants/{id}"), world.roster.find("acme").unwrap());
    let mut one = serde_json::to_value(one).unwrap();
    for besides in ["kept", "certificates"] {
        one[besides] = serde_json::Value::Null; // which the API tells
    }
    assert_eq!(keys(&shown), keys(&one));
    assert_eq!(keys(&shown["chart"]), keys(&one["chart"]));
    assert_eq!(keys(&shown["since_start"]), keys(&one["since_start"]));

    let (shown, world) = (documented("/api/v1/tenants/{id}/usage"), World::new(LIMITED));
    let usage = serde_json::to_value(world.roster.usage("acme").unwrap()).unwrap();
    assert_eq!(keys(&shown), keys(&usage));
    for part in ["hour", "day", "since_start"] {
        assert_eq!(keys(&shown[part]), keys(&usage[part]), "{part}");
    }
    assert_eq!(keys(&shown["limits"][0]), keys(&usage["limits"][0]));
    assert_eq!(keys(&shown["pools"][0]), keys(&usage["pools"][0]));
}

#[tokio::test]
async fn the_use_of_a_tenant_is_told_with_what_is_left_of_its_limits_and_shares() {
    let world = World::new(LIMITED);
    world.count(&[("acme", 200), ("acme", 503)]);

    let usage = world.roster.usage("acme").unwrap();

    for used in [&usage.hour.used, &usage.day.used, &usage.since_start] {
        assert_eq!((used.requests, used.answers["2xx"], used.answers["5xx"]), (2, 1, 1));
    }
    assert!(usage.hour.began.ends_with(":00:00Z") && usage.day.began.ends_with("T00:00:00Z"));
    let limits: Vec<(&str, Option<&str>, u64)> =
        usage.limits.iter().map(|one| (&*one.limit, one.route.as_deref(), one.left)).collect();
    assert_eq!(
        limits,
        [
            ("tenant", None, 20),
            ("tenant-concurrency", None, 4),
            ("tenant-quota", None, 1000),
            ("route", Some("slow"), 5),
        ]
    );
    let [share] = usage.pools.as_slice() else { panic!("{usage:?}") };
    assert_eq!((&*share.pool, share.weight, share.pool_limit), ("billing", 3, 7));
    assert!(world.roster.usage("off").unwrap().limits.is_empty());
    assert!(world.roster.usage("nobody").is_none());
}
