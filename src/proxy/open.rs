//! A connection that came in: counts as open for as long as somebody knows the client.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use crate::base::loads::Load;
use crate::base::memory::Held;
use crate::config::spec::TrustedProxiesSpec;

use super::budget;
use super::door::{Door, Front};
use super::headcount::{Place, Share};
use super::seats::{Seat, Seated};
use super::worker::Worker;

/// A connection that came in. It counts, and may be asked to go, before its task has run.
pub(super) struct Arrival {
    /// From where; `None` = over a Unix socket.
    pub(super) address: Option<SocketAddr>,
    /// What its listener said then.
    pub(super) front: Arc<Front>,
    /// Counts it.
    pub(super) open: Open,
    /// Lets it be asked to go.
    pub(super) seated: Seated,
}

impl Arrival {
    /// From `address`, at this listener, which says so; `counted` counts it, and as its client's where that is
    /// known.
    pub(super) fn new(
        worker: &Rc<Worker>,
        address: Option<SocketAddr>,
        door: &Door,
        front: &Arc<Front>,
        counted: (Place, Option<Share>, Load),
    ) -> Self {
        let open = Open::count(Rc::clone(worker), door.number, front, counted);
        // Of load balancers it is the connections of others.
        let spec = &front.spec;
        open.seat.set_silent(spec.proxy_protocol.is_none());
        let seated = Seated::take(worker, &open.seat);
        Self { address, front: Arc::clone(front), open, seated }
    }
}

/// Counts a connection as open until dropped.
#[derive(Debug)]
pub(super) struct Open {
    /// Its worker.
    pub(super) worker: Rc<Worker>,
    /// Tells whether it may be asked to go.
    pub(super) seat: Rc<Seat>,
    /// Counts it as its client's.
    pub(super) share: Option<Share>,
    front: Arc<Front>,
    _held: Held,
    /// Counts it as this worker's.
    _load: Load,
}

impl Open {
    fn count(
        worker: Rc<Worker>,
        listener: usize,
        front: &Arc<Front>,
        (place, share, load): (Place, Option<Share>, Load),
    ) -> Self {
        worker.open_connections.set(worker.open_connections.get() + 1);
        worker.meter.connection_opened(listener);
        let tls = front.spec.tls.as_ref().map_or(0, |_| budget::TLS);
        let held = worker.account.take(budget::CONNECTION + tls);
        let (seat, front) = (Seat::new(listener, place), Arc::clone(front));
        Self { worker, seat, share, front, _held: held, _load: load }
    }
}

impl Open {
    /// Whom its listener believes when they speak for others.
    pub(super) fn trusted_proxies(&self) -> Option<&Arc<TrustedProxiesSpec>> {
        self.front.spec.trusted_proxies.as_ref()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.worker.open_connections.set(self.worker.open_connections.get() - 1);
        self.worker.meter.connection_closed(self.seat.listener());
    }
}
