//! What is told of one file, read by a person.

use http::Request;

use crate::config::{self, Known};

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
    let files = Files::of_text("routes.toml", ROUTES);
    let known = Known { balancers: &["least-request", "random"] };
    let spec = config::check_routes(&files, &known).unwrap_or_else(|problems| panic!("{problems}"));
    let (head, ()) = request.body(()).unwrap().into_parts();
    let tenant = tenant.map(|id| TenantId::new(id).unwrap());
    explain(files, spec, &Question { tenant, head }).unwrap()
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
fn a_request_that_nobody_takes_is_told_why() {
    let nobody = ask(Some("nobody"), Request::get("/"));
    let refused = ask(None, Request::get("/").header("x-tenant-id", "a,b"));
    let respond = ask(Some("acme"), Request::post("/billing/1"));

    assert_eq!(nobody.outcome, "is refused: there is no tenant \"nobody\"");
    assert_eq!(refused.outcome, "is refused: the tenant in the header x-tenant-id is a list");
    assert_eq!(respond.outcome, "is answered 404 by the route itself");
    assert!(respond.pool.is_none() && respond.settings.is_empty());
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
