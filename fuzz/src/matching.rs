//! Naming a tenant and finding its route, beside a model that is read off docs/routing.md.
//!
//! An input is a row of choices: how tenants are named, the routes, and what is asked of them. The
//! routes go through the file's text, as those of an operator do.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use http::Request;
use http::request::Parts;
use tenantry::config::Problem;
use tenantry::config::spec::RoutesSpec;
use tenantry::model::ids::PoolId;
use tenantry::pool::Pool;
use tenantry::routing::naming::{NamingError, Shown};
use tenantry::routing::table::Table;
use tenantry::routing::{Query, compile, host};

use super::choices::Choices;
use super::model::{Asked, HostText, Named, Sketch, Way, Wrong, choose, name};
use super::routes::{checked, checked_whole, pools};

/// The target.
#[derive(Debug)]
pub struct Matching {
    pools: BTreeMap<PoolId, Arc<Pool>>,
}

impl Matching {
    /// Makes the one pool that all tenants have.
    pub fn start() -> Self {
        let spec = checked("[pools.p]\nendpoints = [\"127.0.0.1:1\"]\n").expect("a good pool");
        Self { pools: pools(&spec) }
    }

    /// Runs one input.
    pub fn run(&self, input: &[u8]) {
        let mut choices = Choices(input);
        let plan = Plan::of(&mut choices);
        let text = plan.text();
        let whole = checked_whole(&text);
        let spec = match whole.result {
            Ok(spec) => spec,
            Err(problems) => panic!("{problems}\n{text}"),
        };
        let (routes, tenants): (Vec<&Problem>, Vec<&Problem>) =
            whole.doubts.iter().partition(|doubt| doubt.key.contains(".routes["));
        let never: Vec<&str> = routes.iter().map(|doubt| name_below(&text, doubt)).collect();
        let table = compile(&spec, None, &self.pools, 1);
        let patterns = plan.patterns();
        for _ in 0..MOST_ASKED {
            let asked = asked(&mut choices, &patterns);
            let (named, chosen) = plan.expected(&asked);
            let (found, route) = found(&table, &head(&asked));
            assert_eq!(found, named, "naming: {asked:?} in\n{text}");
            assert_eq!(route, chosen, "route: {asked:?} in\n{text}");
            if let Ok((id, _)) = &named {
                let is_told = tenants.iter().any(|doubt| doubt.key.contains(id.as_str()));
                assert!(!is_told, "{id} is told to be never named: {asked:?} in\n{text}");
            }
            let is_told = route.as_deref().is_some_and(|name| never.contains(&name));
            assert!(!is_told, "{route:?} is told to be never used: {asked:?} in\n{text}");
            if choices.is_over() {
                break;
            }
        }
        self.judge_edit(&spec, &table);
    }

    /// What has not changed is shared with the table before.
    fn judge_edit(&self, spec: &RoutesSpec, before: &Table) {
        let again = compile(spec, Some(before), &self.pools, 2);
        for tenant in before.tenants() {
            let same = again.tenant(tenant.id());
            assert!(same.is_some_and(|same| Arc::ptr_eq(same, tenant)), "{} is new", tenant.id());
        }
    }
}

/// A routes file.
struct Plan {
    ways: Vec<Way>,
    sets: [Vec<Sketch>; 2],
    /// The own routes of each tenant, and the sets that it uses.
    tenants: [(Vec<Sketch>, Vec<usize>); 3],
}

impl Plan {
    fn of(choices: &mut Choices<'_>) -> Self {
        let mut ways = Vec::new();
        for _ in 0..=choices.below(3) {
            let way = choices.one(&WAYS);
            if !ways.contains(&way) {
                ways.push(way);
            }
            // Those after a default would never be used, which is refused.
            if matches!(way, Way::Default(_)) {
                break;
            }
        }
        let mut set = || {
            let mut routes = sketches(choices);
            if routes.is_empty() {
                routes.push(sketch(choices));
            }
            routes
        };
        let sets = [set(), set()];
        let mut tenant = |_| {
            let used = [&[][..], &[0], &[1], &[0, 1], &[1, 0]];
            (sketches(choices), choices.one(&used).to_vec())
        };
        Self { ways, sets, tenants: [0, 1, 2].map(&mut tenant) }
    }

