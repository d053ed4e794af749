//! What is other in one generation than in the one before.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::sorted::{Difference, Keyed};
use crate::config::spec::{NamedTenant, RoutesSpec};

/// What is other in one generation than in the one before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Diff {
    /// Tenants.
    pub tenants: Others,
    /// Pools.
    pub pools: Others,
    /// Route sets.
    pub route_sets: Others,
    /// Whether tenants are named in another way.
    pub naming: bool,
    /// Whether the pages for all tenants are others.
    pub error_pages: bool,
}

/// Named things that are others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Others {
    /// New ones.
    pub added: Names,
    /// Those that say something else.
    pub changed: Names,
    /// Those that are gone.
    pub removed: Names,
}

/// Some names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Names {
    /// How many there are.
    pub count: usize,
    /// The first twenty.
    pub first: Vec<String>,
}

impl Names {
    fn add(&mut self, name: &str) {
        self.count += 1;
        if self.first.len() < SHOWN {
            self.first.push(name.to_owned());
        }
    }
}

impl Others {
    fn add(&mut self, before: Option<&str>, now: Option<&str>) {
        match (before, now) {
            (None, Some(name)) => self.added.add(name),
            (Some(_), Some(name)) => self.changed.add(name),
            (Some(name), None) => self.removed.add(name),
            (None, None) => {}
        }
    }

    /// What is other in one map than in another.
    fn of<K: Ord + Borrow<str>, V: PartialEq>(
        before: &BTreeMap<K, Arc<V>>,
        now: &BTreeMap<K, Arc<V>>,
    ) -> Self {
        let mut others = Self::default();
        for (name, value) in now {
            let name: &str = name.borrow();
            match before.get(name) {
                Some(old) if Arc::ptr_eq(old, value) || old == value => {}
                old => others.add(old.map(|_| name), Some(name)),
            }
        }
        let gone = before.keys().map(Borrow::borrow).filter(|name: &&str| !now.contains_key(*name));
        gone.for_each(|name| others.add(Some(name), None));
        others
    }
}

impl Diff {
    /// What `now` says otherwise than `before`.
    pub(in crate::control) fn of(before: &RoutesSpec, now: &RoutesSpec) -> Self {
        let same = |now: &NamedTenant, before: &NamedTenant| {
            Arc::ptr_eq(&now.1, &before.1) || now.1 == before.1
        };
        let mut tenants = Others::default();
        for Difference { before, now } in now.tenants.differences(&before.tenants, same) {
            tenants.add(before.map(Keyed::key), now.map(Keyed::key));
        }
        Self {
            tenants,
            pools: Others::of(&before.pools, &now.pools),
            route_sets: Others::of(&before.route_sets, &now.route_sets),
            naming: before.naming != now.naming,
            error_pages: before.error_pages != now.error_pages,
        }
    }
}

/// 20: what a line shows.
const SHOWN: usize = 20;

#[cfg(test)]
mod tests {
    use crate::config::{self, Files, Known};

    use super::*;

    fn spec(text: &str) -> RoutesSpec {
        config::check_routes(
            &Files::of_text("r.toml", text),
            &Known { balancers: &["random"], keyed: &[] },
        )
        .unwrap()
    }

    #[test]
    fn a_diff_names_what_is_new_other_and_gone() {
        let before = spec(
            "[pools.a]\ndns = \"a:1\"\n[pools.b]\ndns = \"b:1\"\n[tenants.t]\npool = \"a\"\n\
             [tenants.u]\npool = \"a\"\n[tenants.v]\npool = \"b\"\n",
        );
        let now = spec(
            "[pools.a]\ndns = \"a:2\"\n[pools.c]\ndns = \"c:1\"\n[tenants.t]\npool = \"a\"\n\
             [tenants.u]\npool = \"c\"\n[tenants.w]\npool = \"a\"\n",
        );

        let Diff { tenants, pools, route_sets, naming, error_pages } = Diff::of(&before, &now);

        let told = |others: &Others| {
            [&others.added, &others.changed, &others.removed].map(|names| names.first.join(" "))
        };
        assert_eq!(told(&tenants), ["w", "u", "v"]);
        assert_eq!(told(&pools), ["c", "a", "b"]);
        assert_eq!(told(&route_sets), ["", "", ""]);
        assert!(!naming && !error_pages);
        assert_eq!(Diff::of(&now, &now), Diff::default());
    }

    #[test]
    fn names_are_counted_on_behind_the_first_twenty() {
        let mut names = Names::default();

        (0..30).for_each(|number| names.add(&number.to_string()));

        assert_eq!((names.count, names.first.len()), (30, SHOWN));
    }
}
