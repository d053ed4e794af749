//! Specs for the tests of this folder.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, Method};

use crate::config::spec::{
    ActionSpec, HeaderEditsSpec, HostSpec, NameFrom, NamingSpec, PathSpec, RetrySpec, RewriteSpec,
    RouteSetSpec, RouteSpec, RoutesSpec, SegmentSpec, TailSpec, TenantSpec, TimeoutsSpec,
};
use crate::model::ids::{PoolId, TenantId};

use super::matcher::Query;

pub(crate) fn path(text: &str) -> PathSpec {
    let (body, tail) = match text.strip_suffix("/*") {
        Some(body) => (body, TailSpec::Any),
        None => (text, TailSpec::Nothing),
    };
    let segment = |text: &str| match text.strip_prefix('{') {
        Some(name) => SegmentSpec::Parameter(name.trim_end_matches('}').into()),
        None => SegmentSpec::Literal(text.into()),
    };
    let segments = body.split('/').skip(1).map(segment).collect();
    PathSpec { text: text.into(), segments, tail }
}

/// `host` is empty for any, `*.x` for all below.
pub(crate) fn route(host: &str, text: &str) -> RouteSpec {
    RouteSpec {
        name: format!("{host}{text}").into(),
        path: path(text),
        host: match (host, host.strip_prefix("*.")) {
            ("", _) => None,
            (_, Some(below)) => Some(HostSpec::Below(below.into())),
            (exact, None) => Some(HostSpec::Exact(exact.into())),
        },
        methods: Vec::new(),
        headers: Vec::new(),
        query: Vec::new(),
        maintenance: None,
        authorize: true,
        limits: None,
        priority: None,
        action: ActionSpec::TenantPool,
        rewrite: RewriteSpec::default(),
        request_headers: HeaderEditsSpec::default(),
        response_headers: HeaderEditsSpec::default(),
        timeouts: TimeoutsSpec::default(),
        retry: RetrySpec::default(),
        mirror: None,
    }
}

pub(crate) fn tenant(pool: Option<&str>, routes: Vec<RouteSpec>, sets: &[&str]) -> TenantSpec {
    TenantSpec {
        pool: pool.map(|name| PoolId(name.into())),
        routes,
        route_sets: sets.iter().map(|name| Arc::from(*name)).collect(),
        ..TenantSpec::default()
    }
}

pub(crate) fn spec(
    tenants: Vec<(&str, TenantSpec)>,
    sets: Vec<(&str, Vec<RouteSpec>)>,
) -> RoutesSpec {
    let header = HeaderName::from_static("x-tenant-id");
    RoutesSpec {
        naming: NamingSpec {
            from: vec![NameFrom::Header(header.clone())],
            forward_as: header,
            identity: Default::default(),
        },
        error_pages: Arc::default(),
        pools: BTreeMap::new(),
        route_sets: sets
            .into_iter()
            .map(|(name, routes)| (name.into(), Arc::new(RouteSetSpec { routes })))
            .collect(),
        plans: BTreeMap::new(),
        tenants: tenants
            .into_iter()
            .map(|(id, tenant)| (TenantId::new(id).unwrap(), Arc::new(tenant)))
            .collect(),
    }
}

/// A GET without fields.
pub(crate) fn get<'a>(host: &'a str, path: &'a str, headers: &'a HeaderMap) -> Query<'a> {
    let host = (!host.is_empty()).then_some(host);
    Query { host, path, method: &Method::GET, headers, query: None }
}
