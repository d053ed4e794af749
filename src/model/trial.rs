//! What an endpoint that comes back from an ejection has to show before it gets all of its traffic: a
//! few requests that are served, one at a time. Kept as words that any worker may write: where two
//! write at once, an endpoint is tried by one request more, or one success more is asked of it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A trial under way, or the last one. Times are in milliseconds since the endpoint's birth.
#[derive(Debug, Default)]
pub(super) struct Trial {
    /// When it began.
    since: AtomicU64,
    /// From when on the next request may be sent.
    next: AtomicU64,
    /// Successes that are still asked of it.
    needed: AtomicU32,
    /// Whose requests were served: a tenant's place and one, or [`SEVERAL`].
    served: AtomicU32,
    /// Whose request failed first, and when, see [`word`]; 0 = nobody's.
    failed: AtomicU64,
}

impl Trial {
    /// Asks so many successes, at least one.
    pub(super) fn begin(&self, needed: u32, now: u64) {
        self.since.store(now, Ordering::Relaxed);
        self.next.store(0, Ordering::Relaxed);
        self.served.store(0, Ordering::Relaxed);
        self.failed.store(0, Ordering::Relaxed);
        self.needed.store(needed.max(1), Ordering::Relaxed);
    }

    /// Whether what an attempt says that began then is of this trial.
    pub(super) fn covers(&self, began: u64) -> bool {
        began >= self.since.load(Ordering::Relaxed)
    }

