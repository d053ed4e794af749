//! Why a request goes where it goes: how its tenant was named, and for each route why it takes the
//! request or not. Told from what the files say; which route wins, the table itself decides.

use std::sync::Arc;

use http::request::Parts;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::secrets::Secrets;
use crate::config::spec::{
    CertificateField, HostSpec, NameFrom, PathSpec, RouteSpec, RoutesSpec, SegmentSpec, TailSpec,
    TenantSpec, ValueSpec,
};

use super::matcher::{Query, has_field, has_parameter};
use super::naming::Shown;
use super::route::{Rank, Route, segments};
use super::table::Table;

/// One way to name a tenant, and what it said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Way {
    /// As in `the header x-tenant-id`.
    pub way: String,
    /// As in `names "acme"`.
    pub says: String,
    /// Whether it decided.
    pub decides: bool,
    /// Where a file says it, as in `routes.toml:2`; `None` = it is built in, or nobody has looked.
    pub place: Option<String>,
}

/// One route of a tenant, and what it thinks of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    /// The route's name.
    pub name: String,
    /// The table that holds it: `tenants.acme` or `route-sets.shared`.
    pub of: String,
    /// Its place among the routes there, from 0.
    pub index: usize,
    /// Whether it is the one that takes the request.
    pub chosen: bool,
    /// Why not: each condition that does not hold, or that a more specific route takes it.
    pub reasons: Vec<String>,
}

/// What each way to name the tenant says of a request, up to the one that decides. `shown` is what is
/// known of the client.
pub fn naming(table: &Table, head: &Parts, shown: &Shown<'_>) -> Vec<Way> {
    let mut ways = Vec::new();
    for way in &table.naming.from {
        let said = table.ask(way, head, shown);
        let decides = !matches!(said, Ok(None));
        let says = match said {
            Ok(None) => "says nothing".to_owned(),
            Ok(Some(named)) => format!("names \"{}\"", named.tenant.id()),
            Err(error) => error.to_string(),
        };
        ways.push(Way { way: told(way), says, decides, place: None });
        if decides {
            break;
        }
    }
    ways
}

fn told(way: &NameFrom) -> String {
    match way {
        NameFrom::Header(name) => format!("the header {name}"),
        NameFrom::Host { prefix, suffix } => format!("the host {prefix}{{tenant}}{suffix}"),
        NameFrom::Certificate { field, prefix, suffix } => {
            let field = match field {
                CertificateField::CommonName => "common name",
                CertificateField::Dns => "DNS name",
                CertificateField::Uri => "URI",
            };
            format!("the client certificate's {field} {prefix}{{tenant}}{suffix}")
        }
        NameFrom::Path(_) => "the first segment of the path".to_owned(),
        NameFrom::Credential(kind) => format!("the credential ({})", kind.as_str()),
        NameFrom::Domain => "the domains of tenants".to_owned(),
        NameFrom::Default(_) => "the default".to_owned(),
    }
}

/// What each route of a tenant thinks of a request: the chosen one first, then those that would take
/// it too, then the others, each group in the order in which they are asked. What is among `secrets` is not told.
pub fn routes(
    spec: &RoutesSpec,
    (id, tenant): (&str, &TenantSpec),
    chosen: Option<&Arc<Route>>,
    request: &Query<'_>,
    secrets: &Secrets,
) -> Vec<Verdict> {
    let asked = in_order(spec, (id, tenant));
    let mut verdicts = Vec::with_capacity(asked.len());
    let mut taken = false;
    for Placed { of, index, route } in asked {
        let mut reasons = why_not(route, request, secrets);
        let takes = reasons.is_empty();
        let is_chosen = takes && !taken && chosen.is_some_and(|chosen| chosen.name == route.name);
        taken |= is_chosen;
        if takes && !is_chosen {
            reasons
                .push("another one that takes it is more specific, or stands before it".to_owned());
        }
        verdicts.push((
            takes,
            Verdict { name: route.name.to_string(), of, index, chosen: is_chosen, reasons },
        ));
    }
    verdicts.sort_by_key(|(takes, verdict)| (!verdict.chosen, !takes));
    verdicts.into_iter().map(|(_, verdict)| verdict).collect()
}

/// A route, and the list that it is written in.
#[derive(Clone, Debug)]
pub struct Placed<'s> {
    /// The table that holds it: `tenants.acme` or `route-sets.shared`.
    pub of: String,
    /// Its place among the routes there, from 0.
    pub index: usize,
    /// The route.
    pub route: &'s RouteSpec,
}

