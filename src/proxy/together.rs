//! A request beyond a limit that gateways share: it is refused, or waits in the line for it.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::limits::admission::{Full, Slots};
use crate::limits::fleet::Held;

use super::error::ExchangeError;
use super::limited::{Patience, Whom};
use super::worker::Worker;

/// Waits until its turn comes, no longer than the limit has a request wait, and than this has `left`
/// since it has `begun`. Who may not wait does so all the same where there may be room already: until it is
/// known whether there is.
///
/// # Errors
/// When it does not come in time.
pub(super) async fn wait<'s>(
    (worker, whom): (&Worker, Whom<'_>),
    slots: &mut Slots<'s>,
    mut full: Box<Full<'s>>,
    (begun, left): (Instant, Duration),
) -> Result<(), ExchangeError> {
    let place = full.wait();
    let may_wait = place.is_some();
    let Some(_place) = place.or_else(|| full.wait_briefly()) else {
        return Err(full.refused.into());
    };
    let _patience = Patience::begin(worker, whom, full.limit())?;
    let (arrived, end) = (worker.clock.now(), begun + left.min(A_DAY));
    loop {
        let longest = match may_wait {
            true => (begun + full.overflow().longest()).max(arrived + GRACE),
            false => arrived + BRIEFLY,
        };
        let until = longest.min(end);
        if worker.clock.now() + full.later > until {
            return Err(full.refused.into());
        }
        let held = match may_wait {
            true => stand(&full, until).await,
            false => stand_briefly(worker, &full, until).await,
        };
        let Some(held) = held else { return Err(full.refused.into()) };
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

/// The same for as long as there may be room; `None` once the store has said that there is none.
async fn stand_briefly(worker: &Worker, full: &Full<'_>, until: Instant) -> Option<Held> {
    let enough = full.answers().saturating_add(ENOUGH);
    let mut place = full.stand();
    loop {
        let look = Instant::now() + BRIEF_LOOK;
        let may_come = || full.answers() < enough || full.may_have_room(worker.limits.now());
        match timeout_at(look.min(until), place.turn()).await {
            Ok(held) => return Some(held),
            Err(_) if look >= until || !may_come() => return None,
            Err(_) => {}
        }
    }
}

/// 100 ms: what a limit that gateways share has room for is known a little later than what this one
/// has, and who has waited for that until the last moment is not to have waited in vain.
const GRACE: Duration = Duration::from_millis(100);
/// 3 answers: one may have been on its way, the next one counts what was owed, and the one behind it may
/// have room for those who wait.
const ENOUGH: u64 = 3;
/// 1 s: a store that has not said until then whether there is room is late, or lost.
const BRIEFLY: Duration = Duration::from_secs(1);
/// 5 ms: as long as it takes from one answer to the next.
const BRIEF_LOOK: Duration = Duration::from_millis(5);
/// 1 s: whoever lets requests in may have ended at the moment at which this one came.
const LOOK: Duration = Duration::from_secs(1);
/// No exchange is longer, as far as its limits go.
const A_DAY: Duration = Duration::from_secs(86_400);
