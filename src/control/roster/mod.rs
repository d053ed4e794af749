//! The tenants that are live, for people: searched, ordered by what they do, a page at a time.

mod index;
mod usage;

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::snapshot::Snapshot;
use crate::config::spec::{RouteSpec, RoutesSpec, TenantSpec, TenantState};
use crate::limits::fleet::Fleet;
use crate::limits::quota::Quotas;
use crate::model::ids::PoolId;
use crate::routing::table::Table;
use crate::telemetry::recent::{Chart, Rates, Sort};
use crate::telemetry::registry::Metrics;

use super::generation::Live;
use index::{Hosts, Index};

pub use usage::{LimitInUse, Share, Span, TenantUsage};

/// Which tenants are wanted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// A part of their id or of a host, in any case; empty = all.
    pub search: String,
    /// Only those in this state.
    pub state: Option<State>,
    /// Their order.
    pub sort: Sort,
    /// How many at most.
    pub limit: usize,
    /// The id after which the page begins, in the order of now.
    pub after: Option<String>,
    /// Whether with their histories.
    pub charts: bool,
}

/// Whether a tenant is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Served.
    Active,
    /// Worked on.
    Maintenance,
    /// Refused.
    Suspended,
    /// Not served: the file that defines it is broken, and never was good.
    Quarantined,
}

/// A page of tenants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Page {
    /// The number of the table that they are of.
    pub generation: u64,
    /// How many tenants there are.
    pub total: usize,
    /// How many of them were asked for.
    pub matching: usize,
    /// Over how many seconds their rates are.
    pub rates_over_seconds: f64,
    /// Those of this page.
    pub tenants: Vec<Listed>,
    /// What to ask for in `after` for the next page; `None` = this is the last one.
    pub next: Option<String>,
}

/// One tenant of a page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Listed {
    /// Its id.
    pub id: String,
    /// The plan that says what it does not say itself.
    pub plan: Option<String>,
    /// Whether it is served.
    pub state: State,
    /// The file that defines it, where that is broken: it is served as it was, or not at all.
    pub quarantined_by: Option<String>,
    /// Where its requests go that no route takes.
    pub pool: Option<String>,
    /// The first hosts that it is reached by.
    pub hosts: Vec<String>,
    /// What it does.
    #[serde(flatten)]
    pub rates: Rates,
    /// Its history, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub chart: Option<Chart>,
}

/// All that is known of one tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Known {
    /// The number of the table that it is of.
    pub generation: u64,
    /// Its id.
    pub id: String,
    /// The plan that says what it does not say itself.
    pub plan: Option<String>,
    /// Whether it is served.
    pub state: State,
    /// The file that defines it, where that is broken: it is served as it was, or not at all.
    pub quarantined_by: Option<String>,
    /// Seconds after which clients may come again, while it is worked on.
    pub retry_after_seconds: Option<u64>,
    /// Where its requests go that no route takes.
    pub pool: Option<String>,
    /// Every pool that its requests may go to.
    pub pools: BTreeSet<String>,
    /// The hosts that it is reached by; the first 64.
    pub hosts: BTreeSet<String>,
    /// How many routes it has of its own.
    pub routes: usize,
    /// The route sets that it uses.
    pub route_sets: Vec<String>,
    /// Whether it or its plan has error pages.
    pub error_pages: bool,
    /// The share of its requests that leave a line in the access log, where it has one of its own.
    pub sample: Option<String>,
    /// The memory that copies of its request bodies may take.
    pub replay_memory_bytes: u64,
    /// Over how many seconds its rates are.
    pub rates_over_seconds: f64,
    /// What it does.
    #[serde(flatten)]
    pub rates: Rates,
    /// Its history, as far as it was kept.
    pub chart: Chart,
    /// What it did since the start; `None` where it was nothing.
    pub since_start: Option<SinceStart>,
}

