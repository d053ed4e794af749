//! Roll-backs of splits that are not there, until they come back.

use std::collections::BTreeMap;

use super::Id;
use super::kept::Kept;

/// Those that are gone, in the order in which they left. No time has a say in it: clocks are set, and what was rolled back
/// while one stood wrong is rolled back all the same.
#[derive(Debug, Default)]
pub(super) struct Absent {
    by_id: BTreeMap<Id, (u64, Kept)>,
    /// The number of the next one that leaves.
    next: u64,
}

impl Absent {
    /// One comes back.
    pub(super) fn remove(&mut self, id: Id) -> Option<Kept> {
        self.by_id.remove(&id).map(|(_, kept)| kept)
    }

    /// All of them, those that are gone for longest first.
    pub(super) fn list(&self) -> Vec<(Id, Kept)> {
        let mut all: Vec<_> = self.by_id.iter().collect();
        all.sort_by_key(|(_, (order, _))| *order);
        all.into_iter().map(|(id, (_, kept))| (*id, kept.clone())).collect()
    }

    /// Forgets those that are gone for longest, where there are too many.
    fn trim(&mut self) {
        let Some(excess) = self.by_id.len().checked_sub(MOST).filter(|excess| *excess > 0) else {
            return;
        };
        let mut orders: Vec<u64> = self.by_id.values().map(|(order, _)| *order).collect();
        orders.sort_unstable();
        let first = orders[excess];
        self.by_id.retain(|_, (order, _)| *order >= first);
    }
}

impl Extend<(Id, Kept)> for Absent {
    fn extend<I: IntoIterator<Item = (Id, Kept)>>(&mut self, rows: I) {
        for (id, kept) in rows {
            self.by_id.insert(id, (self.next, kept));
            self.next += 1;
        }
        self.trim();
    }
}

/// 10,000, 2 MB: a list that does nothing but grow would be a leak.
const MOST: usize = 10_000;

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use crate::control::splits::RolledBack;

    use super::*;

    #[test]
    fn who_is_gone_for_longest_is_forgotten_first() {
        let rolled_back =
            RolledBack { since: SystemTime::UNIX_EPOCH, reason: "errors".into(), why: "".into() };
        let row = |id: u64| (Id(id), Kept { edition: id, rolled_back: rolled_back.clone() });
        let mut absent = Absent::default();
        let most = MOST as u64;
        absent.extend((0..most).rev().map(row));
        assert!(absent.remove(Id(most - 1)).is_some(), "the first that left has come back");
        absent.extend([row(most - 1)]);

        absent.extend([row(most), row(most + 1)]);

        let list = absent.list();
        assert_eq!(list.len(), MOST);
        let ids: Vec<u64> = list.iter().map(|(Id(id), _)| *id).collect();
        assert_eq!((ids[0], ids[MOST - 3]), (most - 4, most - 1));
        assert_eq!(ids[MOST - 2..], [most, most + 1]);
        assert!(absent.remove(Id(most - 2)).is_none() && absent.remove(Id(0)).is_some());
    }
}
