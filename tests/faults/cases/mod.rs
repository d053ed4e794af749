//! What is broken. A case is one constant here, and its row in [`ALL`].

mod discovery;
mod endpoints;
mod gateway;
mod network;

use std::pin::Pin;

use super::report::{Form, Report};
use super::ten::Ten;

/// One way to break things.
pub(crate) struct Case {
    /// To ask for it by.
    pub(crate) id: &'static str,
    /// For the page.
    pub(crate) what: &'static str,
    pub(crate) promise: Promise,
    /// It needs a network or file systems of its own.
    pub(crate) is_apart: bool,
    pub(crate) run: fn(Form) -> Pin<Box<dyn Future<Output = Report>>>,
}

/// What holds for requests that may be repeated while it is broken. Asserted in every run, with two more that all
/// cases keep: no retry storm, and no error once all is well again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promise {
    /// Each of them is served.
    NoErrors,
    /// Some are not, for this reason.
    Errors(&'static str),
}

impl Promise {
    /// For the page.
    pub(crate) fn told(self) -> String {
        match self {
            Self::NoErrors => "all served".to_owned(),
            Self::Errors(why) => format!("errors: {why}"),
        }
    }
}

/// Every case, in the order of the page.
pub(crate) static ALL: &[Case] = &[
    endpoints::KILLED,
    endpoints::STOPPED,
    endpoints::RESETS_CONNECTIONS,
    endpoints::RESETS_REQUESTS,
    endpoints::RESETS_HEADS,
    endpoints::RESETS_BODIES,
    endpoints::SILENT,
    endpoints::DRIPS,
    endpoints::GARBAGE,
    endpoints::SLOW,
    endpoints::FLAPS,
    endpoints::SAYS_503,
    endpoints::SAYS_500,
    endpoints::EXPIRES,
    network::LOSS,
    network::PARTITION,
    network::PARTITION_BY_DEFAULT,
    network::PARTITION_OF_ALL,
    discovery::NO_SUCH_NAME,
    discovery::FAILING,
    discovery::SILENT,
    discovery::FLAPPING,
    discovery::THOUSAND,
    gateway::CLOCK,
    gateway::DISK,
    gateway::FILES,
    gateway::WORKER,
];
