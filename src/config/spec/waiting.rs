//! How requests wait while nobody of their pool may be picked.

use std::time::Duration;

use crate::base::units::ByteSize;

/// How requests wait for an endpoint of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitSpec {
    /// How long one may wait. Default 5 s.
    pub time: Duration,
    /// How many may wait at once, over all workers. Default 2,000.
    pub length: usize,
    /// The memory that those may hold together. Default 64 MiB.
    pub memory: ByteSize,
    /// How many that waited are at an endpoint at once, for each that may be picked. Default 8.
    pub at_once: u32,
}
