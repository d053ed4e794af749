//! A pool: which endpoint takes the next attempt, and how many requests each has in flight.
//! Nothing here waits, locks or allocates on the way of a request.

pub mod balancer;
mod cookies;
mod derived;
mod hash;
mod in_flight;
pub mod keys;
mod on_trial;
mod shards;
pub mod standing;
pub mod steering;
pub mod sticky;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use arc_swap::Guard;

use crate::base::fair::Gate;
use crate::config::spec::{AdaptiveSpec, ConcurrencySpec, PoolSpec};
use crate::model::answer_times::AnswerTimes;
use crate::model::breakers::Breakers;
use crate::model::endpoint::{Endpoint, Health};
use crate::model::ids::{EndpointId, Label};
use crate::model::members::{Eligible, MemberSet, Members};
use crate::model::overrun::Overrun;

use balancer::{Balancer, PickKey};
pub use in_flight::InFlight;
use shards::{Shard, Shards};
use steering::Steering;

/// A named set of endpoints and how one of them is picked. It lives on across generations of the
/// table as long as its spec is the same.
pub struct Pool {
    /// Its name and its number for metrics.
    pub label: Label,
    /// What the routes file says of it.
    pub spec: Arc<PoolSpec>,
    /// Its endpoints.
    pub members: Arc<Members>,
    /// Identity of protocol and TLS: connections are shared only where it is equal.
    pub transport: u64,
    /// With it, TLS is spoken to the endpoints.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// With it, checks speak TLS to the endpoints.
    pub check_tls: Option<Arc<rustls::ClientConfig>>,
    /// Lets in so many requests at once; `None` = any number.
    pub gate: Option<Arc<Gate>>,
    /// What bounds it while it is overrun, where it has no gate; `None` = nothing does.
    pub overrun: Option<Arc<Overrun>>,
    /// How long its requests take, where its gate's limit follows that.
    pub answer_times: Option<Arc<AnswerTimes>>,
    /// What decides besides the endpoints; `None` = nothing.
    pub steering: Option<Box<Steering>>,
    /// Copies of requests that it has under way, over all workers. Who sends them counts.
    pub copies: Arc<AtomicU32>,
    /// How its tenants' breakers stand; `None` = each request is tried.
    pub breakers: Option<Arc<Breakers>>,
    /// Whether somebody asks how long attempts take.
    pub attended: bool,
    balancer: Arc<dyn Balancer>,
    /// Its balancer asks how long endpoints take.
    has_timed_balancer: bool,
    is_timed: bool,
    goes_round_late: bool,
    /// With it, each tenant has a few of the endpoints.
    shards: Option<Box<Shards>>,
}

/// Why a pool cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// No balancer has this name.
    #[error("no balancer {name:?} (known: {})", balancer::names().join(", "))]
    UnknownBalancer {
        /// The name that was asked for.
        name: String,
    },
}

impl Pool {
    /// Builds a pool with the balancer that `spec` names.
    ///
    /// # Errors
    /// When no balancer has that name.
    pub fn build(
        label: Label,
        spec: Arc<PoolSpec>,
        members: Arc<Members>,
        transport: u64,
        tls: Option<Arc<rustls::ClientConfig>>,
    ) -> Result<Self, PoolError> {
        let balancer = balancer::build(&spec.balance)
            .ok_or_else(|| PoolError::UnknownBalancer { name: spec.balance.clone() })?;
        let gate = spec.concurrency.map(|concurrency| Arc::new(Gate::new(concurrency.limit)));
        let bounded = gate.is_none() && spec.overrun.is_some();
        let steering = Steering::of(&label.name, &spec);
        let adaptive = spec.concurrency.and_then(|concurrency| concurrency.adaptive);
        let has_timed_balancer = balancer.is_timed();
        let breakers = spec.breaker.is_some().then(Arc::default);
        let attended = spec.eject.latency.is_some();
        let shards = spec.spread.shard.map(|size| Box::new(Shards::new(size)));
        // Where clients or tenants have endpoints of their own, who is slow there may be they.
        let is_free = shards.is_none() && !steering.as_ref().is_some_and(|own| own.is_sticky());
        Ok(Self {
            label,
            spec,
            members,
            transport,
            tls,
            check_tls: None,
            gate,
            overrun: bounded.then(Arc::default),
            answer_times: adaptive.map(|_| Arc::default()),
            steering,
            copies: Arc::default(),
            breakers,
            attended,
            goes_round_late: is_free && balancer.goes_round_late(),
            balancer,
            has_timed_balancer,
            is_timed: has_timed_balancer || adaptive.is_some(),
            shards,
        })
    }

