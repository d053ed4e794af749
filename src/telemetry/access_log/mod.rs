//! The access log: a line for each sampled request and for each that failed, formatted and written
//! by a thread of its own. A worker draws, fills a record, and puts it into a queue; it never waits.

pub mod mask;

mod json;
mod text;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use crate::model::log_line::Piece;

use super::lines::{self, Lines, LinesError, Output, Plan, Writer};
use super::record::Record;
use super::registry::Metrics;
use super::sample::Sample;

use mask::Mask;

/// What is written where.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Where the lines go; `None` = nowhere.
    pub output: Option<Output>,
    /// How a line looks.
    pub format: Format,
    /// What is not shown.
    pub mask: Mask,
    /// The share of requests that leave a line.
    pub sample: Sample,
    /// Whether requests that failed leave one in any case.
    pub errors: Errors,
    /// Lines that may wait for the writer; more are dropped and counted.
    pub queue: usize,
}

/// How a line looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object.
    Json,
    /// As web servers write it (the "combined" format).
    Combined,
    /// These pieces.
    Pieces(Vec<Piece>),
}

/// Which requests that failed leave a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errors {
    /// All of them.
    All,
    /// Those that are sampled.
    Sampled,
}

/// Takes the records of workers. Cheap to clone, one for each worker.
#[derive(Clone, Debug)]
pub struct AccessLog {
    /// `None` where there is no access log.
    lines: Option<Lines<Box<Record>>>,
    sample: Sample,
    errors: Errors,
    headers: Arc<[HeaderName]>,
}

/// Owns the access log's thread. Dropping it writes what is queued, for 2 s at most.
#[derive(Debug)]
pub struct AccessLogOwner {
    writer: Option<Writer<Box<Record>>>,
}

impl AccessLog {
    /// Opens the output and starts the thread.
    ///
    /// # Errors
    /// When the file cannot be opened or the thread not be started.
    pub fn start(
        options: &Options,
        metrics: &Metrics,
    ) -> Result<(Self, AccessLogOwner), LinesError> {
        let Some(output) = options.output.clone() else {
            return Ok((Self::off(), AccessLogOwner { writer: None }));
        };
        let pieces = match &options.format {
            Format::Json => None,
            Format::Combined => Some(text::combined()),
            Format::Pieces(pieces) => Some(pieces.clone()),
        };
        let headers = text::headers(pieces.as_deref().unwrap_or_default());
        let (mask, names) = (options.mask.clone(), Arc::clone(&headers));
        let (lines, writer) = lines::start(Plan {
            name: "access-log",
            output,
            queue: options.queue,
            format: Box::new(move |record: Box<Record>, bytes| match &pieces {
                None => json::write(&record, &mask, bytes),
                Some(pieces) => text::write(&record, (pieces, &names), &mask, bytes),
            }),
            dropped: Arc::clone(&metrics.lost.access_log_dropped),
            errors: Arc::clone(&metrics.lost.access_log_errors),
            failed: report,
        })?;
        let (sample, errors) = (options.sample, options.errors);
        let owner = AccessLogOwner { writer: Some(writer) };
        Ok((Self { lines: Some(lines), sample, errors, headers }, owner))
    }

    /// No access log.
    pub fn off() -> Self {
        Self { lines: None, sample: Sample::NONE, errors: Errors::Sampled, headers: Arc::default() }
    }

    /// Draws whether an exchange leaves a line: by its tenant's share, where that has one.
    pub fn sampled(&self, own: Option<Sample>) -> bool {
        self.lines.is_some() && own.unwrap_or(self.sample).draw()
    }

    /// Whether an exchange that failed leaves a line in any case.
    pub fn wants_errors(&self) -> bool {
        self.lines.is_some() && self.errors == Errors::All
    }

    /// The fields of a request's head that a line tells, besides `User-Agent`.
    pub fn headers(&self) -> &[HeaderName] {
        &self.headers
    }

    /// Puts a record into the queue. A full queue drops and counts it.
    pub fn write(&self, record: Box<Record>) {
        if let Some(lines) = &self.lines {
            lines.send(record);
        }
    }
}

impl AccessLogOwner {
    /// Opens the file anew, after it was moved away. If that fails the old one is written on.
    pub fn reopen(&self) {
        if let Some(writer) = &self.writer {
            writer.reopen();
        }
    }

    /// Writes what is queued and ends, within `limit`; tells whether all of it was written.
    pub fn end(self, limit: Duration) -> bool {
        self.writer.as_ref().is_none_or(|writer| writer.end(limit))
    }
}

fn report(error: &io::Error) {
    tracing::error!(%error, "the access log cannot be written; its lines are lost until it can");
}

#[cfg(test)]
mod tests;
