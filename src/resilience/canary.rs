//! Whether a canary is taken back: what it did within a window, held against its rule and against the pools beside it.
//! Pure: counts and times go in, a verdict comes out.
//!
//! **Invariant:** a canary is judged by what it was asked for itself, and compared only with a side that was asked for enough,
//! too: that the stable pools are idle, or fail as well, is nothing against it.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use crate::base::units::Percent;
use crate::config::spec::RollbackSpec;
use crate::model::canary::{Counts, Outcome};

/// The rule that a canary has broken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Broken {
    /// Too large a share of its requests failed.
    Errors {
        /// Of 1.
        share: f64,
        /// Of how many requests.
        of: u64,
        /// The rule.
        most: Percent,
    },
    /// Its share is too many times that of the other pools.
    ErrorsBeside {
        /// Of 1.
        share: f64,
        /// The same of the other pools.
        stable: f64,
        /// The rule.
        factor: u32,
    },
    /// It takes too long.
    Latency {
        /// How long, at the percentile.
        took: Duration,
        /// Which one.
        percentile: u8,
        /// The rule.
        most: Duration,
    },
    /// It takes too many times as long as the other pools.
    LatencyBeside {
        /// How long, at the percentile.
        took: Duration,
        /// The same of the other pools.
        stable: Duration,
        /// Which one.
        percentile: u8,
        /// The rule.
        factor: u32,
    },
}

/// What a split counted of late.
#[derive(Debug)]
pub struct Watch {
    /// Counts of both sides at times of before, oldest first; those that are the same as the ones before them are not there.
    before: VecDeque<(Instant, [Counts; 2])>,
}

/// The rule that the canary has broken with these counts, if any.
pub fn judge(rule: &RollbackSpec, [stable, canary]: &[Counts; 2]) -> Option<Broken> {
    by_errors(rule, stable, canary).or_else(|| by_latency(rule, stable, canary))
}

fn by_errors(rule: &RollbackSpec, stable: &Counts, canary: &Counts) -> Option<Broken> {
    let of = canary.answered();
    let share = canary.failing().filter(|_| of >= rule.requests)?;
    if let Some(most) = rule.errors.filter(|most| share > most.share()) {
        return Some(Broken::Errors { share, of, most });
    }
    let factor = rule.errors_factor.filter(|_| canary.of(Outcome::Failed) >= FEW)?;
    let stable = stable.failing().filter(|_| stable.answered() >= rule.requests)?;
    (share > stable * f64::from(factor)).then_some(Broken::ErrorsBeside { share, stable, factor })
}

fn by_latency(rule: &RollbackSpec, stable: &Counts, canary: &Counts) -> Option<Broken> {
    let percentile = rule.percentile;
    let took = canary.quantile(percentile).filter(|_| canary.requests() >= rule.requests)?;
    if let Some(most) = rule.latency.filter(|most| took > *most) {
        return Some(Broken::Latency { took, percentile, most });
    }
    let factor = rule.latency_factor?;
    let stable = stable.quantile(percentile).filter(|_| stable.requests() >= rule.requests)?;
    let is_slow = took > stable.saturating_mul(factor) && took.saturating_sub(stable) >= FLOOR;
    is_slow.then_some(Broken::LatencyBeside { took, stable, percentile, factor })
}

impl Watch {
    /// Begins with what was counted until now.
    pub fn begin(now: Instant, counts: [Counts; 2]) -> Self {
        Self { before: [(now, counts)].into() }
    }

    /// What was counted within the window, or since it began; and up to a sixth of the window more.
    pub fn within(&mut self, window: Duration, now: Instant, counts: &[Counts; 2]) -> [Counts; 2] {
        let is_behind = |(at, _): &(Instant, [Counts; 2])| *at + window <= now;
        while self.before.get(1).is_some_and(is_behind) {
            self.before.pop_front();
        }
        let since = match self.before.front() {
            Some((_, [stable, canary])) => [counts[0].since(stable), counts[1].since(canary)],
            None => counts.clone(),
        };
        let last = self.before.back();
        let is_due = last.is_none_or(|(at, _)| now.duration_since(*at) >= window / STEPS);
        if is_due && last.is_none_or(|(_, last)| last != counts) {
            self.before.push_back((now, counts.clone()));
        }
        since
    }
}

