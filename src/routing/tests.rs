//! Which route wins: the written rule, and the trie beside a plain search that follows it.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::prelude::*;

use crate::config::spec::{HostSpec, RouteSpec, SegmentSpec, TailSpec, ValueSpec};

use super::compile;
use super::matcher::Query;
use super::samples::{get, route, spec, tenant};
use super::table::Table;

fn table(own: Vec<RouteSpec>, sets: Vec<Vec<RouteSpec>>) -> Table {
    let names: Vec<String> = (0..sets.len()).map(|at| format!("set{at}")).collect();
    let used: Vec<&str> = names.iter().map(String::as_str).collect();
    let sets = used.iter().copied().zip(sets).collect();
    compile(&spec(vec![("acme", tenant(None, own, &used))], sets), None, &BTreeMap::new(), 1)
}

fn winner(table: &Table, query: &Query<'_>) -> Option<String> {
    table.tenant("acme").unwrap().find(query).map(|route| route.name.to_string())
}

/// Of `routes`, as host and path, the one that takes the request, in either order of the file.
fn check(routes: &[(&str, &str)], host: &str, path: &str, expected: Option<&str>) {
    let headers = HeaderMap::new();
    let query = get(host, path, &headers);
    let mut specs: Vec<_> = routes.iter().map(|(host, path)| route(host, path)).collect();
    for _ in 0..2 {
        let found = winner(&table(specs.clone(), vec![]), &query);
        assert_eq!(found.as_deref(), expected, "{host} {path}");
        specs.reverse();
    }
}

#[test]
fn a_literal_wins_over_a_parameter_and_both_over_a_rest() {
    let routes = [("", "/users/me"), ("", "/users/{id}"), ("", "/users/*"), ("", "/*")];

    check(&routes, "", "/users/me", Some("/users/me"));
    check(&routes, "", "/users/7", Some("/users/{id}"));
    check(&routes, "", "/users/7/pets", Some("/users/*"));
    check(&routes, "", "/users", Some("/users/*"));
    check(&routes, "", "/users/", Some("/users/*"));
    check(&routes, "", "/usersx", Some("/*"));
    check(&routes, "", "/USERS/me", Some("/*"));
}

#[test]
fn the_first_segment_that_differs_decides() {
    let routes = [("", "/a/*"), ("", "/{x}/b/c"), ("", "/a/{y}/c"), ("", "/{x}/*")];

    check(&routes, "", "/a/b/c", Some("/a/{y}/c"));
    check(&routes, "", "/a/b/d", Some("/a/*"));
    check(&routes, "", "/z/b/c", Some("/{x}/b/c"));
    check(&routes, "", "/z/b/d", Some("/{x}/*"));
}

#[test]
fn a_trailing_slash_is_an_empty_last_segment() {
    check(&[("", "/a")], "", "/a/", None);
    check(&[("", "/a/")], "", "/a/", Some("/a/"));
    check(&[("", "/a/")], "", "/a", None);
    check(&[("", "/a/{id}")], "", "/a/", None);
    check(&[("", "/a"), ("", "/a/*")], "", "/a", Some("/a"));
    check(&[("", "/")], "", "/", Some("/"));
    check(&[("", "/")], "", "//", None);
    check(&[("", "/*")], "", "*", Some("/*"));
    check(&[("", "/{a}")], "", "*", None);
}

#[test]
fn a_path_is_compared_as_it_was_sent() {
    check(&[("", "/a b")], "", "/a%20b", None);
    check(&[("", "/a/b")], "", "/a%2Fb", None);
    check(&[("", "/a/*")], "", "/x/../a/b", None);
}

#[test]
fn the_host_decides_before_the_path() {
    let routes =
        [("a.example.com", "/*"), ("*.example.com", "/x"), ("*.a.example.com", "/*"), ("", "/x")];

    check(&routes, "a.example.com", "/x", Some("a.example.com/*"));
    check(&routes, "b.example.com", "/x", Some("*.example.com/x"));
    check(&routes, "c.a.example.com", "/x", Some("*.a.example.com/*"));
    check(&routes, "b.example.com", "/y", None);
    check(&routes, "example.com", "/x", Some("/x"));
    check(&routes, "notexample.com", "/x", Some("/x"));
    check(&routes, "", "/x", Some("/x"));
}

