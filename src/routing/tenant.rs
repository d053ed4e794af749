//! One tenant as requests see it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use crate::config::answers::{ErrorPagesSpec, MaintenanceSpec};
use crate::config::spec::{AccessSpec, LimitsSpec, QueueSpec, TenantSpec, TenantState};
use crate::limits::Shared;
use crate::limits::ledger::Ledger;
use crate::model::ids::{Label, TenantId};
use crate::pool::Pool;
use crate::resilience::allowance::Allowance;
use crate::resilience::budget::Fill;
use crate::telemetry::sample::Sample;

use super::matcher::Query;
use super::route::Route;
use super::set::RouteSet;

/// One tenant. Shared between generations of the table as long as nothing of it changes. There may
/// be a million, so a field here is memory times a million; and with many of them in use each
/// line of the caches is a miss, so what a request reads is one line: the rest is elsewhere.
#[derive(Debug)]
pub struct Tenant {
    name: Arc<str>,
    slot: u32,
    /// Whether it is served. The caller refuses one that is not.
    pub state: TenantState,
    extras: Extras,
    has_taken: AtomicBool,
    /// Where requests go that no route takes, and where [`Action::TenantPool`] leads.
    ///
    /// [`Action::TenantPool`]: super::action::Action::TenantPool
    pub pool: Option<Arc<Pool>>,
    /// `None`: it has a pool alone.
    pub routes: Option<Arc<Routes>>,
    rest: Box<Rest>,
}

/// What few tenants have, as bits: one look tells that there is nothing more to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Extras(u8);

impl Extras {
    /// Shares of its own.
    const SHARES: u8 = 1;
    /// Limits of its own, or of one of its routes.
    const LIMITS: u8 = 2;
    /// Not everybody may come to it.
    const GUARD: u8 = 4;
    /// Somebody else is asked for each request.
    const ASKS: u8 = 8;
    /// Limits of its own for which requests are counted.
    const COUNTS: u8 = 16;

    fn of(spec: &TenantSpec, routes: Option<&Routes>) -> Self {
        let shares = spec.sample.is_some() || spec.trace_sample.is_some();
        let mut sets = routes.into_iter().flat_map(Routes::all);
        let limits = spec.limits.is_some() || sets.any(|set| !set.limited().is_empty());
        let guard = spec.access.is_some();
        let asks = spec.access.as_ref().is_some_and(|access| access.authorize.is_some());
        let counts = spec.limits.as_ref().is_some_and(|limits| limits.count());
        let bits = [
            (shares, Self::SHARES),
            (limits, Self::LIMITS),
            (guard, Self::GUARD),
            (asks, Self::ASKS),
            (counts, Self::COUNTS),
        ];
        Self(bits.iter().filter(|(has, _)| *has).fold(0, |all, (_, bit)| all | bit))
    }

    fn has(self, any: u8) -> bool {
        self.0 & any != 0
    }
}

/// Where a tenant's routes are. Tenants without routes of their own that use the same sets share
/// one.
#[derive(Debug)]
pub struct Routes {
    /// Its own routes.
    pub own: Option<Arc<RouteSet>>,
    /// The route sets that it uses, in order.
    pub sets: Box<[Arc<RouteSet>]>,
}

/// What few requests read.
#[derive(Debug)]
struct Rest {
    spec: Arc<TenantSpec>,
    /// What it has taken, once it has taken something; lives across generations.
    live: OnceLock<Arc<Allowance>>,
    /// What is counted for its limits, once something is; lives across generations.
    ledger: OnceLock<Arc<Ledger>>,
}

/// The shares of a tenant's requests that leave something; `None` = as for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shares {
    /// A line in the access log.
    pub log: Option<Sample>,
    /// Spans.
    pub traces: Option<Sample>,
}

impl Tenant {
    /// One that was not there before.
    pub(super) fn new(
        id: &TenantId,
        slot: u32,
        spec: &Arc<TenantSpec>,
        (pool, routes): (Option<Arc<Pool>>, Option<Arc<Routes>>),
        ledger: Option<Arc<Ledger>>,
    ) -> Self {
        let ledger = ledger.map_or_else(OnceLock::new, OnceLock::from);
        Self {
            name: id.shared(),
            slot,
            state: spec.state,
            extras: Extras::of(spec, routes.as_deref()),
            has_taken: AtomicBool::new(false),
            pool,
            routes,
            rest: Box::new(Rest { spec: Arc::clone(spec), live: OnceLock::new(), ledger }),
        }
    }

    /// The same tenant with another spec or other parts: its number and live state stay.
    pub(super) fn changed(
        &self,
        spec: &Arc<TenantSpec>,
        pool: Option<Arc<Pool>>,
        routes: Option<Arc<Routes>>,
    ) -> Self {
        let live = Arc::clone(self.allowance());
        live.set_replay_memory(spec.replay_memory);
        let keys = || routes.iter().flat_map(|routes| routes.all()).flat_map(|set| set.limited());
        let is_there = |key| keys().any(|known| *known == key);
        let ledger = self.known_ledger().map(|ledger| ledger.tidied(is_there));
        let ledger = ledger.map_or_else(OnceLock::new, OnceLock::from);
        Self {
            name: Arc::clone(&self.name),
            slot: self.slot,
            state: spec.state,
            extras: Extras::of(spec, routes.as_deref()),
            has_taken: AtomicBool::new(true),
            pool,
            routes,
            rest: Box::new(Rest { spec: Arc::clone(spec), live: OnceLock::from(live), ledger }),
        }
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.name
    }

