//! How many tenants are served, and what is being worked on: for people and for a scrape.

use std::sync::Arc;

use crate::base::sorted::Difference;
use crate::config::spec::{NamedTenant, RouteSpec, RoutesSpec, TenantSpec, TenantState};
use crate::telemetry::metrics;
use crate::telemetry::registry::Metrics;

/// How many tenants are served, and what is being worked on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Tenants that are served.
    pub active: usize,
    /// Tenants that are worked on.
    pub maintenance: usize,
    /// Tenants that are suspended.
    pub suspended: usize,
    /// Tenants whose files are broken and never were good.
    pub quarantined: usize,
    /// Routes that are worked on.
    pub routes: usize,
    /// The first hundred tenants and routes that are worked on, as in `tenants.acme` and
    /// `tenants.acme.routes: /billing/*`.
    pub in_maintenance: Vec<String>,
}

impl Standing {
    /// What these routes say.
    pub(super) fn of(spec: &RoutesSpec) -> Self {
        let mut standing = Self::default();
        for (id, tenant) in &spec.tenants {
            match tenant.state {
                TenantState::Active => standing.active += 1,
                TenantState::Suspended => standing.suspended += 1,
                TenantState::Quarantined => standing.quarantined += 1,
                TenantState::Maintenance => {
                    standing.maintenance += 1;
                    standing.show(|| format!("tenants.{id}"));
                }
            }
            standing.count(&tenant.routes, || format!("tenants.{id}"));
        }
        for (name, set) in &spec.route_sets {
            standing.count(&set.routes, || format!("route-sets.{name}"));
        }
        standing
    }

    /// As [`Self::of`] `spec`, where this is that of `before`.
    pub(super) fn after(&self, spec: &RoutesSpec, before: &RoutesSpec) -> Self {
        let is_same = |now: &NamedTenant, before: &NamedTenant| Arc::ptr_eq(&now.1, &before.1);
        let is_plain = |tenant: &TenantSpec| {
            matches!(tenant.state, TenantState::Active | TenantState::Suspended)
                && tenant.routes.iter().all(|route| route.maintenance.is_none())
        };
        let mut standing = self.clone();
        for Difference { before, now } in spec.tenants.differences(&before.tenants, is_same) {
            let of = |tenant: Option<&NamedTenant>| tenant.map(|(_, tenant)| tenant.state);
            if [before, now].into_iter().flatten().any(|(_, tenant)| !is_plain(tenant)) {
                return Self::of(spec); // the names that are shown may be others
            }
            match of(before) {
                Some(TenantState::Active) => standing.active -= 1,
                Some(_) => standing.suspended -= 1,
                None => {}
            }
            match of(now) {
                Some(TenantState::Active) => standing.active += 1,
                Some(_) => standing.suspended += 1,
                None => {}
            }
        }
        if spec.route_sets == before.route_sets { standing } else { Self::of(spec) }
    }

    /// Sets the gauges.
    pub(super) fn publish(&self, to: &Metrics) {
        let states = [
            ("active", self.active),
            ("maintenance", self.maintenance),
            ("suspended", self.suspended),
            ("quarantined", self.quarantined),
        ];
        for (state, count) in states {
            to.set(&metrics::TENANTS, &[state], count as f64);
        }
        to.set(&metrics::ROUTES_IN_MAINTENANCE, &[], self.routes as f64);
    }

    fn count(&mut self, routes: &[RouteSpec], owner: impl Fn() -> String) {
        for route in routes.iter().filter(|route| route.maintenance.is_some()) {
            self.routes += 1;
            self.show(|| format!("{}.routes: {}", owner(), route.name));
        }
    }

    fn show(&mut self, name: impl FnOnce() -> String) {
        if self.in_maintenance.len() < SHOWN {
            self.in_maintenance.push(name());
        }
    }
}

/// 100: more than anybody reads.
const SHOWN: usize = 100;
