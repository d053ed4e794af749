//! Sends a copy to an endpoint of its pool, and reads the answer away.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::time::{Instant, timeout_at};

use crate::base::fair::Permit;
use crate::config::spec::{Protocol, TimeoutsSpec};
use crate::health::passive::{self, Verdict};
use crate::model::endpoint::Endpoint;
use crate::pool::InFlight;
use crate::proxy::admission;
use crate::proxy::attempt;
use crate::proxy::error::{AttemptError, ExchangeError};
use crate::proxy::judged;
use crate::proxy::part::Part;
use crate::proxy::request_body::RequestBody;
use crate::resilience::deadline::Deadlines;
use crate::resilience::retry::is_idempotent;
use crate::telemetry::delta::AttemptOutcome;
use crate::telemetry::mirrors::Outcome;
use crate::upstream::{Call, ConnectError, Connection, Destination, SendError};

use super::copying::Copy;
use super::kept::Whole;
use super::{Side, head, kept};

impl Copy {
    /// Has it sent by a task of its own.
    pub(super) fn send(self: Box<Self>, body: Vec<Part>) {
        let worker = Rc::clone(&self.worker);
        worker.mirrors.spawn(self.run(body));
    }

    async fn run(mut self: Box<Self>, parts: Vec<Part>) {
        head::frame(&mut self.head, &parts);
        let body = Rc::new(Whole { parts, _takes: self.takes.take() });
        self.outcome = Outcome::Busy;
        let Ok(_permit) = self.enter() else { return };
        self.outcome = Outcome::NoEndpoint;
        let Some(picked) = self.pick() else { return };
        let endpoint = Arc::clone(picked.endpoint());
        self.outcome = Outcome::Cancelled;
        let began = Instant::now();
        let until = began + self.spec.timeout;
        let outcome = AttemptOutcome::Cancelled;
        let mut attempt = Attempt { copy: &self, endpoint: &endpoint, began, until, outcome };
        let answered = attempt.ask(&body).await;
        let (status, outcome) = match &answered {
            Ok((status, _)) => {
                attempt.outcome = attempt::outcome_of(*status);
                attempt.relieve(*status);
                (Some(status.as_u16()), Outcome::Answered)
            }
            Err(ExchangeError::Attempt(error)) => {
                attempt.outcome = error.outcome();
                let outcome = match error {
                    AttemptError::Timeout { .. }
                    | AttemptError::Connect(ConnectError::Timeout(_)) => Outcome::Timeout,
                    _ => Outcome::Failed,
                };
                (None, outcome)
            }
            Err(_) => (None, Outcome::Failed),
        };
        drop(attempt);
        self.outcome = outcome;
        if let Some(comparison) = self.comparison.take() {
            comparison.tell(Side::Mirror, status, began.elapsed());
        }
        if let Ok((_, connection)) = answered {
            // Where that takes too long, the connection ends.
            timeout_at(until, self.read_away(connection)).await.ok();
        }
    }

    /// As a request of the same tenant would be, which goes there in earnest.
    fn pick(&self) -> Option<InFlight> {
        let (pool, (id, slot)) = (&self.pool, &self.tenant);
        if pool.members.is_watchful() {
            let now = self.worker.clock.now();
            let tried = match pool.is_sharded() {
                false => pool.pick_on_trial(*slot, true, now),
                true => pool.pick_own_on_trial((id, *slot), true, now),
            };
            if tried.is_some() {
                return tried;
            }
        }
        match pool.is_sharded() {
            false => pool.pick(self.key, &[]),
            true => pool.pick_own(id, self.key, &[]),
        }
    }

    /// Comes into a pool that takes so many requests at once, where there is room and nobody waits.
    fn enter(&self) -> Result<Option<Permit>, ()> {
        match self.pool.gate() {
            None => Ok(None),
            Some(gate) => {
                let permit = admission::try_enter_copy(&self.worker, &self.pool, gate, &self.route);
                permit.map(Some).ok_or(())
            }
        }
    }

