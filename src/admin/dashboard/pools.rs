//! The pools as the dashboard shows them: those in trouble first.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::control::generation::{Live, LivePool, SourceResult, SourceStatus};
use crate::control::roster::{Known, Page};
use crate::model::drains::{self, Drained};
use crate::model::endpoint::Health;
use crate::model::members::Member;
use crate::telemetry::recent::{Chart, Rates, Sort};
use crate::telemetry::registry::Metrics;

use super::picture::Ask;

/// Pools.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pools {
    /// How many there are.
    pub total: usize,
    /// How many of them were asked for.
    pub matching: usize,
    /// Endpoints of all pools.
    pub endpoints: usize,
    /// Of these, those that may not be picked by their own state, or on trial alone.
    pub ineligible: usize,
    /// The first of those that were asked for.
    pub rows: Vec<Row>,
}

/// One pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Too few are healthy: all are used.
    pub panicking: bool,
    /// How many endpoints it has.
    pub size: usize,
    /// Of these, those that may not be picked by their own state, or on trial alone.
    pub ineligible: usize,
    /// Requests; the latency is the time to the head of an answer.
    #[serde(flatten)]
    pub rates: Rates,
    /// Its history, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub chart: Option<Chart>,
    /// The first endpoints, those that may not be picked before the others.
    pub endpoints: Vec<Endpoint>,
    /// Where they come from.
    pub sources: Vec<Source>,
}

/// An endpoint of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Where it listens.
    pub address: String,
    /// `up`, `unchecked`, `pending`, `down`, `ejected`, `trial` or `drained`.
    pub state: String,
    /// Why it may not be picked.
    pub reason: Option<String>,
    /// Requests in flight.
    pub in_flight: u32,
    /// Requests that failed there in a row.
    pub failures: u32,
    /// The source that named it.
    pub origin: String,
}

/// Where a pool's endpoints come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// As in `dns billing.internal:8080`.
    pub name: String,
    /// Why it failed last; what it named before stays.
    pub error: Option<String>,
    /// Whether it has not answered yet.
    pub waiting: bool,
}

/// How all pools are at one instant.
pub(super) struct Board {
    live: Arc<Live>,
    standings: Vec<Standing>,
}

#[derive(Clone, Copy)]
struct Standing {
    /// The worse, the more: a source that failed, an endpoint that is out, panic.
    trouble: u8,
    size: usize,
    ineligible: usize,
    rates: [u64; 3],
}

impl Board {
    /// Looks at each pool once.
    pub(super) fn new(live: &Arc<Live>, metrics: &Metrics) -> Self {
        let mut standings: Vec<Standing> = live.pools.iter().map(standing).collect();
        metrics.recent(|recent| {
            for (standing, pool) in standings.iter_mut().zip(&live.pools) {
                let key = |sort| recent.pool_key(pool.slot, sort);
                standing.rates = [Sort::Requests, Sort::Errors, Sort::P99].map(key);
            }
        });
        Self { live: Arc::clone(live), standings }
    }

    /// The pools for a watcher: all, or those that the search finds and those of the tenants that
    /// it finds.
    pub(super) fn pools(
        &self,
        metrics: &Metrics,
        ask: &Ask,
        tenants: Option<&Page>,
        tenant: Option<&Known>,
    ) -> Pools {
        let search = ask.tenants.search.to_ascii_lowercase();
        let listed = tenants.iter().flat_map(|page| &page.tenants);
        let mut related: BTreeSet<&str> = BTreeSet::new();
        if let Some(tenant) = tenant {
            related.extend(tenant.pools.iter().map(String::as_str));
        } else if !search.is_empty() {
            related.extend(listed.filter_map(|tenant| tenant.pool.as_deref()));
        }
        let all = self.live.pools.iter().zip(&self.standings);
        let mut found: Vec<(&LivePool, &Standing)> = if search.is_empty() && tenant.is_none() {
            all.collect()
        } else {
            let searched = |pool: &LivePool| {
                related.contains(pool.name.as_ref()) || tenant.is_none() && matches(pool, &search)
            };
            all.filter(|(pool, _)| searched(pool)).collect()
        };
        let order = |(pool, standing): &(&LivePool, &Standing)| {
            let rate = match ask.tenants.sort {
                Sort::Requests => standing.rates[0],
                Sort::Errors => standing.rates[1],
                Sort::P99 => standing.rates[2],
                Sort::Id => 0,
            };
            (Reverse(standing.trouble), Reverse(rate), Arc::clone(&pool.name))
        };
        found.sort_by_cached_key(order);
        let rows = found.iter().take(ROWS);
        Pools {
            total: self.standings.len(),
            matching: found.len(),
            endpoints: self.standings.iter().map(|standing| standing.size).sum(),
            ineligible: self.standings.iter().map(|standing| standing.ineligible).sum(),
            rows: rows.map(|(pool, of)| row(pool, of, metrics, ask.tenants.charts)).collect(),
        }
    }
}

