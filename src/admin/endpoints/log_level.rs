//! What the gateway's own log holds, and how to change it while it runs.

use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, extract};
use http::header::IF_MATCH;
use http::{HeaderMap, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::admin::asked::Body;
use crate::admin::audit::About;
use crate::admin::openapi::{Operation, Schemas};
use crate::admin::{State, etag, reply};
use crate::base::tag::tag;
use crate::telemetry::tracing::{Levels, LogError, check_filter};

use super::Endpoint;

pub(in crate::admin) const ENDPOINT: Endpoint =
    Endpoint { path: "/api/v1/log-level", methods: || get(show).put(change), operations };

fn operations(schemas: &mut Schemas) -> Vec<Operation> {
    let elsewhere = "The log is not the gateway's own";
    vec![
        Operation::get("show_log_level", "What the gateway's own log holds")
            .answers::<Level>(schemas, StatusCode::OK, "The filter of now, and that of the file")
            .refuses(StatusCode::CONFLICT, elsewhere),
        Operation::put("change_log_level", "Changes it until the next change or start")
            .takes::<Wish>(schemas)
            .conditional()
            .answers::<Level>(schemas, StatusCode::OK, "The filter of now, and that of the file")
            .refuses(StatusCode::CONFLICT, elsewhere)
            .refuses(StatusCode::PRECONDITION_FAILED, "It is not what If-Match names any more")
            .refuses_bodies(),
    ]
}

#[derive(Debug, Serialize, JsonSchema)]
struct Level {
    /// `error`, `warn`, `info`, `debug`, `trace` or `off`, or a filter by part of the program.
    level: String,
    /// What gateway.toml says.
    configured: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Wish {
    /// A level, a filter as in `warn,tenantry::control=debug`, or `null`: as gateway.toml says.
    #[serde(deserialize_with = "there")]
    #[schemars(
        required,
        regex(
            pattern = r"^(off|error|warn|info|debug|trace)(,tenantry(::[a-z_]+)*=(off|error|warn|info|debug|trace))*$"
        )
    )]
    level: Option<String>,
}

/// `null` must be written: an empty body is a slip.
fn there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Option::deserialize(deserializer)
}

async fn show(extract::State(state): extract::State<State>) -> Response {
    match &state.levels {
        Some(levels) => Json(level(levels)).into_response(),
        None => elsewhere(),
    }
}

async fn change(
    extract::State(state): extract::State<State>,
    headers: HeaderMap,
    Body(wish): Body<Wish>,
) -> Response {
    let Some(levels) = &state.levels else { return elsewhere() };
    // A condition is looked at only where all else is right (RFC 9110 §13.2.1).
    if let Err(error) = wish.level.as_deref().map_or(Ok(()), check_filter) {
        return bad_level(&error);
    }
    if let Some(refusal) = condition(levels, &headers) {
        return refusal;
    }
    let before = levels.now();
    match levels.change(wish.level.as_deref()) {
        Ok(()) => {
            let about = About(format!("{before} became {}", levels.now()));
            (Extension(about), Json(level(levels))).into_response()
        }
        Err(error) => bad_level(&error),
    }
}

fn bad_level(error: &LogError) -> Response {
    reply::problem(StatusCode::UNPROCESSABLE_ENTITY, "bad-level", error.to_string())
}

/// Why the level may not be changed: it is not what the client has seen.
fn condition(levels: &Levels, headers: &HeaderMap) -> Option<Response> {
    if !headers.contains_key(IF_MATCH) {
        return None;
    }
    let now = serde_json::to_vec(&level(levels)).unwrap_or_default();
    if etag::is_named(&tag(&now), &IF_MATCH, headers) {
        return None;
    }
    let what = "the level is not what If-Match names; read it again for its ETag, or leave If-Match \
                out to change it in any case";
    Some(reply::problem(StatusCode::PRECONDITION_FAILED, "changed", what.to_owned()))
}

fn level(levels: &Levels) -> Level {
    Level { level: levels.now().to_string(), configured: levels.configured().to_owned() }
}

fn elsewhere() -> Response {
    let what = "the log of this process was not made by the gateway, which cannot change it";
    reply::problem(StatusCode::CONFLICT, "foreign-log", what.to_owned())
}
