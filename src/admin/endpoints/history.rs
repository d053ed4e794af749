//! The last generations, and the way back to one of them.

use std::collections::HashSet;

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, extract};
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use crate::admin::State;
use crate::admin::asked::{Asked, bad_query};
use crate::admin::audit::Made;
use crate::admin::openapi::{Operation, Schemas};
use crate::admin::reply;
use crate::admin::roles::Caller;
use crate::control::history::{By, Diff, Generation};
use crate::control::stored::{Definition, RolledBack, Table};
use crate::telemetry::audit_log::Keys;

use super::Endpoint;
use super::kept::{How, refused, within_limit};

pub(super) const LIST: Endpoint =
    Endpoint { path: "/api/v1/history", methods: || get(list), operations: of_list };

pub(super) const ONE: Endpoint =
    Endpoint { path: "/api/v1/history/{generation}", methods: || get(one), operations: of_one };

pub(super) const BACK: Endpoint = Endpoint {
    path: "/api/v1/rollback/{generation}",
    methods: || post(roll_back),
    operations: of_back,
};

fn of_list(schemas: &mut Schemas) -> Vec<Operation> {
    let operation =
        Operation::get("list_history", "The last hundred generations, the newest first");
    vec![operation.answers::<Listed>(schemas, StatusCode::OK, "As they were")]
}

fn of_one(schemas: &mut Schemas) -> Vec<Operation> {
    vec![
        Operation::get("show_generation", "One generation, and what it did to tenants of the API")
            .number("generation", "Its number")
            .answers::<Shown>(schemas, StatusCode::OK, "As it was")
            .refuses(StatusCode::BAD_REQUEST, "The number is none")
            .refuses(StatusCode::NOT_FOUND, "It is not among the last hundred"),
    ]
}

fn of_back(schemas: &mut Schemas) -> Vec<Operation> {
    let what = "Has the tenants of the API be again what they were in a generation";
    vec![
        Operation::post("roll_back", what)
            .number("generation", "Its number")
            .query::<How>(schemas)
            .answers::<RollBack>(schemas, StatusCode::OK, "They are, or would be")
            .refuses(StatusCode::BAD_REQUEST, "The number is none")
            .refuses(StatusCode::NOT_FOUND, "It is not among the last hundred")
            .refuses(StatusCode::CONFLICT, "There is no folder to keep tenants in")
            .refuses(StatusCode::UNPROCESSABLE_ENTITY, "They do not fit beside the files of now")
            .refuses(StatusCode::INTERNAL_SERVER_ERROR, "They cannot be served: a bug")
            .refuses(StatusCode::SERVICE_UNAVAILABLE, "Nothing can be kept now")
            .refuses(StatusCode::GATEWAY_TIMEOUT, "It takes too long"),
    ]
}

#[derive(Debug, Serialize, JsonSchema)]
struct Listed {
    generations: Vec<GenerationBody>,
}

/// One generation.
#[derive(Debug, Serialize, JsonSchema)]
struct GenerationBody {
    generation: u64,
    /// When it went live.
    at: String,
    by: By,
    diff: Diff,
    /// Tenants of the API that it has changed.
    kept: Vec<String>,
    /// Whether what they were before is not kept any more: there is no way back beyond it.
    emptied: bool,
}

