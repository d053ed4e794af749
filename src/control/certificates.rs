//! The listeners' certificates while the gateway runs: read again when their files change or somebody
//! asks, checked, and put in use for the handshakes to come.
//!
//! **Invariant:** what is wrong with the files of a certificate changes nothing of it: the one in use
//! stays, with its demand on clients.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::{mpsc, oneshot};

use crate::base::snapshot::Snapshot;
use crate::base::tasks::Stop;
use crate::config::spec::ListenerSpec;
use crate::config::{Problem, Problems, pem};
use crate::telemetry::registry::Metrics;
use crate::tls::certificates::{Certificates, Entry};
use crate::tls::demand::Demands;
use crate::tls::expiry::{self, Expiry, Role};
use crate::tls::server::{self, Made, Outcome};

use super::generation::{Fault, LiveCertificates};
use super::load::in_background;
use super::references::References;
use super::reload::Wish;

/// What the listeners present, as a start has read it.
#[derive(Debug)]
pub struct Presented {
    listeners: Arc<Vec<ListenerSpec>>,
    /// The files that they were read from.
    read: pem::References,
    demands: Demands,
    in_use: Made,
    doubts: Vec<Problem>,
}

impl Presented {
    /// Reads the certificates of the listeners for the first time.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub fn read(listeners: &[ListenerSpec]) -> Result<Self, Problems> {
        let read = pem::digests(&server::files(listeners));
        let mut demands = Demands::default();
        let Outcome { made, problems, doubts } = server::build(listeners, &[], &mut demands);
        if let Some(problems) = Problems::of(problems) {
            return Err(problems);
        }
        let listeners = Arc::new(listeners.to_vec());
        Ok(Self { listeners, read, demands, in_use: made, doubts })
    }

    /// What makes one doubt them.
    pub fn doubts(&self) -> &[Problem] {
        &self.doubts
    }
}

/// For each listener, what it presents; `None` = no TLS.
pub type Snapshots = Vec<Option<Snapshot<Certificates>>>;

/// What the keeper is asked for.
#[derive(Debug)]
pub enum Ask {
    /// To read the certificates now, and to tell what is wrong with them.
    Read(oneshot::Sender<Vec<Fault>>),
    /// To keep those of these listeners from now on, and to tell what each presents; or what is wrong
    /// with any, and nothing changes then. One of the same address keeps what it has, as far as it
    /// still asks for it.
    Present(Vec<ListenerSpec>, oneshot::Sender<Result<Snapshots, Vec<Fault>>>),
}

/// Keeps the listeners' certificates as their files are.
pub(super) struct Keeper {
    presented: Presented,
    snapshots: Snapshots,
    live: Snapshot<LiveCertificates>,
    metrics: Arc<Metrics>,
    files: References,
}

impl Keeper {
    /// With what a start has read.
    pub(super) fn new(presented: Presented, metrics: Arc<Metrics>, files: References) -> Self {
        let snapshot = |made: &Option<Arc<Certificates>>| made.clone().map(Snapshot::new);
        let snapshots = presented.in_use.iter().map(snapshot).collect();
        let doubts = presented.doubts.iter().cloned().map(Fault::from).collect();
        let keeper = Self {
            presented,
            snapshots,
            live: Snapshot::new(Arc::new(LiveCertificates::none())),
            metrics,
            files,
        };
        keeper.publish_live(Vec::new(), doubts);
        keeper
    }

    /// For each listener, what it presents; `None` = no TLS.
    pub(super) fn snapshots(&self) -> Snapshots {
        self.snapshots.clone()
    }

    /// What is in use, for people.
    pub(super) fn live(&self) -> Snapshot<LiveCertificates> {
        self.live.clone()
    }

    /// Reads the files whenever they change or somebody asks, until `stop`.
    pub(super) async fn run(mut self, mut asks: mpsc::Receiver<Ask>, mut stop: Stop) {
        self.files.follow(self.presented.read.clone()).await;
        loop {
            tokio::select! {
                () = stop.requested() => return,
                () = self.files.wait() => {
                    if let Some(read) = self.files.news().await {
                        self.renew(read, Wish::Changed).await;
                    }
                }
                Some(ask) = asks.recv() => self.answer(ask).await,
            }
        }
    }

