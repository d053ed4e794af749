//! What is broken. A case is one constant here, and its row in [`ALL`].

mod discovery;
mod endpoints;
mod gateway;
mod network;
mod several;
mod streams;

use std::pin::Pin;

use super::report::{Form, Report};
use super::ten::Ten;

pub(crate) use network::{LINK, SOME, losing};

/// One way to break things.
pub(crate) struct Case {
    /// To ask for it by.
    pub(crate) id: &'static str,
    /// For the page.
    pub(crate) what: &'static str,
    /// For requests that may be repeated.
    pub(crate) promise: Promise,
    /// For those that may not, once an endpoint can have acted on them.
    pub(crate) others: Others,
    pub(crate) out: Out,
    pub(crate) breaks: Breaks,
    pub(crate) needs: Needs,
    pub(crate) aim: Aim,
    /// Panics where the fault was not felt, or something else is wrong.
    pub(crate) run: fn(Form) -> Running,
}

pub(crate) type Running = Pin<Box<dyn Future<Output = Report>>>;

/// What holds for requests that may be repeated while it is broken. Asserted in every run, with what all cases keep: no
/// retry storm, and no error once all is well again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Promise {
    /// Each of them is served.
    NoErrors,
    /// Some are not, for this reason, and no greater share of them.
    Errors { why: &'static str, most: f64 },
}

/// What holds for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Others {
    /// No endpoint has had them and has not answered.
    AllServed,
    /// The one that breaks may have acted on those that it was sent.
    OfOne,
    /// The same of so many that break.
    OfSeveral(u8),
    /// As many fail as of those that may be repeated.
    Alike,
    /// Those whose own task panics.
    OfTasks,
    /// There is nobody to serve them.
    Lost,
}

/// Whether the gateway notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Out {
    Must,
    /// By chance.
    May,
    /// The endpoints are not to blame.
    Never,
}

/// What a machine must allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    Nothing,
    /// A network and file systems of the case's own, with a packet filter.
    Spaces,
    /// These, with a link that a program of the case's is the other end of.
    Link,
}

/// How many endpoints break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Breaks {
    None,
    One,
    /// Two or three, so that others are left for all requests.
    Several,
    All,
}

/// Whether the p99 of users is within the aim: 1.5 times what it was, with one endpoint of ten broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    /// The page tells.
    Told,
    /// Where it is measured. Everywhere, 19 of 20 do not wait for the endpoint that breaks.
    Kept,
}

impl Promise {
    /// For the page.
    pub(crate) fn told(self) -> String {
        match self {
            Self::NoErrors => "all served".to_owned(),
            Self::Errors { why, most } if most >= 1.0 => format!("errors: {why}"),
            Self::Errors { why, most } => format!("errors: {why}, at most {:.0} %", most * 100.0),
        }
    }
}

impl Others {
    /// For the page.
    pub(crate) fn told(self) -> &'static str {
        match self {
            Self::AllServed => "all served",
            Self::OfOne => "what it was sent is lost",
            Self::OfSeveral(_) => "what they were sent is lost",
            Self::Alike => "alike",
            Self::OfTasks => "those whose task panics are lost",
            Self::Lost => "lost",
        }
    }
}

/// A case of one endpoint that breaks; the gateway is to notice, and who may ask again is to notice nothing.
const fn one(id: &'static str, what: &'static str, run: fn(Form) -> Running) -> Case {
    Case {
        id,
        what,
        promise: Promise::NoErrors,
        others: Others::OfOne,
        out: Out::Must,
        breaks: Breaks::One,
        needs: Needs::Nothing,
        aim: Aim::Told,
        run,
    }
}

/// A case of one endpoint where the pool has both keys that keep users from one that is slow, see [`BOTH`].
const fn kept(id: &'static str, what: &'static str, run: fn(Form) -> Running) -> Case {
    // One that loses against hedges, or is not asked any more, may be taken out or not.
    Case { out: Out::May, aim: Aim::Kept, ..one(id, what, run) }
}

/// A case of something else that breaks: no user is to notice.
const fn other(id: &'static str, what: &'static str, run: fn(Form) -> Running) -> Case {
    Case { others: Others::AllServed, breaks: Breaks::None, ..one(id, what, run) }
}

/// The keys: a second attempt beside a slow one, and the endpoints that are quick.
const BOTH: &str = "retry = { hedge = {} }\nbalance = \"peak-ewma\"\n";

/// Every case, in the order of the page.
pub(crate) static ALL: &[Case] = &[
    endpoints::KILLED,
    endpoints::STOPPED,
    endpoints::STOPPED_HEDGED,
    endpoints::STOPPED_BOTH,
    endpoints::RESETS_CONNECTIONS,
    endpoints::RESETS_HANDSHAKES,
    endpoints::RESETS_UPLOADS,
    endpoints::RESETS_REQUESTS,
    endpoints::RESETS_HEADS,
    endpoints::RESETS_BODIES,
    endpoints::SILENT,
    endpoints::SILENT_HEDGED,
    endpoints::DRIPS,
    endpoints::DRIPS_HEDGED,
    endpoints::DRIPS_BODIES,
    endpoints::GARBAGE,
    endpoints::SLOW,
    endpoints::SLOW_HEDGED,
    endpoints::SLOW_BALANCED,
    endpoints::SLOW_BOTH,
    network::SLOW,
    network::SLOW_BOTH,
    endpoints::FLAPS,
    endpoints::FLAPS_BOTH,
    endpoints::SAYS_503,
    endpoints::SAYS_503_BOTH,
    endpoints::SAYS_500,
    endpoints::SAYS_500_LISTED,
    endpoints::EXPIRES,
    several::TWO_KILLED,
    several::THREE_KILLED,
    several::THREE_KILLED_FOUR,
    several::TWO_SAY_503,
    several::THREE_SAY_503,
    several::THREE_SAY_503_FOUR,
    several::TWO_SLOW,
    several::THREE_SLOW,
    several::THREE_SLOW_BOTH,
    several::ROLLING,
    endpoints::ALL_SAY_503,
    endpoints::ALL_RESET,
    streams::KILLED,
    streams::STOPPED,
    streams::SILENT,
    streams::RESETS,
    streams::RESETS_STREAMS,
    streams::PARTITION,
    streams::GRPC_KILLED,
    streams::GRPC_UNAVAILABLE,
    network::LOSS,
    network::LOSS_BOTH,
    network::PARTITION,
    network::PARTITION_BOTH,
    network::PARTITION_BY_DEFAULT,
    network::PARTITION_TO,
    network::PARTITION_FROM,
    network::PARTITION_OF_ALL,
    discovery::NO_SUCH_NAME,
    discovery::FAILING,
    discovery::SILENT,
    discovery::FLAPPING,
    discovery::THOUSAND,
    discovery::SERVICES_FLAP,
    discovery::TARGET_GONE,
    gateway::CLOCK,
    gateway::DISK,
    gateway::FILES,
    gateway::TASK,
    gateway::CHECKS,
    gateway::WORKER,
    gateway::CONTROL,
];