/// The routes of a tenant and of its route sets, in the order in which they are asked.
pub fn in_order<'s>(
    spec: &'s RoutesSpec,
    (id, tenant): (&'s str, &'s TenantSpec),
) -> Vec<Placed<'s>> {
    let shared =
        tenant.route_sets.iter().filter_map(|name| Some((name, spec.route_sets.get(name)?)));
    let shared = shared.flat_map(|(name, set)| placed("route-sets", name, &set.routes));
    let mut asked: Vec<_> = placed("tenants", id, &tenant.routes).chain(shared).collect();
    asked.sort_by_key(|placed| Rank::of(placed.route));
    asked
}

/// The routes of one list, in the order of the file. `table` is `tenants` or `route-sets`.
pub fn placed<'s>(
    table: &'s str,
    name: &'s str,
    routes: &'s [RouteSpec],
) -> impl Iterator<Item = Placed<'s>> {
    let place = move |(index, route)| Placed { of: format!("{table}.{name}"), index, route };
    routes.iter().enumerate().map(place)
}

/// The conditions of a route that a request does not meet; none = it takes it.
fn why_not(route: &RouteSpec, request: &Query<'_>, secrets: &Secrets) -> Vec<String> {
    let mut reasons = Vec::new();
    if let Some(wanted) = &route.host
        && !fits_host(wanted, request.host)
    {
        let host = request
            .host
            .map_or("there is no host".to_owned(), |host| format!("the host is {host}"));
        let wanted = match wanted {
            HostSpec::Exact(host) => host.clone(),
            HostSpec::Below(host) => format!("*.{host}"),
        };
        reasons.push(format!("{host}, not {wanted}"));
    }
    if !fits_path(&route.path, request.path) {
        reasons.push(format!("the path {} does not fit {}", request.path, route.path.text));
    }
    if !route.methods.is_empty() && !route.methods.contains(request.method) {
        let methods: Vec<&str> = route.methods.iter().map(http::Method::as_str).collect();
        reasons.push(format!("the method is {}, not {}", request.method, methods.join(" or ")));
    }
    for (name, value) in &route.headers {
        if !has_field(request.headers, name, value) {
            let is_secret = secrets.hide(["headers", name.as_str()]);
            reasons.push(missing(&format!("the header {name}"), value, is_secret));
        }
    }
    for (name, value) in &route.query {
        if !has_parameter(request.query, name, value) {
            let is_secret = secrets.hide(["query", name]);
            reasons.push(missing(&format!("the query parameter {name}"), value, is_secret));
        }
    }
    reasons
}

fn missing(what: &str, wanted: &ValueSpec, is_secret: bool) -> String {
    match wanted {
        ValueSpec::Present => format!("{what} is not there"),
        ValueSpec::Is(_) if is_secret => format!("{what} is not there, or has another value"),
        ValueSpec::Is(text) => format!("{what} is not {text:?}"),
    }
}

fn fits_host(wanted: &HostSpec, host: Option<&str>) -> bool {
    match (wanted, host) {
        (_, None) => false,
        (HostSpec::Exact(wanted), Some(host)) => wanted == host,
        (HostSpec::Below(parent), Some(host)) => {
            let below = host.strip_suffix(parent.as_str()).and_then(|rest| rest.strip_suffix('.'));
            below.is_some_and(|below| !below.is_empty())
        }
    }
}

