//! Requests at once: a count that a request enters and leaves, and a queue of those that may wait
//! for somebody to leave. Where nobody waits, entering and leaving are one atomic operation each.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// How many requests are under way, of one limit.
#[derive(Debug, Default)]
pub struct Gate {
    inside: AtomicU32,
    limit: AtomicU32,
    /// How many are in the queue, for who leaves.
    queued: AtomicU32,
    queue: Mutex<VecDeque<oneshot::Sender<Permit>>>,
}

/// A request under way. It leaves when this is dropped.
#[derive(Debug)]
pub struct Permit(Option<Arc<Gate>>);

/// A place in the queue. It is free when this is dropped.
#[derive(Debug)]
pub struct Queued {
    gate: Arc<Gate>,
    turn: oneshot::Receiver<Permit>,
    /// Its turn came, and was taken.
    came: bool,
}

/// What became of who wished to enter.
#[derive(Debug)]
pub enum Entry {
    /// It is inside.
    Inside(Permit),
    /// It waits for its turn.
    Queued(Queued),
    /// There is no room, and none among those that wait.
    Full,
}

impl Gate {
    /// Enters where fewer than `limit` are inside, or waits for that beside at most so many others.
    /// Who comes first enters first.
    pub fn enter(self: &Arc<Self>, limit: u32, waiting: u32) -> Entry {
        if self.limit.load(Ordering::Relaxed) != limit {
            self.change(limit);
        }
        if self.queued.load(Ordering::SeqCst) == 0
            && let Some(permit) = self.try_enter()
        {
            return Entry::Inside(permit);
        }
        self.queue_up(waiting)
    }

    /// How many are inside.
    pub fn inside(&self) -> u32 {
        self.inside.load(Ordering::Relaxed)
    }

    /// How many are inside, and how many wait for it.
    pub fn state(&self) -> (u32, u32) {
        (self.inside(), self.queued.load(Ordering::Relaxed))
    }

    /// Whether somebody is inside, or waits for it.
    pub fn is_used(&self) -> bool {
        self.inside() > 0 || self.queued.load(Ordering::Relaxed) > 0
    }

    fn try_enter(self: &Arc<Self>) -> Option<Permit> {
        let limit = self.limit.load(Ordering::Relaxed);
        let more = |inside| (inside < limit).then(|| inside + 1);
        let entered = self.inside.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more);
        entered.is_ok().then(|| Permit(Some(Arc::clone(self))))
    }

    #[cold]
    fn queue_up(self: &Arc<Self>, waiting: u32) -> Entry {
        let mut queue = self.queue();
        if queue.len() >= usize::try_from(waiting).unwrap_or(usize::MAX) {
            // Those in the queue may all be about to enter, and leave room for one more.
            let entry = if queue.is_empty() { self.try_enter() } else { None };
            return entry.map_or(Entry::Full, Entry::Inside);
        }
        let (sender, turn) = oneshot::channel();
        queue.push_back(sender);
        self.count(&queue);
        drop(queue);
        // Somebody may have left before it was in the queue: either it is seen here, or there.
        self.let_in();
        Entry::Queued(Queued { gate: Arc::clone(self), turn, came: false })
    }

    /// Another limit, maybe a larger one.
    #[cold]
    fn change(self: &Arc<Self>, limit: u32) {
        self.limit.store(limit, Ordering::SeqCst);
        self.let_in();
    }

    fn leave(self: &Arc<Self>) {
        self.inside.fetch_sub(1, Ordering::SeqCst);
        if self.queued.load(Ordering::SeqCst) > 0 {
            self.let_in();
        }
    }

    /// Lets those in who wait, as far as there is room.
    #[cold]
    fn let_in(self: &Arc<Self>) {
        while self.queued.load(Ordering::SeqCst) > 0 {
            let Some(mut permit) = self.try_enter() else { return };
            let mut queue = self.queue();
            let next = queue.pop_front();
            self.count(&queue);
            drop(queue);
            if let Some(next) = next
                && let Err(returned) = next.send(Permit(permit.0.take()))
            {
                permit = returned; // it has gone meanwhile
            }
            if let Some(gate) = permit.0.take() {
                // Not as who leaves: this loop is that already.
                gate.inside.fetch_sub(1, Ordering::SeqCst);
            }
        }
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<oneshot::Sender<Permit>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, queue: &VecDeque<oneshot::Sender<Permit>>) {
        let queued = u32::try_from(queue.len()).unwrap_or(u32::MAX);
        self.queued.store(queued, Ordering::SeqCst);
    }
}

impl Queued {
    /// Waits for its turn. May be given up and asked again.
    pub async fn turn(&mut self) -> Permit {
        match (&mut self.turn).await {
            Ok(permit) => {
                self.came = true;
                permit
            }
            // A sender is dropped with its gate alone, which this holds.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.turn.close();
        // Its turn may have come meanwhile: then the place was free already, and this leaves again.
        if self.came || self.turn.try_recv().is_ok() {
            return; // it is in the queue no more
        }
        let mut queue = self.gate.queue();
        queue.retain(|sender| !sender.is_closed());
        self.gate.count(&queue);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(gate) = self.0.take() {
            gate.leave();
        }
    }
}

#[cfg(test)]
mod tests;
