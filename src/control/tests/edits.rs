//! Edits of some files of a folder, which go the short way where that does.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use proptest::prelude::*;

use crate::base::sorted::Sorted;
use crate::config::File;
use crate::config::pem;
use crate::routing::Previous;

use super::super::load::{self, Before, Checked, Loaded, Materials};
use super::super::standing::Standing as Counts;
use super::moved::place;
use super::*;

pub(super) const POOLS: &str = "[pools.a]\nendpoints = [\"127.0.0.1:1\"]\n[pools.b]\nendpoints = [\"127.0.0.1:2\"]\n\
                     [route-sets.s]\nroutes = [{ path = \"/s/*\", pool = \"b\" }]\n";

/// What a file may say, `{}` being its own name.
const TEXTS: &[&str] = &[
    "[tenants.{}]\npool = \"a\"\n",
    "[tenants.{}]\npool = \"b\"\n",
    "# a word\n[tenants.{}]\npool = \"b\"\n[tenants.{}-2]\npool = \"a\"\nuse = [\"s\"]\n",
    "[tenants.{}]\nroutes = [{ path = \"/a\", pool = \"b\" }, { path = \"/m\", pool = \"a\", \
     maintenance = { retry-after = \"5m\" } }]\n",
    "[tenants]\n{} = { pool = \"a\" }\n\"{}.x\" = { pool = \"b\" }\n",
    "[tenants.{}]\nstate = \"suspended\"\n",
    "[tenants.{}]\nstate = \"maintenance\"\n",
    "[tenants.\"{}\"]\npool = \"a\"\n",
    "",
    "# nobody\n",
    // Beside others they are wrong, odd, or not of tenants alone.
    "[tenants.one]\npool = \"a\"\n",
    "[tenants.{}]\npool = \"c\"\n",
    "[pools.c]\nendpoints = [\"127.0.0.1:3\"]\n",
    "[tenants.{}]\npool = \"a\"\n[tenants.{}.tracing]\nsample = \"5%\"\n[pools.{}]\n\
     endpoints = [\"127.0.0.1:4\"]\n",
    "[tenants.{}]\nerror-pages.503.body = \"x\"\npool = \"b\"\n",
    "[tenants.{}]\npool = \"a\"\nroutes = [{ path = \"/x\" }, { path = \"/x\" }]\n",
    "[tenant]\nfrom = [{ host = \"{tenant}.example.com\" }]\n",
    "[tenants.{}\n",
    "[tenants.{}]\nuse = [\"t\"]\npool = \"a\"\n",
    "\u{feff}[tenants.{}]\npool = \"a\"\n",
    "# a\r[tenants.{}]\n",
    // A route that is never used, and the same in other words.
    "[tenants.{}]\npool = \"a\"\nroutes = [{ path = \"/x\", methods = [\"GET\", \"PUT\"] }, \
     { path = \"/x\", methods = [\"PUT\"] }]\n",
    "# a word\n[tenants.{}]\npool = \"a\"\nroutes = [{ path = \"/x\", methods = [\"GET\", \"PUT\"] }, \
     { path = \"/x\", methods = [\"PUT\"] }]\n",
];
/// The first of those that are doubted.
const DOUBTED: usize = 21;
const NAMES: &[&str] = &["one", "two", "three", "Four", "five"];

/// The path and the text of a file; `None` = it is gone.
type Step = Vec<(usize, Option<usize>)>;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Mostly what tenants say, so that files are good for a while.
    let text = prop_oneof![6 => 0..10_usize, 1 => 10..TEXTS.len()];
    let change = (0..NAMES.len(), proptest::option::weighted(0.8, text));
    proptest::collection::vec(proptest::collection::vec(change, 1..3), 1..12)
}

fn file(name: &str, text: &str) -> File {
    let path = Path::new("routes").join(format!("{name}.toml"));
    File { path: path.into(), text: text.replace("{}", name).into() }
}

/// What is applied, and what was made of it.
struct Applied {
    loaded: Loaded,
    references: pem::References,
    pools: Pools,
    numbers: Numbers,
    table: Arc<Table>,
    standing: Counts,
}

impl Applied {
    fn first(loaded: Loaded, references: pem::References) -> Self {
        let none = Self {
            loaded: loaded.clone(),
            references: pem::References::new(),
            pools: Pools::new(),
            numbers: Numbers::default(),
            table: Arc::new(nothing()),
            standing: Counts::default(),
        };
        none.then(loaded, references, None)
    }

