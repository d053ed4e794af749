//! The comment site of `examples/comments`, started as its README says, in a real browser: an
//! instance is killed and the routes are edited while three tenants post.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::world::chromium::{Chromium, Tab};
use crate::world::process::{Process, signal};
use crate::world::{PROGRAM, PYTHON, curl, eventually};

const TENANTS: [&str; 3] = ["acme", "globex", "initech"];

/// What `run` has started.
struct Site {
    process: Process,
    guide: Vec<String>,
    folder: TempDir,
    /// The pipe stays open: it may print more.
    _lines: Box<dyn Iterator<Item = String>>,
}

impl Site {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let errors = File::create(folder.path().join("errors")).expect("make a log");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/comments/run");
        let mut process = Process::start(
            // As a terminal has it: a shell ignores interrupts for what it starts in the background,
            // and what is ignored at its start a script cannot trap.
            Command::new("env")
                .arg("--default-signal=INT")
                .arg(script)
                .arg("--folder")
                .arg(folder.path())
                .env("TENANTRY", PROGRAM)
                .env("PYTHON", PYTHON)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(errors),
        );
        let mut lines = process.lines();
        let mut guide = Vec::new();
        for line in lines.by_ref() {
            let last = line.contains("Ctrl-C");
            guide.push(line);
            if last {
                break;
            }
        }
        let errors = fs::read_to_string(folder.path().join("errors")).unwrap_or_default();
        assert!(guide.last().is_some_and(|line| line.contains("Ctrl-C")), "{guide:?} {errors}");
        Self { process, guide, folder, _lines: Box::new(lines) }
    }

    /// The address of a tenant's page, also of one that the guide does not know.
    fn url(&self, tenant: &str) -> String {
        let line = self.guide.iter().find(|line| line.contains("http://acme.localhost:"));
        line.expect("the address of acme").trim().replacen("acme", tenant, 1)
    }

    /// The number of an instance's process, and its address.
    fn instance(&self, name: &str) -> (u32, &str) {
        let mark = format!("    # {name}, at ");
        let mut found = self.guide.iter().filter_map(|line| line.trim().split_once(&mark));
        let (kill, address) = found.next().expect("how to kill it");
        (kill.rsplit(' ').next().expect("a number").parse().expect("a number"), address)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Saves the routes as an editor does.
    fn edit(&self, change: impl Fn(String) -> String) {
        let path = self.path("routes.toml");
        let text = fs::read_to_string(&path).expect("read the routes");
        fs::write(path.with_extension("new"), change(text)).expect("write the routes");
        fs::rename(path.with_extension("new"), path).expect("rename the routes");
    }

    /// The requests that were not answered well and to the end, and what the gateway said.
    fn not_served(&self) -> (Vec<String>, String) {
        let requests = fs::read_to_string(self.path("access.log")).unwrap_or_default();
        let said = fs::read_to_string(self.path("gateway.log")).unwrap_or_default();
        let is_served =
            |line: &str| line.contains("\"status\":2") && line.contains("\"ending\":\"whole\"");
        let bad = requests.lines().filter(|line| !is_served(line)).map(str::to_owned).collect();
        (bad, said)
    }

    /// Nobody's post has failed, but where the killed instance had begun with its answer: the half of one
    /// that a client has got no other instance can end.
    fn assert_nothing_lost(&self, tab: &Tab<'_>, tenant: &str, killed: &str) {
        let failed = texts(tab, "failed");
        let (bad, said) = self.not_served();
        let marks = [format!("\"endpoint\":\"{killed}\""), format!("\"tenant\":\"{tenant}\"")];
        let is_cut = |line: &&String| {
            let is_begun = line.contains("\"status\":2") && line.contains("\"ending\":\"cut\"");
            is_begun && marks.iter().all(|mark| line.contains(mark))
        };
        let cut = bad.iter().filter(is_cut).count();
        assert!(failed.len() <= cut, "{tenant}: {failed:?}\n{bad:#?}\n{said}");
    }

    /// How many requests an endpoint has answered well.
    fn answered(&self, address: &str) -> usize {
        let log = fs::read_to_string(self.path("access.log")).unwrap_or_default();
        let endpoint = format!("\"endpoint\":\"{address}\"");
        log.lines().filter(|line| line.contains(&endpoint) && line.contains("\"status\":2")).count()
    }
}

