//! What attempts say of how overrun their pools are, for who bounds those that are. Counted by each worker by itself, summed on
//! the control side until somebody takes it.

use std::collections::HashMap;

use super::delta::Delta;
use super::histogram::Histogram;

/// What was seen of a pool since it was looked at before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strain {
    /// How long attempts waited that ended without an answer, as their time was over or their client had left.
    pub late: Histogram,
    /// How long the others took to the heads of their answers, of those that were answered and not with a 5xx.
    pub served: Histogram,
}

/// The sums of what all workers have seen, by the numbers of pools.
#[derive(Debug, Default)]
pub(super) struct Strains(HashMap<u32, Strain>);

impl Strains {
    /// Adds what a worker has seen.
    pub(super) fn add(&mut self, delta: &Delta) {
        for (index, counts) in delta.pools.iter() {
            let Some(slot) = index.checked_sub(1) else { continue }; // what goes to no pool
            let strain = self.0.entry(slot).or_default();
            match counts.rare.as_ref().and_then(|rare| rare.unserved.as_ref()) {
                None => strain.served.merge(&counts.first_byte),
                Some(unserved) => {
                    strain.late.merge(&unserved.late);
                    strain.served.merge(&counts.first_byte.without(&unserved.failed));
                }
            }
        }
    }

    /// Moves out what was seen.
    pub(super) fn take(&mut self) -> HashMap<u32, Strain> {
        std::mem::take(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::model::ids::Label;

    use super::*;

    #[test]
    fn answers_of_class_5_are_none_that_were_served_and_what_was_late_is_counted_by_pool() {
        let pool = |name: &str, slot| Label { name: name.into(), slot };
        let (shop, till) = (pool("shop", 3), pool("till", 4));
        let mut delta = Delta::default();
        for millis in [1, 400, 400] {
            delta.pools.at(&shop).first_byte.observe(Duration::from_millis(millis));
        }
        let rare = delta.pools.at(&shop).rare.get_or_insert_default();
        rare.unserved.get_or_insert_default().failed.observe(Duration::from_millis(1));
        let rare = delta.pools.at(&till).rare.get_or_insert_default();
        rare.unserved.get_or_insert_default().late.observe(Duration::from_secs(2));
        let mut all = Strains::default();

        all.add(&delta);
        all.add(&delta);

        let seen = all.take();
        assert_eq!((seen[&3].late.count(), seen[&3].served.count()), (0, 4));
        assert_eq!(seen[&3].served.sum(), Duration::from_millis(1600));
        assert!(seen[&3].served.quantile(0.25).unwrap() > Duration::from_millis(200));
        assert_eq!((seen[&4].late.count(), seen[&4].served.count()), (2, 0));
        assert_eq!(seen[&4].late.sum(), Duration::from_secs(4));
        assert!(all.take().is_empty());
    }
}
