//! The sums of what all workers have counted since the process started, by name.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use prometheus::proto::MetricFamily;
use tokio::time::Instant;

use crate::base::stretch::Stretch;

use super::attempts;
use super::delta::{
    AttemptOutcome, CLASSES, Delta, EndpointCounts, Flow, PoolCounts, QueueOutcome, Tally, add_each,
};
use super::exposition::Samples;
use super::metrics::{self, Family};
use super::mirrors::{self, Outcome};
use super::resilience;
use super::sharing;
use super::sums::Sums;
use super::tenants::{PoolName, TenantSums};
use super::waiting::{self, WaitOutcome};

/// The sums of all deltas.
#[derive(Clone, Debug)]
pub(super) struct Totals {
    pub(super) tenants: TenantSums,
    pools: Sums<PoolCounts>,
    endpoints: BTreeMap<(Arc<str>, Arc<str>), EndpointTotals>,
    listeners: Vec<Flow>,
    exchanges: Flow,
    answers: Tally,
    rejected: Tally,
    forwarded_faults: Tally,
    debugged: Tally,
    access_refused: Tally,
    authorized: Tally,
    authorizing: Tally,
    limit_waits: Tally,
    retired: Tally,
    panics: u64,
}

#[derive(Clone, Debug)]
struct EndpointTotals {
    outcomes: [u64; AttemptOutcome::ALL.len()],
    last: Instant,
}

/// What is open now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// Requests in flight.
    pub exchanges: u64,
    /// Connections of clients.
    pub connections: u64,
}

impl Totals {
    /// Nothing yet; so many tenants may have series of their own.
    pub(super) fn new(tenants: usize) -> Self {
        Self {
            tenants: TenantSums::new(tenants),
            pools: Sums::default(),
            endpoints: BTreeMap::new(),
            listeners: Vec::new(),
            exchanges: Flow::default(),
            answers: Tally::default(),
            rejected: Tally::default(),
            forwarded_faults: Tally::default(),
            debugged: Tally::default(),
            access_refused: Tally::default(),
            authorized: Tally::default(),
            authorizing: Tally::default(),
            limit_waits: Tally::default(),
            retired: Tally::default(),
            panics: 0,
        }
    }

    /// Adds what a worker counted.
    pub(super) fn merge(&mut self, delta: &Delta) {
        self.tenants.learn(delta.tenants.fresh());
        self.pools.learn(delta.pools.fresh());
        let pool = |index| self.pools.place(index).map_or(PoolName::None, PoolName::Place);
        let by_tenant = delta.tenants.iter().map(|counts| (pool(counts.pool), counts));
        self.tenants.merge(&delta.requests, by_tenant);
        self.tenants.merge_queues(&delta.queues);
        for (pool, counts) in delta.pools.iter() {
            self.pools.at(pool).merge(counts);
        }
        for counts in delta.endpoints.values() {
            self.merge_endpoint(counts);
        }
        self.at_least(delta.listeners.len());
        for (sum, flow) in self.listeners.iter_mut().zip(&delta.listeners) {
            sum.merge(*flow);
        }
        self.exchanges.merge(delta.exchanges);
        self.answers.merge(&delta.answers);
        self.rejected.merge(&delta.rejected);
        self.retired.merge(&delta.retired);
        self.forwarded_faults.merge(&delta.forwarded_faults);
        self.debugged.merge(&delta.debugged);
        self.access_refused.merge(&delta.access_refused);
        self.authorized.merge(&delta.authorized);
        self.authorizing.merge(&delta.authorizing);
        self.limit_waits.merge(&delta.limit_waits);
        self.panics += delta.panics;
    }

    /// Shows this many listeners, those without a connection too.
    pub(super) fn at_least(&mut self, listeners: usize) {
        if listeners > self.listeners.len() {
            self.listeners.resize(listeners, Flow::default());
        }
    }

    /// What is open now.
    pub(super) fn open(&self) -> Open {
        let connections = self.listeners.iter().map(|flow| flow.open()).sum();
        Open { exchanges: self.exchanges.open(), connections }
    }

