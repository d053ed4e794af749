//! What somebody may change of a tenant who may not change all of it.

use std::collections::BTreeSet;
use std::slice;
use std::sync::Arc;

use serde_json::Value;

use crate::config::grants::{is_grant, is_of_its_route};
use crate::config::places;
use crate::config::spec::RoutesSpec;

use super::Entry;
use super::definition::{Definition, Table};
use super::refusal::Refusal;

/// The keys that a tenant's own token may change: the tenant's, else its plan's, else the gateway's. Of one that is not
/// served, what it or its plan says is not known: then it may change none.
pub(super) fn keys(
    spec: &RoutesSpec,
    kept: Option<&Entry>,
    gateways: &Arc<[Vec<String>]>,
) -> Arc<[Vec<String>]> {
    let Some(kept) = kept else { return Arc::clone(gateways) }; // which is refused whatever it changes
    if let Some(tenant) = spec.tenant(&kept.id) {
        return tenant.tenant_keys.clone().unwrap_or_else(|| Arc::clone(gateways));
    }
    let table = kept.definition.table();
    match ["plan", "tenant-keys"].iter().any(|key| table.contains_key(*key)) {
        true => Arc::default(),
        false => Arc::clone(gateways),
    }
}

/// Refuses what would change another key than these, or one below them, and what gives the tenant
/// anything that it has not: another pool, say, or a higher limit of a route. Whether there is such a pool
/// plays no part, so that nothing is told of it.
///
/// # Errors
/// When it would, and where there is nothing to change or nothing would be left.
pub(super) fn check(
    kept: Option<&Entry>,
    next: Option<&Definition>,
    allowed: &[Vec<String>],
) -> Result<(), Refusal> {
    let (Some(kept), Some(next)) = (kept, next) else { return Err(Refusal::Unknown) };
    let mut changed = BTreeSet::new();
    differences(&kept.definition.table(), &next.table(), (&[], allowed), &mut changed);
    let is_allowed = |key: &[String]| allowed.iter().any(|top| key.starts_with(top));
    let key_of =
        |parts: Vec<String>| places::key(&parts.iter().map(String::as_str).collect::<Vec<&str>>());
    let mut beyond: Vec<String> =
        changed.into_iter().filter(|parts| !is_allowed(parts)).map(key_of).collect();
    let is_below = |key: &str, top: &str| {
        key.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    // What of a grant is opened is none.
    let closed = |table: Table| Value::Object(without(table, allowed));
    let (before, now) = (closed(kept.definition.table()), closed(next.table()));
    let (mut has, mut wants) = (Vec::new(), Vec::new());
    grants(&before, ("", ""), &mut has);
    grants(&now, ("", ""), &mut wants);
    let known: BTreeSet<&Grant<'_>> = has.iter().map(|(_, grant)| grant).collect();
    let kept: BTreeSet<&Grant<'_>> = wants.iter().map(|(_, grant)| grant).collect();
    let new = wants.iter().filter(|(_, grant)| !known.contains(grant));
    // What bounds a route is not taken from it either.
    let gone = has.iter().filter(|(_, grant)| grant.is_bound() && !kept.contains(grant));
    for (key, _) in new.chain(gone) {
        if !beyond.iter().any(|told| is_below(told, key)) {
            beyond.push(key.clone());
        }
    }
    if beyond.is_empty() { Ok(()) } else { Err(Refusal::Beyond(beyond)) }
}

/// What a tenant is granted.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Grant<'v> {
    name: &'v str,
    value: String,
    /// Of what holds for the requests of a route alone, the conditions of that: it would be another grant for
    /// other requests. Empty where it may move.
    whose: String,
}

impl Grant<'_> {
    fn is_bound(&self) -> bool {
        !self.whose.is_empty()
    }
}

/// A table without the keys of its grants that are opened; a grant of which nothing is left goes, too.
fn without(mut table: Table, opened: &[Vec<String>]) -> Table {
    for parts in opened {
        if parts.len() > 1 && parts.first().is_some_and(|first| is_grant(first)) {
            take_out(&mut table, parts);
        }
    }
    table
}

