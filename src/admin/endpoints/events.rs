//! What is to be seen, now and then every second, as server-sent events.

use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, extract};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::admin::asked::{Asked, bad_query};
use crate::admin::dashboard::picture::Ask;
use crate::admin::dashboard::watchers::{Refused, WATCHERS, Watchers};
use crate::admin::openapi::{Operation, Schemas};
use crate::admin::{State, reply};
use crate::control::roster::{self, Wanted};
use crate::model::ids::TenantId;
use crate::telemetry::metrics::ADMIN_WATCHERS_REFUSED;
use crate::telemetry::recent::Sort;

use super::Endpoint;
use super::tenants::{filled, limit, searched};

pub(super) const ENDPOINT: Endpoint =
    Endpoint { path: "/api/v1/events", methods: || get(events), operations };

fn operations(schemas: &mut Schemas) -> Vec<Operation> {
    vec![
        Operation::get("watch", "What the dashboard shows, now and then again and again")
            .query::<Watching>(schemas)
            .sends("text/event-stream", StatusCode::OK, "Server-sent events, until minutes later")
            .refuses(StatusCode::BAD_REQUEST, "The query cannot be read")
            .refuses(StatusCode::SERVICE_UNAVAILABLE, "Too many watch, or the gateway is ending"),
    ]
}

/// What is to be seen.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Watching {
    /// Tenants with this in their ids or hosts, and pools; its first 253 characters count.
    search: Option<String>,
    /// Tenants in this state; empty = in any.
    #[serde(default, deserialize_with = "filled")]
    #[schemars(with = "Option<roster::State>")]
    state: Option<roster::State>,
    /// In which order.
    sort: Option<Sort>,
    /// As many tenants at most.
    #[schemars(range(min = 1, max = 100))]
    limit: Option<usize>,
    /// A tenant that is looked at closely; empty = none.
    #[serde(default, deserialize_with = "filled")]
    #[schemars(with = "Option<String>")]
    tenant: Option<String>,
    /// Seconds between two pictures.
    #[schemars(range(min = 1, max = 15))]
    every: Option<u64>,
}

async fn events(
    extract::State(state): extract::State<State>,
    Extension(watchers): Extension<Watchers>,
    headers: HeaderMap,
    Asked(watching): Asked<Watching>,
) -> Response {
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    if site.is_some_and(|site| site != b"same-origin" && site != b"none") {
        let what = "a page of another site may not take a watcher's place".to_owned();
        return reply::problem(StatusCode::FORBIDDEN, "browser", what);
    }
    let (ask, every) = match asked(watching) {
        Ok(asked) => asked,
        Err(why) => return bad_query(&why),
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

fn asked(watching: Watching) -> Result<(Ask, Duration), String> {
    let every = watching.every.unwrap_or(1);
    if !(1..=SLOWEST).contains(&every) {
        return Err(format!("every={every} is not 1 to {SLOWEST}"));
    }
    if let Some(id) = &watching.tenant {
        TenantId::check(id.as_bytes()).map_err(|error| format!("tenant {error}"))?;
    }
    let tenants = Wanted {
        search: searched(watching.search),
        state: watching.state,
        sort: watching.sort.unwrap_or_default(),
        limit: limit(watching.limit, ROWS, MOST)?,
        after: None,
        charts: false,
    };
    Ok((Ask { tenants, tenant: watching.tenant }, Duration::from_secs(every)))
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
