//! One route: which requests it takes, how specific that is, and what is done with them.

use std::sync::Arc;

use http::Method;

use crate::base::fair::Class;
use crate::base::tag;
use crate::config::answers::MaintenanceSpec;
use crate::config::spec::{
    HostSpec, LimitsSpec, PathSpec, RetrySpec, RouteSpec, SegmentSpec, TailSpec, TimeoutsSpec,
    ValueSpec,
};

use super::action::Action;
use super::canary::Watched;
use super::edits::HeaderEdits;
use super::matcher::Conditions;
use super::mirror::Mirror;
use super::rewrite::Rewrite;

/// One route.
#[derive(Debug)]
pub struct Route {
    /// For logs and metrics.
    pub name: Arc<str>,
    /// There while it is worked on. The caller refuses who is not let in.
    pub maintenance: Option<Box<MaintenanceSpec>>,
    /// Whether a service is asked for its requests, where the tenant says which.
    pub authorize: bool,
    /// What each tenant's clients may ask of it.
    pub limits: Option<Box<RouteLimits>>,
    /// How urgent its requests are before a pool that is full, within what the tenant says.
    pub priority: Option<Class>,
    /// What to do.
    pub action: Action,
    /// How path and host are changed before the request is forwarded.
    pub rewrite: Rewrite,
    /// Edits of the request's head.
    pub request_headers: HeaderEdits,
    /// Edits of the answer's head.
    pub response_headers: HeaderEdits,
    /// Overrides of the pool's deadlines.
    pub timeouts: TimeoutsSpec,
    /// Overrides of the pool's retry rules.
    pub retry: RetrySpec,
    /// What else is done with its requests. Boxed: with those of few routes anything is.
    pub besides: Option<Box<Besides>>,
    /// How specific it is beside other routes that take the same request.
    pub rank: Rank,
    pub(super) conditions: Conditions,
}

/// What is done with the requests of a route while they are forwarded.
#[derive(Debug)]
pub struct Besides {
    /// Which of them another pool gets copies of.
    pub mirror: Option<Mirror>,
    /// The pool of its split that is tried, for which they are counted.
    pub canary: Option<Arc<Watched>>,
}

impl Besides {
    /// Both, where there is any.
    pub(super) fn of(mirror: Option<Mirror>, canary: Option<Arc<Watched>>) -> Option<Box<Self>> {
        (mirror.is_some() || canary.is_some()).then(|| Box::new(Self { mirror, canary }))
    }
}

/// What each tenant's clients may ask of a route.
#[derive(Debug)]
pub struct RouteLimits {
    /// What is counted of it goes by this, also on the disk and between gateways: a digest of its conditions, so that
    /// it stays the same route where others come and go beside it, and with another build of the gateway.
    pub key: u64,
    /// Whether anything of requests is counted for them.
    pub count: bool,
    /// What they may ask for.
    pub spec: LimitsSpec,
}

impl RouteLimits {
    /// Those of a route, where it has some.
    pub fn of(route: &RouteSpec) -> Option<Box<Self>> {
        let spec = route.limits.as_deref()?.clone();
        Some(Box::new(Self { key: tag::number(&written(route)), count: spec.count(), spec }))
    }
}

/// The conditions of a route as they are written, in one order: each text behind its length, so that no two routes are
/// written alike. What was counted is found again by it: it is never to be changed.
fn written(route: &RouteSpec) -> Vec<u8> {
    let mut written = Vec::new();
    let mut write = |kind: u8, text: &str| {
        written.push(kind);
        written.extend((text.len() as u64).to_be_bytes());
        written.extend(text.as_bytes());
    };
    match &route.host {
        None => {}
        Some(HostSpec::Exact(host)) => write(b'h', host),
        Some(HostSpec::Below(host)) => write(b'b', host),
    }
    write(b'p', &route.path.text);
    let mut methods: Vec<&str> = route.methods.iter().map(Method::as_str).collect();
    methods.sort_unstable();
    methods.dedup();
    methods.into_iter().for_each(|method| write(b'm', method));
    let headers = route.headers.iter().map(|(name, value)| (name.as_str(), value));
    let query = route.query.iter().map(|(name, value)| (&**name, value));
    for (kind, conditions) in [(b'f', sorted(headers)), (b'q', sorted(query))] {
        for (name, value) in conditions {
            write(kind, name);
            value.into_iter().for_each(|value| write(b'=', value));
        }
    }
    written
}

/// Names and the values that must be theirs, by name.
fn sorted<'r>(
    values: impl Iterator<Item = (&'r str, &'r ValueSpec)>,
) -> Vec<(&'r str, Option<&'r str>)> {
    let text = |value: &'r ValueSpec| match value {
        ValueSpec::Present => None,
        ValueSpec::Is(text) => Some(text.as_str()),
    };
    let mut sorted: Vec<_> = values.map(|(name, value)| (name, text(value))).collect();
    sorted.sort_unstable();
    sorted
}

