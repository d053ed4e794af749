//! Routes that can never be used: another one goes before and takes all that they would take. They
//! harm nobody, so they are told and no reason to refuse the files.

use std::cmp::Reverse;
use std::collections::HashMap;

use http::Method;

use crate::config::faults::Faults;
use crate::config::key::Key;
use crate::config::spec::{RouteSpec, ValueSpec};

use super::route::shape;

/// Tells each route of one tenant or route set that can never be used.
///
/// Only a route of the same host and path pattern can go before another one and take all of its
/// requests: where patterns differ, the more specific one goes before, and it takes less. A route
/// set whose routes are behind those of a tenant is meant to be, so sets are looked at by
/// themselves.
pub(super) fn tell(routes: &[RouteSpec], starts: &[usize], key: &Key<'_>, faults: &mut Faults<'_>) {
    let mut groups: HashMap<String, Vec<usize>> = HashMap::with_capacity(routes.len());
    for (index, route) in routes.iter().enumerate() {
        groups.entry(shape(route)).or_default().push(index);
    }
    let mut shadowed: Vec<(usize, usize)> = groups
        .values()
        .filter(|group| (2..=MOST).contains(&group.len()))
        .flat_map(|group| group.iter().filter_map(|at| Some((*at, above(*at, group, routes)?))))
        .collect();
    shadowed.sort_unstable();
    for (index, other) in shadowed {
        // A condition that could not be read is not there: nothing can be said of such a route.
        if faults.touches(&key.index(index)) || faults.touches(&key.index(other)) {
            continue;
        }
        let (Some(start), Some(first)) = (starts.get(index), starts.get(other)) else { continue };
        let what = "is never used: another route goes before it and takes all of its requests";
        faults.doubt(&key.index(index), *start, what, |faults| {
            let place = faults.place(key.file, *first);
            format!("the other is at {place}; put this one first, or take it out")
        });
    }
}

/// A route of the group that takes requests of this one before it, where together they take all.
fn above(index: usize, group: &[usize], routes: &[RouteSpec]) -> Option<usize> {
    let route = routes.get(index)?;
    let mut left: Vec<&Method> = route.methods.iter().collect();
    let mut last = None;
    for (at, other) in group.iter().filter_map(|at| Some((*at, routes.get(*at)?))) {
        if rank(other, at) >= rank(route, index) || !takes_values_of(other, route) {
            continue;
        }
        if other.methods.is_empty() {
            return Some(at);
        }
        let before = left.len();
        left.retain(|method| !other.methods.contains(method));
        if left.len() < before {
            last = Some(at);
        }
        // Without a condition on the method there is always one more.
        if left.is_empty() && !route.methods.is_empty() {
            return last;
        }
    }
    None
}

/// What decides between routes of the same host and path: as docs/routing.md has it.
fn rank(route: &RouteSpec, index: usize) -> impl Ord {
    (route.methods.is_empty(), Reverse(route.headers.len()), Reverse(route.query.len()), index)
}

/// Whether each request with the headers and parameters of `route` has those of `other`.
fn takes_values_of(other: &RouteSpec, route: &RouteSpec) -> bool {
    other.headers.iter().all(|wanted| is_implied(wanted, &route.headers))
        && other.query.iter().all(|wanted| is_implied(wanted, &route.query))
}

fn is_implied<K: PartialEq>((name, wanted): &(K, ValueSpec), by: &[(K, ValueSpec)]) -> bool {
    let implies = |value: &ValueSpec| *wanted == ValueSpec::Present || wanted == value;
    by.iter().any(|(other, value)| other == name && implies(value))
}

/// 500: each is compared with each, and so many with one path are made by a program.
const MOST: usize = 500;

#[cfg(test)]
mod tests {
    use crate::config::{Files, Known, check_routes_whole};

    /// The indexes of the routes that are told, each with the line that the hint names. A route is
    /// a line of its own.
    fn told(routes: &[&str]) -> Vec<(usize, usize)> {
        let lines: String = routes.iter().map(|route| format!("{{ {route} }},\n")).collect();
        let head = "pools.a.dns = \"a:1\"\n[tenants.t]\npool = \"a\"\nroutes = [\n";
        let text = format!("{head}{lines}]\n");
        let checked = check_routes_whole(
            &Files::of_text("r.toml", &text),
            &Known { balancers: &[], keyed: &[] },
        );
        checked.result.unwrap_or_else(|problems| panic!("{problems}"));
        let line = |hint: &str| hint.split(':').nth(1).unwrap().parse::<usize>().unwrap();
        let told = |doubt: &crate::config::Problem| {
            (doubt.line - FIRST, line(doubt.hint.as_deref().unwrap()) - FIRST)
        };
        checked.doubts.iter().map(told).collect()
    }

    /// The line of the first route.
    const FIRST: usize = 5;

    #[test]
    fn a_route_behind_one_that_takes_all_of_its_requests_is_told() {
        let get = "path = \"/a/*\", methods = [\"GET\"]";
        let both = "path = \"/a/*\", methods = [\"GET\", \"POST\"]";
        assert_eq!(told(&[both, get]), [(1, 0)]);
        assert_eq!(told(&[get, both]), []);
        assert_eq!(told(&[get, "path = \"/a/*\""]), [], "methods go before");
        assert_eq!(told(&["path = \"/a/*\"", get]), [], "methods go before");

        let present = "path = \"/{x}\", headers = { x-a = true }";
        let is = "path = \"/{y}\", headers = { x-a = \"1\" }";
        assert_eq!(told(&[present, is]), [(1, 0)]);
        assert_eq!(told(&[is, present]), []);
        let more = "path = \"/{z}\", headers = { x-a = \"1\", x-b = true }";
        assert_eq!(told(&[present, more]), [], "more conditions go before");

        let query = "query = { v = true }";
        assert_eq!(told(&[query, "query = { v = \"2\" }"]), [(1, 0)]);
        assert_eq!(told(&[query, "query = { w = \"2\" }"]), []);
    }

    #[test]
    fn several_routes_together_may_take_all() {
        let get = "methods = [\"GET\"]";
        let post = "methods = [\"POST\"], headers = { x-a = true }";
        assert_eq!(told(&[get, post, "methods = [\"POST\", \"GET\"]"]), []);
        let post = "methods = [\"POST\"]";
        assert_eq!(told(&[get, post, "methods = [\"POST\", \"GET\"]"]), [(2, 1)]);
        let put = "methods = [\"POST\", \"GET\", \"PUT\"]";
        assert_eq!(told(&[get, post, put]), []);
    }

    #[test]
    fn other_hosts_and_paths_shadow_nothing() {
        let any = "path = \"/*\", methods = [\"GET\"]";
        let below = "path = \"/a/*\", methods = [\"GET\"]";
        let host = "path = \"/*\", host = \"a.test\", methods = [\"GET\"]";
        let hosts = "path = \"/*\", host = \"*.test\", methods = [\"GET\"]";
        assert_eq!(told(&[any, below, hosts, host]), []);
    }
}
