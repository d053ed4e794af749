//! Where durations are counted that are told as quantiles: each doubling in steps of the same length, so that what is told is no
//! less than what was counted, and above it by a part that is the same for short and long ones. With four `BITS`, there are sixteen
//! steps in a doubling, and that part is a sixteenth at most.

use std::time::Duration;

/// How many places there are.
pub const fn places(bits: u32) -> usize {
    ((LONGEST.ilog2() - SHORTEST.ilog2() + 1) as usize) << bits
}

/// Where a duration is counted: by its highest bit, then by those below that. What is beyond the bounds is counted at them.
pub fn place<const BITS: u32>(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).clamp(SHORTEST, LONGEST);
    let octave = micros.ilog2();
    let step = (micros >> (octave - BITS)) & ((1 << BITS) - 1);
    (((octave - SHORTEST.ilog2()) as usize) << BITS) + step as usize
}

/// The duration of which all that is counted there falls short.
pub fn upper<const BITS: u32>(place: usize) -> Duration {
    let octave = SHORTEST.ilog2() + (place >> BITS) as u32;
    let step = (place & ((1 << BITS) - 1)) as u64;
    Duration::from_micros(((1 << BITS) + step + 1) << (octave - BITS))
}

/// The duration of which so many of those fall short that are counted in these places; `None` where there are fewer.
pub fn reached<const BITS: u32>(
    counts: impl IntoIterator<Item = u64>,
    rank: u64,
) -> Option<Duration> {
    let mut passed = 0;
    let reached = counts.into_iter().position(|count| {
        passed += count;
        passed >= rank
    });
    reached.map(upper::<BITS>)
}

/// 64 us: less is no answer by way of a network.
const SHORTEST: u64 = 1 << 6;
/// 134 s.
const LONGEST: u64 = (1 << 27) - 1;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Durations within the bounds, each doubling as often as the others.
    fn within() -> impl Strategy<Value = Duration> {
        let micros = (6_u32..27).prop_flat_map(|octave| (1_u64 << octave)..(2_u64 << octave));
        micros.prop_map(Duration::from_micros)
    }

    /// What must hold of a duration within the bounds, in steps of so many bits.
    fn check<const BITS: u32>(took: Duration) -> Result<(), TestCaseError> {
        let place = place::<BITS>(took);
        prop_assert!(place < places(BITS));
        let upper = upper::<BITS>(place);
        prop_assert!(took < upper && upper - took <= took / (1 << BITS), "{:?} {:?}", took, upper);
        Ok(())
    }

    /// What must hold of all places.
    fn check_places<const BITS: u32>() {
        let mut last = Duration::from_micros(SHORTEST);
        for at in 0..places(BITS) {
            let upper = upper::<BITS>(at);
            assert!(last < upper, "{at}");
            assert_eq!(place::<BITS>(last), at, "the shortest that is counted there");
            assert_eq!(place::<BITS>(upper - Duration::from_nanos(1)), at, "the longest");
            last = upper;
        }
        assert_eq!(last, Duration::from_micros(LONGEST + 1));
    }

    #[test]
    fn each_place_begins_where_the_one_before_ends() {
        check_places::<0>();
        check_places::<3>();
        check_places::<4>();
        check_places::<6>();
    }

    #[test]
    fn what_is_beyond_the_bounds_is_counted_at_them() {
        for took in [Duration::ZERO, Duration::from_nanos(1), Duration::from_micros(SHORTEST)] {
            assert_eq!(place::<3>(took), 0);
        }
        for took in [Duration::from_micros(LONGEST), Duration::from_secs(1 << 40), Duration::MAX] {
            assert_eq!(place::<3>(took), places(3) - 1);
        }
    }

    #[test]
    fn a_rank_is_reached_where_as_many_were_counted() {
        let counts = [0, 2, 0, 1];
        let places = [1, 2, 3, 4].map(|rank| reached::<3>(counts, rank));
        assert_eq!(places, [Some(upper::<3>(1)), Some(upper::<3>(1)), Some(upper::<3>(3)), None]);
    }

    proptest! {
        #[test]
        fn what_is_told_of_a_duration_is_longer_by_less_than_a_step(took in within()) {
            check::<0>(took)?;
            check::<3>(took)?;
            check::<4>(took)?;
            check::<6>(took)?;
        }

        #[test]
        fn no_duration_is_counted_before_a_shorter_one(one in any::<Duration>(), other in within()) {
            let (shorter, longer) = (one.min(other), one.max(other));
            prop_assert!(place::<3>(shorter) <= place::<3>(longer));
            prop_assert!(place::<4>(shorter) <= place::<4>(longer));
            prop_assert!(place::<3>(longer) < places(3));
            prop_assert!(place::<4>(longer) < places(4));
        }
    }
}
