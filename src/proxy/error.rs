//! Why an exchange brought no answer from an endpoint. Facts; what the client hears of them is
//! `rescue`'s business.

use std::time::Duration;

use crate::auth::Refusal;
use crate::base::purse::Short;
use crate::limits::admission::Refused;
use crate::routing::naming::NamingError;
use crate::upstream::{Cause, ConnectError};

use super::body_rule::BodyFault;

/// Why an exchange brought no answer from an endpoint.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum ExchangeError {
    /// The request names no tenant, or none that is clear and known.
    #[error(transparent)]
    Naming(#[from] NamingError),
    /// The tenant is suspended.
    #[error("the tenant is suspended")]
    Suspended,
    /// The file that defines the tenant is broken.
    #[error("what is said of the tenant cannot be used")]
    Quarantined,
    /// The tenant or the route is worked on.
    #[error("this is being worked on; come again in {} s", retry_after.as_secs())]
    Maintenance {
        /// When to come again.
        retry_after: Duration,
    },
    /// It is not let in.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Nobody can tell whether it may go on.
    #[error("{0}")]
    Unauthorizable(&'static str),
    /// As many requests of its tenant are asked for as may be at once.
    #[error("too many requests of the tenant are asked for at once; try again later")]
    AuthorizerBusy,
    /// No route takes the request and the tenant has no pool of its own.
    #[error("no route takes this request")]
    NoRoute,
    /// The request is not one that a gateway may pass on.
    #[error("{0}")]
    BadRequest(&'static str),
    /// Its host is not one that the connection was begun for.
    #[error("this connection is not for the host of the request")]
    Misdirected,
    /// `CONNECT`.
    #[error("the method {0} is not served here")]
    Method(http::Method),
    /// It has been here too often.
    #[error("the request has come through this gateway {times} times")]
    Loop {
        /// How often.
        times: usize,
    },
    /// The path and query are too long.
    #[error("the target is longer than {limit} bytes")]
    TargetTooLong {
        /// The limit, in bytes.
        limit: u64,
    },
    /// The head is too large.
    #[error("the head is larger than {limit}")]
    HeadTooLarge {
        /// The limit, with what it counts.
        limit: String,
    },
    /// The body is at fault.
    #[error(transparent)]
    Body(#[from] BodyFault),
    /// The memory for clients is used up.
    #[error("the gateway is short of memory; try again later")]
    Overloaded,
    /// The client's share of it is used up.
    #[error(
        "this address has used up its share of the gateway's memory (memory.buffers-per-client); try again later"
    )]
    ClientOverloaded,
    /// The pool has as many requests as it may.
    #[error("{crowd}; try again later")]
    Crowded {
        /// What became of its wait.
        crowd: Crowd,
        /// When to come again.
        retry_after: Duration,
    },
    /// Too many of the tenant's requests to the pool have failed.
    #[error("requests to this have failed too often; try again later")]
    BreakerOpen {
        /// When to come again.
        retry_after: Duration,
    },
    /// A limit of the tenant or of the route has no room for it.
    #[error(transparent)]
    Limited(#[from] Box<Refused>),
    /// The pool has no endpoint.
    #[error("the pool has no endpoint")]
    NoEndpoint,
    /// The pool has no endpoint, and none came for which it could wait.
    #[error("{why}; try again later")]
    Unserved {
        /// What became of its wait.
        why: Unserved,
        /// When to come again.
        retry_after: Duration,
    },
    /// The last attempt failed.
    #[error(transparent)]
    Attempt(#[from] AttemptError),
    /// The time that the client gave is over.
    #[error("no answer within the {limit:?} that the client gave")]
    PastDeadline {
        /// What it gave.
        limit: Duration,
    },
    /// The exchange's own time is over.
    #[error("no answer within {limit:?}")]
    Overdue {
        /// The limit.
        limit: Duration,
    },
}

impl From<Short> for ExchangeError {
    fn from(short: Short) -> Self {
        match short {
            Short::Gateway => Self::Overloaded,
            Short::Client => Self::ClientOverloaded,
        }
    }
}

/// What becomes of a request that comes to a pool without room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Crowd {
    /// Too many of its tenant wait.
    #[error("{length} requests of the tenant wait already")]
    Full {
        /// How many may.
        length: usize,
    },
    /// It has waited for too long.
    #[error("the request has waited for {waited:?} and had no turn")]
    Late {
        /// How long it has waited.
        waited: Duration,
    },
}

/// What becomes of a request for which nobody comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unserved {
    /// Too many wait.
    #[error("nothing serves this at the moment, and too many requests wait for it already")]
    Full,
    /// It has waited for too long.
    #[error("nothing has come to serve this within {waited:?}")]
    Late {
        /// How long it has waited.
        waited: Duration,
    },
}

/// Why one attempt at one endpoint brought no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum AttemptError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A new connection was gone before the request.
    #[error("the endpoint did not begin with the request: {0}")]
    Untouched(#[source] Cause),
    /// The endpoint said that it did not begin with the request (`REFUSED_STREAM`, `GOAWAY`).
    #[error("the endpoint declined the request: {0}")]
    Declined(#[source] Cause),
    /// The connection died.
    #[error("the endpoint closed the connection before an answer: {0}")]
    Reset(#[source] Cause),
    /// Not HTTP.
    #[error("the answer is not valid HTTP: {0}")]
    BadAnswer(#[source] Cause),
    /// An answer of 101 to a request that did not ask for it.
    #[error("the endpoint switches protocols unasked")]
    Unasked,
    /// It was found down, and another endpoint may be asked.
    #[error("the endpoint was found down while its answer was waited for")]
    Down,
    /// No head in time.
    #[error("the endpoint brought no answer within {limit:?}")]
    Timeout {
        /// The limit.
        limit: Duration,
    },
}
