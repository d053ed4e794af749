//! Copies of requests for another pool, whose answers are thrown away. Everything here is out of line: a route
//! without a mirror pays one branch.
//!
//! **Invariants:** a request waits for nothing that is done here, and whatever becomes of its copy changes
//! nothing for it. A copy is sent once its body has come whole, so that no endpoint sees a part of one. It is
//! tried once, spends no budget, ejects no endpoint by what that answers, is in no log and in no tenant's
//! figures; and it is the first thing for which there is no memory, and that is given up where the process drains.
//! What it takes counts until nobody would send it any more, also after its answer.

mod copying;
mod head;
mod kept;
mod places;
mod sending;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use crate::http1::room::AnswerHead;
use crate::model::ids::Label;
use crate::routing::mirror::Mirror;
use crate::telemetry::meter::Meter;
use crate::telemetry::mirrors::Seen;

use super::answer::Lease;
use super::choice::Choice;
use super::connection::Peer;
use super::error::ExchangeError;
use super::outgoing::Outgoing;
use super::visit::Visit;
use super::waiting::{self, Since};
use super::worker::Worker;

pub(super) use copying::Copying;
pub(super) use kept::Kept;
pub(super) use places::Mirrors;

/// Forwards a request as any other, and has it copied.
///
/// # Errors
/// As [`waiting::send`].
pub(super) async fn send(
    worker: &Rc<Worker>,
    peer: &Peer,
    (choice, mirror): (&Choice<'_>, &Mirror),
    outgoing: &mut Outgoing<'_>,
    visit: &mut Visit,
) -> Result<(AnswerHead, Box<Lease>), ExchangeError> {
    // In a box: it is large beside what other requests have.
    Box::pin(send_copied(worker, peer, (choice, mirror), outgoing, visit)).await
}

async fn send_copied(
    worker: &Rc<Worker>,
    peer: &Peer,
    (choice, mirror): (&Choice<'_>, &Mirror),
    outgoing: &mut Outgoing<'_>,
    visit: &mut Visit,
) -> Result<(AnswerHead, Box<Lease>), ExchangeError> {
    // A copy that a gateway in front has made is answered, and no more.
    let is_copy = visit.told().is_some_and(|told| told.is_copy);
    let comparison = match !is_copy && mirror.takes(fastrand::f64()) {
        true => copying::begin(worker, peer, (choice, mirror), outgoing, visit),
        false => None,
    };
    let since = Since::now(visit);
    let sent = waiting::send(worker, choice, outgoing, visit).await;
    if let Some(comparison) = comparison {
        // As of the copy: from when all of the request was there.
        let status = sent.as_ref().ok().map(|(answer, _)| answer.status().as_u16());
        comparison.tell(Side::Primary, status, since.took(outgoing, visit));
    }
    sent
}

/// Whose answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// The request's own.
    Primary,
    /// The copy's.
    Mirror,
}

/// Both answers to a request, as far as they have come. Counted once both are there.
struct Comparison {
    meter: Rc<Meter>,
    pool: Label,
    primary: Cell<Option<Seen>>,
    mirror: Cell<Option<Seen>>,
}

impl Comparison {
    fn begin(worker: &Worker, pool: &Label) -> Rc<Self> {
        let (meter, pool) = (Rc::clone(&worker.meter), pool.clone());
        Rc::new(Self { meter, pool, primary: Cell::new(None), mirror: Cell::new(None) })
    }

    /// What one side answered, after so long; `None`: nothing.
    fn tell(&self, side: Side, status: Option<u16>, took: Duration) {
        let own = match side {
            Side::Primary => &self.primary,
            Side::Mirror => &self.mirror,
        };
        own.set(Some(Seen { status, took }));
        if let (Some(primary), Some(mirror)) = (self.primary.get(), self.mirror.get()) {
            self.meter.compared(&self.pool, primary, mirror);
        }
    }
}
