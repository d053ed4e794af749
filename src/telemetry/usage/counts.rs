//! What one tenant has used in a time.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::telemetry::delta::{CLASSES, HeldBack, QueueCounts, add_each};
use crate::telemetry::histogram::each_counted;
use crate::telemetry::tenant_delta::TenantDelta;

/// What one tenant has used in a time. Whole numbers alone, so that nothing is lost by adding them up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    classes: [u64; CLASSES.len()],
    /// Bytes of requests' bodies.
    pub bytes_in: u64,
    /// Bytes of answers' bodies.
    pub bytes_out: u64,
    /// How long requests took for which a pool was chosen, from head to end.
    pub lasted: Duration,
    /// How long requests waited for room, within a limit or in a pool.
    pub waited: Duration,
    /// Boxed: most tenants never reach a limit.
    refused: Option<Box<Refusals>>,
}

/// Requests that were refused, by the name of the problem.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Refusals(BTreeMap<Cow<'static, str>, u64>);

impl Counts {
    /// Those that were written down: by class, and by what refused them. Classes that are not known
    /// are left out.
    pub fn of(
        answers: &BTreeMap<String, u64>,
        refused: &BTreeMap<String, u64>,
        (bytes_in, bytes_out): (u64, u64),
        (lasted, waited): (Duration, Duration),
    ) -> Self {
        let classes = CLASSES.map(|class| answers.get(class).copied().unwrap_or_default());
        let mut counts = Self { classes, bytes_in, bytes_out, lasted, waited, ..Self::default() };
        for (problem, count) in refused {
            counts.refuse(Cow::Owned(problem.clone()), *count);
        }
        counts
    }

    /// Requests that ended.
    pub fn requests(&self) -> u64 {
        self.classes.iter().sum()
    }

    /// Those that ended, by the class of the answer's status.
    pub fn answers(&self) -> impl Iterator<Item = (&'static str, u64)> {
        CLASSES.into_iter().zip(self.classes).filter(|(_, count)| *count > 0)
    }

    /// Those that were answered 5xx.
    pub fn failed(&self) -> u64 {
        self.classes[5]
    }

    /// Those that a limit or a full pool has refused, by the name of the problem.
    pub fn refused(&self) -> impl Iterator<Item = (&str, u64)> {
        self.refused.iter().flat_map(|refused| &refused.0).map(|(name, of)| (&**name, *of))
    }

    /// How long endpoints were busy with its requests.
    pub fn computed(&self) -> Duration {
        self.lasted.saturating_sub(self.waited)
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds what another one counted.
    pub fn merge(&mut self, other: &Self) {
        add_each(&mut self.classes, &other.classes);
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.lasted = self.lasted.saturating_add(other.lasted);
        self.waited = self.waited.saturating_add(other.waited);
        for (problem, count) in other.refused.iter().flat_map(|refused| &refused.0) {
            self.refuse(problem.clone(), *count);
        }
    }

    /// Adds requests.
    pub(super) fn add(&mut self, delta: &TenantDelta) {
        each_counted(delta.classes, |class, count| self.classes[class] += u64::from(count));
        self.bytes_in += delta.bytes_in;
        self.bytes_out += delta.bytes_out;
        // What the gateway answers by itself keeps no endpoint busy.
        if delta.pool != 0 {
            self.lasted = self.lasted.saturating_add(delta.duration.sum());
        }
    }

    /// Adds what became of requests that came to a pool without room.
    pub(super) fn add_queue(&mut self, queue: &QueueCounts) {
        self.waited = self.waited.saturating_add(queue.waited);
    }

    /// Adds what limits have done to requests.
    pub(super) fn add_held_back(&mut self, held_back: &HeldBack) {
        self.waited = self.waited.saturating_add(held_back.waited);
        for (problem, count) in &held_back.refused.0 {
            self.refuse(Cow::Borrowed(problem), *count);
        }
    }

    fn refuse(&mut self, problem: Cow<'static, str>, count: u64) {
        *self.refused.get_or_insert_default().0.entry(problem).or_default() += count;
    }
}