    /// Who asked may have left meanwhile.
    async fn answer(&mut self, ask: Ask) {
        match ask {
            Ask::Read(told) => {
                let read = self.files.now().await;
                self.renew(read, Wish::Asked).await;
                drop(told.send(self.live.load().problems.clone()));
            }
            Ask::Present(listeners, told) => drop(told.send(self.present(listeners).await)),
        }
    }

    async fn present(&mut self, listeners: Vec<ListenerSpec>) -> Result<Snapshots, Vec<Fault>> {
        let places = places(&self.presented.listeners, &listeners);
        let before: Made = places
            .iter()
            .map(|place| self.presented.in_use.get((*place)?).cloned().flatten())
            .collect();
        let listeners = Arc::new(listeners);
        let (wanted, mut demands) =
            (Arc::clone(&listeners), std::mem::take(&mut self.presented.demands));
        let file = file_of(&listeners);
        let (outcome, read, demands) = in_background(READING, &file, move || {
            let read = pem::digests(&server::files(&wanted));
            let outcome = server::build(&wanted, &before, &mut demands);
            Ok((outcome, read, demands))
        })
        .await?;
        self.presented.demands = demands;
        if !outcome.problems.is_empty() {
            return Err(outcome.problems.into_iter().map(Fault::from).collect());
        }
        let kept = std::mem::take(&mut self.snapshots);
        let snapshot = |(place, made): (&Option<usize>, &Option<Arc<Certificates>>)| {
            let kept = place.and_then(|place| kept.get(place).cloned().flatten());
            made.as_ref().map(|made| kept.unwrap_or_else(|| Snapshot::new(Arc::clone(made))))
        };
        self.snapshots = places.iter().zip(&outcome.made).map(snapshot).collect();
        self.presented.listeners = listeners;
        self.presented.read = read.clone();
        self.files.follow(read).await;
        self.put_in_use(outcome.made);
        let doubts = outcome.doubts.into_iter().map(Fault::from).collect();
        self.succeed(false, doubts);
        Ok(self.snapshots.clone())
    }

    async fn renew(&mut self, read: pem::References, wish: Wish) {
        let is_news = read != self.presented.read;
        let listeners = Arc::clone(&self.presented.listeners);
        let (before, mut demands) =
            (self.presented.in_use.clone(), std::mem::take(&mut self.presented.demands));
        let file = file_of(&listeners);
        let built = in_background(READING, &file, move || {
            let outcome = server::build(&listeners, &before, &mut demands);
            Ok((outcome, demands))
        });
        let (outcome, demands) = match built.await {
            Ok(built) => built,
            Err(faults) => return self.refuse_all(faults, Vec::new()),
        };
        self.presented.demands = demands;
        self.presented.read = read.clone();
        self.files.follow(read).await;
        self.put_in_use(outcome.made);
        let problems: Vec<Fault> = outcome.problems.into_iter().map(Fault::from).collect();
        let doubts: Vec<Fault> = outcome.doubts.into_iter().map(Fault::from).collect();
        if problems.is_empty() {
            return self.succeed(is_news, doubts);
        }
        match wish {
            Wish::Asked => self.refuse_all(problems, doubts),
            Wish::Changed | Wish::Renewed => {
                let told = self.files.settled(&problems, &self.live.load().problems);
                tracing::debug!(
                    problems = problems.len(),
                    told = told.len(),
                    "the certificates do not fit"
                );
                self.refuse(told, doubts);
            }
        }
    }

    /// Swaps what each listener presents. Connections keep what they were begun with.
    fn put_in_use(&mut self, made: Made) {
        let before = std::mem::replace(&mut self.presented.in_use, made);
        for (snapshot, new) in self.snapshots.iter().zip(&self.presented.in_use) {
            if let (Some(snapshot), Some(new)) = (snapshot, new) {
                snapshot.publish(Arc::clone(new));
            }
        }
        tell_new(&before, &self.presented.in_use);
        drop(before);
        self.presented.demands.tidy();
    }