/// Posts by the page's own form, one after the other, until it is told to stop.
fn post_on(tab: &Tab<'_>, tenant: &str) {
    let script = r#"(() => {
        globalThis.posted = [];
        globalThis.failed = [];
        globalThis.stopped = false;
        const form = document.getElementById("form");
        globalThis.poster = (async () => {
            for (let number = 0; !stopped; number++) {
                form.elements.author.value = "Ada of TENANT";
                form.elements.text.value = `TENANT says ${number}`;
                const text = form.elements.text.value;
                const ended = new Promise((end) => {
                    form.addEventListener("posted", () => end(null), { once: true });
                    form.addEventListener("failed", (event) => end(event.detail), { once: true });
                });
                form.requestSubmit();
                const failure = await ended;
                // As somebody who presses the button again: the form has kept its text and its key.
                if (failure) failed.push(`${text}: ${failure}`), number--;
                else posted.push(text);
                // A page shows 200 comments: as it slows down, so many take minutes, however long another lags.
                await new Promise((on) => setTimeout(on, 150 + 10 * number));
            }
        })();
    })()"#;
    tab.run(&script.replace("TENANT", tenant));
}

/// Waits until each has posted a few more.
fn posted_more(tabs: &[Tab<'_>]) {
    let counts = || -> Vec<u64> {
        tabs.iter().map(|tab| tab.run("posted.length").as_u64().unwrap_or(0)).collect()
    };
    let before = counts();
    let more = |now: &Vec<u64>| now.iter().zip(&before).all(|(now, before)| *now >= before + 4);
    eventually("more posts", counts, more);
}

/// A list of texts in a page, sorted.
fn texts(tab: &Tab<'_>, expression: &str) -> Vec<String> {
    let list = tab.run(expression);
    let list = list.as_array().expect("a list").iter();
    let mut texts: Vec<String> =
        list.map(|text| text.as_str().expect("a text").to_owned()).collect();
    texts.sort();
    texts
}

/// None.
const NOTHING: [&str; 0] = [];

/// What a page shows.
const SHOWN: &str = "[...document.querySelectorAll('.text')].map((text) => text.textContent)";

#[test]
fn each_tenant_posts_and_sees_its_own_while_an_instance_is_killed_and_the_routes_are_edited() {
    let mut site = Site::start();
    let chromium = Chromium::start();
    let tabs = TENANTS.map(|tenant| chromium.open(&site.url(tenant)));
    let watcher = chromium.open(&site.url("acme"));
    watcher.run("globalThis.first = document");
    tabs[0].picture("comments-empty.png", 420, "light");
    for (tab, tenant) in tabs.iter().zip(TENANTS) {
        post_on(tab, tenant);
    }

    let ((one, one_at), (two, two_at)) = (site.instance("one"), site.instance("two"));
    posted_more(&tabs);
    let answered = || (site.answered(one_at), site.answered(two_at));
    eventually("answers of both", answered, |(one, two)| *one > 0 && *two > 0);
    signal(one, "KILL");
    posted_more(&tabs);
    site.edit(|text| {
        let weighs = |weight: u8| format!("\"{two_at}\", weight = {weight}");
        assert!(text.contains(&weighs(1)), "{text}");
        text.replace(&weighs(1), &weighs(5)) + "\n[tenants.umbrella]\npool = \"comments\"\n"
    });
    eventually("the new tenant", || curl(&[&site.url("umbrella")]).status, |code| *code == 200);
    posted_more(&tabs);

    for (tab, tenant) in tabs.iter().zip(TENANTS) {
        tab.run("stopped = true, poster");
        let (posted, shown) = (texts(tab, "posted"), texts(tab, SHOWN));
        site.assert_nothing_lost(tab, tenant, one_at);
        assert!(posted.len() >= 12 && posted == shown, "{tenant}: {posted:?} {shown:?}");
        let anew = chromium.open(&site.url(tenant));
        assert_eq!(texts(&anew, SHOWN), shown, "{tenant}: as the site has it");
    }
    let posted = texts(&tabs[0], "posted");
    eventually("all of them live", || texts(&watcher, SHOWN), |seen| *seen == posted);
    assert_eq!(watcher.run("first === document"), true, "it was never loaded again");

    let umbrella = chromium.open(&site.url("umbrella"));
    assert_eq!(texts(&umbrella, SHOWN), NOTHING);
    post_on(&umbrella, "umbrella");
    posted_more(std::slice::from_ref(&umbrella));
    umbrella.run("stopped = true, poster");
    assert_eq!(texts(&umbrella, "failed"), NOTHING);
    umbrella.picture("comments-wide-dark.png", 1200, "dark");
    tabs[1].picture("comments-phone-light.png", 390, "light");

    site.process.signal("INT");
    assert_eq!(site.process.wait().code(), Some(0));
    let left = [one, two].map(|id| fs::read_to_string(format!("/proc/{id}/cmdline")));
    let is_instance = |line: &String| line.contains("comments/site.py");
    assert!(!left.iter().flatten().any(is_instance), "left behind: {left:?}");
}
