//! What one tenant has used, and what is left of its limits and of its shares of pools.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::spec::{
    ConcurrencySpec, LimitsSpec, QueueSpec, RouteSpec, RoutesSpec, TenantSpec,
};
use crate::control::usage::Amounts;
use crate::limits::admission::{Names, OF_ROUTE, OF_TENANT};
use crate::limits::fleet::{Fleet, Whose};
use crate::limits::gcra::Ticks;
use crate::limits::in_use::{self, InUse, Sharing};
use crate::limits::ledger::{Cell, Ledger};
use crate::limits::quota::Quotas;
use crate::model::caller::Proof;
use crate::routing::route::RouteLimits;
use crate::telemetry::usage::{Counts, Hour};

use super::Roster;

/// What one tenant has used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TenantUsage {
    /// The number of the table that its limits are of.
    pub generation: u64,
    /// Its id.
    pub id: String,
    /// In the hour of now (UTC). Where files of it are written, with what was used before a restart.
    pub hour: Span,
    /// In the day of now (UTC), as above.
    pub day: Span,
    /// Since the process began.
    pub since_start: Amounts,
    /// Its limits, and those of the first 64 of its routes that have some; of those for each subject, what
    /// those of its first 64 API keys have used. Those of single clients are not among them.
    pub limits: Vec<LimitInUse>,
    /// The pools with a limit of concurrency that its requests may go to.
    pub pools: Vec<Share>,
}

/// What was used from a time on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Span {
    /// When it began.
    pub began: String,
    /// What was used in it so far.
    #[serde(flatten)]
    pub used: Amounts,
}

/// What is used of one limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LimitInUse {
    /// Its name, as in answers and metrics.
    pub limit: String,
    /// The route that it is of; `None` = it is the tenant's own.
    pub route: Option<String>,
    /// Of `subject` and `route-subject`, whose it is; `None` = whoever shows no credential.
    pub subject: Option<String>,
    /// What it allows, in words.
    pub allows: String,
    /// How many requests it has now.
    pub used: u64,
    /// How many more would pass now.
    pub left: u64,
    /// How many wait for room; of a limit for each subject, of all subjects.
    pub waiting: u64,
    /// Who counts: each `gateway` by itself, or all of them together (`shared`).
    pub scope: String,
    /// Whether it is to be shared, and this gateway holds it alone now.
    pub degraded: bool,
    /// Whether it is shared, and the store has answered late within the last 10 seconds, so that more may come
    /// through at once.
    pub late: bool,
    /// Seconds until it is whole if nobody comes; `None` = when those that are under way have ended.
    pub whole_in_seconds: Option<f64>,
}

/// A tenant's share of a pool that has as many requests as it may.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Share {
    /// The pool.
    pub pool: String,
    /// The tenant's weight beside others of its class.
    pub weight: u32,
    /// Its class, where a route says no other.
    pub class: String,
    /// How many of its requests wait for a turn there now, of all classes.
    pub waiting: usize,
    /// How many of each class may wait at most.
    pub waiting_limit: usize,
    /// Requests that the pool has now, of all tenants.
    pub pool_in_flight: u32,
    /// Requests that it may have.
    pub pool_limit: u32,
    /// Requests that wait there, of all tenants.
    pub pool_waiting: usize,
}

impl Roster {
    /// Tells what is used of these quotas, too, and what gateways share.
    pub fn with_limits(self, quotas: Arc<Quotas>, fleet: Option<Arc<Fleet>>) -> Self {
        Self { quotas, fleet, ..self }
    }

    /// What one tenant has used; `None` where there is none of this id.
    pub fn usage(&self, id: &str) -> Option<TenantUsage> {
        let (live, table) = (self.live.load(), self.table.load());
        let spec = &live.loaded.as_ref()?.spec;
        let (tenant, known) = (spec.tenant(id)?, table.tenant(id)?);
        let (hour, used) = self.metrics.usage(|usage| {
            usage.turn(Hour::now());
            (usage.hour(), usage.of(id).unwrap_or_default())
        });
        let ledger = known.known_ledger().map(AsRef::as_ref);
        Some(TenantUsage {
            generation: table.generation,
            id: id.to_owned(),
            hour: Span::of(hour, &used.hour),
            day: Span::of(hour.midnight(), &used.day),
            since_start: Amounts::from(&used.since_start),
            limits: self.limits(id, (spec, tenant), ledger),
            pools: self.shares(known.slot(), spec, tenant),
        })
    }

    fn limits(
        &self,
        id: &str,
        (spec, tenant): (&RoutesSpec, &TenantSpec),
        ledger: Option<&Ledger>,
    ) -> Vec<LimitInUse> {
        let now = ledger.map_or(Ticks(0), Ledger::now);
        let (mut all, mut of_each, subjects) = (Vec::new(), Vec::new(), subjects(tenant));
        if let Some(limits) = &tenant.limits {
            let cell = ledger.map(|ledger| ledger.own().as_ref());
            let whose = Whose { tenant: id, route: None };
            let of = Held { counted: (ledger, cell), limits, names: OF_TENANT, whose };
            all.extend(self.in_use(&of, now).map(|one| LimitInUse::of(None, one)));
            let each = self.of_subjects(&of, &subjects, now);
            of_each.extend(each.map(|(name, one)| LimitInUse::of_subject(name, None, one)));
        }
        let sets = tenant.route_sets.iter().filter_map(|name| spec.route_sets.get(name));
        let routes = tenant.routes.iter().chain(sets.flat_map(|set| &set.routes));
        let limited = routes.filter_map(|route| Some((route, RouteLimits::of(route)?)));
        for (route, limits) in limited.take(ROUTES) {
            let cell = ledger.and_then(|ledger| ledger.known_route(limits.key));
            let counted = (ledger, cell.map(AsRef::as_ref));
            let whose = Whose { tenant: id, route: Some(limits.key) };
            let of = Held { counted, limits: &limits.spec, names: OF_ROUTE, whose };
            all.extend(self.in_use(&of, now).map(|one| LimitInUse::of(Some(route), one)));
            let each = self.of_subjects(&of, &subjects, now);
            of_each.extend(each.map(|(name, one)| LimitInUse::of_subject(name, Some(route), one)));
        }
        of_each.truncate(OF_SUBJECTS);
        all.extend(of_each);
        all
    }

