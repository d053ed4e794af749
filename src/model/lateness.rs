//! Whether an endpoint is late: whether it has been slower than others are, time after time. One word, which an answer in
//! time leaves alone while nothing speaks against the endpoint, so that endpoints that are well are only read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What speaks for an endpoint being late. Writers: `proxy`, which sees answers, and `pool`, whose request tries it.
#[derive(Debug, Default)]
pub(super) struct Lateness {
    /// 17 bits of the score, 15 of how many ticks it is left alone for, 32 of the tick since which that counts; 0 = nothing
    /// speaks against it.
    word: AtomicU64,
}

/// How much a late answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Hardly any answer of its kind is late: three in a row are enough.
    Much,
    /// Some are, wherever they come from: six in a row are.
    Little,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    /// From 0 to [`ONE`]; it is late from the half on.
    score: u32,
    /// How long it is left alone.
    wait: u32,
    since: u32,
}

impl Lateness {
    /// Whether it is late, or was when somebody last tried it.
    #[inline]
    pub(super) fn is_late(&self) -> bool {
        State::of(self.word.load(Ordering::Relaxed)).is_late()
    }

    /// How many ticks ago it was found late, or late again; `None` where it is not late.
    pub(super) fn late_for(&self, now: u32) -> Option<u32> {
        let state = State::of(self.word.load(Ordering::Relaxed));
        state.is_late().then(|| now.saturating_sub(state.since))
    }

    /// An answer to a request that was sent at the tick `began` has come late.
    pub(super) fn comes_late(&self, weight: Weight, began: u32, now: u32) {
        let late = |word| State::of(word).after_late(weight, began, now).map(State::word);
        // An error says that it changes nothing.
        let _unchanged = self.word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, late);
    }

    /// An answer has come in time. Writes nothing while nothing speaks against the endpoint.
    #[inline]
    pub(super) fn comes_in_time(&self) {
        if self.word.load(Ordering::Relaxed) != 0 {
            self.forgive();
        }
    }

    #[cold]
    fn forgive(&self) {
        let forgiven = |word| (word != 0).then(|| State::of(word).after_in_time().word());
        let _unchanged = self.word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, forgiven);
    }

    /// Whether the request that asks is the one that tries it: it is late, and was left alone for its time. While that has no
    /// answer, the next one does once as much time has passed again, or ten seconds have.
    pub(super) fn begins_trial(&self, now: u32) -> bool {
        let tried = |word| State::of(word).tried(now).map(State::word);
        self.word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, tried).is_ok()
    }
}

impl State {
    fn of(word: u64) -> Self {
        let low = word as u32;
        Self { score: low & MASK, wait: low >> BITS, since: (word >> 32) as u32 }
    }

    fn word(self) -> u64 {
        u64::from(self.since) << 32 | u64::from(self.wait << BITS | self.score)
    }

    fn is_late(self) -> bool {
        self.score >= ONE / 2
    }

    /// With one more late answer; `None` = as before.
    fn after_late(self, weight: Weight, began: u32, now: u32) -> Option<Self> {
        if self.is_late() {
            // What was sent before it was known to be late says nothing new: many come out of one pause.
            let raised = self.raised(weight);
            let is_new = began >= self.since;
            return is_new.then_some(Self { wait: ticks(CONFIRMED), since: next(now), ..raised });
        }
        let raised = self.raised(weight);
        let late = Self { wait: ticks(SUSPECTED), since: next(now), ..raised };
        Some(if raised.is_late() { late } else { raised })
    }

    fn raised(self, weight: Weight) -> Self {
        let shift = match weight {
            Weight::Much => 2,
            Weight::Little => 3,
        };
        Self { score: self.score + ((ONE - self.score.min(ONE)) >> shift), ..self }
    }

    /// With one more in time. Where it is late still, the next request may try it at once.
    fn after_in_time(self) -> Self {
        let score = self.score - self.score / 4;
        match score >= LEAST {
            true => Self { score, wait: 0, ..self },
            false => Self { score: 0, wait: 0, since: 0 },
        }
    }

    fn tried(self, now: u32) -> Option<Self> {
        let waited = now.saturating_sub(self.since);
        let is_due = self.is_late() && waited >= self.wait;
        // Since when it is late stays as it was, so that the answer of one that tries it counts however long it takes.
        let wait = waited + waited.clamp(1, ticks(CONFIRMED));
        is_due.then_some(match wait <= MOST_WAIT {
            true => Self { wait, ..self },
            false => Self { wait: ticks(CONFIRMED), since: now, ..self },
        })
    }
}

/// What is sent within this tick may have been sent before.
fn next(tick: u32) -> u32 {
    tick.saturating_add(1)
}

fn ticks(time: Duration) -> u32 {
    super::latency::tick(time)
}

