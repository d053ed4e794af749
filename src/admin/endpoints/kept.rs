//! Tenants that the API keeps: sent as the table that a routes file would have, and served once they are
//! on the disk.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json, extract};
use http::header::{ETAG, HeaderName, IF_MATCH, IF_NONE_MATCH, LOCATION};
use http::{HeaderMap, HeaderValue, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use crate::admin::State;
use crate::admin::asked::{Asked, Body};
use crate::admin::audit::Made;
use crate::admin::openapi::{Operation, Schemas};
use crate::admin::reply::{self, FaultBody};
use crate::admin::roles::Caller;
use crate::config::secrets::Secrets;
use crate::control::generation::Fault;
use crate::control::stored::{
    Apart, Changed, Condition, Excess, Kept, Refusal, StoreError, Table, What, Wish, by_keys,
};
use crate::model::ids::TenantId;
use crate::telemetry::audit_log::Keys;

/// What the OpenAPI document says of the changes.
pub(super) fn operations(schemas: &mut Schemas) -> Vec<Operation> {
    let put = Operation::put("put_tenant", "Keeps a tenant, which is this from now on")
        .takes::<Table>(schemas)
        .answers::<TenantChange>(schemas, StatusCode::CREATED, "It is new, and served");
    let patch = Operation::patch("patch_tenant", "Changes a tenant by a merge patch (RFC 7396)")
        .takes::<Table>(schemas);
    let delete = Operation::delete("delete_tenant", "Keeps a tenant no more");
    let refused = |operation: Operation| {
        operation
            .refuses(StatusCode::NOT_FOUND, "The API keeps no such tenant")
            .refuses(StatusCode::UNPROCESSABLE_ENTITY, "It has problems, which are listed")
    };
    let each = [put.refuses_bodies(), refused(patch.refuses_bodies()), refused(delete)];
    each.into_iter().map(|operation| of_one(operation, schemas)).collect()
}

/// What all of them have.
fn of_one(operation: Operation, schemas: &mut Schemas) -> Operation {
    operation
        .tenant("id")
        .query::<How>(schemas)
        .conditional()
        .on_absence()
        .answers::<TenantChange>(schemas, StatusCode::OK, "It is served like that, or would be")
        .refuses(StatusCode::BAD_REQUEST, "A parameter or the body cannot be read")
        .refuses(StatusCode::CONFLICT, "A file defines it, there is no folder to keep it in, or numbers of its own are above its plan")
        .refuses(StatusCode::PRECONDITION_FAILED, "It is not what the condition names")
        .refuses(StatusCode::INTERNAL_SERVER_ERROR, "It was right and cannot be served: a bug")
        .refuses(StatusCode::SERVICE_UNAVAILABLE, "It cannot be kept now, or the gateway is ending")
        .refuses(StatusCode::GATEWAY_TIMEOUT, "It takes too long")
}

/// How to go about it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct How {
    /// `1`: nothing is changed, and told what would be.
    dry_run: Option<Flag>,
}

impl How {
    pub(super) fn is_dry_run(&self) -> bool {
        self.dry_run == Some(Flag::Yes)
    }
}

#[derive(Debug, Deserialize, JsonSchema, PartialEq, Eq)]
enum Flag {
    #[serde(rename = "1", alias = "true")]
    Yes,
    #[serde(rename = "0", alias = "false")]
    No,
}

/// What the API keeps of a tenant.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct KeptTenant {
    /// Names this state of it, for `If-Match`.
    etag: String,
    /// `served`; `shadowed`, where a file defines it, too; or `unfit`, where it does not fit beside the files.
    state: &'static str,
    /// Why it does not fit.
    problems: Vec<FaultBody>,
    /// Its table.
    definition: Table,
    /// Keys of it that the tenant's own token has written last; a list, as `routes`, is one.
    set_by_tenant: Vec<String>,
}

