//! Where requests wait while nobody of a pool may be picked. All workers share it; nobody comes here while somebody
//! may be picked.
//!
//! Two things are apart in it. A *seat* bounds who may wait at all, in number and in memory, and is kept from the start
//! of a wait to the end of its turn. A *turn* is given by the gate, in the fair order of tenants, to as many at once as the
//! endpoints that may be picked can take: none while there is none. Members set how many, whenever who may be picked
//! has changed, so that nobody who waits asks for it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::fair::Gate;

/// Where requests wait for an endpoint.
#[derive(Debug)]
pub struct Room {
    gate: Arc<Gate>,
    seats: Mutex<Seats>,
    /// As the seats have it, for who must not take their lock.
    waiting: AtomicU64,
    bytes: AtomicU64,
}

/// Who has a seat.
#[derive(Debug, Default)]
struct Seats {
    filled: Filled,
    /// How many each tenant has that has some: wherever it is on its way, in the gate's queue or not.
    own: HashMap<u32, u64>,
}

/// What may be in a room at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Requests.
    pub length: u64,
    /// What they hold in memory, in bytes.
    pub memory: u64,
}

/// What is in a room now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filled {
    /// Requests.
    pub waiting: u64,
    /// What they hold in memory, in bytes.
    pub bytes: u64,
}

/// Why a request may not wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// Too many wait.
    Length,
    /// Those that wait hold too much.
    Memory,
}

/// The place of a request that waits, until it is dropped.
#[derive(Debug)]
pub struct Seat {
    room: Arc<Room>,
    flow: u32,
    bytes: u64,
    first: bool,
}

impl Bounds {
    /// Whether one more may wait, that holds `bytes`, where `own` of its tenant wait already. No tenant has more than
    /// are left free, as if all of its requests were as large: alone it gets half, and who comes after it finds room.
    ///
    /// # Errors
    /// What is used up.
    pub fn admit(&self, filled: Filled, own: u64, bytes: u64) -> Result<(), Full> {
        if own >= self.length.saturating_sub(filled.waiting) {
            return Err(Full::Length);
        }
        let free = self.memory.saturating_sub(filled.bytes);
        // The first of a tenant needs room for itself.
        match bytes.saturating_mul(own.saturating_add(1)) > free {
            true => Err(Full::Memory),
            false => Ok(()),
        }
    }
}

