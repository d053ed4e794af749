//! What is kept of each attempt where the exchange's spans are.

use std::cell::Cell;
use std::sync::Arc;

use http::Uri;
use http::uri::PathAndQuery;
use tokio::time::Instant;

use crate::model::address::Address;
use crate::model::endpoint::Endpoint;
use crate::resilience::retry::Failure;
use crate::telemetry::trace::ids::SpanId;
use crate::telemetry::trace::{Attempt, Dial};

use super::visit::Visit;

/// Begins the span of an attempt; `None` where none are kept. `last` is what the attempt before
/// ended with, `asked` the scheme and the target of what the endpoint is asked for.
pub(super) fn begin(
    visit: &mut Visit,
    endpoint: &Endpoint,
    last: Option<Failure>,
    asked: (&'static str, &Uri),
) -> Option<Box<Attempt>> {
    let began = visit.started();
    let trace = visit.traced_whole()?;
    let wanted = trace.attempts.last().and_then(|before| before.ended).unwrap_or(began);
    Some(Box::new(Attempt {
        span: SpanId::random(),
        endpoint: Arc::clone(&endpoint.label),
        address: endpoint.address.clone(),
        url: url(&endpoint.address, asked),
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

/// What an endpoint is asked for, as far as a span tells it.
fn url(address: &Address, (scheme, target): (&'static str, &Uri)) -> String {
    let Address::Net(address) = address else { return String::new() };
    let target = target.path_and_query().map_or("/", PathAndQuery::as_str);
    let target = target.get(..target.floor_char_boundary(LONGEST)).unwrap_or(target);
    format!("{scheme}://{address}{target}")
}

/// 1 KiB: no more is told of any text.
const LONGEST: usize = 1 << 10;

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
