//! What of a request is tried again, and what is tried twice at once.

use crate::base::units::ByteSize;
use crate::config::spec::{HedgeSpec, RetrySpec};
use crate::resilience::hedging::HedgeRule;
use crate::resilience::retry::RetryRule;

use super::settings::span;

/// Each key with its value, and whether the route says it, and the pool.
pub(super) fn rows(route: &RetrySpec, pool: &RetrySpec) -> [(&'static str, String, bool, bool); 9] {
    let all = RetryRule::resolve(route, pool);
    let on: Vec<String> = all.on.iter().map(ToString::to_string).collect();
    [
        (
            "retry.attempts",
            all.attempts.to_string(),
            route.attempts.is_some(),
            pool.attempts.is_some(),
        ),
        ("retry.on", on.join(", "), route.on.is_some(), pool.on.is_some()),
        ("retry.budget", all.budget.to_string(), route.budget.is_some(), pool.budget.is_some()),
        (
            "retry.budget-floor",
            all.budget_floor.to_string(),
            route.budget_floor.is_some(),
            pool.budget_floor.is_some(),
        ),
        ("retry.backoff", span(all.backoff), route.backoff.is_some(), pool.backoff.is_some()),
        (
            "retry.max-backoff",
            span(all.max_backoff),
            route.max_backoff.is_some(),
            pool.max_backoff.is_some(),
        ),
        (
            "retry.max-retry-after",
            span(all.max_retry_after),
            route.max_retry_after.is_some(),
            pool.max_retry_after.is_some(),
        ),
        (
            "retry.replay",
            ByteSize(all.replay).to_string(),
            route.replay.is_some(),
            pool.replay.is_some(),
        ),
        (
            "retry.hedge",
            hedge(route.hedge.as_ref(), pool.hedge.as_ref()),
            route.hedge.is_some(),
            pool.hedge.is_some(),
        ),
    ]
}

fn hedge(route: Option<&HedgeSpec>, pool: Option<&HedgeSpec>) -> String {
    match HedgeRule::resolve(route, pool) {
        Some(rule) => format!("after p{}, {} at least", rule.after, span(rule.floor)),
        None => "off".to_owned(),
    }
}
