//! How a breaker stands, in one word, and what becomes of that: facts in, decision out. Times are in milliseconds
//! since the breaker's birth.

use std::time::Duration;

use crate::config::spec::BreakerSpec;
use crate::model::breakers::Phase;

/// How a breaker stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Whether requests pass.
    pub phase: Phase,
    /// How often it has opened in a row; the time that it stays open grows with it.
    pub opened: u8,
    /// Since when it is closed; until when it is open; since when it is half open, which tells one trial from the next.
    pub at: u64,
    /// Requests on trial: those that were served, and those that are under way.
    given: u8,
    /// Those of them that were served.
    passed: u8,
    /// Of a breaker for many: the trial of one of them has failed.
    is_doubted: bool,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It goes on.
    Passes,
    /// It goes on, and what comes of it decides.
    OnTrial,
    /// It does not; come again after so long.
    Refused(Duration),
}

impl State {
    /// What becomes of a request that comes now, and how the breaker then stands.
    pub fn admit(self, rules: &BreakerSpec, now: u64) -> (Self, Admission) {
        match self.phase {
            Phase::Closed => (self, Admission::Passes),
            Phase::Open if now < self.at => (self, self.refused(now)),
            Phase::Open => {
                let new = Self {
                    phase: Phase::HalfOpen,
                    opened: self.opened,
                    at: now,
                    ..Self::default()
                };
                (Self { given: 1, ..new }, Admission::OnTrial)
            }
            Phase::HalfOpen if u64::from(self.given) < self.room(rules, now) => {
                (Self { given: self.given.saturating_add(1), ..self }, Admission::OnTrial)
            }
            // One of those that are under way may end at any time.
            Phase::HalfOpen => (self, Admission::Refused(SOON)),
        }
    }

    /// How many may be on trial by now: as many more for each time in which those before may have hung, so that
    /// one of them that takes long keeps the others out for no longer than the breaker itself.
    fn room(self, rules: &BreakerSpec, now: u64) -> u64 {
        let lease = millis(rules.open).clamp(1, LEASE);
        let times = now.saturating_sub(self.at) / lease + 1;
        u64::from(rules.trials).saturating_mul(times).min(u64::from(u8::MAX))
    }

    /// How it stands after too many requests of late have failed.
    pub fn tripped(self, rules: &BreakerSpec, now: u64) -> Self {
        if self.phase != Phase::Closed {
            return self; // they were of before it opened
        }
        // As an ejection: each quiet time takes off one.
        let quiet = millis(rules.open).max(SHORTEST_SPELL);
        let spells = now.saturating_sub(self.at) / quiet;
        let before = u64::from(self.opened).saturating_sub(spells);
        self.open(rules, u8::try_from(before).unwrap_or(self.opened), now)
    }

    /// How it stands after a request of the trial that began then was served, or has failed.
    pub fn tried(self, rules: &BreakerSpec, since: u64, failed: bool, now: u64) -> Self {
        if !self.is_trial(since) {
            return self; // of one before
        }
        if failed {
            return self.open(rules, self.opened, now);
        }
        let passed = self.passed.saturating_add(1);
        if u32::from(passed) >= rules.trials {
            return Self { opened: self.opened, at: now, ..Self::default() };
        }
        Self { passed, ..self }
    }

    /// As [`State::tried`], of a breaker for many: what fails may be the fault of the one whose request it was, so that it takes
    /// another one's to open it again. Each of them is to come here with its first failure of a trial alone.
    pub fn tried_for_many(self, rules: &BreakerSpec, since: u64, failed: bool, now: u64) -> Self {
        if failed && self.is_trial(since) && !self.is_doubted {
            return Self { is_doubted: true, ..self.given_back(since) };
        }
        self.tried(rules, since, failed, now)
    }

    /// How it stands after a request of the trial that began then has ended, and nothing is to be said of it.
    pub fn given_back(self, since: u64) -> Self {
        let given = if self.is_trial(since) { self.given.saturating_sub(1) } else { self.given };
        Self { given, ..self }
    }

    fn is_trial(self, since: u64) -> bool {
        self.phase == Phase::HalfOpen && self.at == since
    }

