//! When a pool without a limit of its own is overrun, and how many are to wait for its endpoints then. Pure: looks at what was
//! counted within a second, one after the other, and says what to do.
//!
//! A pool is overrun where more attempts end without an answer, since nobody waits any longer, than with one, **and** nearly all of
//! those that have one have waited for several times as long as usual, and not much less long than those that have none. All of it
//! belongs to it: where some endpoints or some requests hang and others are served as ever, a bound would have these wait for
//! those. Where nobody was answered from the first moment on, nobody knows, and nothing is bounded.
//!
//! What it bounds is how many **wait for the head of an answer**, so that tunnels and streams whose heads have come, however many,
//! are none of it.

use std::time::Duration;

use crate::telemetry::strains::Strain;

/// What was counted of a pool since the look before.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Look {
    /// Attempts that ended without an answer, as their time was over or their client had left.
    pub late: u64,
    /// How long these have waited, in all.
    pub in_vain: Duration,
    /// The time after which half of these had left.
    pub half: Option<Duration>,
    /// Attempts that were answered, and not with a 5xx.
    pub served: u64,
    /// The time within which a quarter of these were.
    pub quarter: Option<Duration>,
    /// How long these took to the heads of their answers, in all.
    pub waited: Duration,
    /// How many wait before the bound now.
    pub queued: usize,
}

impl Look {
    /// What was seen of a pool, and how many wait before its bound.
    pub fn of(strain: &Strain, queued: usize) -> Self {
        Self {
            late: strain.late.count(),
            in_vain: strain.late.sum(),
            half: strain.late.quantile(0.5),
            served: strain.served.count(),
            quarter: strain.served.quantile(0.25),
            waited: strain.served.sum(),
            queued,
        }
    }

    /// How long those wait that are late, in seconds: on average, or as half of them do where that is less, so that a few who leave
    /// after minutes by habit do not speak for all.
    fn patience(&self) -> f64 {
        let mean = self.mean();
        self.half.map_or(mean, |half| half.as_secs_f64().min(mean))
    }

    /// How long those have waited that are late, on average and in seconds.
    fn mean(&self) -> f64 {
        self.in_vain.as_secs_f64() / self.late.max(1) as f64
    }
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
    /// The time within which a quarter were served at the last look at which some were, in seconds.
    quarter: f64,
    /// How many looks ago that was.
    stale: u32,
    /// Nothing was counted at the look before: workers tell what they count about once a second, and not to the tick.
    was_empty: bool,
    /// Looks until it may bind anew, after a bound that did not help.
    rest: u32,
    /// How long that is the next time.
    pause: u32,
    /// Looks since one did not help.
    since: u32,
}

/// What is usual while all is well.
#[derive(Clone, Copy, Debug, Default)]
struct Usual {
    /// At how many looks all was well, up to [`KNOWN`].
    looks: u32,
    /// The time within which a quarter are served, in seconds.
    quarter: f64,
    /// How many wait for the heads of their answers, on average of late: the time that they wait in a second (Little's law).
    mean: f64,
    /// How many that were when they were many, which is forgotten slowly.
    waiting: f64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// There is no bound; the pool was overrun at so many looks in a row.
    Free { overrun: u32 },
    /// There is one.
    Bound(Bound),
}

#[derive(Clone, Copy, Debug)]
struct Bound {
    limit: u32,
    /// What it does not fall below.
    least: u32,
    /// At so many looks in a row all was well, and nobody waited before the bound.
    calm: u32,
    /// At so many looks it was not, less those at which answers were sound though some waited.
    slow: u32,
    /// With so many of those the bound is of no use.
    patience: u32,
    /// Whether those were served as they should be who were at the last look at which there were any, or none was though some were
    /// late.
    is_quick: bool,
}

