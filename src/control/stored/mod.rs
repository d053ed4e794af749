//! Tenants that are kept by the API, beside those of the files: each is to the check a file of its own,
//! so that it means what the same table in a file would, and is wrong in the same words.
//!
//! **Invariant:** what a file defines is the file's. A tenant of the API neither takes its place nor
//! keeps the files from being served.

mod beside;
mod bounds;
mod ceilings;
mod change;
mod definition;
mod difference;
mod lowered;
mod marks;
mod refusal;
mod rollback;
mod store;
mod takeover;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::base::snapshot::Snapshot;
use crate::base::sorted::{Keyed, Sorted};
use crate::base::tasks;
use crate::config::secrets::Secrets;
use crate::config::{File, Files, defined};
use crate::model::ids::TenantId;
use crate::telemetry::keeping::{ABOVE_PLAN, STORE_DAMAGED, STORED_TENANTS};
use crate::telemetry::registry::Metrics;

use super::generation::Fault;
use super::history::{By, Generation, History, Rows};
use super::load::Loaded;

pub use ceilings::Excess;
pub use change::{Ask, Changed, Condition, What, Wish};
pub use definition::{Definition, LARGEST, Table};
pub use difference::{RouteChanges, ValueChange};
pub use lowered::{Above, faults as faults_above};
pub use marks::Marks;
pub use refusal::{Refusal, by_keys};
pub use rollback::{Back, RolledBack};
pub use store::StoreError;

pub(super) use definition::id_of;
use definition::path;
use lowered::Lowered;
use store::Store;

/// Reads what a `state` folder keeps and puts it beside these files: for who looks and changes nothing.
/// Tells which of the tenants the files define themselves.
///
/// # Errors
/// When what is kept cannot be read.
pub fn beside(files: Files, folder: &Path) -> Result<(Files, Vec<String>), StoreError> {
    let contents = store::peek(&store::path_in(folder))?;
    let entries = contents.entries.into_iter().collect();
    let mut overlay = Overlay { entries, ..Overlay::default() };
    let files = overlay.over(files);
    Ok((files, overlay.shadowed.iter().cloned().collect()))
}

/// As if the API had been sent a tenant of this pool.
#[cfg(test)]
pub(crate) fn keep(folder: &Path, id: &str, pool: &str) -> Result<(), StoreError> {
    keep_all(folder, &[id.to_owned()], pool)
}

/// As if the API had been sent tenants of this pool.
#[cfg(test)]
pub(crate) fn keep_all(folder: &Path, ids: &[String], pool: &str) -> Result<(), StoreError> {
    keep_table(folder, ids, [("pool".to_owned(), pool.into())].into_iter().collect())
}

/// As if tenants of this table had been kept at some time, by whatever build.
#[cfg(test)]
pub(crate) fn keep_table(folder: &Path, ids: &[String], table: Table) -> Result<(), StoreError> {
    let path = store::path_in(folder);
    let entry =
        |id: &String| Entry::new(&TenantId::new(id).ok()?, Definition::of(table.clone())).ok();
    let row = |id: &String| (id.as_str().into(), entry(id));
    Store::open(&path)?.0.write(&path, &ids.iter().map(row).collect::<Vec<_>>(), None)
}

/// Whether this is the path of a tenant of the API, and no file's.
pub fn is_of_api(path: &Path) -> bool {
    id_of(path).is_some()
}

/// These files alone, without what the API keeps.
pub(super) fn without(files: &Files) -> Files {
    if !files.files.iter().any(|file| is_of_api(&file.path)) {
        return files.clone();
    }
    let own = files.files.iter().filter(|file| !is_of_api(&file.path)).cloned().collect();
    Files {
        root: files.root.clone(),
        files: own,
        folder: files.folder,
        unread: files.unread.clone(),
    }
}

/// The tenants of the API among these files.
fn served_in(files: &Files) -> impl Iterator<Item = &str> {
    files.files.iter().filter_map(|file| id_of(&file.path))
}

/// Whether there is one file beside what the API keeps.
pub(super) fn are_one(files: &Files) -> bool {
    files.files.iter().filter(|file| !is_of_api(&file.path)).take(2).count() == 1
}

/// A tenant that is kept.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its id.
    pub id: Arc<str>,
    /// Its table.
    pub definition: Definition,
    /// Its keys that its own token has written last.
    pub marks: Marks,
    /// What says the same to the check.
    file: File,
}

