//! One config generation after another: what is loaded, kept, started and retired.
//!
//! **Invariant:** nothing here is on the way of a request. Workers see the outcome as a
//! `Snapshot<Table>` and as the `Members` of the pools.

pub mod bearers;
pub mod certificates;
pub mod drains;
pub mod explain;
pub mod generation;
pub mod history;
mod issuers;
pub mod roster;
pub mod standing;
pub mod state;
pub mod stored;

mod adaptive;
mod asked;
mod bell;
mod edit;
mod feed;
mod load;
mod noting;
mod outliers;
mod overruns;
mod plan;
pub mod quarantine;
pub mod quotas;
mod reconcile;
mod references;
mod reload;
mod retired;
mod review;
mod sift;
pub mod splits;
mod telling;
pub mod usage;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::base::allocator::Steward;
use crate::base::snapshot::Snapshot;
use crate::base::sorted::Sorted;
use crate::base::tasks::Tasks;
use crate::base::watch::{FileEvents, Watcher};
use crate::config::secrets::Secrets;
use crate::config::spec::{GatewaySpec, MostKept, NamingSpec, RoutesSpec};
use crate::config::{Files, HeldKeys, Looks, Memory, Place};
use crate::discovery::Means;
use crate::discovery::resolver::Resolver;
use crate::model::downs::Downs;
use crate::routing;
use crate::routing::table::Table;
use crate::telemetry::audit_log::AuditLog;
use crate::telemetry::registry::Metrics;
use crate::tls::certificates::Certificates;

use bearers::Bearers;
use certificates::{Keeper, Presented};
use drains::Drainer;
use explain::{Explainer, Setting};
use generation::{Fault, Live, LiveCertificates, ReloadResult};
use history::{By, Cause};
use issuers::Issuers;
use load::in_background;
use noting::Noted;
use plan::{Numbers, Pools};
use reconcile::Running;
use references::References;
use reload::Reloader;
use retired::Retired;
use review::Review;
use roster::Roster;
use sift::Known;
use splits::Splits;
use state::State;
use stored::Stored;

/// Somebody who wants the files to be loaded now, and to hear what came of it.
#[derive(Debug)]
pub struct Ask {
    /// Who wants it.
    pub by: By,
    /// Hears of it.
    pub answer: oneshot::Sender<ReloadResult>,
}

/// Somebody who wants `gateway.toml` to be read now, and to hear what is wrong with it.
pub type GatewayAsk = oneshot::Sender<Vec<Fault>>;

/// The handle to what control brings about.
#[derive(Clone, Debug)]
pub struct Control {
    /// What requests are routed by.
    pub table: Snapshot<Table>,
    /// What is live, for people.
    pub live: Snapshot<Live>,
    /// For each listener, what it presents to clients; `None` = no TLS.
    pub tls: Vec<Option<Snapshot<Certificates>>>,
    /// What the admin API presents; `None` = no TLS.
    pub admin_tls: Option<Snapshot<Certificates>>,
    /// The listeners' certificates that are in use, for people.
    pub certificates: Snapshot<LiveCertificates>,
    /// Certificates of tenants' own.
    pub bearers: Bearers,
    /// Takes the wish to load the files now.
    pub asks: mpsc::Sender<Ask>,
    /// Takes what the keeper of the listeners' certificates is asked for.
    pub keeper: mpsc::Sender<certificates::Ask>,
    /// Hears of changed files.
    pub files: FileEvents,
    /// Tenants that the API keeps.
    pub stored: stored::Handle,
    /// Splits with a canary.
    pub splits: Splits,
    /// How often an endpoint was found down.
    pub downs: Arc<Downs>,
}

/// Why there is nothing to serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BootError {
    /// The files are broken, and there is no last good copy that could serve instead.
    #[error("the routes are broken ({count}) and {instead}\nproblems of the routes:\n{list}",
        count = counted(.problems), list = listed(.problems))]
    Broken {
        /// All that is wrong.
        problems: Vec<Fault>,
        /// Why nothing can serve instead.
        instead: String,
    },
}

