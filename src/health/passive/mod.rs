//! Judges endpoints from traffic: one that fails several times in a row gets none for a while.
//! Called on the way of each request, so it takes no lock and, while all goes well, writes nothing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::spec::EjectSpec;
use crate::model::endpoint::Endpoint;
use crate::model::ids::EndpointId;
use crate::model::members::Members;

/// What an attempt at an endpoint says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It answered, and not with a 5xx.
    Success,
    /// No connection, a reset, or a 5xx.
    Failure,
}

/// An endpoint was ejected just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ejected {
    /// For how long.
    pub time: Duration,
    /// The how-manieth ejection in a row this is, from 1; the time grows with it.
    pub count: u32,
}

/// Ejects endpoints of one pool. Lives as long as the pool's [`Members`].
#[derive(Debug)]
pub struct Ejector {
    /// Who holds it may eject and readmit. Only ever tried, never waited for.
    spells: Mutex<Spells>,
    /// Something may have to be readmitted or forgotten.
    watchful: AtomicBool,
}

/// Since when each endpoint that was ejected before has been without an ejection.
type Spells = HashMap<EndpointId, Instant>;

impl Default for Ejector {
    fn default() -> Self {
        Self::new()
    }
}

impl Ejector {
    /// Also for members that have been ejected before: those are readmitted in their time.
    pub fn new() -> Self {
        Self { spells: Mutex::default(), watchful: AtomicBool::new(true) }
    }

    /// Takes the verdict of one attempt. Tells when it ejected the endpoint; of several workers
    /// that see the same failures, one does and is told.
    pub fn observe(
        &self,
        members: &Members,
        endpoint: &Endpoint,
        spec: &EjectSpec,
        verdict: Verdict,
    ) -> Option<Ejected> {
        if verdict == Verdict::Success {
            endpoint.clear_failures();
            return None;
        }
        // An ejected endpoint is told from requests that were under way, or from a panicking pool.
        if spec.failures == 0 || endpoint.ejected_for().is_some() {
            return None;
        }
        // Each `failures` more it is tried again, where the share did not allow it before.
        if !endpoint.add_failure().is_multiple_of(spec.failures) {
            return None;
        }
        self.eject(members, endpoint, spec)
    }

    /// Readmits endpoints whose time is over and tells how many. An endpoint that then stays in
    /// for `base` (at least 10 s) has its next ejection shortened by one `base`, and so on. To be
    /// called about every 100 ms; costs nothing while nobody has been ejected.
    pub fn release(&self, members: &Members, spec: &EjectSpec) -> usize {
        if !self.watchful.load(Ordering::Relaxed) {
            return 0;
        }
        let Some(mut spells) = self.try_spells() else { return 0 };
        let spell = spec.base.max(SHORTEST_SPELL);
        let (mut readmitted, mut watched) = (0, Spells::new());
        for member in &members.load().all {
            let endpoint = &member.endpoint;
            match endpoint.ejected_for() {
                Some(Duration::ZERO) => {
                    endpoint.clear_failures();
                    endpoint.readmit();
                    readmitted += 1;
                }
                Some(_) => {
                    watched.insert(endpoint.id, Instant::now());
                    continue;
                }
                None if endpoint.ejections() == 0 => continue,
                None => {}
            }
            let since = spells.get(&endpoint.id).copied().unwrap_or_else(Instant::now);
            if let Some(since) = decay(endpoint, since, spell) {
                watched.insert(endpoint.id, since);
            }
        }
        // Under the lock: an ejection after this sets it again.
        self.watchful.store(!watched.is_empty(), Ordering::Relaxed);
        *spells = watched;
        drop(spells);
        if readmitted > 0 {
            members.refresh();
        }
        readmitted
    }

    fn eject(&self, members: &Members, endpoint: &Endpoint, spec: &EjectSpec) -> Option<Ejected> {
        // Somebody else ejects or readmits right now: the next failures will tell.
        let spells = self.try_spells()?;
        if endpoint.ejected_for().is_some() || !has_room(members, endpoint, spec) {
            return None;
        }
        let count = endpoint.ejections().saturating_add(1);
        let time = spec.base.saturating_mul(count).min(spec.max);
        endpoint.set_ejections(count);
        endpoint.clear_failures();
        endpoint.eject(time);
        self.watchful.store(true, Ordering::Relaxed);
        drop(spells);
        members.refresh();
        Some(Ejected { time, count })
    }

    fn try_spells(&self) -> Option<MutexGuard<'_, Spells>> {
        match self.spells.try_lock() {
            Ok(spells) => Some(spells),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// Whether one more may be ejected. The only endpoint of a pool never is: there is nobody else to
/// send its traffic to.
fn has_room(members: &Members, endpoint: &Endpoint, spec: &EjectSpec) -> bool {
    let set = members.load();
    let is_member = set.all.iter().any(|member| member.endpoint.id == endpoint.id);
    let ejected = set.all.iter().filter(|member| member.endpoint.ejected_for().is_some()).count();
    is_member && set.all.len() > 1 && ejected < allowed(set.all.len(), spec)
}

/// How many of a pool of `members` may be ejected at once.
fn allowed(members: usize, spec: &EjectSpec) -> usize {
    // The small addend makes up for shares that are no exact binary numbers (30 % of 10 is 3).
    let share = (members as f64 * spec.share.share() + 1e-9) as usize;
    share.max(1)
}

/// Takes off one ejection for each spell without one. Tells since when the present spell lasts,
/// while there is something left to take off.
fn decay(endpoint: &Endpoint, since: Instant, spell: Duration) -> Option<Instant> {
    let passed = since.elapsed().as_millis() / spell.as_millis().max(1);
    let passed = u32::try_from(passed).unwrap_or(u32::MAX);
    let left = endpoint.ejections().saturating_sub(passed);
    if passed > 0 {
        endpoint.set_ejections(left);
    }
    (left > 0).then(|| since + spell.saturating_mul(passed))
}

/// 10 s: a shorter spell would forget a flapping endpoint's past between two failures.
const SHORTEST_SPELL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
