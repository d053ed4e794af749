//! The words of a split's canary.

use std::time::Duration;

use http::HeaderName;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::base::units::Percent;
use crate::config::text::Written;

use super::route::Value;
use super::shape::{At, Pairs, Whole};

/// The pool of a split that is tried: who gets it besides its share, and when it is taken back.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct Canary {
    /// Which one of the split's pools. Must be there.
    pub(in crate::config) pool: Option<At<String>>,
    /// Requests that have all of these headers get it whatever its weight: a value that must be there exactly, or `true` for
    /// any value. Default: none do.
    pub(in crate::config) headers: Option<Pairs<HeaderName, Value>>,
    /// Ids of tenants all of whose requests get it whatever its weight; one that is not there yet may be named. Default: none.
    pub(in crate::config) tenants: Option<Vec<At<String>>>,
    /// When it gets no requests any more, until the split is edited or an operator resets it. Default: that is left to people.
    pub(in crate::config) rollback: Option<At<Rollback>>,
}

/// When a canary gets no requests any more. One rule that it breaks is enough, and one must be there.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct Rollback {
    /// The largest share of its requests that may fail, from `0%` to `100%`. Default: any.
    pub(in crate::config) errors: Option<Written<Percent>>,
    /// How many times the share may fail that fails of the other pools of the split, from 2 to 100; five must have failed, and
    /// more than chance explains. Default: any number.
    pub(in crate::config) errors_factor: Option<Whole<2, 100>>,
    /// The longest that it may take to the head of an answer, at the percentile, above 0. Default: any time.
    pub(in crate::config) latency: Option<At<Written<Duration>>>,
    /// How many times as long as the other pools of the split it may take, at the percentile, from 2 to 100; by 5 ms at least,
    /// and more often than chance explains. Default: any number.
    pub(in crate::config) latency_factor: Option<Whole<2, 100>>,
    /// Of how many per cent of the requests the time is looked at, from 50 to 99. Default: 95.
    pub(in crate::config) percentile: Option<Whole<50, 99>>,
    /// Requests that a side must have had within the window to be judged, from 1 to 1000000. Default: 100.
    pub(in crate::config) requests: Option<Whole<1, 1_000_000>>,
    /// How far back it looks, from `1s` on. Default: `1m`.
    pub(in crate::config) window: Option<At<Written<Duration>>>,
}