impl Control {
    /// Brings the first generation to life and starts what brings the next ones. Broken files are
    /// answered by the last good ones, if any were kept. `gateway_asks` reaches whoever follows
    /// `gateway.toml`.
    ///
    /// # Errors
    /// When the files are broken and nothing can serve instead.
    pub async fn start(
        gateway: &GatewaySpec,
        presented: Presented,
        gateway_asks: mpsc::Sender<GatewayAsk>,
        (metrics, audit): (Arc<Metrics>, AuditLog),
        tasks: &mut Tasks,
    ) -> Result<Self, BootError> {
        let (files, watcher) = listen(gateway).await;
        let keeper = Keeper::new(presented, Arc::clone(&metrics), References::new(files.clone()));
        let (mut tls, certificates) = (keeper.snapshots(), keeper.live());
        let ((wishes, wished), (asks, asked)) = (mpsc::channel(WAITING), mpsc::channel(WAITING));
        let means = Means { resolver: Resolver::new(&gateway.dns), files: files.clone() };
        let (state, place) = state_of(gateway).unzip();
        let (keep, to_keep) = watch::channel(None);
        let (mut bearers, follow) = bearers::Keeper::new(files.clone(), Arc::clone(&metrics));
        let (stored, noted, handle, changes) = open_stored(gateway, &metrics, audit).await;
        let (issuers, held) = open_issuers(gateway, &metrics, tasks).await;
        let mut reloader = Reloader {
            routes: gateway.routes.clone(),
            kept: state.is_some().then_some(keep),
            running: Running::new(means, Arc::clone(&metrics), gateway.zone.clone()),
            issuers,
            metrics,
            table: Snapshot::new(Arc::new(nothing())),
            // Numbers go on from another start, so that one of the history is never of two tables.
            live: Snapshot::new(Arc::new(Live { generation: noted.last(), ..Live::none() })),
            numbers: Numbers::default(),
            serving: Snapshot::new(Arc::default()),
            applied: None,
            looks: Looks::default(),
            memory: Memory::holding(held).beside(Some(MostKept::of(gateway.replay.as_ref()))),
            unkept: false,
            keeps_old: false,
            current: false,
            review: Review::default(),
            retired: Retired::default(),
            steward: Steward::default(),
            gateway: gateway_asks,
            certificates: wishes.clone(),
            bearers: follow,
            references: References::new(files.clone()),
            stored,
            noted,
            splits: Splits::open(gateway.state.as_ref().map(|folder| folder.path.as_path())).await,
        };
        Box::pin(boot(&mut reloader, state.as_ref())).await?;
        reloader.note().await;
        bearers.begin().await;
        keep_from_now_on(state.zip(place), to_keep, tasks);
        let control = Self {
            table: reloader.table.clone(),
            live: reloader.live.clone(),
            admin_tls: gateway.secured_admin().and_then(|_| tls.remove(0)), // the first one
            tls,
            certificates,
            bearers: bearers.bearers(),
            asks,
            keeper: wishes,
            files,
            stored: handle,
            splits: reloader.splits.clone(),
            downs: reloader.running.downs(),
        };
        watch_over((&reloader, gateway), (keeper, wished), bearers, tasks);
        tasks.spawn_vital(|stop| reloader.run(watcher, (asked, changes), stop));
        Ok(control)
    }

    /// Who drains endpoints.
    pub fn drainer(&self) -> Drainer {
        Drainer::new(self.live.clone())
    }

    /// Who tells where a request would go.
    /// `gateway` is what holds for all requests.
    pub fn explainer(&self, gateway: Vec<Setting>) -> Explainer {
        Explainer::new(self.table.clone(), self.live.clone(), gateway)
    }

    /// Who lists the tenants that are live.
    pub fn roster(&self, metrics: Arc<Metrics>) -> Roster {
        Roster::new(self.table.clone(), self.live.clone(), metrics)
    }

    /// Loads the files now, certificates included. `None` when the process is ending.
    pub async fn reload(&self) -> Option<ReloadResult> {
        let (answer, answered) = oneshot::channel();
        self.asks.send(Ask { by: By::of(Cause::Signal), answer }).await.ok()?;
        answered.await.ok()
    }
}

/// Hears of changed files, of the routes' from now on: before the first reading, so that no change after it is missed.
async fn listen(gateway: &GatewaySpec) -> (FileEvents, Watcher) {
    let files = FileEvents::new();
    let watcher = Watcher::new(gateway.routes.clone(), &files).await;
    (files, watcher)
}

