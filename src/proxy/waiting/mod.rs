//! A request for which nobody of its pool may be picked, in a pool that has such requests wait (`wait`): it is held until
//! somebody may be, then sent as any other. Only what has failed comes here, so that all others pay nothing.
//!
//! **Invariants:** who waits holds no place of the pool's gate and none on trial at a breaker: its exchange has given up
//! both, and comes anew. It reads nothing of its body. It is let in by a turn, in the fair order of tenants, and has that
//! until its attempts have an answer, or for half a second, so that an endpoint that comes is not met by all at once. It waits for `wait` in
//! all, however often somebody comes and goes, and never longer than its exchange may last. What comes after a wait in
//! vain is what would have come without one: where nobody is healthy, anybody is tried.

mod line;
mod stay;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::base::socket;
use crate::config::spec::WaitSpec;
use crate::health::passive::Verdict;
use crate::http1::room::AnswerHead;
use crate::model::room::{Bounds, Full, Room, Seat};
use crate::resilience::deadline::Deadlines;
use crate::telemetry::waiting::WaitOutcome;
use crate::upstream::ConnectError;

use super::admission::Watched;
use super::answer::Lease;
use super::breaking;
use super::choice::Choice;
use super::error::{AttemptError, ExchangeError, Unserved};
use super::forward;
use super::outgoing::Outgoing;
use super::visit::Visit;
use super::worker::Worker;

use line::Line;
use stay::{Queued, Stay};

type Sent = Result<(AnswerHead, Box<Lease>), ExchangeError>;

/// When a request began to be sent.
pub(super) struct Since {
    began: Instant,
    /// How long it had waited by then.
    queued: Duration,
}

impl Since {
    pub(super) fn now(visit: &Visit) -> Self {
        Self { began: Instant::now(), queued: visit.queued() }
    }

    /// How long it has taken but for the time that its client took to send it, which says nothing of an endpoint. A body
    /// is read once somebody takes it: waits come before.
    pub(super) fn took(&self, outgoing: &Outgoing<'_>, visit: &Visit) -> Duration {
        let from = outgoing.upload.ended_at().map_or(self.began, |ended| ended.max(self.began));
        let waited = visit.queued().saturating_sub(self.queued);
        (from.elapsed() + waited).min(self.began.elapsed())
    }
}

/// What a request lacks that has failed so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lack {
    /// Nobody may be picked.
    Anybody,
    /// Whoever may be picked cannot be reached: nobody has had anything of the request.
    Connection,
}

/// Sends a request until an endpoint answers, and has it wait for one where its pool says so: all that its client sees.
///
/// # Errors
/// How it failed last, which is noted.
pub(super) async fn send(
    worker: &Worker,
    choice: &Choice<'_>,
    outgoing: &mut Outgoing<'_>,
    visit: &mut Visit,
) -> Sent {
    match forward::send(worker, choice, outgoing, visit).await {
        Err(error) => again(worker, choice, (outgoing, visit), error).await,
        sent => sent,
    }
}

