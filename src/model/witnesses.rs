//! Whom an endpoint serves well and whom it fails, kept as two words each that any worker may write:
//! what is lost where two write at once is known again within a second.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Tenants that an endpoint has served lately, and the one that its failures in a row are of.
#[derive(Debug, Default)]
pub(super) struct Witnesses {
    /// Two different tenants that were served, and when: a place and a second, see [`word`].
    served: [AtomicU64; 2],
    /// Whose the failures in a row are: a tenant's place and one, or [`SEVERAL`].
    failed: AtomicU32,
    /// Whose the answers that broke off are: the same.
    broke: AtomicU32,
}

impl Witnesses {
    /// The tenant at this place was served in this second. Writes once a second at the most for
    /// whichever tenants, since all workers read the words with each request.
    pub(super) fn served(&self, tenant: u32, second: u32) {
        let [first, other] = &self.served;
        let place = if is_of(first.load(Ordering::Relaxed), tenant) { first } else { other };
        let known = place.load(Ordering::Relaxed);
        if known == 0 || second_of(known) != second {
            self.note(tenant, second);
        }
    }

    #[cold]
    fn note(&self, tenant: u32, second: u32) {
        let [first, other] = &self.served;
        let known = first.load(Ordering::Relaxed);
        let is_free = known == 0 || second.saturating_sub(second_of(known)) > LATELY;
        let place = if is_free || is_of(known, tenant) { first } else { other };
        place.store(word(tenant, second), Ordering::Relaxed);
    }

    /// One more failure in a row, the first of them or not; `None`: it is nobody's own.
    pub(super) fn failed(&self, tenant: Option<u32>, is_first: bool) {
        note(&self.failed, tenant, is_first);
    }

    /// The same of an answer that broke off.
    pub(super) fn broke(&self, tenant: Option<u32>, is_first: bool) {
        note(&self.broke, tenant, is_first);
    }

    /// Whether all failures in a row are of one tenant, and another one was served lately.
    pub(super) fn fails_one_alone(&self, second: u32) -> bool {
        self.is_one_alone(&self.failed, second)
    }

    /// The same of answers that broke off.
    pub(super) fn breaks_one_alone(&self, second: u32) -> bool {
        self.is_one_alone(&self.broke, second)
    }

    fn is_one_alone(&self, whose: &AtomicU32, second: u32) -> bool {
        let whose = whose.load(Ordering::Relaxed);
        whose != 0 && whose != SEVERAL && self.serves_another(whose - 1, second)
    }

    /// Whether another tenant than the one at this place was served lately.
    pub(super) fn serves_another(&self, tenant: u32, second: u32) -> bool {
        self.served.iter().map(|word| word.load(Ordering::Relaxed)).any(|word| {
            let is_lately = second.saturating_sub(second_of(word)) <= LATELY;
            word != 0 && is_lately && !is_of(word, tenant)
        })
    }
}

/// Notes whose they are: one more, the first of them or not.
fn note(whose: &AtomicU32, tenant: Option<u32>, is_first: bool) {
    let own = tenant.map_or(SEVERAL, |tenant| tenant.saturating_add(1));
    let all = if is_first || whose.load(Ordering::Relaxed) == own { own } else { SEVERAL };
    whose.store(all, Ordering::Relaxed);
}

/// The tenant's place and one above, so that no word is zero, and the second below.
fn word(tenant: u32, second: u32) -> u64 {
    (u64::from(tenant) + 1) << 32 | u64::from(second)
}

fn is_of(word: u64, tenant: u32) -> bool {
    word >> 32 == u64::from(tenant) + 1
}

fn second_of(word: u64) -> u32 {
    u32::try_from(word & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}

/// More than one tenant, or none in particular.
const SEVERAL: u32 = u32::MAX;
/// 30 s: a tenant that asks once in a while still speaks for the endpoint, and one that asked when it
/// was well does not for long.
const LATELY: u32 = 30;

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn failures_of_one_tenant_are_its_own_while_another_one_is_served() {
        let seen = Witnesses::default();
        seen.failed(Some(1), true);
        assert!(!seen.fails_one_alone(0), "nobody else has come");

        seen.served(1, 10);
        assert!(!seen.fails_one_alone(10), "it is the one that was served");
        seen.served(2, 10);
        assert!(seen.fails_one_alone(10));
        assert!(seen.fails_one_alone(10 + LATELY));
        assert!(!seen.fails_one_alone(11 + LATELY), "that was long ago");

        seen.failed(Some(2), false);
        assert!(!seen.fails_one_alone(10), "now it fails both");
        seen.failed(Some(2), false);
        assert!(!seen.fails_one_alone(10), "and did");
        seen.failed(Some(2), true);
        assert!(seen.fails_one_alone(10), "a row of its own");
        seen.failed(None, true);
        assert!(!seen.fails_one_alone(10), "nobody's request is to blame");
    }

    proptest! {
        /// Two places are enough for whichever tenants come, since only *another* one is asked for.
        #[test]
        fn a_tenant_that_was_served_just_now_is_known_beside_any_other(
            served in prop::collection::vec((0_u32..4, 0_u32..3), 1..60),
            failing in 0_u32..4,
        ) {
            let (seen, mut second, mut when) = (Witnesses::default(), 1, HashMap::new());
            for (tenant, later) in served {
                second += later;
                seen.served(tenant, second);
                when.insert(tenant, second);
            }
            seen.failed(Some(failing), true);

            let others = when.iter().filter(|(tenant, _)| **tenant != failing);
            let latest = others.map(|(_, second)| *second).max();
            let told = seen.fails_one_alone(second);
            prop_assert!(!told || latest.is_some_and(|latest| second - latest <= LATELY));
            prop_assert!(told || latest != Some(second));
        }
    }
}