/// Looks after what is live beside the reloads.
fn watch_over(
    (reloader, gateway): (&Reloader, &GatewaySpec),
    (keeper, wished): (Keeper, mpsc::Receiver<certificates::Ask>),
    bearers: bearers::Keeper,
    tasks: &mut Tasks,
) {
    let (splits, metrics) = (reloader.splits.clone(), Arc::clone(&reloader.metrics));
    let folder = gateway.state.as_ref().map(|folder| folder.path.clone());
    let steward = reloader.steward.clone();
    tasks.spawn_vital(|stop| steward.run(stop));
    tasks.spawn_vital(|stop| outliers::watch(reloader.watched(), stop));
    tasks.spawn_vital(|stop| splits::watch(splits, metrics, folder, stop));
    tasks.spawn_vital(|stop| keeper.run(wished, stop));
    tasks.spawn_vital(|stop| bearers.run(stop));
}

/// Where the last good routes are kept, and where that is written.
fn state_of(gateway: &GatewaySpec) -> Option<(State, Place)> {
    let folder = gateway.state.clone()?;
    Some((State::new(folder.path, gateway.routes.clone()), folder.place))
}

/// What the API keeps, what was noted of earlier generations, and who asks for changes.
async fn open_stored(
    gateway: &GatewaySpec,
    metrics: &Arc<Metrics>,
    audit: AuditLog,
) -> (Stored, Noted, stored::Handle, mpsc::Receiver<stored::Ask>) {
    let folder = gateway.state.as_ref().map(|folder| folder.path.as_path());
    let secrets = Secrets::of(&gateway.access_log.mask);
    let (stored, history) = Stored::open(folder, secrets, Arc::clone(metrics)).await;
    let (handle, changes) = stored::Handle::new(stored.snapshot(), history.clone());
    (stored, Noted::after(history, audit), handle, changes)
}

/// The keys of issuers, as far as they were kept.
async fn open_issuers(
    gateway: &GatewaySpec,
    metrics: &Arc<Metrics>,
    tasks: &mut Tasks,
) -> (Issuers, HeldKeys) {
    let folder = gateway.state.as_ref().map(|folder| folder.path.as_path());
    Issuers::open(folder, Arc::clone(metrics), tasks).await
}

/// Keeps good files, where that is wished.
fn keep_from_now_on(
    state: Option<(State, Place)>,
    to_keep: watch::Receiver<Option<Files>>,
    tasks: &mut Tasks,
) {
    if let Some((state, place)) = state {
        tasks.spawn(|_ends_with_the_reloader| keep_last_good(state, place, to_keep));
    }
}

async fn boot(reloader: &mut Reloader, state: Option<&State>) -> Result<(), BootError> {
    let problems = match from_files(reloader, state, Aim::All).await {
        Ok(()) => {
            settle(reloader);
            return Ok(());
        }
        Err(problems) => problems,
    };
    if let Err(instead) = from_last_good(reloader, state).await {
        if from_files(reloader, state, Aim::Some).await.is_err() {
            return Err(BootError::Broken { problems, instead });
        }
        tracing::error!("{instead}");
        settle(reloader);
        return Ok(());
    }
    reloader.stored.publish(reloader.applied.as_ref());
    reloader.refuse(&problems);
    let live = reloader.live.load();
    reloader.metrics.config_last_good(live.generation);
    reloader.live.publish(Arc::new(Live { serving_last_good: true, ..Live::clone(&live) }));
    tracing::error!(
        "THE ROUTES ARE BROKEN: the last good ones, kept on disk, serve until this is mended"
    );
    Ok(())
}

/// What the files say is live, as far as they can be used.
fn settle(reloader: &mut Reloader) {
    reloader.succeed();
    reloader.stored.publish(reloader.applied.as_ref());
    if reloader.keeps_old {
        tracing::error!(
            "SOME TENANTS ARE NOT SERVED: their files are broken, and the last good ones cannot serve"
        );
    }
}

/// Whom a start shall serve where files are broken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Aim {
    /// All who were served before, as far as their files are there.
    All,
    /// Those who can be.
    Some,
}

