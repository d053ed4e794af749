//! How tenants share pools: limits of requests at once, written or worked out, and who waits how.

use std::time::Duration;

use crate::config::faults::Faults;
use crate::config::key::Key;
use crate::config::raw::{Adaptive, At, Concurrency, Queue, TenantQueue, Whole};
use crate::config::spec::{AdaptiveSpec, ConcurrencySpec, QueueSpec};

use super::above_zero;

/// Checks how many requests a pool has at once, and how others wait.
pub(super) fn concurrency(
    concurrency: Option<Concurrency>,
    queue: Option<At<Queue>>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Option<ConcurrencySpec> {
    let start = queue.as_ref().map(|queue| queue.start);
    let queue = queue.map(|queue| queue.value).unwrap_or_default();
    let wrong = faults.touches(&key.name("concurrency"));
    let adaptive = match &concurrency {
        Some(Concurrency::Adaptive(raw)) => Some(adaptive(raw, &key.name("concurrency"), faults)),
        Some(Concurrency::Fixed(_)) | None => None,
    };
    let key = key.name("queue");
    let wait = above_zero(queue.wait, &key.name("wait"), faults).unwrap_or(WAIT);
    let length = queue.length.map_or(LENGTH, |length| length.size());
    if let (None, Some(start), false) = (&concurrency, start, wrong) {
        let hint = "write concurrency = 100 beside it, or leave it out".to_owned();
        let what = "is never used: nothing limits the pool's requests";
        faults.add(&key, start, what, Some(hint));
    }
    let limit = match concurrency? {
        Concurrency::Fixed(limit) => limit,
        Concurrency::Adaptive(_) => adaptive.map_or(MIN, |adaptive| adaptive.min),
    };
    Some(ConcurrencySpec { limit, length, wait, adaptive })
}

fn adaptive(raw: &Adaptive, key: &Key<'_>, faults: &mut Faults<'_>) -> AdaptiveSpec {
    let number = |number: &At<Whole<1, 1_000_000>>| number.value.small();
    let (min, max) = (raw.min.as_ref().map(number), raw.max.as_ref().map(number));
    let min = min.unwrap_or_else(|| MIN.min(max.unwrap_or(MIN)));
    let max = max.unwrap_or_else(|| MAX.max(min));
    if let Some(At { start, .. }) = &raw.max
        && max < min
    {
        let hint = format!("make max at least as large as min, which is {min}");
        faults.add(&key.name("max"), *start, "is less than min", Some(hint));
    }
    AdaptiveSpec {
        min,
        max: max.max(min),
        tolerance: raw.tolerance.as_ref().map_or(TOLERANCE, |tolerance| tolerance.0),
    }
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

/// 20, as Netflix' concurrency-limits begins with: hardly a pool bears less.
const MIN: u32 = 20;
/// 1,000, as Envoy has it.
const MAX: u32 = 1_000;
/// 1.5, as Gradient2 has it.
const TOLERANCE: f64 = 1.5;
/// 50, as API servers of Kubernetes have it: with four times as many, who is served had to wait for
/// longer than people do.
const LENGTH: usize = 50;
/// 1 s: who waits longer will ask again.
const WAIT: Duration = Duration::from_secs(1);
