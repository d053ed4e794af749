//! Which keys of a tenant's table its own token has written last. A number among them is the tenant's choice,
//! and a plan that goes less far has a word in it; one of an operator is meant as it is.
//!
//! **Invariant:** a key that nobody is known to have written is the operators'.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::places;
use crate::config::spec::{RoutesSpec, TenantSpec};

use super::ceilings;
use super::change::{Turn, What, Wish};
use super::definition::Table;

/// Keys of a tenant, as in `limits.requests`. A list, as `routes` is, is one key. Clones share them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Marks(Option<Arc<BTreeSet<String>>>);

impl Marks {
    /// These keys.
    pub(in crate::control) fn of<'k>(keys: impl IntoIterator<Item = &'k str>) -> Self {
        let keys: BTreeSet<String> = keys.into_iter().map(ToOwned::to_owned).collect();
        Self((!keys.is_empty()).then(|| Arc::new(keys)))
    }

    /// As they were kept in a text. What cannot be read marks nothing.
    pub(super) fn read(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_else(|error| {
            tracing::warn!(%error, "who has written which key of a tenant cannot be read: all count as the operators'");
            Self::default()
        })
    }

    /// As they are kept; `None` = there is none.
    pub(super) fn text(&self) -> Option<String> {
        self.0.as_ref().and_then(|keys| serde_json::to_string(keys).ok())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Each of them.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flat_map(|keys| keys.iter().map(String::as_str))
    }

    fn has(&self, key: &str) -> bool {
        self.0.as_ref().is_some_and(|keys| keys.contains(key))
    }

    /// Whether this number of a table is what the tenant's own token has made it.
    pub(super) fn are_of(&self, key: &str, table: &Table) -> bool {
        // Where no burst is written it is what `requests` says.
        let said_by = key.strip_suffix(".burst").map(|of| format!("{of}.requests"));
        self.has(key)
            || said_by.is_some_and(|other| self.has(&other) && !leaves(table).contains_key(key))
    }

    /// After the tenant's own token has made another table of it.
    fn after_tenant(&self, before: &Table, now: &Table) -> Self {
        let (before, now) = (leaves(before), leaves(now));
        let is_own = |key: &str, value: &Value| self.has(key) || before.get(key) != Some(&value);
        let own = now.iter().filter(|(key, value)| is_own(key, value));
        Self::of(own.map(|(key, _)| key.as_str()))
    }

    /// After somebody else has, who has `named` these, be they as they were: that one means them.
    fn after_operator(&self, before: &Table, now: &Table, named: &Table) -> Self {
        let (before, now, named) = (leaves(before), leaves(now), leaves(named));
        let stays = |key: &&str| {
            let now = now.get(*key);
            now.is_some() && now == before.get(*key) && !named.contains_key(*key)
        };
        Self::of(self.keys().filter(stays))
    }
}

impl Turn {
    /// Marks what a wish makes of the tenant by who has written which key.
    pub(super) fn mark(&mut self, wish: &Wish) {
        let (Some(kept), Some(next)) = (&self.kept, &mut self.next) else { return };
        let (before, now) = (kept.definition.table(), next.definition.table());
        next.marks = match (&wish.within, &wish.what) {
            (Some(_), _) => kept.marks.after_tenant(&before, &now),
            (None, What::Patch(patch)) => kept.marks.after_operator(&before, &now, patch),
            // A whole table repeats what is there: of it only what is other was meant.
            (None, _) => kept.marks.after_operator(&before, &now, &Table::new()),
        };
    }

    /// A number that was granted beyond the plan, and that the tenant has lowered no further than that, is a
    /// grant still.
    pub(super) fn leave_granted(&mut self, spec: &RoutesSpec, now: &TenantSpec) {
        let (Some(kept), Some(next)) = (&self.kept, &mut self.next) else { return };
        let plan = now.plan.as_ref().and_then(|plan| spec.plans.get(plan));
        let beyond = plan.map(|plan| ceilings::beyond(plan, None, now)).unwrap_or_default();
        // A burst that it had by its own `requests` was not granted, either.
        let table = kept.definition.table();
        let is_own = |key: &str| kept.marks.are_of(key, &table);
        let is_grant = |key: &str| !is_own(key) && beyond.iter().any(|one| one.key == key);
        if next.marks.keys().any(is_grant) {
            next.marks = Marks::of(next.marks.keys().filter(|key| !is_grant(key)));
        }
    }
}

