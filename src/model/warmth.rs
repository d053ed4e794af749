//! Slow start: members that join or recover come to their share little by little.

use std::time::Duration;

use tokio::time::Instant;

use super::endpoint::{Endpoint, Health};

/// How a member that joins or recovers comes to its share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlowStart {
    /// How long it takes; above 0.
    pub window: Duration,
    /// 1 = evenly; more = fast in the beginning, less = fast in the end. Above 0.
    pub aggression: f64,
    /// The share that it begins with, of 1.
    pub min: f64,
}

impl SlowStart {
    /// How much of its weight counts after this time, from 1 to 100.
    pub fn warmth(&self, time: Duration) -> u32 {
        let passed = time.as_secs_f64() / self.window.as_secs_f64().max(f64::MIN_POSITIVE);
        let share = passed.clamp(0.0, 1.0).powf(1.0 / self.aggression.max(f64::MIN_POSITIVE));
        (share.max(self.min) * 100.0).round().clamp(1.0, 100.0) as u32
    }

    /// How long a warmth may be used: a twentieth of the window.
    pub fn step(&self) -> Duration {
        (self.window / 20).clamp(SHORTEST_STEP, LONGEST_STEP)
    }
}

/// How far a member has come into the traffic, for slow start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Warmth {
    /// One of the first of its pool, which nobody knows yet: it begins with its whole share.
    First,
    /// It has joined a pool in use and never might be picked yet: it has no part in what the pool could
    /// bear.
    New,
    /// It may not be picked, or is on trial; once it may, it begins with less than its share.
    Out,
    /// It may be picked since then, for the first time, and has less than its share.
    Joining(Instant),
    /// It may be picked again since then, and has less than its share.
    Warming(Instant),
    /// It has its whole share.
    Warm,
}

impl Warmth {
    /// Now that this is known of the endpoint, and whether it has a part in the traffic by its own state: an
    /// endpoint on trial has none, and begins slowly after that.
    pub(super) fn next(
        self,
        (endpoint, able): (&Endpoint, bool),
        slow_start: Option<&SlowStart>,
        now: Instant,
    ) -> Self {
        match (self, able, slow_start) {
            (Self::First, false, _) if endpoint.health() == Health::Pending => Self::First,
            (Self::New, false, _) => Self::New,
            (_, false, _) => Self::Out,
            (Self::First | Self::Warm, true, _) | (_, true, None) => Self::Warm,
            (Self::New, true, Some(_)) => Self::Joining(now),
            (Self::Out, true, Some(_)) => Self::Warming(now),
            (Self::Joining(since) | Self::Warming(since), true, Some(slow_start)) => {
                let is_over = now.saturating_duration_since(since) >= slow_start.window;
                if is_over { Self::Warm } else { self }
            }
        }
    }

    /// How much of its weight counts, from 1 to 100; 100 for those that may not be picked, too.
    pub fn percent(self, slow_start: Option<&SlowStart>, now: Instant) -> u32 {
        match (self.since(), slow_start) {
            (Some(since), Some(slow_start)) => {
                slow_start.warmth(now.saturating_duration_since(since))
            }
            _ => 100,
        }
    }

    /// Since when it is on its way to its share; `None` = it is not.
    pub fn since(self) -> Option<Instant> {
        match self {
            Self::Joining(since) | Self::Warming(since) => Some(since),
            _ => None,
        }
    }
}

/// 100 ms: as often as control looks at pools.
const SHORTEST_STEP: Duration = Duration::from_millis(100);

/// 5 s: a window of an hour shall not go in leaps that are felt.
const LONGEST_STEP: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use proptest::prelude::proptest;

    use super::*;

    fn slow_start(aggression: f64, min: f64) -> SlowStart {
        SlowStart { window: Duration::from_secs(30), aggression, min }
    }

    #[test]
    fn warmth_grows_evenly_unless_it_is_told_otherwise() {
        let at = |aggression: f64, seconds: u64| {
            slow_start(aggression, 0.1).warmth(Duration::from_secs(seconds))
        };

        assert_eq!([0, 3, 15, 30, 90].map(|seconds| at(1.0, seconds)), [10, 10, 50, 100, 100]);
        assert_eq!([0, 15].map(|seconds| at(2.0, seconds)), [10, 71]);
        assert_eq!([0, 15].map(|seconds| at(0.5, seconds)), [10, 25]);
    }

    proptest! {
        #[test]
        fn warmth_never_falls_and_ends_at_all(
            aggression in 0.1f64..10.0,
            min in 0.0f64..1.0,
            millis in 0u64..60_000,
            later in 0u64..60_000,
        ) {
            let slow_start = slow_start(aggression, min);
            let (now, then) = (Duration::from_millis(millis), Duration::from_millis(millis + later));

            let (before, after) = (slow_start.warmth(now), slow_start.warmth(then));

            assert!((1..=100).contains(&before) && before <= after);
            assert!(then < slow_start.window || after == 100);
        }
    }
}
