//! Whether a canary is taken back: what it did within a window, held against its rule and against the pools beside it.
//! Pure: counts and times go in, a verdict comes out.
//!
//! **Invariant:** a canary is judged by what it was asked for itself, and compared only with a side that was asked for enough,
//! too: that the stable pools are idle, or fail as well, is nothing against it. Nor is what chance may bring about between two
//! sides that are alike.

use std::array::from_fn;
use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use crate::base::units::Percent;
use crate::config::spec::RollbackSpec;
use crate::model::canary::{Counts, Outcome};

use super::chance::{explains, explains_beside};

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
    /// The counts of both sides at the last step that is behind the window, or at its begin.
    behind: [Counts; 2],
    /// Those at times within the window, oldest first; those that are the same as the ones before them are not there.
    steps: VecDeque<(Instant, [Counts; 2])>,
}

/// The rule that the canary has broken with these counts, if any.
pub fn judge(rule: &RollbackSpec, [stable, canary]: &[Counts; 2]) -> Option<Broken> {
    by_errors(rule, stable, canary).or_else(|| by_latency(rule, stable, canary))
}

fn by_errors(rule: &RollbackSpec, stable: &Counts, canary: &Counts) -> Option<Broken> {
    let (failed, of) = (canary.of(Outcome::Failed), canary.answered());
    let share = canary.failing()?;
    // A breaker keeps requests from what fails: without those that it has refused there would never be enough of them.
    let is_enough = of.saturating_add(canary.of(Outcome::Refused)) >= rule.requests;
    let is_proven = |most: &Percent| of >= rule.requests || !explains(failed, of, most.share());
    let most = rule.errors.filter(|most| is_enough && share > most.share());
    if let Some(most) = most.filter(is_proven) {
        return Some(Broken::Errors { share, of, most });
    }
    let factor = rule.errors_factor.filter(|_| is_enough && failed >= FEW)?;
    let beside = (stable.of(Outcome::Failed), stable.answered());
    let stable = stable.failing().filter(|_| beside.1 >= rule.requests)?;
    let is_broken = share > stable * f64::from(factor) && !explains_beside((failed, of), beside);
    is_broken.then_some(Broken::ErrorsBeside { share, stable, factor })
}

fn by_latency(rule: &RollbackSpec, stable: &Counts, canary: &Counts) -> Option<Broken> {
    let percentile = rule.percentile;
    let took = canary.quantile(percentile).filter(|_| canary.timed() >= rule.requests)?;
    if let Some(most) = rule.latency.filter(|most| took > *most) {
        return Some(Broken::Latency { took, percentile, most });
    }
    let factor = rule.latency_factor?;
    let beside = stable.quantile(percentile).filter(|_| stable.timed() >= rule.requests)?;
    let most = beside.saturating_mul(factor);
    let is_slow = took > most && took.saturating_sub(beside) >= FLOOR;
    let slow = |side: &Counts| (side.beyond(most), side.timed());
    let is_broken = is_slow && !explains_beside(slow(canary), slow(stable));
    is_broken.then_some(Broken::LatencyBeside { took, stable: beside, percentile, factor })
}

impl Watch {
    /// Begins with what was counted until now.
    pub fn begin(counts: [Counts; 2]) -> Self {
        Self { behind: counts, steps: VecDeque::new() }
    }

    /// What was counted within the window, or since it began; and up to a sixth of the window more.
    pub fn within(&mut self, window: Duration, now: Instant, counts: &[Counts; 2]) -> [Counts; 2] {
        while let Some((_, old)) =
            self.steps.pop_front_if(|(at, _)| now.saturating_duration_since(*at) >= window)
        {
            self.behind = old;
        }
        let (last, is_due) = match self.steps.back() {
            None => (&self.behind, true),
            Some((at, last)) => (last, now.saturating_duration_since(*at) >= window / STEPS),
        };
        if is_due && last != counts {
            self.steps.push_back((now, counts.clone()));
        }
        from_fn(|side| counts[side].since(&self.behind[side]))
    }

    /// What it takes besides itself.
    #[cfg(test)]
    pub fn heap_bytes(&self) -> usize {
        let counts = self.steps.iter().flat_map(|(_, counts)| counts).chain(&self.behind);
        let steps = self.steps.capacity() * size_of::<(Instant, [Counts; 2])>();
        steps + counts.map(Counts::heap_bytes).sum::<usize>()
    }

    /// Whether nothing was counted within the window when it was looked at last, and this is what was counted then.
    pub fn rests_at(&self, counts: &[Counts; 2]) -> bool {
        self.steps.is_empty() && self.behind == *counts
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

/// 5: at a small share, where chance explains little, one request of one user is no version that fails.
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

        assert_eq!(reason((9_000, 1_000), (700, 300)), None, "three times as many may fail");
        assert_eq!(reason((9_000, 1_000), (699, 301)), Some("errors_factor"));
        assert_eq!(reason((900, 100), (69, 31)), None, "of a hundred that may be chance");
        assert_eq!(reason((9_500, 0), (496, 4)), None, "a few are none");
        assert_eq!(reason((9_500, 0), (495, 5)), Some("errors_factor"));
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
        let mut watch = Watch::begin(counts.clone());
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
        assert!(watch.steps.len() <= 7, "{}", watch.steps.len());
        // One that is idle keeps what it has, and comes to nothing within the window.
        for second in 601..=1_200_u64 {
            let now = began + Duration::from_secs(second);
            let [_, canary] = watch.within(window, now, &counts);
            assert!(second < 672 || canary.requests() == 0, "{second}");
        }
        assert!(watch.steps.is_empty() && watch.rests_at(&counts));
        watch.within(Duration::MAX, began + window * 30, &counts);
    }

