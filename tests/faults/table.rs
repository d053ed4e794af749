//! The page: docs/faults.md. What its first columns say is compared with the cases, the measured ones are written anew on
//! demand.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use super::cases::{self, Case};
use super::report::{Form, Report};
use super::suite::{self, Done};
use super::{own, ten, verdict};

/// Whether the page has a row for each case, which says what the case promises and has its figures, and shows how
/// the pool is set up.
pub(crate) fn check() -> Result<(), String> {
    let page = read();
    let (_, table, _) = parts(&page);
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ")).skip(2).collect();
    let is_there = rows.len() == cases::ALL.len()
        && rows.iter().zip(cases::ALL).all(|(row, case)| figures(row, case).is_some());
    // A row is found by what is compared.
    let heads: HashSet<String> = cases::ALL.iter().map(head).collect();
    assert_eq!(heads.len(), cases::ALL.len(), "two cases have the same row");
    let shows = [ten::HEALTH, ten::TIMEOUTS, ten::EJECT].iter().all(|line| page.contains(line));
    if is_there && shows {
        return Ok(());
    }
    Err(format!("{PATH} is not of these cases: write it anew by TENANTRY_RENEW=1"))
}

/// What a row says of a case beside what is compared: its figures, or why it was not run.
fn figures<'r>(row: &'r str, case: &Case) -> Option<&'r str> {
    let figures = row.strip_prefix(&head(case))?;
    (figures.contains('→') || figures.starts_with(NOT_RUN)).then_some(figures)
}

/// Writes the rows of what was run; the others stay as they are.
pub(crate) fn renew(done: &[(&Case, Done)]) -> Result<(), String> {
    let page = read();
    let (before, table, after) = parts(&page);
    let row = |case: &Case| {
        let old = table.lines().find_map(|row| figures(row, case)).map(str::to_owned);
        let found = done.iter().find(|(done, _)| done.id == case.id);
        let figures = match found.map(|(_, what)| what) {
            Some(Done::Kept(report)) => cells(case, report),
            Some(Done::NotRun(why)) => old.unwrap_or_else(|| format!("{NOT_RUN}{why} | | | | | |")),
            Some(Done::Unjudged) => old.unwrap_or_else(|| format!("{NOT_RUN}{BUSY} | | | | | |")),
            _ => old.unwrap_or_else(|| format!("{NOT_RUN}{NEW} | | | | | |")),
        };
        head(case) + &figures + "\n"
    };
    let rows: String = cases::ALL.iter().map(row).collect();
    let made = match done.iter().any(|(_, what)| matches!(what, Done::Kept(_))) {
        true => made_by(),
        // Rows of new cases are added, or what is there stays: the figures are of then.
        false => table.trim_start().split("\n\n").next().unwrap_or_default().to_owned(),
    };
    let text = format!("{before}{BEGIN}\n{made}\n\n{HEAD}{rows}\n{END}{after}");
    fs::write(PATH, text).map_err(|error| format!("{PATH}: {error}"))
}

/// What the figures are of.
fn made_by() -> String {
    let build = match own::other_build() {
        // target/PROFILE/tenantry
        Some(path) => {
            let folder = Path::new(&path).parent().and_then(Path::file_name).unwrap_or_default();
            format!("the gateway by the profile `{}`", folder.display())
        }
        None => "the tests' own build of the gateway, which is not optimised".to_owned(),
    };
    let form = Form::of(suite::is_long());
    let asked = f64::from(form.rate) * 0.9 * form.broken.as_secs_f64();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!(
        "Measured with {build}, on {cores} cores with its users and endpoints, one case after the other: {} requests a \
         second or more, {:?} of fault, so that a p99 is of {asked:.0} requests or more.",
        form.rate, form.broken
    )
}

/// A case for who watches the suite.
pub(crate) fn line(case: &Case, report: &Report) -> String {
    format!("{}:{} {}", case.id, cells(case, report), report.note)
}

/// What is compared.
fn head(case: &Case) -> String {
    format!("| {} | {} | {} |", case.what, case.promise.told(), case.others.told())
}

/// What is measured.
fn cells(case: &Case, report: &Report) -> String {
    let Report { before, broken, out, back, .. } = report;
    let errors = match (broken.failed, broken.posts_failed) {
        (failed, 0) => format!("{failed} of {}", broken.sent()),
        (failed, posts) => format!("{failed} and {posts} of {}", broken.sent()),
    };
    let ratio = broken.p99 / before.p99.max(0.1);
    let misses = if verdict::misses_aim(case, report) { ", misses the aim" } else { "" };
    let out = out.map_or_else(|| "–".to_owned(), seconds);
    format!(
        " {errors} | {:.1} → {:.1} | {:.1} → {:.1} (× {ratio:.2}{misses}) | {:.2} | {out} | {} |",
        before.p50,
        broken.p50,
        before.p99,
        broken.p99,
        report.seen_for_each(),
        seconds(*back)
    )
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn read() -> String {
    fs::read_to_string(PATH).expect("docs/faults.md")
}

/// What is before the table, the table, and what is behind it.
fn parts(page: &str) -> (&str, &str, &str) {
    let (before, rest) = page.split_once(BEGIN).expect("the table's begin");
    let (table, after) = rest.split_once(END).expect("the table's end");
    (before, table, after)
}

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/faults.md");
const BEGIN: &str = "<!-- faults -->\n";
const END: &str = "<!-- end of faults -->";
const NOT_RUN: &str = " not run: ";
const BUSY: &str = "the machine that measured had no time for it";
const NEW: &str = "newer than the figures";
const HEAD: &str = "\
| What is broken | What may be repeated | `POST` | Errors | p50, ms | p99, ms | Seen / sent | Out after | Back after |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
";
