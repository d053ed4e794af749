//! The page: three files in the binary that need nothing else, from this place or any other.

use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use http::{HeaderName, HeaderValue, header};

use crate::admin::State;

/// The page itself.
pub(in crate::admin) fn html() -> MethodRouter<State> {
    get(|| async { answer("text/html; charset=utf-8", include_str!("page.html")) })
}

/// How it looks.
pub(in crate::admin) fn style() -> MethodRouter<State> {
    get(|| async { answer("text/css; charset=utf-8", include_str!("page.css")) })
}

/// What it does.
pub(in crate::admin) fn script() -> MethodRouter<State> {
    get(|| async { answer("text/javascript; charset=utf-8", include_str!("page.js")) })
}

fn answer(kind: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind)], HEADERS, text).into_response()
}

/// The browser is to run what is in these files and nothing that got into the page by its data, to
/// ask nobody else, and to show the page within no other one.
const HEADERS: [(HeaderName, HeaderValue); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
             img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
             require-trusted-types-for 'script'",
        ),
    ),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    ),
];
