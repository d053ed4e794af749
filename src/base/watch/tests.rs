//! The watcher hears each way in which files are changed, and nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use inotify::Inotify;
use tokio::time::timeout;

use super::*;

/// A watcher that never looks by itself, so that a signal proves that an event was heard.
async fn by_events(path: &Path) -> Watcher {
    by_events_of(path, &FileEvents::new()).await
}

async fn by_events_of(path: &Path, system: &FileEvents) -> Watcher {
    by_events_of_all([path.to_path_buf()].into(), system).await
}

async fn by_events_of_all(paths: Arc<[PathBuf]>, system: &FileEvents) -> Watcher {
    let mut watcher = Watcher::of_all(paths, system).await;
    assert!(watcher.seen.armed, "this machine gives no file events");
    watcher.next_look = Instant::now() + Duration::from_secs(3600);
    watcher
}

/// A system at its limit of inotify instances.
fn exhausted() -> FileEvents {
    FileEvents::opened_by(|| Err(io::Error::from_raw_os_error(24)))
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
    let mut watcher = by_events(&file).await;

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
    let mut watcher = by_events(&file).await;

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
    let mut file = by_events(&at("routes.toml")).await;
    let mut whole = by_events(folder.path()).await;

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
    let mut watcher = by_events(&at("current/members.json")).await;

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
    let mut watcher = by_events(&file).await;

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
    let mut watcher = by_events(&file).await;

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
    let mut watcher = by_events(&folder).await;

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
    let mut watcher = by_events(&file).await;

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
    let mut watcher = Watcher::new(&file, &exhausted()).await;
    assert!(!watcher.seen.armed);

    fs::write(&file, "bb").unwrap();

    hears(&mut watcher, "a change by looking").await;
}

#[tokio::test]
async fn a_log_beside_the_file_wakes_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("routes.toml"), "a").unwrap();
    let mut logs = [fs::File::create(at("1.log")).unwrap(), fs::File::create(at("2.log")).unwrap()];
    let system = FileEvents::new();
    let mut watcher = by_events_of(&at("routes.toml"), &system).await;

    // In turn, as the system tells of the same thing twice only once.
    for _ in 0..500 {
        logs.iter_mut().for_each(|log| log.write_all(b"GET / 200\n").unwrap());
        fs::read(at("1.log")).unwrap();
    }
    fs::write(at("routes.toml"), "b").unwrap();

    hears(&mut watcher, "the change").await;
    assert!(system.told() < 10, "{} events", system.told());
}

#[tokio::test]
async fn a_file_that_its_writer_keeps_open_is_found_by_looking() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = fs::File::create(folder.path().join("routes.toml")).unwrap();
    let mut watcher = by_events(&folder.path().join("routes.toml")).await;

    file.write_all(b"longer").unwrap();
    watcher.next_look = Instant::now();

    hears(&mut watcher, "a write in place").await;
}

#[tokio::test]
async fn a_loop_of_links_is_no_trap() {
    let folder = tempfile::tempdir().unwrap();
    symlink("b", folder.path().join("a")).unwrap();
    symlink("a", folder.path().join("b")).unwrap();
    let mut watcher = by_events(&folder.path().join("a")).await;

    fs::remove_file(folder.path().join("a")).unwrap();
    fs::write(folder.path().join("a"), "x").unwrap();

    hears(&mut watcher, "the end of the loop").await;
}

/// A watcher without a system watch, so that the test alone makes the events.
async fn scripted(path: &Path) -> (Watcher, mpsc::Sender<()>) {
    let mut watcher = Watcher::new(path, &exhausted()).await;
    watcher.next_look = Instant::now() + Duration::from_secs(3600);
    let (event, events) = mpsc::channel(1);
    watcher.events = events;
    (watcher, event)
}

