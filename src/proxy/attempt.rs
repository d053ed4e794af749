//! One try at one endpoint: a connection that is open already or a new one, the request, the head
//! of the answer.

use std::cell::Cell;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use http::StatusCode;
use tokio::time::{Instant, sleep_until};

use crate::base::socket;
use crate::config::spec::ConnectionsSpec;
use crate::health::passive::Verdict;
use crate::http1::room::AnswerHead;
use crate::model::endpoint::Endpoint;
use crate::pool::Pool;
use crate::resilience::deadline::Deadlines;
use crate::resilience::retry::Failure;
use crate::telemetry::delta::AttemptOutcome;
use crate::telemetry::trace::{Dial, Dialed};
use crate::upstream::{Call, ConnectError, Connection, Destination, SendError};

use super::apart::Apart;
use super::body_rule::BodyFault;
use super::error::{AttemptError, ExchangeError};
use super::outgoing::Outgoing;
use super::request_body::{RequestBody, Upload};
use super::waits::Waits;
use super::worker::Worker;

/// The bounds of one attempt.
#[derive(Clone, Copy)]
pub(super) struct Bounds<'d> {
    pub(super) deadlines: &'d Deadlines,
    /// When the attempt began.
    pub(super) started: Instant,
    /// When the whole exchange must have ended.
    pub(super) end: Option<Instant>,
    /// Where the wait for a connection is noted; `None`: nobody asks.
    pub(super) dial: Option<&'d Cell<Option<Dial>>>,
    /// Whether the request is better sent to another endpoint by now; `None`: it stays.
    pub(super) elsewhere: Option<&'d dyn Fn() -> bool>,
}

/// What an attempt brought: the head of an answer, and the connection that its body comes from.
pub(super) type Answered = (AnswerHead, Connection<RequestBody>);

/// Makes one attempt.
///
/// # Errors
/// What the endpoint did wrong, or, as `Body`, the client.
pub(super) async fn run(
    worker: &Worker,
    pool: &Pool,
    endpoint: &Arc<Endpoint>,
    bounds: Bounds<'_>,
    outgoing: &Outgoing<'_>,
) -> Result<Answered, ExchangeError> {
    let apart = outgoing.apart.as_deref();
    let to = destination(worker, pool, endpoint, (bounds.deadlines, apart));
    let rested = if outgoing.idempotent { Duration::MAX } else { RESTED };
    loop {
        let mut connection = match worker.client.reuse(&to, rested, worker.clock.recent()) {
            Some(connection) => connection,
            None => {
                bounds.note_dial(None);
                // Boxed: it is rare, and larger than all the rest of an exchange.
                let mut open = Box::pin(worker.client.open(&to));
                let opened =
                    within(&worker.waits, bounds, open.as_mut(), || outgoing.taken()).await;
                bounds.note_dial(Some(dialed(&opened)));
                opened?.map_err(AttemptError::from)?
            }
        };
        // A retry is judged only where the body can be had again, so there is one.
        let body = outgoing.reader().ok_or(ExchangeError::NoEndpoint)?;
        let sent = {
            let interim = |answer| outgoing.interim(answer);
            let call = Call { head: outgoing.head, added: &outgoing.added, interim: &interim };
            let send = pin!(connection.send(call, body));
            answer_within(&worker.waits, bounds, send, outgoing).await
        };
        let blame = |late| blame(late, bounds, &connection, &outgoing.upload);
        let error = match sent.map_err(blame)? {
            Ok(answer) => return Ok((answer, connection)),
            Err(error) => error,
        };
        if let Some(fault) = outgoing.upload.fault() {
            return Err(fault.into());
        }
        match error {
            // The endpoint had closed an idle connection: no fault of anybody's. The next one is
            // tried, at last a new one.
            SendError::Unsent(_) if connection.reused && outgoing.upload.is_replayable() => {}
            error => return Err(failed(error)),
        }
    }
}

/// Whether the time that is over is the client's own, and the attempt had little of it: a client may be as
/// short as it likes, and that an endpoint has not answered then says nothing of the endpoint. In a second
/// one that is well has.
pub(super) fn is_excused(deadlines: &Deadlines, started: Instant, end: Option<Instant>) -> bool {
    deadlines.by_client
        && end.is_some_and(|end| {
            Instant::now() >= end && end.saturating_duration_since(started) < PLENTY
        })
}

/// An endpoint that had no whole request in time is not the one that was late: a slow client must
/// neither eject it nor spend retries.
fn blame(
    late: AttemptError,
    bounds: Bounds<'_>,
    connection: &Connection<RequestBody>,
    upload: &Upload,
) -> ExchangeError {
    match late {
        AttemptError::Timeout { limit } if upload.awaits_client() => {
            BodyFault::Slow { limit }.into()
        }
        late => {
            if !is_excused(bounds.deadlines, bounds.started, bounds.end) {
                connection.doubt();
            }
            late.into()
        }
    }
}

