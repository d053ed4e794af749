//! A connection that came in: counts as open for as long as somebody knows the client.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use crate::base::loads::Load;
use crate::base::memory::Refused;
use crate::base::purse::Purse;
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
        let ip = address.map(|address| address.ip());
        let open = Open::count(Rc::clone(worker), door.number, (front, ip), counted);
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
    share: Option<Share>,
    front: Arc<Front>,
    /// Counts what it holds.
    purse: Arc<Purse>,
    /// Counts it as this worker's.
    _load: Load,
}

impl Open {
    fn count(
        worker: Rc<Worker>,
        listener: usize,
        (front, address): (&Arc<Front>, Option<IpAddr>),
        (place, share, load): (Place, Option<Share>, Load),
    ) -> Self {
        worker.open_connections.set(worker.open_connections.get() + 1);
        worker.meter.connection_opened(listener);
        let purse = purse(&worker, front, address, share.as_ref());
        let (seat, front) = (Seat::new(listener, place), Arc::clone(front));
        Self { worker, seat, share, front, purse, _load: load }
    }

    /// Counts what it holds.
    pub(super) fn purse(&self) -> &Arc<Purse> {
        &self.purse
    }

    /// A load balancer has told whose connection it is: it counts as theirs from now on.
    ///
    /// # Errors
    /// When they have too much already, in the metric's words.
    pub(super) fn set_client(&mut self, address: IpAddr) -> Result<(), &'static str> {
        let share = claim(&self.worker, address)?;
        self.purse = purse(&self.worker, &self.front, Some(address), Some(&share));
        self.share = Some(share);
        Ok(())
    }

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

/// Counts a connection as its client's, which may have one more.
///
/// # Errors
/// When it has too many, or most of its memory, in the metric's words.
pub(super) fn claim(worker: &Worker, address: IpAddr) -> Result<Share, &'static str> {
    let most = worker.gateway.downstream.max_connections_per_client;
    let share = worker.headcount.share(address, most).ok_or("too_many_of_client")?;
    if share.client.is_crowded(&worker.account) {
        worker.account.refuse(Refused::ClientConnection);
        return Err("too_much_of_client");
    }
    Ok(share)
}

/// What counts what a connection holds. Those of proxies that are trusted are of many clients: they have no
/// share of one.
fn purse(
    worker: &Worker,
    front: &Front,
    address: Option<IpAddr>,
    share: Option<&Share>,
) -> Arc<Purse> {
    let tls = front.spec.tls.as_ref().map_or(0, |_| budget::TLS);
    let trusted = front.spec.trusted_proxies.as_ref();
    let is_trusted = trusted.is_some_and(|proxies| proxies.trusts(address));
    let client = share.filter(|_| !is_trusted).map(|share| &share.client);
    Purse::open(&worker.account, client, budget::CONNECTION + tls)
}
