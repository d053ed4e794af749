//! How long an endpoint takes to answer, as one word: a moving average that rises at once with a slow
//! answer and falls with time ("peak EWMA", as Finagle and linkerd know it).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long an endpoint takes to answer. Writer: `pool`.
#[derive(Debug, Default)]
pub(super) struct Latency {
    /// Seconds as the bits of an `f32`, below the tick of the last sample; 0 = no sample yet.
    word: AtomicU64,
}

/// What one attempt tells of its endpoint.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sample {
    /// It took so long.
    Took(Duration),
    /// It would have taken longer: somebody gave it up. That raises an average and never lowers it.
    MoreThan(Duration),
}

/// The average as of its last sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Estimate {
    pub(super) seconds: f32,
    /// The tick of the last sample.
    pub(super) tick: u32,
}

impl Latency {
    pub(super) fn read(&self) -> Option<Estimate> {
        Estimate::of(self.word.load(Ordering::Relaxed))
    }

    /// Takes a sample that came at this tick. Workers may do so at once: none gets lost.
    pub(super) fn learn(&self, sample: Sample, tick: u32) {
        let learnt = |word| Estimate::after(Estimate::of(word), sample, tick).map(Estimate::word);
        // An error says that the sample changes nothing.
        let _unchanged = self.word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, learnt);
    }
}

impl Estimate {
    fn of(word: u64) -> Option<Self> {
        let estimate = Self { seconds: f32::from_bits(word as u32), tick: (word >> 32) as u32 };
        (word as u32 != 0).then_some(estimate)
    }

    fn word(self) -> u64 {
        u64::from(self.tick) << 32 | u64::from(self.seconds.to_bits())
    }

    /// What it is with one more sample; `None` = as before.
    fn after(before: Option<Self>, sample: Sample, tick: u32) -> Option<Self> {
        let (taken, given_up) = match sample {
            Sample::Took(time) => (time.as_secs_f32().max(SHORTEST), false),
            Sample::MoreThan(time) => (time.as_secs_f32(), true),
        };
        let raised = Some(Self { seconds: taken, tick });
        let Some(known) = before else {
            // Who leaves at once says nothing of an endpoint that nobody knows.
            return raised.filter(|_| !given_up || taken >= UNANSWERED.as_secs_f32());
        };
        let passed = tick.saturating_sub(known.tick);
        let weight = fade(passed);
        match given_up {
            true => raised.filter(|_| taken > known.seconds * weight),
            false if taken > known.seconds => raised,
            // Within a tick the average has no time to fall in.
            false if passed == 0 => None,
            false => {
                let seconds = known.seconds * weight + taken * (1.0 - weight);
                Some(Self { seconds, tick })
            }
        }
    }
}

/// What is left of what was known of an endpoint when nothing was learnt for so long: from 1 down to 0.
pub fn faded(time: Duration) -> f32 {
    fade(tick(time))
}

fn fade(ticks: u32) -> f32 {
    (-(ticks as f32) * (TICK.as_secs_f32() / DECAY.as_secs_f32())).exp()
}

/// The tick that a time since an endpoint's birth is in.
pub(super) fn tick(since: Duration) -> u32 {
    u32::try_from(since.as_millis() / TICK.as_millis()).unwrap_or(u32::MAX)
}

/// 64 ms: with it 32 bits last for eight years, and a tick is a hundredth and a half of the decay.
pub(super) const TICK: Duration = Duration::from_millis(64);
/// 10 s, as linkerd has it: what an endpoint did is half forgotten after 7 s.
const DECAY: Duration = Duration::from_secs(10);
/// 1 µs: nothing answers in less, and a word of 0 says that there is no sample.
const SHORTEST: f32 = 1e-6;
/// 1 s, linkerd's default for an endpoint that nothing is known of. A failure counts as if it had taken
/// that long, or who fails at once would be taken for the fastest.
pub const UNANSWERED: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(latency: &Latency) -> f32 {
        latency.read().map_or(0.0, |estimate| estimate.seconds)
    }

    fn took(seconds: f32) -> Sample {
        Sample::Took(Duration::from_secs_f32(seconds))
    }

    fn more_than(seconds: f32) -> Sample {
        Sample::MoreThan(Duration::from_secs_f32(seconds))
    }

    #[test]
    fn a_slow_answer_counts_at_once_and_a_fast_one_with_time() {
        let latency = Latency::default();
        latency.learn(took(0.010), 0);
        latency.learn(took(2.0), 1);
        assert_eq!(seconds(&latency), 2.0);

        latency.learn(took(0.010), 1);
        assert_eq!(seconds(&latency), 2.0, "within a tick it does not fall");
        let decay = tick(DECAY) + 1;
        latency.learn(took(0.010), 1 + decay);

        assert!((seconds(&latency) - 0.74).abs() < 0.02, "{}", seconds(&latency));
    }

    #[test]
    fn many_fast_answers_bring_it_down_whatever_their_number() {
        for ticks in [1, 4, 20] {
            let latency = Latency::default();
            latency.learn(took(1.0), 0);
            for at in (0..tick(6 * DECAY)).step_by(ticks) {
                for _ in 0..3 {
                    latency.learn(took(0.010), at);
                }
            }
            assert!((0.009..0.016).contains(&seconds(&latency)), "{}", seconds(&latency));
        }
    }

    #[test]
    fn what_was_given_up_raises_and_never_lowers() {
        let latency = Latency::default();
        latency.learn(more_than(0.001), 0);
        assert_eq!(latency.read(), None, "who left at once says nothing");
        latency.learn(more_than(3.0), 0);
        assert_eq!(seconds(&latency), 3.0);

        latency.learn(more_than(1.0), 1);
        assert_eq!(seconds(&latency), 3.0);
        latency.learn(more_than(1.0), tick(3 * DECAY));
        assert_eq!(seconds(&latency), 1.0, "it has faded below that");
    }

    proptest! {
        #[test]
        fn it_stays_between_the_fastest_and_the_slowest(
            samples in proptest::collection::vec((0u64..100_000_000, 0u32..10_000), 1..50),
        ) {
            let latency = Latency::default();
            for (micros, tick) in &samples {
                latency.learn(Sample::Took(Duration::from_micros(*micros)), *tick);
            }
            let times = samples.iter().map(|(micros, _)| *micros as f32 / 1e6);
            let (least, most) = times.fold((f32::MAX, 0.0f32), |(a, b), time| (a.min(time), b.max(time)));
            let seen = seconds(&latency);
            prop_assert!(seen >= least * 0.999 && seen <= most.max(SHORTEST) * 1.001, "{seen}");
        }
    }
}
