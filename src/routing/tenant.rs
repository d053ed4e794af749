//! One tenant as requests see it.

use std::sync::{Arc, OnceLock};

use crate::config::answers::MaintenanceSpec;
use crate::config::spec::{TenantSpec, TenantState};
use crate::model::ids::Label;
use crate::pool::Pool;
use crate::resilience::allowance::Allowance;
use crate::resilience::budget::Fill;
use crate::telemetry::sample::Sample;

use super::matcher::Query;
use super::route::Route;
use super::set::RouteSet;

/// One tenant. Shared between generations of the table as long as nothing of it changes. There may
/// be a million, so a field here is memory times a million.
#[derive(Debug)]
pub struct Tenant {
    /// Its id and its number for metrics.
    pub label: Label,
    /// Whether it is served. The caller refuses one that is not.
    pub state: TenantState,
    /// The shares of its requests that leave lines and spans.
    pub shares: Shares,
    /// Where requests go that no route takes, and where [`Action::TenantPool`] leads.
    ///
    /// [`Action::TenantPool`]: super::action::Action::TenantPool
    pub pool: Option<Arc<Pool>>,
    /// Its own routes.
    pub own: Option<Arc<RouteSet>>,
    /// The route sets that it uses, in order.
    pub sets: Box<[Arc<RouteSet>]>,
    /// What it has taken, once it has taken something; lives across generations.
    pub(super) live: OnceLock<Arc<Allowance>>,
    pub(super) spec: Arc<TenantSpec>,
}

/// The shares of a tenant's requests that leave something, where it has some of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shares {
    /// A line in the access log.
    pub log: Option<Sample>,
    /// Spans.
    pub traces: Option<Sample>,
}

impl Tenant {
    /// Its id.
    pub fn id(&self) -> &str {
        &self.label.name
    }

    /// What is answered while it is worked on.
    pub fn maintenance(&self) -> Option<&MaintenanceSpec> {
        self.spec.maintenance.as_deref()
    }

    /// What it has taken of its retries and its memory for replays.
    pub fn allowance(&self) -> &Arc<Allowance> {
        self.live.get_or_init(|| Arc::new(Allowance::new(self.spec.replay_memory)))
    }

    /// A request came for the pool with this slot. Most tenants have never taken anything: theirs
    /// is full, and a request of one of many tenants then has one place less to fetch.
    pub fn deposit(&self, pool: u32, fill: Fill) {
        if let Some(allowance) = self.live.get() {
            allowance.deposit(pool, fill);
        }
    }

    /// Whether there is anything to find: many tenants have a pool alone.
    pub fn has_routes(&self) -> bool {
        self.own.is_some() || !self.sets.is_empty()
    }

    /// The route that takes a request: the most specific one of its own and its sets' routes.
    pub fn find(&self, query: &Query<'_>) -> Option<&Arc<Route>> {
        let mut best: Option<&Arc<Route>> = None;
        for set in self.own.iter().chain(&self.sets) {
            // Only a better rank wins: of equals, the earlier set's stays.
            if let Some(route) = set.find(query)
                && best.is_none_or(|best| route.rank < best.rank)
            {
                best = Some(route);
            }
        }
        best
    }
}
