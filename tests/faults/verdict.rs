//! Whether a case has kept what it promises. What is said here must hold on any machine that has time for its
//! processes, and a gateway that is broken must not pass: bounds are a few times what is seen.

use std::time::Duration;

use super::cases::{Aim, Breaks, Case, Others, Out, Promise};
use super::report::{Phase, Report};
use super::suite;

/// What is to be said of a case that was run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Kept,
    Broken(Vec<String>),
    /// It took too long, or more have failed than chance explains: once, that may have been the machine all the same.
    Doubted(Vec<String>),
    /// It was not kept, or is to be measured, and the machine had no time for its processes.
    Unjudged(String),
}

pub(crate) fn of(case: &Case, report: &Report, renews: bool) -> Verdict {
    let [by_others, _] = report.lag;
    let is_late = by_others > TOO_LATE;
    let (surely, broken) = (always(case, report), in_time(case, report));
    let is_unfit = renews && (is_late || report.before.p99 > BASE);
    if !surely.is_empty() {
        return Verdict::Broken([surely, broken].concat());
    }
    if !broken.is_empty() && !is_late && !is_unfit {
        return Verdict::Doubted(broken);
    }
    if is_unfit || !broken.is_empty() {
        let base = report.before.p99;
        return Verdict::Unjudged(format!(
            "the machine is too busy: {by_others:.0?} late, p99 of {base:.0} ms before; {}",
            broken.join("; ")
        ));
    }
    Verdict::Kept
}

/// Whether users have waited longer than the aim is: 1.5 times what they wait while all is well.
pub(crate) fn misses_aim(case: &Case, report: &Report) -> bool {
    case.breaks == Breaks::One && report.broken.p99 > report.before.p99 * 1.5
}

/// What no lack of time of the machine can be the reason of.
fn always(case: &Case, report: &Report) -> Vec<String> {
    let Report { broken, seen, took, lag, .. } = report;
    let sent = broken.sent() as f64;
    // Those that were due before it was broken, and came late.
    let late = sent / took.as_secs_f64().max(1.0) * lag[0].as_secs_f64();
    let budget = sent * (1.0 + SHARE) + HELD + FLOOR * took.as_secs_f64() + UNDER_WAY + late;
    // Ten endpoints are checked twice a second, and once more each time where requests fail while that passes.
    let checks = 2.0 * 20.0 * took.as_secs_f64() * 1.25 + 20.0;
    told([
        (
            seen.requests as f64 <= budget,
            format!("a storm of retries: {} seen of {sent}, most {budget:.0}", seen.requests),
        ),
        (
            case.breaks != Breaks::All || seen.connections as f64 <= budget + checks,
            format!("a storm of connections: {} for {sent} requests", seen.connections),
        ),
    ])
}

/// What takes a machine that has time for its processes.
fn in_time(case: &Case, report: &Report) -> Vec<String> {
    let Report { before, broken, after, .. } = report;
    let share = match case.promise {
        Promise::NoErrors => 0.0,
        Promise::Errors { most, .. } => most,
    };
    let most = part(share, broken.asked);
    let most_others = match case.others {
        Others::AllServed => 0.0,
        Others::OfSeveral(count) => part(OF_ONE * f64::from(count), broken.posted),
        // Of tasks, the case sees to it that none is missing.
        Others::OfOne | Others::OfTasks => part(OF_ONE, broken.posted),
        Others::Alike => part(share, broken.posted),
        Others::Lost => broken.posted as f64,
    };
    let is_out = match case.out {
        Out::Must => report.out.is_some(),
        Out::Never => report.out.is_none(),
        Out::May => true,
    };
    let is_served = case.promise == Promise::NoErrors;
    let slowest = before.p50 * 5.0 + SLOW;
    let is_kept = case.aim == Aim::Kept;
    // In the short form a p99 is of the slowest one, with whatever the machine did meanwhile.
    let is_within = !(is_kept && suite::is_long() && misses_aim(case, report));
    let of = |phase: &Phase| phase.failed + phase.posts_failed;
    let sent = broken.sent() as f64;
    told([
        // Of about 45 each: the users' thread may begin late, and end early.
        (before.asked > 5 && after.asked > 5, "hardly anything was asked".to_owned()),
        (of(before) == 0, format!("before it was broken, {} have failed", of(before))),
        (of(after) == 0, format!("after all was well again, {} have failed", of(after))),
        (
            broken.failed as f64 <= most,
            format!("{} of {} that may be repeated have failed", broken.failed, broken.asked),
        ),
        (
            broken.posts_failed as f64 <= most_others,
            format!("{} of {} POSTs have failed", broken.posts_failed, broken.posted),
        ),
        (is_out, format!("out after {:?}, and it is {:?}", report.out, case.out)),
        (
            case.breaks == Breaks::All || report.seen.requests as f64 <= sent * 1.25 + UNDER_WAY,
            format!("retries for one endpoint: {} seen of {sent}", report.seen.requests),
        ),
        (
            !is_served || broken.p50 <= slowest,
            format!("half of the users have waited for more than {:.0} ms", broken.p50),
        ),
        (
            !is_served || broken.p99 <= SLOWEST,
            format!("some users have waited for {:.0} ms", broken.p99),
        ),
        (is_within, format!("p99 of {:.1} ms, and {:.1} before", broken.p99, before.p99)),
        (
            !is_kept || broken.p95 <= (before.p50 * 5.0).max(before.p95 * 2.0) + QUICK,
            format!("one of 20 users has waited for {:.0} ms", broken.p95),
        ),
    ])
}

/// So many of `all` at most, where each of them is one of this share by chance.
fn part(share: f64, all: usize) -> f64 {
    if share <= 0.0 {
        return 0.0;
    }
    let mean = share * all as f64;
    // Three standard deviations, and two for where hardly any are expected, of whom a few more are no wonder.
    mean + 3.0 * (mean * (1.0 - share)).sqrt() + 2.0
}

fn told<const COUNT: usize>(rules: [(bool, String); COUNT]) -> Vec<String> {
    rules.into_iter().filter(|(is_kept, _)| !is_kept).map(|(_, told)| told).collect()
}

/// 150 ms: of the 250 ms that a check or a connection may take, and that a look is long.
const TOO_LATE: Duration = Duration::from_millis(150);
/// 10 ms: a machine that needs more while all is well measures itself.
const BASE: f64 = 10.0;
/// 100 ms: nine of ten users do not meet the endpoint that breaks at all.
const SLOW: f64 = 100.0;
/// 50 ms: less than what breaks costs one of ten, and more than a hedge waits.
const QUICK: f64 = 50.0;
/// 1.5 s: an attempt has 0.5 s, and few users meet two that break.
const SLOWEST: f64 = 1500.0;
/// The default budget: 20 % of the requests, …
const SHARE: f64 = 0.2;
/// … ten a second, …
const FLOOR: f64 = 10.0;
/// … and ten seconds of these are there from the beginning.
const HELD: f64 = 100.0;
/// Requests that are under way at either end.
const UNDER_WAY: f64 = 10.0;
/// What one endpoint of ten is sent, and a little.
pub(crate) const OF_ONE: f64 = 0.12;
