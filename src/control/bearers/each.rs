//! Work on many files, each by itself: one that hangs, as on a network file system that is gone, holds up no other.

use std::cell::RefCell;
use std::collections::BTreeMap;
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
    /// Nobody has come to a file of it.
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
    /// Those that are being worked on, and since when each is at its file.
    at_work: BTreeMap<usize, Instant>,
    /// When the last one ended.
    last: Instant,
    /// No more are begun.
    is_closed: bool,
    /// Nobody waits any more.
    is_over: bool,
}

impl<T> State<T> {
    /// Whether all that could have been done is.
    fn is_done(&self) -> bool {
        self.done == self.came.len() || self.is_closed && self.at_work.is_empty()
    }

    /// Whether nothing gets on: what has just come to its file may be about to.
    fn is_stuck(&self) -> bool {
        let mut since = self.at_work.values().chain(self.at_work.is_empty().then_some(&self.last));
        since.all(|since| since.elapsed() >= HANGING)
    }
}

/// Does `work` on each of these, as many `at_once`, on threads that may be busy. Ends when all is done, and when nothing gets
/// on. From `limit` on no more are begun, and what gets on is waited for: slow is not dead. Of each one that has not ended by
/// then, `late` is told when it has.
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
    let began = Instant::now();
    let state = Mutex::new(State {
        came,
        next: 0,
        done: 0,
        at_work: BTreeMap::new(),
        last: began,
        is_closed: false,
        is_over: false,
    });
    let shared = Arc::new(Shared { items, work, late, state, all: Notify::new() });
    for _ in 0..at_once.min(count) {
        let shared = Arc::clone(&shared);
        drop(tasks::in_background(move || shared.work_off()));
    }
    while count > 0 && timeout(BETWEEN_CHECKS, shared.all.notified()).await.is_err() {
        let mut state = shared.state();
        state.is_closed |= began.elapsed() >= limit;
        if state.is_done() || state.is_stuck() || began.elapsed() >= limit + PATIENCE {
            break;
        }
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
                    state.at_work.insert(number, Instant::now());
                }
            };
            let outcome = catch_unwind(AssertUnwindSafe(|| (self.work)(item, &note))).ok();
            let (mut state, at) = (self.state(), at.into_inner());
            if state.is_over {
                drop(state);
                // One that had come to no file was told as untried.
                if !at.as_os_str().is_empty() {
                    (self.late)(item, Ended { at, outcome });
                }
                return;
            }
            if let Some(place) = state.came.get_mut(number) {
                *place = outcome.map_or(Came::Failed, Came::Done);
            }
            state.done += 1;
            state.last = Instant::now();
            state.at_work.remove(&number);
            if state.is_done() {
                self.all.notify_one();
            }
        }
    }

    fn next(&self) -> Option<(usize, &I)> {
        let mut state = self.state();
        let number = state.next;
        let item = self.items.get(number).filter(|_| !state.is_over && !state.is_closed)?;
        state.next += 1;
        state.at_work.insert(number, Instant::now());
        Some((number, item))
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// 1 s: a file is read in less than a millisecond.
pub(super) const HANGING: Duration = Duration::from_secs(1);

/// 50 ms: what ends tells of it at once, and only what does not is found by this.
const BETWEEN_CHECKS: Duration = Duration::from_millis(50);

/// 3 s more than a limit: one of many files, each of which is slow, has others wait no longer.
const PATIENCE: Duration = Duration::from_secs(3);

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
                // Past the hook: it may take seconds to tell where, in which this one would hang, too.
                1 => std::panic::resume_unwind(Box::new("a fault of this one alone")),
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
        let work = move |item: &u32, note: &Note<'_>| {
            note(&PathBuf::from(format!("/{item}")));
            assert!(gate.lock().unwrap().recv().is_err());
        };
        let items: Arc<[u32]> = (0..9).collect();

        let came = each(items, (2, LONG), work, |_, _| {}).await;

        assert_eq!(came.iter().filter(|came| matches!(came, Came::Late(_))).count(), 2);
        assert_eq!(came.iter().filter(|came| **came == Came::Untried).count(), 7);
        drop(release);
        let none: Arc<[u32]> = Arc::from([]);
        assert!(each(none, (2, LONG), |_, _| (), |_, _| {}).await.is_empty());
    }

    /// Lets time pass, which a thread that is busy holds where the clock is paused.
    async fn pass(checks: u32) {
        for _ in 0..checks {
            tokio::time::advance(BETWEEN_CHECKS).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_slow_and_gets_on_is_not_taken_for_what_hangs_when_time_is_over() {
        let (release, gate) = mpsc::channel::<()>();
        let (begin, mut begun) = tokio::sync::mpsc::unbounded_channel();
        let gate = Mutex::new(gate);
        let work = move |item: &u32, note: &Note<'_>| {
            for part in 0..3 {
                note(&PathBuf::from(format!("/{item}/{part}")));
                begin.send(()).unwrap();
                gate.lock().unwrap().recv().unwrap();
            }
            *item
        };
        let limit = HANGING * 2;
        let round = each((0..9).collect(), (1, limit), work, |_, _| {});

        // Each file takes most of what would be too long: the last one is begun before time is over, and ends after.
        let releasing = async {
            for _ in 0..3 {
                begun.recv().await.unwrap();
                pass(18).await;
                release.send(()).unwrap();
            }
        };

        let (came, ()) = tokio::join!(round, releasing);

        assert_eq!(came[..2], [Came::Done(0), Came::Untried], "{came:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_came_to_no_file_in_time_is_untried_and_its_end_is_nobody_s() {
        let (release, gate) = mpsc::channel::<()>();
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let gate = Mutex::new(gate);
        let work = move |_: &u32, note: &Note<'_>| {
            assert!(gate.lock().unwrap().recv().is_err());
            note(Path::new("/late"));
        };
        let late = move |item: &u32, _| tell.send(*item).unwrap();
        let came = tokio::select! {
            came = each((0..1).collect(), (1, LONG), work, late) => came,
            () = pass(u32::MAX) => panic!("time is over"),
        };

        assert_eq!(came, [Came::Untried]);
        drop(release);
        assert_eq!(told.recv().await, None);
    }
}
