//! When an endpoint is ejected: by failures in a row, and compared with the others of its pool.

use std::time::Duration;

use crate::config::faults::Faults;
use crate::config::key::Key;
use crate::config::raw::{Eject, Latency, SuccessRate, Switch};
use crate::config::spec::{EjectSpec, LatencySpec, SuccessRateSpec};

use super::above_zero;

/// Checks when an endpoint is ejected, and for how long.
pub(super) fn eject(raw: Option<Eject>, key: &Key<'_>, faults: &mut Faults<'_>) -> EjectSpec {
    let (raw, usual) = (raw.unwrap_or_default(), EjectSpec::USUAL);
    let start = raw.max.as_ref().map_or(0, |max| max.start);
    let base = above_zero(raw.base, &key.name("base"), faults).unwrap_or(usual.base);
    let max = above_zero(raw.max, &key.name("max"), faults);
    if max.is_some_and(|max| max < base) {
        let hint = "make max at least as long as base, which is 10s where none is written";
        faults.add(&key.name("max"), start, "is shorter than base", Some(hint.to_owned()));
    }
    let failures = raw.failures.map_or(usual.failures, |failures| failures.small());
    EjectSpec {
        failures,
        base,
        max: max.unwrap_or_else(|| usual.max.max(base)),
        share: raw.share.map_or(usual.share, |share| share.0),
        trials: raw.trials.map_or(usual.trials, |trials| trials.small()),
        interval: raw.interval.map_or(usual.interval, |interval| {
            if interval.value.0 < SHORTEST {
                let hint = "write a duration from 1s on, as in \"10s\"".to_owned();
                faults.add(&key.name("interval"), interval.start, "is too short", Some(hint));
            }
            interval.value.0
        }),
        success_rate: match raw.success_rate {
            None => usual.success_rate.filter(|_| failures > 0),
            Some(Switch::Off) => None,
            Some(Switch::On(raw)) => Some(success_rate(&raw)),
        },
        latency: match raw.latency {
            None | Some(Switch::Off) => None,
            Some(Switch::On(raw)) => Some(latency(raw, &key.name("latency"), faults)),
        },
    }
}

fn success_rate(raw: &SuccessRate) -> SuccessRateSpec {
    let usual = SuccessRateSpec::USUAL;
    SuccessRateSpec {
        gap: raw.gap.as_ref().map_or(usual.gap, |gap| gap.0),
        endpoints: raw.endpoints.map_or(usual.endpoints, |endpoints| endpoints.size()),
        requests: raw.requests.map_or(usual.requests, |requests| requests.0),
    }
}

fn latency(raw: Latency, key: &Key<'_>, faults: &mut Faults<'_>) -> LatencySpec {
    let usual = LatencySpec::USUAL;
    LatencySpec {
        factor: raw.factor.map_or(usual.factor, |factor| factor.small()),
        floor: above_zero(raw.floor, &key.name("floor"), faults).unwrap_or(usual.floor),
        rounds: raw.rounds.map_or(usual.rounds, |rounds| rounds.small()),
        endpoints: raw.endpoints.map_or(usual.endpoints, |endpoints| endpoints.size()),
        requests: raw.requests.map_or(usual.requests, |requests| requests.0),
    }
}

/// 1 s: workers tell what they have counted once a second.
const SHORTEST: Duration = Duration::from_secs(1);