fn standing(pool: &LivePool) -> Standing {
    let set = pool.members.load();
    let eligible = set.all.iter().filter(|member| has_its_share(member)).count();
    let (size, ineligible) = (set.all.len(), set.all.len() - eligible);
    let failed =
        |source: &SourceStatus| matches!(source.last.load().as_ref(), SourceResult::Failed { .. });
    let trouble = match () {
        () if set.eligible.panicking || eligible == 0 => 3,
        () if ineligible > 0 => 2,
        () if pool.sources.iter().any(failed) => 1,
        () => 0,
    };
    Standing { trouble, size, ineligible, rates: [0; 3] }
}

/// Whether a member may be picked by its own state, and not on trial alone.
fn has_its_share(member: &Member) -> bool {
    member.endpoint.is_eligible() && !member.endpoint.is_on_trial()
}

fn matches(pool: &LivePool, search: &str) -> bool {
    let contains = |text: &str| text.to_ascii_lowercase().contains(search);
    contains(&pool.name)
        || pool.sources.iter().any(|source| contains(&source.name))
        || pool.members.load().all.iter().any(|member| contains(&member.endpoint.label))
}

fn row(pool: &LivePool, standing: &Standing, metrics: &Metrics, chart: bool) -> Row {
    let (rates, chart) = metrics
        .recent(|recent| (recent.pool(pool.slot), chart.then(|| recent.pool_chart(pool.slot))));
    let (set, drains) = (pool.members.load(), pool.members.drains().load());
    let mut members: Vec<&Member> = set.all.iter().collect();
    members.sort_by_key(|member| has_its_share(member));
    Row {
        name: pool.name.to_string(),
        panicking: set.eligible.panicking,
        size: standing.size,
        ineligible: standing.ineligible,
        rates,
        chart,
        endpoints: members
            .into_iter()
            .take(ENDPOINTS)
            .map(|member| endpoint(member, &drains))
            .collect(),
        sources: pool.sources.iter().map(source).collect(),
    }
}

fn endpoint(member: &Member, drains: &drains::ByAddress) -> Endpoint {
    let endpoint = &member.endpoint;
    let (state, reason) = judged(member, drains.get(&endpoint.address));
    Endpoint {
        address: endpoint.label.to_string(),
        state: state.to_owned(),
        reason,
        in_flight: endpoint.in_flight(),
        failures: endpoint.failures(),
        origin: member.origin.to_string(),
    }
}

fn judged(member: &Member, drained: Option<&Drained>) -> (&'static str, Option<String>) {
    let endpoint = &member.endpoint;
    if let Some(Drained { reason, .. }) = drained {
        let why = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        return ("drained", Some(format!("an operator keeps it out{why}")));
    }
    if member.draining.is_some() {
        return ("drained", Some(format!("{} says that it is draining", member.origin)));
    }
    let checked = endpoint.reason().map(|reason| reason.to_string());
    match (endpoint.health(), endpoint.ejected_for()) {
        (Health::Down, _) => ("down", checked.or_else(|| Some("its checks fail".to_owned()))),
        (_, Some(left)) => {
            // In whole seconds, the last one begun too: it is read by people.
            let seconds = (left + Duration::from_millis(999)).as_secs();
            ("ejected", Some(format!("its answers failed; tried again in {seconds} s")))
        }
        (Health::Pending, _) => ("pending", Some("not checked yet".to_owned())),
        (Health::Up | Health::Unchecked, _) if endpoint.is_on_trial() => {
            ("trial", Some("back from an ejection; gets one request at a time".to_owned()))
        }
        (Health::Up, _) => ("up", None),
        (Health::Unchecked, _) => ("unchecked", None),
    }
}

fn source(source: &SourceStatus) -> Source {
    let (waiting, error) = match source.last.load().as_ref() {
        SourceResult::Waiting => (true, None),
        SourceResult::Found { .. } => (false, None),
        SourceResult::Failed { error, .. } => (false, Some(error.clone())),
    };
    Source { name: source.name.to_string(), error, waiting }
}

/// 25: a screen or two; the search finds others.
const ROWS: usize = 25;

/// 50 of a pool, those in trouble first; `/api/v1/pools` has all.
const ENDPOINTS: usize = 50;
