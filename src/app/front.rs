//! The listeners while the gateway runs: opened, changed and closed as `gateway.toml` says.
//!
//! **Invariant:** a file that is wrong, or that asks for what cannot be had, changes nothing.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};

use crate::admin;
use crate::base::snapshot::Snapshot;
use crate::base::tasks::{Blocking, Stop};
use crate::base::watch::{FileEvents, Watcher};
use crate::config::spec::{GatewaySpec, ListenerSpec};
use crate::config::{self, Files, Problems};
use crate::control::certificates::{self, Snapshots, places};
use crate::control::generation::Fault;
use crate::control::{Control, GatewayAsk};
use crate::model::address::Address;
use crate::proxy::door::{Door, Front as Says, Order};
use crate::telemetry::registry::Metrics;

use super::passed::Passed;
use super::restart;
use super::sockets::{self, Sockets};
use super::unix::{FilesOfOpen, SocketFiles};

/// `gateway.toml`, as a start has read it.
#[derive(Clone, Debug)]
pub struct GatewayFile {
    /// Where it is.
    pub path: PathBuf,
    /// What it said.
    pub spec: GatewaySpec,
    /// In these words.
    pub text: Files,
}

impl GatewayFile {
    /// Reads it.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(path: &Path) -> Result<Self, Problems> {
        let text = config::read_gateway(path)?;
        Ok(Self { path: path.to_path_buf(), spec: config::check_gateway(&text)?, text })
    }
}

/// The listeners of a gateway.
#[derive(Debug)]
pub(super) struct Front {
    listeners: Vec<ListenerSpec>,
    /// The admin API of the start, where it presents a certificate: the keeper has it first.
    admin: Option<ListenerSpec>,
    /// In their order.
    open: Vec<Open>,
    /// Whether what they present is renewed. It is not after a change that failed half-way, until
    /// it could be taken back.
    is_renewed: bool,
    /// Every one that there ever was, by its address: it keeps its number and its name in metrics.
    doors: BTreeMap<Address, Arc<Door>>,
    /// Of those that are Unix sockets.
    files: FilesOfOpen,
    workers: Vec<mpsc::UnboundedSender<Order>>,
    keeper: mpsc::Sender<certificates::Ask>,
    metrics: Arc<Metrics>,
    shown: Snapshot<admin::Front>,
}

/// A listener that is open.
#[derive(Clone, Debug)]
struct Open {
    address: Address,
    door: Arc<Door>,
}

/// What a worker is reached by, and what it hears by.
pub(super) type Ears = Vec<mpsc::UnboundedReceiver<Order>>;

impl Front {
    /// Opens the listeners of a start on workers that are about to hear of it.
    ///
    /// # Errors
    /// When somebody else has taken an address meanwhile.
    pub(super) fn open(
        gateway: &GatewaySpec,
        sockets: Sockets,
        control: &Control,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, Ears, SocketFiles), Problems> {
        let listeners = &gateway.listeners;
        let channels = std::iter::repeat_with(mpsc::unbounded_channel).take(gateway.workers);
        let (ways, ears) = channels.unzip();
        let files = SocketFiles::default();
        let mut front = Self {
            admin: gateway.secured_admin(),
            listeners: Vec::new(),
            open: Vec::new(),
            is_renewed: true,
            doors: BTreeMap::new(),
            files: files.open(),
            workers: ways,
            keeper: control.keeper.clone(),
            metrics,
            shown: Snapshot::new(Arc::default()),
        };
        let fresh = (0..listeners.len()).collect();
        let places = vec![None; listeners.len()];
        front.rearrange(listeners.clone(), &places, control.tls.clone(), (fresh, sockets))?;
        Ok((front, ears, files))
    }

    /// Where clients connect, and what is wrong with the file, for people.
    pub(super) fn shown(&self) -> Snapshot<admin::Front> {
        self.shown.clone()
    }

    /// Follows the file until `stop` or the drain: a listener that is opened then is one that nobody
    /// accepts from.
    pub(super) async fn follow(
        self,
        file: GatewayFile,
        events: FileEvents,
        asks: mpsc::Receiver<GatewayAsk>,
        (mut draining, mut stop): (watch::Receiver<bool>, Stop),
    ) {
        tokio::select! {
            () = stop.requested() => {}
            // An error means that the process has ended: the same.
            _ = draining.wait_for(|is_draining| *is_draining) => {}
            () = self.keep_up(file, events, asks) => {}
        }
    }

