//! The words of mirroring.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::base::units::{ByteSize, Percent};
use crate::config::text::Written;

use super::shape::{At, Whole};

/// Sends copies of requests to another pool, whose answers are thrown away.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct Mirror {
    /// The pool that gets the copies. Must be there.
    pub(in crate::config) pool: Option<At<String>>,
    /// The share of the requests that is copied, drawn by chance, from `0%` to `100%`. Default: `100%`.
    pub(in crate::config) share: Option<Written<Percent>>,
    /// Whether status and time of both answers are compared in the metrics. Default: `false`.
    pub(in crate::config) compare: Option<bool>,
    /// Copies that the pool has at once, over all workers, from 1 to 100000; of what comes beyond there is
    /// none. Default: 64.
    pub(in crate::config) concurrency: Option<Whole<1, 100_000>>,
    /// How long a copy may take, above 0. Default: `5s`.
    pub(in crate::config) timeout: Option<At<Written<Duration>>>,
    /// The largest body of a request that is copied, up to `1MiB`. Default: `64KiB`.
    pub(in crate::config) max_body: Option<At<Written<ByteSize>>>,
}
