//! Certificates of tenants' own while the gateway runs: read when a tenant comes to have some, and again when their files
//! change or somebody asks, each tenant by itself.
//!
//! **Invariant:** what is wrong with the files of one tenant changes nothing of it and of nobody else: what was in use
//! stays, as far as the names are the tenant's still.

mod due;
mod each;
mod files;
mod hanging;
mod news;
mod rounds;
mod telling;
mod told;
mod using;
mod watching;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::base::snapshot::Snapshot;
use crate::base::sorted::{Difference, Sorted};
use crate::base::tasks::Stop;
use crate::base::watch::FileEvents;
use crate::config::places::{Places, Step, names};
use crate::config::spec::{NamedTenant, RoutesSpec, TenantSpec};
use crate::config::{self, Problem};
use crate::model::ids::TenantId;
use crate::telemetry::registry::Metrics;
use crate::tls::tenants::Tenants;
use crate::tls::tenants::reading::{Means, Own, Wrong};

use super::generation::Fault;
use super::load::Loaded;
use super::references::{SETTLING, at};
use super::retired::Retired;
use due::Due;
use files::{Files, Reader};
use hanging::Hanging;
use rounds::Late;
use watching::Watching;

pub use told::{BearerList, Held, LiveBearers, Sum};

/// What tenants present.
#[derive(Clone, Debug)]
pub struct Bearers {
    /// For handshakes.
    pub shown: Snapshot<Tenants>,
    /// For people.
    pub live: Snapshot<LiveBearers>,
}

/// Somebody who wants all files to be read now, and to hear what is wrong with them.
type Ask = oneshot::Sender<Vec<Fault>>;

/// Tells the keeper what to follow.
pub(super) struct Follow {
    loaded: watch::Sender<Option<Loaded>>,
    asks: mpsc::Sender<Ask>,
}

impl Follow {
    /// This is live from now on.
    pub(super) fn live(&self, loaded: &Loaded) {
        self.loaded.send_replace(Some(loaded.clone()));
    }

    /// Has all files read now; tells what is wrong with them.
    pub(super) async fn read(&self) -> Vec<Fault> {
        let (told, answer) = oneshot::channel();
        let read = async {
            // The keeper is gone where the process is ending.
            drop(self.asks.send(told).await);
            answer.await.unwrap_or_default()
        };
        let root = || self.loaded.borrow().as_ref().map(|loaded| loaded.files.root.clone());
        let late = |_| vec![still_reading(root().unwrap_or_default())];
        timeout(PATIENCE, read).await.unwrap_or_else(late)
    }
}

/// Nobody knows yet whether the files are good.
fn still_reading(file: PathBuf) -> Fault {
    Fault {
        file,
        line: None,
        column: None,
        key: None,
        what: "the certificates of tenants are still being read".to_owned(),
        hint: Some("GET /api/v1/config tells what comes of it".to_owned()),
    }
}

/// All that is wrong with the certificates of some tenants, and what makes one doubt them: for who looks and changes
/// nothing.
pub fn look_through(files: &config::Files, spec: &RoutesSpec) -> (Vec<Problem>, Vec<Problem>) {
    let (mut problems, mut doubts) = (Vec::new(), Vec::new());
    let Ok(means) = Means::new() else { return (problems, doubts) };
    let mut places = None;
    let bearing = spec.tenants.iter().filter(|(_, tenant)| !tenant.certificates().is_empty());
    for (id, tenant) in bearing {
        let Some(domains) = &tenant.domains else { continue };
        let own = Own::read(domains, None, &means);
        let mut told = |wrong: &Wrong| {
            let places = places.get_or_insert_with(|| Places::of(files));
            problem((files, places), id, wrong)
        };
        problems.extend(own.problems.iter().map(&mut told));
        doubts.extend(own.doubts.iter().map(&mut told));
    }
    (problems, doubts)
}