impl Entry {
    /// # Errors
    /// What of it no file could say.
    fn new(id: &TenantId, definition: Definition) -> Result<Self, Vec<Fault>> {
        let file = definition.file(id.as_str())?;
        Ok(Self { id: id.shared(), definition, marks: Marks::default(), file })
    }

    /// With keys that its own token has written last.
    fn marked(self, marks: Marks) -> Self {
        Self { marks, ..self }
    }
}

impl Keyed for Entry {
    type Key = str;

    fn key(&self) -> &str {
        &self.id
    }
}

/// What the API keeps, for people.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// All of its tenants.
    pub tenants: Sorted<Entry>,
    /// Those that are not served, and why.
    pub apart: BTreeMap<String, Apart>,
    /// Those with numbers of their own that are above their plans.
    pub above: Arc<BTreeMap<Arc<str>, Above>>,
    /// Why no change can be kept, or what was lost.
    pub trouble: Option<String>,
    /// What of their tables is nobody's to know.
    pub secrets: Secrets,
}

/// Why a tenant that is kept is not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Apart {
    /// A file defines it.
    Shadowed,
    /// It does not fit beside the files: what is wrong with it.
    Unfit(Vec<Fault>),
}

/// Asks for changes, and shows what is kept. Clones are handles to the same.
#[derive(Clone, Debug)]
pub struct Handle {
    /// What is kept.
    pub kept: Snapshot<Kept>,
    /// The last generations.
    pub history: History,
    asks: mpsc::Sender<Ask>,
}

impl Handle {
    /// With the other end of its wishes.
    pub fn new(kept: Snapshot<Kept>, history: History) -> (Self, mpsc::Receiver<Ask>) {
        let (asks, asked) = mpsc::channel(WAITING);
        (Self { kept, history, asks }, asked)
    }

    /// Has a tenant changed; `None` when the gateway is ending.
    pub async fn change(&self, wish: Wish) -> Option<Result<Changed, Refusal>> {
        let (answer, answered) = oneshot::channel();
        self.asks.send(Ask::Change(Box::new(wish), answer)).await.ok()?;
        answered.await.ok()
    }

    /// Has tenants be what they were in a generation; `None` when the gateway is ending.
    pub async fn roll_back(
        &self,
        to: u64,
        dry_run: bool,
        by: By,
    ) -> Option<Result<RolledBack, Refusal>> {
        let (answer, answered) = oneshot::channel();
        self.asks.send(Ask::Back(Back { to, dry_run, by, answer })).await.ok()?;
        answered.await.ok()
    }
}

/// Puts what is kept beside what the files say. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Overlay {
    entries: Sorted<Entry>,
    /// What the files define themselves.
    shadowed: Arc<BTreeSet<String>>,
    /// What does not fit beside the files, and why.
    unfit: Arc<BTreeMap<String, Vec<Fault>>>,
    /// The files that were looked through last.
    looked: Option<Files>,
}

impl Overlay {
    /// These files of the disk, with what is kept and neither shadowed nor unfit.
    pub(super) fn over(&mut self, files: Files) -> Files {
        if self.entries.is_empty() {
            return files;
        }
        if self.looked.as_ref() != Some(&files) {
            let is_kept = |id: &str| self.entries.get(id).is_some();
            let found = files.files.iter().flat_map(|file| defined::tenants(file, is_kept));
            self.shadowed = Arc::new(found.collect());
            self.looked = Some(files.clone());
        }
        let is_served = |id: &str| !self.shadowed.contains(id) && !self.unfit.contains_key(id);
        let kept = self.entries.iter().filter(|entry| is_served(&entry.id));
        let all = files.files.iter().cloned().chain(kept.map(|entry| entry.file.clone()));
        Files {
            root: files.root.clone(),
            files: all.collect(),
            folder: files.folder,
            unread: files.unread,
        }
    }
}

/// What the API keeps, and the file that it is kept in.
pub(super) struct Stored {
    /// Where; `None` = nowhere.
    path: Option<PathBuf>,
    /// `None` = not open.
    store: Option<Store>,
    overlay: Overlay,
    /// Numbers of its tenants' own that are above their plans.
    lowered: Lowered,
    kept: Snapshot<Kept>,
    trouble: Option<String>,
    /// What of their tables is nobody's to know.
    secrets: Secrets,
    /// Whether another process has the file, which is to be opened once that has ended.
    pub(super) waits: bool,
    metrics: Arc<Metrics>,
}

