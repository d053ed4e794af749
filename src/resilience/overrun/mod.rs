//! When a pool without a limit of its own is overrun, and how many are to wait for its endpoints then. Pure: looks at what was
//! counted within a second, one after the other, and says what to do.
//!
//! A pool is overrun where more attempts end without an answer, since nobody waits any longer, than with one, **and** nearly all of
//! those that have one have waited for several times as long as usual, and not much less long than those that have none. All of it
//! belongs to it: where some endpoints or some requests hang and others are served as ever, a bound would have these wait for
//! those. Where nobody was answered from the first moment on, nobody knows, and nothing is bounded.
//!
//! What it bounds is how many **wait for the head of an answer**, so that tunnels and streams, however many, are none of it.

use std::time::Duration;

/// What was counted of a pool since the look before.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Look {
    /// Attempts that ended without an answer, as their time was over or their client had left.
    pub late: u64,
    /// How long these have waited, in all.
    pub in_vain: Duration,
    /// Attempts that were answered, and not with a 5xx.
    pub served: u64,
    /// The time within which a quarter of these were.
    pub quarter: Option<Duration>,
    /// How long these took to the heads of their answers, in all.
    pub waited: Duration,
    /// How many wait before the bound now.
    pub queued: usize,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Stays,
    /// No more than so many may wait for endpoints from now on.
    Binds(u32),
    /// The bound is another one.
    Moves(u32),
    /// The pool is well again: there is no bound any more.
    Frees,
    /// Requests take as long with the bound as without: the pool is slow, and not overrun. There is no bound any more.
    GivesUp,
}

/// Watches over a pool.
#[derive(Clone, Debug)]
pub struct Watch {
    usual: Usual,
    state: State,
    /// The time within which a quarter were served at the last look at which any were, in seconds.
    quarter: f64,
    /// Nothing was counted at the look before: workers tell what they count about once a second, and not to the tick.
    was_empty: bool,
    /// Looks until it may bind anew, after a bound that did not help.
    rest: u32,
    /// How long that is the next time.
    pause: u32,
}

/// What is usual while all is well.
#[derive(Clone, Copy, Debug, Default)]
struct Usual {
    /// At how many looks all was well, up to [`KNOWN`].
    looks: u32,
    /// The time within which a quarter are served, in seconds.
    quarter: f64,
    /// How many wait for the heads of their answers: the time that they wait in a second (Little's law).
    waiting: f64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// There is no bound; the pool was overrun at so many looks in a row.
    Free { overrun: u32 },
    /// There is one.
    Bound { limit: u32, least: u32, calm: u32, slow: u32 },
}

impl Watch {
    /// Over a pool of which nothing is known.
    pub fn new() -> Self {
        Self {
            usual: Usual::default(),
            state: State::Free { overrun: 0 },
            quarter: 0.0,
            was_empty: false,
            rest: 0,
            pause: PAUSE,
        }
    }

    /// Takes a look, once a second.
    pub fn look(&mut self, look: &Look) -> Step {
        self.rest = self.rest.saturating_sub(1);
        if let Some(quarter) = look.quarter {
            self.quarter = quarter.as_secs_f64();
        }
        let is_empty = look.late + look.served == 0;
        let step = match self.state {
            State::Free { .. } if is_empty => Step::Stays,
            State::Free { overrun } => self.look_free(look, overrun),
            State::Bound { limit, least, calm, slow } => {
                self.look_bound(look, (limit, least), (calm, slow))
            }
        };
        self.was_empty = is_empty;
        step
    }

    fn look_free(&mut self, look: &Look, overrun: u32) -> Step {
        let is_overrun = self.is_overrun(look);
        let overrun = if is_overrun { overrun + 1 } else { 0 };
        self.state = State::Free { overrun };
        if look.late * 2 <= look.served && look.served >= ENOUGH {
            self.usual.learn(look, self.quarter, self.was_empty);
        }
        if overrun < IN_A_ROW || self.rest > 0 {
            return Step::Stays;
        }
        let least = ((self.usual.waiting * ROOM).ceil() as u32).max(LEAST);
        self.state = State::Bound { limit: least, least, calm: 0, slow: 0 };
        Step::Binds(least)
    }

