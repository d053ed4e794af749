//! The gauges of pools and their members, read at a scrape.

use crate::model::endpoint::{Endpoint, Health};
use crate::telemetry::exposition::Samples;
use crate::telemetry::{checks, metrics, spreading, waiting};

use super::NamedPool;

/// How each member of these pools is, and how their traffic is spread.
pub(super) fn samples(pools: &[NamedPool]) -> [Samples; 12] {
    let mut up = Samples::of(&metrics::ENDPOINT_UP);
    let mut drained = Samples::of(&checks::ENDPOINT_DRAINED);
    let mut in_flight = Samples::of(&metrics::ENDPOINT_IN_FLIGHT);
    let mut states = Samples::of(&metrics::POOL_MEMBERS);
    let mut panicking = Samples::of(&spreading::POOL_PANICKING);
    let mut failover = Samples::of(&spreading::POOL_FAILOVER);
    let mut spill = Samples::of(&spreading::POOL_ZONE_SPILL);
    let mut warming = Samples::of(&spreading::POOL_WARMING);
    let mut late = Samples::of(&spreading::POOL_LATE);
    let mut draining = Samples::of(&spreading::POOL_DRAINING);
    let mut waiting = Samples::of(&waiting::WAITING);
    let mut waiting_bytes = Samples::of(&waiting::WAITING_BYTES);
    for (pool, members) in pools {
        let set = members.load();
        let mut counts = [0; STATES.len()];
        for member in &set.all {
            let endpoint = &member.endpoint;
            up.count(&[pool, &endpoint.label], u64::from(endpoint.is_eligible()));
            drained.count(&[pool, &endpoint.label], u64::from(endpoint.is_drained()));
            in_flight.count(&[pool, &endpoint.label], u64::from(endpoint.in_flight()));
            counts[state(endpoint)] += 1;
        }
        for (name, count) in STATES.iter().zip(counts) {
            states.count(&[pool, name], count);
        }
        panicking.count(&[pool], u64::from(set.eligible.panicking));
        failover.number(&[pool], set.failed_over());
        if let Some(leaves) = set.leaves_zone() {
            spill.number(&[pool], leaves);
        }
        if let Some(room) = members.room() {
            let filled = room.filled();
            waiting.count(&[pool], filled.waiting);
            waiting_bytes.count(&[pool], filled.bytes);
        }
        warming.count(&[pool], set.warming() as u64);
        late.count(&[pool], set.late() as u64);
        draining.count(&[pool], set.draining().1);
    }
    [
        up,
        drained,
        in_flight,
        states,
        panicking,
        failover,
        spill,
        warming,
        late,
        draining,
        waiting,
        waiting_bytes,
    ]
}

fn state(endpoint: &Endpoint) -> usize {
    match endpoint.health() {
        _ if endpoint.is_drained() => 5,
        _ if endpoint.ejected_for().is_some() => 4,
        Health::Up | Health::Unchecked if endpoint.is_on_trial() => 6,
        Health::Up => 0,
        Health::Unchecked => 1,
        Health::Pending => 2,
        Health::Down => 3,
    }
}

/// The values of the `state` label; each member is in one.
const STATES: [&str; 7] = ["up", "unchecked", "pending", "down", "ejected", "drained", "trial"];
