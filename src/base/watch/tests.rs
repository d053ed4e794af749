//! The watcher hears each way in which files are changed, and nothing else.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use tokio::time::timeout;

use super::*;

/// A watcher that never looks by itself, so that a signal proves that an event was heard.
fn by_events(path: &Path) -> Watcher {
    let mut watcher = Watcher::new(path);
    assert!(watcher.armed.is_some(), "this machine gives no file events");
    watcher.next_look = Instant::now() + Duration::from_secs(3600);
    watcher
}

async fn hears(watcher: &mut Watcher, what: &str) {
    let heard = timeout(Duration::from_secs(20), watcher.changed()).await;
    assert!(heard.is_ok(), "{what} was not heard");
}

/// Lets pass what earlier changes have left, so that the next signal belongs to the next change.
async fn settle(watcher: &mut Watcher) {
    while timeout(QUIET * 4, watcher.changed()).await.is_ok() {}
}

#[tokio::test]
async fn a_write_in_place_is_heard() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("routes.toml");
    fs::write(&file, "a").unwrap();
    let mut watcher = by_events(&file);

    for text in ["b", "c", "longer"] {
        fs::write(&file, text).unwrap();
        hears(&mut watcher, text).await;
    }
}

#[tokio::test]
async fn an_editors_rename_over_the_file_is_heard_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("routes.toml");
    fs::write(&file, "a").unwrap();
    let mut watcher = by_events(&file);

    for text in ["b", "c", "d"] {
        let draft = folder.path().join(".routes.toml.swp");
        fs::write(&draft, text).unwrap();
        fs::rename(&draft, &file).unwrap();
        hears(&mut watcher, text).await;
        settle(&mut watcher).await;
    }
}

#[tokio::test]
async fn a_kubernetes_config_map_swap_is_heard_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let publish = |version: &str| {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("routes.toml"), version).unwrap();
        symlink(version, at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
    };
    publish("..2026_1");
    symlink("..data/routes.toml", at("routes.toml")).unwrap();
    let mut file = by_events(&at("routes.toml"));
    let mut whole = by_events(folder.path());

    for version in ["..2026_2", "..2026_3", "..2026_4"] {
        publish(version);
        hears(&mut file, version).await;
        hears(&mut whole, version).await;
        assert_eq!(fs::read_to_string(at("routes.toml")).unwrap(), version);
        settle(&mut file).await;
        settle(&mut whole).await;
    }
}

#[tokio::test]
async fn a_folder_that_is_reached_through_a_swapped_link_is_followed() {
    let base = tempfile::tempdir().unwrap();
    let at = |name: &str| base.path().join(name);
    for release in ["one", "two"] {
        fs::create_dir(at(release)).unwrap();
        fs::write(at(release).join("members.json"), release).unwrap();
    }
    symlink("one", at("current")).unwrap();
    let mut watcher = by_events(&at("current/members.json"));

    symlink("two", at("next")).unwrap();
    fs::rename(at("next"), at("current")).unwrap();
    hears(&mut watcher, "the swap").await;
    settle(&mut watcher).await;

    fs::write(at("two/members.json"), "changed").unwrap();
    hears(&mut watcher, "a write behind the new link").await;
}

#[tokio::test]
async fn a_file_that_is_deleted_and_made_anew_is_heard_both_times() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("routes.toml");
    fs::write(&file, "a").unwrap();
    let mut watcher = by_events(&file);

    fs::remove_file(&file).unwrap();
    hears(&mut watcher, "the deletion").await;
    settle(&mut watcher).await;
    fs::write(&file, "b").unwrap();
    hears(&mut watcher, "the new file").await;
}

#[tokio::test]
async fn a_path_whose_folders_come_later_is_heard() {
    let base = tempfile::tempdir().unwrap();
    let file = base.path().join("etc/tenantry/routes.toml");
    let mut watcher = by_events(&file);

    fs::create_dir(base.path().join("etc")).unwrap();
    hears(&mut watcher, "the first folder").await;
    settle(&mut watcher).await;
    fs::create_dir(base.path().join("etc/tenantry")).unwrap();
    hears(&mut watcher, "the second folder").await;
    settle(&mut watcher).await;
    fs::write(&file, "a").unwrap();
    hears(&mut watcher, "the file").await;
}

