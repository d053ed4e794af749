//! Mistakes in files of a folder take nobody away who is served: not while the gateway runs, and not at a
//! start.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::edits::{POOLS, fifty, goes_to};
use super::quarantine::{held, restarted, state_of};
use super::*;
use crate::config::spec::{RoutesSpec, TenantState};
use crate::config::{File, Problems};
use crate::control::load::{self, Before, Loaded};
use crate::control::sift::Known;

fn write(routes: &Path, name: &str, text: &str) {
    fs::write(routes.join(name), text).unwrap();
}

fn kept(world: &World) -> String {
    fs::read_to_string(world.path("state/last-good.json")).unwrap_or_default()
}

/// Waits until what is live is kept for a restart.
async fn is_kept(world: &World, text: &str) {
    soon("the kept copy", || kept(world).contains(text)).await;
}

/// All tenants of before are served from the last good copy, which stays as it was.
async fn serves_the_last_good_ones(world: World) -> World {
    let before = kept(&world);
    let mut world = world;
    for _ in 0..2 {
        world = restarted(world).await.unwrap();
        let live = world.live();
        assert!(live.serving_last_good && !live.problems.is_empty());
        for number in 0..50 {
            let id = format!("t{number}");
            assert_eq!(state_of(&world, &id), Some(TenantState::Active), "{id}");
        }
        assert!(live.quarantine().is_empty());
    }
    assert_eq!(kept(&world), before);
    world
}

const POOL_B: &str = "[pools.b]\nendpoints = [\"127.0.0.1:2\"]\n[route-sets.s]\n\
                      routes = [{ path = \"/s/*\", pool = \"b\" }]\n";

#[tokio::test]
async fn a_restart_after_a_pool_was_taken_away_serves_its_tenants_as_they_were() {
    let (world, routes) = fifty().await;
    is_kept(&world, "tenants.t49").await;
    write(&routes, "_pools.toml", POOL_B);
    assert!(matches!(world.reload().await, ReloadResult::Refused { generation: 1, .. }));

    let world = serves_the_last_good_ones(world).await;

    write(&routes, "_pools.toml", POOLS);
    assert!(matches!(world.reload().await, ReloadResult::Live { .. }));
    assert!(!world.live().serving_last_good);
}

#[tokio::test]
async fn a_restart_after_the_plans_were_taken_away_serves_their_tenants_as_they_were() {
    let (world, routes) = fifty().await;
    write(&routes, "_plans.toml", "[plans.p]\npool = \"a\"\n");
    write(&routes, "1.toml", "[tenants.t1]\nplan = \"p\"\n");
    assert!(matches!(world.reload().await, ReloadResult::Live { .. }));
    is_kept(&world, "plans.p").await;
    fs::remove_file(routes.join("_plans.toml")).unwrap();
    assert!(matches!(world.reload().await, ReloadResult::Refused { .. }));

    serves_the_last_good_ones(world).await;
}

#[tokio::test]
async fn a_restart_without_the_page_of_a_tenant_serves_it_all_the_same() {
    let (world, routes) = fifty().await;
    write(&routes, "1.html", "<p>");
    write(&routes, "1.toml", "[tenants.t1]\npool = \"a\"\nerror-pages.503.file = \"1.html\"\n");
    assert!(matches!(world.reload().await, ReloadResult::Live { .. }));
    is_kept(&world, "1.html").await;
    fs::remove_file(routes.join("1.html")).unwrap();

    serves_the_last_good_ones(world).await;
}

#[tokio::test]
async fn a_restart_without_the_pool_that_a_tenant_in_quarantine_needs_serves_it() {
    let (world, routes) = fifty().await;
    write(&routes, "_c.toml", "[pools.c]\nendpoints = [\"127.0.0.1:3\"]\n");
    write(&routes, "1.toml", "[tenants.t1]\npool = \"c\"\n");
    assert!(matches!(world.reload().await, ReloadResult::Live { .. }));
    write(&routes, "1.toml", "[tenants.t1]\npool = \n");
    held(&world, 1).await;
    is_kept(&world, "pools.c").await;
    fs::remove_file(routes.join("_c.toml")).unwrap();
    assert!(matches!(world.reload().await, ReloadResult::Refused { generation: 2, .. }));

    let world = serves_the_last_good_ones(world).await;

    assert!(goes_to(&world, "t1", "c"));
}

