//! Sends the question to an endpoint of the service's pool, and reads the answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{HOST, HeaderValue};
use http::request::Parts;
use http::uri::{Authority, Scheme};
use http::{Uri, Version};
use tokio::time::{Instant, timeout_at};

use crate::base::memory::Refused;
use crate::config::spec::{Protocol, TimeoutsSpec};
use crate::health::passive::{Attempt, Verdict as Health};
use crate::model::address::Address;
use crate::model::endpoint::Endpoint;
use crate::model::ids::EndpointId;
use crate::pool::balancer::PickKey;
use crate::pool::{InFlight, Pool};
use crate::proxy::apart::Apart;
use crate::proxy::attempt;
use crate::proxy::error::{AttemptError, ExchangeError};
use crate::proxy::judge::told_to_wait;
use crate::proxy::judged;
use crate::proxy::request_body::RequestBody;
use crate::proxy::worker::Worker;
use crate::resilience::deadline::Deadlines;
use crate::routing::authorizer::Authorizer;
use crate::telemetry::delta::AttemptOutcome;
use crate::upstream::{Call, ConnectError, Connection, Destination, Fields, SendError};

use super::verdict::{Fault, Heard};

/// How long a question has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Time {
    pub(super) until: Instant,
    /// It is as long as the service may take: who says nothing in less may be about to.
    pub(super) whole: bool,
}

/// Asks until an endpoint answers, two of them at most: whoever waits has no time for more. Where a second one could
/// be asked, the first has half of the time, so that one that hangs does not use up all of it.
pub(super) async fn call(
    worker: &Worker,
    authorizer: &Authorizer,
    (tenant, apart): (u32, Option<&Apart>),
    asked: &mut Parts,
    Time { until, whole }: Time,
) -> Result<Heard, Fault> {
    let pool = &*authorizer.pool;
    worker.meter.hear_of_pool(&pool.label);
    let (mut tried, mut last) = (Vec::with_capacity(ENDPOINTS), Fault::NoEndpoint);
    for _ in 0..ENDPOINTS {
        let now = Instant::now();
        if now >= until {
            return Err(if tried.is_empty() { Fault::Late } else { last });
        }
        let may_try = tried.is_empty() && pool.members.is_watchful();
        let on_trial = may_try.then(|| pool.pick_on_trial(tenant, true, now)).flatten();
        let picked = on_trial.or_else(|| pool.pick(PickKey::default(), &tried));
        let Some(picked) = picked.or_else(|| at_last(pool, &tried)) else { break };
        let endpoint = picked.endpoint();
        if tried.contains(&endpoint.id) {
            break; // there is no other
        }
        tried.push(endpoint.id);
        let last_one = tried.len() == ENDPOINTS || !pool.has_untried(&tried);
        let end = if last_one { until } else { now + (until - now) / 2 };
        let mut one =
            One { worker, pool, endpoint, tenant, apart, began: now, end, whole, ended: false };
        address(asked, authorizer, endpoint);
        let answered = one.ask(asked).await;
        one.end(&answered);
        match answered {
            Ok(heard) if is_failure(&heard) => last = last.then(Fault::Status(heard.status)),
            Ok(heard) => return Ok(heard),
            Err(fault @ (Fault::Attempt(_) | Fault::Late)) => last = last.then(fault),
            Err(fault) => return Err(fault), // of the request, whoever is asked
        }
    }
    Err(last)
}

/// Anybody, where nobody is healthy and the pool has requests wait: a question does not.
#[cold]
fn at_last(pool: &Pool, tried: &[EndpointId]) -> Option<InFlight> {
    pool.spec.wait.and_then(|_| pool.pick_left_out(tried))
}

/// One endpoint that is asked. Counts how that ends, also when the client leaves and it is dropped.
struct One<'o> {
    worker: &'o Worker,
    pool: &'o Pool,
    endpoint: &'o Arc<Endpoint>,
    tenant: u32,
    /// What keeps its connections apart.
    apart: Option<&'o Apart>,
    began: Instant,
    /// When it must have answered.
    end: Instant,
    /// Whether it had the time that it may take.
    whole: bool,
    ended: bool,
}

