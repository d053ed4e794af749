//! What one tenant alone may have, a key or a domain: whose each is.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use foldhash::fast::RandomState;

use crate::base::stretch::Stretch;
use crate::config::spec::NamedTenant;
use crate::model::ids::TenantId;

/// Whose each is.
#[derive(Debug)]
pub(super) struct Owners<T>(HashMap<T, Owner>);

/// A tenant, and where its name stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) id: TenantId,
    /// The number of its file.
    pub(super) file: usize,
    pub(super) at: usize,
}

impl<T> Default for Owners<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T: Eq + Hash> Owners<T> {
    /// Somebody has this: who else had it before.
    pub(super) fn enter(&mut self, what: T, owner: &Owner) -> Option<Owner> {
        self.0.insert(what, owner.clone()).filter(|other| other.id != owner.id)
    }
}

/// Whether nothing of all that `of` tells is of two of these tenants, or there twice.
pub(super) fn are_apart<'s, T: Eq + Hash, I: Iterator<Item = T>>(
    mut tenants: impl Iterator<Item = &'s NamedTenant>,
    of: impl Fn(&'s NamedTenant) -> I,
) -> bool {
    let (mut met, stretch) = (HashSet::with_hasher(RandomState::default()), Stretch::begin());
    tenants.all(|tenant| {
        stretch.step();
        of(tenant).all(|what| met.insert(what))
    })
}
