//! What is counted in one window, and what it comes to per second.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::telemetry::delta::CLASSES;
use crate::telemetry::histogram::{BUCKETS, Histogram, quantile};
use crate::telemetry::tenant_delta::TenantDelta;

/// What is counted in one window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) requests: u32,
    /// Answered 4xx.
    pub(super) refused: u32,
    /// Answered 5xx.
    pub(super) failed: u32,
    latency: [u32; BUCKETS],
}

/// What happened lately, per second, and how long it took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rates {
    /// Requests that ended.
    pub requests_per_second: f64,
    /// Of these, answered 4xx.
    pub client_errors_per_second: f64,
    /// Of these, answered 5xx.
    pub errors_per_second: f64,
    /// The time within which half of them were done; `None` = there were none.
    pub p50_ms: Option<f64>,
    /// The time within which 99 of 100 were done.
    pub p99_ms: Option<f64>,
}

/// What tenants and pools are ordered by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Sort {
    /// Requests, the most first.
    #[default]
    Requests,
    /// Answers of 5xx, the most first.
    Errors,
    /// The slowest first.
    P99,
    /// By name.
    Id,
}

impl Counts {
    /// Adds requests of one tenant.
    pub(super) fn add(&mut self, delta: &TenantDelta) {
        self.requests = self.requests.saturating_add(delta.requests.into());
        self.refused = self.refused.saturating_add(delta.classes[4].into());
        self.failed = self.failed.saturating_add(delta.classes[5].into());
        delta.duration.each(|bucket, more| {
            self.latency[bucket] = self.latency[bucket].saturating_add(more.into());
        });
    }

    /// Adds requests by class, without how long they took.
    pub(super) fn add_classes(&mut self, classes: &[u64; CLASSES.len()]) {
        self.requests = add(self.requests, classes.iter().sum());
        self.refused = add(self.refused, classes[4]);
        self.failed = add(self.failed, classes[5]);
    }

    /// Adds how long requests took.
    pub(super) fn add_durations(&mut self, durations: &Histogram) {
        for (count, more) in self.latency.iter_mut().zip(durations.buckets()) {
            *count = add(*count, *more);
        }
    }

    /// Adds what another one counted.
    pub(super) fn merge(&mut self, other: &Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.refused = self.refused.saturating_add(other.refused);
        self.failed = self.failed.saturating_add(other.failed);
        for (count, more) in self.latency.iter_mut().zip(other.latency) {
            *count = count.saturating_add(more);
        }
    }

    /// What was counted after the earlier state of the same.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        let mut counts = Self {
            requests: self.requests.saturating_sub(earlier.requests),
            refused: self.refused.saturating_sub(earlier.refused),
            failed: self.failed.saturating_sub(earlier.failed),
            latency: self.latency,
        };
        for (count, less) in counts.latency.iter_mut().zip(earlier.latency) {
            *count = count.saturating_sub(less);
        }
        counts
    }

    /// What it comes to over this time.
    pub(super) fn rates(&self, span: Duration) -> Rates {
        let rate = |count: u32| per_second(count.into(), span);
        Rates {
            requests_per_second: rate(self.requests),
            client_errors_per_second: rate(self.refused),
            errors_per_second: rate(self.failed),
            p50_ms: self.milliseconds(0.5),
            p99_ms: self.milliseconds(0.99),
        }
    }

    /// The time within which this share was done.
    pub(super) fn milliseconds(&self, share: f64) -> Option<f64> {
        quantile(&self.latency, share).map(|seconds| rounded(seconds * 1e3))
    }

    /// Where it stands in an order: the more, the further ahead.
    pub(super) fn key(&self, sort: Sort) -> u64 {
        match sort {
            Sort::Requests => self.requests.into(),
            Sort::Errors => self.failed.into(),
            // Microseconds order all that the buckets tell apart.
            Sort::P99 => quantile(&self.latency, 0.99).map_or(0, |time| (time * 1e6) as u64),
            Sort::Id => 0,
        }
    }
}

/// So many over this time, per second.
pub(super) fn per_second(count: u64, span: Duration) -> f64 {
    rounded(count as f64 / span.as_secs_f64())
}

/// To thousandths: what is sent each second should be short.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

fn add(count: u32, more: u64) -> u32 {
    count.saturating_add(u32::try_from(more).unwrap_or(u32::MAX))
}
