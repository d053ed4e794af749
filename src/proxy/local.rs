//! Answers that a route itself gives: another location, or a fixed response.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION};
use http::request::Parts;
use http::{Response, StatusCode};

use crate::routing::action::Respond;
use crate::routing::host;
use crate::routing::redirect::{Redirect, Values};
use crate::routing::tenant::Tenant;

use super::answer::AnswerBody;
use super::connection::Peer;
use super::forwarded::Told;
use super::reply::Reply;

/// Answers with another location.
pub(super) fn redirect(
    redirect: &Redirect,
    tenant: &Tenant,
    head: &Parts,
    (peer, told): (&Peer, Option<&Told>),
) -> Reply {
    let asked = told.and_then(|told| told.host.as_ref()).and_then(|host| host.to_str().ok());
    let location = redirect.render(&Values {
        scheme: told.map_or(peer.scheme(), |told| told.scheme),
        host: asked.or_else(|| host::authority(head)).unwrap_or_default(),
        path: head.uri.path(),
        query: head.uri.query(),
        tenant: tenant.id(),
    });
    let mut answer = answer(redirect.status, Bytes::new());
    // `render` promises printable ASCII, which is a valid value.
    if let Ok(location) = HeaderValue::try_from(location) {
        answer.headers_mut().insert(LOCATION, location);
    }
    Reply::Local(answer.into(), 0)
}

/// Answers with a fixed response.
pub(super) fn respond(respond: &Respond) -> Reply {
    // RFC 9110 §15.3.6: a 205 has no content, though its length is said, other than that of a 204.
    let body = match respond.status {
        StatusCode::RESET_CONTENT => Bytes::new(),
        _ => respond.body.clone(),
    };
    let size = body.len();
    let mut answer = answer(respond.status, body);
    answer.headers_mut().insert(CONTENT_TYPE, respond.content_type.clone());
    Reply::Local(answer.into(), size)
}

fn answer(status: StatusCode, body: Bytes) -> Response<AnswerBody> {
    let length = body.len();
    let mut answer = Response::new(AnswerBody::whole(body));
    *answer.status_mut() = status;
    // RFC 9110 §8.6: neither a 204 nor a 304 says a length of its own.
    if status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED {
        answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    answer
}
