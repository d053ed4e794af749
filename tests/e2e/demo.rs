//! `tenantry demo`: the lines that it prints do what they say.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::world::process::{Process, run};
use crate::world::{PROGRAM, eventually};

/// Runs a line of the guide as somebody would who pastes it.
fn paste(line: &str) -> String {
    let output = run(Command::new("bash").args(["-c", line]));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The first line of the guide that contains all of these.
fn line<'a>(guide: &'a [String], parts: &[&str]) -> &'a str {
    let found = guide.iter().find(|line| parts.iter().all(|part| line.contains(part)));
    found.unwrap_or_else(|| panic!("no line with {parts:?} in:\n{}", guide.join("\n"))).trim()
}

#[test]
fn the_guide_s_lines_work_and_ctrl_c_ends_clean() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut demo = Process::start(
        Command::new(PROGRAM)
            .args(["demo", "--port", "0", "--admin-port", "0"])
            .env("TMPDIR", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null()),
    );
    let mut guide = Vec::new();
    let mut lines = demo.lines();
    // The pipe stays open: the demo may print more.
    for line in lines.by_ref() {
        let last = line.contains("Ctrl-C");
        guide.push(line);
        if last {
            break;
        }
    }

    let acme = line(&guide, &["curl -H", "acme", "/"]);
    assert!(paste(acme).contains("\"backend\": \"shop-"));
    assert!(paste(line(&guide, &["acme", "/billing/"])).contains("\"backend\": \"billing-"));
    assert!(paste(line(&guide, &["curl -H", "globex"])).contains("\"backend\": \"billing-"));
    assert!(paste(line(&guide, &["curl -i http"])).contains("400 Bad Request"));

    paste(line(&guide, &["sed -i", "pool = "]));
    eventually("the edit", || paste(acme), |answer| answer.contains("billing-"));
    paste(line(&guide, &["sed -i", "tenants.acme"]));
    eventually("the edit back", || paste(acme), |answer| answer.contains("shop-"));

    paste(line(&guide, &["kill "]));
    let statuses = paste(line(&guide, &["for i in"]));
    assert_eq!(statuses.trim(), ["200"; 50].join(" "));
    assert!(paste(line(&guide, &["/metrics"])).contains("# HELP"));
    assert!(!paste(line(&guide, &["/api/v1/status"])).is_empty());

    demo.signal("INT");
    assert_eq!(demo.wait().code(), Some(0));
    let backends = guide.iter().filter_map(|line| line.rsplit_once("  process "));
    for (_, id) in backends {
        let there = Path::new("/proc").join(id.trim()).exists();
        assert!(!there, "the backend {id} is left behind");
    }
}
