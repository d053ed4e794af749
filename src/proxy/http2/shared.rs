//! What the streams of a connection have in common.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;

use crate::proxy::connection::Peer;
use crate::proxy::hygiene::X_REQUEST_ID;
use crate::proxy::worker::Worker;

/// What the streams of a connection have in common.
pub(super) struct Shared {
    pub(super) worker: Rc<Worker>,
    pub(super) peer: Rc<Peer>,
    /// When names were last given to the client's table of fields.
    taught: Cell<Option<Instant>>,
}

impl Shared {
    pub(super) fn new(worker: Rc<Worker>, peer: Rc<Peer>) -> Self {
        Self { worker, peer, taught: Cell::new(None) }
    }

    /// Has the client's table of fields know the name of a request's id, which each answer has. Its
    /// values are kept from there, since none comes twice, and so would be the name, which had to be
    /// spelled out each time. One value in a while takes it there: dates drive it out in about a minute.
    pub(super) fn teach_names(&self, headers: &mut HeaderMap) {
        let now = self.worker.clock.recent();
        let known = self.taught.get().is_some_and(|taught| now < taught + FORGOTTEN);
        if !known && let Some(id) = headers.get_mut(X_REQUEST_ID) {
            id.set_sensitive(false);
            self.taught.set(Some(now));
        }
    }
}

/// 30 s.
const FORGOTTEN: Duration = Duration::from_secs(30);
