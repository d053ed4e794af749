//! A box for each worker that the others put things into.

use std::sync::{Mutex, PoisonError};

use tokio::sync::mpsc;

/// The boxes of all workers.
#[derive(Debug)]
pub(super) struct Post<T> {
    ways: Vec<mpsc::Sender<T>>,
    /// Until its worker takes it.
    boxes: Vec<Mutex<Option<mpsc::Receiver<T>>>>,
}

impl<T> Post<T> {
    /// Each box has room for `most`.
    pub(super) fn new(workers: usize, most: usize) -> Self {
        let (ways, boxes) = std::iter::repeat_with(|| mpsc::channel(most))
            .take(workers)
            .map(|(way, letters)| (way, Mutex::new(Some(letters))))
            .unzip();
        Self { ways, boxes }
    }

    /// The ways to all workers, in the order of their numbers. What is refused there comes back: the
    /// worker is ending, or is behind.
    pub(super) fn ways(&self) -> &[mpsc::Sender<T>] {
        &self.ways
    }

    /// A worker's own box; `None` once it was taken.
    pub(super) fn take(&self, worker: usize) -> Option<mpsc::Receiver<T>> {
        let own = self.boxes.get(worker)?;
        own.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
