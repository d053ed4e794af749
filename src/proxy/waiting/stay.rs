//! What a request has while it waits for an endpoint: a seat, and then a turn.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::base::fair::Permit;
use crate::model::ids::Label;
use crate::model::room::Seat;
use crate::telemetry::waiting::WaitOutcome;

use super::super::visit::Visit;
use super::super::worker::Worker;
use super::Sent;

/// A request's stay among those who wait: from when it has a seat until it is at an endpoint, or waits no longer. Counts
/// how it ends, also when the client leaves and it is dropped.
pub(super) struct Stay<'s> {
    worker: &'s Worker,
    pool: &'s Label,
    came: Instant,
    /// When it had its turn.
    turn: Option<Instant>,
    outcome: WaitOutcome,
    _seat: Seat,
}

impl<'s> Stay<'s> {
    pub(super) fn begin(worker: &'s Worker, pool: &'s Label, seat: Seat) -> Self {
        let came = worker.clock.now();
        Self { worker, pool, came, turn: None, outcome: WaitOutcome::Left, _seat: seat }
    }

    /// It has its turn, and is sent.
    fn turns(&mut self) {
        (self.turn, self.outcome) = (Some(self.worker.clock.now()), WaitOutcome::Released);
    }

    /// It was sent in its turn, and waits on.
    pub(super) fn goes_on(mut self) -> Self {
        (self.turn, self.outcome) = (None, WaitOutcome::Left);
        self
    }

    /// It waits no longer, and has had no turn.
    pub(super) fn ends(mut self, outcome: WaitOutcome) {
        self.outcome = outcome;
    }

    /// Sends the request in its turn. It has that until it is answered or has failed, or for as long as a turn may be kept:
    /// where all take long, the next ones are not kept waiting for that. Its seat ends with the turn, as it waits for nobody
    /// then; one that has failed within its turn keeps it, and may wait on.
    pub(super) async fn in_turn(
        mut self,
        turn: Permit,
        mut sending: Pin<Box<impl Future<Output = Sent>>>,
    ) -> (Sent, Option<Self>) {
        self.turns();
        let early = timeout(LONGEST_TURN, sending.as_mut()).await;
        drop(turn);
        match early {
            Ok(sent) => (sent, Some(self)),
            Err(_) => {
                drop(self);
                (sending.await, None)
            }
        }
    }
}

impl Drop for Stay<'_> {
    fn drop(&mut self) {
        let end = self.turn.unwrap_or_else(|| self.worker.clock.now());
        let waited = end.saturating_duration_since(self.came);
        self.worker.meter.awaited(self.pool, self.outcome, waited);
    }
}

/// A request that waits for its turn: its record has for how long, also when the client leaves and it is dropped.
pub(super) struct Queued<'v> {
    worker: &'v Worker,
    visit: &'v mut Visit,
    since: Instant,
}

impl<'v> Queued<'v> {
    pub(super) fn begin(worker: &'v Worker, visit: &'v mut Visit) -> Self {
        Self { worker, visit, since: worker.clock.now() }
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        let waited = self.worker.clock.now().saturating_duration_since(self.since);
        self.visit.has_queued(waited);
    }
}

/// 500 ms: most have an answer by then, and an endpoint that needs longer gets twice as many as `at-once` each second.
const LONGEST_TURN: Duration = Duration::from_millis(500);