#[tokio::test]
async fn a_folder_that_is_replaced_is_followed() {
    let base = tempfile::tempdir().unwrap();
    let folder = base.path().join("routes.d");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("a.toml"), "a").unwrap();
    let mut watcher = by_events(&folder);

    fs::write(folder.join("b.toml"), "b").unwrap();
    hears(&mut watcher, "a new file in the folder").await;
    settle(&mut watcher).await;
    fs::remove_dir_all(&folder).unwrap();
    hears(&mut watcher, "the folder's end").await;
    settle(&mut watcher).await;
    fs::create_dir(&folder).unwrap();
    hears(&mut watcher, "the new folder").await;
    settle(&mut watcher).await;
    fs::write(folder.join("a.toml"), "a").unwrap();
    hears(&mut watcher, "a file in the new folder").await;
}

#[tokio::test]
async fn reading_and_neighbours_say_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("routes.toml");
    fs::write(&file, "a").unwrap();
    let mut watcher = by_events(&file);

    fs::read(&file).unwrap();
    fs::write(folder.path().join("other.toml"), "x").unwrap();

    assert!(timeout(QUIET * 4, watcher.changed()).await.is_err());
    fs::write(&file, "b").unwrap();
    hears(&mut watcher, "the write").await;
}

#[tokio::test]
async fn where_no_events_come_a_look_finds_the_change() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("routes.toml");
    fs::write(&file, "a").unwrap();
    let mut watcher = Watcher::new(&file);
    watcher.armed = None;

    fs::write(&file, "bb").unwrap();
    while watcher.events.try_recv().is_ok() {}

    hears(&mut watcher, "a change by looking").await;
}

#[tokio::test]
async fn a_loop_of_links_is_no_trap() {
    let folder = tempfile::tempdir().unwrap();
    symlink("b", folder.path().join("a")).unwrap();
    symlink("a", folder.path().join("b")).unwrap();
    let mut watcher = by_events(&folder.path().join("a"));

    fs::remove_file(folder.path().join("a")).unwrap();
    fs::write(folder.path().join("a"), "x").unwrap();

    hears(&mut watcher, "the end of the loop").await;
}

/// A watcher without a system watch, so that the test alone makes the events.
fn scripted(path: &Path) -> (Watcher, mpsc::Sender<()>) {
    let mut watcher = Watcher::new(path);
    watcher.armed = None;
    watcher.next_look = Instant::now() + Duration::from_secs(3600);
    let events = watcher.event.clone();
    (watcher, events)
}

#[tokio::test(start_paused = true)]
async fn a_burst_is_told_once_and_100_ms_after_its_last_event() {
    let folder = tempfile::tempdir().unwrap();
    let (mut watcher, events) = scripted(&folder.path().join("routes.toml"));
    let started = Instant::now();

    let writes = async {
        for _ in 0..3 {
            events.send(()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::join!(writes, watcher.changed());

    assert_eq!(started.elapsed(), Duration::from_millis(200));
    assert!(timeout(Duration::from_secs(60), watcher.changed()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn an_endless_burst_is_told_300_ms_after_its_first_event() {
    let folder = tempfile::tempdir().unwrap();
    let (mut watcher, events) = scripted(&folder.path().join("routes.toml"));
    let started = Instant::now();

    let writes = async {
        while events.send(()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = writes => {}
        () = watcher.changed() => {}
    }

    assert_eq!(started.elapsed(), Duration::from_millis(300));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_wait_loses_no_change() {
    let folder = tempfile::tempdir().unwrap();
    let (mut watcher, events) = scripted(&folder.path().join("routes.toml"));
    events.send(()).await.unwrap();

    let early = timeout(Duration::from_millis(30), watcher.changed()).await;

    assert!(early.is_err());
    assert!(timeout(Duration::from_secs(1), watcher.changed()).await.is_ok());
}
