//! The limits that apply to a request, in words. Those of the tenant and of the route hold together:
//! neither takes the place of the other, save that of bodies.

use crate::config::spec::{
    EachLimitSpec, LimitFields, LimitScope, LimitsSpec, Overflow, RateSpec, RouteSpec, TenantSpec,
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
        rows.extend(beyond(keys, limits.overflow()));
    }
    rows.extend(limits.client.iter().flat_map(|client| each(client, &OF_CLIENTS)));
    rows.extend(limits.subject.iter().flat_map(|subject| each(subject, &OF_SUBJECTS)));
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

/// What each client, or each subject, may ask for.
fn each(spec: &EachLimitSpec, keys: &[&'static str; 6]) -> Vec<(&'static str, String)> {
    let [requests, concurrency, overflow, wait, waiting, quota] = *keys;
    let mut rows = Vec::new();
    rows.extend(spec.requests.as_ref().map(|rate| (requests, self::rate(rate))));
    rows.extend(spec.concurrency.map(|most| (concurrency, most.to_string())));
    if !rows.is_empty() {
        rows.extend(beyond([overflow, wait, waiting], spec.overflow()));
    }
    rows.extend(spec.quota.map(|spec| (quota, spec.to_string())));
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

const OF_CLIENTS: [&str; 6] = [
    "limits.client.requests",
    "limits.client.concurrency",
    "limits.client.overflow",
    "limits.client.wait",
    "limits.client.waiting",
    "limits.client.quota",
];
const OF_SUBJECTS: [&str; 6] = [
    "limits.subject.requests",
    "limits.subject.concurrency",
    "limits.subject.overflow",
    "limits.subject.wait",
    "limits.subject.waiting",
    "limits.subject.quota",
];
