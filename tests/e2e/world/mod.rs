//! What the tests are made of: processes that end with their test, and origins.

pub(crate) mod chromium;
pub(crate) mod dns;
pub(crate) mod gateway;
pub(crate) mod origin;
pub(crate) mod process;

use std::fmt::Debug;
use std::net::TcpListener;
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use process::run;

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_tenantry");

/// Debian's own: another one in the PATH does not have Debian's packages.
pub(crate) const PYTHON: &str = "/usr/bin/python3";

/// Long enough for a loaded machine; a test that works never waits for it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// For what a whole program has much work with. Not for what the gateway has to notice: some of its own
/// limits are between this and [`DEADLINE`], and would pass for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Asks until `wanted` says yes; fails with the last answer after the deadline.
pub(crate) fn eventually<T: Debug>(
    what: &str,
    ask: impl FnMut() -> T,
    wanted: impl Fn(&T) -> bool,
) -> T {
    eventually_within(DEADLINE, what, ask, wanted)
}

/// As [`eventually`], with another deadline.
pub(crate) fn eventually_within<T: Debug>(
    deadline: Duration,
    what: &str,
    mut ask: impl FnMut() -> T,
    wanted: impl Fn(&T) -> bool,
) -> T {
    let started = Instant::now();
    loop {
        let answer = ask();
        if wanted(&answer) {
            return answer;
        }
        assert!(started.elapsed() < deadline, "{what} did not come true; the last was {answer:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A port that nobody has at the moment, and that no other test is given. It is below those that
/// the system gives to outgoing connections, which could take it at any time.
pub(crate) fn free_port() -> u16 {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let first = 12_000 + u16::try_from(std::process::id() % 16_000).unwrap_or(0);
    let mut ports = std::iter::repeat_with(|| first + TAKEN.fetch_add(1, Ordering::Relaxed));
    let free =
        ports.by_ref().take(4000).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.expect("a free port")
}

/// An answer that curl got. The status is 0 where it got none.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// One request by curl.
pub(crate) fn curl(arguments: &[&str]) -> Answer {
    let mut command = Command::new("curl");
    command.args(["--silent", "--max-time", "30", "--write-out", "\n%{http_code}"]);
    let output = run(command.args(arguments));
    let text = String::from_utf8_lossy(&output.stdout);
    let (body, status) = text.rsplit_once('\n').unwrap_or(("", "0"));
    Answer { status: status.parse().unwrap_or(0), body: body.to_owned() }
}
