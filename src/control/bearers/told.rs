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
pub struct Bearer {
    /// Its id.
    pub id: TenantId,
    /// What it presents.
    pub held: Arc<Held>,
}

impl Keyed for Bearer {
    type Key = str;

    fn key(&self) -> &str {
        self.id.as_str()
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
    pub bearers: Sorted<Bearer>,
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
        self.bearers.get(tenant).map(|bearer| &bearer.held)
    }

    /// How they are now. Its work grows with their number.
    pub fn sum(&self) -> Sum {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut sum = Sum::default();
        for one in self.bearers.iter().flat_map(|bearer| bearer.held.in_use()) {
            sum.in_use += 1;
            match one.end >= now {
                true => sum.next_end = Some(sum.next_end.map_or(one.end, |end| end.min(one.end))),
                false => sum.expired += 1,
            }
        }
        sum
    }

    /// The same bearers with what is to be told: of these tenants problems, of those doubts.
    pub(super) fn telling(
        bearers: Sorted<Bearer>,
        failing: &BTreeSet<TenantId>,
        doubted: &BTreeSet<TenantId>,
        before: &Self,
    ) -> Self {
        let held = |ids: &'_ BTreeSet<TenantId>| -> Vec<Arc<Held>> {
            let held = ids.iter().filter_map(|id| bearers.get(id.as_str()));
            held.map(|bearer| Arc::clone(&bearer.held)).collect()
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
