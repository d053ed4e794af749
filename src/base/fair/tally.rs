//! How many of each flow wait, for who must not take the queue's lock: one that is put aside by the system
//! while it holds that would keep all who come and go.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Counts of those flows that have somebody waiting. Written under the queue's lock, read without.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Flow + 1 in the upper half, its count in the lower; 0 = free. There once somebody has waited.
    cells: OnceLock<Box<[AtomicU64]>>,
    /// A flow has found no room since somebody waits without a pause.
    spilled: AtomicBool,
}

impl Tally {
    /// So many of this flow wait now. For who holds the lock.
    pub(super) fn set(&self, flow: u32, count: usize) {
        let cells = self.cells.get_or_init(|| (0..CELLS).map(|_| AtomicU64::new(0)).collect());
        let own = places(flow).find(|at| flow_of(cells[*at].load(Ordering::Relaxed)) == Some(flow));
        let free = || places(flow).find(|at| cells[*at].load(Ordering::Relaxed) == 0);
        let value = match u64::try_from(count) {
            Ok(0) | Err(_) => 0,
            Ok(count) => (u64::from(flow) + 1) << 32 | count.min(u64::from(u32::MAX)),
        };
        match own.or_else(free) {
            Some(at) if own.is_some() || value > 0 => cells[at].store(value, Ordering::Relaxed),
            None if value > 0 => self.spilled.store(true, Ordering::Relaxed),
            _ => {}
        }
    }

    /// Nobody waits any more. For who holds the lock.
    pub(super) fn clear(&self) {
        self.spilled.store(false, Ordering::Relaxed);
    }

    /// How many of this flow wait; `None` where the queue alone knows.
    pub(super) fn get(&self, flow: u32) -> Option<usize> {
        let Some(cells) = self.cells.get() else { return Some(0) };
        let mut words = places(flow).map(|at| cells[at].load(Ordering::Relaxed));
        match words.find(|word| flow_of(*word) == Some(flow)) {
            Some(word) => usize::try_from(word & u64::from(u32::MAX)).ok(),
            None if self.spilled.load(Ordering::Relaxed) => None,
            None => Some(0),
        }
    }
}

fn flow_of(word: u64) -> Option<u32> {
    u32::try_from((word >> 32).checked_sub(1)?).ok()
}

/// Where a flow may be.
fn places(flow: u32) -> impl Iterator<Item = usize> {
    // Numbers of flows that follow each other are apart (Fibonacci hashing).
    let first = (flow.wrapping_mul(0x9e37_79b9) >> 16) as usize;
    (0..TRIES).map(move |at| (first + at) % CELLS)
}

/// 256, 2 KiB: more flows than wait before one gate unless all is lost.
const CELLS: usize = 256;

/// 8: with half of the cells taken, one flow of thousands finds no room.
const TRIES: usize = 8;

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_it_tells_is_what_was_set(steps in proptest::collection::vec((0_u32..2000, 0_usize..5), 0..2000)) {
            let (tally, mut told) = (Tally::default(), HashMap::new());
            for (flow, count) in steps {
                tally.set(flow, count);
                told.insert(flow, count);
            }
            for flow in 0..2000 {
                if let Some(count) = tally.get(flow) {
                    prop_assert_eq!(count, told.get(&flow).copied().unwrap_or(0));
                }
            }
        }
    }

    #[test]
    fn a_flow_without_room_is_told_by_the_queue_until_nobody_waits() {
        let tally = Tally::default();
        (0..2000).for_each(|flow| tally.set(flow, 1));

        assert!((0..2000).any(|flow| tally.get(flow).is_none()));
        assert!((0..2000).all(|flow| tally.get(flow).is_none_or(|count| count == 1)));
        (0..2000).for_each(|flow| tally.set(flow, 0));
        tally.clear();
        assert!((0..2000).all(|flow| tally.get(flow) == Some(0)));
    }
}
