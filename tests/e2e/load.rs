//! Full load while everything changes: no request may be lost.

use std::process::{Command, Stdio};

use crate::world::gateway::Gateway;
use crate::world::process::{Backend, run};

fn routes(backends: [&Backend; 2], generation: usize) -> String {
    // Each generation differs in something that matters: a pool's spec, its endpoints, the tenants,
    // the routes.
    let timeout = 5 + generation % 3;
    let both = format!("\"{}\", \"{}\"", backends[0].address, backends[1].address);
    let one = format!("\"{}\"", backends[1].address);
    let endpoints = if generation % 4 == 3 { one } else { both };
    let extra: String = (0..generation % 7)
        .map(|number| format!("[tenants.extra-{number}]\npool = \"shop\"\n\n"))
        .collect();
    format!(
        r#"# generation {generation}
[pools.shop]
endpoints = [{endpoints}]
timeouts = {{ total = "{timeout}s" }}
health = {{ http = "/healthz", interval = "500ms", timeout = "250ms" }}

{extra}[tenants.acme]
pool = "shop"

[[tenants.acme.routes]]
name = "generation-{generation}"
path = "/generation/{generation}"
"#
    )
}

#[test]
fn no_request_is_lost_while_routes_change_and_a_backend_dies() {
    let mut first = Backend::start("shop-1");
    let second = Backend::start("shop-2");
    let gateway = Gateway::start(&routes([&first, &second], 0));
    let mut wrk = Command::new("wrk");
    wrk.args(["--threads", "1", "--connections", "16", "--duration", "6s", "--latency"])
        .args(["--header", "X-Tenant-ID: acme"])
        .arg(gateway.url("/"))
        .stdin(Stdio::null());

    let report = std::thread::scope(|scope| {
        let loading = scope.spawn(|| run(&mut wrk));
        let mut generation = 0;
        while !loading.is_finished() {
            generation += 1;
            let text = routes([&first, &second], generation);
            if generation % 2 == 0 {
                gateway.edit(&text)
            } else {
                gateway.edit_in_place(&text)
            }
            match generation % 40 {
                10 => first.crash(),
                30 => first.restart("shop-1"),
                _ => {}
            }
            // The pace of the edits, not a wait for something.
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        loading.join().expect("wrk's report")
    });

    let report = String::from_utf8_lossy(&report.stdout).into_owned();
    let context = format!("{report}\n{}", gateway.log());
    assert!(!report.contains("Non-2xx"), "{context}");
    assert!(!report.contains("Socket errors"), "{context}");
    let served = report.lines().find(|line| line.contains("requests in")).unwrap_or_default();
    let served: u64 = served.split_whitespace().next().unwrap_or("0").parse().unwrap_or(0);
    assert!(served > 100, "{context}");
}
