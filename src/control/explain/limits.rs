//! The limits that apply to a request, in words. Those of the tenant and of the route hold together:
//! neither takes the place of the other.

use crate::config::spec::{LimitFields, LimitScope, LimitsSpec, Overflow, RateSpec};

use super::settings::span;

/// Key and value of each: one that may be said at a level of its own has a row of its own.
pub(super) fn told(limits: &LimitsSpec) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    if let Some(requests) = &limits.requests {
        rows.push(("limits.requests", rate(requests)));
    }
    if limits.scope == LimitScope::Shared {
        rows.push(("limits.scope", "shared".to_owned()));
    }
    if let Some(most) = limits.concurrency {
        rows.push(("limits.concurrency", most.to_string()));
    }
    if limits.requests.is_some() || limits.concurrency.is_some() {
        let keys = ["limits.overflow", "limits.wait", "limits.waiting"];
        rows.extend(beyond(keys, limits.overflow));
    }
    if let Some(client) = &limits.client {
        rows.push(("limits.client.requests", rate(&client.requests)));
        let keys = ["limits.client.overflow", "limits.client.wait", "limits.client.waiting"];
        rows.extend(beyond(keys, client.overflow));
    }
    if let Some(quota) = limits.quota {
        rows.push(("limits.quota", quota.to_string()));
    }
    let ways = [("limits.upload", limits.upload), ("limits.download", limits.download)];
    rows.extend(ways.into_iter().filter_map(|(key, rate)| Some((key, format!("{}/s", rate?)))));
    if limits.fields == LimitFields::Always {
        rows.push(("limits.fields", "always".to_owned()));
    }
    rows
}

/// A burst is said where the requests are that it is one with.
fn rate(rate: &RateSpec) -> String {
    format!("{}, {} at once", rate.rate, rate.burst)
}

fn beyond(
    [overflow, wait, most]: [&'static str; 3],
    spec: Overflow,
) -> Vec<(&'static str, String)> {
    match spec {
        Overflow::Reject => vec![(overflow, "reject".to_owned())],
        Overflow::Wait { longest, waiting } => {
            vec![(overflow, "wait".to_owned()), (wait, span(longest)), (most, waiting.to_string())]
        }
    }
}