impl KeptTenant {
    /// What is kept of this tenant, if anything is.
    /// `is_own`: asked for by the tenant's own token, which hears of nothing else.
    pub(super) fn find(kept: &Kept, id: &str, is_own: bool) -> Option<Self> {
        let entry = kept.tenants.get(id)?;
        let apart = kept.apart.get(id);
        let mut faults = match apart {
            Some(Apart::Unfit(faults)) => faults.clone(),
            _ => Vec::new(),
        };
        if is_own && let Ok(id) = TenantId::new(id) {
            faults = by_keys(&id, faults).into_iter().map(without_names).collect();
        }
        Some(Self {
            etag: entry.definition.tag(),
            state: apart.map_or("served", Apart::name),
            problems: faults.iter().map(FaultBody::from).collect(),
            definition: entry.definition.shown(&kept.secrets),
            set_by_tenant: entry.marks.keys().map(ToOwned::to_owned).collect(),
        })
    }

    /// Its tag, as a header has it.
    pub(super) fn tag(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(&self.etag).ok()
    }
}

/// What has become of a tenant, or would.
#[derive(Debug, Serialize, JsonSchema)]
struct TenantChange {
    id: String,
    /// The number of the table that is live.
    generation: u64,
    dry_run: bool,
    /// Whether anything is other than before.
    changed: bool,
    /// `null` = it is gone.
    etag: Option<String>,
    /// `null` = it is gone.
    definition: Option<Table>,
    /// Its values that are others.
    diff: Vec<ValueDiff>,
    /// Its own routes that are others, by their names.
    routes: RouteDiff,
    took_ms: f64,
}

#[derive(Debug, Serialize, JsonSchema)]
struct ValueDiff {
    /// As in `routes[/billing/*].timeout`.
    key: String,
    /// As TOML writes it; `null` = it was not there.
    before: Option<String>,
    /// `null` = it is not there.
    after: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct RouteDiff {
    added: Vec<String>,
    changed: Vec<String>,
    removed: Vec<String>,
}

pub(super) async fn put(
    extract::State(state): extract::State<State>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Asked(how): Asked<How>,
    headers: HeaderMap,
    Body(table): Body<Table>,
) -> Response {
    change((&state, &caller), id, What::Put(table), &how, &headers).await
}

pub(super) async fn patch(
    extract::State(state): extract::State<State>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Asked(how): Asked<How>,
    headers: HeaderMap,
    Body(patch): Body<Table>,
) -> Response {
    change((&state, &caller), id, What::Patch(patch), &how, &headers).await
}

pub(super) async fn delete(
    extract::State(state): extract::State<State>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Asked(how): Asked<How>,
    headers: HeaderMap,
) -> Response {
    change((&state, &caller), id, What::Delete, &how, &headers).await
}

async fn change(
    (state, caller): (&State, &Caller),
    id: String,
    what: What,
    how: &How,
    headers: &HeaderMap,
) -> Response {
    let condition = Condition {
        matches: names(&IF_MATCH, headers),
        matches_none: names(&IF_NONE_MATCH, headers),
    };
    let (dry_run, by) = (how.is_dry_run(), caller.by());
    let within = caller.tenant().map(|_| Arc::clone(state.access.tenant_keys()));
    let wish = Wish { id: id.clone(), what, condition, dry_run, within, by };
    match within_limit(state.stored.change(wish), "the tenant").await {
        Ok(Ok(changed)) => done(id, dry_run, changed, &state.stored.kept.load().secrets),
        Ok(Err(refusal)) => match caller.tenant() {
            Some(_) => refused(Some(&id), &without_others(refusal)),
            None => refused(Some(&id), &refusal),
        },
        Err(answer) => *answer,
    }
}

/// What comes of a change; else the answer to who has asked for it: the gateway is ending, or it takes too
/// long. `where_to_look` tells what came of it later.
pub(super) async fn within_limit<T>(
    change: impl Future<Output = Option<T>>,
    where_to_look: &str,
) -> Result<T, Box<Response>> {
    match timeout(LIMIT, change).await {
        Ok(Some(done)) => Ok(done),
        Ok(None) => Err(Box::new(reply::problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "ending",
            "the gateway is ending and changes nothing more".to_owned(),
        ))),
        Err(_) => Err(Box::new(reply::problem(
            StatusCode::GATEWAY_TIMEOUT,
            "change-slow",
            format!("it takes longer than {LIMIT:?}, and may yet be done: ask for {where_to_look}"),
        ))),
    }
}

