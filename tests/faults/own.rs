//! Cases that need a network or file systems of their own run in namespaces of the kernel (`unshare`), as this same
//! program: root there or not, all of it ends with its last process, however that ends.

use std::process::{Command, ExitCode, Stdio};
use std::sync::LazyLock;

use tokio::runtime::Builder;
use tokio::task::LocalSet;

use super::cases::{self, Case};
use super::report::{Form, Report};
use super::world::process::run;

/// The first argument of the program as its own guest; the case follows.
pub(crate) const INSIDE: &str = "inside";

/// What became of a case; an error is why it was not run here.
pub(crate) fn run_case(case: &Case, renews: bool) -> Result<Report, String> {
    if !case.is_apart {
        return Ok(run_here(case, renews));
    }
    SPACES.clone()?;
    let program = std::env::current_exe().expect("this program");
    let mut guest = unshare("exec \"$@\"");
    guest.arg(program).args([INSIDE, case.id]).stderr(Stdio::inherit());
    let output = run(&mut guest);
    let said = String::from_utf8_lossy(&output.stdout);
    let report = said.lines().find_map(|line| serde_json::from_str(line).ok());
    Ok(report.unwrap_or_else(|| panic!("{} has failed in its namespaces", case.id)))
}

/// Runs a case as a guest and prints its report.
pub(crate) fn run_inside(id: &str) -> ExitCode {
    let case = cases::ALL.iter().find(|case| case.id == id).expect("a case");
    let report = run_here(case, super::suite::renews());
    println!("{}", serde_json::to_string(&report).expect("a report as JSON"));
    ExitCode::SUCCESS
}

fn run_here(case: &Case, renews: bool) -> Report {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, (case.run)(Form::of(renews)))
}

/// Whether there are such namespaces here, with a packet filter in them; else why not.
static SPACES: LazyLock<Result<(), String>> = LazyLock::new(|| {
    let tried = unshare("nft list ruleset && mount -t tmpfs none /mnt").output();
    let output = tried.map_err(|error| format!("`unshare` cannot be run: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let why = said.lines().next().unwrap_or("no namespaces").to_owned();
    output.status.success().then_some(()).ok_or(why)
});

/// A command that does this in namespaces of its own, where nobody but itself is reached; arguments follow.
fn unshare(script: &str) -> Command {
    let mut command = Command::new("unshare");
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    command.args(["--net", "--mount", "--kill-child"]).env("PATH", path).stdin(Stdio::null());
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["sh", "-c", &format!("ip link set lo up && {script}"), "sh"]);
    command
}