#[tokio::test]
async fn a_file_that_was_renamed_while_the_gateway_was_down_and_has_a_mistake_takes_nobody_away() {
    let (world, routes) = fifty().await;
    is_kept(&world, "tenants.t49").await;
    fs::rename(routes.join("1.toml"), routes.join("1-acme.toml")).unwrap();
    write(&routes, "1-acme.toml", "[tenants.t1]\npool = \"aa\"\n");

    serves_the_last_good_ones(world).await;
}

#[tokio::test]
async fn where_the_last_good_copy_cannot_serve_some_are_served_and_the_copy_stays() {
    let (world, routes) = fifty().await;
    is_kept(&world, "tenants.t49").await;
    // As of another version, whose keys this one does not know.
    let old = kept(&world).replace("[tenants.t1]\\n", "[tenants.t1]\\nolder = 1\\n");
    assert_ne!(old, kept(&world));
    write(&routes, "1.toml", "[tenants.t1]\npool = \n");
    let folder = world.folder;
    assert_eq!(world.tasks.stop(DEADLINE).await, Stopped::Cleanly);
    fs::write(folder.path().join("state/last-good.json"), &old).unwrap();

    let world = World::of(folder, "routes").await.unwrap();

    assert_eq!(state_of(&world, "t1"), Some(TenantState::Quarantined));
    assert!(goes_to(&world, "t2", "a") && !world.live().serving_last_good);
    write(&routes, "2.toml", "[tenants.t2]\npool = \"b\"\n");
    assert!(matches!(world.reload().await, ReloadResult::Refused { .. }));
    assert!(goes_to(&world, "t2", "b"));
    let folder = world.folder;
    assert_eq!(world.tasks.stop(DEADLINE).await, Stopped::Cleanly);
    let kept = || fs::read_to_string(folder.path().join("state/last-good.json")).unwrap();
    assert_eq!(kept(), old, "it may be all that is left of t1");

    let world = World::of(folder, "routes").await.unwrap();
    write(&routes, "1.toml", "[tenants.t1]\npool = \"b\"\n");
    assert!(matches!(world.reload().await, ReloadResult::Live { .. }));
    is_kept(&world, "[tenants.t1]\\npool = \\\"b\\\"").await;
}

/// Each is refused as a whole and says why, and all who were served are.
async fn is_refused(world: &World, file: &str) {
    let generation = world.live().generation;
    let ReloadResult::Refused { generation: now, problems } = world.reload().await else {
        panic!("it was taken")
    };
    assert_eq!(now, generation);
    let why = |problem: &Fault| {
        problem.file.ends_with(file) && problem.what.contains("take away tenants that are served")
    };
    assert!(problems.iter().any(why), "{problems:?}");
    for number in 0..50 {
        let id = format!("t{number}");
        assert_eq!(state_of(world, &id), Some(TenantState::Active), "{id}");
    }
}

#[tokio::test]
async fn a_file_that_is_renamed_with_a_mistake_takes_nobody_away() {
    let (world, routes) = fifty().await;

    fs::rename(routes.join("1.toml"), routes.join("1-acme.toml")).unwrap();
    write(&routes, "1-acme.toml", "[tenants.t1]\npool = \"aa\"\n");
    is_refused(&world, "1-acme.toml").await;

    write(&routes, "1-acme.toml", "[tenants.t1]\npool = \"b\"\n");
    assert!(matches!(world.reload().await, ReloadResult::Live { generation: 2, .. }));
    assert!(goes_to(&world, "t1", "b"));
}

