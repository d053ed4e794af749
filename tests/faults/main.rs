//! Breaking things: a gateway in front of ten endpoints, users who ask at their own pace, and one thing after
//! the other that breaks. docs/faults.md shows what users saw; `TENANTRY_RENEW=1 cargo test --test faults`
//! measures anew and writes it, for longer and one case after the other. Without it, as in CI, the cases are
//! short and several run at once: what they promise is asserted, and that the page says the same.
//!
//! `cargo test --test faults -- WORD…` runs the cases whose names have one of the words. What needs a network or
//! file systems of its own runs in namespaces that end with it (`unshare`), or is said not to have run: with
//! `TENANTRY_FAULTS=all` that is a failure. `TENANTRY_FAULTS_RULES=…` has the pool set up by these lines in place of
//! those of the page, to see what users would see then: with `retry = { attempts = 1 }` the suite must fail.

#![expect(clippy::expect_used, reason = "a case that cannot set up its world has failed")]
#![expect(clippy::disallowed_methods, reason = "real processes are waited for in real time")]
#![expect(clippy::print_stdout, reason = "who runs it is told what became of the cases")]

mod calls;
mod cases;
mod client;
mod compiled;
mod lag;
mod load;
mod names;
mod origin;
mod own;
mod report;
mod streams;
mod suite;
mod table;
mod ten;
mod verdict;
mod watch;
#[path = "../e2e/world/mod.rs"]
#[expect(dead_code, reason = "the other suite needs more of it")]
mod world;

use std::process::ExitCode;

use tokio::runtime::Builder;
use tokio::task::LocalSet;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        // The program is its own endpoint, and its own guest in namespaces.
        [origin::AS_PROCESS, speaks, address, count] => {
            origin::serve_as_process(speaks, address, count)
        }
        [own::INSIDE, id] => own::run_inside(id),
        words => suite::run(words),
    }
}

/// Runs this on a runtime of the thread's own, with what it spawns.
fn block_on<F: Future>(work: F) -> F::Output {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, work)
}
