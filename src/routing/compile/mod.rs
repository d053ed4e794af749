//! Spec and previous table → table, without I/O. What has not changed is shared with the previous table,
//! so that an edit of one tenant costs little beside 100,000 that stay.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, OnceLock};

use foldhash::fast::RandomState;

use crate::config::spec::{RouteSetSpec, RoutesSpec, TenantSpec};
use crate::model::ids::{Label, PoolId, TenantId};
use crate::pool::Pool;
use crate::telemetry::sample::Sample;

use super::set::RouteSet;
use super::table::{ById, SharedSet, Table};
use super::tenant::{Shares, Tenant};

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
    for (id, tenant_spec) in &spec.tenants {
        let before = previous.and_then(|table| table.tenant(id.as_str()));
        let parts = Parts::bind(tenant_spec, before, &sets, pools);
        let tenant = match before {
            Some(before) if parts.are_those_of(before, tenant_spec) => Arc::clone(before),
            Some(before) => Arc::new(changed(before, tenant_spec, parts)),
            None => {
                let slot = next_slot;
                next_slot = next_slot.saturating_add(1);
                Arc::new(new(id, slot, tenant_spec, parts))
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

/// What a tenant's spec binds to.
#[derive(Default)]
struct Parts {
    pool: Option<Arc<Pool>>,
    own: Option<Arc<RouteSet>>,
    sets: Vec<Arc<RouteSet>>,
}

impl Parts {
    /// Everything that `spec` names, or nothing at all where a part is missing.
    fn bind(
        spec: &TenantSpec,
        before: Option<&Arc<Tenant>>,
        sets: &BTreeMap<Arc<str>, SharedSet>,
        pools: &BTreeMap<PoolId, Arc<Pool>>,
    ) -> Self {
        Self::find(spec, before, sets, pools).unwrap_or_default()
    }

    fn find(
        spec: &TenantSpec,
        before: Option<&Arc<Tenant>>,
        sets: &BTreeMap<Arc<str>, SharedSet>,
        pools: &BTreeMap<PoolId, Arc<Pool>>,
    ) -> Option<Self> {
        let pool = match &spec.pool {
            Some(id) => Some(Arc::clone(pools.get(id)?)),
            None => None,
        };
        let own = if spec.routes.is_empty() {
            None
        } else {
            let kept = before
                .filter(|before| before.spec.routes == spec.routes)
                .and_then(|before| before.own.as_ref())
                .filter(|own| own.is_current(pools));
            match kept {
                Some(own) => Some(Arc::clone(own)),
                None => Some(Arc::new(RouteSet::compile(&spec.routes, pools)?)),
            }
        };
        let set = |name| sets.get(name).and_then(|shared| shared.set.clone());
        let sets = spec.route_sets.iter().map(set).collect::<Option<_>>()?;
        Some(Self { pool, own, sets })
    }

    fn are_those_of(&self, tenant: &Tenant, spec: &Arc<TenantSpec>) -> bool {
        (Arc::ptr_eq(&tenant.spec, spec) || tenant.spec == *spec)
            && same(self.pool.as_ref(), tenant.pool.as_ref())
            && same(self.own.as_ref(), tenant.own.as_ref())
            && self.sets.len() == tenant.sets.len()
            && self.sets.iter().zip(&tenant.sets).all(|(now, before)| Arc::ptr_eq(now, before))
    }
}

fn same<T>(now: Option<&Arc<T>>, before: Option<&Arc<T>>) -> bool {
    match (now, before) {
        (Some(now), Some(before)) => Arc::ptr_eq(now, before),
        (None, None) => true,
        _ => false,
    }
}

fn new(id: &TenantId, slot: u32, spec: &Arc<TenantSpec>, parts: Parts) -> Tenant {
    Tenant {
        label: Label { name: id.shared(), slot },
        state: spec.state,
        shares: shares(spec),
        pool: parts.pool,
        own: parts.own,
        sets: parts.sets.into(),
        live: OnceLock::new(),
        spec: Arc::clone(spec),
    }
}

fn shares(spec: &TenantSpec) -> Shares {
    Shares { log: spec.sample.map(Sample::of), traces: spec.trace_sample.map(Sample::of) }
}

/// The same tenant with another spec or other parts: its number and live state stay.
fn changed(before: &Tenant, spec: &Arc<TenantSpec>, parts: Parts) -> Tenant {
    let live = Arc::clone(before.allowance());
    live.set_replay_memory(spec.replay_memory);
    Tenant {
        label: before.label.clone(),
        state: spec.state,
        shares: shares(spec),
        pool: parts.pool,
        own: parts.own,
        sets: parts.sets.into(),
        live: OnceLock::from(live),
        spec: Arc::clone(spec),
    }
}

#[cfg(test)]
mod tests;