#[tokio::test]
async fn a_tenant_that_is_moved_into_a_file_with_a_mistake_stays() {
    for (name, text) in [
        ("group.toml", "[tenants.t2]\npool = \"aa\"\n"),
        ("group.toml", "[tenants.t60]\npool = \"a\n[tenants.t2]\npool = \"a\"\n"),
        ("group.toml", "[tenants.t60]\npool = \"a\"\n[tenats.t2]\npool = \"a\"\n"),
        ("1.toml", "[tenants.t1]\npool = \"a\n[tenants.t2]\npool = \"a\"\n"),
        ("1.toml", "[tenants.t1]\npool = \"aa\"\n[tenants.t2]\npool = \"a\"\n"),
    ] {
        let (world, routes) = fifty().await;

        fs::remove_file(routes.join("2.toml")).unwrap();
        write(&routes, name, text);

        is_refused(&world, name).await;
    }
}

#[tokio::test]
async fn a_tenant_that_was_written_into_a_broken_file_stays_when_its_own_file_goes() {
    let (world, routes) = fifty().await;
    write(&routes, "1.toml", "[tenants.t1]\npool = \n[tenants.t2]\npool = \"a\"\n");
    held(&world, 1).await;

    fs::remove_file(routes.join("2.toml")).unwrap();
    soon("the refusal", || !world.live().problems.is_empty()).await;
    is_refused(&world, "1.toml").await;

    fs::remove_file(routes.join("1.toml")).unwrap();
    assert!(matches!(world.reload().await, ReloadResult::Live { .. }));
    assert!(state_of(&world, "t1").is_none() && state_of(&world, "t2").is_none());
}

/// Both tenants in a text of Latin-1, and in one of UTF-16.
fn of_no_utf8() -> [Vec<u8>; 2] {
    let both = format!("{}{}", one(1, "a"), one(2, "a"));
    let latin1 = [b"# caf\xe9\n", both.as_bytes()].concat();
    let utf16 = both.encode_utf16().flat_map(u16::to_le_bytes);
    [latin1, [0xff, 0xfe].into_iter().chain(utf16).collect()]
}

#[tokio::test]
async fn a_tenant_that_was_moved_into_a_file_that_cannot_be_read_stays_when_its_own_file_goes() {
    let all = of_no_utf8().into_iter().map(Some).chain([None]);
    for bytes in all {
        let (world, routes) = fifty().await;
        match bytes {
            Some(bytes) => fs::write(routes.join("1.toml"), bytes).unwrap(),
            None => {
                fs::remove_file(routes.join("1.toml")).unwrap();
                symlink(routes.join("nowhere"), routes.join("1.toml")).unwrap();
            }
        }
        held(&world, 1).await;

        fs::remove_file(routes.join("2.toml")).unwrap();
        soon("the refusal", || !world.live().problems.is_empty()).await;
        is_refused(&world, "1.toml").await;

        write(&routes, "1.toml", &format!("{}{}", one(1, "b"), one(2, "b")));
        assert!(matches!(world.reload().await, ReloadResult::Live { .. }));
        assert!(goes_to(&world, "t1", "b") && goes_to(&world, "t2", "b"));
    }
}

#[tokio::test]
async fn a_file_that_is_gone_takes_its_tenants_beside_one_of_latin_1_that_does_not_name_them() {
    let (world, routes) = fifty().await;
    fs::write(routes.join("1.toml"), &of_no_utf8()[0]).unwrap();
    held(&world, 1).await;

    fs::remove_file(routes.join("3.toml")).unwrap();

    soon("the end of the tenant", || state_of(&world, "t3").is_none()).await;
    assert!(goes_to(&world, "t1", "a") && goes_to(&world, "t2", "a"));
}

#[tokio::test]
async fn a_file_that_is_gone_takes_its_tenants_whatever_else_is_broken() {
    let (world, routes) = fifty().await;

    write(&routes, "1.toml", "[tenants.t1]\npool = \n");
    fs::remove_file(routes.join("2.toml")).unwrap();
    drop(world.reload().await);

    assert!(state_of(&world, "t2").is_none() && goes_to(&world, "t1", "a"));
    fs::remove_file(routes.join("3.toml")).unwrap();
    soon("the end of another", || state_of(&world, "t3").is_none()).await;
    assert!(goes_to(&world, "t1", "a"));
}

