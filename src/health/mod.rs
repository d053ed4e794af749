//! Whether endpoints work: asked by checks, and judged from traffic.

pub mod active;
pub mod agreement;
pub mod outliers;
pub mod passive;
pub mod probe;

use crate::model::endpoint::Health;

/// What one check said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The endpoint works.
    Passed,
    /// It does not.
    Failed,
}

/// Turns single checks into a word that does not flap: it changes after so many checks in a row
/// that say the opposite.
#[derive(Clone, Copy, Debug)]
pub struct Tally {
    word: Health,
    /// Checks in a row that contradict the word.
    against: u32,
}

impl Tally {
    /// Goes on from what is known of the endpoint.
    pub fn new(word: Health) -> Self {
        Self { word, against: 0 }
    }

    /// Takes one check; tells the new word where it changes. The first check of an endpoint that
    /// waits for one decides at once. An endpoint that was in use without checks counts as up, so
    /// that a check that is added to a running pool takes nothing away by one failure.
    pub fn note(&mut self, outcome: Outcome, rise: u32, fall: u32) -> Option<Health> {
        let (word, needed) = match (self.word, outcome) {
            (Health::Pending | Health::Unchecked, Outcome::Passed) => (Health::Up, 1),
            (Health::Pending, Outcome::Failed) => (Health::Down, 1),
            (Health::Up | Health::Unchecked, Outcome::Failed) => (Health::Down, fall),
            (Health::Down, Outcome::Passed) => (Health::Up, rise),
            (Health::Up, Outcome::Passed) | (Health::Down, Outcome::Failed) => {
                self.against = 0;
                return None;
            }
        };
        self.against += 1;
        if self.against < needed {
            return None;
        }
        *self = Self::new(word);
        Some(word)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, proptest};

    use super::Outcome::{Failed, Passed};
    use super::*;

    fn check(start: Health, outcomes: &[Outcome], wanted: Health) {
        let mut tally = Tally::new(start);
        let mut word = start;
        for outcome in outcomes {
            word = tally.note(*outcome, 2, 3).unwrap_or(word);
        }
        assert_eq!(word, wanted, "{start:?} after {outcomes:?}");
    }

    #[test]
    fn the_word_changes_after_so_many_in_a_row() {
        check(Health::Up, &[Failed, Failed], Health::Up);
        check(Health::Up, &[Failed, Failed, Failed], Health::Down);
        check(Health::Up, &[Failed, Failed, Passed, Failed, Failed], Health::Up);
        check(Health::Down, &[Passed], Health::Down);
        check(Health::Down, &[Passed, Passed], Health::Up);
        check(Health::Down, &[Passed, Failed, Passed], Health::Down);
    }

    #[test]
    fn the_first_check_of_a_newcomer_decides() {
        check(Health::Pending, &[Passed], Health::Up);
        check(Health::Pending, &[Failed], Health::Down);
    }

    #[test]
    fn an_endpoint_in_use_is_not_taken_away_by_the_first_failure_of_a_new_check() {
        check(Health::Unchecked, &[Failed, Failed], Health::Unchecked);
        check(Health::Unchecked, &[Failed, Failed, Failed], Health::Down);
        check(Health::Unchecked, &[Passed], Health::Up);
    }

    proptest! {
        #[test]
        fn a_change_follows_a_row_of_exactly_the_needed_length(
            outcomes in prop::collection::vec(any::<bool>(), 0..200),
            rise in 0u32..5,
            fall in 0u32..5,
        ) {
            let mut tally = Tally::new(Health::Up);
            let mut word = Health::Up;
            let mut row = 0;
            for passed in outcomes {
                let agrees = passed == (word == Health::Up);
                row = if agrees { 0 } else { row + 1 };
                let needed = if word == Health::Up { fall } else { rise };
                let changed = tally.note(if passed { Passed } else { Failed }, rise, fall);
                assert_eq!(changed.is_some(), !agrees && row >= needed.max(1));
                if let Some(new) = changed {
                    assert_ne!(new, word);
                    (word, row) = (new, 0);
                }
            }
        }
    }
}