/// Keeps what tenants present as their files are.
pub(super) struct Keeper {
    bearers: Bearers,
    /// What the tenants were when they were last looked at.
    spec: Option<Arc<RoutesSpec>>,
    /// Where it is written.
    written: config::Files,
    /// What finds places in that, where somebody has asked for one.
    places: Option<Arc<Places>>,
    files: Files,
    watching: Watching,
    reader: Reader,
    due: Due,
    hanging: Hanging,
    /// Those with problems, and with doubts.
    failing: BTreeSet<TenantId>,
    doubted: BTreeSet<TenantId>,
    /// Whose problems may be half of a renewal, and since when each is there.
    unsettled: BTreeMap<TenantId, Instant>,
    /// What had taken too long, and has ended.
    late: mpsc::UnboundedReceiver<Late>,
    tell_late: mpsc::UnboundedSender<Late>,
    /// What was shown, and connections may hold.
    retired: Retired<Tenants>,
    /// `None` = the cryptography refuses its own defaults.
    means: Option<Arc<Means>>,
    metrics: Arc<Metrics>,
    loaded: watch::Receiver<Option<Loaded>>,
    asks: mpsc::Receiver<Ask>,
}

/// Why files are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    /// They have changed, or the tenants have: what is wrong may be half of that.
    Changed,
    /// Somebody asks, or the process has just begun.
    Asked,
}

/// What becomes of one tenant.
#[derive(Debug)]
struct Change {
    id: TenantId,
    before: Option<Arc<TenantSpec>>,
    now: Option<Arc<TenantSpec>>,
}

impl Keeper {
    /// Nobody has any yet.
    pub(super) fn new(events: FileEvents, metrics: Arc<Metrics>) -> (Self, Follow) {
        let means = Means::new()
            .map_err(|error| tracing::error!(%error, "tenants' certificates cannot be used"));
        let (shown, live) = (Snapshot::new(Arc::default()), Snapshot::new(Arc::default()));
        let ((send, loaded), (ask, asks)) = (watch::channel(None), mpsc::channel(WAITING));
        let (tell_late, late) = mpsc::unbounded_channel();
        let keeper = Self {
            bearers: Bearers { shown, live },
            spec: None,
            written: config::Files::of(PathBuf::new(), Sorted::default()),
            places: None,
            files: Files::default(),
            watching: Watching::new(events),
            reader: Reader::default(),
            due: Due::default(),
            hanging: Hanging::default(),
            failing: BTreeSet::new(),
            doubted: BTreeSet::new(),
            unsettled: BTreeMap::new(),
            late,
            tell_late,
            retired: Retired::default(),
            means: means.ok().map(Arc::new),
            metrics,
            loaded,
            asks,
        };
        (keeper, Follow { loaded: send, asks: ask })
    }

    /// What tenants present.
    pub(super) fn bearers(&self) -> Bearers {
        self.bearers.clone()
    }

    /// Reads what the tenants of a start name, as far as there is time: the others are shown what the listener has
    /// until theirs are read.
    pub(super) async fn begin(&mut self) {
        self.take(Wish::Asked).await;
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        self.finish(cores.clamp(AT_ONCE, MOST_AT_ONCE), START, true).await;
        if self.due.is_asked() {
            tracing::warn!(
                "a start waits no longer for certificates of tenants: those that are left are read meanwhile"
            );
        }
        self.due.leave();
        self.measure();
    }

