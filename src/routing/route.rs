//! One route: which requests it takes, how specific that is, and what is done with them.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use crate::base::fair::Class;
use crate::config::answers::MaintenanceSpec;
use crate::config::spec::{
    HostSpec, LimitsSpec, PathSpec, RetrySpec, RouteSpec, SegmentSpec, TailSpec, TimeoutsSpec,
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
    /// What is counted of it goes by this: a hash of its conditions, so that it stays the same route
    /// where others come and go beside it.
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
        let RouteSpec { host, path, methods, headers, query, .. } = route;
        let mut hasher = DefaultHasher::new();
        format!("{host:?} {} {methods:?} {headers:?} {query:?}", path.text).hash(&mut hasher);
        Some(Box::new(Self { key: hasher.finish(), count: spec.count(), spec }))
    }
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
