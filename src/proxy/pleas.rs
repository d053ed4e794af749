//! What one worker asks of another: to let an idle connection go. Without it a new connection would
//! be refused where all that are idle are on another worker than it came to.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::oneshot;

use super::door::{Door, Front};
use super::headcount::{Full, Place};
use super::post::Post;
use super::worker::Worker;

/// Asks for an idle connection of this listener, or of any, to go. The answer tells whether one does.
#[derive(Debug)]
pub(super) struct Plea {
    listener: Option<usize>,
    answer: oneshot::Sender<bool>,
}

/// The way to every worker.
pub(super) fn ways(workers: usize) -> Post<Plea> {
    Post::new(workers, MOST)
}

/// Hears what other workers ask of this one, for as long as it runs.
pub(super) async fn hear(worker: Rc<Worker>) {
    let Some(mut ear) = worker.headcount.pleas.take(worker.number) else { return };
    while let Some(plea) = ear.recv().await {
        let heard = worker.vacate(plea.listener);
        if plea.answer.send(heard).is_err() {
            tracing::debug!("who asked for room has ended");
        }
    }
}

/// Finds room for a connection of this listener by asking the other workers in turn.
///
/// # Errors
/// When none of them has an idle connection, or so many ask already that the answer would be late.
pub(super) async fn plead(
    worker: &Rc<Worker>,
    door: &Door,
    front: &Front,
    full: Full,
) -> Result<Place, Full> {
    let Some(_pleading) = Pleading::begin(&worker.pleading) else { return Err(full) };
    let mut last = full;
    let ways = worker.headcount.pleas.ways();
    for step in 1..ways.len() {
        let way = &ways[(worker.number + step) % ways.len()];
        let (answer, answered) = oneshot::channel();
        let plea = Plea { listener: last.listener(door.number), answer };
        // An error says that the worker is ending, or is behind: it cannot help.
        if way.try_send(plea).is_err() || !answered.await.unwrap_or(false) {
            continue;
        }
        match worker.admit(door, front) {
            Ok(place) => return Ok(place),
            Err(full) => last = full,
        }
    }
    Err(last)
}

/// Counts one who asks, until dropped.
struct Pleading<'p>(&'p Cell<usize>);

impl<'p> Pleading<'p> {
    fn begin(count: &'p Cell<usize>) -> Option<Self> {
        let now = count.get();
        (now < MOST).then(|| {
            count.set(now + 1);
            Self(count)
        })
    }
}

impl Drop for Pleading<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// 64 at once: who comes after that is refused without asking.
const MOST: usize = 64;