fn fits_path(wanted: &PathSpec, path: &str) -> bool {
    let Some(rest) = path.strip_prefix('/') else {
        return wanted.segments.is_empty() && wanted.tail == TailSpec::Any;
    };
    let mut left = rest.split('/');
    let each = segments(wanted).all(|segment| match (segment, left.next()) {
        (_, None) => false,
        (SegmentSpec::Literal(text), Some(part)) => text == part,
        (SegmentSpec::Parameter(_), Some(part)) => !part.is_empty(),
    });
    each && (wanted.tail == TailSpec::Any || left.next().is_none())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use http::{HeaderMap, Request};
    use proptest::prelude::*;

    use crate::config::spec::MaskSpec;

    use super::super::compile;
    use super::super::samples::{get, route, spec, tenant};
    use super::*;

    #[test]
    fn each_way_tells_what_it_said_up_to_the_one_that_decides() {
        let spec = spec(vec![("acme", tenant(None, vec![], &[]))], vec![]);
        let table = compile(&spec, None, &BTreeMap::new(), 1);
        let said = |value: Option<&str>| {
            let request = value
                .map_or(Request::get("/"), |value| Request::get("/").header("x-tenant-id", value));
            let (head, ()) = request.body(()).unwrap().into_parts();
            let ways = naming(&table, &head, &Shown::default());
            format!("{} {} {}", ways[0].way, ways[0].says, ways[0].decides)
        };

        assert_eq!(said(Some("acme")), "the header x-tenant-id names \"acme\" true");
        assert_eq!(
            said(Some("nobody")),
            "the header x-tenant-id there is no tenant \"nobody\" true"
        );
        assert_eq!(said(None), "the header x-tenant-id says nothing false");
    }

    #[test]
    fn each_condition_that_does_not_hold_is_told() {
        let mut wanted = route("*.example.com", "/a/{id}");
        wanted.methods = vec![http::Method::POST];
        wanted.query = vec![("q".into(), ValueSpec::Is("1".into()))];
        let headers = HeaderMap::new();

        let reasons = why_not(&wanted, &get("example.com", "/a/", &headers), &Secrets::default());

        assert_eq!(
            reasons,
            [
                "the host is example.com, not *.example.com",
                "the path /a/ does not fit /a/{id}",
                "the method is GET, not POST",
                "the query parameter q is not \"1\"",
            ]
        );
    }

    #[test]
    fn a_condition_that_is_a_secret_is_told_without_its_value() {
        let mut wanted = route("", "/a");
        let is = |text: &str| ValueSpec::Is(text.into());
        let header = |name, value| (http::HeaderName::from_static(name), value);
        wanted.headers = vec![
            header("x-invite", is("one")),
            header("authorization", is("two")),
            header("x-token", ValueSpec::Present),
        ];
        wanted.query = vec![("My-Code".into(), is("three"))];
        let invite = http::HeaderName::from_static("x-invite");
        let mask = MaskSpec { query: vec!["my_code".to_owned()], headers: vec![invite] };
        let mut headers = HeaderMap::new();
        headers.insert("x-invite", http::HeaderValue::from_static("another"));

        let reasons = why_not(&wanted, &get("", "/a", &headers), &Secrets::of(&mask));

        assert_eq!(
            reasons,
            [
                "the header x-invite is not there, or has another value",
                "the header authorization is not there, or has another value",
                "the header x-token is not there",
                "the query parameter My-Code is not there, or has another value",
            ]
        );
    }

    fn host() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec!["", "a.com", "b.a.com", "*.a.com", "*.com"])
    }

    fn pattern() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec![
            "/", "/*", "/a", "/a/", "/a/*", "/{x}", "/{x}/b", "/a/{y}", "/{x}/*",
        ])
    }

    proptest! {
        /// The naive look at the files and the table agree on which routes take a request.
        #[test]
        fn the_route_that_the_table_finds_is_the_first_that_takes_the_request(
            routes_of in prop::collection::vec((host(), pattern()), 0..8),
            asked_host in prop::sample::select(vec!["", "a.com", "b.a.com", "c.b.a.com", "x.com", "com"]),
            path in prop::sample::select(vec!["/", "/a", "/a/", "/a/b", "/c", "/c/b", "/c/d/e", "//", "*"]),
        ) {
            let specs: Vec<RouteSpec> = routes_of.iter().map(|(host, path)| route(host, path)).collect();
            let spec = spec(vec![("acme", tenant(None, specs, &[]))], vec![]);
            let table = compile(&spec, None, &BTreeMap::new(), 1);
            let headers = HeaderMap::new();
            let request = get(asked_host, path, &headers);
            let chosen = table.tenant("acme").unwrap().find(&request);

            let (_, acme) = spec.tenants.iter().next().unwrap();
            let verdicts = routes(&spec, ("acme", acme), chosen, &request, &Secrets::default());

            let told = verdicts.first().filter(|verdict| verdict.chosen).map(|verdict| verdict.name.as_str());
            prop_assert_eq!(told, chosen.map(|route| route.name.as_ref()));
            prop_assert_eq!(verdicts.len(), routes_of.len());
            prop_assert!(verdicts.iter().all(|verdict| verdict.chosen == verdict.reasons.is_empty()));
        }
    }
}
