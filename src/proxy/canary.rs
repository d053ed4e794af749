//! Counts what becomes of the requests of a split whose canary is watched. Everything here is out of line: a route without
//! a canary, and without a mirror, pays one branch for both.
//!
//! **Invariant:** each request counts once, on the side that it was sent to, as its client saw it: after all of its retries
//! and waits. What a client or its tenant has itself brought about is no failure. What is counted changes nothing for a
//! request.

use std::rc::Rc;
use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;

use crate::base::socket;
use crate::http1::room::AnswerHead;
use crate::model::canary::{Outcome, Side};
use crate::model::grpc::GrpcStatus;
use crate::routing::canary::Watched;
use crate::routing::route::Besides;
use crate::upstream::ConnectError;

use super::answer::Lease;
use super::body_rule::BodyFault;
use super::choice::Choice;
use super::connection::Peer;
use super::error::{AttemptError, Crowd, ExchangeError};
use super::grpc::{self, GRPC_STATUS};
use super::outgoing::Outgoing;
use super::request_body::Upload;
use super::visit::Visit;
use super::waiting::Since;
use super::worker::Worker;
use super::{attempt, mirror, rescue, waiting};

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
        let (began, upload) = (Instant::now(), outgoing.upload.clone());
        Counting { watched, side, worker: worker.number, began, upload, ended: false }
    });
    let since = Since::now(visit);
    let sent = match &besides.mirror {
        None => waiting::send(worker, choice, outgoing, visit).await,
        Some(mirror) => mirror::send(worker, peer, (choice, mirror), outgoing, visit).await,
    };
    if let Some(counting) = counting {
        // An endpoint is not slow for a client that takes its time.
        let took = since.took(outgoing, visit);
        let given = outgoing.countdown().and_then(|countdown| countdown.given);
        let end = given.and_then(|given| visit.started().checked_add(given));
        let is_over = end.is_some_and(|end| end <= Instant::now() + ALMOST);
        counting.end(outcome(&sent, is_over && took < attempt::PLENTY), took);
    }
    sent
}

/// What the client sees, and whether that says anything of the pool. One that was `hurried` had a short time, which is its
/// client's own, and over: that is held against nobody, as with breakers and ejections.
fn outcome(sent: &Result<(AnswerHead, Box<Lease>), ExchangeError>, hurried: bool) -> Outcome {
    match sent {
        // RFC 9110 §15: a status above 599 is as good as one of class 5.
        Ok((answer, _)) if answer.status().as_u16() >= 500 => Outcome::Failed,
        Ok((answer, _)) => called(answer.headers(), hurried),
        Err(ExchangeError::PastDeadline { .. }) if hurried => Outcome::Left,
        // What a tenant's own requests have brought about, or all of the gateway's: no endpoint was asked. That a tenant's
        // turn does not come in time is the pool's, which is too small or too slow.
        Err(
            ExchangeError::BreakerOpen { .. }
            | ExchangeError::Crowded { crowd: Crowd::Full { .. }, .. }
            | ExchangeError::Overloaded
            | ExchangeError::ClientOverloaded
            | ExchangeError::Body(BodyFault::Lost),
        ) => Outcome::Refused,
        Err(ExchangeError::Attempt(AttemptError::Connect(ConnectError::Refused(error))))
            if socket::is_out_of_files(error) =>
        {
            Outcome::Refused
        }
        Err(error) if rescue::status(error).is_server_error() => Outcome::Failed,
        Err(_) => Outcome::Left,
    }
}

/// What it is to have an answer with these fields that is no 5xx. A call of gRPC may have failed at the server before that has
/// sent anything else; what comes in trailers is not seen.
fn called(headers: &HeaderMap, hurried: bool) -> Outcome {
    let Some(value) = headers.get(GRPC_STATUS).filter(|_| grpc::speaks(headers)) else {
        return Outcome::Served;
    };
    let status = GrpcStatus::told(value.as_bytes());
    match status.map_or("", |status| status.name()) {
        "deadline-exceeded" if hurried => Outcome::Left, // the endpoint has seen it first
        name if AT_FAULT.contains(&name) => Outcome::Failed,
        _ => Outcome::Served,
    }
}

/// A request under way; also counted where its client leaves, and it is dropped.
struct Counting<'c> {
    watched: &'c Watched,
    side: Side,
    /// The number of the worker.
    worker: usize,
    began: Instant,
    /// What the client sends with it.
    upload: Upload,
    ended: bool,
}

impl Counting<'_> {
    fn end(mut self, outcome: Outcome, took: Duration) {
        self.ended = true;
        // Who leaves in the midst of what it sends has made nobody wait but itself.
        let is_sent = self.upload.is_empty() || self.upload.ended_at().is_some();
        self.count(outcome, (outcome != Outcome::Left || is_sent).then_some(took));
    }

    fn count(&self, outcome: Outcome, took: Option<Duration>) {
        self.watched.progress().count(self.worker, self.side, outcome, took);
    }
}

impl Drop for Counting<'_> {
    fn drop(&mut self) {
        if !self.ended {
            let sent = match self.upload.is_empty() {
                true => Some(self.began),
                false => self.upload.ended_at().map(|ended| ended.max(self.began)),
            };
            self.count(Outcome::Left, sent.map(|sent| sent.elapsed()));
        }
    }
}

/// 50 ms: an endpoint that was given a time may see its end a little earlier.
const ALMOST: Duration = Duration::from_millis(50);
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
            ("application/grpc", "14", Outcome::Failed),
            ("application/grpc+proto", "13", Outcome::Failed),
            ("application/grpc", "4", Outcome::Failed),
            ("application/grpc", "5", Outcome::Served),
            ("application/grpc", "0", Outcome::Served),
            ("application/grpc", "x", Outcome::Served),
            ("text/html", "14", Outcome::Served),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static(content));
            headers.insert(GRPC_STATUS, HeaderValue::from_static(status));
            assert_eq!(called(&headers, false), expected, "{content} {status}");
            let hurried = if status == "4" { Outcome::Left } else { expected };
            assert_eq!(called(&headers, true), hurried, "{content} {status}");
        }
        assert_eq!(called(&HeaderMap::new(), true), Outcome::Served);
    }

    #[test]
    fn what_a_client_or_its_tenant_brings_about_is_not_the_canary_s_failure() {
        let (limit, retry_after) = (Duration::from_millis(5), Duration::from_secs(1));
        let crowded = |crowd| ExchangeError::Crowded { crowd, retry_after };
        let past = || ExchangeError::PastDeadline { limit };
        for (error, hurried, expected) in [
            (past(), true, Outcome::Left),
            (past(), false, Outcome::Failed),
            (ExchangeError::Overdue { limit }, true, Outcome::Failed),
            (ExchangeError::BreakerOpen { retry_after }, false, Outcome::Refused),
            (crowded(Crowd::Full { length: 9 }), false, Outcome::Refused),
            (crowded(Crowd::Late { waited: limit }), false, Outcome::Failed),
            (ExchangeError::Overloaded, false, Outcome::Refused),
            (ExchangeError::ClientOverloaded, false, Outcome::Refused),
            (ExchangeError::NoEndpoint, false, Outcome::Failed),
            (ExchangeError::BadRequest("odd"), false, Outcome::Left),
        ] {
            let told = error.to_string();
            assert_eq!(outcome(&Err(error), hurried), expected, "{told} {hurried}");
        }
    }
}
