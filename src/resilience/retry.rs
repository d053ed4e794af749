//! May this failure be tried again? Pure: knows facts, makes a decision.

use std::time::Duration;

use http::{HeaderMap, HeaderName, Method, StatusCode};

use crate::base::units::Percent;
use crate::config::spec::{HedgeSpec, RetryOn, RetrySpec};
use crate::model::grpc::GrpcStatus;

use super::budget::Fill;

/// The retry rules of one exchange, all levels resolved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryRule<'s> {
    /// Tries in all, the first included.
    pub attempts: u32,
    /// What is retried.
    pub on: &'s [RetryOn],
    /// Retries as a share of requests.
    pub budget: Percent,
    /// Retries a second that are always allowed.
    pub budget_floor: u32,
    /// First back-off.
    pub backoff: Duration,
    /// Longest back-off.
    pub max_backoff: Duration,
    /// The longest `Retry-After` that is waited for.
    pub max_retry_after: Duration,
    /// Bytes of a request's body that are kept for a retry.
    pub replay: u64,
    /// Whether anybody speaks of a second attempt beside a slow one: [`HedgeRule`] has the meaning.
    ///
    /// [`HedgeRule`]: super::hedging::HedgeRule
    pub hedge: Option<&'s HedgeSpec>,
}

/// How one attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No connection.
    Connect,
    /// The connection was gone before a byte of the request was sent, or the endpoint said that
    /// it did not begin with it (HTTP/2 `REFUSED_STREAM`, a stream above `GOAWAY`'s last id).
    Untouched,
    /// The connection died after the request had begun and before an answer's head.
    Reset,
    /// The attempt's deadline passed.
    Timeout,
    /// What came is no HTTP answer.
    BadAnswer,
    /// An answer with this status.
    Status(StatusCode),
    /// An answer whose head says that the call of gRPC has failed so.
    Grpc(GrpcStatus),
}

/// What must be known of a request to decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Attempts made so far, at least 1.
    pub attempts: u32,
    /// Acting twice does what acting once does.
    pub idempotent: bool,
    /// The body can be sent again from its start.
    pub replayable: bool,
}

/// Why a failure is not tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The rule does not name this failure.
    NotListed,
    /// All tries are used up.
    Attempts,
    /// The endpoint may have acted, and acting twice may do harm (RFC 9110 §9.2.2).
    NotIdempotent,
    /// More of the body was read than is kept.
    BodyTooLarge,
    /// Too many retries of late.
    Budget,
    /// No time is left.
    Deadline,
    /// The endpoint asks for a longer wait than is made.
    RetryAfter,
}

impl Refusal {
    /// Stable name for the `reason` metric label. Never rename one.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotListed => "not_listed",
            Self::Attempts => "attempts",
            Self::NotIdempotent => "not_idempotent",
            Self::BodyTooLarge => "body_too_large",
            Self::Budget => "budget",
            Self::Deadline => "deadline",
            Self::RetryAfter => "retry_after",
        }
    }
}

impl Failure {
    /// Stable name for the `reason` metric label. Never rename one.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Untouched => "untouched",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::BadAnswer => "bad_answer",
            Self::Status(_) => "status",
            Self::Grpc(_) => "grpc_status",
        }
    }

    /// Whether the endpoint may have acted on the request so that acting twice may do harm. Every call of
    /// gRPC is a `POST`, which says nothing: who lists a status says that calls that fail so may be
    /// made again, as in the retry policy of its clients (gRFC A6).
    fn may_have_acted(self) -> bool {
        !matches!(self, Self::Connect | Self::Untouched | Self::Grpc(_))
    }

    /// Whether what the endpoint asks for concerns all of them: 429 counts requests of a client
    /// (RFC 6585 §4), anything else is said of the one.
    fn is_of_all(self) -> bool {
        self == Self::Status(StatusCode::TOO_MANY_REQUESTS)
    }

    /// Whether the endpoint has failed, so that another one may do better. A status of class 4 and most of gRPC are as much the
    /// request's: a quota that is used up, a conflict.
    fn is_of_endpoint(self) -> bool {
        match self {
            Self::Status(status) => status.is_server_error(),
            Self::Grpc(status) => status == GrpcStatus::UNAVAILABLE,
            _ => true,
        }
    }
}

