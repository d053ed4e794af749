//! Random: each endpoint is drawn by its weight, whatever it is doing.

use std::sync::Arc;

use crate::model::endpoint::Endpoint;
use crate::model::members::Eligible;

use super::{Balancer, Kind};

pub(super) const KIND: Kind =
    Kind { name: "random", about: "each endpoint is drawn by its weight", build };

struct Random;

impl Balancer for Random {
    fn pick<'a>(&self, eligible: &'a Eligible) -> Option<&'a Arc<Endpoint>> {
        eligible.endpoints.get(draw(eligible)?)
    }
}

/// The place of an endpoint drawn by weight.
pub(super) fn draw(eligible: &Eligible) -> Option<usize> {
    let count = eligible.endpoints.len();
    if count == 0 {
        return None;
    }
    let Some(sums) = &eligible.cumulative else {
        return Some(fastrand::usize(..count));
    };
    let total = *sums.last()?;
    if total == 0 {
        return Some(fastrand::usize(..count));
    }
    let point = fastrand::u64(..total);
    Some(sums.partition_point(|sum| *sum <= point))
}

/// The places of two endpoints drawn by weight, which differ wherever there are two.
pub(super) fn draw_two(eligible: &Eligible) -> Option<(usize, usize)> {
    let (first, second) = (draw(eligible)?, draw(eligible)?);
    let count = eligible.endpoints.len();
    if second != first || count == 1 {
        return Some((first, second));
    }
    // By weight it may take long to leave a heavy endpoint: any of the others.
    let step = fastrand::usize(1..count);
    Some((first, (first + step) % count))
}

fn build() -> Arc<dyn Balancer> {
    Arc::new(Random)
}
