//! Splits with a canary: what each side comes to, which canaries are rolled back, and how that is ended.

use std::time::Duration;

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, extract};
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::asked::Asked;
use crate::admin::audit::About;
use crate::admin::openapi::{Operation, Schemas};
use crate::admin::{State, reply};
use crate::config::spec::RollbackSpec;
use crate::control::splits::{Id, Reset, RolledBack, Shown};
use crate::model::canary::{Counts, Outcome, Side};

use super::Endpoint;

pub(in crate::admin) const LIST: Endpoint =
    Endpoint { path: "/api/v1/splits", methods: || get(list), operations: of_list };

/// Not `id`: that is a tenant's in every path.
pub(in crate::admin) const RESET: Endpoint = Endpoint {
    path: "/api/v1/splits/{split}/reset",
    methods: || post(reset),
    operations: of_reset,
};

fn of_list(schemas: &mut Schemas) -> Vec<Operation> {
    vec![
        Operation::get("list_splits", "The splits with a canary, and how they fare")
            .query::<Wanted>(schemas)
            .answers::<Vec<CanarySplit>>(schemas, StatusCode::OK, "As they are now")
            .refuses(StatusCode::BAD_REQUEST, "The query cannot be read"),
    ]
}

fn of_reset(schemas: &mut Schemas) -> Vec<Operation> {
    vec![
        Operation::post("reset_split", "Gives a canary that was rolled back its share again")
            .part("split", "The id of the split")
            .answers::<SplitReset>(schemas, StatusCode::OK, "The canary has its share")
            .refuses(StatusCode::NOT_FOUND, "There is no such split"),
    ]
}

/// Which splits.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// Those of this owner, as in `tenants.acme` or `route-sets.standard`.
    owner: Option<String>,
    /// Those that are so.
    state: Option<SplitState>,
}

