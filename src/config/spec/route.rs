//! The meaning of a route: which requests it takes, and what is done with them.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method, StatusCode};

use crate::base::fair::Class;
use crate::config::answers::MaintenanceSpec;
use crate::model::ids::PoolId;

use super::{CanarySpec, LimitsSpec, MirrorSpec, RetrySpec, TimeoutsSpec};

/// One route: conditions and what to do.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteSpec {
    /// For logs and metrics: the configured `name`, or the path where there is none.
    pub name: Arc<str>,
    /// Which paths.
    pub path: PathSpec,
    /// Which host; `None` = any.
    pub host: Option<HostSpec>,
    /// Which methods; empty = any.
    pub methods: Vec<Method>,
    /// Which header values; all must hold.
    pub headers: Vec<(HeaderName, ValueSpec)>,
    /// Which query parameters; all must hold.
    pub query: Vec<(String, ValueSpec)>,
    /// There while it is worked on.
    pub maintenance: Option<Box<MaintenanceSpec>>,
    /// Whether a service is asked for its requests, where the tenant says which. Default: yes.
    pub authorize: bool,
    /// What each tenant's clients may ask of it; `None` = anything.
    pub limits: Option<Box<LimitsSpec>>,
    /// How urgent its requests are before a pool that is full; `None` = as the tenant says.
    pub priority: Option<Class>,
    /// What to do.
    pub action: ActionSpec,
    /// How the request is changed before it is forwarded.
    pub rewrite: RewriteSpec,
    /// Edits of the request's head.
    pub request_headers: HeaderEditsSpec,
    /// Edits of the answer's head.
    pub response_headers: HeaderEditsSpec,
    /// Overrides of the pool's deadlines.
    pub timeouts: TimeoutsSpec,
    /// Overrides of the pool's retry rules.
    pub retry: RetrySpec,
    /// Which of its requests another pool gets copies of; `None` = of none.
    pub mirror: Option<Box<MirrorSpec>>,
}

impl RouteSpec {
    /// The pools that it names.
    pub fn pools(&self) -> Vec<&PoolId> {
        let mut pools: Vec<&PoolId> = match &self.action {
            ActionSpec::Pool(id) => vec![id],
            ActionSpec::Split(split) => split.pools.iter().map(|(id, _)| id).collect(),
            ActionSpec::TenantPool | ActionSpec::Redirect(_) | ActionSpec::Respond(_) => Vec::new(),
        };
        pools.extend(self.mirror.as_ref().map(|mirror| &mirror.pool));
        pools
    }

    /// The pool of its split that is tried.
    pub fn canary(&self) -> Option<&CanarySpec> {
        match &self.action {
            ActionSpec::Split(split) => split.canary.as_deref(),
            _ => None,
        }
    }
}

/// A path pattern, as its segments: `/users/{id}/*rest` is
/// `[Literal("users"), Parameter("id")]` with `tail: Any`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathSpec {
    /// As written, for messages.
    pub text: Arc<str>,
    /// Segments between slashes; at most 32.
    pub segments: Vec<SegmentSpec>,
    /// What may follow them.
    pub tail: TailSpec,
}

/// One segment of a path pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SegmentSpec {
    /// Exactly this text.
    Literal(String),
    /// Any one segment that is not empty; the name is for people.
    Parameter(String),
}

/// What may follow the segments of a path pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TailSpec {
    /// Nothing: `/a/b` matches `/a/b` alone, and `/a/b/` alone where it is written so (then the
    /// last segment is an empty literal).
    Nothing,
    /// Anything on a segment's border: `/a/*` matches `/a`, `/a/` and `/a/b/c`, never `/ab`.
    Any,
}

/// A host condition, lower case, without a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostSpec {
    /// This host.
    Exact(String),
    /// `*.x`: any host that ends in `.x`; the text is `x`.
    Below(String),
}

/// A condition on a header's or a query parameter's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueSpec {
    /// It is there.
    Present,
    /// It is exactly this.
    Is(String),
}

/// What a route does.
#[derive(Clone, Debug, PartialEq)]
pub enum ActionSpec {
    /// Forward to this pool.
    Pool(PoolId),
    /// Forward to the tenant's own pool.
    TenantPool,
    /// Forward to one of several pools by weight.
    Split(SplitSpec),
    /// Answer with another location.
    Redirect(RedirectSpec),
    /// Answer with a fixed response.
    Respond(RespondSpec),
}

/// A weighted split over pools.
#[derive(Clone, Debug, PartialEq)]
pub struct SplitSpec {
    /// Pools and weights; at least one weight is above 0.
    pub pools: Vec<(PoolId, u32)>,
    /// What decides, so that equal values go to the same pool.
    pub by: SplitBy,
    /// The pool among them that is tried; `None` = none is.
    pub canary: Option<Box<CanarySpec>>,
}

/// What decides a split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SplitBy {
    /// The request id.
    RequestId,
    /// This header's value; a request without it is decided by its request id.
    Header(HeaderName),
}

/// A redirect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectSpec {
    /// 301, 302, 303, 307 or 308. Default 308.
    pub status: StatusCode,
    /// The location; `{scheme}`, `{host}`, `{path}`, `{query}` (with its `?` where there is one)
    /// and `{tenant}` stand for the request's.
    pub to: String,
}

/// A fixed response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RespondSpec {
    /// Its status. Default 200.
    pub status: StatusCode,
    /// Its content type. Default `text/plain; charset=utf-8`.
    pub content_type: HeaderValue,
    /// Its body.
    pub body: String,
}

/// How a request is changed before it is forwarded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RewriteSpec {
    /// A path prefix (on a segment's border, without a trailing slash) and what replaces it; the
    /// replacement is empty where the prefix is stripped.
    pub prefix: Option<(String, String)>,
    /// The `Host` that the endpoint sees; `None` = the client's.
    pub host: Option<HeaderValue>,
}

/// Edits of a head, applied as remove, set, add.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderEditsSpec {
    /// Fields to take away.
    pub remove: Vec<HeaderName>,
    /// Fields to replace.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Fields to add beside those that are there.
    pub add: Vec<(HeaderName, HeaderValue)>,
}
