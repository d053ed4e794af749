//! Balancers: which of the eligible endpoints takes the next attempt.

mod least_request;
mod random;
mod round_robin;

use std::sync::Arc;

use crate::model::endpoint::Endpoint;
use crate::model::members::Eligible;

/// What a pick may depend on beside the endpoints: equal keys may be kept on one endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PickKey(pub u64);

/// Picks one of the eligible endpoints.
pub trait Balancer: Send + Sync {
    /// The endpoint of the next attempt; `None` only when none is eligible. Called by many threads
    /// at once on the way of a request: it must not lock.
    fn pick<'a>(&self, eligible: &'a Eligible, key: PickKey) -> Option<&'a Arc<Endpoint>>;
}

/// One balancer that the config may name.
pub struct Kind {
    /// As in `balance = "…"`.
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// Makes one for one pool.
    pub build: fn() -> Arc<dyn Balancer>,
}

/// Every balancer the config may name. A new one is one row here.
pub static KINDS: &[Kind] = &[least_request::KIND, random::KIND, round_robin::KIND];

/// The names of all balancers.
pub fn names() -> &'static [&'static str] {
    const NAMES: [&str; KINDS.len()] = {
        let mut names = [""; KINDS.len()];
        let mut at = 0;
        while at < names.len() {
            names[at] = KINDS[at].name;
            at += 1;
        }
        names
    };
    &NAMES
}

/// A balancer of this name; `None` where there is none.
pub fn build(name: &str) -> Option<Arc<dyn Balancer>> {
    KINDS.iter().find(|kind| kind.name == name).map(|kind| (kind.build)())
}

/// The same, where there are thousands that have a few endpoints each: it takes little memory.
pub(super) fn build_small(name: &str) -> Option<Arc<dyn Balancer>> {
    if name == round_robin::KIND.name { Some(round_robin::build_small()) } else { build(name) }
}

#[cfg(test)]
mod tests;
