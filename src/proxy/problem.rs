//! What the gateway may have to answer with: one type of problem for each, and the documents of
//! RFC 9457 that are made of them.

use std::borrow::Cow;

use bytes::Bytes;
use http::StatusCode;
use serde::Serialize;

use super::limit_problems::{
    CLIENT_CONCURRENCY_LIMITED, CLIENT_RATE_LIMITED, ROUTE_BODY_TOO_LARGE,
    ROUTE_CLIENT_CONCURRENCY_LIMITED, ROUTE_CLIENT_RATE_LIMITED, ROUTE_CONCURRENCY_LIMITED,
    ROUTE_QUOTA_USED_UP, ROUTE_RATE_LIMITED, ROUTE_SUBJECT_CONCURRENCY_LIMITED,
    ROUTE_SUBJECT_QUOTA_USED_UP, ROUTE_SUBJECT_RATE_LIMITED, SUBJECT_CONCURRENCY_LIMITED,
    SUBJECT_QUOTA_USED_UP, SUBJECT_RATE_LIMITED, TENANT_BODY_TOO_LARGE, TENANT_CONCURRENCY_LIMITED,
    TENANT_QUOTA_USED_UP, TENANT_RATE_LIMITED,
};
use super::visitor::{
    ASTRAY, BROKE_OFF, BROKEN, COOKIES, CROWDED, DOWN, LONG_ADDRESS, MISTAKE, NO_CREDENTIAL,
    NO_PAGE, NO_SITE, NOT_FROM_HERE, ODD_REQUEST, OTHER_CONNECTION, SLOW, SWITCHED_OFF, TOO_LARGE,
    WORK,
};

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
    /// What happened, in words for somebody who visits a site, and what may help.
    pub visitor: &'static str,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<LimitTold<'d>>,
}

/// Of the limit that has refused a request.
#[derive(Serialize)]
pub(super) struct LimitTold<'d> {
    /// Its name, as in `RateLimit` and in the metrics.
    pub(super) name: &'static str,
    /// What it allows.
    pub(super) allows: Cow<'d, str>,
}

pub(super) const fn problem(
    name: &'static str,
    status: StatusCode,
    title: &'static str,
    proxy_error: &'static str,
    visitor: &'static str,
) -> Problem {
    Problem { name, status, title, proxy_error, visitor }
}

/// Every problem that the gateway answers with. docs/errors.md tells cause and fix of each.
pub const PROBLEMS: &[Problem] = &[
    TENANT_MISSING,
    TENANT_AMBIGUOUS,
    BAD_REQUEST,
    BODY_BROKEN,
    TENANT_SUSPENDED,
    UNAUTHENTICATED,
    ISSUER_UNAVAILABLE,
    AUTHORIZER_UNAVAILABLE,
    AUTHORIZER_BUSY,
    OTHER_TENANT,
    NETWORK_REFUSED,
    METHOD_NOT_ALLOWED,
    TENANT_UNKNOWN,
    NO_ROUTE,
    MAINTENANCE,
    TENANT_QUARANTINED,
    BODY_TIMEOUT,
    BODY_TOO_LARGE,
    TENANT_BODY_TOO_LARGE,
    ROUTE_BODY_TOO_LARGE,
    TARGET_TOO_LONG,
    MISDIRECTED,
    TENANT_RATE_LIMITED,
    ROUTE_RATE_LIMITED,
    CLIENT_RATE_LIMITED,
    ROUTE_CLIENT_RATE_LIMITED,
    SUBJECT_RATE_LIMITED,
    ROUTE_SUBJECT_RATE_LIMITED,
    TENANT_CONCURRENCY_LIMITED,
    TENANT_QUOTA_USED_UP,
    ROUTE_CONCURRENCY_LIMITED,
    CLIENT_CONCURRENCY_LIMITED,
    ROUTE_CLIENT_CONCURRENCY_LIMITED,
    SUBJECT_CONCURRENCY_LIMITED,
    ROUTE_SUBJECT_CONCURRENCY_LIMITED,
    ROUTE_QUOTA_USED_UP,
    SUBJECT_QUOTA_USED_UP,
    ROUTE_SUBJECT_QUOTA_USED_UP,
    HEAD_TOO_LARGE,
    METHOD_NOT_SERVED,
    LOOP,
    CONNECT_FAILED,
    TLS_FAILED,
    CONNECTION_LOST,
    BAD_ANSWER,
    NO_ENDPOINT,
    BREAKER_OPEN,
    REPLAY_LOST,
    OVERLOADED,
    CLIENT_OVERLOADED,
    QUEUE_FULL,
    QUEUE_TIMEOUT,
    CONNECT_TIMEOUT,
    TLS_TIMEOUT,
    ANSWER_TIMEOUT,
    TOTAL_TIMEOUT,
];