    async fn keep_up(
        mut self,
        file: GatewayFile,
        events: FileEvents,
        mut asks: mpsc::Receiver<GatewayAsk>,
    ) {
        let mut watcher = Watcher::new(file.path.clone(), &events).await;
        // It may have changed since the start has read it.
        self.renew(&file).await;
        loop {
            let is_refused = !self.shown.load().problems.is_empty();
            tokio::select! {
                () = watcher.changed() => self.renew(&file).await,
                // What was missing may be there: a certificate, a port.
                () = sleep(AGAIN), if is_refused => self.renew(&file).await,
                Some(ask) = asks.recv() => {
                    self.renew(&file).await;
                    // Who asked may have left meanwhile.
                    drop(ask.send(self.shown.load().problems.clone()));
                }
            }
        }
    }

    async fn renew(&mut self, file: &GatewayFile) {
        let problems = match self.read(&file.path).await {
            Ok(spec) => {
                self.name_what_needs_a_restart(&file.spec, &spec);
                self.apply(spec).await.err().unwrap_or_default()
            }
            Err(problems) => faults(problems),
        };
        self.tell(problems);
    }

    /// Reads the file once it has settled: a program that writes in place empties it first, and a
    /// slow one leaves a half, which may mean fewer listeners. So a listener is closed only when
    /// nothing more has come for a while.
    async fn read(&self, path: &Path) -> Result<GatewaySpec, Problems> {
        let mut last = read(path).await;
        for _ in 0..READINGS {
            if !last.as_ref().is_ok_and(|spec| self.closes_any(spec)) {
                break;
            }
            sleep(BEFORE_CLOSING).await;
            let next = read(path).await;
            if next == last {
                break;
            }
            last = next;
        }
        last
    }

    fn closes_any(&self, spec: &GatewaySpec) -> bool {
        let kept = places(&self.listeners, &spec.listeners).iter().flatten().count();
        kept < self.listeners.len()
    }

    fn name_what_needs_a_restart(&self, running: &GatewaySpec, now: &GatewaySpec) {
        let keys = restart::needed(running, now);
        let shown = self.shown.load();
        if shown.needs_restart == keys {
            return;
        }
        if !keys.is_empty() {
            let keys = keys.join(", ");
            tracing::warn!(keys, "gateway.toml has changed in keys that need a restart");
        }
        let shown = admin::Front { needs_restart: keys, ..admin::Front::clone(&shown) };
        self.shown.publish(Arc::new(shown));
    }

    /// Tells everybody what is wrong, once.
    fn tell(&self, problems: Vec<Fault>) {
        let shown = self.shown.load();
        if shown.problems == problems {
            return;
        }
        for problem in &problems {
            tracing::error!("{problem}");
        }
        if problems.is_empty() {
            tracing::info!("gateway.toml is good again");
        } else {
            tracing::error!(
                problems = problems.len(),
                "gateway.toml is refused; the listeners stay"
            );
            self.metrics.gateway_read("refused");
        }
        self.shown.publish(Arc::new(admin::Front { problems, ..admin::Front::clone(&shown) }));
    }

    async fn apply(&mut self, spec: GatewaySpec) -> Result<(), Vec<Fault>> {
        if spec.listeners == self.listeners {
            return if self.is_renewed { Ok(()) } else { self.take_back().await };
        }
        self.refuse_lost_family(&spec.listeners)?;
        let places = places(&self.listeners, &spec.listeners);
        let fresh: Vec<usize> = (0..places.len()).filter(|at| places[*at].is_none()).collect();
        let wanted: Vec<&ListenerSpec> = fresh.iter().map(|at| &spec.listeners[*at]).collect();
        let beside: Vec<Address> = self.open.iter().map(|open| open.address.clone()).collect();
        let sockets = sockets::bind(&wanted, &beside, self.workers.len(), &mut Passed::default())
            .map_err(faults)?;
        let tls = self.present(spec.listeners.clone()).await?;
        let is_change = !are_moved_alone(&self.listeners, &spec.listeners);
        match self.rearrange(spec.listeners, &places, tls, (fresh, sockets)) {
            Ok(gone) => {
                self.close(gone).await;
                if is_change {
                    self.metrics.gateway_read("ok");
                }
                Ok(())
            }
            Err(problems) => {
                self.take_back().await?;
                Err(faults(problems))
            }
        }
    }

