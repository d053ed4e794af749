//! Work on many files, each by itself: one that hangs, as on a network file system that is gone, holds up no other.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
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
    /// It is still at this file. What it comes to is told when it has ended.
    Late(PathBuf),
    /// Nobody has come to it.
    Untried,
}

/// Work that took too long, and has ended.
#[derive(Debug)]
pub(super) struct Ended<T> {
    /// The file that was told to hang.
    pub(super) at: PathBuf,
    /// `None` = it panicked.
    pub(super) outcome: Option<T>,
}

/// Tells which file is about to be asked for something.
pub(super) type Note<'n> = dyn Fn(&Path) + 'n;

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

/// Does `work` on each of these, as many `at_once`, on threads that may be busy. Ends when all is done, when nothing gets on,
/// and soon after `limit`. Of each one that has not ended by then, `late` is told when it has.
pub(super) async fn each<I, T, W, L>(
    items: Arc<[I]>,
    (at_once, limit): (usize, Duration),
    work: W,
    late: L,
) -> Vec<Came<T>>
where
    I: Send + Sync + 'static,
    T: Send + 'static,
    W: Fn(&I, &Note<'_>) -> T + Send + Sync + 'static,
    L: Fn(&I, Ended<T>) + Send + Sync + 'static,
{
    let count = items.len();
    let came = (0..count).map(|_| Came::Untried).collect();
    let state = Mutex::new(State { came, next: 0, done: 0, is_over: false });
    let shared = Arc::new(Shared { items, work, late, state, all: Notify::new() });
    let (began, mut seen) = (Instant::now(), 0);
    for _ in 0..at_once.min(count) {
        let shared = Arc::clone(&shared);
        drop(tasks::in_background(move || shared.work_off()));
    }
    while count > 0 && timeout(HANGING, shared.all.notified()).await.is_err() {
        let done = shared.state().done;
        if done == seen || began.elapsed() >= limit {
            break;
        }
        seen = done;
    }
    let mut state = shared.state();
    state.is_over = true;
    std::mem::take(&mut state.came)
}

impl<I, T, W, L> Shared<I, T, W, L>
where
    W: Fn(&I, &Note<'_>) -> T,
    L: Fn(&I, Ended<T>),
{
    fn work_off(&self) {
        while let Some((number, item)) = self.next() {
            let at = RefCell::new(PathBuf::new());
            let note = |path: &Path| {
                let mut state = self.state();
                if let (false, Some(place)) = (state.is_over, state.came.get_mut(number)) {
                    *place = Came::Late(path.to_path_buf());
                    at.replace(path.to_path_buf());
                }
            };
            let outcome = catch_unwind(AssertUnwindSafe(|| (self.work)(item, &note))).ok();
            let mut state = self.state();
            if state.is_over {
                drop(state);
                return (self.late)(item, Ended { at: at.into_inner(), outcome });
            }
            if let Some(place) = state.came.get_mut(number) {
                *place = outcome.map_or(Came::Failed, Came::Done);
            }
            state.done += 1;
            if state.done == self.items.len() {
                self.all.notify_one();
            }
        }
    }

    fn next(&self) -> Option<(usize, &I)> {
        let mut state = self.state();
        let number = state.next;
        let item = self.items.get(number).filter(|_| !state.is_over)?;
        *state.came.get_mut(number)? = Came::Late(PathBuf::new());
        state.next += 1;
        Some((number, item))
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// 1 s: a file is read in less than a millisecond.
pub(super) const HANGING: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// As long as nobody waits.
    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn one_that_hangs_holds_up_no_other_and_what_it_comes_to_is_told() {
        let (release, gate) = mpsc::channel::<()>();
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let gate = Mutex::new(gate);
        let work = move |item: &u32, note: &Note<'_>| {
            note(Path::new("/before"));
            note(&PathBuf::from(format!("/{item}")));
            match item {
                0 => drop(gate.lock().unwrap().recv()),
                1 => panic!("a fault of this one alone"),
                _ => {}
            }
            note(Path::new("/after"));
            *item
        };
        let items: Arc<[u32]> = (0..100).collect();

        let late = move |_: &u32, ended| tell.send(ended).unwrap();
        let came = each(items, (2, LONG), work, late).await;

        assert_eq!((&came[0], &came[1]), (&Came::Late("/0".into()), &Came::Failed));
        assert!((2..100).all(|at| came[at as usize] == Came::Done(at)));
        drop(release);
        let Ended { at, outcome } = told.recv().await.unwrap();
        assert_eq!((at, outcome), ("/0".into(), Some(0)), "the file that was told");
    }

    #[tokio::test]
    async fn where_all_hang_nobody_waits_and_the_others_are_untried() {
        let (release, gate) = mpsc::channel::<()>();
        let gate = Mutex::new(gate);
        let work = move |_: &u32, _: &Note<'_>| assert!(gate.lock().unwrap().recv().is_err());
        let items: Arc<[u32]> = (0..9).collect();

        let came = each(items, (2, LONG), work, |_, _| {}).await;

        assert_eq!(came.iter().filter(|came| matches!(came, Came::Late(_))).count(), 2);
        assert_eq!(came.iter().filter(|came| **came == Came::Untried).count(), 7);
        drop(release);
        let none: Arc<[u32]> = Arc::from([]);
        assert!(each(none, (2, LONG), |_, _| (), |_, _| {}).await.is_empty());
    }
}
