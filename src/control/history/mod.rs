//! What the last generations were: who has brought each about, when, and what was other than before.

mod diff;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::SystemTime;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::snapshot::Snapshot;

use super::stored::{Entry, Marks};

pub use diff::{Diff, Names, Others};

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
    /// The admin API, by a tenant's own token.
    Tenant,
}

impl Cause {
    /// A word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Files => "files",
            Self::Signal => "signal",
            Self::Operator => "operator",
            Self::Tenant => "tenant",
        }
    }
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
    /// The keys of these that their own tokens had written last, where there were some.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(in crate::control) marks: BTreeMap<String, Marks>,
    /// Whether what they were is not kept any more: there is no way back beyond it.
    #[serde(default)]
    pub(in crate::control) is_emptied: bool,
}

impl Generation {
    /// The tenants of the API that it has changed.
    pub fn kept(&self) -> impl Iterator<Item = &str> {
        self.before.keys().map(String::as_str)
    }

    /// Whether what they were before is not kept any more.
    pub fn is_emptied(&self) -> bool {
        self.is_emptied
    }

    /// What it takes to keep the tables.
    fn bytes(&self) -> usize {
        let bytes = |table: &Option<Arc<str>>| table.as_ref().map_or(0, |table| table.len());
        let tables: usize = self.before.iter().map(|(id, table)| id.len() + bytes(table)).sum();
        tables + self.marks.values().flat_map(Marks::keys).map(str::len).sum::<usize>()
    }

    fn is_of_tenant(&self) -> bool {
        self.by.kind == Cause::Tenant
    }

    /// Those, with what they were before.
    pub fn turns(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.before.iter().map(|(id, json)| (id.as_str(), json.as_deref()))
    }
}

/// What a tenant of the API was.
#[derive(Clone, Debug, Default)]
pub struct Was {
    /// Its table; `None` = there was none.
    pub json: Option<Arc<str>>,
    /// Its keys that its own token had written last.
    pub marks: Marks,
}

impl Was {
    /// What is kept now.
    pub(super) fn of(entry: Option<&Entry>) -> Self {
        let Some(entry) = entry else { return Self::default() };
        Self { json: Some(entry.definition.text().into()), marks: entry.marks.clone() }
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
            marks: BTreeMap::new(),
            is_emptied: false,
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
        self.0.publish(Arc::new(self.with(generation)));
    }

    /// With one more, within bounds.
    fn with(&self, generation: Generation) -> VecDeque<Arc<Generation>> {
        let mut all = VecDeque::clone(&self.0.load());
        all.push_back(Arc::new(generation));
        bound(&mut all);
        all
    }

    /// Goes on from what is in the file, where that is more than what is known here: another gateway has
    /// noted it. What this one has noted under the same numbers is left out. Whether the newest of this
    /// one is there still.
    pub(super) fn go_on_from(&self, noted: Vec<Generation>) -> bool {
        let own = self.0.load();
        let same = |one: &Generation, other: &Generation| {
            one.generation == other.generation && one.at == other.at
        };
        let is_own = |one: &Generation| own.iter().any(|own| same(own, one));
        let Some(last) = noted.last().filter(|_| !noted.iter().all(is_own)) else { return true };
        let newest = own.back().cloned();
        let (last, last_at) = (last.generation, last.at);
        let later = own.iter().filter(|one| one.generation > last).cloned();
        let mut all: VecDeque<_> = noted.into_iter().map(Arc::new).chain(later).collect();
        bound(&mut all);
        self.0.publish(Arc::new(all));
        newest.is_none_or(|newest| {
            newest.generation > last || (newest.generation == last && newest.at == last_at)
        })
    }

    /// What is to be written where one more is added.
    pub(super) fn changes_with(&self, generation: &Generation) -> Rows {
        let before = self.0.load();
        let now = self.with(generation.clone());
        let find = |number: u64| now.binary_search_by_key(&number, |one| one.generation).ok();
        let gone = before.iter().filter(|one| find(one.generation).is_none());
        let mut rows: Vec<_> = gone.map(|one| (one.generation, None)).collect();
        let is_old = |one: &&Arc<Generation>| before.iter().any(|old| Arc::ptr_eq(old, one));
        let new = now.iter().filter(|one| !is_old(one));
        rows.extend(new.map(|one| (one.generation, Some(Arc::clone(one)))));
        Rows { rows, is_whole: false }
    }

    /// All that is to be written.
    pub(super) fn rows(&self) -> Rows {
        let all = self.0.load();
        let rows = all.iter().map(|one| (one.generation, Some(Arc::clone(one)))).collect();
        Rows { rows, is_whole: true }
    }