/// A split with a canary.
#[derive(Debug, Serialize, JsonSchema)]
struct CanarySplit {
    /// Stays the same for as long as there is the route.
    id: String,
    /// Whose route it is of, as in `tenants.acme` or `route-sets.standard`.
    owner: String,
    /// The route's name.
    route: String,
    /// The pool that is tried.
    canary: String,
    state: SplitState,
    /// There while it is rolled back.
    rolled_back: Option<CanaryRollback>,
    /// Its pools with their weights, and the parts that they get now.
    shares: Vec<PoolShare>,
    /// Requests that it took since it is what it is, or since the start.
    requests: SplitSides,
    /// Those that lie within the window of its rule; `null` = it has none.
    window: Option<SplitSides>,
    /// When it is rolled back; `null` = that is left to people.
    rule: Option<CanaryRule>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum SplitState {
    /// The canary gets its share.
    Active,
    /// The canary gets no requests.
    RolledBack,
}

/// Why a canary gets no requests.
#[derive(Debug, Serialize, JsonSchema)]
struct CanaryRollback {
    since: String,
    /// The rule that it broke: `errors`, `errors_factor`, `latency` or `latency_factor`.
    reason: String,
    /// What it did, in words.
    why: String,
}

/// What one pool of a split gets.
#[derive(Debug, Serialize, JsonSchema)]
struct PoolShare {
    pool: String,
    weight: u32,
    /// The part of 1 that it gets of the requests that are divided by weight.
    share: f64,
}

/// The requests of both sides.
#[derive(Debug, Serialize, JsonSchema)]
struct SplitSides {
    /// Those of all other pools.
    stable: SideRequests,
    canary: SideRequests,
}

/// What became of requests.
#[derive(Debug, Serialize, JsonSchema)]
struct SideRequests {
    served: u64,
    /// Answered with a 5xx.
    failed: u64,
    /// Their clients left before an answer, were at fault themselves, or gave less than a second, which was over.
    left: u64,
    /// Refused before any endpoint was asked: by the tenant's open breaker or full queue, or for want of memory.
    refused: u64,
    /// The part of 1 that failed of those that were served or failed; `null` = there are none.
    failing: Option<f64>,
    /// To the heads of answers, up to an eighth too long; `null` = there were too few.
    p50_ms: Option<f64>,
    p95_ms: Option<f64>,
}

/// When a canary is rolled back.
#[derive(Debug, Serialize, JsonSchema)]
struct CanaryRule {
    /// The part of 1 that may fail.
    errors: Option<f64>,
    errors_factor: Option<u32>,
    latency_ms: Option<f64>,
    latency_factor: Option<u32>,
    percentile: u8,
    requests: u64,
    window_ms: f64,
}

/// What became of a reset.
#[derive(Debug, Serialize, JsonSchema)]
struct SplitReset {
    /// Whether it was rolled back before.
    changed: bool,
    split: CanarySplit,
}

async fn list(
    extract::State(state): extract::State<State>,
    Asked(wanted): Asked<Wanted>,
) -> Response {
    let list = move || {
        let splits = state.splits.list();
        let splits = splits.iter().filter(|shown| wanted.takes(shown));
        Json(splits.map(CanarySplit::from).collect::<Vec<_>>()).into_response()
    };
    reply::in_background(list).await
}

async fn reset(
    extract::State(state): extract::State<State>,
    Path(split): Path<String>,
) -> Response {
    let found = Id::read(&split);
    let outcome = found.map_or(Reset::NoSplit, |id| state.splits.reset(id));
    let shown = found.filter(|_| outcome != Reset::NoSplit).and_then(|id| state.splits.find(id));
    let Some(shown) = shown else {
        let split: String = split.chars().take(LONGEST_ID).collect();
        let what = format!("there is no split {split:?}; /api/v1/splits lists those with a canary");
        return reply::problem(StatusCode::NOT_FOUND, "unknown-split", what);
    };
    let about = About(format!("the split of the route {:?} of {}", shown.route, shown.owner));
    let body = SplitReset { changed: outcome == Reset::Done, split: CanarySplit::from(&shown) };
    (Extension(about), Json(body)).into_response()
}

impl Wanted {
    fn takes(&self, shown: &Shown) -> bool {
        self.state.is_none_or(|state| state == SplitState::of(shown))
            && self.owner.as_ref().is_none_or(|owner| *owner == shown.owner.to_string())
    }
}

impl SplitState {
    fn of(shown: &Shown) -> Self {
        match shown.rolled_back {
            Some(_) => Self::RolledBack,
            None => Self::Active,
        }
    }
}

impl From<&Shown> for CanarySplit {
    fn from(shown: &Shown) -> Self {
        let shares = shown.spec.pools.iter().zip(shown.shares());
        let rule = shown.spec.canary.as_ref().and_then(|canary| canary.rollback.as_ref());
        Self {
            id: shown.id.to_string(),
            owner: shown.owner.to_string(),
            route: shown.route.to_string(),
            canary: shown.canary().map(ToString::to_string).unwrap_or_default(),
            state: SplitState::of(shown),
            rolled_back: shown.rolled_back.as_ref().map(CanaryRollback::from),
            shares: shares
                .map(|((pool, weight), (_, share))| PoolShare {
                    pool: pool.to_string(),
                    weight: *weight,
                    share,
                })
                .collect(),
            requests: SplitSides::from(&shown.counts),
            window: rule.map(|_| SplitSides::from(&shown.recent)),
            rule: rule.map(CanaryRule::from),
        }
    }
}

impl From<&RolledBack> for CanaryRollback {
    fn from(RolledBack { since, reason, why }: &RolledBack) -> Self {
        Self { since: reply::time(*since), reason: reason.to_string(), why: why.to_string() }
    }
}

impl From<&[Counts; 2]> for SplitSides {
    fn from(counts: &[Counts; 2]) -> Self {
        let of = |side: Side| SideRequests::from(&counts[side as usize]);
        Self { stable: of(Side::Stable), canary: of(Side::Canary) }
    }
}

impl From<&Counts> for SideRequests {
    fn from(counts: &Counts) -> Self {
        let at = |percent| counts.quantile(percent).map(millis);
        Self {
            served: counts.of(Outcome::Served),
            failed: counts.of(Outcome::Failed),
            left: counts.of(Outcome::Left),
            refused: counts.of(Outcome::Refused),
            failing: counts.failing(),
            p50_ms: at(50),
            p95_ms: at(95),
        }
    }
}

impl From<&RollbackSpec> for CanaryRule {
    fn from(rule: &RollbackSpec) -> Self {
        Self {
            errors: rule.errors.map(|share| share.share()),
            errors_factor: rule.errors_factor,
            latency_ms: rule.latency.map(millis),
            latency_factor: rule.latency_factor,
            percentile: rule.percentile,
            requests: rule.requests,
            window_ms: millis(rule.window),
        }
    }
}

/// Without the digits that a product of fractions would have.
fn millis(time: Duration) -> f64 {
    time.as_micros() as f64 / 1e3
}

/// 200 characters of what was asked for are enough to find it again.
const LONGEST_ID: usize = 200;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use serde_json::{Map, Value};

