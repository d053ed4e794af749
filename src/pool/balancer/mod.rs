//! Balancers: which of the eligible endpoints takes the next attempt.

mod homes;
mod laggards;
mod least_request;
mod maglev;
mod peak_ewma;
mod random;
mod ring_hash;
mod round_robin;
mod table;

use std::num::NonZero;
use std::sync::{Arc, LazyLock};

use crate::model::endpoint::Endpoint;
use crate::model::members::Eligible;

use super::hash::mixed;

/// What a pick may depend on beside the endpoints: equal keys may be kept on one endpoint. By default
/// there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PickKey(Option<NonZero<u64>>);

impl PickKey {
    /// The key with this hash.
    pub fn of(hash: u64) -> Self {
        Self(NonZero::new(hash.max(1)))
    }

    /// Its hash; `None` where there is no key.
    pub fn hash(self) -> Option<u64> {
        self.0.map(NonZero::get)
    }

    /// The key that stands for it in another attempt: the same each time, so that its second choice is.
    pub fn again(self, nth: u64) -> Self {
        self.hash().map_or(self, |hash| Self::of(mixed(hash, nth)))
    }
}

/// Picks one of the eligible endpoints. One method is enough for most; the others are for who asks for
/// more than endpoints tell.
pub trait Balancer: Send + Sync {
    /// The endpoint of the next attempt; `None` only when none is eligible. Called by many threads
    /// at once on the way of a request: it must not lock.
    fn pick<'a>(&self, eligible: &'a Eligible) -> Option<&'a Arc<Endpoint>>;

    /// The same for a request with a key, or without one where it had none of those that are asked for.
    fn pick_for<'a>(&self, eligible: &'a Eligible, _key: PickKey) -> Option<&'a Arc<Endpoint>> {
        self.pick(eligible)
    }

    /// Works out ahead of requests what takes long, where requests have asked for it before. Control calls
    /// it when the endpoints may have changed; it costs nothing where they have not. Tells whether it has
    /// worked.
    fn prepare(&self, _eligible: &Eligible) -> bool {
        false
    }

    /// Whether it asks for keys.
    fn is_keyed(&self) -> bool {
        false
    }

    /// Whether it asks how long endpoints take, so that their answers are timed.
    fn is_timed(&self) -> bool {
        false
    }

    /// Whether it goes round endpoints that are late, so that answers are compared.
    fn goes_round_late(&self) -> bool {
        false
    }
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
pub static KINDS: &[Kind] = &[
    least_request::KIND,
    maglev::KIND,
    peak_ewma::KIND,
    random::KIND,
    ring_hash::KIND,
    round_robin::KIND,
];

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

/// The names of those that ask for keys.
pub fn keyed_names() -> &'static [&'static str] {
    static KEYED: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
        KINDS.iter().filter(|kind| (kind.build)().is_keyed()).map(|kind| kind.name).collect()
    });
    &KEYED
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
mod keyed_tests;
#[cfg(test)]
mod tests;
