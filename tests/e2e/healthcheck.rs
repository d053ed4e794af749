//! `tenantry healthcheck`, as containers ask it.

use std::process::Command;

use crate::world::gateway::Gateway;
use crate::world::process::run;
use crate::world::{PROGRAM, eventually};

/// The exit code, and everything that was said.
fn healthcheck(arguments: &[&str]) -> (Option<i32>, String) {
    let output = run(Command::new(PROGRAM).arg("healthcheck").args(arguments));
    let texts = [&output.stdout, &output.stderr];
    let said = texts.map(|text| String::from_utf8_lossy(text).into_owned()).concat();
    (output.status.code(), said)
}

#[test]
fn a_gateway_that_drains_lives_and_is_not_ready() {
    let mut gateway = Gateway::start_with(
        "[drain]\naccept = \"1m\"\n",
        "[pools.a]\nendpoints = [\"127.0.0.1:1\"]\n[tenants.acme]\npool = \"a\"\n",
    );
    let admin = gateway.admin_url();
    // Each gives up after two seconds, which a loaded machine may take: what is said in the end counts.
    let ask = || healthcheck(&["--admin", &admin]);
    eventually("readiness", ask, |answer| *answer == (Some(0), "ready\n".to_owned()));

    gateway.signal("TERM");
    let is_refused =
        |(code, said): &(Option<i32>, String)| *code == Some(1) && said.contains("503");
    let unready = eventually("a drain", ask, is_refused);

    assert!(unready.1.contains("draining"), "{unready:?}");
    let live = || healthcheck(&["--live", "--admin", &admin]);
    eventually("life", live, |answer| *answer == (Some(0), "ok\n".to_owned()));
    // Two signals within 50 ms are one wish: this one may come so soon.
    let end = || {
        gateway.signal("TERM");
        gateway.ended()
    };
    eventually("the end", end, Option::is_some);
}

#[test]
fn a_gateway_that_is_not_there_is_not_ready() {
    let (code, said) = healthcheck(&["--admin", "http://127.0.0.1:1"]);
    let (no_url, wrong) = healthcheck(&["--admin", "127.0.0.1:9900"]);

    assert_eq!((code, no_url), (Some(1), Some(1)));
    assert!(said.contains("the admin API at http://127.0.0.1:1"), "{said}");
    assert!(wrong.contains("is not a URL, as in http://127.0.0.1:9900"), "{wrong}");
}
