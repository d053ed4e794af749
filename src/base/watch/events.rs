//! The system's word that files have changed: one inotify instance for all who listen, since a
//! user has no more than 128 of them by default.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{
    Config, ErrorKind, Event, EventHandler, RecommendedWatcher, RecursiveMode, Watcher as _,
};
use tokio::sync::mpsc;
use tracing::field::display;

use crate::base::throttle::Throttle;

use super::heard::Heard;
use super::trace::{Identity, Trace};

/// Hears of changes on behalf of any number of [`super::Watcher`]s. Clones are the same.
#[derive(Clone, Debug)]
pub struct FileEvents {
    system: Arc<Mutex<System>>,
    /// Locked for a moment only, and never while the system is asked for something: the thread that
    /// answers needs it.
    ears: Arc<Mutex<Ears>>,
}

impl Default for FileEvents {
    fn default() -> Self {
        Self::new()
    }
}

impl FileEvents {
    /// Asks the system for nothing before somebody listens.
    pub fn new() -> Self {
        Self::opened_by(|hear| RecommendedWatcher::new(hear, Config::default()))
    }

    /// With another way to the system.
    pub(super) fn opened_by(
        open: impl Fn(Hearing) -> notify::Result<RecommendedWatcher> + Send + 'static,
    ) -> Self {
        let system = System {
            open: Box::new(open),
            watcher: None,
            watched: BTreeMap::new(),
            warnings: Throttle::new(1, BETWEEN_WARNINGS),
        };
        Self { system: Arc::new(Mutex::new(system)), ears: Arc::default() }
    }

    /// A new listener, which hears nothing until [`Self::arm`]. `event` has room for one: a second
    /// event before the first is heard says nothing new. What it was is in `heard` before that.
    pub(super) fn listen(&self, event: mpsc::Sender<()>, heard: Arc<Heard>) -> u64 {
        let mut ears = lock(&self.ears);
        ears.next += 1;
        let id = ears.next;
        ears.all.insert(id, Ear { event, heard, trace: Arc::default() });
        id
    }

    /// Forgets a listener. What only it was watching for is given back by the next one that asks
    /// the system for anything: this one may be on a thread that must not wait.
    pub(super) fn leave(&self, id: u64) {
        lock(&self.ears).leave(id);
    }

    /// Has `id` hear of what concerns `trace` from now on; tells whether the system watches all of
    /// it. May wait for the system.
    pub(super) fn arm(&self, id: u64, trace: &Arc<Trace>) -> bool {
        if !lock(&self.ears).place(id, trace) {
            return true; // it has left meanwhile
        }
        let mut system = lock(&self.system);
        system.release(&self.ears);
        if !system.is_open(&self.ears) {
            return false;
        }
        let mut whole = true;
        for (folder, identity) in trace.folders() {
            let renewed = system.release_replaced(folder, identity);
            whole &= system.watch(folder, identity);
            if renewed {
                // Others had the old folder watched, and may have missed a change just now.
                lock(&self.ears).tell_all_below(folder);
            }
        }
        whole
    }

    /// Gives back what nobody watches for any more. May wait for the system.
    pub(super) fn tidy(&self) {
        if !lock(&self.ears).unused.is_empty() {
            lock(&self.system).release(&self.ears);
        }
    }

    /// How many listen.
    #[cfg(test)]
    pub(super) fn listeners(&self) -> usize {
        lock(&self.ears).all.len()
    }

    /// How many folders the system watches.
    #[cfg(test)]
    pub(super) fn watched(&self) -> usize {
        lock(&self.system).watched.len()
    }
}

/// What the system tells of each event.
#[derive(Debug)]
pub(super) struct Hearing {
    ears: Arc<Mutex<Ears>>,
}

impl EventHandler for Hearing {
    fn handle_event(&mut self, heard: notify::Result<Event>) {
        lock(&self.ears).hear(&heard);
    }
}

/// The way to the system.
struct System {
    open: Box<dyn Fn(Hearing) -> notify::Result<RecommendedWatcher> + Send>,
    /// `None` where nobody has asked yet, or the system gives none.
    watcher: Option<RecommendedWatcher>,
    /// The folders that it was asked to watch, and which ones they were.
    watched: BTreeMap<PathBuf, Identity>,
    warnings: Throttle,
}

impl fmt::Debug for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("System").field("watched", &self.watched).finish_non_exhaustive()
    }
}

impl System {
    fn is_open(&mut self, ears: &Arc<Mutex<Ears>>) -> bool {
        if self.watcher.is_none() {
            match (self.open)(Hearing { ears: Arc::clone(ears) }) {
                Ok(watcher) => self.watcher = Some(watcher),
                Err(error) => self.warn(None, &error),
            }
        }
        self.watcher.is_some()
    }

    /// Watches a folder: always anew, because one that was deleted and made again may look the same
    /// and is not. Watching what is watched already changes nothing.
    fn watch(&mut self, folder: &Path, identity: Identity) -> bool {
        let Some(watcher) = &mut self.watcher else { return false };
        match watcher.watch(folder, RecursiveMode::NonRecursive) {
            Ok(()) => {
                self.watched.insert(folder.to_path_buf(), identity);
                true
            }
            // A folder that is gone meanwhile is no fault; the next trace leaves it out.
            Err(error) if matches!(error.kind, ErrorKind::PathNotFound) => true,
            Err(error) => {
                self.warn(Some(folder), &error);
                false
            }
        }
    }

