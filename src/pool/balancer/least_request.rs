//! Least request: of two endpoints drawn by weight, the one that is less busy for its weight. Two draws rather than a look at all: it costs the same for two endpoints and for two
//! thousand, and gateways that see the same figures do not all rush to the same idle endpoint. Endpoints that are late time
//! after time are gone round ([`laggards`]).

use std::sync::Arc;

use crate::model::endpoint::Endpoint;
use crate::model::members::Eligible;

use super::random::draw_two;
use super::{Balancer, Kind, laggards};

pub(super) const KIND: Kind = Kind {
    name: "least-request",
    about: "two endpoints drawn by weight, then the one with fewer requests in flight; late ones are gone round",
    build,
};

struct LeastRequest;

impl Balancer for LeastRequest {
    fn pick<'a>(&self, eligible: &'a Eligible) -> Option<&'a Arc<Endpoint>> {
        let (first, second) = draw_two(eligible)?;
        let place = if is_late(eligible, first) || is_late(eligible, second) {
            laggards::go_round(eligible, (first, second))
        } else {
            less_busy(eligible, (first, second))
        };
        eligible.endpoints.get(place)
    }

    fn goes_round_late(&self) -> bool {
        true
    }
}

/// Of two drawn by weight the one that is less busy, be it late or not.
pub(super) fn pick_less_busy(eligible: &Eligible) -> Option<&Arc<Endpoint>> {
    let drawn = draw_two(eligible)?;
    eligible.endpoints.get(less_busy(eligible, drawn))
}

/// The place of the less busy one.
pub(super) fn less_busy(eligible: &Eligible, (first, second): (usize, usize)) -> usize {
    if is_less_busy(eligible, second, first) { second } else { first }
}

/// Whether the endpoint at this place is late, time after time.
pub(super) fn is_late(eligible: &Eligible, place: usize) -> bool {
    eligible.endpoints.get(place).is_some_and(|endpoint| endpoint.is_late())
}

/// Whether the endpoint at `second` would, with one more request, still be no busier than the one at `first`
/// is: shares follow weights while all are idle, and one of a small weight is not preferred to all others
/// for as long as it has nothing to do. For equal weights it is the one with fewer in flight.
pub(super) fn is_less_busy(eligible: &Eligible, second: usize, first: usize) -> bool {
    let with_one_more = load(eligible, second, first) + weight(eligible, first);
    with_one_more <= load(eligible, first, second)
}

/// Requests in flight at `place`, scaled so that it compares with that of `against` for their
/// weights: a/x < b/y is a·y < b·x.
pub(super) fn load(eligible: &Eligible, place: usize, against: usize) -> u64 {
    let in_flight = eligible.endpoints.get(place).map_or(0, |endpoint| endpoint.in_flight());
    u64::from(in_flight) * weight(eligible, against)
}

pub(super) fn weight(eligible: &Eligible, place: usize) -> u64 {
    eligible.weights.get(place).map_or(1, |weight| u64::from(*weight))
}

fn build() -> Arc<dyn Balancer> {
    Arc::new(LeastRequest)
}
