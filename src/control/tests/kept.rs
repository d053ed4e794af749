//! What survives a restart, and what is said where nothing was kept.

use super::*;

#[tokio::test]
async fn a_restart_on_broken_routes_serves_the_last_good_ones_until_they_are_mended() {
    let world = World::start(SHOP).await;
    world.edit(&SHOP.replace("acme", "globex")).await;

    world.write(BROKEN);
    let world = world.restart().await.unwrap();

    assert!(world.live().serving_last_good);
    assert!(!world.live().problems.is_empty());
    assert!(world.control.table.load().tenant("globex").is_some());
    assert!(world.metric("tenantry_config_serving_last_good 1"));
    assert!(world.metric("tenantry_config_last_success_timestamp_seconds 0"));

    world.edit(SHOP).await;
    assert!(!world.live().serving_last_good && world.live().problems.is_empty());
    assert!(world.metric("tenantry_config_serving_last_good 0"));
    assert!(world.control.table.load().tenant("globex").is_none());
}

#[tokio::test]
async fn routes_that_are_empty_at_a_restart_are_broken_and_do_not_replace_the_last_good_ones() {
    let mut world = World::start(SHOP).await;
    world.write(" \n");

    for _ in 0..2 {
        world = world.restart().await.unwrap();

        assert!(world.live().serving_last_good);
        assert!(world.live().problems[0].what.contains("the routes are empty"));
        assert!(world.control.table.load().tenant("acme").is_some());
    }
}

#[tokio::test]
async fn a_first_start_on_empty_routes_says_what_to_write() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("routes.toml"), "").unwrap();

    let error = World::of(folder, "routes.toml").await.map(drop).unwrap_err().to_string();

    assert!(error.contains("routes.toml:1:1: the routes are empty"), "{error}");
    assert!(error.contains("to serve nobody, leave a comment in them"), "{error}");
}

#[tokio::test]
async fn the_last_good_routes_written_back_end_the_alarm_without_a_new_generation() {
    let world = World::start(SHOP).await;
    world.write(BROKEN);
    let world = world.restart().await.unwrap();

    assert_eq!(world.edit(SHOP).await, 1);

    assert!(!world.live().serving_last_good && world.live().problems.is_empty());
    assert!(world.metric("tenantry_config_serving_last_good 0"));
}

#[tokio::test]
async fn broken_routes_without_a_last_good_copy_are_a_list_and_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("routes.toml"), BROKEN).unwrap();

    let error = World::of(folder, "routes.toml").await.map(drop).unwrap_err().to_string();

    assert!(error.contains("no last good ones are kept in"), "{error}");
    assert!(error.contains("routes.toml:2:"), "{error}");
}

#[tokio::test]
async fn what_is_kept_on_disk_holds_no_secret_of_the_environment() {
    let world = World::start(SHOP).await;
    let path = std::env::var("PATH").unwrap();

    world
        .edit(&format!(
            "{SHOP}\n[[tenants.acme.routes]]\npath = \"/secret\"\nrespond = {{ body = \"${{PATH}}\" }}\n"
        ))
        .await;

    let kept = || fs::read_to_string(world.path("state/last-good.json")).unwrap_or_default();
    soon("the kept copy", || kept().contains("${PATH}")).await;
    assert!(!kept().contains(&path), "{}", kept());
}

#[tokio::test]
async fn a_state_folder_that_cannot_be_written_fails_no_reload() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("routes.toml"), SHOP).unwrap();
    fs::write(folder.path().join("state"), "a file where a folder should be").unwrap();

    let world = World::of(folder, "routes.toml").await.unwrap();

    assert_eq!(world.edit(&SHOP.replace("acme", "globex")).await, 2);
    assert!(world.live().problems.is_empty());
}
