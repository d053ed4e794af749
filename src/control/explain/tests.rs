//! What is told of one file, read by a person.

use http::Request;

use crate::config::{self, Known};
use crate::control::load::Loaded;

use super::*;

const ROUTES: &str = "\
[tenant]
from = [{ header = \"x-tenant-id\" }, { default = \"guest\" }]

[pools.app]
endpoints = [\"10.0.0.1:80\"]
timeouts = { connect = \"3s\" }

[pools.billing]
dns = \"billing.internal:8080\"
balance = \"random\"
retry = { attempts = 5 }

[tenants.guest]
pool = \"app\"

[tenants.acme]
pool = \"app\"
use = [\"shared\"]

[[tenants.acme.routes]]
path = \"/billing/*\"
pool = \"billing\"
timeout = \"7s\"
rewrite = { strip = \"/billing\" }

[[tenants.acme.routes]]
name = \"posts\"
path = \"/billing/*\"
methods = [\"POST\"]
respond = { status = 404 }

[tenants.closed]
pool = \"app\"
state = \"maintenance\"

[tenants.off]
pool = \"app\"
state = \"suspended\"

[tenants.half]
pool = \"app\"
routes = [{ path = \"/x\", state = \"maintenance\" }]

[route-sets.shared]
routes = [{ path = \"/*\", headers = { x-beta = true } }]
";

fn ask(tenant: Option<&str>, request: http::request::Builder) -> Explained {
    ask_of(ROUTES, tenant, request)
}

fn ask_of(routes: &str, tenant: Option<&str>, request: http::request::Builder) -> Explained {
    let files = Files::of_text("routes.toml", routes);
    let known = Known { balancers: &["least-request", "random"], keyed: &[] };
    let spec = config::check_routes(&files, &known).unwrap_or_else(|problems| panic!("{problems}"));
    let (head, ()) = request.body(()).unwrap().into_parts();
    let tenant = tenant.map(|id| TenantId::new(id).unwrap());
    let known = (&*gateway(), &Secrets::default());
    explain(files, spec, known, &Question { tenant, head }).unwrap()
}

const GATEWAY: &str = "\
[downstream]
max-body = \"1MiB\"
header-timeout = \"3s\"

[access-log]
sample = \"1%\"

[tracing]
exporter = \"zipkin\"
sample = \"5%\"
";

/// What `gateway.toml` says.
fn gateway() -> Vec<Setting> {
    let file = Files::of_text("gateway.toml", GATEWAY);
    of_gateway(&config::check_gateway(&file).unwrap(), Some(&file))
}

fn setting<'e>(explained: &'e Explained, key: &str) -> (&'e str, &'e str, Option<&'e str>) {
    let setting = explained.settings.iter().find(|setting| setting.key == key).unwrap();
    (&setting.value, &setting.set_by, setting.place.as_deref())
}

#[test]
fn a_request_is_followed_to_its_pool_with_the_places_of_all_that_decided() {
    let explained = ask(None, Request::get("/billing/7?a=b").header("x-tenant-id", "acme"));

    assert_eq!(explained.outcome, "is forwarded to the pool billing, as GET /7?a=b");
    assert_eq!(explained.naming.len(), 1);
    assert_eq!(explained.naming[0].place.as_deref(), Some("routes.toml:2"));
    assert_eq!(explained.tenant.as_ref().unwrap().place.as_deref(), Some("routes.toml:16"));
    let routes: Vec<(bool, &str, Option<&str>)> = explained
        .routes
        .iter()
        .map(|route| (route.verdict.chosen, route.verdict.of.as_str(), route.place.as_deref()))
        .collect();
    assert_eq!(
        routes,
        [
            (true, "tenants.acme", Some("routes.toml:20")),
            (false, "tenants.acme", Some("routes.toml:26")),
            (false, "route-sets.shared", Some("routes.toml:45")),
        ]
    );
    assert_eq!(explained.routes[1].verdict.reasons, ["the method is GET, not POST"]);
    assert_eq!(explained.routes[2].verdict.reasons, ["the header x-beta is not there"]);
    let pool = explained.pool.as_ref().unwrap();
    assert_eq!((pool.name.as_str(), pool.place.as_deref()), ("billing", Some("routes.toml:8")));
    assert_eq!(pool.sources, ["dns billing.internal:8080"]);
    assert_eq!(setting(&explained, "timeouts.total"), ("7s", "route", Some("routes.toml:23")));
    assert_eq!(setting(&explained, "timeouts.connect"), ("1s", "built in", None));
    assert_eq!(setting(&explained, "retry.attempts"), ("5", "pool", Some("routes.toml:11")));
    assert_eq!(setting(&explained, "balance"), ("random", "pool", Some("routes.toml:10")));
    assert_eq!(setting(&explained, "protocol"), ("h1", "built in", None));
}

#[test]
fn limits_of_tenant_and_route_are_told_side_by_side() {
    const LIMITED: &str = "\
[pools.app]
endpoints = [\"10.0.0.1:80\"]

[tenants.acme]
pool = \"app\"
limits = { requests = \"100/s\", burst = 200, client = { requests = \"10/m\" } }

[[tenants.acme.routes]]
path = \"/a\"
[tenants.acme.routes.limits]
requests = \"5/s\"
concurrency = 2
overflow = \"wait\"
";
    let explained = ask_of(LIMITED, Some("acme"), Request::get("/a"));

    let rows = explained.settings.iter().filter(|row| row.key.starts_with("limits."));
    let rows: Vec<_> = rows
        .map(|row| (&*row.key, &*row.value, &*row.set_by, row.place.as_deref().unwrap_or("")))
        .collect();
    assert_eq!(
        rows,
        [
            ("limits.requests", "100/s, 200 at once", "tenant", "routes.toml:6"),
            ("limits.overflow", "reject", "built in", ""),
            ("limits.client.requests", "10/m, 10 at once", "tenant", "routes.toml:6"),
            ("limits.client.overflow", "reject", "built in", ""),
            ("limits.requests", "5/s, 5 at once", "route", "routes.toml:11"),
            ("limits.concurrency", "2", "route", "routes.toml:12"),
            ("limits.overflow", "wait", "route", "routes.toml:13"),
            ("limits.wait", "1s", "built in", ""),
            ("limits.waiting", "100", "built in", ""),
        ]
    );
}

#[test]
fn of_sizes_of_bodies_the_one_that_holds_is_told() {
    let routes = "[pools.app]\nendpoints = [\"10.0.0.1:80\"]\n\
                  [plans.pro]\npool = \"app\"\nlimits.max-body = \"2MiB\"\n\
                  [tenants.acme]\nplan = \"pro\"\n[[tenants.acme.routes]]\npath = \"/a\"\n\
                  limits.max-body = \"3GiB\"\n[tenants.globex]\npool = \"app\"\n";
    let told = |tenant, path| {
        let explained = ask_of(routes, Some(tenant), Request::get(path));
        let is_one = |row: &&Setting| row.key.ends_with("max-body");
        let rows: Vec<Setting> = explained.settings.iter().filter(is_one).cloned().collect();
        assert_eq!(rows.len(), 1, "{rows:?}");
        (rows[0].key.clone(), rows[0].value.clone(), rows[0].set_by.clone(), rows[0].place.clone())
    };
    let row = |key: &str, value: &str, by: &str, place: &str| {
        (key.to_owned(), value.to_owned(), by.to_owned(), Some(place.to_owned()))
    };

    let own = "limits.max-body";
    assert_eq!(told("acme", "/a"), row(own, "3GiB", "route", "routes.toml:10"));
    assert_eq!(told("acme", "/b"), row(own, "2MiB", "plan", "routes.toml:5"));
    let of_all = row("downstream.max-body", "1MiB", "gateway", "gateway.toml:2");
    assert_eq!(told("globex", "/a"), of_all);
}

#[test]
fn each_value_of_every_level_has_its_place() {
    const MORE: &str = "\
[pools.app]
endpoints = [\"10.0.0.1:80\", { address = \"10.0.0.2:80\", weight = 0 }]
health = { http = \"/up\", interval = \"2s\" }
eject = { share = \"50%\" }

[pools.app.connections]
idle = 7

[tenants.acme]
pool = \"app\"
replay-memory = \"1MiB\"
access-log = { sample = \"10%\" }

[[tenants.acme.routes]]
path = \"/a/*\"
rewrite = { prefix = \"/a\", with = \"/b\", host = \"b.internal\" }
request-headers = { set = { X-Key = \"secret\" }, remove = [\"Cookie\"] }

[[tenants.acme.routes]]
path = \"/old\"
redirect = { to = \"/new\" }
response-headers = { add = { X-Moved = \"1\" } }
";
    let explained = ask_of(MORE, Some("acme"), Request::get("/a/1"));

    let at = |line: u32| format!("routes.toml:{line}");
    let told = |key: &str, value: &str, set_by: &str, place: Option<u32>| {
        let place = place.map(at);
        assert_eq!(setting(&explained, key), (value, set_by, place.as_deref()), "{key}");
    };
    told("health.http", "/up", "pool", Some(3));
    told("health.interval", "2s", "pool", Some(3));
    told("health.fall", "3", "built in", None);
    told("eject.share", "50%", "pool", Some(4));
    told("eject.failures", "5", "built in", None);
    told("connections.idle", "7", "pool", Some(7));
    told("connections.max-age", "10m", "built in", None);
    told("proxy-protocol", "none", "built in", None);
    told("replay-memory", "1MiB", "tenant", Some(11));
    told("access-log.sample", "10%", "tenant", Some(12));
    told("rewrite", "/a becomes /b, host b.internal", "route", Some(16));
    told("request-headers", "remove cookie, set x-key", "route", Some(17));
    let endpoints = &explained.pool.as_ref().unwrap().endpoints;
    let eligible: Vec<bool> = endpoints.iter().map(|endpoint| endpoint.eligible).collect();
    assert_eq!(eligible, [true, false]);
    assert_eq!(endpoints[1].why, "its weight is 0");
    let moved = ask_of(MORE, Some("acme"), Request::get("/old"));
    let place = at(22);
    let edits = ("add x-moved", "route", Some(place.as_str()));
    assert_eq!(setting(&moved, "response-headers"), edits);
    assert!(moved.settings.iter().all(|setting| !setting.key.starts_with("timeouts")));
}

#[test]
fn a_request_that_nobody_takes_is_told_why() {
    let nobody = ask(Some("nobody"), Request::get("/"));
    let refused = ask(None, Request::get("/").header("x-tenant-id", "a,b"));
    let respond = ask(Some("acme"), Request::post("/billing/1"));

    assert_eq!(nobody.outcome, "is refused: there is no tenant \"nobody\"");
    assert_eq!(refused.outcome, "is refused: the tenant in the header x-tenant-id is a list");
    assert_eq!(respond.outcome, "is answered 404 by the route itself");
    assert!(respond.pool.is_none());
    for told in [nobody, refused, respond] {
        assert_eq!(told.settings, gateway(), "what holds for all holds for these");
    }
}

#[test]
fn who_is_not_served_is_told_as_such() {
    let outcome = |tenant, path: &str| ask(Some(tenant), Request::get(path)).outcome;

    assert_eq!(outcome("off", "/"), "is refused: the tenant is suspended");
    assert!(outcome("closed", "/").starts_with("is answered 503: the tenant is in maintenance"));
    assert!(outcome("half", "/x").starts_with("is answered 503: the route is in maintenance"));
    assert_eq!(outcome("half", "/y"), "is forwarded to the pool app, as GET /y");
}

#[test]
fn what_holds_for_all_requests_is_told_with_its_place_in_gateway_toml() {
    let explained = ask(Some("acme"), Request::get("/billing/7"));
    let told = |key| setting(&explained, key);

    assert_eq!(told("downstream.max-body"), ("1MiB", "gateway", Some("gateway.toml:2")));
    assert_eq!(told("downstream.header-timeout"), ("3s", "gateway", Some("gateway.toml:3")));
    assert_eq!(told("downstream.max-headers"), ("128", "built in", None));
    assert_eq!(told("memory.buffers"), ("a quarter", "built in", None));
    assert_eq!(told("access-log.output"), ("stdout", "built in", None));
    assert_eq!(told("access-log.sample"), ("1%", "gateway", Some("gateway.toml:6")));
    assert_eq!(told("tracing.sample"), ("5%", "gateway", Some("gateway.toml:10")));
    assert_eq!(told("tracing.incoming"), ("follow", "built in", None));
}

#[test]
fn a_tenants_own_word_counts_before_that_for_all() {
    const OWN: &str = "\
[error-pages]
5xx = { body = \"sorry\" }

[tenants.own]
access-log = { sample = \"10%\" }
tracing = { sample = \"20%\" }
error-pages = { 404 = { body = \"where?\" }, maintenance = { body = \"later\" } }
state = \"maintenance\"
maintenance = { retry-after = \"7m\", allow = [\"10.0.0.0/8\"] }

[tenants.other]
routes = [{ path = \"/x\", state = \"maintenance\", respond = { status = 204 } }]
";
    let own = ask_of(OWN, Some("own"), Request::get("/"));
    let other = ask_of(OWN, Some("other"), Request::get("/x"));

    let at = |line: u32| format!("routes.toml:{line}");
    for (key, value, line) in [
        ("access-log.sample", "10%", 5),
        ("tracing.sample", "20%", 6),
        ("error-pages.maintenance", "text/html; charset=utf-8", 7),
        ("error-pages.404", "text/html; charset=utf-8", 7),
        ("maintenance.retry-after", "7m", 9),
        ("maintenance.allow", "1 network", 9),
    ] {
        assert_eq!(setting(&own, key), (value, "tenant", Some(at(line).as_str())), "{key}");
        let same = own.settings.iter().filter(|setting| setting.key == key).count();
        assert_eq!(same, 1, "{key}");
    }
    let html = "text/html; charset=utf-8";
    for told in [&own, &other] {
        let expected = (html, "all tenants", Some(at(2)));
        let (value, by, place) = setting(told, "error-pages.5xx");
        assert_eq!((value, by, place.map(str::to_owned)), expected);
    }
    assert_eq!(setting(&other, "maintenance.retry-after"), ("5m", "built in", None));
    assert_eq!(setting(&other, "access-log.sample").1, "gateway");
}

#[test]
fn what_a_plan_says_is_told_of_it_and_not_of_the_tenant() {
    let routes = "[pools.app]\nendpoints = [\"10.0.0.1:80\"]\n\
                  [plans.pro]\npool = \"app\"\nallow = [\"10.0.0.0/8\"]\n\
                  limits = { requests = \"5/s\", concurrency = 7 }\n\
                  [tenants.acme]\nplan = \"pro\"\nlimits.concurrency = 9\n";

    let explained = ask_of(routes, Some("acme"), http::Request::get("/"));

    let plan = explained.plan.clone().unwrap();
    assert_eq!((plan.name.as_str(), plan.place.as_deref()), ("pro", Some("routes.toml:3")));
    assert_eq!(setting(&explained, "allow"), ("1 network", "plan", Some("routes.toml:5")));
    let requests = ("5/s, 5 at once", "plan", Some("routes.toml:6"));
    assert_eq!(setting(&explained, "limits.requests"), requests);
    assert_eq!(setting(&explained, "limits.concurrency"), ("9", "tenant", Some("routes.toml:9")));
    assert_eq!(setting(&explained, "replay-memory"), ("16MiB", "built in", None));
}

#[test]
fn each_key_of_a_limit_and_each_page_is_told_of_the_level_that_says_it() {
    let routes = "[pools.app]\nendpoints = [\"10.0.0.1:80\"]\n\
                  [error-pages]\n503 = { body = \"all\" }\n502 = { body = \"all\" }\n\
                  maintenance = { body = \"all\" }\n[plans.pro]\npool = \"app\"\n\
                  limits = { requests = \"5/s\", client = { requests = \"1/s\" }, \
                  subject = { requests = \"2/s\" } }\n\
                  error-pages = { 404 = { body = \"plan\" }, 503 = { body = \"plan\" } }\n\
                  [tenants.acme]\nplan = \"pro\"\n\
                  limits.overflow = \"wait\"\nlimits.wait = \"2s\"\n\
                  limits.client.overflow = \"wait\"\n\
                  error-pages = { 404 = { body = \"own\", content-type = \"text/plain\" } }\n";

    let explained = ask_of(routes, Some("acme"), http::Request::get("/"));

    let html = "text/html; charset=utf-8";
    for (key, value, by, line) in [
        ("limits.requests", "5/s, 5 at once", "plan", Some(9)),
        ("limits.overflow", "wait", "tenant", Some(13)),
        ("limits.wait", "2s", "tenant", Some(14)),
        ("limits.waiting", "100", "built in", None),
        ("limits.client.requests", "1/s, 1 at once", "plan", Some(9)),
        ("limits.client.overflow", "wait", "tenant", Some(15)),
        ("limits.client.wait", "1s", "built in", None),
        ("limits.subject.requests", "2/s, 2 at once", "plan", Some(9)),
        ("limits.subject.overflow", "reject", "built in", None),
        ("error-pages.404", "text/plain", "tenant", Some(16)),
        ("error-pages.503", html, "plan", Some(10)),
        ("error-pages.502", html, "all tenants", Some(5)),
    ] {
        let place = line.map(|line| format!("routes.toml:{line}"));
        assert_eq!(setting(&explained, key), (value, by, place.as_deref()), "{key}");
    }
    let of_all = explained.settings.iter().find(|one| one.key == "error-pages.maintenance");
    assert!(of_all.is_none(), "the plan's page for 503 comes first");
}

#[test]
fn the_files_of_a_load_are_read_through_once() {
    let table = Snapshot::new(Arc::new(nothing()));
    let live = Snapshot::new(Arc::new(
        Live::none().with_routes("[tenants.acme]\nstate = \"suspended\"\n"),
    ));
    let explainer = Explainer::new(table, live.clone(), Vec::new());
    let loaded = live.load().loaded.clone().unwrap();

    let first = explainer.places(&loaded);
    assert!(Arc::ptr_eq(&first, &explainer.clone().places(&loaded)));

    let next = Arc::new(Loaded::clone(&loaded));
    assert!(!Arc::ptr_eq(&first, &explainer.places(&next)), "the lines may have moved");
}

#[test]
fn without_a_route_the_tenants_own_pool_takes_it() {
    let explained = ask(None, Request::get("/x"));

    assert_eq!(explained.outcome, "is forwarded to the pool app, as GET /x");
    assert_eq!(explained.naming[0].says, "says nothing");
    assert_eq!(explained.naming[1].says, "names \"guest\"");
    assert_eq!(setting(&explained, "timeouts.connect"), ("3s", "pool", Some("routes.toml:6")));
}

#[test]
fn the_docs_show_an_answer_as_it_is() {
    let docs = include_str!("../../../docs/admin.md");
    let (_, section) = docs.split_once("### `/api/v1/explain`\n").unwrap();
    let shown = section.split("```").find_map(|block| block.strip_prefix("json\n")).unwrap();
    let read: Explained = serde_json::from_str(shown).unwrap();

    let written = serde_json::to_value(read).unwrap();

    assert_eq!(written, serde_json::from_str::<serde_json::Value>(shown).unwrap());
}

#[test]
fn what_a_tenant_demands_is_told_and_nothing_of_a_key_but_its_name() {
    let key = crate::auth::api_key::generate().unwrap();
    let digest = crate::model::key::KeyDigest::of(key.as_bytes());
    let routes = format!(
        "[tenants.acme]\nroutes = [{{ path = \"/*\", respond = {{}} }}]\nauthenticate = [\"api-key\"]\n\
         allow = [\"10.0.0.0/8\"]\nmethods = [\"GET\"]\ncors = {{ origins = [\"https://a.example\"] }}\n\
         [tenants.acme.keys.ci]\nhash = \"{digest}\"\n\
         [tenants.other]\nroutes = [{{ path = \"/*\", respond = {{}} }}]\n"
    );
    let shown = |tenant: &str, key: &str| {
        let request = Request::get("/").header("x-tenant-id", tenant).header("x-api-key", key);
        ask_of(&routes, None, request)
    };

    let good = shown("acme", &key);
    let unknown = shown("acme", &key.replace(['0', '1', '2'], "3"));
    let other = shown("other", &key);
    let put = ask_of(&routes, Some("acme"), Request::put("/"));

    assert_eq!(good.outcome, "is answered 200 by the route itself");
    assert_eq!(unknown.outcome, "is refused: the credential is not a valid one");
    assert!(other.outcome.contains("not one of the tenant"), "{}", other.outcome);
    assert_eq!(put.outcome, "is refused: the method is not served here");
    for (key, value, line) in [
        ("authenticate", "api-key", 3),
        ("allow", "1 network", 4),
        ("methods", "GET", 5),
        ("cors.origins", "https://a.example", 6),
        ("keys", "ci", 7),
    ] {
        let place = format!("routes.toml:{line}");
        assert_eq!(setting(&good, key), (value, "tenant", Some(place.as_str())), "{key}");
    }
    let told = format!("{good:?}{}", serde_json::to_string(&good).unwrap());
    assert!(!told.contains(&key) && !told.contains(&digest.to_string()));
}

#[test]
fn certificates_of_a_tenant_are_told_by_their_files_and_their_keys_are_not() {
    let routes = "[tenants.acme]\nroutes = [{ path = \"/*\", respond = {} }]\ndomains = [\"a.test\", \"b.test\"]\n\
                  [[tenants.acme.certificates]]\ncert = \"a.pem\"\nkey = \"secret.key\"\nhosts = [\"a.test\", \"b.test\"]\n\
                  [[tenants.acme.certificates]]\ncert = \"/tls/b.pem\"\nkey = \"secret.key\"\n\
                  [tenant]\nfrom = [{ domain = true }]\n";

    let explained = ask_of(routes, None, Request::get("/").header("host", "a.test"));

    let expected = ("a.pem for a.test and b.test, /tls/b.pem", "tenant", Some("routes.toml:4"));
    assert_eq!(setting(&explained, "certificates"), expected);
    assert!(!format!("{explained:?}").contains("secret.key"));
}