    /// Has checks speak TLS, or not.
    #[must_use]
    pub fn checked_by(self, check_tls: Option<Arc<rustls::ClientConfig>>) -> Self {
        Self { check_tls, ..self }
    }

    /// Whether attempts are timed: for its balancer, or for its gate's limit.
    pub fn is_timed(&self) -> bool {
        self.is_timed
    }

    /// Whether its balancer asks how long endpoints take ([`Endpoint::learn`]).
    pub fn has_timed_balancer(&self) -> bool {
        self.has_timed_balancer
    }

    /// Whether its balancer goes round endpoints that are late time after time ([`Endpoint::is_late`]), so that somebody has to
    /// say which are.
    #[inline]
    pub fn goes_round_late(&self) -> bool {
        self.goes_round_late
    }

    /// Takes over the gate of the pool that it follows, and its copies: who is in there counts here, and who
    /// waits keeps its place. The gate's limit becomes this pool's by [`Pool::set_limit`]. So does the balancer,
    /// where it is of the same kind and for the same members: what that has worked out is good here.
    #[must_use]
    pub fn following(mut self, before: &Self) -> Self {
        if let (Some(gate), Some(known)) = (&mut self.gate, &before.gate) {
            *gate = Arc::clone(known);
        }
        if let (Some(overrun), Some(known)) = (&mut self.overrun, &before.overrun) {
            *overrun = Arc::clone(known);
        }
        if let (Some(times), Some(known)) = (&mut self.answer_times, &before.answer_times) {
            *times = Arc::clone(known);
        }
        if self.spec.balance == before.spec.balance && Arc::ptr_eq(&self.members, &before.members) {
            self.balancer = Arc::clone(&before.balancer);
        }
        self.copies = Arc::clone(&before.copies);
        self
    }

    /// What requests come in by now: its gate, or the bound of one that is overrun. `None` = they come in as they are.
    #[inline]
    pub fn gate(&self) -> Option<&Arc<Gate>> {
        self.gate.as_ref().or_else(|| self.overrun.as_ref()?.gate())
    }

    /// Whether who is late in it is so for how many wait: it is overrun, and all its answers are slow.
    pub fn excuses_late(&self) -> bool {
        self.gate.is_none() && self.overrun.as_ref().is_some_and(|overrun| overrun.excuses())
    }

    /// Whether it is bounded since it was overrun.
    pub fn is_overrun(&self) -> bool {
        self.gate.is_none() && self.gate().is_some()
    }

    /// Has its gate let in as many as its spec says, once it is in use. A limit that follows how long requests
    /// take goes on from what it is, within the bounds that it has now.
    pub fn set_limit(&self) {
        let (Some(gate), Some(spec)) = (&self.gate, self.spec.concurrency) else { return };
        let now = gate.state().limit;
        let limit = first_limit(spec, now);
        if now != Some(limit) {
            gate.set_limit(limit);
        }
    }

    /// By what its gate's limit follows how long requests take, and what is known of that; `None`: it stands still.
    pub fn adaptive(&self) -> Option<(AdaptiveSpec, Arc<AnswerTimes>)> {
        let spec = self.spec.concurrency?.adaptive?;
        Some((spec, Arc::clone(self.answer_times.as_ref()?)))
    }

    /// Has its balancer work out what takes long, ahead of requests, and tells whether it did. To be called
    /// about every 100 ms: that long requests go by what was worked out before.
    pub fn prepare(&self) -> bool {
        self.balancer.prepare(&self.members.load().eligible)
    }

    /// Picks the endpoint of the next attempt and counts it as in flight until the guard is
    /// dropped. One of `tried` is picked only where no other may be, and a retry goes to one that
    /// fails itself only where no sound one is left. `None` when there is none.
    pub fn pick(&self, key: PickKey, tried: &[EndpointId]) -> Option<InFlight> {
        let set = self.members.load();
        let endpoint = choose(self.balancer.as_ref(), &set.eligible, key, tried)?;
        Some(InFlight::enter(Arc::clone(endpoint)))
    }

