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
    /// Requests that were sent since one was heard of.
    silent: AtomicU32,
    /// Successes that are still asked of it.
    needed: AtomicU32,
    /// Whose request failed, with no other tenant served since, and when first, see [`word`]; 0 = nobody's.
    failed: AtomicU64,
    /// The tenant that failed last, and until when none of its requests is sent, see [`word`].
    barred: AtomicU64,
    /// Failures that were of one tenant.
    failures: AtomicU32,
}

impl Trial {
    /// Asks so many successes, at least one.
    pub(super) fn begin(&self, needed: u32, now: u64) {
        self.since.store(now, Ordering::Relaxed);
        self.hear();
        self.failed.store(0, Ordering::Relaxed);
        self.barred.store(0, Ordering::Relaxed);
        self.failures.store(0, Ordering::Relaxed);
        self.needed.store(needed.max(1), Ordering::Relaxed);
    }

    /// Whether what an attempt says that began then is of this trial.
    pub(super) fn covers(&self, began: u64) -> bool {
        began >= self.since.load(Ordering::Relaxed)
    }

    /// Whether a request of the tenant at this place is the next one. Not of the tenant whose request
    /// has failed just now: another one shall say whether that was the endpoint. And one that may not be
    /// sent again, so that its client would see a failure, only where no other has come for a while.
    pub(super) fn admits(&self, tenant: u32, repeatable: bool, now: u64) -> bool {
        let next = self.next.load(Ordering::Relaxed);
        let is_harmless = repeatable || now >= self.since.load(Ordering::Relaxed) + PATIENCE;
        if now < next || !is_harmless || self.bars(tenant, now) {
            return false;
        }
        let lease = LEASE << self.silent.load(Ordering::Relaxed).min(MOST_DOUBLINGS);
        let taken =
            self.next.compare_exchange(next, now + lease, Ordering::Relaxed, Ordering::Relaxed);
        if taken.is_ok() {
            self.silent.fetch_add(1, Ordering::Relaxed);
        }
        taken.is_ok()
    }

    fn bars(&self, tenant: u32, now: u64) -> bool {
        let barred = self.barred.load(Ordering::Relaxed);
        is_of(barred, tenant) && now / STEP < step_of(barred)
    }

    /// A request of the tenant at this place was served. Tells whether that was all that is asked.
    pub(super) fn passes(&self, tenant: u32) -> bool {
        let failed = self.failed.load(Ordering::Relaxed);
        if failed != 0 && !is_of(failed, tenant) {
            self.failed.store(0, Ordering::Relaxed); // that was the other one's own
        }
        let less = |needed: u32| needed.checked_sub(1);
        let before = self.needed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        self.hear();
        before == Ok(1)
    }

