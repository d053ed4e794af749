//! Tenants that are gone and may come back: what they have taken of their limits is kept until it
//! would be whole again, so that nobody gets more by leaving.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::limits::ledger::Ledger;

use super::tenant::Tenant;

/// Tenants that are gone, by id.
#[derive(Debug, Default)]
pub(super) struct Departed(BTreeMap<Arc<str>, Arc<Ledger>>);

impl Departed {
    /// Those of which something is still counted.
    pub(super) fn of_now(&self) -> Self {
        let counts = |(_, ledger): &(&Arc<str>, &Arc<Ledger>)| !ledger.is_settled();
        let of_now = self.0.iter().filter(counts);
        Self(of_now.map(|(id, ledger)| (Arc::clone(id), Arc::clone(ledger))).collect())
    }

    /// A tenant is gone.
    pub(super) fn leave(&mut self, tenant: &Tenant) {
        if let Some(ledger) = tenant.known_ledger()
            && self.0.len() < MOST
            && !ledger.is_settled()
        {
            self.0.insert(tenant.label().name, Arc::clone(ledger));
        }
    }

    /// A tenant is new: what is still counted of it, if it was here before.
    pub(super) fn return_of(&mut self, id: &str) -> Option<Arc<Ledger>> {
        self.0.remove(id)
    }
}

/// A hundred thousand that have left within the time of their limits: 30 MB. A list that does nothing but
/// grow would be a leak.
const MOST: usize = 100_000;
