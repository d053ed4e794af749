//! Files → table: read, check, plan, compile, publish; or keep what is live and say why.
//!
//! **Invariant:** one task does it, one reload after another, and nothing is started or published
//! before the whole of the new files has been found good.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

use crate::base::allocator::Steward;
use crate::base::snapshot::Snapshot;
use crate::base::tasks::Stop;
use crate::base::watch::{Changed, News, Watcher};
use crate::config::pem;
use crate::config::{Files, Learnt, Looks, Memory};
use crate::pool::Pool;
use crate::routing::table::Table;
use crate::telemetry::registry::Metrics;

use super::bearers;
use super::certificates;
use super::generation::{Fault, Live, ReloadResult};
use super::issuers::Issuers;
use super::load::{self, Before, Edit, Loaded, Materials, in_background};
use super::noting::Noted;
use super::plan::{self, Numbers};
use super::quarantine;
use super::reconcile::Running;
use super::references::References;
use super::retired::Retired;
use super::review::Review;
use super::sift::Known;
use super::splits::Splits;
use super::stored::{self, Stored};
use super::{Ask, GatewayAsk};

/// Brings one generation after another to life.
pub(super) struct Reloader {
    pub(super) routes: PathBuf,
    /// Where good files go that shall be kept; `None` = nowhere.
    pub(super) kept: Option<watch::Sender<Option<Files>>>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) running: Running,
    pub(super) issuers: Issuers,
    pub(super) table: Snapshot<Table>,
    pub(super) live: Snapshot<Live>,
    pub(super) numbers: Numbers,
    /// The pools of the live table.
    pub(super) serving: Snapshot<Vec<Arc<Pool>>>,
    /// What the live table was made from.
    pub(super) applied: Option<Loaded>,
    /// What the files of the folder looked like when they were read.
    pub(super) looks: Looks,
    /// What the sections of the last good files meant.
    pub(super) memory: Memory,
    /// What is live was applied early: it is kept for a restart once all is quiet.
    pub(super) unkept: bool,
    /// What is kept stays as it is while tenants are answered 503: it may have what they were.
    pub(super) keeps_old: bool,
    /// What was applied is what all files said when they were last read: changes of some of them can
    /// be told from it.
    pub(super) current: bool,
    /// A reading of all files beside everything else.
    pub(super) review: Review,
    pub(super) retired: Retired<Table>,
    /// Gives back what old files and tables have taken.
    pub(super) steward: Steward,
    /// Takes the wish to read `gateway.toml` now.
    pub(super) gateway: mpsc::Sender<GatewayAsk>,
    /// Takes the wish to read the listeners' certificates now.
    pub(super) certificates: mpsc::Sender<certificates::Ask>,
    /// Takes what is live, for the certificates of tenants.
    pub(super) bearers: bearers::Follow,
    /// Files that the routes name.
    pub(super) references: References,
    /// Tenants that the API keeps.
    pub(super) stored: Stored,
    /// What was live before.
    pub(super) noted: Noted,
    /// Splits with a canary.
    pub(super) splits: Splits,
}

/// Files that are tried before all is quiet.
struct Tried {
    loaded: Loaded,
    /// Where few of their tenants were looked at: what was learnt of these.
    learnt: Option<Learnt>,
    /// The files that they name; `None` = as before.
    references: Option<pem::References>,
}

/// Who wants the files to be loaded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// The watcher: the same text as before is no news.
    Changed,
    /// Files that the text refers to have changed; the text may be the same.
    Renewed,
    /// A person: what the files refer to is read anew as well.
    Asked,
}

