//! What answers tell of limits: the fields `RateLimit-Policy` and `RateLimit` of the IETF's
//! draft-ietf-httpapi-ratelimit-headers-10, which are lists of structured fields (RFC 9651).

use std::fmt::Write;
use std::time::Duration;

use crate::config::spec::{Period, QuotaSpec, RateSpec};

use super::limit::Limit;

/// The two fields, as far as they were told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// `RateLimit-Policy`
    pub policy: String,
    /// `RateLimit`
    pub state: String,
}

impl Told {
    /// Nothing is to be told.
    pub fn is_empty(&self) -> bool {
        self.policy.is_empty()
    }

    /// Tells of requests in a time: how many may follow at once, and how long it takes until another
    /// one may, or until as many may as ever. The quota is the burst, and its window the time in which
    /// that comes back: as many come through in the long run.
    pub fn rate(&mut self, limit: Limit, rate: &RateSpec, (remaining, reset): (u64, Duration)) {
        let (name, window, reset) = (limit.as_str(), seconds(rate.refill()).max(1), seconds(reset));
        self.add(
            format_args!("\"{name}\";q={};w={window}", rate.burst),
            format_args!("\"{name}\";r={remaining};t={reset}"),
        );
    }

    /// Tells of requests at once, and how many may come beside those that are under way.
    pub fn concurrency(&mut self, limit: Limit, most: u32, remaining: u32) {
        let name = limit.as_str();
        self.add(
            format_args!("\"{name}\";q={most};qu=\"concurrent-requests\""),
            format_args!("\"{name}\";r={remaining}"),
        );
    }

    /// Tells of requests in a day or a month: how many are left, and for how long.
    pub fn quota(&mut self, limit: Limit, quota: &QuotaSpec, (left, rest): (u64, Duration)) {
        let (name, rest) = (limit.as_str(), seconds(rest));
        // Months are not alike.
        let window = if quota.period == Period::Day { ";w=86400" } else { "" };
        self.add(
            format_args!("\"{name}\";q={}{window}", quota.requests),
            format_args!("\"{name}\";r={left};t={rest}"),
        );
    }

    fn add(&mut self, policy: std::fmt::Arguments<'_>, state: std::fmt::Arguments<'_>) {
        for (text, item) in [(&mut self.policy, policy), (&mut self.state, state)] {
            let comma = if text.is_empty() { "" } else { ", " };
            // Writing to text never fails.
            write!(text, "{comma}{item}").ok();
        }
    }
}

/// Whole seconds, rounded up.
pub fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}
