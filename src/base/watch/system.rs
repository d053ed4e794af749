//! inotify(7): which folders the system is asked to watch, and the task that reads what it tells.

use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_core::Stream;
use inotify::{EventOwned, EventStream, Inotify, WatchDescriptor, WatchMask, Watches};
use rustix::io::Errno;
use tokio::time::sleep;
use tracing::field::display;

use crate::base::tasks::Tasks;
use crate::base::throttle::Throttle;

use super::events::{Ears, lock};
use super::trace::Identity;

/// The way to the system.
pub(super) struct System {
    open: Box<dyn Fn() -> io::Result<Inotify> + Send>,
    /// `None` where nobody has asked yet, or the system gives none.
    instance: Option<Instance>,
    /// The folders that it was asked to watch.
    watched: BTreeMap<PathBuf, Watch>,
    warnings: Throttle,
}

/// One inotify instance.
struct Instance {
    watches: Watches,
    /// Reads what it tells until it is dropped.
    _reading: Tasks,
}

#[derive(Clone, Debug)]
struct Watch {
    /// As the system names it in events.
    name: WatchDescriptor,
    /// Which folder it was.
    identity: Identity,
}

impl fmt::Debug for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("System").field("watched", &self.watched).finish_non_exhaustive()
    }
}

impl System {
    /// Opens an instance once it is needed.
    pub(super) fn opened_by(open: impl Fn() -> io::Result<Inotify> + Send + 'static) -> Self {
        Self {
            open: Box::new(open),
            instance: None,
            watched: BTreeMap::new(),
            warnings: Throttle::new(1, BETWEEN_WARNINGS),
        }
    }

    /// Whether the system can be asked. What it tells is read on the runtime that this is called on.
    pub(super) fn is_open(&mut self, ears: &Arc<Mutex<Ears>>) -> bool {
        if self.instance.is_none() {
            match (self.open)().and_then(|inotify| Instance::read(inotify, ears)) {
                Ok(instance) => self.instance = Some(instance),
                Err(error) => self.warn(None, &error),
            }
        }
        self.instance.is_some()
    }

    /// Watches a folder: always anew, because one that was deleted and made again may look the same
    /// and is not. Watching what is watched already changes nothing.
    pub(super) fn watch(&mut self, folder: &Path, identity: Identity, ears: &Mutex<Ears>) -> bool {
        let Some(instance) = &mut self.instance else { return false };
        match instance.watches.add(folder, CHANGES) {
            Ok(name) => {
                let is_another = self.watched.get(folder).is_some_and(|before| before.name != name);
                if is_another {
                    self.unwatch(folder, ears);
                }
                let mut ears = lock(ears);
                ears.name(&name, folder);
                if is_another {
                    // What was told of the old one, and not read yet, is of nobody now.
                    ears.tell_all_below(folder);
                }
                self.watched.insert(folder.to_path_buf(), Watch { name, identity });
                true
            }
            // A folder that is gone meanwhile is no fault; the next trace leaves it out.
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                true
            }
            Err(error) => {
                self.warn(Some(folder), &error);
                false
            }
        }
    }

    /// Lets go of a folder that was moved away, so that what becomes of it is not taken for what
    /// becomes of the one in its place.
    pub(super) fn release_replaced(
        &mut self,
        folder: &Path,
        identity: Identity,
        ears: &Mutex<Ears>,
    ) -> bool {
        let replaced = self.watched.get(folder).is_some_and(|before| before.identity != identity);
        if replaced {
            self.unwatch(folder, ears);
        }
        replaced
    }

    /// Lets go of a folder.
    pub(super) fn unwatch(&mut self, folder: &Path, ears: &Mutex<Ears>) {
        let (Some(watch), Some(instance)) = (self.watched.remove(folder), &mut self.instance)
        else {
            return;
        };
        if lock(ears).unname(&watch.name, folder) {
            // Of a folder that is gone, the system has let go already.
            instance.watches.remove(watch.name).unwrap_or_default();
        }
    }

    /// How many folders the system watches.
    #[cfg(test)]
    pub(super) fn watched(&self) -> usize {
        self.watched.len()
    }

    /// Once a minute at most: at a limit, every file has the same to say.
    fn warn(&self, folder: Option<&Path>, error: &io::Error) {
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

impl Instance {
    fn read(inotify: Inotify, ears: &Arc<Mutex<Ears>>) -> io::Result<Self> {
        let watches = inotify.watches();
        let mut events = inotify.into_event_stream(vec![0; ROOM])?;
        let (mut reading, ears) = (Tasks::new("files"), Arc::clone(ears));
        reading.spawn(|_| async move {
            while let Some(event) = next(&mut events).await {
                match event {
                    Ok(event) => lock(&ears).hear(&event),
                    // An error of one reading is none of the next.
                    Err(_) => {
                        lock(&ears).tell_all();
                        sleep(AFTER_ERROR).await;
                    }
                }
            }
        });
        Ok(Self { watches, _reading: reading })
    }
}

async fn next(events: &mut EventStream<Vec<u8>>) -> Option<io::Result<EventOwned>> {
    poll_fn(|cx| Pin::new(&mut *events).poll_next(cx)).await
}

/// What went wrong, with the limit that may have been reached.
fn told(error: &io::Error) -> String {
    match Errno::from_io_error(error) {
        Some(Errno::NOSPC) => {
            "the limit of inotify watches is reached; raise fs.inotify.max_user_watches".to_owned()
        }
        Some(Errno::MFILE) => {
            "the limit of inotify instances (fs.inotify.max_user_instances) or of open files is \
             reached; raise it"
                .to_owned()
        }
        _ => error.to_string(),
    }
}

/// What changes a file or a folder. A write to a file that stays open is not among it: it would wake
/// the gateway for each line of a log that somebody keeps beside the routes, and tell of files that are
/// half written. One that nobody ever closes is found by looking.
const CHANGES: WatchMask = WatchMask::ATTRIB
    .union(WatchMask::CREATE)
    .union(WatchMask::DELETE)
    .union(WatchMask::CLOSE_WRITE)
    .union(WatchMask::MOVE)
    .union(WatchMask::DELETE_SELF)
    .union(WatchMask::MOVE_SELF)
    .union(WatchMask::ONLYDIR);

/// 4 KiB: some fifteen events with the longest names, a hundred with usual ones.
const ROOM: usize = 4096;

/// One minute: the state is the same for as long as nobody raises the limit.
const BETWEEN_WARNINGS: Duration = Duration::from_secs(60);

/// 1 s: the look every two seconds finds what is not told.
const AFTER_ERROR: Duration = Duration::from_secs(1);
