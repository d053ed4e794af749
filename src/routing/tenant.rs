//! One tenant as requests see it.

use std::sync::Arc;

use crate::config::spec::{TenantSpec, TenantState};
use crate::model::ids::{Label, TenantId};
use crate::pool::Pool;
use crate::resilience::allowance::Allowance;

use super::matcher::Query;
use super::route::Route;
use super::set::RouteSet;

/// One tenant. Shared between generations of the table as long as nothing of it changes. There may
/// be a million, so a field here is memory times a million.
#[derive(Debug)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// Its id and its number for metrics.
    pub label: Label,
    /// Whether it is served. The caller refuses a suspended one.
    pub state: TenantState,
    /// Where requests go that no route takes, and where [`Action::TenantPool`] leads.
    ///
    /// [`Action::TenantPool`]: super::action::Action::TenantPool
    pub pool: Option<Arc<Pool>>,
    /// Its own routes.
    pub own: Option<Arc<RouteSet>>,
    /// The route sets that it uses, in order.
    pub sets: Box<[Arc<RouteSet>]>,
    /// What it has taken; lives across generations.
    pub live: Arc<Allowance>,
    pub(super) spec: Arc<TenantSpec>,
}

impl Tenant {
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
