//! The only place where an error becomes an answer: an RFC 9457 problem document, or trailers for a
//! call of gRPC, with `Proxy-Status` (RFC 9209) and the request's id. What the client hears is not
//! what the log says: endpoints are not named to clients.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
};
use http::{Response, StatusCode};
use serde::Serialize;

use crate::routing::naming::NamingError;
use crate::upstream::ConnectError;

use super::answer::AnswerBody;
use super::error::{AttemptError, ExchangeError};
use super::grpc;
use super::hygiene::X_REQUEST_ID;
use super::request_body::BodyFault;
use super::visit::Visit;

/// One type of problem that the gateway answers with.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem {
    /// Stable: the end of its `type`, the metric label, the access log's word.
    pub name: &'static str,
    /// The status of the answer.
    pub status: StatusCode,
    /// A few words for people.
    pub title: &'static str,
    /// The error type of RFC 9209 §2.3.
    pub proxy_error: &'static str,
}

/// The body of such an answer.
#[derive(Serialize)]
struct Document<'d> {
    #[serde(rename = "type")]
    kind: String,
    title: &'d str,
    status: u16,
    detail: String,
    request_id: &'d str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'d str>,
}

const fn problem(
    name: &'static str,
    status: StatusCode,
    title: &'static str,
    proxy_error: &'static str,
) -> Problem {
    Problem { name, status, title, proxy_error }
}

/// Every problem that the gateway answers with. docs/errors.md tells cause and fix of each.
pub const PROBLEMS: &[Problem] = &[
    TENANT_MISSING,
    TENANT_AMBIGUOUS,
    BAD_REQUEST,
    BODY_BROKEN,
    TENANT_SUSPENDED,
    TENANT_UNKNOWN,
    NO_ROUTE,
    BODY_TIMEOUT,
    BODY_TOO_LARGE,
    TARGET_TOO_LONG,
    MISDIRECTED,
    HEAD_TOO_LARGE,
    METHOD_NOT_SERVED,
    LOOP,
    CONNECT_FAILED,
    TLS_FAILED,
    CONNECTION_LOST,
    BAD_ANSWER,
    NO_ENDPOINT,
    OVERLOADED,
    CONNECT_TIMEOUT,
    TLS_TIMEOUT,
    ANSWER_TIMEOUT,
    TOTAL_TIMEOUT,
];

