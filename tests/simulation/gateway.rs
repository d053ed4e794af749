//! The gateway's part: an exchange as in `proxy/forward.rs`, and what control does beside it, over endpoints that are queues. All
//! that decides is the code itself: the pool and its balancer, its members, the gate and its limit, the rule, the budget, the
//! breaker, ejection, the comparison of endpoints, and the room of those who wait for one. What lies between, here and in the files that this one uses, is a short form of those of
//! `proxy` that each part names, and is to be held against them.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use tenantry::base::units::ByteSize;
use tenantry::health::outliers::{Found, Watch};
use tenantry::health::passive;
use tenantry::model::address::Address;
use tenantry::model::ids::EndpointId;
use tenantry::pool::Pool;
use tenantry::resilience::adaptive::Limiter;
use tenantry::resilience::allowance::Allowance;
use tenantry::resilience::latencies::Latencies;
use tenantry::resilience::overrun::{self, Look, Step};
use tenantry::resilience::retry::Failure;
use tenantry::resilience::typical::Typical;
use tenantry::telemetry::sightings::Sighting;
use tenantry::telemetry::strains::Strain;

use super::book::{Book, Event};
use super::effort::{Effort, SLOT, verdict};
use super::server::Server;
use super::timeline::Timeline;

/// A pool with its endpoints, and the tenants that share it.
pub(crate) struct Gateway {
    pub(crate) timeline: Rc<Timeline>,
    pub(crate) book: Rc<Book>,
    pub(crate) pool: Pool,
    tenants: Vec<Tenant>,
    /// What came of attempts since control looked at it.
    pub(crate) strain: RefCell<Strain>,
    pub(crate) servers: RefCell<HashMap<Address, Rc<Server>>>,
    pub(crate) sightings: RefCell<HashMap<EndpointId, Sighting>>,
    pub(crate) latencies: RefCell<Latencies>,
    /// What is typical of requests, where late endpoints are gone round.
    pub(crate) typical: RefCell<Typical>,
}

/// One of those that share the pool.
pub(crate) struct Tenant {
    /// Its number.
    pub(crate) slot: u32,
    pub(crate) allowance: Allowance,
}

/// Why a request has no answer of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// The tenant's breaker is open.
    Open,
    /// The pool is full, and so is the tenant's queue, or it waited in that for too long.
    Crowded,
    /// Nobody may be picked.
    NoEndpoint,
    /// The last attempt has failed so.
    Failed(Failure),
}

/// What stays of a request however often it is sent.
pub(crate) struct Visit {
    /// When it came.
    pub(crate) came: Instant,
    /// How often it was sent as a whole.
    sent: Cell<u32>,
    /// Attempts in all.
    pub(crate) attempts: Cell<usize>,
    /// It has waited in vain.
    pub(crate) takes_anybody: Cell<bool>,
}

impl Gateway {
    /// In front of this pool, for so many tenants.
    pub(crate) fn new(timeline: &Rc<Timeline>, book: &Rc<Book>, pool: Pool, tenants: u32) -> Self {
        let tenant = |slot| Tenant { slot, allowance: Allowance::new(ByteSize(0)) };
        Self {
            timeline: Rc::clone(timeline),
            book: Rc::clone(book),
            strain: RefCell::default(),
            pool,
            tenants: (0..tenants).map(tenant).collect(),
            servers: RefCell::default(),
            sightings: RefCell::default(),
            latencies: RefCell::default(),
            typical: RefCell::default(),
        }
    }

    /// What listens at an address from now on.
    pub(crate) fn serve(&self, address: Address, server: Rc<Server>) {
        self.servers.borrow_mut().insert(address, server);
    }

