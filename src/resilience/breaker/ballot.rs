//! What one tenant may say to the breaker of a whole pool: a few results in half a window, and one trial at a time. Two words, and
//! no lock. Facts in, decision out.

use std::sync::atomic::{AtomicU64, Ordering};

use super::state::{BEHIND, short};

/// What a tenant has said.
#[derive(Debug, Default)]
pub(super) struct Ballot {
    votes: AtomicU64,
    turn: AtomicU64,
}

/// What it has said in the half window of this number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Votes {
    number: u16,
    count: u16,
}

/// Its part in a trial.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Turn {
    /// When the trial began, which tells one from the next.
    since: u64,
    /// The number of the stretch of time in which it has a request on trial, or one that has failed.
    stretch: u32,
    is_taken: bool,
    has_failed: bool,
}

impl Ballot {
    /// Takes one of so many votes in the half window of this number, where one is left.
    pub(super) fn votes(&self, number: u64, most: u32) -> bool {
        let number = short(number);
        let vote = |word| {
            let Votes { number: known, count } = Votes::of(word);
            let count = match number.wrapping_sub(known) {
                0 => count,
                BEHIND.. => return None, // by the clock of a worker that is behind
                _ => 0,
            };
            let has_one = u32::from(count) < most;
            has_one.then(|| Votes { number, count: count.saturating_add(1) }.word())
        };
        self.votes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, vote).is_ok()
    }

    /// Whether the tenant has its one request on trial in this stretch of time, or one there has failed.
    pub(super) fn is_taken(&self, since: u64, stretch: u64) -> bool {
        Turn::of(self.turn.load(Ordering::Relaxed)).is_taken_in(since, stretch)
    }

    /// Takes the tenant's one request on trial in this stretch of time.
    pub(super) fn take(&self, since: u64, stretch: u64) -> bool {
        let take = |word| {
            let known = Turn::of(word);
            let has_failed = known.since == since && known.has_failed;
            let turn = Turn { since, stretch: narrow(stretch), is_taken: true, has_failed };
            (!known.is_taken_in(since, stretch)).then(|| turn.word())
        };
        self.turn.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// That was served, or has ended with nothing said of it: the tenant's next one may be on trial.
    pub(super) fn give_back(&self, since: u64) {
        self.change(since, |turn| Turn { is_taken: false, ..turn });
    }

    /// It has failed. Tells whether it is the first one of the trial that did.
    pub(super) fn fails(&self, since: u64) -> bool {
        self.change(since, |turn| Turn { has_failed: true, ..turn })
            .is_some_and(|before| !before.has_failed)
    }

    /// Changes the part in the trial that began then, and tells what it was.
    fn change(&self, since: u64, change: impl Fn(Turn) -> Turn) -> Option<Turn> {
        let changed = |word| {
            let known = Turn::of(word);
            (known.since == since).then(|| change(known).word())
        };
        let before = self.turn.fetch_update(Ordering::Relaxed, Ordering::Relaxed, changed);
        before.ok().map(Turn::of)
    }
}

impl Votes {
    fn word(self) -> u64 {
        u64::from(self.number) << 16 | u64::from(self.count)
    }

    fn of(word: u64) -> Self {
        Self { number: short(word >> 16), count: short(word) }
    }
}

impl Turn {
    fn is_taken_in(self, since: u64, stretch: u64) -> bool {
        self.is_taken && self.since == since && self.stretch == narrow(stretch)
    }

    fn word(self) -> u64 {
        let flags = u64::from(self.is_taken) << 1 | u64::from(self.has_failed);
        self.since << 25 | u64::from(self.stretch) << 2 | flags
    }

    fn of(word: u64) -> Self {
        let (is_taken, has_failed) = (word >> 1 & 1 == 1, word & 1 == 1);
        Self { since: word >> 25, stretch: narrow(word >> 2), is_taken, has_failed }
    }
}

/// As much of a number as is kept: it tells one stretch from the next.
fn narrow(stretch: u64) -> u32 {
    u32::try_from(stretch & STRETCHES).unwrap_or_default()
}

/// 23 bits.
const STRETCHES: u64 = (1 << 23) - 1;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn so_many_votes_are_one_s_in_each_half_window() {
        let ballot = Ballot::default();
        let votes = |number| (0..10).filter(|_| ballot.votes(number, 3)).count();
        assert_eq!([votes(7), votes(7), votes(8)], [3, 0, 3]);
        assert_eq!(votes(7), 0, "a clock that is behind");
        assert_eq!([votes(9), votes(70_000)], [3, 3]);
        assert_eq!(votes(100), 3, "of longer windows, after a reload");
    }

    #[test]
    fn one_request_is_on_trial_at_a_time_and_a_failure_is_news_once() {
        let ballot = Ballot::default();
        assert!(ballot.take(5000, 0) && !ballot.take(5000, 0));
        ballot.give_back(5000);
        assert!(ballot.take(5000, 0), "it was served");
        assert!(ballot.fails(5000));
        assert!(ballot.is_taken(5000, 0) && !ballot.take(5000, 0));
        assert!(ballot.take(5000, 1), "the next time");
        assert!(!ballot.fails(5000), "it says the same again");

        assert!(ballot.take(9000, 0), "the next trial");
        assert!(!ballot.fails(5000), "late");
        ballot.give_back(5000);
        assert!(ballot.is_taken(9000, 0));
        assert!(ballot.fails(9000));
    }

    proptest! {
        #[test]
        fn words_tell_it_again(
            (since, stretch) in (0_u64..1 << 39, 0_u32..1 << 23),
            (is_taken, has_failed) in any::<(bool, bool)>(),
            (number, count) in any::<(u16, u16)>(),
        ) {
            let turn = Turn { since, stretch, is_taken, has_failed };
            prop_assert_eq!(Turn::of(turn.word()), turn);
            let votes = Votes { number, count };
            prop_assert_eq!(Votes::of(votes.word()), votes);
        }
    }
}
