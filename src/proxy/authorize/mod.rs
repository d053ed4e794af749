//! Asks a service whether a request may go on, for tenants that say so: everything here is out of line. What it says
//! of one that may is used again for others like it, where that is wished.

mod call;
mod question;
mod verdict;
mod verdicts;

use std::rc::Rc;
use std::time::Duration;

use http::request::Parts;
use tokio::time::{Instant, timeout_at};

use crate::auth::Refusal;
use crate::base::memory::Refused;
use crate::base::purse::Paid;
use crate::config::spec::OnError;
use crate::model::caller::{Caller, Proof};
use crate::routing::authorizer::Authorizer;
use crate::routing::table::Table;
use crate::routing::tenant::Tenant;

use super::apart::Apart;
use super::budget;
use super::connection::Peer;
use super::error::ExchangeError;
use super::reply::Reply;
use super::visit::Visit;
use super::worker::Worker;

use call::Time;
use question::Key;
use verdict::{Fault, Grant, Verdict};
use verdicts::{Found, Lead};

pub(super) use verdicts::Verdicts;

/// A request for which a service is to be asked.
#[derive(Clone, Copy)]
pub(super) struct Question<'q> {
    pub(super) tenant: &'q Tenant,
    pub(super) table: &'q Table,
    pub(super) head: &'q Parts,
    /// When the exchange must have ended.
    pub(super) end: Option<Instant>,
    /// Whether it is to go to an endpoint.
    pub(super) forwarded: bool,
}

/// Asks the service that is to be asked, if one is. Gives the client's answer where that is the service's.
///
/// # Errors
/// When the request is not let in, or nobody can be asked.
pub(super) async fn ask(
    question: Option<Question<'_>>,
    worker: &Worker,
    peer: &Peer,
    visit: &mut Visit,
) -> Result<Option<Box<Reply>>, ExchangeError> {
    match question {
        // In a box of its own: most who come here have limits, and ask nobody.
        Some(question) => Box::pin(question.ask(worker, peer, visit)).await,
        None => Ok(None),
    }
}

/// Takes away of a request for which a service was asked what only looks like what it was shown.
pub(super) fn clean(table: &Table, tenant: &Tenant, head: &mut Parts) {
    let name = tenant.access().and_then(|access| access.authorize.as_deref());
    if let Some(authorizer) = name.and_then(|name| table.authorizer(name)) {
        question::clean(authorizer, &mut head.headers);
    }
}