impl Reloader {
    /// Loads whenever the files change or somebody asks, until `stop`.
    pub(super) async fn run(
        mut self,
        mut watcher: Watcher,
        (mut asks, mut changes): (mpsc::Receiver<Ask>, mpsc::Receiver<stored::Ask>),
        mut stop: Stop,
    ) {
        let mut sweep = interval(SWEEP_INTERVAL);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut again = interval(TAKEOVER_INTERVAL);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.requested() => return,
                news = watcher.changed_early() => match news {
                    News::Early(Changed::Names(names)) if self.edit_early(&names).await => {}
                    News::Early(_) => self.try_early().await,
                    News::Settled(Changed::Any) => drop(self.reload(Wish::Changed).await),
                    News::Settled(Changed::Names(names)) => {
                        if !self.edit_settled(&names).await {
                            watcher.follow().await;
                            self.reload(Wish::Changed).await;
                        }
                    }
                    News::Quiet => self.begin_review().await,
                },
                reviewed = self.review.ended() => {
                    if self.judge(reviewed) {
                        watcher.suspect();
                    }
                }
                () = self.references.wait() => self.renew().await,
                Some(ask) = asks.recv() => self.answer(ask, &mut asks).await,
                Some(ask) = changes.recv() => Box::pin(self.take(ask)).await,
                _ = sweep.tick(), if !self.retired.is_empty() => self.retired.sweep(),
                _ = again.tick(), if self.stored.waits => Box::pin(self.take_over()).await,
            }
            self.note().await;
        }
    }

    /// A file was moved into its place, and others may follow. What cannot be used yet is told once all
    /// is quiet, and nothing is taken away before: it may be about to come in another file. Of a
    /// folder tenants alone are edited before that: pools, sets and all that holds for everybody may
    /// be one half of a change, tenants stand for themselves.
    async fn try_early(&mut self) {
        let started = Instant::now();
        let Some(before) = self.applied.clone() else { return };
        let tried = async {
            let files = self.read_once().await?;
            if before.as_they_are() == files {
                return Ok(());
            }
            let is_whole = stored::are_one(&files) && stored::are_one(&before.files);
            let Tried { loaded, learnt, references } = self.try_files(files, &before).await?;
            // As in `read`; what the files mean was found out meanwhile.
            sleep_until(started + BETWEEN_READINGS).await;
            if self.read_once().await? != loaded.as_they_are()
                || loaded.quarantine != before.quarantine
                || before.spec == loaded.spec
                || loaded.spec.lacks_any_of(&before.spec)
                || !(is_whole || loaded.spec.differ_in_tenants_alone(&before.spec))
            {
                return Ok(());
            }
            if let Some(references) = references {
                self.references.follow(references).await;
            }
            self.apply(loaded, PATIENCE, started).await?;
            learnt.into_iter().for_each(|learnt| self.memory.learn(learnt));
            self.metrics.config_live(self.live.load().generation);
            self.unkept = true;
            Ok::<(), Vec<Fault>>(())
        };
        if let Err(problems) = tried.await {
            tracing::debug!(problems = problems.len(), "the files do not fit yet");
        }
    }

    /// Finds out what files mean beside those that are applied. Of one that is edited in a few of many tenants, these
    /// alone are looked at.
    async fn try_files(&mut self, files: Files, before: &Loaded) -> Result<Tried, Vec<Fault>> {
        // Of files that were refused, what they name is followed.
        if self.current
            && stored::are_one(&files)
            && let Some(Edit { loaded, learnt }) = self.check_edit(files.clone()).await
        {
            return Ok(Tried { loaded, learnt: Some(learnt), references: None });
        }
        let good = Known::Live(before.clone());
        let checked = self.examine(files, good, load::check).await?;
        Ok(Tried { loaded: checked.result?, learnt: None, references: Some(checked.references) })
    }

    /// Files that the routes refer to have changed, or had their time to do so.
    async fn renew(&mut self) {
        if self.references.news().await.is_some() {
            tracing::debug!("files that the routes refer to have changed");
            self.reload(Wish::Renewed).await;
        }
    }

    pub(super) async fn reload(&mut self, wish: Wish) -> ReloadResult {
        let started = Instant::now();
        self.current = false;
        let done = self.load(wish, started).await;
        let generation = self.live.load().generation;
        match done {
            Ok(()) => {
                self.references.settle();
                self.current = true;
                self.stored.publish(self.applied.as_ref());
                match quarantine::problems(self.live.load().quarantine()) {
                    none if none.is_empty() => {
                        ReloadResult::Live { generation, took: started.elapsed() }
                    }
                    problems => ReloadResult::Refused { generation, problems },
                }
            }
            Err(problems)
                if wish == Wish::Renewed && self.references.settled(&problems, &[]).is_empty() =>
            {
                tracing::debug!(problems = problems.len(), "the files do not fit yet");
                ReloadResult::Refused { generation, problems }
            }
            Err(problems) => {
                self.references.settle();
                self.refuse(&problems);
                tracing::error!(
                    problems = problems.len(),
                    generation,
                    "the routes are refused; what was live stays"
                );
                ReloadResult::Refused { generation, problems }
            }
        }
    }

    async fn load(&mut self, wish: Wish, started: Instant) -> Result<(), Vec<Fault>> {
        Box::pin(self.hold_store()).await;
        if wish == Wish::Asked {
            // Whoever asks may know better than what files look like.
            drop(self.take_looks().await);
        }
        let files = self.read().await?;
        let applied = self.applied.clone();
        if wish == Wish::Changed
            && applied.as_ref().is_some_and(|loaded| loaded.as_they_are() == files)
        {
            // A folder that was replaced by an equal one is the one that names are looked up in.
            self.applied.iter_mut().for_each(|applied| applied.files.folder = files.folder);
            if std::mem::take(&mut self.unkept) {
                self.keep();
            }
            let live = self.live.load();
            if !live.serving_last_good && live.problems.is_empty() {
                return Ok(());
            }
            // They are checked all the same: what they name is followed again.
        }
        let loaded = self.check(files).await?;
        if applied.is_some_and(|applied| applied.spec == loaded.spec) {
            self.confirm(loaded);
            return Ok(());
        }
        self.apply(loaded, PATIENCE, started).await?;
        self.succeed();
        Ok(())
    }

    /// Finds out what the files mean, and follows the files that they name.
    pub(super) async fn check(&mut self, files: Files) -> Result<Loaded, Vec<Fault>> {
        let good = self.applied.clone().map(Known::Live);
        self.check_knowing(files, good.unwrap_or_default()).await
    }

    /// As [`check`](Self::check); `good` is what files that are broken were when they were not.
    pub(super) async fn check_knowing(
        &mut self,
        files: Files,
        good: Known,
    ) -> Result<Loaded, Vec<Fault>> {
        Box::pin(self.check_beside(files, (good, load::check))).await
    }

    /// As [`check`](Self::check), for files that were kept from another start.
    pub(super) async fn check_kept(&mut self, files: Files) -> Result<Loaded, Vec<Fault>> {
        Box::pin(self.check_beside(files, (Known::Nothing, load::check_kept))).await
    }

    /// Finds out what the files mean, and which they name.
    pub(super) async fn examine(
        &mut self,
        files: Files,
        good: Known,
        check: fn(Files, Before) -> load::Checked,
    ) -> Result<load::Checked, Vec<Fault>> {
        let root = files.root.clone();
        let before = Before {
            spec: self.applied.as_ref().map(|applied| Arc::clone(&applied.spec)),
            memory: std::mem::take(&mut self.memory),
            good,
        };
        let check = move || Ok(check(files, before));
        let mut checked = in_background("checking the routes", &root, check).await?;
        self.memory = std::mem::take(&mut checked.memory);
        Ok(checked)
    }

    /// Reads the files as they are now. A program that writes in place empties the file first, and
    /// part of a file may be as valid as the whole: so a reading counts once the next one agrees.
    pub(super) async fn read(&mut self) -> Result<Files, Vec<Fault>> {
        let mut last = self.read_once().await;
        for _ in 0..READINGS {
            sleep(BETWEEN_READINGS).await;
            let next = self.read_once().await;
            if matches!((&last, &next), (Ok(last), Ok(next)) if last == next) {
                return next;
            }
            last = next;
        }
        last
    }

    async fn read_once(&mut self) -> Result<Files, Vec<Fault>> {
        self.steward.attend();
        let (routes, mut looks) = (self.routes.clone(), self.take_looks().await);
        let mut overlay = self.stored.overlay();
        let read = move || {
            let files = load::read(&routes, &mut looks);
            Ok((files.map(|files| overlay.over(files)), looks, overlay))
        };
        let read = in_background("reading the routes", &self.routes, read).await?;
        let (files, looks, overlay) = read;
        self.looks = looks;
        self.stored.take_back(overlay);
        files
    }

    /// Makes the next generation of `loaded` and publishes it. `started` is when its files began
    /// to be read.
    pub(super) async fn apply(
        &mut self,
        loaded: Loaded,
        patience: Duration,
        started: Instant,
    ) -> Result<(), Vec<Fault>> {
        let generation = self.live.load().generation + 1;
        let materials = Materials {
            loaded,
            running: self.running.pools(),
            numbers: self.numbers.clone(),
            previous: self.table.load(),
            before: self.applied.as_ref().map(|applied| Arc::clone(&applied.spec)),
            standing: self.live.load().standing.clone(),
            generation,
        };
        let make = move || load::make(materials);
        let mut made = in_background("compiling the routes", &self.routes, make).await?;
        self.numbers = made.numbers;
        self.running.adopt(&made.pools, patience).await;
        let identity = Arc::clone(&made.table.naming.identity);
        made.table.trust(self.issuers.adopt(&identity.issuers, patience).await);
        let tenants = made.table.tenants().len();
        self.steward.attend();
        self.retired.sweep(); // edits may follow each other faster than the interval
        self.retired.add(self.table.load());
        self.metrics.publish_tenants(made.table.slots().clone());
        self.splits.adopt(&made.table).await;
        self.table.publish(Arc::new(made.table));
        plan::set_limits(self.serving.load().iter(), &made.pools);
        self.running.retire(&made.pools);
        self.issuers.retire(&identity.issuers);
        self.metrics.publish_gates(self.running.gates());
        self.metrics.publish_overruns(self.running.overruns());
        self.metrics.publish_breakers(self.running.breakers());
        self.metrics.publish_pools(self.running.named());
        self.serving.publish(Arc::new(self.running.list()));
        made.standing.publish(&self.metrics);
        self.live.publish(Arc::new(Live {
            generation,
            since: SystemTime::now(),
            standing: made.standing,
            pools: self.running.live(),
            issuers: self.issuers.live(),
            loaded: Some(Arc::new(made.loaded.clone())),
            ends: self.publish_ends(),
            ..Live::none()
        }));
        self.running.renew_drains();
        self.tell_doubts(&made.loaded);
        self.tell_quarantine(&made.loaded);
        self.bearers.live(&made.loaded);
        self.applied = Some(made.loaded);
        tracing::info!(generation, tenants, pools = made.pools.len(), took = ?started.elapsed(),
            "the routes are live");
        Ok(())
    }

    /// What is live is what the files say, though perhaps in other words: no new generation.
    pub(super) fn confirm(&mut self, loaded: Loaded) {
        self.tell_quarantine(&loaded);
        let live = self.live.load();
        let generation = live.generation;
        self.applied = self.applied.as_ref().map(|applied| applied.said_as(loaded));
        // What is wrong with certificates of tenants may stand elsewhere now.
        self.applied.iter().for_each(|applied| self.bearers.live(applied));
        self.live.publish(Arc::new(Live {
            loaded: self.applied.clone().map(Arc::new),
            serving_last_good: false,
            problems: Vec::new(),
            failed_since: None,
            ..Live::clone(&live)
        }));
        tracing::info!(generation, "the routes say what is live already");
        self.succeed();
    }

    /// What the files say is live: counts it, and keeps them for a restart that finds others.
    pub(super) fn succeed(&mut self) {
        self.metrics.config_live(self.live.load().generation);
        self.unkept = false;
        self.current = true;
        self.keep();
    }

    pub(super) fn keep(&mut self) {
        let applied = self.applied.as_ref();
        self.keeps_old &=
            applied.is_none_or(|applied| quarantine::any_never_good(&applied.quarantine));
        if self.keeps_old {
            return;
        }
        if let (Some(kept), Some(applied)) = (&self.kept, &self.applied) {
            kept.send_replace(Some(stored::without(&applied.files)));
        }
    }

    /// Tells everybody what is wrong with the files.
    pub(super) fn refuse(&self, problems: &[Fault]) {
        for problem in problems.iter().take(LOGGED) {
            tracing::error!("{problem}");
        }
        if problems.len() > LOGGED {
            tracing::error!("… and {} more; /api/v1/config lists all", problems.len() - LOGGED);
        }
        self.metrics.config_refused(problems.len());
        self.note_refusal(problems);
        let live = self.live.load();
        self.live.publish(Arc::new(Live {
            problems: problems.to_vec(),
            failed_since: live.failed_since.or_else(|| Some(SystemTime::now())),
            ..Live::clone(&live)
        }));
    }
}

/// 10 ms: longer than a program takes from emptying a small file to writing it.
pub(super) const BETWEEN_READINGS: Duration = Duration::from_millis(10);

/// 5: a file that changes without a pause is read as it is, within the half second of a change.
pub(super) const READINGS: u32 = 5;

/// 250 ms: a local look-up and a first check fit; a change is still live within half a second.
pub(super) const PATIENCE: Duration = Duration::from_millis(250);

/// 2 s: while another gateway has what the API keeps, as until that one has ended.
const TAKEOVER_INTERVAL: Duration = Duration::from_secs(2);

/// 1 s: workers that serve anything let go of an old table at once.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// 100: a broken file of many tenants must not push everything else out of the log.
const LOGGED: usize = 100;
