//! What somebody may change of a tenant who may not change all of it.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::config::places;

use super::Entry;
use super::change::Refusal;
use super::definition::{Definition, Table};

/// Refuses what would change another key than these, or one below them.
///
/// # Errors
/// When it would, and where there is nothing to change or nothing would be left.
pub(super) fn check(
    kept: Option<&Entry>,
    next: Option<&Definition>,
    allowed: &[String],
) -> Result<(), Refusal> {
    let (Some(kept), Some(next)) = (kept, next) else { return Err(Refusal::Unknown) };
    let mut changed = BTreeSet::new();
    differences(&kept.definition.table(), &next.table(), "", &mut changed);
    let is_below = |key: &str, top: &str| {
        key.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let is_allowed = |key: &str| allowed.iter().any(|top| is_below(key, top));
    let beyond: Vec<String> = changed.into_iter().filter(|key| !is_allowed(key)).collect();
    if beyond.is_empty() { Ok(()) } else { Err(Refusal::Beyond(beyond)) }
}

/// The keys of values that are others. A list is one value: what is in it has no name.
fn differences(before: &Table, now: &Table, above: &str, found: &mut BTreeSet<String>) {
    for name in before.keys().chain(now.keys()) {
        let name_of = places::key(&[name]);
        let key = if above.is_empty() { name_of } else { format!("{above}.{name_of}") };
        match (before.get(name), now.get(name)) {
            (before, now) if before == now => {}
            (Some(Value::Object(before)), Some(Value::Object(now))) => {
                differences(before, now, &key, found);
            }
            // A table that comes or goes is what is in it; without anything it is itself.
            (Some(Value::Object(one)), None) | (None, Some(Value::Object(one)))
                if !one.is_empty() =>
            {
                differences(one, &Table::new(), &key, found);
            }
            _ => drop(found.insert(key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::model::ids::TenantId;

    use super::*;

    fn definition(table: Value) -> Definition {
        Definition::of(table.as_object().unwrap().clone())
    }

    fn beyond(before: Value, now: Value) -> Vec<String> {
        let entry = Entry::new(&TenantId::new("t").unwrap(), definition(before)).unwrap();
        let allowed = ["limits.requests", "routes", "a.b"].map(str::to_owned);
        match check(Some(&entry), Some(&definition(now)), &allowed) {
            Ok(()) => Vec::new(),
            Err(Refusal::Beyond(keys)) => keys,
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn only_what_is_allowed_may_be_other_than_before() {
        let before = json!({"pool": "a", "limits": {"requests": "1/s", "concurrency": 4}});
        for (now, expected) in [
            (json!({"pool": "a", "limits": {"requests": "9/s", "concurrency": 4}}), vec![]),
            (json!({"pool": "a", "limits": {"concurrency": 4}, "routes": [{"path": "/"}]}), vec![]),
            (
                json!({"pool": "b", "limits": {"requests": "1/s", "concurrency": 5}}),
                vec!["limits.concurrency", "pool"],
            ),
            (json!({"pool": "a"}), vec!["limits.concurrency"]),
            (json!({"pool": "a", "limits": "none"}), vec!["limits"]),
            (
                json!({"pool": "a", "limits": {"requests": "1/s", "concurrency": 4}, "route": 1}),
                vec!["route"],
            ),
            (
                json!({"pool": "a", "limits": {"requests": "1/s", "concurrency": 4}, "routesx": {}}),
                vec!["routesx"],
            ),
            (
                json!({"pool": "a", "limits": {"requests": "1/s", "concurrency": 4}, "a": {"b": 1, "c": 1}}),
                vec!["a.c"],
            ),
            // A key with a dot in it is not one below another.
            (
                json!({"pool": "a", "limits": {"requests": "1/s", "concurrency": 4}, "a.b": 1}),
                vec!["\"a.b\""],
            ),
        ] {
            assert_eq!(beyond(before.clone(), now.clone()), expected, "{now}");
        }
    }

    #[test]
    fn nothing_is_made_and_nothing_ended_within_bounds() {
        let one = definition(json!({}));

        assert!(matches!(check(None, Some(&one), &[]), Err(Refusal::Unknown)));
        assert!(matches!(check(None, None, &[]), Err(Refusal::Unknown)));
    }
}
