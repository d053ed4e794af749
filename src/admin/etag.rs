//! Entity tags: who asks again for what has not changed is told so in a few bytes, and who changes
//! something can say which state it has seen (RFC 9110 §13).

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body::Body as _;

use crate::base::tag::tag;

/// Whether a condition such as `If-Match` names this tag, or any.
pub(super) fn is_named(tag: &str, by: &HeaderName, headers: &HeaderMap) -> bool {
    let lines = headers.get_all(by).iter().filter_map(|value| value.to_str().ok());
    let mut named = lines.flat_map(|line| line.split(',')).map(str::trim);
    named.any(|name| name == "*" || name.strip_prefix("W/").unwrap_or(name) == tag)
}

/// Tags the JSON that a read answers with, and leaves it out where the client has it already.
pub(super) async fn tag_reads(request: Request, next: Next) -> Response {
    let is_read = *request.method() == Method::GET;
    let headers = request.headers().clone();
    let response = next.run(request).await;
    // What names its state itself is not only what it looks like.
    if !is_read || !is_whole_json(&response) || response.headers().contains_key(ETAG) {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let Ok(bytes) = to_bytes(body, usize::MAX).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response(); // what is in memory can be read
    };
    let tag = tag(&bytes);
    let is_known = is_named(&tag, &IF_NONE_MATCH, &headers);
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        head.headers.insert(ETAG, tag);
    }
    // It may be kept, and must be asked for again each time.
    head.headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    if is_known {
        head.status = StatusCode::NOT_MODIFIED;
        head.headers.remove(CONTENT_TYPE);
        return Response::from_parts(head, Body::empty());
    }
    Response::from_parts(head, Body::from(bytes))
}

/// A stream of events, say, has no end that could be waited for.
fn is_whole_json(response: &Response) -> bool {
    let kind = response.headers().get(CONTENT_TYPE);
    response.status() == StatusCode::OK
        && kind.is_some_and(|kind| kind == "application/json")
        && response.body().size_hint().exact().is_some()
}

#[cfg(test)]
mod tests {
    use http::header::IF_MATCH;

    use super::*;

    fn check(line: &'static str, expected: bool) {
        let mut headers = HeaderMap::new();
        headers.insert(IF_MATCH, HeaderValue::from_static(line));
        assert_eq!(is_named("\"a\"", &IF_MATCH, &headers), expected, "{line}");
    }

    #[test]
    fn a_condition_names_a_tag_in_a_list_weak_or_strong_or_any() {
        check("\"a\"", true);
        check("\"b\", W/\"a\"", true);
        check("*", true);
        check("\"b\"", false);
        check("a", false);
        check("", false);
    }
}
