//! The tenants: a page of them by search and order, and one by its id.

use axum::extract::{Path, Query};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, extract};
use http::StatusCode;
use tokio::task::spawn_blocking;

use crate::admin::{State, reply};
use crate::control::roster;
use crate::control::roster::Wanted;
use crate::model::ids::TenantId;
use crate::telemetry::recent::Sort;

use super::Endpoint;

pub(super) const LIST: Endpoint = Endpoint { path: "/api/v1/tenants", methods: || get(tenants) };

pub(super) const ONE: Endpoint = Endpoint { path: "/api/v1/tenants/{id}", methods: || get(tenant) };

async fn tenants(
    extract::State(state): extract::State<State>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Response {
    let mut wanted = wanted(LIMIT);
    for (name, value) in &pairs {
        if let Err(what) = set(&mut wanted, name, value, MOST, &["after", "charts"]) {
            return reply::problem(StatusCode::BAD_REQUEST, "bad-query", what);
        }
    }
    match spawn_blocking(move || state.roster.page(&wanted)).await {
        Ok(Some(page)) => Json(page).into_response(),
        Ok(None) => not_ready(),
        Err(error) => failed(&error.to_string()),
    }
}

async fn tenant(extract::State(state): extract::State<State>, Path(id): Path<String>) -> Response {
    let asked = id.clone();
    match spawn_blocking(move || state.roster.find(&asked)).await {
        Ok(Some(tenant)) => Json(tenant).into_response(),
        Ok(None) => {
            let what = match TenantId::check(id.as_bytes()) {
                Ok(_) => format!("there is no tenant {id:?}; /api/v1/tenants lists them"),
                Err(error) => format!("{id:?} names no tenant: it {error}"),
            };
            reply::problem(StatusCode::NOT_FOUND, "unknown-tenant", what)
        }
        Err(error) => failed(&error.to_string()),
    }
}

/// What is wanted where nothing else is said.
pub(super) fn wanted(limit: usize) -> Wanted {
    Wanted {
        search: String::new(),
        state: None,
        sort: Sort::Requests,
        limit,
        after: None,
        charts: false,
    }
}

/// Takes one parameter of a query: those that all lists have, and `more`.
pub(super) fn set(
    wanted: &mut Wanted,
    name: &str,
    value: &str,
    most: usize,
    more: &[&str],
) -> Result<(), String> {
    match name {
        "search" => wanted.search = value.trim().chars().take(SEARCH).collect(),
        "state" if value.is_empty() => wanted.state = None,
        "state" => wanted.state = Some(state(value)?),
        "sort" => wanted.sort = sort(value)?,
        "limit" => {
            let limit = value.parse().ok().filter(|limit| (1..=most).contains(limit));
            wanted.limit = limit.ok_or_else(|| format!("limit={value} is not 1 to {most}"))?;
        }
        "after" if more.contains(&"after") => wanted.after = Some(value.to_owned()),
        "charts" if more.contains(&"charts") => {
            wanted.charts =
                value.parse().map_err(|_| format!("charts={value} is not true or false"))?;
        }
        other => {
            let known = ["search", "state", "sort", "limit"].iter().chain(more);
            let known = known.copied().collect::<Vec<&str>>().join(", ");
            return Err(format!("there is no {other:?}; there is {known}"));
        }
    }
    Ok(())
}

fn state(text: &str) -> Result<roster::State, String> {
    match text {
        "active" => Ok(roster::State::Active),
        "maintenance" => Ok(roster::State::Maintenance),
        "suspended" => Ok(roster::State::Suspended),
        other => Err(format!("state={other} is not active, maintenance or suspended")),
    }
}

fn sort(text: &str) -> Result<Sort, String> {
    match text {
        "requests" => Ok(Sort::Requests),
        "errors" => Ok(Sort::Errors),
        "p99" => Ok(Sort::P99),
        "id" => Ok(Sort::Id),
        other => Err(format!("sort={other} is not requests, errors, p99 or id")),
    }
}

fn not_ready() -> Response {
    let what = "no table is live yet".to_owned();
    reply::problem(StatusCode::SERVICE_UNAVAILABLE, "not-ready", what)
}

fn failed(error: &str) -> Response {
    let what = format!("the list failed, which is a bug: {error}");
    reply::problem(StatusCode::INTERNAL_SERVER_ERROR, "failed", what)
}

/// Tenants of a page where nothing else is asked for.
const LIMIT: usize = 50;

/// 1000: a page of 300 KB.
const MOST: usize = 1000;

/// 253: the longest host.
const SEARCH: usize = 253;
