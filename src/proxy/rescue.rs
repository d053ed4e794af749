//! The only place where an error becomes an answer: an RFC 9457 problem document, a page for
//! browsers, or trailers for a call of gRPC, with `Proxy-Status` (RFC 9209) and the request's id.
//! What the client hears is not what the log says: endpoints are not named to clients.

use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap,
    HeaderName, HeaderValue, RETRY_AFTER, VARY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use http_body::Body;

use crate::auth::Refusal;
use crate::base::units::ByteSize;
use crate::config::answers::{PageFor, PageSpec};
use crate::config::spec::AccessSpec;
use crate::limits::told;
use crate::routing::naming::NamingError;
use crate::routing::table::Table;
use crate::routing::tenant::Tenant;
use crate::upstream::ConnectError;

use super::answer::AnswerBody;
use super::body_rule::BodyFault;
use super::choice::Parties;
use super::error::{AttemptError, Crowd, ExchangeError};
use super::hygiene::X_REQUEST_ID;
use super::page::{self, Told};
use super::problem::{self, LimitTold, Problem};
use super::visit::Visit;
use super::{accept, access, extended, grpc, limit_problems, limited};

/// What the client of this request hears of an error; ends the exchange's record.
pub(super) fn answer(
    error: &ExchangeError,
    asked: &Parts,
    table: &Table,
    parties: &Parties<'_>,
    mut visit: Visit,
) -> Response<AnswerBody> {
    let problem = classify(error);
    visit.failed(asked, parties);
    let id = visit.request_id();
    let (tenant, mut is_call) = (parties.tenant.map(Tenant::id), false);
    visit.note(|record| {
        record.problem = Some(problem.name);
        // Any 2xx to a `CONNECT` would open a stream.
        is_call = grpc::is_call(record.version, &asked.headers) && !extended::was(asked);
    });
    let detail = detail(error);
    let mut answer = if is_call {
        call(problem, grpc_code(error, problem), &detail)
    } else {
        let told = Told { problem, detail: &detail, request_id: id.to_str().unwrap_or_default() };
        let occasion =
            matches!(error, ExchangeError::Maintenance { .. }).then_some(PageFor::Maintenance);
        let own = table.error_page(parties.tenant, problem.status, occasion);
        let own = own.map(AsRef::as_ref);
        document(&told, (tenant, limit_of(error)), own, &asked.headers)
    };
    let size = answer.body().size_hint().exact().unwrap_or_default();
    let size = if asked.method == Method::HEAD { 0 } else { size };
    visit.finish(answer.status(), usize::try_from(size).unwrap_or(usize::MAX));
    if asked.method == Method::HEAD {
        answer = answer.map(AnswerBody::without_content); // the head says how long it would be
    }
    let headers = answer.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_REQUEST_ID, id);
    if let Ok(status) = HeaderValue::try_from(format!("tenantry; error={}", problem.proxy_error)) {
        headers.insert(PROXY_STATUS, status);
    }
    match error {
        ExchangeError::Maintenance { retry_after }
        | ExchangeError::Crowded { retry_after, .. }
        | ExchangeError::BreakerOpen { retry_after }
        | ExchangeError::Unserved { retry_after, .. } => {
            let seconds = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        ExchangeError::Refused(Refusal::Method) => {
            let access = parties.tenant.and_then(Tenant::access);
            if let Some(allowed) = access.and_then(AccessSpec::allowed) {
                headers.insert(ALLOW, allowed); // RFC 9110 §15.5.6
            }
        }
        ExchangeError::Refused(refusal) if problem.status == StatusCode::UNAUTHORIZED => {
            headers.insert(WWW_AUTHENTICATE, access::challenge(*refusal));
        }
        ExchangeError::Limited(refused) => {
            let seconds = told::seconds(refused.retry_after).max(1);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
            limited::tell(&refused.told, headers);
        }
        _ if problem.status == StatusCode::SERVICE_UNAVAILABLE => {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        _ => {}
    }
    answer
}

/// The stable name of the problem that an error is told as.
pub(super) fn name(error: &ExchangeError) -> &'static str {
    classify(error).name
}

/// The status that an error is told with, but to a call of gRPC.
pub(super) fn status(error: &ExchangeError) -> StatusCode {
    classify(error).status
}

fn grpc_code(error: &ExchangeError, problem: &Problem) -> u16 {
    match error {
        ExchangeError::PastDeadline { .. } => grpc::DEADLINE_EXCEEDED,
        _ => grpc::code(problem.status),
    }
}

/// To a client of gRPC.
fn call(problem: &Problem, code: u16, detail: &str) -> Response<AnswerBody> {
    let mut answer = Response::new(AnswerBody::empty());
    let message = match detail {
        detail if detail.eq_ignore_ascii_case(problem.title) => problem.title.to_owned(),
        detail => format!("{}: {detail}", problem.title),
    };
    grpc::describe(answer.headers_mut(), code, &message);
    answer
}