    /// What the listeners that are open present is renewed again, after another list of them was
    /// to be presented.
    async fn take_back(&mut self) -> Result<(), Vec<Fault>> {
        self.is_renewed = false;
        let presented = self.present(self.listeners.clone()).await?;
        for ((open, spec), tls) in self.open.iter().zip(&self.listeners).zip(presented) {
            open.door.change(Says { spec: spec.clone(), tls });
        }
        self.is_renewed = true;
        Ok(())
    }

    /// A socket on `[::]` takes IPv4 as well, unless `0.0.0.0` with the same port was open when it
    /// was made; and that cannot be changed later.
    fn refuse_lost_family(&self, listeners: &[ListenerSpec]) -> Result<(), Vec<Fault>> {
        let has = |listeners: &[ListenerSpec], address: SocketAddr| {
            listeners.iter().any(|spec| spec.address.net() == Some(address))
        };
        let of_net = |spec: &'_ ListenerSpec| Some((spec.address.net()?, spec.place.clone()));
        for (all, place) in listeners.iter().filter_map(of_net) {
            if all.ip() != IpAddr::from(Ipv6Addr::UNSPECIFIED) {
                continue;
            }
            let of_ipv4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, all.port()));
            if has(&self.listeners, of_ipv4) && !has(listeners, of_ipv4) {
                let what = format!("without {of_ipv4}, {all} would take no IPv4 until a restart");
                let hint = format!(
                    "keep {of_ipv4} beside it, or restart; or take both out, save, and then put \
                     {all} in"
                );
                return Err(vec![place.problem(what, hint).into()]);
            }
        }
        Ok(())
    }

    async fn present(&self, mut listeners: Vec<ListenerSpec>) -> Result<Snapshots, Vec<Fault>> {
        let (told, answer) = oneshot::channel();
        listeners.splice(..0, self.admin.clone());
        // An error says that the process is ending: nothing is to be changed then.
        let asked = self.keeper.send(certificates::Ask::Present(listeners, told)).await;
        drop(asked);
        let mut presented = answer.await.unwrap_or_else(|_| Err(Vec::new()))?;
        if self.admin.is_some() {
            presented.remove(0);
        }
        Ok(presented)
    }

    /// Goes over to these listeners; gives those that are gone. `places` tells which ones are there
    /// already, `sockets` are of those that are fresh.
    fn rearrange(
        &mut self,
        listeners: Vec<ListenerSpec>,
        places: &[Option<usize>],
        tls: Snapshots,
        (fresh, mut sockets): (Vec<usize>, Sockets),
    ) -> Result<Vec<Open>, Problems> {
        let addresses = sockets.addresses.clone();
        // Gone with an error.
        let files = std::mem::take(&mut sockets.files);
        let by_worker = sockets.listen()?;
        self.files.add(files);
        let mut bound: BTreeMap<usize, Address> = fresh.iter().copied().zip(addresses).collect();
        let mut gone = std::mem::take(&mut self.open);
        let kept: Vec<Option<Open>> = places.iter().map(|at| Some(gone[(*at)?].clone())).collect();
        gone.retain(|open| !kept.iter().flatten().any(|kept| Arc::ptr_eq(&kept.door, &open.door)));
        for (number, (spec, (kept, tls))) in
            listeners.iter().zip(kept.into_iter().zip(tls)).enumerate()
        {
            let says = Says { spec: spec.clone(), tls };
            let open = match kept {
                Some(open) => {
                    if let Address::Unix(path) = &open.address
                        && open.door.front().spec.mode != spec.mode
                    {
                        self.files.set_mode(path, spec.mode);
                    }
                    open.door.change(says);
                    open
                }
                None => {
                    self.door(bound.remove(&number).unwrap_or_else(|| spec.address.clone()), says)
                }
            };
            self.open.push(open);
        }
        for (worker, sockets) in self.workers.iter().zip(by_worker) {
            for (at, socket) in fresh.iter().zip(sockets) {
                // A worker that is gone has ended the process.
                drop(worker.send(Order::Open(Arc::clone(&self.open[*at].door), socket)));
            }
        }
        self.listeners = listeners;
        self.publish();
        Ok(gone)
    }

    /// The door at an address: a new one, or the one that was there before.
    fn door(&mut self, address: Address, says: Says) -> Open {
        let door = match self.doors.get(&address) {
            Some(door) => {
                door.change(says);
                Arc::clone(door)
            }
            None => {
                let door = Door::new(self.doors.len(), says);
                self.doors.insert(address.clone(), Arc::clone(&door));
                door
            }
        };
        tracing::info!(%address, "a listener is open");
        Open { address, door }
    }

    /// Has listeners accept no more, and waits until their addresses are free.
    async fn close(&self, gone: Vec<Open>) {
        let (closing, mut closed) = mpsc::channel(1);
        for Open { address, door } in gone {
            tracing::info!(%address, "a listener is closed; its connections drain");
            if let Address::Unix(path) = &address {
                self.files.remove(path);
            }
            for worker in &self.workers {
                drop(worker.send(Order::Close(Arc::clone(&door), closing.clone())));
            }
        }
        drop(closing);
        if timeout(CLOSE_LIMIT, closed.recv()).await.is_err() {
            tracing::warn!("a worker has not closed a listener in time");
        }
    }

    fn publish(&self) {
        let mut names: Vec<(usize, Arc<str>)> = self
            .doors
            .iter()
            .map(|(address, door)| (door.number, address.to_string().into()))
            .collect();
        names.sort_unstable();
        self.metrics.publish_listeners(names.into_iter().map(|(_, name)| name).collect());
        let listener = |(open, spec): (&Open, &ListenerSpec)| admin::Listener {
            address: open.address.clone(),
            tls: spec.tls.is_some(),
        };
        let listeners = self.open.iter().zip(&self.listeners).map(listener).collect();
        let shown = self.shown.load();
        self.shown.publish(Arc::new(admin::Front { listeners, ..admin::Front::clone(&shown) }));
    }
}

