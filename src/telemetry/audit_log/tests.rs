//! What is in the file, and what is not.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use super::floods::{REFUSED, STRANGERS};
use super::line::MOST_KEYS;
use super::*;

fn line(who: &str) -> Line {
    Line { who: Some(who.to_owned()), ..Line::new(Event::Request) }
}

fn told(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "{text:?}");
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

fn names(path: &Path) -> Vec<String> {
    told(path).iter().map(|line| line["who"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_line_is_in_the_file_once_whoever_told_it_goes_on_and_is_the_owner_s_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    let (log, owner) = AuditLog::start(Some(&path), &Arc::new(Metrics::new())).unwrap();

    log.tell(&line("alice"), Bound::None).await;

    let lines = told(&path);
    assert_eq!((lines.len(), &lines[0]["who"]), (1, &Value::from("alice")));
    assert_eq!(lines[0]["event"], "request");
    humantime::parse_rfc3339(lines[0]["time"].as_str().unwrap()).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(owner.end(Duration::from_secs(10)));
}

#[tokio::test]
async fn a_file_that_was_moved_away_is_made_anew_and_what_was_cut_off_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    let (path, old) = (folder.path().join("audit.log"), folder.path().join("audit.log.1"));
    fs::write(&path, "{\"who\":\"before\"").unwrap();
    let (log, owner) = AuditLog::start(Some(&path), &Arc::new(Metrics::new())).unwrap();
    log.tell(&line("first"), Bound::None).await;
    fs::rename(&path, &old).unwrap();

    owner.reopen();
    log.tell(&line("second"), Bound::None).await; // perhaps in the same batch as the word
    log.tell(&line("third"), Bound::None).await;
    log.note(&line("last"));
    assert!(owner.end(Duration::from_secs(10)));

    let old = fs::read_to_string(old).unwrap();
    assert!(old.starts_with("{\"who\":\"before\"\n{\"time\""), "{old}");
    assert!(names(&path).ends_with(&["third".to_owned(), "last".to_owned()]));
}

#[tokio::test]
async fn what_cannot_be_written_is_counted_and_holds_up_nobody() {
    let metrics = Arc::new(Metrics::new());
    let (log, _owner) = AuditLog::start(Some(Path::new("/dev/full")), &metrics).unwrap();

    for _ in 0..3 {
        log.tell(&line("alice"), Bound::None).await;
    }

    let lost = "tenantry_audit_log_lost_total{why=\"write\"} 3";
    assert!(metrics.render().unwrap().contains(lost), "{}", metrics.render().unwrap());
}

#[tokio::test]
async fn of_a_flood_some_lines_are_written_and_the_others_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    let (log, owner) = AuditLog::start(Some(&path), &Arc::new(Metrics::new())).unwrap();

    for _ in 0..1000 {
        log.tell(&line("x"), Bound::Strangers).await;
    }
    log.tell(&line("alice"), Bound::None).await;
    log.tell(&line("bob"), Bound::Refused).await;
    assert!(owner.end(Duration::from_secs(10)));

    let lines = told(&path);
    let of = |who: &str| lines.iter().filter(|line| line["who"] == who).count();
    assert_eq!((of("x"), of("alice"), of("bob")), (STRANGERS as usize, 1, 1));
    let left_out: u64 = lines.iter().filter_map(|line| line["count"].as_u64()).sum();
    assert_eq!(left_out, 1000 - u64::from(STRANGERS));
    assert!(lines.iter().any(|line| line["event"] == "left-out" && line["who"] == "unknown"));
}

#[tokio::test]
async fn what_one_is_refused_hides_nothing_of_what_another_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    let (log, owner) = AuditLog::start(Some(&path), &Arc::new(Metrics::new())).unwrap();
    let of = |shown: &str| Line { shown: Some(shown.to_owned()), ..line("ci") };

    for _ in 0..500 {
        log.tell(&of("token 1"), Bound::Refused).await;
    }
    log.tell(&of("token 2"), Bound::Refused).await;
    assert!(owner.end(Duration::from_secs(10)));

    let lines = told(&path);
    let of = |shown: &str| lines.iter().filter(|line| line["shown"] == shown).count();
    assert_eq!((of("token 1"), of("token 2")), (REFUSED as usize, 1));
    let left_out: u64 = lines.iter().filter_map(|line| line["count"].as_u64()).sum();
    assert_eq!(left_out, 500 - u64::from(REFUSED));
}

#[tokio::test]
async fn a_pipe_that_nobody_reads_holds_up_neither_the_start_nor_a_change() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.pipe");
    let metrics = Arc::new(Metrics::new());
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    assert!(AuditLog::start(Some(&path), &metrics).is_err());

    // Reading and writing, it opens without another end.
    let reader = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let (log, owner) = AuditLog::start(Some(&path), &metrics).unwrap();
    log.tell(&line(&"x".repeat(100_000)), Bound::None).await; // more than a pipe takes
    assert!(owner.end(Duration::from_secs(10)));

    let lost = "tenantry_audit_log_lost_total{why=\"write\"} 1";
    assert!(metrics.render().unwrap().contains(lost), "{}", metrics.render().unwrap());
    drop(reader);
}

#[test]
fn of_many_keys_some_are_named() {
    let mut keys = Keys::default();
    for number in 0..MOST_KEYS + 7 {
        keys.add(&format!("k{number}"), number % 2 == 0, number % 3 == 0);
    }

    assert_eq!(keys.added.len() + keys.changed.len() + keys.removed.len(), MOST_KEYS);
    assert_eq!((keys.more, keys.added[0].as_str(), keys.removed[0].as_str()), (7, "k1", "k2"));
}
