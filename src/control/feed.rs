//! One pool's sources and what becomes of their reports: the pool's members.
//!
//! A task of its own for each pool, so that a slow pool holds up no other and no reload.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::base::tasks::{Stop, Tasks};
use crate::config::spec::SourceSpec;
use crate::discovery::{self, Event, Means, Report, Source, SourceKey};
use crate::model::address::Address;
use crate::model::endpoint::Endpoint;
use crate::model::members::{Found, Members};
use crate::telemetry::registry::Metrics;

use super::generation::{SourceResult, SourceStatus};

/// The sources of one pool. Dropping it ends them; the members stay as they are.
#[derive(Debug)]
pub(super) struct Feed {
    sources: Vec<(SourceSpec, SourceStatus)>,
    orders: mpsc::UnboundedSender<Order>,
    settled: watch::Receiver<bool>,
    /// Held for its end.
    _tasks: Tasks,
}

/// What a feed needs to know of its pool and of the process.
#[derive(Clone, Debug)]
pub(super) struct Home {
    pub(super) pool: Arc<str>,
    pub(super) members: Arc<Members>,
    pub(super) means: Means,
    pub(super) metrics: Arc<Metrics>,
}

/// The sources that a pool shall have from now on.
type Order = Vec<(SourceSpec, SourceStatus)>;

impl Feed {
    /// Starts the sources of a pool. `before` is what the pool of this name had in the generation
    /// before: it stays until the sources have spoken, as where the sources of a pool change.
    pub(super) fn start(home: Home, sources: &[SourceSpec], before: &[Found]) -> Self {
        let (orders, incoming) = mpsc::unbounded_channel();
        let (settled, is_settled) = watch::channel(false);
        let leaving = Leaving::of(before.to_vec());
        home.members.replace(before);
        let mut tasks = Tasks::new("feed");
        tasks.spawn_vital(|stop| Desk::new(home, leaving, settled).run(incoming, stop));
        let mut feed = Self { sources: Vec::new(), orders, settled: is_settled, _tasks: tasks };
        feed.change(sources);
        feed
    }

    /// Goes over to these sources: those that stay run on; a pool keeps its old members until the
    /// new sources have named theirs.
    pub(super) fn change(&mut self, sources: &[SourceSpec]) {
        let mut before = std::mem::take(&mut self.sources);
        self.sources = sources
            .iter()
            .map(|spec| match before.iter().position(|(old, _)| old == spec) {
                Some(at) => before.swap_remove(at),
                None => (spec.clone(), SourceStatus::new(discovery::label(spec).into())),
            })
            .collect();
        // Nobody listens where the process is ending.
        drop(self.orders.send(self.sources.clone()));
    }

    /// What each source said last.
    pub(super) fn statuses(&self) -> Vec<SourceStatus> {
        self.sources.iter().map(|(_, status)| status.clone()).collect()
    }

    /// Whether each source has said something, be it that it failed.
    pub(super) fn is_settled(&self) -> bool {
        *self.settled.borrow()
    }
}

/// Where the reports of one pool's sources arrive.
struct Desk {
    home: Home,
    slots: Vec<Slot>,
    /// What sources found that are no more, while their successors have not spoken.
    leaving: Option<Leaving>,
    reports: (mpsc::Sender<Report>, mpsc::Receiver<Report>),
    settled: watch::Sender<bool>,
    next_key: u64,
}

/// One source and what it found.
struct Slot {
    spec: SourceSpec,
    status: SourceStatus,
    key: SourceKey,
    /// Held for its end.
    _source: Source,
    found: Option<Vec<Found>>,
}

struct Leaving {
    found: Vec<Found>,
    until: Instant,
}

impl Leaving {
    /// `None` where there is nothing that could leave.
    fn of(found: Vec<Found>) -> Option<Self> {
        let until = Instant::now() + LONGEST_STAY;
        (!found.is_empty()).then_some(Self { found, until })
    }
}

impl Desk {
    fn new(home: Home, leaving: Option<Leaving>, settled: watch::Sender<bool>) -> Self {
        let reports = mpsc::channel(QUEUE);
        Self { home, slots: Vec::new(), leaving, reports, settled, next_key: 0 }
    }

