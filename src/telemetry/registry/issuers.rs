//! What is counted of the keys of issuers.

use std::time::SystemTime;

use crate::telemetry::issuers::{ISSUER_FETCHES, ISSUER_KEYS, ISSUER_KEYS_AT};

use super::{Metrics, locked, unix_seconds};

impl Metrics {
    /// The keys of an issuer were fetched or read; `result` is from a closed set, as in `ok` or `timeout`.
    pub fn issuer_fetched(&self, issuer: &str, result: &'static str) {
        self.add(&ISSUER_FETCHES, &[issuer, result], 1);
    }

    /// How many keys of an issuer are in use, and when they were fetched or read.
    pub fn issuer_keys(&self, issuer: &str, keys: usize, at: Option<SystemTime>) {
        self.set(&ISSUER_KEYS, &[issuer], keys as f64);
        if let Some(at) = at {
            self.set(&ISSUER_KEYS_AT, &[issuer], unix_seconds(at));
        }
    }

    /// Forgets all issuers but these.
    pub fn keep_issuers(&self, is_kept: impl Fn(&str) -> bool) {
        let mut values = locked(&self.values);
        for family in [&ISSUER_FETCHES, &ISSUER_KEYS, &ISSUER_KEYS_AT] {
            if let Some(values) = values.get_mut(family.name) {
                values
                    .by_labels
                    .retain(|labels, _| labels.first().is_some_and(|name| is_kept(name)));
            }
        }
    }
}
