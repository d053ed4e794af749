//! Files of a folder that are broken, beside others that are not.

use proptest::prelude::*;

use super::edits::{POOLS, fifty, goes_to};
use super::moved::place;
use super::*;
use crate::config::File;
use crate::config::secrets::Secrets;
use crate::config::spec::TenantState;
use crate::control::explain::Question;
use crate::control::load::{self, Before, Loaded};
use crate::control::sift::Known;

const HELD: &str = "tenantry_config_quarantined_tenants";

/// What no file may be.
const NO_TEXT: [u8; 4] = [0xff, 0xfe, b'a', b'\n'];

/// Waits until so many tenants are held.
pub(super) async fn held(world: &World, tenants: usize) {
    soon("the tenants that are held", || world.metric(&format!("{HELD} {tenants}"))).await;
}

/// Ends a gateway and starts the next one on the same folder.
pub(super) async fn restarted(world: World) -> Result<World, BootError> {
    assert_eq!(world.tasks.stop(DEADLINE).await, Stopped::Cleanly);
    World::of(world.folder, "routes").await
}

pub(super) fn state_of(world: &World, tenant: &str) -> Option<TenantState> {
    world.control.table.load().tenant(tenant).map(|tenant| tenant.state)
}

/// What `explain` says of a request.
fn outcome(world: &World, tenant: &str) -> String {
    let target = http::Uri::from_static("/");
    let question = Question::new(Some(tenant), &http::Method::GET, &target, None).unwrap();
    world.control.explainer(Vec::new()).explain(&question, &Secrets::default()).unwrap().outcome
}

