//! The control side of the metrics: takes what the workers counted, keeps what control itself
//! counts, and renders all of it for a scrape.

mod gates;
mod issuers;
mod members;
mod pools;
mod resilience;
mod splits;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use prometheus::proto::MetricFamily;
use tokio::sync::mpsc;
use tokio::time::{Instant, interval, interval_at};

use crate::base::fair::Gate;
use crate::base::loads::Loads;
use crate::base::memory::{Memory, Refused};
use crate::base::snapshot::Snapshot;
use crate::base::tasks::Stop;
use crate::model::answer_times::AnswerTimes;
use crate::model::members::Members;
use crate::model::overrun::Overrun;

use super::bearers;
use super::delta::Delta;
use super::exposition::{self, Samples};
use super::keeping;
use super::metrics::{self, Family, Kind};
use super::process;
use super::recent::{POINT, Recent};
use super::reloads;
use super::sightings::Sightings;
use super::strains::Strains;
use super::tenants::Slots;
use super::totals::Totals;
use super::usage::{Hour, Usage};

pub use super::totals::Open;
pub use resilience::NamedBreakers;
pub use splits::SplitLabels;

/// A pool's name and its members, for the gauges that are read at a scrape.
pub type NamedPool = (Arc<str>, Arc<Members>);

/// A pool's name, its gate, and how long its requests take where the gate's limit follows that, for the same.
pub type NamedGate = (Arc<str>, Arc<Gate>, Option<Arc<AnswerTimes>>);

/// A pool's name, and what bounds it while it is overrun, for the same.
pub type NamedOverrun = (Arc<str>, Arc<Overrun>);

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    totals: Mutex<Totals>,
    recent: Mutex<Recent>,
    usage: Mutex<Usage>,
    sightings: Mutex<Sightings>,
    strains: Mutex<Strains>,
    /// What control counts and sets, by the values of the labels.
    values: Mutex<BTreeMap<&'static str, Values>>,
    pools: Snapshot<Vec<NamedPool>>,
    gates: Snapshot<Vec<NamedGate>>,
    overruns: Snapshot<Vec<NamedOverrun>>,
    breakers: Snapshot<Vec<NamedBreakers>>,
    listeners: Snapshot<Vec<Arc<str>>>,
    memory: Snapshot<Memory>,
    loads: Snapshot<Loads>,
    /// Counters of threads that must not wait.
    pub(super) lost: Arc<Lost>,
}

/// What was lost because somebody must not wait.
#[derive(Debug, Default)]
pub(super) struct Lost {
    pub(super) access_log_dropped: Arc<AtomicU64>,
    pub(super) access_log_errors: Arc<AtomicU64>,
    pub(super) log_dropped: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Values {
    family: &'static Family,
    by_labels: BTreeMap<Vec<String>, f64>,
}

/// The channel from the workers' meters to [`Metrics::run`].
pub fn deltas() -> (mpsc::Sender<Delta>, mpsc::Receiver<Delta>) {
    mpsc::channel(QUEUE)
}

impl Metrics {
    /// Nothing counted yet.
    pub fn new() -> Self {
        let metrics = Self {
            totals: Mutex::new(Totals::new(TENANTS)),
            recent: Mutex::new(Recent::new()),
            usage: Mutex::new(Usage::new()),
            sightings: Mutex::default(),
            strains: Mutex::default(),
            values: Mutex::default(),
            pools: Snapshot::new(Arc::default()),
            gates: Snapshot::new(Arc::default()),
            overruns: Snapshot::new(Arc::default()),
            breakers: Snapshot::new(Arc::default()),
            listeners: Snapshot::new(Arc::default()),
            memory: Snapshot::new(Arc::new(Memory::new(0, 0))),
            loads: Snapshot::new(Loads::new(0)),
            lost: Arc::default(),
        };
        metrics.set(&metrics::BUILD_INFO, &[env!("CARGO_PKG_VERSION")], 1.0);
        for gauge in
            [&reloads::CONFIG_GENERATION, &reloads::CONFIG_PROBLEMS, &reloads::CONFIG_LAST_SUCCESS]
        {
            metrics.set(gauge, &[], 0.0);
        }
        metrics.set(&reloads::CONFIG_SERVING_LAST_GOOD, &[], 0.0);
        metrics.set(&reloads::CONFIG_QUARANTINED, &[], 0.0);
        for state in ["active", "maintenance", "suspended", "quarantined"] {
            metrics.set(&metrics::TENANTS, &[state], 0.0);
        }
        metrics.set(&metrics::ROUTES_IN_MAINTENANCE, &[], 0.0);
        for result in ["ok", "refused"] {
            metrics.add(&reloads::CONFIG_RELOADS, &[result], 0);
            metrics.add(&metrics::CERTIFICATE_RELOADS, &[result], 0);
            metrics.add(&bearers::TENANT_CERTIFICATE_RELOADS, &[result], 0);
            metrics.add(&metrics::GATEWAY_RELOADS, &[result], 0);
        }
        for reason in
            ["no_token", "bad_token", "limited", "foreign_host", "browser", "role", "changes"]
        {
            metrics.add(&keeping::ADMIN_REFUSED, &[reason], 0);
        }
        for result in ["ok", "dry_run", "refused"] {
            metrics.add(&keeping::TENANT_CHANGES, &[result], 0);
        }
        metrics.set(&metrics::CERTIFICATE_PROBLEMS, &[], 0.0);
        metrics.set(&bearers::TENANT_CERTIFICATE_PROBLEMS, &[], 0.0);
        metrics.publish_tenant_certificates(0, 0, None);
        metrics.set(&metrics::ADMIN_WATCHERS, &[], 0.0);
        for reason in ["limit", "slow"] {
            metrics.add(&metrics::ADMIN_WATCHERS_REFUSED, &[reason], 0);
        }
        metrics
    }