    /// Follows the tenants and their files until `stop`.
    pub(super) async fn run(mut self, mut stop: Stop) {
        let mut measure = interval(MEASURE_INTERVAL);
        measure.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sweep = interval(SWEEP_INTERVAL);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.watch();
            let is_busy = self.is_busy();
            let settled = self.unsettled.values().min().map(|since| *since + SETTLING);
            tokio::select! {
                () = stop.requested() => return,
                Ok(()) = self.loaded.changed() => self.take(Wish::Changed).await,
                files = self.watching.rang() => {
                    self.due.look(files.iter().cloned(), Wish::Changed);
                }
                () = at(settled) => self.settle(),
                Some(late) = self.late.recv() => self.take_late(late, Wish::Changed).await,
                () = std::future::ready(()), if is_busy => self.work(AT_ONCE).await,
                Some(told) = self.asks.recv() => self.answer(told).await,
                _ = sweep.tick(), if !self.retired.is_empty() => self.retired.sweep(),
                _ = measure.tick() => {
                    self.leave_gone();
                    self.measure();
                }
            }
        }
    }

    /// The tenants are others: the files of those who have other certificates or domains are to be read.
    async fn take(&mut self, wish: Wish) {
        let loaded = self.loaded.borrow_and_update().clone();
        let Some(Loaded { spec, files, .. }) = loaded else { return };
        let written = std::mem::replace(&mut self.written, files);
        self.places = None;
        let before = self.spec.replace(Arc::clone(&spec));
        let same = |one: &NamedTenant, other: &NamedTenant| {
            Arc::ptr_eq(&one.1, &other.1) || one.1.domains == other.1.domains
        };
        let none = Sorted::default();
        let old = before.as_ref().map_or(&none, |before| &before.tenants);
        let spec_of = |named: Option<&NamedTenant>| named.map(|(_, spec)| Arc::clone(spec));
        let change = |Difference { before, now }: Difference<'_, NamedTenant>| {
            let (before, id) = (before, &now.or(before)?.0);
            let (before, now) = (spec_of(before), spec_of(now));
            let has_any = [&before, &now].into_iter().flatten().any(|spec| spec.domains.is_some());
            has_any.then(|| Change { id: id.clone(), before, now })
        };
        let changes: Vec<Change> = spec.tenants.differences(old, same).filter_map(change).collect();
        let bears = |spec: &Option<Arc<TenantSpec>>| {
            spec.as_ref().is_some_and(|spec| !spec.certificates().is_empty())
        };
        let has_bearers = !self.live().bearers.is_empty();
        // Where nobody has certificates, nobody's domains are looked up.
        let is_any = has_bearers || changes.iter().any(|one| bears(&one.now));
        if !changes.is_empty() && is_any {
            // Before any file is read, so that nobody is shown what is not its own meanwhile.
            self.restrict(&changes, wish);
        }
        self.place_again(&written).await;
    }

    /// One reading answers all who have asked before it began.
    async fn answer(&mut self, first: Ask) {
        let mut waiting = vec![first];
        while let Ok(told) = self.asks.try_recv() {
            waiting.push(told);
        }
        self.take(Wish::Asked).await;
        self.ask();
        self.finish(AT_ONCE, ANSWER, false).await;
        let mut wrong = self.live().problems.clone();
        if self.due.is_asked() {
            wrong.push(still_reading(self.written.root.clone()));
        }
        self.due.leave();
        for told in waiting {
            // Who asked may have left meanwhile.
            drop(told.send(wrong.clone()));
        }
    }

    /// All files are to be read that may say something else.
    fn ask(&mut self) {
        self.due.look(self.files.all().cloned(), Wish::Asked);
        // Also what was read a moment ago, and may be half of a renewal: who asks hears of it.
        let wrong = self.failing.iter().chain(self.unsettled.keys());
        self.due.read(wrong.cloned(), Wish::Asked);
    }

    fn live(&self) -> Arc<LiveBearers> {
        self.bearers.live.load()
    }
}

fn problem((files, places): (&config::Files, &Places), id: &TenantId, wrong: &Wrong) -> Problem {
    let mut steps = names(&["tenants", id.as_str(), "certificates"]);
    steps.extend([Step::Index(wrong.number), Step::Name(wrong.key.into())]);
    let place = places.place_at(files, &steps);
    place.problem(wrong.what.clone(), wrong.hint.to_owned())
}

/// 10 s where a file hangs, else a minute: a start with a hundred thousand certificates needs a fifth of that.
const START: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(60));

/// 4 s, so that who asks hears what is known by then.
const ANSWER: (Duration, Duration) = (Duration::from_secs(4), Duration::from_secs(4));

/// 5 s: whoever waits for an answer has later edits wait.
const PATIENCE: Duration = Duration::from_secs(5);

/// 2: so that one may hang and others get on, and workers keep their cores.
const AT_ONCE: usize = 2;

/// 16: a start of a hundred thousand takes a second or two then.
const MOST_AT_ONCE: usize = 16;

/// 1 s: workers that serve anything let go of what was shown at once.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Wishes that may wait; who finds it full waits too.
const WAITING: usize = 16;

/// 60 s: the least that anybody asks for how many have ended.
const MEASURE_INTERVAL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
