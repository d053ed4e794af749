//! What a scraper sees.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::world::eventually;
use crate::world::gateway::Gateway;
use crate::world::process::Backend;

#[test]
fn promtool_finds_nothing_in_the_metrics() {
    let backend = Backend::start("shop-1");
    let gateway = Gateway::start(&format!(
        "[pools.shop]\nendpoints = [\"{}\"]\n\n[tenants.acme]\npool = \"shop\"\n",
        backend.address
    ));
    gateway.get("acme", "/", &[]);
    gateway.get("nobody", "/", &[]);
    let metrics = eventually(
        "the request in the metrics",
        || gateway.admin("/metrics").body,
        |metrics| metrics.contains("tenant=\"acme\""),
    );

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
    assert!(found.status.success() && text.trim().is_empty(), "{text}");
}
