//! Whether a request may go on, by all the limits that apply to it: those of its client first, then its
//! subject's, then the route's, then the tenant's, so that who is refused by the closer one takes nothing of the
//! wider. What was taken of some is given back where another refuses.

mod at_once;
mod spending;
mod together;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::config::spec::{EachLimitSpec, LimitFields, LimitScope, LimitsSpec, Overflow, RateSpec};
use crate::model::caller::{Caller, Proof};

use super::Shared;
use super::clients::{self, Clients, Key};
use super::fleet::Whose;
use super::gcra::{Grant, Later, Pace, Ticks};
use super::ledger::Cell;
use super::limit::Limit;
use super::pacer::Way;
use super::told::{Told, seconds};

use together::{Turn, Undecided};

pub use at_once::{Entered, Line, Place, Room, rooms};
pub use spending::{Due, dues, go, look, spend};
pub use together::Full;

/// Limits that apply to a request: a tenant's, or a route's.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'s> {
    /// What is counted.
    pub cell: &'s Arc<Cell>,
    /// What is allowed.
    pub spec: &'s LimitsSpec,
    /// Which limits these are.
    pub names: Names,
    /// Whose they are.
    pub whose: Whose<'s>,
}

/// Which limits those of a scope are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names {
    /// Requests in a time.
    pub requests: Limit,
    /// Those of a client.
    pub client: Limit,
    /// Those of a subject.
    pub subject: Limit,
    /// Requests at once.
    pub concurrency: Limit,
    /// Those of a client.
    pub client_concurrency: Limit,
    /// Those of a subject.
    pub subject_concurrency: Limit,
    /// Requests in a day or a month.
    pub quota: Limit,
    /// Those of a subject.
    pub subject_quota: Limit,
}

/// Those of a tenant.
pub const OF_TENANT: Names = Names {
    requests: Limit::Tenant,
    client: Limit::Client,
    subject: Limit::Subject,
    concurrency: Limit::TenantConcurrency,
    client_concurrency: Limit::ClientConcurrency,
    subject_concurrency: Limit::SubjectConcurrency,
    quota: Limit::TenantQuota,
    subject_quota: Limit::SubjectQuota,
};
/// Those of a route.
pub const OF_ROUTE: Names = Names {
    requests: Limit::Route,
    client: Limit::RouteClient,
    subject: Limit::RouteSubject,
    concurrency: Limit::RouteConcurrency,
    client_concurrency: Limit::RouteClientConcurrency,
    subject_concurrency: Limit::RouteSubjectConcurrency,
    quota: Limit::RouteQuota,
    subject_quota: Limit::RouteSubjectQuota,
};

/// Who asks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asker<'c> {
    /// Its address; `None` = it has none, and is no client.
    pub client: Option<u128>,
    /// Who it is, where that is proven: all who have proven nothing are one subject.
    pub caller: Option<&'c Caller>,
}

/// A request that was refused.
#[derive(Debug, thiserror::Error)]
#[error("the limit {:?} allows {allows}; come again in {} s", .limit.as_str(), seconds(*.retry_after))]
pub struct Refused {
    /// By which limit.
    pub limit: Limit,
    /// What that allows, in words.
    pub allows: String,
    /// When to come again.
    pub retry_after: Duration,
    /// What the answer tells besides.
    pub told: Told,
}

/// Slots of limits in a time that a request has taken. Where it does not go on they are given back.
#[derive(Debug)]
pub struct Slots<'s> {
    shared: &'s Shared,
    taken: Vec<Taken<'s>>,
    went: bool,
}

#[derive(Debug)]
struct Taken<'s> {
    rule: Rule<'s>,
    grant: Grant,
    waiting: Option<Waiting<'s>>,
    /// Where gateways share it.
    turn: Turn,
    undecided: Option<Undecided<'s>>,
}

/// One limit in a time that applies to a request.
#[derive(Clone, Copy, Debug)]
struct Rule<'s> {
    limit: Limit,
    rate: &'s RateSpec,
    overflow: Overflow,
    tells: bool,
    scope: LimitScope,
    whose: Whose<'s>,
    cell: &'s Arc<Cell>,
    /// Whose it is, where each client or each subject has its own, and where that is counted.
    each: Option<(&'s Clients, Key)>,
    /// Those that wait for slots of it.
    waiting: &'s AtomicU32,
}