#[tokio::test(start_paused = true)]
async fn a_burst_is_told_once_and_100_ms_after_its_last_event() {
    let folder = tempfile::tempdir().unwrap();
    let (mut watcher, events) = scripted(&folder.path().join("routes.toml")).await;
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
async fn a_new_file_is_told_once_its_writer_has_closed_it() {
    let folder = tempfile::tempdir().unwrap();
    let (mut watcher, events) = scripted(&folder.path().join("routes.toml")).await;
    for (written_for, told) in [(150, 250), (1000, 300)] {
        let started = Instant::now();
        let heard = Arc::clone(&watcher.heard);
        let writer = async {
            heard.note_any(Event::Made);
            events.send(()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(written_for)).await;
            heard.note_any(Event::Other);
            events.send(()).await.unwrap();
        };
        let told_after = async {
            watcher.changed().await;
            started.elapsed()
        };

        let (told_after, ()) = tokio::join!(told_after, writer);

        assert_eq!(told_after, Duration::from_millis(told));
        settle(&mut watcher).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_endless_burst_is_told_300_ms_after_its_first_event() {
    let folder = tempfile::tempdir().unwrap();
    let (mut watcher, events) = scripted(&folder.path().join("routes.toml")).await;
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

#[tokio::test]
async fn a_file_that_is_moved_into_its_place_is_told_at_once_and_again_when_all_is_quiet() {
    let folder = tempfile::tempdir().unwrap();
    let mut whole = by_events(folder.path()).await;
    let draft = folder.path().join(".a.toml.draft");
    let told = async |whole: &mut Watcher| {
        timeout(Duration::from_secs(20), whole.changed_early()).await.unwrap()
    };
    for text in ["a", "b"] {
        fs::write(&draft, text).unwrap();
        fs::rename(&draft, folder.path().join("a.toml")).unwrap();

        // A move is several events: where the system's thread is held up between them, it is told early more than once.
        let names = named(&[".a.toml.draft", "a.toml"]);
        let (mut early, mut news) = (None, told(&mut whole).await);
        while let News::Early(some) = news {
            (early, news) = (Some(some), told(&mut whole).await);
        }
        assert_eq!((early, news), (Some(names.clone()), News::Settled(names)));
        settle(&mut whole).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_burst_is_told_early_once_and_only_after_a_move() {
    let folder = tempfile::tempdir().unwrap();
    let (mut watcher, events) = scripted(&folder.path().join("routes.toml")).await;
    for (moved, told) in [(true, EARLY), (true, SETTLED), (false, SETTLED)] {
        let started = Instant::now();
        watcher.heard.note_any(if moved { Event::Moved } else { Event::Other });
        events.send(()).await.unwrap();

        assert_eq!(watcher.changed_early().await, told);

        let after = if told == EARLY { SHORT } else { QUIET };
        assert_eq!(started.elapsed(), after);
    }
}

const EARLY: News = News::Early(Changed::Any);
const SETTLED: News = News::Settled(Changed::Any);

fn named(names: &[&str]) -> Changed {
    Changed::Names(names.iter().map(Into::into).collect())
}

#[tokio::test(start_paused = true)]
async fn what_is_known_by_name_is_told_early_each_time_until_the_burst_has_lasted_too_long() {
    let folder = tempfile::tempdir().unwrap();
    let (mut watcher, events) = scripted(&folder.path().join("routes.d")).await;
    let started = Instant::now();
    let mut early = 0;

    let settled = loop {
        watcher.heard.note(format!("{early}").as_ref(), Event::Moved);
        events.send(()).await.unwrap();
        match watcher.changed_early().await {
            News::Early(Changed::Names(names)) => {
                early += 1;
                assert_eq!(names.len(), early, "all of the burst so far");
            }
            news => break news,
        }
        tokio::time::sleep(Duration::from_millis(20) - SHORTEST).await;
    };

    assert_eq!(started.elapsed(), LONGEST_BURST);
    assert!(matches!(settled, News::Settled(Changed::Names(names)) if names.len() == early + 1));
}

/// Takes what is settled until it was all of these names and nothing more is told: a thread that is held up for long has
/// some of it come later.
async fn settles_as(watcher: &mut Watcher, names: &[&str]) {
    let mut all = BTreeSet::new();
    loop {
        let is_whole = all.len() >= names.len();
        let limit = if is_whole { QUIET * 4 } else { Duration::from_secs(20) };
        match timeout(limit, watcher.changed_early()).await {
            Ok(News::Settled(Changed::Names(some))) => all.extend(some),
            Ok(news) => panic!("{news:?}"),
            Err(_) => break,
        }
    }
    assert_eq!(Changed::Names(all), named(names));
}

#[tokio::test]
async fn of_a_folder_the_names_are_told_and_once_all_is_quiet_a_look_at_everything_is_due() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("a.toml"), "a").unwrap();
    let mut watcher = by_events(folder.path()).await;

    fs::write(at("a.toml"), "b").unwrap();
    settles_as(&mut watcher, &["a.toml"]).await;
    fs::remove_file(at("a.toml")).unwrap();
    fs::write(at("b.toml"), "b").unwrap();
    settles_as(&mut watcher, &["a.toml", "b.toml"]).await;

    watcher.next_look = Instant::now();
    assert_eq!(watcher.changed_early().await, News::Quiet);
    watcher.next_look = Instant::now();
    assert!(timeout(QUIET * 2, watcher.changed_early()).await.is_err(), "it is what was seen");
}

#[tokio::test]
async fn what_a_look_finds_and_whatever_a_link_leads_to_is_not_known_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("whole")).unwrap();
    fs::write(at("target"), "a").unwrap();
    symlink("../target", at("whole/link.toml")).unwrap();
    fs::write(at("whole/a.toml"), "a").unwrap();
    let mut watcher = by_events(&at("whole")).await;
    let mut looking = Watcher::new(at("whole"), &exhausted()).await;

    fs::write(at("target"), "b").unwrap();
    fs::write(at("whole/a.toml"), "b").unwrap();
    assert_eq!(watcher.changed_early().await, SETTLED);
    fs::remove_file(at("whole/link.toml")).unwrap();
    assert_eq!(watcher.changed_early().await, SETTLED);
    looking.next_look = Instant::now();
    assert_eq!(looking.changed_early().await, SETTLED);
    fs::remove_dir_all(at("whole")).unwrap();
    assert_eq!(watcher.changed_early().await, SETTLED);
}

#[tokio::test]
async fn a_look_that_events_disturb_is_done_again_and_is_no_change_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let (mut watcher, events) = scripted(folder.path()).await;
    fs::write(folder.path().join("a.toml"), "a").unwrap();
    watcher.begin();
    watcher.heard.note("a.toml".as_ref(), Event::Other);
    events.send(()).await.unwrap();

    assert_eq!(watcher.changed_early().await, News::Settled(named(&["a.toml"])));
    watcher.next_look = Instant::now();
    assert_eq!(watcher.changed_early().await, News::Quiet);
}

#[tokio::test]
async fn where_events_never_cease_a_look_at_everything_is_put_off_no_more_than_once() {
    let folder = tempfile::tempdir().unwrap();
    let (mut watcher, _events) = scripted(folder.path()).await;
    watcher.stale = true;

    for told in [None, Some(News::Quiet), None, Some(News::Quiet)] {
        watcher.begin();
        watcher.note_event();
        watcher.burst = None;
        let done = ended(&mut watcher.work).await;
        assert_eq!(watcher.finish(done), told);
        assert!(watcher.stale, "one without events is still due");
    }
}

#[tokio::test]
async fn a_suspicion_waits_once_for_names_that_are_about_to_be_told() {
    let folder = tempfile::tempdir().unwrap();
    let (mut watcher, events) = scripted(folder.path()).await;

    for told in [named(&["a.toml"]), Changed::Any, named(&["a.toml"])] {
        watcher.heard.note("a.toml".as_ref(), Event::Other);
        events.send(()).await.unwrap();
        watcher.suspect();
        assert_eq!(watcher.changed_early().await, News::Settled(told));
    }
    watcher.next_look = Instant::now();
    assert_eq!(watcher.changed_early().await, News::Quiet);
    watcher.suspect();
    assert_eq!(watcher.changed_early().await, SETTLED);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_wait_loses_no_change() {
    let folder = tempfile::tempdir().unwrap();
    let (mut watcher, events) = scripted(&folder.path().join("routes.toml")).await;
    events.send(()).await.unwrap();

    let early = timeout(Duration::from_millis(30), watcher.changed()).await;

    assert!(early.is_err());
    assert!(timeout(Duration::from_secs(1), watcher.changed()).await.is_ok());
}

#[tokio::test]
async fn a_wait_that_is_dropped_while_the_path_is_followed_loses_no_change() {
    let folder = tempfile::tempdir().unwrap();
    let (mut watcher, events) = scripted(&folder.path().join("routes.toml")).await;
    events.send(()).await.unwrap();
    tokio::select! {
        () = watcher.changed() => panic!("it was told too early"),
        () = tokio::time::sleep(QUIET / 2) => {}
    }
    watcher.begin();

    assert!(timeout(Duration::from_secs(20), watcher.changed()).await.is_ok());
}

#[tokio::test]
async fn two_hundred_files_take_one_instance_of_the_system() {
    let base = tempfile::tempdir().unwrap();
    let opened = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&opened);
    let system = FileEvents::opened_by(move || {
        count.fetch_add(1, Ordering::Relaxed);
        Inotify::init()
    });
    let mut watchers = Vec::new();
    for number in 0..200 {
        let folder = base.path().join(number.to_string());
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("members.json"), "[]").unwrap();
        watchers.push(by_events_of(&folder.join("members.json"), &system).await);
    }

    for number in 0..200 {
        fs::write(base.path().join(number.to_string()).join("members.json"), "[1]").unwrap();
    }
    crate::base::join::all(watchers.iter_mut().map(|watcher| hears(watcher, "a write"))).await;

    assert_eq!((opened.load(Ordering::Relaxed), system.watched()), (1, 200));
    watchers.truncate(50);
    system.tidy();
    assert_eq!(system.watched(), 50, "what nobody watches for is given back");
}