    #[test]
    fn no_failure_among_few_is_not_none_among_many() {
        let rule = RollbackSpec { errors_factor: Some(2), ..rule() };
        let judged = |stable: [u64; 2], canary: [u64; 2]| {
            let counts = [stable, canary].map(|[served, failed]| side(served, failed, MILLI));
            judge(&rule, &counts).map(|broken| broken.reason())
        };

        assert_eq!(judged([6_000, 0], [53_995, 5]), None, "five of sixty thousand");
        assert_eq!(judged([1_000, 0], [995, 5]), None);
        assert_eq!(judged([1_000, 0], [980, 20]), Some("errors_factor"));
        assert_eq!(judged([1_000, 1], [90, 10]), Some("errors_factor"));
    }

    #[test]
    fn a_few_slow_requests_of_a_hundred_are_no_slow_canary() {
        let rule = RollbackSpec { latency_factor: Some(2), ..rule() };
        let of = |quick, slow| {
            let mut side = side(quick, 0, MILLI * 20);
            (0..slow).for_each(|_| side.add(Outcome::Served, MILLI * 100));
            side
        };
        let judged = |stable, canary| judge(&rule, &[stable, canary]).map(|broken| broken.reason());

        assert_eq!(judged(of(960, 40), of(94, 6)), None, "one in twenty-five is slow anyway");
        assert_eq!(judged(of(960, 40), of(70, 30)), Some("latency_factor"));
        assert_eq!(judged(of(10_000, 0), of(94, 6)), Some("latency_factor"));
    }

    #[test]
    fn what_a_tenant_s_breaker_refuses_neither_counts_nor_hides_a_canary_that_fails() {
        let own = RollbackSpec { errors: Some(Percent::new(5.0)), ..rule() };
        let beside = RollbackSpec { errors_factor: Some(2), ..rule() };
        let judged = |rule: &RollbackSpec, [served, failed, refused]: [u64; 3]| {
            let mut canary = side(served, failed, MILLI);
            (0..refused).for_each(|_| canary.add(Outcome::Refused, Duration::ZERO));
            judge(rule, &[side(1_000, 1, MILLI), canary]).map(|broken| broken.reason())
        };

        for refused in [0, 10, 1_000_000] {
            assert_eq!(judged(&own, [95, 5, refused]), None, "{refused}");
            assert_eq!(judged(&beside, [95, 0, refused]), None, "{refused}");
        }
        // The breaker is open after twenty of them, and has few on trial from then on.
        assert_eq!(judged(&own, [0, 20, 79]), None, "of too few nothing is said");
        assert_eq!(judged(&own, [0, 20, 80]), Some("errors"));
        assert_eq!(judged(&beside, [0, 20, 80]), Some("errors_factor"));
        assert_eq!(judged(&own, [9, 1, 1_000_000]), None, "one of ten proves nothing");
        let slow = RollbackSpec { latency_factor: Some(2), ..rule() };
        assert_eq!(judged(&slow, [100, 0, 1_000_000]), None);
        let mut stable = side(1_000, 0, MILLI * 40);
        (0..1_000_000).for_each(|_| stable.add(Outcome::Refused, Duration::ZERO));
        assert_eq!(judge(&slow, &[stable, side(1_000, 0, MILLI * 50)]), None, "it has no time");
    }

    /// How many of these rollouts are rolled back: with so many requests a second, of which the canary has this share, and
    /// with these shares that fail, of the stable side and of the canary.
    fn rolled_back(
        rollouts: u64,
        looks: u64,
        (requests, share): (u64, f64),
        (stable, canary): (f64, f64),
    ) -> usize {
        let rule = RollbackSpec { errors_factor: Some(2), ..rule() };
        let began = Instant::now();
        let is_rolled_back = |seed: u64| {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut counts = <[Counts; 2]>::default();
            let mut watch = Watch::begin(counts.clone());
            (1..=looks).any(|second| {
                for _ in 0..requests {
                    let side = usize::from(random.f64() < share);
                    let failed = random.f64() < [stable, canary][side];
                    let outcome = if failed { Outcome::Failed } else { Outcome::Served };
                    counts[side].add(outcome, MILLI);
                }
                let now = began + Duration::from_secs(second);
                judge(&rule, &watch.within(rule.window, now, &counts)).is_some()
            })
        };
        (0..rollouts).filter(|seed| is_rolled_back(*seed)).count()
    }

    /// Looked at each second for four minutes, at the smallest factor, where chance has most to say.
    #[test]
    fn a_canary_that_is_as_good_as_the_others_is_kept_whatever_its_share() {
        for share in [0.01, 0.1, 0.5, 0.9, 0.99] {
            for failing in [0.002, 0.03] {
                let count = rolled_back(100, 240, (60, share), (failing, failing));
                assert_eq!(count, 0, "a share of {share}, {failing} fail");
            }
        }
    }

    #[test]
    fn a_canary_that_fails_as_many_times_as_often_is_found() {
        for (share, failing) in [(0.1, 0.2), (0.2, 0.1), (0.5, 0.05), (0.9, 0.2)] {
            let count = rolled_back(50, 600, (60, share), (failing, 2.0 * failing));
            assert_eq!(count, 50, "a share of {share}, twice {failing} fail");
        }
        // One that is ten times as bad, and one beside a side that never fails.
        assert_eq!(rolled_back(50, 240, (60, 0.05), (0.01, 0.1)), 50);
        assert_eq!(rolled_back(50, 240, (60, 0.05), (0.0, 0.05)), 50);
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
