//! How many requests a pool bears at once, worked out from how long they take: as in Gradient2 of Netflix'
//! concurrency-limits and the adaptive concurrency of Envoy, the limit falls by as much as requests take
//! longer than usual beyond a tolerance, and rises by its square root while they do not. Pure: times in, limit out.
//!
//! What differs from those, and why:
//! - **What is usual is learned while the pool is not busy**: with no more requests than `min`, or at that limit, and
//!   slowly with less than half of what it may have. While it is busy the usual time may fall and never
//!   rises: an average of all times follows an overload, so that a limit by it grows with it and without end.
//! - **Kinds are compared each with itself**, and the middle one decides: that more requests of a slow kind come, or
//!   that one kind has become slow, is not taken for a pool that is busy. Floods have the weight of
//!   their root.
//! - **A pool that has become slower for good is told by asking less of it**: where it was slow for half a minute on end,
//!   the limit is halved for one window. Requests that take as long as before do not wait for each other: that is
//!   what is usual from then on. Where they are faster the limit was right, and comes back.
//! - **The limit moves only while it is used**, by more than half. What was never asked of a pool is not known.
//! - **A change is given time to show**, as long as requests take: else a limit would fall several times for one cause.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::spec::AdaptiveSpec;
use crate::model::answer_times::{KINDS, KindTimes, Times};

/// The limit of one pool.
#[derive(Debug)]
pub struct Limiter {
    usual: [Usual; KINDS],
    window: Times,
    /// When the window began; later than now while the last change has yet to show.
    begins: Instant,
    slowdown: Option<f64>,
    /// It has been slow on end.
    slow: Option<Slow>,
    /// Less is asked of it now.
    trial: Option<Trial>,
}

/// A pool that is slow.
#[derive(Clone, Copy, Debug)]
struct Slow {
    since: Instant,
    /// How many times as long as usual requests take, of late: chance in one window ends nothing.
    slowdown: f64,
}

/// What was before less was asked of a pool.
#[derive(Clone, Copy, Debug)]
struct Trial {
    limit: u32,
    slowdown: f64,
}

/// How long requests of a kind take while the pool is not busy.
#[derive(Clone, Copy, Debug, Default)]
struct Usual {
    /// The mean of the natural logarithms of their seconds.
    log: f64,
    /// Requests that it was learned from, up to [`SLOW`].
    seen: f64,
}

impl Limiter {
    /// One that knows nothing.
    pub fn new(now: Instant) -> Self {
        Self {
            usual: [Usual::default(); KINDS],
            window: Times::default(),
            begins: now,
            slowdown: None,
            slow: None,
            trial: None,
        }
    }

    /// How many times as long as usual requests took when that was last known.
    pub fn slowdown(&self) -> Option<f64> {
        self.slowdown
    }

    /// What the limit becomes with what was `seen` since this was called last. To be called about every 100 ms.
    pub fn step(&mut self, spec: &AdaptiveSpec, limit: u32, seen: &Times, now: Instant) -> u32 {
        let bounded = |limit: u32| limit.clamp(spec.min, spec.max.max(spec.min));
        let limit = bounded(limit);
        if now < self.begins {
            return limit;
        }
        self.window.merge(seen);
        let age = now - self.begins;
        let count = self.window.count();
        if !((count >= MANY && age >= SHORT) || (count >= FEW && age >= LONG)) {
            if age < STALE {
                return limit;
            }
            self.begin(now); // what was seen first says nothing of now
            return self.trial.take().map_or(limit, |trial| bounded(trial.limit));
        }
        let window = self.begin(now);
        let is_busy = u64::from(window.most()) * 2 > u64::from(limit);
        let slowdown = self.compare(&window);
        self.slowdown = slowdown.or(self.slowdown);
        let next = match (self.trial.take(), slowdown) {
            (Some(trial), slowdown) => {
                self.conclude(trial, slowdown.filter(|_| is_busy), &window);
                bounded(trial.limit)
            }
            (None, Some(slowdown)) if is_busy => {
                self.learn(&window, rise(spec, limit, (&window, is_busy)));
                self.follow(spec, limit, slowdown, now)
            }
            (None, _) => {
                self.learn(&window, rise(spec, limit, (&window, is_busy)));
                self.slow = None;
                limit
            }
        };
        self.begins = now + pause(limit, next, &window);
        next
    }

    /// The limit that follows one in use, beside which requests took so many times as long as usual.
    fn follow(&mut self, spec: &AdaptiveSpec, limit: u32, slowdown: f64, now: Instant) -> u32 {
        if slowdown < (-CLEARLY).exp() {
            // What is usual is not known well: that is learned first, or it would be learned of a limit that
            // grows meanwhile.
            self.slow = None;
            return limit;
        }
        let next = next(spec, limit, slowdown);
        let before = self.slow.take().unwrap_or(Slow { since: now, slowdown });
        let late = before.slowdown + (slowdown - before.slowdown) * OF_LATE;
        if late < spec.tolerance * NEARLY || limit <= spec.min {
            return next;
        }
        if now.saturating_duration_since(before.since) < PATIENCE {
            self.slow = Some(Slow { slowdown: late, ..before });
            return next;
        }
        self.trial = Some(Trial { limit: next, slowdown: late });
        (next / 2).max(spec.min)
    }

    /// Less was asked of the pool, and requests took so many times as long as usual.
    fn conclude(&mut self, trial: Trial, slowdown: Option<f64>, window: &Times) {
        let Some(slowdown) = slowdown else { return };
        // Were the pool full with half of the limit, they would take half as long now.
        if slowdown > trial.slowdown * (-CLEARLY).exp() {
            for (usual, times) in self.usual.iter_mut().zip(window.kinds()) {
                if let Some((count, log)) = usual.mean(times) {
                    *usual = Usual { log, seen: count.max(FRESH) };
                }
            }
            self.slowdown = Some(1.0);
        }
    }

