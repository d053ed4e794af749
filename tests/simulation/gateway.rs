//! The gateway's part: a short form of `proxy/forward.rs`, `picking.rs`, `judge.rs`, `breaking.rs`, `admission.rs`, `hedge.rs` and
//! `timing.rs` over endpoints that are queues. All that decides is the code itself: the pool and its balancer, its members, the
//! gate, the rule, the budget, the breaker, ejection and the comparison of endpoints. What lies between, here, is to be held
//! against those files.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use tokio::time::Instant;

use tenantry::base::fair::{Came, Claim, Class, Handle, Kind, Permit};
use tenantry::base::units::ByteSize;
use tenantry::config::spec::{RetrySpec, TimeoutsSpec};
use tenantry::health::outliers::{Found as Outlier, Watch};
use tenantry::health::passive::{self, Attempt, Judged, Verdict};
use tenantry::model::address::Address;
use tenantry::model::endpoint::Endpoint;
use tenantry::model::ids::EndpointId;
use tenantry::model::latency::{Sample, UNANSWERED};
use tenantry::pool::balancer::PickKey;
use tenantry::pool::{InFlight, Pool};
use tenantry::resilience::allowance::Allowance;
use tenantry::resilience::breaker::{Admitted, Breaker, OnTrial};
use tenantry::resilience::deadline::Deadlines;
use tenantry::resilience::hedging::{HedgeRule, is_poor};
use tenantry::resilience::latencies::Latencies;
use tenantry::resilience::retry::{Facts, Failure, Refusal, RetryRule};
use tenantry::telemetry::sightings::{Sighting, kind};

use super::book::{Book, Event};
use super::server::{Condition, Server};
use super::timeline::Timeline;

/// A pool with its endpoints, and the tenants that share it.
pub(crate) struct Gateway {
    timeline: Rc<Timeline>,
    book: Rc<Book>,
    pub(crate) pool: Pool,
    tenants: Vec<Tenant>,
    gate: Option<Handle>,
    servers: RefCell<HashMap<Address, Rc<Server>>>,
    sightings: RefCell<HashMap<EndpointId, Sighting>>,
    latencies: RefCell<Latencies>,
}

struct Tenant {
    slot: u32,
    allowance: Allowance,
}

/// What came of one attempt.
type Outcome = Result<StatusCode, Failure>;

/// Why a request has no answer of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// The tenant's breaker is open.
    Open,
    /// The pool is full, and so is the tenant's queue, or it waited in that for too long.
    Crowded,
    /// Nobody may be picked.
    NoEndpoint,
    /// The last attempt has failed.
    Failed,
}

impl Gateway {
    /// In front of this pool, for so many tenants.
    pub(crate) fn new(timeline: &Rc<Timeline>, book: &Rc<Book>, pool: Pool, tenants: u32) -> Self {
        let tenant = |slot| Tenant { slot, allowance: Allowance::new(ByteSize(0)) };
        Self {
            timeline: Rc::clone(timeline),
            book: Rc::clone(book),
            gate: pool.gate.as_ref().map(Handle::of),
            pool,
            tenants: (0..tenants).map(tenant).collect(),
            servers: RefCell::default(),
            sightings: RefCell::default(),
            latencies: RefCell::default(),
        }
    }

    /// What listens at an address from now on.
    pub(crate) fn serve(&self, address: Address, server: Rc<Server>) {
        self.servers.borrow_mut().insert(address, server);
    }

    /// What control does all the time: `control/outliers.rs`.
    pub(crate) async fn watch(self: Rc<Self>) {
        let (members, spec) = (&self.pool.members, &self.pool.spec.eject);
        let mut watch = Watch::begin(spec, Instant::now());
        for tenth in 1_u64.. {
            self.timeline.sleep(READMIT_INTERVAL).await;
            for (endpoint, _) in passive::release(members, spec) {
                self.book.note(Event::Ejects(endpoint.id.0));
            }
            members.tick();
            self.pool.prepare();
            if tenth.is_multiple_of(TENTHS_PER_LOOK) {
                let mut seen = self.sightings.take();
                let breaker = self.pool.spec.breaker.filter(|_| spec.failures > 0);
                let allowed =
                    breaker.map(|breaker| (breaker.failures, u64::from(breaker.requests)));
                for found in watch.look(members, (spec, allowed), &mut seen, Instant::now()) {
                    if let Outlier::Ejected(endpoint, _) = found {
                        self.book.note(Event::Ejects(endpoint.id.0));
                    }
                }
            }
        }
    }