    /// Its number for metrics.
    pub fn slot(&self) -> u32 {
        self.slot
    }

    /// Its id and its number for metrics.
    pub fn label(&self) -> Label {
        Label { name: Arc::clone(&self.name), slot: self.slot }
    }

    /// The shares of its requests that leave something, where it has some of its own.
    pub fn shares(&self) -> Shares {
        if !self.extras.has(Extras::SHARES) {
            return Shares::default();
        }
        let spec = &self.rest.spec;
        Shares { log: spec.sample.map(Sample::of), traces: spec.trace_sample.map(Sample::of) }
    }

    /// What is answered while it is worked on.
    pub fn maintenance(&self) -> Option<&MaintenanceSpec> {
        self.rest.spec.maintenance.as_deref()
    }

    /// Whether not everybody may come to it.
    pub fn is_guarded(&self) -> bool {
        self.extras.has(Extras::GUARD)
    }

    /// Who may come to it; `None` = everybody.
    pub fn access(&self) -> Option<&AccessSpec> {
        self.rest.spec.access.as_deref()
    }

    /// Pages of its own in place of the gateway's answers.
    pub fn error_pages(&self) -> Option<&ErrorPagesSpec> {
        self.rest.spec.error_pages.as_deref()
    }

    /// Its share of pools that have as many requests as they may.
    pub fn queue(&self) -> &QueueSpec {
        self.rest.spec.queue.as_deref().unwrap_or(&QueueSpec::UNSAID)
    }

    /// Whether its requests may have to wait before they go on: for a limit, or for somebody who is asked.
    pub fn holds_up(&self) -> bool {
        self.extras.has(Extras::LIMITS | Extras::ASKS)
    }

    /// Whether somebody else is asked for each request.
    pub fn asks(&self) -> bool {
        self.extras.has(Extras::ASKS)
    }

    /// Whether it has limits, or one of its routes has.
    pub fn is_limited(&self) -> bool {
        self.extras.has(Extras::LIMITS)
    }

    /// What may be asked of it.
    pub fn limits(&self) -> Option<&LimitsSpec> {
        self.rest.spec.limits.as_deref()
    }

    /// The same, where anything of requests is counted for it.
    pub fn counted_limits(&self) -> Option<&LimitsSpec> {
        self.limits().filter(|_| self.extras.has(Extras::COUNTS))
    }

    /// What is counted for its limits.
    pub fn ledger(&self, shared: &Arc<Shared>) -> &Arc<Ledger> {
        self.rest.ledger.get_or_init(|| Ledger::new(shared, &self.name))
    }

    /// The same, once something was counted.
    pub fn known_ledger(&self) -> Option<&Arc<Ledger>> {
        self.rest.ledger.get()
    }

    /// What it was made from.
    pub(super) fn spec(&self) -> &Arc<TenantSpec> {
        &self.rest.spec
    }

    /// What it has taken of its retries and its memory for replays.
    pub fn allowance(&self) -> &Arc<Allowance> {
        let rest = &self.rest;
        let live = rest.live.get_or_init(|| Arc::new(Allowance::new(rest.spec.replay_memory)));
        // Written once: other workers read this line for each request.
        if !self.has_taken.load(Ordering::Relaxed) {
            self.has_taken.store(true, Ordering::Relaxed);
        }
        live
    }

    /// Whether anything was ever taken of its allowance, so that requests pay into it.
    pub fn has_taken(&self) -> bool {
        self.has_taken.load(Ordering::Relaxed)
    }

    /// A request came for the pool with this slot. Most tenants have never taken anything: theirs
    /// is full, and a request of one of many tenants then has two places less to fetch.
    pub fn deposit(&self, pool: u32, fill: Fill) {
        if self.has_taken.load(Ordering::Relaxed)
            && let Some(allowance) = self.rest.live.get()
        {
            allowance.deposit(pool, fill);
        }
    }

    /// Whether there is anything to find: many tenants have a pool alone.
    pub fn has_routes(&self) -> bool {
        self.routes.is_some()
    }

    /// The route that takes a request: the most specific one of its own and its sets' routes.
    pub fn find(&self, query: &Query<'_>) -> Option<&Arc<Route>> {
        let mut best: Option<&Arc<Route>> = None;
        for set in self.routes.iter().flat_map(|routes| routes.all()) {
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

impl Routes {
    /// Its own first, then those that it uses.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<RouteSet>> {
        self.own.iter().chain(&self.sets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_request_reads_of_a_tenant_is_one_line_of_the_caches() {
        let counts_of_holders = 2 * size_of::<usize>();
        assert_eq!(size_of::<Tenant>() + counts_of_holders, 64);
    }
}
