//! A request beyond a limit that gateways share: it is refused, or waits in the line for it.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::limits::admission::{Full, Slots};
use crate::limits::fleet::Held;

use super::error::ExchangeError;
use super::limited::{Patience, Whom};
use super::worker::Worker;

/// Waits until its turn comes, no longer than the limit has a request wait, and than this has `left`
/// since it has `begun`.
///
/// # Errors
/// When it does not come in time.
pub(super) async fn wait<'s>(
    (worker, whom): (&Worker, Whom<'_>),
    slots: &mut Slots<'s>,
    mut full: Box<Full<'s>>,
    (begun, left): (Instant, Duration),
) -> Result<(), ExchangeError> {
    let Some(_place) = full.wait() else { return Err(full.refused.into()) };
    let _patience = Patience::begin(worker, whom, full.limit())?;
    let arrived = worker.clock.now();
    loop {
        let longest = (begun + full.overflow().longest()).max(arrived + GRACE);
        let until = longest.min(begun + left.min(A_DAY));
        if worker.clock.now() + full.later > until {
            return Err(full.refused.into());
        }
        let Some(held) = stand(&full, until).await else { return Err(full.refused.into()) };
        slots.hold(&full, held);
        match slots.settle(worker.limits.now()) {
            Ok(()) => return Ok(()),
            Err(still) => full = still,
        }
    }
}

/// Waits in the line; `None` where its turn does not come in time.
async fn stand(full: &Full<'_>, until: Instant) -> Option<Held> {
    let mut place = full.stand();
    loop {
        let look = Instant::now() + LOOK;
        match timeout_at(look.min(until), place.turn()).await {
            Ok(held) => return Some(held),
            Err(_) if look >= until => return None,
            Err(_) => full.look_after(),
        }
    }
}

/// 100 ms: what a limit that gateways share has room for is known a little later than what this one
/// has, and who has waited for that until the last moment is not to have waited in vain.
const GRACE: Duration = Duration::from_millis(100);
/// 1 s: whoever lets requests in may have ended at the moment at which this one came.
const LOOK: Duration = Duration::from_secs(1);
/// No exchange is longer, as far as its limits go.
const A_DAY: Duration = Duration::from_secs(86_400);