impl From<&Generation> for GenerationBody {
    fn from(one: &Generation) -> Self {
        Self {
            generation: one.generation,
            at: reply::time(one.at),
            by: one.by.clone(),
            diff: one.diff.clone(),
            kept: one.kept().map(ToOwned::to_owned).collect(),
            emptied: one.is_emptied(),
        }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
struct Shown {
    #[serde(flatten)]
    generation: GenerationBody,
    /// What it did to tenants of the API.
    tenants: Vec<Turn>,
}

/// One tenant of the API, before and after.
#[derive(Debug, Serialize, JsonSchema)]
struct Turn {
    id: String,
    /// `null` = it was not there.
    before: Option<Table>,
    /// `null` = it is not there.
    after: Option<Table>,
}

/// What has become of the tenants of the API, or would.
#[derive(Debug, Serialize, JsonSchema)]
struct RollBack {
    /// The number of the table that is live: going back is a generation of its own.
    generation: u64,
    /// The generation whose tenants they are again.
    to: u64,
    dry_run: bool,
    /// Tenants that are again what they were.
    restored: Vec<String>,
    /// Tenants that are gone again.
    removed: Vec<String>,
    /// Tenants that stay as they are, since a file defines them now.
    in_files: Vec<String>,
    /// What is not undone.
    warning: Option<String>,
    took_ms: f64,
}

async fn list(extract::State(state): extract::State<State>) -> Json<Listed> {
    let all = state.stored.history.all();
    Json(Listed { generations: all.iter().rev().map(|one| GenerationBody::from(&**one)).collect() })
}

async fn one(
    extract::State(state): extract::State<State>,
    Path(generation): Path<String>,
) -> Response {
    let Ok(number) = generation.parse() else { return no_number(&generation) };
    let history = &state.stored.history;
    let Some(found) = history.find(number) else { return forgotten(number) };
    // Where that is not known any more, neither is what they were then.
    let then = history.since(number);
    let kept = state.stored.kept.load();
    let table = |json: &str| Some(Definition::read(json)?.shown(&kept.secrets));
    let turn = |(id, before): (&str, Option<&str>)| Turn {
        id: id.to_owned(),
        before: before.and_then(table),
        after: match then.as_ref().map(|then| then.get(id)) {
            None => None,
            Some(Some(was)) => was.json.as_deref().and_then(table),
            Some(None) => kept.tenants.get(id).map(|entry| entry.definition.shown(&kept.secrets)),
        },
    };
    let tenants = found.turns().map(turn).collect();
    Json(Shown { generation: GenerationBody::from(&*found), tenants }).into_response()
}

async fn roll_back(
    extract::State(state): extract::State<State>,
    Extension(caller): Extension<Caller>,
    Path(generation): Path<String>,
    Asked(how): Asked<How>,
) -> Response {
    let Ok(to) = generation.parse() else { return no_number(&generation) };
    let dry_run = how.is_dry_run();
    let change = state.stored.roll_back(to, dry_run, caller.by());
    match within_limit(change, "the history").await {
        Ok(Ok(told)) => rolled_back(told, to, dry_run),
        Ok(Err(refusal)) => refused(None, &refusal),
        Err(answer) => *answer,
    }
}

fn rolled_back(told: RolledBack, to: u64, dry_run: bool) -> Response {
    let edits = told.edits_of_files;
    let warning = (edits > 0).then(|| {
        format!(
            "{edits} generation(s) since then were edits of files, which the gateway does not \
             write: put those back yourself if they are to be undone, too"
        )
    });
    let mut keys = Keys::default();
    let returned: HashSet<&String> = told.returned.iter().collect();
    for id in &told.restored {
        keys.add(&format!("tenants.{id}"), !returned.contains(id), true);
    }
    told.removed.iter().for_each(|id| keys.add(&format!("tenants.{id}"), true, false));
    let generations = (told.generation_before, told.generation);
    let made = Made { before: None, after: None, generations, keys, dry_run };
    let answer = Json(RollBack {
        generation: told.generation,
        to,
        dry_run,
        restored: told.restored,
        removed: told.removed,
        in_files: told.in_files,
        warning,
        took_ms: (told.took.as_secs_f64() * 1e6).round() / 1e3,
    });
    (Extension(made), answer).into_response()
}

fn no_number(text: &str) -> Response {
    bad_query(&format!("{text:?} is no number of a generation; /api/v1/history lists them"))
}

fn forgotten(number: u64) -> Response {
    let what = format!("generation {number} is not known; /api/v1/history lists the last hundred");
    reply::problem(StatusCode::NOT_FOUND, "unknown-generation", what)
}
