//! From the pools that run to those that are planned: starts what is new, changes what differs,
//! retires what is gone, and leaves all else alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

use crate::base::tasks::Tasks;
use crate::config::spec::{CheckTlsSpec, HealthSpec, PoolSpec};
use crate::discovery::Means;
use crate::health::active::{self, Check};
use crate::health::probe::{self, ProbeTls, Way};
use crate::model::downs::Downs;
use crate::model::endpoint::Health;
use crate::model::ids::PoolId;
use crate::model::members::Found;
use crate::model::rules::{OwnZone, Rules};
use crate::model::warmth::SlowStart;
use crate::pool::Pool;
use crate::telemetry::registry::{Metrics, NamedBreakers, NamedGate, NamedOverrun, NamedPool};

use super::feed::{Feed, Home};
use super::generation::LivePool;
use super::plan::Pools;

/// The pools that run, with the tasks that keep each one up to date.
#[derive(Debug)]
pub(super) struct Running {
    pools: BTreeMap<PoolId, RunningPool>,
    /// Pools whose successors run already while the live table still names them.
    outgoing: Vec<RunningPool>,
    means: Means,
    shared: Shared,
}

/// What all pools share.
#[derive(Debug)]
struct Shared {
    /// Bounds the probes of all pools together.
    probe_slots: Arc<Semaphore>,
    metrics: Arc<Metrics>,
    downs: Arc<Downs>,
    /// That the gateway stands in.
    zone: Option<Arc<str>>,
}

/// One pool. Dropping it ends its tasks; requests in flight hold the pool itself.
#[derive(Debug)]
struct RunningPool {
    pool: Arc<Pool>,
    feed: Feed,
    /// `None` where no health is configured.
    checks: Option<Tasks>,
}

impl Running {
    /// Nothing runs yet.
    pub(super) fn new(means: Means, metrics: Arc<Metrics>, zone: Option<Arc<str>>) -> Self {
        let shared = Shared { probe_slots: active::slots(), metrics, downs: Arc::default(), zone };
        Self { pools: BTreeMap::new(), outgoing: Vec::new(), means, shared }
    }

    /// How often an endpoint of theirs was found down.
    pub(super) fn downs(&self) -> Arc<Downs> {
        Arc::clone(&self.shared.downs)
    }

    /// The pools that run, by name.
    pub(super) fn pools(&self) -> Pools {
        self.pools.iter().map(|(id, running)| (id.clone(), Arc::clone(&running.pool))).collect()
    }

    /// Starts what `planned` has anew and changes what differs, so that the table that names these
    /// pools can be published. What the live table names keeps running until [`Self::retire`].
    /// Gives up waiting for the new pools' first endpoints and checks after `patience`.
    pub(super) async fn adopt(&mut self, planned: &Pools, patience: Duration) {
        let mut fresh = Vec::new();
        for (id, pool) in planned {
            match self.pools.get_mut(id) {
                Some(running) if Arc::ptr_eq(&running.pool, pool) => {}
                Some(running) if Arc::ptr_eq(&running.pool.members, &pool.members) => {
                    running.change(Arc::clone(pool), &self.shared).await;
                }
                _ => {
                    let before = self.pools.get(id).map_or_else(Vec::new, RunningPool::found);
                    let new = self.start(Arc::clone(pool), &before);
                    self.outgoing.extend(self.pools.insert(id.clone(), new));
                    fresh.push(id);
                }
            }
        }
        let fresh: Vec<&RunningPool> = fresh.iter().filter_map(|id| self.pools.get(*id)).collect();
        settle(&fresh, patience).await;
    }

    /// Ends what `planned` no longer names, once its table is live.
    pub(super) fn retire(&mut self, planned: &Pools) {
        self.outgoing.clear();
        self.pools.retain(|id, _| {
            let stays = planned.contains_key(id);
            if !stays {
                tracing::info!(pool = %id, "the pool is gone");
            }
            stays
        });
    }

    /// The pools that run, in no special order.
    pub(super) fn list(&self) -> Vec<Arc<Pool>> {
        self.pools.values().map(|running| Arc::clone(&running.pool)).collect()
    }

