//! Limits that several gateways share. A word for each lies in a store that all of them reach, and
//! a gateway takes requests from it beforehand: its reserve, which workers use up without asking
//! anybody. Control fills it up behind their backs.
//!
//! A request needs room in the gateway's own count first, as everywhere, so that a gateway by itself
//! never goes beyond the limit; then it takes one of the reserve. Where that is empty it may pass all
//! the same, as one that is owed, as long as no more are owed than the reserve may hold and the store
//! last said that there is room; what is owed is counted there next, whether there is room or not.
//!
//! **So, over all gateways,** no more come through than the burst, what the rate has brought since,
//! and a reserve of each gateway; in the long run as many as the rate brings. **No request waits for
//! the store.** While it is late all pass that the own count lets pass, and are owed; while it is
//! lost, the own count alone holds.

pub mod desk;
pub mod fault;
pub mod keeper;
mod lease;
pub mod redis;
pub mod store;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::SystemTime;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::base::snapshot::Snapshot;
use crate::base::units::Percent;

use super::gcra::{Later, Pace, Ticks};
use super::ledger::Cell;

pub use lease::Lease;

/// What workers know of the limits that gateways share.
#[derive(Debug)]
pub struct Fleet {
    /// When times of limits begin.
    pub born: Instant,
    mode: AtomicU8,
    /// Of a thousand requests of a burst, so many are the reserve.
    reserve: u64,
    arrivals: mpsc::Sender<Arc<Cell>>,
    standing: Snapshot<Standing>,
}

/// Limits that have come into use since control has looked.
pub type Arrivals = mpsc::Receiver<Arc<Cell>>;

/// How the store is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// It cannot be used: each gateway holds its limits alone.
    Lost = 0,
    /// It has not answered yet: what passes meanwhile is counted when it does.
    Late = 1,
    /// It answers.
    Shared = 2,
}

/// The same for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether limits are shared.
    pub is_shared: bool,
    /// Since when.
    pub since: SystemTime,
    /// Why they are not.
    pub fault: Option<String>,
}

/// Whose limit it is, as all gateways write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whose<'n> {
    /// The tenant's id.
    pub tenant: &'n str,
    /// The key of its route, where it is a route's.
    pub route: Option<u64>,
}

/// What a request has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// One of the reserve, or one that is owed.
    Shared,
    /// Nothing: the gateway's own count alone holds.
    Own,
}

impl Fleet {
    /// Nothing is in use, and the store not reached yet.
    pub fn new(reserve: Percent) -> (Arc<Self>, Arrivals) {
        let (arrivals, come) = mpsc::channel(WAITING);
        let standing = Standing { is_shared: false, since: SystemTime::now(), fault: None };
        // At most a thousand.
        let reserve = (reserve.share() * 1000.0).round() as u64;
        let fleet = Self {
            born: Instant::now(),
            mode: AtomicU8::new(Mode::Lost as u8),
            reserve,
            arrivals,
            standing: Snapshot::new(Arc::new(standing)),
        };
        (Arc::new(fleet), come)
    }

    /// Takes one request of a limit that the gateway's own count has let pass.
    ///
    /// # Errors
    /// How long it takes until another one may come, as far as this gateway knows.
    pub fn take(
        &self,
        cell: &Arc<Cell>,
        whose: Whose<'_>,
        (pace, now): (Pace, Ticks),
    ) -> Result<Held, Later> {
        let mode = self.mode();
        if mode == Mode::Lost {
            return Ok(Held::Own);
        }
        let lease = cell.lease(whose);
        lease.adopt(pace);
        let owed = match mode {
            Mode::Late => u64::MAX,
            _ => pace.remaining(lease.view(), now.0).min(self.reserve(pace)),
        };
        let has_taken = lease.take(owed);
        if !lease.is_listed() && !self.list(cell, lease) {
            if has_taken {
                lease.put_back();
            }
            return Ok(Held::Own); // there are more than control can bear
        }
        has_taken.then_some(Held::Shared).ok_or_else(|| lease.later(pace, now))
    }

    /// A request of a limit was refused by the gateway's own count: the store may not know of that, as after
    /// a loss, and others are to hear of it.
    pub(super) fn hear(&self, cell: &Arc<Cell>, whose: Whose<'_>, pace: Pace) {
        if self.mode() == Mode::Lost {
            return;
        }
        let lease = cell.lease(whose);
        lease.adopt(pace);
        lease.refuse();
        if !lease.is_listed() {
            self.list(cell, lease);
        }
    }

    /// How the store is at the moment.
    pub fn mode(&self) -> Mode {
        match self.mode.load(Ordering::Relaxed) {
            2 => Mode::Shared,
            1 => Mode::Late,
            _ => Mode::Lost,
        }
    }

    /// The same for people.
    pub fn standing(&self) -> Arc<Standing> {
        self.standing.load()
    }

    /// How many requests of a limit a gateway may have beforehand, and as many may be owed.
    pub(super) fn reserve(&self, pace: Pace) -> u64 {
        let burst = pace.burst();
        (burst.saturating_mul(self.reserve) / 1000).max(LEAST).min(burst)
    }

    fn set(&self, mode: Mode) {
        self.mode.store(mode as u8, Ordering::Relaxed);
    }

    fn tell(&self, fault: Option<String>) {
        let (is_shared, since) = (fault.is_none(), SystemTime::now());
        self.standing.publish(Arc::new(Standing { is_shared, since, fault }));
    }

    #[cold]
    fn list(&self, cell: &Arc<Cell>, lease: &Lease) -> bool {
        if !lease.enlist() {
            return true; // somebody else does
        }
        let has_room = self.arrivals.try_send(Arc::clone(cell)).is_ok();
        if !has_room {
            lease.leave();
        }
        has_room
    }
}

/// What is told once where limits are to be shared and nobody has said how.
#[derive(Debug, Default)]
pub struct Unshared(AtomicBool);

impl Unshared {
    /// A request of such a limit has come.
    pub fn tell(&self, tenant: &str) {
        if !self.0.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                tenant,
                "a limit has scope = \"shared\", and gateway.toml has no [shared-limits]: such limits \
                 hold for this gateway alone"
            );
        }
    }
}

/// 10 requests: of a small burst, a share would be used up within the time of one answer.
const LEAST: u64 = 10;
/// Limits that come into use within a few milliseconds.
const WAITING: usize = 16_384;

#[cfg(test)]
mod tests;