#[test]
fn a_host_of_very_many_dots_costs_no_more_than_a_long_one() {
    let host = "a.".repeat(8_000) + "example.com";

    check(&[("*.example.com", "/*"), ("", "/*")], &host, "/", Some("/*"));
}

#[test]
fn method_then_headers_then_query_decide_between_equal_paths() {
    let named = |name: &str, spec: RouteSpec| RouteSpec { name: name.into(), ..spec };
    let plain = || route("", "/x");
    let header = |name: &'static str| (HeaderName::from_static(name), ValueSpec::Present);
    let specs = vec![
        named("plain", plain()),
        named(
            "query",
            RouteSpec { query: vec![("q".into(), ValueSpec::Is("1".into()))], ..plain() },
        ),
        named("one", RouteSpec { headers: vec![header("a")], ..plain() }),
        named("two", RouteSpec { headers: vec![header("a"), header("b")], ..plain() }),
        named("post", RouteSpec { methods: vec![Method::POST], ..plain() }),
    ];
    let table = table(specs, vec![]);
    let check = |method: &Method, fields: &[&'static str], query: Option<&str>, expected: &str| {
        let headers = fields
            .iter()
            .map(|name| (HeaderName::from_static(name), HeaderValue::from_static("1")))
            .collect();
        let request = Query { host: None, path: "/x", method, headers: &headers, query };
        assert_eq!(winner(&table, &request).as_deref(), Some(expected));
    };

    check(&Method::POST, &["a", "b"], Some("q=1"), "post");
    check(&Method::GET, &["a", "b"], Some("q=1"), "two");
    check(&Method::GET, &["a"], Some("q=1"), "one");
    check(&Method::GET, &["b"], Some("q=1"), "query");
    check(&Method::GET, &[], Some("q=2"), "plain");
}

#[test]
fn a_more_specific_path_whose_conditions_fail_leaves_the_request_to_the_next() {
    let post = RouteSpec { methods: vec![Method::POST], ..route("", "/a/b") };
    let table = table(vec![post, route("", "/{x}/b")], vec![]);
    let headers = HeaderMap::new();

    assert_eq!(winner(&table, &get("", "/a/b", &headers)).as_deref(), Some("/{x}/b"));
}

#[test]
fn of_equal_routes_the_tenants_own_wins_then_the_earlier_set_then_the_earlier_line() {
    let named = |name: &str, path| RouteSpec { name: name.into(), ..route("", path) };
    let sets = vec![
        vec![named("set0", "/x"), named("set0 again", "/x"), named("set0 y", "/y")],
        vec![named("set1", "/x"), named("set1 y", "/y"), named("set1 z", "/z")],
    ];
    let table = table(vec![named("own", "/x"), named("own rest", "/*")], sets);
    let headers = HeaderMap::new();
    let check = |path, expected| {
        assert_eq!(winner(&table, &get("", path, &headers)).as_deref(), Some(expected), "{path}");
    };

    check("/x", "own");
    check("/y", "set0 y");
    check("/z", "set1 z");
    check("/other", "own rest");
}

/// Whether a route takes a request, as plainly as it can be said.
fn takes(route: &RouteSpec, request: &Query<'_>) -> bool {
    let host = match (&route.host, request.host) {
        (None, _) => true,
        (Some(HostSpec::Exact(host)), Some(asked)) => host == asked,
        (Some(HostSpec::Below(host)), Some(asked)) => asked.ends_with(&format!(".{host}")),
        (Some(_), None) => false,
    };
    let path: Vec<&str> = request.path.split('/').skip(1).collect();
    let wanted = &route.path.segments;
    let length = match route.path.tail {
        TailSpec::Nothing => path.len() == wanted.len(),
        TailSpec::Any => path.len() >= wanted.len(),
    };
    let segments = wanted.iter().zip(&path).all(|(wanted, segment)| match wanted {
        SegmentSpec::Literal(text) => text == segment,
        SegmentSpec::Parameter(_) => !segment.is_empty(),
    });
    let method = route.methods.is_empty() || route.methods.contains(request.method);
    let headers = route.headers.iter().all(|(name, _)| request.headers.contains_key(name));
    host && length && segments && method && headers
}