    /// Lets go of a folder that was moved away, so that what becomes of it is not taken for what
    /// becomes of the one in its place.
    fn release_replaced(&mut self, folder: &Path, identity: Identity) -> bool {
        let replaced = self.watched.get(folder).is_some_and(|before| *before != identity);
        if replaced {
            self.unwatch(folder);
        }
        replaced
    }

    fn release(&mut self, ears: &Mutex<Ears>) {
        let unused = lock(ears).take_unused();
        for folder in unused {
            self.unwatch(&folder);
        }
    }

    fn unwatch(&mut self, folder: &Path) {
        self.watched.remove(folder);
        if let Some(watcher) = &mut self.watcher {
            // Of a folder that is gone, the system has let go already.
            drop(watcher.unwatch(folder));
        }
    }

    /// Once a minute at most: at a limit, every file has the same to say.
    fn warn(&self, folder: Option<&Path>, error: &notify::Error) {
        if self.warnings.admits() {
            let others = self.warnings.take_left_out();
            let folder = folder.map(|folder| display(folder.display()));
            tracing::warn!(
                folder,
                error = told(error),
                others,
                "cannot hear of changes of files; they are looked at every two seconds instead"
            );
        }
    }
}

/// What went wrong, with the limit that may have been reached.
fn told(error: &notify::Error) -> String {
    match &error.kind {
        ErrorKind::MaxFilesWatch => {
            "the limit of inotify watches is reached; raise fs.inotify.max_user_watches".to_owned()
        }
        ErrorKind::Io(io) if io.raw_os_error() == Some(TOO_MANY) => {
            "the limit of inotify instances (fs.inotify.max_user_instances) or of open files is \
             reached; raise it"
                .to_owned()
        }
        _ => error.to_string(),
    }
}

/// Who listens, and for what.
#[derive(Debug, Default)]
struct Ears {
    next: u64,
    all: HashMap<u64, Ear>,
    /// Who has to do with a folder. Sorted, so that all below a folder stand together.
    by_folder: BTreeMap<PathBuf, HashSet<u64>>,
    /// Folders that the last one has left.
    unused: Vec<PathBuf>,
}

#[derive(Debug)]
struct Ear {
    event: mpsc::Sender<()>,
    heard: Arc<Heard>,
    trace: Arc<Trace>,
}

impl Ear {
    /// Of a change of this path.
    fn tell_of(&self, path: &Path, moved: bool) {
        match self.trace.entry(path) {
            Some(name) => self.heard.note(name, moved),
            None => self.heard.note_any(moved),
        }
        self.ring();
    }

    /// Of what may be any change.
    fn tell(&self) {
        self.heard.note_any(false);
        self.ring();
    }

    fn ring(&self) {
        // A full channel already says that something changed.
        self.event.try_send(()).unwrap_or_default();
    }
}

impl Ears {
    /// Whether the listener is still there.
    fn place(&mut self, id: u64, trace: &Arc<Trace>) -> bool {
        let Some(ear) = self.all.get_mut(&id) else { return false };
        let before = std::mem::replace(&mut ear.trace, Arc::clone(trace));
        for (folder, _) in trace.folders() {
            self.by_folder.entry(folder.to_path_buf()).or_default().insert(id);
        }
        let gone = before.folders().filter(|(folder, _)| !trace.is_in(folder));
        gone.for_each(|(folder, _)| self.forget(id, folder));
        true
    }

    fn leave(&mut self, id: u64) {
        if let Some(ear) = self.all.remove(&id) {
            ear.trace.folders().for_each(|(folder, _)| self.forget(id, folder));
        }
    }

    fn forget(&mut self, id: u64, folder: &Path) {
        if let Some(ids) = self.by_folder.get_mut(folder) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_folder.remove(folder);
                self.unused.push(folder.to_path_buf());
            }
        }
    }

    /// The folders that nobody has asked for again meanwhile.
    fn take_unused(&mut self) -> Vec<PathBuf> {
        let mut unused = std::mem::take(&mut self.unused);
        unused.retain(|folder| !self.by_folder.contains_key(folder));
        unused
    }

    /// Tells those whom an event concerns. One without a path tells of lost events.
    fn hear(&self, heard: &notify::Result<Event>) {
        match heard {
            Ok(event) if !event.need_rescan() && !event.paths.is_empty() => {
                if changes(event) {
                    let moved = matches!(event.kind, EventKind::Modify(ModifyKind::Name(_)));
                    event.paths.iter().for_each(|path| self.tell_of(path, moved));
                }
            }
            _ => self.all.values().for_each(Ear::tell),
        }
    }

    fn tell_of(&self, path: &Path, moved: bool) {
        let beside = path.parent().and_then(|folder| self.by_folder.get(folder));
        let ears = beside.into_iter().flatten().filter_map(|id| self.all.get(id));
        ears.filter(|ear| ear.trace.concerns(path)).for_each(|ear| ear.tell_of(path, moved));
        self.tell_all_below(path);
    }

    /// A folder that goes takes the watches of all below it along.
    fn tell_all_below(&self, folder: &Path) {
        let below = self.by_folder.range(folder.to_path_buf()..);
        let below = below.take_while(|(path, _)| path.starts_with(folder));
        let ids = below.flat_map(|(_, ids)| ids);
        ids.filter_map(|id| self.all.get(id)).for_each(Ear::tell);
    }
}

/// Reading a file is an event too; only what changes it counts.
fn changes(event: &Event) -> bool {
    match event.kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

/// A panic of another holder has left nothing half done that matters here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `EMFILE`.
const TOO_MANY: i32 = 24;

/// One minute: the state is the same for as long as nobody raises the limit.
const BETWEEN_WARNINGS: Duration = Duration::from_secs(60);
