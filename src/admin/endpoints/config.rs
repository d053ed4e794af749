//! Which config is live, and what is wrong with the files if it is not theirs.

use axum::routing::get;
use axum::{Json, extract};
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use crate::admin::State;
use crate::admin::openapi::{Operation, Schemas};
use crate::admin::reply::{self, FaultBody};
use crate::auth::issuer::KeysStatus;
use crate::control::generation::LiveIssuer;
use crate::control::quarantine::{Held, SHOWN_FILES};
use crate::control::stored::{Kept, faults_above};

use super::Endpoint;
use super::bearers::TenantCertificates;

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
    /// Files of the folder that are broken, whose tenants are held as they were; the first hundred.
    quarantined: Vec<Quarantined>,
    /// How many such files there are.
    quarantined_files: usize,
    /// What makes one doubt what is live, as routes that are never used.
    warnings: Vec<FaultBody>,
    /// Issuers of tokens, and how it stands with their keys.
    issuers: Vec<Issuer>,
    /// What the API keeps.
    kept: Keeping,
    /// Certificates of tenants' own.
    tenant_certificates: TenantCertificates,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "TokenIssuer")]
struct Issuer {
    name: String,
    /// What its tokens have in `iss`.
    issuer: String,
    /// The file or URL that its keys come from.
    source: String,
    /// How many keys are in use; at 0 its tokens are answered 503.
    keys: usize,
    /// When they were read or fetched.
    at: Option<String>,
    /// Since when no newer ones could be read or fetched.
    failed_since: Option<String>,
    error: Option<String>,
}

impl From<&LiveIssuer> for Issuer {
    fn from(issuer: &LiveIssuer) -> Self {
        let status = KeysStatus::clone(&issuer.status.load());
        let (name, source) = (issuer.name.to_string(), issuer.place.clone());
        Self {
            name,
            issuer: issuer.issuer.to_string(),
            source,
            keys: status.keys,
            at: status.at.map(reply::time),
            failed_since: status.failed_since.map(reply::time),
            error: status.error,
        }
    }
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

#[derive(Debug, Serialize, JsonSchema)]
struct Keeping {
    /// Tenants that the API keeps.
    tenants: usize,
    /// Those that a file defines, too, whose is served; the first hundred.
    shadowed: Vec<String>,
    /// Those that do not fit beside the files; the first hundred.
    unfit: Vec<String>,
    /// Why nothing can be kept, or what was lost.
    trouble: Option<String>,
    /// Numbers that tenants have set themselves and that are above their plans; the first hundred.
    warnings: Vec<FaultBody>,
    /// How many such numbers there are.
    warning_count: usize,
}

impl From<&Kept> for Keeping {
    fn from(kept: &Kept) -> Self {
        let apart = |name: &'static str| {
            let such = kept.apart.iter().filter(move |(_, why)| why.name() == name);
            such.map(|(id, _)| id.clone()).take(SHOWN).collect()
        };
        let warnings: Vec<_> = faults_above(&kept.above).take(SHOWN).collect();
        Self {
            tenants: kept.tenants.len(),
            shadowed: apart("shadowed"),
            unfit: apart("unfit"),
            trouble: kept.trouble.clone(),
            warnings: warnings.iter().map(FaultBody::from).collect(),
            warning_count: kept.above.values().map(|above| above.numbers.len()).sum(),
        }
    }
}

/// 100: more than anybody reads.
const SHOWN: usize = 100;

async fn config(extract::State(state): extract::State<State>) -> Json<Config> {
    let live = state.live.load();
    Json(Config {
        generation: live.generation,
        live_since: (live.generation > 0).then(|| reply::time(live.since)),
        files: live.files().map(|file| file.display().to_string()).collect(),
        serving_last_good: live.serving_last_good,
        failed_since: live.failed_since.map(reply::time),
        problems: live.problems.iter().map(FaultBody::from).collect(),
        quarantined: live.quarantine().iter().take(SHOWN_FILES).map(Quarantined::from).collect(),
        quarantined_files: live.quarantine().len(),
        warnings: live.doubts().iter().map(FaultBody::from).collect(),
        issuers: live.issuers.iter().map(Issuer::from).collect(),
        kept: Keeping::from(&*state.stored.kept.load()),
        tenant_certificates: TenantCertificates::from(&*state.bearers.load()),
    })
}
