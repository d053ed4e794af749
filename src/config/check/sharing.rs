//! How tenants share pools: limits of requests at once, and who waits how.

use std::time::Duration;

use crate::config::faults::Faults;
use crate::config::key::Key;
use crate::config::raw::{At, Queue, TenantQueue, Whole};
use crate::config::spec::{ConcurrencySpec, QueueSpec};

use super::above_zero;

/// Checks how many requests a pool has at once, and how others wait.
pub(super) fn concurrency(
    limit: Option<Whole<1, 1_000_000>>,
    queue: Option<At<Queue>>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Option<ConcurrencySpec> {
    let start = queue.as_ref().map(|queue| queue.start);
    let queue = queue.map(|queue| queue.value).unwrap_or_default();
    let wrong = faults.touches(&key.name("concurrency"));
    let key = key.name("queue");
    let wait = above_zero(queue.wait, &key.name("wait"), faults).unwrap_or(WAIT);
    let length = queue.length.map_or(LENGTH, |length| length.size());
    if let (None, Some(start), false) = (&limit, start, wrong) {
        let hint = "write concurrency = 100 beside it, or leave it out".to_owned();
        let what = "is never used: nothing limits the pool's requests";
        faults.add(&key, start, what, Some(hint));
    }
    Some(ConcurrencySpec { limit: limit?.small(), length, wait })
}

/// Checks a tenant's share. `plan` is what holds where it says nothing.
pub(super) fn queue(
    raw: Option<TenantQueue>,
    plan: Option<&QueueSpec>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Option<Box<QueueSpec>> {
    let Some(raw) = raw else { return plan.map(|plan| Box::new(*plan)) };
    let unsaid = plan.unwrap_or(&QueueSpec::UNSAID);
    Some(Box::new(QueueSpec {
        weight: raw.weight.map_or(unsaid.weight, |weight| weight.small()),
        class: raw.priority.map(|class| class.0).or(unsaid.class),
        length: raw.length.map(|length| length.size()).or(unsaid.length),
        wait: above_zero(raw.wait, &key.name("wait"), faults).or(unsaid.wait),
    }))
}

/// 50, as API servers of Kubernetes have it: with four times as many, who is served had to wait for
/// longer than people do.
const LENGTH: usize = 50;
/// 1 s: who waits longer will ask again.
const WAIT: Duration = Duration::from_secs(1);
