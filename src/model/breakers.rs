//! How the breakers at a pool stand: those of its tenants, and its own. Writer: `resilience::breaker`.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::AtomicU64;
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

/// How the breakers at a pool stand.
#[derive(Debug, Default)]
pub struct Breakers {
    /// Those of its tenants.
    pub tenants: Standings,
    /// The pool's own, for all of them.
    pub whole: Whole,
}

/// The pool's own breaker. Closed where the pool has none.
#[derive(Debug, Default)]
pub struct Whole {
    /// How it stands and what it has seen.
    pub words: Words,
    /// The same for who looks at it.
    pub standing: Standings,
}

/// How a breaker stands and what it has seen, in words that its room alone can read: two atomics and no lock.
#[derive(Debug)]
pub struct Words {
    /// When it began; its times count from then.
    pub born: Instant,
    /// How it stands; 0 = closed.
    pub state: AtomicU64,
    /// What it has seen of late; 0 = nothing.
    pub window: Written,
}

/// What each request writes, on a line of its own: all read the state beside it.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Written(pub AtomicU64);

impl Words {
    /// Those of a closed one.
    pub fn new(now: Instant) -> Self {
        Self { born: now, state: AtomicU64::default(), window: Written::default() }
    }
}

impl Default for Words {
    fn default() -> Self {
        Self::new(Instant::now())
    }
}

/// How many of several breakers are not closed. Written only when one of them changes, which no request waits for
/// while all are closed.
#[derive(Debug, Default)]
pub struct Standings(Mutex<Standing>);

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

impl Standings {
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
        let (breakers, now) = (Standings::default(), Instant::now());
        let open = (Phase::Open, now + Duration::from_secs(5));
        breakers.moves(open, (Phase::HalfOpen, now));
        breakers.moves((Phase::HalfOpen, now), (Phase::Closed, now));
        assert_eq!(breakers.counts(), Counts::default());
        breakers.moves((Phase::Closed, now), open);
        assert_eq!(breakers.counts(), Counts::default());
        assert!(breakers.standing().open.is_empty(), "nothing is left over");
    }
}
