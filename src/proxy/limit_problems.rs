//! What the limits of tenants and routes have the gateway answer with: one type of problem for each, so that
//! answers, logs and metrics name the limit that fired.

use http::StatusCode;

use crate::limits::limit::Limit;

use super::problem::{Problem, problem};
use super::visitor::{MANY, TOO_LARGE, USED_UP};

/// The problem of each limit.
pub(super) fn of(limit: Limit) -> &'static Problem {
    match limit {
        Limit::Tenant => &TENANT_RATE_LIMITED,
        Limit::Route => &ROUTE_RATE_LIMITED,
        Limit::Client => &CLIENT_RATE_LIMITED,
        Limit::RouteClient => &ROUTE_CLIENT_RATE_LIMITED,
        Limit::Subject => &SUBJECT_RATE_LIMITED,
        Limit::RouteSubject => &ROUTE_SUBJECT_RATE_LIMITED,
        Limit::TenantConcurrency => &TENANT_CONCURRENCY_LIMITED,
        Limit::RouteConcurrency => &ROUTE_CONCURRENCY_LIMITED,
        Limit::ClientConcurrency => &CLIENT_CONCURRENCY_LIMITED,
        Limit::RouteClientConcurrency => &ROUTE_CLIENT_CONCURRENCY_LIMITED,
        Limit::SubjectConcurrency => &SUBJECT_CONCURRENCY_LIMITED,
        Limit::RouteSubjectConcurrency => &ROUTE_SUBJECT_CONCURRENCY_LIMITED,
        Limit::TenantQuota => &TENANT_QUOTA_USED_UP,
        Limit::RouteQuota => &ROUTE_QUOTA_USED_UP,
        Limit::SubjectQuota => &SUBJECT_QUOTA_USED_UP,
        Limit::RouteSubjectQuota => &ROUTE_SUBJECT_QUOTA_USED_UP,
        Limit::TenantBody => &TENANT_BODY_TOO_LARGE,
        Limit::RouteBody => &ROUTE_BODY_TOO_LARGE,
    }
}

pub(super) const TENANT_RATE_LIMITED: Problem = problem(
    "tenant-rate-limited",
    StatusCode::TOO_MANY_REQUESTS,
    "The tenant's rate of requests is used up",
    "http_request_denied",
    MANY,
);
pub(super) const ROUTE_RATE_LIMITED: Problem = problem(
    "route-rate-limited",
    StatusCode::TOO_MANY_REQUESTS,
    "The route's rate of requests is used up",
    "http_request_denied",
    MANY,
);
pub(super) const CLIENT_RATE_LIMITED: Problem = problem(
    "client-rate-limited",
    StatusCode::TOO_MANY_REQUESTS,
    "The client's rate of requests is used up",
    "http_request_denied",
    MANY,
);
pub(super) const ROUTE_CLIENT_RATE_LIMITED: Problem = problem(
    "route-client-rate-limited",
    StatusCode::TOO_MANY_REQUESTS,
    "The client's rate of requests to the route is used up",
    "http_request_denied",
    MANY,
);
pub(super) const SUBJECT_RATE_LIMITED: Problem = problem(
    "subject-rate-limited",
    StatusCode::TOO_MANY_REQUESTS,
    "The subject's rate of requests is used up",
    "http_request_denied",
    MANY,
);
pub(super) const ROUTE_SUBJECT_RATE_LIMITED: Problem = problem(
    "route-subject-rate-limited",
    StatusCode::TOO_MANY_REQUESTS,
    "The subject's rate of requests to the route is used up",
    "http_request_denied",
    MANY,
);
pub(super) const TENANT_CONCURRENCY_LIMITED: Problem = problem(
    "tenant-concurrency-limited",
    StatusCode::TOO_MANY_REQUESTS,
    "The tenant has too many requests under way",
    "http_request_denied",
    MANY,
);
pub(super) const TENANT_QUOTA_USED_UP: Problem = problem(
    "tenant-quota-used-up",
    StatusCode::TOO_MANY_REQUESTS,
    "The tenant's quota of requests is used up",
    "http_request_denied",
    USED_UP,
);
pub(super) const ROUTE_CONCURRENCY_LIMITED: Problem = problem(
    "route-concurrency-limited",
    StatusCode::TOO_MANY_REQUESTS,
    "The route has too many requests under way",
    "http_request_denied",
    MANY,
);
pub(super) const CLIENT_CONCURRENCY_LIMITED: Problem = problem(
    "client-concurrency-limited",
    StatusCode::TOO_MANY_REQUESTS,
    "The client has too many requests under way",
    "http_request_denied",
    MANY,
);
pub(super) const ROUTE_CLIENT_CONCURRENCY_LIMITED: Problem = problem(
    "route-client-concurrency-limited",
    StatusCode::TOO_MANY_REQUESTS,
    "The client has too many requests to the route under way",
    "http_request_denied",
    MANY,
);
pub(super) const SUBJECT_CONCURRENCY_LIMITED: Problem = problem(
    "subject-concurrency-limited",
    StatusCode::TOO_MANY_REQUESTS,
    "The subject has too many requests under way",
    "http_request_denied",
    MANY,
);
pub(super) const ROUTE_SUBJECT_CONCURRENCY_LIMITED: Problem = problem(
    "route-subject-concurrency-limited",
    StatusCode::TOO_MANY_REQUESTS,
    "The subject has too many requests to the route under way",
    "http_request_denied",
    MANY,
);
pub(super) const ROUTE_QUOTA_USED_UP: Problem = problem(
    "route-quota-used-up",
    StatusCode::TOO_MANY_REQUESTS,
    "The route's quota of requests is used up",
    "http_request_denied",
    USED_UP,
);
pub(super) const SUBJECT_QUOTA_USED_UP: Problem = problem(
    "subject-quota-used-up",
    StatusCode::TOO_MANY_REQUESTS,
    "The subject's quota of requests is used up",
    "http_request_denied",
    USED_UP,
);
pub(super) const ROUTE_SUBJECT_QUOTA_USED_UP: Problem = problem(
    "route-subject-quota-used-up",
    StatusCode::TOO_MANY_REQUESTS,
    "The subject's quota of requests to the route is used up",
    "http_request_denied",
    USED_UP,
);
pub(super) const TENANT_BODY_TOO_LARGE: Problem = problem(
    "tenant-body-too-large",
    StatusCode::PAYLOAD_TOO_LARGE,
    "The request body is larger than the tenant allows",
    "http_request_denied",
    TOO_LARGE,
);
pub(super) const ROUTE_BODY_TOO_LARGE: Problem = problem(
    "route-body-too-large",
    StatusCode::PAYLOAD_TOO_LARGE,
    "The request body is larger than the route allows",
    "http_request_denied",
    TOO_LARGE,
);
