//! The issuers of tokens that are live, each with its keys: read with the routes, or fetched by a task of
//! its own. Keys live on from one table to the next, and what was good is kept for a restart.

mod kept;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::timeout;

use crate::auth::issuer::{Beginning, Fetcher, Keeper, Keyring, KeysStatus};
use crate::base::snapshot::Snapshot;
use crate::base::tasks::{self, Tasks};
use crate::config::HeldKeys;
use crate::config::spec::{FetchSpec, IssuerSpec, KeysSpec};
use crate::model::jwk::KeySet;
use crate::telemetry::registry::Metrics;

use super::generation::LiveIssuer;

use kept::{AllKept, Kept};

/// The keys of all issuers, in the order of the files.
pub(super) type Rings = Arc<[Arc<Keyring>]>;

/// The issuers that are live.
#[derive(Debug)]
pub(super) struct Issuers {
    /// By what their tokens have in `iss`: that is who is trusted, wherever its keys come from.
    running: BTreeMap<Box<str>, Running>,
    kept: Arc<watch::Sender<AllKept>>,
    metrics: Arc<Metrics>,
}

/// One issuer. Dropping it ends its task; tables hold the keys themselves.
#[derive(Debug)]
struct Running {
    name: Arc<str>,
    keys: KeysSpec,
    ring: Arc<Keyring>,
    status: Snapshot<KeysStatus>,
    /// Who fetches its keys, and whether that was tried once.
    fetching: Option<(Tasks, watch::Receiver<bool>)>,
}

impl Issuers {
    /// None yet. What is good of those to come is kept in the folder, where there is one, as it was
    /// before; gives what files of keys said then, too.
    pub(super) async fn open(
        folder: Option<&Path>,
        metrics: Arc<Metrics>,
        tasks: &mut Tasks,
    ) -> (Self, HeldKeys) {
        let kept = match folder {
            Some(folder) => kept::read(folder).await,
            None => AllKept::new(),
        };
        let held = kept::held(&kept);
        let (kept, to_keep) = watch::channel(kept);
        if let Some(folder) = folder.map(Path::to_owned) {
            tasks.spawn(|_ends_with_the_issuers| kept::keep(folder, to_keep));
        }
        (Self { running: BTreeMap::new(), kept: Arc::new(kept), metrics }, held)
    }

    /// Starts what these have anew and changes what differs, so that a table that trusts them can be
    /// published. Gives up waiting for the first keys of new ones after `patience`.
    pub(super) async fn adopt(&mut self, specs: &[IssuerSpec], patience: Duration) -> Rings {
        let mut rings = Vec::with_capacity(specs.len());
        for spec in specs {
            let before = self.running.remove(&spec.issuer);
            let is_same = |one: &Running| one.name == spec.name && one.keys == spec.keys;
            let now = match before {
                Some(before) if is_same(&before) => before,
                before => self.start(spec, before),
            };
            rings.push(Arc::clone(&now.ring));
            self.running.insert(spec.issuer.clone(), now);
        }
        let waits = |running: &&Running| running.ring.with(KeySet::is_empty);
        let waiting = self.running.values().filter(waits).filter_map(|one| one.fetching.as_ref());
        let waiting: Vec<_> = waiting.map(|(_, tried)| tried.clone()).collect();
        let all = async {
            for mut tried in waiting {
                drop(tried.wait_for(|tried| *tried).await); // an error: its task is gone
            }
        };
        drop(timeout(patience, all).await);
        rings.into()
    }

    /// Ends those that these are not, once their table is live.
    pub(super) fn retire(&mut self, specs: &[IssuerSpec]) {
        let is_live = |issuer: &str| specs.iter().any(|spec| *spec.issuer == *issuer);
        self.running.retain(|issuer, _| is_live(issuer));
        self.kept.send_if_modified(|kept| {
            let before = kept.len();
            kept.retain(|issuer, _| is_live(issuer));
            kept.len() < before
        });
        self.metrics.keep_issuers(|name| specs.iter().any(|spec| *spec.name == *name));
    }

    /// What is live, for people.
    pub(super) fn live(&self) -> Vec<LiveIssuer> {
        let live = |running: &Running| LiveIssuer {
            name: Arc::clone(&running.name),
            issuer: running.ring.issuer().into(),
            place: running.keys.place(),
            status: running.status.clone(),
        };
        self.running.values().map(live).collect()
    }