    /// Forgets endpoints that are no members and had no attempt for [`KEEP_ENDPOINT`]. Where
    /// addresses come and go, as with containers, the list would else grow without end.
    pub(super) fn forget_endpoints(&mut self, is_member: impl Fn(&str, &str) -> bool) {
        self.endpoints.retain(|(pool, endpoint), totals| {
            totals.last.elapsed() < KEEP_ENDPOINT || is_member(pool, endpoint)
        });
    }

    /// Everything, as metric families.
    pub(super) fn collect(&self, listeners: &[Arc<str>]) -> Vec<MetricFamily> {
        let mut families = Vec::new();
        families.extend(self.requests());
        families.extend(self.attempts());
        families.extend(self.pools());
        families.extend(self.rare_of_pools());
        families.extend(self.waits());
        families.extend(self.queues());
        families.extend(self.mirrors());
        families.extend(self.connections(listeners));
        families.extend(self.process());
        families.into_iter().filter_map(Samples::finish).collect()
    }

    fn requests(&self) -> [Samples; 5] {
        let mut requests = Samples::of(&metrics::REQUESTS);
        let mut duration = Samples::of(&metrics::REQUEST_DURATION);
        let mut bytes = Samples::of(&metrics::BODY_BYTES);
        let stretch = Stretch::begin();
        for (tenant, counts) in self.tenants.sorted() {
            stretch.step();
            for of_pool in &counts.requests {
                let pool = match of_pool.pool {
                    PoolName::None => "",
                    PoolName::Place(place) => self.pools.name(place).map_or("", AsRef::as_ref),
                    PoolName::Other => PoolName::OTHER,
                };
                for (class, count) in CLASSES.iter().zip(of_pool.counts) {
                    // One that is shown at 0 has all classes.
                    if count > 0 || of_pool.is_empty() {
                        requests.count(&[tenant, pool, class], count);
                    }
                }
            }
            duration.histogram(&[tenant], &counts.duration);
            bytes.count(&[tenant, "request"], counts.bytes_in);
            bytes.count(&[tenant, "response"], counts.bytes_out);
        }
        let mut folded = Samples::of(&sharing::FOLDED_TENANTS);
        folded.count(&[], self.tenants.folded() as u64);
        let mut handed_over = Samples::of(&sharing::HANDED_OVER_TENANTS);
        handed_over.count(&[], self.tenants.handed_over());
        [requests, duration, bytes, folded, handed_over]
    }

    fn attempts(&self) -> [Samples; 1] {
        let mut attempts = Samples::of(&attempts::ATTEMPTS);
        for ((pool, endpoint), totals) in &self.endpoints {
            for outcome in AttemptOutcome::ALL {
                let count = totals.outcomes[outcome as usize];
                if count > 0 {
                    attempts.count(&[pool, endpoint, outcome.as_str()], count);
                }
            }
        }
        [attempts]
    }

