//! From checked routes to what will run: which pools stay as they are, which keep their endpoints
//! only, which are new. Pure: it starts nothing, and a plan that is dropped leaves no trace.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rustls::ClientConfig;

use crate::config::spec::{CheckTlsSpec, PoolSpec, RoutesSpec};
use crate::model::breakers::Breakers;
use crate::model::drains::Drains;
use crate::model::endpoint::Health;
use crate::model::ids::{Label, PoolId};
use crate::model::members::Members;
use crate::pool::{Pool, PoolError};
use crate::tls::client::{self, SystemRoots};

/// The pools of one generation by name.
pub(super) type Pools = BTreeMap<PoolId, Arc<Pool>>;

/// Why checked routes cannot run.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlanError {
    /// The pool itself.
    #[error("{0}")]
    Pool(#[from] PoolError),
    /// Its TLS.
    #[error("{0}")]
    Tls(#[from] client::ClientTlsError),
    /// The TLS of its checks.
    #[error("{0}")]
    CheckTls(#[source] client::ClientTlsError),
}

impl PlanError {
    /// The key of the pool that it is about.
    pub(super) fn key(&self) -> &'static [&'static str] {
        match self {
            Self::Pool(_) => &["balance"],
            Self::Tls(_) => &["tls"],
            Self::CheckTls(_) => &["health", "tls"],
        }
    }

    /// What to do about it.
    pub(super) fn hint(&self) -> &'static str {
        match self {
            // The check has found all that are unknown.
            Self::Pool(_) => "this is a bug, please report it",
            Self::Tls(error) | Self::CheckTls(error) => error.hint(),
        }
    }
}

/// Gives out the numbers of pools; none is used for two things in a process.
///
/// A name keeps its number for good, as long as the process lives, though its pool be gone. A number
/// that were given to another pool would count for both while a request that began before is under
/// way: workers count, and tenants keep their retry budgets, by number.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers {
    slots: HashMap<PoolId, u32>,
    /// Belongs to the name, too: a pool that is reached in another way has other members.
    drains: HashMap<PoolId, Arc<Drains>>,
    /// As the breakers that tenants have there: they outlive a pool that goes and comes back.
    breakers: HashMap<PoolId, Arc<Breakers>>,
    members: u32,
    transports: u64,
}

/// Plans the pools of `spec` beside those that run. Each fault names its pool.
pub(super) fn pools(
    spec: &RoutesSpec,
    running: &Pools,
    numbers: &mut Numbers,
) -> Result<Pools, Vec<(PoolId, PlanError)>> {
    let mut planned = Pools::new();
    let mut faults = Vec::new();
    let system = SystemRoots::default();
    for (id, spec) in &spec.pools {
        match plan(id, spec, running.get(id), (numbers, &system)) {
            Ok(pool) => drop(planned.insert(id.clone(), pool)),
            Err(fault) => faults.push((id.clone(), fault)),
        }
    }
    if faults.is_empty() { Ok(planned) } else { Err(faults) }
}

fn plan(
    id: &PoolId,
    spec: &Arc<PoolSpec>,
    running: Option<&Arc<Pool>>,
    (numbers, system): (&mut Numbers, &SystemRoots),
) -> Result<Arc<Pool>, PlanError> {
    if let Some(same) = running.filter(|running| running.spec == *spec) {
        return Ok(Arc::clone(same));
    }
    let label = Label { name: Arc::clone(&id.0), slot: numbers.slot(id) };
    let spec = Arc::clone(spec);
    let before = running;
    let running = running.filter(|running| reaches_as(running, &spec));
    let breakers = spec.breaker.map(|_| numbers.breakers(id));
    let mut pool = match running.filter(|running| running.spec.tls == spec.tls) {
        Some(before) => {
            let members = Arc::clone(&before.members);
            Pool::build(label, spec, members, before.transport, before.tls.clone())?
        }
        None => {
            let tls = spec
                .tls
                .as_ref()
                .map(|tls| client::build(tls, spec.protocol, system))
                .transpose()?;
            // Other files alone say nothing of the endpoints, but no connection of before is used.
            let members = running.map(|before| Arc::clone(&before.members));
            let members = members.unwrap_or_else(|| Arc::new(numbers.members(id, &spec)));
            Pool::build(label, spec, members, numbers.transport(), tls)?
        }
    };
    let check_tls = check_tls(&pool, system)?;
    pool = pool.checked_by(check_tls);
    pool.breakers = breakers;
    // What the endpoints can bear is the same, however they are reached.
    Ok(Arc::new(match before {
        Some(before) => pool.following(before),
        None => pool,
    }))
}

/// What the checks of a pool open TLS connections with, where they do.
fn check_tls(pool: &Pool, system: &SystemRoots) -> Result<Option<Arc<ClientConfig>>, PlanError> {
    let Some(health) = &pool.spec.health else { return Ok(None) };
    let protocol = health.probe.protocol(pool.spec.protocol);
    let base = match &health.tls {
        CheckTlsSpec::None => None,
        CheckTlsSpec::Pools => pool.tls.clone(),
        CheckTlsSpec::Own(own) => {
            Some(client::build(own, protocol, system).map_err(PlanError::CheckTls)?)
        }
    };
    Ok(base.map(|base| client::for_checks(&base, protocol)))
}

/// Has the gates of pools that are live now let in as many as these say. Where nothing limits a pool
/// any more, or it has a limit of its own in place of the bound that it had while it was overrun, those who wait for that go on.
pub(super) fn set_limits<'p>(before: impl IntoIterator<Item = &'p Arc<Pool>>, pools: &Pools) {
    for pool in pools.values() {
        pool.set_limit();
    }
    for old in before {
        let next = pools.get(old.label.name.as_ref());
        if let Some(overrun) = &old.overrun
            && next.is_none_or(|next| next.overrun.is_none())
        {
            overrun.free();
        }
        let Some(gate) = &old.gate else { continue };
        if next.is_some_and(|next| next.gate.is_none()) {
            gate.open();
        }
    }
}

/// Whether endpoints are reached in the same way, so that what is known of them may be kept: what
/// one was found to be in one protocol, or under one name, says nothing of it in another.
fn reaches_as(running: &Pool, spec: &PoolSpec) -> bool {
    let name = |spec: &PoolSpec| spec.tls.as_ref().map(|tls| tls.server_name.clone());
    running.spec.protocol == spec.protocol
        && running.spec.proxy_protocol == spec.proxy_protocol
        && name(&running.spec) == name(spec)
}

/// The health that a new member starts with.
pub(super) fn newcomer(spec: &PoolSpec) -> Health {
    if spec.health.is_some() { Health::Pending } else { Health::Unchecked }
}

impl Numbers {
    fn slot(&mut self, id: &PoolId) -> u32 {
        let next = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        *self.slots.entry(id.clone()).or_insert(next)
    }

    fn members(&mut self, id: &PoolId, spec: &PoolSpec) -> Members {
        self.members = self.members.wrapping_add(1);
        let drains = Arc::clone(self.drains.entry(id.clone()).or_default());
        Members::new(self.members, newcomer(spec), spec.panic_below.share()).with_drains(drains)
    }

    fn breakers(&mut self, id: &PoolId) -> Arc<Breakers> {
        Arc::clone(self.breakers.entry(id.clone()).or_default())
    }

    fn transport(&mut self) -> u64 {
        self.transports += 1;
        self.transports
    }
}
