//! Tells when a file or a folder has changed, whatever way it was changed: written in place,
//! replaced by a rename, deleted and made anew, or reached through links that were swapped. It
//! says that something changed, never what; reading is the owner's work.

mod trace;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{Config, Event, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use trace::Trace;

/// Watches one path. Made before the path is first read, it misses no change after that reading.
#[derive(Debug)]
pub struct Watcher {
    path: PathBuf,
    trace: Arc<Trace>,
    /// What everything looked like when a change was last told.
    known: u64,
    /// Kept because dropping it ends the watch. `None` where the system gives no events; then the
    /// look every two seconds is all there is.
    armed: Option<RecommendedWatcher>,
    /// Room for one: a second event before the first is heard says nothing new.
    event: mpsc::Sender<()>,
    events: mpsc::Receiver<()>,
    burst: Option<Burst>,
    next_look: Instant,
}

/// Events that are not yet reported.
#[derive(Clone, Copy, Debug)]
struct Burst {
    first: Instant,
    last: Instant,
}

impl Watcher {
    /// Starts to watch `path`, which need not exist yet. Where the system refuses to watch, a log
    /// line says so and changes are found by looking.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let (event, events) = mpsc::channel(1);
        let (trace, next_look) = (Arc::new(Trace::default()), Instant::now() + LOOK_EVERY);
        let mut watcher =
            Self { path, trace, known: 0, armed: None, event, events, burst: None, next_look };
        watcher.follow_anew();
        watcher
    }

    /// Resolves 100 ms after the last of the events that belong together, and at the latest 300 ms
    /// after the first. May be dropped at any time without losing a change.
    pub async fn changed(&mut self) {
        loop {
            let wake = match self.burst {
                Some(burst) => (burst.last + QUIET).min(burst.first + LONGEST_BURST),
                None => self.next_look,
            };
            tokio::select! {
                Some(()) = self.events.recv() => self.note_event(),
                () = sleep_until(wake) => {
                    if self.burst.take().is_some() {
                        self.follow_anew();
                        return;
                    }
                    self.look();
                }
            }
        }
    }

    fn note_event(&mut self) {
        let now = Instant::now();
        let first = self.burst.map_or(now, |burst| burst.first);
        self.burst = Some(Burst { first, last: now });
    }

    /// Looks at the files themselves, for file systems that send no events (NFS, some overlays).
    fn look(&mut self) {
        let started = Instant::now();
        if self.trace.look() != self.known || Trace::of(&self.path) != *self.trace {
            self.note_event();
        }
        self.next_look = started + LOOK_EVERY.max(started.elapsed() * LOOK_SHARE);
    }

    /// Takes the present look as the known one, and watches the folders that now hold the files:
    /// always anew, because a folder that was deleted and made again looks the same and is not.
    /// What changes after this is reported; what changed before it, the owner is about to read.
    fn follow_anew(&mut self) {
        for _ in 0..ARM_TRIES {
            self.trace = Arc::new(Trace::of(&self.path));
            self.arm();
            if Trace::of(&self.path).watches_as(&self.trace) {
                break;
            }
            // Folders that change faster than they can be followed: the next look sees to it.
        }
        self.known = self.trace.look();
    }

    fn arm(&mut self) {
        let trace = Arc::clone(&self.trace);
        let event = self.event.clone();
        let hear = move |heard: notify::Result<Event>| {
            if heard.map_or(true, |heard| matters(&heard, &trace)) {
                // A full channel already says that something changed.
                event.try_send(()).unwrap_or_default();
            }
        };
        self.armed = None; // gives its inotify instance back before the next one is asked for
        match RecommendedWatcher::new(hear, Config::default()) {
            Ok(mut watcher) => {
                for folder in self.trace.folders() {
                    if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
                        warn_of(folder, &error);
                    }
                }
                self.armed = Some(watcher);
            }
            Err(error) => warn_of(&self.path, &error),
        }
    }
}

fn warn_of(path: &Path, error: &notify::Error) {
    // A folder that is gone meanwhile is no fault; the next trace leaves it out.
    if !matches!(error.kind, notify::ErrorKind::PathNotFound) {
        tracing::warn!(path = %path.display(), %error,
            "cannot watch for changes; looking every two seconds instead");
    }
}

/// Reading a file is an event too; only what changes it counts. An event without a path tells of
/// lost events.
fn matters(event: &Event, trace: &Trace) -> bool {
    let changes = match event.kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        _ => true,
    };
    let known = event.paths.is_empty() || event.paths.iter().any(|path| trace.concerns(path));
    event.need_rescan() || (changes && known)
}

/// 100 ms: an editor's several writes of one save lie within a few milliseconds.
const QUIET: Duration = Duration::from_millis(100);

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
