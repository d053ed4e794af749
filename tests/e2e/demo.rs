//! `tenantry demo`: the lines that it prints do what they say.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::world::process::{Process, run};
use crate::world::{PROGRAM, curl, eventually};

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

/// Starts the demo with these options.
fn start(options: &[&str], folder: &TempDir) -> Process {
    let errors = File::create(folder.path().join("errors")).expect("make a log");
    Process::start(
        Command::new(PROGRAM)
            .arg("demo")
            .args(options)
            .env("TMPDIR", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors),
    )
}

/// What it prints up to its last line, or all of it where it ends before.
fn guide_of(demo: &mut Process) -> (Vec<String>, impl Iterator<Item = String> + use<>) {
    let mut lines = demo.lines();
    let mut guide = Vec::new();
    for line in lines.by_ref() {
        let last = line.contains("Ctrl-C");
        guide.push(line);
        if last {
            break;
        }
    }
    // The pipe stays open: the demo may print more.
    (guide, lines)
}

/// Ctrl-C ends it clean, and its backends with it.
fn ends_clean(mut demo: Process, folder: &TempDir) {
    demo.signal("INT");
    assert_eq!(demo.wait().code(), Some(0));
    nothing_is_left_behind(folder);
}

/// Each process of a demo has its folder among its variables.
fn nothing_is_left_behind(folder: &TempDir) {
    let variable = format!("TMPDIR={}\0", folder.path().display());
    let variables = |process: &PathBuf| fs::read(process.join("environ")).unwrap_or_default();
    let processes = fs::read_dir("/proc").expect("the list of processes");
    let left: Vec<PathBuf> = processes
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|process| String::from_utf8_lossy(&variables(process)).contains(&variable))
        .collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

/// It could not start: one sentence that names the port, exit code 1, nothing left behind.
fn says_that_a_port_is_taken(mut demo: Process, folder: &TempDir, ports: &[u16]) {
    assert_eq!(demo.wait().code(), Some(1));
    let said = fs::read_to_string(folder.path().join("errors")).expect("read what it said");
    let sentences: Vec<&str> = said.lines().filter(|line| !line.contains(" INFO ")).collect();
    let [sentence] = sentences.as_slice() else { panic!("not one sentence:\n{said}") };
    let names = |port: &u16| sentence.contains(&format!("127.0.0.1:{port}: the address is in use"));
    assert!(sentence.starts_with("tenantry: ") && ports.iter().any(names), "{said}");
    nothing_is_left_behind(folder);
}

#[test]
fn the_guide_s_lines_work_and_ctrl_c_ends_clean() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut demo = start(&["--port", "0", "--admin-port", "0"], &folder);
    let (guide, _lines) = guide_of(&mut demo);

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

    ends_clean(demo, &folder);
}

/// The ports are fixed, so that somebody else on this machine may have one of them.
#[test]
fn the_demo_serves_on_its_usual_ports_or_says_that_one_is_taken() {
    let usual = [8080, 9900];
    let taken = || usual.iter().any(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok());
    let folder = tempfile::tempdir().expect("a folder");
    let before = taken();
    let mut demo = start(&[], &folder);
    let (guide, _lines) = guide_of(&mut demo);
    if guide.is_empty() {
        says_that_a_port_is_taken(demo, &folder, &usual);
        assert!(before || taken(), "both ports are free");
        println!("a port of the demo is taken by another program");
        return;
    }

    let of_acme = || curl(&["--header", "X-Tenant-ID: acme", "http://127.0.0.1:8080/"]);
    let backend = format!("  process {}", of_acme().json()["pid"]);
    assert!(guide.iter().any(|line| line.ends_with(&backend)), "{backend} is another demo's");
    assert_eq!(curl(&["http://127.0.0.1:9900/readyz"]).status, 200);
    let page = curl(&["--header", "Accept: text/html", "http://globex.localhost:8080/"]);
    assert!(page.body.contains("billing-"), "{page:?}");

    // Who starts it twice is told so, and disturbs nobody.
    let other = tempfile::tempdir().expect("a folder");
    says_that_a_port_is_taken(start(&[], &other), &other, &usual);
    assert_eq!(of_acme().status, 200);

    ends_clean(demo, &folder);
}

#[test]
fn a_port_in_use_is_one_sentence_whichever_it_is() {
    let holder = TcpListener::bind("127.0.0.1:0").expect("take a port");
    let port = holder.local_addr().expect("its address").port();
    let number = port.to_string();

    for options in
        [["--port", &number, "--admin-port", "0"], ["--port", "0", "--admin-port", &number]]
    {
        let folder = tempfile::tempdir().expect("a folder");
        let mut demo = start(&options, &folder);
        assert_eq!(guide_of(&mut demo).0, [""; 0]);
        says_that_a_port_is_taken(demo, &folder, &[port]);
    }
}
