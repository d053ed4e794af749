//! When an endpoint is asked next: regularly, and sooner where traffic has seen it fail. Pure.

use crate::health::Outcome;
use crate::model::endpoint::Health;

/// Whether the next check of an endpoint is a regular one.
///
/// One that traffic asks for comes at once. If it fails, others follow it fast, so that an endpoint
/// that is dead is down within a few of them. If it passes, traffic is heard again only after the
/// next regular one: requests that fail while checks pass, whosever they are, can do no more than double
/// the number of checks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Pace {
    /// Regular checks; traffic is heard.
    #[default]
    Calm,
    /// Traffic has asked for the next check, or for one whose failure asks for more.
    Alarmed,
    /// The check that traffic asked for passed, or took the endpoint down.
    Reassured,
}

/// What a check was made for, as the value of the `cause` label. Never rename one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Its time had come.
    Interval,
    /// Traffic has seen failures.
    Traffic,
}

impl Pace {
    /// Whether a failure that traffic sees brings the next check forward.
    pub(super) fn listens(self) -> bool {
        self == Self::Calm
    }

    /// Traffic has seen a failure.
    pub(super) fn alarm(&mut self) {
        *self = Self::Alarmed;
    }

    /// What the check is made for that begins now.
    pub(super) fn cause(self) -> Cause {
        if self == Self::Alarmed { Cause::Traffic } else { Cause::Interval }
    }

    /// Takes the outcome of a check after which the endpoint's word is this. Tells whether the next one is to
    /// follow fast.
    pub(super) fn note(&mut self, outcome: Outcome, word: Health) -> bool {
        *self = match (*self, outcome) {
            (Self::Alarmed, Outcome::Failed) if word != Health::Down => Self::Alarmed,
            (Self::Alarmed, _) => Self::Reassured,
            (Self::Calm | Self::Reassured, _) => Self::Calm,
        };
        *self == Self::Alarmed
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

    use super::Outcome::{Failed, Passed};
    use super::*;

    #[test]
    fn failures_follow_fast_until_the_endpoint_is_down() {
        let mut pace = Pace::default();
        pace.alarm();

        assert!(pace.note(Failed, Health::Up));
        assert!(pace.note(Failed, Health::Up));
        assert!(!pace.note(Failed, Health::Down));
        assert!(!pace.listens());
        assert!(!pace.note(Failed, Health::Down));
        assert!(pace.listens());
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
                assert!(!pace.note(Passed, Health::Up));
            }
            assert!(early <= regular + 1, "{early} beside {regular}");
        }
    }
}
