//! The history of one: a point every five seconds.

use std::collections::VecDeque;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::counts::{Counts, per_second};
use super::{POINT, POINTS};

/// The history of one.
#[derive(Debug)]
pub(super) struct Track {
    /// When it was asked for last.
    pub(super) wanted: Instant,
    /// What was counted in this window before the point that is not closed yet.
    seen: Counts,
    points: VecDeque<Point>,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    requests: u32,
    failed: u32,
    p99_ms: Option<f32>,
}

/// A history, the newest point last: fewer points than a full one where nothing older is known.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Chart {
    /// Requests per second.
    pub requests: Vec<f64>,
    /// Answers of 5xx per second.
    pub errors: Vec<f64>,
    /// The time within which 99 of 100 were done; `None` = there were none.
    pub p99_ms: Vec<Option<f32>>,
}

impl Track {
    /// No history yet; what was counted in this window is not its own.
    pub(super) fn new(wanted: Instant, seen: Counts) -> Self {
        Self { wanted, seen, points: VecDeque::new() }
    }

    /// Takes a past of so many points, of which only the sum is known.
    pub(super) fn begin_with(&mut self, sum: &Counts, points: u64) {
        let share = |count: u32| count / u32::try_from(points).unwrap_or(1).max(1);
        for _ in 0..points {
            self.push(Point {
                requests: share(sum.requests),
                failed: share(sum.failed),
                p99_ms: sum.milliseconds(0.99).map(|time| time as f32),
            });
        }
    }

    /// Closes a point, by what was counted in this window so far.
    pub(super) fn close(&mut self, window: &Counts) {
        let counts = window.since(&self.seen);
        self.seen.clone_from(window);
        self.push(Point {
            requests: counts.requests,
            failed: counts.failed,
            p99_ms: counts.milliseconds(0.99).map(|time| time as f32),
        });
    }

    /// A window begins.
    pub(super) fn turn(&mut self) {
        self.seen = Counts::default();
    }

    /// The history so far.
    pub(super) fn chart(&self) -> Chart {
        let rate = |count: u32| per_second(count.into(), POINT);
        Chart {
            requests: self.points.iter().map(|point| rate(point.requests)).collect(),
            errors: self.points.iter().map(|point| rate(point.failed)).collect(),
            p99_ms: self.points.iter().map(|point| point.p99_ms).collect(),
        }
    }

    fn push(&mut self, point: Point) {
        if self.points.len() >= POINTS {
            self.points.pop_front();
        }
        self.points.push_back(point);
    }
}

/// How long a history is kept that nobody wants: as long as it is.
pub(super) const KEEP: Duration = Duration::from_secs(600);
