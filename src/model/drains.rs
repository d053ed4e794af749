//! Which endpoints of a pool an operator keeps out of the traffic, by address. It belongs to the
//! pool's name: it stays as it is while members come and go and while the pool's definition changes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::{ArcSwap, Guard};

use super::address::Address;

/// That an endpoint is drained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Since when.
    pub since: SystemTime,
    /// Why, in the operator's words.
    pub reason: Option<Arc<str>>,
}

/// By address.
pub type ByAddress = BTreeMap<Address, Drained>;

/// The drained endpoints of one pool's name. Writer: `control::drains`.
#[derive(Debug, Default)]
pub struct Drains {
    all: ArcSwap<ByAddress>,
}

impl Drains {
    /// Those of now, members or not.
    pub fn load(&self) -> Guard<Arc<ByAddress>> {
        self.all.load()
    }

    /// Drains an address. The caller refreshes the pool's [`Members`](super::members::Members).
    pub fn insert(&self, address: &Address, drained: &Drained) {
        self.all.rcu(|all| {
            let mut all = ByAddress::clone(all);
            all.insert(address.clone(), drained.clone());
            all
        });
    }

    /// Ends a drain. The caller refreshes the pool's members.
    pub fn remove(&self, address: &Address) {
        self.all.rcu(|all| {
            let mut all = ByAddress::clone(all);
            all.remove(address);
            all
        });
    }
}
