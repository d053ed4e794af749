//! Least request: of two endpoints drawn by weight, the one with fewer requests in flight for its
//! weight. Two draws rather than a look at all: it costs the same for two endpoints and for two
//! thousand, and gateways that see the same figures do not all rush to the same idle endpoint.

use std::sync::Arc;

use crate::model::endpoint::Endpoint;
use crate::model::members::Eligible;

use super::random::draw_two;
use super::{Balancer, Kind};

pub(super) const KIND: Kind = Kind {
    name: "least-request",
    about: "two endpoints drawn by weight, then the one with fewer requests in flight",
    build,
};

pub(super) struct LeastRequest;

impl Balancer for LeastRequest {
    fn pick<'a>(&self, eligible: &'a Eligible) -> Option<&'a Arc<Endpoint>> {
        let (first, second) = draw_two(eligible)?;
        let place = if load(eligible, second, first) < load(eligible, first, second) {
            second
        } else {
            // A tie keeps the first draw, so that shares follow weights while all are idle.
            first
        };
        eligible.endpoints.get(place)
    }
}

/// Requests in flight at `place`, scaled so that it compares with that of `against` for their
/// weights: a/x < b/y is a·y < b·x.
pub(super) fn load(eligible: &Eligible, place: usize, against: usize) -> u64 {
    let in_flight = eligible.endpoints.get(place).map_or(0, |endpoint| endpoint.in_flight());
    let weight = eligible.weights.get(against).copied().unwrap_or(1);
    u64::from(in_flight) * u64::from(weight)
}

fn build() -> Arc<dyn Balancer> {
    Arc::new(LeastRequest)
}
