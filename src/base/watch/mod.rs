//! Tells when a file or a folder has changed, whatever way it was changed: written in place,
//! replaced by a rename, deleted and made anew, or reached through links that were swapped. It
//! says that something changed, and in a folder the names, never how; reading is the owner's work.
//!
//! Looking at files may take long, as on a network file system: it is done where a thread may wait.

mod events;
mod heard;
mod system;
mod trace;

use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::tasks::Blocking;

pub use events::FileEvents;
pub use heard::Changed;
use heard::{Event, Heard};
use trace::Trace;

/// Watches a path, or several as one. Made before they are first read, it misses no change after
/// that reading.
#[derive(Debug)]
pub struct Watcher {
    place: Place,
    events: mpsc::Receiver<()>,
    /// What the events were.
    heard: Arc<Heard>,
    seen: Seen,
    /// Whether changes were told without following the paths anew, so that what was seen is not
    /// what there is.
    stale: bool,
    burst: Option<Burst>,
    next_look: Instant,
    /// What is being done on another thread; kept here so that a wait that is dropped loses nothing.
    work: Option<Work>,
    /// When that was begun.
    work_began: Instant,
    /// Whether there were events while it was done.
    disturbed: bool,
    /// Whether a look at everything was put off, as events came when it was due.
    put_off: bool,
    /// Whether a suspicion was, as what it was of may have been heard.
    suspected: bool,
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A file was moved into its place, which is whole then. More may follow: all of it is told again
    /// once nothing does.
    Early(Changed),
    /// Nothing has followed for a while.
    Settled(Changed),
    /// Nothing has been heard since changes were told by their names, or it is long ago that nothing
    /// was: it is time for a look at everything, in case that there was more than was heard.
    Quiet,
}

#[derive(Debug)]
enum Work {
    /// Follows the paths anew, before a change is reported.
    Follow(Blocking<Seen>),
    /// Follows them after changes were reported; with the time when it began.
    Renew(Instant, Blocking<Seen>),
    /// Looks whether anything has changed; with the time when it began.
    Look(Instant, Blocking<Found>),
}