impl One<'_> {
    async fn ask(&self, asked: &Parts) -> Result<Heard, Fault> {
        let Self { worker, pool, endpoint, .. } = self;
        let deadlines = Deadlines::resolve(&TimeoutsSpec::UNSAID, &pool.spec.timeouts);
        let to = attempt::destination(worker, pool, endpoint, (&deadlines, self.apart));
        let mut reused = worker.client.reuse(&to, Duration::MAX, worker.clock.recent());
        loop {
            let mut connection = match reused.take() {
                Some(connection) => connection,
                None => self.open(&to).await?,
            };
            match self.send(&mut connection, asked).await? {
                Ok((status, headers)) => {
                    let body = self.read(connection, !status.is_success()).await?;
                    return Ok(Heard { status, headers, body });
                }
                // It was closed while it lay idle.
                Err(SendError::Unsent(_)) if connection.reused => {}
                // The same, unless it carries others: then this one may have been heard.
                Err(SendError::Reset(_))
                    if connection.reused && pool.spec.protocol == Protocol::H1 => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }

    async fn open(&self, to: &Destination<'_>) -> Result<Connection<RequestBody>, Fault> {
        let opening = Box::pin(self.worker.client.open(to));
        match timeout_at(self.end, opening).await {
            Ok(opened) => opened.map_err(|error| AttemptError::from(error).into()),
            Err(_) => Err(self.late(ConnectError::Timeout(self.limit()).into())),
        }
    }

    async fn send(
        &self,
        connection: &mut Connection<RequestBody>,
        asked: &Parts,
    ) -> Result<Result<(http::StatusCode, http::HeaderMap), SendError>, Fault> {
        let (added, interim) = (Fields::new(), |_| {});
        let call = Call { head: asked, added: &added, interim: &interim };
        let sent = timeout_at(self.end, connection.send(call, RequestBody::Empty)).await;
        match sent {
            Ok(sent) => Ok(sent.map(|answer| (answer.status(), answer.headers().clone()))),
            Err(_) => {
                connection.doubt();
                Err(self.late(AttemptError::Timeout { limit: self.limit() }))
            }
        }
    }

    /// The body of an answer, which counts as held, where it is of use; nothing of one that is too large, or for which there
    /// is no memory. The connection is kept where all was read.
    async fn read(
        &self,
        mut connection: Connection<RequestBody>,
        is_of_use: bool,
    ) -> Result<Bytes, Fault> {
        let (mut body, mut size) = (BytesMut::new(), 0);
        let mut held = self.worker.account.take(0);
        loop {
            let next = std::future::poll_fn(|context| connection.poll_frame(context));
            let Ok(frame) = timeout_at(self.end, next).await else {
                connection.doubt();
                return Err(self.late(AttemptError::Timeout { limit: self.limit() }));
            };
            let Some(frame) = frame else { break };
            let frame = frame.map_err(AttemptError::Reset)?;
            let Some(part) = frame.data_ref() else { continue };
            size += part.len();
            let grows = is_of_use && size <= LARGEST;
            if size > LARGEST || (grows && !held.ask_more(Refused::Request, part.len() as u64)) {
                return Ok(Bytes::new()); // and the connection ends
            }
            if grows {
                body.extend_from_slice(part);
            }
        }
        self.worker.client.put_back(connection, self.worker.clock.recent());
        Ok(held.whole(body.freeze()))
    }

    /// It was not heard in time. Where that was less than it may take, nobody is to blame.
    fn late(&self, error: AttemptError) -> Fault {
        if self.whole { error.into() } else { Fault::Late }
    }

    fn limit(&self) -> Duration {
        self.end.saturating_duration_since(self.began)
    }

    /// Judges the endpoint by what came of it, as any other attempt does.
    fn end(&mut self, answered: &Result<Heard, Fault>) {
        self.ended = true;
        let Self { worker, pool, endpoint, .. } = *self;
        let now = worker.clock.now();
        let (outcome, verdict) = match answered {
            Ok(heard) if is_failure(heard) => {
                (attempt::outcome_of(heard.status), Some(failed_by(heard)))
            }
            Ok(heard) => (attempt::outcome_of(heard.status), Some(Health::Success)),
            Err(Fault::Attempt(error)) => (error.outcome(), error.verdict()),
            Err(Fault::Late) => (AttemptOutcome::Timeout, None),
            Err(_) => (AttemptOutcome::Cancelled, None), // it was not heard
        };
        let first_byte = answered.is_ok().then(|| now.saturating_duration_since(self.began));
        worker.meter.attempt(&pool.label, endpoint, outcome, first_byte);
        let Some(verdict) = verdict else { return };
        let attempt = Attempt { verdict, tenant: self.tenant, began: self.began, now };
        judged::judge(worker, (pool, endpoint), attempt, None);
    }
}

impl Drop for One<'_> {
    fn drop(&mut self) {
        if !self.ended {
            let outcome = AttemptOutcome::Cancelled;
            self.worker.meter.attempt(&self.pool.label, self.endpoint, outcome, None);
        }
    }
}

