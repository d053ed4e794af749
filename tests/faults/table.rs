//! The page: docs/faults.md. Its first two columns are compared with the cases, the measured ones are written anew
//! on demand.

use std::fs;
use std::time::Duration;

use super::cases::{self, Case};
use super::report::Report;
use super::suite::Done;
use super::ten;

/// Whether the page has a row for each case, which says what the case promises, and shows how the pool is set up.
pub(crate) fn check() -> Result<(), String> {
    let page = read();
    let (_, table, _) = parts(&page);
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ")).skip(2).collect();
    let heads: Vec<String> = cases::ALL.iter().map(head).collect();
    let is_there = rows.iter().zip(&heads).all(|(row, head)| row.starts_with(head.as_str()));
    let shows = [ten::HEALTH, ten::TIMEOUTS, ten::EJECT].iter().all(|line| page.contains(line));
    if is_there && rows.len() == heads.len() && shows {
        return Ok(());
    }
    Err(format!("{PATH} is not of these cases: write it anew by TENANTRY_RENEW=1"))
}

/// Writes the rows of what was run; the others stay as they are.
pub(crate) fn renew(done: &[Done<'_>]) -> Result<(), String> {
    let page = read();
    let (before, table, after) = parts(&page);
    let row = |case: &Case| {
        let result = done.iter().find(|(done, _)| done.id == case.id).map(|(_, result)| result);
        match result {
            Some(Ok(report)) => head(case) + &cells(report),
            _ => old(table, case, result.and_then(|result| result.as_ref().err())),
        }
    };
    let rows: String = cases::ALL.iter().map(|case| row(case) + "\n").collect();
    let text = format!("{before}{BEGIN}\n{HEAD}{rows}\n{END}{after}");
    fs::write(PATH, text).map_err(|error| format!("{PATH}: {error}"))
}

/// The row as it was, or one that says why it was not measured.
fn old(table: &str, case: &Case, why: Option<&String>) -> String {
    let begin = head(case);
    let found = table.lines().find(|line| line.starts_with(&begin)).map(str::to_owned);
    let why = why.map_or("not measured yet", String::as_str);
    found.unwrap_or_else(|| format!("{begin} {why} | | | | | |"))
}

/// A case for who watches the suite.
pub(crate) fn line(case: &Case, result: &Result<Report, String>) -> String {
    match result {
        Ok(report) => format!("{}:{} {}", case.id, cells(report), report.note),
        Err(why) => format!("{}: not run here: {why}", case.id),
    }
}

/// What is compared.
fn head(case: &Case) -> String {
    format!("| {} | {} |", case.what, case.promise.told())
}

/// What is measured.
fn cells(report: &Report) -> String {
    let Report { before, broken, seen_for_each, out, back, .. } = report;
    let errors = match (broken.failed, broken.posts_failed) {
        (failed, 0) => format!("{failed} of {}", broken.asked + broken.posted),
        (failed, posts) => format!("{failed} and {posts} of {}", broken.asked + broken.posted),
    };
    let ratio = broken.p99 / before.p99.max(0.1);
    let out = out.map_or_else(|| "–".to_owned(), seconds);
    format!(
        " {errors} | {:.1} → {:.1} | {:.1} → {:.1} (× {ratio:.1}) | {seen_for_each:.2} | {out} | {} |",
        before.p50,
        broken.p50,
        before.p99,
        broken.p99,
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
const HEAD: &str = "\
| What is broken | What may be repeated | Errors | p50, ms | p99, ms | Seen / sent | Out after | Back after |
| --- | --- | --- | --- | --- | --- | --- | --- |
";
