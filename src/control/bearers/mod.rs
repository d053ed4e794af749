//! Certificates of tenants' own while the gateway runs: read when a tenant comes to have some, and again when their files
//! change or somebody asks, each tenant by itself.
//!
//! **Invariant:** what is wrong with the files of one tenant changes nothing of it and of nobody else: what was in use
//! stays, as far as the names are the tenant's still.

mod files;
mod news;
mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::base::snapshot::Snapshot;
use crate::base::sorted::{Difference, Sorted};
use crate::base::tasks::Stop;
use crate::base::watch::FileEvents;
use crate::config::places::{Places, Step, names};
use crate::config::spec::{NamedTenant, RoutesSpec, TenantSpec};
use crate::config::{self, Problem};
use crate::model::ids::TenantId;
use crate::telemetry::registry::Metrics;
use crate::tls::tenants::reading::{self, Means, Own, Wrong};
use crate::tls::tenants::{Claim, Tenants};

use super::bell::Bell;
use super::generation::Fault;
use super::load::{Loaded, in_background};
use super::references::{BETWEEN_READINGS, READINGS, SETTLING, at};
use files::{Files, Looked, Said};
use news::{News, tell_new};

pub use told::{Bearer, Held, LiveBearers, Sum};

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
        // The keeper is gone where the process is ending.
        drop(self.asks.send(told).await);
        answer.await.unwrap_or_default()
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
    files: Files,
    bell: Bell,
    /// Those with problems, and with doubts.
    failing: BTreeSet<TenantId>,
    doubted: BTreeSet<TenantId>,
    /// Whose problems may be half of a renewal, and since when each is there.
    unsettled: BTreeMap<TenantId, Instant>,
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

/// A tenant whose files were read.
struct Fresh {
    held: Held,
    said: BTreeMap<PathBuf, Said>,
}

