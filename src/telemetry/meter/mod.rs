//! What one worker counts: plain numbers of its own, moved to the control side once a second.

use std::cell::RefCell;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::model::endpoint::Endpoint;
use crate::model::ids::Label;

use super::attempts::Unserved;
use super::delta::{AttemptOutcome, Delta, One, QueueOutcome};
use super::mirrors::{Outcome, Seen};
use super::record::{Record, Tag};
use super::waiting::WaitOutcome;

/// How often a worker flushes its meter. A scrape is late by this much at most.
pub const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

/// The counters of one worker. Shared within its thread by `Rc`.
#[derive(Debug)]
pub struct Meter {
    worker: usize,
    deltas: mpsc::Sender<Delta>,
    counts: RefCell<Delta>,
}

impl Meter {
    /// A meter that flushes into `deltas`.
    pub fn new(worker: usize, deltas: mpsc::Sender<Delta>) -> Self {
        Self { worker, deltas, counts: RefCell::default() }
    }

    /// The number of the worker.
    pub fn worker(&self) -> usize {
        self.worker
    }

    /// Counts an exchange as in flight, until [`exchange`](Self::exchange).
    pub fn exchange_started(&self) {
        self.counts.borrow_mut().exchanges.opened += 1;
    }

    /// Counts an exchange that ended. Its tenant and its pool were heard of before.
    pub fn exchange(&self, record: &Record) {
        let counts = &mut *self.counts.borrow_mut();
        counts.exchanges.closed += 1;
        if let Some(problem) = record.problem {
            counts.answers.add(problem, 1);
            note_refusal(counts, record, problem);
        }
        let bytes = (record.bytes_in, record.bytes_out);
        let one = One::of(record.status, record.duration, bytes);
        let slot = |tag: &Option<Tag>| tag.as_ref().map(|tag| tag.slot);
        counts.request(slot(&record.tenant), slot(&record.pool), &one);
    }

    /// Hears of the tenant that a request is for, by its number, before it is counted.
    pub fn hear_of_tenant(&self, slot: u32, label: impl FnOnce() -> Label) {
        self.counts.borrow_mut().tenants.hear(slot, label);
    }

    /// Hears of the pool that a request goes to, before it is counted.
    pub fn hear_of_pool(&self, pool: &Label) {
        self.counts.borrow_mut().pools.hear(pool);
    }

    /// Counts an answer of the gateway to bytes that were no request.
    pub fn answered(&self, problem: &'static str) {
        self.counts.borrow_mut().answers.add(problem, 1);
    }

    /// Counts an attempt that ended, with the time to the head of its answer if there was one.
    pub fn attempt(
        &self,
        pool: &Label,
        endpoint: &Endpoint,
        outcome: AttemptOutcome,
        first_byte: Option<Duration>,
    ) {
        let counts = &mut *self.counts.borrow_mut();
        counts.endpoint(pool, endpoint).outcomes[outcome as usize] += 1;
        if let Some(first_byte) = first_byte {
            counts.pools.at(pool).first_byte.observe(first_byte);
        }
    }

    /// An attempt has ended after so long without an answer, as its time was over or its client had left.
    pub fn late_at(&self, pool: &Label, waited: Duration) {
        self.unserved(pool, |unserved| unserved.late.observe(waited));
    }

    /// An attempt was answered by a 5xx after so long.
    pub fn failed_after(&self, pool: &Label, first_byte: Duration) {
        self.unserved(pool, |unserved| unserved.failed.observe(first_byte));
    }

    fn unserved(&self, pool: &Label, count: impl FnOnce(&mut Unserved)) {
        let counts = &mut *self.counts.borrow_mut();
        let rare = counts.pools.at(pool).rare.get_or_insert_default();
        count(rare.unserved.get_or_insert_default());
    }

    /// As [`Meter::attempt`], for the copy of a request: who compares endpoints does not look at it.
    pub fn attempt_by_copy(
        &self,
        pool: &Label,
        endpoint: &Endpoint,
        outcome: AttemptOutcome,
        first_byte: Option<Duration>,
    ) {
        self.attempt(pool, endpoint, outcome, first_byte);
        if outcome.is_served() {
            self.answered_in_vain(pool, endpoint);
        }
    }

    /// An attempt that counts as answered was not served: it has failed all the same, or nobody is to look at it.
    pub fn answered_in_vain(&self, pool: &Label, endpoint: &Endpoint) {
        let counts = &mut *self.counts.borrow_mut();
        counts.endpoint(pool, endpoint).sighted.get_or_insert_default().answers_in_vain();
    }

    /// Counts a retry; `reason` is what the attempt before it ended with.
    pub fn retry(&self, pool: &Label, reason: &'static str) {
        self.counts.borrow_mut().pools.at(pool).retries.add(reason, 1);
    }