/// All values of a table by their keys. A table that says nothing is a value.
fn leaves(table: &Table) -> BTreeMap<String, &Value> {
    let mut all = BTreeMap::new();
    gather(table, "", &mut all);
    all
}

fn gather<'v>(table: &'v Table, above: &str, all: &mut BTreeMap<String, &'v Value>) {
    for (name, value) in table {
        let name = places::key(&[name]);
        let key = if above.is_empty() { name } else { format!("{above}.{name}") };
        match value {
            Value::Object(below) if !below.is_empty() => gather(below, &key, all),
            value => drop(all.insert(key, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn table(value: Value) -> Table {
        value.as_object().unwrap().clone()
    }

    fn told(marks: &Marks) -> String {
        marks.keys().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_tenant_s_own_change_marks_what_it_has_written_and_nothing_else() {
        let before = table(json!({"plan": "pro", "limits": {"requests": "9/s", "burst": 9},
            "routes": [{"path": "/a"}]}));
        let marked = Marks::of(["limits.burst"]);
        for (now, expected) in [
            (
                json!({"plan": "pro", "limits": {"requests": "9/s", "burst": 9},
                "routes": [{"path": "/a"}]}),
                "limits.burst",
            ),
            (
                json!({"plan": "pro", "limits": {"requests": "8/s", "burst": 9},
                "routes": [{"path": "/b"}]}),
                "limits.burst limits.requests routes",
            ),
            (
                json!({"plan": "pro", "limits": {"requests": "9/s"}, "cors": {"origins": ["*"]}}),
                "cors.origins",
            ),
            (json!({"plan": "pro", "error-pages": {"503": {"body": "x"}}}), "error-pages.503.body"),
        ] {
            let after = marked.after_tenant(&before, &table(now.clone()));
            assert_eq!(told(&after), expected, "{now}");
        }
    }

    #[test]
    fn what_an_operator_has_changed_or_named_in_a_patch_is_the_operator_s() {
        let before =
            table(json!({"limits": {"requests": "9/s", "burst": 9}, "cors": {"max-age": "1h"}}));
        let marked = Marks::of(["limits.requests", "limits.burst", "cors.max-age"]);
        let all = "cors.max-age limits.burst limits.requests";
        for (now, named, expected) in [
            (json!(before), json!({}), all),
            (json!(before), json!({"limits": {"requests": "9/s"}}), "cors.max-age limits.burst"),
            (json!({"limits": {"requests": "8/s", "burst": 9}}), json!({}), "limits.burst"),
            (json!({"cors": {"max-age": "1h"}}), json!({"limits": null}), "cors.max-age"),
        ] {
            let after = marked.after_operator(&before, &table(now.clone()), &table(named));
            assert_eq!(told(&after), expected, "{now}");
        }
    }

    #[test]
    fn a_burst_that_is_not_written_is_whose_the_requests_are() {
        let marks = Marks::of(["limits.requests"]);
        let alone = table(json!({"limits": {"requests": "9/s"}}));
        let beside = table(json!({"limits": {"requests": "9/s", "burst": 99}}));

        assert!(marks.are_of("limits.burst", &alone) && marks.are_of("limits.requests", &alone));
        assert!(!marks.are_of("limits.burst", &beside));
        assert!(!marks.are_of("limits.concurrency", &alone));
    }

    #[test]
    fn marks_come_back_as_they_were_kept_and_what_is_none_marks_nothing() {
        let marks = Marks::of(["limits.requests", "cors.origins"]);

        assert_eq!(Marks::read(&marks.text().unwrap()), marks);
        assert_eq!((Marks::of([]).text(), Marks::read("{")), (None, Marks::default()));
    }
}
