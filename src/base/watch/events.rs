//! The system's word that files have changed: one inotify instance for all who listen, since a
//! user has no more than 128 of them by default.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use inotify::{EventMask, EventOwned, Inotify, WatchDescriptor};
use tokio::sync::mpsc;

use super::heard::{Event, Heard};
use super::system::System;
use super::trace::Trace;

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
        Self::opened_by(Inotify::init)
    }

    /// With another way to the system.
    pub(super) fn opened_by(open: impl Fn() -> io::Result<Inotify> + Send + 'static) -> Self {
        Self { system: Arc::new(Mutex::new(System::opened_by(open))), ears: Arc::default() }
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
        self.release(&mut system);
        if !system.is_open(&self.ears) {
            return false;
        }
        let mut whole = true;
        for (folder, identity) in trace.folders() {
            let renewed = system.release_replaced(folder, identity, &self.ears);
            whole &= system.watch(folder, identity, &self.ears);
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
            self.release(&mut lock(&self.system));
        }
    }

    fn release(&self, system: &mut System) {
        let unused = lock(&self.ears).take_unused();
        unused.iter().for_each(|folder| system.unwatch(folder, &self.ears));
    }

    /// How many listen.
    #[cfg(test)]
    pub(super) fn listeners(&self) -> usize {
        lock(&self.ears).all.len()
    }

    /// How many folders the system watches.
    #[cfg(test)]
    pub(super) fn watched(&self) -> usize {
        lock(&self.system).watched()
    }

    /// How many events the system has told of.
    #[cfg(test)]
    pub(super) fn told(&self) -> usize {
        lock(&self.ears).told
    }
}

/// Who listens, and for what.
#[derive(Debug, Default)]
pub(super) struct Ears {
    /// The folders by their watch: several where one is to be found at several places.
    folders: HashMap<WatchDescriptor, HashSet<PathBuf>>,
    next: u64,
    all: HashMap<u64, Ear>,
    /// Who has to do with a folder. Sorted, so that all below a folder stand together.
    by_folder: BTreeMap<PathBuf, HashSet<u64>>,
    /// Folders that the last one has left.
    unused: Vec<PathBuf>,
    #[cfg(test)]
    told: usize,
}

#[derive(Debug)]
struct Ear {
    event: mpsc::Sender<()>,
    heard: Arc<Heard>,
    trace: Arc<Trace>,
}

impl Ear {
    /// Of a change of this path.
    fn tell_of(&self, path: &Path, what: Event) {
        match self.trace.entry(path) {
            Some(name) => self.heard.note(name, what),
            None => self.heard.note_any(what),
        }
        self.ring();
    }

    /// Of what may be any change.
    fn tell(&self) {
        self.heard.note_any(Event::Other);
        self.ring();
    }

    fn ring(&self) {
        // A full channel already says that something changed.
        self.event.try_send(()).unwrap_or_default();
    }
}

impl Ears {
    /// What is told of this watch from now on is of this folder.
    pub(super) fn name(&mut self, watch: &WatchDescriptor, folder: &Path) {
        self.folders.entry(watch.clone()).or_default().insert(folder.to_path_buf());
    }

    /// What is told of this watch is not of this folder any longer. Tells whether it is of none.
    pub(super) fn unname(&mut self, watch: &WatchDescriptor, folder: &Path) -> bool {
        let Some(folders) = self.folders.get_mut(watch) else { return true };
        folders.remove(folder);
        let is_none = folders.is_empty();
        if is_none {
            self.folders.remove(watch);
        }
        is_none
    }

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

    /// Tells those whom an event concerns.
    pub(super) fn hear(&mut self, event: &EventOwned) {
        #[cfg(test)]
        {
            self.told += 1;
        }
        if event.mask.contains(EventMask::Q_OVERFLOW) {
            return self.tell_all(); // some were lost
        }
        // What is told of a watch that was given up is of nobody.
        let folders = self.folders.get(&event.wd).into_iter().flatten();
        for folder in folders {
            let path = event.name.as_ref().map_or_else(|| folder.clone(), |name| folder.join(name));
            self.tell_of(&path, kind(event.mask));
        }
        if event.mask.contains(EventMask::IGNORED) {
            self.folders.remove(&event.wd); // the folder is gone, and the watch with it
        }
    }

    fn tell_of(&self, path: &Path, what: Event) {
        let beside = path.parent().and_then(|folder| self.by_folder.get(folder));
        let ears = beside.into_iter().flatten().filter_map(|id| self.all.get(id));
        ears.filter(|ear| ear.trace.concerns(path)).for_each(|ear| ear.tell_of(path, what));
        self.tell_all_below(path);
    }

    /// Anything may have changed.
    pub(super) fn tell_all(&self) {
        self.all.values().for_each(Ear::tell);
    }

    /// A folder that goes takes the watches of all below it along.
    pub(super) fn tell_all_below(&self, folder: &Path) {
        let below = self.by_folder.range(folder.to_path_buf()..);
        let below = below.take_while(|(path, _)| path.starts_with(folder));
        let ids = below.flat_map(|(_, ids)| ids);
        ids.filter_map(|id| self.all.get(id)).for_each(Ear::tell);
    }
}

fn kind(mask: EventMask) -> Event {
    if mask.intersects(MOVES) {
        Event::Moved
    } else if mask.contains(EventMask::CREATE) && !mask.contains(EventMask::ISDIR) {
        Event::Made
    } else {
        Event::Other
    }
}

/// A panic of another holder has left nothing half done that matters here.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Moves into a place, out of it, and of a folder itself.
const MOVES: EventMask =
    EventMask::MOVED_FROM.union(EventMask::MOVED_TO).union(EventMask::MOVE_SELF);
