//! Tells when a file or a folder has changed, whatever way it was changed: written in place,
//! replaced by a rename, deleted and made anew, or reached through links that were swapped. It
//! says that something changed, never what; reading is the owner's work.
//!
//! Looking at files may take long, as on a network file system: it is done where a thread may wait.

mod events;
mod trace;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::tasks::Blocking;

pub use events::FileEvents;
use trace::Trace;

/// Watches a path, or several as one. Made before they are first read, it misses no change after
/// that reading.
#[derive(Debug)]
pub struct Watcher {
    place: Place,
    events: mpsc::Receiver<()>,
    /// Whether the last event was a move.
    moved: Arc<AtomicBool>,
    seen: Seen,
    burst: Option<Burst>,
    next_look: Instant,
    /// What is being done on another thread; kept here so that a wait that is dropped loses nothing.
    work: Option<Work>,
}

/// What is watched, and who hears of it.
#[derive(Clone, Debug)]
struct Place {
    paths: Arc<[PathBuf]>,
    system: FileEvents,
    /// As [`FileEvents`] knows the watcher.
    id: u64,
}

/// What was found when the paths were last followed.
#[derive(Clone, Debug, Default)]
struct Seen {
    trace: Arc<Trace>,
    /// What everything looked like.
    look: u64,
    /// Whether the system tells of every change. Where it does not, the look every two seconds is
    /// all there is.
    armed: bool,
}

/// Events that are not yet reported.
#[derive(Clone, Copy, Debug)]
struct Burst {
    first: Instant,
    last: Instant,
    /// Whether it was told of before its end.
    told: bool,
}

/// What is told of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// A file was moved into its place, which is whole then. More may follow: it is told again once
    /// nothing does.
    Early,
    /// Nothing has followed for a while.
    Settled,
}

#[derive(Debug)]
enum Work {
    /// Follows the paths anew, before a change is reported.
    Follow(Blocking<Seen>),
    /// Looks whether anything has changed; with the time when it began.
    Look(Instant, Blocking<Found>),
}

/// What a look has found.
#[derive(Debug)]
struct Found {
    changed: bool,
    armed: bool,
}

impl Watcher {
    /// Starts to watch `path`, which need not exist yet. Where the system refuses to watch, a log
    /// line says so and changes are found by looking.
    pub async fn new(path: impl Into<PathBuf>, system: &FileEvents) -> Self {
        Self::of_all([path.into()].into(), system).await
    }

    /// As [`Watcher::new`], for all of these: the cost of looking at them goes with their number, and
    /// is bounded for all of them together.
    pub async fn of_all(paths: Arc<[PathBuf]>, system: &FileEvents) -> Self {
        let (event, events) = mpsc::channel(1);
        let moved = Arc::default();
        let id = system.listen(event, Arc::clone(&moved));
        let place = Place { paths, system: system.clone(), id };
        let mut watcher = Self {
            place,
            events,
            moved,
            seen: Seen::default(),
            burst: None,
            next_look: Instant::now(),
            work: None,
        };
        let place = watcher.place.clone();
        let seen = Blocking::start(move || place.follow()).ended().await;
        watcher.seen = seen.unwrap_or_default();
        watcher.next_look = Instant::now() + LOOK_EVERY;
        watcher
    }

    /// Resolves 100 ms after the last of the events that belong together, and at the latest 300 ms
    /// after the first. May be dropped at any time without losing a change.
    pub async fn changed(&mut self) {
        self.next(None).await;
    }

    /// As [`Watcher::changed`]; tells of a file that was moved into its place 5 ms after that
    /// already, and again when [`Watcher::changed`] would.
    pub async fn changed_early(&mut self) -> News {
        self.next(Some(SHORT)).await
    }