async fn from_files(
    reloader: &mut Reloader,
    state: Option<&State>,
    aim: Aim,
) -> Result<(), Vec<Fault>> {
    let started = Instant::now();
    let files = reloader.read().await?;
    let mut loaded = reloader.check(files.clone()).await;
    if files.folder.is_some()
        && loaded.as_ref().map_or(true, |loaded| !loaded.quarantine.is_empty())
        && let Ok(kept) = kept_files(state).await
    {
        let meant = match aim {
            Aim::All => meant(reloader, &kept).await,
            Aim::Some => None,
        };
        // Whom the API keeps is what it was for these files.
        let files = reloader.stored.beside(&files);
        let is_known = meant.is_some();
        // Else what is kept may be all that is left of those who are not served now.
        reloader.keeps_old = !is_known;
        let beside = reloader.check_knowing(files, Known::Kept(kept, meant)).await;
        loaded = if is_known { beside } else { beside.or(loaded) };
    }
    reloader.apply(loaded?, FIRST_PATIENCE, started).await
}

/// Who can be served by what was kept; `None` where it does not fit any more.
async fn meant(reloader: &mut Reloader, kept: &Files) -> Option<Arc<RoutesSpec>> {
    for files in [reloader.stored.beside(kept), kept.clone()] {
        let checked = reloader.examine(files, Known::Nothing, load::check_kept).await.ok()?;
        if let Ok(loaded) = checked.result {
            return Some(loaded.spec);
        }
    }
    None
}

/// What was kept of another start. The error says why there is nothing, as the end of a sentence.
async fn kept_files(state: Option<&State>) -> Result<Files, String> {
    let Some(state) = state.cloned() else {
        return Err("`state` is off, so that no last good ones are kept".into());
    };
    let place = state.path();
    let kept = in_background("reading the last good routes", &place, move || Ok(state.load()));
    match kept.await.map_err(|faults| listed(&faults))? {
        Ok(Some(files)) => Ok(files),
        Ok(None) => Err(format!("no last good ones are kept in {}", place.display())),
        Err(error) => Err(format!("the last good ones cannot be used: {error}")),
    }
}

/// Serves what was kept. The error says why it cannot, as the end of a sentence.
async fn from_last_good(reloader: &mut Reloader, state: Option<&State>) -> Result<(), String> {
    let (started, files) = (Instant::now(), kept_files(state).await?);
    let place = state.map(State::path).unwrap_or_default();
    let unusable = |faults: Vec<Fault>| {
        format!(
            "the last good ones, kept in {}, cannot be used:\n{}",
            place.display(),
            listed(&faults)
        )
    };
    reloader.stored.leave_none_out();
    let files = reloader.stored.beside(&files);
    let loaded = reloader.check_kept(files).await.map_err(unusable)?;
    reloader.apply(loaded, FIRST_PATIENCE, started).await.map_err(unusable)
}

/// Keeps the newest of what is sent, until the sender is gone and nothing waits. A task of its
/// own, so that a slow disk holds up no reload.
async fn keep_last_good(state: State, place: Place, mut files: watch::Receiver<Option<Files>>) {
    let path = state.path();
    while files.changed().await.is_ok() {
        let Some(files) = files.borrow_and_update().clone() else { continue };
        let state = state.clone();
        let keep = move || Ok(state.keep(&files));
        match in_background("keeping the last good routes", &path, keep).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                let what = format!("the last good routes cannot be kept: {error}");
                tracing::warn!("{}", place.problem(what, state::HINT.to_owned()).in_one_line());
            }
            Err(faults) => tracing::error!("{}", listed(&faults)),
        }
    }
}

/// The table before the first generation: it knows no tenant.
pub fn nothing() -> Table {
    let spec = RoutesSpec {
        naming: NamingSpec {
            from: Vec::new(),
            forward_as: http::HeaderName::from_static("x-tenant-id"),
            identity: Arc::default(),
        },
        error_pages: Arc::default(),
        pools: [].into(),
        route_sets: [].into(),
        plans: [].into(),
        tenants: Sorted::default(),
    };
    routing::compile(&spec, None, &Pools::new(), 0)
}

fn counted(faults: &[Fault]) -> String {
    match faults.len() {
        1 => "1 problem".to_owned(),
        count => format!("{count} problems"),
    }
}

fn listed(faults: &[Fault]) -> String {
    faults.iter().map(Fault::to_string).collect::<Vec<String>>().join("\n")
}

/// 1 s: a first look-up and check of most networks; a pool that needs longer joins later.
const FIRST_PATIENCE: Duration = Duration::from_secs(1);

/// Wishes to reload that may wait; who finds it full waits too.
const WAITING: usize = 16;

#[cfg(test)]
mod tests;