#[tokio::test]
async fn each_of_a_thousand_files_is_heard_by_one_watcher() {
    let base = tempfile::tempdir().unwrap();
    let system = FileEvents::new();
    let at = |number: usize| base.path().join(format!("{}/{number}.html", number % 10));
    let paths: Arc<[PathBuf]> = (0..1000).map(at).collect();
    for number in 0..10 {
        fs::create_dir(base.path().join(number.to_string())).unwrap();
    }
    paths.iter().skip(1).for_each(|path| fs::write(path, "page").unwrap());
    let mut watcher = by_events_of_all(Arc::clone(&paths), &system).await;

    assert_eq!((system.watched(), system.listeners()), (10, 1));
    fs::write(&paths[0], "the missing one").unwrap();
    hears(&mut watcher, "a new file").await;
    settle(&mut watcher).await;
    fs::write(&paths[500], "another page").unwrap();
    hears(&mut watcher, "a write").await;
    settle(&mut watcher).await;
    fs::remove_file(&paths[999]).unwrap();
    hears(&mut watcher, "an end").await;
    settle(&mut watcher).await;
    fs::write(base.path().join("5/neighbour.html"), "none of them").unwrap();
    assert!(timeout(QUIET * 4, watcher.changed()).await.is_err());
}

#[tokio::test]
async fn where_no_events_come_a_look_finds_which_of_many_has_changed() {
    let folder = tempfile::tempdir().unwrap();
    let paths: Arc<[PathBuf]> =
        (0..100).map(|number| folder.path().join(number.to_string())).collect();
    let mut watcher = Watcher::of_all(Arc::clone(&paths), &exhausted()).await;

    fs::write(&paths[77], "new").unwrap();

    hears(&mut watcher, "a change by looking").await;
}

