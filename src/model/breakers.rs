//! How the breakers of all tenants at a pool stand. Writer: `resilience::breaker`.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

/// Whether a breaker lets requests pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// All of them.
    #[default]
    Closed,
    /// None.
    Open,
    /// A few, on trial.
    HalfOpen,
}

/// How many of a pool's breakers are not closed. Written only when one of them changes, which no request waits for
/// while all are closed.
#[derive(Debug, Default)]
pub struct Breakers(Mutex<Standing>);

/// Numbers below zero are for a moment: of two workers that change a breaker one after the other, the second may come
/// here first.
#[derive(Debug, Default)]
struct Standing {
    /// Those that are open, by until when.
    open: BTreeMap<Instant, i64>,
    half_open: i64,
}

/// The same at one instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Refuse all.
    pub open: u64,
    /// Let a few pass, on trial.
    pub half_open: u64,
}

impl Breakers {
    /// How many are not closed. One whose time is over is half open, though no request has come since.
    pub fn counts(&self) -> Counts {
        let now = Instant::now();
        let standing = self.standing();
        let open: i64 = standing
            .open
            .range((Bound::Excluded(now), Bound::Unbounded))
            .map(|(_, count)| count)
            .sum();
        let over: i64 = standing.open.range(..=now).map(|(_, count)| count).sum();
        let shown = |count: i64| u64::try_from(count).unwrap_or_default();
        Counts { open: shown(open), half_open: shown(standing.half_open + over) }
    }

    /// One of them was in the one phase and is in the other; with each, until when that is, where it is open.
    pub fn moves(&self, before: (Phase, Instant), after: (Phase, Instant)) {
        let mut standing = self.standing();
        standing.add(before, -1);
        standing.add(after, 1);
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Standing {
    fn add(&mut self, (phase, until): (Phase, Instant), change: i64) {
        match phase {
            Phase::Closed => {}
            Phase::HalfOpen => self.half_open += change,
            Phase::Open => {
                let count = self.open.entry(until).or_default();
                *count += change;
                if *count == 0 {
                    self.open.remove(&until);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn changes_that_are_told_in_the_wrong_order_show_no_number_below_zero() {
        let (breakers, now) = (Breakers::default(), Instant::now());
        let open = (Phase::Open, now + Duration::from_secs(5));
        breakers.moves(open, (Phase::HalfOpen, now));
        breakers.moves((Phase::HalfOpen, now), (Phase::Closed, now));
        assert_eq!(breakers.counts(), Counts::default());
        breakers.moves((Phase::Closed, now), open);
        assert_eq!(breakers.counts(), Counts::default());
        assert!(breakers.standing().open.is_empty(), "nothing is left over");
    }
}
