//! Picks among those that come back from an ejection. Out of line: a pool rarely has one.

use tokio::time::Instant;

use super::{InFlight, Pool};

impl Pool {
    /// An endpoint on trial whose next request is this one of the tenant at this place, which may be
    /// sent again if that fails or not. `None`: there is none, and the request goes the way of all
    /// others.
    #[cold]
    #[inline(never)]
    pub fn pick_on_trial(&self, tenant: u32, repeatable: bool, now: Instant) -> Option<InFlight> {
        let set = self.members.load();
        let mut all = set.eligible.on_trial.iter();
        let next = all.find(|endpoint| endpoint.admits(tenant, repeatable, now))?;
        Some(InFlight::enter(next.clone()))
    }
}
