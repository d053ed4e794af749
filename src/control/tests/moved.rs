//! Files that are moved into their place.

use crate::config::spec::TenantState;
use crate::routing::tenant::Tenant;

use super::*;

const BASE: &str = "[pools.shop]\nendpoints = [\"127.0.0.1:1\"]\n[tenants.base]\npool = \"shop\"\n";

fn tenant(number: usize) -> String {
    format!("[tenants.t{number}]\npool = \"shop\"\n")
}

pub(super) fn place(path: PathBuf, text: &str) {
    let draft = path.with_extension("draft");
    fs::write(&draft, text).unwrap();
    fs::rename(draft, path).unwrap();
}

#[tokio::test]
async fn of_a_folder_an_edit_of_one_file_leaves_all_other_tenants_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("routes")).unwrap();
    let path = |number: usize| folder.path().join(format!("routes/{number}.toml"));
    fs::write(folder.path().join("routes/base.toml"), BASE).unwrap();
    (0..50).for_each(|number| fs::write(path(number), tenant(number)).unwrap());
    let edited = path(7);
    let world = World::of(folder, "routes").await.unwrap();
    let before = world.control.table.load();

    place(edited, &format!("{}state = \"suspended\"\n[tenants.new]\npool = \"shop\"\n", tenant(7)));
    soon("the edit", || world.control.table.load().tenant("new").is_some()).await;

    let now = world.control.table.load();
    let kept = before
        .tenants()
        .filter(|tenant| now.tenant(tenant.id()).is_some_and(|found| Arc::ptr_eq(found, tenant)));
    assert_eq!(kept.count(), 50);
    assert_eq!(now.tenants().len(), 52);
}

#[tokio::test]
async fn of_a_file_with_many_tenants_each_edit_leaves_the_others_as_they_are() {
    let all = |suspended: Option<usize>| {
        let tenant = |number| match suspended == Some(number) {
            true => format!("{}state = \"suspended\"\n", tenant(number)),
            false => tenant(number),
        };
        format!("{BASE}{}", (0..300).map(tenant).collect::<String>())
    };
    let world = World::start(&all(None)).await;
    let state = |number: usize| {
        let table = world.control.table.load();
        table.tenant(&format!("t{number}")).map(|tenant| tenant.state)
    };
    let mut last = None;
    for number in [7, 299, 150] {
        let before = world.control.table.load();

        place(world.path("routes.toml"), &all(Some(number)));
        soon("the edit", || state(number) == Some(TenantState::Suspended)).await;

        let now = world.control.table.load();
        let is_same = |tenant: &&Arc<Tenant>| {
            now.tenant(tenant.id()).is_some_and(|found| Arc::ptr_eq(found, tenant))
        };
        assert_eq!(before.tenants().filter(is_same).count(), 300 - usize::from(last.is_some()));
        assert!(last.is_none_or(|last| state(last) == Some(TenantState::Active)));
        let live = world.live();
        assert_eq!(*live.loaded.as_ref().unwrap().spec, spec(&all(Some(number))));
        last = Some(number);
    }
}

#[tokio::test]
async fn what_cannot_be_used_is_told_once_when_all_is_quiet() {
    let world = World::start(BASE).await;

    place(world.path("routes.toml"), BROKEN);
    soon("the refusal", || !world.live().problems.is_empty()).await;

    assert!(world.metric("tenantry_config_reloads_total{result=\"refused\"} 1"));
    assert_eq!(world.live().generation, 1);
}

#[tokio::test]
async fn what_was_moved_into_its_place_is_kept_once_all_is_quiet() {
    let world = World::start(BASE).await;

    place(world.path("routes.toml"), &format!("{BASE}{}", tenant(1)));

    let kept = || fs::read_to_string(world.path("state/last-good.json")).unwrap_or_default();
    soon("the kept copy", || kept().contains("tenants.t1")).await;
    assert_eq!(world.live().generation, 2);
}

fn spec(text: &str) -> config::spec::RoutesSpec {
    let files = Files::of_text("r.toml", text);
    config::check_routes_whole(&files, &config::Known { balancers: &["round-robin"], keyed: &[] })
        .result
        .unwrap()
}

#[test]
fn what_holds_for_more_than_tenants_is_known() {
    let all = spec(BASE);
    for (text, alone) in [
        (format!("{BASE}{}", tenant(1)), true),
        (format!("{BASE}state = \"suspended\"\n"), true),
        (BASE.replace("127.0.0.1:1", "127.0.0.1:2"), false),
        (format!("{BASE}[tenant]\nfrom = [{{ host = \"{{tenant}}.example.com\" }}]\n"), false),
        (
            format!("{BASE}[route-sets.web]\nroutes = [{{ path = \"/\", pool = \"shop\" }}]\n"),
            false,
        ),
    ] {
        assert_eq!(spec(&text).differ_in_tenants_alone(&all), alone, "{text}");
    }
}

#[test]
fn what_takes_something_away_is_known() {
    let all = spec(&format!("{BASE}{}", tenant(1)));
    for (text, lacks) in [
        (format!("{BASE}{}{}", tenant(0), tenant(1)), false),
        (format!("{BASE}{}", tenant(2)), true),
        (format!("{BASE}[tenants.t1]\npool = \"other\"\n[pools.other]\ndns = \"a:1\"\n"), false),
        (BASE.replace("shop", "other") + "[tenants.t1]\nstate = \"suspended\"\n", true),
    ] {
        assert_eq!(spec(&text).lacks_any_of(&all), lacks, "{text}");
    }
}