    /// As a reloader does: where the meaning is the same, nothing is made anew.
    fn next(self, loaded: Loaded, references: pem::References) -> Self {
        if loaded.spec == self.loaded.spec {
            let loaded = self.loaded.said_as(loaded);
            return Self { loaded, references, ..self };
        }
        let before = Some(Arc::clone(&self.loaded.spec));
        self.then(loaded, references, before)
    }

    fn then(
        &self,
        loaded: Loaded,
        references: pem::References,
        before: Option<Arc<RoutesSpec>>,
    ) -> Self {
        let materials = Materials {
            loaded,
            running: self.pools.clone(),
            numbers: self.numbers.clone(),
            previous: Arc::clone(&self.table),
            before,
            standing: self.standing.clone(),
            generation: self.table.generation + 1,
        };
        let made = load::make(materials).unwrap();
        Self {
            loaded: made.loaded,
            references,
            pools: made.pools,
            numbers: made.numbers,
            table: Arc::new(made.table),
            standing: made.standing,
        }
    }

    /// What was made bit by bit is what is made of the same spec all at once.
    fn judge(&self) {
        let spec = &self.loaded.spec;
        let last = Previous { table: &self.table, spec: None, pools: &self.pools };
        let fresh = routing::compile(spec, Some(last.table), &self.pools, 1);
        assert_eq!(self.standing, Counts::of(spec));
        assert_eq!(self.table.slots(), fresh.slots());
        assert_eq!(self.table.tenants().len(), spec.tenants.len());
        for (id, _) in &spec.tenants {
            let of = |table: &Table| Arc::clone(table.tenant(id.as_str()).unwrap());
            assert!(Arc::ptr_eq(&of(&self.table), &of(&fresh)), "{id}: nothing of it is another");
        }
    }
}

/// What the same files mean where nothing is known of them.
fn fresh(files: &Files) -> Checked {
    let anew = files
        .files
        .iter()
        .map(|file| File { path: Arc::clone(&file.path), text: file.text.to_string().into() });
    let files = Files::of(files.root.clone(), anew.collect());
    load::check(files, Before::default())
}

/// Goes through edits as a reloader does, and tells how many went the short way.
fn go(steps: Vec<Step>) -> usize {
    let mut files: Sorted<File> =
        [file("_pools", POOLS), file("one", TEXTS[0]), file("two", TEXTS[2])].into_iter().collect();
    let whole = |files: &Sorted<File>| Files::of("routes".into(), files.clone());
    let Checked { result, references, mut memory, .. } =
        load::check(whole(&files), Before::default());
    let mut applied = Applied::first(result.unwrap(), references);
    let (mut current, mut short) = (true, 0);
    for step in steps {
        for (name, text) in step {
            let new = file(NAMES[name], text.map_or("", |text| TEXTS[text]));
            match text {
                Some(_) => drop(files.insert(new)),
                None => drop(files.remove(new.path.as_os_str())),
            }
        }
        let (now, expected) = (whole(&files), fresh(&whole(&files)));
        let edit = current.then(|| load::edit(now.clone(), &applied.loaded, &memory)).flatten();
        if let Some(edit) = edit {
            short += 1;
            let good = expected.result.unwrap_or_else(|problems| panic!("{problems:?}"));
            assert_eq!(edit.loaded.spec, good.spec);
            assert_eq!(edit.loaded.doubts, good.doubts);
            assert_eq!(applied.references, expected.references);
            memory.learn(edit.learnt);
            let references = applied.references.clone();
            applied = applied.next(edit.loaded, references);
        } else {
            let spec = Some(Arc::clone(&applied.loaded.spec));
            let memory_of = std::mem::take(&mut memory);
            let before = Before { spec, memory: memory_of, ..Before::default() };
            let checked = load::check(now, before);
            memory = checked.memory;
            let of = |result: &Result<Loaded, Vec<Fault>>| {
                result.clone().map(|loaded| (loaded.spec, loaded.doubts))
            };
            assert_eq!(of(&checked.result), of(&expected.result));
            assert_eq!(checked.references, expected.references);
            current = checked.result.is_ok();
            if let Ok(loaded) = checked.result {
                applied = applied.next(loaded, checked.references);
            }
        }
        applied.judge();
    }
    short
}

proptest! {
    #[test]
    fn files_mean_after_any_edits_what_they_mean_when_all_are_read(steps in steps()) {
        go(steps);
    }
}