impl Broken {
    /// Stable name for the API and the metrics. Never rename one.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Errors { .. } => "errors",
            Self::ErrorsBeside { .. } => "errors_factor",
            Self::Latency { .. } => "latency",
            Self::LatencyBeside { .. } => "latency_factor",
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Errors { share, of, most } => {
                write!(f, "{} of {of} requests failed, and {most} may", Shown(*share))
            }
            Self::ErrorsBeside { share, stable, factor } => write!(
                f,
                "{} of its requests failed, more than {factor} times the {} of the other pools",
                Shown(*share),
                Shown(*stable)
            ),
            Self::Latency { took, percentile, most } => {
                write!(f, "it takes {took:?} at p{percentile}, longer than {most:?}")
            }
            Self::LatencyBeside { took, stable, percentile, factor } => write!(
                f,
                "it takes {took:?} at p{percentile}, more than {factor} times the {stable:?} of the \
                 other pools"
            ),
        }
    }
}

/// A share of 1 as people read it.
struct Shown(f64);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1}%", self.0 * 100.0)
    }
}

/// 5: beside a side without any failure, one failure would be infinitely many times as many.
const FEW: u64 = 5;
/// 5 ms: beside a side that answers within one, a busy moment is many times as long.
const FLOOR: Duration = Duration::from_millis(5);
/// 6: ten seconds of a minute.
const STEPS: u32 = 6;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    fn rule() -> RollbackSpec {
        RollbackSpec {
            errors: None,
            errors_factor: None,
            latency: None,
            latency_factor: None,
            percentile: 95,
            requests: 100,
            window: Duration::from_secs(60),
        }
    }

    /// So many that were served and that failed, each in this time.
    fn side(served: u64, failed: u64, took: Duration) -> Counts {
        let mut counts = Counts::default();
        (0..served).for_each(|_| counts.add(Outcome::Served, took));
        (0..failed).for_each(|_| counts.add(Outcome::Failed, took));
        counts
    }

    #[test]
    fn too_large_a_share_of_failures_of_enough_requests_is_one_too_many() {
        let rule = RollbackSpec { errors: Some(Percent::new(5.0)), ..rule() };
        let reason = |served, failed| {
            let counts = [side(0, 1_000, MILLI), side(served, failed, MILLI)];
            judge(&rule, &counts).map(|broken| broken.reason())
        };

        assert_eq!(reason(95, 5), None, "five of a hundred may fail");
        assert_eq!(reason(94, 6), Some("errors"));
        assert_eq!(reason(0, 99), None, "of too few nothing is said");
        assert_eq!(reason(0, 100), Some("errors"));
    }

    #[test]
    fn the_share_of_the_other_pools_is_the_measure_where_they_have_enough_requests() {
        let rule = RollbackSpec { errors_factor: Some(3), ..rule() };
        let reason = |stable: (u64, u64), canary: (u64, u64)| {
            let counts = [side(stable.0, stable.1, MILLI), side(canary.0, canary.1, MILLI)];
            judge(&rule, &counts).map(|broken| broken.reason())
        };

        assert_eq!(reason((900, 100), (70, 30)), None, "three times as many may fail");
        assert_eq!(reason((900, 100), (69, 31)), Some("errors_factor"));
        assert_eq!(reason((1_000, 0), (996, 4)), None, "a few are none");
        assert_eq!(reason((1_000, 0), (995, 5)), Some("errors_factor"));
        assert_eq!(reason((99, 0), (0, 500)), None, "nobody knows how the others are");
        assert_eq!(reason((0, 1_000), (0, 1_000)), None, "all fail, whoever it is");
    }

    #[test]
    fn a_canary_is_slow_by_itself_or_beside_the_other_pools() {
        let own = RollbackSpec { latency: Some(Duration::from_millis(500)), ..rule() };
        let beside = RollbackSpec { latency_factor: Some(2), ..rule() };
        let reason = |rule: &RollbackSpec, stable, canary| {
            let counts = [side(1_000, 0, MILLI * stable), side(1_000, 0, MILLI * canary)];
            judge(rule, &counts).map(|broken| broken.reason())
        };

        assert_eq!(reason(&own, 5_000, 400), None);
        assert_eq!(reason(&own, 5_000, 600), Some("latency"));
        assert_eq!(reason(&beside, 100, 150), None);
        assert_eq!(reason(&beside, 100, 300), Some("latency_factor"));
        assert_eq!(reason(&beside, 1, 4), None, "that is a busy moment");
        assert_eq!(reason(&beside, 5_000, 5_000), None);
        // A tail of a tenth is seen at p95, one of a hundredth is not.
        for (slow, expected) in [(100, Some("latency")), (10, None)] {
            let mut canary = side(1_000 - slow, 0, MILLI);
            (0..slow).for_each(|_| canary.add(Outcome::Left, Duration::from_secs(9)));
            let broken = judge(&own, &[Counts::default(), canary]);
            assert_eq!(broken.map(|broken| broken.reason()), expected, "{slow}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_behind_the_window_is_forgotten_and_little_is_kept() {
        let began = Instant::now();
        let window = Duration::from_secs(60);
        let mut counts = [Counts::default(), Counts::default()];
        let mut watch = Watch::begin(began, counts.clone());
        for second in 1..=600_u64 {
            let now = began + Duration::from_secs(second);
            let outcome = if second <= 100 { Outcome::Failed } else { Outcome::Served };
            counts[1].add(outcome, MILLI * 3);
            let [_, canary] = watch.within(window, now, &counts);
            let expected = second.min(60)..=second.min(71);
            assert!(expected.contains(&canary.requests()), "{second}: {}", canary.requests());
            if second > 171 {
                assert_eq!(canary.of(Outcome::Failed), 0, "{second}");
            }
        }
        assert!(watch.before.len() <= 8, "{}", watch.before.len());
        // One that is idle keeps what it has, and comes to nothing within the window.
        for second in 601..=1_200_u64 {
            let now = began + Duration::from_secs(second);
            let [_, canary] = watch.within(window, now, &counts);
            assert!(second < 672 || canary.requests() == 0, "{second}");
        }
        assert_eq!(watch.before.len(), 1);
    }

    proptest! {
        /// Whatever the rule, a canary that does as the others do, or better, stays.
        #[test]
        fn one_that_is_as_the_others_breaks_no_rule_beside_them(
            served in 0_u64..500,
            failed in 0_u64..500,
            spared in 0_u64..100,
            millis in 1_u32..2_000,
            factor in 2_u32..100,
            requests in 1_u64..1_000,
        ) {
            let rule = RollbackSpec {
                errors_factor: Some(factor),
                latency_factor: Some(factor),
                requests,
                ..rule()
            };
            let stable = side(served, failed, MILLI * millis);
            let spared = spared.min(failed);
            let canary = side(served + spared, failed - spared, MILLI * millis);
            prop_assert_eq!(judge(&rule, &[stable, canary]), None);
        }

        /// More failures never save a canary.
        #[test]
        fn one_that_fails_more_stays_rolled_back(
            served in 1_u64..500,
            failed in 0_u64..500,
            more in 0_u64..100,
            most in 0.0..100.0_f64,
        ) {
            let rule = RollbackSpec { errors: Some(Percent::new(most)), requests: 1, ..rule() };
            let of = |failed| [Counts::default(), side(served, failed, MILLI)];
            if judge(&rule, &of(failed)).is_some() {
                prop_assert!(judge(&rule, &of(failed + more)).is_some());
            }
        }
    }
}
