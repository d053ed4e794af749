//! What an answer, or none, says of its endpoint and of the next attempt.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::RETRY_AFTER;
use tokio::time::Instant;

use crate::config::spec::Protocol;
use crate::health::passive::{Attempt, Verdict};
use crate::model::endpoint::Endpoint;
use crate::model::grpc::GrpcStatus;
use crate::model::ids::EndpointId;
use crate::pool::InFlight;
use crate::resilience::remaining;
use crate::resilience::retry::Failure;

use super::attempt::{self, Answered};
use super::error::{AttemptError, ExchangeError};
use super::forward::Effort;
use super::grpc::{self, GRPC_STATUS};
use super::judged;
use super::outgoing::Outgoing;

impl Effort<'_> {
    /// No answer came from an endpoint: what it shares its connection of HTTP/2 with goes by another one.
    #[cold]
    pub(super) fn doubt(&self, endpoint: &Arc<Endpoint>, outgoing: &Outgoing<'_>) {
        if self.pool.spec.protocol != Protocol::H2 {
            return; // it is closed
        }
        let apart = outgoing.apart.as_deref();
        let to = attempt::destination(self.worker, self.pool, endpoint, (&self.deadlines, apart));
        let now = self.worker.clock.recent();
        if let Some(connection) = self.worker.client.reuse(&to, Duration::MAX, now) {
            connection.doubt();
        }
    }

    /// Whether a failure says nothing of the endpoint, since its client gave it too little time, or it waited behind too many
    /// others: those make all endpoints of the pool late, and were they ejected for it the others would have more to do.
    pub(super) fn excuses(&self, error: &AttemptError, started: Instant) -> bool {
        matches!(error, AttemptError::Timeout { .. })
            && (self.pool.excuses_late() || attempt::is_excused(&self.deadlines, started, self.end))
    }

    /// What the end of an attempt that began then says of its endpoint; `None`: nothing.
    pub(super) fn verdict(
        &self,
        answered: &Result<Answered, ExchangeError>,
        began: Instant,
    ) -> Option<Verdict> {
        match answered {
            // RFC 9110 §15: a status above 599 is as good as one of class 5.
            Ok((answer, _)) if answer.status().as_u16() >= 500 => Some(failed(answered)),
            Ok(call) if self.fails_call(call) => Some(failed(answered)),
            Ok(_) => Some(Verdict::Success),
            Err(ExchangeError::Attempt(error)) if !self.excuses(error, began) => error.verdict(),
            Err(_) => None,
        }
    }

    /// Counts what an attempt that began then says of its endpoint.
    pub(super) fn judge(&self, picked: &InFlight, verdict: Verdict, began: Instant) {
        let Effort { worker, pool, tenant, route, .. } = *self;
        let now = worker.clock.recent();
        let attempt = Attempt { verdict, tenant: tenant.slot(), began, now };
        judged::judge(worker, (pool, picked.endpoint()), attempt, route);
    }

    /// How long the next attempt waits that needs the budget.
    #[cold]
    pub(super) fn pause(&self, failure: Failure, tried: &[EndpointId]) -> Duration {
        self.rule.pause(failure, tried.len() as u32, self.is_next_sound(tried))
    }

    /// The longest that may be.
    #[cold]
    pub(super) fn longest_pause(&self, failure: Failure, tried: &[EndpointId]) -> Duration {
        self.rule.longest_pause(failure, tried.len() as u32, self.is_next_sound(tried))
    }

    /// Whether the first retry goes to an endpoint that is known to be sound: where failures are not counted nobody is.
    fn is_next_sound(&self, tried: &[EndpointId]) -> bool {
        self.pool.spec.eject.failures > 0 && tried.len() == 1 && self.offers_sound(tried)
    }

    /// What might be tried again of a call of gRPC that has failed.
    #[cold]
    #[inline(never)]
    pub(super) fn failed_call(&self, answered: &Answered) -> Option<Failure> {
        let status = status_of_call(answered)?;
        self.rule.lists_grpc_status(status).then_some(Failure::Grpc(status))
    }

    /// Whether it is a call of gRPC that its endpoint could not serve, as a 503 says. Other statuses are as much the call's as the
    /// endpoint's, also where they are tried again: a quota that is used up, a conflict.
    #[inline]
    fn fails_call(&self, answered: &Answered) -> bool {
        self.pool.spec.protocol == Protocol::H2
            && answered.1.size_hint().exact() == Some(0)
            && status_of_call(answered) == Some(GrpcStatus::UNAVAILABLE)
    }
}

/// A call of gRPC that has failed before its endpoint sent anything says so in the head of its answer.
#[cold]
#[inline(never)]
fn status_of_call((answer, connection): &Answered) -> Option<GrpcStatus> {
    // A page of HTTP may have a field of that name, and a call that goes on has no status yet.
    if !grpc::speaks(answer.headers()) || connection.size_hint().exact() != Some(0) {
        return None;
    }
    GrpcStatus::told(answer.headers().get(GRPC_STATUS)?.as_bytes())
}

/// What an answer that failed says of its endpoint.
#[cold]
fn failed(answered: &Result<Answered, ExchangeError>) -> Verdict {
    asks_to_wait(answered).map_or(Verdict::Failure, |_| Verdict::Busy)
}

/// How long the endpoint asks to be left alone, where it has answered.
pub(super) fn asks_to_wait(answered: &Result<Answered, ExchangeError>) -> Option<Duration> {
    let (answer, _) = answered.as_ref().ok()?;
    told_to_wait(answer.headers())
}

/// The same, of an answer's head.
pub(super) fn told_to_wait(headers: &HeaderMap) -> Option<Duration> {
    remaining::retry_after(headers.get(RETRY_AFTER)?.as_bytes(), SystemTime::now())
}
