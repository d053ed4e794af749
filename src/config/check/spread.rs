//! How a pool's traffic is spread over its endpoints: those that are written, and by what rules.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::base::units::Percent;
use crate::config::faults::Faults;
use crate::config::key::Key;
use crate::config::raw::{At, Decimal, Endpoint, SlowStart, Whole, Zones};
use crate::config::spec::{EndpointSpec, EndpointState, SlowStartSpec, SpreadSpec, ZonesSpec};

use super::above_zero;

/// What a pool says of how its traffic is spread.
pub(super) struct Words<'a> {
    pub(super) slow_start: Option<SlowStart>,
    pub(super) overprovisioning: Option<Decimal<100, 100_000>>,
    pub(super) zones: Option<At<Zones>>,
    pub(super) shard: Option<At<Whole<1, 1000>>>,
    /// The name of its balancer.
    pub(super) balance: &'a str,
    /// Those that ask for keys.
    pub(super) keyed: &'a [&'a str],
}

/// Checks by what rules traffic is spread.
pub(super) fn check(words: Words<'_>, key: &Key<'_>, faults: &mut Faults<'_>) -> SpreadSpec {
    let unsaid = SpreadSpec::default();
    let Words { slow_start, overprovisioning, zones, shard, balance, keyed } = words;
    let zones = self::zones(zones, shard.is_some(), &key.name("zones"), faults);
    SpreadSpec {
        slow_start: slow_start.map(|raw| self::slow_start(raw, &key.name("slow-start"), faults)),
        overprovisioning: overprovisioning.map_or(unsaid.overprovisioning, |factor| factor.0),
        zones,
        shard: shard.map(|At { value: size, start }| {
            if keyed.contains(&balance) {
                let hint = "write balance = \"least-request\", or leave shard out".to_owned();
                let what = format!(
                    "cannot be used with balance = {balance:?}, which would need a table for each tenant"
                );
                faults.add(&key.name("shard"), start, what, Some(hint));
            }
            size.size()
        }),
    }
}

/// Beside shards zones do not matter: a tenant's endpoints are those that it has, wherever they stand.
fn zones(
    raw: Option<At<Zones>>,
    sharded: bool,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Option<ZonesSpec> {
    let start = raw.as_ref().map_or(0, |raw| raw.start);
    let raw = raw.map(|raw| raw.value);
    let is_used = raw.as_ref().is_some_and(|raw| raw.prefer != Some(false));
    if sharded && is_used {
        let what = "is never used beside shard, by which each tenant has endpoints of all zones";
        faults.add(key, start, what, Some("leave out either of them".to_owned()));
    }
    let raw = raw.unwrap_or_default();
    if raw.prefer == Some(false) && (raw.min_endpoints.is_some() || raw.spill_above.is_some()) {
        let what = "min-endpoints and spill-above are never used beside prefer = false";
        faults.add(key, start, what, Some("leave them out, or prefer = false".to_owned()));
    }
    let unsaid = ZonesSpec::default();
    (raw.prefer != Some(false) && !sharded).then(|| ZonesSpec {
        min_endpoints: raw.min_endpoints.map_or(unsaid.min_endpoints, Whole::small),
        spill_above: raw.spill_above.map_or(unsaid.spill_above, Whole::small),
    })
}

fn slow_start(raw: SlowStart, key: &Key<'_>, faults: &mut Faults<'_>) -> SlowStartSpec {
    SlowStartSpec {
        window: above_zero(raw.window, &key.name("window"), faults).unwrap_or(WINDOW),
        aggression: raw.aggression.map_or(1.0, |aggression| aggression.0),
        min: raw.min.map_or(Percent::new(10.0), |min| min.0),
    }
}

/// Checks the endpoints that are written. `alone` = no other source names any.
pub(super) fn endpoints(
    raw: At<Vec<At<Endpoint>>>,
    alone: bool,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Vec<EndpointSpec> {
    let mut fixed = Vec::with_capacity(raw.value.len());
    let mut seen = BTreeSet::new();
    for (index, At { value: endpoint, start }) in raw.value.into_iter().enumerate() {
        let key = key.index(index);
        let Some(address) = endpoint.address else {
            faults.add_missing(&key, start, "has no address", "write address = \"10.0.0.1:8080\"");
            continue;
        };
        if !seen.insert(address.clone()) {
            let hint = "keep one, and give it a weight if it shall get more".to_owned();
            faults.add(&key, start, format!("{address} is there twice"), Some(hint));
        }
        fixed.push(EndpointSpec {
            address,
            weight: endpoint.weight.unwrap_or(1),
            priority: endpoint
                .priority
                .map_or(0, |priority| u16::try_from(priority).unwrap_or(u16::MAX)),
            zone: endpoint.zone.map(Into::into),
            state: endpoint.state.unwrap_or(EndpointState::Active),
        });
    }
    let serves = |one: &EndpointSpec| one.weight > 0 && one.state == EndpointState::Active;
    if !fixed.is_empty() && fixed.iter().all(|one| one.weight == 0) {
        let hint = "give at least one endpoint a weight above 0".to_owned();
        faults.add(key, raw.start, "all weights are 0", Some(hint));
    } else if alone && !fixed.is_empty() && !fixed.iter().any(serves) {
        let hint =
            "take state = \"draining\" from one of them, or let one in that serves".to_owned();
        let what = "none of them gets a request: all are draining or of weight 0";
        faults.add(key, raw.start, what, Some(hint));
    }
    fixed
}

/// 30 s: what caches and just-in-time compilers need that are common.
const WINDOW: Duration = Duration::from_secs(30);
