//! Spec and previous table → table, without I/O. What has not changed is shared with the previous table,
//! so that an edit of one tenant costs little beside 100,000 that stay.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::config::spec::{RouteSetSpec, RoutesSpec, TenantSpec};
use crate::model::ids::PoolId;
use crate::pool::Pool;

use super::set::RouteSet;
use super::table::{ById, SharedSet, Table};
use super::tenant::{Routes, Tenant};

/// Compiles the table of one generation. `pools` holds every pool that `spec` names; a tenant that
/// names another all the same is there without any route or pool.
///
/// The one effect beside the table: a tenant's live state hears of a new limit at once.
#[expect(clippy::mutable_key_type, reason = "the key is the id alone, which never changes")]
pub fn compile(
    spec: &RoutesSpec,
    previous: Option<&Table>,
    pools: &BTreeMap<PoolId, Arc<Pool>>,
    generation: u64,
) -> Table {
    let sets = compile_sets(spec, previous, pools);
    let mut next_slot = previous.map_or(0, |table| table.next_slot);
    let mut tenants = HashSet::with_capacity_and_hasher(spec.tenants.len(), RandomState::default());
    let mut binder = Binder { pools, sets: &sets, shared: HashMap::default() };
    for (id, tenant_spec) in &spec.tenants {
        let before = previous.and_then(|table| table.tenant(id.as_str()));
        let parts = binder.bind(tenant_spec, before.map(Arc::as_ref));
        let tenant = match before {
            Some(before) if before.is(tenant_spec, &parts) => Arc::clone(before),
            Some(before) => Arc::new(before.changed(tenant_spec, parts.0, parts.1)),
            None => {
                let slot = next_slot;
                next_slot = next_slot.saturating_add(1);
                Arc::new(Tenant::new(id, slot, tenant_spec, parts.0, parts.1))
            }
        };
        tenants.insert(ById(tenant));
    }
    Table {
        generation,
        naming: spec.naming.clone(),
        error_pages: Arc::clone(&spec.error_pages),
        tenants,
        sets,
        next_slot,
    }
}

fn compile_sets(
    spec: &RoutesSpec,
    previous: Option<&Table>,
    pools: &BTreeMap<PoolId, Arc<Pool>>,
) -> BTreeMap<Arc<str>, SharedSet> {
    let compiled = |name: &Arc<str>, spec: &Arc<RouteSetSpec>| {
        let before = previous.and_then(|table| table.sets.get(name));
        let same = before.filter(|before| before.spec == *spec);
        match same.and_then(|same| same.set.as_ref()).filter(|set| set.is_current(pools)) {
            Some(set) => SharedSet { spec: Arc::clone(spec), set: Some(Arc::clone(set)) },
            None => SharedSet {
                spec: Arc::clone(spec),
                set: RouteSet::compile(&spec.routes, pools).map(Arc::new),
            },
        }
    };
    spec.route_sets.iter().map(|(name, spec)| (Arc::clone(name), compiled(name, spec))).collect()
}

/// What tenants bind to.
struct Binder<'c> {
    pools: &'c BTreeMap<PoolId, Arc<Pool>>,
    sets: &'c BTreeMap<Arc<str>, SharedSet>,
    /// Of tenants that have no routes of their own, by the names of the sets that they use.
    shared: HashMap<Vec<Arc<str>>, Arc<Routes>, RandomState>,
}

/// What a tenant's spec binds to.
type Parts = (Option<Arc<Pool>>, Option<Arc<Routes>>);

impl Binder<'_> {
    /// Everything that `spec` names, or nothing at all where a part is missing.
    fn bind(&mut self, spec: &TenantSpec, before: Option<&Tenant>) -> Parts {
        self.find(spec, before).unwrap_or_default()
    }

    fn find(&mut self, spec: &TenantSpec, before: Option<&Tenant>) -> Option<Parts> {
        let pool = match &spec.pool {
            Some(id) => Some(Arc::clone(self.pools.get(id)?)),
            None => None,
        };
        if spec.routes.is_empty() && spec.route_sets.is_empty() {
            return Some((pool, None));
        }
        if spec.routes.is_empty()
            && let Some(routes) = self.shared.get(&spec.route_sets)
        {
            return Some((pool, Some(Arc::clone(routes))));
        }
        let kept = before.and_then(|before| before.routes.as_ref());
        let own = self.own(spec, before, kept)?;
        let set = |name| self.sets.get(name).and_then(|shared| shared.set.clone());
        let sets: Box<[_]> = spec.route_sets.iter().map(set).collect::<Option<_>>()?;
        let routes = match kept.filter(|kept| kept.are(own.as_ref(), &sets)) {
            Some(kept) => Arc::clone(kept),
            None => Arc::new(Routes { own, sets }),
        };
        if spec.routes.is_empty() {
            self.shared.insert(spec.route_sets.clone(), Arc::clone(&routes));
        }
        Some((pool, Some(routes)))
    }

    /// The compiled routes of a tenant itself, if it has any; `None` where one cannot be made.
    fn own(
        &self,
        spec: &TenantSpec,
        before: Option<&Tenant>,
        kept: Option<&Arc<Routes>>,
    ) -> Option<Option<Arc<RouteSet>>> {
        if spec.routes.is_empty() {
            return Some(None);
        }
        let kept = before
            .filter(|before| before.spec().routes == spec.routes)
            .and(kept)
            .and_then(|kept| kept.own.as_ref())
            .filter(|own| own.is_current(self.pools));
        match kept {
            Some(own) => Some(Some(Arc::clone(own))),
            None => RouteSet::compile(&spec.routes, self.pools).map(|own| Some(Arc::new(own))),
        }
    }
}

impl Routes {
    fn are(&self, own: Option<&Arc<RouteSet>>, sets: &[Arc<RouteSet>]) -> bool {
        same(self.own.as_ref(), own)
            && self.sets.len() == sets.len()
            && self.sets.iter().zip(sets).all(|(before, now)| Arc::ptr_eq(before, now))
    }
}

impl Tenant {
    fn is(&self, spec: &Arc<TenantSpec>, (pool, routes): &Parts) -> bool {
        let same_routes = match (&self.routes, routes) {
            (Some(before), Some(now)) => {
                Arc::ptr_eq(before, now) || before.are(now.own.as_ref(), &now.sets)
            }
            (None, None) => true,
            _ => false,
        };
        (Arc::ptr_eq(self.spec(), spec) || self.spec() == spec)
            && same(self.pool.as_ref(), pool.as_ref())
            && same_routes
    }
}

fn same<T>(now: Option<&Arc<T>>, before: Option<&Arc<T>>) -> bool {
    match (now, before) {
        (Some(now), Some(before)) => Arc::ptr_eq(now, before),
        (None, None) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
