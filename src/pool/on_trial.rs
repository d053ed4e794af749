//! Picks among those that come back from an ejection. Out of line: a pool rarely has one.

use tokio::time::Instant;

use crate::model::ids::EndpointId;

use super::{InFlight, Pool};

impl Pool {
    /// An endpoint on trial whose next request is this one of the tenant at this place, which may be
    /// sent again if that fails or not. `None`: there is none, and the request goes the way of all
    /// others.
    #[cold]
    #[inline(never)]
    pub fn pick_on_trial(&self, tenant: u32, repeatable: bool, now: Instant) -> Option<InFlight> {
        self.on_trial(|_| true, (tenant, repeatable, now))
    }

    /// The same, of those endpoints that the tenant of this id has, at this place: what its requests do to
    /// endpoints they shall do to no others.
    #[cold]
    #[inline(never)]
    pub fn pick_own_on_trial(
        &self,
        (id, tenant): (&str, u32),
        repeatable: bool,
        now: Instant,
    ) -> Option<InFlight> {
        let set = self.members.load();
        if set.eligible.on_trial.is_empty() {
            return None; // as while one that stands by waits for its trial
        }
        let shard = self.shard(id, &set);
        let shard = shard.as_ref()?;
        self.on_trial(|endpoint| shard.has(endpoint), (tenant, repeatable, now))
    }

    fn on_trial(
        &self,
        may: impl Fn(EndpointId) -> bool,
        (tenant, repeatable, now): (u32, bool, Instant),
    ) -> Option<InFlight> {
        let set = self.members.load();
        let all = &set.eligible.on_trial;
        // From a random place on, so that none waits for those before it.
        let (before, from) = all.split_at_checked(fastrand::usize(..all.len().max(1)))?;
        let mut some = from.iter().chain(before).filter(|endpoint| may(endpoint.id)).take(LOOKS);
        let next = some.find(|endpoint| endpoint.admits(tenant, repeatable, now))?;
        Some(InFlight::enter(next.clone()))
    }
}

/// 4: where hundreds are on trial, a request shall not look at all of them.
const LOOKS: usize = 4;
