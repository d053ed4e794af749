//! Deadlines and retry rules, of a pool or of a route.

use std::time::Duration;

use crate::base::units::ByteSize;
use crate::config::faults::Faults;
use crate::config::key::Key;
use crate::config::raw::{Retry, Timeouts};
use crate::config::spec::{HedgeSpec, RetryOn, RetrySpec, TimeoutsSpec};

use super::above_zero;

/// Checks deadlines.
pub(super) fn timeouts(
    raw: Option<Timeouts>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> TimeoutsSpec {
    let raw = raw.unwrap_or_default();
    TimeoutsSpec {
        connect: above_zero(raw.connect, &key.name("connect"), faults),
        tls: above_zero(raw.tls, &key.name("tls"), faults),
        attempt: above_zero(raw.attempt, &key.name("attempt"), faults),
        first_byte: above_zero(raw.first_byte, &key.name("first-byte"), faults),
        idle: above_zero(raw.idle, &key.name("idle"), faults),
        total: raw.total.map(|total| total.0),
    }
}

/// Checks retry rules.
pub(super) fn retry(raw: Option<Retry>, key: &Key<'_>, faults: &mut Faults<'_>) -> RetrySpec {
    let raw = raw.unwrap_or_default();
    let backoff = raw.backoff.map(|backoff| backoff.0);
    let max_backoff = raw.max_backoff.map(|longest| {
        if backoff.is_some_and(|first| longest.value.0 < first) {
            let hint = "make max-backoff at least as long as backoff".to_owned();
            let key = key.name("max-backoff");
            faults.add(&key, longest.start, "is shorter than backoff", Some(hint));
        }
        longest.value.0
    });
    let replay = raw.replay.map(|replay| {
        if replay.value.0 > MAX_REPLAY {
            let what = format!("{} is out of range", replay.value.0);
            let hint = "a replay buffer is up to 1GiB, as in \"64KiB\"".to_owned();
            faults.add(&key.name("replay"), replay.start, what, Some(hint));
        }
        replay.value.0
    });
    RetrySpec {
        attempts: raw.attempts.map(|attempts| attempts.small()),
        on: raw.on.map(|on| {
            let mut on: Vec<RetryOn> = on.into_iter().map(|on| on.0).collect();
            // A request looks at the last one, and knows whether any is one of gRPC.
            on.sort_by_key(|on| matches!(on, RetryOn::Grpc(_)));
            on
        }),
        budget: raw.budget.map(|budget| budget.0),
        budget_floor: raw.budget_floor.map(|floor| floor.small()),
        backoff,
        max_backoff,
        max_retry_after: raw.max_retry_after.map(|longest| longest.0),
        replay,
        hedge: raw.hedge.map(|hedge| HedgeSpec {
            after: hedge.after.map_or(Some(95), |after| after.0.0),
            floor: hedge.floor.map_or(HEDGE_FLOOR, |floor| floor.0),
        }),
    }
}

/// 10 ms: below that a second attempt costs more than what it could win.
const HEDGE_FLOOR: Duration = Duration::from_millis(10);
/// 1 GiB, in a file. In memory one request never takes more than 16 MiB.
const MAX_REPLAY: ByteSize = ByteSize(1 << 30);
