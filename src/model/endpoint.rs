//! One address of a pool and what is known of it right now. Each live field has one writer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::time::Instant;

use super::address::Address;
use super::ids::EndpointId;
use super::latency::{self, Latency, Sample};
use super::lateness::{Lateness, Weight};
use super::suspicion::Suspicion;
use super::trial::Trial;
use super::witnesses::Witnesses;

/// What active checks say of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// The pool has no active check: traffic alone judges.
    Unchecked,
    /// A check is configured and has not answered yet.
    Pending,
    /// The last checks passed.
    Up,
    /// The last checks failed.
    Down,
}

impl Health {
    /// The inverse of `as u8`.
    pub(super) fn from_word(word: u8) -> Self {
        match word {
            0 => Self::Unchecked,
            1 => Self::Pending,
            2 => Self::Up,
            _ => Self::Down,
        }
    }
}

/// One address in a pool. Its live state stays as long as the address is a member, across reloads.
#[derive(Debug)]
pub struct Endpoint {
    /// Never used twice in a process.
    pub id: EndpointId,
    /// Where it listens.
    pub address: Address,
    /// The address as text, for logs and metric labels.
    pub label: Arc<str>,
    /// When it became a member; the ejection clock counts from here.
    born: Instant,
    /// Writer: `health::active`.
    health: AtomicU8,
    /// Why the last check failed. Writer: `health::active`.
    reason: ArcSwapOption<String>,
    /// An operator keeps it out of the traffic. Writer: `model::members`, by what it knows of drains.
    drained: AtomicBool,
    /// Failures in a row, seen by traffic, with [`ON_TRIAL`] and [`BROKEN`]: so that one look tells a success
    /// that it has nothing to change. Writer: `health::passive`.
    failures: AtomicU32,
    /// Answers in a row that broke off after their heads. Writer: `proxy`, which sees them.
    breaks: AtomicU32,
    /// What it has to show after an ejection. Boxed: it is rare. Writers: `health::passive`, and `pool`
    /// for whose request is the next one.
    trial: Box<Trial>,
    /// Whom it serves and whom it fails. Writer: `health::passive`.
    witnesses: Witnesses,
    /// Ejections so far that the next one grows from. Writer: `health::passive`.
    ejections: AtomicU32,
    /// Milliseconds since `born` until which no traffic is sent; 0 = not ejected.
    /// Writer: `health::passive`.
    ejected_until: AtomicU64,
    /// Milliseconds since `born` at which the present spell without an ejection began.
    /// Writer: `health::passive`.
    quiet_since: AtomicU64,
    /// Requests that were sent and whose answers have not ended. Writer: `pool`.
    in_flight: AtomicU32,
    /// How long it takes to answer, where its pool asks for that. Writer: `pool`.
    latency: Latency,
    /// Whether it is slower than others, time after time, where its pool goes round such.
    lateness: Lateness,
    /// Those that it is compared with have the same number. Writer: `model::members`.
    peers: AtomicU32,
    /// Traffic has seen it fail, and a check is due. Boxed: it is for failures alone.
    suspicion: Box<Suspicion>,
}

impl Endpoint {
    /// An endpoint without a history.
    pub fn new(id: EndpointId, address: Address, health: Health) -> Self {
        Self {
            id,
            label: address.to_string().into(),
            address,
            born: Instant::now(),
            health: AtomicU8::new(health as u8),
            reason: ArcSwapOption::empty(),
            drained: AtomicBool::new(false),
            failures: AtomicU32::new(0),
            breaks: AtomicU32::new(0),
            trial: Box::default(),
            witnesses: Witnesses::default(),
            ejections: AtomicU32::new(0),
            ejected_until: AtomicU64::new(0),
            quiet_since: AtomicU64::new(0),
            in_flight: AtomicU32::new(0),
            latency: Latency::default(),
            lateness: Lateness::default(),
            peers: AtomicU32::new(0),
            suspicion: Box::default(),
        }
    }

    /// What active checks say.
    pub fn health(&self) -> Health {
        Health::from_word(self.health.load(Ordering::Relaxed))
    }

    /// Sets what active checks say and, when they failed, why. The caller refreshes the pool's
    /// [`Members`](super::members::Members) if the word has changed.
    pub fn set_health(&self, health: Health, reason: Option<String>) {
        self.health.store(health as u8, Ordering::Relaxed);
        self.reason.store(reason.map(Arc::new));
    }

    /// Why the last check failed.
    pub fn reason(&self) -> Option<Arc<String>> {
        self.reason.load_full()
    }

    /// Counts one more failure in a row and tells how many there are. `tenant` is the place of the one
    /// whose request failed, where the request may be to blame.
    pub fn add_failure(&self, tenant: Option<u32>) -> u32 {
        let before = self.failures.fetch_add(1, Ordering::Relaxed) & COUNT;
        self.witnesses.failed(tenant, before == 0);
        before.saturating_add(1)
    }

    /// A request of the tenant at this place was served.
    pub fn serves(&self, tenant: u32, now: Instant) {
        self.witnesses.served(tenant, self.second(now));
    }

