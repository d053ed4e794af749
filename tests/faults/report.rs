//! What users saw while something was broken, and what the endpoints saw of them.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::load::Sample;

/// How long a case lasts, and how much is asked in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    /// Requests a second.
    pub(crate) rate: u32,
    /// While all is well.
    pub(crate) before: Duration,
    /// While it is broken.
    pub(crate) broken: Duration,
    /// Once all is well again.
    pub(crate) after: Duration,
}

impl Form {
    /// Long enough for a p99, where the page is written; else short.
    pub(crate) fn of(renews: bool) -> Self {
        let seconds = Duration::from_secs_f64;
        match renews {
            true => {
                Self { rate: 300, before: seconds(5.0), broken: seconds(10.0), after: seconds(3.0) }
            }
            false => {
                Self { rate: 50, before: seconds(1.0), broken: seconds(2.0), after: seconds(1.0) }
            }
        }
    }
}

/// When what happened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Marks {
    pub(crate) broken: Instant,
    pub(crate) mended: Instant,
    /// Whether the gateway has noticed that it was broken, and when.
    pub(crate) out: Option<Instant>,
    /// When the gateway has all in use again.
    pub(crate) back: Instant,
    /// How late the suite itself was at most, as a process of this machine.
    pub(crate) lag: Duration,
}

/// What became of a case.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) before: Phase,
    /// From the moment that it was broken until all was in use again.
    pub(crate) broken: Phase,
    pub(crate) after: Phase,
    /// Requests that the endpoints saw for each that users sent while it was broken.
    pub(crate) seen_for_each: f64,
    /// So many are allowed: retries have a budget.
    pub(crate) most_for_each: f64,
    pub(crate) out: Option<Duration>,
    pub(crate) back: Duration,
    pub(crate) lag: Duration,
    /// What else was found.
    pub(crate) note: String,
}

/// The requests of a time.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Phase {
    /// That may be repeated, and how many of them were not served.
    pub(crate) asked: usize,
    pub(crate) failed: usize,
    /// That may not.
    pub(crate) posted: usize,
    pub(crate) posts_failed: usize,
    /// Of all, also of those that failed, in milliseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

impl Report {
    pub(crate) fn of(samples: &[Sample], marks: Marks, seen: usize, form: &Form) -> Self {
        let is_before = |sample: &Sample| sample.ended <= marks.broken;
        let is_after = |sample: &Sample| sample.asked >= marks.back;
        let part = |wanted: &dyn Fn(&Sample) -> bool| {
            Phase::of(samples.iter().filter(|sample| wanted(sample)))
        };
        let broken = part(&|sample| !is_before(sample) && !is_after(sample));
        let sent = broken.asked + broken.posted;
        Self {
            before: part(&is_before),
            after: part(&is_after),
            seen_for_each: seen as f64 / sent.max(1) as f64,
            most_for_each: BUDGET + FLOOR / f64::from(form.rate),
            out: marks.out.map(|out| out - marks.broken),
            back: marks.back.saturating_duration_since(marks.mended),
            lag: marks.lag,
            broken,
            note: String::new(),
        }
    }
}

impl Report {
    /// Where the machine had no time for the processes of the case, nothing can be said of the gateway; else `None`.
    pub(crate) fn too_busy(&self) -> Option<String> {
        let before = Duration::from_secs_f64(self.before.p99 / 1000.0);
        let worst = self.lag.max(before);
        (worst > TOO_LATE).then(|| format!("the machine is too busy: {worst:.0?} late"))
    }
}

impl Phase {
    fn of<'s>(samples: impl Iterator<Item = &'s Sample>) -> Self {
        let mut phase = Self::default();
        let mut times = Vec::new();
        for sample in samples {
            let (all, failed) = match sample.repeatable {
                true => (&mut phase.asked, &mut phase.failed),
                false => (&mut phase.posted, &mut phase.posts_failed),
            };
            *all += 1;
            *failed += usize::from(!sample.served);
            times.push((sample.ended - sample.asked).as_secs_f64() * 1000.0);
        }
        times.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let place = (times.len() as f64 * share) as usize;
            times.get(place.min(times.len().saturating_sub(1))).copied().unwrap_or_default()
        };
        (phase.p50, phase.p99) = (at(0.5), at(0.99));
        phase
    }
}

/// 150 ms: of the 250 ms that a check or a connection may take.
pub(crate) const TOO_LATE: Duration = Duration::from_millis(150);
/// Requests and the 20 % of them that may be retries, and a margin for what is under way at either end.
const BUDGET: f64 = 1.2 + 0.1;
/// Retries a second that are always allowed.
const FLOOR: f64 = 10.0;
