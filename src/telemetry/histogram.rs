//! Counts by duration, in the fifteen buckets that every histogram of the gateway has.

use std::time::Duration;

/// Upper bounds in nanoseconds. From half a millisecond, where a fast answer of a near endpoint
/// lies, to 30 s, the built-in deadline of a request; about 2.2 apart, so that a quantile is off
/// by a few tens of per cent at most.
const BOUNDS: [u64; 15] = [
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
];

const NANOS_A_SECOND: f64 = 1e9;

/// One for each bound and one for what is longer than the last.
pub(super) const BUCKETS: usize = BOUNDS.len() + 1;

/// Counts by duration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    sum_nanos: u64,
    counts: [u64; BUCKETS],
}

/// At most 255 durations, in a sixth of the room: between two flushes there may be one for each
/// tenant.
#[derive(Clone, Debug, Default)]
pub(super) struct ShortHistogram {
    sum_nanos: u64,
    counts: [u8; BUCKETS],
}

/// A duration, and the number of its bucket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Took {
    nanos: u64,
    bucket: usize,
}

impl Histogram {
    /// Counts one duration.
    pub fn observe(&mut self, duration: Duration) {
        self.count_one(Took::of(duration));
    }

    /// Counts one duration whose bucket is known.
    pub(super) fn count_one(&mut self, took: Took) {
        if let Some(count) = self.counts.get_mut(took.bucket) {
            *count += 1;
        }
        self.sum_nanos = self.sum_nanos.saturating_add(took.nanos);
    }

    /// Takes away what is also in another place.
    pub(super) fn subtract(&mut self, short: &ShortHistogram) {
        short.each(|bucket, less| self.counts[bucket] -= u64::from(less));
        self.sum_nanos = self.sum_nanos.saturating_sub(short.sum_nanos);
    }

    /// Adds what was counted since the last flush.
    pub(super) fn add(&mut self, short: &ShortHistogram) {
        short.each(|bucket, more| self.counts[bucket] += u64::from(more));
        self.sum_nanos = self.sum_nanos.saturating_add(short.sum_nanos);
    }

    /// Adds what another one counted.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.sum_nanos = self.sum_nanos.saturating_add(other.sum_nanos);
    }

    /// What was counted here and not in `other`, all of which was counted here, too.
    pub(super) fn without(&self, other: &Self) -> Self {
        let mut left = self.clone();
        for (count, less) in left.counts.iter_mut().zip(other.counts) {
            *count = count.saturating_sub(less);
        }
        left.sum_nanos = left.sum_nanos.saturating_sub(other.sum_nanos);
        left
    }

    /// The duration within which this share of those counted lay, as far as buckets tell; `None` = none was counted.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let counts = self.counts.map(|count| u32::try_from(count).unwrap_or(u32::MAX));
        quantile(&counts, share).map(Duration::from_secs_f64)
    }

    /// Their sum.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum_nanos)
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The counts of all buckets.
    pub(super) fn buckets(&self) -> &[u64; BUCKETS] {
        &self.counts
    }

    /// Their sum, in seconds.
    pub fn sum_seconds(&self) -> f64 {
        self.sum_nanos as f64 / NANOS_A_SECOND
    }

    /// Each upper bound in seconds with how many were not longer.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        BOUNDS.iter().zip(self.counts).scan(0, |sum, (bound, count)| {
            *sum += count;
            Some((*bound as f64 / NANOS_A_SECOND, *sum))
        })
    }
}

impl ShortHistogram {
    /// The buckets that hold something, and how much.
    pub(super) fn each(&self, mut tell: impl FnMut(usize, u8)) {
        let (words, _) = self.counts.as_chunks();
        for (first, word) in (0..).step_by(size_of::<u64>()).zip(words) {
            each_counted(*word, |place, count| tell(first + place, count));
        }
    }

    /// Counts one duration.
    pub(super) fn count_one(&mut self, took: Took) {
        if let Some(count) = self.counts.get_mut(took.bucket) {
            *count = count.saturating_add(1);
        }
        self.sum_nanos = self.sum_nanos.saturating_add(took.nanos);
    }

    /// All of them together.
    pub(super) fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum_nanos)
    }
}