    /// Whether another tenant than the one at this place was served lately.
    pub fn serves_another(&self, tenant: u32, now: Instant) -> bool {
        self.witnesses.serves_another(tenant, self.second(now))
    }

    /// Whether the failures in a row are all of one tenant, while others are served.
    pub fn fails_one_tenant_alone(&self, now: Instant) -> bool {
        self.witnesses.fails_one_alone(self.second(now))
    }

    fn millis(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.born).as_millis();
        u64::try_from(since).unwrap_or(u64::MAX)
    }

    fn second(&self, now: Instant) -> u32 {
        let second = now.saturating_duration_since(self.born).as_secs();
        u32::try_from(second).unwrap_or(u32::MAX)
    }

    /// An answer to a request of the tenant at this place broke off after its head.
    #[cold]
    pub fn breaks_off(&self, tenant: Option<u32>) {
        let before = self.breaks.fetch_add(1, Ordering::Relaxed);
        self.witnesses.broke(tenant, before == 0);
        self.failures.fetch_or(BROKEN, Ordering::Relaxed);
        self.suspicion.raise();
    }

    /// An answer has ended whole.
    pub fn ends_whole(&self) {
        if self.failures.load(Ordering::Relaxed) & BROKEN != 0 {
            self.forget_breaks();
        }
    }

    /// Forgets answers that broke off.
    #[cold]
    pub fn forget_breaks(&self) {
        self.breaks.store(0, Ordering::Relaxed);
        self.failures.fetch_and(!BROKEN, Ordering::Relaxed);
    }

    /// Answers in a row that broke off: none has ended whole since.
    pub fn breaks(&self) -> u32 {
        self.breaks.load(Ordering::Relaxed)
    }

    /// Whether the answers that broke off are all of one tenant, while others are served.
    pub fn breaks_one_tenant_alone(&self, now: Instant) -> bool {
        self.witnesses.breaks_one_alone(self.second(now))
    }

    /// Whether a success changes something: there are failures or broken answers, or it is on trial.
    pub fn is_in_doubt(&self) -> bool {
        self.failures.load(Ordering::Relaxed) != 0
    }

    /// Forgets the failures in a row. Writes nothing when there are none.
    pub fn clear_failures(&self) {
        if self.failures() != 0 {
            self.failures.fetch_and(!COUNT, Ordering::Relaxed);
        }
    }

    /// Failures in a row, seen by traffic.
    pub fn failures(&self) -> u32 {
        self.failures.load(Ordering::Relaxed) & COUNT
    }

    /// From now on it gets one request at a time, until so many were served. The caller refreshes the
    /// pool's members.
    pub fn begin_trial(&self, needed: u32) {
        self.trial.begin(needed, self.millis(Instant::now()));
        self.breaks.store(0, Ordering::Relaxed);
        self.failures.store(ON_TRIAL, Ordering::Relaxed);
    }

    /// Ends a trial. The caller refreshes the pool's members.
    pub fn end_trial(&self) {
        self.failures.fetch_and(!ON_TRIAL, Ordering::Relaxed);
    }

    /// Whether it gets one request at a time.
    pub fn is_on_trial(&self) -> bool {
        self.failures.load(Ordering::Relaxed) & ON_TRIAL != 0
    }

    /// Successes that are still asked of it; `None` = it is not on trial.
    pub fn trial_needs(&self) -> Option<u32> {
        self.is_on_trial().then(|| self.trial.needed())
    }

    /// Whether a request of the tenant at this place, which may be sent again or not, is the next one of
    /// its trial.
    pub fn admits(&self, tenant: u32, repeatable: bool, now: Instant) -> bool {
        self.is_on_trial() && self.trial.admits(tenant, repeatable, self.millis(now))
    }

    /// An attempt that began then, for the tenant at this place, was served during the trial. Tells
    /// whether that was all that is asked.
    pub fn passes(&self, tenant: u32, began: Instant) -> bool {
        self.trial.covers(self.millis(began)) && self.trial.passes(tenant)
    }

    /// An attempt that began then has failed during the trial, the tenant's at this place, or whosever.
    /// Tells whether the endpoint has failed by that.
    pub fn fails(&self, tenant: Option<u32>, began: Instant, now: Instant) -> bool {
        self.trial.covers(self.millis(began)) && self.trial.fails(tenant, self.millis(now))
    }

    /// The place of the tenant whose request has failed during the trial, where no other tenant has come
    /// in time to say otherwise.
    pub fn trial_unopposed(&self, now: Instant) -> Option<u32> {
        if self.is_on_trial() { self.trial.unopposed(self.millis(now)) } else { None }
    }

    /// Ejections so far that the next one grows from.
    pub fn ejections(&self) -> u32 {
        self.ejections.load(Ordering::Relaxed)
    }

    /// Sets how many ejections the next one grows from.
    pub fn set_ejections(&self, count: u32) {
        self.ejections.store(count, Ordering::Relaxed);
    }

    /// When the present spell without an ejection began.
    pub fn quiet_since(&self) -> Instant {
        self.born + Duration::from_millis(self.quiet_since.load(Ordering::Relaxed))
    }

    /// Sets when the present spell without an ejection began.
    pub fn set_quiet_since(&self, since: Instant) {
        let since = since.saturating_duration_since(self.born).as_millis();
        self.quiet_since.store(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Sends no traffic from now on for this long. The caller refreshes the pool's members.
    pub fn eject(&self, time: Duration) {
        let until = (self.born.elapsed() + time).as_millis();
        self.ejected_until
            .store(u64::try_from(until).unwrap_or(u64::MAX).max(1), Ordering::Relaxed);
    }

    /// Ends an ejection. The caller refreshes the pool's members.
    pub fn readmit(&self) {
        self.ejected_until.store(0, Ordering::Relaxed);
    }

    /// How much longer it is ejected; `None` when it is not, zero when its time is over and nobody
    /// has readmitted it yet.
    pub fn ejected_for(&self) -> Option<Duration> {
        match self.ejected_until.load(Ordering::Relaxed) {
            0 => None,
            until => Some(Duration::from_millis(until).saturating_sub(self.born.elapsed())),
        }
    }

    /// What tells the present ejection from others of this endpoint; `None` when it is not ejected.
    pub fn ejection(&self) -> Option<u64> {
        Some(self.ejected_until.load(Ordering::Relaxed)).filter(|until| *until != 0)
    }

    /// What traffic asks checks to look at.
    pub fn suspicion(&self) -> &Suspicion {
        &self.suspicion
    }

    /// Whether an operator keeps it out of the traffic: it gets no new request, whatever else is
    /// known of it.
    pub fn is_drained(&self) -> bool {
        self.drained.load(Ordering::Relaxed)
    }

    /// Sets whether an operator keeps it out.
    pub(super) fn set_drained(&self, drained: bool) {
        self.drained.store(drained, Ordering::Relaxed);
    }

    /// Whether it may be picked by its own state: not drained, not down, not waiting for its first
    /// check, not ejected.
    pub fn is_eligible(&self) -> bool {
        !self.is_drained() && self.is_healthy()
    }

    /// As [`Endpoint::is_eligible`], were it not drained.
    pub fn is_healthy(&self) -> bool {
        matches!(self.health(), Health::Up | Health::Unchecked)
            && self.ejected_until.load(Ordering::Relaxed) == 0
    }

    /// Requests in flight.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Counts one more request in flight.
    pub fn enter(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one request less in flight.
    pub fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// Learns how long it took to answer.
    pub fn learn(&self, sample: Sample, now: Instant) {
        self.latency.learn(sample, self.tick(now));
    }

    /// Seconds that it took to answer of late, as of its last sample, and when that came; `None` = nothing
    /// is known.
    pub fn latency(&self) -> Option<(f32, Instant)> {
        let known = self.latency.read()?;
        Some((known.seconds, self.born + latency::TICK * known.tick))
    }

    /// Whether it was late time after time, and has not shown since that it is not.
    #[inline]
    pub fn is_late(&self) -> bool {
        self.lateness.is_late()
    }

    /// Whether that was found, or looked at again, lately: somebody has asked it for something since.
    pub fn is_late_now(&self, now: Instant) -> bool {
        let late_for = self.lateness.late_for(self.tick(now));
        late_for.is_some_and(|ticks| latency::TICK * ticks < LATELY)
    }

    /// An answer to a request that was sent then has come late.
    pub fn comes_late(&self, weight: Weight, began: Instant, now: Instant) {
        self.lateness.comes_late(weight, self.tick(began), self.tick(now));
    }

    /// An answer has come in time. Writes nothing while nothing speaks against the endpoint.
    #[inline]
    pub fn comes_in_time(&self) {
        self.lateness.comes_in_time();
    }

    /// Whether a request that is picked for now is the one that tries whether it is late still.
    pub fn begins_timed_trial(&self, now: Instant) -> bool {
        self.lateness.begins_trial(self.tick(now))
    }

    /// Those with the same number are as far away, and are compared; `None` = it is compared with nobody.
    pub fn peers(&self) -> Option<u32> {
        let peers = self.peers.load(Ordering::Relaxed);
        (peers != NO_PEERS).then_some(peers)
    }

    /// Sets with whom it is compared.
    pub(super) fn set_peers(&self, peers: u32) {
        self.peers.store(peers, Ordering::Relaxed);
    }

    fn tick(&self, now: Instant) -> u32 {
        latency::tick(now.saturating_duration_since(self.born))
    }
}

/// The number of peers of an endpoint that is compared with nobody.
pub(super) const NO_PEERS: u32 = u32::MAX;
/// 1 min: while it has traffic it is tried each 10 s.
const LATELY: Duration = Duration::from_secs(60);
/// The highest bits beside the failures in a row, which never get as many: it is on trial; answers broke off.
const ON_TRIAL: u32 = 1 << 31;
const BROKEN: u32 = 1 << 30;
/// The failures themselves.
const COUNT: u32 = BROKEN - 1;