/// Sends a request anew that has failed, once somebody may serve it, where its pool has such requests wait.
///
/// # Errors
/// How it had failed, or how it fails then, which is noted.
pub(super) async fn again(
    worker: &Worker,
    choice: &Choice<'_>,
    (outgoing, visit): (&mut Outgoing<'_>, &mut Visit),
    error: ExchangeError,
) -> Sent {
    let lack = lack(&error, choice, (&*outgoing, &mut *visit));
    let sent = match choice.pool.spec.wait.zip(lack) {
        // In a box: it is rare, and large.
        Some((spec, lack)) => {
            Box::pin(hold(worker, choice, (outgoing, &mut *visit), (spec, lack, error))).await
        }
        None => {
            breaking::note_untold(worker, choice, breaking::untold(choice, &error), visit);
            Err(error)
        }
    };
    sent.inspect_err(|_| choice.note_failure(visit))
}

async fn hold(
    worker: &Worker,
    choice: &Choice<'_>,
    (outgoing, visit): (&mut Outgoing<'_>, &mut Visit),
    (spec, lack, error): (WaitSpec, Lack, ExchangeError),
) -> Sent {
    let untold = breaking::untold(choice, &error);
    let Some(room) = choice.pool.members.room() else {
        breaking::note_untold(worker, choice, untold, visit);
        return Err(error);
    };
    let came = worker.clock.now();
    let (deadlines, end) = time(choice, outgoing, visit);
    let until = end.map_or(came + spec.time, |end| end.min(came + spec.time));
    let line = Line::of(choice, room, until);
    let mut wait = Wait { worker, choice, spec, came, lack, error, untold, crowded: false };
    let why = match wait.run((room, &line), outgoing, visit).await {
        ControlFlow::Break(sent) => return sent,
        ControlFlow::Continue(why) => why,
    };
    if let (Some(end), Some(limit)) = (end, deadlines.total)
        && Instant::now() >= end
    {
        breaking::note_untold(worker, choice, wait.untold, visit);
        return Err(match deadlines.by_client {
            true => ExchangeError::PastDeadline { limit },
            false => ExchangeError::Overdue { limit },
        });
    }
    Box::pin(wait.try_anybody((outgoing, visit), why)).await
}

/// What the request lacks, where waiting might help. One that is sent anew could be had twice by nobody: nobody
/// has had it, or it may be repeated.
fn lack(
    error: &ExchangeError,
    choice: &Choice<'_>,
    (outgoing, visit): (&Outgoing<'_>, &mut Visit),
) -> Option<Lack> {
    if choice.pool.spec.wait.is_none() || !outgoing.is_repeatable() {
        return None;
    }
    match error {
        ExchangeError::NoEndpoint => Some(Lack::Anybody),
        ExchangeError::Attempt(AttemptError::Connect(error))
            if may_pass(error) && have_all_failed(choice, visit) =>
        {
            Some(Lack::Connection)
        }
        _ => None,
    }
}

/// Whether a breaker has refused it that may let it go on before then.
fn is_refused_until(error: &ExchangeError, until: Instant) -> bool {
    match error {
        ExchangeError::BreakerOpen { retry_after } => Instant::now() + *retry_after < until,
        _ => false,
    }
}

/// Whether what kept a connection from being made passes by itself.
fn may_pass(error: &ConnectError) -> bool {
    match error {
        ConnectError::Refused(error) => !socket::is_out_of_files(error),
        ConnectError::Timeout(_) | ConnectError::Shared => true,
        ConnectError::Tls(_) | ConnectError::TlsTimeout(_) | ConnectError::Preface(_) => false,
    }
}

/// Whether it has been to as many endpoints as may be picked, or none of these is known to be sound: one that has
/// used up its attempts with others left is no request that nobody can serve.
fn have_all_failed(choice: &Choice<'_>, visit: &mut Visit) -> bool {
    let mut attempts = 0;
    visit.note(|record| attempts = record.attempts as usize);
    attempts >= choice.pool.members.load().eligible.endpoints.len()
        || !choice.pool.has_sound_untried(&[])
}

/// How long the exchange may last, and until when: the client may give less time than there would be.
fn time(
    choice: &Choice<'_>,
    outgoing: &Outgoing<'_>,
    visit: &Visit,
) -> (Deadlines, Option<Instant>) {
    let mut deadlines = choice.deadlines();
    if let Some(given) = outgoing.countdown().and_then(|countdown| countdown.given) {
        deadlines.shorten(given);
    }
    let end = deadlines.end(visit.started());
    (deadlines, end)
}

/// Takes a seat, where there is one. What waits is done without while memory is short.
fn seat(
    worker: &Worker,
    choice: &Choice<'_>,
    outgoing: &Outgoing<'_>,
    (room, spec): (&Arc<Room>, WaitSpec),
) -> Result<Seat, Full> {
    if worker.account.is_tight() {
        return Err(Full::Memory);
    }
    let bounds = Bounds { length: spec.length as u64, memory: spec.memory.0 };
    let bytes = outgoing.held.bytes().saturating_add(outgoing.upload.kept());
    room.enter(&bounds, choice.tenant.slot(), bytes)
}

/// Sends the request anew, of which the attempts before count, too.
async fn resend(
    worker: &Worker,
    choice: &Choice<'_>,
    (outgoing, visit): (&mut Outgoing<'_>, &mut Visit),
) -> Sent {
    visit.comes_again(); // what comes now began with the end of the wait
    let mut before = 0;
    visit.note(|record| before = std::mem::take(&mut record.attempts));
    let sent = forward::send(worker, choice, outgoing, visit).await;
    visit.note(|record| record.attempts = record.attempts.saturating_add(before));
    sent
}

/// Ready when the process is about to end its connections: who waits is to be answered before.
async fn leaving(worker: &Worker) {
    let mut leaving = worker.leaving.subscribe();
    let end = leaving.wait_for(Option::is_some).await.ok().and_then(|end| *end);
    match end {
        Some(end) => sleep_until(end).await,
        None => std::future::pending().await, // its worker is gone, and this with it
    }
}

fn tell_first(worker: &Worker, choice: &Choice<'_>, seat: &Seat) {
    if seat.is_first() && worker.lines.admits() {
        let pool = &choice.pool.label.name;
        tracing::warn!(%pool, "no endpoint of the pool may be picked: requests wait for one");
    }
}

/// A request that waits, from its first failure on.
struct Wait<'w, 'c> {
    worker: &'w Worker,
    choice: &'w Choice<'c>,
    spec: WaitSpec,
    came: Instant,
    lack: Lack,
    /// How it has failed last.
    error: ExchangeError,
    /// What its breaker was not told of that: all of it is one request.
    untold: Option<Verdict>,
    /// Its time was over before its turn, while others had theirs.
    crowded: bool,
}

impl<'w> Wait<'w, '_> {
    /// Waits and sends the request until it has an answer, or fails as no wait would mend; tells why it waits no longer
    /// where that is in vain.
    async fn run(
        &mut self,
        (room, line): (&Arc<Room>, &Line),
        outgoing: &mut Outgoing<'_>,
        visit: &mut Visit,
    ) -> ControlFlow<Sent, Unserved> {
        let Self { worker, choice, .. } = *self;
        // A stream of HTTP/2 that ends is heard of by its connection.
        let client = outgoing.upload.client().filter(|_| !visit.is_http2());
        let mut kept = None;
        let mut rounds = 0_u32;
        loop {
            let stay = match kept.take().map_or_else(|| self.enter(room, outgoing, rounds), Ok) {
                Ok(stay) => stay,
                Err(why) => return ControlFlow::Continue(why),
            };
            let turn = {
                let _queued = Queued::begin(worker, &mut *visit);
                let _watched = client.clone().map(Watched::begin);
                tokio::select! {
                    biased;
                    turn = line.turn(self.lack, rounds) => turn,
                    () = leaving(worker) => Err(WaitOutcome::Drained),
                }
            };
            let turn = match turn {
                Ok(turn) => turn,
                Err(outcome) => {
                    stay.ends(outcome);
                    self.crowded = outcome == WaitOutcome::Crowded;
                    let waited = self.waited();
                    self.tell_vain(visit, waited);
                    return ControlFlow::Continue(Unserved::Late { waited });
                }
            };
            outgoing.upload.keep_again();
            // In a box: what waits is to be small.
            let sending = Box::pin(resend(worker, choice, (&mut *outgoing, &mut *visit)));
            let (sent, stays) = stay.in_turn(turn, sending).await;
            let failed = match sent {
                Err(failed) => failed,
                sent => return ControlFlow::Break(sent),
            };
            let told = breaking::untold(choice, &failed);
            match lack(&failed, choice, (&*outgoing, &mut *visit)) {
                Some(lack) => {
                    (self.lack, self.error) = (lack, failed);
                    self.untold = told.or(self.untold);
                }
                // Others have opened the breaker meanwhile, or are on trial: it asks again as long as that may end in time.
                None if is_refused_until(&failed, line.until()) => {}
                None => {
                    breaking::note_untold(worker, choice, told, visit);
                    return ControlFlow::Break(Err(failed));
                }
            }
            kept = stays.map(Stay::goes_on);
            rounds = rounds.saturating_add(1);
        }
    }

    /// Takes a seat, where there is one.
    fn enter(
        &self,
        room: &Arc<Room>,
        outgoing: &Outgoing<'_>,
        rounds: u32,
    ) -> Result<Stay<'w>, Unserved> {
        let Self { worker, choice, spec, .. } = *self;
        match seat(worker, choice, outgoing, (room, spec)) {
            Ok(seat) => {
                if rounds == 0 {
                    tell_first(worker, choice, &seat);
                }
                Ok(Stay::begin(worker, &choice.pool.label, seat))
            }
            Err(full) => {
                let outcome = WaitOutcome::from(full);
                worker.meter.awaited(&choice.pool.label, outcome, Duration::ZERO);
                Err(Unserved::Full)
            }
        }
    }

    /// After a wait in vain, or where there was no room for one: as it would have been without. So goes, too, who had no
    /// turn in time.
    async fn try_anybody(
        self,
        (outgoing, visit): (&mut Outgoing<'_>, &mut Visit),
        why: Unserved,
    ) -> Sent {
        if self.lack == Lack::Connection && !self.crowded {
            breaking::note_untold(self.worker, self.choice, self.untold, visit);
            return Err(self.error); // they were tried
        }
        self.worker.clock.now();
        visit.take_anybody();
        let unserved = ExchangeError::Unserved { why, retry_after: self.spec.time };
        match resend(self.worker, self.choice, (outgoing, visit)).await {
            Err(ExchangeError::NoEndpoint) => {
                breaking::note_untold(self.worker, self.choice, self.untold, visit);
                Err(unserved)
            }
            // Who is known to be down was down.
            Err(ExchangeError::Attempt(AttemptError::Connect(_))) if self.lack == Lack::Anybody => {
                Err(unserved)
            }
            sent => sent,
        }
    }

    fn waited(&self) -> Duration {
        let waited = self.worker.clock.now().saturating_duration_since(self.came);
        Duration::from_millis(u64::try_from(waited.as_millis()).unwrap_or(u64::MAX))
    }

    fn tell_vain(&self, visit: &Visit, waited: Duration) {
        if self.worker.lines.admits() {
            let pool = &self.choice.pool.label.name;
            let id = visit.request_id();
            let request_id = id.to_str().unwrap_or_default();
            let what = match self.crowded {
                true => "had no turn while it waited for an endpoint, and is sent without one",
                false => "has waited for an endpoint in vain",
            };
            tracing::warn!(%pool, request_id, ?waited, "a request {what}");
        }
    }
}

impl From<Full> for WaitOutcome {
    fn from(full: Full) -> Self {
        match full {
            Full::Length => Self::Full,
            Full::Memory => Self::Memory,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn what_a_wait_does_not_mend_is_not_waited_for() {
        let error = || io::Error::from(io::ErrorKind::ConnectionRefused);
        assert!(may_pass(&ConnectError::Refused(error())));
        assert!(may_pass(&ConnectError::Timeout(Duration::from_secs(1))));
        assert!(may_pass(&ConnectError::Shared));
        assert!(!may_pass(&ConnectError::Tls(error())));
        assert!(!may_pass(&ConnectError::TlsTimeout(Duration::from_secs(1))));
    }
}