/// What work came to.
enum Done {
    Followed(Seen),
    Looked(Option<Found>),
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
        let heard = Arc::default();
        let id = system.listen(event, Arc::clone(&heard));
        let place = Place { paths, system: system.clone(), id };
        let mut watcher = Self {
            place,
            events,
            heard,
            seen: Seen::default(),
            stale: false,
            burst: None,
            next_look: Instant::now(),
            work: None,
            work_began: Instant::now(),
            disturbed: false,
            put_off: false,
            suspected: false,
        };
        watcher.follow().await;
        watcher.next_look = Instant::now() + LOOK_EVERY;
        watcher
    }

    /// Takes what there is now as what was seen: to be done before everything is read because of
    /// changes that were told by name. What changes after this is told.
    pub async fn follow(&mut self) {
        if !matches!(self.work, Some(Work::Follow(_))) {
            self.work = None; // it would be of what was seen before
        }
        let place = self.place.clone();
        let seen = Blocking::start(move || place.follow()).ended().await;
        // Without a result, as after a panic, looking will have to do.
        self.seen = seen.unwrap_or_default();
        (self.stale, self.put_off) = (false, false);
    }

    /// Since when files are being looked at that have not answered; `None` = nobody looks at any.
    pub fn busy_since(&self) -> Option<Instant> {
        self.work.is_some().then_some(self.work_began)
    }

    /// A look at everything has found what was not told. Where names are about to be told it may be of
    /// them: another look is due after that, whose word counts.
    pub fn suspect(&mut self) {
        self.suspected = !self.suspected && self.heard.has_names();
        match self.suspected {
            true => self.stale = true,
            false => self.tell_unheard(),
        }
    }

    /// Something has changed that was not heard of. It is told as if it had been just now, so that it is
    /// waited for what belongs to it.
    fn tell_unheard(&mut self) {
        self.heard.note_any(Event::Other);
        self.note_event();
    }

    /// Resolves 100 ms after the last of the events that belong together, and at the latest 300 ms
    /// after the first. May be dropped at any time without losing a change.
    pub async fn changed(&mut self) {
        self.next(Told::Whole).await;
    }

    /// As [`Watcher::changed`]; tells what has changed where that is known by name, tells of files that
    /// were moved into their place 5 ms after that already, 1 ms where they are known by name, and again
    /// when [`Watcher::changed`] would.
    pub async fn changed_early(&mut self) -> News {
        self.next(Told::ByName).await
    }

    async fn next(&mut self, told: Told) -> News {
        loop {
            if let Some(Work::Follow(_)) = self.work {
                let done = ended(&mut self.work).await;
                self.finish(done);
                return News::Settled(Changed::Any);
            }
            let is_early =
                |burst: &Burst| told == Told::ByName && !burst.told && self.heard.is_moved();
            let early = self.burst.as_ref().is_some_and(is_early);
            let wake = match self.burst {
                Some(burst) => {
                    let wait = match early {
                        true if self.heard.is_named() => SHORTEST,
                        true => SHORT,
                        // It is whole once its writer has closed it, of which an event tells.
                        false if self.heard.is_made() => LONGEST_BURST,
                        false => QUIET,
                    };
                    (burst.last + wait).min(burst.first + LONGEST_BURST)
                }
                None => self.next_look,
            };
            tokio::select! {
                biased;
                Some(()) = self.events.recv() => self.note_event(),
                done = ended(&mut self.work) => {
                    if let Some(news) = self.finish(done) {
                        return news;
                    }
                }
                () = sleep_until(wake), if self.burst.is_some() || self.work.is_none() => {
                    match &mut self.burst {
                        Some(burst) if early && Instant::now() < burst.first + LONGEST_BURST => {
                            burst.told = true;
                            return News::Early(self.heard.changed());
                        }
                        Some(_) if told == Told::ByName => match self.heard.take() {
                            Changed::Any => self.begin(),
                            names => {
                                self.burst = None;
                                self.stale = true;
                                return News::Settled(names);
                            }
                        },
                        _ => self.begin(),
                    }
                }
            }
        }
    }

    /// Begins the work that is due: events are old enough to be reported, or it is time to look.
    fn begin(&mut self) {
        let (place, now) = (self.place.clone(), Instant::now());
        (self.disturbed, self.work_began) = (false, now);
        self.work = Some(match self.burst.take() {
            Some(_) => {
                self.heard.take();
                Work::Follow(Blocking::start(move || place.follow()))
            }
            None if self.stale => Work::Renew(now, Blocking::start(move || place.follow())),
            None => {
                let seen = self.seen.clone();
                Work::Look(now, Blocking::start(move || place.look(&seen)))
            }
        });
    }

    /// Takes in what was done; tells what is to be reported of it.
    fn finish(&mut self, done: Done) -> Option<News> {
        let work = self.work.take();
        let is_renewed = matches!(work, Some(Work::Renew(..)));
        if let Some(Work::Renew(began, _) | Work::Look(began, _)) = work {
            self.next_look = began + LOOK_EVERY.max(began.elapsed() * LOOK_SHARE);
        }
        match done {
            Done::Followed(seen) => {
                self.seen = seen;
                // What was seen may be from before the events or from after them.
                self.stale = self.disturbed;
                // Where events never cease, a look at everything is put off once and no more.
                let is_due = !self.disturbed || self.put_off;
                self.put_off = is_renewed && !is_due;
                is_due.then_some(News::Quiet)
            }
            Done::Looked(found) => {
                let found = found?;
                self.seen.armed = found.armed;
                match self.disturbed {
                    true => self.stale |= found.changed,
                    false if found.changed => self.tell_unheard(),
                    false => {}
                }
                None
            }
        }
    }

    fn note_event(&mut self) {
        let now = Instant::now();
        let burst = self.burst.unwrap_or(Burst { first: now, last: now, told: false });
        // What is known by name is cheap to look at, and so is told each time.
        let told = burst.told && !self.heard.is_named();
        self.burst = Some(Burst { last: now, told, ..burst });
        self.disturbed = true;
    }
}

/// How changes are told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    /// At the end of a burst, whatever it was.
    Whole,
    /// By name, and what was moved into its place at once.
    ByName,
}

/// Waits for what is being done, for ever where nothing is. May be dropped and taken up again.
async fn ended(work: &mut Option<Work>) -> Done {
    match work {
        Some(Work::Follow(following) | Work::Renew(_, following)) => {
            Done::Followed(following.ended().await.unwrap_or_default())
        }
        Some(Work::Look(_, looking)) => Done::Looked(looking.ended().await),
        None => pending().await,
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
        // Where a file system does not answer, this waits for it: not who asks the system to watch, which all others
        // would wait for.
        let now = Trace::of(&self.paths);
        // A limit of the system may have been raised. Before the look, so that nothing falls in between.
        let armed = seen.armed || self.system.arm(self.id, &seen.trace);
        self.system.tidy();
        let changed = now != *seen.trace || seen.trace.look() != seen.look;
        Found { changed, armed }
    }
}

/// 100 ms: an editor's several writes of one save lie within a few milliseconds.
const QUIET: Duration = Duration::from_millis(100);

/// 5 ms: the events of one move lie within one.
const SHORT: Duration = Duration::from_millis(5);

/// 1 ms: what follows is told again, so that this only takes the events of one move together.
const SHORTEST: Duration = Duration::from_millis(1);

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
