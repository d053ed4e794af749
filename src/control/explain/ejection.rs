//! When a pool ejects an endpoint, and when it refuses requests, in words.

use crate::config::spec::{BreakerSpec, EjectSpec, PoolSpec};

use super::settings::span;

/// Key and value of each.
pub(super) fn told(spec: &PoolSpec) -> Vec<(&'static str, String)> {
    let mut rows = ejection(&spec.eject);
    match &spec.breaker {
        None => rows.push(("breaker", "none".to_owned())),
        Some(spec) => rows.extend(breaker(spec)),
    }
    rows
}

fn breaker(spec: &BreakerSpec) -> [(&'static str, String); 7] {
    [
        ("breaker.failures", spec.failures.to_string()),
        ("breaker.requests", spec.requests.to_string()),
        ("breaker.window", span(spec.window)),
        ("breaker.open", span(spec.open)),
        ("breaker.max", span(spec.max)),
        ("breaker.trials", spec.trials.to_string()),
        ("breaker.whole-pool", spec.whole_pool.to_string()),
    ]
}

fn ejection(spec: &EjectSpec) -> Vec<(&'static str, String)> {
    let mut rows = vec![
        ("eject.failures", spec.failures.to_string()),
        ("eject.base", span(spec.base)),
        ("eject.max", span(spec.max)),
        ("eject.share", spec.share.to_string()),
        ("eject.trials", spec.trials.to_string()),
    ];
    if spec.success_rate.is_some() || spec.latency.is_some() {
        rows.push(("eject.interval", span(spec.interval)));
    }
    match &spec.success_rate {
        None => rows.push(("eject.success-rate", "false".to_owned())),
        Some(rate) => rows.extend([
            ("eject.success-rate.gap", rate.gap.to_string()),
            ("eject.success-rate.endpoints", rate.endpoints.to_string()),
            ("eject.success-rate.requests", rate.requests.to_string()),
        ]),
    }
    match &spec.latency {
        None => rows.push(("eject.latency", "false".to_owned())),
        Some(latency) => rows.extend([
            ("eject.latency.factor", latency.factor.to_string()),
            ("eject.latency.floor", span(latency.floor)),
            ("eject.latency.rounds", latency.rounds.to_string()),
            ("eject.latency.endpoints", latency.endpoints.to_string()),
            ("eject.latency.requests", latency.requests.to_string()),
        ]),
    }
    rows
}
