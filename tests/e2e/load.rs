//! Full load while everything changes: no request may be lost that a living endpoint could serve.
//!
//! `TENANTRY_LOAD_SECONDS` sets how long it lasts. The default keeps CI quick; by hand, a minute is
//! the proof: `TENANTRY_LOAD_SECONDS=60 cargo test --test e2e load -- --nocapture`.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::world::dns::Dns;
use crate::world::gateway::Gateway;
use crate::world::origin;
use crate::world::process::{Backend, run};

/// What changes while the load runs.
struct Chaos {
    gateway: Gateway,
    backends: Vec<Backend>,
    dns: Dns,
    /// Port of the origins that the name leads to.
    port: String,
    rewritten: usize,
    crashes: usize,
    name_changes: usize,
}

impl Chaos {
    fn start() -> Self {
        let first = origin::keeping("127.0.0.2:0", "named-2");
        let port = first.rsplit(':').next().unwrap_or_default().to_owned();
        for host in 3..=4 {
            origin::keeping(&format!("127.0.0.{host}:{port}"), "named");
        }
        let dns = Dns::start(NAMED[0], &[]);
        let servers = format!("[dns]\nservers = [\"127.0.0.1:{}\"]\n", dns.port);
        let backends: Vec<Backend> =
            (1..=3).map(|n| Backend::start(&format!("shop-{n}"))).collect();
        let gateway = Gateway::start_with(&servers, &routes(&backends, &port, 0));
        let (rewritten, crashes, name_changes) = (0, 0, 0);
        Self { gateway, backends, dns, port, rewritten, crashes, name_changes }
    }

    /// One edit, and now and then more than that.
    fn step(&mut self) {
        self.rewritten += 1;
        let text = routes(&self.backends, &self.port, self.rewritten);
        match self.rewritten % 2 {
            0 => self.gateway.edit(&text),
            _ => self.gateway.edit_in_place(&text),
        }
        let victim = self.rewritten / 10 % self.backends.len();
        let backend = &mut self.backends[victim];
        match self.rewritten % 10 {
            2 => {
                backend.crash();
                self.crashes += 1;
            }
            7 => backend.restart(&format!("shop-{}", victim + 1)),
            _ => {}
        }
        if self.rewritten.is_multiple_of(7) && self.dns.is_alive() {
            self.name_changes += 1;
            self.dns.change(NAMED[self.name_changes % NAMED.len()]);
        }
    }
}

/// Who is behind the name, in turn.
const NAMED: [&str; 3] = [
    "127.0.0.2 named.test\n",
    "127.0.0.2 named.test\n127.0.0.3 named.test\n",
    "127.0.0.3 named.test\n127.0.0.4 named.test\n",
];

/// Each generation differs in something that matters: a pool's time-outs, its checks, its
/// endpoints, the tenants, the routes.
fn routes(backends: &[Backend], port: &str, generation: usize) -> String {
    let timeout = 5 + generation % 3;
    let left_out = (generation % 4 == 3).then_some(generation / 4 % backends.len());
    let endpoints: Vec<String> = backends
        .iter()
        .enumerate()
        .filter(|(number, _)| Some(*number) != left_out)
        .map(|(_, backend)| format!("\"{}\"", backend.address))
        .collect();
    let interval = 300 + 100 * (generation / 10 % 3);
    let passing: String = (0..generation % 7)
        .map(|number| format!("[tenants.passing-{number}]\npool = \"shop\"\n\n"))
        .collect();
    let tenants: String = (0..TENANTS)
        .map(|number| {
            let pool = if number % 2 == 0 { "shop" } else { "named" };
            format!(
                r#"[tenants.t-{number}]
pool = "{pool}"

[[tenants.t-{number}.routes]]
name = "generation-{generation}"
path = "/generation/{generation}/*"
timeouts = {{ total = "{timeout}s" }}

"#
            )
        })
        .collect();
    format!(
        r#"# generation {generation}
[pools.shop]
endpoints = [{}]
timeouts = {{ total = "{timeout}s" }}
health = {{ http = "/healthz", interval = "{interval}ms", timeout = "250ms" }}

[pools.named]
dns = "named.test:{port}"
timeouts = {{ total = "{timeout}s" }}

{passing}{tenants}"#,
        endpoints.join(", ")
    )
}

/// Requests of many tenants. A crash takes requests with it that it had begun with; of those only
/// what may be done twice can be served by another endpoint, so that a `POST` to the pool that
/// crashes carries an `Idempotency-Key`. The pool of names never crashes: its are plain.
fn script() -> String {
    format!(
        r#"local number = 0
local body = string.rep("x", 2000)
request = function()
    number = number + 1
    local tenant = number % {TENANTS}
    local headers = {{ ["X-Tenant-ID"] = "t-" .. tenant }}
    if number % 3 ~= 0 then
        return wrk.format("GET", "/generation/" .. number % 200 .. "/x", headers)
    end
    if tenant % 2 == 0 then headers["Idempotency-Key"] = "k-" .. number end
    return wrk.format("POST", "/orders", headers, body)
end
"#
    )
}

const TENANTS: usize = 40;

/// An access log line of a request that was served, or cut off by the load's own end.
fn is_served(line: &str) -> bool {
    line.contains("\"status\":200") || line.contains("\"status\":null")
}

#[test]
fn no_request_is_lost_while_routes_endpoints_and_names_change() {
    let seconds: u32 = std::env::var("TENANTRY_LOAD_SECONDS")
        .map_or(8, |text| text.parse().expect("TENANTRY_LOAD_SECONDS is a number"));
    let folder = TempDir::new().expect("a folder");
    let lua = folder.path().join("load.lua");
    fs::write(&lua, script()).expect("write the script");
    let mut chaos = Chaos::start();
    let mut wrk = Command::new("wrk");
    wrk.args(["--threads", "1", "--connections", "32", "--timeout", "10s", "--latency"])
        .arg("--duration")
        .arg(format!("{seconds}s"))
        .arg("--script")
        .arg(&lua)
        .arg(chaos.gateway.url("/"))
        .stdin(Stdio::null());
    let pace = (Duration::from_secs(1) * seconds / 202).max(Duration::from_millis(50));

    let report = std::thread::scope(|scope| {
        let loading = scope.spawn(|| run(&mut wrk));
        let started = Instant::now();
        while !loading.is_finished() {
            let began = Instant::now();
            chaos.step();
            if started.elapsed() > Duration::from_secs(1) * seconds * 2 / 3 {
                chaos.dns.die();
            }
            // The pace of the edits, not a wait for something. Steps that a stalled machine has missed
            // are not made up for: all backends would crash within one request's attempts.
            std::thread::sleep(pace.saturating_sub(began.elapsed()));
        }
        loading.join().expect("wrk's report")
    });

    let report = String::from_utf8_lossy(&report.stdout).into_owned();
    println!(
        "{} edits, {} crashes, {} changes of names\n{report}",
        chaos.rewritten, chaos.crashes, chaos.name_changes
    );
    let log = chaos.gateway.log();
    let said: Vec<&str> = log.lines().filter(|line| !is_served(line)).collect();
    let context = format!("{report}\n{}", said.join("\n"));
    assert!(!report.contains("Non-2xx"), "{context}");
    assert!(!report.contains("Socket errors"), "{context}");
    let served = report.lines().find(|line| line.contains("requests in")).unwrap_or_default();
    let served: u64 = served.split_whitespace().next().unwrap_or("0").parse().unwrap_or(0);
    assert!(served > 100, "{context}");
    assert!(chaos.crashes > 0 && chaos.name_changes > 0, "{context}");
}
