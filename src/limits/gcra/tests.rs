//! Requests in a time, beside a bucket that fills and by what may come through at all.

use std::time::Duration;

use proptest::prelude::*;

use crate::base::units::Rate;

use super::*;

fn rate(count: u32, seconds: u64, burst: u32) -> RateSpec {
    RateSpec { rate: Rate { count, per: Duration::from_secs(seconds) }, burst }
}

fn seconds(seconds: u64) -> Ticks {
    Ticks(seconds * Ticks::A_SECOND)
}

const AT_ONCE: Ticks = Ticks(0);

/// A bucket that fills as time passes: the same rule, told the other way round.
struct Bucket {
    pace: Pace,
    level: u64,
    since: u64,
}

impl Bucket {
    fn take(&mut self, now: u64) -> bool {
        self.level = (self.level + (now - self.since)).min(self.pace.depth);
        self.since = now;
        let enough = self.level >= self.pace.interval;
        self.level -= if enough { self.pace.interval } else { 0 };
        enough
    }
}

/// The requests that went at these times, in order, keep to a rate: of any that follow each other no more
/// than a burst and what the time between them has brought.
fn keeps_to(rate: &RateSpec, went: &[u64]) -> bool {
    let brought = |time: u64| {
        let per = u128::from(rate.rate.per.as_secs() * Ticks::A_SECOND);
        u128::from(time) * u128::from(rate.rate.count) / per
    };
    (0..went.len()).all(|from| {
        (from..went.len()).all(|to| {
            let many = (to - from + 1) as u128;
            many <= u128::from(rate.burst) + brought(went[to] - went[from])
        })
    })
}

fn rates() -> impl Strategy<Value = RateSpec> {
    let per = prop_oneof![Just(1_u64), Just(60), Just(3600)];
    (1_u32..2000, per, 1_u32..20).prop_map(|(count, per, burst)| rate(count, per, burst))
}

proptest! {
    #[test]
    fn it_admits_what_a_bucket_admits_and_never_more_than_burst_and_rate(
        rate in rates(),
        gaps in proptest::collection::vec((0_u64..40, 0_u64..16), 1..120),
    ) {
        let pace = Pace::of(&rate);
        let meter = Meter::default();
        let mut bucket = Bucket { pace, level: pace.depth, since: 0 };
        let (mut now, mut went) = (0, Vec::new());
        for (tenths, odd) in gaps {
            now += pace.interval / 10 * tenths + odd;
            let admitted = meter.take(pace, Ticks(now), AT_ONCE);
            prop_assert_eq!(admitted.is_ok(), bucket.take(now));
            match admitted {
                Ok(grant) => went.push(grant.at),
                Err(Later(later)) => {
                    prop_assert!(later > 0);
                    let mut then = Bucket { ..bucket };
                    prop_assert!(!then.take(now + later - 1), "not earlier than said");
                    prop_assert!(Bucket { ..bucket }.take(now + later), "and then for certain");
                }
            }
        }
        prop_assert!(keeps_to(&rate, &went));
    }

    #[test]
    fn who_waits_goes_in_a_slot_of_its_own_whoever_gives_one_back(
        rate in rates(),
        steps in proptest::collection::vec((0_u64..30, 0_u8..4), 1..100),
    ) {
        let pace = Pace::of(&rate);
        let (meter, longest) = (Meter::default(), Ticks(pace.interval * 10));
        let (mut now, mut taken) = (0, Vec::<Grant>::new());
        for (tenths, step) in steps {
            now += pace.interval / 10 * tenths;
            if step == 0 && !taken.is_empty() {
                // Whoever is still waiting, and stands anywhere.
                let place = usize::try_from(now).unwrap() % taken.len();
                if taken[place].at > now {
                    meter.give_back(pace, taken.remove(place), Ticks(now));
                }
                continue;
            }
            if let Ok(grant) = meter.take(pace, Ticks(now), longest) {
                prop_assert!(grant.at >= now && grant.at <= now + longest.0);
                taken.push(grant);
            }
        }
        let mut went: Vec<u64> = taken.iter().map(|grant| grant.at).collect();
        went.sort_unstable();
        prop_assert!(keeps_to(&rate, &went), "{went:?}");
    }

    #[test]
    fn another_limit_gives_nothing_back(before in rates(), after in rates(), used in 0_u32..40) {
        let (old, new) = (Pace::of(&before), Pace::of(&after));
        let meter = Meter::default();
        let now = seconds(10);
        let admitted = (0..used).filter(|_| meter.take(old, now, AT_ONCE).is_ok()).count();

        let more = (0..100).filter(|_| meter.take(new, now, AT_ONCE).is_ok()).count();

        let left = usize::try_from(after.burst).unwrap().saturating_sub(admitted);
        // What is taken is a time, and rounded once.
        prop_assert!(more == left || more + 1 == left || more == left + 1, "{more} of {left}");
    }
}

