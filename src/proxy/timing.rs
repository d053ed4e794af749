//! How long an endpoint takes to the head of its answer, for pools whose balancer asks for that. All of
//! it is out of line: other pools pay a look at a bit.

use std::rc::Rc;
use std::sync::Arc;

use tokio::time::Instant;

use crate::model::endpoint::Endpoint;
use crate::model::latency::{Sample, UNANSWERED};

use super::attempt::Answered;
use super::clock::Clock;
use super::error::ExchangeError;
use super::request_body::Upload;
use super::worker::Worker;

/// An attempt under way that is timed. Its endpoint learns of its end; where it is dropped with its
/// client, that it took longer than the client would wait.
pub(super) struct Timing {
    endpoint: Arc<Endpoint>,
    started: Instant,
    upload: Upload,
    clock: Rc<Clock>,
    has_ended: bool,
}

impl Timing {
    /// Begins with an attempt.
    #[cold]
    #[inline(never)]
    pub(super) fn begin(
        (worker, endpoint, started): (&Worker, &Arc<Endpoint>, Instant),
        upload: &Upload,
    ) -> Box<Self> {
        Box::new(Self {
            endpoint: Arc::clone(endpoint),
            started,
            upload: upload.clone(),
            clock: Rc::clone(&worker.clock),
            has_ended: false,
        })
    }

    /// The attempt has ended so, and the clock was read since. A failure counts as an answer that was
    /// waited for: who fails at once must not be taken for the fastest.
    #[cold]
    #[inline(never)]
    pub(super) fn end(mut self, answered: &Result<Answered, ExchangeError>) {
        self.has_ended = true;
        let has_failed = match answered {
            Ok((answer, _)) => answer.status().as_u16() >= 500,
            Err(ExchangeError::Attempt(error)) if error.verdict().is_some() => true,
            Err(_) => return, // it says nothing of the endpoint
        };
        let now = self.clock.recent();
        let taken = now.saturating_duration_since(self.since());
        let taken = if has_failed { taken.max(UNANSWERED) } else { taken };
        self.endpoint.learn(Sample::Took(taken), now);
    }

    /// Since when the endpoint, and not the client, was waited for.
    fn since(&self) -> Instant {
        self.upload.taken().map_or(self.started, |taken| taken.max(self.started))
    }
}

impl Drop for Timing {
    fn drop(&mut self) {
        if !self.has_ended {
            let now = self.clock.now();
            let waited = now.saturating_duration_since(self.since());
            self.endpoint.learn(Sample::MoreThan(waited), now);
        }
    }
}