#[test]
fn what_tenants_say_goes_the_short_way_and_all_else_does_not() {
    let short = |text: usize| go(vec![vec![(2, Some(text))]]) == 1;

    let told: Vec<bool> = (0..TEXTS.len()).map(short).collect();

    let long = [
        10, 11, 12, 13, 14, 15, 16, 17, 18, // as they say
        20, // a carriage return by itself
        21, 22, // odd
    ];
    let expected: Vec<bool> = (0..TEXTS.len()).map(|text| !long.contains(&text)).collect();
    assert_eq!(told, expected);
    // What makes one doubt a file moves with its words, and is told by an edit of another.
    assert_eq!(
        go(vec![vec![(2, Some(DOUBTED))], vec![(2, Some(DOUBTED + 1))], vec![(0, Some(1))]]),
        1
    );
    // Two at once, one of which takes over what the other had; one that is gone.
    assert_eq!(go(vec![vec![(1, Some(10)), (0, Some(8))], vec![(1, None)], vec![(0, Some(0))]]), 2);
    // Beside one that is broken, none does.
    assert_eq!(
        go(vec![vec![(2, Some(17))], vec![(1, Some(1))], vec![(2, Some(0))], vec![(1, Some(0))]]),
        1
    );
}

#[test]
fn what_is_doubted_in_a_folder_whose_name_is_no_text_is_looked_at_again() {
    let path = |name: &str| Path::new(OsStr::from_bytes(b"route\xdf")).join(name);
    let of = |text: &str| {
        let files = [("_pools.toml", POOLS), ("one.toml", text)]
            .map(|(name, text)| File { path: path(name).into(), text: text.into() });
        Files::of(path(""), files.into_iter().collect())
    };
    let shadowed = TEXTS[DOUBTED].replace("{}", "a");
    let Checked { result, memory, .. } = load::check(of(&shadowed), Before::default());
    let before = result.unwrap();
    assert_eq!(before.doubts.len(), 1);

    let edit = load::edit(of("[tenants.a]\npool = \"a\"\n"), &before, &memory);

    assert!(edit.is_none(), "{edit:?}");
}

/// A folder of fifty tenants, and its path.
pub(super) async fn fifty() -> (World, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let routes = folder.path().join("routes");
    fs::create_dir(&routes).unwrap();
    fs::write(routes.join("_pools.toml"), POOLS).unwrap();
    for number in 0..50 {
        let text = format!("[tenants.t{number}]\npool = \"a\"\n");
        fs::write(routes.join(format!("{number}.toml")), text).unwrap();
    }
    (World::of(folder, "routes").await.unwrap(), routes)
}

pub(super) fn goes_to(world: &World, tenant: &str, pool: &str) -> bool {
    let table = world.control.table.load();
    let own = table.tenant(tenant).and_then(|tenant| tenant.pool.clone());
    own.is_some_and(|own| &*own.label.name == pool)
}

#[tokio::test]
async fn of_a_folder_an_edit_is_live_and_kept_however_it_is_made() {
    let (world, routes) = fifty().await;

    place(routes.join("1.toml"), "[tenants.t1]\npool = \"b\"\n");
    soon("the file that was moved", || goes_to(&world, "t1", "b")).await;
    fs::write(routes.join("2.toml"), "[tenants.t2]\npool = \"b\"\n").unwrap();
    soon("the file that was written", || goes_to(&world, "t2", "b")).await;
    fs::rename(routes.join("3.toml"), routes.join("99.toml")).unwrap();
    fs::remove_file(routes.join("4.toml")).unwrap();
    let has = |tenant: &str| world.control.table.load().tenant(tenant).is_some();
    soon("the end of one", || !has("t4")).await;

    assert!(has("t3") && world.control.table.load().tenants().len() == 49);
    let live = world.live();
    let files: Vec<&Path> = live.files().collect();
    assert_eq!(files.len(), 50);
    assert!(files.contains(&routes.join("99.toml").as_path()));
    let kept = || fs::read_to_string(world.path("state/last-good.json")).unwrap_or_default();
    soon("the kept copy", || kept().contains("99.toml") && !kept().contains("/3.toml")).await;
}