    /// A request has failed, the tenant's at this place, or whosever; tells whether the endpoint has
    /// failed by that. The first failure of a tenant waits for a second opinion, and its next request
    /// for longer each time.
    pub(super) fn fails(&self, tenant: Option<u32>, now: u64) -> bool {
        let Some(tenant) = tenant else { return true };
        let before = self.failures.fetch_add(1, Ordering::Relaxed);
        let pause = OPINION << before.min(MOST_DOUBLINGS);
        self.barred.store(word(tenant, now + pause), Ordering::Relaxed);
        let first = self.failed.compare_exchange(
            0,
            word(tenant, now),
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        self.hear();
        first.is_err_and(|known| !is_of(known, tenant))
    }

    /// A request was heard of: the next one may be sent.
    fn hear(&self) {
        self.silent.store(0, Ordering::Relaxed);
        self.next.store(0, Ordering::Relaxed);
    }

    /// The place of the tenant whose request has failed, where no other one has come in time to say
    /// otherwise, and none is under way.
    pub(super) fn unopposed(&self, now: u64) -> Option<u32> {
        let failed = self.failed.load(Ordering::Relaxed);
        let is_in_time = now / STEP < step_of(failed) + OPINION / STEP;
        if failed == 0 || is_in_time || now < self.next.load(Ordering::Relaxed) {
            return None;
        }
        u32::try_from((failed >> 32) - 1).ok()
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

/// 1 s: a request that takes longer, or whose client has left, holds up the next one no longer. Twice as
/// long for each that says nothing: where an endpoint hangs, so do their clients.
const LEASE: u64 = 1000;
/// 5 s: where no request that may be sent again has come by then, there are hardly any.
const PATIENCE: u64 = 5000;
/// 2 s: long enough for another tenant to come where there is traffic of others, and short beside an ejection.
const OPINION: u64 = 2000;
/// 7: to about two minutes, or four, which is near the longest ejection.
const MOST_DOUBLINGS: u32 = 7;
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
    fn an_endpoint_that_hangs_gets_fewer_and_fewer_requests_on_trial() {
        let trial = begun(1);
        let sent: Vec<u64> =
            (10..640).map(|at| at * 100).filter(|now| trial.admits(1, true, *now)).collect();
        assert_eq!(sent, [1000, 2000, 4000, 8000, 16_000, 32_000]);

        assert!(!trial.fails(Some(1), 64_000), "it is heard of");
        assert!(trial.admits(2, true, 64_100));
        assert!(!trial.admits(2, true, 65_000));
        assert!(trial.admits(2, true, 65_100));
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
        assert_eq!(trial.unopposed(2900), None);
        assert_eq!(trial.unopposed(3000), Some(1), "nobody else has come");

        assert!(trial.admits(2, true, 2900));
        assert_eq!(trial.unopposed(3000), None, "somebody has");
        assert!(trial.fails(Some(2), 3100), "two agree");
    }

    #[test]
    fn a_tenants_failure_is_its_own_where_others_are_served() {
        let trial = begun(3);
        assert!(!trial.fails(Some(1), 1000));
        trial.passes(2);
        assert_eq!(trial.unopposed(1_000_000), None);
        assert!(!trial.fails(Some(3), 1100), "the other one's counts no more");

        let trial = begun(3);
        trial.passes(1);
        assert!(!trial.fails(Some(1), 1000));
        trial.passes(1);
        assert_eq!(trial.unopposed(3000), Some(1), "it is served now and then, and nobody else is");
    }

    #[test]
    fn a_trial_goes_on_with_the_tenant_that_failed_once_where_only_it_comes_later() {
        let trial = begun(2);
        assert!(!trial.fails(Some(1), 1000));
        trial.passes(2);
        assert!(!trial.admits(1, true, 2900), "it waits");
        assert!(trial.admits(1, true, 3000));
        assert!(trial.passes(1), "and is served");
    }

    #[test]
    fn a_tenant_that_fails_again_waits_for_longer_each_time() {
        let trial = begun(3);
        let mut tries = Vec::new();
        for now in (10..400).map(|at| at * 100) {
            if trial.admits(1, true, now) {
                tries.push(now / 1000);
                assert!(!trial.fails(Some(1), now));
            }
        }
        assert_eq!(tries, [1, 3, 7, 15, 31]);
        assert!(trial.admits(2, true, 40_000), "another one does not");
    }

    #[test]
    fn what_began_before_it_is_no_part_of_it() {
        assert!(!begun(1).covers(999));
        assert!(begun(1).covers(1000));
    }

    proptest! {
        /// Whatever one tenant alone does, before and after another one is served, no trial fails by that,
        /// and the other one is admitted at once where nothing is under way.
        #[test]
        fn one_tenant_fails_no_trial_of_an_endpoint_that_serves_others(
            steps in prop::collection::vec((0_u8..3, 0_u64..5000), 1..50),
        ) {
            let (trial, mut now) = (begun(u32::MAX), 1000);
            for (step, later) in steps {
                now += later;
                match step {
                    0 => prop_assert!(!trial.fails(Some(1), now)),
                    1 if trial.admits(1, true, now) => prop_assert!(!trial.passes(1)),
                    1 => {}
                    _ => {
                        prop_assert!(trial.admits(7, true, now));
                        prop_assert!(!trial.passes(7));
                        prop_assert_eq!(trial.unopposed(now + 1_000_000), None);
                    }
                }
            }
        }

        /// Whatever has happened, a trial is no dead end: any tenant is admitted in the end.
        #[test]
        fn no_trial_is_stuck(
            steps in prop::collection::vec((0_u32..3, 0_u8..3, 0_u64..5000), 0..50),
        ) {
            let (trial, mut now) = (begun(u32::MAX), 1000);
            for (tenant, step, later) in steps {
                now += later;
                if step == 0 {
                    trial.fails(Some(tenant), now);
                } else if trial.admits(tenant, true, now) && step == 1 {
                    trial.passes(tenant);
                }
            }
            let longest = OPINION << MOST_DOUBLINGS;
            for tenant in 0..3 {
                now += longest + STEP;
                prop_assert!(trial.admits(tenant, false, now));
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