    use crate::base::units::Percent;
    use crate::config::spec::{CanarySpec, SplitBy, SplitSpec};
    use crate::model::ids::PoolId;
    use crate::routing::canary::Owner;

    use super::*;

    /// The keys of a value, those of a list's first item for all of them.
    fn shape(value: &Value) -> Value {
        match value {
            Value::Object(members) => members
                .iter()
                .map(|(key, value)| (key.clone(), shape(value)))
                .collect::<Map<_, _>>()
                .into(),
            Value::Array(items) => items.iter().take(1).map(shape).collect(),
            _ => Value::Null,
        }
    }

    fn side(failed: usize) -> Counts {
        let mut counts = Counts::default();
        for number in 0..250 {
            let outcome = if number < failed { Outcome::Failed } else { Outcome::Served };
            counts.add(outcome, Duration::from_millis(4));
        }
        counts
    }

    #[test]
    fn a_split_is_told_as_the_docs_say() {
        let rule = RollbackSpec {
            errors: Some(Percent::new(5.0)),
            errors_factor: None,
            latency: None,
            latency_factor: Some(2),
            percentile: 95,
            requests: 100,
            window: Duration::from_secs(60),
        };
        let (stable, next) = (PoolId("stable".into()), PoolId("next".into()));
        let canary = CanarySpec {
            pool: next.clone(),
            headers: Vec::new(),
            tenants: Vec::new(),
            rollback: Some(rule),
        };
        let shown_one = Shown {
            id: Id::read("5f0c1a9be2d4470e").unwrap(),
            owner: Owner::Tenant("acme".into()),
            route: "shop".into(),
            spec: Arc::new(SplitSpec {
                pools: vec![(next, 5), (stable, 95)], // in order, as they are checked
                by: SplitBy::RequestId,
                canary: Some(Box::new(canary)),
            }),
            counts: [side(1), side(30)],
            recent: [side(1), side(30)],
            rolled_back: Some(RolledBack {
                since: SystemTime::UNIX_EPOCH,
                reason: "errors".into(),
                why: "12.0% of 250 requests failed, and 5% may".into(),
            }),
        };

        let told = serde_json::to_value([CanarySplit::from(&shown_one)]).unwrap();

        let docs = include_str!("../../../docs/admin.md");
        let (_, section) = docs.split_once("### `/api/v1/splits`\n").unwrap();
        let shown = section.split("```").find_map(|block| block.strip_prefix("json\n")).unwrap();
        let shown: Value = serde_json::from_str(shown).unwrap();
        assert_eq!(shape(&told), shape(&shown));
        for key in ["id", "owner", "route", "canary", "state", "shares", "rule"] {
            assert_eq!(told[0][key], shown[0][key], "{key}");
        }
        let takes = |state, owner: Option<&str>| {
            Wanted { owner: owner.map(str::to_owned), state }.takes(&shown_one)
        };
        assert!(takes(None, None) && takes(Some(SplitState::RolledBack), Some("tenants.acme")));
        assert!(!takes(Some(SplitState::Active), None) && !takes(None, Some("acme")));
        for key in ["failed", "failing", "p50_ms", "p95_ms"] {
            assert!(told[0]["window"]["canary"][key].is_number(), "{key}: {told}");
        }
    }

    #[test]
    fn an_id_is_read_as_it_is_written_and_nothing_else_is_one() {
        for text in ["5f0c1a9be2d4470e", "0000000000000000", "ffffffffffffffff"] {
            assert_eq!(Id::read(text).unwrap().to_string(), text);
        }
        for text in
            ["", "5f0c1a9be2d4470", "5f0c1a9be2d4470e0", "+f0c1a9be2d4470e", "5f0c1a9be2d447\u{e9}"]
        {
            assert_eq!(Id::read(text), None, "{text}");
        }
    }
}
