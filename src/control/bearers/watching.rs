//! Hears of changes of files of which some come and go, and there may be many: an edit has those followed that are new, and
//! a file that hangs keeps nobody from hearing of others.

use std::future::{Future, pending, poll_fn};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::base::watch::{FileEvents, Watcher};

/// Watches files, in parts of which each is at least twice the next. Dropping it ends that.
pub(super) struct Watching {
    events: FileEvents,
    parts: Vec<Part>,
    /// The one that is being made.
    making: Option<Making>,
    /// When it is looked for what does not get on.
    next_check: Instant,
}

struct Part {
    files: Arc<[PathBuf]>,
    watcher: Watcher,
}

struct Making {
    files: Arc<[PathBuf]>,
    watcher: Pin<Box<dyn Future<Output = Watcher> + Send>>,
    began: Instant,
}

impl Watching {
    /// Nothing yet.
    pub(super) fn new(events: FileEvents) -> Self {
        Self { events, parts: Vec::new(), making: None, next_check: Instant::now() + CHECK }
    }

    /// How many it watches, or is about to.
    pub(super) fn len(&self) -> usize {
        let made = self.parts.iter().map(|part| part.files.len()).sum::<usize>();
        made + self.making.as_ref().map_or(0, |making| making.files.len())
    }

    /// Whether files can be taken in now.
    pub(super) fn is_free(&self) -> bool {
        self.making.is_none()
    }

    /// Takes in these, which are sorted; of those that it has, it keeps the ones that are `wanted`. Once they are watched,
    /// they are told as changed: any may have been before that.
    pub(super) fn add(&mut self, mut files: Vec<PathBuf>, wanted: impl Fn(&Path) -> bool) {
        while let Some(last) = self.parts.pop_if(|last| last.files.len() < files.len() * 2) {
            files.extend(last.files.iter().filter(|file| wanted(file)).cloned());
        }
        files.sort_unstable();
        files.dedup();
        let (files, events) = (Arc::<[PathBuf]>::from(files), self.events.clone());
        let paths = Arc::clone(&files);
        let watcher = Box::pin(async move { Watcher::of_all(paths, &events).await });
        self.making = Some(Making { files, watcher, began: Instant::now() });
    }

    /// Lets go of all that is watched together with this file, or with one in this folder; tells what that was.
    pub(super) fn leave(&mut self, file: &Path) -> Vec<PathBuf> {
        // In the order of paths, all below a folder stand behind it.
        let has = |files: &[PathBuf]| {
            let at = files.partition_point(|one| one.as_path() < file);
            files.get(at).is_some_and(|one| one.starts_with(file))
        };
        let mut left = Vec::new();
        self.parts.retain(|part| {
            let is_left = has(&part.files);
            if is_left {
                left.extend(part.files.iter().cloned());
            }
            !is_left
        });
        if let Some(making) = self.making.take_if(|making| has(&making.files)) {
            left.extend(making.files.iter().cloned());
        }
        left
    }

    /// Lets go of everything.
    pub(super) fn clear(&mut self) {
        self.parts.clear();
        self.making = None;
    }

    /// Resolves with files of which one has changed, or does not answer. May be dropped at any time without losing a change.
    pub(super) async fn rang(&mut self) -> Arc<[PathBuf]> {
        loop {
            tokio::select! {
                Some(files) = changed(&mut self.parts) => return files,
                watcher = made(&mut self.making) => {
                    let Some(Making { files, .. }) = self.making.take() else { continue };
                    self.parts.push(Part { files: Arc::clone(&files), watcher });
                    return files;
                }
                () = sleep_until(self.next_check) => {
                    self.next_check = Instant::now() + CHECK;
                    if let Some(files) = self.stuck() {
                        return files;
                    }
                }
            }
        }
    }

    /// Files that have been looked at for long.
    fn stuck(&self) -> Option<Arc<[PathBuf]>> {
        let is_old = |since: Instant| since.elapsed() >= LONG;
        let making = self.making.as_ref().filter(|making| is_old(making.began));
        let part = |part: &&Part| part.watcher.busy_since().is_some_and(is_old);
        let part = self.parts.iter().find(part).map(|part| &part.files);
        making.map(|making| &making.files).or(part).cloned()
    }
}

async fn changed(parts: &mut [Part]) -> Option<Arc<[PathBuf]>> {
    let all: Vec<Arc<[PathBuf]>> = parts.iter().map(|part| Arc::clone(&part.files)).collect();
    let mut waits: Vec<_> = parts.iter_mut().map(|part| Box::pin(part.watcher.changed())).collect();
    let first = poll_fn(|context| {
        let ready = waits.iter_mut().position(|wait| wait.as_mut().poll(context).is_ready());
        ready.map_or(Poll::Pending, Poll::Ready)
    });
    all.get(first.await).cloned()
}

async fn made(making: &mut Option<Making>) -> Watcher {
    match making {
        Some(making) => making.watcher.as_mut().await,
        None => pending().await,
    }
}

/// 5 s: one that does not answer has renewals of others found that much later.
const CHECK: Duration = Duration::from_secs(5);

/// 3 s: a look at a hundred thousand files takes less.
const LONG: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn what_is_new_is_told_and_then_what_changes_in_any_part() {
        let folder = tempfile::tempdir().unwrap();
        let file = |number: usize| folder.path().join(format!("{number:02}"));
        (0..20).for_each(|number| fs::write(file(number), "a").unwrap());
        let mut watching = Watching::new(FileEvents::new());

        for (from, to, parts) in [(0, 10, 1), (10, 12, 2), (12, 13, 3), (13, 20, 1)] {
            watching.add((from..to).map(file).collect(), |_| true);
            assert!(!watching.is_free());
            let told = watching.rang().await;
            assert!((from..to).all(|number| told.contains(&file(number))));
            assert_eq!((watching.parts.len(), watching.len()), (parts, to));
        }
        fs::write(file(3), "b").unwrap();
        assert!(watching.rang().await.contains(&file(3)));

        assert_eq!(watching.leave(&file(3)).len(), 20);
        assert_eq!((watching.leave(&file(3)).len(), watching.len()), (0, 0));
    }
}