/// What a tenant did since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SinceStart {
    /// Requests that ended.
    pub requests: u64,
    /// Of these, answered 5xx.
    pub errors: u64,
}

/// Lists the tenants that are live. Its work grows with their number: call it where a thread may be
/// busy for some milliseconds.
#[derive(Clone, Debug)]
pub struct Roster {
    table: Snapshot<Table>,
    live: Snapshot<Live>,
    metrics: Arc<Metrics>,
    /// What is used of quotas; none where nobody has told.
    quotas: Arc<Quotas>,
    /// What gateways share, where they do.
    fleet: Option<Arc<Fleet>>,
    /// Made when somebody asks for the first time in a generation.
    index: Arc<Mutex<Option<Arc<Index>>>>,
}

impl Roster {
    /// Lists the tenants of this table, with what was counted of them.
    pub fn new(table: Snapshot<Table>, live: Snapshot<Live>, metrics: Arc<Metrics>) -> Self {
        let (quotas, index) = (Arc::default(), Arc::default());
        Self { table, live, metrics, quotas, fleet: None, index }
    }

    /// A page of tenants; `None` while nothing is live.
    pub fn page(&self, wanted: &Wanted) -> Option<Page> {
        let (index, spec) = self.current()?;
        let mut places = index.search(&wanted.search);
        if let Some(state) = wanted.state {
            let is_so = |place: &usize| {
                index.rows.get(*place).is_some_and(|row| State::from(row.state) == state)
            };
            places.retain(is_so);
        }
        let matching = places.len();
        let (places, more) = self.rank(&index, places, wanted);
        let hosts = Hosts::new(&spec);
        let listed = |place: usize| self.listed(&index, place, &spec, &hosts, wanted.charts);
        let tenants: Vec<Listed> = places.into_iter().filter_map(listed).collect();
        let next = tenants.last().filter(|_| more).map(|last| last.id.clone());
        Some(Page {
            generation: index.generation,
            total: index.rows.len(),
            matching,
            rates_over_seconds: self.metrics.recent(|recent| tenths(recent.span().as_secs_f64())),
            tenants,
            next,
        })
    }

    /// All that is known of one tenant; `None` where there is none of this id.
    pub fn find(&self, id: &str) -> Option<Known> {
        let (index, spec) = self.current()?;
        let row = *index.rows.get(index.place(id).ok()?)?;
        let tenant = spec.tenant(id)?;
        let (span, rates, chart) = self.metrics.recent(|recent| {
            (recent.span(), recent.tenant(row.slot), recent.tenant_chart(row.slot))
        });
        let maintenance = tenant.maintenance.as_ref();
        Some(Known {
            generation: index.generation,
            id: id.to_owned(),
            plan: tenant.plan.as_ref().map(ToString::to_string),
            state: row.state.into(),
            quarantined_by: self.quarantined_by(id),
            retry_after_seconds: maintenance.map(|how| how.retry_after.as_secs()),
            pool: tenant.pool.as_ref().map(ToString::to_string),
            pools: pools(&spec, tenant),
            hosts: Hosts::new(&spec).of(id, tenant),
            routes: tenant.routes.len(),
            route_sets: tenant.route_sets.iter().map(ToString::to_string).collect(),
            error_pages: tenant.error_pages.is_some(),
            sample: tenant.sample.map(|share| share.to_string()),
            replay_memory_bytes: tenant.replay_memory.0,
            rates_over_seconds: tenths(span.as_secs_f64()),
            rates,
            chart,
            since_start: self
                .metrics
                .since_start(id)
                .map(|(requests, errors)| SinceStart { requests, errors }),
        })
    }

