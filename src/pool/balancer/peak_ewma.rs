//! Peak EWMA: of two endpoints drawn by weight, the one that is expected to answer sooner: by how long it
//! took of late, times the requests that are in flight there, for its weight. A slow answer counts at
//! once, and what is not confirmed fades, so that who was slow is tried again.

use std::sync::Arc;

use tokio::time::Instant;

use crate::model::endpoint::Endpoint;
use crate::model::latency::faded;
use crate::model::members::Eligible;

use super::least_request::load;
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
        return load(eligible, place, other) < load(eligible, other, place);
    };
    // a/x < b/y is a·y < b·x.
    cost(one, known, newest) * weight(eligible, other)
        < cost(two, known_other, newest) * weight(eligible, place)
}

/// How long one more request would take, in seconds of one request. `newest` stands for now: what fades
/// at the same pace on both sides compares the same at any time, so nobody reads a clock.
fn cost(endpoint: &Endpoint, known: Option<(f32, Instant)>, newest: Instant) -> f64 {
    let in_flight = endpoint.in_flight();
    match known {
        Some((seconds, at)) => {
            let passed = newest.saturating_duration_since(at);
            f64::from(seconds * faded(passed)) * (f64::from(in_flight) + 1.0)
        }
        // Nothing is known: it gets one request to be known by, and no other before that is answered.
        None if in_flight == 0 => 0.0,
        None => f64::INFINITY,
    }
}

fn weight(eligible: &Eligible, place: usize) -> f64 {
    f64::from(eligible.weights.get(place).copied().unwrap_or(1))
}

fn build() -> Arc<dyn Balancer> {
    Arc::new(PeakEwma)
}
