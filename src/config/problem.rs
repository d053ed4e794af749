//! What is wrong with a file, where, and what to write instead.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::plain::{HINT_LENGTH, WHAT_LENGTH, plain};

/// One fault of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file, as its path was given.
    pub file: String,
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// The dotted path of the key, as in `pools.shop.health.interval`; empty where there is none.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What to write instead.
    pub hint: Option<String>,
}

/// Where a file says something, so that what is found wrong with it later is told there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, as its path was given.
    pub file: Arc<str>,
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// The dotted path of the key.
    pub key: String,
}

impl Place {
    /// What is wrong with what stands here, and what to do about it.
    pub fn problem(&self, what: String, hint: String) -> Problem {
        Problem {
            file: self.file.to_string(),
            line: self.line,
            column: self.column,
            key: self.key.clone(),
            what: plain(&what, WHAT_LENGTH),
            hint: Some(plain(&hint, HINT_LENGTH)),
        }
    }
}

/// All faults of all files, in the order of the files and their lines; never empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Problems {
    list: Vec<Problem>,
}

impl Problems {
    /// Several faults.
    pub(super) fn new(list: Vec<Problem>) -> Self {
        Self { list }
    }

    /// Faults that were found beside the check of a file; `None` where there is none.
    pub fn of(list: Vec<Problem>) -> Option<Self> {
        (!list.is_empty()).then_some(Self { list })
    }

    /// The one fault of a file that could not be read, or that has no place in its text.
    pub fn of_file(file: &Path, what: String, hint: &str) -> Self {
        Self::new(vec![Problem {
            file: file.display().to_string(),
            line: 1,
            column: 1,
            key: String::new(),
            what,
            hint: Some(hint.to_owned()),
        }])
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// One after the other.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.list.iter()
    }

    /// The same in the order of their places in one file.
    #[must_use]
    pub fn in_order(mut self) -> Self {
        self.list.sort_by_key(|problem| (problem.line, problem.column));
        self
    }

    /// Takes the faults of another run behind these.
    pub fn extend(&mut self, others: Self) {
        self.list.extend(others.list);
    }

    /// These and those of another run behind them.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        self.extend(others);
        self
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self::new(vec![problem])
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for Problems {
    type Item = Problem;
    type IntoIter = std::vec::IntoIter<Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.into_iter()
    }
}

impl Problem {
    /// How it begins where it is shown: `routes.toml:12:1: `.
    pub fn place(&self) -> String {
        format!("{}:{}:{}: ", self.file, self.line, self.column)
    }

    /// As [`fmt::Display`] shows it, in one line for a log.
    pub fn in_one_line(&self) -> String {
        let bare = Self { hint: None, ..self.clone() }.to_string();
        match &self.hint {
            Some(hint) => format!("{bare} (hint: {hint})"),
            None => bare,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place())?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.what)?;
        if let Some(hint) = &self.hint {
            write!(f, "\n    hint: {hint}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.list.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
