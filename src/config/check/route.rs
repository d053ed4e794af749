//! Routes: conditions, actions, edits.

use std::collections::HashMap;

use http::{HeaderName, HeaderValue, Method, StatusCode};

use crate::config::faults::Faults;
use crate::config::key::Key;
use crate::config::raw::{At, Pairs, Redirect, Respond, Rewrite, Route, Split, SplitBy, Value};
use crate::config::spec;
use crate::config::spec::{
    ActionSpec, PathSpec, RedirectSpec, RespondSpec, RewriteSpec, RouteSpec, RouteState,
    SegmentSpec, SplitSpec, TailSpec, TimeoutsSpec, ValueSpec,
};
use crate::config::text::Written;

use super::head::Whose;
use super::{Scope, answers, canary, head, limits, mirror, rules, shadow};

/// Checks the routes of one tenant or route set.
pub(super) fn check_all(
    raw: Vec<At<Route>>,
    scope: &Scope<'_>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Vec<RouteSpec> {
    let key = key.name("routes");
    let starts: Vec<usize> = raw.iter().map(|route| route.start).collect();
    let mut routes = Vec::with_capacity(raw.len());
    for (index, route) in raw.into_iter().enumerate() {
        routes.push(check(route, scope, &key.index(index), faults));
    }
    if routes.len() > 1 {
        find_twins(&routes, &starts, &key, faults);
        shadow::tell(&routes, &starts, &key, faults);
    }
    routes
}

/// Tells routes whose conditions are the same: the later one would never be used.
fn find_twins(routes: &[RouteSpec], starts: &[usize], key: &Key<'_>, faults: &mut Faults<'_>) {
    let mut seen: HashMap<String, (usize, usize)> = HashMap::with_capacity(routes.len());
    for (index, (route, start)) in routes.iter().zip(starts).enumerate() {
        let (other, first) = *seen.entry(conditions(route)).or_insert((index, *start));
        if other == index || faults.is_full(key.file) {
            continue;
        }
        // A condition that could not be read is not there: nothing can be said of such a route.
        if !faults.touches(&key.index(index)) && !faults.touches(&key.index(other)) {
            let what = "has the same conditions as another route";
            let hint = format!("the other is at {}; keep one", faults.place(key.file, first));
            faults.add(&key.index(index), *start, what, Some(hint));
        }
    }
}

/// A route's host and path as text that is equal where they are. Names of parameters do not count.
pub(super) fn shape(route: &RouteSpec) -> String {
    let mut path = String::new();
    for segment in &route.path.segments {
        match segment {
            SegmentSpec::Literal(text) => {
                path.push('/');
                path.push_str(text);
            }
            SegmentSpec::Parameter(_) => path.push_str("/{}"),
        }
    }
    format!("{path} {:?} {:?}", route.path.tail, route.host)
}

/// All of a route's conditions, as [`shape`] tells its host and path.
fn conditions(route: &RouteSpec) -> String {
    let mut methods: Vec<&str> = route.methods.iter().map(http::Method::as_str).collect();
    methods.sort_unstable();
    methods.dedup();
    let mut headers: Vec<_> = route.headers.iter().collect();
    headers.sort_by_key(|(name, _)| name.as_str());
    let mut query: Vec<_> = route.query.iter().collect();
    query.sort_by_key(|(name, _)| name);
    format!("{} {methods:?} {headers:?} {query:?}", shape(route))
}

fn check(raw: At<Route>, scope: &Scope<'_>, key: &Key<'_>, faults: &mut Faults<'_>) -> RouteSpec {
    let At { value: mut raw, start } = raw;
    let action = action(&mut raw, scope, (key, start), faults);
    find_unused(&raw, &action, key, faults);
    let path = raw.path.map_or_else(every_path, |path| path.value.0);
    let name = match raw.name {
        Some(name) if name.value.trim().is_empty() || name.value.len() > 128 => {
            let hint = "write 1 to 128 characters, or leave it out".to_owned();
            faults.add(&key.name("name"), name.start, "is not a name", Some(hint));
            path.text.clone()
        }
        Some(name) => name.value.into(),
        None => path.text.clone(),
    };
    let maintenance = answers::maintenance(raw.maintenance, None, &key.name("maintenance"), faults);
    let request = Whose::Request(scope.naming);
    let mut timeouts = rules::timeouts(raw.timeouts, &key.name("timeouts"), faults);
    if let Some(total) = raw.timeout {
        short_timeout(&total, &mut timeouts, &key.name("timeout"), faults);
    }
    RouteSpec {
        name,
        path,
        host: raw.host.map(|host| host.0),
        methods: methods(raw.methods, &key.name("methods"), faults),
        headers: headers(raw.headers, &key.name("headers"), faults),
        query: values(raw.query.map(|pairs| pairs.0)),
        maintenance: match raw.state.map_or(RouteState::Active, |state| state.0) {
            RouteState::Maintenance => Some(Box::new(maintenance)),
            RouteState::Active => None,
        },
        priority: raw.queue.and_then(|queue| Some(queue.value.priority?.0)),
        authorize: raw.authorize.unwrap_or(true),
        limits: limits::check(raw.limits, None, &key.name("limits"), faults),
        mirror: mirror::check(raw.mirror, &action, scope, &key.name("mirror"), faults),
        action,
        rewrite: rewrite(raw.rewrite, &key.name("rewrite"), faults),
        request_headers: head::check(
            raw.request_headers,
            request,
            &key.name("request-headers"),
            faults,
        ),
        response_headers: head::check(
            raw.response_headers,
            Whose::Answer,
            &key.name("response-headers"),
            faults,
        ),
        timeouts,
        retry: rules::retry(raw.retry, scope.most_kept, &key.name("retry"), faults),
    }
}