/// The tags that a condition names; `None` = there is no such condition.
fn names(condition: &HeaderName, headers: &HeaderMap) -> Option<Vec<String>> {
    let mut lines = headers.get_all(condition).iter().peekable();
    lines.peek()?;
    let texts = lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(','));
    let name = |name: &str| name.strip_prefix("W/").unwrap_or(name).to_owned();
    Some(texts.map(str::trim).filter(|text| !text.is_empty()).map(name).collect())
}

fn done(id: String, dry_run: bool, changed: Changed, secrets: &Secrets) -> Response {
    let is_new = !changed.was_kept && changed.definition.is_some() && !dry_run;
    let tag = changed.definition.as_ref().map(|definition| definition.tag());
    let location = HeaderValue::from_str(&format!("/api/v1/tenants/{id}"));
    let told = TenantChange {
        id,
        generation: changed.generation,
        dry_run,
        changed: changed.is_other,
        etag: tag.clone(),
        definition: changed.definition.map(|definition| definition.shown(secrets)),
        diff: changed
            .values
            .into_iter()
            .map(|value| ValueDiff { key: value.key, before: value.before, after: value.now })
            .collect(),
        routes: RouteDiff {
            added: changed.routes.added,
            changed: changed.routes.changed,
            removed: changed.routes.removed,
        },
        took_ms: (changed.took.as_secs_f64() * 1e6).round() / 1e3,
    };
    let mut keys = Keys::default();
    for value in &told.diff {
        keys.add(&value.key, value.before.is_some(), value.after.is_some());
    }
    let generations = (changed.generation_before, told.generation);
    let made = Made { before: changed.before, after: tag.clone(), generations, keys, dry_run };
    let mut answer = Json(told).into_response();
    answer.extensions_mut().insert(made);
    if let Some(Ok(tag)) = tag.filter(|_| !dry_run).map(|tag| HeaderValue::from_str(&tag)) {
        answer.headers_mut().insert(ETAG, tag);
    }
    if let (true, Ok(location)) = (is_new, location) {
        answer.headers_mut().insert(LOCATION, location);
        *answer.status_mut() = StatusCode::CREATED;
    }
    answer
}