    /// Starts an issuer. It begins with the keys that are there, or were kept, until there are others:
    /// whom its tokens name is trusted as before.
    fn start(&self, spec: &IssuerSpec, before: Option<Running>) -> Running {
        let (name, keys) = (Arc::clone(&spec.name), spec.keys.clone());
        let (ring, status) = match before {
            Some(before) => {
                if let KeysSpec::File { fault: None, .. } = &before.keys {
                    // They were good until now, however long ago they were read.
                    let status = KeysStatus::clone(&before.status.load());
                    let at = Some(SystemTime::now());
                    before.status.publish(Arc::new(KeysStatus { at, ..status }));
                }
                (before.ring, before.status)
            }
            None => self.begin(spec),
        };
        let fetching = match &spec.keys {
            KeysSpec::File { .. } => {
                self.take(spec, &ring, &status);
                None
            }
            KeysSpec::Url(fetch) => Some(self.fetch(spec, fetch, (&ring, &status))),
        };
        Running { name, keys, ring, status, fetching }
    }

    fn begin(&self, spec: &IssuerSpec) -> (Arc<Keyring>, Snapshot<KeysStatus>) {
        let kept = self.kept.borrow().get(&*spec.issuer).cloned();
        let is_of_use = |kept: &Kept| match &spec.keys {
            KeysSpec::File { .. } => true,
            KeysSpec::Url(fetch) => {
                SystemTime::now().duration_since(kept.at).is_ok_and(|age| age < fetch.stale)
            }
        };
        let kept = kept.filter(is_of_use);
        let at = kept.as_ref().map(|kept| kept.at);
        let set = kept.map(|kept| kept.set).unwrap_or_default();
        let keys = set.keys().len();
        self.metrics.issuer_keys(&spec.name, keys, at);
        let status = KeysStatus { keys, at, ..KeysStatus::default() };
        (Arc::new(Keyring::new(&spec.issuer, set)), Snapshot::new(Arc::new(status)))
    }

    /// Takes in what the file of an issuer's keys says.
    fn take(&self, spec: &IssuerSpec, ring: &Keyring, status: &Snapshot<KeysStatus>) {
        let KeysSpec::File { path, set, fault } = &spec.keys else { return };
        let (before, now) = (status.load(), SystemTime::now());
        if !set.is_empty() {
            ring.publish(set.clone());
        }
        let keys = ring.with(|set| set.keys().len());
        let (at, failed_since, result) = match fault {
            None => (Some(now), None, "ok"),
            Some(_) => (before.at, before.failed_since.or(Some(now)), "invalid"),
        };
        self.metrics.issuer_fetched(&spec.name, result);
        self.metrics.issuer_keys(&spec.name, keys, at);
        let error = fault.as_ref().map(ToString::to_string);
        status.publish(Arc::new(KeysStatus { keys, at, failed_since, error }));
        if fault.is_none() {
            self.kept.send_if_modified(|kept| {
                let is_same = |old: &Kept| old.set == *set && old.file.as_ref() == Some(path);
                let is_kept = kept.get(&*spec.issuer).is_some_and(is_same);
                if !is_kept {
                    let one = Kept { file: Some(path.clone()), at: now, set: set.clone() };
                    kept.insert((&*spec.issuer).into(), one);
                }
                !is_kept
            });
        }
    }

    /// Fetches the keys of an issuer from now on.
    fn fetch(
        &self,
        spec: &IssuerSpec,
        fetch: &Arc<FetchSpec>,
        (ring, status): (&Arc<Keyring>, &Snapshot<KeysStatus>),
    ) -> (Tasks, watch::Receiver<bool>) {
        let (tried, was_tried) = watch::channel(false);
        let (kept, issuer): (_, Arc<str>) = (Arc::clone(&self.kept), (&*spec.issuer).into());
        let keep = move |set: &KeySet, at| {
            let one = Kept { file: None, at, set: set.clone() };
            kept.send_modify(|kept| drop(kept.insert(Arc::clone(&issuer), one)));
        };
        let beginning = Beginning {
            name: Arc::clone(&spec.name),
            spec: Arc::clone(fetch),
            ring: Arc::clone(ring),
            status: status.clone(),
            metrics: Arc::clone(&self.metrics),
            tried,
        };
        let (keeper, fetch) = (Keeper::new(beginning, keep), Arc::clone(fetch));
        let mut tasks = Tasks::new("issuer");
        tasks.spawn(move |stop| async move {
            // The system's authorities may have to be read.
            match tasks::in_background(move || Fetcher::new(fetch)).await {
                Ok(fetcher) => keeper.run(|| fetcher.fetch(), stop).await,
                Err(error) => tracing::error!(%error, "the keys of an issuer cannot be fetched"),
            }
        });
        (tasks, was_tried)
    }
}
