//! How the breakers of all tenants at a pool stand. Writer: `resilience::breaker`.

use std::sync::atomic::{AtomicU32, Ordering};

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

/// How many of a pool's breakers are not closed.
#[derive(Debug, Default)]
pub struct Breakers {
    open: AtomicU32,
    half_open: AtomicU32,
}

/// The same at one instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Refuse all.
    pub open: u32,
    /// Let a few pass, on trial.
    pub half_open: u32,
}

impl Breakers {
    /// How many are not closed.
    pub fn counts(&self) -> Counts {
        Counts {
            open: self.open.load(Ordering::Relaxed),
            half_open: self.half_open.load(Ordering::Relaxed),
        }
    }

    /// One of them was in the one phase and is in the other.
    pub fn moves(&self, before: Phase, after: Phase) {
        if let Some(count) = self.of(before) {
            count.fetch_sub(1, Ordering::Relaxed);
        }
        if let Some(count) = self.of(after) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn of(&self, phase: Phase) -> Option<&AtomicU32> {
        match phase {
            Phase::Closed => None,
            Phase::Open => Some(&self.open),
            Phase::HalfOpen => Some(&self.half_open),
        }
    }
}
