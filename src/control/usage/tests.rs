//! What stands in the files after restarts, kills, full disks and clocks that go wrong.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use tempfile::TempDir;

use crate::config::Place;
use crate::config::spec::NamedPath;
use crate::telemetry::usage::{Counts, Hour, Lines};

use super::books::Books;
use super::folder::{Folder, Listing, Name, UsageError};
use super::*;

const HOUR: Hour = Hour(490_000);

fn folder(path: &TempDir) -> Folder {
    Folder { path: path.path().join("usage"), gateway: "edge-1".to_owned() }
}

/// So many requests of these tenants.
fn lines(of: &[(&str, u64)]) -> Lines {
    let counts = |requests| {
        let answers = BTreeMap::from([("2xx".to_owned(), requests)]);
        let times = (Duration::from_micros(7 * requests), Duration::from_micros(requests));
        let refused = BTreeMap::from([("queue-full".to_owned(), 1)]);
        Counts::of(&answers, &refused, (2 * requests, 3 * requests), times)
    };
    of.iter().map(|(tenant, requests)| (Arc::from(*tenant), counts(*requests))).collect()
}

/// What all files say of each tenant's requests, and how many files there are.
fn sum(folder: &Folder) -> (BTreeMap<String, u64>, usize) {
    let mut sum = BTreeMap::new();
    let listing = folder.list().unwrap();
    let finished = listing.finished.iter().map(|name| folder.read_finished(*name).unwrap());
    let partial = listing.partial.iter().map(|name| folder.read_partial(*name).unwrap());
    let files: Vec<Lines> = finished.chain(partial).collect();
    for (tenant, counts) in files.iter().flatten() {
        *sum.entry(tenant.to_string()).or_default() += counts.requests();
    }
    (sum, files.len())
}

fn all(of: &[(&str, u64)]) -> BTreeMap<String, u64> {
    of.iter().map(|(tenant, requests)| ((*tenant).to_owned(), *requests)).collect()
}

/// A gateway whose metrics know of so many requests in its hour.
fn metrics(hour: Hour, of: &[(&str, u64)]) -> Metrics {
    let metrics = Metrics::new();
    metrics.usage(|usage| {
        usage.turn(hour);
        usage.keep_hours();
        assert!(usage.restore(hour, &lines(of)));
    });
    metrics
}

/// Time goes on to another hour.
fn turn(metrics: &Metrics, to: Hour) {
    metrics.usage(|usage| usage.turn(to));
}

fn keep(books: &mut Books, metrics: &Metrics) -> Result<(), UsageError> {
    let now = metrics.usage(|usage| usage.hour());
    books.keep(metrics, now)
}

#[test]
fn a_file_has_a_line_for_each_tenant_that_machines_can_read() {
    let place = tempfile::tempdir().unwrap();
    let folder = folder(&place);
    let name = Name { hour: HOUR, part: 1 };
    folder.save(name, &lines(&[("acme", 5), ("globex", 1)])).unwrap();
    folder.finish(name).unwrap();

    let file = folder.path.join("2025-11-24T16.edge-1.ndjson");
    let text = fs::read_to_string(&file).unwrap();
    let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();

    assert_eq!(
        first,
        serde_json::json!({
            "hour": "2025-11-24T16:00:00Z",
            "gateway": "edge-1",
            "tenant": "acme",
            "requests": 5,
            "answers": {"2xx": 5},
            "request_bytes": 10,
            "response_bytes": 15,
            "request_microseconds": 35,
            "waited_microseconds": 5,
            "compute_microseconds": 30,
            "refused": {"queue-full": 1},
        })
    );
    assert_eq!(text.lines().count(), 2);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(folder.read_finished(name).unwrap(), lines(&[("acme", 5), ("globex", 1)]));
}