    async fn next(&mut self, early: Option<Duration>) -> News {
        loop {
            if self.finish_work().await {
                return News::Settled;
            }
            let is_early = |burst: &Burst| !burst.told && self.moved.load(Ordering::Relaxed);
            let early = early.filter(|_| self.burst.as_ref().is_some_and(is_early));
            let wake = match self.burst {
                Some(burst) => {
                    (burst.last + early.unwrap_or(QUIET)).min(burst.first + LONGEST_BURST)
                }
                None => self.next_look,
            };
            tokio::select! {
                biased;
                Some(()) = self.events.recv() => self.note_event(),
                () = sleep_until(wake) => match &mut self.burst {
                    Some(burst) if early.is_some() => {
                        burst.told = true;
                        return News::Early;
                    }
                    _ => self.work = Some(self.begin()),
                }
            }
        }
    }

    /// The work that is due: events are old enough to be reported, or it is time to look.
    fn begin(&mut self) -> Work {
        let place = self.place.clone();
        match self.burst.take() {
            Some(_) => Work::Follow(Blocking::start(move || place.follow())),
            None => {
                let seen = self.seen.clone();
                Work::Look(Instant::now(), Blocking::start(move || place.look(&seen)))
            }
        }
    }

    /// Waits for what is being done, if anything is; tells whether a change is to be reported.
    async fn finish_work(&mut self) -> bool {
        match &mut self.work {
            None => false,
            Some(Work::Follow(following)) => {
                // Without a result, as after a panic, looking will have to do.
                self.seen = following.ended().await.unwrap_or_default();
                self.work = None;
                true
            }
            Some(Work::Look(started, looking)) => {
                let found = looking.ended().await;
                self.next_look = *started + LOOK_EVERY.max(started.elapsed() * LOOK_SHARE);
                self.work = None;
                if let Some(found) = found {
                    self.seen.armed = found.armed;
                    if found.changed {
                        self.note_event();
                    }
                }
                false
            }
        }
    }

    fn note_event(&mut self) {
        let now = Instant::now();
        let burst = self.burst.unwrap_or(Burst { first: now, last: now, told: false });
        self.burst = Some(Burst { last: now, ..burst });
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.place.system.leave(self.place.id);
    }
}

impl Place {
    /// Takes the present look as the known one, and watches the folders that now hold the files.
    /// What changes after this is reported; what changed before it, the owner is about to read.
    fn follow(&self) -> Seen {
        let mut trace = Arc::new(Trace::of(&self.paths));
        let mut armed = self.system.arm(self.id, &trace);
        for _ in 1..ARM_TRIES {
            let now = Trace::of(&self.paths);
            if now.watches_as(&trace) {
                break;
            }
            // Folders that change faster than they can be followed: the next look sees to it.
            trace = Arc::new(now);
            armed = self.system.arm(self.id, &trace);
        }
        Seen { look: trace.look(), trace, armed }
    }

    /// Looks at the files themselves, for file systems that send no events (NFS, some overlays).
    fn look(&self, seen: &Seen) -> Found {
        // A limit of the system may have been raised. First, so that nothing falls in between.
        let armed = seen.armed || self.system.arm(self.id, &seen.trace);
        self.system.tidy();
        let changed = seen.trace.look() != seen.look || Trace::of(&self.paths) != *seen.trace;
        Found { changed, armed }
    }
}

/// 100 ms: an editor's several writes of one save lie within a few milliseconds.
const QUIET: Duration = Duration::from_millis(100);

/// 5 ms: the events of one move lie within one.
const SHORT: Duration = Duration::from_millis(5);

/// 300 ms: a file that is written without a pause still gets live within half a second.
const LONGEST_BURST: Duration = Duration::from_millis(300);

/// 3: a swap of links takes two steps.
const ARM_TRIES: u32 = 3;

/// 2 s: a person who edits a file on a network file system waits no longer than this.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A look takes at most a fiftieth of the time, also in a folder of 100,000 files.
const LOOK_SHARE: u32 = 50;

#[cfg(test)]
mod tests;
