//! Runs the cases and tells what became of them.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::cases::{self, Case};
use super::report::Report;
use super::verdict::{self, Verdict};
use super::{own, table, ten};

/// What became of a case.
pub(crate) enum Done {
    Kept(Box<Report>),
    Broken,
    /// Broken as far as time and chance go; once.
    Doubted,
    Unjudged,
    /// And why.
    NotRun(String),
}

/// Whether the page is to be written anew.
pub(crate) fn renews() -> bool {
    std::env::var_os("TENANTRY_RENEW").is_some()
}

/// Whether cases take as long as it takes to measure them. A page can be of the short form too, as it says then.
pub(crate) fn is_long() -> bool {
    std::env::var("TENANTRY_RENEW").is_ok_and(|form| form != "short")
}

/// Runs the cases whose names have one of these words, or all of them.
pub(crate) fn run(arguments: &[&str]) -> ExitCode {
    let wanted = wanted(arguments);
    if arguments.contains(&"--list") {
        wanted.iter().for_each(|case| println!("{}: test", case.id));
        return ExitCode::SUCCESS;
    }
    assert!(!renews() || ten::own_rules().is_none(), "the page is of the rules that it shows");
    let (started, at_once) = (Instant::now(), if renews() { 1 } else { AT_ONCE });
    println!("\nrunning {} faults, {at_once} at once", wanted.len());

    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let work = || {
        while let Some(case) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
            let what = run_one(case);
            done.lock().expect("what is done").push((*case, what));
        }
    };
    thread::scope(|scope| {
        (0..at_once).for_each(|_| drop(scope.spawn(work)));
    });
    let mut done = done.into_inner().expect("what is done");

    // What keeps a machine busy may be over, or have been the other cases.
    for _ in 1..TRIES {
        for (case, what) in &mut done {
            let has_time = renews() || started.elapsed() < AGAIN;
            if matches!(what, Done::Unjudged | Done::Doubted) && has_time {
                let was_doubted = matches!(what, Done::Doubted);
                *what = match run_one(case) {
                    Done::Doubted if was_doubted => Done::Broken, // twice, and once alone
                    now => now,
                };
            }
        }
    }
    tell(&done, started)
}

/// Those that take longest come first: it is the last ones of the page. Understands what `cargo test` passes on.
fn wanted(arguments: &[&str]) -> Vec<&'static Case> {
    let (mut words, mut skipped) = (Vec::<&str>::new(), Vec::<&str>::new());
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match *argument {
            "--skip" => skipped.extend(arguments.next()),
            option if WITH_VALUE.contains(&option) => drop(arguments.next()),
            option if option.starts_with('-') => {}
            word => words.push(word),
        }
    }
    let is_wanted = |case: &&Case| {
        (words.is_empty() || words.iter().any(|word| case.id.contains(word)))
            && !skipped.iter().any(|word| case.id.contains(word))
    };
    cases::ALL.iter().rev().filter(is_wanted).collect()
}

fn tell(done: &[(&Case, Done)], started: Instant) -> ExitCode {
    let of = |wanted: fn(&Done) -> bool| -> Vec<&str> {
        done.iter().filter(|(_, what)| wanted(what)).map(|(case, _)| case.id).collect()
    };
    let kept = of(|what| matches!(what, Done::Kept(_)));
    let mut failed = of(|what| matches!(what, Done::Broken | Done::Doubted));
    let unjudged = of(|what| matches!(what, Done::Unjudged));
    let not_run = of(|what| matches!(what, Done::NotRun(_)));
    let page = if renews() { table::renew(done) } else { table::check() };
    if let Err(why) = page {
        println!("{why}");
        failed.push("the page");
    }
    let took = started.elapsed();
    println!("\n{} kept; not judged: {unjudged:?}; not run here: {not_run:?}", kept.len());
    println!("failed: {failed:?}; in {took:.1?}\n");
    // Who asks for cases by name wants to know of each.
    let most = if renews() || done.len() < cases::ALL.len() / 2 { 0 } else { UNJUDGED };
    let must_run = std::env::var("TENANTRY_FAULTS").is_ok_and(|which| which == "all");
    let is_good = failed.is_empty()
        && unjudged.len() <= most
        && (not_run.is_empty() || !must_run)
        && (kept.len() >= done.len() / 2);
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs one case on a thread of its name, so that a panic says where.
fn run_one(case: &Case) -> Done {
    let ran = thread::scope(|scope| {
        let work = || own::run_case(case);
        let thread = thread::Builder::new().name(case.id.to_owned()).spawn_scoped(scope, work);
        thread.expect("a thread").join()
    });
    let report = match ran {
        Ok(Ok(report)) => report,
        Ok(Err(why)) => {
            println!("{}: not run: {why}", case.id);
            return Done::NotRun(why);
        }
        Err(_) => return Done::Broken,
    };
    println!("{}", table::line(case, &report));
    match verdict::of(case, &report, renews()) {
        Verdict::Kept => Done::Kept(Box::new(report)),
        Verdict::Broken(rules) => {
            println!("{} FAILS: {}\n{report:?}", case.id, rules.join("; "));
            Done::Broken
        }
        Verdict::Doubted(rules) => {
            println!("{} is doubted: {}\n{report:?}", case.id, rules.join("; "));
            Done::Doubted
        }
        Verdict::Unjudged(why) => {
            println!("{}: {why}", case.id);
            Done::Unjudged
        }
    }
}

/// Cases spend most of their time waiting.
const AT_ONCE: usize = 5;
const TRIES: usize = 3;
/// 4 min: all cases take one and a half already, and each that is run again 7 s. After that the suite comes to its end.
const AGAIN: Duration = Duration::from_secs(240);
/// So many cases may be left without a verdict.
const UNJUDGED: usize = 5;
/// What `cargo test` takes with a value, and this suite has no use for.
const WITH_VALUE: &[&str] = &[
    "--test-threads",
    "--color",
    "--format",
    "--logfile",
    "--report-time",
    "--shuffle-seed",
    "-Z",
];