/// Somebody who waits for its slot.
#[derive(Debug)]
pub struct Waiting<'s>(&'s AtomicU32);

/// Takes a slot of each limit in a time that applies. A request of somebody without an address, who
/// is on a Unix socket, is no client's; one without a proof of who has sent it is of the subject that all
/// of those are.
///
/// # Errors
/// When one of them would have it wait longer than it may, or than the request has `left`.
pub fn take<'s>(
    shared: &'s Shared,
    scopes: &[Scope<'s>],
    asker: Asker<'_>,
    (now, left): (Ticks, Duration),
) -> Result<Slots<'s>, Box<Refused>> {
    let of_clients = scopes.iter().filter_map(|scope| scope.of_client(shared, asker.client?));
    let of_subjects = scopes.iter().filter_map(|scope| scope.of_subject(shared, asker.caller));
    let rules = of_clients.chain(of_subjects).chain(scopes.iter().filter_map(Scope::of_all));
    // Of a client, of a subject and of all.
    let mut slots = Slots { shared, taken: Vec::with_capacity(scopes.len() * 3), went: false };
    for rule in rules {
        let taken = slots.take(rule, (now, left))?;
        slots.taken.push(taken);
    }
    Ok(slots)
}

impl<'s> Scope<'s> {
    /// What is counted of bodies that go this way, and their rate; `None` where they go as they like.
    pub fn flow(&self, way: Way) -> Option<(Arc<Cell>, u64)> {
        let rate = match way {
            Way::Upload => self.spec.upload,
            Way::Download => self.spec.download,
        };
        Some((Arc::clone(self.cell), rate?.0))
    }

    fn of_client(&self, shared: &'s Shared, client: u128) -> Option<Rule<'s>> {
        let spec = self.spec.client.as_ref().filter(|spec| spec.requests.is_some())?;
        let key = Key::of(self.cell.identity, client_hash(shared, self.cell, client));
        let whose = (&shared.clients, key);
        self.each((self.names.client, spec), whose, &self.cell.clients_waiting)
    }

    fn of_subject(&self, shared: &'s Shared, caller: Option<&Caller>) -> Option<Rule<'s>> {
        let spec = self.spec.subject.as_ref().filter(|spec| spec.requests.is_some())?;
        let subject = caller.map(|caller| (caller.proof, &*caller.subject));
        let whose = (&shared.subjects, subject_key(shared, self.cell, subject));
        self.each((self.names.subject, spec), whose, &self.cell.subjects_waiting)
    }

    fn of_all(&self) -> Option<Rule<'s>> {
        let rate = self.spec.requests.as_ref()?;
        Some(self.rule(self.names.requests, (rate, self.spec.overflow()), &self.cell.waiting))
    }

    fn each(
        &self,
        (limit, spec): (Limit, &'s EachLimitSpec),
        whose: (&'s Clients, Key),
        waiting: &'s AtomicU32,
    ) -> Option<Rule<'s>> {
        let all = self.rule(limit, (spec.requests.as_ref()?, spec.overflow()), waiting);
        Some(Rule { scope: LimitScope::Gateway, each: Some(whose), ..all })
    }

    fn rule(
        &self,
        limit: Limit,
        (rate, overflow): (&'s RateSpec, Overflow),
        waiting: &'s AtomicU32,
    ) -> Rule<'s> {
        let tells = self.spec.fields == LimitFields::Always;
        let (scope, whose, cell) = (self.spec.scope, self.whose, self.cell);
        Rule { limit, rate, overflow, tells, scope, whose, cell, each: None, waiting }
    }
}

/// A client of these limits.
fn client_hash(shared: &Shared, cell: &Cell, client: u128) -> u64 {
    shared.hash((cell.identity, client))
}

/// A subject of these limits. Kinds of credentials are apart: what a token says that somebody is takes nothing from the
/// key of that name, and what one issuer says nothing from what another one does (RFC 7519 §4.1.2).
pub(super) fn subject_hash(shared: &Shared, cell: &Cell, subject: Option<(Proof, &str)>) -> u64 {
    let subject = subject.map(|(proof, subject)| (proof.as_str(), proof.issuer(), subject));
    shared.hash((cell.identity, subject))
}

/// The place of a subject among those that are counted for these limits.
pub(super) fn subject_key(shared: &Shared, cell: &Cell, subject: Option<(Proof, &str)>) -> Key {
    Key::of(cell.identity, subject_hash(shared, cell, subject))
}

impl<'s> Slots<'s> {
    /// The limit that has the request wait, and until when; `None` where it may go at once.
    pub fn wait(&self) -> Option<(Limit, Ticks)> {
        let waits = self.taken.iter().filter(|taken| taken.waiting.is_some());
        let last = waits.max_by_key(|taken| taken.rule.at(taken.grant.at));
        last.map(|taken| (taken.rule.limit, taken.rule.at(taken.grant.at)))
    }

    /// The wait is over.
    pub fn arrive(&mut self) {
        for taken in &mut self.taken {
            taken.waiting = None;
            taken.turn.wait();
        }
    }

    /// The slots are used, whatever becomes of the request.
    pub fn count(&mut self) {
        self.went = true;
    }

    /// The request goes on. What its answer tells of the limits.
    pub fn go(mut self, now: Ticks) -> Told {
        self.went = true;
        let mut told = Told::default();
        for taken in self.taken.iter().filter(|taken| taken.rule.tells) {
            taken.rule.tell(taken.word(), now, &mut told);
        }
        told
    }

    fn take(
        &self,
        rule: Rule<'s>,
        (now, left): (Ticks, Duration),
    ) -> Result<Taken<'s>, Box<Refused>> {
        let is_shared = rule.scope == LimitScope::Shared;
        let undecided = is_shared.then(|| Undecided::enter(&rule.cell.undecided));
        let longest = Ticks::of(rule.overflow.longest().min(left));
        let took = match rule.each {
            None => rule.cell.meter.take(rule.pace(), now, longest),
            Some((all, key)) => all.take(key, rule.pace(), rule.now(now), clients::micros(longest)),
        };
        let grant = took.map_err(|Later(later)| {
            rule.tell_of_use(self.shared);
            rule.refused(later)
        })?;
        let turn = if is_shared { Turn::Due } else { Turn::Own };
        if grant.at <= rule.now(now) {
            return Ok(Taken { rule, grant, waiting: None, turn, undecided });
        }
        match Waiting::enter(rule.waiting, rule.overflow.most()) {
            Some(waiting) => Ok(Taken { rule, grant, waiting: Some(waiting), turn, undecided }),
            None => {
                rule.give_back(grant, now);
                Err(rule.refused(grant.at - rule.now(now)))
            }
        }
    }
}

impl Drop for Slots<'_> {
    fn drop(&mut self) {
        if self.went {
            return;
        }
        let now = self.shared.now();
        for taken in &self.taken {
            taken.rule.give_back(taken.grant, now);
            taken.put_back();
        }
    }
}