#[tokio::test]
async fn a_file_that_is_gone_takes_its_tenants_whatever_a_broken_one_said_of_them_before() {
    let (world, routes) = fifty().await;
    let text = "# as t2 and [tenants.t3]\n[tenants.t1]\npool = \"a\" # t2\n";
    write(&routes, "1.toml", text);
    assert!(matches!(world.reload().await, ReloadResult::Live { .. }));

    write(&routes, "1.toml", &text.replace("\"a\"", "\"a"));
    fs::remove_file(routes.join("2.toml")).unwrap();
    fs::remove_file(routes.join("3.toml")).unwrap();
    drop(world.reload().await);

    assert!(world.live().problems.is_empty(), "{:?}", world.live().problems);
    assert!(state_of(&world, "t2").is_none() && state_of(&world, "t3").is_none());
    assert!(goes_to(&world, "t1", "a"));
}

#[tokio::test]
async fn a_file_made_of_several_with_an_open_string_takes_nobody_away() {
    let (world, routes) = fifty().await;
    for name in ["1.toml", "2.toml", "3.toml"] {
        fs::remove_file(routes.join(name)).unwrap();
    }
    let text = "[tenants.t1]\npool = \"a\n[tenants.t2]\npool = \"a\"\n[tenants.t3]\npool = \"a\"\n";

    write(&routes, "group-1.toml", text);

    is_refused(&world, "group-1.toml").await;
}

#[tokio::test]
async fn a_file_put_behind_one_without_an_end_of_its_last_line_takes_nobody_away() {
    let second = "[tenants.t2]\npool = \"a\"\n";
    for first in ["[tenants.t1]\npool = \"a\"", "[tenants.t1]\npool = \"a\"\n# the end"] {
        // At once, and one after the other, between which the gateway has looked.
        for looks in [false, true] {
            let (world, routes) = fifty().await;

            write(&routes, "1.toml", &format!("{first}{second}"));
            if looks {
                held(&world, 1).await;
                assert_eq!(state_of(&world, "t2"), Some(TenantState::Active));
            }
            fs::remove_file(routes.join("2.toml")).unwrap();
            if looks {
                soon("the refusal", || !world.live().problems.is_empty()).await;
            }

            is_refused(&world, "1.toml").await;
        }
    }
}

#[tokio::test]
async fn tenants_of_one_table_with_a_mistake_stay_when_their_own_files_go() {
    let (world, routes) = fifty().await;
    let text = "tenants = { t1 = {pool=\"a\"}, t2 {pool=\"a\"} }\n";

    write(&routes, "1.toml", text);
    fs::remove_file(routes.join("2.toml")).unwrap();

    is_refused(&world, "1.toml").await;
}

#[tokio::test]
async fn a_file_is_held_for_a_reason_that_is_told_whatever_is_wrong_with_others() {
    let (world, routes) = fifty().await;
    write(&routes, "3.toml", "[tenants.t3]\npool = \n");
    write(&routes, "2.toml", "[tenants.t2]\npool = \"nope\"\n");

    drop(world.reload().await);

    let live = world.live();
    let told: Vec<Option<&str>> = live
        .quarantine()
        .iter()
        .map(|held| held.problems.first().map(|problem| problem.what.as_str()))
        .collect();
    assert_eq!(told.len(), 2);
    assert!(
        told[0].unwrap().contains("there is no pool \"nope\"") && told[1].is_some(),
        "{told:?}"
    );
}

#[test]
fn each_of_more_files_than_faults_are_told_of_is_held_for_a_reason() {
    let text = |pool: &'static str| move |at: usize| (format!("{at}.toml"), one(at, pool));
    let before = folder((0..1500).map(text("a")));
    let good = Known::Live(checked(before, Known::Nothing).unwrap());

    let loaded = checked(folder((0..1500).map(text("nope"))), good).unwrap();

    assert_eq!(loaded.quarantine.len(), 1500);
    for held in loaded.quarantine.iter() {
        let own = |problem: &&Fault| problem.file == held.path();
        assert!(held.problems.iter().any(|problem| own(&problem)), "{held:?}");
    }
}

