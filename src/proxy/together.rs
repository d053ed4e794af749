//! A request beyond a limit that gateways share: it is refused, or waits for room. Nobody tells when
//! there is some, so that it looks again when there may be.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::limits::admission::{Full, Slots};

use super::error::ExchangeError;
use super::limited::{Patience, Whom};
use super::worker::Worker;

/// Waits until there is room, no longer than the limit has a request wait, and than this has `left`
/// since it has `begun`.
///
/// # Errors
/// When there is none in time.
pub(super) async fn wait<'s>(
    (worker, whom): (&Worker, Whom<'_>),
    slots: &mut Slots<'s>,
    mut full: Box<Full<'s>>,
    (begun, left): (Instant, Duration),
) -> Result<(), ExchangeError> {
    let Some(_place) = full.wait() else { return Err(full.refused.into()) };
    let _patience = Patience::begin(worker, whom, full.limit())?;
    loop {
        let until = begun + full.overflow().longest().min(left);
        let again = worker.clock.now() + full.later.max(SHORTEST);
        if again > until {
            return Err(full.refused.into());
        }
        sleep_until(again).await;
        match slots.settle(worker.limits.ticks(again)) {
            Ok(()) => return Ok(()),
            Err(still) => full = still,
        }
    }
}

/// 2 ms: an answer of the store takes about as long.
const SHORTEST: Duration = Duration::from_millis(2);
