//! One immutable value that is swapped whole and read without a lock.

use std::sync::Arc;

use arc_swap::{ArcSwap, Cache, Guard};

/// A shared cell that holds one immutable value. A reader gets the value of one instant and keeps
/// it for as long as it likes; a writer replaces it whole. Clones are handles to the same cell.
#[derive(Debug)]
pub struct Snapshot<T> {
    cell: Arc<ArcSwap<T>>,
}

/// A reader of a [`Snapshot`] that belongs to one thread: it revalidates with one relaxed-cost
/// load and touches no reference count unless the value has changed.
pub type Reader<T> = Cache<Arc<ArcSwap<T>>, Arc<T>>;

impl<T> Clone for Snapshot<T> {
    fn clone(&self) -> Self {
        Self { cell: Arc::clone(&self.cell) }
    }
}

impl<T> Snapshot<T> {
    /// A cell that holds `value`.
    pub fn new(value: Arc<T>) -> Self {
        Self { cell: Arc::new(ArcSwap::new(value)) }
    }

    /// The value of now.
    pub fn load(&self) -> Arc<T> {
        self.cell.load_full()
    }

    /// Looks at the value of now, for a moment: no count of holders is touched, which all threads
    /// would write to.
    pub fn with<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.cell.load())
    }

    /// The value of now where it is `wanted`; where it is not, no reference count is touched.
    pub fn load_if(&self, wanted: impl FnOnce(&T) -> bool) -> Option<Arc<T>> {
        let value = self.cell.load();
        wanted(&value).then(|| Guard::into_inner(value))
    }

    /// Replaces the value. Readers that hold the old one finish on it.
    pub fn publish(&self, value: Arc<T>) {
        self.cell.store(value);
    }

    /// A reader for one thread.
    pub fn reader(&self) -> Reader<T> {
        Cache::new(Arc::clone(&self.cell))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_sees_a_published_value_and_a_holder_keeps_the_old_one() {
        let snapshot = Snapshot::new(Arc::new(1));
        let mut reader = snapshot.reader();
        let held = snapshot.load();

        snapshot.publish(Arc::new(2));

        assert_eq!(**reader.load(), 2);
        assert_eq!(snapshot.with(|value| *value), 2);
        assert_eq!(*held, 1);
        assert_eq!(snapshot.load_if(|value| *value == 1), None);
        assert_eq!(snapshot.load_if(|value| *value == 2).as_deref(), Some(&2));
    }
}
