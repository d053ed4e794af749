//! How many tenants are served, and what is being worked on: for people and for a scrape.

use crate::config::spec::{RouteSpec, RoutesSpec, TenantState};
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

    /// Sets the gauges.
    pub(super) fn publish(&self, to: &Metrics) {
        let states = [
            ("active", self.active),
            ("maintenance", self.maintenance),
            ("suspended", self.suspended),
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
