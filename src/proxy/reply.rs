//! What an exchange comes to, and the answer that is made of it.

use std::rc::Rc;

use http::Version;
use http::header::{HeaderValue, UPGRADE};

use crate::http1::room::AnswerHead;
use crate::routing::route::Route;

use super::answer::{Answer, AnswerBody, Lease};
use super::connection::{Busy, Peer};
use super::error::{AttemptError, ExchangeError};
use super::extended;
use super::hygiene::{self, X_REQUEST_ID};
use super::incoming::Switch;
use super::outgoing::Outgoing;
use super::upgrade;
use super::visit::Visit;
use super::worker::Worker;

/// What an exchange comes to.
pub(super) enum Reply {
    /// An endpoint's answer, and what must live until its body has ended.
    Forwarded(AnswerHead, Box<Lease>),
    /// An answer that the route itself gives, and the size of its body.
    Local(Answer, usize),
    /// The endpoint switches protocols.
    Tunnel(Switch, AnswerHead, Box<Lease>, Within),
}

/// What a tunnel takes of the client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Within {
    /// All of it.
    Connection,
    /// One stream of HTTP/2: the connection serves on.
    Stream,
}

impl Reply {
    /// The endpoint switches protocols to `protocol`.
    ///
    /// # Errors
    /// When the client has not asked for it, or for another protocol (RFC 9110 §7.8).
    pub(super) fn tunnel(
        outgoing: Outgoing<'_>,
        mut answer: AnswerHead,
        lease: Box<Lease>,
        protocol: Option<HeaderValue>,
    ) -> Result<Self, ExchangeError> {
        const UNASKED: ExchangeError = ExchangeError::Attempt(AttemptError::Unasked);
        let client = outgoing.upgrade.ok_or(UNASKED)?;
        if outgoing.extended {
            if !extended::is_websocket(protocol.as_ref(), answer.headers()) {
                return Err(UNASKED);
            }
            extended::announce(&mut answer);
            return Ok(Self::Tunnel(client, answer, lease, Within::Stream));
        }
        let asked = outgoing.head.headers.get(UPGRADE);
        let protocol =
            protocol.filter(|protocol| asked.is_some_and(|asked| lists(asked, protocol)));
        upgrade::announce(answer.headers_mut(), protocol.ok_or(UNASKED)?);
        Ok(Self::Tunnel(client, answer, lease, Within::Connection))
    }

    /// Whether an endpoint has answered that it failed. What a route itself answers is as it was
    /// wished.
    pub(super) fn is_failure(&self) -> bool {
        match self {
            Self::Forwarded(answer, _) => answer.status().is_server_error(),
            Self::Local(..) | Self::Tunnel(..) => false,
        }
    }

    /// An answer that the route gives, with its fields as the route says.
    pub(super) fn edited(mut self, route: &Route) -> Self {
        if let Self::Local(answer, _) = &mut self {
            route.response_headers.apply(answer.head.headers_mut());
        }
        self
    }

    /// An answer that the route gives to a request that would switch protocols.
    pub(super) fn declined(mut self) -> Self {
        if let Self::Local(answer, _) = &mut self {
            extended::decline(&mut answer.head);
        }
        self
    }

    /// The answer to the client. The exchange's record ends with its body.
    pub(super) fn answer(self, worker: &Rc<Worker>, peer: &Rc<Peer>, mut visit: Visit) -> Answer {
        match self {
            Self::Forwarded(mut head, lease) => {
                identify(&mut head, &mut visit);
                Answer { head, body: AnswerBody::stream(lease, Rc::clone(worker), visit) }
            }
            Self::Local(mut answer, size) => {
                answer.head.headers_mut().insert(X_REQUEST_ID, visit.request_id());
                visit.finish(answer.head.status(), size);
                answer
            }
            Self::Tunnel(client, mut head, lease, within) => {
                identify(&mut head, &mut visit);
                let busy = (within == Within::Stream).then(|| Busy::go_on(peer));
                upgrade::join(worker, (client, Rc::clone(peer), busy), *lease, visit);
                Answer { head, body: AnswerBody::empty() }
            }
        }
    }
}

/// Whether all that an endpoint switches to is among what it was asked for.
fn lists(asked: &HeaderValue, protocol: &HeaderValue) -> bool {
    let mut named = hygiene::tokens(protocol).peekable();
    let known = |name: &[u8]| hygiene::tokens(asked).any(|own| own.eq_ignore_ascii_case(name));
    named.peek().is_some() && named.all(known)
}

/// Names the exchange in the answer and the answer in the record.
fn identify(answer: &mut AnswerHead, visit: &mut Visit) {
    visit.note(|record| record.status = answer.status().as_u16());
    // The endpoint's version ends at this hop; the client is told its own.
    *answer.version_mut() = Version::HTTP_11;
    answer.headers_mut().insert(X_REQUEST_ID, visit.last_request_id());
}
