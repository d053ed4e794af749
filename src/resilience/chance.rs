//! Whether what was counted may be chance: how likely it was at most, if nothing were wrong. Pure, and without tables: the
//! bounds are Chernoff's, which hold for any numbers and are a few times too large at worst.

/// Whether so many of these requests may have gone wrong by chance, where each does with this probability.
pub fn explains(wrong: u64, of: u64, share: f64) -> bool {
    // exp(-evidence) bounds the probability of as many, or more.
    evidence(wrong, of, share) <= (1.0 / CHANCE).ln()
}

/// Whether it may be chance that so many of these went wrong, beside so many of those, if both were alike. Requests of two
/// sides that are alike are one lot, of which one side has drawn its part: what went wrong of all is at that side as often
/// as its part says. Holds for draws that are not put back, too (Hoeffding, 1963, theorem 4).
pub fn explains_beside((wrong, of): (u64, u64), (wrong_there, of_those): (u64, u64)) -> bool {
    let part = of as f64 / (of as f64 + of_those as f64).max(1.0);
    explains(wrong, wrong.saturating_add(wrong_there), part)
}

/// The relative entropy of what was seen to what was to be expected, of all of them; 0 where it is no more than that.
fn evidence(wrong: u64, of: u64, expected: f64) -> f64 {
    let seen = wrong.min(of) as f64 / of.max(1) as f64;
    if seen <= expected {
        return 0.0;
    }
    let term = |seen: f64, expected: f64| match seen > 0.0 {
        true => seen * (seen / expected).ln(), // of an `expected` of 0 it is infinite
        false => 0.0,
    };
    of as f64 * (term(seen, expected) + term(1.0 - seen, 1.0 - expected))
}

/// One in a million: what is judged each second, for hours, is not to be found guilty by chance. Looks that follow each other see
/// nearly the same requests, and a canary must exceed its factor besides.
const CHANCE: f64 = 1e-6;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_seen_of_many_is_no_chance_and_what_is_seen_of_few_may_be() {
        for (wrong, of, share, expected) in [
            (0, 0, 0.0, true),
            (0, 100, 0.0, true),
            (1, 100, 0.0, false), // nothing goes wrong with a probability of 0
            (100, 100, 1.0, true),
            (4, 4, 0.05, true),
            (5, 5, 0.05, false),
            (6, 100, 0.05, true),
            (20, 100, 0.05, false),
            (u64::MAX, u64::MAX, 0.5, false),
            (9, 3, 0.5, true), // as 3 of 3
        ] {
            assert_eq!(explains(wrong, of, share), expected, "{wrong} of {of} at {share}");
        }
        for (canary, stable, expected) in [
            ((5, 54_000), (0, 6_000), true),
            ((5, 1_000), (0, 1_000), true),
            ((19, 1_000), (0, 1_000), true),
            ((20, 1_000), (0, 1_000), false),
            ((5, 500), (0, 9_500), false),
            ((0, 0), (0, 0), true),
            ((u64::MAX, u64::MAX), (0, u64::MAX), false),
        ] {
            assert_eq!(explains_beside(canary, stable), expected, "{canary:?} {stable:?}");
        }
    }

    /// The exact probability of this many or more.
    fn tail(wrong: u64, of: u64, share: f64) -> f64 {
        let mut at = (1.0 - share).powi(of as i32);
        let mut below = 0.0;
        for number in 0..wrong {
            below += at;
            at *= (of - number) as f64 / (number + 1) as f64 * share / (1.0 - share);
        }
        1.0 - below
    }

    proptest! {
        /// Whatever is taken for no chance is as unlikely as is said.
        #[test]
        fn the_bound_is_one(of in 1_u64..200, share in 0.01..0.9_f64, part in 0.0..=1.0_f64) {
            let wrong = (of as f64 * part) as u64;
            if !explains(wrong, of, share) {
                // What the sum above cannot tell from 0 is a good deal less.
                prop_assert!(tail(wrong, of, share) < CHANCE + 1e-9);
            }
        }
    }
}