    /// Counts a retry that was wanted and not made; `reason` is what forbade it.
    pub fn retry_refused(&self, pool: &Label, reason: &'static str) {
        self.counts.borrow_mut().pools.at(pool).refused.add(reason, 1);
    }

    /// Counts a second attempt beside a slow one: `won`, `lost`, `failed`, or `left` with its client.
    pub fn hedged(&self, pool: &Label, result: &'static str) {
        let counts = &mut *self.counts.borrow_mut();
        counts.pools.at(pool).rare.get_or_insert_default().hedges.add(result, 1);
    }

    /// Counts one that was wanted and not made; `reason` is what forbade it.
    pub fn hedge_refused(&self, pool: &Label, reason: &'static str) {
        let counts = &mut *self.counts.borrow_mut();
        counts.pools.at(pool).rare.get_or_insert_default().hedges_refused.add(reason, 1);
    }

    /// Counts a body that was to be kept in a file: `kept`, or why it was not.
    pub fn spilled(&self, pool: &Label, result: &'static str) {
        let counts = &mut *self.counts.borrow_mut();
        let rare = counts.pools.at(pool).rare.get_or_insert_default();
        rare.spills.add(result, 1);
    }

    /// Counts a file for a body that was opened.
    pub fn spill_opened(&self, pool: &Label) {
        let counts = &mut *self.counts.borrow_mut();
        counts.pools.at(pool).rare.get_or_insert_default().files.opened += 1;
    }

    /// Counts a file for a body that is closed.
    pub fn spill_closed(&self, pool: &Label) {
        let counts = &mut *self.counts.borrow_mut();
        counts.pools.at(pool).rare.get_or_insert_default().files.closed += 1;
    }

    /// Counts a request that came to a pool without room; `tenant` was heard of.
    pub fn queued(&self, pool: &Label, tenant: u32, outcome: QueueOutcome, waited: Duration) {
        let counts = &mut *self.counts.borrow_mut();
        let of_pool = counts.pools.at(pool).queue.get_or_insert_default();
        of_pool.outcomes[outcome as usize] += 1;
        if outcome == QueueOutcome::Served {
            of_pool.waits.observe(waited);
        }
        let of_tenant = counts.queues.entry(tenant).or_default();
        of_tenant.outcomes[outcome as usize] += 1;
        of_tenant.waited += waited;
    }

    /// Counts a request for which a pool that has such requests wait had no endpoint.
    pub fn awaited(&self, pool: &Label, outcome: WaitOutcome, waited: Duration) {
        let counts = &mut *self.counts.borrow_mut();
        let rare = counts.pools.at(pool).rare.get_or_insert_default();
        let waits = rare.waits.get_or_insert_default();
        waits.outcomes[outcome as usize] += 1;
        if outcome == WaitOutcome::Released {
            waits.waited.observe(waited);
        }
    }

    /// Counts a request that was served by a pool that keeps clients by a cookie, by what that did.
    pub fn sticky(&self, pool: &Label, outcome: &'static str) {
        let counts = &mut *self.counts.borrow_mut();
        counts.pools.at(pool).rare.get_or_insert_default().sticky.add(outcome, 1);
    }

    /// Counts a copy of a request for a pool.
    pub fn mirrored(&self, pool: &Label, outcome: Outcome) {
        let counts = &mut *self.counts.borrow_mut();
        counts.pools.at(pool).mirror.get_or_insert_default().outcomes[outcome as usize] += 1;
    }

    /// Counts a request and its copy, both of which were answered, or were not.
    pub fn compared(&self, pool: &Label, primary: Seen, mirror: Seen) {
        let counts = &mut *self.counts.borrow_mut();
        counts.pools.at(pool).mirror.get_or_insert_default().compare(primary, mirror);
    }

    /// Counts an endpoint that traffic has ejected.
    pub fn ejected(&self, pool: &Label, cause: &'static str) {
        self.counts.borrow_mut().eject(pool, cause);
    }

    /// Counts how the trial of an endpoint ended.
    pub fn tried(&self, pool: &Label, result: &'static str) {
        self.counts.borrow_mut().pools.at(pool).trials.add(result, 1);
    }

    /// Counts what the breaker of a tenant at this pool became.
    pub fn breaker(&self, pool: &Label, became: &'static str) {
        self.counts.borrow_mut().pools.at(pool).breakers.add(became, 1);
    }

    /// Counts what the breaker of this whole pool became.
    pub fn pool_breaker(&self, pool: &Label, became: &'static str) {
        let counts = &mut *self.counts.borrow_mut();
        counts.pools.at(pool).rare.get_or_insert_default().breaker.add(became, 1);
    }

    /// An attempt at the endpoint has failed, of the tenant at this place where its request may be to blame.
    pub fn failed_at(&self, pool: &Label, endpoint: &Endpoint, tenant: Option<u32>) {
        let counts = &mut *self.counts.borrow_mut();
        counts.endpoint(pool, endpoint).sighted.get_or_insert_default().fails(tenant);
    }

