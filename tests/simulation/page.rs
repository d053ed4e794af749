//! The page: docs/simulation.md. It has a row for each case, and its figures are written anew on demand: they are the same each
//! time, until something that decides is changed.

use std::fs;
use std::time::Duration;

use super::cases::{ALL, Case};
use super::report::Report;
use super::world;

#[test]
fn the_page_has_a_row_for_each_case() {
    if std::env::var_os("TENANTRY_RENEW").is_some() {
        renew();
    }
    let page = fs::read_to_string(PATH).expect("docs/simulation.md");
    let (_, table, _) = parts(&page);
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ")).skip(2).collect();

    let is_there = rows.len() == ALL.len()
        && rows.iter().zip(ALL).all(|(row, case)| row.starts_with(&head(case)));

    assert!(is_there, "{PATH} is not of these cases: write it anew by TENANTRY_RENEW=1");
}

fn renew() {
    let page = fs::read_to_string(PATH).expect("docs/simulation.md");
    let (before, _, after) = parts(&page);
    let row = |case: &Case| head(case) + &cells(&world::run(case, 1)) + "\n";
    let rows: String = ALL.iter().map(row).collect();
    let text = format!("{before}{BEGIN}{HEAD}{rows}{END}{after}");
    fs::write(PATH, text).expect("docs/simulation.md is written");
}

fn head(case: &Case) -> String {
    format!("| {} |", case.name)
}

fn cells(report: &Report) -> String {
    let Report { before, during, after, .. } = report;
    let goodput = [before, during, after].map(|phase| format!("{:.0}", phase.goodput));
    let p99 = [before, during, after].map(|phase| millis(phase.p99));
    let sent = [before, during, after].map(|phase| format!("{:.2}", phase.sent));
    let content = during.content * 100.0;
    let [goodput, p99, sent] = [goodput, p99, sent].map(|three| three.join(" → "));
    let (back, wasted, bounds) = (report.back.as_secs(), report.wasted, report.bounds);
    format!(" {goodput} | {content:.1} % | {p99} | {sent} | {back} s | {wasted} | {bounds} |")
}

fn millis(time: Duration) -> String {
    format!("{:.0}", time.as_secs_f64() * 1000.0)
}

/// What is before the table, the table, and what is behind it.
fn parts(page: &str) -> (&str, &str, &str) {
    let (before, rest) = page.split_once(BEGIN).expect("the table's begin");
    let (table, after) = rest.split_once(END).expect("the table's end");
    (before, table, after)
}

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/simulation.md");
const BEGIN: &str = "<!-- simulation -->\n\n";
const END: &str = "\n<!-- end of simulation -->";
const HEAD: &str = "\
| Case | Served a second | Served of those that came meanwhile | p99, ms | Sent / asked | Back after | In vain | Bounds |
| --- | --- | --- | --- | --- | --- | --- | --- |
";
