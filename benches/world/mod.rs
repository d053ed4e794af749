//! Specs and pools that the benches share.

#![expect(clippy::unwrap_used, reason = "a bench that cannot be set up shall stop")]

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderName;

use tenantry::config::spec::{
    ActionSpec, HeaderEditsSpec, NameFrom, NamingSpec, PathSpec, PoolSpec, RetrySpec, RewriteSpec,
    RouteSetSpec, RouteSpec, RoutesSpec, SegmentSpec, TailSpec, TenantSpec, TimeoutsSpec,
};
use tenantry::model::endpoint::Health;
use tenantry::model::ids::{Label, PoolId, TenantId};
use tenantry::model::members::{Found, Members};
use tenantry::pool::Pool;

/// A pool of endpoints with these weights.
pub(crate) fn pool(name: &str, balance: &str, weights: &[u32]) -> Arc<Pool> {
    let members = Arc::new(Members::new(1, Health::Unchecked, 0.5));
    members.replace(&found(weights));
    let label = Label { name: name.into(), slot: 0 };
    let spec = PoolSpec { balance: balance.into(), ..PoolSpec::default() };
    Arc::new(Pool::build(label, Arc::new(spec), members, 0, None).unwrap())
}

/// Endpoints with these weights, as a source finds them.
pub(crate) fn found(weights: &[u32]) -> Vec<Found> {
    let found = |(at, weight): (usize, &u32)| Found {
        weight: *weight,
        ..Found::new(([10, 0, (at / 256) as u8, (at % 256) as u8], 80), "bench")
    };
    weights.iter().enumerate().map(found).collect()
}

fn route(text: &str) -> RouteSpec {
    let (body, tail) = match text.strip_suffix("/*") {
        Some(body) => (body, TailSpec::Any),
        None => (text, TailSpec::Nothing),
    };
    let segment = |text: &str| match text.strip_prefix('{') {
        Some(name) => SegmentSpec::Parameter(name.trim_end_matches('}').into()),
        None => SegmentSpec::Literal(text.into()),
    };
    let segments = body.split('/').skip(1).map(segment).collect();
    RouteSpec {
        name: text.into(),
        path: PathSpec { text: text.into(), segments, tail },
        host: None,
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

/// Tenants `tenant-0` and so on, that share one of ten pools and one set of fifty routes.
pub(crate) fn spec(tenants: usize) -> RoutesSpec {
    let mut routes: Vec<RouteSpec> =
        (0..48).map(|at| route(&format!("/api/v1/part-{at}/{{id}}/*"))).collect();
    routes.extend([route("/api/{version}/health"), route("/*")]);
    let set: Arc<str> = "common".into();
    let tenant = |at: usize| TenantSpec {
        pool: Some(PoolId(format!("pool-{}", at % 10).into())),
        route_sets: vec![Arc::clone(&set)],
        ..TenantSpec::default()
    };
    let header = HeaderName::from_static("x-tenant-id");
    RoutesSpec {
        naming: NamingSpec {
            from: vec![NameFrom::Header(header.clone())],
            forward_as: header,
            identity: Default::default(),
        },
        error_pages: Arc::default(),
        pools: BTreeMap::new(),
        route_sets: [(Arc::clone(&set), Arc::new(RouteSetSpec { routes }))].into(),
        plans: BTreeMap::new(),
        tenants: (0..tenants)
            .map(|at| (TenantId::new(&format!("tenant-{at}")).unwrap(), Arc::new(tenant(at))))
            .collect(),
    }
}

/// The ten pools that [`spec`] names.
pub(crate) fn pools() -> BTreeMap<PoolId, Arc<Pool>> {
    let name = |at: usize| format!("pool-{at}");
    (0..10).map(|at| (PoolId(name(at).into()), pool(&name(at), "least-request", &[1, 1]))).collect()
}