    /// What is live, for people.
    pub(super) fn live(&self) -> Vec<LivePool> {
        let live = |(id, running): (&PoolId, &RunningPool)| LivePool {
            name: Arc::clone(&id.0),
            slot: running.pool.label.slot,
            members: Arc::clone(&running.pool.members),
            gate: running.pool.gate.clone(),
            overrun: running.pool.overrun.clone(),
            adaptive: running.pool.adaptive(),
            breakers: running.pool.breakers.clone(),
            has_own_breaker: has_own_breaker(&running.pool),
            shard: running.pool.spec.spread.shard,
            sources: running.feed.statuses(),
        };
        self.pools.iter().map(live).collect()
    }

    /// Has pools that are live since just now keep out who was drained while they were made.
    pub(super) fn renew_drains(&self) {
        for RunningPool { pool, .. } in self.pools.values() {
            if !pool.members.drains().load().is_empty() {
                pool.members.refresh();
            }
        }
    }

    /// Names and members, for the gauges.
    pub(super) fn named(&self) -> Vec<NamedPool> {
        let named = |(id, running): (&PoolId, &RunningPool)| {
            (Arc::clone(&id.0), Arc::clone(&running.pool.members))
        };
        self.pools.iter().map(named).collect()
    }

    /// Names and gates of pools that have one, for the gauges.
    pub(super) fn gates(&self) -> Vec<NamedGate> {
        let gate = |(id, running): (&PoolId, &RunningPool)| {
            let gate = Arc::clone(running.pool.gate.as_ref()?);
            Some((Arc::clone(&id.0), gate, running.pool.answer_times.clone()))
        };
        self.pools.iter().filter_map(gate).collect()
    }

    /// Names and bounds of pools that are bounded while they are overrun, for the gauges.
    pub(super) fn overruns(&self) -> Vec<NamedOverrun> {
        let overrun = |(id, running): (&PoolId, &RunningPool)| {
            Some((Arc::clone(&id.0), Arc::clone(running.pool.overrun.as_ref()?)))
        };
        self.pools.iter().filter_map(overrun).collect()
    }

    /// Names and breakers of pools that have them, for the gauges.
    pub(super) fn breakers(&self) -> Vec<NamedBreakers> {
        let breakers = |(id, running): (&PoolId, &RunningPool)| {
            let breakers = Arc::clone(running.pool.breakers.as_ref()?);
            let has_whole = has_own_breaker(&running.pool);
            Some(NamedBreakers { pool: Arc::clone(&id.0), breakers, has_whole })
        };
        self.pools.iter().filter_map(breakers).collect()
    }

    fn start(&self, pool: Arc<Pool>, before: &[Found]) -> RunningPool {
        let home = Home {
            pool: Arc::clone(&pool.label.name),
            members: Arc::clone(&pool.members),
            means: self.means.clone(),
            metrics: Arc::clone(&self.shared.metrics),
        };
        pool.members.set_rules(rules(&pool.spec, self.shared.zone.as_ref()));
        let feed = Feed::start(home, &pool.spec.sources, before);
        RunningPool { checks: check(&pool, &self.shared), feed, pool }
    }
}

impl RunningPool {
    /// Takes `pool` in place of the one of the same members.
    async fn change(&mut self, pool: Arc<Pool>, shared: &Shared) {
        let before = std::mem::replace(&mut self.pool, pool);
        let (old, new) = (&before.spec, &self.pool.spec);
        let members = &self.pool.members;
        members.set_rules(rules(new, shared.zone.as_ref()));
        // Checks hold the pool's certificates.
        if old.health != new.health || old.tls != new.tls {
            if let Some(checks) = self.checks.take() {
                checks.stop(STOP_LIMIT).await;
            }
            self.checks = check(&self.pool, shared);
            if self.checks.is_none() {
                // Nobody would ever bring up again what the last checks found down.
                active::forget(members);
            }
        }
        members.refresh();
        if old.sources != new.sources {
            self.feed.change(&new.sources);
        }
    }

    /// Its present members, as its sources named them.
    fn found(&self) -> Vec<Found> {
        let members = self.pool.members.load();
        let found = members.all.iter().map(|member| Found {
            address: member.endpoint.address.clone(),
            weight: member.weight,
            priority: member.priority,
            origin: Arc::clone(&member.origin),
            zone: member.zone.clone(),
            draining: member.draining.is_some(),
        });
        found.collect()
    }