    fn text(&self) -> String {
        let mut text = String::from("[tenant]\nfrom = [");
        for way in &self.ways {
            let put = match way {
                Way::Header(name) => write!(text, "{{ header = \"{name}\" }}, "),
                Way::Host(before, after) => {
                    write!(text, "{{ host = \"{before}{{tenant}}{after}\" }}, ")
                }
                Way::Strip => write!(text, "{{ path = \"strip\" }}, "),
                Way::Keep => write!(text, "{{ path = \"keep\" }}, "),
                Way::Default(id) => write!(text, "{{ default = \"{id}\" }}, "),
            };
            put.expect("a String takes all");
        }
        text.push_str("]\n[pools.p]\nendpoints = [\"127.0.0.1:1\"]\n");
        for (number, routes) in self.sets.iter().enumerate() {
            write_routes(&mut text, &format!("route-sets.s{number}"), &set_name(number), routes);
        }
        for (id, (own, used)) in TENANTS.iter().zip(&self.tenants) {
            let used: Vec<String> = used.iter().map(|set| format!("\"s{set}\"")).collect();
            let used = used.join(", ");
            writeln!(text, "[tenants.\"{id}\"]\npool = \"p\"\nuse = [{used}]").expect("room");
            write_routes(&mut text, &format!("tenants.\"{id}\""), id, own);
        }
        text
    }

    fn patterns(&self) -> Vec<&str> {
        let own = self.tenants.iter().map(|(own, _)| own);
        own.chain(&self.sets).flatten().map(|route| route.path.as_str()).collect()
    }

    /// What the model says: who is named, and the name of the route.
    fn expected(&self, asked: &Asked) -> (Named, Option<String>) {
        let named = name(&self.ways, &TENANTS, asked);
        let Ok((id, path)) = &named else { return (named, None) };
        let at = TENANTS.iter().position(|tenant| tenant == id).expect("a known tenant");
        let (own, used) = &self.tenants[at];
        let mut routes = own.clone();
        let mut names: Vec<String> = (0..own.len()).map(|at| route_name(id, at)).collect();
        for set in used {
            routes.extend_from_slice(&self.sets[*set]);
            let of_set = |at| route_name(&set_name(*set), at);
            names.extend((0..self.sets[*set].len()).map(of_set));
        }
        let chosen = choose(&routes, asked, path).map(|at| names.swap_remove(at));
        (named, chosen)
    }
}

/// The name of the route that begins where a warning points.
fn name_below<'t>(text: &'t str, doubt: &Problem) -> &'t str {
    let line = text.lines().nth(doubt.line).unwrap_or_default();
    let name = line.strip_prefix("name = \"").and_then(|rest| rest.strip_suffix('"'));
    name.unwrap_or_else(|| panic!("{doubt} is not at a route in\n{text}"))
}

fn set_name(number: usize) -> String {
    format!("s{number}")
}

fn route_name(owner: &str, at: usize) -> String {
    format!("{owner} {at}")
}

fn write_routes(text: &mut String, table: &str, owner: &str, routes: &[Sketch]) {
    let condition = |(name, value): &(&str, Option<&str>)| match value {
        Some(value) => format!("\"{name}\" = \"{value}\""),
        None => format!("\"{name}\" = true"),
    };
    for (at, route) in routes.iter().enumerate() {
        let name = route_name(owner, at);
        let headers: Vec<String> = route.headers.iter().map(condition).collect();
        let query: Vec<String> = route.query.iter().map(condition).collect();
        let (headers, query) = (headers.join(", "), query.join(", "));
        let put = write!(
            text,
            "[[{table}.routes]]\nname = \"{name}\"\npath = \"{}\"\n\
             headers = {{ {headers} }}\nquery = {{ {query} }}\n",
            route.path
        );
        put.expect("a String takes all");
        // A list of none is refused.
        if !route.methods.is_empty() {
            writeln!(text, "methods = {:?}", route.methods).expect("a String takes all");
        }
        if let Some(host) = route.host {
            writeln!(text, "host = \"{host}\"").expect("a String takes all");
        }
    }
}