/// Those of eight counts that are not 0, and their places. Of most tenants one is, so that looking
/// at each would take longer.
pub(super) fn each_counted(counts: [u8; size_of::<u64>()], mut tell: impl FnMut(usize, u8)) {
    let mut left = u64::from_le_bytes(counts);
    while left != 0 {
        let first = left.trailing_zeros() & !(u8::BITS - 1);
        tell((first / u8::BITS) as usize, (left >> first) as u8);
        left &= !(u64::from(u8::MAX) << first);
    }
}

impl Took {
    /// Finds the bucket of a duration.
    pub(super) fn of(duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self { nanos, bucket: BOUNDS.partition_point(|bound| *bound < nanos) }
    }
}

/// The time in seconds within which this share of what was counted lay, as Prometheus reckons it:
/// evenly spread within a bucket, and the last bound for what is longer. `None` = nothing counted.
pub(super) fn quantile(counts: &[u32; BUCKETS], share: f64) -> Option<f64> {
    let total: u64 = counts.iter().map(|count| u64::from(*count)).sum();
    let rank = total as f64 * share;
    let (mut below, mut lower) = (0.0, 0.0);
    for (count, bound) in counts.iter().zip(BOUNDS) {
        let (count, upper) = (f64::from(*count), bound as f64 / NANOS_A_SECOND);
        if count > 0.0 && below + count >= rank {
            return Some(lower + (upper - lower) * ((rank - below) / count));
        }
        below += count;
        lower = upper;
    }
    (total > 0).then_some(lower)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_on_a_bound_counts_below_it() {
        let mut histogram = Histogram::default();
        histogram.observe(Duration::from_micros(500));
        histogram.observe(Duration::from_micros(501));
        histogram.observe(Duration::from_secs(31));

        let cumulative: Vec<(f64, u64)> = histogram.cumulative().collect();

        assert_eq!(cumulative[0], (0.0005, 1));
        assert_eq!(cumulative[1], (0.001, 2));
        assert_eq!(cumulative[14], (30.0, 2));
        assert_eq!(histogram.count(), 3);
    }

    #[test]
    fn merged_histograms_tell_the_sum_of_both() {
        let (mut left, mut right) = (Histogram::default(), Histogram::default());
        left.observe(Duration::from_millis(20));
        right.observe(Duration::from_millis(30));

        left.merge(&right);

        assert_eq!(left.count(), 2);
        assert!((left.sum_seconds() - 0.05).abs() < 1e-9);
    }

    #[test]
    fn what_was_counted_between_flushes_adds_up() {
        let (mut all, mut sums) = (Histogram::default(), Histogram::default());
        for _ in 0..2 {
            let mut short = ShortHistogram::default();
            for millis in [0, 1, 20, 31_000] {
                short.count_one(Took::of(Duration::from_millis(millis)));
                all.observe(Duration::from_millis(millis));
            }
            sums.add(&short);
        }

        assert_eq!(sums, all);
        let mut short = ShortHistogram::default();
        short.count_one(Took::of(Duration::from_millis(20)));
        sums.add(&short);
        sums.subtract(&short);
        assert_eq!(sums, all);
    }

    #[test]
    fn an_absurd_duration_does_not_wrap() {
        let (mut histogram, mut short) = (Histogram::default(), ShortHistogram::default());
        for _ in 0..2 {
            histogram.observe(Duration::MAX);
            short.count_one(Took::of(Duration::MAX));
        }
        histogram.add(&short);

        assert_eq!(histogram.count(), 4);
        assert!(histogram.sum_seconds() > 1e9);
    }

    #[test]
    fn a_quantile_lies_within_its_bucket() {
        let mut counts = [0; BUCKETS];
        assert_eq!(quantile(&counts, 0.5), None);

        counts[4] = 98; // 5 to 10 ms
        counts[7] = 2; // 50 to 100 ms
        let median = quantile(&counts, 0.5).unwrap();
        assert!((0.007..0.008).contains(&median), "{median}");
        let last = quantile(&counts, 0.99).unwrap();
        assert!((last - 0.075).abs() < 1e-9, "{last}");

        counts[BUCKETS - 1] = 900; // longer than any bound
        assert_eq!(quantile(&counts, 0.99), Some(30.0));
    }
}