    fn open(self, rules: &BreakerSpec, before: u8, now: u64) -> Self {
        let opened = before.saturating_add(1).min(MOST_OPENED);
        let time = rules.open.saturating_mul(u32::from(opened)).min(rules.max);
        let at = now + millis(time).max(1);
        Self { phase: Phase::Open, opened, at, ..Self::default() }
    }

    fn refused(self, now: u64) -> Admission {
        Admission::Refused(Duration::from_millis(self.at.saturating_sub(now)))
    }

    /// In one word.
    pub(super) fn word(self) -> u64 {
        let phase: u64 = match self.phase {
            Phase::Closed => 0,
            Phase::Open => 1,
            Phase::HalfOpen => 2,
        };
        let counts = u64::from(self.given) << 8 | u64::from(self.passed);
        let doubt = u64::from(self.is_doubted) << 39;
        phase << 62 | u64::from(self.opened) << 56 | counts << 40 | doubt | self.at.min(LATEST)
    }

    /// The inverse.
    pub(super) fn of(word: u64) -> Self {
        let byte = |shift: u32, mask: u64| u8::try_from(word >> shift & mask).unwrap_or(u8::MAX);
        let phase = match word >> 62 {
            0 => Phase::Closed,
            1 => Phase::Open,
            _ => Phase::HalfOpen,
        };
        let (given, passed) = (byte(48, 0xff), byte(40, 0xff));
        let is_doubted = word >> 39 & 1 == 1;
        Self { phase, opened: byte(56, 0x3f), given, passed, is_doubted, at: word & LATEST }
    }
}

/// Results of late, in one word: of the half window of now, and of the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// The number of the half window.
    number: u16,
    now: Half,
    before: Half,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Half {
    all: u16,
    failed: u16,
}

impl Window {
    /// One without results, in the half window of this number.
    pub fn begin(number: u64) -> Self {
        Self { number: short(number), ..Self::default() }
    }

    /// After one more result, in the half window of this number.
    pub fn with(self, number: u64, failed: bool) -> Self {
        let number = short(number);
        let (number, now, before) = match number.wrapping_sub(self.number) {
            0 => (number, self.now, self.before),
            1 => (number, Half::default(), self.now),
            // By the clock of a worker that is behind, which is never by much; what lies farther back is
            // long ago, or of other rules.
            BEHIND.. => (self.number, self.now, self.before),
            _ => (number, Half::default(), Half::default()),
        };
        Self { number, now: now.with(failed), before }
    }

    /// Results, and how many of them failed.
    pub fn sums(self) -> (u32, u32) {
        let (now, before) = (self.now, self.before);
        (
            u32::from(now.all) + u32::from(before.all),
            u32::from(now.failed) + u32::from(before.failed),
        )
    }

    /// Whether too many of them failed.
    pub fn trips(self, rules: &BreakerSpec) -> bool {
        let (all, failed) = self.sums();
        all >= rules.requests && fails(failed, all, rules)
    }

    /// The same, whatever any one of many has said, of whom each says up to `most`.
    pub fn trips_without(self, most: u32, rules: &BreakerSpec) -> bool {
        let (all, failed) = self.sums();
        let (all, failed) = (all.saturating_sub(most), failed.saturating_sub(most));
        all >= rules.requests && failed > 0 && fails(failed, all, rules)
    }

    /// In one word.
    pub(super) fn word(self) -> u64 {
        let half = |half: Half| u64::from(half.all) << 12 | u64::from(half.failed);
        u64::from(self.number) << 48 | half(self.now) << 24 | half(self.before)
    }

    /// The inverse.
    pub(super) fn of(word: u64) -> Self {
        let count = |shift: u32| u16::try_from(word >> shift & u64::from(MOST)).unwrap_or(MOST);
        Self {
            number: u16::try_from(word >> 48).unwrap_or_default(),
            now: Half { all: count(36), failed: count(24) },
            before: Half { all: count(12), failed: count(0) },
        }
    }
}

