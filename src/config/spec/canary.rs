//! The meaning of a split's canary: who gets it besides its share, and when it is taken back.

use std::time::Duration;

use http::HeaderName;

use crate::base::units::Percent;
use crate::model::ids::{PoolId, TenantId};

use super::ValueSpec;

/// The pool of a split that is tried.
#[derive(Clone, Debug, PartialEq)]
pub struct CanarySpec {
    /// Which one of the split's pools.
    pub pool: PoolId,
    /// Requests that have all of these get it, whatever its weight; empty = none do.
    pub headers: Vec<(HeaderName, ValueSpec)>,
    /// Tenants all of whose requests get it, in order; empty = none.
    pub tenants: Vec<TenantId>,
    /// When it gets no requests any more; `None` = that is left to people.
    pub rollback: Option<RollbackSpec>,
}

/// When a canary gets no requests any more. One rule that it breaks is enough.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RollbackSpec {
    /// The largest share of its requests that may fail.
    pub errors: Option<Percent>,
    /// How many times the share may fail that fails of the other pools.
    pub errors_factor: Option<u32>,
    /// The longest that it may take to the head of an answer, at the percentile.
    pub latency: Option<Duration>,
    /// How many times as long as the other pools it may take, at the percentile.
    pub latency_factor: Option<u32>,
    /// Of how many per cent of the requests the time is looked at, from 50 to 99. Default 95.
    pub percentile: u8,
    /// Requests that a side must have had within the window to be judged; at least 1. Default 100.
    pub requests: u64,
    /// How far back it looks. Default 1 min.
    pub window: Duration,
}