    /// Takes deltas until `stop`, then what the channel still holds.
    pub async fn run(self: Arc<Self>, mut deltas: mpsc::Receiver<Delta>, mut stop: Stop) {
        let mut tidy = interval(TIDY_INTERVAL);
        let mut points = interval_at(Instant::now() + POINT, POINT);
        loop {
            tokio::select! {
                () = stop.requested() => break,
                delta = deltas.recv() => match delta {
                    Some(delta) => self.merge(&delta),
                    None => return,
                },
                _ = points.tick() => locked(&self.recent).turn(),
                _ = tidy.tick() => self.tidy(),
            }
        }
        while let Ok(delta) = deltas.try_recv() {
            self.merge(&delta);
        }
    }

    /// Adds what a worker counted.
    pub fn merge(&self, delta: &Delta) {
        locked(&self.totals).merge(delta);
        locked(&self.recent).add(delta);
        locked(&self.usage).add(delta, Hour::now());
        locked(&self.sightings).add(delta);
        locked(&self.strains).add(delta);
    }

    /// Looks at what was counted in the last minutes. Deltas wait meanwhile, so be brief: some
    /// milliseconds.
    pub fn recent<T>(&self, look: impl FnOnce(&mut Recent) -> T) -> T {
        look(&mut locked(&self.recent))
    }

    /// Looks at what tenants have used. Deltas wait meanwhile.
    pub fn usage<T>(&self, look: impl FnOnce(&mut Usage) -> T) -> T {
        look(&mut locked(&self.usage))
    }

    /// What is open now.
    pub fn open(&self) -> Open {
        locked(&self.totals).open()
    }

    /// The requests of a tenant since the start, and how many of them were answered 5xx. `None` for
    /// one that had none.
    pub fn since_start(&self, tenant: &str) -> Option<(u64, u64)> {
        let used = locked(&self.usage).of(tenant)?.since_start;
        (used.requests() > 0).then(|| (used.requests(), used.failed()))
    }

    /// Adds to a counter that control keeps.
    pub fn add(&self, family: &'static Family, labels: &[&str], count: u64) {
        self.value(family, labels, |value| *value += count as f64);
    }

    /// Adds to a counter of seconds.
    pub fn add_seconds(&self, family: &'static Family, labels: &[&str], time: Duration) {
        self.value(family, labels, |value| *value += time.as_secs_f64());
    }

    /// Sets a gauge that control keeps.
    pub fn set(&self, family: &'static Family, labels: &[&str], to: f64) {
        self.value(family, labels, |value| *value = to);
    }

    /// The files were loaded without a problem and their table is live.
    pub fn config_live(&self, generation: u64) {
        self.add(&reloads::CONFIG_RELOADS, &["ok"], 1);
        self.set(&reloads::CONFIG_GENERATION, &[], generation as f64);
        self.set(&reloads::CONFIG_LAST_SUCCESS, &[], unix_seconds(SystemTime::now()));
        self.set(&reloads::CONFIG_PROBLEMS, &[], 0.0);
        self.set(&reloads::CONFIG_SERVING_LAST_GOOD, &[], 0.0);
    }

    /// Another table is live, though the files say what they said.
    pub fn config_changed(&self, generation: u64) {
        self.set(&reloads::CONFIG_GENERATION, &[], generation as f64);
    }

