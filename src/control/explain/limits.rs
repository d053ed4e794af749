//! The limits that apply to a request, in words. Those of the tenant and of the route hold together:
//! neither takes the place of the other.

use crate::config::spec::{LimitFields, LimitScope, LimitsSpec, Overflow, RateSpec};

use super::settings::span;

/// Key and value of each.
pub(super) fn told(limits: &LimitsSpec) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    if let Some(requests) = &limits.requests {
        rows.push(("limits.requests", rate(requests, limits.overflow)));
    }
    if limits.scope == LimitScope::Shared {
        rows.push(("limits.scope", "shared".to_owned()));
    }
    if let Some(most) = limits.concurrency {
        rows.push(("limits.concurrency", format!("{most}{}", beyond(limits.overflow))));
    }
    if let Some(client) = &limits.client {
        rows.push(("limits.client", rate(&client.requests, client.overflow)));
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

fn rate(rate: &RateSpec, overflow: Overflow) -> String {
    format!("{}, {} at once{}", rate.rate, rate.burst, beyond(overflow))
}

fn beyond(overflow: Overflow) -> String {
    match overflow {
        Overflow::Reject => String::new(),
        Overflow::Wait { longest, waiting } => {
            format!("; {waiting} more wait up to {}", span(longest))
        }
    }
}