#[tokio::test]
async fn a_file_that_is_broken_holds_its_own_tenants_and_all_others_move_on() {
    for broken in ["[tenants.t1]\npool = \"none\"\n", "[tenants.t1\npool = ", "no TOML at all\n"] {
        let (world, routes) = fifty().await;

        place(routes.join("1.toml"), broken);
        held(&world, 1).await;
        let live = world.live();
        let [one] = live.quarantine() else { panic!("{:?}", live.quarantine()) };
        assert_eq!((one.path(), &*one.tenants), (&*routes.join("1.toml"), &["t1".to_owned()][..]));
        assert!(one.was_good && !one.problems.is_empty(), "{one:?}");
        assert!(live.problems.is_empty() && goes_to(&world, "t1", "a"));
        assert!(outcome(&world, "t1").ends_with("is broken, and held as it was when it was good"));
        assert!(!outcome(&world, "t2").contains("broken"));
        assert_eq!(live.quarantined_by("t1"), Some(&*routes.join("1.toml")));
        assert_eq!(live.quarantined_by("t2"), None);

        place(routes.join("3.toml"), "[tenants.t3]\npool = \"b\"\n");
        soon("another edit", || goes_to(&world, "t3", "b")).await;
        fs::write(routes.join("_pools.toml"), format!("{}# more\n", POOLS)).unwrap();
        fs::write(routes.join("4.toml"), "[tenants.t4]\npool = \"b\"\n").unwrap();
        soon("an edit of all", || goes_to(&world, "t4", "b")).await;
        assert!(world.metric(&format!("{HELD} 1")) && goes_to(&world, "t1", "a"));

        place(routes.join("1.toml"), "[tenants.t1]\npool = \"b\"\n");
        soon("the mended file", || goes_to(&world, "t1", "b")).await;
        held(&world, 0).await;
        assert!(world.live().quarantine().is_empty());
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_read_holds_its_own_tenants_too() {
    let (world, routes) = fifty().await;

    fs::write(routes.join("1.toml"), NO_TEXT).unwrap();
    fs::remove_file(routes.join("2.toml")).unwrap();
    symlink(routes.join("nowhere"), routes.join("2.toml")).unwrap();
    held(&world, 2).await;
    place(routes.join("3.toml"), "[tenants.t3]\npool = \"b\"\n");
    soon("another edit", || goes_to(&world, "t3", "b")).await;
    assert!(goes_to(&world, "t1", "a") && goes_to(&world, "t2", "a"));
    assert!(world.live().quarantine()[0].problems[0].what.contains("not UTF-8"));

    fs::write(routes.join("new.toml"), NO_TEXT).unwrap();
    assert!(matches!(world.reload().await, ReloadResult::Refused { .. }));
    assert!(!world.live().problems.is_empty(), "nobody knows whose the new one is");
    fs::remove_file(routes.join("new.toml")).unwrap();
    fs::remove_file(routes.join("2.toml")).unwrap();
    fs::write(routes.join("1.toml"), "[tenants.t1]\npool = \"b\"\n").unwrap();
    assert!(matches!(world.reload().await, ReloadResult::Live { .. }));
    assert!(goes_to(&world, "t1", "b") && state_of(&world, "t2").is_none());
    held(&world, 0).await;
}

#[tokio::test]
async fn the_good_text_written_back_ends_it_without_a_new_generation() {
    let (world, routes) = fifty().await;

    place(routes.join("1.toml"), "[tenants.t1]\n");
    held(&world, 1).await;
    place(routes.join("1.toml"), "[tenants.t1]\npool = \"a\"\n");
    held(&world, 0).await;

    assert_eq!(world.live().generation, 1);
}

#[tokio::test]
async fn what_mends_a_file_may_come_in_another_one() {
    let (world, routes) = fifty().await;

    place(routes.join("1.toml"), "[tenants.t1]\npool = \"later\"\n");
    held(&world, 1).await;
    let pools = format!("{}[pools.later]\nendpoints = [\"10.0.0.9:80\"]\n", POOLS);
    place(routes.join("_pools.toml"), &pools);

    soon("the pool", || goes_to(&world, "t1", "later")).await;
    held(&world, 0).await;
}

#[tokio::test]
async fn the_end_of_a_file_that_is_broken_is_that_of_its_tenants() {
    let (world, routes) = fifty().await;

    place(routes.join("1.toml"), "[tenants.t1\n");
    held(&world, 1).await;
    fs::remove_file(routes.join("1.toml")).unwrap();

    soon("the end of the tenant", || state_of(&world, "t1").is_none()).await;
    held(&world, 0).await;
}

#[tokio::test]
async fn who_asks_for_a_reload_hears_of_what_is_held_and_the_rest_is_live() {
    let (world, routes) = fifty().await;
    fs::write(routes.join("1.toml"), "[tenants.t1]\npool = \"none\"\n").unwrap();
    fs::write(routes.join("2.toml"), "[tenants.t2]\npool = \"b\"\n").unwrap();

    let ReloadResult::Refused { generation, problems } = world.reload().await else {
        panic!("it was not told")
    };

    assert_eq!((generation, problems.len()), (2, 1));
    assert_eq!(problems[0].key.as_deref(), Some("tenants.t1.pool"));
    assert!(goes_to(&world, "t2", "b") && goes_to(&world, "t1", "a"));
    let ReloadResult::Refused { generation: again, .. } = world.reload().await else {
        panic!("it was not told again")
    };
    assert_eq!(again, 2);
}

#[tokio::test]
async fn what_holds_for_more_than_one_file_is_refused_as_a_whole() {
    let (world, routes) = fifty().await;
    let refused = |text: &str, name: &str| {
        let before = fs::read(routes.join(name)).ok();
        fs::write(routes.join(name), text).unwrap();
        before
    };

    // What it said is about more than tenants; it says so now; nobody knows whose it is.
    for (name, text) in [
        ("_pools.toml", "[pools.a]\nendpoints = [5]\n"),
        ("1.toml", "[tenants.t1]\npool = \"none\"\n[pools.c]\nendpoints = [\"10.0.0.1:80\"]\n"),
        ("new.toml", "no TOML\n"),
        ("new.toml", "[tenants.t7]\npool = \"none\"\n"),
    ] {
        let before = refused(text, name);
        fs::write(routes.join("2.toml"), "[tenants.t2]\npool = \"b\"\n").unwrap();

        assert!(
            matches!(world.reload().await, ReloadResult::Refused { generation: 1, .. }),
            "{text}"
        );

        assert!(world.live().quarantine().is_empty() && goes_to(&world, "t2", "a"), "{text}");
        // First what would be live by itself once the other one is mended: the folder is watched, too.
        fs::write(routes.join("2.toml"), "[tenants.t2]\npool = \"a\"\n").unwrap();
        match before {
            Some(before) => fs::write(routes.join(name), before).unwrap(),
            None => fs::remove_file(routes.join(name)).unwrap(),
        }
        assert!(matches!(world.reload().await, ReloadResult::Live { .. }), "{text}");
    }
}

#[tokio::test]
async fn a_pool_stays_while_somebody_who_is_held_needs_it() {
    let (world, routes) = fifty().await;
    place(routes.join("1.toml"), "[tenants.t1]\npool = \"b\"\n");
    soon("the edit", || goes_to(&world, "t1", "b")).await;
    fs::write(routes.join("1.toml"), "[tenants.t1\n").unwrap();
    fs::write(routes.join("_pools.toml"), "[pools.a]\nendpoints = [\"10.0.0.1:80\"]\n").unwrap();

    let ReloadResult::Refused { problems, .. } = world.reload().await else {
        panic!("it was taken away")
    };

    let why = |problem: &Fault| problem.what.contains("last good: there is no pool \"b\"");
    assert!(problems.iter().any(why), "{problems:?}");
    assert!(goes_to(&world, "t1", "b") && goes_to(&world, "t2", "a"));
}

#[tokio::test]
async fn after_a_restart_what_is_held_is_served_as_it_was_kept() {
    let (world, routes) = fifty().await;
    place(routes.join("1.toml"), "[tenants.t1\n");
    held(&world, 1).await;
    place(routes.join("2.toml"), "[tenants.t2]\npool = \"b\"\n");
    soon("another edit", || goes_to(&world, "t2", "b")).await;
    let kept = || fs::read_to_string(world.path("state/last-good.json")).unwrap_or_default();
    soon("the kept copy", || kept().contains("[tenants.t2]\\npool = \\\"b\\\"")).await;

    let world = restarted(world).await.unwrap();

    assert!(!world.live().serving_last_good && world.metric(&format!("{HELD} 1")));
    assert!(goes_to(&world, "t1", "a") && goes_to(&world, "t2", "b"));
    fs::write(routes.join("1.toml"), "[tenants.t1]\npool = \"b\"\n").unwrap();
    assert!(matches!(world.reload().await, ReloadResult::Live { .. }));
    assert!(goes_to(&world, "t1", "b"));
}

#[tokio::test]
async fn a_start_without_anything_good_has_the_tenant_and_does_not_serve_it() {
    let folder = tempfile::tempdir().unwrap();
    let routes = folder.path().join("routes");
    fs::create_dir(&routes).unwrap();
    fs::write(routes.join("_pools.toml"), POOLS).unwrap();
    fs::write(routes.join("1.toml"), "[tenants.t1]\npool = \"none\"\n[tenants.t2]\n").unwrap();
    fs::write(routes.join("3.toml"), "[tenants.t3]\npool = \"a\"\n").unwrap();

    let world = World::of(folder, "routes").await.unwrap();

    assert_eq!(state_of(&world, "t1"), Some(TenantState::Quarantined));
    assert_eq!(state_of(&world, "t2"), Some(TenantState::Quarantined));
    assert!(goes_to(&world, "t3", "a") && world.metric(&format!("{HELD} 2")));
    assert!(!world.live().quarantine()[0].was_good);
    assert!(world.metric("tenantry_tenants{state=\"quarantined\"} 2"));

    place(routes.join("3.toml"), "[tenants.t3]\npool = \"b\"\n");
    soon("another edit", || goes_to(&world, "t3", "b")).await;
    assert_eq!(state_of(&world, "t1"), Some(TenantState::Quarantined));
    place(routes.join("1.toml"), "[tenants.t1]\npool = \"a\"\n[tenants.t2]\npool = \"b\"\n");
    soon("the mended file", || goes_to(&world, "t1", "a") && goes_to(&world, "t2", "b")).await;
    held(&world, 0).await;
}

/// What a file of one tenant may say; the last three are broken.
const SAID: [&str; 5] =
    ["pool = \"a\"", "pool = \"b\"", "pool = \"none\"", "pool = ", "colour = 1"];
const GOOD: usize = 2;

/// Files as they are after a step: what each says, if it is there.
type Said = [Option<usize>; 3];

fn said() -> impl Strategy<Value = Vec<Said>> {
    let one = || proptest::option::weighted(0.8, 0..SAID.len());
    proptest::collection::vec([one(), one(), one()], 1..12)
}

fn folder(said: &Said) -> Files {
    let file = |name: &str, text: &str| File { path: Path::new(name).into(), text: text.into() };
    let text = |at: usize, said: usize| format!("[tenants.t{at}]\n{}\n", SAID[said]);
    let tenants = said
        .iter()
        .enumerate()
        .filter_map(|(at, said)| said.map(|said| file(&format!("t{at}.toml"), &text(at, said))));
    let files = tenants.chain([file("_pools.toml", POOLS)]).collect();
    Files { folder: Some((1, 1)), ..Files::of("routes".into(), files) }
}

proptest! {
    /// Beside a model of it: each file by itself is what it says, else what it said last, else held back.
    #[test]
    fn each_file_of_a_tenant_is_judged_by_itself(steps in said()) {
        let mut last: Option<Loaded> = None;
        let mut good: Said = [None; 3];
        for now in steps {
            let files = folder(&now);
            let before = Before {
                good: last.map(Known::Live).unwrap_or_default(),
                ..Before::default()
            };

            let loaded = load::check(files.clone(), before).result.unwrap();

            prop_assert_eq!(&loaded.as_they_are(), &files);
            let held: Vec<&str> =
                loaded.quarantine.iter().map(|held| held.tenants[0].as_str()).collect();
            let mut broken = Vec::new();
            for (at, said) in now.into_iter().enumerate() {
                let id = format!("t{at}");
                good[at] = said.and_then(|said| if said < GOOD { Some(said) } else { good[at] });
                let tenant = loaded.spec.tenant(&id);
                let told = tenant.map(|t| (t.state, t.pool.as_ref().map(ToString::to_string)));
                let expected = said.map(|_| match good[at] {
                    Some(good) => (TenantState::Active, Some(["a", "b"][good].to_owned())),
                    None => (TenantState::Quarantined, None),
                });
                prop_assert_eq!(told, expected);
                if said.is_some_and(|said| said >= GOOD) {
                    broken.push(id);
                }
            }
            prop_assert_eq!(held, broken);
            last = Some(loaded);
        }
    }
}
