//! Which config is live, and what is wrong with the files if it is not theirs.

use axum::routing::get;
use axum::{Json, extract};
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use crate::admin::State;
use crate::admin::reply::{self, FaultBody};
use crate::control::quarantine::Held;

use crate::admin::openapi::{Operation, Schemas};

use super::Endpoint;

pub(super) const ENDPOINT: Endpoint =
    Endpoint { path: "/api/v1/config", methods: || get(config), operations };

fn operations(schemas: &mut Schemas) -> Vec<Operation> {
    let operation = Operation::get(
        "show_config",
        "Which config is live, and what is wrong with the files of now",
    );
    vec![operation.answers::<Config>(schemas, StatusCode::OK, "As it is now")]
}

#[derive(Debug, Serialize, JsonSchema)]
struct Config {
    generation: u64,
    /// `null` while no table is live.
    live_since: Option<String>,
    files: Vec<String>,
    serving_last_good: bool,
    failed_since: Option<String>,
    problems: Vec<FaultBody>,
    /// Files of the folder that are broken, whose tenants are held as they were.
    quarantined: Vec<Quarantined>,
    /// Routes that are never used.
    warnings: Vec<FaultBody>,
}

/// A file that is broken, and defines nothing but tenants.
#[derive(Debug, Serialize, JsonSchema)]
struct Quarantined {
    file: String,
    /// How many tenants it defines.
    count: usize,
    /// The first of them.
    tenants: Vec<String>,
    /// Whether they are served as the file said last; else it was never good, and they are answered 503.
    served: bool,
    problems: Vec<FaultBody>,
}

impl From<&Held> for Quarantined {
    fn from(held: &Held) -> Self {
        Self {
            file: held.path().display().to_string(),
            count: held.tenants.len(),
            tenants: held.few().to_vec(),
            served: held.was_good,
            problems: held.problems.iter().map(FaultBody::from).collect(),
        }
    }
}

async fn config(extract::State(state): extract::State<State>) -> Json<Config> {
    let live = state.live.load();
    Json(Config {
        generation: live.generation,
        live_since: (live.generation > 0).then(|| reply::time(live.since)),
        files: live.files().map(|file| file.display().to_string()).collect(),
        serving_last_good: live.serving_last_good,
        failed_since: live.failed_since.map(reply::time),
        problems: live.problems.iter().map(FaultBody::from).collect(),
        quarantined: live.quarantine().iter().map(Quarantined::from).collect(),
        warnings: live.doubts().iter().map(FaultBody::from).collect(),
    })
}
