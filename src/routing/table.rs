//! The table: every tenant of one generation.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use foldhash::fast::RandomState;
use http::StatusCode;
use http::request::Parts;

use crate::auth::issuer::Keyring;
use crate::auth::jwt::Token;
use crate::auth::keys::Keys;
use crate::auth::{self, Credential};
use crate::config::answers::{ErrorPagesSpec, PageFor, PageSpec};
use crate::config::spec::{NamingSpec, RouteSetSpec};
use crate::model::ids::TenantId;
use crate::telemetry::tenants::Slots;

use super::authorizer::{Authorizer, Authorizers};
use super::canary::{Owner, Watched};
use super::departed::Departed;
use super::domains::Domains;
use super::set::RouteSet;
use super::tenant::Tenant;

/// Every tenant of one generation. Immutable.
#[derive(Debug)]
pub struct Table {
    /// Its number.
    pub generation: u64,
    /// How a request names its tenant.
    pub naming: NamingSpec,
    /// Pages in place of the gateway's own answers, for tenants that have none of their own.
    pub(super) error_pages: Arc<ErrorPagesSpec>,
    /// Only ids from the config get in, so that a client cannot choose keys that collide.
    pub(super) tenants: Tenants,
    /// Their numbers.
    pub(super) slots: Slots,
    pub(super) sets: BTreeMap<Arc<str>, SharedSet>,
    /// The API keys of all tenants.
    pub(super) keys: Arc<Keys>,
    /// The keys of issuers of tokens.
    pub(super) rings: Arc<[Arc<Keyring>]>,
    /// Services that tenants have asked.
    pub(super) authorizers: Authorizers,
    /// Hosts of tenants' own.
    pub(super) domains: Arc<Domains>,
    /// Tenants with a route of their own whose split has a canary.
    pub(super) trying: Arc<BTreeSet<TenantId>>,
    /// There are keys, or issuers of tokens.
    pub(super) knows_credentials: bool,
    /// Tenants that are gone and may come back.
    pub(super) departed: Departed,
    /// The number of the next new tenant.
    pub(super) next_slot: u32,
}

/// Tenants by id.
pub(super) type Tenants = HashSet<ById, RandomState>;

/// A tenant that is found by its id. The set holds a word for each, and a look-up reads what the
/// request needs next anyway: with many tenants in use, each further place is a miss of the caches.
#[derive(Clone, Debug)]
pub(super) struct ById(pub(super) Arc<Tenant>);

impl PartialEq for ById {
    fn eq(&self, other: &Self) -> bool {
        self.0.id() == other.0.id()
    }
}

impl Eq for ById {}

impl Hash for ById {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id().hash(state); // as its text: see `Borrow`
    }
}

impl Borrow<str> for ById {
    fn borrow(&self) -> &str {
        self.0.id()
    }
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
        self.tenants.get(id).map(|ById(tenant)| tenant)
    }

    /// What a request shows of who sent it; what a token says is kept in `held`.
    pub fn credential<'s>(
        &'s self,
        head: &Parts,
        held: &'s mut Option<Box<Token>>,
    ) -> Credential<'s> {
        if !self.knows_credentials() {
            return Credential::Nothing;
        }
        auth::look((&self.keys, &self.rings), &self.naming.identity, &head.headers, held)
    }

    /// The service of this name; `None`: nobody can ask it.
    pub fn authorizer(&self, name: &str) -> Option<&Authorizer> {
        self.authorizers.get(name)
    }

    /// Has tokens verified by these keys.
    pub fn trust(&mut self, rings: Arc<[Arc<Keyring>]>) {
        self.rings = rings;
    }

    /// Whether there is anything that clients could show.
    pub fn knows_credentials(&self) -> bool {
        self.knows_credentials
    }

    /// The page in place of the gateway's own answer of this status to a request of this tenant:
    /// the tenant's, or the one for all.
    pub fn error_page<'t>(
        &'t self,
        tenant: Option<&'t Tenant>,
        status: StatusCode,
        occasion: Option<PageFor>,
    ) -> Option<&'t Arc<PageSpec>> {
        let own = tenant.and_then(Tenant::error_pages);
        own.and_then(|own| own.find(status, occasion))
            .or_else(|| self.error_pages.find(status, occasion))
    }

    /// The numbers of the tenants.
    pub fn slots(&self) -> &Slots {
        &self.slots
    }

    /// The pools of splits that are tried, with whose routes those are.
    pub fn canaries(&self) -> impl Iterator<Item = (Owner, &Arc<Watched>)> {
        let of_tenants = self.trying.iter().flat_map(|id| {
            let own =
                self.tenant(id.as_str()).and_then(|tenant| tenant.routes.as_ref()?.own.as_ref());
            let canaries = own.into_iter().flat_map(|own| own.canaries());
            canaries.map(move |canary| (Owner::Tenant(id.shared()), canary))
        });
        let of_sets = self.sets.iter().flat_map(|(name, shared)| {
            let canaries = shared.set.iter().flat_map(|set| set.canaries());
            canaries.map(move |canary| (Owner::RouteSet(Arc::clone(name)), canary))
        });
        of_tenants.chain(of_sets)
    }

    /// All tenants, in no order.
    pub fn tenants(&self) -> impl ExactSizeIterator<Item = &Arc<Tenant>> {
        self.tenants.iter().map(|ById(tenant)| tenant)
    }
}