impl<'s> Rule<'s> {
    fn pace(&self) -> Pace {
        match self.each {
            None => Pace::of(self.rate),
            Some(_) => clients::pace(self.rate),
        }
    }

    /// A time in the unit of what is counted.
    fn now(&self, now: Ticks) -> u64 {
        if self.each.is_some() { clients::micros(now) } else { now.0 }
    }

    /// The reverse.
    fn at(&self, at: u64) -> Ticks {
        if self.each.is_some() { clients::ticks(at) } else { Ticks(at) }
    }

    fn give_back(&self, grant: Grant, now: Ticks) {
        match self.each {
            None => self.cell.meter.give_back(self.pace(), grant, now),
            Some((all, key)) => all.give_back(key, self.pace(), grant, self.now(now)),
        }
    }

    fn refused(&self, later: u64) -> Box<Refused> {
        let retry_after = self.at(later).duration();
        let mut told = Told::default();
        told.rate(self.limit, self.rate, (0, retry_after));
        let allows = format!("{}, {} at once", self.rate.rate, self.rate.burst);
        Box::new(Refused { limit: self.limit, allows, retry_after, told })
    }

    fn tell(&self, word: u64, now: Ticks, told: &mut Told) {
        let (pace, now) = (self.pace(), self.now(now));
        let reset = self.at(pace.reset(word, now)).duration();
        told.rate(self.limit, self.rate, (pace.remaining(word, now), reset));
    }
}

impl<'s> Waiting<'s> {
    fn enter(count: &'s AtomicU32, most: u32) -> Option<Self> {
        let more = |waiting| (waiting < most).then(|| waiting + 1);
        count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok().map(|_| Self(count))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