    /// An attempt at the endpoint with a request of this [`kind`](super::sightings::kind) took so long.
    pub fn took_at(&self, pool: &Label, endpoint: &Endpoint, kind: u8, time: Duration) {
        let counts = &mut *self.counts.borrow_mut();
        counts.endpoint(pool, endpoint).sighted.get_or_insert_default().takes(kind, time);
    }

    /// Counts an endpoint that failed one tenant alone, and was not ejected for it.
    pub fn spared(&self, pool: &Label) {
        self.counts.borrow_mut().pools.at(pool).spared += 1;
    }

    /// Counts a connection to an endpoint that was opened.
    pub fn upstream_opened(&self, pool: &Label) {
        self.counts.borrow_mut().pools.at(pool).connections.opened += 1;
    }

    /// Counts a connection to an endpoint that is closed.
    pub fn upstream_closed(&self, pool: &Label) {
        self.counts.borrow_mut().pools.at(pool).connections.closed += 1;
    }

    /// Counts an attempt that found an open connection.
    pub fn upstream_reused(&self, pool: &Label) {
        self.counts.borrow_mut().pools.at(pool).reused += 1;
    }

    /// Counts a client's connection that a listener accepted.
    pub fn connection_opened(&self, listener: usize) {
        self.counts.borrow_mut().listener(listener).opened += 1;
    }

    /// Counts a client's connection that is closed.
    pub fn connection_closed(&self, listener: usize) {
        self.counts.borrow_mut().listener(listener).closed += 1;
    }

    /// Counts a client's connection that was not taken or was cut off.
    pub fn connection_rejected(&self, reason: &'static str) {
        self.counts.borrow_mut().rejected.add(reason, 1);
    }

    /// Counts a client's connection that has served its time.
    pub fn connection_retired(&self, reason: &'static str) {
        self.counts.borrow_mut().retired.add(reason, 1);
    }

    /// Counts a request whose chain of proxies could not be read to its end.
    pub fn forwarded_fault(&self, reason: &'static str) {
        self.counts.borrow_mut().forwarded_faults.add(reason, 1);
    }

    /// Counts how long a request has waited for room within a limit; `tenant` was heard of.
    pub fn held_back(&self, tenant: u32, waited: Duration) {
        let counts = &mut *self.counts.borrow_mut();
        counts.held_back.entry(tenant).or_default().waited += waited;
    }

    /// A request waits for room within a limit.
    pub fn limit_waited(&self, limit: &'static str) {
        self.counts.borrow_mut().limit_waits.add(limit, 1);
    }

    /// Counts a request that asked what becomes of it: `told`, or `refused` for want of a token.
    pub fn debugged(&self, result: &'static str) {
        self.counts.borrow_mut().debugged.add(result, 1);
    }

    /// Counts a request that its tenant did not let in.
    pub fn refused(&self, reason: &'static str) {
        self.counts.borrow_mut().access_refused.add(reason, 1);
    }

    /// Counts a request that a service was asked for, which took so long.
    pub fn authorized(&self, result: &'static str, took: Duration) {
        let mut counts = self.counts.borrow_mut();
        counts.authorized.add(result, 1);
        counts.authorizing.add(result, u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// Counts a task that panicked.
    pub fn panicked(&self) {
        self.counts.borrow_mut().panics += 1;
    }

    /// Moves what was counted to the control side. Never waits: when the channel is full the
    /// counts stay here and go with the next flush.
    pub fn flush(&self) {
        let mut counts = self.counts.borrow_mut();
        if counts.is_empty() {
            return;
        }
        if let Ok(permit) = self.deltas.try_reserve() {
            permit.send(counts.take());
        }
    }

    /// Moves the last counts to the control side. Waits for room: nobody is served any more.
    pub async fn end(&self) {
        let last = self.counts.borrow_mut().take();
        if !last.is_empty() {
            // Where nobody takes it, nobody looks at it either.
            self.deltas.send(last).await.ok();
        }
    }
}

/// Counts what a limit, or a pool without room, has refused.
#[cold]
#[inline(never)]
fn note_refusal(counts: &mut Delta, record: &Record, problem: &'static str) {
    if let Some(tenant) = &record.tenant
        && (record.status == 429 || REFUSALS.contains(&problem))
    {
        counts.held_back.entry(tenant.slot).or_default().refused.add(problem, 1);
    }
}

/// The problems, besides those of status 429, of requests that came to a pool without room and had no turn, and of
/// bodies beyond a limit of the tenant or the route.
const REFUSALS: [&str; 4] =
    ["queue-full", "queue-timeout", "tenant-body-too-large", "route-body-too-large"];

#[cfg(test)]
mod tests;
