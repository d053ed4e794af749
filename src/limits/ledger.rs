//! What is counted of one tenant: for its own limits, and for those of each of its routes. It is made
//! when the first request of such a tenant comes, and lives across generations.

use std::array;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use super::Shared;
use super::fleet::{Lease, Whose};
use super::gate::Gate;
use super::gcra::{Meter, Pace, Ticks};
use super::pacer::{Flow, Way};
use super::quota::{self, Count, Quotas};

/// What is counted of one tenant.
#[derive(Debug)]
pub struct Ledger {
    shared: Arc<Shared>,
    /// Of the tenant, whose number may become another: a hash of its id.
    identity: u64,
    own: Arc<Cell>,
    /// Lists of routes by their keys, which only grow.
    routes: OnceLock<Box<[OnceLock<Box<Entry>>; LISTS]>>,
}

/// What is counted for the limits of a tenant or of a route.
#[derive(Debug, Default)]
pub struct Cell {
    /// Of the tenant, or of this route of the tenant.
    pub(super) identity: u64,
    /// Requests in a time.
    pub(super) meter: Meter,
    /// Those that wait for a slot.
    pub(super) waiting: AtomicU32,
    /// Requests that have a slot of what gateways share here, and have not passed yet.
    pub(super) undecided: AtomicU32,
    /// Clients that wait for a slot of theirs.
    pub(super) clients_waiting: AtomicU32,
    /// Subjects that do.
    pub(super) subjects_waiting: AtomicU32,
    /// Requests of all clients that wait for others of their client to end.
    pub(super) clients_in_line: AtomicU32,
    /// The same of all subjects.
    pub(super) subjects_in_line: AtomicU32,
    /// Requests at once, where that is limited.
    gate: OnceLock<Arc<Gate>>,
    /// What is had of requests in a time that gateways share, where they do.
    lease: OnceLock<Box<Lease>>,
    /// What is used of the quota, where there is one.
    quota: OnceLock<Arc<Count>>,
    /// Bytes of bodies, from clients and to them.
    flows: [Flow; 2],
}

#[derive(Debug)]
struct Entry {
    key: u64,
    cell: Arc<Cell>,
    next: OnceLock<Box<Self>>,
}

impl Ledger {
    /// Nothing is counted yet of the tenant of this id.
    pub fn new(shared: &Arc<Shared>, tenant: &str) -> Arc<Self> {
        let (shared, identity) = (Arc::clone(shared), shared.hash(tenant));
        let own = Arc::new(Cell::of(identity));
        Arc::new(Self { shared, identity, own, routes: OnceLock::new() })
    }

    /// For the tenant's own limits.
    pub fn own(&self) -> &Arc<Cell> {
        &self.own
    }

    /// What its limits share with all others.
    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// The time of now, as its limits count it.
    pub fn now(&self) -> Ticks {
        self.shared.now()
    }

    /// For the limits of a route, once something was counted.
    pub fn known_route(&self, key: u64) -> Option<&Arc<Cell>> {
        self.entries().find(|entry| entry.key == key).map(|entry| &entry.cell)
    }

    /// For the limits of a route.
    pub fn route(&self, key: u64) -> &Arc<Cell> {
        let make = || Arc::new(Cell::of(self.shared.hash((self.identity, key))));
        self.entry(key, make)
    }

    /// Whether nothing is counted that would still be told.
    pub fn is_settled(&self) -> bool {
        let now = self.shared.now();
        self.own.is_settled(now) && self.entries().all(|entry| entry.cell.is_settled(now))
    }

    /// The same without routes that are gone, where there are some. Those of which something is still
    /// counted stay, since they may come back.
    pub fn tidied(self: &Arc<Self>, is_there: impl Fn(u64) -> bool) -> Arc<Self> {
        let now = self.shared.now();
        let stays = |entry: &&Entry| is_there(entry.key) || !entry.cell.is_settled(now);
        if self.entries().all(|entry| stays(&entry)) {
            return Arc::clone(self);
        }
        let (shared, own) = (Arc::clone(&self.shared), Arc::clone(&self.own));
        let tidied = Self { shared, identity: self.identity, own, routes: OnceLock::new() };
        for entry in self.entries().filter(stays) {
            tidied.entry(entry.key, || Arc::clone(&entry.cell));
        }
        Arc::new(tidied)
    }