const TENANT_MISSING: Problem = problem(
    "tenant-missing",
    StatusCode::BAD_REQUEST,
    "The request names no tenant",
    "http_request_error",
);
const TENANT_AMBIGUOUS: Problem = problem(
    "tenant-ambiguous",
    StatusCode::BAD_REQUEST,
    "The request does not name one valid tenant",
    "http_request_error",
);
pub(super) const BAD_REQUEST: Problem = problem(
    "bad-request",
    StatusCode::BAD_REQUEST,
    "The request cannot be passed on",
    "http_request_error",
);
const BODY_BROKEN: Problem = problem(
    "body-broken",
    StatusCode::BAD_REQUEST,
    "The request body broke off",
    "http_request_error",
);
const TENANT_SUSPENDED: Problem = problem(
    "tenant-suspended",
    StatusCode::FORBIDDEN,
    "The tenant is suspended",
    "http_request_denied",
);
const TENANT_UNKNOWN: Problem = problem(
    "tenant-unknown",
    StatusCode::NOT_FOUND,
    "There is no such tenant",
    "destination_not_found",
);
const NO_ROUTE: Problem = problem(
    "no-route",
    StatusCode::NOT_FOUND,
    "No route takes this request",
    "destination_not_found",
);
const BODY_TIMEOUT: Problem = problem(
    "body-timeout",
    StatusCode::REQUEST_TIMEOUT,
    "The request body did not arrive in time",
    "http_request_error",
);
const BODY_TOO_LARGE: Problem = problem(
    "body-too-large",
    StatusCode::PAYLOAD_TOO_LARGE,
    "The request body is too large",
    "http_request_denied",
);
pub(super) const TARGET_TOO_LONG: Problem = problem(
    "target-too-long",
    StatusCode::URI_TOO_LONG,
    "The request target is too long",
    "http_request_denied",
);
const MISDIRECTED: Problem = problem(
    "misdirected",
    StatusCode::MISDIRECTED_REQUEST,
    "The request belongs on another connection",
    "http_request_denied",
);
pub(super) const HEAD_TOO_LARGE: Problem = problem(
    "head-too-large",
    StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    "The request head is too large",
    "http_request_denied",
);
const METHOD_NOT_SERVED: Problem = problem(
    "method-not-served",
    StatusCode::NOT_IMPLEMENTED,
    "The method is not served",
    "http_request_denied",
);
// Not the 502 of RFC 9209: each hop of the loop would retry it.
const LOOP: Problem = problem(
    "loop",
    StatusCode::LOOP_DETECTED,
    "The request comes back to the gateway again and again",
    "proxy_loop_detected",
);
const CONNECT_FAILED: Problem = problem(
    "connect-failed",
    StatusCode::BAD_GATEWAY,
    "No endpoint could be reached",
    "connection_refused",
);
const TLS_FAILED: Problem = problem(
    "tls-failed",
    StatusCode::BAD_GATEWAY,
    "No endpoint could be reached securely",
    "tls_protocol_error",
);
const CONNECTION_LOST: Problem = problem(
    "connection-lost",
    StatusCode::BAD_GATEWAY,
    "The endpoint closed the connection before its answer",
    "connection_terminated",
);
const BAD_ANSWER: Problem = problem(
    "bad-answer",
    StatusCode::BAD_GATEWAY,
    "The endpoint's answer is not valid",
    "http_protocol_error",
);
const NO_ENDPOINT: Problem = problem(
    "no-endpoint",
    StatusCode::SERVICE_UNAVAILABLE,
    "The pool has no endpoint",
    "destination_unavailable",
);
pub(super) const OVERLOADED: Problem = problem(
    "overloaded",
    StatusCode::SERVICE_UNAVAILABLE,
    "The gateway is short of memory",
    "proxy_internal_response",
);
const CONNECT_TIMEOUT: Problem = problem(
    "connect-timeout",
    StatusCode::GATEWAY_TIMEOUT,
    "No endpoint could be reached in time",
    "connection_timeout",
);
const TLS_TIMEOUT: Problem = problem(
    "tls-timeout",
    StatusCode::GATEWAY_TIMEOUT,
    "The endpoint's TLS handshake took too long",
    "connection_timeout",
);
const ANSWER_TIMEOUT: Problem = problem(
    "answer-timeout",
    StatusCode::GATEWAY_TIMEOUT,
    "The endpoint brought no answer in time",
    "http_response_timeout",
);
const TOTAL_TIMEOUT: Problem = problem(
    "total-timeout",
    StatusCode::GATEWAY_TIMEOUT,
    "The request took too long",
    "http_response_timeout",
);

/// What the client of a request with these fields hears of an error; ends the exchange's record.
pub(super) fn answer(
    error: &ExchangeError,
    asked: &HeaderMap,
    mut visit: Visit,
) -> Response<AnswerBody> {
    let problem = classify(error);
    let id = visit.request_id();
    let (mut tenant, mut is_call) = (None, false);
    visit.note(|record| {
        record.problem = Some(problem.name);
        tenant = record.tenant.as_ref().map(|tenant| Arc::clone(&tenant.name));
        is_call = grpc::is_call(record.version, asked);
    });
    let mut answer = if is_call {
        let mut answer = Response::new(AnswerBody::empty());
        let message = match detail(error) {
            detail if detail.eq_ignore_ascii_case(problem.title) => problem.title.to_owned(),
            detail => format!("{}: {detail}", problem.title),
        };
        grpc::describe(answer.headers_mut(), problem.status, &message);
        visit.finish(answer.status(), 0);
        answer
    } else {
        let id = id.to_str().unwrap_or_default();
        let body = document(problem, detail(error), id, tenant.as_deref());
        visit.finish(problem.status, body.len());
        whole(problem.status, body)
    };
    let headers = answer.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_REQUEST_ID, id);
    if let Ok(status) = HeaderValue::try_from(format!("tenantry; error={}", problem.proxy_error)) {
        headers.insert(PROXY_STATUS, status);
    }
    if problem.status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    answer
}