/// Why nothing was changed.
pub(super) fn refused(id: Option<&str>, refusal: &Refusal) -> Response {
    let (status, kind, hint) = match refusal {
        Refusal::Id(_) => (
            StatusCode::UNPROCESSABLE_ENTITY,
            "bad-tenant-id",
            "; it is 1 to 128 of letters, digits, '.', '_' and '-'",
        ),
        Refusal::Dots => (StatusCode::UNPROCESSABLE_ENTITY, "bad-tenant-id", ""),
        Refusal::NotReady => (StatusCode::SERVICE_UNAVAILABLE, "not-ready", ""),
        Refusal::Store(StoreError::Off) => (
            StatusCode::CONFLICT,
            "no-state",
            "; write state = \"state\" there and start the gateway again",
        ),
        Refusal::Store(StoreError::OtherForm { .. }) => (StatusCode::CONFLICT, "other-store", ""),
        Refusal::Store(StoreError::Busy { .. }) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "store-busy",
            "; try again once that one has ended, or give each a `state` folder of its own",
        ),
        Refusal::Store(_) | Refusal::NotNow => {
            (StatusCode::SERVICE_UNAVAILABLE, "store-failed", "")
        }
        Refusal::InFile { .. } => (StatusCode::CONFLICT, "defined-in-file", ""),
        Refusal::Forgotten => (
            StatusCode::NOT_FOUND,
            "unknown-generation",
            "; /api/v1/history lists the last hundred",
        ),
        Refusal::Unknown => (
            StatusCode::NOT_FOUND,
            "unknown-tenant",
            "; a PUT makes one, /api/v1/tenants lists all",
        ),
        Refusal::Condition => (
            StatusCode::PRECONDITION_FAILED,
            "changed",
            "; read it again for its ETag, or leave the condition out",
        ),
        Refusal::Large => (StatusCode::PAYLOAD_TOO_LARGE, "large-tenant", ""),
        Refusal::Beyond(_) => (
            StatusCode::FORBIDDEN,
            "beyond-bounds",
            ", which this token may not; tenant-keys of the tenant, of its plan or of [admin] says what it may, of what the \
             tenant has and no further than its plan goes",
        ),
        Refusal::AbovePlan { .. } => (
            StatusCode::CONFLICT,
            "above-plan",
            "; say in the same PATCH what is to become of each of these keys: null for the plan's number, or the number that \
             the tenant is to have, be it the same (a PUT leaves it out, or has another one)",
        ),
        Refusal::Wrong(_) => (StatusCode::UNPROCESSABLE_ENTITY, "tenant-refused", ""),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "failed", ", which is a bug; nothing is changed"),
    };
    reply::problem_with(status, kind, format!("{refusal}{hint}"), members(id, refusal))
}

/// What the answer to a refusal has besides.
fn members(id: Option<&str>, refusal: &Refusal) -> Map<String, Value> {
    let mut members = Map::new();
    members.extend(id.map(|id| ("tenant".to_owned(), id.into())));
    if let Refusal::Wrong(faults) | Refusal::Failed(faults) = refusal {
        members.insert("problems".to_owned(), json!(listed(faults)));
    }
    if let Refusal::InFile { place } = refusal {
        members.insert("place".to_owned(), place.as_str().into());
    }
    if let Refusal::Beyond(keys) = refusal {
        members.insert("keys".to_owned(), json!(keys));
    }
    if let Refusal::AbovePlan { plan, numbers } = refusal {
        let told = |one: &Excess| json!({"key": one.key, "value": one.value, "bound": one.bound});
        members.insert("plan".to_owned(), json!(plan));
        members.insert("numbers".to_owned(), numbers.iter().map(told).collect());
    }
    members
}

/// What a tenant's own token is told: what is wrong with what it has sent, and nothing of the gateway's
/// files, of its pools, or of other tenants.
fn without_others(refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::Wrong(faults) => Refusal::Wrong(faults.into_iter().map(without_names).collect()),
        Refusal::Failed(_) => Refusal::Failed(Vec::new()),
        Refusal::InFile { .. } => Refusal::InFile { place: "a file of the gateway".to_owned() },
        Refusal::Store(_) => Refusal::NotNow,
        other => other,
    }
}

/// A fault by its own key, without what names anything but the tenant.
fn without_names(fault: Fault) -> Fault {
    let is_own = fault.line.is_none() && fault.key.is_some();
    let is_of_names =
        ["there is no ", "tenant ", "api:"].iter().any(|text| fault.what.contains(text));
    let what = match is_own && !is_of_names {
        true => fault.what,
        false => "does not fit beside what the gateway serves".to_owned(),
    };
    let key = fault.key.filter(|_| is_own);
    Fault { file: PathBuf::new(), line: None, column: None, key, what, hint: None }
}

fn listed(faults: &[Fault]) -> Vec<FaultBody> {
    faults.iter().map(FaultBody::from).collect()
}

/// A million tenants are checked as a whole in some seconds; who waits longer waits for a disk that hangs.
const LIMIT: Duration = Duration::from_secs(30);