impl Room {
    /// Nobody is there, and nobody would have a turn.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            gate: Arc::new(Gate::new(0)),
            seats: Mutex::default(),
            waiting: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        })
    }

    /// Gives a seat to a request of this tenant that holds so many bytes.
    ///
    /// # Errors
    /// When there is no room for it.
    pub fn enter(self: &Arc<Self>, bounds: &Bounds, flow: u32, bytes: u64) -> Result<Seat, Full> {
        let mut seats = self.lock();
        let first = seats.filled.waiting == 0;
        bounds.admit(seats.filled, seats.own.get(&flow).copied().unwrap_or(0), bytes)?;
        seats.take(flow, bytes);
        self.note(&seats);
        drop(seats);
        Ok(Seat { room: Arc::clone(self), flow, bytes, first })
    }

    /// Tells those without the lock how much is taken.
    fn note(&self, seats: &Seats) {
        self.waiting.store(seats.filled.waiting, Ordering::Relaxed);
        self.bytes.store(seats.filled.bytes, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives turns.
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// What is in it now.
    pub fn filled(&self) -> Filled {
        Filled {
            waiting: self.waiting.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    /// So many have their turn at once from now on.
    pub(super) fn set_turns(&self, turns: u32) {
        if self.gate.state().limit != Some(turns) {
            self.gate.set_limit(turns);
        }
    }
}

impl Seats {
    fn take(&mut self, flow: u32, bytes: u64) {
        self.filled.waiting += 1;
        self.filled.bytes = self.filled.bytes.saturating_add(bytes);
        *self.own.entry(flow).or_default() += 1;
    }

    fn give_back(&mut self, flow: u32, bytes: u64) {
        self.filled.waiting = self.filled.waiting.saturating_sub(1);
        self.filled.bytes = self.filled.bytes.saturating_sub(bytes);
        let left = self.own.get(&flow).map_or(0, |own| own.saturating_sub(1));
        match left {
            0 => self.own.remove(&flow),
            left => self.own.insert(flow, left),
        };
        if self.own.is_empty() {
            self.own = HashMap::new(); // a crowd of tenants leaves no memory behind
        }
    }
}

impl Seat {
    /// Whether nobody else waited when it came.
    pub fn is_first(&self) -> bool {
        self.first
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.room.lock();
        seats.give_back(self.flow, self.bytes);
        self.room.note(&seats);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Bounds = Bounds { length: 8, memory: 1000 };

    fn filled(waiting: u64, bytes: u64) -> Filled {
        Filled { waiting, bytes }
    }

    #[test]
    fn a_tenant_alone_gets_half_of_the_room_and_others_find_the_rest() {
        let most = |others: u64| {
            let is_refused = |own: &u64| BOUNDS.admit(filled(others + own, 0), *own, 0).is_err();
            (0..8).find(is_refused)
        };
        assert_eq!([most(0), most(4), most(6), most(7)], [Some(4), Some(2), Some(1), Some(1)]);
        assert_eq!(BOUNDS.admit(filled(8, 0), 0, 0), Err(Full::Length));
    }

    #[test]
    fn what_holds_too_much_may_not_wait() {
        assert_eq!(BOUNDS.admit(filled(0, 0), 0, 1000), Ok(()));
        assert_eq!(BOUNDS.admit(filled(0, 0), 0, 1001), Err(Full::Memory));
        assert_eq!(BOUNDS.admit(filled(1, 400), 1, 300), Ok(()), "two of this size have room");
        assert_eq!(BOUNDS.admit(filled(1, 400), 1, 301), Err(Full::Memory));
        assert_eq!(BOUNDS.admit(filled(1, 400), 0, 600), Ok(()), "another tenant's");
        assert_eq!(BOUNDS.admit(filled(1, 0), 1, u64::MAX), Err(Full::Memory));
        assert_eq!(BOUNDS.admit(filled(1, u64::MAX), u64::MAX, u64::MAX), Err(Full::Length));
    }

    #[test]
    fn a_tenant_whose_requests_wait_outside_of_the_queue_has_no_more_seats_for_that() {
        let (room, bounds) = (Room::new(), BOUNDS);
        let seats: Vec<_> = (0..8).map_while(|_| room.enter(&bounds, 7, 1).ok()).collect();

        assert_eq!((seats.len(), room.gate().state().waiting), (4, 0), "half of them");
        assert!(room.enter(&bounds, 8, 1).is_ok());
    }

    #[test]
    fn a_seat_is_free_again_once_it_is_dropped() {
        let room = Room::new();
        let bounds = Bounds { length: 1, memory: 100 };
        let seat = room.enter(&bounds, 7, 60).unwrap();
        assert!(seat.is_first());
        assert_eq!(room.enter(&bounds, 8, 1).unwrap_err(), Full::Length);
        assert_eq!(room.filled(), filled(1, 60));

        drop(seat);

        assert_eq!(room.filled(), Filled::default());
        assert_eq!(room.enter(&bounds, 8, 101).unwrap_err(), Full::Memory);
        assert!(room.enter(&bounds, 8, 100).is_ok());
    }

    proptest! {
        #[test]
        fn no_bound_is_ever_passed(
            length in 1..50u64,
            memory in 1..5000u64,
            comers in prop::collection::vec((0..3u32, 0..400u64, any::<bool>()), 0..200),
        ) {
            let (bounds, room) = (Bounds { length, memory }, Room::new());
            let mut seats = Vec::new();
            for (flow, bytes, leaves) in comers {
                if leaves && !seats.is_empty() {
                    drop(seats.swap_remove(0));
                }
                let own = seats.iter().filter(|seat: &&Seat| seat.flow == flow).count() as u64;
                let free = length - seats.len() as u64;
                if let Ok(seat) = room.enter(&bounds, flow, bytes) {
                    prop_assert!(own < free, "{own} of the tenant's, {free} free");
                    seats.push(seat);
                }
                let now = room.filled();
                prop_assert_eq!(now.waiting, seats.len() as u64);
                prop_assert!(now.waiting <= length && now.bytes <= memory);
            }
            drop(seats);
            prop_assert_eq!(room.filled(), Filled::default());
        }
    }
}