    /// Picks one that was not tried and that [`Pool::pick`] leaves out: of a later priority, ejected,
    /// or down, but never one that is drained. What is known of it may be out of date, whereas those that
    /// were tried are known to fail now. `None` when there is none.
    pub fn pick_left_out(&self, tried: &[EndpointId]) -> Option<InFlight> {
        self.left_out(tried, |_| true)
    }

    fn left_out(&self, tried: &[EndpointId], may: impl Fn(EndpointId) -> bool) -> Option<InFlight> {
        let set = self.members.load();
        let (before, from) = set.all.split_at_checked(fastrand::usize(..set.all.len().max(1)))?;
        let untried = from
            .iter()
            .chain(before)
            .map(|member| &member.endpoint)
            .filter(|endpoint| !tried.contains(&endpoint.id) && !endpoint.is_drained())
            .filter(|endpoint| may(endpoint.id));
        let hope = |endpoint: &&Arc<Endpoint>| {
            let is_down = endpoint.health() == Health::Down;
            // Nothing is known of those that wait for their first check; traffic has seen the others
            // fail.
            let is_new = endpoint.health() == Health::Pending;
            (is_down, endpoint.failures() > 0, !endpoint.is_eligible(), !is_new)
        };
        untried.min_by_key(hope).map(|endpoint| InFlight::enter(Arc::clone(endpoint)))
    }

    /// Whether there is an endpoint that was not tried and may well answer: no check has found it
    /// down, and no request has failed there of late. One that waits for its first check is among
    /// them, and one that is ejected, up to the first failure after its ejection.
    pub fn has_sound_untried(&self, tried: &[EndpointId]) -> bool {
        self.is_any_sound(tried, |_| true)
    }

    fn is_any_sound(&self, tried: &[EndpointId], may: impl Fn(EndpointId) -> bool) -> bool {
        let set = self.members.load();
        let mut all = set.all.iter().map(|member| &member.endpoint);
        all.any(|endpoint| {
            let is_sound = endpoint.health() != Health::Down
                && endpoint.failures() == 0
                && !endpoint.is_drained();
            is_sound && !tried.contains(&endpoint.id) && may(endpoint.id)
        })
    }

    /// Whether [`Pool::pick`] gives one that was not tried and may well answer: not where so few are healthy that all
    /// are picked.
    pub fn offers_sound(&self, tried: &[EndpointId]) -> bool {
        offers_sound(&self.members.load().eligible, tried)
    }

    /// As [`Pool::offers_sound`], of those that the tenant has.
    pub fn offers_own_sound(&self, tenant: &str, tried: &[EndpointId]) -> bool {
        let shard = self.shard(tenant, &self.members.load());
        shard.as_ref().is_some_and(|shard| offers_sound(&shard.eligible, tried))
    }

    /// Whether [`Pool::pick`] may give one that was not tried.
    pub fn has_untried(&self, tried: &[EndpointId]) -> bool {
        let set = self.members.load();
        set.eligible.endpoints.iter().any(|endpoint| !tried.contains(&endpoint.id))
    }

    /// Whether each tenant has a few of the endpoints: then it is picked by [`Pool::pick_own`] and the
    /// like.
    pub fn is_sharded(&self) -> bool {
        self.shards.is_some()
    }

    /// As [`Pool::pick`], of those endpoints that the tenant of this id has.
    pub fn pick_own(&self, tenant: &str, key: PickKey, tried: &[EndpointId]) -> Option<InFlight> {
        let set = self.members.load();
        let shard = self.shard(tenant, &set);
        let Some(shard) = shard.as_ref() else { return self.pick(key, tried) };
        let endpoint = choose(shard.balancer.as_ref(), &shard.eligible, key, tried)?;
        Some(InFlight::enter(Arc::clone(endpoint)))
    }

    /// Picks the next one in the tenant's order that may be picked and was not tried, beyond its own: for a
    /// request that has reached nobody, so that it has made nobody ill. `None` when there is none.
    pub fn pick_next(&self, tenant: &str, tried: &[EndpointId]) -> Option<InFlight> {
        let set = self.members.load();
        let next = shards::next(tenant, &set, tried)?;
        Some(InFlight::enter(Arc::clone(next)))
    }