    fn pools(&self) -> [Samples; 11] {
        let mut first_byte = Samples::of(&attempts::ATTEMPT_FIRST_BYTE);
        let mut retries = Samples::of(&attempts::RETRIES);
        let mut refused = Samples::of(&attempts::RETRIES_REFUSED);
        let mut ejections = Samples::of(&resilience::EJECTIONS);
        let mut spared = Samples::of(&sharing::EJECTIONS_SPARED);
        let mut outliers = Samples::of(&resilience::OUTLIER_EJECTIONS);
        let mut trials = Samples::of(&resilience::TRIALS);
        let mut breakers = Samples::of(&resilience::BREAKER_TRANSITIONS);
        let mut open = Samples::of(&metrics::UPSTREAM_CONNECTIONS);
        let mut opened = Samples::of(&metrics::UPSTREAM_OPENED);
        let mut reused = Samples::of(&metrics::UPSTREAM_REUSED);
        let stretch = Stretch::begin();
        for (pool, counts) in self.pools.sorted() {
            stretch.step();
            first_byte.histogram(&[pool], &counts.first_byte);
            for (reason, count) in &counts.retries.0 {
                retries.count(&[pool, reason], *count);
            }
            for (reason, count) in &counts.refused.0 {
                refused.count(&[pool, reason], *count);
            }
            ejections.count(&[pool], counts.ejections);
            spared.count(&[pool], counts.spared);
            for (cause, count) in &counts.outliers.0 {
                outliers.count(&[pool, cause], *count);
            }
            for (result, count) in &counts.trials.0 {
                trials.count(&[pool, result], *count);
            }
            for (to, count) in &counts.breakers.0 {
                breakers.count(&[pool, to], *count);
            }
            open.count(&[pool], counts.connections.open());
            opened.count(&[pool], counts.connections.opened);
            reused.count(&[pool], counts.reused);
        }
        [
            first_byte, retries, refused, ejections, spared, outliers, trials, breakers, open,
            opened, reused,
        ]
    }

    /// What few pools have.
    fn rare_of_pools(&self) -> [Samples; 6] {
        let mut hedges = Samples::of(&attempts::HEDGES);
        let mut refused = Samples::of(&attempts::HEDGES_REFUSED);
        let mut spills = Samples::of(&attempts::REPLAY_SPILLS);
        let mut sticky = Samples::of(&sharing::STICKY_REQUESTS);
        let mut files = Samples::of(&attempts::REPLAY_FILES);
        let mut breaker = Samples::of(&resilience::POOL_BREAKER_TRANSITIONS);
        for (pool, counts) in self.pools.sorted() {
            let Some(rare) = &counts.rare else { continue };
            for (samples, tally) in [
                (&mut hedges, &rare.hedges),
                (&mut refused, &rare.hedges_refused),
                (&mut spills, &rare.spills),
                (&mut sticky, &rare.sticky),
                (&mut breaker, &rare.breaker),
            ] {
                for (name, count) in &tally.0 {
                    samples.count(&[pool, name], *count);
                }
            }
            if !rare.spills.0.is_empty() {
                files.count(&[pool], rare.files.open());
            }
        }
        [hedges, refused, spills, sticky, files, breaker]
    }

    fn waits(&self) -> [Samples; 2] {
        let mut outcomes = Samples::of(&waiting::WAIT_REQUESTS);
        let mut waited = Samples::of(&waiting::WAIT_TIME);
        for (pool, counts) in self.pools.sorted() {
            let waits = counts.rare.as_ref().and_then(|rare| rare.waits.as_ref());
            let Some(waits) = waits else { continue };
            waited.histogram(&[pool], &waits.waited);
            for (outcome, count) in WaitOutcome::ALL.iter().zip(waits.outcomes) {
                outcomes.count(&[pool, outcome.as_str()], count);
            }
        }
        [outcomes, waited]
    }

    fn queues(&self) -> [Samples; 4] {
        let mut waits = Samples::of(&sharing::QUEUE_WAIT);
        let mut outcomes = Samples::of(&sharing::QUEUE_REQUESTS);
        for (pool, counts) in self.pools.sorted() {
            let Some(queue) = &counts.queue else { continue };
            waits.histogram(&[pool], &queue.waits);
            for (outcome, count) in QueueOutcome::ALL.iter().zip(queue.outcomes) {
                outcomes.count(&[pool, outcome.as_str()], count);
            }
        }
        let mut by_tenant = Samples::of(&sharing::TENANT_QUEUE_REQUESTS);
        let mut waited = Samples::of(&sharing::TENANT_QUEUE_WAIT);
        for (tenant, counts) in self.tenants.sorted() {
            let Some(queue) = &counts.queue else { continue };
            waited.number(&[tenant], queue.waited.as_secs_f64());
            let is_empty = queue.outcomes.iter().all(|count| *count == 0);
            for (outcome, count) in QueueOutcome::ALL.iter().zip(queue.outcomes) {
                if count > 0 || is_empty {
                    by_tenant.count(&[tenant, outcome.as_str()], count);
                }
            }
        }
        [waits, outcomes, by_tenant, waited]
    }