pub(super) const TENANT_MISSING: Problem = problem(
    "tenant-missing",
    StatusCode::BAD_REQUEST,
    "The request names no tenant",
    "http_request_error",
    NO_SITE,
);
pub(super) const TENANT_AMBIGUOUS: Problem = problem(
    "tenant-ambiguous",
    StatusCode::BAD_REQUEST,
    "The request does not name one valid tenant",
    "http_request_error",
    NO_SITE,
);
pub(super) const BAD_REQUEST: Problem = problem(
    "bad-request",
    StatusCode::BAD_REQUEST,
    "The request cannot be passed on",
    "http_request_error",
    ODD_REQUEST,
);
pub(super) const BODY_BROKEN: Problem = problem(
    "body-broken",
    StatusCode::BAD_REQUEST,
    "The request body broke off",
    "http_request_error",
    BROKE_OFF,
);
pub(super) const TENANT_SUSPENDED: Problem = problem(
    "tenant-suspended",
    StatusCode::FORBIDDEN,
    "The tenant is suspended",
    "http_request_denied",
    SWITCHED_OFF,
);
pub(super) const TENANT_QUARANTINED: Problem = problem(
    "tenant-quarantined",
    StatusCode::SERVICE_UNAVAILABLE,
    "What is said of the tenant cannot be used",
    "destination_unavailable",
    MISTAKE,
);
pub(super) const UNAUTHENTICATED: Problem = problem(
    "unauthenticated",
    StatusCode::UNAUTHORIZED,
    "The request has no valid credential",
    "http_request_denied",
    NO_CREDENTIAL,
);
pub(super) const ISSUER_UNAVAILABLE: Problem = problem(
    "issuer-unavailable",
    StatusCode::SERVICE_UNAVAILABLE,
    "Tokens cannot be verified at the moment",
    "proxy_internal_error",
    BROKEN,
);
pub(super) const AUTHORIZER_UNAVAILABLE: Problem = problem(
    "authorizer-unavailable",
    StatusCode::SERVICE_UNAVAILABLE,
    "Nobody can tell at the moment whether the request may go on",
    "proxy_internal_error",
    BROKEN,
);
pub(super) const AUTHORIZER_BUSY: Problem = problem(
    "authorizer-busy",
    StatusCode::SERVICE_UNAVAILABLE,
    "Too many requests of the tenant wait to be let in",
    "connection_limit_reached",
    CROWDED,
);
pub(super) const OTHER_TENANT: Problem = problem(
    "other-tenant",
    StatusCode::FORBIDDEN,
    "The credential is another tenant's",
    "http_request_denied",
    NO_CREDENTIAL,
);
pub(super) const NETWORK_REFUSED: Problem = problem(
    "network-refused",
    StatusCode::FORBIDDEN,
    "Clients of this address are not let in",
    "http_request_denied",
    NOT_FROM_HERE,
);
pub(super) const METHOD_NOT_ALLOWED: Problem = problem(
    "method-not-allowed",
    StatusCode::METHOD_NOT_ALLOWED,
    "The tenant does not serve the method",
    "http_request_denied",
    ODD_REQUEST,
);
pub(super) const TENANT_UNKNOWN: Problem = problem(
    "tenant-unknown",
    StatusCode::NOT_FOUND,
    "There is no such tenant",
    "destination_not_found",
    NO_SITE,
);
pub(super) const NO_ROUTE: Problem = problem(
    "no-route",
    StatusCode::NOT_FOUND,
    "No route takes this request",
    "destination_not_found",
    NO_PAGE,
);
pub(super) const MAINTENANCE: Problem = problem(
    "maintenance",
    StatusCode::SERVICE_UNAVAILABLE,
    "This is being worked on",
    "http_request_denied",
    WORK,
);
pub(super) const BODY_TIMEOUT: Problem = problem(
    "body-timeout",
    StatusCode::REQUEST_TIMEOUT,
    "The request body did not arrive in time",
    "http_request_error",
    BROKE_OFF,
);
pub(super) const BODY_TOO_LARGE: Problem = problem(
    "body-too-large",
    StatusCode::PAYLOAD_TOO_LARGE,
    "The request body is too large",
    "http_request_denied",
    TOO_LARGE,
);
pub(super) const TARGET_TOO_LONG: Problem = problem(
    "target-too-long",
    StatusCode::URI_TOO_LONG,
    "The request target is too long",
    "http_request_denied",
    LONG_ADDRESS,
);
pub(super) const MISDIRECTED: Problem = problem(
    "misdirected",
    StatusCode::MISDIRECTED_REQUEST,
    "The request belongs on another connection",
    "http_request_denied",
    OTHER_CONNECTION,
);
pub(super) const HEAD_TOO_LARGE: Problem = problem(
    "head-too-large",
    StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    "The request head is too large",
    "http_request_denied",
    COOKIES,
);
pub(super) const METHOD_NOT_SERVED: Problem = problem(
    "method-not-served",
    StatusCode::NOT_IMPLEMENTED,
    "The method is not served",
    "http_request_denied",
    ODD_REQUEST,
);
// Not the 502 of RFC 9209: each hop of the loop would retry it.
pub(super) const LOOP: Problem = problem(
    "loop",
    StatusCode::LOOP_DETECTED,
    "The request comes back to the gateway again and again",
    "proxy_loop_detected",
    ASTRAY,
);
pub(super) const CONNECT_FAILED: Problem = problem(
    "connect-failed",
    StatusCode::BAD_GATEWAY,
    "No endpoint could be reached",
    "connection_refused",
    DOWN,
);
pub(super) const TLS_FAILED: Problem = problem(
    "tls-failed",
    StatusCode::BAD_GATEWAY,
    "No endpoint could be reached securely",
    "tls_protocol_error",
    DOWN,
);
pub(super) const CONNECTION_LOST: Problem = problem(
    "connection-lost",
    StatusCode::BAD_GATEWAY,
    "The endpoint closed the connection before its answer",
    "connection_terminated",
    BROKEN,
);
pub(super) const BAD_ANSWER: Problem = problem(
    "bad-answer",
    StatusCode::BAD_GATEWAY,
    "The endpoint's answer is not valid",
    "http_protocol_error",
    BROKEN,
);
pub(super) const NO_ENDPOINT: Problem = problem(
    "no-endpoint",
    StatusCode::SERVICE_UNAVAILABLE,
    "The pool has no endpoint",
    "destination_unavailable",
    DOWN,
);
pub(super) const BREAKER_OPEN: Problem = problem(
    "breaker-open",
    StatusCode::SERVICE_UNAVAILABLE,
    "Requests of the tenant to the pool fail too often",
    "destination_unavailable",
    DOWN,
);
pub(super) const REPLAY_LOST: Problem = problem(
    "replay-lost",
    StatusCode::SERVICE_UNAVAILABLE,
    "What the gateway kept of the request could not be read again",
    "proxy_internal_error",
    BROKEN,
);
pub(super) const OVERLOADED: Problem = problem(
    "overloaded",
    StatusCode::SERVICE_UNAVAILABLE,
    "The gateway is short of memory",
    "proxy_internal_response",
    CROWDED,
);
pub(super) const CLIENT_OVERLOADED: Problem = problem(
    "client-overloaded",
    StatusCode::SERVICE_UNAVAILABLE,
    "The client has used up its share of the gateway's memory",
    "proxy_internal_response",
    CROWDED,
);
pub(super) const QUEUE_FULL: Problem = problem(
    "queue-full",
    StatusCode::SERVICE_UNAVAILABLE,
    "Too many requests of the tenant wait",
    "connection_limit_reached",
    CROWDED,
);
pub(super) const QUEUE_TIMEOUT: Problem = problem(
    "queue-timeout",
    StatusCode::SERVICE_UNAVAILABLE,
    "The request has waited for too long",
    "connection_limit_reached",
    CROWDED,
);
pub(super) const CONNECT_TIMEOUT: Problem = problem(
    "connect-timeout",
    StatusCode::GATEWAY_TIMEOUT,
    "No endpoint could be reached in time",
    "connection_timeout",
    DOWN,
);
pub(super) const TLS_TIMEOUT: Problem = problem(
    "tls-timeout",
    StatusCode::GATEWAY_TIMEOUT,
    "The endpoint's TLS handshake took too long",
    "connection_timeout",
    DOWN,
);
pub(super) const ANSWER_TIMEOUT: Problem = problem(
    "answer-timeout",
    StatusCode::GATEWAY_TIMEOUT,
    "The endpoint brought no answer in time",
    "http_response_timeout",
    SLOW,
);
pub(super) const TOTAL_TIMEOUT: Problem = problem(
    "total-timeout",
    StatusCode::GATEWAY_TIMEOUT,
    "The request took too long",
    "http_response_timeout",
    SLOW,
);

/// The body of such an answer (RFC 9457).
pub(super) fn document(
    problem: &Problem,
    detail: String,
    request_id: &str,
    (tenant, limit): (Option<&str>, Option<LimitTold<'_>>),
) -> Bytes {
    let document = Document {
        kind: format!("urn:tenantry:problem:{}", problem.name),
        title: problem.title,
        status: problem.status.as_u16(),
        detail,
        request_id,
        tenant,
        limit,
    };
    // Text and numbers alone always serialise; the fallback is never taken.
    Bytes::from(serde_json::to_vec(&document).unwrap_or_default())
}

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
