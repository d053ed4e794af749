//! The metric families of attempts at endpoints, as those of [`metrics`](super::metrics), and what a worker
//! counts of those that few pools have.

use super::delta::{Flow, Tally};
use super::histogram::Histogram;
use super::metrics::{Family, Kind};
use super::waiting::WaitCounts;

/// What is counted of hedges, of bodies that are kept in files, of clients that a cookie keeps,
/// of breakers of whole pools, and of requests that wait for an endpoint.
#[derive(Clone, Debug, Default)]
pub(super) struct Rare {
    pub(super) hedges: Tally,
    pub(super) hedges_refused: Tally,
    pub(super) spills: Tally,
    pub(super) files: Flow,
    pub(super) sticky: Tally,
    /// What the breaker of the whole pool became.
    pub(super) breaker: Tally,
    /// Boxed: of those pools that have requests wait.
    pub(super) waits: Option<Box<WaitCounts>>,
    /// Boxed: of those pools some of whose attempts are not served.
    pub(super) unserved: Option<Box<Unserved>>,
}

/// Attempts that say how overrun a pool is: for who looks at that, and in no metric of their own.
#[derive(Clone, Debug, Default)]
pub(super) struct Unserved {
    /// How long those waited that ended without an answer, as their time was over or their client had left.
    pub(super) late: Histogram,
    /// How long answers of class 5 took, which are among all answers.
    pub(super) failed: Histogram,
}

impl Rare {
    /// Adds what another one counted.
    pub(super) fn merge(&mut self, other: &Self) {
        self.hedges.merge(&other.hedges);
        self.hedges_refused.merge(&other.hedges_refused);
        self.spills.merge(&other.spills);
        self.files.merge(other.files);
        self.sticky.merge(&other.sticky);
        self.breaker.merge(&other.breaker);
        if let Some(other) = &other.waits {
            self.waits.get_or_insert_default().merge(other);
        }
    }
}

/// `tenantry_attempts_total`
pub(super) static ATTEMPTS: Family = Family {
    name: "tenantry_attempts_total",
    help: "Attempts at endpoints, by how they ended",
    kind: Kind::Counter,
    labels: &["pool", "endpoint", "outcome"],
};

/// `tenantry_attempt_first_byte_seconds`
pub(super) static ATTEMPT_FIRST_BYTE: Family = Family {
    name: "tenantry_attempt_first_byte_seconds",
    help: "Time from the start of an attempt to the head of the endpoint's answer",
    kind: Kind::Histogram,
    labels: &["pool"],
};

/// `tenantry_retries_total`
pub(super) static RETRIES: Family = Family {
    name: "tenantry_retries_total",
    help: "Attempts after the first, by what the attempt before them ended with",
    kind: Kind::Counter,
    labels: &["pool", "reason"],
};

/// `tenantry_retries_refused_total`
pub(super) static RETRIES_REFUSED: Family = Family {
    name: "tenantry_retries_refused_total",
    help: "Retries that were wanted and not made, by what forbade them",
    kind: Kind::Counter,
    labels: &["pool", "reason"],
};

/// `tenantry_hedges_total`
pub(super) static HEDGES: Family = Family {
    name: "tenantry_hedges_total",
    help: "Second attempts beside slow ones, by what became of them",
    kind: Kind::Counter,
    labels: &["pool", "result"],
};

/// `tenantry_hedges_refused_total`
pub(super) static HEDGES_REFUSED: Family = Family {
    name: "tenantry_hedges_refused_total",
    help: "Second attempts that were wanted beside slow ones and not made, by what forbade them",
    kind: Kind::Counter,
    labels: &["pool", "reason"],
};

/// `tenantry_replay_files`
pub(super) static REPLAY_FILES: Family = Family {
    name: "tenantry_replay_files",
    help: "Files that hold bodies of requests for a retry now",
    kind: Kind::Gauge,
    labels: &["pool"],
};

/// `tenantry_replay_spills_total`
pub(super) static REPLAY_SPILLS: Family = Family {
    name: "tenantry_replay_spills_total",
    help: "Bodies of requests that were to be kept in a file for a retry, by what became of it",
    kind: Kind::Counter,
    labels: &["pool", "result"],
};
