//! What bounds a request's body, and how it breaks off.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use crate::base::purse::Purse;
use crate::limits::limit::Limit;
use crate::limits::pacer::Pacer;
use crate::resilience::allowance::Allowance;

use super::activity::Uploading;
use super::hygiene;
use super::pace::Rate;
use super::spill::Spilling;

/// Why a request's body ended before its end. The endpoint is not to blame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(super) enum BodyFault {
    /// Larger than allowed.
    #[error("the request body is larger than {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: u64,
        /// Whose it is; `None` = the gateway's.
        by: Option<Limit>,
    },
    /// The client fell silent.
    #[error("the client sent nothing of the request body for {limit:?}")]
    Stalled {
        /// The limit.
        limit: Duration,
    },
    /// The client sent too little.
    #[error("the client sent less than {rate} bytes of the request body a second")]
    Trickle {
        /// The rate that was asked for.
        rate: u64,
    },
    /// The client was still sending when the time for an answer was over.
    #[error("the request body was not there whole within {limit:?}")]
    Slow {
        /// The limit.
        limit: Duration,
    },
    /// The client left, or broke the framing.
    #[error("the request body broke off: {0}")]
    Broken(String),
    /// Our own copy of it cannot be read.
    #[error("what was kept of the request body could not be read again")]
    Lost,
}

/// What bounds a request's body.
#[derive(Debug)]
pub(super) struct BodyRule {
    /// Largest size, in bytes.
    pub(super) max: u64,
    /// Which limit says so; `None` = the gateway's.
    pub(super) by: Option<Limit>,
    /// Longest silence.
    pub(super) silence: Duration,
    /// How fast it must come.
    pub(super) rate: Rate,
    /// Bytes kept for a retry.
    pub(super) replay: u64,
    /// How many of them in memory.
    pub(super) memory: u64,
    /// Where the others are kept.
    pub(super) spilling: Option<Box<Spilling>>,
    /// The tenant's memory for what is kept.
    pub(super) allowance: Arc<Allowance>,
    /// Counts what is kept, and what is on its way.
    pub(super) purse: Arc<Purse>,
    /// Names that no trailer may carry.
    pub(super) owned: Rc<hygiene::OwnedNames>,
    /// The same, since the head's `Connection` field names them.
    pub(super) nominated: Vec<HeaderName>,
    /// Tells the client's connection that bytes are the body's.
    pub(super) uploading: Option<Uploading>,
    /// How fast it may go.
    pub(super) pacer: Option<Box<Pacer>>,
}
