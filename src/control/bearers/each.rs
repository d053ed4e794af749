//! Work on many files, each by itself: one that hangs, as on a network file system that is gone, holds up no other.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use crate::base::tasks;

/// What has come of one piece of work.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Came<T> {
    Done(T),
    /// It panicked, which is logged.
    Failed,
    /// It is still at it: that it has ended is told.
    Late,
    /// Nobody has come to it.
    Untried,
}

struct Shared<I, T, W, L> {
    items: Arc<[I]>,
    work: W,
    late: L,
    state: Mutex<State<T>>,
    all: Notify,
}

struct State<T> {
    came: Vec<Came<T>>,
    /// The next one to be begun.
    next: usize,
    done: usize,
    /// Nobody waits any more.
    is_over: bool,
}

/// Does `work` on each of these, some at a time, on threads that may be busy. Waits for `limit`, and less where nothing gets on.
/// Of each one that has not ended by then, `late` is told when it has.
pub(super) async fn each<I, T, W, L>(
    items: Arc<[I]>,
    limit: Duration,
    work: W,
    late: L,
) -> Vec<Came<T>>
where
    I: Send + Sync + 'static,
    T: Send + 'static,
    W: Fn(&I) -> T + Send + Sync + 'static,
    L: Fn(&I) + Send + Sync + 'static,
{
    let count = items.len();
    let came = (0..count).map(|_| Came::Untried).collect();
    let state = Mutex::new(State { came, next: 0, done: 0, is_over: false });
    let shared = Arc::new(Shared { items, work, late, state, all: Notify::new() });
    let began = Instant::now();
    let (mut seen, mut workers) = (0, 0);
    while workers < AT_ONCE.min(count) {
        begin(&shared);
        workers += 1;
    }
    while count > 0 && timeout(HANGING.min(limit), shared.all.notified()).await.is_err() {
        let State { done, next, .. } = *shared.state();
        let is_idle = done == seen;
        if began.elapsed() >= limit || is_idle && (next >= count || workers >= MOST_AT_ONCE) {
            break;
        }
        if is_idle {
            begin(&shared);
            workers += 1;
        }
        seen = done;
    }
    let mut state = shared.state();
    state.is_over = true;
    std::mem::take(&mut state.came)
}

fn begin<I, T, W, L>(shared: &Arc<Shared<I, T, W, L>>)
where
    I: Send + Sync + 'static,
    T: Send + 'static,
    W: Fn(&I) -> T + Send + Sync + 'static,
    L: Fn(&I) + Send + Sync + 'static,
{
    let shared = Arc::clone(shared);
    drop(tasks::in_background(move || shared.work_off()));
}

impl<I, T, W: Fn(&I) -> T, L: Fn(&I)> Shared<I, T, W, L> {
    fn work_off(&self) {
        while let Some((at, item)) = self.next() {
            let came = catch_unwind(AssertUnwindSafe(|| (self.work)(item)));
            let mut state = self.state();
            if state.is_over {
                drop(state);
                return (self.late)(item);
            }
            if let Some(place) = state.came.get_mut(at) {
                *place = came.map_or(Came::Failed, Came::Done);
            }
            state.done += 1;
            if state.done == self.items.len() {
                self.all.notify_one();
            }
        }
    }

    fn next(&self) -> Option<(usize, &I)> {
        let mut state = self.state();
        let at = state.next;
        let item = self.items.get(at).filter(|_| !state.is_over)?;
        *state.came.get_mut(at)? = Came::Late;
        state.next += 1;
        Some((at, item))
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// 2: a start with a hundred thousand certificates takes half as long, and workers keep their cores.
const AT_ONCE: usize = 2;

/// 6: so that four may hang and two go on.
const MOST_AT_ONCE: usize = 6;

/// 1 s: a file is read in less than a millisecond.
pub(super) const HANGING: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn one_that_hangs_holds_up_no_other_and_its_end_is_told() {
        let (release, gate) = mpsc::channel::<()>();
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let gate = Mutex::new(gate);
        let work = move |item: &u32| match item {
            0 => drop(gate.lock().unwrap().recv()),
            1 => panic!("a fault of this one alone"),
            _ => {}
        };
        let items: Arc<[u32]> = (0..100).collect();
        let came = each(items, Duration::from_secs(60), work, move |item| {
            tell.send(*item).unwrap();
        });
        let came = came.await;
        assert_eq!((&came[0], &came[1]), (&Came::Late, &Came::Failed));
        assert!(came[2..].iter().all(|came| *came == Came::Done(())));

        drop(release);
        assert_eq!(told.recv().await, Some(0));
        assert!(each(Arc::from([0; 0]), HANGING, |_| (), |_| ()).await.is_empty());
    }
}