#[test]
fn what_was_taken_of_a_larger_limit_must_come_back_at_the_rate_of_the_smaller_one() {
    let (large, small) = (Pace::of(&rate(10, 1, 1000)), Pace::of(&rate(1, 1, 5)));
    let meter = Meter::default();
    while meter.take(large, seconds(1), AT_ONCE).is_ok() {}

    let later = seconds(996).0;
    assert_eq!(meter.take(small, seconds(1), AT_ONCE), Err(Later(later)), "of 1000 all but 4");
    assert_eq!(meter.take(small, seconds(1), seconds(995)), Err(Later(later)), "who waits, too");

    let at = |now| meter.take(small, seconds(now), AT_ONCE).is_ok();
    assert_eq!([at(996), at(997), at(997), at(998)], [false, true, false, true]);
}

#[test]
fn who_makes_a_limit_smaller_and_larger_again_finds_nothing_free() {
    for (plan, between) in [
        (rate(10, 1, 1000), rate(10, 1, 1)),
        (rate(10, 1, 1000), rate(1, 1, 1000)),
        (rate(1000, 1, 1000), rate(1, 3600, 1)),
        // What a word cannot tell of at the rate between.
        (rate(1000, 1, 1_000_000), rate(1, 3600, 1)),
    ] {
        let (pace, other, meter) = (Pace::of(&plan), Pace::of(&between), Meter::default());
        let now = seconds(1);
        let taken = (0..).take_while(|_| meter.take(pace, now, AT_ONCE).is_ok()).count();
        assert_eq!(taken, plan.burst as usize);

        for _ in 0..3 {
            assert!(meter.take(other, now, AT_ONCE).is_err(), "{between:?}");
            assert!(meter.take(pace, now, AT_ONCE).is_err(), "after {between:?}");
        }
    }
}

#[test]
fn what_is_left_and_when_it_is_back_is_told() {
    let pace = Pace::of(&rate(10, 1, 5));
    let meter = Meter::default();
    let now = seconds(1);
    let told = |grant: Grant| {
        let reset = Ticks(pace.reset(grant.left, now.0)).duration();
        (pace.remaining(grant.left, now.0), reset.as_millis())
    };
    let all: Vec<_> = (0..5).map(|_| told(meter.take(pace, now, AT_ONCE).unwrap())).collect();

    assert_eq!(all, [(4, 100), (3, 200), (2, 300), (1, 400), (0, 100)]);
    assert_eq!(meter.take(pace, now, AT_ONCE), Err(Later(Ticks::A_SECOND / 10)));
}

#[test]
fn over_all_threads_not_one_more_and_not_one_less_is_admitted() {
    let limit = rate(1000, 1, 250);
    let pace = Pace::of(&limit);
    let meter = Meter::default();
    let mut bucket = Bucket { pace, level: pace.depth, since: 0 };
    for step in 0..60_u64 {
        let now = step * Ticks::A_SECOND / 37;
        let expected = (0..).take_while(|_| bucket.take(now)).count();
        let admitted: usize = std::thread::scope(|scope| {
            let take =
                || (0..400).filter(|_| meter.take(pace, Ticks(now), AT_ONCE).is_ok()).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(admitted, expected, "at step {step}");
    }
}

#[test]
fn the_largest_numbers_do_not_overflow() {
    let pace = Pace::of(&rate(1, 3600, 1_000_000));
    let meter = Meter::default();
    for now in [Ticks(0), Ticks(u64::MAX / 2), Ticks(u64::MAX)] {
        meter.take(pace, now, Ticks(u64::MAX)).ok();
        meter.take(Pace::of(&rate(1_000_000, 1, 1)), now, AT_ONCE).ok();
    }
    assert_eq!(Ticks::of(Duration::MAX).0, u64::MAX);
}
