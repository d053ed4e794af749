//! What becomes of a source's answers: a pool is never emptied by a failure, and nothing is
//! reported that says nothing new.

use crate::model::members::Found;

use super::Event;

/// The last good set of a source.
#[derive(Debug, Default)]
pub(super) struct Settled {
    last: Option<Vec<Found>>,
    failing: bool,
}

impl Settled {
    /// Takes a set that the source means as it says, also an empty one. `None` when the pool has
    /// it already.
    pub(super) fn state(&mut self, found: Vec<Found>) -> Option<Event> {
        let recovered = std::mem::take(&mut self.failing);
        let news = self.change(found);
        match (&news, &self.last) {
            (None, Some(last)) if recovered => Some(Event::Members(last.clone())),
            _ => news,
        }
    }

    /// The same for a set that was put together although a part of the look-up failed, so that it
    /// does not end a time of failure.
    pub(super) fn change(&mut self, mut found: Vec<Found>) -> Option<Event> {
        found.sort_unstable(); // so that the order of an answer is no change
        found.dedup();
        if self.last.as_ref() == Some(&found) {
            return None;
        }
        self.last = Some(found.clone());
        Some(Event::Members(found))
    }

    /// Takes a try that brought nothing that can be used.
    pub(super) fn fail(&mut self, reason: String) -> Event {
        self.failing = true;
        Event::Failed { reason, kept: self.kept() }
    }

    /// Whether the last try failed.
    pub(super) fn is_failing(&self) -> bool {
        self.failing
    }

    fn kept(&self) -> usize {
        self.last.as_ref().map_or(0, Vec::len)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, proptest};

    use crate::model::address::Address;

    use super::*;

    fn found(hosts: &[u8]) -> Vec<Found> {
        let address = |host: &u8| Address::from(([10, 0, 0, *host], 80));
        let found = |host| Found::new(address(host), "test");
        hosts.iter().map(found).collect()
    }

    #[test]
    fn the_same_set_in_another_order_is_no_news() {
        let mut settled = Settled::default();

        assert_eq!(settled.state(found(&[1, 2])), Some(Event::Members(found(&[1, 2]))));
        assert_eq!(settled.state(found(&[2, 1])), None);
        assert_eq!(settled.state(found(&[2, 1, 2])), None);
        assert_eq!(settled.state(found(&[2])), Some(Event::Members(found(&[2]))));
    }

    #[test]
    fn the_set_is_told_again_after_a_failure_so_that_its_end_is_known() {
        let mut settled = Settled::default();
        settled.state(found(&[1]));

        let failed = settled.fail("no answer".into());

        assert_eq!(failed, Event::Failed { reason: "no answer".into(), kept: 1 });
        assert_eq!(settled.state(found(&[1])), Some(Event::Members(found(&[1]))));
        assert_eq!(settled.state(found(&[1])), None);
    }

    #[test]
    fn a_set_that_is_meant_to_be_empty_is_reported() {
        let mut settled = Settled::default();
        settled.state(found(&[1]));

        assert_eq!(settled.state(Vec::new()), Some(Event::Members(Vec::new())));
    }

    proptest! {
        #[test]
        fn what_was_reported_last_is_what_was_stated_last(
            steps in prop::collection::vec((any::<bool>(), prop::collection::vec(0u8..4, 0..4)), 0..40)
        ) {
            let mut settled = Settled::default();
            let (mut stated, mut reported) = (None, None);
            for (fails, hosts) in steps {
                if fails {
                    let kept = stated.as_ref().map_or(0, |set: &Vec<Found>| set.len());
                    let event = settled.fail("x".into());
                    assert_eq!(event, Event::Failed { reason: "x".into(), kept });
                } else {
                    let mut set = found(&hosts);
                    set.sort_unstable();
                    set.dedup();
                    if let Some(Event::Members(set)) = settled.state(found(&hosts)) {
                        reported = Some(set);
                    }
                    stated = Some(set);
                }
                assert_eq!(reported, stated);
            }
        }
    }
}