#[test]
fn only_files_of_this_gateway_are_its_own() {
    let place = tempfile::tempdir().unwrap();
    let folder = folder(&place);
    fs::create_dir(&folder.path).unwrap();
    for name in [
        "2025-11-24T16.edge-1.ndjson",
        "2025-11-24T16-2.edge-1.ndjson",
        "2025-11-24T17.edge-1.ndjson.partial",
        "2025-11-24T16.edge-2.ndjson",
        "2025-11-24T16-1.edge-1.ndjson",
        "2025-11-24T16-02.edge-1.ndjson",
        "2025-11-24T16-2-edge-1.ndjson",
        "2025-11-24T25.edge-1.ndjson",
        "x.edge-1.ndjson",
        ".edge-1.ndjson",
        ".edge-1.lock",
        "2025-11-24T17.edge-1.ndjson.partial.new",
        "2025-11-24\u{e4}16.edge-1.ndjson",
    ] {
        fs::write(folder.path.join(name), "").unwrap();
    }

    let name = |hour, part| Name { hour: Hour(hour), part };
    let expected = Listing {
        finished: [name(HOUR.0, 1), name(HOUR.0, 2)].into(),
        partial: [name(HOUR.0 + 1, 1)].into(),
    };
    assert_eq!(folder.list().unwrap(), expected);
    assert_eq!(expected.free(HOUR), name(HOUR.0, 3));
}

#[test]
fn a_restart_within_the_hour_goes_on_and_counts_nothing_twice() {
    let place = tempfile::tempdir().unwrap();
    for round in 1..=3 {
        let (metrics, mut books) = (metrics(HOUR, &[("acme", 2)]), Books::new(folder(&place), 0));
        keep(&mut books, &metrics).unwrap();
        keep(&mut books, &metrics).unwrap();
        assert_eq!(sum(&folder(&place)), (all(&[("acme", 2 * round)]), 1));
    }
}

#[test]
fn an_hour_that_is_over_is_finished_and_never_changed() {
    let place = tempfile::tempdir().unwrap();
    let (metrics, mut books) = (metrics(HOUR, &[("acme", 2)]), Books::new(folder(&place), 0));
    keep(&mut books, &metrics).unwrap();
    turn(&metrics, Hour(HOUR.0 + 1));
    metrics.usage(|usage| usage.restore(Hour(HOUR.0 + 1), &lines(&[("acme", 3)])));
    keep(&mut books, &metrics).unwrap();

    let listing = folder(&place).list().unwrap();
    assert_eq!((listing.finished.len(), listing.partial.len()), (1, 1));
    let first = Name { hour: HOUR, part: 1 };
    let before = folder(&place).read_finished(first).unwrap();

    // The clock is set back by an hour, and goes on to the next one again.
    turn(&metrics, HOUR);
    metrics.usage(|usage| usage.restore(HOUR, &lines(&[("acme", 5)])));
    keep(&mut books, &metrics).unwrap();
    turn(&metrics, Hour(HOUR.0 + 1));
    metrics.usage(|usage| usage.restore(Hour(HOUR.0 + 1), &lines(&[("acme", 7)])));
    keep(&mut books, &metrics).unwrap();

    assert_eq!(folder(&place).read_finished(first).unwrap(), before);
    assert_eq!(sum(&folder(&place)), (all(&[("acme", 17)]), 4));
}

#[test]
fn what_a_process_before_has_left_of_earlier_hours_is_finished() {
    let place = tempfile::tempdir().unwrap();
    keep(&mut Books::new(folder(&place), 0), &metrics(HOUR, &[("gone", 4)])).unwrap();

    let (metrics, mut books) =
        (metrics(Hour(HOUR.0 + 3), &[("acme", 1)]), Books::new(folder(&place), 0));
    keep(&mut books, &metrics).unwrap();

    let listing = folder(&place).list().unwrap();
    assert_eq!(listing.finished, [Name { hour: HOUR, part: 1 }].into());
    assert_eq!(sum(&folder(&place)), (all(&[("acme", 1), ("gone", 4)]), 2));
    let day = metrics.usage(|usage| usage.of("gone")).unwrap().day.requests();
    let same_day = HOUR.midnight() == Hour(HOUR.0 + 3).midnight();
    assert_eq!(day, if same_day { 4 } else { 0 });
}

#[test]
fn two_processes_never_write_the_same_file() {
    let place = tempfile::tempdir().unwrap();
    let (first, second) = (metrics(HOUR, &[("acme", 2)]), metrics(HOUR, &[("acme", 3)]));
    let mut ending = Books::new(folder(&place), 0);
    keep(&mut ending, &first).unwrap();
    let mut next = Books::new(folder(&place), 0);

    let error = keep(&mut next, &second).unwrap_err();
    assert!(matches!(error, UsageError::Held(_)), "{error}");
    turn(&second, Hour(HOUR.0 + 1));
    drop(ending);
    keep(&mut next, &second).unwrap();

    assert_eq!(sum(&folder(&place)).0, all(&[("acme", 5)]));
}

