//! How a canary fares: what became of its requests and of those of the pools beside it, and whether it gets any.
//! Counted by workers, each on lines of its own; read, and taken back, by control.

use std::array::from_fn;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::base::log_linear::{place, places, reached};

/// Whose requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Those of all other pools of the split.
    Stable,
    /// Those of the canary.
    Canary,
}

impl Side {
    /// Both, in the order of [`Progress::counts`].
    pub const BOTH: [Self; 2] = [Self::Stable, Self::Canary];

    /// The word of metrics and of the API. Never rename one.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Canary => "canary",
        }
    }
}

/// What became of a request, as its client saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered, and not with a 5xx.
    Served,
    /// It was answered with a 5xx, by an endpoint or by the gateway.
    Failed,
    /// The client left, or was itself at fault, before there was an answer; or it gave little time, and that was over.
    Left,
    /// The gateway refused it before any endpoint was asked, for what its tenant or others did before. Has no time.
    Refused,
}

impl Outcome {
    /// Every outcome, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Served, Self::Failed, Self::Left, Self::Refused];

    /// The label's value. Never rename one.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Failed => "failed",
            Self::Left => "left",
            Self::Refused => "refused",
        }
    }

    /// Whether how long it took says anything of the pool.
    fn has_time(self) -> bool {
        self != Self::Refused
    }
}

/// What is counted of a split with a canary, and whether that gets any requests. Lives as long as the split is what it is,
/// over all tables.
#[derive(Debug, Default)]
pub struct Progress {
    /// Writer: `control::splits`.
    rolled_back: AtomicBool,
    /// Of each worker; more workers than these share some. Made with the first request, since most splits of most gateways have
    /// requests on few workers, and many have none.
    stripes: OnceLock<Box<Stripes>>,
}

type Stripes = [OnceLock<Box<Stripe>>; STRIPES];

/// What one worker counts, apart from what others write.
#[derive(Debug)]
#[repr(align(128))]
struct Stripe([Tally; 2]);

#[derive(Debug)]
struct Tally {
    outcomes: [AtomicU64; Outcome::ALL.len()],
    times: [AtomicU64; PLACES],
}

/// The counts of one side at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    outcomes: [u64; Outcome::ALL.len()],
    /// How long it took to the heads of answers, or until the client left; `None` = there was nothing, as with most sides of
    /// most splits.
    times: Option<Box<[u64; PLACES]>>,
}

impl Progress {
    /// Whether the canary gets no requests.
    pub fn is_rolled_back(&self) -> bool {
        self.rolled_back.load(Ordering::Relaxed)
    }

    /// The canary gets no requests from now on.
    pub fn roll_back(&self) {
        self.rolled_back.store(true, Ordering::Relaxed);
    }

    /// The canary gets its share again.
    pub fn resume(&self) {
        self.rolled_back.store(false, Ordering::Relaxed);
    }

