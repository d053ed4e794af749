//! Those who wait for room in a limit that gateways share, in the order in which they came. Whoever
//! fills the reserve lets them in.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::limits::ledger::Cell;

use super::Held;

/// Those who wait.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// How many, for who does not want to meet the lock.
    length: AtomicUsize,
    /// They, and some who have gone.
    waiting: Mutex<VecDeque<oneshot::Sender<Held>>>,
}

/// A place in the line. It is free when this is dropped.
#[derive(Debug)]
pub struct Place {
    cell: Arc<Cell>,
    turn: oneshot::Receiver<Held>,
    /// Its turn came, and was taken.
    came: bool,
}

impl Line {
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn len(&self) -> u64 {
        u64::try_from(self.length.load(Ordering::SeqCst)).unwrap_or(u64::MAX)
    }

    /// A place at its end.
    pub(super) fn join(&self, cell: &Arc<Cell>) -> Place {
        let (sender, turn) = oneshot::channel();
        self.length.fetch_add(1, Ordering::SeqCst);
        self.lock().push_back(sender);
        Place { cell: Arc::clone(cell), turn, came: false }
    }

    /// Lets those in who are there, as long as `next` has something for them. What somebody who has gone
    /// does not take any more goes `back`.
    pub(super) fn let_in(&self, next: impl Fn() -> Option<Held>, back: impl Fn(Held)) {
        let mut waiting = self.lock();
        while let Some(first) = waiting.front() {
            if first.is_closed() {
                waiting.pop_front();
                continue;
            }
            let Some(held) = next() else { break };
            match waiting.pop_front().map(|first| first.send(held)) {
                Some(Ok(())) => {
                    self.length.fetch_sub(1, Ordering::SeqCst);
                }
                Some(Err(held)) => back(held), // it has gone right now
                None => back(held),
            }
        }
    }

    /// One who had no turn has gone. Those are removed now and then: thousands may go at once.
    fn leave(&self) {
        let left = self.length.fetch_sub(1, Ordering::SeqCst).saturating_sub(1);
        let mut waiting = self.lock();
        if waiting.len() > left.saturating_mul(2).saturating_add(SOME) {
            waiting.retain(|sender| !sender.is_closed());
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<oneshot::Sender<Held>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Waits for its turn. May be given up and asked again.
    pub async fn turn(&mut self) -> Held {
        match (&mut self.turn).await {
            Ok(held) => {
                self.came = true;
                held
            }
            // A sender is dropped with its line alone, which this holds.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.turn.close();
        let Some(lease) = self.cell.known_lease().filter(|_| !self.came) else { return };
        match self.turn.try_recv() {
            Ok(Held::Shared) => lease.put_back(),
            Ok(Held::Own) => {}
            Err(_) => lease.line().leave(),
        }
    }
}

/// 16: less is not worth a look.
const SOME: usize = 16;
