//! `tenantry top`, in a terminal (tmux) and in a script.

use std::process::Command;

use tempfile::TempDir;

use crate::world::gateway::Gateway;
use crate::world::process::{Backend, run};
use crate::world::{PROGRAM, eventually};

/// A terminal of its own with a shell in it.
struct Terminal {
    folder: TempDir,
}

impl Terminal {
    fn start() -> Self {
        let terminal = Self { folder: tempfile::tempdir().expect("a folder") };
        terminal.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "120", "-y", "30", "sh"]);
        terminal
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let socket = self.folder.path().join("socket");
        let output = run(Command::new("tmux").arg("-S").arg(socket).args(arguments));
        assert!(output.status.success(), "tmux {arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    fn shows(&self, part: &str) {
        let screen = || self.tmux(&["capture-pane", "-p"]);
        eventually(&format!("{part:?}"), screen, |screen| screen.contains(part));
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let socket = self.folder.path().join("socket");
        drop(Command::new("tmux").arg("-S").arg(socket).arg("kill-server").output());
    }
}

#[test]
fn top_follows_a_gateway_that_goes_and_comes_and_gives_the_terminal_back() {
    let backend = Backend::start("shop-1");
    let good = super::routes(&[&backend], &backend, "");
    let mut gateway = Gateway::start(&good);
    let terminal = Terminal::start();
    terminal
        .press(&[&format!("echo before; {PROGRAM} top --admin {}", gateway.admin_url()), "Enter"]);
    terminal.shows("generation 1");
    terminal.shows("globex");

    terminal.press(&["/", "acm"]);
    terminal.shows("search: acm");
    terminal.press(&["Enter", "4"]);
    gateway.edit(&super::routes(&[&backend], &backend, "[tenants.x]\npool = \"sohp\"\n"));
    terminal.shows("there is no pool \"sohp\"");
    terminal.tmux(&["resize-window", "-x", "60", "-y", "12"]);
    terminal.shows("1 problem");
    terminal.shows("hint:");

    gateway.signal("TERM");
    gateway.wait();
    terminal.shows("no connection; last seen");
    gateway.edit(&good);
    gateway.launch();
    gateway.wait_ready();
    terminal.shows("serving; generation 1");

    terminal.press(&["q"]);
    terminal.shows("before\n"); // what was there before is there again
    // What is typed does not have the word: the shell may show it before its prompt.
    terminal.press(&["echo 'af''ter'", "Enter"]);
    terminal.shows("after");
}

#[test]
fn top_prints_one_table_for_a_script_or_says_why_not() {
    let backend = Backend::start("shop-1");
    let gateway = Gateway::start(&super::routes(&[&backend], &backend, ""));
    let top = |arguments: &[&str]| run(Command::new(PROGRAM).arg("top").args(arguments));
    let url = gateway.admin_url();

    let once = top(&["--once", "--admin", &url, "--search", "globex"]);
    let text = String::from_utf8_lossy(&once.stdout);
    assert!(once.status.success(), "{once:?}");
    assert!(text.contains("TENANTS 1 of 1\n"), "{text}");
    assert!(text.lines().any(|line| line.starts_with("globex  active  billing")), "{text}");
    assert!(text.contains(&backend.address), "{text}");

    let piped = top(&["--admin", &url]);
    assert!(
        String::from_utf8_lossy(&piped.stderr).contains("is no terminal; `--once`"),
        "{piped:?}"
    );
    let nobody = top(&["--once", "--admin", "http://127.0.0.1:9"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("cannot be asked"), "{nobody:?}");
}