    /// What tenants of the API were in a generation, of those that have changed since; `None` where that
    /// is not known any more.
    pub fn since(&self, generation: u64) -> Option<BTreeMap<String, Was>> {
        let all = self.0.load();
        all.iter().find(|one| one.generation == generation)?;
        if all.iter().any(|one| one.generation > generation && one.is_emptied) {
            return None;
        }
        let mut then = BTreeMap::new();
        for later in all.iter().filter(|one| one.generation > generation) {
            for (id, before) in &later.before {
                let marks = || later.marks.get(id).cloned().unwrap_or_default();
                let was = || Was { json: before.clone(), marks: marks() };
                then.entry(id.clone()).or_insert_with(was);
            }
        }
        Some(then)
    }
}

/// What is to be written of the history.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows {
    /// Generations by their numbers; `None` = it is gone.
    pub(super) rows: Vec<(u64, Option<Arc<Generation>>)>,
    /// Whether that is all there is.
    pub(super) is_whole: bool,
}

/// Keeps to the bounds. What tenants have done with tokens of their own has bounds of its own, so that none
/// of them pushes out what operators may want to go back to.
fn bound(all: &mut VecDeque<Arc<Generation>>) {
    loop {
        let own = all.iter().filter(|one| one.is_of_tenant());
        let (count, bytes) = own.fold((0, 0), |(n, sum), one| (n + 1, sum + one.bytes()));
        let oldest = all.iter().position(|one| one.is_of_tenant());
        match oldest {
            // Never the newest: it is what is live.
            Some(at) if at + 1 < all.len() && (count > KEPT || bytes > TENANTS_BYTES) => {
                fold(all, at);
            }
            _ => break,
        }
    }
    while all.iter().filter(|one| !one.is_of_tenant()).count() > KEPT {
        let Some(at) = all.iter().position(|one| !one.is_of_tenant()) else { break };
        fold(all, at);
    }
    let mut bytes: usize = all.iter().map(|one| one.bytes()).sum();
    for one in all.iter_mut() {
        if bytes <= BYTES {
            break;
        }
        if one.before.values().any(Option::is_some) {
            bytes -= one.bytes();
            let one = Arc::make_mut(one);
            one.is_emptied = true;
            one.before.values_mut().for_each(|table| *table = None);
            one.marks.clear();
            bytes += one.bytes();
        }
    }
}

/// Takes one out. What tenants were before it they were before the next one, as far as the way back to
/// earlier ones goes.
fn fold(all: &mut VecDeque<Arc<Generation>>, at: usize) {
    let Some(gone) = all.remove(at) else { return };
    let (Some(next), true) = (all.get_mut(at), at > 0) else { return };
    if gone.before.is_empty() && !gone.is_emptied {
        return;
    }
    let next = Arc::make_mut(next);
    next.is_emptied |= gone.is_emptied;
    for (id, table) in &gone.before {
        next.before.insert(id.clone(), table.clone());
        match gone.marks.get(id) {
            Some(marks) => drop(next.marks.insert(id.clone(), marks.clone())),
            None => drop(next.marks.remove(id)),
        }
    }
}

/// 100: some weeks of edits. As many more are kept of tenants' own.
const KEPT: usize = 100;

/// 4 MiB: what tenants were before is kept as long as there is room.
const BYTES: usize = 4 << 20;