    /// Reads the answer to its end, so that the connection can be kept, unless it is long or came before the end
    /// of the copy: nobody sends the rest of that.
    async fn read_away(&self, mut connection: Connection<RequestBody>) {
        let mut left = READ;
        loop {
            let next = std::future::poll_fn(|context| connection.poll_frame(context));
            let Some(frame) = next.await else { break };
            let Ok(frame) = frame else { return };
            let size = frame.data_ref().map_or(0, |data| data.len());
            let Some(less) = usize::checked_sub(left, size) else { return };
            left = less;
        }
        if connection.is_sent() {
            self.worker.client.put_back(connection, self.worker.clock.now());
        }
    }
}

/// One copy at one endpoint. Counts how it ended, also when it is dropped.
struct Attempt<'c> {
    copy: &'c Copy,
    endpoint: &'c Arc<Endpoint>,
    began: Instant,
    /// When it must have been answered.
    until: Instant,
    outcome: AttemptOutcome,
}

impl Attempt<'_> {
    async fn ask(
        &self,
        body: &Rc<Whole>,
    ) -> Result<(StatusCode, Connection<RequestBody>), ExchangeError> {
        let Copy { worker, pool, head, added, apart, .. } = self.copy;
        let deadlines = Deadlines::resolve(&TimeoutsSpec::UNSAID, &pool.spec.timeouts);
        let to = attempt::destination(worker, pool, self.endpoint, (&deadlines, apart.as_deref()));
        let may_repeat = is_idempotent(&head.method, &head.headers);
        let rested = if may_repeat { Duration::MAX } else { attempt::RESTED };
        let mut reused = worker.client.reuse(&to, rested, worker.clock.now());
        loop {
            let mut connection = match reused.take() {
                Some(connection) => connection,
                None => self.open(&to).await.inspect_err(|error| self.judge(error))?,
            };
            let interim = |_| {};
            let call = Call { head, added, interim: &interim };
            let sending = connection.send(call, kept::body(body));
            let Ok(sent) = timeout_at(self.until, sending).await else {
                // The mirror's own limit says nothing of a connection that others use.
                let limit = deadlines.first_byte.or(deadlines.attempt);
                if limit.is_some_and(|limit| self.began.elapsed() >= limit) {
                    connection.doubt();
                }
                return Err(AttemptError::Timeout { limit: self.copy.spec.timeout }.into());
            };
            match sent {
                Ok(answer) => return Ok((answer.status(), connection)),
                // It was closed while it lay idle.
                Err(SendError::Unsent(_)) if connection.reused => {}
                Err(SendError::Reset(_))
                    if connection.reused && may_repeat && pool.spec.protocol == Protocol::H1 => {}
                Err(error) => return Err(attempt::failed(error)),
            }
        }
    }

    /// Tells that an endpoint works of which that is in doubt: in a pool that gets copies alone nobody else does.
    fn relieve(&self, status: StatusCode) {
        if self.endpoint.is_in_doubt() && !status.is_server_error() {
            self.tell(Verdict::Success, self.copy.tenant.1);
        }
    }

    fn tell(&self, verdict: Verdict, tenant: u32) {
        let Copy { worker, pool, .. } = self.copy;
        let (began, now) = (self.began, worker.clock.now());
        let attempt = passive::Attempt { verdict, tenant, began, now };
        judged::judge(worker, (pool, self.endpoint), attempt, None);
    }

    /// Tells that an endpoint cannot be reached: whoever asks would find that out, and those who waited for this
    /// connection leave it to the one that made it to say so. What came too late for the mirror alone is no
    /// such thing.
    fn judge(&self, error: &AttemptError) {
        let is_cut = Instant::now() >= self.until;
        if let Some(verdict @ Verdict::Unreachable) = error.verdict().filter(|_| !is_cut) {
            self.tell(verdict, 0); // whose request it was plays no part in that
        }
    }

    async fn open(&self, to: &Destination<'_>) -> Result<Connection<RequestBody>, AttemptError> {
        let opening = Box::pin(self.copy.worker.client.open(to));
        match timeout_at(self.until, opening).await {
            Ok(opened) => opened.map_err(AttemptError::from),
            Err(_) => Err(ConnectError::Timeout(self.copy.spec.timeout).into()),
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let Copy { worker, pool, .. } = self.copy;
        let first_byte = self.outcome.is_answer().then(|| self.began.elapsed());
        worker.meter.attempt_by_copy(&pool.label, self.endpoint, self.outcome, first_byte);
    }
}

/// 1 MiB: more is read of nobody's answer, and the connection ends.
const READ: usize = 1 << 20;
