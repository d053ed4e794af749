//! What a scraper sees.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use crate::world::gateway::Gateway;
use crate::world::process::Backend;
use crate::world::{curl, eventually};

/// Fails with what promtool has to say about them, if it has anything to say.
fn promtool_finds_nothing(metrics: &str) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start promtool; tests/run installs it");
    let mut stdin = promtool.stdin.take().expect("promtool's input");
    stdin.write_all(metrics.as_bytes()).expect("write to promtool");
    drop(stdin);
    let found = promtool.wait_with_output().expect("promtool's answer");

    let text = String::from_utf8_lossy(&found.stderr) + String::from_utf8_lossy(&found.stdout);
    assert!(found.status.success() && text.trim().is_empty(), "{text}\n{metrics}");
}

/// The metrics once each of these is in a line whose value is not 0.
fn once_counted(gateway: &Gateway, wanted: &[&str]) -> String {
    let counted = |metrics: &str, part: &str| {
        metrics.lines().any(|line| line.contains(part) && !line.ends_with(" 0"))
    };
    let missing = |metrics: &String| -> Vec<String> {
        let missing = wanted.iter().filter(|part| !counted(metrics, part));
        missing.map(|part| (*part).to_owned()).collect()
    };
    let ask = || {
        let metrics = gateway.admin("/metrics").body;
        (missing(&metrics), metrics)
    };
    eventually("all of it in the metrics", ask, |(missing, _)| missing.is_empty()).1
}

#[test]
fn promtool_finds_nothing_in_the_metrics() {
    let backend = Backend::start("shop-1");
    let gateway = Gateway::start(&format!(
        "[pools.shop]\nendpoints = [\"{}\"]\n\n[tenants.acme]\npool = \"shop\"\n",
        backend.address
    ));
    gateway.get("acme", "/", &[]);
    gateway.get("nobody", "/", &[]);

    promtool_finds_nothing(&once_counted(&gateway, &["tenant=\"acme\""]));
}

/// Pools that fail in their own ways, each with a tenant of its name, and `more`.
fn failing(good: &str, silent: &str, list: &str, more: &str) -> String {
    format!(
        r#"[pools.good]
endpoints = ["{good}"]

[pools.gone]
endpoints = ["127.0.0.1:1"]
health = {{ http = "/", interval = "100ms" }}

[pools.half]
endpoints = ["{good}", "127.0.0.1:1"]
balance = "round-robin"
eject = {{ failures = 1 }}

[pools.slow]
endpoints = ["{silent}"]
timeouts = {{ attempt = "100ms", total = "20s" }}

[pools.empty]
file = "{list}"

[pools.lost]
dns = "nobody.invalid:80"

[tenants.good]
pool = "good"

[tenants.gone]
pool = "gone"

[tenants.half]
pool = "half"

[tenants.slow]
pool = "slow"

[tenants.empty]
pool = "empty"

[tenants.lost]
pool = "lost"

[tenants.suspended]
state = "suspended"

{more}"#
    )
}

/// Tenant, path, and the status of the answer.
const REQUESTS: [(&str, &str, u16); 13] = [
    ("good", "/", 200),
    ("good", "/?fail=503", 503),
    ("good", "/?fail=404", 404),
    ("gone", "/", 502),
    // Each of two workers has its own turn: one of them comes to the second endpoint.
    ("half", "/1", 200),
    ("half", "/2", 200),
    ("half", "/3", 200),
    ("slow", "/", 504),
    ("empty", "/", 503),
    ("lost", "/", 503),
    ("suspended", "/", 403),
    ("nobody", "/", 404),
    ("a,b", "/", 400),
];

/// What the requests of the next test leave in the metrics.
const ERRORS: [&str; 14] = [
    "problem=\"body-too-large\"",
    "problem=\"connect-failed\"",
    "problem=\"answer-timeout\"",
    "problem=\"no-endpoint\"",
    "problem=\"tenant-suspended\"",
    "problem=\"tenant-unknown\"",
    "problem=\"tenant-ambiguous\"",
    "problem=\"tenant-missing\"",
    "tenantry_retries_total{pool=\"good\",reason=\"status\"",
    "tenantry_ejections_total{pool=\"half\"}",
    "result=\"failed\"",
    "tenantry_config_problems",
    "tenantry_config_reloads_total{result=\"refused\"}",
    "tenant=\"slow\"",
];

#[test]
fn promtool_finds_nothing_after_errors_and_after_tenants_and_pools_are_gone() {
    let backend = Backend::start("good-1");
    // Takes connections and never answers: nobody accepts them.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a silent endpoint");
    let silent = silent.local_addr().expect("its address").to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let list = folder.path().join("empty.json");
    fs::write(&list, "[]").expect("write a list");
    let list = list.display().to_string();
    let large = folder.path().join("large");
    fs::write(&large, vec![b'x'; 5000]).expect("write a file");
    let large = format!("@{}", large.display());
    let routes = |more: &str| failing(&backend.address, &silent, &list, more);
    let only_good = format!(
        "[pools.good]\nendpoints = [\"{}\"]\n\n[tenants.good]\npool = \"good\"\n",
        backend.address
    );
    // A name server that is not there: the look-ups fail at once.
    let more = "\n[downstream]\nmax-body = \"4KiB\"\n\n[dns]\nservers = [\"127.0.0.1:1\"]\n";
    let gateway = Gateway::start_with(more, &routes(""));

    for (tenant, path, status) in REQUESTS {
        let answer = gateway.get(tenant, path, &[]);
        assert_eq!(answer.status, status, "{tenant}{path}: {answer:?}");
    }
    assert_eq!(gateway.get("good", "/", &["--data-binary", &large]).status, 413);
    assert_eq!(curl(&[&gateway.url("/")]).status, 400);
    gateway.edit("[tenants.good]\npool = \"nowhere\"\n");
    promtool_finds_nothing(&once_counted(&gateway, &ERRORS));

    let served = |status: u16| {
        let ask = || gateway.get("slow", "/", &[]).status;
        eventually("the edit", ask, |now| *now == status);
    };
    for _ in 0..2 {
        gateway.edit(&only_good);
        served(404);
        promtool_finds_nothing(&gateway.admin("/metrics").body);
        gateway.edit(&routes("[tenants.new]\npool = \"good\"\n"));
        served(504);
        gateway.get("new", "/", &[]);
        promtool_finds_nothing(&gateway.admin("/metrics").body);
    }
    promtool_finds_nothing(&once_counted(&gateway, &["tenant=\"new\""]));
}
