//! The guard that counts a request as in flight at its endpoint.

use std::sync::Arc;

use crate::model::endpoint::Endpoint;

/// One request in flight at one endpoint, from its creation until it is dropped. It must ride in
/// the answer's body, so that a streaming answer counts until its end.
#[derive(Debug)]
pub struct InFlight {
    endpoint: Arc<Endpoint>,
}

impl InFlight {
    /// Counts one more request in flight at `endpoint`.
    pub fn enter(endpoint: Arc<Endpoint>) -> Self {
        endpoint.enter();
        Self { endpoint }
    }

    /// The endpoint.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.endpoint.leave();
    }
}
