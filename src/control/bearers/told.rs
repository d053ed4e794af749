//! What tenants present, for people.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::base::sorted::{Keyed, Sorted};
use crate::model::ids::TenantId;
use crate::tls::tenants::reading::{InUse, Own};

use super::super::generation::Fault;

/// A tenant with certificates of its own.
#[derive(Clone, Debug)]
struct Bearer {
    id: TenantId,
    held: Arc<Held>,
}

impl Keyed for Bearer {
    type Key = str;

    fn key(&self) -> &str {
        self.id.as_str()
    }
}

/// Those that have certificates.
#[derive(Clone, Debug, Default)]
pub struct BearerList {
    all: Sorted<Bearer>,
    /// When their certificates end.
    ends: Sorted<Ending>,
    in_use: usize,
}

/// How many certificates end at a time.
#[derive(Clone, Debug)]
struct Ending {
    /// In Unix time.
    at: u64,
    count: usize,
}

impl Keyed for Ending {
    type Key = u64;

    fn key(&self) -> &u64 {
        &self.at
    }
}

impl BearerList {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether nobody has any.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// What a tenant presents.
    pub(super) fn get(&self, id: &str) -> Option<&Arc<Held>> {
        self.all.get(id).map(|bearer| &bearer.held)
    }

    /// A tenant presents this; tells what it presented before.
    pub(super) fn insert(&mut self, id: TenantId, held: Arc<Held>) -> Option<Arc<Held>> {
        self.in_use += held.in_use().len();
        for InUse { end, .. } in held.in_use() {
            let count = self.ends.get(end).map_or(0, |ending| ending.count);
            self.ends.insert(Ending { at: *end, count: count + 1 });
        }
        let old = self.all.insert(Bearer { id, held })?;
        self.forget(&old.held);
        Some(old.held)
    }

    /// A tenant presents nothing any more.
    pub(super) fn remove(&mut self, id: &str) {
        if let Some(old) = self.all.remove(id) {
            self.forget(&old.held);
        }
    }

    fn forget(&mut self, held: &Held) {
        self.in_use -= held.in_use().len();
        for InUse { end, .. } in held.in_use() {
            match self.ends.get(end).map_or(0, |ending| ending.count) {
                0 | 1 => drop(self.ends.remove(end)),
                count => drop(self.ends.insert(Ending { at: *end, count: count - 1 })),
            }
        }
    }

    fn sum(&self, now: u64) -> Sum {
        let expired = self.ends.iter().take_while(|ending| ending.at < now);
        let expired = expired.map(|ending| ending.count).sum();
        let next = self.ends.iter().find(|ending| ending.at >= now);
        Sum { in_use: self.in_use, expired, next_end: next.map(|ending| ending.at) }
    }
}

/// What one tenant presents.
#[derive(Debug, Default)]
pub struct Held {
    pub(super) own: Own,
    /// What is wrong with its files: what was in use stays.
    pub problems: Vec<Fault>,
    /// What makes one doubt those that are in use.
    pub doubts: Vec<Fault>,
}

impl Held {
    /// The certificates that are in use.
    pub fn in_use(&self) -> &[InUse] {
        &self.own.in_use
    }
}

/// What all tenants present.
#[derive(Clone, Debug, Default)]
pub struct LiveBearers {
    /// Those that have certificates.
    pub bearers: BearerList,
    /// What is wrong with files of theirs, the first hundred.
    pub problems: Vec<Fault>,
    /// How much that is.
    pub count: usize,
    /// Since when something is; `None` = nothing is.
    pub failed_since: Option<SystemTime>,
    /// What makes one doubt files of theirs, the first hundred.
    pub doubts: Vec<Fault>,
}

/// How many certificates there are, and how they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Those that are in use.
    pub in_use: usize,
    /// Those of these that have ended.
    pub expired: usize,
    /// When the next one ends, in Unix time.
    pub next_end: Option<u64>,
}

impl LiveBearers {
    /// What a tenant presents; `None` where it has no certificate.
    pub fn of(&self, tenant: &str) -> Option<&Arc<Held>> {
        self.bearers.get(tenant)
    }

    /// How they are now. Its work grows with how many have ended.
    pub fn sum(&self) -> Sum {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.bearers.sum(now)
    }

    /// The same bearers with what is to be told: of these tenants problems, of those doubts.
    pub(super) fn telling(
        bearers: BearerList,
        failing: &BTreeSet<TenantId>,
        doubted: &BTreeSet<TenantId>,
        before: &Self,
    ) -> Self {
        let held = |ids: &'_ BTreeSet<TenantId>| -> Vec<Arc<Held>> {
            ids.iter().filter_map(|id| bearers.get(id.as_str()).cloned()).collect()
        };
        let failing = held(failing);
        let count = failing.iter().map(|held| held.problems.len()).sum();
        let problems = failing.iter().flat_map(|held| &held.problems).take(SHOWN).cloned();
        let problems = problems.collect();
        let doubts = held(doubted);
        let doubts = doubts.iter().flat_map(|held| &held.doubts).take(SHOWN).cloned().collect();
        let since = before.failed_since.or_else(|| Some(SystemTime::now()));
        Self { bearers, problems, count, failed_since: since.filter(|_| count > 0), doubts }
    }
}

/// 100: more than anybody reads.
const SHOWN: usize = 100;
