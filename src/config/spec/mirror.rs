//! The meaning of mirroring.

use std::time::Duration;

use crate::base::units::{ByteSize, Percent};
use crate::model::ids::PoolId;

/// Sends copies of requests to another pool.
#[derive(Clone, Debug, PartialEq)]
pub struct MirrorSpec {
    /// Which one.
    pub pool: PoolId,
    /// The share of the requests that is copied. Default 100 %.
    pub share: Percent,
    /// Whether both answers are compared in the metrics. Default: no.
    pub compare: bool,
    /// Copies at once, over all workers; at least 1. Default 64.
    pub concurrency: u32,
    /// How long a copy may take. Default 5 s.
    pub timeout: Duration,
    /// The largest body that is copied. Default 64 KiB.
    pub max_body: ByteSize,
}