    /// Whether a request of the tenant at this place is the next one. Not of the tenant whose request
    /// has failed: another one shall say whether that was the endpoint. And one that may not be sent
    /// again, so that its client would see a failure, only where no other has come for a while.
    pub(super) fn admits(&self, tenant: u32, repeatable: bool, now: u64) -> bool {
        let next = self.next.load(Ordering::Relaxed);
        let had_its_try = is_of(self.failed.load(Ordering::Relaxed), tenant);
        let is_harmless = repeatable || now >= self.since.load(Ordering::Relaxed) + PATIENCE;
        now >= next
            && !had_its_try
            && is_harmless
            && self
                .next
                .compare_exchange(next, now + LEASE, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// A request of the tenant at this place was served. Tells whether that was all that is asked.
    pub(super) fn passes(&self, tenant: u32) -> bool {
        let own = tenant.saturating_add(1);
        let known = self.served.load(Ordering::Relaxed);
        self.served
            .store(if known == 0 || known == own { own } else { SEVERAL }, Ordering::Relaxed);
        let less = |needed: u32| needed.checked_sub(1);
        let before = self.needed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        self.next.store(0, Ordering::Relaxed);
        before == Ok(1)
    }

    /// A request has failed, the tenant's at this place, or whosever; tells whether the endpoint has
    /// failed by that. The first failure of a tenant waits for a second opinion.
    pub(super) fn fails(&self, tenant: Option<u32>, now: u64) -> bool {
        let Some(tenant) = tenant else { return true };
        let first = self.failed.compare_exchange(
            0,
            word(tenant, now),
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        self.next.store(0, Ordering::Relaxed);
        first.is_err_and(|known| !is_of(known, tenant))
    }

    /// Whether a tenant's request has failed, and no other tenant has come in time to say otherwise.
    pub(super) fn is_lost(&self, now: u64) -> bool {
        let failed = self.failed.load(Ordering::Relaxed);
        let served = self.served.load(Ordering::Relaxed);
        let is_vouched = served != 0 && (served == SEVERAL || !is_of(failed, served - 1));
        failed != 0 && !is_vouched && now / STEP >= step_of(failed) + OPINION / STEP
    }

    /// Successes that are still asked.
    pub(super) fn needed(&self) -> u32 {
        self.needed.load(Ordering::Relaxed)
    }
}

/// The tenant's place and one above, so that no word is zero, and the tenth of a second below.
fn word(tenant: u32, now: u64) -> u64 {
    (u64::from(tenant) + 1) << 32 | (now / STEP).min(u64::from(u32::MAX))
}

fn is_of(word: u64, tenant: u32) -> bool {
    word >> 32 == u64::from(tenant) + 1
}

fn step_of(word: u64) -> u64 {
    word & u64::from(u32::MAX)
}

/// More than one tenant.
const SEVERAL: u32 = u32::MAX;
/// 1 s: a request that takes longer, or whose client has left, holds up the next one no longer.
const LEASE: u64 = 1000;
/// 5 s: where no request that may be sent again has come by then, there are hardly any.
const PATIENCE: u64 = 5000;
/// 2 s: long enough for another tenant to come where there is traffic of others, and short beside an ejection.
const OPINION: u64 = 2000;
/// A tenth of a second: 32 bits of them last for 13 years.
const STEP: u64 = 100;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn begun(needed: u32) -> Trial {
        let trial = Trial::default();
        trial.begin(needed, 1000);
        trial
    }

    #[test]
    fn one_request_at_a_time_until_enough_are_served() {
        let trial = begun(2);
        assert!(trial.admits(1, true, 1000));
        assert!(!trial.admits(2, true, 1001), "one is under way");
        assert!(!trial.passes(1));
        assert!(trial.admits(2, true, 1002));
        assert!(trial.passes(2), "that was all");
    }

    #[test]
    fn a_request_that_says_nothing_is_followed_by_another_after_a_second() {
        let trial = begun(1);
        assert!(trial.admits(1, true, 1000));
        assert!(!trial.admits(1, true, 1999));
        assert!(trial.admits(1, true, 2000));
    }

    #[test]
    fn a_request_that_may_not_be_sent_again_comes_where_no_other_does() {
        let trial = begun(1);
        assert!(!trial.admits(1, false, 1000));
        assert!(trial.admits(1, false, 6000));
    }

    #[test]
    fn a_failure_that_is_nobodys_own_ends_it() {
        assert!(begun(3).fails(None, 1000));
    }

    #[test]
    fn a_tenants_failure_waits_for_another_tenant() {
        let trial = begun(3);
        assert!(!trial.fails(Some(1), 1000));
        assert!(!trial.admits(1, true, 1001), "it had its try");
        assert!(!trial.is_lost(2900));
        assert!(trial.is_lost(3000), "nobody else has come");

        assert!(trial.admits(2, true, 1001));
        assert!(trial.fails(Some(2), 1100), "two agree");
    }

    #[test]
    fn a_tenants_failure_is_its_own_where_others_are_served() {
        let trial = begun(3);
        assert!(!trial.fails(Some(1), 1000));
        trial.passes(2);
        assert!(!trial.fails(Some(1), 1100));
        assert!(!trial.is_lost(1_000_000));

        let trial = begun(3);
        trial.passes(1);
        assert!(!trial.fails(Some(1), 1000));
        assert!(trial.is_lost(3000), "it is served now and then, and nobody else is");
    }

    #[test]
    fn what_began_before_it_is_no_part_of_it() {
        assert!(!begun(1).covers(999));
        assert!(begun(1).covers(1000));
    }

    proptest! {
        /// Whatever one tenant alone does to an endpoint that serves another, it does not fail.
        #[test]
        fn one_tenant_fails_no_trial_of_an_endpoint_that_serves_others(
            steps in prop::collection::vec((any::<bool>(), 0_u64..5000), 1..50),
        ) {
            let (trial, mut now) = (begun(u32::MAX), 1000);
            trial.passes(7);
            for (fails, later) in steps {
                now += later;
                if trial.admits(1, true, now) && !fails {
                    trial.passes(1);
                }
                prop_assert!(!fails || !trial.fails(Some(1), now));
                prop_assert!(!trial.is_lost(now));
            }
        }

        /// No more than one request a second, where none says anything.
        #[test]
        fn silent_requests_come_once_a_second(steps in prop::collection::vec(0_u64..700, 1..80)) {
            let (trial, mut now, mut sent) = (begun(1), 1000, Vec::new());
            for later in steps {
                now += later;
                if trial.admits(1, true, now) {
                    sent.push(now);
                }
            }
            prop_assert!(sent.windows(2).all(|two| two[1] - two[0] >= LEASE));
        }
    }
}