    /// Of all requests.
    fn in_use(&self, of: &Held<'_>, now: Ticks) -> impl Iterator<Item = InUse> {
        let own = in_use::of(of.counted.1, of.limits, of.names, (now, self.fleet.as_deref()));
        let quota = of.limits.quota.as_ref().map(|quota| {
            let quota = (of.names.quota, quota);
            in_use::of_quota(&self.quotas, of.whose, quota, SystemTime::now())
        });
        own.into_iter().chain(quota)
    }

    /// What each subject has used, of the limits that are for each.
    fn of_subjects<'s>(
        &self,
        of: &Held<'_>,
        subjects: &[Option<&'s str>],
        now: Ticks,
    ) -> impl Iterator<Item = (Option<&'s str>, InUse)> {
        let (ledger, cell) = of.counted;
        let quota = of.limits.subject.as_ref().and_then(|each| each.quota.as_ref());
        let mut all = Vec::new();
        for name in subjects {
            let subject = name.map(|name| (Proof::ApiKey, name));
            let counted = ledger.zip(cell);
            let own = in_use::of_subject(counted, of.limits, of.names, (subject, now));
            all.extend(own.into_iter().map(|one| (*name, one)));
            all.extend(quota.map(|quota| {
                let (whose, quota) = ((of.whose, subject), (of.names.subject_quota, quota));
                let now = SystemTime::now();
                (*name, in_use::of_subject_quota(&self.quotas, whose, quota, now))
            }));
        }
        all.into_iter()
    }

    fn shares(&self, slot: u32, spec: &RoutesSpec, tenant: &TenantSpec) -> Vec<Share> {
        let own = tenant.queue.as_deref().unwrap_or(&QueueSpec::UNSAID);
        let pools = super::pools(spec, tenant);
        let limited = pools.iter().filter_map(|name| {
            let pool = spec.pools.get(name.as_str())?;
            Some((name, pool.concurrency?))
        });
        limited.map(|(name, of_pool)| self.share(slot, own, (name, of_pool))).collect()
    }

    fn share(&self, slot: u32, own: &QueueSpec, (name, pool): (&str, ConcurrencySpec)) -> Share {
        let gate = self.metrics.gate(name);
        let state = gate.as_ref().map(|gate| gate.state());
        Share {
            pool: name.to_owned(),
            weight: own.weight,
            class: own.class(None).as_str().to_owned(),
            waiting: gate.as_ref().map_or(0, |gate| gate.waiting_of(slot)),
            waiting_limit: own.length.unwrap_or(pool.length),
            pool_in_flight: state.map_or(0, |state| state.inside),
            pool_limit: state.and_then(|state| state.limit).unwrap_or(pool.limit),
            pool_waiting: state.map_or(0, |state| state.waiting),
        }
    }
}

impl Span {
    fn of(hour: Hour, counts: &Counts) -> Self {
        let began = humantime::format_rfc3339_seconds(hour.begins()).to_string();
        Self { began, used: Amounts::from(counts) }
    }
}

impl LimitInUse {
    fn of(route: Option<&RouteSpec>, one: InUse) -> Self {
        let milliseconds = |time: Duration| (time.as_secs_f64() * 1e3).round() / 1e3;
        Self {
            limit: one.limit.as_str().to_owned(),
            route: route.map(|route| route.name.to_string()),
            subject: None,
            allows: one.allows,
            used: one.used,
            left: one.left,
            waiting: one.waiting,
            scope: if one.sharing.is_some() { "shared" } else { "gateway" }.to_owned(),
            degraded: one.sharing == Some(Sharing::Alone),
            late: one.sharing == Some(Sharing::Late),
            whole_in_seconds: one.whole_in.map(milliseconds),
        }
    }

    fn of_subject(subject: Option<&str>, route: Option<&RouteSpec>, one: InUse) -> Self {
        Self { subject: subject.map(str::to_owned), ..Self::of(route, one) }
    }
}

/// Whose use of the limits for each subject is told: `None` = of whoever shows no credential, where that
/// is let in.
fn subjects(tenant: &TenantSpec) -> Vec<Option<&str>> {
    let access = tenant.access.as_deref();
    let asks = access.is_some_and(|access| !access.authenticate.is_empty());
    let mut subjects = if asks { Vec::new() } else { vec![None] };
    let most = subjects.len() + KEYS;
    for key in access.iter().flat_map(|access| &access.keys) {
        if subjects.len() == most {
            break;
        }
        if !subjects.contains(&Some(&*key.subject)) {
            subjects.push(Some(&*key.subject));
        }
    }
    subjects
}

/// Limits, and what is counted for them.
struct Held<'h> {
    counted: (Option<&'h Ledger>, Option<&'h Cell>),
    limits: &'h LimitsSpec,
    names: Names,
    whose: Whose<'h>,
}

/// As many hosts are told of a tenant.
const ROUTES: usize = 64;
/// As many.
const KEYS: usize = 64;
/// 256 rows, over all limits: 64 routes with 64 keys each would be 4,096.
const OF_SUBJECTS: usize = 256;
