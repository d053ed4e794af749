//! A real web application in a real browser: a Django site with log-in, upload, an answer in parts and
//! server-sent events, and a WebSocket server beside it, used by a page in Chromium while the routes
//! change.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::world::gateway::Gateway;
use crate::world::process::Process;
use crate::world::{PATIENCE, PYTHON, curl, eventually, eventually_within};

/// A program of `webapp/`.
struct App {
    address: String,
    _process: Process,
}

impl App {
    fn start(script: &str, arguments: &[&str], folder: &Path) -> Self {
        let errors = File::create(folder.join(format!("{script}.log"))).expect("make a log");
        let mut process = Process::start(
            Command::new(PYTHON)
                .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/webapp").join(script))
                .args(arguments)
                .env("PYTHONDONTWRITEBYTECODE", "1")
                .current_dir(folder)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(errors),
        );
        let address = process.lines().next();
        let address = address.unwrap_or_else(|| panic!("{}", logs(folder)));
        Self { address, _process: process }
    }
}

/// What the programs of `webapp/` had to say.
fn logs(folder: &Path) -> String {
    let log = |name| fs::read_to_string(folder.join(name)).unwrap_or_default();
    log("site.py.log") + &log("echo.py.log")
}

/// Chromium with one page; what it prints is the page's document once that is loaded.
struct Browser {
    process: Process,
    printed: PathBuf,
}

impl Browser {
    fn start(url: &str, folder: &Path) -> Self {
        let printed = folder.join("document");
        let output = File::create(&printed).expect("make a file for the document");
        let errors = File::create(folder.join("chromium.log")).expect("make a log");
        let process = Process::start(
            Command::new("chromium")
                .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
                .args(["--disable-quic", "--no-first-run", "--disable-background-networking"])
                .args(["--disable-component-update", "--disable-sync", "--no-proxy-server"])
                .arg(format!("--user-data-dir={}", folder.join("profile").display()))
                .args(["--timeout=75000", "--dump-dom", url])
                .env("HOME", folder)
                .stdin(Stdio::null())
                .stdout(output)
                .stderr(errors),
        );
        Self { process, printed }
    }

    /// What its page has to say at the end.
    fn verdict(&self) -> String {
        let document = fs::read_to_string(&self.printed).unwrap_or_default();
        let verdict = document.split_once("<pre id=\"verdict\">").map(|(_, rest)| rest);
        let verdict = verdict.and_then(|rest| rest.split_once("</pre>")).map(|(text, _)| text);
        verdict.map_or(document.clone(), str::to_owned)
    }
}

/// The routes in their generation: each moves the site's pool to another instance or to both.
fn routes(sites: &[App; 2], echo: &App, generation: usize) -> String {
    let [first, second] = [&sites[0].address, &sites[1].address];
    let endpoints = match generation % 3 {
        0 => format!("\"{first}\""),
        1 => format!("\"{first}\", \"{second}\""),
        _ => format!("\"{second}\""),
    };
    format!(
        r#"[tenant]
from = [{{ host = "{{tenant}}.localhost" }}]

[pools.site]
endpoints = [{endpoints}]

[pools.socket]
endpoints = ["{}"]

[tenants.acme]
pool = "site"

[[tenants.acme.routes]]
path = "/ws"
pool = "socket"

[[tenants.acme.routes]]
path = "/held/"
timeouts = {{ total = "90s" }}

[[tenants.acme.routes]]
path = "/generation"
respond = {{ body = "{generation}" }}
"#,
        echo.address
    )
}

#[test]
fn a_site_with_sessions_uploads_streams_and_sockets_works_in_a_browser_through_edits() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path();
    let shared = path.display().to_string();
    let echo = App::start("echo.py", &[], path);
    let sites = ["one", "two"].map(|name| App::start("site.py", &[&shared, name], path));
    let gateway = Gateway::start(&routes(&sites, &echo, 0));
    let host = format!("acme.localhost:{}", gateway.listener().port());

    let mut browser = Browser::start(&format!("http://{host}/"), path);
    let mut generation = 0;
    let ended = eventually_within(
        PATIENCE,
        "the end of the browser",
        || {
            generation += 1;
            gateway.edit(&routes(&sites, &echo, generation));
            let now =
                || curl(&["--header", &format!("Host: {host}"), &gateway.url("/generation")]).body;
            eventually("the edit", now, |now| *now == generation.to_string());
            browser.process.ended()
        },
        Option::is_some,
    );

    let verdict = browser.verdict();
    let log = gateway.log();
    let said: Vec<&str> = log.lines().filter(|line| !line.contains("\"status\":2")).collect();
    let context = format!("{ended:?} {verdict}\n{}\n{}", logs(path), said.join("\n"));
    assert!(verdict.starts_with("passed: "), "{context}");
    println!("{verdict}; {generation} edits");
}