    /// Begins a window and gives the one before.
    fn begin(&mut self, now: Instant) -> Times {
        self.begins = now;
        std::mem::take(&mut self.window)
    }

    /// How many times as long as usual requests of the middle kind took; `None` while most are of kinds that are
    /// not known yet.
    fn compare(&self, window: &Times) -> Option<f64> {
        let (mut known, mut all) = (Vec::with_capacity(KINDS), 0.0);
        for (usual, times) in self.usual.iter().zip(window.kinds()) {
            let Some((count, log)) = usual.mean(times) else { continue };
            let weight = count.sqrt();
            all += weight;
            if usual.is_known() {
                known.push((log - usual.log, weight));
            }
        }
        let sum: f64 = known.iter().map(|(_, weight)| weight).sum();
        if sum * 2.0 < all {
            return None;
        }
        known.sort_unstable_by(|(one, _), (other, _)| one.total_cmp(other));
        let mut passed = 0.0;
        // Of two that weigh the same the slower one.
        let middle = known.iter().find(|(_, weight)| {
            passed += weight;
            passed * 2.0 > sum
        });
        middle.map(|(slower, _)| slower.exp())
    }

    fn learn(&mut self, window: &Times, rise: Option<f64>) {
        for (usual, times) in self.usual.iter_mut().zip(window.kinds()) {
            if let Some((count, log)) = usual.mean(times) {
                usual.learn(count, log, rise);
            }
        }
    }
}

impl Usual {
    fn is_known(&self) -> bool {
        self.seen >= FRESH
    }

    /// How many requests of a kind there were and how long they took. Those that were given up count where they
    /// had waited for longer than usual: who leaves at once says nothing.
    fn mean(&self, times: &KindTimes) -> Option<(f64, f64)> {
        let mut sum = times.took;
        if self.is_known() && times.given_up.mean().is_some_and(|log| log > self.log) {
            sum.merge(times.given_up);
        }
        Some((f64::from(sum.count()), sum.mean()?))
    }

    /// Takes so many requests that took so long. Where that is longer than usual it counts within `rise` requests,
    /// or not at all.
    fn learn(&mut self, count: f64, log: f64, rise: Option<f64>) {
        let within = match rise {
            _ if !self.is_known() => FRESH,
            _ if log < self.log - CLEARLY => FAST,
            Some(rise) => rise,
            // Little by little: the lowest of many windows is lower than their mean.
            None if log < self.log => SLOW,
            None => return,
        };
        self.log += (log - self.log) * count / (self.seen.min(within) + count);
        self.seen = (self.seen + count).min(SLOW);
    }
}

/// Within how many requests the usual time follows one that is longer; `None`: it does not.
fn rise(spec: &AdaptiveSpec, limit: u32, (window, is_busy): (&Times, bool)) -> Option<f64> {
    if limit <= spec.min || window.most() <= spec.min {
        return Some(FAST); // no less is ever asked of it, so this is what it is like
    }
    (!is_busy).then_some(SLOW)
}

/// The limit that follows one in use.
fn next(spec: &AdaptiveSpec, limit: u32, slowdown: f64) -> u32 {
    let gradient = (spec.tolerance / slowdown).clamp(STEEPEST, 1.0);
    let limit = f64::from(limit);
    // The steeper it falls the less room there is for trying more.
    let headroom = limit.sqrt() * (2.0 * gradient - 1.0);
    // A float is cut at the bounds of the whole number.
    let next = (gradient * limit + headroom).round() as u32;
    next.clamp(spec.min, spec.max.max(spec.min))
}

/// How long it takes until requests that end have all begun with the new limit.
fn pause(limit: u32, next: u32, window: &Times) -> Duration {
    let takes = window.mean().unwrap_or_default().min(LONGEST);
    if next < limit {
        takes + SHORT // workers tell what they saw within that time
    } else if next > limit && takes > SHORT {
        takes
    } else {
        Duration::ZERO
    }
}

/// 100 ms and 50 requests, or 1 s and 10: what a window has at least. As many tell the mean of times that
/// differ by a factor of two within 10 and 25 %.
const SHORT: Duration = Duration::from_millis(100);
const MANY: u64 = 50;
const LONG: Duration = Duration::from_secs(1);
const FEW: u64 = 10;
/// 10 s: a window that has not come to an end by then begins anew.
const STALE: Duration = Duration::from_secs(10);
/// 2 s: where requests take longer than that a change is waited for no longer.
const LONGEST: Duration = Duration::from_secs(2);
/// 50 requests of a kind before anything follows from how long they take.
const FRESH: f64 = 50.0;
/// 200 requests: at a limit of 20 and 20 ms it takes a fifth of a second to learn that a pool is slower for good.
const FAST: f64 = 200.0;
/// 2,000 requests: an overload that does not use half of the limit is not taken for usual within seconds.
const SLOW: f64 = 2_000.0;
/// 20 % less, as a logarithm: chance is behind that no more.
const CLEARLY: f64 = 0.2;
/// Nine tenths of what is tolerated: where the limit neither rises nor falls requests take about as long as that.
const NEARLY: f64 = 0.9;
/// A tenth: ten windows or so.
const OF_LATE: f64 = 0.1;
/// 30 s: a trial costs a tenth of a second or two of a part of the pool.
const PATIENCE: Duration = Duration::from_secs(30);
/// One half, as both models have it.
const STEEPEST: f64 = 0.5;

#[cfg(test)]
mod tests;
