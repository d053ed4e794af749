//! Compares the endpoints of a pool with each other: which of them fails more of its requests, or takes
//! longer, than the others. Pure: knows what was seen in an interval, and says who stands out.

mod watch;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::units::Percent;
use crate::config::spec::{LatencySpec, SuccessRateSpec};
use crate::telemetry::sightings::Sighting;

pub use watch::{Allowed, Found, Watch};

/// What was seen of one endpoint in an interval.
#[derive(Clone, Debug)]
pub struct Seen<'s> {
    /// What its attempts say.
    pub sighting: &'s Sighting,
    /// Whether it served another tenant lately than the one with most of its failures.
    pub serves_others: bool,
    /// Its priority: endpoints of another one stand elsewhere, where an answer takes longer to come.
    pub priority: u16,
    /// It is on its way to its share: nobody expects it to be as fast as the others yet.
    pub warms_up: bool,
}

/// An endpoint that stands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outlier {
    /// Its place among those that were seen.
    pub place: usize,
    /// It does so by the requests of one tenant alone, while it serves others.
    pub by_one_tenant: bool,
}

/// Those whose share of successes lies far below the mean.
///
/// A tenant whose requests fail everywhere lowers all endpoints alike, and so none of them. One whose
/// requests come to one endpoint alone, as by a hash, is told from an endpoint that fails by leaving its
/// failures out.
pub fn by_success_rate(spec: &SuccessRateSpec, seen: &[Seen<'_>]) -> Vec<Outlier> {
    let enough = |one: &&Seen<'_>| one.sighting.attempts() >= spec.requests;
    let rates: Vec<f64> = seen.iter().filter(enough).map(Seen::rate).collect();
    if rates.len() < spec.endpoints {
        return Vec::new();
    }
    let count = rates.len() as f64;
    let mean = rates.iter().sum::<f64>() / count;
    let variance = rates.iter().map(|rate| (rate - mean).powi(2)).sum::<f64>() / count;
    let usual = mean - spec.gap.share();
    let line = usual.min(mean - DEVIATIONS * variance.sqrt());
    standing_out(seen, spec.requests, |rate| rate < line, |rest| rest < usual)
}

/// Those that fail this share of their requests or more, however the others fare.
pub fn by_failure_share(share: Percent, requests: u64, seen: &[Seen<'_>]) -> Vec<Outlier> {
    let most = share.share();
    let fails = |rate: f64, most: f64| rate < 1.0 && 1.0 - rate >= most;
    standing_out(seen, requests, |rate| fails(rate, most), |rest| fails(rest, most / 2.0))
}

/// Those that take much longer than the median endpoint of their priority for requests of the same kind. Requests of a kind
/// are those of one tenant to one route, so that one that is slow everywhere is compared with itself; and
/// half of what an endpoint does must be slow, so that one kind that is slow there alone is not enough.
pub fn by_latency(spec: &LatencySpec, seen: &[Seen<'_>]) -> Vec<Pace> {
    let medians = medians(spec, seen);
    let each = seen.iter().map(|one| {
        if one.warms_up || one.sighting.attempts() < spec.requests {
            return Pace::Unknown;
        }
        let (mut slow, mut all) = (0, 0);
        for (kind, count, median) in one.sighting.times.kinds() {
            let usual = medians.get(&(one.priority, kind)).filter(|_| count >= FEW);
            let Some(usual) = usual else { continue };
            let is_slow = median >= usual.saturating_mul(spec.factor)
                && median.saturating_sub(*usual) >= spec.floor;
            all += count;
            slow += if is_slow { count } else { 0 };
        }
        match (all, 2 * slow > all) {
            (0, _) => Pace::Unknown,
            (_, true) => Pace::Slow,
            (_, false) => Pace::Usual,
        }
    });
    each.collect()
}

/// How fast an endpoint was in an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// About as fast as the others.
    Usual,
    /// Much slower.
    Slow,
    /// It warms up, it had too few requests, or too few others had some of the same kinds.
    Unknown,
}

/// For each priority and each kind that enough endpoints had enough of, the median of the endpoints' medians.
fn medians(spec: &LatencySpec, seen: &[Seen<'_>]) -> BTreeMap<(u16, u8), Duration> {
    let mut by_kind: BTreeMap<(u16, u8), Vec<Duration>> = BTreeMap::new();
    for one in seen.iter().filter(|one| !one.warms_up) {
        for (kind, _, median) in one.sighting.times.kinds().filter(|(_, count, _)| *count >= FEW) {
            by_kind.entry((one.priority, kind)).or_default().push(median);
        }
    }
    by_kind.retain(|_, medians| medians.len() >= spec.endpoints);
    let middle = |(kind, mut medians): ((u16, u8), Vec<Duration>)| {
        medians.sort_unstable();
        Some((kind, *medians.get((medians.len() - 1) / 2)?))
    };
    by_kind.into_iter().filter_map(middle).collect()
}

/// Those whose share of successes is low, the worst one first, and of whom it is by the requests of one tenant: without
/// its failures the share is not even `still_low`.
fn standing_out(
    seen: &[Seen<'_>],
    requests: u64,
    is_low: impl Fn(f64) -> bool,
    still_low: impl Fn(f64) -> bool,
) -> Vec<Outlier> {
    let outlier = |(place, one): (usize, &Seen<'_>)| {
        let enough = one.sighting.attempts() >= requests;
        (enough && is_low(one.rate())).then(|| {
            let by_one_tenant = one.serves_others && !one.without_worst().is_some_and(&still_low);
            Outlier { place, by_one_tenant }
        })
    };
    let mut outliers: Vec<Outlier> = seen.iter().enumerate().filter_map(outlier).collect();
    let rate = |outlier: &Outlier| seen.get(outlier.place).map_or(1.0, Seen::rate);
    outliers.sort_by(|one, other| rate(one).total_cmp(&rate(other)));
    outliers
}

impl Seen<'_> {
    /// The share of attempts that were served.
    fn rate(&self) -> f64 {
        rate(self.sighting.served, self.sighting.failed)
    }

    /// The same, were it not for the failures of the tenant that has most of them. `None` where nothing
    /// is left.
    fn without_worst(&self) -> Option<f64> {
        let Sighting { served, failed, .. } = *self.sighting;
        let rest = failed.saturating_sub(worst(self.sighting).map_or(0, |(_, count)| count));
        (served + rest > 0).then(|| rate(served, rest))
    }
}

/// The tenant with most of an endpoint's failures, by its place, and how many it has.
pub fn worst(sighting: &Sighting) -> Option<(u32, u64)> {
    sighting.by_tenant.iter().copied().max_by_key(|(_, count)| *count)
}

fn rate(served: u64, failed: u64) -> f64 {
    match served + failed {
        0 => 1.0,
        all => served as f64 / all as f64,
    }
}

/// 1.9, as Envoy has it: of five endpoints one that fails alone lies 2 below the mean.
const DEVIATIONS: f64 = 1.9;
/// 5: a median of fewer says little.
const FEW: u64 = 5;

#[cfg(test)]
mod tests;