/// How specific a route is: of several that take a request, the least rank wins. The order of the
/// fields is the written rule of docs/routing.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// 0 for an exact host, `u32::MAX` for any, between them the less the longer the host below.
    host: u32,
    /// Two bits a segment, the first segment on top.
    path: u128,
    /// 0 with a condition on the method, 1 without.
    methods: u8,
    /// The less the more conditions there are.
    headers: u32,
    /// The less the more conditions there are.
    query: u32,
}

impl Rank {
    /// The rank of a route.
    pub fn of(route: &RouteSpec) -> Self {
        let fewer = |count: usize| u32::MAX - u32::try_from(count).unwrap_or(u32::MAX);
        let host = match &route.host {
            Some(HostSpec::Exact(_)) => 0,
            Some(HostSpec::Below(host)) => fewer(host.len() + 1),
            None => u32::MAX,
        };
        Self {
            host,
            path: path_rank(&route.path),
            methods: u8::from(route.methods.is_empty()),
            headers: fewer(route.headers.len()),
            query: fewer(route.query.len()),
        }
    }
}

/// Of two paths that take the same request, the first segment at which their kinds differ decides:
/// literal, then parameter, then the exact end, then the open one.
fn path_rank(path: &PathSpec) -> u128 {
    let end = match path.tail {
        TailSpec::Nothing => EXACT_END,
        TailSpec::Any => OPEN_END,
    };
    let kinds = segments(path).map(|segment| match segment {
        SegmentSpec::Literal(_) => LITERAL,
        SegmentSpec::Parameter(_) => PARAMETER,
    });
    let mut shift = u128::BITS;
    let mut rank = 0;
    for kind in kinds.chain([end]) {
        // At most 63 places; the config allows 32 segments.
        shift = shift.saturating_sub(2);
        rank |= kind << shift;
    }
    rank
}

/// The segments of a pattern. `/` may come as no segment at all: it is one empty literal.
pub(super) fn segments(path: &PathSpec) -> impl Iterator<Item = &SegmentSpec> {
    static ROOT: SegmentSpec = SegmentSpec::Literal(String::new());
    let root = path.segments.is_empty() && path.tail == TailSpec::Nothing;
    path.segments.iter().chain(root.then_some(&ROOT))
}

const LITERAL: u128 = 0;
const PARAMETER: u128 = 1;
const EXACT_END: u128 = 2;
const OPEN_END: u128 = 3;

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::super::samples;
    use super::*;

    fn key(edit: impl FnOnce(&mut RouteSpec)) -> u64 {
        let mut route = samples::route("*.x.test", "/a/*");
        route.limits = Some(Box::new(LimitsSpec::UNSAID));
        edit(&mut route);
        RouteLimits::of(&route).unwrap().key
    }

    fn header(name: &'static str, value: ValueSpec) -> (HeaderName, ValueSpec) {
        (HeaderName::from_static(name), value)
    }

    /// The numbers are of another program: a build with others would lose what quotas of this month have counted.
    #[test]
    fn the_key_of_a_route_is_the_same_with_every_build() {
        let all = |route: &mut RouteSpec| {
            route.methods = vec![Method::PUT, Method::GET];
            let is_one = header("x-b", ValueSpec::Is("1".into()));
            route.headers = vec![is_one, header("x-a", ValueSpec::Present)];
            route.query = vec![("q".into(), ValueSpec::Is(String::new()))];
        };

        assert_eq!(key(|route| route.host = None), 0xdb1a_d93a_20a2_591c);
        assert_eq!(key(all), 0x5159_2af3_bc76_302e);
    }

    #[test]
    fn a_key_goes_by_each_condition_and_by_nothing_else_of_a_route() {
        let value = |text: &str| ValueSpec::Is(text.into());
        let mut keys = vec![
            key(|_| ()),
            key(|route| route.host = None),
            key(|route| route.host = Some(HostSpec::Exact("x.test".into()))),
            key(|route| route.path = samples::path("/a")),
            key(|route| route.methods = vec![Method::GET]),
            key(|route| route.headers = vec![header("x-a", ValueSpec::Present)]),
            key(|route| route.headers = vec![header("x-a", value(""))]),
            key(|route| route.query = vec![("x-a".into(), ValueSpec::Present)]),
            key(|route| route.query = vec![("x".into(), value("-a"))]),
        ];
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 9);

        assert_eq!(key(|_| ()), key(|route| route.name = "another".into()));
        assert_eq!(key(|_| ()), key(|route| route.authorize = false));
        let methods = |list: [Method; 2]| key(|route| route.methods = list.to_vec());
        assert_eq!(methods([Method::GET, Method::PUT]), methods([Method::PUT, Method::GET]));
        assert_eq!(
            methods([Method::GET, Method::GET]),
            key(|route| route.methods = vec![Method::GET])
        );
    }
}
