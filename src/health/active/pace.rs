//! When an endpoint is asked next: regularly, and sooner where a check or traffic has seen it fail. Pure.

use crate::health::Outcome;
use crate::model::endpoint::Health;

/// Whether the next check of an endpoint is a regular one.
///
/// One that traffic asks for comes at once. If one fails, regular or not, others follow it fast, so that an endpoint
/// that is dead is down within a few of them; and some more after that, so that one that was away for a
/// moment is back as soon. If one of an endpoint that is down passes, those that are to bring it up follow fast.
/// If one passes that traffic has asked for, traffic is heard again only after the next regular
/// one: requests that fail while checks pass, whosever they are, can do no more than double the number of checks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Pace {
    /// Regular checks; traffic is heard.
    #[default]
    Calm,
    /// Traffic has asked for the next check, or a check has failed.
    Alarmed(Cause),
    /// Checks that followed fast took the endpoint down; so many more do until it is up.
    Watching(Cause, u32),
    /// A regular check has found one that was down well again.
    Hopeful,
    /// What traffic asked for is over.
    Reassured,
}

/// What a check was made for, as the value of the `cause` label. Never rename one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Its time had come, or that of one before it that failed.
    Interval,
    /// Traffic has seen failures.
    Traffic,
}

/// What a check has brought.
#[derive(Clone, Copy, Debug)]
pub(super) struct Brought {
    /// Its outcome.
    pub(super) outcome: Outcome,
    /// The endpoint's word before it.
    pub(super) before: Health,
    /// And after it.
    pub(super) after: Health,
}

impl Pace {
    /// Whether a failure that traffic sees brings the next check forward.
    pub(super) fn listens(self) -> bool {
        self == Self::Calm
    }

    /// Whether the next check is to come soon, and no regular one.
    pub(super) fn is_hasty(self) -> bool {
        matches!(self, Self::Alarmed(_) | Self::Watching(..) | Self::Hopeful)
    }

    /// Traffic has seen a failure.
    pub(super) fn alarm(&mut self) {
        *self = Self::Alarmed(Cause::Traffic);
    }

    /// What the check is made for that begins now.
    pub(super) fn cause(self) -> Cause {
        match self {
            Self::Alarmed(cause) | Self::Watching(cause, _) => cause,
            Self::Calm | Self::Reassured | Self::Hopeful => Cause::Interval,
        }
    }

    /// Takes what a check has brought. Tells whether the next one is to follow fast. Once the endpoint
    /// is down, `watch` more do, and as many passes as it then takes to bring it up.
    pub(super) fn note(&mut self, brought: Brought, watch: u32) -> bool {
        let Brought { outcome, before, after } = brought;
        *self = match (*self, outcome) {
            (Self::Watching(cause, left), Outcome::Failed) if left > 1 => {
                Self::Watching(cause, left - 1)
            }
            (Self::Watching(cause, left), Outcome::Passed) if after == Health::Down => {
                Self::Watching(cause, left.saturating_sub(1))
            }
            (Self::Alarmed(_), Outcome::Failed) if after != Health::Down => *self,
            (Self::Alarmed(cause), Outcome::Failed) if before != Health::Down && watch > 0 => {
                Self::Watching(cause, watch)
            }
            // A newcomer that its first check finds down was not taken away from anybody.
            (Self::Calm | Self::Reassured, Outcome::Failed)
                if matches!(before, Health::Up | Health::Unchecked) =>
            {
                return self.doubt(brought, watch);
            }
            (Self::Calm | Self::Reassured | Self::Hopeful, Outcome::Passed)
                if after == Health::Down =>
            {
                Self::Hopeful
            }
            (Self::Alarmed(Cause::Traffic) | Self::Watching(Cause::Traffic, _), _) => {
                Self::Reassured
            }
            _ => Self::Calm,
        };
        self.is_hasty()
    }

    /// A regular check has failed: as if traffic had asked for it.
    fn doubt(&mut self, brought: Brought, watch: u32) -> bool {
        *self = Self::Alarmed(Cause::Interval);
        self.note(brought, watch)
    }
}

