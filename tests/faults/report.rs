//! What users saw while something was broken, and what the endpoints saw of them.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::lag::Late;
use super::load::Sample;

/// How long a case lasts, and how much is asked in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    /// Requests a second.
    pub(crate) rate: u32,
    /// Each so-manieth of them is one that must not be done twice, a `POST`.
    pub(crate) posts: u32,
    /// Bytes of the body of a `POST`.
    pub(crate) upload: usize,
    /// Users call by gRPC: each call is a `POST`, and says with a key that it may be repeated.
    pub(crate) calls: bool,
    /// A user leaves when an answer takes longer.
    pub(crate) patience: Duration,
    /// While all is well.
    pub(crate) before: Duration,
    /// While it is broken.
    pub(crate) broken: Duration,
    /// Once all is well again.
    pub(crate) after: Duration,
}

impl Form {
    /// Long enough for a p99, where the page is written; else short.
    pub(crate) fn of(is_long: bool) -> Self {
        let [rate, before, broken, after] =
            if is_long { [300, 5000, 10_000, 3000] } else { [50, 1000, 2000, 1000] };
        let millis = |millis: u32| Duration::from_millis(millis.into());
        Self {
            rate,
            posts: 10,
            upload: 5,
            calls: false,
            patience: Duration::from_secs(10),
            before: millis(before),
            broken: millis(broken),
            after: millis(after),
        }
    }

    /// With so many requests a second or more: the endpoint that breaks meets one of ten.
    pub(crate) fn asking(self, rate: u32) -> Self {
        Self { rate: self.rate.max(rate), ..self }
    }

    /// Long enough that second attempts go before something breaks: each worker has to know of a hundred requests first.
    pub(crate) fn learnt(self) -> Self {
        Self { before: self.before.max(Duration::from_secs(4)), ..self.asking(100) }
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
}

/// What the endpoints have seen while it was broken.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// Requests of users.
    pub(crate) requests: usize,
    /// Connections, those of checks included.
    pub(crate) connections: usize,
}

impl Seen {
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            requests: self.requests - before.requests,
            connections: self.connections - before.connections,
        }
    }
}

/// What became of a case.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) before: Phase,
    /// From the moment that it was broken until all was in use again.
    pub(crate) broken: Phase,
    pub(crate) after: Phase,
    pub(crate) seen: Seen,
    /// How long it was until all was in use again.
    pub(crate) took: Duration,
    pub(crate) out: Option<Duration>,
    pub(crate) back: Duration,
    /// When the last one that failed of those that may be repeated was asked.
    pub(crate) last_failed: Option<Duration>,
    /// How late the suite itself was at most, as a process of this machine: because of others, and because of the
    /// gateway.
    pub(crate) lag: [Duration; 2],
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
    /// Of those that may be repeated and were served, in milliseconds.
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
}

impl Report {
    pub(crate) fn of(samples: &[Sample], marks: Marks, seen: Seen, lag: Late) -> Self {
        // Who has asked before and is answered after it belongs to what was broken.
        let is_before = |sample: &Sample| sample.ended <= marks.broken;
        let is_after = |sample: &Sample| sample.asked >= marks.back;
        let part = |wanted: &dyn Fn(&Sample) -> bool| {
            Phase::of(samples.iter().filter(|sample| wanted(sample)))
        };
        let is_error = |sample: &&Sample| sample.repeatable && !sample.served;
        let last = samples.iter().filter(is_error).map(|sample| sample.asked).max();
        Self {
            before: part(&is_before),
            broken: part(&|sample| !is_before(sample) && !is_after(sample)),
            after: part(&is_after),
            seen,
            took: marks.back - marks.broken,
            out: marks.out.map(|out| out - marks.broken),
            back: marks.back.saturating_duration_since(marks.mended),
            last_failed: last.map(|last| last.saturating_duration_since(marks.broken)),
            lag: [lag.by_others, lag.by_gateway],
            note: String::new(),
        }
    }

    /// Requests that the endpoints saw for each that users sent while it was broken.
    pub(crate) fn seen_for_each(&self) -> f64 {
        self.seen.requests as f64 / self.broken.sent().max(1) as f64
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
            if sample.repeatable && sample.served {
                times.push((sample.ended - sample.asked).as_secs_f64() * 1000.0);
            }
        }
        times.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let place = (times.len() as f64 * share) as usize;
            times.get(place.min(times.len().saturating_sub(1))).copied().unwrap_or_default()
        };
        (phase.p50, phase.p95, phase.p99) = (at(0.5), at(0.95), at(0.99));
        phase
    }

    /// All of them.
    pub(crate) fn sent(&self) -> usize {
        self.asked + self.posted
    }
}
