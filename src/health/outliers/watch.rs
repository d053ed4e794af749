//! What is remembered of a pool's endpoints from one look to the next.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::Instant;

use crate::base::units::Percent;
use crate::config::spec::EjectSpec;
use crate::health::passive::{self, Cause, Ejected};
use crate::model::endpoint::Endpoint;
use crate::model::ids::EndpointId;
use crate::model::members::Members;
use crate::telemetry::sightings::Sighting;

use super::{Outlier, Pace, Seen};

/// The watch over one pool.
#[derive(Debug)]
pub struct Watch {
    /// When the interval ends.
    due: Instant,
    seen: HashMap<EndpointId, Sighting>,
    /// Intervals in a row in which an endpoint was slow.
    slow: HashMap<EndpointId, u32>,
}

/// What became of an endpoint that stands out.
#[derive(Clone, Debug)]
pub enum Found {
    /// It gets no traffic for a while.
    Ejected(Arc<Endpoint>, Ejected),
    /// It fails one tenant alone.
    Spared,
}

/// Shares of failures that a pool's breaker allows an endpoint.
pub type Allowed = (Percent, u64);

impl Watch {
    /// Begins with an interval.
    pub fn begin(spec: &EjectSpec, now: Instant) -> Self {
        Self { due: now + spec.interval, seen: HashMap::new(), slow: HashMap::new() }
    }

    /// Takes what was seen of the pool's endpoints; at the end of an interval, ejects those that stand out and tells
    /// which.
    pub fn look(
        &mut self,
        members: &Members,
        (spec, allowed): (&EjectSpec, Option<Allowed>),
        seen: &mut HashMap<EndpointId, Sighting>,
        now: Instant,
    ) -> Vec<Found> {
        let set = members.load();
        // Of one that was out for a part of the time, what was seen is of another time than of the others, or it has
        // been ejected for that already.
        let is_in =
            |endpoint: &Endpoint| endpoint.ejected_for().is_none() && !endpoint.is_on_trial();
        for member in &set.all {
            let id = member.endpoint.id;
            let new = seen.remove(&id);
            if !is_in(&member.endpoint) {
                self.seen.remove(&id);
            } else if let Some(new) = new {
                self.seen.entry(id).or_default().merge(&new);
            }
        }
        if now < self.due {
            return Vec::new();
        }
        self.due = now + spec.interval;
        let all = std::mem::take(&mut self.seen);
        let judged = set.all.iter().filter(|member| is_in(&member.endpoint));
        let (endpoints, seen): (Vec<&Arc<Endpoint>>, Vec<Seen<'_>>) = judged
            .filter_map(|member| {
                let (endpoint, priority) = (&member.endpoint, member.priority);
                let sighting = all.get(&endpoint.id)?;
                let serves_others = super::worst(sighting)
                    .is_some_and(|(tenant, _)| endpoint.serves_another(tenant, now));
                let warms_up = member.warmth.since().is_some();
                Some((endpoint, Seen { sighting, serves_others, priority, warms_up }))
            })
            .unzip();
        let mut found = Vec::new();
        let mut eject = |outliers: Vec<Outlier>, cause| {
            for Outlier { place, by_one_tenant } in outliers {
                let Some(endpoint) = endpoints.get(place) else { continue };
                if by_one_tenant {
                    found.push(Found::Spared);
                } else if let Some(ejected) = passive::eject(members, endpoint, spec, cause) {
                    found.push(Found::Ejected(Arc::clone(endpoint), ejected));
                }
            }
        };
        if let Some(rate) = &spec.success_rate {
            eject(super::by_success_rate(rate, &seen), Cause::SuccessRate);
        }
        if let Some((share, requests)) = allowed {
            eject(super::by_failure_share(share, requests, &seen), Cause::FailureShare);
        }
        let slow = self.slow_for_long(spec, &endpoints, &seen);
        eject(slow, Cause::Latency);
        found
    }

    /// Those that have been slow for as many intervals as are asked for. One that had too few requests to tell, as least
    /// request gives them to one that is slow, is still what it was.
    fn slow_for_long(
        &mut self,
        spec: &EjectSpec,
        endpoints: &[&Arc<Endpoint>],
        seen: &[Seen<'_>],
    ) -> Vec<Outlier> {
        let Some(latency) = &spec.latency else {
            self.slow.clear();
            return Vec::new();
        };
        let before = std::mem::take(&mut self.slow);
        let mut outliers = Vec::new();
        let paces = super::by_latency(latency, seen);
        for (place, (endpoint, pace)) in endpoints.iter().zip(paces).enumerate() {
            let known = before.get(&endpoint.id).copied().unwrap_or_default();
            let row = match pace {
                Pace::Usual => 0,
                Pace::Slow => known + 1,
                Pace::Unknown => known,
            };
            if row >= latency.rounds {
                outliers.push(Outlier { place, by_one_tenant: false });
            } else if row > 0 {
                self.slow.insert(endpoint.id, row);
            }
        }
        outliers
    }
}
