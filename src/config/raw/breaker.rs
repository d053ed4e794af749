//! The words of a pool's breaker.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::base::units::Percent;
use crate::config::text::Written;

use super::shape::{At, Whole};

/// Refuses requests of a tenant to a pool at once while too many of them fail. Each tenant has its own.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct Breaker {
    /// The share of a tenant's requests to the pool that must have failed, from `0%` (one is enough) to `100%`. An endpoint that fails as large a
    /// share of all requests is ejected. Default: `50%`.
    pub(in crate::config) failures: Option<Written<Percent>>,
    /// Requests that there must have been within the window, from 1 to 2000. Default: 20.
    pub(in crate::config) requests: Option<Whole<1, 2000>>,
    /// How far back it looks, from `1s` on. Default: `10s`.
    pub(in crate::config) window: Option<At<Written<Duration>>>,
    /// For how long it opens, above 0; the n-th time in a row n times as long. Default: `5s`.
    pub(in crate::config) open: Option<At<Written<Duration>>>,
    /// For how long it opens at most, no shorter than `open`. Default: `60s`, or `open` where that is longer.
    pub(in crate::config) max: Option<At<Written<Duration>>>,
    /// Requests that pass after that, on trial, and must be served before all others do, from 1 to 100. Default: 3.
    pub(in crate::config) trials: Option<Whole<1, 100>>,
    /// Gives the pool a breaker of its own besides, by the same rules: where the requests of several tenants fail, those of all are refused. It takes
    /// at least three of them, so that none opens it for the others. Default: `false`.
    pub(in crate::config) whole_pool: Option<bool>,
}
