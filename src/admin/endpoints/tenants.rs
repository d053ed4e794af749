//! The tenants: a page of them by search and order, and one by its id.

use axum::extract::{DefaultBodyLimit, Path};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, put};
use axum::{Extension, Json, extract};
use http::StatusCode;
use http::header::ETAG;
use schemars::JsonSchema;
use serde::de::IntoDeserializer;
use serde::{Deserialize, Deserializer, Serialize};

use crate::admin::asked::{Asked, bad_query};
use crate::admin::openapi::{Operation, Schemas};
use crate::admin::roles::Caller;
use crate::admin::{State, reply};
use crate::control::roster::{self, Known, Page, TenantUsage, Wanted};
use crate::control::stored::LARGEST;
use crate::model::ids::TenantId;
use crate::telemetry::recent::Sort;

use super::Endpoint;
use super::bearers::OwnCertificates;
use super::kept::{self, KeptTenant};

pub(super) const LIST: Endpoint =
    Endpoint { path: "/api/v1/tenants", methods: || get(tenants), operations: of_list };

pub(super) const ONE: Endpoint =
    Endpoint { path: "/api/v1/tenants/{id}", methods: of_id, operations: of_one };

fn of_id() -> MethodRouter<State> {
    let changes = put(kept::put).patch(kept::patch).delete(kept::delete);
    changes.layer(DefaultBodyLimit::max(LARGEST)).get(tenant)
}

pub(super) const USAGE: Endpoint =
    Endpoint { path: "/api/v1/tenants/{id}/usage", methods: || get(usage), operations: of_usage };

fn of_list(schemas: &mut Schemas) -> Vec<Operation> {
    vec![
        Operation::get("list_tenants", "Tenants by search, state and traffic")
            .query::<Listing>(schemas)
            .answers::<Page>(schemas, StatusCode::OK, "A page of them")
            .refuses(StatusCode::BAD_REQUEST, "The query cannot be read")
            .refuses(StatusCode::SERVICE_UNAVAILABLE, "No table is live yet"),
    ]
}

fn of_one(schemas: &mut Schemas) -> Vec<Operation> {
    let read = Operation::get("get_tenant", "All that is known of one tenant")
        .part("id", "Its id")
        .answers::<Tenant>(schemas, StatusCode::OK, "As it is now")
        .refuses(StatusCode::BAD_REQUEST, "The path is no text")
        .refuses(StatusCode::NOT_FOUND, "There is no such tenant");
    let mut all = vec![read];
    all.extend(kept::operations(schemas));
    all
}

fn of_usage(schemas: &mut Schemas) -> Vec<Operation> {
    vec![
        Operation::get("get_tenant_usage", "What one tenant has used, and what is left")
            .part("id", "Its id")
            .answers::<TenantUsage>(schemas, StatusCode::OK, "As it is now")
            .refuses(StatusCode::BAD_REQUEST, "The path is no text")
            .refuses(StatusCode::NOT_FOUND, "There is no such tenant"),
    ]
}

/// Which tenants.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Listing {
    /// Those with this in their ids or hosts; its first 253 characters count.
    search: Option<String>,
    /// Those in this state; empty = in any.
    #[serde(default, deserialize_with = "filled")]
    #[schemars(with = "Option<roster::State>")]
    state: Option<roster::State>,
    /// In which order.
    sort: Option<Sort>,
    /// As many at most.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<usize>,
    /// Those that follow: the `next` of the page before.
    after: Option<String>,
    /// Whether each comes with its history.
    charts: Option<bool>,
}

async fn tenants(
    extract::State(state): extract::State<State>,
    Asked(listing): Asked<Listing>,
) -> Response {
    let limit = match limit(listing.limit, LIMIT, MOST) {
        Ok(limit) => limit,
        Err(why) => return bad_query(&why),
    };
    let wanted = Wanted {
        search: searched(listing.search),
        state: listing.state,
        sort: listing.sort.unwrap_or_default(),
        limit,
        after: listing.after,
        charts: listing.charts.unwrap_or(false),
    };
    reply::in_background(move || match state.roster.page(&wanted) {
        Some(page) => Json(page).into_response(),
        None => not_ready(),
    })
    .await
}

/// A tenant, and what the API keeps of it where that is more than nothing.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
enum Tenant {
    /// It is served.
    Served {
        #[serde(flatten)]
        known: Box<Known>,
        /// `null` = it has none of its own.
        certificates: Option<OwnCertificates>,
        /// `null` = a file defines it.
        kept: Option<KeptTenant>,
    },
    /// It does not fit beside the files.
    Unfit { id: String, kept: Option<KeptTenant> },
}

async fn tenant(
    extract::State(state): extract::State<State>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Response {
    reply::in_background(move || {
        let is_own = caller.tenant().is_some();
        let kept = KeptTenant::find(&state.stored.kept.load(), &id, is_own);
        let tag = kept.as_ref().and_then(KeptTenant::tag);
        let told = match state.roster.find(&id) {
            Some(known) => {
                let held = state.bearers.load();
                let certificates = held.of(&id).map(|held| OwnCertificates::of(held, is_own));
                Tenant::Served { known: Box::new(known), certificates, kept }
            }
            None if kept.is_some() => Tenant::Unfit { id, kept },
            None => return unknown(&id),
        };
        let mut answer = Json(told).into_response();
        // Whoever changes what is kept tells by this which state was seen.
        if let Some(tag) = tag {
            answer.headers_mut().insert(ETAG, tag);
        }
        answer
    })
    .await
}

async fn usage(extract::State(state): extract::State<State>, Path(id): Path<String>) -> Response {
    reply::in_background(move || match state.roster.usage(&id) {
        Some(usage) => Json(usage).into_response(),
        None => unknown(&id),
    })
    .await
}

/// There is no such tenant, or none for who asks.
pub(in crate::admin) fn unknown(id: &str) -> Response {
    let what = match TenantId::check(id.as_bytes()) {
        Ok(_) => format!("there is no tenant {id:?}; /api/v1/tenants lists them"),
        Err(error) => format!("{id:?} names no tenant: it {error}"),
    };
    reply::problem(StatusCode::NOT_FOUND, "unknown-tenant", what)
}

/// What is searched for.
pub(super) fn searched(text: Option<String>) -> String {
    text.unwrap_or_default().trim().chars().take(SEARCH).collect()
}

/// How many are wanted.
pub(super) fn limit(asked: Option<usize>, usual: usize, most: usize) -> Result<usize, String> {
    let limit = asked.unwrap_or(usual);
    let is_good = (1..=most).contains(&limit);
    is_good.then_some(limit).ok_or_else(|| format!("limit={limit} is not 1 to {most}"))
}

/// A value that may be there and empty, as forms send it.
pub(super) fn filled<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let text = String::deserialize(deserializer)?;
    if text.is_empty() { Ok(None) } else { T::deserialize(text.into_deserializer()).map(Some) }
}

fn not_ready() -> Response {
    let what = "no table is live yet".to_owned();
    reply::problem(StatusCode::SERVICE_UNAVAILABLE, "not-ready", what)
}

/// Tenants of a page where nothing else is asked for.
const LIMIT: usize = 50;

/// 1000: a page of 300 KB.
const MOST: usize = 1000;

/// 253: the longest host.
const SEARCH: usize = 253;