    /// Sends a request of a tenant until an endpoint answers.
    ///
    /// # Errors
    /// Why none has.
    pub(crate) async fn exchange(&self, tenant: usize) -> Result<StatusCode, Lost> {
        self.book.note(Event::Asks);
        let tenant = &self.tenants[tenant];
        let answered = self.send(tenant).await;
        if matches!(answered, Err(Lost::Open | Lost::Crowded | Lost::NoEndpoint)) {
            self.book.note(Event::Refuses);
        }
        answered
    }

    async fn send(&self, tenant: &Tenant) -> Result<StatusCode, Lost> {
        let effort = Effort::of(self, tenant);
        let on_trial = effort.enter()?;
        let mut place = effort.come().await?;
        let began = Instant::now();
        tenant.allowance.deposit(SLOT, effort.rule.fill());
        let mut tried: Vec<EndpointId> = Vec::new(); // and failed
        let mut last = None;
        let answered = loop {
            let picked = effort.pick(&tried, last).ok_or(Lost::NoEndpoint)?;
            let id = picked.endpoint().id;
            let hedge = effort.hedge().filter(|_| tried.is_empty());
            let outcome = match hedge {
                None => effort.attempt(picked).await,
                Some(rule) => {
                    let (outcome, other) = effort.race(rule, picked).await;
                    tried.extend(other);
                    outcome
                }
            };
            let Some(failure) = effort.failure(&outcome) else { break outcome };
            last = Some(failure);
            tried.push(id);
            match effort.may_retry(failure, &tried) {
                Ok(pause) if pause.is_zero() => {}
                Ok(pause) => self.timeline.sleep(pause).await,
                Err(_) => break outcome,
            }
        };
        effort.note(on_trial, began, verdict(&answered));
        if let Some(place) = place.as_mut().filter(|_| answered.is_ok()) {
            place.done();
        }
        answered.map_err(|_| Lost::Failed)
    }
}

/// What stays the same over all attempts of an exchange.
struct Effort<'g> {
    gateway: &'g Gateway,
    pool: &'g Pool,
    tenant: &'g Tenant,
    rule: RetryRule<'g>,
    deadlines: Deadlines,
    end: Option<Instant>,
}

impl<'g> Effort<'g> {
    fn of(gateway: &'g Gateway, tenant: &'g Tenant) -> Self {
        let pool = &gateway.pool;
        let deadlines = Deadlines::resolve(&TimeoutsSpec::UNSAID, &pool.spec.timeouts);
        let rule = RetryRule::resolve(&RetrySpec::UNSAID, &pool.spec.retry);
        let end = deadlines.end(Instant::now());
        Self { gateway, pool, tenant, rule, deadlines, end }
    }

