//! Peak EWMA: of two endpoints drawn by weight, the one that is expected to answer sooner: by how long it
//! took of late, times the requests that are in flight there, for its weight. A slow answer counts at
//! once, and what is not confirmed fades, so that who was slow is tried again.

use std::sync::Arc;

use tokio::time::Instant;

use crate::model::endpoint::Endpoint;
use crate::model::latency::faded;
use crate::model::members::Eligible;

use super::least_request::is_less_busy;
use super::random::draw_two;
use super::{Balancer, Kind};

pub(super) const KIND: Kind = Kind {
    name: "peak-ewma",
    about: "two endpoints drawn by weight, then the one that is expected to answer sooner",
    build,
};

struct PeakEwma;

impl Balancer for PeakEwma {
    fn pick<'a>(&self, eligible: &'a Eligible) -> Option<&'a Arc<Endpoint>> {
        let (first, second) = draw_two(eligible)?;
        // A tie keeps the first draw, so that shares follow weights while nothing is known.
        let place = if is_sooner(eligible, second, first) { second } else { first };
        eligible.endpoints.get(place)
    }

    fn is_timed(&self) -> bool {
        true
    }
}

/// Whether the endpoint at `place` is expected to answer sooner than the one at `other`.
fn is_sooner(eligible: &Eligible, place: usize, other: usize) -> bool {
    let at = |place: usize| eligible.endpoints.get(place);
    let (Some(one), Some(two)) = (at(place), at(other)) else { return false };
    let (known, known_other) = (one.latency(), two.latency());
    let newest = [known, known_other].into_iter().flatten().map(|(_, at)| at).max();
    let Some(newest) = newest else {
        return is_less_busy(eligible, place, other);
    };
    let now = |known: Option<(f32, Instant)>| Known::at(known, newest);
    let (known, known_other) = (now(known), now(known_other));
    // a/x < b/y is a·y < b·x.
    known.cost(one, known_other) * weight(eligible, other)
        < known_other.cost(two, known) * weight(eligible, place)
}

/// What is known of an endpoint, in seconds. The newer of two samples stands for now: what fades at the
/// same pace on both sides compares the same at any time, so nobody reads a clock.
#[derive(Clone, Copy)]
struct Known {
    /// How long it took of late.
    seconds: f64,
    /// What is left of that: less, the longer nothing was learnt.
    faded: f64,
}

impl Known {
    fn at(known: Option<(f32, Instant)>, now: Instant) -> Self {
        // Who is unknown may be as slow as anybody, and is to be tried.
        let Some((seconds, at)) = known else { return Self { seconds: f64::INFINITY, faded: 0.0 } };
        let faded = seconds * faded(now.saturating_duration_since(at));
        Self { seconds: seconds.into(), faded: faded.into() }
    }

    /// How long one more request would take beside those in flight. What has faded makes the endpoint
    /// worth a try, and no more than that: those in flight count as if it took as long as it did, or as
    /// the other one does. Else an endpoint that is back after a while, or one whose first request takes
    /// long, would get all requests or none until it has answered.
    fn cost(self, endpoint: &Endpoint, other: Self) -> f64 {
        let each = self.faded.max(self.seconds.min(other.faded));
        self.faded + f64::from(endpoint.in_flight()) * each
    }
}

fn weight(eligible: &Eligible, place: usize) -> f64 {
    f64::from(eligible.weights.get(place).copied().unwrap_or(1))
}

fn build() -> Arc<dyn Balancer> {
    Arc::new(PeakEwma)
}