impl Question<'_> {
    async fn ask(
        self,
        worker: &Worker,
        peer: &Peer,
        visit: &mut Visit,
    ) -> Result<Option<Box<Reply>>, ExchangeError> {
        let Self { tenant, table, .. } = self;
        let Some(name) = tenant.access().and_then(|access| access.authorize.as_deref()) else {
            return Ok(None);
        };
        let Some(authorizer) = table.authorizer(name) else {
            self.note("error", Duration::ZERO, worker, visit);
            return Err(ExchangeError::Unauthorizable(Fault::NoEndpoint.told()));
        };
        let asked = question::head(authorizer, peer, (tenant, table), self.head, visit)?;
        let key = (!authorizer.spec.cache.is_zero()).then(|| {
            let subject = visit.caller().and_then(Caller::subject).unwrap_or_default();
            Key::of(authorizer, (tenant, subject), &asked)
        });
        let known = key.as_ref().and_then(|key| worker.verdicts.known(key, Instant::now()));
        if let Some(grant) = known {
            self.note("cached", Duration::ZERO, worker, visit);
            introduce(&grant, visit);
            return Ok(None);
        }
        let (pool, slot) = (&*authorizer.pool, self.tenant.slot());
        let apart = pool.spec.keeps_apart().then(|| Apart::of(peer, (pool, slot), visit));
        let wait = Wait::begin(worker, peer, self)?;
        let (verdict, result) = self.find(worker, authorizer, key, (asked, apart)).await;
        self.note(result, wait.began.elapsed(), worker, visit);
        drop(wait);
        visit.held_up();
        match verdict {
            Verdict::Allowed(grant, _) => {
                introduce(&grant, visit);
                Ok(None)
            }
            Verdict::OtherTenant => {
                visit.count_refusal(Refusal::OtherTenant.reason());
                Err(Refusal::OtherTenant.into())
            }
            Verdict::Denied(answer) => Ok(Some(Box::new(answer.reply()))),
            Verdict::Failed(Fault::Request(why)) => Err(ExchangeError::BadRequest(why)),
            Verdict::Failed(Fault::Crowded) => Err(ExchangeError::AuthorizerBusy),
            Verdict::Failed(fault) => {
                if worker.lines.admits() {
                    let (authorizer, tenant) = (&*authorizer.spec.name, tenant.id());
                    tracing::warn!(
                        authorizer, tenant, %fault, "a service cannot be asked whether a request may go on"
                    );
                }
                match authorizer.spec.on_error {
                    OnError::Allow if fault.is_silence() => Ok(None),
                    OnError::Allow | OnError::Deny => {
                        Err(ExchangeError::Unauthorizable(fault.told()))
                    }
                }
            }
        }
    }

    /// Counts what came of it, and after what time.
    fn note(self, result: &'static str, took: Duration, worker: &Worker, visit: &mut Visit) {
        worker.meter.authorized(result, took);
        visit.trail(|trail| trail.authorized(result));
    }

    /// What is left of its time, and whether that is as long as the service may take.
    fn time(self, longest: Duration) -> Time {
        let own = Instant::now() + longest;
        let until = self.end.map_or(own, |end| end.min(own));
        Time { until, whole: until == own }
    }

    /// What is known of requests like it, by their `key`, or what the service says; with the metric's word for it.
    async fn find(
        self,
        worker: &Worker,
        authorizer: &Authorizer,
        key: Option<Key>,
        (mut asked, apart): (Parts, Option<Box<Apart>>),
    ) -> (Verdict, &'static str) {
        let (spec, tenant) = (&authorizer.spec, self.tenant);
        let mut lead = None;
        if let Some(key) = &key {
            match shared(worker, key, self.time(spec.timeout).until).await {
                Ok(grant) => return (Verdict::Allowed(grant, Duration::ZERO), "cached"),
                Err(own) => lead = own,
            }
        }
        let Some(_place) = worker.verdicts.enter(tenant.slot()) else {
            return (Verdict::Failed(Fault::Crowded), "error");
        };
        // From now on: a wait for what another hears was no time of the service's.
        let (whose, time) = ((tenant.slot(), apart.as_deref()), self.time(spec.timeout));
        let called = call::call(worker, authorizer, whose, &mut asked, time).await;
        let verdict = match called {
            Ok(answer) => verdict::judge(answer, spec, tenant.id()),
            Err(fault) => Verdict::Failed(fault),
        };
        if let (Some(key), Verdict::Allowed(grant, lasts)) = (&key, &verdict)
            && !lasts.is_zero()
        {
            worker.verdicts.keep(key, tenant.slot(), grant, Instant::now() + *lasts);
            if let Some(lead) = lead {
                lead.tell(grant);
            }
        }
        let result = verdict.result();
        (verdict, result)
    }
}

/// What is said of a request like this to somebody else who asks for one. Who hears nothing that way asks for itself, and
/// for others where nobody does yet.
async fn shared<'w>(
    worker: &'w Worker,
    key: &Key,
    until: Instant,
) -> Result<Rc<Grant>, Option<Lead<'w>>> {
    let mut flight = match worker.verdicts.find(key, Instant::now()) {
        Found::Known(grant) => return Ok(grant),
        Found::Nobody(lead) => return Err(Some(lead)),
        Found::Asked(flight) => flight,
    };
    let heard = timeout_at(until, flight.wait_for(Option::is_some)).await;
    let grant = heard.ok().and_then(|heard| heard.ok()?.clone());
    grant.ok_or(None)
}

/// Notes what is said of the client. Who it is stays what the gateway has proven, where it has.
fn introduce(grant: &Grant, visit: &mut Visit) {
    let told = grant.told.iter().cloned();
    visit.note(|record| match &mut record.caller {
        Some(caller) => caller.told = caller.told.iter().cloned().chain(told).collect(),
        none => {
            let subject = grant.subject.clone().unwrap_or_default();
            *none =
                Some(Box::new(Caller { subject, proof: Proof::Authorizer, told: told.collect() }));
        }
    });
}

/// A request waits: it takes memory, its client is watched, so that a question whose client has left is given up, and its
/// time is no endpoint's.
struct Wait<'w> {
    worker: &'w Worker,
    peer: &'w Peer,
    /// Whose time it is, where an endpoint's would be counted.
    tenant: Option<u32>,
    began: Instant,
    _paid: Paid,
}

impl<'w> Wait<'w> {
    fn begin(
        worker: &'w Worker,
        peer: &'w Peer,
        question: Question<'_>,
    ) -> Result<Self, ExchangeError> {
        let paid = peer.purse().begin(Refused::Request, budget::WAITING)?;
        peer.activity.watch(true);
        let tenant = question.forwarded.then(|| question.tenant.slot());
        Ok(Self { worker, peer, tenant, began: Instant::now(), _paid: paid })
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.peer.activity.watch(false);
        let waited = self.worker.clock.now().saturating_duration_since(self.began);
        if let Some(tenant) = self.tenant {
            self.worker.meter.held_back(tenant, waited);
        }
    }
}
