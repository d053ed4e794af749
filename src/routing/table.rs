//! The table: every tenant of one generation.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::config::spec::{NamingSpec, RouteSetSpec};
use crate::model::ids::TenantId;

use super::set::RouteSet;
use super::tenant::Tenant;

/// Every tenant of one generation. Immutable.
#[derive(Debug)]
pub struct Table {
    /// Its number.
    pub generation: u64,
    /// How a request names its tenant.
    pub naming: NamingSpec,
    /// Only ids from the config get in, so that a client cannot choose keys that collide.
    pub(super) tenants: HashMap<TenantId, Arc<Tenant>, RandomState>,
    pub(super) sets: BTreeMap<Arc<str>, SharedSet>,
    /// The number of the next new tenant.
    pub(super) next_slot: u32,
}

/// A route set that tenants use by name, and what it was made from; `None` where it cannot be made.
#[derive(Clone, Debug)]
pub(super) struct SharedSet {
    pub(super) spec: Arc<RouteSetSpec>,
    pub(super) set: Option<Arc<RouteSet>>,
}

impl Table {
    /// The tenant of this id.
    pub fn tenant(&self, id: &str) -> Option<&Arc<Tenant>> {
        self.tenants.get(id)
    }

    /// All tenants, in no order.
    pub fn tenants(&self) -> impl ExactSizeIterator<Item = &Arc<Tenant>> {
        self.tenants.values()
    }
}