impl Cause {
    /// The label's value.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Interval => "interval",
            Self::Traffic => "traffic",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, proptest};

    use crate::health::Tally;

    use super::Health::{Down, Up};
    use super::Outcome::{Failed, Passed};
    use super::*;

    fn brought(outcome: Outcome, before: Health, after: Health) -> Brought {
        Brought { outcome, before, after }
    }

    #[test]
    fn failures_follow_fast_until_the_endpoint_is_down_and_a_few_checks_more() {
        let mut pace = Pace::default();
        pace.alarm();

        assert!(pace.note(brought(Failed, Up, Up), 2));
        assert!(pace.note(brought(Failed, Up, Up), 2));
        assert!(pace.note(brought(Failed, Up, Down), 2));
        assert!(pace.note(brought(Failed, Down, Down), 2));
        assert!(!pace.note(brought(Failed, Down, Down), 2));
        assert!(!pace.listens());
        assert!(!pace.note(brought(Failed, Down, Down), 2));
        assert!(pace.listens());
    }

    #[test]
    fn an_endpoint_that_was_away_for_a_moment_is_back_as_fast_as_it_was_gone() {
        let mut pace = Pace::default();
        pace.alarm();
        assert!(pace.note(brought(Failed, Up, Down), 2));

        assert!(pace.note(brought(Failed, Down, Down), 2));
        assert!(pace.note(brought(Passed, Down, Down), 2), "the last of the two, and a pass");
        assert!(!pace.note(brought(Passed, Down, Up), 2));
        assert!(!pace.listens());
    }

    #[test]
    fn requests_to_an_endpoint_that_is_down_begin_no_new_watch() {
        let mut pace = Pace::default();
        pace.alarm();

        assert!(!pace.note(brought(Failed, Down, Down), 5));
    }

    #[test]
    fn a_regular_check_that_fails_brings_the_next_ones_forward() {
        let mut pace = Pace::default();

        assert!(pace.note(brought(Failed, Up, Up), 2));
        assert_eq!((pace.cause(), pace.listens()), (Cause::Interval, false));
        assert!(pace.note(brought(Failed, Up, Down), 2));
        assert!(pace.note(brought(Failed, Down, Down), 2));
        assert!(!pace.note(brought(Failed, Down, Down), 2));
        assert!(pace.listens(), "nobody has asked for them");
    }

    #[test]
    fn a_check_that_passes_ends_the_doubt() {
        let mut pace = Pace::default();
        assert!(pace.note(brought(Failed, Up, Up), 2));

        assert!(!pace.note(brought(Passed, Up, Up), 2));
        assert!(pace.listens());
    }

    #[test]
    fn what_was_down_for_long_is_up_soon_after_the_first_check_that_passes() {
        let mut pace = Pace::default();
        assert!(!pace.note(brought(Failed, Down, Down), 2));

        assert!(pace.note(brought(Passed, Down, Down), 2));
        assert_eq!((pace.cause(), pace.listens()), (Cause::Interval, false));
        assert!(pace.note(brought(Passed, Down, Down), 2));
        assert!(!pace.note(brought(Passed, Down, Up), 2));
        assert!(pace.listens());
    }

    #[test]
    fn hope_that_a_check_disappoints_ends() {
        let mut pace = Pace::default();
        assert!(pace.note(brought(Passed, Down, Down), 2));

        assert!(!pace.note(brought(Failed, Down, Down), 2));
        assert_eq!(pace, Pace::Calm);
    }

    #[test]
    fn a_newcomer_that_is_not_there_yet_is_asked_regularly() {
        let mut pace = Pace::default();

        assert!(!pace.note(brought(Failed, Health::Pending, Down), 2));
        assert!(!pace.note(brought(Failed, Down, Down), 2));
    }

    proptest! {
        /// However traffic fails, and whenever: as long as checks pass there are at most two for each
        /// regular one.
        #[test]
        fn while_checks_pass_there_are_at_most_twice_as_many(
            alarms in prop::collection::vec(any::<bool>(), 1..200),
        ) {
            let (mut pace, mut regular, mut early) = (Pace::default(), 0, 0);
            for alarm in alarms {
                if alarm && pace.listens() {
                    pace.alarm();
                }
                match pace.cause() {
                    Cause::Interval => regular += 1,
                    Cause::Traffic => early += 1,
                }
                assert!(!pace.note(brought(Passed, Up, Up), 5));
            }
            assert!(early <= regular + 1, "{early} beside {regular}");
        }

        /// Whatever an endpoint answers, one alarm has a bounded number of checks follow fast.
        #[test]
        fn an_alarm_brings_no_more_than_a_few_checks(
            passes in prop::collection::vec(any::<bool>(), 100),
            (rise, fall) in (1_u32..6, 1_u32..6),
        ) {
            let (mut pace, mut word) = (Pace::default(), Up);
            let mut tally = Tally::new(word);
            let mut early = 0;
            pace.alarm();
            for passed in passes {
                early += u32::from(pace.cause() == Cause::Traffic);
                let (outcome, before) = (if passed { Passed } else { Failed }, word);
                word = tally.note(outcome, rise, fall).unwrap_or(word);
                pace.note(brought(outcome, before, word), rise + fall);
            }
            assert!(early <= fall + (rise + fall) + rise, "{early} for {rise} and {fall}");
        }

        /// Nor has a regular check.
        #[test]
        fn a_check_that_fails_brings_no_more_than_a_few_others(
            passes in prop::collection::vec(any::<bool>(), 1..100),
            (rise, fall) in (1_u32..6, 1_u32..6),
        ) {
            let (mut pace, mut word) = (Pace::default(), Up);
            let mut tally = Tally::new(word);
            let mut row = 0;
            for passed in passes {
                let (outcome, before) = (if passed { Passed } else { Failed }, word);
                word = tally.note(outcome, rise, fall).unwrap_or(word);
                row = if pace.note(brought(outcome, before, word), rise + fall) { row + 1 } else { 0 };
                assert!(row <= fall + (rise + fall) + rise, "{row} for {rise} and {fall}");
            }
        }
    }
}
