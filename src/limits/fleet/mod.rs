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
//! and a reserve of each gateway; in the long run as many as the rate brings, for what one of them was
//! ahead is never forgotten. **No request waits for the store** but one that would be refused although that
//! last said that there is room, as of a burst that comes at once: it waits for the next answer. While the
//! store is late, as many may be owed as it last said that there is room for; while it is lost, the own count
//! alone holds.
//!
//! Who waits does so in a line (`line`), which control lets in.

pub mod desk;
pub mod fault;
pub mod keeper;
mod lease;
mod line;
pub mod redis;
pub mod store;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::SystemTime;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::base::snapshot::Snapshot;
use crate::base::units::Percent;

use super::gcra::{Later, Pace, Ticks};
use super::ledger::Cell;

pub use lease::Lease;
pub use line::Place;

/// What workers know of the limits that gateways share.
#[derive(Debug)]
pub struct Fleet {
    /// When times of limits begin.
    pub born: Instant,
    mode: AtomicU8,
    /// Of a thousand requests of a burst, so many are the reserve.
    reserve: u64,
    /// From one question of a limit to the next, as it was lately.
    round: AtomicU64,
    /// When the store was last late; 0 = never.
    late_at: AtomicU64,
    /// Limits that control looks after.
    listed: AtomicUsize,
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
            round: AtomicU64::new(0),
            late_at: AtomicU64::new(0),
            listed: AtomicUsize::new(0),
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
        if self.mode() == Mode::Lost {
            return Ok(Held::Own);
        }
        let lease = cell.lease(whose);
        lease.adopt(pace);
        self.take_of(cell, lease, (pace, now))
    }

    /// The same for one that has waited since it has read its table: by another one the limit may have become
    /// another, and stays so.
    ///
    /// # Errors
    /// The same.
    pub fn take_late(
        &self,
        cell: &Arc<Cell>,
        whose: Whose<'_>,
        (pace, now): (Pace, Ticks),
    ) -> Result<Held, Later> {
        if self.mode() == Mode::Lost {
            return Ok(Held::Own);
        }
        let lease = cell.lease(whose);
        if lease.is_new() {
            lease.adopt(pace);
        }
        match lease.pace() {
            Some((pace, _)) => self.take_of(cell, lease, (pace, now)),
            None => Ok(Held::Own), // it becomes another right now
        }
    }

    fn take_of(
        &self,
        cell: &Arc<Cell>,
        lease: &Lease,
        (pace, now): (Pace, Ticks),
    ) -> Result<Held, Later> {
        // Nobody overtakes those who wait.
        let has_taken = lease.line().is_empty() && lease.take(self.owed(lease, (pace, now)));
        if !lease.is_listed() && !self.list(cell, lease) {
            if has_taken {
                lease.put_back();
            }
            return Ok(Held::Own); // there are more than control can bear
        }
        has_taken.then_some(Held::Shared).ok_or_else(|| lease.later(pace, now))
    }

    /// How many requests of a limit are there, or fit into the store, as it last said.
    pub(super) fn room(&self, cell: &Cell, now: Ticks) -> u64 {
        let room = |lease: &Lease| Some(lease.room(lease.pace()?.0, now));
        cell.known_lease().and_then(room).unwrap_or(0)
    }

    /// Whether that is more than those who wait for it, and they are not too many.
    pub(super) fn has_more_room(&self, cell: &Cell, now: Ticks) -> bool {
        let line = cell.known_lease().map_or(0, |lease| lease.line().len());
        line < self.room(cell, now).min(MOST_IN_LINE)
    }

    /// A place in the line of those who wait for a limit that has no room.
    pub(super) fn stand(&self, cell: &Arc<Cell>, whose: Whose<'_>) -> Place {
        let lease = cell.lease(whose);
        let place = lease.line().join(cell);
        self.look_after(cell, lease);
        place
    }

    /// Lets those in who wait for a limit, where nobody else would.
    pub(super) fn look_after(&self, cell: &Arc<Cell>, lease: &Lease) {
        let is_listed = lease.is_listed() || self.list(cell, lease);
        if !is_listed || self.mode() == Mode::Lost {
            self.release(lease);
        }
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

    /// Whether the store is late, or was so within the last few seconds.
    pub fn is_late(&self) -> bool {
        let late_at = self.late_at.load(Ordering::Relaxed);
        let now = Ticks::of(self.born.elapsed());
        late_at > 0 && now.0.saturating_sub(late_at) < STILL_LATE.0
    }

    /// How many requests of a limit a gateway may have beforehand, and as many may be owed: what comes
    /// until the next answers, too.
    pub(super) fn reserve(&self, pace: Pace) -> u64 {
        let burst = pace.burst();
        let two_rounds = self.round.load(Ordering::Relaxed).saturating_mul(2);
        let share = burst.saturating_mul(self.reserve) / 1000;
        share.max(two_rounds / pace.interval().max(1)).max(LEAST).min(burst)
    }

    /// How many may be owed of a limit.
    fn owed(&self, lease: &Lease, (pace, now): (Pace, Ticks)) -> u64 {
        let room = pace.remaining(lease.view(), now.0);
        match self.mode() {
            Mode::Late => room,
            _ => room.min(self.reserve(pace)),
        }
    }

    /// Lets those in who wait for a limit, as far as there is room.
    fn let_in(&self, lease: &Lease, now: Ticks) {
        let Some((pace, _)) = lease.pace() else { return };
        let next = || lease.take(self.owed(lease, (pace, now))).then_some(Held::Shared);
        lease.line().let_in(next, |_| lease.put_back());
    }

    /// Lets all in who wait for a limit: the own count alone holds.
    fn release(&self, lease: &Lease) {
        lease.line().let_in(|| Some(Held::Own), |_| ());
    }

    /// It took so long from one question to the next.
    fn heed(&self, round: Ticks) {
        let before = self.round.load(Ordering::Relaxed);
        self.round.store(round.0.max(before - before / 8), Ordering::Relaxed);
    }

    fn late(&self, now: Ticks) {
        self.late_at.store(now.0.max(1), Ordering::Relaxed);
        self.set(Mode::Late);
    }

    /// A limit is on the list no more.
    fn left(&self) {
        self.listed.fetch_sub(1, Ordering::Relaxed);
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
        let more = |listed: usize| (listed < MOST).then(|| listed + 1);
        if self.listed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_err() {
            return lease.is_listed();
        }
        if !lease.enlist() {
            self.left();
            return true; // somebody else does
        }
        let has_room = self.arrivals.try_send(Arc::clone(cell)).is_ok();
        if !has_room {
            lease.leave();
            self.left();
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
/// A hundred thousand in use within one second: what is asked for them is 20 MB.
const MOST: usize = 100_000;
/// 16 MiB of requests that wait for an answer of the store, whatever their limit says of waiting.
const MOST_IN_LINE: u64 = 1000;
/// 10 s: who looks now and then is to see it.
const STILL_LATE: Ticks = Ticks(10 * Ticks::A_SECOND);
/// Limits that come into use within a few milliseconds.
const WAITING: usize = 16_384;

#[cfg(test)]
mod tests;
