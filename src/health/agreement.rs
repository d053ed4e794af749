//! Where the two judges meet. An endpoint gets traffic while checks find it up and it is not ejected. Each
//! tells the other what it sees: failures of requests bring the next check forward
//! ([`Suspicion`](crate::model::suspicion::Suspicion)), and checks that pass end an ejection before its
//! time.
//!
//! Only the first of a row of ejections, and no more than one in `SPELL`: who was let in again and failed again has shown that its checks
//! say nothing of requests, as one has whose health page is a file. Its time is served out, and
//! grows with each ejection as if nobody checked it.

use std::time::Duration;

use tokio::time::Instant;

use crate::model::endpoint::Endpoint;
use crate::model::members::Members;

use super::Outcome;

/// An ejection that checks may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open(u64);

/// The ejection of an endpoint that is out now, where checks may end that.
pub fn open(endpoint: &Endpoint) -> Option<Open> {
    let lasts = endpoint.ejected_for().is_some_and(|left| !left.is_zero());
    endpoint.ejection().filter(|_| lasts && endpoint.ejections() == 1).map(Open)
}

/// Counts the checks that have passed in a row since an ejection began.
#[derive(Debug, Default)]
pub struct Amends {
    of: Option<Open>,
    passes: u32,
    /// When they have ended one last.
    ended: Option<Instant>,
}

impl Amends {
    /// Takes a check that began during this ejection. Tells which one `rise` passes end.
    pub fn note(&mut self, outcome: Outcome, during: Option<Open>, rise: u32) -> Option<Open> {
        if outcome == Outcome::Failed || self.of != during {
            self.passes = 0;
        }
        self.of = during;
        self.passes += u32::from(outcome == Outcome::Passed);
        let was_ended = self.ended.is_some_and(|ended| ended.elapsed() < SPELL);
        during.filter(|_| self.passes >= rise.max(1) && !was_ended)
    }

    /// Checks have ended an ejection.
    pub fn made(&mut self) {
        self.ended = Some(Instant::now());
    }
}

/// Has the time of an ejection be over: [`release`](super::passive::release) then lets the endpoint back as it
/// would have, on trial. `false` where it is over, or another one has begun. The next one grows from it as
/// if its time had been served.
pub fn end(members: &Members, endpoint: &Endpoint, ejection: Open) -> bool {
    // Somebody else ejects or readmits right now: the next check will tell.
    let Some(turn) = members.try_turn() else { return false };
    if open(endpoint) != Some(ejection) {
        return false;
    }
    endpoint.eject(Duration::ZERO);
    drop(turn);
    true
}

/// 5 min: where requests are few, an ejection is forgotten before enough of them have failed for the next one, which
/// is then the first of its row again.
const SPELL: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time::advance;

    use crate::base::units::Percent;
    use crate::config::spec::EjectSpec;
    use crate::health::passive::{self, Attempt, Judged, Verdict};
    use crate::model::address::Address;
    use crate::model::endpoint::Health;
    use crate::model::members::Found;

    use super::Outcome::{Failed, Passed};
    use super::*;

    const EJECT: EjectSpec = EjectSpec {
        failures: 3,
        share: Percent::new(50.0),
        trials: 0,
        success_rate: None,
        ..EjectSpec::USUAL
    };

    fn pool() -> (Members, Arc<Endpoint>) {
        let members = Members::new(1, Health::Up, 0.5);
        let found = |address: &str| Found::new(address.parse::<Address>().unwrap(), "test");
        members.replace(&[found("10.0.0.1:80"), found("10.0.0.2:80"), found("10.0.0.3:80")]);
        let first = Arc::clone(&members.load().all[0].endpoint);
        (members, first)
    }

    /// Fails requests until the endpoint is ejected, and tells for how long.
    fn ejected(members: &Members, endpoint: &Endpoint) -> Duration {
        for _ in 0..EJECT.failures {
            let (verdict, began, now) = (Verdict::Unreachable, Instant::now(), Instant::now());
            let attempt = Attempt { verdict, tenant: 0, began, now };
            if let Some(Judged::Ejected(ejected)) =
                passive::observe(members, endpoint, &EJECT, attempt)
            {
                return ejected.time;
            }
        }
        panic!("it is not ejected");
    }

    #[test]
    fn passes_count_in_a_row_and_of_one_ejection() {
        let (one, other) = (Some(Open(1)), Some(Open(2)));
        let mut amends = Amends::default();

        assert_eq!(amends.note(Passed, None, 2), None);
        assert_eq!(amends.note(Passed, None, 2), None);
        assert_eq!(amends.note(Passed, one, 2), None, "the first that began after it");
        assert_eq!(amends.note(Failed, one, 2), None);
        assert_eq!(amends.note(Passed, one, 2), None);
        assert_eq!(amends.note(Passed, other, 2), None, "of another ejection");
        assert_eq!(amends.note(Passed, other, 2), other);
    }

    #[tokio::test(start_paused = true)]
    async fn checks_end_the_first_ejection_and_no_further_one_of_the_row() {
        let (members, endpoint) = pool();
        advance(Duration::from_secs(1)).await;
        assert_eq!(ejected(&members, &endpoint), Duration::from_secs(10));
        let first = open(&endpoint).expect("checks may end it");

        assert!(end(&members, &endpoint, first));
        passive::release(&members, &EJECT);
        assert!(endpoint.is_eligible());
        assert!(!end(&members, &endpoint, first), "it is over");

        assert_eq!(ejected(&members, &endpoint), Duration::from_secs(20), "it grows all the same");
        assert_eq!(open(&endpoint), None, "its checks lie");
        assert!(!end(&members, &endpoint, first));
        assert!(!endpoint.is_eligible());
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_that_checks_let_back_early_is_on_trial() {
        let (members, endpoint) = pool();
        advance(Duration::from_secs(1)).await;
        ejected(&members, &endpoint);

        assert!(end(&members, &endpoint, open(&endpoint).unwrap()));
        passive::release(&members, &EjectSpec { trials: 3, ..EJECT });

        assert_eq!(endpoint.trial_needs(), Some(3));
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_with_few_requests_whose_checks_lie_is_not_let_in_early_each_time() {
        let (one, other) = (Some(Open(1)), Some(Open(2)));
        let mut amends = Amends::default();
        assert_eq!(amends.note(Passed, one, 1), one);
        amends.made();

        advance(SPELL - Duration::from_secs(1)).await;
        assert_eq!(amends.note(Passed, other, 1), None);
        advance(Duration::from_secs(2)).await;

        assert_eq!(amends.note(Passed, other, 1), other);
    }

    /// An endpoint whose checks pass while all of its requests fail: it is in for as little as if nobody
    /// checked it, but for the first time.
    #[tokio::test(start_paused = true)]
    async fn an_endpoint_whose_checks_lie_does_not_flap() {
        let (members, endpoint) = pool();
        let (mut amends, mut ejections) = (Amends::default(), 0);
        advance(Duration::from_secs(1)).await;
        for tenth in 0..10 * 60 * 10 {
            if endpoint.is_eligible() {
                ejected(&members, &endpoint);
                ejections += 1;
            }
            if tenth % 10 == 0
                && let Some(open) = amends.note(Passed, open(&endpoint), 2)
            {
                end(&members, &endpoint, open);
                amends.made();
            }
            advance(Duration::from_millis(100)).await;
            passive::release(&members, &EJECT);
        }
        // 1 s, 20 s, 30 s … within ten minutes; unchecked there are 10 of them.
        assert!((9..=11).contains(&ejections), "{ejections}");
    }
}
