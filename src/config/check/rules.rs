//! Deadlines and retry rules, of a pool or of a route.

use crate::base::units::ByteSize;
use crate::config::faults::Faults;
use crate::config::key::Key;
use crate::config::raw::{Retry, Timeouts};
use crate::config::spec::{RetrySpec, TimeoutsSpec};

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
            let hint = "a replay buffer is up to 16MiB, as in \"64KiB\"".to_owned();
            faults.add(&key.name("replay"), replay.start, what, Some(hint));
        }
        replay.value.0
    });
    RetrySpec {
        attempts: raw.attempts.map(|attempts| attempts.small()),
        on: raw.on.map(|on| on.into_iter().map(|on| on.0).collect()),
        budget: raw.budget.map(|budget| budget.0),
        budget_floor: raw.budget_floor.map(|floor| floor.small()),
        backoff,
        max_backoff,
        replay,
    }
}

/// 16 MiB: what a tenant may keep in all by default; one request never takes more.
const MAX_REPLAY: ByteSize = ByteSize(16 << 20);
