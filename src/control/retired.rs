//! What was live and may still be held.

use std::sync::Arc;

use crate::base::tasks;

/// Values that workers may still hold. The last holder pays for taking one apart, which grows with the tenants: so
/// control holds each one until nobody else does.
#[derive(Debug)]
pub(super) struct Retired<T>(Vec<Arc<T>>);

impl<T> Default for Retired<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Send + Sync + 'static> Retired<T> {
    pub(super) fn add(&mut self, value: Arc<T>) {
        self.0.push(value);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn sweep(&mut self) {
        // One that is retired can be reached by its present holders only: the count cannot grow from
        // one again.
        let (free, held) = self.0.drain(..).partition(|value| Arc::strong_count(value) == 1);
        self.0 = held;
        let free: Vec<Arc<T>> = free;
        if !free.is_empty() {
            drop(tasks::in_background(move || drop(free)));
        }
    }
}
