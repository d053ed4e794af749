//! How many requests a pool bears at once, worked out from how long they take: as in Gradient2 of Netflix'
//! concurrency-limits and the adaptive concurrency of Envoy, the limit falls by as much as requests take
//! longer than usual beyond a tolerance, and rises by its square root while they do not. Pure: times in, limit out.
//!
//! What differs from those, and why:
//! - **What is usual is learned while the pool is not busy**: with no more requests than `min` or hardly more, or at that limit,
//!   and slowly with less than half of what it may have. While it is busy the usual time may fall and never
//!   rises: an average of all times follows an overload, so that a limit by it grows with it and without end.
//! - **Kinds are compared each with itself**, and the middle one decides: that more requests of a slow kind come, or
//!   that one kind has become slow, is not taken for a pool that is busy. Floods have the weight of
//!   their root.
//! - **Chance wears nothing down**: times that differ as by chance have means that differ, too. The limit falls by what is beyond
//!   that, and the usual time by what many requests took: were it the least of all windows, all others would be slow beside it.
//! - **A pool that has become slower for good is told by asking less of it**: where it was slow for half a minute on end,
//!   the limit is halved for one window. Requests that take as long as before, twice on end, do not wait for each other: that
//!   is what is usual from then on. Where they are faster the limit was right, and comes back.
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
    /// In how many trials, one after the other, requests took as long as before.
    same: u32,
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
    /// The same of late, busy or not: of as many as make chance small.
    late: f64,
    /// Requests that this was learned from, up to [`FAST`].
    seen_late: f64,
}

/// Requests of a kind within a window.
#[derive(Clone, Copy, Debug)]
struct Seen {
    count: f64,
    /// The mean of the natural logarithms of their seconds.
    log: f64,
    /// How much these differ.
    variance: f64,
}