    fn succeed(&mut self, is_news: bool, doubts: Vec<Fault>) {
        self.files.settle();
        let live = self.live.load();
        if is_news || !live.problems.is_empty() {
            self.metrics.certificates_read("ok");
        }
        if !live.problems.is_empty() {
            tracing::info!("the certificates are good again");
        }
        for doubt in doubts.iter().filter(|doubt| !live.doubts.contains(doubt)) {
            tracing::warn!("{doubt}");
        }
        self.publish_live(Vec::new(), doubts);
    }

    /// Whatever is wrong is told at once.
    fn refuse_all(&mut self, problems: Vec<Fault>, doubts: Vec<Fault>) {
        self.files.settle();
        self.refuse(problems, doubts);
    }

    /// Tells everybody what is wrong, each fault once.
    fn refuse(&mut self, problems: Vec<Fault>, doubts: Vec<Fault>) {
        let before = self.live.load();
        let new = || problems.iter().filter(|problem| !before.problems.contains(problem));
        for problem in new() {
            tracing::error!("{problem}");
        }
        if new().next().is_some() {
            tracing::error!(
                problems = problems.len(),
                "new certificates are refused; those that are in use stay"
            );
            self.metrics.certificates_read("refused");
        }
        self.publish_live(problems, doubts);
    }

    fn publish_live(&self, problems: Vec<Fault>, doubts: Vec<Fault>) {
        let ends = expiry::of_listeners(self.presented.in_use.iter().flatten());
        publish_ends(&self.metrics, &[Role::Listener, Role::ClientAuthorities], &ends);
        self.metrics.certificate_problems(problems.len());
        let before = self.live.load();
        let failing = before.failed_since.or_else(|| Some(SystemTime::now()));
        let failed_since = failing.filter(|_| !problems.is_empty());
        self.live.publish(Arc::new(LiveCertificates { problems, doubts, failed_since, ends }));
    }
}

/// Shows when the certificates of these roles end.
pub(super) fn publish_ends(metrics: &Metrics, roles: &[Role], ends: &[Expiry]) {
    let uses: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
    let ends = ends.iter().map(|one| (one.file.display().to_string(), one.role.as_str(), one.at));
    metrics.publish_certificates(&uses, ends);
}

/// For each listener, its place among those before: the one of its address.
pub fn places(before: &[ListenerSpec], now: &[ListenerSpec]) -> Vec<Option<usize>> {
    let mut free: Vec<usize> = (0..before.len()).collect();
    let place = |spec: &ListenerSpec| {
        let same = |at: &usize| before[*at].address == spec.address;
        free.iter().position(same).map(|index| free.remove(index))
    };
    now.iter().map(place).collect()
}

/// The file that the listeners are written in.
fn file_of(listeners: &[ListenerSpec]) -> PathBuf {
    listeners.first().map_or_else(PathBuf::new, |listener| PathBuf::from(&*listener.place.file))
}

const READING: &str = "reading the listeners' certificates";