impl<'s> RetryRule<'s> {
    /// Resolves the levels: `route` over `pool` over what is built in.
    pub fn resolve(route: &'s RetrySpec, pool: &'s RetrySpec) -> Self {
        let on = route.on.as_deref().or(pool.on.as_deref()).unwrap_or(ON);
        Self {
            attempts: route.attempts.or(pool.attempts).unwrap_or(3),
            on,
            budget: route.budget.or(pool.budget).unwrap_or(BUDGET),
            budget_floor: route.budget_floor.or(pool.budget_floor).unwrap_or(10),
            backoff: route.backoff.or(pool.backoff).unwrap_or(BACKOFF),
            max_backoff: route.max_backoff.or(pool.max_backoff).unwrap_or(MAX_BACKOFF),
            max_retry_after: route
                .max_retry_after
                .or(pool.max_retry_after)
                .unwrap_or(MAX_RETRY_AFTER),
            hedge: route.hedge.as_ref().or(pool.hedge.as_ref()),
            replay: route.replay.or(pool.replay).map_or(REPLAY, |size| size.0),
        }
    }

    /// Whether a failure may be tried again, budget and time left aside.
    ///
    /// # Errors
    /// Why not.
    pub fn judge(&self, failure: Failure, facts: Facts) -> Result<(), Refusal> {
        if !self.lists(failure) {
            return Err(Refusal::NotListed);
        }
        if facts.attempts >= self.attempts {
            return Err(Refusal::Attempts);
        }
        if failure.may_have_acted() && !facts.idempotent {
            return Err(Refusal::NotIdempotent);
        }
        if !facts.replayable {
            return Err(Refusal::BodyTooLarge);
        }
        Ok(())
    }

    /// Whether a request is ever sent again once its body is under way: else no disk need keep it.
    pub fn may_resend(&self, idempotent: bool) -> bool {
        let is_listed = if idempotent { !self.on.is_empty() } else { self.lists_grpc() };
        self.attempts > 1 && (is_listed || self.hedge.is_some())
    }

    /// What the retry budget is filled with.
    pub fn fill(&self) -> Fill {
        Fill { share: self.budget, floor: self.budget_floor }
    }

    /// Whether an answer with this status would be tried again if all else allows it.
    pub fn lists_status(&self, status: StatusCode) -> bool {
        self.on.contains(&RetryOn::Status(status))
    }

    /// Whether any status of gRPC is listed: they stand behind all others.
    pub fn lists_grpc(&self) -> bool {
        matches!(self.on.last(), Some(RetryOn::Grpc(_)))
    }

    /// Whether a call that fails so would be tried again if all else allows it.
    pub fn lists_grpc_status(&self, status: GrpcStatus) -> bool {
        self.on.contains(&RetryOn::Grpc(status))
    }

    fn lists(&self, failure: Failure) -> bool {
        match failure {
            // Nothing was asked of the endpoint: as harmless as no connection.
            Failure::Connect | Failure::Untouched => self.on.contains(&RetryOn::Connect),
            Failure::Reset => self.on.contains(&RetryOn::Reset),
            Failure::Timeout => self.on.contains(&RetryOn::Timeout),
            Failure::BadAnswer => self.lists_status(StatusCode::BAD_GATEWAY),
            Failure::Status(status) => self.lists_status(status),
            Failure::Grpc(status) => self.lists_grpc_status(status),
        }
    }

    /// How long to wait where the endpoint has asked for `wait` (`Retry-After`) and the pause would be
    /// `pause` by itself. `elsewhere`: a sound endpoint is left that has not been tried, which has not
    /// asked for anything.
    ///
    /// # Errors
    /// When it asks for more than is waited for.
    pub fn heed(
        &self,
        failure: Failure,
        wait: Duration,
        elsewhere: bool,
        pause: Duration,
    ) -> Result<Duration, Refusal> {
        if elsewhere && !failure.is_of_all() {
            return Ok(pause);
        }
        if wait > self.max_retry_after {
            return Err(Refusal::RetryAfter);
        }
        // The pause is drawn: those who were told the same second shall not come in the same moment.
        Ok(wait + pause)
    }