/// Whether it says that it cannot say anything.
fn is_failure(heard: &Heard) -> bool {
    !(200..500).contains(&heard.status.as_u16())
}

/// What such an answer says of its endpoint: one of class 5 may say when to come again.
fn failed_by(heard: &Heard) -> Health {
    let waits = heard.status.as_u16() >= 500 && told_to_wait(&heard.headers).is_some();
    if waits { Health::Busy } else { Health::Failure }
}

fn failed(error: SendError) -> Fault {
    match attempt::failed(error) {
        ExchangeError::Attempt(error) => error.into(),
        ExchangeError::BadRequest(why) => Fault::Request(why),
        _ => Fault::Request("it cannot be sent on"),
    }
}

/// Says whom the question is for, as the pool's protocol has it.
fn address(asked: &mut Parts, authorizer: &Authorizer, endpoint: &Endpoint) {
    let host = authorizer.host.clone().or_else(|| match &endpoint.address {
        Address::Net(address) => HeaderValue::try_from(address.to_string()).ok(),
        Address::Unix(_) => None, // a path is no host
    });
    let host = host.unwrap_or_else(|| HeaderValue::from_static("localhost"));
    let path = authorizer.spec.path.clone();
    match authorizer.pool.spec.protocol {
        Protocol::H1 => {
            asked.version = Version::HTTP_11;
            asked.uri = path.into();
            asked.headers.insert(HOST, host);
        }
        Protocol::H2 => {
            asked.version = Version::HTTP_2;
            let secure = authorizer.pool.spec.tls.is_some();
            let mut parts = http::uri::Parts::default();
            parts.scheme = Some(if secure { Scheme::HTTPS } else { Scheme::HTTP });
            parts.authority = Authority::try_from(host.as_bytes()).ok();
            parts.path_and_query = Some(path);
            asked.uri = Uri::from_parts(parts).unwrap_or_default();
        }
    }
}

/// 2: the second where the first does not answer.
const ENDPOINTS: usize = 2;
/// 64 KiB: a page that says why.
const LARGEST: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};

    use super::*;

    #[test]
    fn an_endpoint_that_says_when_to_come_again_is_busy_and_brings_no_check_forward() {
        let heard = |status, wait: Option<&'static str>| {
            let fields = wait.map(|wait| ("retry-after".parse().unwrap(), wait.parse().unwrap()));
            let headers: HeaderMap = fields.into_iter().collect();
            failed_by(&Heard { status, headers, body: Bytes::new() })
        };
        assert_eq!(heard(StatusCode::SERVICE_UNAVAILABLE, Some("5")), Health::Busy);
        assert_eq!(heard(StatusCode::SERVICE_UNAVAILABLE, None), Health::Failure);
        assert_eq!(heard(StatusCode::SERVICE_UNAVAILABLE, Some("soon")), Health::Failure);
        assert_eq!(heard(StatusCode::FOUND, Some("5")), Health::Failure);
    }
}
