//! Tenants and the route sets that they use.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::sorted::Sorted;
use crate::base::stretch::Stretch;
use crate::config::faults::Faults;
use crate::config::key::Key;
use crate::config::raw::{At, RouteSet, Tenant};
use crate::config::spec::{
    ActionSpec, NamedTenant, RouteSetSpec, RouteSpec, TenantSpec, TenantState,
};
use crate::model::ids::{PoolId, TenantId};

use super::answers::{self, Pages};
use super::gather::{Entries, Entry};
use super::owners::{Owner, Owners};
use super::plan::Base;
use super::{
    Scope, access, certificates, domains, limits, mirror, reach, roles, route, sharing, undefined,
};

/// What a tenant must know of each route set.
pub(super) type Sets = BTreeMap<Arc<str>, OfTenantPool>;

/// What routes have to do with the pool of the tenant that uses them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct OfTenantPool {
    /// Whether one of them goes to it.
    is_needed: bool,
    /// Pools that get copies of what goes to it.
    mirrors: Vec<PoolId>,
}

/// Checks all route sets.
pub(super) fn check_sets(
    raw: Entries<RouteSet>,
    scope: &Scope<'_>,
    faults: &mut Faults<'_>,
) -> (BTreeMap<Arc<str>, Arc<RouteSetSpec>>, Sets) {
    let mut specs = BTreeMap::new();
    let mut sets = Sets::new();
    for (name, entry) in raw {
        let root = Key::root(entry.file);
        let table = root.name("route-sets");
        let key = table.name(&name);
        let Some(set) = entry.raw else {
            sets.insert(name, OfTenantPool::default());
            continue;
        };
        let routes = route::check_all(set.routes.unwrap_or_default(), scope, &key, faults);
        if routes.is_empty() {
            let hint = format!("write [[{key}.routes]] and the route below it");
            faults.add_missing(&key, entry.at, "has no routes", &hint);
        }
        sets.insert(Arc::clone(&name), of_tenant_pool(&routes));
        specs.insert(name, Arc::new(RouteSetSpec { routes }));
    }
    (specs, sets)
}

/// What these routes have to do with the pool of a tenant that uses them.
pub(super) fn of_tenant_pool(routes: &[RouteSpec]) -> OfTenantPool {
    let all = routes.iter().filter(|route| route.action == ActionSpec::TenantPool);
    let mirrors = all.clone().filter_map(|route| Some(route.mirror.as_ref()?.pool.clone()));
    OfTenantPool { mirrors: mirrors.collect(), is_needed: all.count() > 0 }
}

/// Checks all tenants.
pub(super) fn check_tenants(
    raw: Entries<Tenant>,
    scope: &Scope<'_>,
    pages: &mut Pages,
    faults: &mut Faults<'_>,
) -> Sorted<NamedTenant> {
    let (mut of_keys, mut of_domains) = (Owners::default(), Owners::default());
    let stretch = Stretch::begin();
    let checked = |(name, entry): (Arc<str>, Entry<Tenant>)| {
        stretch.step();
        let (file, at) = (entry.file, entry.at);
        let tenant = check_tenant(&name, entry, scope, pages, faults)?;
        let owner = Owner { id: tenant.0.clone(), file, at };
        access::enter(&mut of_keys, &tenant, &owner, faults);
        domains::enter(&mut of_domains, &tenant, &owner, faults);
        Some(tenant)
    };
    raw.into_iter().filter_map(checked).collect()
}

/// Checks one tenant; `None` where nothing can be made of it.
pub(super) fn check_tenant(
    name: &str,
    mut entry: Entry<Tenant>,
    scope: &Scope<'_>,
    pages: &mut Pages,
    faults: &mut Faults<'_>,
) -> Option<NamedTenant> {
    let root = Key::root(entry.file);
    let table = root.name("tenants");
    let key = table.name(name);
    let id = match TenantId::new(name) {
        Ok(id) => Some(id),
        Err(error) => {
            let hint = "an id is 1 to 128 of letters, digits, '.', '_' and '-'".to_owned();
            faults.add(&key, entry.at, format!("the id {error}"), Some(hint));
            None
        }
    };
    let at = entry.at;
    let plan = entry.raw.as_mut().and_then(|raw| raw.plan.take());
    let base = Base::of(plan, scope.plans, &key, faults);
    // Of a plan that is wrong, nobody knows what it says.
    faults.note_partial(!base.is_whole);
    let said = said(entry, &base, (scope, pages), &key, faults);
    faults.note_partial(false);
    if let Some(said) = said.as_ref().filter(|_| base.is_whole) {
        tell_lacks(said, (at, scope.sets), &key, faults);
        tell_copies(said, scope.sets, &key, faults);
    }
    let (id, Said { mut spec, starts, .. }) = (id?, said?);
    spec.maintenance.take_if(|_| spec.state != TenantState::Maintenance);
    if let Some(domains) = &mut spec.domains {
        domains.earlier = domains::earlier(&id, &scope.naming.from);
    }
    let (routes, ways) = ((&spec.routes[..], &starts[..]), &scope.naming.from);
    reach::tell((&id, at), routes, ways, &key, faults);
    Some((id, Arc::new(spec)))
}

