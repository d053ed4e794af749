//! What all breakers do with their words, whoever's they are.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::spec::BreakerSpec;
use crate::model::breakers::{Phase, Standings, Words};

use super::Became;
use super::state::{Admission, State, Window, millis};

/// A breaker by its words, and where it is told how it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Core<'b> {
    pub(super) words: &'b Words,
    pub(super) standing: &'b Standings,
}

/// A request that goes on.
#[derive(Debug)]
pub struct Admitted<T> {
    /// What it takes while it decides what the breaker becomes; `None` where that is closed.
    pub trial: Option<T>,
    /// What the breaker became by it.
    pub became: Option<Became>,
}

/// The place of a request among those on trial. Dropped with nothing said of the request, it is the next one's.
#[derive(Debug)]
pub struct OnTrial<'b> {
    core: Core<'b>,
    /// When the trial began.
    pub(super) since: u64,
    has_ended: bool,
}

impl OnTrial<'_> {
    /// The request was served, or has failed; tells what the breaker became by that.
    pub fn ends(self, rules: &BreakerSpec, failed: bool, now: Instant) -> Option<Became> {
        self.ends_as(rules, now, |state, since, now| state.tried(rules, since, failed, now))
    }

    /// The same, in words of the state: as it is, when the trial began, and now.
    pub(super) fn ends_as(
        mut self,
        rules: &BreakerSpec,
        now: Instant,
        change: impl Fn(State, u64, u64) -> State,
    ) -> Option<Became> {
        self.has_ended = true;
        let now = self.core.millis(now);
        self.core.become_of(rules, now, |state| change(state, self.since, now))
    }
}

impl Drop for OnTrial<'_> {
    fn drop(&mut self) {
        if !self.has_ended {
            self.core.change(|state| state.given_back(self.since));
        }
    }
}

impl<'b> Core<'b> {
    /// Whether a request may go on.
    ///
    /// # Errors
    /// It may not; come again after so long.
    pub(super) fn admit(
        self,
        rules: &BreakerSpec,
        now: Instant,
    ) -> Result<Admitted<OnTrial<'b>>, Duration> {
        let known = self.state();
        if known.phase == Phase::Closed {
            return Ok(Admitted { trial: None, became: None });
        }
        let now = self.millis(now);
        let mut admission = Admission::Passes;
        let (before, after) = self.change(|state| {
            let (after, admitted) = state.admit(rules, now);
            admission = admitted;
            after
        });
        match admission {
            Admission::Refused(time) => Err(time),
            Admission::Passes => Ok(Admitted { trial: None, became: None }),
            Admission::OnTrial => {
                let trial = OnTrial { core: self, since: after.at, has_ended: false };
                let became = (before.phase == Phase::Open).then_some(Became::HalfOpen);
                Ok(Admitted { trial: Some(trial), became })
            }
        }
    }

    /// Takes what came of a request that was not on trial and began then: served, or failed. Tells what the breaker
    /// became by that; it opens where that `trips`.
    pub(super) fn note(
        self,
        rules: &BreakerSpec,
        failed: bool,
        (began, now): (Instant, Instant),
        trips: impl Fn(Window) -> bool,
    ) -> Option<Became> {
        let (began, now) = (self.millis(began), self.millis(now));
        if !self.counts(began) {
            return None;
        }
        let number = now / half(rules);
        let seen = |word| Some(Window::of(word).with(number, failed).word());
        let before = self.words.window.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, seen);
        let after = Window::of(before.unwrap_or_else(|word| word)).with(number, failed);
        if !failed || !trips(after) {
            return None;
        }
        self.become_of(rules, now, |state| state.tripped(rules, now))
    }

    /// Whether a request that began then says something: not one of before it opened.
    pub(super) fn counts(self, began: u64) -> bool {
        let state = self.state();
        state.phase == Phase::Closed && began >= state.at
    }

    pub(super) fn state(self) -> State {
        State::of(self.words.state.load(Ordering::Relaxed))
    }

    /// Changes the state by what came of a request; tells what it became to the one that did it.
    fn become_of(
        self,
        rules: &BreakerSpec,
        now: u64,
        change: impl FnMut(State) -> State,
    ) -> Option<Became> {
        let (before, after) = self.change(change);
        if before.phase == after.phase {
            return None;
        }
        // What was seen before says nothing of what comes after.
        let anew = Window::begin(now / half(rules));
        self.words.window.0.store(anew.word(), Ordering::Relaxed);
        match after.phase {
            Phase::Open => Some(Became::Open(Duration::from_millis(after.at.saturating_sub(now)))),
            Phase::Closed => Some(Became::Closed),
            Phase::HalfOpen => None,
        }
    }

    /// Changes the state; tells it before and after.
    fn change(self, mut change: impl FnMut(State) -> State) -> (State, State) {
        let mut after = State::default();
        let state = &self.words.state;
        let before = state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
            after = change(State::of(word));
            Some(after.word())
        });
        let before = State::of(before.unwrap_or_else(|word| word));
        if before.phase != after.phase {
            self.standing.moves(self.stands(before), self.stands(after));
        }
        (before, after)
    }

    /// Nobody asks for it any more: it counts as closed.
    pub(super) fn leaves(self) {
        self.standing.moves(self.stands(self.state()), (Phase::Closed, self.words.born));
    }

    fn stands(self, state: State) -> (Phase, Instant) {
        (state.phase, self.words.born + Duration::from_millis(state.at))
    }

    pub(super) fn millis(self, time: Instant) -> u64 {
        millis(time.saturating_duration_since(self.words.born))
    }
}

/// Half of the window, in milliseconds.
pub(super) fn half(rules: &BreakerSpec) -> u64 {
    (millis(rules.window) / 2).max(1)
}
