//! A set of routes, compiled: a tenant's own, or one that many tenants use.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::config::spec::{ActionSpec, RouteSpec, SplitSpec};
use crate::model::ids::PoolId;
use crate::pool::Pool;

use super::action::{Action, Respond};
use super::canary::{Canary, Watched};
use super::edits::HeaderEdits;
use super::host::Hosts;
use super::matcher::{Conditions, Query};
use super::mirror::Mirror;
use super::redirect::Redirect;
use super::rewrite::Rewrite;
use super::route::{Besides, Rank, Route, RouteLimits};
use super::split::Split;

/// A set of routes.
#[derive(Debug)]
pub struct RouteSet {
    hosts: Hosts,
    /// The pools that the routes name, each once.
    pools: Box<[(PoolId, Arc<Pool>)]>,
    /// The keys of the routes that have limits.
    limited: Box<[u64]>,
    canaries: Box<[Arc<Watched>]>,
}

impl RouteSet {
    /// Compiles routes, in the order of the file. `None` when one names a pool that is not there:
    /// without it, its requests would fall to a route that was not meant for them.
    pub(super) fn compile(
        routes: &[RouteSpec],
        pools: &BTreeMap<PoolId, Arc<Pool>>,
    ) -> Option<Self> {
        let mut hosts = Hosts::default();
        let (mut used, mut limited, mut canaries) = (BTreeMap::new(), Vec::new(), Vec::new());
        for spec in routes {
            let mut pool = |id: &PoolId| {
                let pool = pools.get(id)?;
                used.insert(id.clone(), Arc::clone(pool));
                Some(Arc::clone(pool))
            };
            let action = action(spec, &mut pool)?;
            let mirror = match &spec.mirror {
                Some(spec) => Some(Mirror { spec: (**spec).clone(), pool: pool(&spec.pool)? }),
                None => None,
            };
            let canary = action.canary().cloned();
            canaries.extend(canary.clone());
            let route = Arc::new(route(spec, action, Besides::of(mirror, canary)));
            limited.extend(route.limits.as_ref().map(|limits| limits.key));
            hosts.insert(spec, route);
        }
        let pools = used.into_iter().collect();
        Some(Self { hosts, pools, limited: limited.into(), canaries: canaries.into() })
    }

    /// The most specific route that takes a request.
    pub(super) fn find(&self, request: &Query<'_>) -> Option<&Arc<Route>> {
        self.hosts.find(request)
    }

    /// The keys of the routes that have limits.
    pub(super) fn limited(&self) -> &[u64] {
        &self.limited
    }

    /// The pools of the routes' splits that are tried.
    pub(super) fn canaries(&self) -> &[Arc<Watched>] {
        &self.canaries
    }

    /// Whether every pool that the routes name is still the same.
    pub(super) fn is_current(&self, pools: &BTreeMap<PoolId, Arc<Pool>>) -> bool {
        self.pools.iter().all(|(id, pool)| pools.get(id).is_some_and(|now| Arc::ptr_eq(now, pool)))
    }
}

fn route(spec: &RouteSpec, action: Action, besides: Option<Box<Besides>>) -> Route {
    Route {
        name: Arc::clone(&spec.name),
        maintenance: spec.maintenance.clone(),
        authorize: spec.authorize,
        limits: RouteLimits::of(spec),
        priority: spec.priority,
        action,
        rewrite: Rewrite::new(&spec.rewrite),
        request_headers: HeaderEdits::new(&spec.request_headers),
        response_headers: HeaderEdits::new(&spec.response_headers),
        timeouts: spec.timeouts,
        retry: spec.retry.clone(),
        besides,
        rank: Rank::of(spec),
        conditions: Conditions::new(spec),
    }
}

fn action(
    route: &RouteSpec,
    pool: &mut impl FnMut(&PoolId) -> Option<Arc<Pool>>,
) -> Option<Action> {
    Some(match &route.action {
        ActionSpec::Pool(id) => Action::Forward(pool(id)?),
        ActionSpec::TenantPool => Action::TenantPool,
        ActionSpec::Split(split) => Action::Split(split_over(split, route, pool)?),
        ActionSpec::Redirect(redirect) => Action::Redirect(Redirect::new(redirect)),
        ActionSpec::Respond(respond) => Action::Respond(Respond {
            status: respond.status,
            content_type: respond.content_type.clone(),
            body: Bytes::from(respond.body.clone()),
        }),
    })
}

fn split_over(
    spec: &SplitSpec,
    route: &RouteSpec,
    pool: &mut impl FnMut(&PoolId) -> Option<Arc<Pool>>,
) -> Option<Split> {
    let pools: Option<Vec<_>> =
        spec.pools.iter().map(|(id, weight)| Some((pool(id)?, *weight))).collect();
    let pools = pools?;
    let canary = Canary::of(route, spec, &pools);
    let mut split = Split::new(pools, spec.by.clone())?;
    split.canary = canary;
    Some(split)
}