    fn look_bound(
        &mut self,
        look: &Look,
        (limit, least): (u32, u32),
        (calm, slow): (u32, u32),
    ) -> Step {
        let is_empty = look.late + look.served == 0;
        let is_quick = look.served > 0 && self.takes() <= QUICK;
        let is_slow = !is_empty && !is_quick && self.takes() >= SLOW;
        let is_calm = look.queued == 0 && (is_empty || is_quick && look.late * 2 <= look.served);
        let calm = if is_calm { calm + 1 } else { 0 };
        let slow = if is_quick || is_empty { 0 } else { slow + u32::from(is_slow) };
        if calm >= CALM {
            *self = Self { usual: self.usual, quarter: self.quarter, ..Self::new() };
            return Step::Frees;
        }
        if slow >= VAIN {
            self.state = State::Free { overrun: 0 };
            self.rest = self.pause;
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            return Step::GivesUp;
        }
        let next = match (is_quick, is_slow) {
            // Endpoints have room for more than that, and more wait.
            (true, _) if look.queued > 0 => limit.saturating_add(limit.div_ceil(PART)),
            (_, true) if self.is_overrun(look) => least,
            (_, true) => (limit - limit / PART).max(least),
            _ => limit,
        };
        self.state = State::Bound { limit: next, least, calm, slow };
        if next == limit { Step::Stays } else { Step::Moves(next) }
    }

    fn is_overrun(&self, look: &Look) -> bool {
        self.usual.looks >= KNOWN
            && look.late >= ENOUGH
            && look.late > look.served
            && self.takes() >= SLOW
            && self.quarter * ALIKE >= look.in_vain.as_secs_f64() / look.late as f64
    }

    /// How many times as long as usual those take that are served.
    fn takes(&self) -> f64 {
        self.quarter / self.usual.quarter.max(SOON)
    }
}

impl Default for Watch {
    fn default() -> Self {
        Self::new()
    }
}

impl Usual {
    /// Learns from a look at which all was well: soon of less than is usual, slowly of more, and of much more as if it were three
    /// times as much. So a pool that is on its way to be overrun is not taken for usual, and one that is slow for good is after a
    /// while.
    fn learn(&mut self, look: &Look, quarter: f64, was_empty: bool) {
        let share = if was_empty { 0.5 } else { 1.0 };
        let waiting = look.waited.as_secs_f64() * share;
        if self.looks == 0 {
            (self.quarter, self.waiting) = (quarter, waiting);
        } else {
            (self.quarter, self.waiting) =
                (near(self.quarter, quarter), near(self.waiting, waiting));
        }
        self.looks = (self.looks + 1).min(KNOWN);
    }
}

/// What is usual once this was seen, too.
fn near(usual: f64, seen: f64) -> f64 {
    let share = if seen < usual { DOWN } else { UP };
    usual + (seen.min(usual * MOST) - usual) * share
}

/// 20 of a look: of fewer it says little, and a pool of so few requests is not overrun by them.
const ENOUGH: u64 = 20;
/// 3 s are enough to know what is usual.
const KNOWN: u32 = 3;
/// A twentieth of what is more, a quarter of what is less.
const UP: f64 = 0.05;
const DOWN: f64 = 0.25;
/// Three times as much as usual is as much as is learned from at once.
const MOST: f64 = 3.0;
/// Two looks: one may be a pause of the machine, after which all come at once.
const IN_A_ROW: u32 = 2;
/// 20 ms: what takes less is not told from nothing. Nobody leaves for that.
const SOON: f64 = 0.02;
/// Five times as long as usual: at full load queues alone make for two or three.
const SLOW: f64 = 5.0;
/// A third: who waits in the same lines as those that leave, and no longer than they do, waits for half as long or so.
const ALIKE: f64 = 3.0;
/// Within three times as long as usual they are served as they should be.
const QUICK: f64 = 3.0;
/// Twice as many as usual, so that a pool that only looks as if it were overrun hardly feels it.
const ROOM: f64 = 2.0;
/// 20, as an adaptive limit begins with: hardly a pool bears less.
const LEAST: u32 = 20;
/// An eighth more each second: twice as many after six.
const PART: u32 = 8;
/// Ten seconds of calm.
const CALM: u32 = 10;
/// 20 s: what was on its way to endpoints when the bound came has been answered or given up by then.
const VAIN: u32 = 20;
/// A minute, and a quarter of an hour at most, until a bound is tried anew that did not help.
const PAUSE: u32 = 60;
const LONGEST_PAUSE: u32 = 960;

#[cfg(test)]
mod tests;
