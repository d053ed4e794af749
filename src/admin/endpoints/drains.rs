//! Takes endpoints out of the traffic, and lets them in again.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Json, extract};
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::asked::{Body, bad_fields};
use crate::admin::audit::About;
use crate::admin::openapi::{Operation, Schemas};
use crate::admin::{State, reply};
use crate::control::drains::{DrainError, Last, Outcome};
use crate::model::address::Address;

use super::Endpoint;
use super::members::Drained;

pub(in crate::admin) const DRAIN: Endpoint =
    Endpoint { path: "/api/v1/endpoints/drain", methods: || post(drain), operations: of_drain };

pub(in crate::admin) const UNDRAIN: Endpoint = Endpoint {
    path: "/api/v1/endpoints/undrain",
    methods: || post(undrain),
    operations: of_undrain,
};

fn of_drain(schemas: &mut Schemas) -> Vec<Operation> {
    let what = "Sends an endpoint no new requests; those under way finish";
    let operation = Operation::post("drain_endpoint", what)
        .takes::<ToDrain>(schemas)
        .answers::<EndpointDrain>(schemas, StatusCode::OK, "It is drained")
        .refuses(StatusCode::CONFLICT, "It is the last one that serves the pool");
    vec![refusals(operation)]
}

fn of_undrain(schemas: &mut Schemas) -> Vec<Operation> {
    let operation = Operation::post("undrain_endpoint", "Lets a drained endpoint in again")
        .takes::<ToUndrain>(schemas)
        .answers::<EndpointDrain>(schemas, StatusCode::OK, "It is not drained");
    vec![refusals(operation)]
}

fn refusals(operation: Operation) -> Operation {
    operation.refuses(StatusCode::NOT_FOUND, "There is no such pool or endpoint").refuses_bodies()
}

/// Which endpoint, and why.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ToDrain {
    /// The pool.
    pool: String,
    /// Its address, as the list of endpoints has it.
    #[schemars(regex(pattern = r"^([0-9.]+:[0-9]+|\[[0-9a-fA-F:.]+\]:[0-9]+|unix:/.+)$"))]
    address: String,
    /// For those who look at it later.
    #[schemars(length(max = 500))]
    reason: Option<String>,
    /// Drain it even if it is the last that serves the pool.
    #[serde(default)]
    force: bool,
}

/// Which endpoint.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ToUndrain {
    /// The pool.
    pool: String,
    /// Its address, as the list of endpoints has it.
    #[schemars(regex(pattern = r"^([0-9.]+:[0-9]+|\[[0-9a-fA-F:.]+\]:[0-9]+|unix:/.+)$"))]
    address: String,
}

/// What became of it.
#[derive(Debug, Serialize, JsonSchema)]
struct EndpointDrain {
    pool: String,
    address: String,
    /// `null` = it is not drained.
    drained: Option<Drained>,
    /// Whether it was otherwise before.
    changed: bool,
    /// Requests that it is still busy with.
    in_flight: u32,
    /// How many endpoints of the pool may be picked now.
    eligible: usize,
    /// What to look out for.
    warning: Option<String>,
}

async fn drain(
    extract::State(state): extract::State<State>,
    Body(wish): Body<ToDrain>,
) -> Response {
    let address = match address(&wish.address) {
        Ok(address) => address,
        Err(why) => return reply::problem(StatusCode::NOT_FOUND, "unknown-endpoint", why),
    };
    if wish.reason.as_ref().is_some_and(|reason| reason.chars().count() > LONGEST_REASON) {
        let what = format!("reason is longer than {LONGEST_REASON} characters");
        return bad_fields(&what);
    }
    let last = if wish.force { Last::MayGo } else { Last::Stays };
    let about = About(format!("{address} of the pool {}", shown(&wish.pool)));
    let reason = wish.reason.map(Arc::from);
    let answer = match state.drainer.drain(&wish.pool, &address, reason, last) {
        Ok(outcome) => done(wish.pool, &address, &outcome),
        Err(error) => refused(&error),
    };
    (Extension(about), answer).into_response()
}

async fn undrain(
    extract::State(state): extract::State<State>,
    Body(wish): Body<ToUndrain>,
) -> Response {
    let address = match address(&wish.address) {
        Ok(address) => address,
        Err(why) => return reply::problem(StatusCode::NOT_FOUND, "unknown-endpoint", why),
    };
    let about = About(format!("{address} of the pool {}", shown(&wish.pool)));
    let answer = match state.drainer.undrain(&wish.pool, &address) {
        Ok(outcome) => done(wish.pool, &address, &outcome),
        Err(error) => refused(&error),
    };
    (Extension(about), answer).into_response()
}

/// The name of a pool as it was sent, for a line of a log.
fn shown(pool: &str) -> String {
    pool.chars().take(LONGEST_POOL).collect::<String>().escape_debug().to_string()
}

/// An address that can be read; one that cannot is nobody's.
fn address(text: &str) -> Result<Address, String> {
    text.parse().map_err(|error| {
        format!(
            "{text:?} is no address of an endpoint: {error}; write it as /api/v1/endpoints does"
        )
    })
}

fn done(pool: String, address: &Address, outcome: &Outcome) -> Response {
    let warning = match &outcome.kept_out_by {
        _ if outcome.drained.is_some() && outcome.eligible == 0 => Some(format!(
            "nobody serves the pool {pool:?} now: its requests are answered 503 until an \
             endpoint is let in again"
        )),
        Some(source) if outcome.drained.is_none() => Some(format!(
            "it stays out all the same: the source {source:?} says that it is draining"
        )),
        _ => None,
    };
    Json(EndpointDrain {
        pool,
        address: address.to_string(),
        drained: outcome.drained.as_ref().map(Drained::from),
        changed: outcome.changed,
        in_flight: outcome.in_flight,
        eligible: outcome.eligible,
        warning,
    })
    .into_response()
}

fn refused(error: &DrainError) -> Response {
    let (status, kind, hint) = match error {
        DrainError::NoPool { .. } => (StatusCode::NOT_FOUND, "unknown-pool", ""),
        DrainError::NoEndpoint { .. } => (StatusCode::NOT_FOUND, "unknown-endpoint", ""),
        DrainError::Last { .. } => (
            StatusCode::CONFLICT,
            "last-endpoint",
            "; let another in first, or send \"force\": true if that is meant",
        ),
    };
    reply::problem(status, kind, format!("{error}{hint}"))
}

/// 200 characters: names that mean anything are shorter.
const LONGEST_POOL: usize = 200;

/// 500: a sentence and a ticket's address.
const LONGEST_REASON: usize = 500;
