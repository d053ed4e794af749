//! A real web application in a real browser: a Django site with log-in, upload, an answer in parts and
//! server-sent events, and a WebSocket server beside it, used by a page in Chromium while the routes
//! change: once by HTTP/1.1, and once over TLS, where Chromium speaks HTTP/2, for its WebSockets, too.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::tls::make;
use crate::world::gateway::Gateway;
use crate::world::process::Process;
use crate::world::{PATIENCE, PYTHON, curl, eventually, eventually_within, free_port};

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
                .arg("--ignore-certificate-errors")
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

/// The site's two instances, and its server of WebSockets.
struct Site<'f> {
    instances: [App; 2],
    echo: App,
    folder: &'f Path,
}

impl<'f> Site<'f> {
    fn start(folder: &'f TempDir) -> Self {
        let folder = folder.path();
        let shared = folder.display().to_string();
        let echo = App::start("echo.py", &[], folder);
        let instances = ["one", "two"].map(|name| App::start("site.py", &[&shared, name], folder));
        Self { instances, echo, folder }
    }

    /// The routes in their generation: each moves the site's pool to another instance or to both.
    fn routes(&self, generation: usize) -> String {
        let [first, second] = [&self.instances[0].address, &self.instances[1].address];
        let endpoints = match generation % 3 {
            0 => format!("\"{first}\""),
            1 => format!("\"{first}\", \"{second}\""),
            _ => format!("\"{second}\""),
        };
        ROUTES
            .replace("ENDPOINTS", &endpoints)
            .replace("ECHO", &self.echo.address)
            .replace("GENERATION", &generation.to_string())
    }

    /// The page at `url` does all that it can, while the routes change again and again.
    fn is_used_through_edits(&self, gateway: &Gateway, url: &str) {
        let mut browser = Browser::start(url, self.folder);
        let mut generation = 0;
        let ended = eventually_within(
            PATIENCE,
            "the end of the browser",
            || {
                generation += 1;
                gateway.edit(&self.routes(generation));
                let ask = ["--header", "Host: acme.localhost", &gateway.url("/generation")];
                let now = || curl(&ask).body;
                eventually("the edit", now, |now| *now == generation.to_string());
                browser.process.ended()
            },
            Option::is_some,
        );

        let verdict = browser.verdict();
        let log = gateway.log();
        let said: Vec<&str> = log.lines().filter(|line| !line.contains("\"status\":2")).collect();
        let context = format!("{ended:?} {verdict}\n{}\n{}", logs(self.folder), said.join("\n"));
        assert!(verdict.starts_with("passed: "), "{context}");
    }
}

const ROUTES: &str = r#"[tenant]
from = [{ host = "{tenant}.localhost" }]

[pools.site]
endpoints = [ENDPOINTS]

[pools.socket]
endpoints = ["ECHO"]

[tenants.acme]
pool = "site"

[[tenants.acme.routes]]
path = "/ws"
pool = "socket"

[[tenants.acme.routes]]
path = "/held/"
timeouts = { total = "90s" }

[[tenants.acme.routes]]
path = "/generation"
respond = { body = "GENERATION" }
"#;

/// In the access log: which HTTP the page came by, and each of its WebSockets, once they have ended.
fn spoken(gateway: &Gateway) -> Vec<String> {
    let lines = || {
        let log = gateway.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let of_path = |path: &str| {
            let lines = lines.clone().filter(|line| line["path"] == path);
            lines.map(|line| format!("{path} by {}", line["version"])).collect::<Vec<_>>()
        };
        [of_path("/"), of_path("/ws")].concat()
    };
    eventually("the lines of the page and of its sockets", lines, |lines| lines.len() >= 3)
}

#[test]
fn a_site_with_sessions_uploads_streams_and_sockets_works_in_a_browser_through_edits() {
    let folder = TempDir::new().expect("a folder");
    let site = Site::start(&folder);
    let gateway = Gateway::start(&site.routes(0));

    let port = gateway.listener().port();
    site.is_used_through_edits(&gateway, &format!("http://acme.localhost:{port}/"));
}

#[test]
fn over_tls_the_browser_speaks_http2_with_the_site_and_its_sockets() {
    let folder = TempDir::new().expect("a folder");
    make(folder.path());
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (port, cert, key) = (free_port(), file("leaf.pem"), file("leaf.key"));
    let listener = format!(
        "[[listeners]]\naddress = \"127.0.0.1:{port}\"\n\
         tls = {{ cert = \"{cert}\", key = \"{key}\" }}\n"
    );
    let site = Site::start(&folder);
    let gateway = Gateway::start_with(&listener, &site.routes(0));

    site.is_used_through_edits(&gateway, &format!("https://acme.localhost:{port}/"));

    let expected = ["/ by \"HTTP/2\"", "/ws by \"HTTP/2\"", "/ws by \"HTTP/2\""];
    assert_eq!(spoken(&gateway), expected);
}