fn take_out(table: &mut Table, parts: &[String]) {
    let Some((first, rest)) = parts.split_first() else { return };
    if rest.is_empty() {
        table.remove(first);
        return;
    }
    let Some(Value::Object(below)) = table.get_mut(first) else { return };
    take_out(below, rest);
    if below.is_empty() {
        table.remove(first);
    }
}

/// All that says what a tenant is granted, by its full key. `whose` are the conditions of the route that it is
/// below.
fn grants<'v>(
    value: &'v Value,
    (above, whose): (&str, &str),
    found: &mut Vec<(String, Grant<'v>)>,
) {
    match value {
        Value::Object(table) => {
            for (name, value) in table {
                let name_of = places::key(&[name]);
                let key = if above.is_empty() { name_of } else { format!("{above}.{name_of}") };
                match (name.as_str(), value) {
                    // Shares may be others, of the same pools.
                    ("pools", Value::Object(pools)) => {
                        let each = pools.keys().map(|pool| {
                            let key = format!("{key}.{}", places::key(&[pool]));
                            let (value, whose) = (text(pool), String::new());
                            (key, Grant { name: "pool", value, whose })
                        });
                        found.extend(each);
                    }
                    // An open route is granted as it is: anything else of it would open something else.
                    ("authorize", Value::Bool(false)) => {
                        let (value, whose) =
                            (Value::from(table.clone()).to_string(), String::new());
                        found.push((key, Grant { name: "authorize", value, whose }));
                    }
                    (name, value) if is_grant(name) => {
                        let whose = if is_of_its_route(name) { whose } else { "" };
                        let (value, whose) = (value.to_string(), whose.to_owned());
                        found.push((key, Grant { name, value, whose }));
                    }
                    (_, value) => grants(value, (&key, whose), found),
                }
            }
        }
        Value::Array(list) => {
            for (at, value) in list.iter().enumerate() {
                let route = (above == "routes").then(|| conditions(value));
                let whose = route.as_deref().unwrap_or(whose);
                grants(value, (&format!("{above}[{at}]"), whose), found);
            }
        }
        _ => {}
    }
}

/// Which requests a route takes, as text. Two texts may mean the same; the same text means the same.
fn conditions(route: &Value) -> String {
    let of = |name: &str| route.get(name).map_or_else(String::new, Value::to_string);
    let path = route.get("path").map_or_else(|| text("/*"), Value::to_string);
    ["host", "methods", "headers", "query"].iter().fold(path, |all, name| all + "\n" + &of(name))
}

/// As a key would have it whose value this is.
fn text(name: &str) -> String {
    Value::from(name).to_string()
}

/// The keys of values that are others, by their parts. A list is one value: what is in it has no name. A table with
/// nothing in it is as good as none where a key below it is allowed: a patch that takes that key out leaves it.
fn differences(
    before: &Table,
    now: &Table,
    (above, allowed): (&[String], &[Vec<String>]),
    found: &mut BTreeSet<Vec<String>>,
) {
    for name in before.keys().chain(now.keys()) {
        let key = [above, slice::from_ref(name)].concat();
        let is_above = || allowed.iter().any(|own| own.len() > key.len() && own.starts_with(&key));
        match (before.get(name), now.get(name)) {
            (before, now) if before == now => {}
            (Some(Value::Object(before)), Some(Value::Object(now))) => {
                differences(before, now, (&key, allowed), found);
            }
            // A table that comes or goes is what is in it; without anything it is itself.
            (Some(Value::Object(one)), None) | (None, Some(Value::Object(one))) => {
                differences(one, &Table::new(), (&key, allowed), found);
                if one.is_empty() && (!is_above() || is_switch(&key)) {
                    found.insert(key);
                }
            }
            _ => drop(found.insert(key)),
        }
    }
}

