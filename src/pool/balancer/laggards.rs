//! The way round endpoints that are late time after time, where one of two that were drawn is. How much that may cost the
//! others has bounds, as what is late still serves.

use tokio::time::Instant;

use crate::model::members::Eligible;

use super::least_request::{is_late, less_busy, load, weight};
use super::random::draw;

/// The place of the one to be picked, of two that were drawn by weight.
#[cold]
#[inline(never)]
pub(super) fn go_round(eligible: &Eligible, (first, second): (usize, usize)) -> usize {
    let now = Instant::now();
    let tries = |place: usize| {
        eligible.endpoints.get(place).is_some_and(|endpoint| endpoint.begins_timed_trial(now))
    };
    if let Some(tried) = [first, second].into_iter().find(|place| tries(*place)) {
        return tried;
    }
    let usual = || less_busy(eligible, (first, second));
    if fastrand::u32(..TRICKLE) == 0 {
        return usual();
    }
    let (late, other) = match (is_late(eligible, first), is_late(eligible, second)) {
        (true, false) => (first, second),
        (false, true) => (second, first),
        (false, false) => return usual(),
        (true, true) => match draw_another(eligible) {
            Some(other) => (usual(), other),
            None => return usual(),
        },
    };
    if is_overloaded(eligible, other, late) { usual() } else { other }
}

/// One that is not late, where some draws find one.
fn draw_another(eligible: &Eligible) -> Option<usize> {
    (0..DRAWS).find_map(|_| draw(eligible).filter(|place| !is_late(eligible, *place)))
}

/// Whether the one at `place` is so busy, for its weight, that it is late itself before long: the one that is late has to bear
/// its part.
fn is_overloaded(eligible: &Eligible, place: usize, late: usize) -> bool {
    let bears = TIMES * load(eligible, late, place) + BESIDE * weight(eligible, late);
    load(eligible, place, late) > bears
}

/// One of 256, so that an endpoint which is slow since it is cold, as one that has just started, becomes warm. Of the requests
/// of a pool no more than that meet late ones by it, however many are.
const TRICKLE: u32 = 256;
/// 4 draws: where seven of ten are late, they find one of the others three times of four.
const DRAWS: usize = 4;
/// 4 times as many in flight, and 8.
const TIMES: u64 = 4;
const BESIDE: u64 = 8;
