//! What reaches the file.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use http::{HeaderValue, Method};
use serde_json::Value;
use tokio::time::Instant;

use crate::model::ids::Label;
use crate::telemetry::record::Line;

use super::*;

const LIMIT: Duration = Duration::from_secs(10);

fn to_file(path: &Path, queue: usize) -> Options {
    Options { output: Some(Output::File(path.to_owned())), sample: Percent::new(100.0), queue }
}

fn record() -> Record {
    Record {
        started: Instant::now(),
        duration: Duration::from_micros(12_345),
        request_id: HeaderValue::from_static("0123"),
        client: Some("192.0.2.7".parse().unwrap()),
        method: Method::GET,
        version: Version::HTTP_11,
        line: Some(Box::new(Line {
            host: "shop.example.com".to_owned(),
            target: "/a/b?c=d".to_owned(),
            agent: "curl/8".to_owned(),
        })),
        tenant: Some(Label { name: "acme".into(), slot: 0 }),
        route: Some("/a/*".into()),
        pool: Some(Label { name: "shop".into(), slot: 0 }),
        endpoint: Some("10.0.0.1:80".into()),
        attempts: 2,
        status: 200,
        problem: None,
        first_byte: Some(Duration::from_millis(3)),
        bytes_in: 5,
        bytes_out: 7,
        ending: Ending::Whole,
    }
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    (folder, path)
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Waits until `path` holds this many lines.
fn wait_for_lines(path: &Path, count: usize) {
    let deadline = Instant::now() + LIMIT;
    while std::fs::read_to_string(path).unwrap_or_default().lines().count() < count {
        assert!(Instant::now() < deadline, "{} has not got {count} lines", path.display());
        std::thread::yield_now();
    }
}

#[test]
fn a_line_tells_the_exchange() {
    let (_folder, path) = folder();
    let (log, owner) = AccessLog::start(&to_file(&path, 8), &Metrics::new()).unwrap();

    log.write(record());

    assert!(owner.end(LIMIT));
    let line = &lines(&path)[0];
    assert_eq!(line["path"], "/a/b");
    assert_eq!(line["query"], "c=d");
    assert_eq!(line["tenant"], "acme");
    assert_eq!(line["pool"], "shop");
    assert_eq!(line["status"], 200);
    assert_eq!(line["duration_ms"], 12.345);
    assert_eq!(line["first_byte_ms"], 3.0);
    assert_eq!(line["problem"], Value::Null);
    assert_eq!(line["version"], "HTTP/1.1");
    let time = humantime::parse_rfc3339(line["time"].as_str().unwrap()).unwrap();
    assert!(SystemTime::now().duration_since(time).unwrap() < LIMIT);
}

#[test]
fn hostile_bytes_never_break_a_line() {
    let (_folder, path) = folder();
    let (log, owner) = AccessLog::start(&to_file(&path, 8), &Metrics::new()).unwrap();
    let mut hostile = record();
    let text = "\"}\n{\"tenant\":\"other\"}\r\n\0\u{1b}[31m\u{2028}\\".to_owned();
    hostile.line =
        Some(Box::new(Line { host: text.clone(), target: text.clone(), agent: text.clone() }));
    hostile.request_id = HeaderValue::from_bytes(b"\xff\xfe\"\t").unwrap();

    log.write(hostile);
    log.write(record());

    assert!(owner.end(LIMIT));
    let lines = lines(&path);
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["user_agent"], text);
    assert_eq!(lines[0]["tenant"], "acme");
    assert!(!std::fs::read(&path).unwrap().contains(&0x1b), "an escape reached the file");
}

#[test]
fn a_full_queue_drops_and_counts_and_the_rest_is_written() {
    let (_folder, path) = folder();
    let metrics = Metrics::new();
    let (log, owner) = AccessLog::start(&to_file(&path, 4), &metrics).unwrap();

    for _ in 0..10_000 {
        log.write(record());
    }

    assert!(owner.end(LIMIT));
    let dropped = metrics.lost.access_log_dropped.load(std::sync::atomic::Ordering::Relaxed);
    assert!(dropped > 0, "10,000 lines at once must not fit a queue of 4");
    assert_eq!(lines(&path).len() as u64 + dropped, 10_000);
}

#[test]
fn lines_of_many_threads_are_all_written() {
    let (_folder, path) = folder();
    let (log, owner) = AccessLog::start(&to_file(&path, 8192), &Metrics::new()).unwrap();

    std::thread::scope(|scope| {
        for _ in 0..4 {
            let log = log.clone();
            scope.spawn(move || (0..500).for_each(|_| log.write(record())));
        }
    });

    assert!(owner.end(LIMIT));
    assert_eq!(lines(&path).len(), 2000);
}

#[test]
fn after_a_rotation_lines_go_to_the_new_file() {
    let (_folder, path) = folder();
    let rotated = path.with_extension("1");
    let (log, owner) = AccessLog::start(&to_file(&path, 8), &Metrics::new()).unwrap();
    log.write(record());
    wait_for_lines(&path, 1);
    std::fs::rename(&path, &rotated).unwrap();

    owner.reopen();
    wait_for_file(&path);
    log.write(record());

    assert!(owner.end(LIMIT));
    assert_eq!(lines(&rotated).len(), 1);
    assert_eq!(lines(&path).len(), 1);
}

fn wait_for_file(path: &Path) {
    let deadline = Instant::now() + LIMIT;
    while !path.exists() {
        assert!(Instant::now() < deadline, "{} does not appear", path.display());
        std::thread::yield_now();
    }
}

#[test]
fn a_file_that_cannot_be_opened_is_a_sentence() {
    let error = AccessLog::start(&to_file(Path::new("/proc/none/access.log"), 8), &Metrics::new())
        .map(|_| ())
        .unwrap_err();

    assert!(
        error.to_string().starts_with("/proc/none/access.log cannot be opened for writing: "),
        "{error}"
    );
}

#[test]
fn a_full_disk_is_counted_and_harms_nobody() {
    let metrics = Metrics::new();
    let full = to_file(Path::new("/dev/full"), 8);
    let (log, owner) = AccessLog::start(&full, &metrics).unwrap();

    log.write(record());

    assert!(owner.end(LIMIT));
    assert_eq!(metrics.lost.access_log_errors.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[test]
fn the_share_that_is_sampled_is_the_one_asked_for() {
    let (_folder, path) = folder();
    let some = Options { sample: Percent::new(10.0), ..to_file(&path, 8) };
    let none = Options { sample: Percent::new(0.0), ..to_file(&path, 8) };
    let drawn = |options: &Options| {
        let (log, _owner) = AccessLog::start(options, &Metrics::new()).unwrap();
        (0..100_000).filter(|_| log.sampled()).count()
    };

    assert!((9_000..11_000).contains(&drawn(&some)), "ten standard deviations off");
    assert_eq!(drawn(&none), 0);
    assert_eq!(drawn(&to_file(&path, 8)), 100_000);
    assert!(!AccessLog::off().sampled());
}

#[test]
fn a_new_file_is_closed_to_others() {
    let (_folder, path) = folder();

    let (_log, owner) = AccessLog::start(&to_file(&path, 8), &Metrics::new()).unwrap();

    let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode & !0o640, 0, "{mode:o}");
    assert!(owner.end(LIMIT));
}