#[tokio::test]
async fn a_folder_is_watched_for_as_long_as_anybody_asks_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let system = FileEvents::new();
    let [one, two] = ["one.json", "two.json"].map(|name| folder.path().join(name));
    let mut stays = by_events_of(&one, &system).await;
    drop(by_events_of(&two, &system).await);
    system.tidy();

    fs::write(&one, "[]").unwrap();

    hears(&mut stays, "a write").await;
    assert_eq!(system.watched(), 1);
}

#[tokio::test]
async fn at_the_limit_of_the_system_files_are_looked_at_until_the_limit_is_raised() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("routes.toml");
    let raised = Arc::new(AtomicBool::new(false));
    let limit = Arc::clone(&raised);
    let system = FileEvents::opened_by(move || match limit.load(Ordering::Relaxed) {
        true => Inotify::init(),
        false => Err(io::Error::from_raw_os_error(24)),
    });
    let mut watcher = Watcher::new(&file, &system).await;
    fs::write(&file, "a").unwrap();
    hears(&mut watcher, "a change by looking").await;
    assert!(!watcher.seen.armed);

    raised.store(true, Ordering::Relaxed);
    watcher.next_look = Instant::now();
    // No time passes while a thread looks.
    tokio::time::pause();
    let look = timeout(QUIET, watcher.changed()).await;
    tokio::time::resume();

    assert!(look.is_err() && watcher.seen.armed);
    watcher.next_look = Instant::now() + Duration::from_secs(3600);
    fs::write(&file, "b").unwrap();
    hears(&mut watcher, "a change by an event").await;
}

