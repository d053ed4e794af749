//! How tenants share pools: limits of requests at once, written or worked out, and who waits how.

use crate::config::faults::Faults;
use crate::config::key::Key;
use crate::config::raw::{Adaptive, At, Concurrency, Queue, TenantQueue, Whole};
use crate::config::spec::{AdaptiveSpec, ConcurrencySpec, LineSpec, PoolSpec, QueueSpec};

use super::above_zero;

/// Checks how many requests a pool has at once, and how others wait: where it has a limit, or else while it is overrun. Gives a
/// pool of which nothing else is known.
pub(super) fn concurrency(
    concurrency: Option<Concurrency>,
    queue: Option<At<Queue>>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> PoolSpec {
    let start = queue.as_ref().map(|queue| queue.start);
    let queue = queue.map(|queue| queue.value).unwrap_or_default();
    let adaptive = match &concurrency {
        Some(Concurrency::Adaptive(raw)) => Some(adaptive(raw, &key.name("concurrency"), faults)),
        Some(Concurrency::Fixed(_) | Concurrency::Unlimited) | None => None,
    };
    let key = key.name("queue");
    let wait = above_zero(queue.wait, &key.name("wait"), faults).unwrap_or(LineSpec::USUAL.wait);
    let length = queue.length.map_or(LineSpec::USUAL.length, |length| length.size());
    let limit = match concurrency {
        None => {
            let overrun = Some(LineSpec { length, wait });
            return PoolSpec { overrun, ..PoolSpec::default() };
        }
        Some(Concurrency::Unlimited) => {
            if let Some(start) = start {
                let hint = "leave it out, or write concurrency = 100".to_owned();
                faults.add(
                    &key,
                    start,
                    "is never used: nothing limits the pool's requests",
                    Some(hint),
                );
            }
            return PoolSpec { overrun: None, ..PoolSpec::default() };
        }
        Some(Concurrency::Fixed(limit)) => limit,
        Some(Concurrency::Adaptive(_)) => adaptive.map_or(MIN, |adaptive| adaptive.min),
    };
    let concurrency = Some(ConcurrencySpec { limit, length, wait, adaptive });
    PoolSpec { concurrency, overrun: None, ..PoolSpec::default() }
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
