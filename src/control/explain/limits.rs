//! The limits that apply to a request, in words. Those of the tenant and of the route hold together:
//! neither takes the place of the other, save that of bodies.

use crate::config::spec::{
    LimitFields, LimitScope, LimitsSpec, Overflow, RateSpec, RouteSpec, TenantSpec,
};

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
    if let Some(subject) = &limits.subject {
        rows.push(("limits.subject.requests", rate(&subject.requests)));
        let keys = ["limits.subject.overflow", "limits.subject.wait", "limits.subject.waiting"];
        rows.extend(beyond(keys, subject.overflow));
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

/// How large the body of a request may be, where the route says so, or the tenant where it does not.
pub(super) fn max_body(
    tenant: &TenantSpec,
    route: Option<&RouteSpec>,
) -> (Option<String>, Option<String>) {
    let of = |limits: Option<&LimitsSpec>| Some(limits?.max_body?.to_string());
    let of_route = of(route.and_then(|route| route.limits.as_deref()));
    let of_tenant = of(tenant.limits.as_deref()).filter(|_| of_route.is_none());
    (of_route, of_tenant)
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