/// 1 MiB: a part of that.
const TENANTS_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn generation(number: u64, before: &[(&str, Option<&str>)]) -> Generation {
        Generation {
            generation: number,
            at: SystemTime::UNIX_EPOCH,
            by: By::of(Cause::Files),
            diff: Diff::default(),
            before: before.iter().map(|(id, json)| (id.to_string(), json.map(Arc::from))).collect(),
            marks: BTreeMap::new(),
            is_emptied: false,
        }
    }

    fn by_tenant(number: u64, before: &[(&str, Option<&str>)]) -> Generation {
        Generation { by: By::of(Cause::Tenant), ..generation(number, before) }
    }

    fn bytes(history: &History) -> usize {
        history.all().iter().map(|one| one.bytes()).sum()
    }

    #[test]
    fn what_a_tenant_does_pushes_no_operator_s_generation_out() {
        let history = History::of([generation(1, &[]), generation(2, &[("a", Some("old"))])]);
        let large = "x".repeat(200 << 10);
        for number in 3..600 {
            history.add(by_tenant(number, &[("own", Some(&format!("{number}{large}")))]));
        }
        assert!(history.find(1).is_some() && history.find(2).is_some());
        assert!(bytes(&history) < 2 << 20, "{}", bytes(&history));

        let then = history.since(1).unwrap();
        assert_eq!(then["a"].json.as_deref(), Some("old"));
        let own = then["own"].json.as_deref().unwrap();
        assert!(own.starts_with("3x"), "what it was before all of them: {}", &own[..4]);
    }

    #[test]
    fn tables_of_the_oldest_go_where_there_is_no_room_and_there_is_no_way_back_beyond() {
        let large = "x".repeat(250 << 10);
        let history =
            History::of((1..=50).map(|number| generation(number, &[("a", Some(&large))])));

        assert!(bytes(&history) <= BYTES + 1000);
        assert_eq!(history.all().len(), 50, "the entries stay");
        assert!(history.find(20).unwrap().is_emptied() && !history.find(45).unwrap().is_emptied());
        assert!(history.since(19).is_none() && history.since(45).is_some());
    }

    #[test]
    fn a_hundred_edits_of_tables_of_forty_kibibytes_all_go_back() {
        let filler = "x".repeat((40 << 10) - 4);
        let table = |number: u64| format!("{number:04}{filler}");
        let history =
            History::of((1..=100).map(|at| generation(at, &[("acme", Some(&table(at)))])));

        for at in 1..100 {
            let then = history.since(at).expect("the way back");
            let found = then["acme"].json.as_deref().unwrap_or_default();
            assert!(found == table(at + 1), "back to {at}: {found:.4}");
        }
    }

    #[test]
    fn the_history_of_who_had_the_file_before_goes_on() {
        let at = |number: u64, seconds: u64| Generation {
            at: SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds),
            ..generation(number, &[])
        };
        let told = |history: &History| -> Vec<(u64, u64)> {
            let since =
                |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
            history.all().iter().map(|one| (one.generation, since(one.at))).collect()
        };
        let theirs = |later: &[(u64, u64)]| -> Vec<Generation> {
            let all = [(1, 1), (2, 2)];
            all.iter().chain(later).map(|(number, seconds)| at(*number, *seconds)).collect()
        };

        // Nobody else has noted anything.
        let own = History::of(theirs(&[(3, 5)]));
        assert!(own.go_on_from(theirs(&[])) && own.go_on_from(Vec::new()));
        assert_eq!(told(&own), [(1, 1), (2, 2), (3, 5)]);
        // Another has, under the same number.
        assert!(!own.go_on_from(theirs(&[(3, 6)])));
        assert_eq!(told(&own), [(1, 1), (2, 2), (3, 6)]);
        // It has noted less than this one meanwhile.
        let own = History::of(theirs(&[(3, 5), (4, 7)]));
        assert!(own.go_on_from(theirs(&[(3, 6)])));
        assert_eq!(told(&own), [(1, 1), (2, 2), (3, 6), (4, 7)]);
        // This one could not read what was there.
        let own = History::of([at(1, 9)]);
        assert!(!own.go_on_from(theirs(&[])));
        assert_eq!(told(&own), [(1, 1), (2, 2)]);
    }

    #[test]
    fn what_is_written_is_what_is_other() {
        let history = History::of((1..=100).map(|number| generation(number, &[])));

        let rows = history.changes_with(&generation(101, &[]));

        let told: Vec<(u64, bool)> =
            rows.rows.iter().map(|(number, one)| (*number, one.is_some())).collect();
        assert_eq!(told, [(1, false), (101, true)]);
        assert_eq!((history.last(), history.rows().rows.len()), (100, 100));
    }

    #[test]
    fn marks_go_with_what_a_tenant_was_also_where_generations_are_joined() {
        let marked = |number, keys: &[&str]| {
            let marks = match keys.is_empty() {
                true => BTreeMap::new(),
                false => BTreeMap::from([("a".to_owned(), Marks::of(keys.iter().copied()))]),
            };
            Generation { marks, ..by_tenant(number, &[("a", Some("x"))]) }
        };
        let then = |history: &History| history.since(1).unwrap()["a"].marks.clone();
        let first = || History::of([generation(1, &[]), marked(2, &["cors.origins"])]);

        let history = first();
        (3..600).for_each(|number| history.add(marked(number, &["limits.requests"])));
        assert!(history.find(2).is_none(), "it was joined with a later one");
        assert_eq!(then(&history), Marks::of(["cors.origins"]));
        let history = History::of([generation(1, &[]), marked(2, &[])]);
        (3..600).for_each(|number| history.add(marked(number, &["limits.requests"])));
        assert!(history.find(2).is_none() && then(&history).is_empty());

        let kept = serde_json::to_string(&*first().find(2).unwrap()).unwrap();
        let read: Generation = serde_json::from_str(&kept).unwrap();
        assert_eq!(read.marks["a"], Marks::of(["cors.origins"]));
        let older = kept.replace(",\"marks\":{\"a\":[\"cors.origins\"]}", "");
        assert!(older != kept);
        assert!(serde_json::from_str::<Generation>(&older).unwrap().marks.is_empty());
    }

    #[test]
    fn the_last_hundred_are_kept() {
        let history = History::of((1..=150).map(|number| generation(number, &[])));
        assert_eq!((history.all().len(), history.last()), (KEPT, 150));
        assert!(history.find(50).is_none() && history.find(51).is_some());
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
                    .map(|(id, was)| (id, was.json.map(|json| json.to_string())))
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
