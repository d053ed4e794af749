//! The list file as it changes on a real file system.

use std::fs;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::base::tasks::Tasks;
use crate::discovery::{Event, Report, SourceKey};

use super::*;

struct Running {
    _tasks: Tasks,
    heard: mpsc::Receiver<Report>,
}

fn start(path: &Path) -> Running {
    let (reports, heard) = mpsc::channel(16);
    let feed = Feed::new(SourceKey(1), "file test".into(), reports);
    let path = path.to_path_buf();
    let mut tasks = Tasks::new("test");
    tasks.spawn(|_stop| async move { run(&path, &FileEvents::new(), feed).await });
    Running { _tasks: tasks, heard }
}

impl Running {
    async fn next(&mut self) -> Event {
        let report = timeout(Duration::from_secs(20), self.heard.recv()).await;
        report.expect("no report").expect("the source has ended").event
    }

    async fn members(&mut self) -> Vec<String> {
        match self.next().await {
            Event::Members(found) => found.iter().map(|found| found.address.to_string()).collect(),
            Event::Failed { reason, .. } => panic!("{reason}"),
        }
    }

    async fn failure(&mut self) -> (String, usize) {
        match self.next().await {
            Event::Failed { reason, kept } => (reason, kept),
            Event::Members(found) => panic!("{found:?}"),
        }
    }
}

#[tokio::test]
async fn a_change_is_reported_and_a_bad_file_keeps_the_set_and_says_where() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("members.toml");
    fs::write(&path, "endpoints = [\"10.0.0.1:80\"]\n").unwrap();
    let mut source = start(&path);
    assert_eq!(source.members().await, ["10.0.0.1:80"]);

    fs::write(&path, "endpoints = [\n  \"10.0.0.2:80\",\n  \"web-1:80\",\n]\n").unwrap();
    let (reason, kept) = source.failure().await;
    assert!(
        reason.starts_with(&format!("{}:3:3: `web-1:80` is a host name", path.display())),
        "{reason}"
    );
    assert_eq!(kept, 1);

    fs::write(&path, "endpoints = [\"10.0.0.2:80\"]\n").unwrap();
    assert_eq!(source.members().await, ["10.0.0.2:80"]);
}

#[tokio::test]
async fn a_list_that_is_empty_on_purpose_empties_the_pool() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("members.json");
    fs::write(&path, r#"[{"targets": ["10.0.0.1:80"]}]"#).unwrap();
    let mut source = start(&path);
    assert_eq!(source.members().await, ["10.0.0.1:80"]);

    fs::write(&path, "[]").unwrap();

    assert_eq!(source.members().await, [""; 0]);
}

#[tokio::test]
async fn a_deleted_file_keeps_the_set_until_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("members.json");
    fs::write(&path, r#"[{"targets": ["10.0.0.1:80"]}]"#).unwrap();
    let mut source = start(&path);
    assert_eq!(source.members().await, ["10.0.0.1:80"]);

    fs::remove_file(&path).unwrap();
    let (reason, kept) = source.failure().await;
    assert!(reason.contains("No such file"), "{reason}");
    assert_eq!(kept, 1);

    let draft = folder.path().join("draft");
    fs::write(&draft, r#"[{"targets": ["10.0.0.1:80", "10.0.0.2:80"]}]"#).unwrap();
    fs::rename(&draft, &path).unwrap();
    assert_eq!(source.members().await, ["10.0.0.1:80", "10.0.0.2:80"]);
}

#[tokio::test]
async fn a_file_of_no_known_form_is_refused_with_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("members.yaml");
    fs::write(&path, "").unwrap();

    let (reason, kept) = start(&path).failure().await;

    assert!(reason.ends_with("a list of members ends in .json or .toml"), "{reason}");
    assert_eq!(kept, 0);
}

#[tokio::test]
async fn a_folder_in_place_of_a_file_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("members.json");
    fs::create_dir(&path).unwrap();

    let (reason, _) = start(&path).failure().await;

    assert!(reason.ends_with(": not a file"), "{reason}");
}

#[tokio::test]
async fn a_socket_in_place_of_a_file_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("members.json");
    let _socket = std::os::unix::net::UnixListener::bind(&path).unwrap();

    let (reason, _) = start(&path).failure().await;

    assert!(reason.ends_with(": not a file"), "{reason}");
}

#[tokio::test]
async fn a_file_beyond_the_limit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("members.json");
    fs::File::create(&path).unwrap().set_len(LARGEST + 1).unwrap();

    let (reason, _) = start(&path).failure().await;

    assert!(reason.ends_with("larger than 16 MiB"), "{reason}");
}
