//! `tenantry explain`: of the files, and of a gateway that runs.

use std::process::Command;

use crate::world::gateway::Gateway;
use crate::world::origin;
use crate::world::process::run;
use crate::world::{PROGRAM, eventually};

fn explain(words: &[&str]) -> (Option<i32>, String) {
    let output = run(Command::new(PROGRAM).arg("explain").args(words));
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.code(), text.into_owned())
}

/// Asserts that the lines are there in this order, whatever the spaces in them.
fn assert_told(text: &str, lines: &[&str]) {
    let mut told = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    for line in lines {
        assert!(
            told.any(|told| told.contains(line)),
            "{line:?} is not in, or not there in:\n{text}"
        );
    }
}

const ROUTES: &str = "\n[tenants.acme]\npool = \"shop\"\n\n\
    [[tenants.acme.routes]]\npath = \"/billing/*\"\ntimeout = \"7s\"\nrewrite = { strip = \"/billing\" }\n\n\
    [[tenants.acme.routes]]\npath = \"/billing/{id}\"\nmethods = [\"POST\"]\n";

#[test]
fn files_that_nobody_serves_are_explained_with_places() {
    let pool = "[pools.shop]\nendpoints = [\"127.0.0.1:1\"]\nretry = { attempts = 5 }\n";
    let gateway = Gateway::prepare("", &format!("{pool}{ROUTES}"));
    let config = gateway.config().display().to_string();

    let (code, text) =
        explain(&["--config", &config, "-H", "X-Tenant-ID: acme", "GET", "/billing/7?a=b"]);
    let (unknown, nobody) = explain(&["--config", &config, "--tenant", "nobody", "GET", "/"]);
    let (bad, header) = explain(&["--config", &config, "-H", "nonsense", "GET", "/"]);

    assert_eq!(code, Some(0), "{text}");
    assert_told(
        &text,
        &[
            "GET /billing/7?a=b",
            "is forwarded to the pool shop, as GET /7?a=b",
            "the header x-tenant-id names \"acme\"",
            "routes.toml:5)",
            "takes it /billing/* tenants.acme.routes[0]",
            "not /billing/{id} tenants.acme.routes[1]",
            "the method is GET, not POST",
            "Pool shop",
            "from static",
            "eligible 127.0.0.1:1 how it is, a running gateway tells",
            "eject.share 30% built in",
            "timeouts.total 7s route",
            "timeouts.connect 1s built in",
            "retry.attempts 5 pool",
        ],
    );
    assert!(text.contains("routes.toml:10)"), "{text}");
    assert!(
        unknown == Some(0) && nobody.contains("is refused: there is no tenant \"nobody\""),
        "{nobody}"
    );
    assert!(bad == Some(1) && header.contains("\"nonsense\" is not a header"), "{header}");
}

#[test]
fn a_running_gateway_tells_which_endpoints_may_be_picked() {
    let origin = origin::answering("127.0.0.1:0", "shop");
    let pool = format!(
        "[pools.shop]\nendpoints = [\"{origin}\", \"127.0.0.1:1\"]\n\
         health = {{ tcp = true, interval = \"100ms\", fall = 1 }}\n"
    );
    let gateway = Gateway::start(&format!("{pool}{ROUTES}"));
    let admin = gateway.admin_url();
    let ask = || explain(&["--admin", &admin, "--tenant", "acme", "POST", "/billing/7"]).1;

    let known = format!("{origin}  its checks succeed");
    let text = eventually("both are checked", ask, |text| {
        text.contains(&known) && text.contains("127.0.0.1:1  its checks fail")
    });
    let (code, json) = explain(&["--admin", &admin, "--tenant", "acme", "--json", "GET", "/"]);
    let (none, nobody) = explain(&["--admin", "http://127.0.0.1:1", "GET", "/"]);

    assert_told(
        &text,
        &[
            "takes it /billing/{id}",
            "not /billing/*",
            "another one that takes it is more specific",
            "out 127.0.0.1:1 its checks fail: ",
        ],
    );
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(
        (code, &json["outcome"]),
        (Some(0), &"is forwarded to the pool shop, as GET /".into())
    );
    assert!(none == Some(1) && nobody.contains("the admin API at http://127.0.0.1:1"), "{nobody}");
}
