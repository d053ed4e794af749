//! Spec and previous table → table, without I/O. What has not changed is shared with the previous table,
//! so that an edit of one tenant costs little beside 100,000 that stay.

#![expect(clippy::mutable_key_type, reason = "the key is the id alone, which never changes")]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::auth::keys::Keys;
use crate::base::sorted::Difference;
use crate::base::stretch::Stretch;
use crate::config::spec::{HostSpec, KeySpec, NamedTenant, RouteSetSpec, RoutesSpec, TenantSpec};
use crate::model::ids::{PoolId, TenantId};
use crate::pool::Pool;
use crate::telemetry::tenants::Slots;

use super::authorizer::{self, Authorizers};
use super::departed::Departed;
use super::domains::Domains;
use super::set::RouteSet;
use super::table::{ById, SharedSet, Table, Tenants};
use super::tenant::{Routes, Tenant};

/// What the last table was made of.
#[derive(Clone, Copy, Debug)]
pub struct Previous<'p> {
    /// The table.
    pub table: &'p Table,
    /// What it was compiled from; `None` where that is not known.
    pub spec: Option<&'p RoutesSpec>,
    /// With these pools.
    pub pools: &'p BTreeMap<PoolId, Arc<Pool>>,
}

/// As [`compile`], of files that were edited: where pools and route sets are those of before, only
/// tenants are looked at whose specs are others.
pub fn compile_edited(
    spec: &RoutesSpec,
    previous: &Previous<'_>,
    pools: &BTreeMap<PoolId, Arc<Pool>>,
    generation: u64,
) -> Table {
    let table = previous.table;
    let sets = compile_sets(spec, Some(table), pools);
    let same_pools = pools.len() == previous.pools.len()
        && pools.iter().zip(previous.pools).all(|(now, before)| Arc::ptr_eq(now.1, before.1));
    let Some(before) = previous.spec.filter(|_| same_pools && are_same(&sets, &table.sets)) else {
        return compile(spec, Some(table), pools, generation);
    };
    let mut compiler = Compiler::new(Binder { pools, sets: &sets, shared: HashMap::default() });
    compiler.next_slot = table.next_slot;
    compiler.departed = table.departed.of_now();
    let (mut tenants, mut slots) = (table.tenants.clone(), table.slots.clone());
    let same = |now: &NamedTenant, before: &NamedTenant| Arc::ptr_eq(&now.1, &before.1);
    let mut marks = Marks {
        keys: Arc::clone(&table.keys),
        domains: Arc::clone(&table.domains),
        trying: Arc::clone(&table.trying),
    };
    for Difference { before, now } in spec.tenants.differences(&before.tenants, same) {
        marks.replace(before, now);
        if let Some((id, now)) = now {
            let tenant = compiler.tenant(id, now, table.tenant(id.as_str()));
            slots.insert(tenant.slot());
            tenants.replace(ById(tenant));
        } else if let Some(ById(gone)) = before.and_then(|(gone, _)| tenants.take(gone.as_str())) {
            slots.remove(gone.slot());
            compiler.departed.leave(&gone);
        }
    }
    let Compiler { next_slot, departed, .. } = compiler;
    let knew = table.knows_credentials;
    let authorizers =
        authorizer::bind(&spec.naming.identity, pools, (Some(&table.authorizers), generation));
    let numbered = (generation, knew);
    table_of((spec, authorizers), numbered, (tenants, slots, marks), sets, (next_slot, departed))
}

/// By what tenants are found besides their ids, and those whose routes try a pool.
#[derive(Default)]
struct Marks {
    keys: Arc<Keys>,
    domains: Arc<Domains>,
    trying: Arc<BTreeSet<TenantId>>,
}

impl Marks {
    /// Takes those of one tenant from those of all, and puts others in their place. Where they have stayed, all
    /// of them are those of the table before: a copy of a hundred thousand takes longer than all else.
    fn replace(&mut self, before: Option<&NamedTenant>, now: Option<&NamedTenant>) {
        let (old, new) = (keys(before), keys(now));
        if old != new {
            let all = Arc::make_mut(&mut self.keys);
            before.into_iter().for_each(|(id, _)| all.remove(id, old));
            now.into_iter().for_each(|(id, _)| all.add(id, new));
        }
        let (old, new) = (domains(before), domains(now));
        if old != new {
            let all = Arc::make_mut(&mut self.domains);
            before.into_iter().for_each(|(id, _)| all.remove(id, old));
            now.into_iter().for_each(|(id, _)| all.add(id, new));
        }
        let tries = |of: Option<&NamedTenant>| of.filter(|(_, spec)| tries(spec)).cloned();
        if let Some((id, _)) = tries(before) {
            Arc::make_mut(&mut self.trying).remove(&id);
        }
        if let Some((id, _)) = tries(now) {
            Arc::make_mut(&mut self.trying).insert(id);
        }
    }
}

