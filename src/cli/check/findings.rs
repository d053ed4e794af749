//! What a check has found, and how that is told: to people as lines, to machines as JSON.

use std::fmt;

use serde::Serialize;

use crate::config::Problem;

/// How the outcome is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Lines for people.
    Text,
    /// An array of problems and warnings for machines; empty when there is none.
    Json,
}

/// What a check came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckOutcome {
    /// What is to be printed, with a line break at its end.
    pub output: String,
    /// How many problems there are: with any, a start fails or what is wrong is not served.
    pub problems: usize,
    /// How many warnings there are: what is odd, and serves all the same.
    pub warnings: usize,
}

impl CheckOutcome {
    /// Whether both files are right.
    pub fn is_good(&self) -> bool {
        self.problems == 0
    }
}

/// Everything that was found.
#[derive(Default)]
pub(super) struct Found(pub(super) Vec<Finding>);

/// One fault or oddity.
#[derive(Serialize)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    #[serde(flatten)]
    pub(super) problem: Problem,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    Problem,
    Warning,
}

impl Found {
    pub(super) fn add(&mut self, severity: Severity, problems: impl IntoIterator<Item = Problem>) {
        self.0.extend(problems.into_iter().map(|problem| Finding { severity, problem }));
    }

    fn count(&self, severity: Severity) -> usize {
        self.0.iter().filter(|finding| finding.severity == severity).count()
    }

    /// As it is printed. `summary` is told where there is no problem.
    pub(super) fn told(&self, summary: Option<&str>, format: Format) -> CheckOutcome {
        let (problems, warnings) = (self.count(Severity::Problem), self.count(Severity::Warning));
        let output = match format {
            Format::Text => {
                let lines: String = self.0.iter().map(|finding| format!("{finding}\n")).collect();
                let sum = match (problems, summary) {
                    (0, Some(summary)) => summary.to_owned(),
                    _ => counted(problems, "problem"),
                };
                match warnings {
                    0 => lines + &sum + "\n",
                    _ => lines + &sum + ", " + &counted(warnings, "warning") + "\n",
                }
            }
            // A list of plain texts and numbers is always JSON.
            Format::Json => serde_json::to_string_pretty(&self.0).unwrap_or_default() + "\n",
        };
        CheckOutcome { output, problems, warnings }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.problem.to_string();
        let place = self.problem.place();
        match (self.severity, text.strip_prefix(&place)) {
            (Severity::Warning, Some(rest)) => write!(f, "{place}warning: {rest}"),
            _ => f.write_str(&text),
        }
    }
}

pub(super) fn counted(count: usize, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        many => format!("{many} {noun}s"),
    }
}