/// How many times as long as usual requests take.
#[derive(Clone, Copy, Debug)]
struct Slowdown {
    by: f64,
    /// How much of it may be chance, as a logarithm: the standard error.
    error: f64,
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
            same: 0,
        }
    }

    /// How many times as long as usual requests took when that was last known; `None` also once the pool has little to do
    /// and nobody knows it any more.
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
        if !((count >= MANY && age >= SHORT) || (count >= FEW && age >= self.long())) {
            if age < STALE || is_busy(seen, limit) {
                return limit; // where each takes long, few end
            }
            self.slowdown = None;
            if age < AGED && seen.most() > 0 && self.trial.is_none() {
                return limit;
            }
            self.begin(now); // what was seen first says nothing of now
            return self.trial.take().map_or(limit, |trial| bounded(trial.limit));
        }
        let window = self.begin(now);
        let is_busy = is_busy(&window, limit);
        let slowdown = self.compare(&window);
        self.slowdown = slowdown.map(|slowdown| slowdown.by).or(self.slowdown);
        for (usual, times) in self.usual.iter_mut().zip(window.kinds()) {
            usual.notice(times);
        }
        let next = match (self.trial.take(), slowdown) {
            (Some(trial), slowdown) => {
                self.conclude(trial, slowdown.filter(|_| is_busy));
                bounded(trial.limit)
            }
            (None, Some(slowdown)) if is_busy => {
                self.learn(&window, rise(spec, limit, (&window, is_busy)));
                self.follow(spec, limit, (slowdown, &window), now)
            }
            (None, _) => {
                self.learn(&window, rise(spec, limit, (&window, is_busy)));
                self.slow = None;
                limit
            }
        };
        self.begins = now + self.pause((limit, next), &window);
        next
    }

    /// The limit that follows one in use, beside which requests took so many times as long as usual.
    fn follow(
        &mut self,
        spec: &AdaptiveSpec,
        limit: u32,
        (slowdown, window): (Slowdown, &Times),
        now: Instant,
    ) -> u32 {
        if slowdown.at_most() < (-CLEARLY).exp() {
            // What is usual is not known well: that is learned first, or it would be learned of a limit that
            // grows meanwhile.
            self.slow = None;
            return limit;
        }
        // What may be chance is no reason to fall.
        let next = next(spec, limit, slowdown.at_least());
        let before = self.slow.take().unwrap_or(Slow { since: now, slowdown: slowdown.by });
        let late = before.slowdown + (slowdown.by - before.slowdown) * OF_LATE;
        if late < spec.tolerance * NEARLY {
            return next;
        }
        let patience = PATIENCE.max(takes(window) * 8);
        let half = (next / 2).max(spec.min);
        // With hardly less at once a pool that is full takes hardly less time, either: that would tell nothing.
        let tells = u64::from(half) * 3 <= u64::from(next) * 2;
        if now.saturating_duration_since(before.since) < patience || !tells {
            self.slow = Some(Slow { slowdown: late, ..before });
            return next;
        }
        self.trial = Some(Trial { limit: next, slowdown: late });
        half
    }

    /// Less was asked of the pool, and requests took so many times as long as usual.
    fn conclude(&mut self, trial: Trial, slowdown: Option<Slowdown>) {
        let Some(slowdown) = slowdown else { return };
        // Were the pool full with half of the limit, they would take half as long now. Where they take longer than
        // before something else has changed meanwhile.
        if (slowdown.by / trial.slowdown).ln().abs() > CLEARLY {
            self.same = 0;
            return;
        }
        self.same += 1;
        if self.same < TWICE {
            return; // once may be chance
        }
        self.same = 0;
        for usual in &mut self.usual {
            (usual.log, usual.seen) = (usual.late, usual.seen_late);
        }
        self.slowdown = Some(1.0);
    }

    /// How long a window is at least that has not seen many: a part of the time that requests take, or all of it where
    /// chance would be for good.
    fn long(&self) -> Duration {
        let takes = takes(&self.window);
        LONG.max(if self.trial.is_some() { takes } else { takes / 4 })
    }

    /// Begins a window and gives the one before.
    fn begin(&mut self, now: Instant) -> Times {
        self.begins = now;
        std::mem::take(&mut self.window)
    }

    /// How many times as long as usual requests of the middle kind took; `None` while most are of kinds that are
    /// not known yet.
    fn compare(&self, window: &Times) -> Option<Slowdown> {
        let (mut known, mut all) = (Vec::with_capacity(KINDS), 0.0);
        let mut variance = 0.0;
        for (usual, times) in self.usual.iter().zip(window.kinds()) {
            let Some(seen) = usual.seen(times) else { continue };
            let weight = seen.count.sqrt();
            all += weight;
            if usual.is_known() {
                known.push((seen.log - usual.log, weight));
                variance += seen.variance; // of its mean, by the square of its weight
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
        middle.map(|(slower, _)| Slowdown { by: slower.exp(), error: variance.sqrt() / sum })
    }

    /// How long it takes until requests that end have all begun with the new limit.
    fn pause(&self, (limit, next): (u32, u32), window: &Times) -> Duration {
        let takes = takes(window);
        let usual = takes.div_f64(self.slowdown.unwrap_or(1.0).max(1.0));
        let takes = match self.trial {
            Some(_) => takes, // it would be judged by those that began before
            None => takes.min(LONGEST.max(usual * 2)),
        };
        if next < limit {
            takes + SHORT // workers tell what they saw within that time
        } else if next > limit && takes > SHORT {
            takes
        } else {
            Duration::ZERO
        }
    }

    fn learn(&mut self, window: &Times, rise: Option<f64>) {
        for (usual, times) in self.usual.iter_mut().zip(window.kinds()) {
            if let Some(seen) = usual.seen(times) {
                usual.learn(seen, rise);
            }
        }
    }
}

impl Slowdown {
    /// Where it is more, that is hardly chance.
    fn at_least(self) -> f64 {
        self.by * (-self.error).exp()
    }

    /// Where it is less, that is hardly chance.
    fn at_most(self) -> f64 {
        self.by * self.error.exp()
    }
}

impl Usual {
    fn is_known(&self) -> bool {
        self.seen >= FRESH
    }

    /// How many requests of a kind there were and how long they took. Those that were given up count where they
    /// had waited for longer than usual: who leaves at once says nothing.
    fn seen(&self, times: &KindTimes) -> Option<Seen> {
        let mut sum = times.took;
        if self.is_known() && times.given_up.mean().is_some_and(|log| log > self.log) {
            sum.merge(times.given_up);
        }
        let (count, log) = (f64::from(sum.count()), sum.mean()?);
        // Of few it is not known how much they differ: by a factor of 2.7, as it were.
        let variance = (sum.spread() + UNKNOWN) / (count + UNKNOWN);
        Some(Seen { count, log, variance })
    }

    /// Takes what is seen of late.
    fn notice(&mut self, times: &KindTimes) {
        if let Some(Seen { count, log, .. }) = self.seen(times) {
            self.late += (log - self.late) * count / (self.seen_late + count);
            self.seen_late = (self.seen_late + count).min(FAST);
        }
    }

    /// Takes what is seen. Where that is longer than usual it counts within `rise` requests, or not at all. What is
    /// shorter must be so of late: of the shortest of many windows, or of one window of few, most is chance.
    fn learn(&mut self, seen: Seen, rise: Option<f64>) {
        let (log, within) = match rise {
            _ if !self.is_known() => (seen.log, FRESH),
            _ if self.late < self.log - CLEARLY => (self.late, FRESH),
            Some(rise) => (seen.log, rise),
            None if self.late < self.log => (self.late, SLOW),
            None => return,
        };
        self.log += (log - self.log) * seen.count / (self.seen.min(within) + seen.count);
        self.seen = (self.seen + seen.count).min(SLOW);
    }
}

/// Within how many requests the usual time follows one that is longer; `None`: it does not.
fn rise(spec: &AdaptiveSpec, limit: u32, (window, is_busy): (&Times, bool)) -> Option<f64> {
    let least = spec.min + spec.min.isqrt(); // a step away
    if limit <= least || window.most() <= least {
        // No less is ever asked of it, so this is what it is like: ten times as many as there may be at once tell it.
        return Some((f64::from(spec.min) * 10.0).clamp(FRESH, FAST));
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

/// Whether more than half of what may be under way was.
fn is_busy(times: &Times, limit: u32) -> bool {
    u64::from(times.most()) * 2 > u64::from(limit)
}

/// How long requests took; nothing waits for longer than the most.
fn takes(window: &Times) -> Duration {
    window.mean().unwrap_or_default().min(AGED)
}

/// 100 ms and 50 requests, or 1 s and 10: what a window has at least. As many tell the mean of times that
/// differ by a factor of two within 10 and 25 %.
const SHORT: Duration = Duration::from_millis(100);
const MANY: u64 = 50;
const LONG: Duration = Duration::from_secs(1);
const FEW: u64 = 10;
/// 10 s: a window that has not come to an end by then begins anew, unless the pool is busy: where each takes a minute, ten
/// are waited for.
const STALE: Duration = Duration::from_secs(10);
/// 10 min: what has not come to an end by then begins anew anyway where little is under way. Nothing is waited for longer.
const AGED: Duration = Duration::from_secs(600);
/// 2 s, or twice as long as usual: what takes longer than that is waited for no longer, so that an overload ends soon.
const LONGEST: Duration = Duration::from_secs(2);
/// 50 requests of a kind before anything follows from how long they take.
const FRESH: f64 = 50.0;
/// 200 requests: at a limit of 20 and 20 ms it takes a fifth of a second to learn that a pool is slower for good. At a smaller one
/// fewer are enough.
const FAST: f64 = 200.0;
/// 2,000 requests: an overload that does not use half of the limit is not taken for usual within seconds.
const SLOW: f64 = 2_000.0;
/// 20 % less, as a logarithm: chance is behind that no more.
const CLEARLY: f64 = 0.2;
/// Nine tenths of what is tolerated: where the limit neither rises nor falls requests take about as long as that.
const NEARLY: f64 = 0.9;
/// A tenth: ten windows or so.
const OF_LATE: f64 = 0.1;
/// Of 0 and of 1, where it is not known how much requests differ: as if four more had been seen.
const UNKNOWN: f64 = 4.0;
/// Two trials that say the same.
const TWICE: u32 = 2;
/// 30 s, or eight times as long as requests take: a trial costs a part of the pool for twice that time.
const PATIENCE: Duration = Duration::from_secs(30);
/// One half, as both models have it.
const STEEPEST: f64 = 0.5;

#[cfg(test)]
mod tests;