/// Whether a table says something by being there.
fn is_switch(key: &[String]) -> bool {
    key.first().is_some_and(|first| first == "maintenance")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::config::grants::parts;
    use crate::model::ids::TenantId;

    use super::*;

    fn definition(table: Value) -> Definition {
        Definition::of(table.as_object().unwrap().clone())
    }

    fn beyond(before: Value, now: Value) -> Vec<String> {
        let entry = Entry::new(&TenantId::new("t").unwrap(), definition(before)).unwrap();
        let allowed = ["cors.origins", "routes", "a.b"].map(|key| parts(key).unwrap());
        match check(Some(&entry), Some(&definition(now)), &allowed) {
            Ok(()) => Vec::new(),
            Err(Refusal::Beyond(keys)) => keys,
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn only_what_is_allowed_may_be_other_than_before() {
        let before = json!({"pool": "a", "cors": {"origins": ["*"], "max-age": 4}});
        let cors = |max_age: u32| json!({"origins": ["x"], "max-age": max_age});
        for (now, expected) in [
            (json!({"pool": "a", "cors": cors(4)}), vec![]),
            (json!({"pool": "a", "cors": {"max-age": 4}, "routes": [{"path": "/"}]}), vec![]),
            (json!({"pool": "b", "cors": cors(5)}), vec!["cors.max-age", "pool"]),
            (json!({"pool": "a"}), vec!["cors.max-age"]),
            (json!({"pool": "a", "cors": "none"}), vec!["cors"]),
            (json!({"pool": "a", "cors": cors(4), "route": 1}), vec!["route"]),
            (json!({"pool": "a", "cors": cors(4), "routesx": {}}), vec!["routesx"]),
            (json!({"pool": "a", "cors": cors(4), "a": {"b": 1, "c": 1}}), vec!["a.c"]),
            // A key with a dot in it is not one below another.
            (json!({"pool": "a", "cors": cors(4), "a.b": 1}), vec!["\"a.b\""]),
        ] {
            assert_eq!(beyond(before.clone(), now.clone()), expected, "{now}");
        }
    }

    #[test]
    fn a_tenant_names_no_pool_and_no_limit_that_it_has_not() {
        let split = |pools: Value| json!({"path": "/s", "split": {"pools": pools}});
        let before = json!({"pool": "a", "routes": [
            {"path": "/b", "pool": "b"},
            split(json!({"c": 1, "d": 9})),
        ]});
        for (routes, expected) in [
            (json!([{"path": "/x", "pool": "a"}, {"path": "/y", "pool": "c"}]), vec![]),
            (json!([split(json!({"a": 5, "b": 5}))]), vec![]),
            (json!([{"path": "/x", "pool": "globex-internal"}]), vec!["routes[0].pool"]),
            (json!([{"path": "/x", "mirror": {"pool": "a"}}]), vec!["routes[0].mirror"]),
            (json!([{"path": "/x", "pool": "there-is-none"}]), vec!["routes[0].pool"]),
            (json!([split(json!({"a": 1, "other": 1}))]), vec!["routes[0].split.pools.other"]),
            (json!([{"path": "/x", "pool": ["a"]}]), vec!["routes[0].pool"]),
            (json!([{"path": "/b", "limits": {"requests": "9/s"}}]), vec!["routes[0].limits"]),
            (json!([{"path": "/b", "queue": {"priority": "critical"}}]), vec!["routes[0].queue"]),
            (
                json!([{"path": "/b", "pool": "b", "timeouts": {"total": "1h"}}]),
                vec!["routes[0].timeouts"],
            ),
        ] {
            let now = json!({"pool": "a", "routes": routes});
            assert_eq!(beyond(before.clone(), now.clone()), expected, "{now}");
        }
    }

    #[test]
    fn a_tenant_moves_no_limit_and_no_priority_to_another_route_and_takes_none_away() {
        let upload = json!({"path": "/upload/*", "limits": {"max-body": "2GiB"}});
        let export = json!({"path": "/export", "methods": ["GET"], "queue": {"priority": "batch"}});
        let before = json!({
            "pool": "a", "limits": {"max-body": "1MiB"}, "routes": [upload, export],
        });
        let with = |route: &Value, more: Value| {
            let mut route = route.as_object().unwrap().clone();
            route.extend(more.as_object().unwrap().clone());
            Value::from(route)
        };
        let (l0, q1) = ("routes[0].limits", "routes[1].queue");
        for (routes, expected) in [
            (json!([export, upload]), vec![]),
            (json!([{"path": "/new"}, with(&export, json!({"pool": "a"})), upload]), vec![]),
            (json!([with(&upload, json!({"path": "/*"})), export]), vec![l0]),
            (json!([{"limits": {"max-body": "2GiB"}}, upload, export]), vec![l0]),
            (json!([{"limits": {"max-body": "1MiB"}}, upload, export]), vec![l0]),
            (
                json!([upload, export, with(&export, json!({"path": "/*"}))]),
                vec!["routes[2].queue"],
            ),
            (json!([upload, with(&export, json!({"methods": ["GET", "PUT"]}))]), vec![q1]),
            (json!([upload, {"path": "/export", "queue": {"priority": "batch"}}]), vec![q1]),
            (json!([upload, with(&export, json!({"host": "a.example"}))]), vec![q1]),
            (json!([upload, with(&export, json!({"headers": {"x": true}}))]), vec![q1]),
            (json!([upload, with(&export, json!({"query": {"x": "1"}}))]), vec![q1]),
            (json!([upload, {"path": "/export", "methods": ["GET"]}]), vec![q1]),
            (json!([upload]), vec![q1]),
            (json!([]), vec![l0, q1]),
        ] {
            let now = json!({"pool": "a", "limits": {"max-body": "1MiB"}, "routes": routes});
            assert_eq!(beyond(before.clone(), now.clone()), expected, "{now}");
        }
        let moved = json!({"pool": "a", "routes": [{"limits": {"requests": "9/s"}}]});
        let every = json!({"pool": "a", "routes": [{"path": "/*", "limits": {"requests": "9/s"}}]});
        assert!(beyond(moved, every).is_empty(), "it is the same, said twice");
    }

    #[test]
    fn a_tenant_s_copies_stay_with_the_requests_that_they_are_granted_for() {
        let search = json!({"path": "/search", "methods": ["GET"], "mirror": {"pool": "next"}});
        let before = json!({"pool": "a", "routes": [search, {"path": "/orders"}]});
        let to = |path: &str| json!({"path": path, "mirror": {"pool": "next"}});
        let (m0, m1) = ("routes[0].mirror", "routes[1].mirror");
        for (routes, expected) in [
            (json!([{"path": "/orders", "pool": "a"}, search]), vec![]),
            (json!([search, to("/orders")]), vec![m1]),
            (json!([to("/search"), {"path": "/orders"}]), vec![m0]),
            (json!([{"path": "/search", "methods": ["GET"]}, {"path": "/orders"}]), vec![m0]),
            (json!([]), vec![m0]),
        ] {
            let now = json!({"pool": "a", "routes": routes});
            assert_eq!(beyond(before.clone(), now.clone()), expected, "{now}");
        }
    }

    #[test]
    fn a_tenant_with_one_open_route_opens_no_other() {
        let open = |path: &str| json!({"path": path, "methods": ["GET"], "authorize": false});
        let before = json!({"authorize": "login", "pool": "a", "routes": [
            open("/oauth2/*"), {"path": "/b"},
        ]});
        let with = |key: &str, value: Value| {
            let mut route = open("/oauth2/*");
            route[key] = value;
            route
        };
        let all_methods = json!({"path": "/oauth2/*", "authorize": false});
        for (routes, expected) in [
            (json!([open("/oauth2/*")]), vec![]),
            (json!([{"path": "/new"}, open("/oauth2/*")]), vec![]),
            (json!([{"path": "/oauth2/*"}]), vec![]),
            (json!([open("/*")]), vec!["routes[0].authorize"]),
            (json!([open("/oauth2/*"), open("/b")]), vec!["routes[1].authorize"]),
            (json!([{"authorize": false}]), vec!["routes[0].authorize"]),
            (json!([all_methods]), vec!["routes[0].authorize"]),
            (json!([with("host", json!("a.example"))]), vec!["routes[0].authorize"]),
            (json!([with("rewrite", json!({"path": "/b"}))]), vec!["routes[0].authorize"]),
        ] {
            let now = json!({"authorize": "login", "pool": "a", "routes": routes});
            assert_eq!(beyond(before.clone(), now.clone()), expected, "{now}");
        }
    }

    #[test]
    fn single_keys_of_limits_may_be_a_tenant_s_own() {
        let of = |limits: Value| json!({"pool": "a", "limits": limits});
        let table = |table: Value| definition(table);
        let beyond = |before: Value, now: Value| {
            let entry = Entry::new(&TenantId::new("t").unwrap(), table(before)).unwrap();
            let allowed = ["limits.\"requests\"", "limits.client.burst", "maintenance.retry-after"];
            let allowed = allowed.map(|key| parts(key).unwrap());
            match check(Some(&entry), Some(&table(now)), &allowed) {
                Ok(()) => Vec::new(),
                Err(Refusal::Beyond(keys)) => keys,
                Err(other) => panic!("{other}"),
            }
        };
        let before = of(json!({"requests": "5/s", "concurrency": 9}));
        for (now, expected) in [
            (of(json!({"requests": "9/s", "concurrency": 9})), vec![]),
            (of(json!({"concurrency": 9, "client": {"burst": 3}})), vec![]),
            (of(json!({"requests": "9/s", "concurrency": 8})), vec!["limits.concurrency"]),
            (of(json!({"requests": "9/s"})), vec!["limits.concurrency"]),
            (
                of(json!({"requests": "5/s", "concurrency": 9, "client": {"requests": "1/s"}})),
                vec!["limits.client.requests"],
            ),
            (json!({"pool": "a"}), vec!["limits.concurrency"]),
            (of(json!("none")), vec!["limits"]),
            (
                json!({"pool": "a", "limits": before["limits"], "x": {"limits": {"requests": "1/s"}}}),
                vec!["x.limits.requests"],
            ),
        ] {
            assert_eq!(beyond(before.clone(), now.clone()), expected, "{now}");
        }
        let none = json!({"pool": "a"});
        assert!(beyond(none.clone(), of(json!({"requests": "1/s"}))).is_empty());

        // What a patch leaves that takes a key out, and its way back.
        for left in [json!({}), json!({"client": {}})] {
            assert!(beyond(none.clone(), of(left.clone())).is_empty(), "{left}");
            assert!(beyond(of(left.clone()), none.clone()).is_empty(), "{left}");
        }
        assert_eq!(beyond(none.clone(), of(json!({"bursts": {}}))), ["limits.bursts"]);
        let empty = |name: &str| json!({"pool": "a", name: {}});
        assert_eq!(beyond(none.clone(), empty("cors")), ["cors"]);
        assert_eq!(beyond(empty("maintenance"), none), ["maintenance"], "it is on by being there");
    }

    #[test]
    fn a_key_in_quotes_is_the_one_without_where_both_are_the_same() {
        let entry = Entry::new(
            &TenantId::new("t").unwrap(),
            definition(json!({"error-pages": {"5xx": {"body": "a"}}})),
        );
        let next = definition(json!({"error-pages": {"5xx": {"body": "b"}}}));
        let allowed = [parts("error-pages.\"5xx\".body").unwrap()];

        assert!(check(Some(&entry.unwrap()), Some(&next), &allowed).is_ok());
    }

    #[test]
    fn nothing_is_made_and_nothing_ended_within_bounds() {
        let one = definition(json!({}));

        assert!(matches!(check(None, Some(&one), &[]), Err(Refusal::Unknown)));
        assert!(matches!(check(None, None, &[]), Err(Refusal::Unknown)));
    }
}