impl Watch {
    /// Over a pool of which nothing is known.
    pub fn new() -> Self {
        Self {
            usual: Usual::default(),
            state: State::Free { overrun: 0 },
            quarter: 0.0,
            stale: 0,
            was_empty: false,
            rest: 0,
            pause: PAUSE,
            since: 0,
        }
    }

    /// Takes a look, once a second.
    pub fn look(&mut self, look: &Look) -> Step {
        self.rest = self.rest.saturating_sub(1);
        self.stale = self.stale.saturating_add(1);
        self.since = self.since.saturating_add(1);
        match look.quarter.filter(|_| look.served >= SOME) {
            Some(quarter) => (self.quarter, self.stale) = (quarter.as_secs_f64(), 0),
            None if self.stale > OLD => self.quarter = 0.0,
            None => {}
        }
        let is_empty = look.late + look.served == 0;
        let step = match self.state {
            State::Free { .. } if is_empty => Step::Stays,
            State::Free { overrun } => self.look_free(look, overrun),
            State::Bound(bound) => self.look_bound(look, bound),
        };
        self.was_empty = is_empty;
        step
    }

    /// Whether who is late now is so for how many wait, and not for its endpoint: there is a bound, and answers are slow.
    pub fn excuses(&self) -> bool {
        matches!(self.state, State::Bound(bound) if !bound.is_quick)
    }

    /// Whether there is a bound.
    pub fn has_bound(&self) -> bool {
        matches!(self.state, State::Bound(_))
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
        // What is on its way to endpoints by now takes them that time, and as many times as long as more has come than they can do.
        let thrice = (BACKLOG * look.mean()).ceil() as u32;
        let patience = thrice.clamp(VAIN, MOST_VAIN);
        let new = Bound { limit: least, least, calm: 0, slow: 0, patience, is_quick: false };
        self.state = State::Bound(new);
        Step::Binds(least)
    }

    /// Each look either is sound, so that the bound goes or grows, or counts towards giving up: no pool stays bound.
    fn look_bound(&mut self, look: &Look, bound: Bound) -> Step {
        let Bound { limit, least, .. } = bound;
        let is_empty = look.late + look.served == 0;
        let is_quick = look.served > 0 && self.quarter > 0.0 && self.takes() <= QUICK;
        let is_slow = !is_empty && !is_quick && self.takes() >= SLOW;
        let is_sound =
            is_quick || look.served > 0 && self.takes() < SLOW && look.late * 2 <= look.served;
        let is_calm = look.queued == 0 && (is_empty || is_sound);
        let calm = if is_calm { bound.calm + 1 } else { 0 };
        let slow = match (is_calm, is_sound) {
            (true, _) => 0,
            // One of them among many that are not says little.
            (_, true) => bound.slow.saturating_sub(1),
            _ => bound.slow + 1,
        };
        if calm >= CALM {
            self.state = State::Free { overrun: 0 };
            (self.rest, self.pause) = (0, PAUSE);
            return Step::Frees;
        }
        if slow >= bound.patience {
            return self.give_up();
        }
        let next = match (is_sound, is_slow) {
            // Endpoints have room for more than that, and more wait.
            (true, _) if look.queued > 0 => limit.saturating_add(limit.div_ceil(PART)),
            (_, true) if self.is_overrun(look) => least,
            (_, true) => (limit - limit / PART).max(least),
            _ => limit,
        };
        let is_quick = if is_empty { bound.is_quick } else { is_quick };
        self.state = State::Bound(Bound { limit: next, calm, slow, is_quick, ..bound });
        if next == limit { Step::Stays } else { Step::Moves(next) }
    }

    fn give_up(&mut self) -> Step {
        self.state = State::Free { overrun: 0 };
        if self.since > FORGIVEN {
            self.pause = PAUSE;
        }
        (self.rest, self.since) = (self.pause, 0);
        if self.pause == LONGEST_PAUSE && self.quarter > 0.0 {
            self.usual.quarter = self.quarter; // what is slow for that long is usual
        }
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Step::GivesUp
    }