/// Routes of one list, none twice: a twin is refused.
fn sketches(choices: &mut Choices<'_>) -> Vec<Sketch> {
    let mut routes = Vec::new();
    for _ in 0..choices.below(6) {
        let route = sketch(choices);
        if !routes.contains(&route) {
            routes.push(route);
        }
    }
    routes
}

fn sketch(choices: &mut Choices<'_>) -> Sketch {
    let shape = choices.byte();
    let mut path = String::new();
    for _ in 0..shape & 3 {
        path.push('/');
        path.push_str(choices.one(&SEGMENTS));
    }
    path.push_str(["", "/", "/*", "/*"][usize::from(shape >> 2 & 3)]);
    if path.is_empty() {
        path.push('/');
    }
    // Few of them each, so that a request that meets all is likely.
    let conditions = choices.byte() & choices.byte() & choices.byte();
    let host = choices.one(&ROUTE_HOSTS);
    let has = |bit: u8| conditions & bit != 0;
    let methods: Vec<_> =
        [has(1).then_some("GET"), has(2).then_some("POST")].into_iter().flatten().collect();
    let headers = [has(4).then_some(("x-a", None)), has(8).then_some(("x-b", Some("1")))];
    let query = [
        has(16).then_some(("q", None)),
        has(32).then_some(("q r", Some("a b"))),
        has(64).then_some(("", Some("%"))),
    ];
    Sketch {
        host,
        path,
        methods,
        headers: headers.into_iter().flatten().collect(),
        query: query.into_iter().flatten().collect(),
    }
}

fn asked(choices: &mut Choices<'_>, patterns: &[&str]) -> Asked {
    let shape = choices.byte();
    let pattern = choices.one(patterns);
    let mut path = String::new();
    // Most look like a route, the others like nothing.
    let like = if shape & 3 == 0 { "/*" } else { pattern };
    for segment in like.split('/').skip(1) {
        match segment {
            "*" => (0..choices.below(4)).for_each(|_| push_segment(&mut path, choices)),
            "{x}" => push_segment(&mut path, choices),
            literal => path.extend(["/", literal]),
        }
    }
    if path.is_empty() || shape & 4 != 0 {
        path.push('/');
    }
    let hosts: Vec<HostText> =
        (0..[1, 1, 0, 2][usize::from(shape >> 3 & 3)]).map(|_| choices.one(&HOSTS)).collect();
    let authority = (shape & 32 != 0).then(|| choices.one(&HOSTS)).filter(|(text, _)| is_uri(text));
    let query = (shape & 64 != 0).then(|| {
        let parts: Vec<&str> = (0..choices.below(4)).map(|_| choices.one(&PAIRS)).collect();
        parts.join("&")
    });
    let fields = (0..choices.below(4)).map(|_| choices.one(&FIELDS)).collect();
    let star = shape & 128 != 0 && authority.is_none();
    let (method, path, query) = match star {
        true => ("OPTIONS", "*".to_owned(), None),
        false => (choices.one(&["GET", "POST", "PUT"]), path, query),
    };
    Asked { method, path, query, authority, hosts, fields }
}

fn push_segment(path: &mut String, choices: &mut Choices<'_>) {
    path.extend(["/", choices.one(&ASKED_SEGMENTS)]);
}

/// Whether a host may stand in a target: the library refuses the others before a gateway is asked.
fn is_uri(text: &str) -> bool {
    text.parse::<http::uri::Authority>().is_ok()
}