impl Half {
    /// After one more. Where there is no room for more, both are halved: the share stays.
    fn with(self, failed: bool) -> Self {
        let Self { all, failed: bad } = match self.all >= MOST {
            true => Self { all: self.all / 2, failed: self.failed / 2 },
            false => self,
        };
        Self { all: all + 1, failed: bad + u16::from(failed) }
    }
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// 30 s, as long as a request may take where nothing else is said: those on trial that hang hold up the next ones no
/// longer.
const LEASE: u64 = 30_000;
/// 1 s: a request on trial usually takes less.
const SOON: Duration = Duration::from_secs(1);
/// 10 s: a shorter time would forget what was between two failures.
const SHORTEST_SPELL: u64 = 10_000;
/// The largest that fits: `max` is reached long before.
const MOST_OPENED: u8 = 0x3f;
/// 17 years.
const LATEST: u64 = (1 << 39) - 1;
/// The largest count that fits.
const MOST: u16 = 0xfff;

fn fails(failed: u32, all: u32, rules: &BreakerSpec) -> bool {
    f64::from(failed) >= f64::from(all) * rules.failures.share()
}

/// A number of a half window, as it is kept.
pub(super) fn short(number: u64) -> u16 {
    u16::try_from(number & u64::from(u16::MAX)).unwrap_or_default()
}

/// Numbers from here on, as differences, are of the four half windows before: no clock is farther behind.
pub(super) const BEHIND: u16 = 0xfffc;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::base::units::Percent;

    use super::*;

    const RULES: BreakerSpec = BreakerSpec {
        failures: Percent::new(50.0),
        requests: 20,
        window: Duration::from_secs(10),
        open: Duration::from_secs(5),
        max: Duration::from_secs(12),
        trials: 2,
        whole_pool: false,
    };

    fn tripped(state: State, now: u64) -> State {
        state.tripped(&RULES, now)
    }

    fn tried(state: State, failed: bool, now: u64) -> State {
        state.tried(&RULES, state.at, failed, now)
    }

    #[test]
    fn it_opens_for_a_time_that_grows_and_is_forgotten() {
        let mut state = State::default();
        let mut times = Vec::new();
        let mut now = 0;
        for _ in 0..4 {
            state = match state.phase {
                Phase::Closed => tripped(state, now),
                _ => tried(state, true, now),
            };
            assert_eq!(state.phase, Phase::Open);
            times.push(state.at - now);
            now = state.at;
            state = state.admit(&RULES, now).0;
        }
        assert_eq!(times, [5000, 10_000, 12_000, 12_000]);

        for _ in 0..2 {
            state = tried(state, false, now);
        }
        assert_eq!((state.phase, state.opened), (Phase::Closed, 4));
        assert_eq!(tripped(state, now + 25_000).opened, 3, "two spells took off two");
        assert_eq!(tripped(state, now + 250_000).opened, 1);
    }

    #[test]
    fn as_many_as_are_asked_for_are_on_trial_and_the_others_are_refused() {
        let open = tripped(State::default(), 0);
        assert_eq!(open.admit(&RULES, 4000).1, Admission::Refused(Duration::from_secs(1)));

        let (one, first) = open.admit(&RULES, 5000);
        let (two, second) = one.admit(&RULES, 5000);
        let (three, third) = two.admit(&RULES, 5000);
        assert_eq!([first, second], [Admission::OnTrial; 2]);
        assert_eq!(third, Admission::Refused(SOON), "one of them may end soon");
        let later = |passed: u64| three.admit(&RULES, 5000 + passed).1;
        let open = millis(RULES.open);
        assert_eq!(later(open - 1), Admission::Refused(SOON));
        assert_eq!(later(open), Admission::OnTrial, "they hang for as long as it was open");

        let half = tried(three, false, 5001);
        assert_eq!(half.phase, Phase::HalfOpen);
        assert_eq!(tried(half, false, 5002).phase, Phase::Closed);
        let again = tried(half, true, 5002);
        assert_eq!((again.phase, again.at), (Phase::Open, 15_002), "one failure is enough");
    }

    #[test]
    fn a_request_on_trial_that_says_nothing_gives_its_place_to_the_next() {
        let open = tripped(State::default(), 0);
        let one = open.admit(&RULES, 5000).0.admit(&RULES, 5000).0;
        assert!(matches!(one.admit(&RULES, 5001).1, Admission::Refused(_)));
        assert_eq!(one.given_back(5000).admit(&RULES, 5001).1, Admission::OnTrial);

        let again = tried(one, true, 5001).admit(&RULES, 20_000).0;
        assert_eq!(again.given_back(5000), again, "it was of the trial before");
        assert_eq!(again.tried(&RULES, 5000, true, 20_001), again);
    }

