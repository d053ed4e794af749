//! A request of a tenant that has limits: whether it may go on, and when. Called where there are
//! some; all others pay one look at a bit for it.

use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::{Instant, timeout_at};

use crate::base::memory::Refused as Short;
use crate::base::network::owner;
use crate::base::purse::Paid;
use crate::config::spec::LimitsSpec;
use crate::limits::admission::{self, Asker, Entered, OF_ROUTE, OF_TENANT, Place, Room, Scope};
use crate::limits::fleet::Whose;
use crate::limits::ledger::Ledger;
use crate::limits::limit::Limit;
use crate::limits::pacer::{Pacer, Way};
use crate::limits::told::Told;
use crate::routing::action::Action;
use crate::routing::route::{Route, RouteLimits};
use crate::routing::tenant::Tenant;

use super::authorize::{self, Question};
use super::budget;
use super::choice::Choice;
use super::connection::Peer;
use super::error::ExchangeError;
use super::reply::Reply;
use super::together;
use super::visit::Visit;
use super::worker::Worker;

/// What an exchange holds of the limits until it has ended.
#[derive(Debug, Default)]
pub(super) struct Pass {
    /// Its places among those that may be under way at once.
    permits: Vec<Place>,
    /// What its answer tells.
    told: Told,
    /// Has its bodies keep to their rates, where there are some.
    pub(super) upload: Option<Box<Pacer>>,
    pub(super) download: Option<Box<Pacer>>,
    /// It goes to any endpoint: none has come for which it waited.
    pub(super) anybody: bool,
    /// It is sent anew, after a wait for an endpoint.
    pub(super) again: bool,
}

/// Lets a request go on once the limits of its tenant and its route have room for it. It waits no
/// longer than until the exchange must have ended. Where a service is to be asked for it, that comes between the
/// limits in a time, which bound how often it is asked, and those at once, where nobody needs a place who may not
/// go on; its answer is given where it is the client's.
///
/// # Errors
/// When one of them has none, or none in time, or the service does not let it go on.
pub(super) async fn admit(
    worker: &Worker,
    peer: &Peer,
    (tenant, route): (&Tenant, Option<&Route>),
    (end, question): (Option<Instant>, Option<Question<'_>>),
    visit: &mut Visit,
) -> Result<Option<Box<Reply>>, ExchangeError> {
    let shared = &worker.limits;
    let of_route = route.and_then(|route| route.limits.as_deref());
    let of_route = of_route.filter(|limits| limits.count);
    let of_tenant = tenant.counted_limits();
    if of_route.is_none() && of_tenant.is_none() {
        // Another route has some, or they are of bodies alone.
        return authorize::ask(question, worker, peer, visit).await;
    }
    let ledger = Arc::clone(tenant.ledger(shared));
    let (of_route, of_tenant) = scopes(&ledger, tenant.id(), of_route, of_tenant);
    let both = of_route.zip(of_tenant).map(|(route, tenant)| [route, tenant]);
    let one = of_route.or(of_tenant);
    let scopes = both.as_ref().map_or(one.as_slice(), |both| both.as_slice()); // the closest first
    let mut begun = worker.clock.recent(); // the head has just been read
    let left_at = |now| end.map_or(Duration::MAX, |end| end.saturating_duration_since(now));
    let mut left = left_at(begun);
    let asker = Asker { client: visit.client().map(owner), caller: visit.caller() };
    let mut slots = admission::take(shared, scopes, asker, (shared.ticks(begun), left))?;
    let mut dues = admission::dues(shared, scopes, asker);
    let rooms = admission::rooms(shared, scopes, asker);
    match question.is_some() {
        // Who may not go on keeps none of it from others meanwhile.
        true => admission::look(&dues)?,
        false => admission::spend(&mut dues)?,
    }
    // Who waits for an answer of the gateway itself keeps no endpoint from anything.
    let is_local = |route: &Route| matches!(route.action, Action::Redirect(_) | Action::Respond(_));
    let whom = (peer, (!route.is_some_and(is_local)).then(|| tenant.slot()));
    if let Some((limit, until)) = slots.wait() {
        let _patience = Patience::begin(worker, whom, limit)?;
        tokio::time::sleep(until.duration().saturating_sub(shared.ticks(begun).duration())).await;
        slots.arrive();
    }
    if slots.are_due()
        && let Err(full) = slots.settle(shared.ticks(worker.clock.now()))
    {
        Box::pin(together::wait((worker, whom), &mut slots, full, (begun, left))).await?;
    }
    if question.is_some() {
        slots.count(); // whatever the service says, or who leaves before it does
        if let Some(denied) = authorize::ask(question, worker, peer, visit).await? {
            return Ok(Some(denied));
        }
        admission::spend(&mut dues)?;
        begun = worker.clock.now(); // who was asked has had its own time
        left = left_at(begun);
    }
    let permits = enter(&rooms, (worker, whom), (begun, left)).await?;
    // Who has waited has read the clock at the end of that.
    let mut told = slots.go(shared.ticks(worker.clock.recent()));
    rooms.iter().for_each(|room| room.tell(&mut told));
    admission::go(dues, &mut told);
    let pacer = |way| {
        let flows = scopes.iter().filter_map(|scope| scope.flow(way)).collect();
        Pacer::new(shared, way, flows)
    };
    let (upload, download) = (pacer(Way::Upload), pacer(Way::Download));
    visit.hold(Pass { permits, told, upload, download, anybody: false, again: false });
    Ok(None)
}

/// What limits there are, of the route and of the tenant.
fn scopes<'s>(
    ledger: &'s Ledger,
    tenant: &'s str,
    of_route: Option<&'s RouteLimits>,
    of_tenant: Option<&'s LimitsSpec>,
) -> (Option<Scope<'s>>, Option<Scope<'s>>) {
    let of_route = of_route.map(|limits| {
        let (cell, spec) = (ledger.route(limits.key), &limits.spec);
        let whose = Whose { tenant, route: Some(limits.key) };
        Scope { cell, spec, names: OF_ROUTE, whose }
    });
    let of_tenant = of_tenant.map(|spec| {
        let whose = Whose { tenant, route: None };
        Scope { cell: ledger.own(), spec, names: OF_TENANT, whose }
    });
    (of_route, of_tenant)
}