fn whole(status: StatusCode, body: Bytes) -> Response<AnswerBody> {
    let length = body.len();
    let mut answer = Response::new(AnswerBody::whole(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    answer
}

/// The body of such an answer (RFC 9457).
pub(super) fn document(
    problem: &Problem,
    detail: String,
    request_id: &str,
    tenant: Option<&str>,
) -> Bytes {
    let document = Document {
        kind: format!("urn:tenantry:problem:{}", problem.name),
        title: problem.title,
        status: problem.status.as_u16(),
        detail,
        request_id,
        tenant,
    };
    // Text and numbers alone always serialise; the fallback is never taken.
    Bytes::from(serde_json::to_vec(&document).unwrap_or_default())
}

fn classify(error: &ExchangeError) -> &'static Problem {
    match error {
        ExchangeError::Naming(NamingError::Missing) => &TENANT_MISSING,
        ExchangeError::Naming(NamingError::Unknown { .. }) => &TENANT_UNKNOWN,
        ExchangeError::Naming(_) => &TENANT_AMBIGUOUS,
        ExchangeError::Suspended => &TENANT_SUSPENDED,
        ExchangeError::NoRoute => &NO_ROUTE,
        ExchangeError::BadRequest(_) => &BAD_REQUEST,
        ExchangeError::Misdirected => &MISDIRECTED,
        ExchangeError::Method(_) => &METHOD_NOT_SERVED,
        ExchangeError::Loop { .. } => &LOOP,
        ExchangeError::TargetTooLong { .. } => &TARGET_TOO_LONG,
        ExchangeError::HeadTooLarge { .. } => &HEAD_TOO_LARGE,
        ExchangeError::Body(BodyFault::TooLarge { .. }) => &BODY_TOO_LARGE,
        ExchangeError::Body(
            BodyFault::Stalled { .. } | BodyFault::Slow { .. } | BodyFault::Trickle { .. },
        ) => &BODY_TIMEOUT,
        ExchangeError::Body(BodyFault::Broken(_)) => &BODY_BROKEN,
        ExchangeError::Overloaded => &OVERLOADED,
        ExchangeError::NoEndpoint => &NO_ENDPOINT,
        ExchangeError::Overdue { .. } => &TOTAL_TIMEOUT,
        ExchangeError::Attempt(error) => classify_attempt(error),
    }
}

fn classify_attempt(error: &AttemptError) -> &'static Problem {
    match error {
        AttemptError::Connect(ConnectError::Timeout(_)) => &CONNECT_TIMEOUT,
        AttemptError::Connect(ConnectError::Tls(_)) => &TLS_FAILED,
        AttemptError::Connect(ConnectError::TlsTimeout(_)) => &TLS_TIMEOUT,
        AttemptError::Connect(_) => &CONNECT_FAILED,
        AttemptError::Untouched(_) | AttemptError::Declined(_) | AttemptError::Reset(_) => {
            &CONNECTION_LOST
        }
        AttemptError::BadAnswer(_) | AttemptError::Unasked => &BAD_ANSWER,
        AttemptError::Timeout { .. } => &ANSWER_TIMEOUT,
    }
}

/// What helps the client, and nothing of what is behind the gateway.
fn detail(error: &ExchangeError) -> String {
    match error {
        ExchangeError::Naming(NamingError::Missing) => {
            "name the tenant as the gateway's operator has set it up, by default in the header \
             X-Tenant-ID"
                .to_owned()
        }
        ExchangeError::Misdirected => {
            "the connection was begun for another host, with another certificate; open one for \
             this host"
                .to_owned()
        }
        ExchangeError::NoEndpoint => {
            "nothing serves this at the moment; try again later".to_owned()
        }
        ExchangeError::Attempt(AttemptError::Timeout { limit }) => {
            format!("no answer within {limit:?}")
        }
        ExchangeError::Attempt(error) => classify_attempt(error).title.to_lowercase(),
        error => error.to_string(),
    }
}

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_has_a_name_of_its_own_and_a_page() {
        let page = include_str!("../../docs/errors.md");
        let mut names: Vec<&str> = PROBLEMS.iter().map(|problem| problem.name).collect();
        for problem in PROBLEMS {
            let row = format!("| `{}` | {} |", problem.name, problem.status.as_u16());
            assert!(page.contains(&row), "docs/errors.md lacks {row}");
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), PROBLEMS.len());
    }
}