    /// Counts a request on the worker of this number.
    pub fn count(
        &self,
        worker: usize,
        side: Side,
        outcome: Outcome,
        took: impl Into<Option<Duration>>,
    ) {
        let stripes = self.stripes.get_or_init(Box::default);
        let stripe = stripes[worker % STRIPES].get_or_init(Box::default);
        let tally = &stripe.0[side as usize];
        tally.outcomes[outcome as usize].fetch_add(1, Ordering::Relaxed);
        if let Some(took) = took.into().filter(|_| outcome.has_time()) {
            tally.times[place::<BITS>(took)].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What all workers have counted, in the order of [`Side::BOTH`].
    pub fn counts(&self) -> [Counts; 2] {
        let mut sums = <[Counts; 2]>::default();
        for stripe in self.stripes() {
            for (sum, tally) in sums.iter_mut().zip(&stripe.0) {
                add(&mut sum.outcomes, &tally.outcomes);
                if sum.requests() > 0 {
                    add(sum.times.get_or_insert_with(zeros), &tally.times);
                }
            }
        }
        sums
    }

    /// How many requests there were, of both sides: where it is what it was, so are the counts.
    pub fn requests(&self) -> u64 {
        let outcomes =
            self.stripes().flat_map(|stripe| &stripe.0).flat_map(|tally| &tally.outcomes);
        outcomes.map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// What it takes besides itself.
    #[cfg(test)]
    pub fn heap_bytes(&self) -> usize {
        let stripes = self.stripes.get().map_or(0, |stripes| size_of_val(&**stripes));
        stripes + self.stripes().map(size_of_val).sum::<usize>()
    }

    fn stripes(&self) -> impl Iterator<Item = &Stripe> {
        let stripes = self.stripes.get().into_iter().flat_map(|stripes| stripes.iter());
        stripes.filter_map(OnceLock::get).map(AsRef::as_ref)
    }
}

impl Default for Stripe {
    fn default() -> Self {
        let zeros = || Tally {
            outcomes: from_fn(|_| AtomicU64::new(0)),
            times: from_fn(|_| AtomicU64::new(0)),
        };
        Self([zeros(), zeros()])
    }
}

fn add<const N: usize>(sums: &mut [u64; N], counts: &[AtomicU64; N]) {
    for (sum, count) in sums.iter_mut().zip(counts) {
        *sum += count.load(Ordering::Relaxed);
    }
}

fn zeros() -> Box<[u64; PLACES]> {
    Box::new([0; PLACES])
}

impl Counts {
    /// Counts one request.
    pub fn add(&mut self, outcome: Outcome, took: Duration) {
        self.outcomes[outcome as usize] += 1;
        if outcome.has_time() {
            self.times.get_or_insert_with(zeros)[place::<BITS>(took)] += 1;
        }
    }

    /// How many requests came to this.
    pub fn of(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize]
    }

    /// How many requests were answered: those whose clients left say nothing of failures.
    pub fn answered(&self) -> u64 {
        self.of(Outcome::Served) + self.of(Outcome::Failed)
    }

    /// All of them.
    pub fn requests(&self) -> u64 {
        self.outcomes.iter().sum()
    }

    /// How many have a time.
    pub fn timed(&self) -> u64 {
        self.times().sum()
    }

    /// How many took longer than this, and more than up to an eighth longer.
    pub fn beyond(&self, took: Duration) -> u64 {
        self.times().skip(place::<BITS>(took) + 1).sum()
    }

    /// What it takes besides itself.
    #[cfg(test)]
    pub fn heap_bytes(&self) -> usize {
        self.times.as_ref().map_or(0, |times| size_of_val(&**times))
    }

    fn times(&self) -> impl Iterator<Item = u64> {
        self.times.iter().flat_map(|times| times.iter().copied())
    }

    /// The share of the answered requests that failed; `None` where none was.
    pub fn failing(&self) -> Option<f64> {
        let answered = self.answered();
        (answered > 0).then(|| self.of(Outcome::Failed) as f64 / answered as f64)
    }

    /// The time that so many per cent of the requests do not go beyond, and up to an eighth more; `None` while fewer than
    /// five are beyond it.
    pub fn quantile(&self, percent: u8) -> Option<Duration> {
        let percent = u64::from(percent.min(99));
        let sum = self.timed();
        if sum * (100 - percent) < BEYOND * 100 {
            return None;
        }
        let rank = (sum * percent).div_ceil(100);
        reached::<BITS>(self.times(), rank)
    }

    /// What was counted since these were the counts.
    pub fn since(&self, before: &Self) -> Self {
        let mut since = self.clone();
        let less = |(now, before): (&mut u64, &u64)| *now = now.saturating_sub(*before);
        since.outcomes.iter_mut().zip(&before.outcomes).for_each(less);
        if since.requests() == 0 {
            since.times = None;
        }
        if let (Some(times), Some(before)) = (&mut since.times, &before.times) {
            times.iter_mut().zip(before.iter()).for_each(less);
        }
        since
    }
}

/// 16: as many workers write apart; each takes 3 KB of a split that has requests.
const STRIPES: usize = 16;
/// 5: of fewer requests beyond a quantile, one tells too much.
const BEYOND: u64 = 5;
/// Three bits: times are told to an eighth.
const BITS: u32 = 3;
const PLACES: usize = places(BITS);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_workers_count_is_summed_by_side() {
        let progress = Progress::default();
        assert_eq!(progress.counts(), <[Counts; 2]>::default());
        for worker in 0..40 {
            progress.count(worker, Side::Stable, Outcome::Served, Duration::from_millis(5));
            progress.count(worker, Side::Canary, Outcome::Failed, Duration::from_millis(9));
        }
        progress.count(3, Side::Canary, Outcome::Left, Duration::MAX);

        let [stable, canary] = progress.counts();

        assert_eq!((stable.requests(), stable.failing()), (40, Some(0.0)));
        assert_eq!((canary.requests(), canary.answered()), (41, 40));
        assert_eq!((canary.failing(), canary.of(Outcome::Left)), (Some(1.0), 1));
        assert_eq!(progress.requests(), 81);
        assert_eq!(canary.since(&canary), Counts::default());
        assert!(canary.quantile(50).is_some_and(|took| took < Duration::from_millis(11)));
        assert_eq!(canary.quantile(95), None, "two of them are beyond");
    }

    #[test]
    fn one_that_is_rolled_back_is_so_until_it_is_resumed() {
        let progress = Progress::default();
        assert!(!progress.is_rolled_back());
        progress.roll_back();
        assert!(progress.is_rolled_back());
        progress.resume();
        assert!(!progress.is_rolled_back());
    }

    proptest! {
        #[test]
        fn a_quantile_is_no_less_than_the_true_one_and_an_eighth_above_it_at_most(
            micros in prop::collection::vec(64_u64..100_000_000, 100..400),
            percent in 50_u8..=95,
        ) {
            let mut counts = Counts::default();
            for micros in &micros {
                counts.add(Outcome::Served, Duration::from_micros(*micros));
            }
            let mut sorted = micros.clone();
            sorted.sort_unstable();
            let exact = u128::from(sorted[(sorted.len() * usize::from(percent)).div_ceil(100) - 1]);

            let told = counts.quantile(percent).unwrap().as_micros();

            prop_assert!(told > exact && told * 8 <= exact * 9, "{} {}", told, exact);
        }
    }
}