impl Stored {
    /// Opens what is kept in a `state` folder, if anything is. What cannot be used is told, put aside
    /// where it is damaged, and keeps nobody from starting.
    pub(super) async fn open(
        folder: Option<&Path>,
        secrets: Secrets,
        metrics: Arc<Metrics>,
    ) -> (Self, History) {
        let path = folder.map(store::path_in);
        let kept = Kept { secrets: secrets.clone(), ..Kept::default() };
        let (kept, overlay) = (Snapshot::new(Arc::new(kept)), Overlay::default());
        let (store, trouble, waits) = (None, None, false);
        let lowered = Lowered::default();
        let mut stored =
            Self { path, store, overlay, lowered, kept, trouble, secrets, waits, metrics };
        stored.metrics.set(&STORE_DAMAGED, &[], 0.0);
        let is_there = stored.path.as_ref().is_some_and(|path| path.exists());
        let mut generations = Vec::new();
        if is_there {
            match stored.hold().await {
                Ok(noted) => generations = noted,
                Err(error) => generations = stored.look_after(error).await,
            }
        }
        (stored, History::of(generations))
    }

    /// What is kept, for people.
    pub(super) fn snapshot(&self) -> Snapshot<Kept> {
        self.kept.clone()
    }

    /// What puts it beside the files.
    pub(super) fn overlay(&self) -> Overlay {
        self.overlay.clone()
    }

    /// Takes the overlay back, which knows more now.
    pub(super) fn take_back(&mut self, overlay: Overlay) {
        self.overlay.shadowed = overlay.shadowed;
        self.overlay.looked = overlay.looked;
    }

    /// Whether a tenant that is kept hides behind one of a file: an edit of that may bring it to light.
    pub(super) fn is_shadowed(&self) -> bool {
        !self.overlay.shadowed.is_empty()
    }

    /// Opens the file, unless it is open. Where another process had it until now, what it keeps is what
    /// that one has left.
    async fn hold(&mut self) -> Result<Vec<Generation>, StoreError> {
        if self.store.is_some() {
            return Ok(Vec::new());
        }
        let path = self.path.clone().ok_or(StoreError::Off)?;
        let (store, contents) = in_background(&path, Store::open).await?;
        self.overlay.entries = contents.entries.into_iter().collect();
        self.overlay.looked = None;
        self.lowered.suspect_all();
        self.store = Some(store);
        self.waits = false;
        self.trouble = told_of_unread(&path, &contents.unread);
        Ok(contents.generations)
    }

    /// Whether what is known of the file will do to tell what a change would do: nothing is opened, and
    /// nothing goes live by it.
    fn look(&self) -> Result<(), StoreError> {
        match &self.path {
            None => Err(StoreError::Off),
            Some(path) if self.waits => Err(StoreError::Busy { path: path.clone() }),
            Some(_) => Ok(()),
        }
    }

    /// A write was refused, so that what is in the file is not known: it is opened anew before the next
    /// one.
    fn let_go(&mut self, error: &StoreError) {
        self.store = None;
        let told = format!("{error}: the last change was refused, the next one is tried");
        tracing::error!("{told}");
        self.trouble = Some(told);
    }

    /// Does what can be done about a file that is there and cannot be opened. Gives the generations that
    /// can be read in it all the same.
    async fn look_after(&mut self, error: StoreError) -> Vec<Generation> {
        let Some(path) = self.path.clone() else { return Vec::new() };
        let mut generations = Vec::new();
        let told = match &error {
            StoreError::Damaged { .. } => {
                self.metrics.set(&STORE_DAMAGED, &[], 1.0);
                match in_background(&path, |path| Ok(store::put_aside(path))).await {
                    Ok(Ok(aside)) => format!(
                        "{error}; it was put aside as {}, and the tenants that the API has kept \
                         are not served: put a copy of it back, or send them again",
                        aside.display()
                    ),
                    Ok(Err(refused)) => format!("{error}, and cannot be put aside: {refused}"),
                    Err(other) => format!("{error}, and cannot be put aside: {other}"),
                }
            }
            StoreError::Busy { .. } => match in_background(&path, store::peek).await {
                Ok(contents) => {
                    self.waits = true;
                    self.overlay.entries = contents.entries.into_iter().collect();
                    // The numbers of this one go on from there.
                    generations = contents.generations;
                    format!("{error}: what it has kept there is served, and nothing is changed")
                }
                Err(other) => {
                    self.waits = true;
                    format!("{error}, and it cannot be read: {other}")
                }
            },
            _ => format!("{error}: the tenants that the API has kept are not served"),
        };
        tracing::error!("{told}");
        self.trouble = Some(told);
        generations
    }

