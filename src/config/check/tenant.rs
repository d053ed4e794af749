//! Tenants and the route sets that they use.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::sorted::Sorted;
use crate::base::units::ByteSize;
use crate::config::faults::Faults;
use crate::config::key::Key;
use crate::config::raw::{At, RouteSet, Tenant};
use crate::config::spec::{
    ActionSpec, NamedTenant, RouteSetSpec, RouteSpec, TenantSpec, TenantState,
};
use crate::model::ids::TenantId;

use super::access::{self, Owners};
use super::answers::{self, Pages};
use super::gather::{Entries, Entry};
use super::{Scope, domains, limits, reach, route, sharing, undefined};

/// What a tenant must know of a route set: whether one of its routes goes to the tenant's pool.
pub(super) type Sets = BTreeMap<Arc<str>, NeedsPool>;

/// Whether a tenant needs a pool of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NeedsPool {
    /// A route goes to it.
    Yes,
    /// Every route says where it goes.
    No,
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
            sets.insert(name, NeedsPool::No);
            continue;
        };
        let routes = route::check_all(set.routes.unwrap_or_default(), scope, &key, faults);
        if routes.is_empty() {
            let hint = format!("write [[{key}.routes]] and the route below it");
            faults.add_missing(&key, entry.at, "has no routes", &hint);
        }
        sets.insert(Arc::clone(&name), needs_pool(&routes));
        specs.insert(name, Arc::new(RouteSetSpec { routes }));
    }
    (specs, sets)
}

/// Whether a tenant that uses these routes needs a pool of its own.
pub(super) fn needs_pool(routes: &[RouteSpec]) -> NeedsPool {
    match routes.iter().any(|route| route.action == ActionSpec::TenantPool) {
        true => NeedsPool::Yes,
        false => NeedsPool::No,
    }
}

/// Checks all tenants.
pub(super) fn check_tenants(
    raw: Entries<Tenant>,
    scope: &Scope<'_>,
    pages: &mut Pages,
    faults: &mut Faults<'_>,
) -> Sorted<NamedTenant> {
    let (mut owners, mut of_domains) = (Owners::default(), domains::Owners::default());
    let checked = |(name, entry): (Arc<str>, Entry<Tenant>)| {
        let place = (entry.file, entry.at);
        let tenant = check_tenant(&name, entry, scope, pages, faults)?;
        owners.enter(&tenant, place, faults);
        of_domains.enter(&tenant, place, faults);
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
    let own_pages = entry.raw.as_mut().and_then(|raw| raw.error_pages.take());
    let error_pages = own_pages.map(|raw| {
        let folder = scope.files.folder(entry.file);
        Arc::new(pages.check(raw, folder, &key.name("error-pages"), faults))
    });
    let at = entry.at;
    let starts = entry.raw.as_ref().and_then(|raw| raw.routes.as_ref());
    let starts: Vec<usize> = starts.into_iter().flatten().map(|route| route.start).collect();
    let spec = check(entry, scope, &key, faults);
    let (id, spec) = (id?, spec?);
    let (routes, ways) = ((&spec.routes[..], &starts[..]), &scope.naming.from);
    reach::tell((&id, at), routes, ways, &key, faults);
    Some((id, Arc::new(TenantSpec { error_pages, ..spec })))
}

fn check(
    entry: Entry<Tenant>,
    scope: &Scope<'_>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Option<TenantSpec> {
    let raw = entry.raw?;
    let state = raw.state.map_or(TenantState::Active, |state| state.0);
    let maintenance = answers::maintenance(raw.maintenance, &key.name("maintenance"), faults);
    let maintenance = (state == TenantState::Maintenance).then(|| Box::new(maintenance));
    let pool = raw.pool.map(|pool| scope.pool(&pool.value, pool.start, &key.name("pool"), faults));
    let starts: Vec<usize> = raw.routes.iter().flatten().map(|route| route.start).collect();
    let routes = route::check_all(raw.routes.unwrap_or_default(), scope, key, faults);
    let (route_sets, needs) =
        used_sets(raw.route_sets.unwrap_or_default(), scope.sets, &key.name("use"), faults);

    if pool.is_none() {
        const HINT: &str = "give the tenant a pool, or every route an action";
        let routes_key = key.name("routes");
        for (index, (route, start)) in routes.iter().zip(starts).enumerate() {
            if route.action == ActionSpec::TenantPool {
                let key = routes_key.index(index);
                faults.add_missing(&key, start, "goes to no pool: the tenant has none", HINT);
            }
        }
        if let Some(Needy { index, start, name }) = needs {
            let use_key = key.name("use");
            let what = format!("a route of {name:?} goes to the tenant's pool, and it has none");
            faults.add_missing(&use_key.index(index), start, &what, HINT);
        }
        if routes.is_empty() && route_sets.is_empty() && state == TenantState::Active {
            let what = "has neither pool nor routes nor use: nothing would be served";
            faults.add_missing(key, entry.at, what, "write pool = \"…\", or suspend it");
        }
    }
    let limits = limits::check(raw.limits, &key.name("limits"), faults);
    let sample = raw.access_log.and_then(|log| log.sample).map(|sample| sample.0);
    let trace_sample = raw.tracing.and_then(|tracing| tracing.sample).map(|sample| sample.0);
    let replay_memory = raw.replay_memory.map_or(ByteSize(16 << 20), |size| size.0);
    let access = access::Raw {
        authenticate: raw.authenticate,
        keys: raw.keys,
        allow: raw.allow,
        deny: raw.deny,
        methods: raw.methods,
        cors: raw.cors,
    };
    let access = access::check(access, scope.naming, key, faults);
    let domains = domains::check(raw.domains, &scope.naming.from, &key.name("domains"), faults);
    let queue = sharing::queue(raw.queue, &key.name("queue"), faults);
    Some(TenantSpec {
        state,
        maintenance,
        pool,
        routes,
        route_sets,
        limits,
        error_pages: None,
        sample,
        trace_sample,
        replay_memory,
        access,
        domains,
        queue,
    })
}

/// A use of a route set that needs the tenant to have a pool.
struct Needy {
    index: usize,
    start: usize,
    name: Arc<str>,
}

/// The names that are used, and the first of them that needs the tenant to have a pool.
fn used_sets(
    raw: Vec<At<String>>,
    sets: &Sets,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> (Vec<Arc<str>>, Option<Needy>) {
    let mut names: Vec<Arc<str>> = Vec::with_capacity(raw.len());
    let mut needs = None;
    for (index, At { value: name, start }) in raw.into_iter().enumerate() {
        let key = key.index(index);
        let Some((name, set)) = sets.get_key_value(name.as_str()) else {
            faults.add_undefined(&key, start, || undefined("route set", &name, sets.keys()));
            continue;
        };
        if names.contains(name) {
            let what = format!("{name:?} is there twice");
            faults.add(&key, start, what, Some("keep one".to_owned()));
            continue;
        }
        if *set == NeedsPool::Yes && needs.is_none() {
            needs = Some(Needy { index, start, name: Arc::clone(name) });
        }
        names.push(Arc::clone(name));
    }
    (names, needs)
}
