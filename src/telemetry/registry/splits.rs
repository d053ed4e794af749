//! What is counted of splits with a canary. Control looks at each of them once a second, and tells it here.

use std::collections::HashSet;

use crate::model::canary::{Outcome, Side};
use crate::telemetry::metrics::Family;
use crate::telemetry::splits::{SPLIT_REQUESTS, SPLIT_ROLLBACKS, SPLIT_ROLLED_BACK};

use super::{Metrics, locked};

/// A split as metrics name it: its id, whose route it is of, and the route's name.
#[derive(Clone, Copy, Debug)]
pub struct SplitLabels<'l>(pub [&'l str; 3]);

impl Metrics {
    /// Requests of a split came to this.
    pub fn split_requests(
        &self,
        SplitLabels([split, owner, route]): SplitLabels<'_>,
        (side, outcome): (Side, Outcome),
        count: u64,
    ) {
        let labels = [split, owner, route, side.as_str(), outcome.as_str()];
        self.add(&SPLIT_REQUESTS, &labels, count);
    }

    /// Whether the canary of a split is rolled back.
    pub fn split_state(&self, SplitLabels(labels): SplitLabels<'_>, rolled_back: bool) {
        self.set(&SPLIT_ROLLED_BACK, &labels, f64::from(u8::from(rolled_back)));
    }

    /// The canary of a split was rolled back by this rule.
    pub fn split_rolled_back(
        &self,
        SplitLabels([split, owner, route]): SplitLabels<'_>,
        reason: &str,
    ) {
        self.add(&SPLIT_ROLLBACKS, &[split, owner, route, reason], 1);
    }

    /// There are no such splits any more, or they have other names: their series end.
    pub fn forget_splits(&self, splits: &HashSet<String>) {
        let families: [&Family; 3] = [&SPLIT_REQUESTS, &SPLIT_ROLLED_BACK, &SPLIT_ROLLBACKS];
        let mut values = locked(&self.values);
        for family in families {
            if let Some(values) = values.get_mut(family.name) {
                let is_gone =
                    |labels: &[String]| labels.first().is_some_and(|own| splits.contains(own));
                values.by_labels.retain(|labels, _| !is_gone(labels));
            }
        }
    }
}