/// What a tenant or a plan says, with what it began with in place of what it does not say.
pub(super) struct Said {
    pub(super) spec: TenantSpec,
    /// Where each of its routes begins.
    starts: Vec<usize>,
    /// Where the pool is named that each of its routes is mirrored to.
    mirrors: Vec<Option<usize>>,
    /// The route sets that it uses.
    uses: Vec<Use>,
}

/// Checks each key of a tenant or a plan by itself. Within tables, too, each key takes the place of
/// the same one of the plan.
pub(super) fn said(
    entry: Entry<Tenant>,
    base: &Base,
    (scope, pages): (&Scope<'_>, &mut Pages),
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Option<Said> {
    let (file, raw, unsaid) = (entry.file, entry.raw?, &base.spec);
    let error_pages = match raw.error_pages {
        Some(raw) => {
            let (folder, key) = (scope.files.folder(file), key.name("error-pages"));
            let own = pages.check(raw, folder, &key, faults);
            Some(Arc::new(own.or(unsaid.error_pages.as_deref())))
        }
        None => unsaid.error_pages.clone(),
    };
    let state = raw.state.map_or(unsaid.state, |state| state.0);
    let is_told = state == TenantState::Maintenance
        || raw.maintenance.is_some()
        || unsaid.maintenance.is_some();
    let maintenance = answers::maintenance(
        raw.maintenance,
        unsaid.maintenance.as_deref(),
        &key.name("maintenance"),
        faults,
    );
    let own = raw.pool.map(|pool| scope.pool(&pool.value, pool.start, &key.name("pool"), faults));
    let pool = own.or_else(|| unsaid.pool.clone());
    let starts: Vec<usize> = raw.routes.iter().flatten().map(|route| route.start).collect();
    let mirrors = raw.routes.iter().flatten().map(|route| mirror::named_at(&route.value)).collect();
    let routes = route::check_all(raw.routes.unwrap_or_default(), scope, key, faults);
    let uses = match raw.route_sets {
        Some(raw) => used_sets(raw, scope.sets, &key.name("use"), faults),
        None => of_plan(base),
    };
    let sample = raw.access_log.and_then(|log| log.sample).map(|sample| sample.0);
    let trace_sample = raw.tracing.and_then(|tracing| tracing.sample).map(|sample| sample.0);
    let access = access::Raw {
        authenticate: raw.authenticate,
        authorize: raw.authorize,
        keys: raw.keys,
        allow: raw.allow,
        deny: raw.deny,
        methods: raw.methods,
        cors: raw.cors,
    };
    let mut domains = domains::check(raw.domains, &scope.naming.from, &key.name("domains"), faults);
    let (folder, of_domains) = (scope.files.folder(file), key.name("certificates"));
    certificates::check(raw.certificates, domains.as_deref_mut(), folder, &of_domains, faults);
    let spec = TenantSpec {
        plan: base.plan.as_ref().map(|(name, _)| Arc::clone(name)),
        state,
        maintenance: is_told.then(|| Box::new(maintenance)),
        pool,
        routes,
        route_sets: uses.iter().map(|used| Arc::clone(&used.name)).collect(),
        limits: limits::check(raw.limits, unsaid.limits.as_deref(), &key.name("limits"), faults),
        error_pages,
        sample: sample.or(unsaid.sample),
        trace_sample: trace_sample.or(unsaid.trace_sample),
        replay_memory: raw.replay_memory.map_or(unsaid.replay_memory, |size| size.0),
        access: access::check(access, unsaid.access.as_ref(), scope.naming, key, faults),
        domains,
        queue: sharing::queue(raw.queue, unsaid.queue.as_deref(), &key.name("queue"), faults),
        tenant_keys: roles::of_tenant(raw.tenant_keys, unsaid.tenant_keys.as_ref(), key, faults),
    };
    Some(Said { spec, starts, mirrors, uses })
}

/// Tells what a tenant cannot be served without.
fn tell_lacks(said: &Said, (at, sets): (usize, &Sets), key: &Key<'_>, faults: &mut Faults<'_>) {
    const HINT: &str = "give the tenant a pool, or every route an action";
    let Said { spec, starts, uses, .. } = said;
    if spec.pool.is_some() {
        return;
    }
    let routes_key = key.name("routes");
    for (index, (route, start)) in spec.routes.iter().zip(starts).enumerate() {
        if route.action == ActionSpec::TenantPool {
            let key = routes_key.index(index);
            faults.add_missing(&key, *start, "goes to no pool: the tenant has none", HINT);
        }
    }
    let is_needy = |used: &&Use| sets.get(&used.name).is_some_and(|set| set.is_needed);
    if let Some(Use { index, start, name }) = uses.iter().find(is_needy) {
        let what = format!("a route of {name:?} goes to the tenant's pool, and it has none");
        match index {
            Some(index) => {
                faults.add_missing(&key.name("use").index(*index), *start, &what, HINT);
            }
            None => faults.add_missing(&key.name("plan"), *start, &what, HINT),
        }
    }
    let serves = !spec.routes.is_empty() || !spec.route_sets.is_empty();
    if !serves && spec.state == TenantState::Active {
        let what = "has neither pool nor routes nor use: nothing would be served";
        faults.add_missing(key, at, what, "write pool = \"…\", or suspend it");
    }
}

/// Tells which routes would have each request run twice at the tenant's pool.
fn tell_copies(said: &Said, sets: &Sets, key: &Key<'_>, faults: &mut Faults<'_>) {
    let Said { spec, mirrors, uses, .. } = said;
    let Some(pool) = &spec.pool else { return };
    let routes_key = key.name("routes");
    for (index, (route, start)) in spec.routes.iter().zip(mirrors).enumerate() {
        let copied = route.mirror.as_ref().is_some_and(|mirror| mirror.pool == *pool);
        if let Some(start) = start.filter(|_| copied && route.action == ActionSpec::TenantPool) {
            mirror::tell_twice(&routes_key.index(index).name("mirror"), start, faults);
        }
    }
    let copies = |used: &&Use| sets.get(&used.name).is_some_and(|set| set.mirrors.contains(pool));
    for Use { index, start, name } in uses.iter().filter(copies) {
        let what = format!(
            "a route of {name:?} copies the requests that go to the tenant's pool to that pool, which would \
             get them twice"
        );
        let hint = "give the tenant or the mirror of that route another pool".to_owned();
        match index {
            Some(index) => faults.add(&key.name("use").index(*index), *start, what, Some(hint)),
            None => faults.add(&key.name("plan"), *start, what, Some(hint)),
        }
    }
}

/// A use of a route set.
struct Use {
    /// Its place in `use`; `None` = the plan says it.
    index: Option<usize>,
    start: usize,
    name: Arc<str>,
}

/// The route sets of a plan.
fn of_plan(base: &Base) -> Vec<Use> {
    let start = base.plan.as_ref().map_or(0, |(_, start)| *start);
    let of = |name: &Arc<str>| Use { index: None, start, name: Arc::clone(name) };
    base.spec.route_sets.iter().map(of).collect()
}

/// The names that are used.
fn used_sets(
    raw: Vec<At<String>>,
    sets: &Sets,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Vec<Use> {
    let mut uses: Vec<Use> = Vec::with_capacity(raw.len());
    for (index, At { value: name, start }) in raw.into_iter().enumerate() {
        let key = key.index(index);
        let Some((name, _)) = sets.get_key_value(name.as_str()) else {
            faults.add_undefined(&key, start, || undefined("route set", &name, sets.keys()));
            continue;
        };
        if uses.iter().any(|used| used.name == *name) {
            let what = format!("{name:?} is there twice");
            faults.add(&key, start, what, Some("keep one".to_owned()));
            continue;
        }
        uses.push(Use { index: Some(index), start, name: Arc::clone(name) });
    }
    uses
}