    /// The files have this many problems: what was live stays.
    pub fn config_refused(&self, problems: usize) {
        self.add(&reloads::CONFIG_RELOADS, &["refused"], 1);
        self.set(&reloads::CONFIG_PROBLEMS, &[], problems as f64);
    }

    /// The files were broken at the start: the copy on disk is live.
    pub fn config_last_good(&self, generation: u64) {
        self.set(&reloads::CONFIG_GENERATION, &[], generation as f64);
        self.set(&reloads::CONFIG_SERVING_LAST_GOOD, &[], 1.0);
    }

    /// So many tenants are held as they were, since the files that define them are broken.
    pub fn config_quarantined(&self, tenants: usize) {
        self.set(&reloads::CONFIG_QUARANTINED, &[], tenants as f64);
    }

    /// `gateway.toml` has other listeners; `result` is `ok` or `refused`.
    pub fn gateway_read(&self, result: &'static str) {
        self.add(&metrics::GATEWAY_RELOADS, &[result], 1);
    }

    /// The certificates of the listeners were read; `result` is `ok` or `refused`.
    pub fn certificates_read(&self, result: &'static str) {
        self.add(&metrics::CERTIFICATE_RELOADS, &[result], 1);
    }

    /// What is wrong with the certificates of the listeners.
    pub fn certificate_problems(&self, problems: usize) {
        self.set(&metrics::CERTIFICATE_PROBLEMS, &[], problems as f64);
    }

    /// Sets when the certificates for some uses end, in Unix time, and forgets others for them.
    pub fn publish_certificates<'u>(
        &self,
        uses: &[&str],
        ends: impl IntoIterator<Item = (String, &'u str, u64)>,
    ) {
        if let Some(values) = locked(&self.values).get_mut(metrics::CERTIFICATE_EXPIRY.name) {
            let is_other =
                |labels: &[String]| !labels.iter().skip(1).any(|one| uses.contains(&one.as_str()));
            values.by_labels.retain(|labels, _| is_other(labels));
        }
        for (file, role, at) in ends {
            self.set(&metrics::CERTIFICATE_EXPIRY, &[&file, role], at as f64);
        }
    }

    /// Certificates of tenants were read; `result` is `ok` or `refused`.
    pub fn tenant_certificates_read(&self, result: &'static str) {
        self.add(&bearers::TENANT_CERTIFICATE_RELOADS, &[result], 1);
    }

    /// What is wrong with certificates of tenants.
    pub fn tenant_certificate_problems(&self, problems: usize) {
        self.set(&bearers::TENANT_CERTIFICATE_PROBLEMS, &[], problems as f64);
    }

    /// How many certificates of tenants are in use, how many of them have ended, and when the next one does, in Unix
    /// time.
    pub fn publish_tenant_certificates(
        &self,
        in_use: usize,
        expired: usize,
        next_end: Option<u64>,
    ) {
        self.set(&bearers::TENANT_CERTIFICATES, &[], in_use as f64);
        self.set(&bearers::TENANT_CERTIFICATES_EXPIRED, &[], expired as f64);
        let family = &bearers::TENANT_CERTIFICATE_EXPIRY;
        match next_end {
            Some(end) => self.set(family, &[], end as f64),
            None => {
                if let Some(values) = locked(&self.values).get_mut(family.name) {
                    values.by_labels.clear();
                }
            }
        }
    }

    /// A source of a pool answered; `result` is from a closed set, as in `ok`, `empty`, `failed`.
    pub fn discovery_update(&self, pool: &str, source: &str, result: &'static str) {
        self.add(&metrics::DISCOVERY_UPDATES, &[pool, source, result], 1);
    }

    /// Sets how many tenants have series of their own; the rest is summed under `_other`.
    pub fn limit_tenants(&self, most: usize) {
        locked(&self.totals).tenants.limit(most);
    }

    /// Sets which tenants there are, before their table is published. The series of those that are
    /// gone end, and what still comes of them is summed under `_other`.
    pub fn publish_tenants(&self, live: Slots) {
        locked(&self.usage).keep(live.clone());
        locked(&self.totals).tenants.keep(live);
    }

    /// Sets the listeners' addresses, in the order of their numbers.
    pub fn publish_listeners(&self, listeners: Vec<Arc<str>>) {
        locked(&self.totals).at_least(listeners.len());
        self.listeners.publish(Arc::new(listeners));
    }

    /// Sets the budget of memory whose use a scrape shows.
    pub fn publish_memory(&self, memory: Arc<Memory>) {
        self.memory.publish(memory);
    }

