//! The pools: their members, how they are, and where they come from.

use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, extract};
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use crate::admin::{State, reply};
use crate::base::fair::{self, Gate};
use crate::control::generation::{LivePool, SourceResult, SourceStatus};
use crate::model::breakers::{Breakers, Counts};
use crate::model::members::MemberSet;
use crate::model::room::Filled;
use crate::model::shares::{Group, WHOLE};

use crate::admin::openapi::{Operation, Schemas};

use super::Endpoint;
use super::members::{self, Member};

pub(super) const ENDPOINT: Endpoint =
    Endpoint { path: "/api/v1/pools", methods: || get(pools), operations };

fn operations(schemas: &mut Schemas) -> Vec<Operation> {
    let operation = Operation::get("list_pools", "Every pool with its members and its sources");
    vec![operation.answers::<Vec<Pool>>(schemas, StatusCode::OK, "As it is now")]
}

#[derive(Debug, Serialize, JsonSchema)]
struct Pool {
    name: String,
    /// Too few are healthy: all are used.
    panicking: bool,
    /// How many requests it may have at once; `null` = any number.
    concurrency: Option<Concurrency>,
    /// The bound of a pool without such a limit, while it is overrun; `null` = it has none now.
    overrun: Option<Overrun>,
    /// Requests that wait for an endpoint; `null` = it has none wait.
    waiting: Option<Waiting>,
    /// Tenants whose breakers are not closed, and how its own stands; `null` = it has none.
    breakers: Option<Open>,
    /// What the drained members are still busy with; `null` = none is drained.
    draining: Option<Draining>,
    /// How many endpoints each tenant has of each priority; `null` = all have all.
    shard: Option<usize>,
    /// How many members have not come to their whole share yet.
    warming: usize,
    /// Its members by priority, and what each group gets.
    priorities: Vec<Priority>,
    members: Vec<Member>,
    sources: Vec<Source>,
}

/// The requests of a pool that may have so many at once.
#[derive(Debug, Serialize, JsonSchema)]
struct Concurrency {
    limit: u32,
    /// How many it has.
    requests: u32,
    /// How many wait.
    waiting: usize,
    /// How the limit follows how long requests take; `null` = it stands still.
    adaptive: Option<Adaptive>,
}

/// What bounds a pool that is overrun.
#[derive(Debug, Serialize, JsonSchema)]
struct Overrun {
    /// How many requests may wait for the head of an answer at once.
    limit: u32,
    /// How many do, of those that came since there is a bound.
    requests: u32,
    /// How many wait for their turn.
    waiting: usize,
}

/// A limit that follows how long requests take.
#[derive(Debug, Serialize, JsonSchema)]
struct Adaptive {
    /// It never falls below that.
    min: u32,
    /// It never rises above that.
    max: u32,
    /// How many times as long as usual requests take; `null` = not known yet.
    slowdown: Option<f64>,
}

/// Requests that wait while nobody may be picked.
#[derive(Debug, Serialize, JsonSchema)]
struct Waiting {
    /// How many there are.
    requests: u64,
    /// What they hold in memory.
    bytes: u64,
}

/// How a pool's breakers stand.
#[derive(Debug, Serialize, JsonSchema)]
struct Open {
    /// Tenants all of whose requests are refused.
    open: u64,
    /// Tenants of whose requests a few pass, on trial.
    half_open: u64,
    /// How the breaker of the whole pool stands: `closed`, `open` or `half_open`; `null` = it has none.
    pool: Option<&'static str>,
}

/// Members that are drained.
#[derive(Debug, Serialize, JsonSchema)]
struct Draining {
    /// How many there are.
    endpoints: usize,
    /// The requests that they are still busy with: at 0 all of them may be stopped.
    in_flight: u64,
}

/// The members of one priority, without those that are drained.
#[derive(Debug, Serialize, JsonSchema)]
struct Priority {
    priority: u16,
    endpoints: u64,
    /// Those that may be picked by their own state, without those on trial after an ejection.
    healthy: u64,
    /// The part of the pool's traffic that they get, of 1.
    share: f64,
    /// The part of that which stays in the gateway's own zone, of 1; `null` = zones do not matter.
    own_zone: Option<f64>,
    /// Too few are healthy: all of them are used.
    panicking: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Source {
    name: String,
    result: &'static str,
    at: Option<String>,
    members: Option<usize>,
    error: Option<String>,
}

async fn pools(extract::State(state): extract::State<State>) -> Response {
    let live = state.live.load();
    let list = move || Json(live.pools.iter().map(pool).collect::<Vec<_>>()).into_response();
    reply::in_background(list).await
}

fn pool(pool: &LivePool) -> Pool {
    let set = pool.members.load();
    Pool {
        name: pool.name.to_string(),
        panicking: set.eligible.panicking,
        concurrency: pool.gate.as_deref().and_then(|gate| concurrency(gate, pool)),
        overrun: pool.overrun.as_deref().and_then(|overrun| bound(overrun.gate()?)),
        waiting: pool.members.room().map(|room| {
            let Filled { waiting, bytes } = room.filled();
            Waiting { requests: waiting, bytes }
        }),
        breakers: pool.breakers.as_deref().map(|breakers| open(breakers, pool)),
        draining: draining(&set),
        shard: pool.shard,
        warming: set.warming(),
        priorities: set.groups.iter().map(priority).collect(),
        members: members::all(pool),
        sources: pool.sources.iter().map(source).collect(),
    }
}

fn open(breakers: &Breakers, pool: &LivePool) -> Open {
    let Counts { open, half_open } = breakers.tenants.counts();
    let own = pool.has_own_breaker.then(|| match breakers.whole.standing.counts() {
        Counts { open: 1.., .. } => "open",
        Counts { half_open: 1.., .. } => "half_open",
        Counts { .. } => "closed",
    });
    Open { open, half_open, pool: own }
}

fn draining(set: &MemberSet) -> Option<Draining> {
    let (endpoints, in_flight) = set.draining();
    (endpoints > 0).then_some(Draining { endpoints, in_flight })
}

fn priority(group: &Group) -> Priority {
    Priority {
        priority: group.priority,
        endpoints: group.members,
        healthy: group.healthy,
        share: group.share as f64 / WHOLE as f64,
        own_zone: group.near.map(|near| near as f64 / WHOLE as f64),
        panicking: group.panicking,
    }
}

fn concurrency(gate: &Gate, pool: &LivePool) -> Option<Concurrency> {
    let fair::State { limit, inside, waiting } = gate.state();
    let adaptive = pool.adaptive.as_ref().map(|(spec, times)| Adaptive {
        min: spec.min,
        max: spec.max,
        slowdown: times.slowdown().map(hundredths),
    });
    Some(Concurrency { limit: limit?, requests: inside, waiting, adaptive })
}

fn bound(gate: &Gate) -> Option<Overrun> {
    let fair::State { limit, inside, waiting } = gate.state();
    Some(Overrun { limit: limit?, requests: inside, waiting })
}

fn hundredths(number: f32) -> f64 {
    (f64::from(number) * 100.0).round() / 100.0
}

fn source(source: &SourceStatus) -> Source {
    let name = source.name.to_string();
    match source.last.load().as_ref() {
        SourceResult::Waiting => {
            Source { name, result: "waiting", at: None, members: None, error: None }
        }
        SourceResult::Found { at, members } => Source {
            name,
            result: "found",
            at: Some(reply::time(*at)),
            members: Some(*members),
            error: None,
        },
        SourceResult::Failed { at, error } => Source {
            name,
            result: "failed",
            at: Some(reply::time(*at)),
            members: None,
            error: Some(error.clone()),
        },
    }
}