/// Tells what says nothing about requests that go to no pool, and a priority that is not there.
fn find_unused(raw: &Route, action: &ActionSpec, key: &Key<'_>, faults: &mut Faults<'_>) {
    let queue = raw.queue.as_ref();
    if matches!(action, ActionSpec::Redirect(_) | ActionSpec::Respond(_)) {
        let hint =
            || "take it out: the gateway answers by itself here, and reads no body".to_owned();
        let limits = raw.limits.as_ref();
        if let Some(largest) = limits.and_then(|limits| limits.value.max_body.as_ref()) {
            let key = key.name("limits");
            faults.add(&key.name("max-body"), largest.start, "is never used", Some(hint()));
        }
        if let Some(queue) = queue {
            faults.add(&key.name("queue"), queue.start, "is never used", Some(hint()));
        }
        return;
    }
    let empty = queue.filter(|queue| queue.value.priority.is_none());
    let key = key.name("queue");
    if let Some(queue) = empty.filter(|_| !faults.touches(&key)) {
        faults.add_missing(&key, queue.start, "says nothing", "write priority = \"batch\"");
    }
}

/// None means all of them; an empty list would be read as none of them by many.
pub(super) fn methods(
    raw: Option<At<Vec<Written<Method>>>>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Vec<Method> {
    let Some(At { value: methods, start }) = raw else { return Vec::new() };
    if methods.is_empty() {
        let hint = "name one, as in [\"GET\"], or leave it out: then it is any";
        faults.add_missing(key, start, "names no method", hint);
    }
    methods.into_iter().map(|method| method.0).collect()
}

fn every_path() -> PathSpec {
    PathSpec { text: "/*".into(), segments: Vec::new(), tail: TailSpec::Any }
}

fn short_timeout(
    total: &At<Written<std::time::Duration>>,
    timeouts: &mut TimeoutsSpec,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) {
    if timeouts.total.is_some() {
        let hint = "keep one of timeout and timeouts.total, which mean the same".to_owned();
        faults.add(key, total.start, "is there twice", Some(hint));
    }
    timeouts.total = Some(total.value.0);
}

/// Fields that speak of the connection say nothing of the request, and what a client may write in
/// them is not kept.
pub(super) fn headers(
    raw: Option<Pairs<HeaderName, Value>>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Vec<(HeaderName, ValueSpec)> {
    let pairs = raw.map(|pairs| pairs.0);
    for (name, _) in pairs.iter().flatten() {
        if head::OF_THE_CONNECTION.contains(&name.value) {
            let what = format!("the header {} belongs to the connection", name.value);
            let hint = "take it out; WebSockets are told by upgrade = \"websocket\"".to_owned();
            faults.add(&key.name(name.value.as_str()), name.start, what, Some(hint));
        }
    }
    for (name, value) in pairs.iter().flatten() {
        if let Value::Is(text) = value
            && (HeaderValue::from_bytes(text.as_bytes()).is_err()
                || text.trim_matches([' ', '\t']) != text)
        {
            let what = format!("no header has the value {text:?}");
            let hint = "a value has no line breaks, no other control characters and no blanks \
                        around it"
                .to_owned();
            faults.add(&key.name(name.value.as_str()), name.start, what, Some(hint));
        }
    }
    values(pairs)
}

fn values<K>(pairs: Option<Vec<(At<K>, Value)>>) -> Vec<(K, ValueSpec)> {
    let value = |value| match value {
        Value::Present => ValueSpec::Present,
        Value::Is(text) => ValueSpec::Is(text),
    };
    pairs
        .unwrap_or_default()
        .into_iter()
        .map(|(name, wanted)| (name.value, value(wanted)))
        .collect()
}

fn action(
    raw: &mut Route,
    scope: &Scope<'_>,
    (key, start): (&Key<'_>, usize),
    faults: &mut Faults<'_>,
) -> ActionSpec {
    let written = [
        raw.pool.as_ref().map(|_| "pool"),
        raw.split.as_ref().map(|_| "split"),
        raw.redirect.as_ref().map(|_| "redirect"),
        raw.respond.as_ref().map(|_| "respond"),
    ];
    let written: Vec<&str> = written.into_iter().flatten().collect();
    if written.len() > 1 {
        let what = format!("has more than one action: {}", written.join(", "));
        faults.add(key, start, what, Some("keep one of them".to_owned()));
    }
    if let Some(At { value: name, start }) = raw.pool.take() {
        return ActionSpec::Pool(scope.pool(&name, start, &key.name("pool"), faults));
    }
    if let Some(split) = raw.split.take() {
        return ActionSpec::Split(self::split(split, scope, &key.name("split"), faults));
    }
    if let Some(redirect) = raw.redirect.take() {
        return ActionSpec::Redirect(self::redirect(redirect, &key.name("redirect"), faults));
    }
    match raw.respond.take() {
        Some(respond) => {
            ActionSpec::Respond(self::respond(respond.value, &key.name("respond"), faults))
        }
        None => ActionSpec::TenantPool,
    }
}

fn split(raw: At<Split>, scope: &Scope<'_>, key: &Key<'_>, faults: &mut Faults<'_>) -> SplitSpec {
    let At { value: raw, start } = raw;
    let pools_key = key.name("pools");
    let mut pools = Vec::new();
    for (name, weight) in raw.pools.map(|pools| pools.0).unwrap_or_default() {
        let key = pools_key.name(&name.value);
        pools.push((scope.pool(&name.value, name.start, &key, faults), weight.small()));
    }
    if pools.is_empty() {
        let hint = "write pools = { stable = 95, canary = 5 }";
        faults.add_missing(key, start, "names no pools", hint);
    } else if pools.iter().all(|(_, weight)| *weight == 0) {
        let hint = "give at least one pool a weight above 0".to_owned();
        faults.add(&pools_key, start, "all weights are 0", Some(hint));
    }
    let by = match raw.by {
        None => spec::SplitBy::RequestId,
        Some(At { value: SplitBy::RequestId, .. }) => spec::SplitBy::RequestId,
        Some(At { value: SplitBy::Header(Some(name)), .. }) => spec::SplitBy::Header(name),
        Some(At { value: SplitBy::Header(None), start }) => {
            let hint = "write by = { header = \"X-User\" }";
            faults.add_missing(&key.name("by"), start, "names no header", hint);
            spec::SplitBy::RequestId
        }
    };
    let canary = canary::check(raw.canary, &pools, &key.name("canary"), faults);
    SplitSpec { pools, by, canary }
}

fn redirect(raw: At<Redirect>, key: &Key<'_>, faults: &mut Faults<'_>) -> RedirectSpec {
    let At { value: raw, start } = raw;
    if raw.to.is_none() {
        let hint = "write to = \"https://{host}{path}{query}\"";
        faults.add_missing(key, start, "names no location", hint);
    }
    let mut status = StatusCode::PERMANENT_REDIRECT;
    if let Some(At { value, start }) = raw.status {
        let code = u16::try_from(value.0).ok().filter(|c| matches!(c, 301..=303 | 307 | 308));
        match code.and_then(|code| StatusCode::from_u16(code).ok()) {
            Some(code) => status = code,
            None => {
                let hint = "write 301, 302, 303, 307 or 308".to_owned();
                let what = format!("{} is not a redirect", value.0);
                faults.add(&key.name("status"), start, what, Some(hint));
            }
        }
    }
    RedirectSpec { status, to: raw.to.map(|to| to.0.0).unwrap_or_default() }
}

fn respond(raw: Respond, key: &Key<'_>, faults: &mut Faults<'_>) -> RespondSpec {
    let status = raw.status.and_then(|status| u16::try_from(status.0).ok());
    let plain = || HeaderValue::from_static("text/plain; charset=utf-8");
    RespondSpec {
        status: status.and_then(|code| StatusCode::from_u16(code).ok()).unwrap_or(StatusCode::OK),
        content_type: raw
            .content_type
            .map_or_else(plain, |raw| answers::media_type(raw, &key.name("content-type"), faults)),
        body: raw.body.unwrap_or_default(),
    }
}

fn rewrite(raw: Option<At<Rewrite>>, key: &Key<'_>, faults: &mut Faults<'_>) -> RewriteSpec {
    let Some(At { value: raw, start }) = raw else { return RewriteSpec::default() };
    const HINT: &str = "write strip = \"/api\", or prefix = \"/api\" and with = \"/v2\"";
    let prefix = match (raw.strip, raw.prefix, raw.with) {
        (None, None, None) => None,
        (Some(strip), None, None) => Some((strip.value.0.0, String::new())),
        (None, Some(prefix), Some(with)) => Some((prefix.value.0.0, with.value.0.0)),
        (None, Some(_), None) => {
            faults.add_missing(key, start, "has prefix without with", HINT);
            None
        }
        (None, None, Some(_)) => {
            faults.add_missing(key, start, "has with without prefix", HINT);
            None
        }
        (Some(_), _, _) => {
            let what = "has strip beside prefix or with";
            faults.add(key, start, what, Some(HINT.to_owned()));
            None
        }
    };
    RewriteSpec { prefix, host: raw.host.map(|host| host.0.0) }
}
