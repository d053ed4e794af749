//! The generic cell rate algorithm: requests in a time, in one word. The word is the time at which
//! the limit will be whole again; each request moves it on by the time that one request is worth,
//! and it may lie ahead of now by what a burst is worth.
//!
//! A request that may wait takes its slot at once and goes when that comes, so that who waits stands
//! in an order without a queue.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::config::spec::RateSpec;

/// A time since the process began, or between two, in sixteenths of a nanosecond: what a request is
/// worth is rounded to one, up, and in a million of them that is a ten-thousandth of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticks(pub u64);

/// What one request is worth, and a burst, in one unit of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    interval: u64,
    depth: u64,
}

/// A request that was admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// When it may go.
    pub at: u64,
    /// The word behind it.
    pub left: u64,
}

/// How long it would have to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Later(pub u64);

/// What was taken of one limit.
#[derive(Debug, Default)]
pub struct Meter {
    /// When it is whole again.
    word: AtomicU64,
    /// What one request was worth by the pace that the word was written by; 0 = none yet.
    interval: AtomicU64,
    /// Requests that were taken beside it, of which no word can tell: at that pace they would be worth centuries.
    untold: AtomicU64,
    /// Held while the pace becomes another.
    changing: Mutex<()>,
}

impl Ticks {
    /// A second.
    pub(super) const A_SECOND: u64 = 16_000_000_000;

    /// As much as a duration.
    pub fn of(time: Duration) -> Self {
        Self(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).saturating_mul(16))
    }

    /// As a duration, rounded up.
    pub fn duration(self) -> Duration {
        Duration::from_nanos(self.0.div_ceil(16))
    }
}

impl Pace {
    /// In ticks.
    pub fn of(rate: &RateSpec) -> Self {
        Self::by(rate, Ticks::A_SECOND)
    }

    /// In a unit of which there are so many in a second.
    pub fn by(rate: &RateSpec, a_second: u64) -> Self {
        let per = rate.rate.per.as_secs().saturating_mul(a_second);
        let interval = per.div_ceil(u64::from(rate.rate.count.max(1))).max(1);
        Self { interval, depth: interval.saturating_mul(rate.burst.max(1).into()) }
    }

    /// By what one request is worth, and a burst.
    pub fn of_numbers(interval: u64, depth: u64) -> Self {
        Self { interval, depth }
    }

    /// What one request is worth.
    pub fn interval(self) -> u64 {
        self.interval
    }

    /// What a burst is worth.
    pub fn depth(self) -> u64 {
        self.depth
    }

    /// How many requests a burst is.
    pub fn burst(self) -> u64 {
        self.depth / self.interval.max(1)
    }

    /// What becomes of a request at `now` that may wait for so long, by a word.
    ///
    /// # Errors
    /// When it would have to wait longer.
    pub fn judge(self, word: u64, now: u64, longest: u64) -> Result<Grant, Later> {
        // It may lie further ahead than a burst is worth: more was taken while the burst was larger.
        let left = word.max(now).saturating_add(self.interval);
        let at = left.saturating_sub(self.depth).max(now);
        match at - now {
            wait if wait <= longest => Ok(Grant { at, left }),
            wait => Err(Later(wait)),
        }
    }

    /// The word as if a request had not come; `None` where that would let two go in one slot, since
    /// others wait behind it.
    pub fn undo(self, word: u64, grant: Grant, now: u64) -> Option<u64> {
        if grant.left <= now {
            return None; // time has brought it back already
        }
        let nobody_waits = word.saturating_sub(self.depth) <= now;
        (nobody_waits || word == grant.left).then(|| word.saturating_sub(self.interval))
    }

    /// How many requests may follow at once.
    pub fn remaining(self, word: u64, now: u64) -> u64 {
        self.depth.saturating_sub(word.saturating_sub(now)) / self.interval
    }

    /// How long it takes from now until another request may come, or, where one may at once, until
    /// the limit is whole.
    pub fn reset(self, word: u64, now: u64) -> u64 {
        match word.saturating_sub(now) {
            taken if taken > self.depth - self.interval => taken + self.interval - self.depth,
            taken => taken,
        }
    }
}

impl Meter {
    /// Takes one request at `now` that may wait for so long.
    ///
    /// # Errors
    /// When it would have to wait longer; then nothing is taken.
    pub fn take(&self, pace: Pace, now: Ticks, longest: Ticks) -> Result<Grant, Later> {
        loop {
            let word = self.word.load(Ordering::Acquire);
            // Looked at behind the word: while that is turned into another pace's there is none.
            if self.interval.load(Ordering::Acquire) != pace.interval {
                self.adopt(pace, now);
                continue;
            }
            let grant = pace.judge(word, now.0, longest.0)?;
            let (done, lost) = (Ordering::AcqRel, Ordering::Relaxed);
            if self.word.compare_exchange_weak(word, grant.left, done, lost).is_ok() {
                return Ok(grant);
            }
        }
    }

    /// Gives back what was taken for a request that was not served after all.
    pub fn give_back(&self, pace: Pace, grant: Grant, now: Ticks) {
        if self.interval.load(Ordering::Relaxed) != pace.interval {
            return; // it is worth something else by the pace of now: it stays taken
        }
        let undo = |word| pace.undo(word, grant, now.0);
        self.word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, undo).ok();
    }

    /// How many requests are taken, the last one being brought back in part, and when it is whole.
    pub fn taken(&self, now: Ticks) -> (u64, Ticks) {
        let interval = self.interval.load(Ordering::Relaxed);
        let rest = self.word.load(Ordering::Relaxed).saturating_sub(now.0);
        (rest.div_ceil(interval.max(1)), Ticks(rest))
    }

    /// Whether nothing is taken that would still be told.
    pub fn is_whole(&self, now: Ticks) -> bool {
        self.word.load(Ordering::Relaxed) <= now.0
    }

    /// What one request is worth has become another: what was taken stays, in requests, be it more than
    /// a burst is now. Were it cut down to that, whoever makes a limit small and large again would find it
    /// whole. Requests of the table before may turn it back once: each is judged right after its table was
    /// read.
    #[cold]
    fn adopt(&self, pace: Pace, now: Ticks) {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.interval.load(Ordering::Relaxed);
        if before > 0 && before != pace.interval {
            let (interval, most) = (u128::from(pace.interval), u64::MAX - now.0);
            let beside = u128::from(self.untold.load(Ordering::Relaxed)) * interval;
            let taken = |word: u64| {
                let taken = u128::from(word.saturating_sub(now.0)) * interval / u128::from(before);
                taken.saturating_add(beside)
            };
            let told = |word| u64::try_from(taken(word)).unwrap_or(u64::MAX).min(most);
            let scale = |word| Some(now.0.saturating_add(told(word)));
            self.interval.store(0, Ordering::Release);
            let (done, read) = (Ordering::AcqRel, Ordering::Acquire);
            if let Ok(word) = self.word.fetch_update(done, read, scale) {
                let rest = (taken(word) - u128::from(told(word))).div_ceil(interval.max(1));
                self.untold.store(u64::try_from(rest).unwrap_or(u64::MAX), Ordering::Relaxed);
            }
        }
        self.interval.store(pace.interval, Ordering::Release);
    }
}

#[cfg(test)]
mod tests;