    /// `breaking::enter`.
    fn enter(&self) -> Result<Option<OnTrial<'g>>, Lost> {
        let Some((breaker, rules)) = self.breaker().zip(self.pool.spec.breaker.as_ref()) else {
            return Ok(None);
        };
        match breaker.admit(rules, Instant::now()) {
            Ok(Admitted { trial, .. }) => Ok(trial),
            Err(_) => Err(Lost::Open),
        }
    }

    /// `breaking::note`.
    fn note(&self, on_trial: Option<OnTrial<'_>>, began: Instant, verdict: Verdict) {
        let Some((breaker, rules)) = self.breaker().zip(self.pool.spec.breaker.as_ref()) else {
            return;
        };
        let (failed, now) = (verdict != Verdict::Success, Instant::now());
        let _became = match on_trial {
            Some(on_trial) => on_trial.ends(rules, failed, now),
            None => breaker.note(rules, failed, (began, now)),
        };
    }

    fn breaker(&self) -> Option<&'g Breaker> {
        let all = self.pool.breakers.as_ref()?;
        Some(self.tenant.allowance.breaker(SLOT, all, Instant::now()))
    }

    /// `admission::try_enter` and `Comer::wait`.
    async fn come(&self) -> Result<Option<Permit>, Lost> {
        let gate = self.gateway.gate.as_ref();
        let Some((gate, spec)) = gate.zip(self.pool.spec.concurrency) else { return Ok(None) };
        let (now, kind) = (Instant::now(), Kind::named(""));
        if let Some(permit) = gate.try_enter(kind, now) {
            return Ok(Some(permit));
        }
        let until = self.end.map_or(now + spec.wait, |end| end.min(now + spec.wait));
        let claim = Claim {
            flow: self.tenant.slot,
            weight: 1,
            class: Class::Normal,
            most: spec.length,
            until,
            cost: gate.cost(kind),
        };
        match gate.come(kind, &claim, now) {
            Came::In(permit) => Ok(Some(permit)),
            Came::Waits(waiting) => waiting.turn().await.map(Some).ok_or(Lost::Crowded),
            Came::Full => Err(Lost::Crowded),
        }
    }

    /// `Effort::pick` of `picking.rs`.
    fn pick(&self, tried: &[EndpointId], last: Option<Failure>) -> Option<InFlight> {
        if tried.is_empty() && self.pool.members.is_watchful() {
            let may_repeat = self.rule.attempts > 1;
            let picked = self.pool.pick_on_trial(self.tenant.slot, may_repeat, Instant::now());
            if picked.is_some() {
                return picked;
            }
        }
        let picked = self.pool.pick(PickKey::default(), tried)?;
        let silent = !matches!(last, None | Some(Failure::Status(_)));
        if silent && tried.contains(&picked.endpoint().id) {
            return self.pool.pick_left_out(tried).or(Some(picked));
        }
        Some(picked)
    }

    /// One attempt, counted, judged and timed as `counted.rs`, `judged.rs` and `timing.rs` do.
    async fn attempt(&self, picked: InFlight) -> Outcome {
        let (began, endpoint) = (Instant::now(), picked.endpoint());
        self.gateway.book.note(Event::Sends(endpoint.id.0));
        let timing = Timing::begin(self.pool, endpoint, began);
        let outcome = self.ask(endpoint, began).await;
        self.judge(endpoint, verdict(&outcome), began);
        timing.end(verdict(&outcome));
        if verdict(&outcome) != Verdict::Success {
            self.gateway.book.note(Event::FailsAt(endpoint.id.0));
        }
        outcome
    }

    /// The way there and back, no longer than an attempt may last.
    async fn ask(&self, endpoint: &Endpoint, began: Instant) -> Outcome {
        let line = &self.gateway.timeline;
        let server = self.gateway.servers.borrow().get(&endpoint.address).cloned();
        let Some(server) = server else {
            line.sleep(2 * LINK).await;
            return Err(Failure::Connect);
        };
        let talk = async {
            let is_open = server.reuse();
            if !is_open {
                self.dial(&server).await?;
            }
            line.sleep(LINK).await;
            let answer = server.answer(!is_open).await;
            line.sleep(LINK).await;
            let answer = answer.ok_or(Failure::Reset)?;
            server.keep();
            Ok::<StatusCode, Failure>(answer)
        };
        let Some(until) = self.deadlines.attempt_end(began, self.end) else { return talk.await };
        tokio::select! {
            biased;
            answered = talk => answered,
            () = line.sleep_until(until) => Err(Failure::Timeout),
        }
    }

    async fn dial(&self, server: &Server) -> Result<(), Failure> {
        let line = &self.gateway.timeline;
        if server.condition() == Condition::Unreachable {
            line.sleep(self.deadlines.connect).await;
            return Err(Failure::Connect);
        }
        line.sleep(2 * LINK).await;
        if server.condition() == Condition::Dead { Err(Failure::Connect) } else { Ok(()) }
    }

    /// `judged::judge`.
    fn judge(&self, endpoint: &Arc<Endpoint>, verdict: Verdict, began: Instant) {
        let (now, tenant) = (Instant::now(), self.tenant.slot);
        let mut sightings = self.gateway.sightings.borrow_mut();
        let seen = sightings.entry(endpoint.id).or_default();
        match verdict {
            Verdict::Success => seen.served += 1,
            _ => seen.failed += 1,
        }
        if matches!(verdict, Verdict::Failure | Verdict::Busy) {
            match seen.by_tenant.iter_mut().find(|(known, _)| *known == tenant) {
                Some((_, count)) => *count += 1,
                None => seen.by_tenant.push((tenant, 1)),
            }
        }
        if self.pool.attended && verdict != Verdict::Unreachable {
            seen.times.add(kind(tenant, ""), now.saturating_duration_since(began));
        }
        drop(sightings);
        let attempt = Attempt { verdict, tenant, began, now };
        let judged = passive::observe(&self.pool.members, endpoint, &self.pool.spec.eject, attempt);
        if let Some(Judged::Ejected(_)) = judged {
            self.gateway.book.note(Event::Ejects(endpoint.id.0));
        }
    }

    /// What might be tried again.
    fn failure(&self, outcome: &Outcome) -> Option<Failure> {
        match outcome {
            Ok(status) => self.rule.lists_status(*status).then_some(Failure::Status(*status)),
            Err(failure) => Some(*failure),
        }
    }

    /// `Effort::may_retry`: all requests may be repeated.
    fn may_retry(&self, failure: Failure, tried: &[EndpointId]) -> Result<Duration, Refusal> {
        let attempts = u32::try_from(tried.len()).unwrap_or(u32::MAX);
        self.rule.judge(failure, Facts { attempts, idempotent: true, replayable: true })?;
        let free = failure == Failure::Connect && self.pool.has_sound_untried(tried);
        let pause = if free { Duration::ZERO } else { self.rule.pause(failure, attempts) };
        if self.end.is_some_and(|end| Instant::now() + pause >= end) {
            return Err(Refusal::Deadline);
        }
        if !self.tenant.allowance.withdraw(SLOT, self.rule.fill()) && !free {
            return Err(Refusal::Budget);
        }
        Ok(pause)
    }

    /// `hedge::rule`.
    fn hedge(&self) -> Option<HedgeRule<'g>> {
        let rule = HedgeRule::resolve(None, self.pool.spec.retry.hedge.as_ref())?;
        rule.allows(&Method::GET).then_some(rule)
    }

    /// `hedge::race`: a first attempt, and another one beside it where it takes too long. Tells the endpoint of that one where it
    /// has failed.
    async fn race(&self, rule: HedgeRule<'_>, first: InFlight) -> (Outcome, Option<EndpointId>) {
        let (line, began) = (&self.gateway.timeline, Instant::now());
        let quantile = self.gateway.latencies.borrow().quantile(rule.after);
        let delay = quantile.map(|delay| delay.max(rule.floor));
        let id = first.endpoint().id;
        let mut one = Box::pin(self.attempt(first));
        let early = match delay {
            None => Some(one.as_mut().await),
            Some(delay) => tokio::select! {
                biased;
                outcome = one.as_mut() => Some(outcome),
                () = line.sleep(delay) => None,
            },
        };
        if let Some(outcome) = early {
            self.learn(&outcome, began.elapsed());
            return (outcome, None);
        }
        let Some((second, _place)) = self.second(id) else {
            let outcome = one.await;
            self.learn(&outcome, began.elapsed());
            return (outcome, None);
        };
        let (other, twin) = (second.endpoint().id, Instant::now());
        let mut two = Box::pin(self.attempt(second));
        tokio::select! {
            biased;
            outcome = one.as_mut() => {
                self.learn(&outcome, began.elapsed());
                if is_good(&outcome) { (outcome, None) } else { (two.await, Some(other)) }
            }
            outcome = two.as_mut() => {
                if is_good(&outcome) {
                    // The first one is given up, and counts as one that takes a little less than the delay.
                    let least = delay.unwrap_or_default().saturating_sub(MILLISECOND);
                    self.gateway.latencies.borrow_mut().observe(least);
                    self.learn(&outcome, twin.elapsed());
                    return (outcome, None);
                }
                let outcome = one.await;
                self.learn(&outcome, began.elapsed());
                (outcome, Some(other))
            }
        }
    }

    fn learn(&self, outcome: &Outcome, took: Duration) {
        if outcome.is_ok_and(|status| !status.is_server_error()) {
            self.gateway.latencies.borrow_mut().observe(took);
        }
    }

    /// `hedge::begin_second`: paid from the budget, and by a place that nobody waits for.
    fn second(&self, first: EndpointId) -> Option<(InFlight, Option<Permit>)> {
        if self.rule.attempts < 2 {
            return None;
        }
        let place = match &self.gateway.gate {
            None => None,
            Some(gate) => Some(gate.try_enter(Kind::named(""), Instant::now())?),
        };
        let picked = self.pool.pick(PickKey::default(), &[first])?;
        let is_other = picked.endpoint().id != first;
        let may = is_other && self.tenant.allowance.withdraw(SLOT, self.rule.fill());
        may.then_some((picked, place))
    }
}

