//! What is kept of each attempt where the exchange's spans are.

use std::cell::Cell;
use std::sync::Arc;

use tokio::time::Instant;

use crate::model::endpoint::Endpoint;
use crate::resilience::retry::Failure;
use crate::telemetry::trace::ids::SpanId;
use crate::telemetry::trace::{Attempt, Dial};

use super::visit::Visit;

/// Begins the span of an attempt; `None` where none are kept. `last` is what the attempt before
/// ended with.
pub(super) fn begin(
    visit: &mut Visit,
    endpoint: &Endpoint,
    last: Option<Failure>,
) -> Option<Box<Attempt>> {
    let began = visit.started();
    let trace = visit.traced_whole()?;
    let wanted = trace.attempts.last().and_then(|before| before.ended).unwrap_or(began);
    Some(Box::new(Attempt {
        span: SpanId::random(),
        endpoint: Arc::clone(&endpoint.label),
        address: endpoint.address.clone(),
        wanted,
        started: Instant::now(),
        after: last.map(Failure::reason),
        dial: None,
        answered: None,
        status: None,
        error: None,
        ended: None,
    }))
}

/// The span of an attempt under way.
pub(super) struct Watched<'a> {
    pub(super) span: Box<Attempt>,
    /// Whose it is.
    pub(super) visit: &'a mut Visit,
    /// The wait for a connection.
    pub(super) dial: &'a Cell<Option<Dial>>,
}

impl Watched<'_> {
    /// Ends it: with an answer, or with an `error`.
    pub(super) fn end(self, error: Option<&'static str>) {
        let (now, dial) = (Instant::now(), self.dial.get());
        if let Some(trace) = self.visit.traced_whole() {
            let answered = error.is_none().then_some(now);
            trace.attempts.push(Attempt { dial, answered, error, ended: Some(now), ..*self.span });
        }
    }
}