#[tokio::test]
async fn all_who_watch_a_folder_that_is_replaced_follow_the_new_one() {
    let base = tempfile::tempdir().unwrap();
    let folder = base.path().join("lists");
    let system = FileEvents::new();
    let paths = ["a.json", "b.json"].map(|name| folder.join(name));
    fs::create_dir(&folder).unwrap();
    let mut watchers = Vec::new();
    for path in &paths {
        watchers.push(by_events_of(path, &system).await);
    }

    for round in 0..2 {
        fs::rename(&folder, base.path().join(format!("old-{round}"))).unwrap();
        fs::create_dir(&folder).unwrap();
        for watcher in &mut watchers {
            hears(watcher, "the new folder").await;
            settle(watcher).await;
        }
        for (path, watcher) in paths.iter().zip(&mut watchers) {
            fs::write(path, "[]").unwrap();
            hears(watcher, "a file in the new folder").await;
        }
    }

    assert_eq!(system.watched(), 1);
}

#[tokio::test]
async fn a_folder_far_above_that_goes_and_comes_back_ends_no_watch() {
    let base = tempfile::tempdir().unwrap();
    let at = |name: &str| base.path().join(name);
    fs::create_dir_all(at("above/below")).unwrap();
    let system = FileEvents::new();
    let _above = by_events_of(&at("routes.toml"), &system).await;
    let mut below = by_events_of(&at("above/below/members.json"), &system).await;

    fs::rename(at("above"), at("away")).unwrap();
    hears(&mut below, "the folder's leave").await;
    fs::rename(at("away"), at("above")).unwrap();
    hears(&mut below, "the folder's return").await;
    settle(&mut below).await;

    fs::write(at("above/below/members.json"), "[]").unwrap();
    hears(&mut below, "a write after its return").await;
}

#[tokio::test(start_paused = true)]
async fn files_are_looked_at_on_a_thread_that_may_wait() {
    let folder = tempfile::tempdir().unwrap();
    let (told, asked_on) = std::sync::mpsc::channel();
    let system = FileEvents::opened_by(move || {
        told.send(std::thread::current().id()).unwrap();
        Err(io::Error::from_raw_os_error(24))
    });

    let mut watcher = Watcher::new(folder.path(), &system).await;
    watcher.next_look = Instant::now();
    assert!(timeout(QUIET, watcher.changed()).await.is_err());

    let threads: Vec<_> = asked_on.try_iter().collect();
    assert_eq!(threads.len(), 2, "once by the first following, once by the look");
    assert!(threads.iter().all(|thread| *thread != std::thread::current().id()));
}
