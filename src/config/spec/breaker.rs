//! When the requests of a tenant to a pool are refused at once, since too many fail.

use std::time::Duration;

use crate::base::units::Percent;

/// A pool's breaker, of which each tenant has its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BreakerSpec {
    /// The share of requests that must have failed; 0 = one is enough. Default 50 %.
    pub failures: Percent,
    /// Requests that there must have been within the window; at least 1. Default 20.
    pub requests: u32,
    /// What is looked at: so long, and half of it at least. Default 10 s.
    pub window: Duration,
    /// For how long it opens; the n-th time in a row n times as long. Default 5 s.
    pub open: Duration,
    /// For how long at most. Default 60 s.
    pub max: Duration,
    /// Requests on trial that must be served before it closes, from 1 to 100. Default 3.
    pub trials: u32,
    /// The pool has one of its own besides, for all of its tenants. Default no.
    pub whole_pool: bool,
}