    fn mirrors(&self) -> [Samples; 3] {
        let mut outcomes = Samples::of(&mirrors::MIRRORED);
        let mut compared = Samples::of(&mirrors::COMPARED);
        let mut first_byte = Samples::of(&mirrors::FIRST_BYTE);
        for (pool, counts) in self.pools.sorted() {
            let Some(mirror) = &counts.mirror else { continue };
            for (outcome, count) in Outcome::ALL.iter().zip(mirror.outcomes) {
                outcomes.count(&[pool, outcome.as_str()], count);
            }
            for (primary, counts) in CLASSES.iter().zip(mirror.classes) {
                for (class, count) in CLASSES.iter().zip(counts).filter(|(_, count)| *count > 0) {
                    compared.count(&[pool, primary, class], count);
                }
            }
            if mirror.primary.count() > 0 {
                first_byte.histogram(&[pool, "primary"], &mirror.primary);
                first_byte.histogram(&[pool, "mirror"], &mirror.mirror);
            }
        }
        [outcomes, compared, first_byte]
    }

    fn connections(&self, names: &[Arc<str>]) -> [Samples; 9] {
        let mut open = Samples::of(&metrics::DOWNSTREAM_CONNECTIONS);
        let mut opened = Samples::of(&metrics::DOWNSTREAM_OPENED);
        for (index, flow) in self.listeners.iter().enumerate() {
            let name = names.get(index).map_or_else(|| index.to_string(), ToString::to_string);
            open.count(&[&name], flow.open());
            opened.count(&[&name], flow.opened);
        }
        let rejected = tally(&metrics::DOWNSTREAM_REJECTED, &self.rejected);
        let retired = tally(&metrics::DOWNSTREAM_RETIRED, &self.retired);
        let faults = tally(&metrics::FORWARDED_FAULTS, &self.forwarded_faults);
        let debugged = tally(&metrics::DEBUG_REQUESTS, &self.debugged);
        let refused = tally(&sharing::ACCESS_REFUSED, &self.access_refused);
        let authorized = tally(&sharing::AUTHORIZATIONS, &self.authorized);
        let mut authorizing = Samples::of(&sharing::AUTHORIZATION_TIME);
        for (result, micros) in &self.authorizing.0 {
            authorizing.number(&[result], Duration::from_micros(*micros).as_secs_f64());
        }
        [open, opened, rejected, retired, faults, debugged, refused, authorized, authorizing]
    }

    fn process(&self) -> [Samples; 4] {
        let mut in_flight = Samples::of(&metrics::REQUESTS_IN_FLIGHT);
        in_flight.count(&[], self.exchanges.open());
        let mut panics = Samples::of(&metrics::TASK_PANICS);
        panics.count(&[], self.panics);
        let waits = tally(&sharing::LIMIT_WAITS, &self.limit_waits);
        [in_flight, tally(&metrics::GATEWAY_ANSWERS, &self.answers), waits, panics]
    }

    fn merge_endpoint(&mut self, counts: &EndpointCounts) {
        let key = (Arc::clone(&counts.pool), Arc::clone(&counts.endpoint));
        let totals = self.endpoints.entry(key).or_insert_with(|| EndpointTotals {
            outcomes: [0; AttemptOutcome::ALL.len()],
            last: Instant::now(),
        });
        add_each(&mut totals.outcomes, &counts.outcomes);
        totals.last = Instant::now();
    }
}

fn tally(family: &'static Family, tally: &Tally) -> Samples {
    let mut samples = Samples::of(family);
    for (name, count) in &tally.0 {
        samples.count(&[name], *count);
    }
    samples
}

/// Ten scrapes at the slowest interval in use, a minute: the last counts are not missed.
const KEEP_ENDPOINT: Duration = Duration::from_secs(600);