impl Keeper {
    /// Nobody has any yet.
    pub(super) fn new(events: FileEvents, metrics: Arc<Metrics>) -> (Self, Follow) {
        let means = Means::new()
            .map_err(|error| tracing::error!(%error, "tenants' certificates cannot be used"));
        let (shown, live) = (Snapshot::new(Arc::default()), Snapshot::new(Arc::default()));
        let ((send, loaded), (ask, asks)) = (watch::channel(None), mpsc::channel(WAITING));
        let keeper = Self {
            bearers: Bearers { shown, live },
            spec: None,
            written: config::Files::of(PathBuf::new(), Sorted::default()),
            files: Files::default(),
            bell: Bell::new(events),
            failing: BTreeSet::new(),
            doubted: BTreeSet::new(),
            unsettled: BTreeMap::new(),
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

    /// Reads what the tenants of a start name.
    pub(super) async fn begin(&mut self) {
        self.take(Wish::Asked).await;
        self.measure();
    }

    /// Follows the tenants and their files until `stop`.
    pub(super) async fn run(mut self, mut stop: Stop) {
        let mut measure = interval(MEASURE_INTERVAL);
        measure.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let settled = self.unsettled.values().min().map(|since| *since + SETTLING);
            tokio::select! {
                () = stop.requested() => return,
                Ok(()) = self.loaded.changed() => self.take(Wish::Changed).await,
                () = self.bell.rang() => self.renew(Wish::Changed).await,
                () = at(settled) => self.settle(),
                Some(told) = self.asks.recv() => {
                    self.take(Wish::Asked).await;
                    self.renew(Wish::Asked).await;
                    // Who asked may have left meanwhile.
                    drop(told.send(self.bearers.live.load().problems.clone()));
                }
                _ = measure.tick() => self.measure(),
            }
        }
    }

    /// The tenants are others: reads the files of those who have other certificates or domains.
    async fn take(&mut self, wish: Wish) {
        let loaded = self.loaded.borrow_and_update().clone();
        let Some(Loaded { spec, files, .. }) = loaded else { return };
        self.written = files;
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
        if changes.is_empty() || !(has_bearers || changes.iter().any(|one| bears(&one.now))) {
            return;
        }
        self.read(changes, wish).await;
    }

    /// Reads files again that say something else than when they were read.
    async fn renew(&mut self, wish: Wish) {
        let Some(spec) = self.spec.clone() else { return };
        let (known, all) = (self.files.clone(), wish == Wish::Asked);
        let mut last = look(&known, all).await;
        for _ in 0..READINGS {
            if last.changed.is_empty() {
                break;
            }
            // A program that writes in place empties the file first, and a part of a chain is as valid as the whole.
            sleep(BETWEEN_READINGS).await;
            let next = look(&known, all).await;
            let is_same = next.changed == last.changed;
            last = next;
            if is_same {
                break;
            }
        }
        drop(known);
        self.files.note(last.same);
        let mut of = self.files.note(last.changed);
        if wish == Wish::Asked {
            // Also what was read a moment ago, and may be half of a renewal: who asks hears of it.
            of.extend(self.failing.iter().chain(self.unsettled.keys()).cloned());
        }
        let change = |id: TenantId| {
            let now = spec.tenant(id.as_str()).cloned();
            Change { id, before: now.clone(), now }
        };
        let changes: Vec<Change> = of.into_iter().map(change).collect();
        if !changes.is_empty() {
            self.read(changes, wish).await;
        }
    }

    /// Reads the files of tenants that are others, and puts in use what is good of them.
    async fn read(&mut self, changes: Vec<Change>, wish: Wish) {
        let Some(means) = self.means.clone() else { return };
        let (bearers, written) = (self.live().bearers.clone(), self.written.clone());
        let root = written.root.clone();
        let read = in_background(READING, &root, move || {
            let read = changes.iter().map(|change| fresh(change, &bearers, &means));
            let mut read: Vec<Option<Fresh>> = read.collect();
            place_faults(&written, &changes, &mut read);
            Ok((changes, read))
        });
        match read.await {
            Ok((changes, read)) => self.put_in_use(changes, read, wish).await,
            Err(faults) => {
                faults.iter().for_each(|fault| tracing::error!("{fault}"));
                self.spec = None; // so that the next load has all of them read
            }
        }
    }

    async fn put_in_use(&mut self, changes: Vec<Change>, read: Vec<Option<Fresh>>, wish: Wish) {
        let before = self.live();
        let (mut bearers, mut shown) =
            (before.bearers.clone(), Tenants::clone(&self.bearers.shown.load()));
        let is_first = bearers.is_empty();
        for Change { id, before: spec, .. } in &changes {
            match bearers.get(id.as_str()) {
                Some(bearer) => shown.remove(&bearer.held.own.claims),
                None => shown.remove(&bare(spec.as_ref())),
            }
        }
        let (mut is_good, mut is_refused, mut news) = (false, false, Vec::new());
        for (Change { id, before: spec, now }, fresh) in changes.into_iter().zip(read) {
            let named = spec.iter().flat_map(|spec| spec.domains.iter());
            let named = named.flat_map(|domains| reading::files(domains)).cloned().collect();
            let Some(Fresh { held, said }) = fresh else {
                shown.add(&bare(now.as_ref()));
                bearers.remove(id.as_str());
                self.files.set(&id, named, BTreeMap::new());
                self.forget(&id);
                continue;
            };
            self.files.set(&id, named, said);
            shown.add(&held.own.claims);
            is_good |= held.problems.is_empty();
            is_refused |= self.note(&id, &held, wish);
            let held = Arc::new(held);
            let old = bearers.insert(Bearer { id: id.clone(), held: Arc::clone(&held) });
            news.push(News { tenant: id, before: old.map(|old| old.held), now: held });
        }
        match (is_first, bearers.is_empty()) {
            (true, false) => self.add_bare(&bearers, &mut shown),
            (_, true) => shown = Tenants::default(),
            (false, false) => {}
        }
        self.bearers.shown.publish(Arc::new(shown));
        tell_new(&news, wish);
        for result in [("ok", is_good), ("refused", is_refused)] {
            if let (result, true) = result {
                self.metrics.tenant_certificates_read(result);
            }
        }
        self.publish(bearers);
        self.measure();
        if let Some(paths) = self.files.others() {
            self.bell.watch(paths).await;
            // One may have changed after it was read and before it was watched.
            self.bell.ring();
        }
    }

    /// Notes what is wrong with a tenant's files; whether that is told now and was not before.
    fn note(&mut self, id: &TenantId, held: &Held, wish: Wish) -> bool {
        match held.doubts.is_empty() {
            true => drop(self.doubted.remove(id)),
            false => drop(self.doubted.insert(id.clone())),
        }
        if held.problems.is_empty() {
            self.unsettled.remove(id);
            if self.failing.remove(id) {
                tracing::info!(tenant = %id, "the tenant's certificates are good again");
            }
            return false;
        }
        if wish == Wish::Asked {
            self.unsettled.remove(id);
            return self.failing.insert(id.clone());
        }
        if !self.failing.contains(id) {
            self.unsettled.entry(id.clone()).or_insert_with(Instant::now);
        }
        false
    }

    fn forget(&mut self, id: &TenantId) {
        self.doubted.remove(id);
        self.failing.remove(id);
        self.unsettled.remove(id);
    }

    /// What has been wrong for long enough is told.
    fn settle(&mut self) {
        let now = Instant::now();
        let is_due = |since: &Instant| *since + SETTLING <= now;
        let due: Vec<TenantId> = self
            .unsettled
            .iter()
            .filter(|(_, since)| is_due(since))
            .map(|(id, _)| id.clone())
            .collect();
        if due.is_empty() {
            return;
        }
        for id in due {
            self.unsettled.remove(&id);
            self.failing.insert(id);
        }
        self.metrics.tenant_certificates_read("refused");
        let bearers = self.live().bearers.clone();
        self.publish(bearers);
    }

    /// The domains of all who have no certificate are nobody else's.
    fn add_bare(&self, bearers: &Sorted<Bearer>, shown: &mut Tenants) {
        let Some(spec) = &self.spec else { return };
        for (id, spec) in &spec.tenants {
            if spec.domains.is_some() && bearers.get(id.as_str()).is_none() {
                shown.add(&bare(Some(spec)));
            }
        }
    }

    fn live(&self) -> Arc<LiveBearers> {
        self.bearers.live.load()
    }

    /// Tells everybody what there is, and what is wrong with it, each fault once.
    fn publish(&self, bearers: Sorted<Bearer>) {
        let before = self.live();
        let live = LiveBearers::telling(bearers, &self.failing, &self.doubted, &before);
        let is_new = |fault: &&Fault| !before.problems.contains(fault);
        live.problems.iter().filter(is_new).for_each(|fault| tracing::error!("{fault}"));
        let is_new = |fault: &&Fault| !before.doubts.contains(fault);
        live.doubts.iter().filter(is_new).for_each(|fault| tracing::warn!("{fault}"));
        self.metrics.tenant_certificate_problems(live.count);
        self.bearers.live.publish(Arc::new(live));
    }

    /// Shows how many there are, and when the next one ends.
    fn measure(&self) {
        let Sum { in_use, expired, next_end } = self.live().sum();
        self.metrics.publish_tenant_certificates(in_use, expired, next_end);
    }
}

/// Looks at all files, where a thread may be busy.
async fn look(known: &Files, all: bool) -> Looked {
    let known = known.clone();
    in_background(READING, Path::new(""), move || Ok(known.look(all))).await.unwrap_or_default()
}

/// What a tenant without certificates says of its domains.
fn bare(spec: Option<&Arc<TenantSpec>>) -> Vec<Claim> {
    let domains = spec.and_then(|spec| spec.domains.as_deref());
    domains.map_or_else(Vec::new, |domains| Own::bare(domains).claims)
}

/// Reads the files of a tenant; `None` where it names none.
fn fresh(change: &Change, bearers: &Sorted<Bearer>, means: &Means) -> Option<Fresh> {
    let spec = change.now.as_ref().filter(|spec| !spec.certificates().is_empty())?;
    let domains = spec.domains.as_ref()?;
    let said = reading::files(domains).map(|path| (path.clone(), Said::now(path))).collect();
    let before = bearers.get(change.id.as_str()).map(|bearer| &bearer.held.own);
    let own = Own::read(domains, before, means);
    Some(Fresh { held: Held { own, ..Held::default() }, said })
}

/// Says where what is wrong is written.
fn place_faults(files: &config::Files, changes: &[Change], read: &mut [Option<Fresh>]) {
    let mut places = None;
    for (Change { id, .. }, fresh) in changes.iter().zip(read) {
        let Some(Fresh { held, .. }) = fresh else { continue };
        let mut fault = |wrong: &Wrong| {
            let places = places.get_or_insert_with(|| Places::of(files));
            Fault::from(problem((files, places), id, wrong))
        };
        held.problems = held.own.problems.iter().map(&mut fault).collect();
        held.doubts = held.own.doubts.iter().map(&mut fault).collect();
    }
}

fn problem((files, places): (&config::Files, &Places), id: &TenantId, wrong: &Wrong) -> Problem {
    let mut steps = names(&["tenants", id.as_str(), "certificates"]);
    steps.extend([Step::Index(wrong.number), Step::Name(wrong.key.into())]);
    let place = places.place_at(files, &steps);
    place.problem(wrong.what.clone(), wrong.hint.to_owned())
}

const READING: &str = "reading certificates of tenants";

/// Wishes that may wait; who finds it full waits too.
const WAITING: usize = 16;

/// 60 s: the least that anybody asks for how many have ended.
const MEASURE_INTERVAL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
