//! Limits: how many requests a tenant, a route of a tenant or a client may make, in a time and at
//! once. Exact over all workers: what is counted is one word that all of them write to.
//!
//! **Invariants:** a limit admits no more than its burst and what its rate has brought since, and
//! refuses nobody for whom there is room. What was taken is not given back by a reload, by a tenant
//! that goes and comes, or by what had to make room for others. Who is admitted at once waits for
//! nobody: only a client that is new, who waits for a turn, and who is one of so many of a client or a subject, meets a
//! lock, and holds it for a look at a table.

pub mod admission;
pub mod clients;
pub mod crowds;
pub mod fleet;
pub mod gate;
pub mod gcra;
pub mod in_use;
pub mod ledger;
pub mod limit;
pub mod pacer;
pub mod quota;
mod subject_quotas;
pub mod told;

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;

use tokio::time::Instant;

use crate::base::memory::Account;

use clients::Clients;
use crowds::Crowds;
use fleet::{Fleet, Unshared};
use gcra::Ticks;
use quota::Quotas;

/// What all limits of the process share.
#[derive(Debug)]
pub struct Shared {
    born: Instant,
    seeds: RandomState,
    /// What each client has taken.
    pub clients: Clients,
    /// What each subject has: addresses, of which there are many to be had, crowd out none of these.
    pub subjects: Clients,
    /// Who has requests under way, of limits that are for each client or for each subject.
    pub crowds: Arc<Crowds>,
    /// What tenants have used of their quotas.
    pub quotas: Arc<Quotas>,
    /// What gateways share, where they do.
    pub fleet: Option<Arc<Fleet>>,
    unshared: Unshared,
}

impl Shared {
    /// Nobody has taken anything. What clients have taken lies in so many bytes at most, and what subjects have
    /// in as many, which count in `account` once there are limits for them.
    pub fn new(bytes: u64, account: Arc<Account>, quotas: Arc<Quotas>) -> Arc<Self> {
        Self::with_fleet(bytes, account, quotas, None)
    }

    /// The same, with limits that gateways share.
    pub fn with_fleet(
        bytes: u64,
        account: Arc<Account>,
        quotas: Arc<Quotas>,
        fleet: Option<Arc<Fleet>>,
    ) -> Arc<Self> {
        let born = fleet.as_ref().map_or_else(Instant::now, |fleet| fleet.born);
        // Nobody outside may know which clients share a place.
        let seeds = RandomState::new();
        let subjects = Clients::new(bytes, Arc::clone(&account));
        let (clients, unshared) = (Clients::new(bytes, account), Unshared::default());
        let crowds = Arc::default();
        Arc::new(Self { born, seeds, clients, subjects, crowds, quotas, fleet, unshared })
    }

    /// A time as limits count it.
    pub fn ticks(&self, time: Instant) -> Ticks {
        Ticks::of(time.saturating_duration_since(self.born))
    }

    /// The time of now.
    pub fn now(&self) -> Ticks {
        self.ticks(Instant::now())
    }

    fn hash(&self, what: impl Hash) -> u64 {
        self.seeds.hash_one(what)
    }
}
