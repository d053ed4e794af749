//! The endpoints of all pools: how each one is, and why.

use axum::routing::get;
use axum::{Json, extract};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use axum::response::{IntoResponse, Response};
use http::StatusCode;

use crate::admin::asked::{Asked, Page, bad_query};
use crate::admin::openapi::{Operation, Schemas};
use crate::admin::{State, reply};
use crate::control::generation::{Live, LivePool};
use crate::model::drains;
use crate::model::endpoint::Health;
use crate::model::members;

use super::Endpoint;

pub(super) const ENDPOINT: Endpoint =
    Endpoint { path: "/api/v1/endpoints", methods: || get(list), operations };

fn operations(schemas: &mut Schemas) -> Vec<Operation> {
    vec![
        Operation::get("list_endpoints", "The endpoints of all pools: how each one is, and why")
            .query::<Wanted>(schemas)
            .answers::<Endpoints>(schemas, StatusCode::OK, "A page of them, by pool and address")
            .refuses(StatusCode::BAD_REQUEST, "The query cannot be read")
            .refuses(StatusCode::NOT_FOUND, "There is no such pool"),
    ]
}

/// Which endpoints.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// Those of this pool.
    pool: Option<String>,
    /// Those in this state.
    state: Option<Condition>,
    /// As many at most.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<usize>,
    /// Those that follow: the `next` of the page before.
    after: Option<String>,
}

/// What an endpoint is to its pool, as the metrics count it: each is in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Condition {
    /// Its checks succeed.
    Up,
    /// Its pool has no active check.
    Unchecked,
    /// It was not checked yet.
    Pending,
    /// Its checks fail.
    Down,
    /// Traffic has seen it fail.
    Ejected,
    /// It comes back from that, and gets one request at a time.
    Trial,
    /// An operator, or its source, keeps it out.
    Drained,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Endpoints {
    endpoints: Vec<Listed>,
    /// To ask for the next page with, as `after`; `null` = there is none.
    next: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Listed {
    pool: String,
    #[serde(flatten)]
    member: Member,
}

/// A member of a pool.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Member {
    address: String,
    weight: u32,
    priority: u16,
    /// The source that names it.
    origin: String,
    /// The zone that it stands in, where its source says so.
    zone: Option<String>,
    state: Condition,
    /// What its active checks say.
    health: Word,
    /// Why the last check failed.
    reason: Option<String>,
    /// How much longer traffic's own judgement keeps it out.
    ejected_for_ms: Option<u64>,
    /// Requests that must still be served, one at a time, before it gets all of its traffic; `null` = it does not come
    /// back from an ejection.
    trials_left: Option<u32>,
    /// Failures in a row that traffic has seen.
    failures: u32,
    in_flight: u32,
    /// How much of its share it has yet, of a hundred, while it warms up.
    warmth: Option<u32>,
    /// Requests go round it since it is later than the others, time after time.
    late: bool,
    /// There while it is kept out.
    drained: Option<Drained>,
    /// Whether it may be picked by its own state.
    eligible: bool,
}

/// What active checks say.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Word {
    Unchecked,
    Pending,
    Up,
    Down,
}

/// A drain.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Drained {
    /// When it began.
    since: String,
    /// Why, in the operator's words.
    reason: Option<String>,
    by: By,
}

/// Who keeps an endpoint out.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum By {
    /// An operator, by this API.
    Operator,
    /// Who wrote of it that it is draining, in the routes or in a list.
    Source,
}

impl From<&drains::Drained> for Drained {
    fn from(drained: &drains::Drained) -> Self {
        Self {
            since: reply::time(drained.since),
            reason: drained.reason.as_deref().map(str::to_owned),
            by: By::Operator,
        }
    }
}

impl Drained {
    /// Whoever keeps a member out; an operator has said more of it.
    fn of(member: &members::Member, drains: &drains::ByAddress) -> Option<Self> {
        let by_operator = drains.get(&member.endpoint.address).map(Self::from);
        by_operator.or_else(|| {
            let since = reply::time(member.draining?);
            Some(Self { since, reason: None, by: By::Source })
        })
    }
}

async fn list(
    extract::State(state): extract::State<State>,
    Asked(wanted): Asked<Wanted>,
) -> Response {
    let live = state.live.load();
    reply::in_background(move || listed(&live, wanted)).await
}

fn listed(live: &Live, wanted: Wanted) -> Response {
    let page = match Page::new(wanted.limit, wanted.after) {
        Ok(page) => page,
        Err(why) => return bad_query(&why),
    };
    let pools: Vec<&LivePool> = match &wanted.pool {
        None => live.pools.iter().collect(),
        Some(name) => match live.pools.iter().find(|pool| pool.name.as_ref() == name) {
            Some(pool) => vec![pool],
            None => {
                let what = format!("there is no pool {name:?}; /api/v1/pools lists them");
                return reply::problem(StatusCode::NOT_FOUND, "unknown-pool", what);
            }
        },
    };
    let mut items = Vec::new();
    for pool in pools {
        for one in all(pool) {
            if wanted.state.is_none_or(|state| state == one.state) {
                let key = format!("{} {}", pool.name, one.address);
                items.push((key, Listed { pool: pool.name.to_string(), member: one }));
            }
        }
    }
    items.sort_by(|(left, _), (right, _)| left.cmp(right));
    let (endpoints, next) = page.of(items.into_iter());
    Json(Endpoints { endpoints, next }).into_response()
}

/// The members of a pool.
pub(super) fn all(pool: &LivePool) -> Vec<Member> {
    let set = pool.members.load();
    let (drains, rules) = (pool.members.drains().load(), pool.members.rules());
    let now = Instant::now();
    let warmth = |one: &members::Member| {
        let is_warming = one.warmth.since().is_some();
        is_warming.then(|| one.warmth.percent(rules.slow_start.as_ref(), now))
    };
    set.all.iter().map(|one| member(one, &drains, (warmth(one), now))).collect()
}

fn member(
    member: &members::Member,
    drains: &drains::ByAddress,
    (warmth, now): (Option<u32>, Instant),
) -> Member {
    let endpoint = &member.endpoint;
    let (health, ejected_for) = (endpoint.health(), endpoint.ejected_for());
    let drained = Drained::of(member, drains);
    let (word, state) = match health {
        Health::Unchecked => (Word::Unchecked, Condition::Unchecked),
        Health::Pending => (Word::Pending, Condition::Pending),
        Health::Up => (Word::Up, Condition::Up),
        Health::Down => (Word::Down, Condition::Down),
    };
    let state = match () {
        () if drained.is_some() => Condition::Drained,
        () if ejected_for.is_some() => Condition::Ejected,
        () if endpoint.is_eligible() && endpoint.is_on_trial() => Condition::Trial,
        () => state,
    };
    Member {
        address: endpoint.label.to_string(),
        weight: member.weight,
        priority: member.priority,
        origin: member.origin.to_string(),
        zone: member.zone.as_deref().map(str::to_owned),
        state,
        health: word,
        reason: endpoint.reason().map(|reason| reason.to_string()),
        ejected_for_ms: ejected_for.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
        trials_left: endpoint.trial_needs(),
        failures: endpoint.failures(),
        in_flight: endpoint.in_flight(),
        warmth,
        late: endpoint.is_late_now(now),
        eligible: endpoint.is_eligible(),
        drained,
    }
}