const ONE: u32 = 1 << 16;
const BITS: u32 = 17;
const MASK: u32 = (1 << BITS) - 1;
/// 1/64 of all: so little is nothing.
const LEAST: u32 = ONE / 64;
/// 2 s: a pause of an endpoint is over by then, and who is slow indeed shows it by one request.
const SUSPECTED: Duration = Duration::from_secs(2);
/// 10 s, after a request that has shown it: less than one in a thousand of a pool that has a hundred a second.
const CONFIRMED: Duration = Duration::from_secs(10);
/// 35 min, as 15 bits can say.
const MOST_WAIT: u32 = (1 << (32 - BITS)) - 1;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn late(lateness: &Lateness, weight: Weight, times: usize, now: u32) {
        (0..times).for_each(|_| lateness.comes_late(weight, now, now));
    }

    #[test]
    fn three_late_answers_in_a_row_make_an_endpoint_late_or_six_where_they_are_usual() {
        for (weight, times) in [(Weight::Much, 3), (Weight::Little, 6)] {
            let lateness = Lateness::default();
            late(&lateness, weight, times - 1, 100);
            assert!(!lateness.is_late(), "{weight:?}");
            late(&lateness, weight, 1, 100);
            assert!(lateness.is_late(), "{weight:?}");
        }
    }

    #[test]
    fn one_of_three_in_time_speaks_for_it() {
        let lateness = Lateness::default();
        for _ in 0..50 {
            late(&lateness, Weight::Much, 1, 7);
            lateness.comes_in_time();
            lateness.comes_in_time();
            assert!(!lateness.is_late());
        }
    }

    #[test]
    fn it_is_tried_by_one_request_after_two_seconds_and_then_each_ten_while_it_stays_late() {
        let lateness = Lateness::default();
        late(&lateness, Weight::Much, 3, 100);
        let mut now = 101 + ticks(SUSPECTED) - 1;
        assert!(!lateness.begins_trial(now), "it is left alone");
        now += 1;
        assert!(lateness.begins_trial(now));
        assert!(!lateness.begins_trial(now), "one is enough");

        lateness.comes_late(Weight::Much, now, now + 3);
        assert!(!lateness.begins_trial(now + 3 + ticks(CONFIRMED)));
        assert!(lateness.begins_trial(now + 4 + ticks(CONFIRMED)));
        lateness.comes_in_time();
        lateness.comes_in_time();
        assert!(!lateness.is_late());
    }

    #[test]
    fn answers_that_come_late_together_after_a_pause_are_one_sign_of_it() {
        let lateness = Lateness::default();
        for _ in 0..60 {
            lateness.comes_late(Weight::Much, 96, 100);
        }
        assert!(lateness.begins_trial(101 + ticks(SUSPECTED)));
        lateness.comes_in_time();
        assert!(!lateness.is_late(), "the first answer in time says that it is over");
    }

    #[test]
    fn a_trial_that_brings_no_answer_is_made_again_after_as_long_and_ten_seconds_at_most() {
        let lateness = Lateness::default();
        late(&lateness, Weight::Much, 3, 99);
        let trials: Vec<u32> = (0..3_000).filter(|at| lateness.begins_trial(100 + at)).collect();

        let (first, most) = (ticks(SUSPECTED), ticks(CONFIRMED));
        let expected = [first, 2 * first, 4 * first, 8 * first, 8 * first + most];
        assert_eq!(trials[..5], expected);
        assert!(trials[4..].windows(2).all(|pair| pair[1] - pair[0] == most), "{trials:?}");
    }

    #[test]
    fn an_endpoint_that_takes_longer_than_the_first_wait_is_tried_each_ten_seconds_all_the_same() {
        let lateness = Lateness::default();
        late(&lateness, Weight::Much, 3, 99);
        let (takes, mut under_way, mut trials) = (ticks(Duration::from_secs(5)), Vec::new(), 0);
        let minute = ticks(Duration::from_secs(60));
        for now in 100..100 + 10 * minute {
            if lateness.begins_trial(now) {
                trials += 1;
                under_way.push(now);
            }
            under_way.retain(|began| {
                let has_come = *began + takes == now;
                if has_come {
                    lateness.comes_late(Weight::Much, *began, now);
                }
                !has_come
            });
        }
        assert!((35..=65).contains(&trials), "{trials} in ten minutes");
    }

    #[test]
    fn one_that_nobody_has_asked_for_an_hour_is_tried_at_once() {
        let lateness = Lateness::default();
        late(&lateness, Weight::Much, 3, 99);
        let hour = ticks(Duration::from_secs(3600));

        assert!(lateness.begins_trial(hour));
        assert!(!lateness.begins_trial(hour + ticks(CONFIRMED) - 1));
        assert!(lateness.begins_trial(hour + ticks(CONFIRMED)));
    }

    proptest! {
        #[test]
        fn a_score_has_bounds_ends_with_answers_in_time_and_never_shuts_an_endpoint_out(
            steps in proptest::collection::vec((0_u8..4, 0_u32..400), 0..80),
        ) {
            let lateness = Lateness::default();
            lateness.comes_in_time();
            prop_assert_eq!(lateness.word.load(Ordering::Relaxed), 0, "nothing is written");
            let mut now = 0;
            for (what, passes) in steps {
                now += passes;
                match what {
                    0 => lateness.comes_late(Weight::Much, now.saturating_sub(3), now),
                    1 => lateness.comes_late(Weight::Little, now, now),
                    2 => lateness.comes_in_time(),
                    _ => _ = lateness.begins_trial(now),
                }
                let state = State::of(lateness.word.load(Ordering::Relaxed));
                prop_assert!(state.score < ONE && State::of(state.word()) == state);
            }
            let rested = now + 1 + ticks(CONFIRMED);
            prop_assert_eq!(lateness.begins_trial(rested), lateness.is_late());
            (0..4).for_each(|_| lateness.comes_in_time());
            prop_assert!(!lateness.is_late());
            (0..20).for_each(|_| lateness.comes_in_time());
            prop_assert_eq!(lateness.word.load(Ordering::Relaxed), 0);
        }
    }
}
