//! What balancers work out of the eligible endpoints, once for each change of them.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::model::members::Eligible;
use crate::pool::derived::Derived;

/// A table of places of eligible endpoints.
#[derive(Debug)]
pub(super) struct Table<T>(Derived<T>);

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self(Derived::default())
    }
}

impl<T> Table<T> {
    /// Asks the table of these endpoints; `None` where there is none: another request has met newer
    /// endpoints already.
    pub(super) fn ask<R>(
        &self,
        eligible: &Eligible,
        build: impl Fn(&Eligible) -> T,
        ask: impl FnOnce(&T) -> Option<R>,
    ) -> Option<R> {
        let known = self.0.at(eligible.version, || print(eligible), |_| build(eligible));
        let known = known.as_ref().filter(|known| known.version == eligible.version)?;
        ask(&known.value)
    }
}

/// A hash of the endpoints and their weights, for this process alone.
pub(super) fn print(eligible: &Eligible) -> u64 {
    let mut hasher = DefaultHasher::new();
    eligible.weights.hash(&mut hasher);
    eligible.cohort.hash(&mut hasher);
    eligible.counted.hash(&mut hasher);
    for endpoint in &eligible.endpoints {
        endpoint.id.hash(&mut hasher);
    }
    hasher.finish()
}