/// How specific a route is, written anew as lists that compare: less is more specific.
fn key(route: &RouteSpec) -> (i64, Vec<u8>, bool, i64) {
    let host = match &route.host {
        Some(HostSpec::Exact(_)) => -1_000_000,
        Some(HostSpec::Below(host)) => -(host.len() as i64) - 1,
        None => 0,
    };
    let mut path: Vec<u8> = route
        .path
        .segments
        .iter()
        .map(|segment| u8::from(matches!(segment, SegmentSpec::Parameter(_))))
        .collect();
    path.push(if route.path.tail == TailSpec::Nothing { 2 } else { 3 });
    (host, path, route.methods.is_empty(), -(route.headers.len() as i64))
}

fn any_route() -> impl Strategy<Value = RouteSpec> {
    let host = prop::sample::select(vec!["", "", "a.b.c", "x.b.c", "*.b.c", "*.c", "*.a.b.c"]);
    let segment = prop::sample::select(vec!["a", "b", "{p}", "", "c"]);
    let path = (prop::collection::vec(segment, 0..4), any::<bool>()).prop_map(|(parts, open)| {
        let end = if open || parts.is_empty() { "/*" } else { "" };
        parts.iter().map(|part| format!("/{part}")).collect::<String>() + end
    });
    (host, path, any::<bool>(), 0usize..3).prop_map(|(host, path, post, headers)| RouteSpec {
        methods: if post { vec![Method::POST] } else { vec![] },
        headers: ["h0", "h1"][..headers]
            .iter()
            .map(|name| (HeaderName::from_static(name), ValueSpec::Present))
            .collect(),
        ..route(host, &path)
    })
}

proptest! {
    #[test]
    fn the_trie_finds_what_a_plain_search_finds(
        own in prop::collection::vec(any_route(), 0..12),
        sets in prop::collection::vec(prop::collection::vec(any_route(), 0..8), 0..3),
        requests in prop::collection::vec(
            (
                prop::sample::select(vec!["", "a.b.c", "x.b.c", "y.a.b.c", "c", "z"]),
                prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "", "d"]), 1..5),
                any::<bool>(),
                0usize..3,
            ),
            1..12,
        ),
    ) {
        // Own routes, then the sets in order, then the order of the file: a stable sort keeps it.
        let mut sorted: Vec<RouteSpec> = own.iter().chain(sets.iter().flatten()).cloned().collect();
        for (at, route) in sorted.iter_mut().enumerate() {
            route.name = at.to_string().into();
        }
        let mut rest = sorted.clone();
        let numbered_own: Vec<_> = rest.drain(..own.len()).collect();
        let numbered_sets = sets.iter().map(|set| rest.drain(..set.len()).collect()).collect();
        sorted.sort_by_key(key);
        let table = table(numbered_own, numbered_sets);

        for (host, path, post, fields) in requests {
            let headers: HeaderMap = ["h0", "h1"][..fields]
                .iter()
                .map(|name| (HeaderName::from_static(name), HeaderValue::from_static("1")))
                .collect();
            let path = path.iter().map(|part| format!("/{part}")).collect::<String>();
            let method = if post { Method::POST } else { Method::GET };
            let request = Query { method: &method, ..get(host, &path, &headers) };

            let expected = sorted.iter().find(|route| takes(route, &request));

            let expected = expected.map(|route| Arc::clone(&route.name));
            let found = table.tenant("acme").unwrap().find(&request);
            prop_assert_eq!(found.map(|route| Arc::clone(&route.name)), expected, "{} {}", host, path);
        }
    }

    #[test]
    fn no_request_makes_a_look_up_panic(host in ".{0,40}", path in ".{0,60}", query in ".{0,40}") {
        let conditions = vec![("q".to_owned(), ValueSpec::Is("1".into()))];
        let strict = RouteSpec { query: conditions, ..route("*.c", "/a/{b}/*") };
        let table = table(vec![strict, route("", "/*")], vec![]);
        let headers = HeaderMap::new();
        let request = Query { query: Some(&query), ..get(&host, &path, &headers) };

        prop_assert!(winner(&table, &request).is_some());
    }
}
