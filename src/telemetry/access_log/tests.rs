//! What reaches the file.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use std::time::SystemTime;

use http::{HeaderValue, Method, Version};
use serde_json::Value;
use tokio::time::Instant;

use crate::base::units::Percent;
use crate::model::log_line::Field;
use crate::telemetry::record::{Ending, Line, Tag};

use super::*;

const LIMIT: Duration = Duration::from_secs(10);

fn to_file(path: &Path, queue: usize) -> Options {
    Options {
        output: Some(Output::File(path.to_owned())),
        format: Format::Json,
        mask: Mask::default(),
        sample: Sample::of(Percent::new(100.0)),
        errors: Errors::All,
        queue,
    }
}

fn record() -> Box<Record> {
    let started = Instant::now();
    Box::new(Record {
        started,
        duration: Duration::from_micros(12_345),
        request_id: HeaderValue::from_static("0123"),
        client: Some("192.0.2.7".parse().unwrap()),
        method: Method::GET,
        version: Version::HTTP_11,
        line: Some(Box::new(Line {
            host: "shop.example.com".to_owned(),
            target: "/a/b?c=d".to_owned(),
            agent: "curl/8".to_owned(),
            headers: Box::default(),
        })),
        logged: true,
        trace: None,
        asked: None,
        tenant: Some(Tag { name: Some("acme".into()), slot: 0 }),
        caller: None,
        route: Some("/a/*".into()),
        pool: Some(Tag { name: Some("shop".into()), slot: 0 }),
        endpoint: Some("10.0.0.1:80".into()),
        queued: None,
        attempts: 2,
        status: 200,
        problem: None,
        first_byte: Some(started + Duration::from_millis(3)),
        bytes_in: 5,
        bytes_out: 7,
        ending: Ending::Whole,
    })
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
    hostile.line = Some(Box::new(Line {
        host: text.clone(),
        target: text.clone(),
        agent: text.clone(),
        headers: Box::default(),
    }));
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
fn a_tenants_own_share_goes_before_the_logs_and_nothing_is_drawn_where_there_is_no_log() {
    let (_folder, path) = folder();
    let all = Some(Sample::of(Percent::new(100.0)));
    let none = Options { sample: Sample::NONE, ..to_file(&path, 8) };
    let (log, _owner) = AccessLog::start(&none, &Metrics::new()).unwrap();

    assert!(!log.sampled(None) && log.sampled(all) && log.wants_errors());
    let (log, _owner) = AccessLog::start(&to_file(&path, 8), &Metrics::new()).unwrap();
    assert!(log.sampled(None) && !log.sampled(Some(Sample::NONE)));
    assert!(!AccessLog::off().sampled(all) && !AccessLog::off().wants_errors());
}

/// The one line of a record, in this format.
fn line_of(record: Box<Record>, format: Format) -> String {
    let (_folder, path) = folder();
    let options = Options {
        format,
        mask: Mask { query: vec!["token".to_owned()], headers: vec![http::header::COOKIE] },
        ..to_file(&path, 8)
    };
    let (log, owner) = AccessLog::start(&options, &Metrics::new()).unwrap();
    log.write(record);
    assert!(owner.end(LIMIT));
    std::fs::read_to_string(&path).unwrap()
}

#[test]
fn a_combined_line_is_as_web_servers_write_it() {
    let mut record = record();
    let line = record.line.as_mut().unwrap();
    line.target = "/a/b?c=d&token=s3cret".to_owned();
    line.agent = "Mozilla/5.0 \"x\" \\ \u{1b}[31m\n\u{e9}".to_owned();
    line.headers = [Some("https://a.example/?token=s3cret&e=f".to_owned())].into();

    let line = line_of(record, Format::Combined);

    let (client, rest) = line.split_once(" - - [").unwrap();
    let (time, rest) = rest.split_once("] ").unwrap();
    assert_eq!(client, "192.0.2.7");
    assert!(time.ends_with(" +0000") && time.len() == 26, "{time}");
    assert_eq!(
        rest,
        "\"GET /a/b?c=d&token=*** HTTP/1.1\" 200 7 \"https://a.example/?token=***&e=f\" \
         \"Mozilla/5.0 \\x22x\\x22 \\x5C \\x1B[31m\\x0A\\xC3\\xA9\"\n"
    );
}

#[test]
fn a_combined_line_has_something_in_each_place() {
    let mut record = record();
    record.status = 0;
    record.version = Version::HTTP_2;
    record.bytes_out = 0;
    let line = record.line.as_mut().unwrap();
    (line.agent, line.headers) = (String::new(), [None].into());

    let line = line_of(record, Format::Combined);

    assert!(line.ends_with("] \"GET /a/b?c=d HTTP/2.0\" 499 0 \"-\" \"-\"\n"), "{line}");
}

#[test]
fn a_line_of_pieces_tells_what_was_asked_for() {
    let text = |text: &str| Piece::Text(text.to_owned());
    let mut pieces = vec![text("{")];
    for (_, field) in Field::ALL.into_iter().filter(|(name, _)| !name.starts_with("time")) {
        pieces.extend([Piece::Field(field), text("|")]);
    }
    pieces.extend([
        Piece::Header(http::header::COOKIE),
        text(" "),
        Piece::Header(http::header::ACCEPT),
        text(" "),
        Piece::Header(http::header::COOKIE),
    ]);
    let mut record = record();
    let (subject, proof) = ("ann".into(), crate::model::caller::Proof::ApiKey);
    let caller = crate::model::caller::Caller { subject, proof, told: Box::default() };
    record.caller = Some(Box::new(caller));
    let line = record.line.as_mut().unwrap();
    line.headers = [Some("a=b".to_owned()), Some("*/*".to_owned())].into();
    record.queued = Some(Box::new(Duration::from_micros(1_500)));

    assert_eq!(
        line_of(record, Format::Pieces(pieces)),
        "{0123|192.0.2.7|GET|shop.example.com|/a/b|c=d|/a/b?c=d|HTTP/1.1|acme|ann|/a/*|shop|\
         10.0.0.1:80|2|0.001500|1.500|200|-|whole|0.012345|12.345|0.003000|3.000|5|7|curl/8|-|-|*** */* ***\n"
    );
}

#[test]
fn a_new_file_is_closed_to_others() {
    let (_folder, path) = folder();

    let (_log, owner) = AccessLog::start(&to_file(&path, 8), &Metrics::new()).unwrap();

    let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode & !0o640, 0, "{mode:o}");
    assert!(owner.end(LIMIT));
}