#[test]
fn what_cannot_be_written_is_kept_and_written_later() {
    let place = tempfile::tempdir().unwrap();
    let path = folder(&place).path;
    fs::write(&path, "no folder").unwrap();
    let (metrics, mut books) = (metrics(HOUR, &[("acme", 2)]), Books::new(folder(&place), 0));
    for hour in 0..40 {
        keep(&mut books, &metrics).unwrap_err();
        turn(&metrics, Hour(HOUR.0 + hour));
    }
    metrics.usage(|usage| usage.restore(Hour(HOUR.0 + 39), &lines(&[("acme", 1)])));

    fs::remove_file(&path).unwrap();
    keep(&mut books, &metrics).unwrap();

    assert_eq!(sum(&folder(&place)).0, all(&[("acme", 3)]));
    assert_eq!(metrics.usage(|usage| usage.waiting()), 0);
}

#[test]
fn hours_that_were_added_up_take_back_what_was_saved_of_them() {
    let place = tempfile::tempdir().unwrap();
    let (metrics, mut books) = (metrics(HOUR, &[("acme", 2)]), Books::new(folder(&place), 0));
    keep(&mut books, &metrics).unwrap();
    for hour in 1..40 {
        turn(&metrics, Hour(HOUR.0 + hour));
    }
    keep(&mut books, &metrics).unwrap();

    assert_eq!(sum(&folder(&place)).0, all(&[("acme", 2)]));
    assert!(folder(&place).list().unwrap().partial.len() <= 1);
}

#[test]
fn a_damaged_file_is_put_aside_and_does_no_further_harm() {
    let place = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let name = Name { hour: HOUR, part: 1 };
        folder(&place).save(name, &lines(&[("acme", 2)])).unwrap();
        let partial = folder(&place).path.join("2025-11-24T16.edge-1.ndjson.partial");
        fs::write(&partial, "{\"hour\":\"2025\"").unwrap();

        let (metrics, mut books) = (metrics(HOUR, &[("acme", 3)]), Books::new(folder(&place), 0));
        keep(&mut books, &metrics).unwrap();
        assert_eq!(sum(&folder(&place)), (all(&[("acme", 3)]), 1));
    }
    for name in ["2025-11-24T16.edge-1.ndjson.damaged", "2025-11-24T16.edge-1.ndjson.damaged-2"] {
        assert!(folder(&place).path.join(name).exists(), "{name}");
    }
}

#[test]
fn so_many_hours_are_kept_whatever_the_clock_says() {
    let place = tempfile::tempdir().unwrap();
    let (metrics, mut books) = (metrics(HOUR, &[("acme", 1)]), Books::new(folder(&place), 3));
    for hour in [1, 2, 3, 100_000, 4, 5] {
        turn(&metrics, Hour(HOUR.0 + hour));
        keep(&mut books, &metrics).unwrap();
    }

    let hours: Vec<u64> =
        folder(&place).list().unwrap().finished.iter().map(|name| name.hour.0 - HOUR.0).collect();
    assert_eq!(hours, [3, 4, 100_000]);
}

#[tokio::test]
async fn the_last_is_written_at_the_end() {
    let place = tempfile::tempdir().unwrap();
    let spec = UsageSpec {
        folder: NamedPath {
            path: folder(&place).path,
            place: Place { file: "gateway.toml".into(), line: 1, column: 1, key: "usage".into() },
        },
        gateway: Some("edge-1".to_owned()),
        flush_interval: Duration::from_secs(3600),
        keep_hours: 0,
    };
    let metrics = Arc::new(Metrics::new());
    let export = Export::start(&spec, &metrics).await;
    metrics.usage(|usage| usage.restore(usage.hour(), &lines(&[("acme", 9)])));

    export.end(Duration::from_secs(20)).await;

    assert_eq!(sum(&folder(&place)).0, all(&[("acme", 9)]));
}

#[test]
fn a_gateway_without_a_name_has_that_of_its_machine() {
    let name = machine();
    assert!((1..=64).contains(&name.len()), "{name}");
    assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)));
}
