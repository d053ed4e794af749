//! Where requests wait while nobody of a pool may be picked. All workers share it; nobody comes here while somebody
//! may be picked.
//!
//! Two things are apart in it. A *seat* bounds who may wait at all, in number and in memory, and is kept from the start
//! of a wait to its end. A *turn* is given by the gate, in the fair order of tenants, to as many at once as the
//! endpoints that may be picked can take: none while there is none. Members set how many, whenever who may be picked
//! has changed, so that nobody who waits asks for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::fair::Gate;

/// Where requests wait for an endpoint.
#[derive(Debug)]
pub struct Room {
    gate: Arc<Gate>,
    waiting: AtomicU64,
    bytes: AtomicU64,
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
            waiting: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        })
    }

    /// Gives a seat to a request of this tenant that holds so many bytes.
    ///
    /// # Errors
    /// When there is no room for it.
    pub fn enter(self: &Arc<Self>, bounds: &Bounds, flow: u32, bytes: u64) -> Result<Seat, Full> {
        let own = u64::try_from(self.gate.waiting_of(flow)).unwrap_or(u64::MAX);
        // Counted before it is looked at, so that those who come at once see each other.
        let before = Filled {
            waiting: self.waiting.fetch_add(1, Ordering::Relaxed),
            bytes: self.bytes.fetch_add(bytes, Ordering::Relaxed),
        };
        let seat = Seat { room: Arc::clone(self), bytes, first: before.waiting == 0 };
        bounds.admit(before, own, bytes)?;
        Ok(seat)
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

impl Seat {
    /// Whether nobody else waited when it came.
    pub fn is_first(&self) -> bool {
        self.first
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.room.waiting.fetch_sub(1, Ordering::Relaxed);
        self.room.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
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
        fn neither_bound_is_ever_passed(
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
                seats.extend(room.enter(&bounds, flow, bytes).ok());
                let now = room.filled();
                prop_assert_eq!(now.waiting, seats.len() as u64);
                prop_assert!(now.waiting <= length && now.bytes <= memory);
            }
            drop(seats);
            prop_assert_eq!(room.filled(), Filled::default());
        }
    }
}
