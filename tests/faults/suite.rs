//! Runs the cases and tells what became of them.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use super::cases::{self, Case, Promise};
use super::report::Report;
use super::{own, table};

/// A case and what became of it: a report, or why it was not run here.
pub(crate) type Done<'c> = (&'c Case, Result<Report, String>);

/// Whether the page is to be written anew.
pub(crate) fn renews() -> bool {
    std::env::var_os("TENANTRY_RENEW").is_some()
}

/// Runs the cases whose names have one of these words, or all of them.
pub(crate) fn run(words: &[&str]) -> ExitCode {
    let words: Vec<&&str> = words.iter().filter(|word| !word.starts_with('-')).collect();
    let is_wanted =
        |case: &&Case| words.is_empty() || words.iter().any(|word| case.id.contains(**word));
    let wanted: Vec<&Case> = cases::ALL.iter().filter(is_wanted).collect();
    let (started, at_once) = (Instant::now(), if renews() { 1 } else { AT_ONCE });
    println!("\nrunning {} faults, {at_once} at once", wanted.len());

    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let failed = Mutex::new(Vec::new());
    let work = || {
        while let Some(case) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
            match run_one(case) {
                Some(result) => done.lock().expect("what is done").push((*case, result)),
                None => failed.lock().expect("what has failed").push(case.id),
            }
        }
    };
    thread::scope(|scope| {
        (0..at_once).for_each(|_| drop(scope.spawn(work)));
    });

    let (done, mut failed) =
        (done.into_inner().expect("done"), failed.into_inner().expect("failed"));
    let page = if renews() { table::renew(&done) } else { table::check() };
    if let Err(why) = page {
        println!("{why}");
        failed.push("the page");
    }
    println!("\n{} done, failed: {failed:?}; in {:.1?}\n", done.len(), started.elapsed());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs one case on a thread of its name, so that a panic says where; `None` where it has failed. One that the
/// machine has had no time for is run again, and in the end not judged.
fn run_one(case: &Case) -> Option<Result<Report, String>> {
    let work = || {
        let mut result = own::run_case(case, renews());
        for _ in 1..TRIES {
            let Ok(Some(_)) = result.as_ref().map(Report::too_busy) else { break };
            result = own::run_case(case, renews());
        }
        let result = result.and_then(|report| report.too_busy().map_or(Ok(report), Err));
        println!("{}", table::line(case, &result));
        if let Ok(report) = &result {
            check(case, report);
        }
        result
    };
    thread::scope(|scope| {
        let thread = thread::Builder::new().name(case.id.to_owned()).spawn_scoped(scope, work);
        thread.expect("a thread").join().ok()
    })
}

/// What every case keeps, however slow the machine is.
fn check(case: &Case, report: &Report) {
    let Report { before, broken, after, seen_for_each, most_for_each, .. } = report;
    assert!(before.asked > 20 && after.asked > 20, "{}: hardly anything was asked", case.id);
    assert_eq!(before.failed + before.posts_failed, 0, "{}: before it was broken", case.id);
    assert_eq!(after.failed + after.posts_failed, 0, "{}: after all was well", case.id);
    if case.promise == Promise::NoErrors {
        assert_eq!(broken.failed, 0, "{}: of what may be repeated", case.id);
    }
    assert!(seen_for_each <= most_for_each, "{}: a storm of retries", case.id);
}

/// Cases spend most of their time waiting.
const AT_ONCE: usize = 4;
/// What keeps a machine busy may be over the next time.
const TRIES: usize = 2;