    #[test]
    fn a_window_begins_anew_however_long_ago_it_was() {
        for later in [2, 0x7fff, 0x8000, 0x9000, 0xfeff, 0xfffb, 0x1_0002] {
            let old = Window::begin(7).with(7, true);
            assert_eq!(old.with(7 + later, false).sums(), (1, 0), "{later:#x}");
        }
    }

    #[test]
    fn a_window_remembers_itself_and_half_of_the_one_before() {
        let mut window = Window::default();
        for _ in 0..10 {
            window = window.with(7, true);
        }
        window = window.with(8, false);
        assert_eq!(window.sums(), (11, 10));
        assert_eq!(window.with(9, false).sums(), (2, 0));
        assert_eq!(window.with(70_000, false).sums(), (1, 0));
        let behind = window.with(7, false);
        assert_eq!((behind.sums(), behind.number), ((12, 10), 8), "by a clock that is behind");
    }

    proptest! {
        #[test]
        fn words_tell_it_again(
            (opened, given, passed) in (0_u8..64, any::<u8>(), any::<u8>()),
            (at, is_doubted, phase) in (0..=LATEST, any::<bool>(), 0..3),
        ) {
            let phase = [Phase::Closed, Phase::Open, Phase::HalfOpen][phase as usize];
            let state = State { phase, opened, given, passed, is_doubted, at };
            prop_assert_eq!(State::of(state.word()), state);
        }

        #[test]
        fn windows_do_too(results in prop::collection::vec((0_u64..4, any::<bool>()), 0..60)) {
            let (mut window, mut number) = (Window::default(), 0);
            for (later, failed) in results {
                number += later;
                window = window.with(number, failed);
                prop_assert_eq!(Window::of(window.word()), window);
                let (all, bad) = window.sums();
                prop_assert!(bad <= all);
            }
        }

        /// However many there are, the share is right within a hundredth.
        #[test]
        fn a_window_that_is_full_keeps_the_share(share in 0_u32..=100) {
            let mut window = Window::default();
            for at in 0..20_000 {
                window = window.with(0, at % 100 < share);
            }
            let (all, failed) = window.sums();
            let found = f64::from(failed) / f64::from(all);
            prop_assert!((found - f64::from(share) / 100.0).abs() < 0.05, "{found} {share}");
        }

        /// Whatever happens: it opens by failures alone, is never open for longer than it may, lets no more on trial
        /// than it says, and comes back once requests are served again.
        #[test]
        fn it_keeps_its_promises(steps in prop::collection::vec((0_u8..4, 0_u64..9000), 1..200)) {
            let (mut state, mut now, mut on_trial) = (State::default(), 0, 0_u64);
            for (step, later) in steps {
                now += later;
                let before = state;
                match step {
                    0 => {
                        let (after, admission) = state.admit(&RULES, now);
                        state = after;
                        match admission {
                            Admission::Passes => prop_assert_eq!(before.phase, Phase::Closed),
                            Admission::OnTrial => {
                                on_trial = if before.phase == Phase::Open { 1 } else { on_trial + 1 };
                                let lease = millis(RULES.open).clamp(1, LEASE);
                                let times = (now - state.at) / lease + 1;
                                prop_assert!(on_trial <= u64::from(RULES.trials) * times);
                            }
                            Admission::Refused(time) => {
                                prop_assert!(before.phase != Phase::Closed);
                                prop_assert!(time <= RULES.max);
                            }
                        }
                    }
                    3 => {
                        state = state.given_back(state.at);
                        on_trial = u64::from(state.given);
                    }
                    1 if before.phase == Phase::Closed => state = tripped(state, now),
                    step => state = tried(state, step == 1, now),
                }
                if state.phase == Phase::Open && before.phase != Phase::Open {
                    prop_assert_eq!(step, 1);
                    prop_assert!(state.at - now <= 12_000);
                }
            }
            for _ in 0..100 {
                now += 1000;
                let (after, admission) = state.admit(&RULES, now);
                state = match admission {
                    Admission::Refused(_) => after,
                    _ => tried(after, false, now),
                };
            }
            prop_assert_eq!(state.phase, Phase::Closed);
        }
    }
}