/// What it means that a request that had a connection brought no answer.
pub(super) fn failed(error: SendError) -> ExchangeError {
    let error = match error {
        SendError::Request(why) => return ExchangeError::BadRequest(why),
        SendError::Unsent(cause) => AttemptError::Untouched(cause),
        SendError::Declined(cause) => AttemptError::Declined(cause),
        SendError::BadAnswer(cause) => AttemptError::BadAnswer(cause),
        SendError::Reset(cause) | SendError::RequestBody(cause) => AttemptError::Reset(cause),
    };
    error.into()
}

/// Where an attempt at this endpoint goes.
pub(super) fn destination<'a>(
    worker: &Worker,
    pool: &'a Pool,
    endpoint: &'a Arc<Endpoint>,
    (deadlines, apart): (&Deadlines, Option<&Apart>),
) -> Destination<'a> {
    let spec = &pool.spec;
    let proxy = apart.and_then(|apart| apart.proxy);
    let share = match proxy {
        None => spec.connections.idle.div_ceil(worker.gateway.workers.max(1)),
        Some(_) => 0, // one client's, which nobody else's request may go by
    };
    let name = spec.tls.as_ref().and_then(|tls| tls.server_name.as_ref());
    Destination {
        endpoint,
        pool: &pool.label,
        transport: apart.map_or(pool.transport, |apart| apart.transport(pool)),
        protocol: spec.protocol,
        tls: pool.tls.as_ref().map(|config| (config, name)),
        proxy,
        keep: ConnectionsSpec { idle: share, ..spec.connections },
        connect_limit: deadlines.connect,
        tls_limit: deadlines.tls,
    }
}

fn dialed(opened: &Result<Result<Connection<RequestBody>, ConnectError>, AttemptError>) -> Dialed {
    match opened {
        Ok(Ok(connection)) if connection.reused => Dialed::Shared,
        Ok(Ok(_)) => Dialed::Opened,
        _ => Dialed::Failed,
    }
}

impl Bounds<'_> {
    /// Notes that a wait for a connection begins, or what became of it.
    fn note_dial(&self, became: Option<Dialed>) {
        let Some(dial) = self.dial else { return };
        let now = Instant::now();
        dial.set(match (dial.get(), became) {
            (Some(dial), Some(outcome)) => Some(Dial { ended: Some(now), outcome, ..dial }),
            _ => Some(Dial { started: now, ended: None, outcome: Dialed::Failed }),
        });
    }

    /// When the attempt is over, if the endpoint takes nothing more of the request's body, and since
    /// when that time runs. An upload that moves on is no sign of trouble: its time starts anew with
    /// each part.
    fn end(&self, taken: Option<Instant>) -> Option<(Instant, Instant)> {
        let from = taken.map_or(self.started, |taken| taken.max(self.started));
        let end = self.deadlines.attempt_end(from, self.end)?;
        let since = if self.end == Some(end) { self.started } else { from };
        Some((end, since))
    }
}

/// Waits no longer than the attempt may last. `taken` tells when the endpoint last took a part of the
/// request's body.
async fn within<F: Future>(
    waits: &Waits,
    bounds: Bounds<'_>,
    mut future: Pin<&mut F>,
    taken: impl Fn() -> Option<Instant>,
) -> Result<F::Output, AttemptError> {
    // Also who may wait for ever has a place where it is told that its endpoint is down.
    let ends = || bounds.end(taken()).unwrap_or((bounds.started + NEVER, bounds.started));
    let (mut end, mut since) = ends();
    let (mut bell, mut told) = (waits.bell(end), waits.told());
    std::future::poll_fn(|context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Ok(output));
        }
        if waits.told() != told {
            if bounds.elsewhere.is_some_and(|elsewhere| elsewhere()) {
                return Poll::Ready(Err(AttemptError::Down));
            }
            told = waits.told();
        }
        loop {
            ready!(bell.poll(context));
            match ends() {
                (later, anew) if later > end => (end, since) = (later, anew),
                _ => {
                    let limit = end.saturating_duration_since(since);
                    return Poll::Ready(Err(AttemptError::Timeout { limit }));
                }
            }
            bell.reset(end);
        }
    })
    .await
}

/// Waits for an answer's head no longer than the attempt may last, and, from the end of the
/// request on, no longer than an answer's first byte may take.
async fn answer_within<F: Future>(
    waits: &Waits,
    bounds: Bounds<'_>,
    send: Pin<&mut F>,
    outgoing: &Outgoing<'_>,
) -> Result<F::Output, AttemptError> {
    let Some(limit) = bounds.deadlines.first_byte else {
        return within(waits, bounds, send, || outgoing.taken()).await;
    };
    let began = Instant::now();
    let late = async {
        // What is sent again has ended in an earlier attempt already.
        let ended = outgoing.upload.ended().await.max(began);
        sleep_until(ended + limit).await;
    };
    tokio::select! {
        biased;
        sent = within(waits, bounds, send, || outgoing.taken()) => sent,
        () = late => Err(AttemptError::Timeout { limit }),
    }
}

