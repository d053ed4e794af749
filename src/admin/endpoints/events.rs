//! What is to be seen, now and then every second, as server-sent events.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Query;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, extract};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::admin::dashboard::picture::Ask;
use crate::admin::dashboard::watchers::{Refused, WATCHERS, Watchers};
use crate::admin::{State, reply};
use crate::model::ids::TenantId;
use crate::telemetry::metrics::ADMIN_WATCHERS_REFUSED;

use super::{Endpoint, tenants};

pub(super) const ENDPOINT: Endpoint = Endpoint { path: "/api/v1/events", methods: || get(events) };

async fn events(
    extract::State(state): extract::State<State>,
    Extension(watchers): Extension<Watchers>,
    headers: HeaderMap,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Response {
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    if site.is_some_and(|site| site != b"same-origin" && site != b"none") {
        let what = "a page of another site may not take a watcher's place".to_owned();
        return reply::problem(StatusCode::FORBIDDEN, "browser", what);
    }
    let (ask, every) = match asked(&pairs) {
        Ok(asked) => asked,
        Err(what) => return reply::problem(StatusCode::BAD_REQUEST, "bad-query", what),
    };
    match watchers.watch(ask, every) {
        Ok(stream) => (HEADERS, Body::new(stream)).into_response(),
        Err(why) => {
            let (kind, what) = match why {
                Refused::Full => {
                    state.metrics.add(&ADMIN_WATCHERS_REFUSED, &["limit"], 1);
                    ("too-many-watchers", format!("{WATCHERS} watch already; close one of them"))
                }
                Refused::Ending => ("ending", "the gateway is ending".to_owned()),
            };
            let mut refusal = reply::problem(StatusCode::SERVICE_UNAVAILABLE, kind, what);
            refusal.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
            refusal
        }
    }
}

fn asked(pairs: &[(String, String)]) -> Result<(Ask, Duration), String> {
    let mut ask = Ask { tenants: tenants::wanted(ROWS), tenant: None };
    let mut every = 1;
    for (name, value) in pairs {
        match name.as_str() {
            "every" => {
                let seconds = value.parse().ok().filter(|seconds| (1..=SLOWEST).contains(seconds));
                every = seconds.ok_or_else(|| format!("every={value} is not 1 to {SLOWEST}"))?;
            }
            "tenant" if value.is_empty() => ask.tenant = None,
            "tenant" => {
                TenantId::check(value.as_bytes()).map_err(|error| format!("tenant {error}"))?;
                ask.tenant = Some(value.clone());
            }
            name => tenants::set(&mut ask.tenants, name, value, MOST, &["tenant", "every"])?,
        }
    }
    Ok((ask, Duration::from_secs(every)))
}

/// The last is for nginx, should it stand in between: it would hold events back.
const HEADERS: [(HeaderName, HeaderValue); 3] = [
    (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
];

/// Tenants of a picture where nothing else is asked for: a screen of them.
const ROWS: usize = 25;

/// 100: more are for `/api/v1/tenants`.
const MOST: usize = 100;

/// 15 s: the most that a proxy in between should see nothing.
const SLOWEST: u64 = 15;
