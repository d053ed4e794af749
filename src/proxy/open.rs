//! A connection of a client counts as open for as long as somebody knows the client.

use std::rc::Rc;

use super::headcount::{Place, Share};
use super::seats::Seat;
use super::worker::Worker;

/// Counts a connection as open until dropped.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) worker: Rc<Worker>,
    pub(super) seat: Rc<Seat>,
    /// Counts it as its client's.
    pub(super) share: Option<Share>,
    listener: usize,
}

impl Open {
    pub(super) fn count(
        worker: Rc<Worker>,
        listener: usize,
        (place, share): (Place, Option<Share>),
    ) -> Self {
        worker.open_connections.set(worker.open_connections.get() + 1);
        worker.meter.connection_opened(listener);
        Self { worker, seat: Seat::new(listener, place), share, listener }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.worker.open_connections.set(self.worker.open_connections.get() - 1);
        self.worker.meter.connection_closed(self.listener);
    }
}
