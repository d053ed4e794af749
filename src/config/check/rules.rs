//! Deadlines and retry rules, of a pool or of a route.

use crate::base::units::{ByteSize, Percent};
use crate::config::faults::Faults;
use crate::config::key::Key;
use crate::config::raw::{At, Hedge, Retry, Timeouts};
use crate::config::spec::{HedgeSpec, MostKept, RetryOn, RetrySpec, TimeoutsSpec};

use super::{above_zero, replay};

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

/// Checks retry rules. `most` is what can be kept of a body, where that is known.
pub(super) fn retry(
    raw: Option<Retry>,
    most: Option<MostKept>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> RetrySpec {
    let raw = raw.unwrap_or_default();
    if let Some(At { start, .. }) = &raw.hedge {
        check_hedge(&raw, *start, &key.name("hedge"), faults);
    }
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
        replay::tell(&replay, most, key, faults);
        replay.value.0
    });
    let hedge = raw.hedge.map(|At { value, .. }| hedge(value, &key.name("hedge"), faults));
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
        hedge,
    }
}

fn hedge(raw: Hedge, key: &Key<'_>, faults: &mut Faults<'_>) -> HedgeSpec {
    HedgeSpec {
        after: raw.after.map(|after| after.0.0.unwrap_or(0)),
        floor: raw.floor.map(|floor| floor.0),
        methods: raw.methods.map(|At { value: methods, start }| {
            if methods.is_empty() {
                let hint = "name one, as in [\"GET\"], or write after = \"off\"";
                faults.add_missing(&key.name("methods"), start, "names no method", hint);
            }
            methods.into_iter().map(|method| method.0).collect()
        }),
    }
}

/// A second attempt is a try, and is paid from the budget: without either there is none, ever.
fn check_hedge(raw: &Retry, start: usize, key: &Key<'_>, faults: &mut Faults<'_>) {
    let is_off = |hedge: &Hedge| hedge.after.as_ref().is_some_and(|after| after.0.0.is_none());
    if raw.hedge.as_ref().is_none_or(|hedge| is_off(&hedge.value)) {
        return;
    }
    if raw.attempts.as_ref().is_some_and(|attempts| attempts.small() == 1) {
        let hint = "write attempts = 2 or more, or hedge = { after = \"off\" }".to_owned();
        faults.add(key, start, "is never sent, since attempts is 1", Some(hint));
    }
    let is_empty = raw.budget.as_ref().is_some_and(|budget| budget.0 == Percent::new(0.0))
        && raw.budget_floor.as_ref().is_some_and(|floor| floor.small() == 0);
    if is_empty {
        let hint = "write budget = \"10%\", or hedge = { after = \"off\" }".to_owned();
        faults.add(key, start, "has no budget to be paid from", Some(hint));
    }
}

/// 1 GiB, in a file. In memory one request never takes more than 16 MiB.
const MAX_REPLAY: ByteSize = ByteSize(1 << 30);