    /// How long to wait before try number `attempts + 1`: between nothing and `backoff` doubled
    /// with each try ("full jitter"), never more than `max_backoff`. `sound`: it goes to an endpoint that was not
    /// tried and has not failed of late.
    pub fn pause(&self, failure: Failure, attempts: u32, sound: bool) -> Duration {
        let longest = self.longest_pause(failure, attempts, sound);
        if longest.is_zero() { longest } else { longest.mul_f64(fastrand::f64()) }
    }

    /// What [`RetryRule::pause`] gives at most.
    pub fn longest_pause(&self, failure: Failure, attempts: u32, sound: bool) -> Duration {
        if failure == Failure::Untouched {
            return Duration::ZERO; // the endpoint is well; only this connection was gone
        }
        // One that fails says nothing of the others, and gets no better by a wait of those who leave it. Two in a
        // row may have their trouble in common.
        if sound && attempts == 1 && failure.is_of_endpoint() {
            return Duration::ZERO;
        }
        let doubled = self.backoff.saturating_mul(1 << attempts.saturating_sub(1).min(16));
        doubled.min(self.max_backoff)
    }
}

/// Whether acting twice does what acting once does: by its method (RFC 9110 §9.2.2), or since the
/// client says so with an `Idempotency-Key`.
pub fn is_idempotent(method: &Method, headers: &HeaderMap) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::PUT | Method::DELETE | Method::OPTIONS | Method::TRACE
    ) || headers.contains_key(IDEMPOTENCY_KEY)
}

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const ON: &[RetryOn] = &[
    RetryOn::Connect,
    RetryOn::Reset,
    RetryOn::Timeout,
    RetryOn::Status(StatusCode::BAD_GATEWAY),
    RetryOn::Status(StatusCode::SERVICE_UNAVAILABLE),
    RetryOn::Status(StatusCode::GATEWAY_TIMEOUT),
];
const BUDGET: Percent = Percent::new(20.0);
const BACKOFF: Duration = Duration::from_millis(25);
const MAX_BACKOFF: Duration = Duration::from_millis(250);
/// 2 s: a client of ours would give up on more, and who waits holds its place among the pool's requests.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(2);
/// 64 KiB: nearly every API call at bounded memory.
const REPLAY: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn built_in() -> RetryRule<'static> {
        RetryRule::resolve(&RetrySpec::UNSAID, &RetrySpec::UNSAID)
    }

    const POST: Facts = Facts { attempts: 1, idempotent: false, replayable: true };
    const GET: Facts = Facts { attempts: 1, idempotent: true, replayable: true };

    #[test]
    fn a_post_is_retried_only_where_nothing_can_have_happened() {
        let rule = built_in();
        assert_eq!(rule.judge(Failure::Connect, POST), Ok(()));
        assert_eq!(rule.judge(Failure::Untouched, POST), Ok(()));
        for failure in [
            Failure::Reset,
            Failure::Timeout,
            Failure::BadAnswer,
            Failure::Status(StatusCode::SERVICE_UNAVAILABLE),
        ] {
            assert_eq!(rule.judge(failure, POST), Err(Refusal::NotIdempotent), "{failure:?}");
            assert_eq!(rule.judge(failure, GET), Ok(()), "{failure:?}");
        }
    }

    #[test]
    fn a_500_is_an_answer_and_not_retried() {
        let failure = Failure::Status(StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(built_in().judge(failure, GET), Err(Refusal::NotListed));
    }

    #[test]
    fn a_call_of_grpc_is_retried_by_what_is_listed_alone() {
        let status = |name| GrpcStatus::named(name).unwrap();
        let on = [RetryOn::Connect, RetryOn::Grpc(status("unavailable"))];
        let rule = RetryRule { on: &on, ..built_in() };
        assert!(rule.lists_grpc() && !built_in().lists_grpc());
        assert_eq!(rule.judge(Failure::Grpc(status("unavailable")), POST), Ok(()));
        let other = rule.judge(Failure::Grpc(status("aborted")), POST);
        assert_eq!(other, Err(Refusal::NotListed));
        let whole = Facts { replayable: false, ..POST };
        let judged = rule.judge(Failure::Grpc(status("unavailable")), whole);
        assert_eq!(judged, Err(Refusal::BodyTooLarge));
    }

    #[test]
    fn what_an_endpoint_asks_for_is_waited_for_where_no_other_is_left() {
        let rule = built_in();
        let (second, pause) = (Duration::from_secs(1), Duration::from_millis(20));
        let busy = Failure::Status(StatusCode::SERVICE_UNAVAILABLE);
        let limited = Failure::Status(StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(rule.heed(busy, second, true, pause), Ok(pause));
        assert_eq!(rule.heed(busy, second, false, pause), Ok(second + pause));
        assert_eq!(rule.heed(limited, second, true, pause), Ok(second + pause));
        for elsewhere in [true, false] {
            let refused = rule.heed(limited, 3 * second, elsewhere, pause);
            assert_eq!(refused, Err(Refusal::RetryAfter));
        }
        assert_eq!(rule.heed(busy, 3 * second, true, pause), Ok(pause));
    }

    #[test]
    fn only_a_first_retry_at_an_endpoint_that_is_sound_goes_without_a_pause() {
        let rule = built_in();
        let most = |failure, attempts, sound| {
            (0..100).map(|_| rule.pause(failure, attempts, sound)).max().unwrap_or_default()
        };
        let busy = Failure::Status(StatusCode::SERVICE_UNAVAILABLE);
        let unavailable = Failure::Grpc(GrpcStatus::UNAVAILABLE);
        for failure in [Failure::Reset, Failure::Timeout, Failure::BadAnswer, busy, unavailable] {
            assert_eq!(most(failure, 1, true), Duration::ZERO, "{failure:?}");
            assert!(most(failure, 1, false) > Duration::ZERO, "{failure:?}: it fails, too");
            assert!(most(failure, 2, true) > Duration::ZERO, "{failure:?}: two have failed");
        }
        let said_of_the_request = [
            Failure::Status(StatusCode::TOO_MANY_REQUESTS),
            Failure::Status(StatusCode::CONFLICT),
            Failure::Grpc(GrpcStatus::named("resource-exhausted").unwrap()),
        ];
        for failure in said_of_the_request {
            assert!(most(failure, 1, true) > Duration::ZERO, "{failure:?}");
        }
    }

    #[test]
    fn a_body_that_is_never_sent_again_need_not_be_kept_on_a_disk() {
        let rule = built_in();
        assert!(rule.may_resend(true) && !rule.may_resend(false));
        assert!(!RetryRule { attempts: 1, ..rule }.may_resend(true));
        assert!(!RetryRule { on: &[], ..rule }.may_resend(true));
        let on = [RetryOn::Grpc(GrpcStatus::named("unavailable").unwrap())];
        assert!(RetryRule { on: &on, ..rule }.may_resend(false));
    }

    #[test]
    fn an_idempotency_key_makes_a_post_safe() {
        let mut headers = HeaderMap::new();
        assert!(!is_idempotent(&Method::POST, &headers));
        headers.insert("idempotency-key", http::HeaderValue::from_static("k"));
        assert!(is_idempotent(&Method::POST, &headers));
    }

    proptest! {
        #[test]
        fn no_rule_goes_beyond_its_attempts(attempts in 1u32..20, most in 1u32..10) {
            let rule = RetryRule { attempts: most, ..built_in() };
            let facts = Facts { attempts, ..GET };
            let judged = rule.judge(Failure::Connect, facts);
            prop_assert_eq!(judged.is_ok(), attempts < most);
        }

        #[test]
        fn a_pause_is_within_its_bounds(attempts in 1u32..1000) {
            let rule = built_in();
            let pause = rule.pause(Failure::Reset, attempts, false);
            prop_assert!(pause <= rule.longest_pause(Failure::Reset, attempts, false));
            prop_assert!(rule.longest_pause(Failure::Reset, attempts, false) <= rule.max_backoff);
            let at_once = rule.longest_pause(Failure::Timeout, attempts, true).is_zero();
            prop_assert_eq!(at_once, attempts == 1, "who leaves an endpoint that is down needs no time for a pause");
            prop_assert_eq!(rule.pause(Failure::Untouched, attempts, false), Duration::ZERO);
        }
    }
}