fn one(at: usize, pool: &str) -> String {
    format!("[tenants.t{at}]\npool = \"{pool}\"\n")
}

/// A folder of these files beside that of the pools.
fn folder(texts: impl Iterator<Item = (String, String)>) -> Files {
    let file =
        |(name, text): (String, String)| File { path: Path::new(&name).into(), text: text.into() };
    let files = texts.chain([("_pools.toml".to_owned(), POOLS.to_owned())]).map(file).collect();
    Files { folder: Some((1, 1)), ..Files::of("routes".into(), files) }
}

fn checked(files: Files, good: Known) -> Result<Loaded, Vec<Fault>> {
    load::check(files, Before { good, ..Before::default() }).result
}

/// How a file is written; what follows the first is wrong.
const STYLES: usize = 7;
const UNREAD: usize = 6;

/// A file of these tenants, in one of the styles.
fn written(tenants: &[usize], style: usize) -> String {
    let mut text: String = tenants.iter().map(|at| one(*at, "a")).collect();
    let first = one(tenants[0], "a");
    match style {
        1 => text = text.replace(&first, &one(tenants[0], "none")),
        2 => text = text.replacen("pool = \"a\"", "pool = \"a", 1),
        3 => text = text.replacen("]\n", "\n", 1),
        4 => text = text.replacen("[tenants.", "[tenats.", 1),
        5 => text.insert_str(0, "x = '''\n"),
        _ => {}
    }
    text
}

/// A step: in which file each tenant is, how each file is written, and whether the gateway starts anew.
type Step = ([Option<usize>; 5], [usize; 4], bool);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let file = || proptest::option::weighted(0.9, 0..4_usize);
    let style = || prop_oneof![3 => Just(0), 1 => 0..STYLES];
    let step = (
        [file(), file(), file(), file(), file()],
        [style(), style(), style(), style()],
        proptest::bool::weighted(0.2),
    );
    proptest::collection::vec(step, 1..10)
}

fn is_served(spec: &RoutesSpec, id: &str) -> bool {
    spec.tenant(id).is_some_and(|tenant| tenant.state == TenantState::Active)
}

proptest! {
    /// Whatever is moved where, and with which mistakes: who is served, and is meant to be, stays.
    #[test]
    fn who_is_served_stays_as_long_as_a_file_is_meant_to_define_it((first, rest) in (steps(), steps())) {
        let mut last: Option<Loaded> = None;
        for (places, styles, restarts) in first.into_iter().chain(rest) {
            let mut of: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
            for (tenant, place) in places.iter().enumerate() {
                place.iter().for_each(|place| of.entry(*place).or_default().push(tenant));
            }
            let name = |place: usize| format!("f{place}.toml");
            let read = of.iter().filter(|(place, _)| styles[**place] != UNREAD);
            let mut files =
                folder(read.map(|(place, own)| (name(*place), written(own, styles[*place]))));
            for place in of.keys().filter(|place| styles[**place] == UNREAD) {
                let path: PathBuf = name(*place).into();
                let problems = Problems::of_file(&path, "is closed".to_owned(), "open it");
                files.unread.insert(path.into(), problems.into());
            }
            let good = match (&last, restarts) {
                (None, _) => Known::Nothing,
                (Some(last), false) => Known::Live(last.clone()),
                (Some(last), true) => {
                    let meant = load::check_kept(last.files.clone(), Before::default()).result;
                    Known::Kept(last.files.clone(), Some(meant.unwrap().spec))
                }
            };

            // What is refused leaves what was live.
            let Ok(loaded) = checked(files, good) else { continue };

            for (tenant, place) in places.iter().enumerate() {
                let id = format!("t{tenant}");
                let was = last.as_ref().is_some_and(|last| is_served(&last.spec, &id));
                let is_good = place.is_some_and(|place| styles[place] == 0);
                prop_assert!(
                    place.is_none() || !(was || is_good) || is_served(&loaded.spec, &id),
                    "{} in {:?} was taken away", id, place
                );
            }
            last = Some(loaded);
        }
    }
}
