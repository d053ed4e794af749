//! How a request comes into a pool that has as many requests as it may: at once, after a wait in its
//! tenant's queue, or not at all. Pools without such a limit come here while they are overrun alone.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::base::fair::{Came, Claim, Gate, Handle, Kind, Permit, Waiting};
use crate::model::ids::Label;
use crate::pool::Pool;
use crate::routing::tenant::Tenant;
use crate::telemetry::delta::QueueOutcome;

use super::activity::Activity;
use super::choice::Choice;
use super::error::{Crowd, ExchangeError};
use super::outgoing::Outgoing;
use super::visit::Visit;
use super::worker::Worker;

/// A request's place in a pool, over all of its attempts and to the end of its answer; `None` where
/// nothing limits the pool. Boxed: it lies in what each exchange has.
pub(super) type Place = Option<Box<Permit>>;

/// The worker's handles of gates, by the numbers of their pools.
#[derive(Debug, Default)]
pub(super) struct Gates(RefCell<Vec<Option<Handle>>>);

impl Gates {
    fn handle(&self, pool: u32, gate: &Arc<Gate>) -> Handle {
        let mut handles = self.0.borrow_mut();
        let place = pool as usize;
        if place >= handles.len() {
            handles.resize(place + 1, None);
        }
        match &handles[place] {
            Some(known) if known.leads_to(gate) => known.clone(),
            _ => handles[place].insert(Handle::of(gate)).clone(),
        }
    }

    /// Lets go of those that nobody uses: their pools may be gone.
    pub(super) fn tidy(&self) {
        for handle in self.0.borrow_mut().iter_mut() {
            if handle.as_ref().is_some_and(Handle::is_idle) {
                *handle = None;
            }
        }
    }
}

/// Comes in where there is room and nobody waits. Gives the gate where there is none.
pub(super) fn try_enter(
    worker: &Worker,
    choice: &Choice<'_>,
    gate: &Arc<Gate>,
) -> Result<Place, Comer> {
    let gate = worker.gates.handle(choice.pool.label.slot, gate);
    // Routes are learned apart: one may cost a thousand times what another does.
    let kind = Kind::named(choice.route.map_or("", |route| &route.name));
    match gate.try_enter(kind, worker.clock.recent()) {
        Some(permit) => Ok(Some(Box::new(permit))),
        None => Err(Comer { gate, kind }),
    }
}

/// Has a copy of a request of this route come in, where nobody waits and no more than half of the pool's places
/// are taken: the other half is for those who do not come for nothing.
pub(super) fn try_enter_copy(
    worker: &Worker,
    pool: &Pool,
    gate: &Arc<Gate>,
    route: &str,
) -> Option<Permit> {
    let gate = worker.gates.handle(pool.label.slot, gate);
    gate.try_enter_spare(Kind::named(route), worker.clock.now())
}

/// One that has come to a pool without room.
pub(super) struct Comer {
    gate: Handle,
    kind: Kind,
}

impl Comer {
    /// Waits for its turn, and no longer than the exchange may last.
    ///
    /// # Errors
    /// When too many wait already, or it has waited for too long.
    pub(super) async fn wait(
        self,
        worker: &Worker,
        choice: &Choice<'_>,
        outgoing: &Outgoing<'_>,
        (end, visit): (Option<Instant>, &mut Visit),
    ) -> Result<Place, ExchangeError> {
        let Some(pool) = choice.pool.spec.line() else { return Ok(None) };
        let own = choice.tenant.queue();
        let wait = own.wait.unwrap_or(pool.wait);
        let crowd = |crowd| ExchangeError::Crowded { crowd, retry_after: wait };
        let mut stay = Stay {
            worker,
            tenant: choice.tenant,
            pool: &choice.pool.label,
            visit,
            came: worker.clock.now(),
            outcome: QueueOutcome::Left,
        };
        let until = end.map_or(stay.came + wait, |end| end.min(stay.came + wait));
        let claim = Claim {
            flow: choice.tenant.slot(),
            weight: own.weight,
            class: own.class(choice.route.and_then(|route| route.priority)),
            most: own.length.unwrap_or(pool.length),
            until,
            cost: self.gate.cost(self.kind),
        };
        let permit = match self.gate.come(self.kind, &claim, stay.came) {
            Came::In(permit) => Some(permit),
            Came::Waits(waiting) => {
                // A stream of HTTP/2 that ends is heard of by its connection.
                let is_stream = stay.visit.is_http2();
                let client = outgoing.upload.client().filter(|_| !is_stream);
                turn(waiting, client).await
            }
            Came::Full => {
                stay.outcome = QueueOutcome::Full;
                return Err(crowd(Crowd::Full { length: claim.most }));
            }
        };
        worker.clock.now();
        match permit {
            Some(permit) => {
                stay.outcome = QueueOutcome::Served;
                Ok(Some(Box::new(permit)))
            }
            None => {
                stay.outcome = QueueOutcome::Late;
                Err(crowd(Crowd::Late { waited: stay.waited() }))
            }
        }
    }
}

/// Waits for a turn. While the body of a client is `unread`, nobody would hear that it has left.
async fn turn(waiting: Waiting, unread: Option<Rc<Activity>>) -> Option<Permit> {
    let _watched = unread.map(Watched::begin);
    waiting.turn().await
}

/// A client that is watched while its request waits.
pub(super) struct Watched(Rc<Activity>);

impl Watched {
    pub(super) fn begin(client: Rc<Activity>) -> Self {
        client.watch(true);
        Self(client)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.0.watch(false);
    }
}

/// A request's stay in the queue. Counts how it ends, also when the client leaves and it is dropped.
struct Stay<'s> {
    worker: &'s Worker,
    tenant: &'s Tenant,
    pool: &'s Label,
    visit: &'s mut Visit,
    came: Instant,
    outcome: QueueOutcome,
}

impl Stay<'_> {
    fn waited(&self) -> Duration {
        self.worker.clock.recent().saturating_duration_since(self.came)
    }
}

impl Drop for Stay<'_> {
    fn drop(&mut self) {
        let waited = self.waited();
        self.visit.has_queued(waited);
        let tenant = self.tenant.slot();
        self.worker.meter.queued(self.pool, tenant, self.outcome, waited);
    }
}
