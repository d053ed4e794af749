//! What the last generations were: who has brought each about, when, and what was other than before.

use std::borrow::Borrow;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::SystemTime;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::snapshot::Snapshot;
use crate::base::sorted::{Difference, Keyed};
use crate::config::spec::{NamedTenant, RoutesSpec};

/// Who has brought something about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct By {
    /// What kind of cause it was.
    pub kind: Cause,
    /// Who, as the file of tokens or a certificate names it; `None` = nobody was asked.
    pub name: Option<String>,
    /// The address that it came from.
    pub from: Option<String>,
}

/// What brings generations about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// The gateway has started.
    Start,
    /// Files have changed.
    Files,
    /// A signal.
    Signal,
    /// The admin API.
    Operator,
}

impl By {
    /// Nobody in particular.
    pub fn of(kind: Cause) -> Self {
        Self { kind, name: None, from: None }
    }
}

/// One generation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Generation {
    /// The number of its table.
    pub generation: u64,
    /// When it went live.
    pub at: SystemTime,
    /// Who has brought it about.
    pub by: By,
    /// What was other than before.
    pub diff: Diff,
    /// The tenants of the API that it has changed, as they were before; `None` = there was none.
    pub(in crate::control) before: BTreeMap<String, Option<Arc<str>>>,
}

impl Generation {
    /// The tenants of the API that it has changed.
    pub fn kept(&self) -> impl Iterator<Item = &str> {
        self.before.keys().map(String::as_str)
    }

    /// Those, with what they were before.
    pub fn turns(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.before.iter().map(|(id, json)| (id.as_str(), json.as_deref()))
    }
}

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
    pub(super) fn of(before: &RoutesSpec, now: &RoutesSpec) -> Self {
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

/// The last generations, the newest last. Clones are handles to the same.
#[derive(Clone, Debug)]
pub struct History(Snapshot<VecDeque<Arc<Generation>>>);

impl History {
    /// These, the newest last.
    pub fn of(generations: impl IntoIterator<Item = Generation>) -> Self {
        let history = Self(Snapshot::new(Arc::default()));
        generations.into_iter().for_each(|one| history.add(one));
        history
    }

    /// One generation, of which nothing is known.
    #[cfg(test)]
    pub fn of_one(generation: u64) -> Self {
        Self::of([Generation {
            generation,
            at: SystemTime::UNIX_EPOCH,
            by: By::of(Cause::Start),
            diff: Diff::default(),
            before: BTreeMap::new(),
        }])
    }

    /// The number of the newest; 0 = there is none.
    pub(super) fn last(&self) -> u64 {
        self.0.load().back().map_or(0, |one| one.generation)
    }

    /// All of them, the newest last.
    pub fn all(&self) -> Arc<VecDeque<Arc<Generation>>> {
        self.0.load()
    }

    /// The one of this number.
    pub fn find(&self, generation: u64) -> Option<Arc<Generation>> {
        self.0.load().iter().find(|one| one.generation == generation).cloned()
    }

    pub(super) fn add(&self, generation: Generation) {
        let mut all = VecDeque::clone(&self.0.load());
        all.push_back(Arc::new(generation));
        while all.len() > KEPT {
            all.pop_front();
        }
        self.0.publish(Arc::new(all));
    }

    /// What tenants of the API were in a generation, of those that have changed since; `None` where that
    /// is not known any more.
    pub fn since(&self, generation: u64) -> Option<BTreeMap<String, Option<Arc<str>>>> {
        let all = self.0.load();
        all.iter().find(|one| one.generation == generation)?;
        let mut then = BTreeMap::new();
        for later in all.iter().filter(|one| one.generation > generation) {
            for (id, before) in &later.before {
                then.entry(id.clone()).or_insert_with(|| before.clone());
            }
        }
        Some(then)
    }
}

/// 100: some weeks of edits.
pub(super) const KEPT: usize = 100;

/// 20: what a line shows.
const SHOWN: usize = 20;

#[cfg(test)]
mod tests {
    use crate::config::{self, Files, Known};

    use super::*;

    fn spec(text: &str) -> RoutesSpec {
        config::check_routes(&Files::of_text("r.toml", text), &Known { balancers: &["random"] })
            .unwrap()
    }

    fn generation(number: u64, before: &[(&str, Option<&str>)]) -> Generation {
        Generation {
            generation: number,
            at: SystemTime::UNIX_EPOCH,
            by: By::of(Cause::Files),
            diff: Diff::default(),
            before: before.iter().map(|(id, json)| (id.to_string(), json.map(Arc::from))).collect(),
        }
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
    fn the_last_hundred_are_kept_and_names_are_counted_on() {
        let history = History::of((1..=150).map(|number| generation(number, &[])));
        assert_eq!((history.all().len(), history.last()), (KEPT, 150));
        assert!(history.find(50).is_none() && history.find(51).is_some());

        let mut names = Names::default();
        (0..30).for_each(|number| names.add(&number.to_string()));
        assert_eq!((names.count, names.first.len()), (30, SHOWN));
    }

    #[test]
    fn what_was_then_is_what_the_first_change_since_has_found() {
        let history = History::of([
            generation(1, &[]),
            generation(2, &[("a", None)]),
            generation(3, &[("a", Some("1")), ("b", Some("x"))]),
            generation(4, &[("a", Some("2"))]),
        ]);
        let told = |number| {
            let since = history.since(number)?;
            Some(
                since
                    .into_iter()
                    .map(|(id, json)| (id, json.map(|json| json.to_string())))
                    .collect(),
            )
        };
        let of = |all: &[(&str, Option<&str>)]| -> Option<Vec<(String, Option<String>)>> {
            Some(all.iter().map(|(id, json)| (id.to_string(), json.map(Into::into))).collect())
        };

        assert_eq!(told(4), of(&[]));
        assert_eq!(told(3), of(&[("a", Some("2"))]));
        assert_eq!(told(2), of(&[("a", Some("1")), ("b", Some("x"))]));
        assert_eq!(told(1), of(&[("a", None), ("b", Some("x"))]));
        assert_eq!(told(9), None);
    }
}