    /// What control does all the time: `control/outliers.rs`, `control/overruns.rs` and `control/adaptive.rs`.
    pub(crate) async fn watch(self: Rc<Self>) {
        let (members, spec) = (&self.pool.members, &self.pool.spec.eject);
        let mut watch = Watch::begin(spec, Instant::now());
        let mut limiter = Limiter::new(Instant::now());
        let mut overruns = overrun::Watch::new();
        for tenth in 1_u64.. {
            self.timeline.sleep(READMIT_INTERVAL).await;
            self.adjust(&mut limiter);
            for (endpoint, _) in passive::release(members, spec) {
                self.book.note(Event::Ejects(endpoint.id.0));
            }
            members.tick();
            self.pool.prepare();
            if tenth.is_multiple_of(TENTHS_PER_LOOK) {
                self.bound(&mut overruns);
                let mut seen = self.sightings.take();
                let breaker = self.pool.spec.breaker.filter(|_| spec.failures > 0);
                let allowed =
                    breaker.map(|breaker| (breaker.failures, u64::from(breaker.requests)));
                for found in watch.look(members, (spec, allowed), &mut seen, Instant::now()) {
                    if let Found::Ejected(endpoint, _) = found {
                        self.book.note(Event::Ejects(endpoint.id.0));
                    }
                }
            }
        }
    }

    /// `Overruns::look`.
    fn bound(&self, watch: &mut overrun::Watch) {
        let (strain, overrun) = (self.strain.take(), self.pool.overrun.as_ref());
        let Some(overrun) = overrun else { return };
        match watch.look(&Look::of(&strain, overrun.queued())) {
            Step::Stays => {}
            Step::Binds(limit) => {
                self.book.note(Event::Binds);
                overrun.bind(limit);
            }
            Step::Moves(limit) => overrun.bind(limit),
            Step::Frees | Step::GivesUp => overrun.free(),
        }
        overrun.excuse(watch.excuses());
    }

    /// `Limiters::adjust`.
    fn adjust(&self, limiter: &mut Limiter) {
        let Some((gate, (spec, times))) = self.pool.gate.as_ref().zip(self.pool.adaptive()) else {
            return;
        };
        let state = gate.state();
        let Some(limit) = state.limit else { return };
        let mut seen = times.take();
        seen.sees(state.inside);
        let next = limiter.step(&spec, limit, &seen, Instant::now());
        gate.move_limit(limit, next);
    }

    /// Sends a request of a tenant until an endpoint answers, or has it wait for one.
    ///
    /// # Errors
    /// Why none has.
    pub(crate) async fn exchange(&self, tenant: usize) -> Result<StatusCode, Lost> {
        self.book.note(Event::Asks);
        let tenant = &self.tenants[tenant];
        let visit = Visit::begin();
        let answered = match self.send(tenant, &visit).await {
            Err(lost) => self.again(tenant, &visit, lost).await,
            sent => sent,
        };
        if matches!(answered, Err(Lost::Open | Lost::Crowded | Lost::NoEndpoint)) {
            self.book.note(Event::Refuses(visit.came));
        }
        answered
    }

    /// `forward::send`.
    pub(crate) async fn send(&self, tenant: &Tenant, visit: &Visit) -> Result<StatusCode, Lost> {
        let effort = Effort::of(self, tenant, visit.came);
        let on_trial = effort.enter()?;
        let mut place = effort.come().await?;
        let began = Instant::now();
        if visit.sent.replace(visit.sent.get() + 1) == 0 {
            tenant.allowance.deposit(SLOT, effort.rule.fill());
        }
        let mut tried: Vec<EndpointId> = Vec::new(); // and failed
        let mut last = None;
        let answered = loop {
            let picked = effort.pick(&tried, last).or_else(|| effort.pick_at_last(&tried, visit));
            let picked = picked.ok_or(Lost::NoEndpoint)?;
            visit.attempts.set(visit.attempts.get() + 1);
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
        answered.map_err(Lost::Failed)
    }
}

impl Visit {
    fn begin() -> Self {
        Self {
            came: Instant::now(),
            sent: Cell::default(),
            attempts: Cell::default(),
            takes_anybody: Cell::default(),
        }
    }
}

/// As `control/outliers.rs` has them: 100 ms, and 1 s.
const READMIT_INTERVAL: Duration = Duration::from_millis(100);
const TENTHS_PER_LOOK: u64 = 10;