    /// Keeps what generations were, where anything is kept.
    pub(super) async fn remember(&self, noted: Rows) {
        let (Some(store), Some(path)) = (self.store.clone(), &self.path) else { return };
        let write = move |path: &_| store.write(path, &[], Some(&noted));
        if let Err(error) = in_background(path, write).await {
            tracing::warn!(%error, "the history is not kept for the next start");
        }
    }

    /// Gives all another try.
    pub(super) fn leave_none_out(&mut self) {
        self.overlay.unfit = Arc::default();
    }

    /// Whether some do not fit beside the files.
    pub(super) fn has_unfit(&self) -> bool {
        !self.overlay.unfit.is_empty()
    }

    /// These files with what is kept beside them, after some of it was left out or let in.
    pub(super) fn beside(&mut self, files: &Files) -> Files {
        self.overlay.over(without(files))
    }

    /// Tells everybody what is kept, and what of it is in `live`.
    pub(super) fn publish(&mut self, live: Option<&Loaded>) {
        let before = self.kept.load();
        let Overlay { entries, shadowed, unfit, .. } = &self.overlay;
        let doubtful = before.apart.keys().chain(shadowed.iter()).chain(unfit.keys());
        let is_served = |id: &str| {
            live.is_some_and(|live| live.files.files.get(path(id).as_os_str()).is_some())
        };
        let mut apart = BTreeMap::new();
        for id in doubtful.filter(|id| entries.get(id).is_some() && !is_served(id)) {
            let why = match unfit.get(id) {
                Some(faults) => Apart::Unfit(faults.clone()),
                None => Apart::Shadowed,
            };
            if !before.apart.contains_key(id) {
                match &why {
                    Apart::Shadowed => tracing::warn!(tenant = %id,
                        "a file defines a tenant that the API keeps, too: the file's is served"),
                    Apart::Unfit(faults) => {
                        for fault in faults {
                            tracing::error!(tenant = %id,
                                "a tenant that the API keeps is not served: {fault}");
                        }
                    }
                }
            }
            apart.insert(id.clone(), why);
        }
        let unfit = apart.values().filter(|why| matches!(why, Apart::Unfit(_))).count();
        let counts = [
            ("served", live.map_or(0, |live| served_in(&live.files).count())),
            ("shadowed", apart.len() - unfit),
            ("unfit", unfit),
        ];
        for (state, count) in counts {
            self.metrics.set(&STORED_TENANTS, &[state], count as f64);
        }
        let is_moved = |id: &&String| before.apart.contains_key(*id) != apart.contains_key(*id);
        let moved = before.apart.keys().chain(apart.keys()).filter(is_moved);
        self.lowered.suspect(moved.map(|id| id.as_str().into()));
        let above = self.lowered.look(entries, live);
        self.metrics.set(&ABOVE_PLAN, &[], above.len() as f64);
        let (tenants, trouble, secrets) =
            (entries.clone(), self.trouble.clone(), self.secrets.clone());
        self.kept.publish(Arc::new(Kept { tenants, apart, above, trouble, secrets }));
    }
}

fn told_of_unread(path: &Path, unread: &[String]) -> Option<String> {
    let (count, first) = (unread.len(), unread.first()?);
    let told = format!(
        "{} has {count} row(s) that are no tenant and are left out, as that of {first:?}",
        path.display()
    );
    tracing::error!("{told}");
    Some(told)
}

/// Works with the file on a thread that may be busy. A panic there is a damage like any other.
async fn in_background<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce(&Path) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let own = path.to_owned();
    tasks::in_background(move || work(&own)).await.unwrap_or_else(|error| {
        Err(StoreError::Damaged { path: path.to_owned(), why: error.to_string() })
    })
}

/// Wishes that may wait; who finds it full waits too.
const WAITING: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_write_that_is_refused_is_told_and_the_next_one_opens_the_file_anew() {
        let folder = tempfile::tempdir().unwrap();
        keep(folder.path(), "acme", "a").unwrap();
        let (mut stored, _) =
            Stored::open(Some(folder.path()), Secrets::default(), Arc::new(Metrics::new())).await;
        let (path, why) = (store::path_in(folder.path()), "no space left on device".to_owned());

        stored.let_go(&StoreError::Refused { path, why });
        stored.publish(None);

        let trouble = stored.kept.load().trouble.clone().unwrap();
        assert!(trouble.contains("no space left"), "{trouble}");
        stored.hold().await.unwrap();
        stored.publish(None);
        assert!(stored.store.is_some() && stored.kept.load().trouble.is_none());
        assert!(stored.overlay.entries.get("acme").is_some());
    }
}