/// How large the body of a request may be where its tenant has limits, or one of its routes has, and which limit
/// says so: the route's before the tenant's, before what the gateway has.
#[cold]
#[inline(never)]
pub(super) fn largest_body(choice: &Choice<'_>, gateway: u64) -> (u64, Option<Limit>) {
    let of_route = choice.route.and_then(|route| route.limits.as_deref()?.spec.max_body);
    let of_tenant = choice.tenant.limits().and_then(|limits| limits.max_body);
    match (of_route, of_tenant) {
        (Some(size), _) => (size.0, Some(Limit::RouteBody)),
        (None, Some(size)) => (size.0, Some(Limit::TenantBody)),
        (None, None) => (gateway, None),
    }
}

/// Takes its place among those that may be under way at once, in each that has so many.
async fn enter(
    rooms: &[Room<'_>],
    (worker, whom): (&Worker, Whom<'_>),
    (begun, left): (Instant, Duration),
) -> Result<Vec<Place>, ExchangeError> {
    let mut permits = Vec::with_capacity(rooms.len());
    for room in rooms {
        match room.enter() {
            Entered::Inside(place) => permits.push(place),
            Entered::Full => return Err(room.full().into()),
            Entered::Waits(line) => {
                let _patience = Patience::begin(worker, whom, room.limit)?;
                let until = begun + room.overflow.longest().min(left);
                let turn = timeout_at(until, line.turn()).await;
                permits.push(turn.map_err(|_| room.full())?);
            }
        }
    }
    Ok(permits)
}

/// Who waits, and the place of the tenant whose endpoints it keeps from nothing meanwhile.
pub(super) type Whom<'p> = (&'p Peer, Option<u32>);

/// A request waits: it is counted, takes memory, and its client is watched, so that the place of one
/// that leaves is free at once.
pub(super) struct Patience<'p> {
    worker: &'p Worker,
    peer: &'p Peer,
    tenant: Option<u32>,
    since: Instant,
    _paid: Paid,
}

impl<'p> Patience<'p> {
    pub(super) fn begin(
        worker: &'p Worker,
        (peer, tenant): Whom<'p>,
        limit: Limit,
    ) -> Result<Self, ExchangeError> {
        let paid = peer.purse().begin(Short::Request, budget::WAITING)?;
        worker.meter.limit_waited(limit.as_str());
        peer.activity.watch(true);
        Ok(Self { worker, peer, tenant, since: worker.clock.now(), _paid: paid })
    }
}

impl Drop for Patience<'_> {
    fn drop(&mut self) {
        self.peer.activity.watch(false);
        let now = self.worker.clock.now(); // also for what follows the wait
        if let Some(tenant) = self.tenant {
            self.worker.meter.held_back(tenant, now.saturating_duration_since(self.since));
        }
    }
}

impl Pass {
    /// Leaves the places among those that are under way: the endpoint's part is done, or given up.
    pub(super) fn leave(&mut self) {
        self.permits.clear();
    }

    /// What the answer tells, where it does.
    pub(super) fn take_told(&mut self) -> Option<Told> {
        let told = std::mem::take(&mut self.told);
        (!told.is_empty()).then_some(told)
    }
}

/// Tells of limits, beside what an endpoint may tell of its own.
pub(super) fn tell(told: &Told, headers: &mut HeaderMap) {
    for (name, value) in [(POLICY, &told.policy), (STATE, &told.state)] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.append(name, value);
        }
    }
}

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATE: HeaderName = HeaderName::from_static("ratelimit");