    fn entry(&self, key: u64, make: impl Fn() -> Arc<Cell>) -> &Arc<Cell> {
        let lists = self.routes.get_or_init(|| Box::new(array::from_fn(|_| OnceLock::new())));
        let mut place = &lists[usize::try_from(key).unwrap_or(0) % LISTS];
        loop {
            let new = || Box::new(Entry { key, cell: make(), next: OnceLock::new() });
            let entry = place.get_or_init(new);
            if entry.key == key {
                return &entry.cell;
            }
            place = &entry.next;
        }
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        let lists = self.routes.get().into_iter().flat_map(|lists| lists.iter());
        lists.flat_map(|list| {
            std::iter::successors(list.get().map(AsRef::as_ref), |entry| {
                entry.next.get().map(AsRef::as_ref)
            })
        })
    }
}

impl Cell {
    fn of(identity: u64) -> Self {
        Self { identity, ..Self::default() }
    }

    /// Requests at once.
    pub fn gate(&self) -> &Arc<Gate> {
        self.gate.get_or_init(Arc::default)
    }

    /// Requests at once, once one was counted.
    pub(super) fn known_gate(&self) -> Option<&Arc<Gate>> {
        self.gate.get()
    }

    /// What is had of requests in a time that gateways share.
    pub(super) fn lease(&self, whose: Whose<'_>) -> &Lease {
        self.lease.get_or_init(|| Box::new(Lease::new(whose)))
    }

    /// The same, once somebody needed it.
    pub(super) fn known_lease(&self) -> Option<&Lease> {
        self.lease.get().map(AsRef::as_ref)
    }

    /// What is used of the quota of the tenant or the route whose it is.
    pub(super) fn quota(&self, quotas: &Quotas, whose: Whose<'_>) -> &Arc<Count> {
        self.quota.get_or_init(|| quotas.of(&quota::name(whose)))
    }

    /// How many requests in a time are taken, and when that is whole.
    pub(super) fn taken(&self, now: Ticks) -> (u64, Ticks) {
        self.meter.taken(now)
    }

    /// The same of what gateways share, as far as this one knows.
    pub(super) fn taken_of_all(&self, pace: Pace, now: Ticks) -> (u64, Ticks) {
        let view = self.known_lease().map_or(0, Lease::view).saturating_sub(now.0);
        let of_all = (view.div_ceil(pace.interval().max(1)), Ticks(view));
        self.taken(now).max(of_all)
    }

    /// How many wait for a slot.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed).into()
    }

    /// How many subjects wait for a slot of theirs.
    pub(super) fn subjects_waiting(&self) -> u64 {
        self.subjects_waiting.load(Ordering::Relaxed).into()
    }

    /// How many requests have a slot here, and have not passed yet.
    pub(super) fn undecided(&self) -> u64 {
        self.undecided.load(Ordering::SeqCst).into()
    }

    pub(super) fn flow(&self, way: Way) -> &Flow {
        &self.flows[usize::from(way == Way::Download)]
    }

    fn is_settled(&self, now: Ticks) -> bool {
        self.flows.iter().all(|flow| flow.is_over(now))
            && self.meter.is_whole(now)
            && self.gate.get().is_none_or(|gate| !gate.is_used())
            && [&self.clients_in_line, &self.subjects_in_line]
                .iter()
                .all(|line| line.load(Ordering::Relaxed) == 0)
    }
}

/// 16 lists: of a few dozen routes, two or three in each.
const LISTS: usize = 16;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::base::memory::Account;
    use crate::base::units::Rate;
    use crate::config::spec::RateSpec;

    use super::*;

    fn ledger() -> Arc<Ledger> {
        Ledger::new(&Shared::new(1 << 16, Account::unlimited(), Arc::default()), "acme")
    }

    fn take(cell: &Cell, now: Ticks) -> bool {
        let rate = Rate { count: 1, per: Duration::from_secs(1) };
        cell.meter.take(Pace::of(&RateSpec { rate, burst: 1 }), now, Ticks(0)).is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn each_route_has_a_cell_of_its_own_and_keeps_it() {
        let ledger = ledger();
        let cells: Vec<Arc<Cell>> = (0..100).map(|key| Arc::clone(ledger.route(key))).collect();

        assert!(take(&cells[7], Ticks(0)));
        assert!(!take(ledger.route(7), Ticks(0)));
        assert!(take(ledger.route(23), Ticks(0)), "of the same list");
        assert_eq!(ledger.entries().count(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn a_route_that_is_gone_is_forgotten_once_nothing_is_counted_of_it() {
        let ledger = ledger();
        assert!(take(ledger.route(1), ledger.shared.now()));
        ledger.route(2);
        ledger.route(3);
        assert!(!ledger.is_settled());

        let ledger = ledger.tidied(|key| key == 3);
        assert_eq!(ledger.entries().map(|entry| entry.key).collect::<Vec<_>>(), [1, 3]);
        assert!(!take(ledger.route(1), ledger.shared.now()), "nothing was given back");

        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(ledger.is_settled());
        assert_eq!(ledger.tidied(|key| key == 3).entries().count(), 1);
    }
}