    async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Order>, mut stop: Stop) {
        loop {
            let until = self.leaving.as_ref().map(|leaving| leaving.until);
            tokio::select! {
                () = stop.requested() => return,
                Some(order) = orders.recv() => self.rearrange(order),
                Some(report) = self.reports.1.recv() => self.take(report),
                () = at(until) => self.overdue(),
            }
        }
    }

    /// The new sources have not all spoken in time: the old endpoints leave, unless nobody else
    /// serves the pool.
    fn overdue(&mut self) {
        if self.slots.iter().flat_map(|slot| &slot.found).all(Vec::is_empty) {
            tracing::warn!(pool = %self.home.pool,
                "the new sources of the pool have named no endpoint; its old ones still serve");
            let left = self.leaving.take();
            self.leaving = left.and_then(|leaving| Leaving::of(leaving.found));
            return;
        }
        tracing::warn!(pool = %self.home.pool,
            "a new source of the pool has named no endpoint in time; its old endpoints leave");
        self.leaving = None;
        self.publish();
    }

    fn rearrange(&mut self, order: Order) {
        let mut before = std::mem::take(&mut self.slots);
        let slots = order
            .into_iter()
            .map(|(spec, status)| match before.iter().position(|slot| slot.spec == spec) {
                Some(at) => before.remove(at),
                None => self.open(spec, status),
            })
            .collect();
        self.slots = slots;
        let gone: Vec<Found> = before.into_iter().filter_map(|slot| slot.found).flatten().collect();
        if !gone.is_empty() && self.slots.iter().any(|slot| slot.found.is_none()) {
            let mut found = self.leaving.take().map_or_else(Vec::new, |leaving| leaving.found);
            found.extend(gone);
            self.leaving = Leaving::of(found);
        }
        self.publish();
    }

    fn open(&mut self, spec: SourceSpec, status: SourceStatus) -> Slot {
        let key = SourceKey(self.next_key);
        self.next_key += 1;
        let source = discovery::spawn(&spec, key, &self.home.means, &self.reports.0);
        Slot { spec, status, key, _source: source, found: None }
    }

    fn take(&mut self, report: Report) {
        // A report of a source that has just been ended says nothing of the present ones.
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.key == report.source) else {
            return;
        };
        let at = SystemTime::now();
        let (said, result) = match report.event {
            Event::Members(found) => {
                let members = found.len();
                slot.found = Some(found);
                (SourceResult::Found { at, members }, "ok")
            }
            Event::Failed { reason, .. } => (SourceResult::Failed { at, error: reason }, "failed"),
        };
        slot.status.last.publish(Arc::new(said));
        self.home.metrics.discovery_update(&self.home.pool, &slot.status.name, result);
        self.publish();
    }

    fn publish(&mut self) {
        if self.slots.iter().all(|slot| slot.found.is_some()) {
            self.leaving = None;
        }
        let mut found =
            discovery::merge(self.slots.iter().filter_map(|slot| slot.found.as_deref()));
        if let Some(leaving) = &self.leaving {
            // What the sources of now name is as they say, also where it was draining.
            let present: HashSet<&Address> = found.iter().map(|found| &found.address).collect();
            let is_old = |found: &&Found| !present.contains(&found.address);
            let old: Vec<Found> = leaving.found.iter().filter(is_old).cloned().collect();
            found.extend(old);
        }
        let change = self.home.members.replace(&found);
        if !change.is_empty() {
            tracing::info!(pool = %self.home.pool, joined = names(&change.joined),
                left = names(&change.left), "the pool has other endpoints");
        }
        for (endpoints, what) in [(&change.draining, DRAINING), (&change.back, BACK)] {
            if !endpoints.is_empty() {
                tracing::info!(pool = %self.home.pool, endpoints = names(endpoints), "{what}");
            }
        }
        let silent = |slot: &Slot| matches!(*slot.status.last.load(), SourceResult::Waiting);
        let settled = !self.slots.iter().any(silent);
        if settled {
            self.home.members.settle();
        }
        self.settled.send_replace(settled);
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

fn names(endpoints: &[Arc<Endpoint>]) -> String {
    let mut names: Vec<&str> =
        endpoints.iter().take(NAMES).map(|endpoint| endpoint.label.as_ref()).collect();
    if endpoints.len() > NAMES {
        names.push("…");
    }
    names.join(" ")
}

const DRAINING: &str = "endpoints are drained by what is written of them";
const BACK: &str = "endpoints are no longer drained by what is written of them";

/// Reports of one pool that may wait; a source that finds it full waits too.
const QUEUE: usize = 64;

/// 30 s: several tries of DNS. Beyond it the operator's word counts, who took the endpoints out.
const LONGEST_STAY: Duration = Duration::from_secs(30);

/// 20: a log line that a person can still read.
const NAMES: usize = 20;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tokio::time::{sleep, timeout};

    use crate::base::watch::FileEvents;
    use crate::config::spec::{DnsSpec, EndpointSpec, EndpointState};
    use crate::discovery::resolver::Resolver;
    use crate::model::endpoint::Health;

    use super::*;

    fn home() -> Home {
        let dns = DnsSpec { servers: Vec::new(), timeout: Duration::from_secs(1) };
        Home {
            pool: "shop".into(),
            members: Arc::new(Members::new(1, Health::Unchecked, 0.5)),
            means: Means { resolver: Resolver::new(&dns), files: FileEvents::new() },
            metrics: Arc::new(Metrics::new()),
        }
    }

    fn fixed(port: u16) -> SourceSpec {
        SourceSpec::Fixed(vec![EndpointSpec::new(([127, 0, 0, 1], port).into())])
    }

    fn file(path: &Path) -> SourceSpec {
        SourceSpec::File(path.to_owned())
    }

    fn ports(members: &Members) -> Vec<u16> {
        let port = |address: &Address| address.net().unwrap().port();
        members.load().all.iter().map(|member| port(&member.endpoint.address)).collect()
    }

    async fn reaches(members: &Members, wanted: &[u16]) {
        let reached = async {
            while ports(members) != wanted {
                sleep(Duration::from_millis(1)).await;
            }
        };
        let done = timeout(Duration::from_secs(20), reached).await;
        assert!(done.is_ok(), "{:?} are not {wanted:?}", ports(members));
    }

    #[tokio::test(start_paused = true)]
    async fn the_sources_of_a_pool_add_up_and_one_that_is_taken_out_leaves_at_once() {
        let home = home();
        let mut feed = Feed::start(home.clone(), &[fixed(1), fixed(2)], &[]);
        reaches(&home.members, &[1, 2]).await;
        assert!(feed.is_settled());
        assert_eq!(feed.statuses().len(), 2);

        feed.change(&[fixed(2)]);

        reaches(&home.members, &[2]).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_that_is_taken_out_ends_while_another_new_source_is_silent() {
        let home = home();
        let draining = EndpointSpec {
            state: EndpointState::Draining,
            ..EndpointSpec::new(([127, 0, 0, 1], 1).into())
        };
        let mut feed = Feed::start(home.clone(), &[SourceSpec::Fixed(vec![draining])], &[]);
        reaches(&home.members, &[1]).await;
        assert!(home.members.load().all[0].draining.is_some());
        let folder = tempfile::tempdir().unwrap();

        feed.change(&[fixed(1), file(&folder.path().join("missing.json"))]);

        let ended = async {
            while home.members.load().all[0].draining.is_some() {
                sleep(Duration::from_millis(1)).await;
            }
        };
        assert!(timeout(LONGEST_STAY / 2, ended).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn old_endpoints_serve_for_as_long_as_the_new_source_has_named_none() {
        let home = home();
        let mut feed = Feed::start(home.clone(), &[fixed(1)], &[]);
        reaches(&home.members, &[1]).await;
        let folder = tempfile::tempdir().unwrap();

        feed.change(&[file(&folder.path().join("missing.json"))]);
        sleep(LONGEST_STAY * 3).await;

        assert_eq!(ports(&home.members), [1]);
    }

    #[tokio::test(start_paused = true)]
    async fn old_endpoints_leave_after_half_a_minute_once_another_source_serves() {
        let home = home();
        let mut feed = Feed::start(home.clone(), &[fixed(1)], &[]);
        reaches(&home.members, &[1]).await;
        let folder = tempfile::tempdir().unwrap();
        let changed = Instant::now();

        feed.change(&[file(&folder.path().join("missing.json")), fixed(2)]);
        reaches(&home.members, &[1, 2]).await;
        while ports(&home.members).len() > 1 {
            sleep(Duration::from_millis(100)).await;
        }

        let stayed = changed.elapsed();
        assert!(stayed >= LONGEST_STAY && stayed < LONGEST_STAY * 2, "{stayed:?}");
        assert!(matches!(*feed.statuses()[0].last.load(), SourceResult::Failed { .. }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_stays_keeps_what_it_found_while_another_is_changed() {
        let home = home();
        let mut feed = Feed::start(home.clone(), &[fixed(1), fixed(2)], &[]);
        reaches(&home.members, &[1, 2]).await;
        let kept = Arc::clone(&home.members.load().all[0].endpoint);

        feed.change(&[fixed(1), fixed(3)]);

        reaches(&home.members, &[1, 3]).await;
        assert!(Arc::ptr_eq(&kept, &home.members.load().all[0].endpoint));
    }
}