    /// The index of what is live, and what that was made from.
    fn current(&self) -> Option<(Arc<Index>, Arc<RoutesSpec>)> {
        // Held while it is made, so that many who ask at once make one.
        let mut known = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let (table, live) = (self.table.load(), self.live.load());
        let spec = Arc::clone(&live.loaded.as_ref()?.spec);
        if let Some(index) = known.as_ref().filter(|index| index.generation == table.generation) {
            return Some((Arc::clone(index), spec));
        }
        let index = Arc::new(Index::new(&spec, &table));
        // Between two publications the table is newer than the files: true enough to answer, and
        // not worth keeping.
        if table.generation == live.generation {
            *known = Some(Arc::clone(&index));
        }
        Some((index, spec))
    }

    /// Those of `places` that the page shows, in their order, and whether there are more.
    fn rank(&self, index: &Index, places: Vec<usize>, wanted: &Wanted) -> (Vec<usize>, bool) {
        let after = wanted.after.as_deref();
        if wanted.sort == Sort::Id {
            let first = after.map_or(0, |id| index.place(id).map_or_else(|at| at, |at| at + 1));
            let mut rest = places.into_iter().filter(|place| *place >= first);
            let page = rest.by_ref().take(wanted.limit).collect();
            return (page, rest.next().is_some());
        }
        let mut keys: Vec<(Reverse<u64>, usize)> = self.metrics.recent(|recent| {
            let key = |place: usize| {
                index.rows.get(place).map_or(0, |row| recent.tenant_key(row.slot, wanted.sort))
            };
            let last = after.and_then(|id| index.place(id).ok());
            let last = last.map(|place| (Reverse(key(place)), place));
            let keys = places.into_iter().map(|place| (Reverse(key(place)), place));
            keys.filter(|key| last.is_none_or(|last| *key > last)).collect()
        });
        let more = keys.len() > wanted.limit;
        if more && wanted.limit > 0 {
            keys.select_nth_unstable(wanted.limit - 1);
        }
        keys.truncate(wanted.limit);
        keys.sort_unstable();
        (keys.into_iter().map(|(_, place)| place).collect(), more)
    }

    fn quarantined_by(&self, id: &str) -> Option<String> {
        self.live.load().quarantined_by(id).map(|file| file.display().to_string())
    }

    fn listed(
        &self,
        index: &Index,
        place: usize,
        spec: &RoutesSpec,
        hosts: &Hosts<'_>,
        charts: bool,
    ) -> Option<Listed> {
        let (row, id) = (*index.rows.get(place)?, index.id(place));
        let tenant = spec.tenant(id)?;
        let (rates, chart) = self.metrics.recent(|recent| {
            (recent.tenant(row.slot), charts.then(|| recent.tenant_chart(row.slot)))
        });
        Some(Listed {
            id: id.to_owned(),
            plan: tenant.plan.as_ref().map(ToString::to_string),
            state: row.state.into(),
            quarantined_by: self.quarantined_by(id),
            pool: tenant.pool.as_ref().map(ToString::to_string),
            hosts: hosts.of(id, tenant).into_iter().take(HOSTS_SHOWN).collect(),
            rates,
            chart,
        })
    }
}

impl From<TenantState> for State {
    fn from(state: TenantState) -> Self {
        match state {
            TenantState::Active => Self::Active,
            TenantState::Maintenance => Self::Maintenance,
            TenantState::Suspended => Self::Suspended,
            TenantState::Quarantined => Self::Quarantined,
        }
    }
}

/// Every pool that a tenant's requests may go to.
fn pools(spec: &RoutesSpec, tenant: &TenantSpec) -> BTreeSet<String> {
    let sets = tenant.route_sets.iter().filter_map(|name| spec.route_sets.get(name));
    let routes = tenant.routes.iter().chain(sets.flat_map(|set| &set.routes));
    let of_routes = routes.flat_map(RouteSpec::pools);
    let own = tenant.pool.iter();
    own.chain(of_routes).map(|id: &PoolId| id.to_string()).collect()
}

fn tenths(seconds: f64) -> f64 {
    (seconds * 10.0).round() / 10.0
}

/// Three: more are for the view of one tenant.
const HOSTS_SHOWN: usize = 3;

#[cfg(test)]
mod tests;