/// One line for each certificate that is new in its place.
fn tell_new(before: &[Option<Arc<Certificates>>], now: &[Option<Arc<Certificates>>]) {
    let mut told = BTreeSet::new();
    let entries = |all: &[Option<Arc<Certificates>>]| -> Vec<Arc<Entry>> {
        all.iter().flatten().flat_map(|one| one.entries().cloned()).collect()
    };
    let before = entries(before);
    for entry in entries(now) {
        let file: &Path = &entry.origin().certificate;
        let mut of_the_file = before.iter().filter(|old| old.origin() == entry.origin()).peekable();
        let was_there = of_the_file.peek().is_some();
        if of_the_file.any(|old| old.leaf() == entry.leaf()) || !told.insert(file.to_path_buf()) {
            continue;
        }
        let file = file.display();
        match was_there {
            true => tracing::info!(%file, "a renewed certificate is in use"),
            false => tracing::info!(%file, "a certificate is in use"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use tempfile::TempDir;
    use tokio::time::sleep;

    use crate::base::tasks::Tasks;
    use crate::base::watch::FileEvents;
    use crate::config::{Files, check_gateway};

    use super::*;

    /// A keeper at work, with its files.
    struct World {
        folder: TempDir,
        live: Snapshot<LiveCertificates>,
        metrics: Arc<Metrics>,
        shown: Snapshot<Certificates>,
        _tasks: Tasks,
        _asks: mpsc::Sender<Ask>,
    }

    impl World {
        fn start() -> Self {
            Self::of(["a"])
        }

        /// With a listener for each name, and its certificate in files of that name.
        fn of<const N: usize>(names: [&str; N]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let listener = |name| {
                let (cert, key) = made();
                write(&folder, &format!("{name}.pem"), &cert);
                write(&folder, &format!("{name}.key"), &key);
                format!(
                    "[[listeners]]\naddress = \"127.0.0.1:0\"\n\
                     tls = {{ cert = \"{name}.pem\", key = \"{name}.key\" }}\n"
                )
            };
            let text = names.map(listener).concat();
            let files = Files::of_text(folder.path().join("gateway.toml"), &text);
            let presented = Presented::read(&check_gateway(&files).unwrap().listeners).unwrap();
            let metrics = Arc::new(Metrics::new());
            let files = References::new(FileEvents::new());
            let keeper = Keeper::new(presented, Arc::clone(&metrics), files);
            let (live, shown) = (keeper.live(), keeper.snapshots().remove(0).unwrap());
            let mut tasks = Tasks::new("test");
            let (nobody, asks) = mpsc::channel(1);
            tasks.spawn_vital(|stop| keeper.run(asks, stop));
            Self { folder, live, metrics, shown, _tasks: tasks, _asks: nobody }
        }

        fn count(&self, result: &str) -> u32 {
            let series = format!("tenantry_certificate_reloads_total{{result=\"{result}\"}} ");
            let all = self.metrics.render().unwrap();
            all.lines().find_map(|line| line.strip_prefix(&series)).unwrap().parse().unwrap()
        }

        fn leaf(&self) -> Vec<u8> {
            self.shown.load().entries().next().unwrap().leaf().to_vec()
        }
    }

    fn made() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    fn write(folder: &TempDir, name: &str, text: &str) {
        fs::write(folder.path().join(name), text).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn half_of_a_renewal_is_not_told_and_the_whole_is_in_use() {
        let world = World::start();
        let before = world.leaf();
        let (cert, key) = made();

        write(&world.folder, "a.pem", &cert);
        sleep(Duration::from_millis(1500)).await; // the files settle for two seconds
        let half = (world.leaf(), world.count("refused"), world.live.load().problems.len());
        write(&world.folder, "a.key", &key);
        sleep(Duration::from_secs(10)).await;

        assert_eq!(half, (before.clone(), 0, 0));
        assert_ne!(world.leaf(), before);
        assert_eq!((world.count("ok"), world.count("refused")), (1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_stays_wrong_is_told_and_counted_once() {
        let world = World::start();
        let before = world.leaf();

        write(&world.folder, "a.pem", &made().0);
        sleep(Duration::from_secs(10)).await;
        let first = world.live.load();
        sleep(Duration::from_secs(60)).await;

        assert_eq!(world.leaf(), before);
        assert_eq!((world.count("ok"), world.count("refused")), (0, 1));
        assert!(first.problems[0].what.contains("is not the one"), "{first:?}");
        assert_eq!(world.live.load().failed_since, first.failed_since);
    }
    /// It was told with the one that had been wrong for long.
    #[tokio::test(start_paused = true)]
    async fn half_of_a_renewal_is_not_told_though_another_certificate_is_wrong_for_long() {
        let world = World::of(["a", "b"]);
        write(&world.folder, "a.pem", &made().0);
        sleep(Duration::from_secs(10)).await;
        let (cert, key) = made();
        // The file that waits for its other half is read by the time that the other's is over.
        write(&world.folder, "a.pem", &made().0);
        sleep(Duration::from_millis(1900)).await;
        write(&world.folder, "b.pem", &cert);
        sleep(Duration::from_millis(300)).await;
        let half = (world.count("refused"), world.live.load().problems.len());
        write(&world.folder, "b.key", &key);
        sleep(Duration::from_secs(10)).await;

        assert_eq!(half, (1, 1));
        assert_eq!((world.count("refused"), world.live.load().problems.len()), (1, 1));
    }
}