fn keys(of: Option<&NamedTenant>) -> &[KeySpec] {
    of.map_or(&[], |(_, spec)| spec.keys())
}

fn domains(of: Option<&NamedTenant>) -> &[HostSpec] {
    of.map_or(&[], |(_, spec)| spec.domains())
}

/// Whether a route of a tenant's own has a split with a canary.
fn tries(spec: &TenantSpec) -> bool {
    spec.routes.iter().any(|route| route.canary().is_some())
}

fn are_same(now: &BTreeMap<Arc<str>, SharedSet>, before: &BTreeMap<Arc<str>, SharedSet>) -> bool {
    now.len() == before.len()
        && now.iter().zip(before).all(|((now_name, now), (name, before))| {
            now_name == name && same(now.set.as_ref(), before.set.as_ref())
        })
}

/// Compiles the table of one generation. `pools` holds every pool that `spec` names; a tenant that
/// names another all the same is there without any route or pool.
///
/// The one effect beside the table: a tenant's live state hears of a new limit at once.
pub fn compile(
    spec: &RoutesSpec,
    previous: Option<&Table>,
    pools: &BTreeMap<PoolId, Arc<Pool>>,
    generation: u64,
) -> Table {
    let sets = compile_sets(spec, previous, pools);
    let mut compiler = Compiler::new(Binder { pools, sets: &sets, shared: HashMap::default() });
    if let Some(table) = previous {
        compiler.next_slot = table.next_slot;
        compiler.departed = table.departed.of_now();
        let gone =
            |tenant: &&Arc<Tenant>| tenant.is_limited() && spec.tenant(tenant.id()).is_none();
        table.tenants().filter(gone).for_each(|tenant| compiler.departed.leave(tenant));
    }
    let mut tenants = Tenants::with_capacity_and_hasher(spec.tenants.len(), RandomState::default());
    let stretch = Stretch::begin();
    for (id, tenant_spec) in &spec.tenants {
        stretch.step();
        let before = previous.and_then(|table| table.tenant(id.as_str()));
        tenants.insert(ById(compiler.tenant(id, tenant_spec, before)));
    }
    let Compiler { next_slot, departed, .. } = compiler;
    let slots = tenants.iter().map(|ById(tenant)| tenant.slot()).collect();
    let knew = previous.is_some_and(|table| table.knows_credentials);
    let mut marks = Marks::default();
    spec.tenants.iter().for_each(|tenant| marks.replace(None, Some(tenant)));
    let before = previous.map(|table| &table.authorizers);
    let authorizers = authorizer::bind(&spec.naming.identity, pools, (before, generation));
    let numbered = (generation, knew);
    table_of((spec, authorizers), numbered, (tenants, slots, marks), sets, (next_slot, departed))
}

fn table_of(
    (spec, authorizers): (&RoutesSpec, Authorizers),
    (generation, knew): (u64, bool),
    (tenants, slots, Marks { keys, domains, trying }): (Tenants, Slots, Marks),
    sets: BTreeMap<Arc<str>, SharedSet>,
    (next_slot, departed): (u32, Departed),
) -> Table {
    let (naming, error_pages) = (spec.naming.clone(), Arc::clone(&spec.error_pages));
    // Once some were known they are looked at for good: who shows the last key that was taken out is
    // refused, and the key goes to no endpoint.
    let knows_credentials = knew || !keys.is_empty() || !naming.identity.issuers.is_empty();
    Table {
        generation,
        naming,
        error_pages,
        tenants,
        slots,
        sets,
        keys,
        authorizers,
        rings: Arc::default(), // whoever keeps them hands them over
        domains,
        trying,
        knows_credentials,
        departed,
        next_slot,
    }
}

/// Compiles tenants one by one.
struct Compiler<'c> {
    binder: Binder<'c>,
    /// The number of the next new tenant.
    next_slot: u32,
    departed: Departed,
}

impl<'c> Compiler<'c> {
    fn new(binder: Binder<'c>) -> Self {
        Self { binder, next_slot: 0, departed: Departed::default() }
    }

    /// A tenant as it is from now on: the one of before, where nothing about it is another.
    fn tenant(
        &mut self,
        id: &TenantId,
        spec: &Arc<TenantSpec>,
        before: Option<&Arc<Tenant>>,
    ) -> Arc<Tenant> {
        let parts = self.binder.bind(spec, before.map(Arc::as_ref));
        match before {
            Some(before) if before.is(spec, &parts) => Arc::clone(before),
            Some(before) => Arc::new(before.changed(spec, parts.0, parts.1)),
            None => {
                let slot = self.next_slot;
                self.next_slot = slot.saturating_add(1);
                let ledger = self.departed.return_of(id.as_str());
                Arc::new(Tenant::new(id, slot, spec, parts, ledger))
            }
        }
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