    /// Sets what counts the connections of each worker.
    pub fn publish_loads(&self, loads: Arc<Loads>) {
        self.loads.publish(loads);
    }

    /// All of it in the text format of Prometheus. Its cost grows with what was counted: call it
    /// where a thread may be busy for a while.
    ///
    /// # Errors
    /// When the encoder refuses a family, which is a bug.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        exposition::text(self.collect())
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // A copy: for 100,000 tenants it takes 20 ms, and building their families 100 ms, while
        // deltas wait for the lock on the control runtime.
        let totals = locked(&self.totals).clone();
        let mut families = totals.collect(&self.listeners.load());
        let members = members::samples(&self.pools.load());
        families.extend(members.into_iter().filter_map(Samples::finish));
        families.extend(self.gates().into_iter().filter_map(Samples::finish));
        families.extend(self.breakers().into_iter().filter_map(Samples::finish));
        families.extend(self.lost().into_iter().filter_map(Samples::finish));
        families.extend(self.workers().into_iter().filter_map(Samples::finish));
        families.extend(self.buffers().into_iter().filter_map(Samples::finish));
        for values in locked(&self.values).values() {
            let mut samples = Samples::of(values.family);
            for (labels, value) in &values.by_labels {
                let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
                samples.number(&labels, *value);
            }
            families.extend(samples.finish());
        }
        families.extend(process::collect());
        families.sort_by(|left, right| left.name().cmp(right.name()));
        families
    }

    fn workers(&self) -> [Samples; 2] {
        let loads = self.loads.load();
        let mut connections = Samples::of(&metrics::WORKER_CONNECTIONS);
        for (number, count) in loads.of_each().enumerate() {
            connections.count(&[&number.to_string()], count as u64);
        }
        let mut moved = Samples::of(&metrics::DOWNSTREAM_MOVED);
        moved.count(&[], loads.moved());
        [connections, moved]
    }

    fn buffers(&self) -> [Samples; 3] {
        let memory = self.memory.load();
        let mut held = Samples::of(&metrics::BUFFERS_BYTES);
        held.count(&[], memory.held());
        let mut limit = Samples::of(&metrics::BUFFERS_LIMIT);
        limit.count(&[], memory.limit());
        let mut refused = Samples::of(&metrics::BUFFERS_REFUSED);
        for what in Refused::ALL {
            refused.count(&[what.as_str()], memory.refused(what));
        }
        [held, limit, refused]
    }

    fn lost(&self) -> [Samples; 3] {
        [
            (&metrics::ACCESS_LOG_DROPPED, &self.lost.access_log_dropped),
            (&metrics::ACCESS_LOG_ERRORS, &self.lost.access_log_errors),
            (&metrics::LOG_DROPPED, &self.lost.log_dropped),
        ]
        .map(|(family, count)| {
            let mut samples = Samples::of(family);
            samples.count(&[], count.load(Ordering::Relaxed));
            samples
        })
    }

    /// Forgets endpoints that are gone, and looks at which tenants are busy.
    fn tidy(&self) {
        locked(&self.totals).tenants.review();
        let pools = self.pools.load();
        let members: BTreeMap<&str, &Members> =
            pools.iter().map(|(name, members)| (name.as_ref(), members.as_ref())).collect();
        locked(&self.totals).forget_endpoints(|pool, endpoint| {
            members.get(pool).is_some_and(|members| {
                members.load().all.iter().any(|member| member.endpoint.label.as_ref() == endpoint)
            })
        });
    }

    fn value(&self, family: &'static Family, labels: &[&str], change: impl FnOnce(&mut f64)) {
        debug_assert_eq!(labels.len(), family.labels.len(), "{}", family.name);
        debug_assert_ne!(family.kind, Kind::Histogram, "{}", family.name);
        let mut values = locked(&self.values);
        let values = values
            .entry(family.name)
            .or_insert_with(|| Values { family, by_labels: BTreeMap::new() });
        let labels = labels.iter().map(|value| (*value).to_owned()).collect();
        change(values.by_labels.entry(labels).or_default());
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// A panic elsewhere leaves whole numbers behind, so that they are used on.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unix_seconds(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// 1,000 tenants: 30 series each are what a scrape each 15 s bears well. See `metrics.tenants`.
const TENANTS: usize = 1000;

/// Deltas that may wait: some seconds of many workers. Beyond, workers keep what they counted.
const QUEUE: usize = 256;

/// Endpoints are kept for ten minutes, so that a minute more does not matter.
const TIDY_INTERVAL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
