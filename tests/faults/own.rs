//! What belongs to the suite ends with it, however that ends: its processes die with the thread that has started
//! them, and cases that need a network or file systems of their own run in namespaces of the kernel (`unshare`), as
//! this same program: root there or not, all of it ends with its first process.

use std::ffi::{OsStr, OsString};
use std::process::{Command, ExitCode, Stdio};
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::cases::{self, Case, Needs};
use super::report::{Form, Report};
use super::suite;
use super::world::PROGRAM;
use super::world::process::Process;

/// The first argument of the program as its own guest; the case follows.
pub(crate) const INSIDE: &str = "inside";

/// A command that runs this program, which is killed when the thread that starts it ends.
pub(crate) fn tied(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program);
    command
}

/// The gateway: the tests' build of it, or another one that is to be measured.
pub(crate) fn gateway() -> OsString {
    other_build().unwrap_or_else(|| PROGRAM.into())
}

pub(crate) fn other_build() -> Option<OsString> {
    std::env::var_os("TENANTRY_FAULTS_PROGRAM")
}

/// What became of a case; an error is why it was not run here.
pub(crate) fn run_case(case: &Case) -> Result<Report, String> {
    match case.needs {
        Needs::Nothing => return Ok(run_here(case)),
        Needs::Spaces => SPACES.clone()?,
        Needs::Link => LINKS.clone()?,
    }
    let program = std::env::current_exe().expect("this program");
    let mut guest = unshare("exec \"$@\"");
    guest.arg(program).args([INSIDE, case.id]);
    let said = said_by(&mut guest);
    let report = said.lines().find_map(|line| serde_json::from_str(line).ok());
    Ok(report.unwrap_or_else(|| panic!("{} has failed in its namespaces", case.id)))
}

/// Runs a case as a guest and prints its report.
pub(crate) fn run_inside(id: &str) -> ExitCode {
    let case = cases::ALL.iter().find(|case| case.id == id).expect("a case");
    let report = run_here(case);
    println!("{}", serde_json::to_string(&report).expect("a report as JSON"));
    ExitCode::SUCCESS
}

fn run_here(case: &Case) -> Report {
    let run = async { timeout(LONGEST, (case.run)(Form::of(suite::is_long()))).await };
    super::block_on(run).unwrap_or_else(|_| panic!("{} takes more than {LONGEST:?}", case.id))
}

/// Whether there are such namespaces here, with a packet filter in them that takes the rules of the cases; else why
/// not.
static SPACES: LazyLock<Result<(), String>> = LazyLock::new(|| {
    let rules = cases::losing(&cases::SOME);
    let mut command = unshare("printf %s \"$1\" | nft -f - && mount -t tmpfs none /mnt");
    tried(command.arg(rules))
});

/// The same of a link in such a network.
static LINKS: LazyLock<Result<(), String>> = LazyLock::new(|| {
    let lines = super::cases::LINK.map(|line| format!("ip {line}"));
    tried(&mut unshare(&lines.join(" && ")))
});

fn tried(command: &mut Command) -> Result<(), String> {
    let output = command.output();
    let output = output.map_err(|error| format!("`unshare` cannot be run: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let why = said.lines().next().unwrap_or("no namespaces").to_owned();
    output.status.success().then_some(()).ok_or(why)
}

/// A command that does this in namespaces of its own, where nobody but itself is reached; arguments follow.
fn unshare(script: &str) -> Command {
    let mut command = tied("unshare");
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    command.args(["--net", "--mount", "--pid", "--mount-proc", "--kill-child"]);
    command.env("PATH", path).stdin(Stdio::null());
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["sh", "-c", &format!("ip link set lo up && {script}"), "sh"]);
    command
}

/// What a guest prints up to its end.
fn said_by(guest: &mut Command) -> String {
    let mut guest = Process::start(guest.stdout(Stdio::piped()));
    let lines = guest.lines();
    let reading = thread::spawn(move || lines.collect::<Vec<_>>().join("\n"));
    let started = Instant::now();
    while guest.ended().is_none() {
        assert!(started.elapsed() < LONGEST + MARGIN, "a guest does not end");
        thread::sleep(Duration::from_millis(20));
    }
    reading.join().expect("what the guest has said")
}

/// 90 s: of which one that is measured needs 25 s, and one that hangs 30 s more to be found out.
const LONGEST: Duration = Duration::from_secs(90);
/// 10 s: a guest tells by itself that it has taken too long.
const MARGIN: Duration = Duration::from_secs(10);