    /// Whether anybody serves it.
    fn has_members(&self) -> bool {
        !self.pool.members.load().all.is_empty()
    }

    /// Whether its sources have spoken and its members have been checked once.
    fn is_settled(&self) -> bool {
        let waits = |health| health == Health::Pending;
        self.feed.is_settled()
            && !self.pool.members.load().all.iter().any(|member| waits(member.endpoint.health()))
    }
}

fn has_own_breaker(pool: &Pool) -> bool {
    pool.spec.breaker.is_some_and(|breaker| breaker.whole_pool)
}

/// By what rules the traffic of a pool is divided, where the gateway stands in this zone.
fn rules(spec: &PoolSpec, zone: Option<&Arc<str>>) -> Rules {
    let slow_start = spec.spread.slow_start.map(|slow| SlowStart {
        window: slow.window,
        aggression: slow.aggression,
        min: slow.min.share(),
    });
    let zone = zone.zip(spec.spread.zones).map(|(name, zones)| OwnZone {
        name: Arc::clone(name),
        min_endpoints: zones.min_endpoints,
        spill_above: zones.spill_above,
    });
    Rules {
        panic_share: spec.panic_below.share(),
        overprovisioning: (spec.spread.overprovisioning * 100.0).round() as u32,
        slow_start,
        zone,
        turns: spec.wait.map(|wait| wait.at_once),
    }
}

/// Starts the active checks of a pool that has any.
fn check(pool: &Pool, shared: &Shared) -> Option<Tasks> {
    let spec = Arc::new(pool.spec.health.clone()?);
    let check = Check {
        pool: PoolId(Arc::clone(&pool.label.name)),
        members: Arc::clone(&pool.members),
        probe: probe::build(&spec.probe, way(pool, &spec)),
        spec,
        slots: Arc::clone(&shared.probe_slots),
        metrics: Arc::clone(&shared.metrics),
        downs: Arc::clone(&shared.downs),
    };
    let mut tasks = Tasks::new("health");
    tasks.spawn_again(move |stop| active::run(check.clone(), stop));
    Some(tasks)
}

/// How the endpoints of a pool are reached for a check.
fn way(pool: &Pool, check: &HealthSpec) -> Way {
    let tls = match &check.tls {
        CheckTlsSpec::None => None,
        CheckTlsSpec::Pools => pool.spec.tls.as_ref(),
        CheckTlsSpec::Own(own) => Some(&**own),
    };
    let tls = tls.zip(pool.check_tls.as_ref()).map(|(spec, config)| ProbeTls {
        config: Arc::clone(config),
        name: spec.server_name.clone(),
    });
    // Who listens at another port need not be who reads the header.
    let proxy = pool.spec.proxy_protocol.filter(|_| check.port.is_none());
    Way { port: check.port, tls, proxy }
}

/// Waits for the sources and checks of new pools: `patience` for all of it, longer for a pool that
/// nobody serves yet, since requests that another pool answers now would fail at it.
async fn settle(pools: &[&RunningPool], patience: Duration) {
    let started = Instant::now();
    until(patience, || pools.iter().all(|running| running.is_settled())).await;
    let serves = |running: &RunningPool| running.is_settled() || running.has_members();
    until(LONGEST_WAIT, || pools.iter().all(|running| serves(running))).await;
    for running in pools.iter().filter(|running| !running.is_settled()) {
        tracing::warn!(pool = %running.pool.label.name, waited = ?started.elapsed(),
            "the pool goes live before its sources and checks have answered");
    }
}

/// Waits until something holds, at most `limit`.
async fn until(limit: Duration, holds: impl Fn() -> bool) {
    let held = async {
        while !holds() {
            sleep(GLANCE).await;
        }
    };
    // What still does not hold is told by who asks.
    timeout(limit, held).await.ok();
}

/// 5 s: two name servers that time out and a third that answers. A source that says that it failed
/// ends the wait at once.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// 5 ms: short beside the time that a look-up or a check takes, and only while a pool is new.
const GLANCE: Duration = Duration::from_millis(5);

/// 2 s: a check hears the word at once, and waits a second for its probes.
const STOP_LIMIT: Duration = Duration::from_secs(2);