fn head(asked: &Asked) -> Parts {
    let query = asked.query.as_ref().map_or_else(String::new, |query| format!("?{query}"));
    let target = match asked.authority {
        Some((host, _)) => format!("http://{host}{}{query}", asked.path),
        None => format!("{}{query}", asked.path),
    };
    let mut request = Request::builder().method(asked.method).uri(target);
    for (host, _) in &asked.hosts {
        request = request.header("host", *host);
    }
    for (name, value) in &asked.fields {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a request that the library takes").into_parts().0
}

/// What the gateway finds.
fn found(table: &Table, head: &Parts) -> (Named, Option<String>) {
    let named = match table.name(head, &Shown::default()) {
        Ok(named) => named,
        Err(NamingError::Missing) => return (Err(Wrong::Missing), None),
        Err(NamingError::Ambiguous { .. }) => return (Err(Wrong::Ambiguous), None),
        Err(NamingError::Unknown { .. }) => return (Err(Wrong::Unknown), None),
        Err(other) => panic!("an error that the model does not know: {other}"),
    };
    let host = host::of(head);
    let route = named.tenant.find(&Query {
        host: host.as_deref(),
        path: named.path,
        method: &head.method,
        headers: &head.headers,
        query: head.uri.query(),
    });
    let tenant = named.tenant.id().to_owned();
    (Ok((tenant, named.path.to_owned())), route.map(|route| route.name.to_string()))
}

const MOST_ASKED: usize = 16;
const TENANTS: [&str; 3] = ["acme", "other", "B.c"];
const WAYS: [Way; 10] = [
    Way::Header("X-Tenant-ID"),
    Way::Header("X-Tenant-ID"),
    Way::Header("x-t"),
    Way::Host("", ".t.test"),
    Way::Host("x-", ".test"),
    Way::Strip,
    Way::Keep,
    Way::Default("acme"),
    Way::Default("other"),
    Way::Default("B.c"),
];
const SEGMENTS: [&str; 4] = ["a", "b", "{x}", "a%2Fb"];
const ROUTE_HOSTS: [Option<&str>; 10] = [
    None,
    None,
    None,
    None,
    None,
    Some("a.test"),
    Some("b.a.test"),
    Some("*.test"),
    Some("*.a.test"),
    Some("*.b.a.test"),
];
const ASKED_SEGMENTS: [&str; 10] = ["a", "b", "", "c", "a%2Fb", "A", "acme", "other", "B.c", "{x}"];
const HOSTS: [HostText; 18] = [
    ("a.test", Some("a.test")),
    ("b.a.test", Some("b.a.test")),
    ("c.b.a.test:8080", Some("c.b.a.test")),
    ("B.A.Test", Some("b.a.test")),
    ("test", Some("test")),
    ("x.test", Some("x.test")),
    ("a.test.", Some("a.test")),
    ("ba.test", Some("ba.test")),
    ("a.test:", Some("a.test")),
    ("acme.t.test", Some("acme.t.test")),
    ("OTHER.t.test:443", Some("other.t.test")),
    ("a.acme.t.test", Some("a.acme.t.test")),
    ("x-acme.test", Some("x-acme.test")),
    ("x-.test", Some("x-.test")),
    ("a.test:99999", None),
    ("u@a.test", None),
    ("a test", None),
    ("", None),
];
const PAIRS: [&str; 10] =
    ["q", "q=1", "%71", "q+r=a+b", "q%20r=a%20b", "q+r=a", "=%", "=%25", "", "=%2"];
const FIELDS: [(&str, &str); 16] = [
    ("x-tenant-id", "acme"),
    ("x-tenant-id", "other"),
    ("x-tenant-id", "B.c"),
    ("x-t", "acme"),
    ("x-a", "1"),
    ("x-b", "1"),
    ("x-b", "2"),
    ("x-tenant-id", "acme"),
    ("x-tenant-id", "other"),
    ("x-tenant-id", "acme,other"),
    ("x-tenant-id", ""),
    ("x-tenant-id", "nobody"),
    ("x-t", "B.c"),
    ("x-t", "b.c"),
    ("x-t", "a b"),
    ("X-T", "acme"),
];