impl AttemptError {
    /// What it says of the endpoint. Nothing, where the endpoint works and has no room, or where
    /// the one dial that failed is counted by the attempt that made it: a restart that sends
    /// `GOAWAY`, or a crowd behind one dial, must not eject by its number. Nor must a gateway that
    /// is out of open files.
    pub(super) fn verdict(&self) -> Option<Verdict> {
        match self {
            Self::Declined(_) | Self::Connect(ConnectError::Shared) => None,
            Self::Down => None, // its checks have said so
            Self::Connect(ConnectError::Refused(error)) if socket::is_out_of_files(error) => None,
            Self::Connect(_) => Some(Verdict::Unreachable),
            _ => Some(Verdict::Failure),
        }
    }

    /// What a retry rule makes of it.
    pub(super) fn failure(&self) -> Failure {
        match self {
            Self::Connect(_) => Failure::Connect,
            Self::Untouched(_) | Self::Declined(_) => Failure::Untouched,
            Self::Reset(_) => Failure::Reset,
            Self::BadAnswer(_) | Self::Unasked => Failure::BadAnswer,
            Self::Timeout { .. } | Self::Down => Failure::Timeout,
        }
    }

    /// The metric's word for it.
    pub(super) fn outcome(&self) -> AttemptOutcome {
        match self {
            Self::Connect(ConnectError::Timeout(_)) => AttemptOutcome::ConnectTimeout,
            Self::Connect(ConnectError::Tls(_) | ConnectError::TlsTimeout(_)) => {
                AttemptOutcome::Tls
            }
            Self::Connect(_) => AttemptOutcome::Connect,
            Self::Untouched(_) | Self::Declined(_) => AttemptOutcome::Refused,
            Self::Reset(_) => AttemptOutcome::Reset,
            Self::BadAnswer(_) | Self::Unasked => AttemptOutcome::BadAnswer,
            Self::Timeout { .. } | Self::Down => AttemptOutcome::Timeout,
        }
    }
}

/// The metric's word for an answer.
pub(super) fn outcome_of(status: StatusCode) -> AttemptOutcome {
    match status.as_u16() {
        0..200 => AttemptOutcome::Informational,
        200..300 => AttemptOutcome::Success,
        300..400 => AttemptOutcome::Redirection,
        400..500 => AttemptOutcome::ClientError,
        _ => AttemptOutcome::ServerError,
    }
}

/// 1 s: servers close a connection that was idle for their own limit, from 2 s on, and a request
/// that crosses with that is lost unless it may be sent twice. One that may not goes to a connection
/// that is not near such a limit, or to a new one.
pub(super) const RESTED: Duration = Duration::from_secs(1);
/// A year: no attempt lasts as long, as some connection on its way ends before.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);
/// 1 s, as long as a connection may take by default: clients of gRPC often give two.
pub(super) const PLENTY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::time::sleep;

    use super::super::clock::Clock;
    use super::*;
    use crate::config::spec::TimeoutsSpec;

    const SECOND: Duration = Duration::from_secs(1);

    /// How long an attempt may last whose endpoint takes so many parts of the body, one each 900 ms,
    /// and then never answers.
    async fn lasts(parts: u32, deadlines: &Deadlines) -> (Duration, Duration) {
        let started = Instant::now();
        let end = deadlines.end(started);
        let bounds = Bounds { deadlines, started, end, dial: None, elsewhere: None };
        let taken = Cell::new(None);
        let waits = Waits::new(Clock::new(), Arc::default());
        let sending = async {
            for _ in 0..parts {
                sleep(Duration::from_millis(900)).await;
                taken.set(Some(Instant::now()));
            }
            std::future::pending::<()>().await;
        };
        let sweeping = async {
            loop {
                sleep(SECOND).await;
                waits.sweep().await; // as the worker does
            }
        };
        let mut sending = pin!(sending);
        let ended = tokio::select! {
            ended = within(&waits, bounds, sending.as_mut(), || taken.get()) => ended,
            never = sweeping => never,
        };
        match ended {
            Err(AttemptError::Timeout { limit }) => (started.elapsed(), limit),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempts_time_starts_anew_with_each_part_that_the_endpoint_takes() {
        let times = TimeoutsSpec {
            attempt: Some(SECOND),
            total: Some(10 * SECOND),
            ..TimeoutsSpec::default()
        };
        let deadlines = Deadlines::resolve(&times, &TimeoutsSpec::default());

        let (idle, limit) = lasts(0, &deadlines).await;
        assert_eq!((idle.as_millis() / 10, limit), (100, SECOND));
        let (five, limit) = lasts(5, &deadlines).await;
        assert_eq!((five.as_millis() / 10, limit), (550, SECOND));

        let (many, limit) = lasts(100, &deadlines).await;
        assert_eq!((many.as_millis() / 10, limit), (1000, 10 * SECOND), "the total time holds");
    }
}