    fn is_overrun(&self, look: &Look) -> bool {
        self.usual.looks >= KNOWN
            && self.usual.quarter < LONG
            && look.late >= ENOUGH
            && look.late > look.served
            && self.takes() >= SLOW
            && self.quarter * ALIKE >= look.patience()
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
    /// Learns from a look at which all was well: of more, more slowly than of less; of much more, as if it were three times as much;
    /// and of all of it slowly once it is known. So a pool that is on its way to be overrun, be it for minutes, is not taken for
    /// usual, and one that is slow for good is after a while. How many wait is hardly forgotten: a crowd that comes after a quiet
    /// hour is to find as much room as the one before.
    fn learn(&mut self, look: &Look, quarter: f64, was_empty: bool) {
        let share = if was_empty { 0.5 } else { 1.0 };
        // Those that were left, too: it is what this pool bears.
        let waiting = (look.waited + look.in_vain).as_secs_f64() * share;
        if self.looks == 0 {
            *self = Self { looks: 1, quarter, mean: waiting, waiting };
            return;
        }
        let is_known = self.looks >= SETTLED;
        // Who waits where answers are slow is no measure of what it bears.
        if quarter <= QUICK * self.quarter.max(SOON) {
            // Who has waited for minutes counts at the one look at which that ends: only a mean tells how many wait at once.
            let share = 1.0 / f64::from(self.looks + 1);
            self.mean += (waiting.min(self.waiting * BURST) - self.mean) * share;
            let down = if is_known { HARDLY } else { DOWN };
            self.waiting = near(self.waiting, self.mean, (down, UP));
        }
        let pace = if is_known { PACE } else { 1.0 };
        self.quarter = near(self.quarter, quarter, (DOWN * pace, UP * pace));
        self.looks = (self.looks + 1).min(SETTLED);
    }
}

/// What is usual once this was seen, too: such shares of less, or of more, are learned.
fn near(usual: f64, seen: f64, (down, up): (f64, f64)) -> f64 {
    let share = if seen < usual { down } else { up };
    usual + (seen.min(usual * MOST) - usual) * share
}

/// 20 of a look: of fewer it says little, and a pool of so few requests is not overrun by them.
const ENOUGH: u64 = 20;
/// 5 of a look tell how long a quarter of them take, …
const SOME: u64 = 5;
/// … which is of no use after five looks.
const OLD: u32 = 5;
/// 3 s are enough to know what is usual, …
const KNOWN: u32 = 3;
/// … and 30 to know how long they take, and how many wait, on average of so many.
const SETTLED: u32 = 30;
/// A twentieth of what is more, a quarter of what is less.
const UP: f64 = 0.05;
const DOWN: f64 = 0.25;
/// A tenth of that once it is known how soon they are served: 1 % a second of what is three times as much, so that two minutes in
/// which ever more wait, and none leaves, make for three or four times as long as it was.
const PACE: f64 = 0.1;
/// Half of it after twenty minutes.
const HARDLY: f64 = 1.0 / 1800.0;
/// 1 s: where a quarter take as long as that when all is well, requests wait for something, as long polls do.
const LONG: f64 = 1.0;
/// 30 times as many as usual: more of one look, be it that somebody has waited for a day, are none that wait at once.
const BURST: f64 = 30.0;
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
/// 20 s at least, and a minute at most, until a bound is known not to help.
const VAIN: u32 = 20;
const MOST_VAIN: u32 = 60;
/// Three times as long as those have waited that left: endpoints that work for them all the same are busy with that for as long
/// where three times as many came as they can serve.
const BACKLOG: f64 = 3.0;
/// A minute, and a quarter of an hour at most, until a bound is tried anew that did not help.
const PAUSE: u32 = 60;
const LONGEST_PAUSE: u32 = 960;
/// An hour: what did not help before is another matter by then.
const FORGIVEN: u32 = 3_600;

#[cfg(test)]
mod tests;