/// `proxy::timing`: how long an attempt takes, where the balancer asks for it; dropped, it was given up.
struct Timing<'t> {
    endpoint: Option<&'t Arc<Endpoint>>,
    began: Instant,
    is_judged: bool,
    has_ended: Cell<bool>,
}

impl<'t> Timing<'t> {
    fn begin(pool: &Pool, endpoint: &'t Arc<Endpoint>, began: Instant) -> Self {
        let endpoint = pool.is_timed().then_some(endpoint);
        let is_judged = pool.spec.eject.failures > 0;
        Self { endpoint, began, is_judged, has_ended: Cell::new(false) }
    }

    fn end(self, verdict: Verdict) {
        self.has_ended.set(true);
        let Some(endpoint) = self.endpoint else { return };
        let now = Instant::now();
        let taken = now.saturating_duration_since(self.began);
        let is_to_blame = match verdict {
            Verdict::Success => false,
            Verdict::Unreachable => true,
            Verdict::Failure | Verdict::Busy if !self.is_judged => true,
            Verdict::Failure | Verdict::Busy => {
                endpoint.failures() >= 2 && !endpoint.fails_one_tenant_alone(now)
            }
        };
        let sample = match verdict {
            _ if is_to_blame => Sample::Took(taken.max(UNANSWERED)),
            Verdict::Success => Sample::Took(taken),
            _ => Sample::MoreThan(taken),
        };
        endpoint.learn(sample, now);
    }
}

impl Drop for Timing<'_> {
    fn drop(&mut self) {
        if let Some(endpoint) = self.endpoint.filter(|_| !self.has_ended.get()) {
            let now = Instant::now();
            endpoint.learn(Sample::MoreThan(now.saturating_duration_since(self.began)), now);
        }
    }
}

fn verdict(outcome: &Outcome) -> Verdict {
    match outcome {
        Ok(status) if status.is_server_error() => Verdict::Failure,
        Ok(_) => Verdict::Success,
        Err(Failure::Connect) => Verdict::Unreachable,
        Err(_) => Verdict::Failure,
    }
}

/// Whether an answer ends the race of two attempts.
fn is_good(outcome: &Outcome) -> bool {
    outcome.is_ok_and(|status| !is_poor(status))
}

/// The pool's number among the tenants' budgets: there is one.
const SLOT: u32 = 0;
/// 250 µs each way: another rack.
const LINK: Duration = Duration::from_micros(250);
const MILLISECOND: Duration = Duration::from_millis(1);
/// As `control/outliers.rs` has them: 100 ms, and 1 s.
const READMIT_INTERVAL: Duration = Duration::from_millis(100);
const TENTHS_PER_LOOK: u64 = 10;
