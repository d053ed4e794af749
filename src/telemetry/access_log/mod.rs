//! The access log: one JSON line for each sampled request, formatted and written by a thread of
//! its own. A worker draws, fills a record, and puts it into a queue; it never waits.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::Version;
use serde::Serialize;

use crate::base::units::Percent;

use super::lines::{self, Lines, LinesError, Output, Plan, Writer};
use super::record::{Ending, Record};
use super::registry::Metrics;

/// What is written where.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Where the lines go; `None` = nowhere.
    pub output: Option<Output>,
    /// The share of requests that leave a line.
    pub sample: Percent,
    /// Lines that may wait for the writer; more are dropped and counted.
    pub queue: usize,
}

/// Takes the records of workers. Cheap to clone, one for each worker.
#[derive(Clone, Debug)]
pub struct AccessLog {
    /// `None` where there is no access log.
    lines: Option<Lines<Box<Record>>>,
    /// A draw below this is sampled: the share of 2^32.
    threshold: u64,
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
        let (lines, writer) = lines::start(Plan {
            name: "access-log",
            output,
            queue: options.queue,
            format: |record: Box<Record>, bytes| write_line(&record, bytes),
            dropped: Arc::clone(&metrics.lost.access_log_dropped),
            errors: Arc::clone(&metrics.lost.access_log_errors),
            failed: report,
        })?;
        let threshold = (options.sample.share() * DRAWS).round() as u64;
        Ok((Self { lines: Some(lines), threshold }, AccessLogOwner { writer: Some(writer) }))
    }

    /// No access log.
    pub fn off() -> Self {
        Self { lines: None, threshold: 0 }
    }

    /// Draws whether the next exchange leaves a line.
    pub fn sampled(&self) -> bool {
        self.threshold > 0 && u64::from(fastrand::u32(..)) < self.threshold
    }

    /// Puts a record into the queue. A full queue drops and counts it.
    pub fn write(&self, record: Record) {
        if let Some(lines) = &self.lines {
            lines.send(Box::new(record));
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

/// One line, in the order in which it is read.
#[derive(Debug, Serialize)]
struct LineBody<'a> {
    time: String,
    request_id: &'a str,
    client: Option<IpAddr>,
    method: &'a str,
    host: Option<&'a str>,
    path: Option<&'a str>,
    query: Option<&'a str>,
    version: &'static str,
    tenant: Option<&'a str>,
    route: Option<&'a str>,
    pool: Option<&'a str>,
    endpoint: Option<&'a str>,
    attempts: u32,
    /// `null` where the client left before an answer.
    status: Option<u16>,
    problem: Option<&'a str>,
    ending: &'static str,
    duration_ms: f64,
    first_byte_ms: Option<f64>,
    bytes_in: u64,
    bytes_out: u64,
    user_agent: Option<&'a str>,
}

fn write_line(record: &Record, bytes: &mut Vec<u8>) {
    let started = SystemTime::now().checked_sub(record.started.elapsed());
    let request_id = String::from_utf8_lossy(record.request_id.as_bytes());
    let line = record.line.as_deref();
    let target = line.map(|line| line.target.as_str());
    let (path, query) = match target.and_then(|target| target.split_once('?')) {
        Some((path, query)) => (Some(path), Some(query)),
        None => (target, None),
    };
    let body = LineBody {
        time: humantime::format_rfc3339_millis(started.unwrap_or(SystemTime::UNIX_EPOCH))
            .to_string(),
        request_id: &request_id,
        client: record.client,
        method: record.method.as_str(),
        host: line.map(|line| line.host.as_str()),
        path,
        query,
        version: version(record.version),
        tenant: record.tenant.as_ref().map(|tenant| tenant.name.as_ref()),
        route: record.route.as_deref(),
        pool: record.pool.as_ref().map(|pool| pool.name.as_ref()),
        endpoint: record.endpoint.as_deref(),
        attempts: record.attempts,
        status: (record.status > 0).then_some(record.status),
        problem: record.problem,
        ending: match record.ending {
            Ending::Whole => "whole",
            Ending::Cut => "cut",
        },
        duration_ms: milliseconds(record.duration),
        first_byte_ms: record.first_byte.map(milliseconds),
        bytes_in: record.bytes_in,
        bytes_out: record.bytes_out,
        user_agent: line.map(|line| line.agent.as_str()),
    };
    let start = bytes.len();
    match serde_json::to_writer(&mut *bytes, &body) {
        Ok(()) => bytes.push(b'\n'),
        Err(_) => bytes.truncate(start), // cannot happen: text and numbers alone
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_3 => "HTTP/3",
        _ => "HTTP/1.1",
    }
}

fn report(error: &io::Error) {
    tracing::error!(%error, "the access log cannot be written; its lines are lost until it can");
}

/// As many values as a draw has.
const DRAWS: f64 = 4_294_967_296.0;

#[cfg(test)]
mod tests;