    /// As [`Pool::pick_left_out`], of those that the tenant has: a request that makes endpoints ill shall
    /// come to no others.
    pub fn pick_own_left_out(&self, tenant: &str, tried: &[EndpointId]) -> Option<InFlight> {
        let shard = self.shard(tenant, &self.members.load());
        let shard = shard.as_ref()?;
        self.left_out(tried, |endpoint| shard.has(endpoint))
    }

    /// As [`Pool::has_sound_untried`], of those that the tenant has.
    pub fn has_own_sound_untried(&self, tenant: &str, tried: &[EndpointId]) -> bool {
        let shard = self.shard(tenant, &self.members.load());
        shard.as_ref().is_some_and(|shard| self.is_any_sound(tried, |endpoint| shard.has(endpoint)))
    }

    /// As [`Pool::has_untried`], of those that the tenant has.
    pub fn has_own_untried(&self, tenant: &str, tried: &[EndpointId]) -> bool {
        let shard = self.shard(tenant, &self.members.load());
        shard.as_ref().is_some_and(|shard| {
            shard.eligible.endpoints.iter().any(|endpoint| !tried.contains(&endpoint.id))
        })
    }

    /// Whether a tenant's requests may come to an endpoint, were that healthy, since it is one of those that
    /// the tenant has or stands in for them; `None` where all have all.
    pub fn may_serve(&self, tenant: &str, endpoint: EndpointId) -> Option<bool> {
        let shard = self.shard(tenant, &self.members.load());
        let shard = shard.as_ref()?;
        let mut stand_ins = shard.eligible.endpoints.iter();
        Some(shard.has(endpoint) || stand_ins.any(|one| one.id == endpoint))
    }

    fn shard(&self, tenant: &str, set: &MemberSet) -> Guard<Option<Arc<Shard>>> {
        let Some(shards) = &self.shards else { return Guard::from_inner(None) };
        shards.of(tenant, set, || {
            // The kind is known: the pool has one of it.
            balancer::build_small(&self.spec.balance).unwrap_or_else(|| Arc::clone(&self.balancer))
        })
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("label", &self.label).finish_non_exhaustive()
    }
}

/// The limit of a gate whose limit is `now`, as long as nothing else is known.
fn first_limit(spec: ConcurrencySpec, now: Option<u32>) -> u32 {
    match (spec.adaptive, now) {
        (Some(adaptive), Some(now)) => now.clamp(adaptive.min, adaptive.max),
        _ => spec.limit,
    }
}

fn offers_sound(eligible: &Eligible, tried: &[EndpointId]) -> bool {
    let is_sound = |endpoint: &Arc<Endpoint>| {
        endpoint.health() != Health::Down
            && endpoint.failures() == 0
            && !tried.contains(&endpoint.id)
    };
    !eligible.panicking && eligible.endpoints.iter().any(is_sound)
}

fn choose<'a>(
    balancer: &dyn Balancer,
    eligible: &'a Eligible,
    key: PickKey,
    tried: &[EndpointId],
) -> Option<&'a Arc<Endpoint>> {
    let first = balancer.pick_for(eligible, key)?;
    if tried.is_empty() {
        return Some(first);
    }
    let untried = |endpoint: &Arc<Endpoint>| !tried.contains(&endpoint.id);
    let mut asked = first;
    for nth in 1..=ASKS {
        if untried(asked) && asked.failures() == 0 {
            return Some(asked);
        }
        if nth < ASKS {
            asked = balancer.pick_for(eligible, key.again(nth))?;
        }
    }
    // From any place on, so that the neighbour of a failing endpoint does not inherit all of its
    // retries. That of a key is the same each time.
    let endpoints = &eligible.endpoints;
    let any = || fastrand::usize(..endpoints.len());
    let place = key.hash().map_or_else(any, |key| hash::scaled(key, endpoints.len()));
    let (before, from) = endpoints.split_at_checked(place)?;
    let left = from.iter().chain(before).filter(|endpoint| untried(endpoint));
    Some(left.min_by_key(|endpoint| endpoint.failures() > 0).unwrap_or(first))
}

/// Three: the balancer's own word, honouring weight and load, nearly always finds a sound untried
/// endpoint by then; a scan settles the rest.
const ASKS: u64 = 3;

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;
