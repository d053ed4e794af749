//! What is counted of requests that wait while nobody of their pool may be picked.

use super::delta::add_each;
use super::histogram::Histogram;
use super::metrics::{Family, Kind};

/// What became of a request for which nobody could be picked, in a pool that has such requests wait: the closed set of a
/// label. Never rename one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitOutcome {
    /// It had its turn, and was sent.
    Released,
    /// It waited for too long.
    Late,
    /// Too many waited.
    Full,
    /// Those who waited held too much memory.
    Memory,
    /// The client left meanwhile.
    Left,
    /// The process drained.
    Drained,
    /// Its time was over before its turn, while others had theirs: it was sent without one.
    Crowded,
}

impl WaitOutcome {
    /// Every outcome, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Released,
        Self::Late,
        Self::Full,
        Self::Memory,
        Self::Left,
        Self::Drained,
        Self::Crowded,
    ];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::Late => "late",
            Self::Full => "full",
            Self::Memory => "memory",
            Self::Left => "left",
            Self::Drained => "drained",
            Self::Crowded => "crowded",
        }
    }
}

/// What became of the requests of a pool.
#[derive(Clone, Debug, Default)]
pub(super) struct WaitCounts {
    pub(super) outcomes: [u64; WaitOutcome::ALL.len()],
    /// How long those waited that had their turn.
    pub(super) waited: Histogram,
}

impl WaitCounts {
    /// Adds what another one counted.
    pub(super) fn merge(&mut self, other: &Self) {
        add_each(&mut self.outcomes, &other.outcomes);
        self.waited.merge(&other.waited);
    }
}

/// `tenantry_waiting_requests`
pub(super) static WAITING: Family = Family {
    name: "tenantry_waiting_requests",
    help: "Requests that wait for an endpoint of a pool",
    kind: Kind::Gauge,
    labels: &["pool"],
};

/// `tenantry_waiting_bytes`
pub(super) static WAITING_BYTES: Family = Family {
    name: "tenantry_waiting_bytes",
    help: "Memory of requests that wait for an endpoint of a pool",
    kind: Kind::Gauge,
    labels: &["pool"],
};

/// `tenantry_wait_requests_total`
pub(super) static WAIT_REQUESTS: Family = Family {
    name: "tenantry_wait_requests_total",
    help: "Requests for which a pool that has such requests wait had no endpoint, by what became of them",
    kind: Kind::Counter,
    labels: &["pool", "outcome"],
};

/// `tenantry_wait_seconds`
pub(super) static WAIT_TIME: Family = Family {
    name: "tenantry_wait_seconds",
    help: "How long requests waited for an endpoint that had their turn",
    kind: Kind::Histogram,
    labels: &["pool"],
};
