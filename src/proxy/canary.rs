//! Counts what becomes of the requests of a split whose canary is watched. Everything here is out of line: a route without
//! a canary, and without a mirror, pays one branch for both.
//!
//! **Invariant:** each request counts once, on the side that it was sent to, as its client saw it: after all of its retries
//! and waits.
//! What is counted changes nothing for it.

use std::rc::Rc;
use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;

use crate::http1::room::AnswerHead;
use crate::model::canary::{Outcome, Side};
use crate::model::grpc::GrpcStatus;
use crate::routing::canary::Watched;
use crate::routing::route::Besides;

use super::answer::Lease;
use super::choice::Choice;
use super::connection::Peer;
use super::error::ExchangeError;
use super::grpc::{self, GRPC_STATUS};
use super::outgoing::Outgoing;
use super::visit::Visit;
use super::waiting::Since;
use super::worker::Worker;
use super::{mirror, rescue, waiting};

/// Forwards a request as any other; has it copied, and counts what becomes of it, where its route says so.
///
/// # Errors
/// As [`waiting::send`].
pub(super) async fn send(
    worker: &Rc<Worker>,
    peer: &Peer,
    (choice, besides): (&Choice<'_>, &Besides),
    outgoing: &mut Outgoing<'_>,
    visit: &mut Visit,
) -> Result<(AnswerHead, Box<Lease>), ExchangeError> {
    // In a box: it is large beside what other requests have.
    Box::pin(send_counted(worker, peer, (choice, besides), outgoing, visit)).await
}

async fn send_counted(
    worker: &Rc<Worker>,
    peer: &Peer,
    (choice, besides): (&Choice<'_>, &Besides),
    outgoing: &mut Outgoing<'_>,
    visit: &mut Visit,
) -> Result<(AnswerHead, Box<Lease>), ExchangeError> {
    let counting = besides.canary.as_deref().map(|watched| {
        let side = watched.side_of(choice.pool);
        Counting { watched, side, worker: worker.number, began: Instant::now(), ended: false }
    });
    let since = Since::now(visit);
    let sent = match &besides.mirror {
        None => waiting::send(worker, choice, outgoing, visit).await,
        Some(mirror) => mirror::send(worker, peer, (choice, mirror), outgoing, visit).await,
    };
    if let Some(counting) = counting {
        counting.end(outcome(&sent), since.took(outgoing, visit));
    }
    sent
}

/// What the client sees.
fn outcome(sent: &Result<(AnswerHead, Box<Lease>), ExchangeError>) -> Outcome {
    match sent {
        // RFC 9110 §15: a status above 599 is as good as one of class 5.
        Ok((answer, _)) if answer.status().as_u16() >= 500 => Outcome::Failed,
        Ok((answer, _)) if is_failed_call(answer.headers()) => Outcome::Failed,
        Ok(_) => Outcome::Served,
        Err(error) if rescue::status(error).is_server_error() => Outcome::Failed,
        Err(_) => Outcome::Left,
    }
}

/// Whether it is the answer to a call of gRPC that has failed at the server before that has sent anything else. What comes in
/// trailers is not seen.
fn is_failed_call(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(GRPC_STATUS).filter(|_| grpc::speaks(headers)) else {
        return false;
    };
    let status = GrpcStatus::told(value.as_bytes());
    status.is_some_and(|status| AT_FAULT.contains(&status.name()))
}

/// A request under way; also counted where its client leaves, and it is dropped.
struct Counting<'c> {
    watched: &'c Watched,
    side: Side,
    /// The number of the worker.
    worker: usize,
    began: Instant,
    ended: bool,
}

impl Counting<'_> {
    fn end(mut self, outcome: Outcome, took: Duration) {
        self.ended = true;
        self.count(outcome, took);
    }

    fn count(&self, outcome: Outcome, took: Duration) {
        self.watched.progress().count(self.worker, self.side, outcome, took);
    }
}

impl Drop for Counting<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.count(Outcome::Left, self.began.elapsed());
        }
    }
}

/// Those of a server that is at fault itself, as OpenTelemetry has it; the others are a client's, or an answer.
const AT_FAULT: [&str; 6] =
    ["unknown", "deadline-exceeded", "unimplemented", "internal", "unavailable", "data-loss"];

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_call_fails_by_what_is_the_server_s_fault() {
        for name in AT_FAULT {
            assert!(GrpcStatus::named(name).is_some(), "{name}");
        }
        for (content, status, expected) in [
            ("application/grpc", "14", true),
            ("application/grpc+proto", "13", true),
            ("application/grpc", "5", false),
            ("application/grpc", "0", false),
            ("text/html", "14", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static(content));
            headers.insert(GRPC_STATUS, HeaderValue::from_static(status));
            assert_eq!(is_failed_call(&headers), expected, "{content} {status}");
        }
        assert!(!is_failed_call(&HeaderMap::new()));
    }
}