/// To everybody else: what the client would rather have. A page that is configured takes the place
/// of our own, and of the document where that is no more welcome.
fn document(
    told: &Told<'_>,
    (tenant, limit): (Option<&str>, Option<LimitTold<'_>>),
    own: Option<&PageSpec>,
    asked: &HeaderMap,
) -> Response<AnswerBody> {
    let document = || {
        let detail = told.detail.to_owned();
        let of = (tenant, limit);
        let body = problem::document(told.problem, detail, told.request_id, of);
        (HeaderValue::from_static(DOCUMENT), AnswerBody::whole(body))
    };
    let (kind, body) = match own {
        Some(own) => match accept::best(asked, &[&media_type(&own.content_type), DOCUMENT]) {
            0 => (own.content_type.clone(), AnswerBody::parts(page::own(own, told))),
            _ => document(),
        },
        None => match accept::best(asked, &[DOCUMENT, "text/html", "text/plain"]) {
            1 => (HeaderValue::from_static(HTML), AnswerBody::whole(page::html(told))),
            2 => (HeaderValue::from_static(TEXT), AnswerBody::whole(page::text(told))),
            _ => document(),
        },
    };
    let length = body.size_hint().exact().unwrap_or_default();
    let is_ours = own.is_none() && kind == HTML;
    let mut answer = Response::new(body);
    *answer.status_mut() = told.problem.status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, kind);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(VARY, HeaderValue::from_static("accept"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if is_ours {
        headers.insert(CONTENT_SECURITY_POLICY, page::policy());
    }
    answer
}

/// The kind that a content type names, without its parameters.
fn media_type(content_type: &HeaderValue) -> String {
    let text = content_type.to_str().unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn classify(error: &ExchangeError) -> &'static Problem {
    match error {
        ExchangeError::Naming(NamingError::Missing) => &problem::TENANT_MISSING,
        ExchangeError::Naming(NamingError::Unknown { .. }) => &problem::TENANT_UNKNOWN,
        ExchangeError::Naming(_) => &problem::TENANT_AMBIGUOUS,
        ExchangeError::Suspended => &problem::TENANT_SUSPENDED,
        ExchangeError::Quarantined => &problem::TENANT_QUARANTINED,
        ExchangeError::Maintenance { .. } => &problem::MAINTENANCE,
        ExchangeError::Refused(Refusal::OtherTenant) => &problem::OTHER_TENANT,
        ExchangeError::Refused(Refusal::Network) => &problem::NETWORK_REFUSED,
        ExchangeError::Refused(Refusal::NoKeys) => &problem::ISSUER_UNAVAILABLE,
        ExchangeError::Refused(Refusal::Method) => &problem::METHOD_NOT_ALLOWED,
        ExchangeError::Refused(_) => &problem::UNAUTHENTICATED,
        ExchangeError::Unauthorizable(_) => &problem::AUTHORIZER_UNAVAILABLE,
        ExchangeError::AuthorizerBusy => &problem::AUTHORIZER_BUSY,
        ExchangeError::NoRoute => &problem::NO_ROUTE,
        ExchangeError::BadRequest(_) => &problem::BAD_REQUEST,
        ExchangeError::Misdirected => &problem::MISDIRECTED,
        ExchangeError::Method(_) => &problem::METHOD_NOT_SERVED,
        ExchangeError::Loop { .. } => &problem::LOOP,
        ExchangeError::TargetTooLong { .. } => &problem::TARGET_TOO_LONG,
        ExchangeError::HeadTooLarge { .. } => &problem::HEAD_TOO_LARGE,
        ExchangeError::Body(BodyFault::TooLarge { by, .. }) => {
            by.map_or(&problem::BODY_TOO_LARGE, limit_problems::of)
        }
        ExchangeError::Body(
            BodyFault::Stalled { .. } | BodyFault::Slow { .. } | BodyFault::Trickle { .. },
        ) => &problem::BODY_TIMEOUT,
        ExchangeError::Body(BodyFault::Broken(_)) => &problem::BODY_BROKEN,
        ExchangeError::Body(BodyFault::Lost) => &problem::REPLAY_LOST,
        ExchangeError::Limited(refused) => limit_problems::of(refused.limit),
        ExchangeError::Overloaded => &problem::OVERLOADED,
        ExchangeError::ClientOverloaded => &problem::CLIENT_OVERLOADED,
        ExchangeError::Crowded { crowd: Crowd::Full { .. }, .. } => &problem::QUEUE_FULL,
        ExchangeError::Crowded { crowd: Crowd::Late { .. }, .. } => &problem::QUEUE_TIMEOUT,
        ExchangeError::BreakerOpen { .. } => &problem::BREAKER_OPEN,
        ExchangeError::NoEndpoint | ExchangeError::Unserved { .. } => &problem::NO_ENDPOINT,
        ExchangeError::Overdue { .. } | ExchangeError::PastDeadline { .. } => {
            &problem::TOTAL_TIMEOUT
        }
        ExchangeError::Attempt(error) => classify_attempt(error),
    }
}

fn limit_of(error: &ExchangeError) -> Option<LimitTold<'_>> {
    match error {
        ExchangeError::Limited(refused) => {
            Some(LimitTold { name: refused.limit.as_str(), allows: (&*refused.allows).into() })
        }
        ExchangeError::Body(BodyFault::TooLarge { limit, by: Some(by) }) => {
            let allows = ByteSize(*limit).to_string().into();
            Some(LimitTold { name: by.as_str(), allows })
        }
        _ => None,
    }
}

fn classify_attempt(error: &AttemptError) -> &'static Problem {
    match error {
        AttemptError::Connect(ConnectError::Timeout(_)) => &problem::CONNECT_TIMEOUT,
        AttemptError::Connect(ConnectError::Tls(_)) => &problem::TLS_FAILED,
        AttemptError::Connect(ConnectError::TlsTimeout(_)) => &problem::TLS_TIMEOUT,
        AttemptError::Connect(_) => &problem::CONNECT_FAILED,
        AttemptError::Untouched(_) | AttemptError::Declined(_) | AttemptError::Reset(_) => {
            &problem::CONNECTION_LOST
        }
        AttemptError::BadAnswer(_) | AttemptError::Unasked => &problem::BAD_ANSWER,
        AttemptError::Timeout { .. } | AttemptError::Down => &problem::ANSWER_TIMEOUT,
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
const DOCUMENT: &str = "application/problem+json";
const HTML: &str = "text/html; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
