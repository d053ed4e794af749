//! What is counted of mirroring, by the pool that gets the copies.

use std::time::Duration;

use super::delta::{CLASSES, add_each};
use super::histogram::Histogram;
use super::metrics::{Family, Kind};

/// What became of a copy: the closed set of the `outcome` label. Never rename one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered, whatever the answer.
    Answered,
    /// There was no connection, or no answer.
    Failed,
    /// There was no answer in time.
    Timeout,
    /// As many copies as may be were under way, or the pool was full.
    Busy,
    /// The request's own pool was full, or a breaker there was not closed.
    Crowded,
    /// Memory was short.
    Memory,
    /// The body is larger than may be copied.
    TooLarge,
    /// The body did not come to its end.
    Incomplete,
    /// The request switches protocols.
    Upgrade,
    /// The pool has no endpoint.
    NoEndpoint,
    /// The process drained.
    Cancelled,
}

/// One answer, as it is compared.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Its status; `None`: there was none.
    pub status: Option<u16>,
    /// After what time it came, or did not.
    pub took: Duration,
}

/// What is counted for one pool that gets copies.
#[derive(Clone, Debug, Default)]
pub(super) struct MirrorCounts {
    pub(super) outcomes: [u64; Outcome::ALL.len()],
    /// Requests by the class of their own answer, and of the copy's.
    pub(super) classes: [[u64; CLASSES.len()]; CLASSES.len()],
    pub(super) primary: Histogram,
    pub(super) mirror: Histogram,
}

impl Outcome {
    /// Every outcome, in the order of their numbers.
    pub const ALL: [Self; 11] = [
        Self::Answered,
        Self::Failed,
        Self::Timeout,
        Self::Busy,
        Self::Crowded,
        Self::Memory,
        Self::TooLarge,
        Self::Incomplete,
        Self::Upgrade,
        Self::NoEndpoint,
        Self::Cancelled,
    ];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
            Self::Busy => "busy",
            Self::Crowded => "crowded",
            Self::Memory => "memory",
            Self::TooLarge => "too_large",
            Self::Incomplete => "incomplete",
            Self::Upgrade => "upgrade",
            Self::NoEndpoint => "no_endpoint",
            Self::Cancelled => "cancelled",
        }
    }
}

impl Seen {
    fn class(self) -> usize {
        usize::from(self.status.unwrap_or_default() / 100).min(CLASSES.len() - 1)
    }
}

impl MirrorCounts {
    /// Counts both answers to one request. Times are only of those that both have one for.
    pub(super) fn compare(&mut self, primary: Seen, mirror: Seen) {
        self.classes[primary.class()][mirror.class()] += 1;
        if primary.status.is_some() && mirror.status.is_some() {
            self.primary.observe(primary.took);
            self.mirror.observe(mirror.took);
        }
    }

    /// Adds what another one counted.
    pub(super) fn merge(&mut self, other: &Self) {
        add_each(&mut self.outcomes, &other.outcomes);
        for (own, other) in self.classes.iter_mut().zip(&other.classes) {
            add_each(own, other);
        }
        self.primary.merge(&other.primary);
        self.mirror.merge(&other.mirror);
    }
}

/// `tenantry_mirrored_requests_total`
pub(super) static MIRRORED: Family = Family {
    name: "tenantry_mirrored_requests_total",
    help: "Copies of requests for a pool, by what became of them",
    kind: Kind::Counter,
    labels: &["pool", "outcome"],
};

/// `tenantry_mirror_compared_total`
pub(super) static COMPARED: Family = Family {
    name: "tenantry_mirror_compared_total",
    help: "Requests whose answer was compared with that to their copy, by the class of either",
    kind: Kind::Counter,
    labels: &["pool", "primary", "mirror"],
};

/// `tenantry_mirror_first_byte_seconds`
pub(super) static FIRST_BYTE: Family = Family {
    name: "tenantry_mirror_first_byte_seconds",
    help: "Time from the end of a request to the head of its answer, and of that to its copy",
    kind: Kind::Histogram,
    labels: &["pool", "side"],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_count_where_both_were_answered_and_classes_always() {
        let seen = |status| Seen { status, took: Duration::from_millis(7) };
        let mut counts = MirrorCounts::default();

        counts.compare(seen(Some(200)), seen(Some(503)));
        counts.compare(seen(Some(404)), seen(None));
        counts.compare(seen(None), seen(Some(999)));

        assert_eq!(counts.classes[2][5], 1);
        assert_eq!(counts.classes[4][0], 1);
        assert_eq!(counts.classes[0][5], 1);
        assert_eq!((counts.primary.count(), counts.mirror.count()), (1, 1));
        let mut sum = counts.clone();
        sum.merge(&counts);
        assert_eq!((sum.classes[2][5], sum.primary.count()), (2, 2));
    }
}