#[tokio::test]
async fn beside_a_file_that_is_broken_no_other_is_taken_until_it_is_mended() {
    let (world, routes) = fifty().await;

    place(routes.join("1.toml"), "[tenants.t1]\npool = \"a\"\n[tenants.t2]\npool = \"a\"\n");
    soon("the refusal", || !world.live().problems.is_empty()).await;
    let told = world.live().problems[0].to_string();
    assert!(told.contains("1.toml:") && told.contains("2.toml:"), "{told}");
    let refused = || world.metric("tenantry_config_reloads_total{result=\"refused\"} 2");
    place(routes.join("3.toml"), "[tenants.t3]\npool = \"b\"\n");
    soon("the second refusal", refused).await;
    assert_eq!(world.live().generation, 1);

    place(routes.join("1.toml"), "[tenants.t1]\npool = \"b\"\n");
    soon("both edits", || goes_to(&world, "t1", "b") && goes_to(&world, "t3", "b")).await;
    soon("the end of the alarm", || world.live().problems.is_empty()).await;
}

#[tokio::test]
async fn the_same_meaning_in_other_words_of_one_file_is_no_new_generation() {
    let (world, routes) = fifty().await;

    place(routes.join("1.toml"), "# a comment\n[tenants.t1]\npool = \"a\"\n");
    let loaded = || world.live().loaded.clone().unwrap();
    let path = routes.join("1.toml");
    let text = || loaded().files.files.get(path.as_os_str()).unwrap().text.to_string();
    soon("the new words", || text().starts_with("# a comment")).await;

    assert_eq!(world.live().generation, 1);
}

#[tokio::test]
async fn doubts_that_have_moved_are_not_told_at_their_old_place_after_the_next_edit() {
    let (world, routes) = fifty().await;
    let [shadowed, moved] = [0, 1].map(|more| TEXTS[DOUBTED + more].replace("{}", "t1"));
    let lines = || {
        let loaded = world.live().loaded.clone().unwrap();
        loaded.doubts.iter().map(|doubt| doubt.line.unwrap()).collect::<Vec<usize>>()
    };
    place(routes.join("1.toml"), &shadowed);
    soon("the doubt", || lines() == [3]).await;
    place(routes.join("1.toml"), &moved);
    soon("the doubt at its new place", || lines() == [4]).await;

    place(routes.join("2.toml"), "[tenants.t2]\npool = \"b\"\n");
    soon("the edit", || goes_to(&world, "t2", "b")).await;

    assert_eq!(lines(), [4]);
}

#[tokio::test]
async fn a_link_in_a_folder_is_followed_from_its_first_day_on() {
    let (world, routes) = fifty().await;
    let target = world.path("target");
    fs::write(&target, "[tenants.linked]\npool = \"a\"\n").unwrap();

    symlink(&target, routes.join("linked.toml")).unwrap();
    soon("the link", || goes_to(&world, "linked", "a")).await;
    fs::write(&target, "[tenants.linked]\npool = \"b\"\n").unwrap();

    soon("what it leads to", || goes_to(&world, "linked", "b")).await;
}

#[tokio::test]
async fn what_the_system_does_not_tell_is_found_once_all_is_quiet() {
    let (world, routes) = fifty().await;
    // A folder's watch does not hear of what is written by a name elsewhere.
    let elsewhere = world.path("elsewhere");
    fs::hard_link(routes.join("7.toml"), &elsewhere).unwrap();

    place(routes.join("1.toml"), "[tenants.t1]\npool = \"b\"\n");
    soon("the edit", || goes_to(&world, "t1", "b")).await;
    fs::write(&elsewhere, "[tenants.t7]\npool = \"b\"\n").unwrap();

    soon("the other edit", || goes_to(&world, "t7", "b")).await;
}

#[tokio::test]
async fn what_was_refused_and_mended_unheard_is_found_once_all_is_quiet() {
    let (world, routes) = fifty().await;
    let elsewhere = world.path("elsewhere");
    fs::hard_link(routes.join("7.toml"), &elsewhere).unwrap();

    place(routes.join("1.toml"), "[tenants.t1]\npool = \"b\"\n");
    soon("the edit", || goes_to(&world, "t1", "b")).await;
    soon("its end", || {
        let kept = fs::read_to_string(world.path("state/last-good.json"));
        kept.is_ok_and(|kept| kept.contains("[tenants.t1]\\npool = \\\"b"))
    })
    .await;
    fs::write(&elsewhere, "[tenants.t7\n").unwrap();
    assert!(matches!(world.reload().await, ReloadResult::Refused { .. }));
    fs::write(&elsewhere, "[tenants.t7]\npool = \"b\"\n").unwrap();

    soon("the other edit", || goes_to(&world, "t7", "b")).await;
    soon("the end of the alarm", || world.live().problems.is_empty()).await;
}