/// Reads the file once two readings agree: a program that writes in place empties it first.
async fn read(path: &Path) -> Result<GatewaySpec, Problems> {
    let mut last = read_once(path).await;
    for _ in 0..READINGS {
        sleep(BETWEEN_READINGS).await;
        let next = read_once(path).await;
        if next == last {
            break;
        }
        last = next;
    }
    last
}

async fn read_once(path: &Path) -> Result<GatewaySpec, Problems> {
    let owned = path.to_path_buf();
    let read = Blocking::start(move || config::load_gateway(&owned)).ended().await;
    let bug =
        || Problems::of_file(path, "cannot be read".to_owned(), "this is a bug, please report it");
    read.unwrap_or_else(|| Err(bug()))
}

/// Whether the listeners only stand in other lines, which is nothing to count.
fn are_moved_alone(before: &[ListenerSpec], now: &[ListenerSpec]) -> bool {
    let is_same = |(before, now): (&ListenerSpec, &ListenerSpec)| {
        ListenerSpec { place: before.place.clone(), ..now.clone() } == *before
    };
    before.len() == now.len() && before.iter().zip(now).all(is_same)
}

fn faults(problems: Problems) -> Vec<Fault> {
    problems.into_iter().map(Fault::from).collect()
}

/// 5 s: soon enough for a person who mends what was missing, and no work to speak of.
const AGAIN: Duration = Duration::from_secs(5);

/// 10 ms: longer than a program takes from emptying a small file to writing it.
const BETWEEN_READINGS: Duration = Duration::from_millis(10);

/// 1 s: longer than a program pauses while it writes a small file.
const BEFORE_CLOSING: Duration = Duration::from_secs(1);

/// 5: a file that changes without a pause is read as it is.
const READINGS: u32 = 5;

/// 2 s: a worker takes what waits in the kernel's queue first.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);
