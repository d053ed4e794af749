//! How a pool's limit of requests at once follows how long they take.

/// A limit that is worked out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdaptiveSpec {
    /// It never falls below that, and begins with it; at least 1. Default 20.
    pub min: u32,
    /// It never rises above that; no less than `min`. Default 1000.
    pub max: u32,
    /// How many times as long as usual requests may take before it falls; above 1. Default 1.5.
    pub tolerance: f64,
}
