//! What is billed by, where the process ends by a signal.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::world::eventually;
use crate::world::gateway::Gateway;
use crate::world::origin;

const USAGE: &str = "[usage]\nfolder = \"usage\"\nflush-interval = \"2s\"\n\
                     [drain]\naccept = \"10ms\"\n";

/// Requests of each tenant in all files.
fn exported(folder: &Path) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        let name = path.to_string_lossy().into_owned();
        // A file may be renamed between the two calls: then it is read by its other name.
        let Ok(text) = fs::read_to_string(&path) else { continue };
        if name.ends_with(".ndjson") || name.ends_with(".ndjson.partial") {
            for line in text.lines() {
                let line: Value = serde_json::from_str(line).expect("a line of JSON");
                let requests = line["requests"].as_u64().expect("a number");
                let tenant = line["tenant"].as_str().expect("an id").to_owned();
                *all.entry(tenant).or_default() += requests;
            }
        }
    }
    all
}

fn send(gateway: &Gateway, requests: u64) {
    for _ in 0..requests {
        assert_eq!(gateway.get("acme", "/", &[]).status, 200);
    }
}

#[test]
fn a_kill_loses_what_was_not_saved_yet_and_counts_nothing_twice() {
    let endpoint = origin::answering("127.0.0.1:0", "hello");
    let routes =
        format!("[pools.app]\nendpoints = [\"{endpoint}\"]\n[tenants.acme]\npool = \"app\"\n");
    let mut gateway = Gateway::start_with(USAGE, &routes);
    let folder = gateway.path("usage");
    let acme = || exported(&folder).get("acme").copied().unwrap_or_default();
    let mut saved = 0;
    for round in 0..2 {
        send(&gateway, 10);
        eventually("what was used in the file", acme, |requests| *requests == saved + 10);
        send(&gateway, 5);
        gateway.signal("KILL");
        gateway.wait();
        let left = acme();
        assert!((saved + 10..=saved + 15).contains(&left), "round {round}: {left} after {saved}");
        saved = left;

        gateway.launch();
        gateway.wait_ready();
        send(&gateway, 7);
        gateway.signal("TERM");
        assert_eq!(gateway.wait().code(), Some(0), "{}", gateway.log());
        saved += 7;
        assert_eq!(acme(), saved, "round {round}");
        gateway.launch();
        gateway.wait_ready();
    }
}
