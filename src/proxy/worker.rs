//! A worker: one thread that serves connections with everything it needs on its own, so that a
//! request never crosses a thread and never waits for another worker.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::HeaderValue;
use tokio::sync::{mpsc, watch};
use tokio::task::yield_now;
use tokio::time::Instant;

use crate::base::allocator;
use crate::base::memory::Account;
use crate::base::pulse::Pulse;
use crate::base::snapshot::{Reader, Snapshot};
use crate::base::spool::Spools;
use crate::base::tasks::LocalTasks;
use crate::base::throttle::Throttle;
use crate::base::tokens::Tokens;
use crate::config::spec::GatewaySpec;
use crate::http1::room::Room;
use crate::limits;
use crate::model::downs::Downs;
use crate::routing::table::Table;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::delta::Delta;
use crate::telemetry::meter::{FLUSH_INTERVAL, Meter};
use crate::telemetry::record::Record;
use crate::telemetry::trace::Tracer;
use crate::tls::tenants::Tenants;
use crate::upstream::{Client, HeadLimits};

use super::admission::Gates;
use super::answer::Download;
use super::authorize::Verdicts;
use super::clock::{Clock, Date};
use super::courtesy::{self, Courtesy};
use super::delays::Delays;
use super::door::{Door, Front, Order};
use super::downloads::Downloads;
use super::farewells::{self, Farewells};
use super::handshakes::Handshakes;
use super::headcount::{Full, Headcount, Place};
use super::hygiene::OwnedNames;
use super::lately::Lately;
use super::mirror::Mirrors;
use super::parts::in_parts;
use super::request_body::RequestBody;
use super::seats::Seats;
use super::usual::Usual;
use super::waits::{self, Waits};
use super::{handover, listener, pleas};

/// What a worker is given.
#[derive(Debug)]
pub struct Setup {
    /// Its number, from 0.
    pub number: usize,
    /// Beats while it is at work.
    pub pulse: Pulse,
    /// `gateway.toml`.
    pub gateway: Arc<GatewaySpec>,
    /// The table of now.
    pub table: Snapshot<Table>,
    /// Certificates of tenants' own.
    pub tenants: Snapshot<Tenants>,
    /// How often an endpoint was found down.
    pub downs: Arc<Downs>,
    /// Connections, over all workers.
    pub headcount: Arc<Headcount>,
    /// Memory that this worker holds for clients and endpoints.
    pub account: Arc<Account>,
    /// What the limits of all tenants share.
    pub limits: Arc<limits::Shared>,
    /// Files for bodies that are kept for a retry, and what of one body is kept in memory.
    pub spools: Option<(Arc<Spools>, u64)>,
    /// Where counts go.
    pub deltas: mpsc::Sender<Delta>,
    /// Where records go.
    pub access_log: AccessLog,
    /// Who may ask what became of a request; `None` = nobody.
    pub debug_tokens: Option<Snapshot<Tokens>>,
    /// Where traces begin and go.
    pub tracer: Tracer,
    /// What the process is about to do.
    pub phase: watch::Receiver<Phase>,
}

/// What the process is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Serving.
    Serving,
    /// Still accepting; answers ask clients to leave.
    Closing,
    /// Accepting no more; what is in flight finishes.
    Draining,
}

/// One worker.
pub(super) struct Worker {
    pub(super) gateway: Arc<GatewaySpec>,
    pub(super) client: Client<RequestBody>,
    /// What its connections read and write with.
    pub(super) room: Rc<Room>,
    pub(super) meter: Rc<Meter>,
    pub(super) clock: Rc<Clock>,
    pub(super) access_log: AccessLog,
    /// Who may ask what became of a request.
    pub(super) debug_tokens: Option<Snapshot<Tokens>>,
    pub(super) tracer: Tracer,
    /// Lines of the log that clients can bring about at will.
    pub(super) lines: Throttle,
    /// Attempts under way.
    pub(super) waits: Waits,
    /// What was said of requests by services that are asked.
    pub(super) verdicts: Verdicts,
    /// Gates of pools.
    pub(super) gates: Gates,
    /// How slow attempts are that have a second one sent beside them.
    pub(super) delays: Delays,
    /// How long the requests of pools take whose limit follows that.
    pub(super) lately: Lately,
    /// How long those usually take that go round late endpoints.
    pub(super) usual: Usual,
    /// Copies of requests for other pools.
    pub(super) mirrors: Mirrors,
    /// Answers under way.
    pub(super) downloads: Downloads<Download>,
    /// Connections and tunnels.
    pub(super) tasks: Rc<RefCell<LocalTasks>>,
    /// Its number, from 0.
    pub(super) number: usize,
    /// Tells that it is at work.
    pulse: Pulse,
    /// Connections for which other workers are asked for room.
    pub(super) pleading: Cell<usize>,
    /// Connections, over all workers.
    pub(super) headcount: Arc<Headcount>,
    /// This worker's own.
    pub(super) seats: Seats,
    /// Memory that this worker holds for clients and endpoints.
    pub(super) account: Arc<Account>,
    /// What the limits of all tenants share.
    pub(super) limits: Arc<limits::Shared>,
    /// Files for bodies that are kept for a retry, and what of one body is kept in memory.
    pub(super) spools: Option<(Arc<Spools>, u64)>,
    /// This worker's share of the handshakes that may be under way at once.
    pub(super) handshakes: Handshakes,
    /// Who goes on where many exchanges take long.
    pub(super) courtesy: Courtesy,
    /// Lets what is under way pass connections that begin.
    pub(super) door: Courtesy,
    /// Lets connections end that were waited for in vain.
    pub(super) farewells: Farewells,
    pub(super) open_connections: Cell<usize>,
    /// When who waits for an endpoint is answered, once the process drains.
    pub(super) leaving: watch::Sender<Option<Instant>>,
    phase: Cell<Phase>,
    /// Listeners that are gone.
    closed: RefCell<BTreeSet<usize>>,
    table: RefCell<Reader<Table>>,
    view: RefCell<Rc<View>>,
}

/// The table of one instant, held without touching a count that other workers touch.
#[derive(Debug)]
pub(super) struct View {
    pub(super) table: Arc<Table>,
    pub(super) owned: Rc<OwnedNames>,
}

impl View {
    fn of(table: &Arc<Table>) -> Rc<Self> {
        let owned = Rc::new(OwnedNames::of(&table.naming));
        Rc::new(Self { table: Arc::clone(table), owned })
    }
}

/// Serves connections on this thread until the process drains. Runs inside a runtime that stays on it. Tells how
/// many connections were still busy at the end of the drain and were cut off.
pub async fn run(setup: Setup, mut orders: mpsc::UnboundedReceiver<Order>) -> usize {
    let mut phase = setup.phase.clone();
    let (worker, mut connecting) = Worker::new(setup);
    let worker = Rc::new(worker);

    let mut chores = LocalTasks::new("worker");
    chores.spawn(|stop| keep_house(Rc::clone(&worker), stop));
    spawn_endless(&mut chores, pleas::hear(Rc::clone(&worker)));
    spawn_endless(&mut chores, waits::tell_downs(Rc::clone(&worker)));
    spawn_endless(&mut chores, courtesy::usher(Rc::clone(&worker), |worker| &worker.courtesy));
    spawn_endless(&mut chores, courtesy::usher(Rc::clone(&worker), |worker| &worker.door));
    spawn_endless(&mut chores, farewells::usher(Rc::clone(&worker)));
    let shakes = Rc::clone(&worker);
    spawn_endless(&mut chores, async move { shakes.handshakes.make_room().await });
    let mut given = LocalTasks::new("handover");
    given.spawn(|stop| handover::take(Rc::clone(&worker), stop));
    let mut listeners = Listeners::default();
    // An error says that the process has dropped the sender: the same as draining.
    while *phase.borrow_and_update() < Phase::Draining {
        worker.enter(*phase.borrow());
        tokio::select! {
            changed = phase.changed() => if changed.is_err() { break },
            Some(order) = orders.recv() => listeners.take(&worker, order).await,
        }
    }
    // A listener that is opened now would be one that nobody accepts from.
    drop(orders);
    listeners.end().await;
    given.stop(ACCEPT_LIMIT).await;
    worker.enter(Phase::Draining);
    let cut = worker.drain().await;
    worker.mirrors.stop().await;
    chores.stop(Duration::from_secs(1)).await;
    connecting.take().stop(Duration::ZERO).await;
    worker.tell_left_out();
    worker.meter.end().await;
    cut
}

/// What accepts, by the number of the listener.
#[derive(Default)]
struct Listeners(BTreeMap<usize, LocalTasks>);

impl Listeners {
    async fn take(&mut self, worker: &Rc<Worker>, order: Order) {
        match order {
            Order::Open(door, socket) => {
                let (worker, number) = (Rc::clone(worker), door.number);
                // It may have been closed before.
                worker.closed.borrow_mut().remove(&number);
                let mut accepting = LocalTasks::new("listener");
                accepting.spawn(|stop| listener::run(worker, socket, door, stop));
                self.0.insert(number, accepting);
            }
            Order::Close(door, done) => {
                if let Some(accepting) = self.0.remove(&door.number) {
                    accepting.stop(ACCEPT_LIMIT).await;
                }
                worker.close(door.number);
                drop(done);
            }
        }
    }

    async fn end(self) {
        self.0.values().for_each(LocalTasks::ask);
        for accepting in self.0.into_values() {
            accepting.stop(ACCEPT_LIMIT).await;
        }
    }
}

/// Once a second: hands the counts over, gives up stalled answers, closes old connections, lets go of
/// a replaced table and of free memory.
async fn keep_house(worker: Rc<Worker>, mut stop: crate::base::tasks::Stop) {
    let mut tick = tokio::time::interval(FLUSH_INTERVAL);
    let mut ticks = 0;
    loop {
        tokio::select! {
            () = stop.requested() => return,
            _ = tick.tick() => {
                ticks += 1;
                look_after(&worker, ticks).await;
            }
        }
    }
}

/// What is due each second. Requests go on in between: with ten thousand connections all of it takes
/// milliseconds.
async fn look_after(worker: &Worker, ticks: u64) {
    worker.pulse.beat();
    worker.waits.sweep().await;
    worker.view();
    worker.look_at_downloads().await;
    worker.tell_left_out();
    worker.client.sweep();
    yield_now().await;
    worker.meter.flush();
    worker.tidy().await;
    worker.sweep_limits(ticks);
    yield_now().await;
    allocator::settle();
}

/// A chore that goes on until the worker stops.
fn spawn_endless(chores: &mut LocalTasks, chore: impl Future<Output = ()> + 'static) {
    chores.spawn(|mut stop| async move {
        tokio::select! {
            () = stop.requested() => {}
            () = chore => {}
        }
    });
}

/// The tasks of upstream connections, which must outlive the requests that use them.
struct Connecting(Rc<RefCell<LocalTasks>>);

impl Connecting {
    fn take(&mut self) -> LocalTasks {
        self.0.replace(LocalTasks::new("upstream"))
    }
}

impl Worker {
    fn new(setup: Setup) -> (Self, Connecting) {
        let meter = Rc::new(Meter::new(setup.number, setup.deltas));
        let connecting = Rc::new(RefCell::new(LocalTasks::new("upstream")));
        let room = Room::new();
        let account = setup.account;
        let shared = (Rc::clone(&room), Arc::clone(&account));
        let client = Client::new(Rc::clone(&connecting), Rc::clone(&meter), shared, ANSWER_HEAD);
        let reader = setup.table.reader();
        let view = View::of(&setup.table.load());
        let workers = setup.gateway.workers.max(1);
        let clock = Clock::new();
        let worker = Self {
            client,
            room,
            meter,
            waits: Waits::new(Rc::clone(&clock), setup.downs),
            clock,
            access_log: setup.access_log,
            debug_tokens: setup.debug_tokens,
            tracer: setup.tracer,
            lines: Throttle::new(LINES, FLUSH_INTERVAL),
            verdicts: Verdicts::default(),
            gates: Gates::default(),
            delays: Delays::default(),
            lately: Lately::default(),
            usual: Usual::default(),
            mirrors: Mirrors::default(),
            downloads: Downloads::default(),
            tasks: Rc::new(RefCell::new(LocalTasks::new("connection"))),
            number: setup.number,
            pulse: setup.pulse,
            pleading: Cell::new(0),
            headcount: setup.headcount,
            seats: Seats::default(),
            account,
            limits: setup.limits,
            spools: setup.spools,
            courtesy: Courtesy::among_long(),
            door: Courtesy::at_the_door(),
            farewells: Farewells::default(),
            handshakes: Handshakes::new(
                setup.gateway.downstream.max_handshakes.div_ceil(workers),
                setup.tenants,
            ),
            open_connections: Cell::new(0),
            leaving: watch::Sender::new(None),
            phase: Cell::new(Phase::Serving),
            closed: RefCell::default(),
            table: RefCell::new(reader),
            view: RefCell::new(view),
            gateway: setup.gateway,
        };
        (worker, Connecting(connecting))
    }

    /// The table of now, with what this worker derived from it.
    pub(super) fn view(&self) -> Rc<View> {
        let mut reader = self.table.borrow_mut();
        let table = reader.load();
        let mut view = self.view.borrow_mut();
        if !Arc::ptr_eq(table, &view.table) {
            *view = View::of(table);
        }
        Rc::clone(&view)
    }

    /// Counts a connection of a listener where there is room for it.
    pub(super) fn admit(&self, door: &Door, front: &Front) -> Result<Place, Full> {
        let all = self.gateway.downstream.max_connections;
        self.headcount.enter(&door.open, all, front.spec.max_connections)
    }

    /// Asks this worker's connection that has been idle for longest to go, of a listener or of all.
    pub(super) fn vacate(&self, listener: Option<usize>) -> bool {
        let vacated = self.seats.vacate(listener);
        if vacated {
            self.meter.connection_rejected("evicted");
        }
        vacated
    }

    /// What the process is about to do, for connections of this listener: one that is gone drains
    /// before the process does.
    pub(super) fn phase_at(&self, listener: usize) -> Phase {
        let closed = self.closed.borrow();
        if closed.is_empty() || !closed.contains(&listener) {
            return self.phase.get();
        }
        Phase::Draining
    }

    /// Has the connections of a listener that is gone end once nothing is under way on them.
    fn close(&self, listener: usize) {
        self.closed.borrow_mut().insert(listener);
        self.seats.wake();
    }

    /// The date of an answer.
    pub(super) fn date(&self) -> Date {
        self.clock.date()
    }

    /// Takes what an exchange left behind.
    pub(super) fn finish(&self, mut record: Box<Record>) {
        record.duration = self.clock.now().saturating_duration_since(record.started);
        self.meter.exchange(&record);
        if record.line.is_none() {
            return;
        }
        // Both share the memory of the whole head, which must not wait in a queue.
        record.asked = None;
        if let Ok(own) = HeaderValue::from_bytes(record.request_id.as_bytes()) {
            record.request_id = own;
        }
        match (record.logged, record.trace.as_ref().is_some_and(|trace| trace.is_kept())) {
            (true, true) => {
                self.access_log.write(record.clone());
                self.tracer.send(record);
            }
            (true, false) => self.access_log.write(record),
            (false, _) => self.tracer.send(record),
        }
    }

    /// Forgets the connections that have ended, and gives back the room of a flood of them.
    async fn tidy(&self) {
        while self.tasks.borrow_mut().forget_some(FORGOTTEN) {
            yield_now().await;
        }
        self.seats.tidy();
        self.gates.tidy();
        self.delays.tidy(self.clock.recent());
        self.lately.tidy(self.clock.recent());
        self.usual.tidy(self.clock.recent());
        self.room.tidy(&self.account);
    }

    /// Forgets clients and subjects for whom limits are whole again: one worker for all, part by part.
    fn sweep_limits(&self, ticks: u64) {
        if self.number == 0 {
            let now = limits::clients::micros(self.limits.now());
            self.limits.clients.sweep(ticks, now);
            self.limits.subjects.sweep(ticks, now);
            self.limits.quotas.tidy(ticks, SystemTime::now());
        }
    }

    /// Gives up the answers that their clients leave lying.
    async fn look_at_downloads(&self) {
        let now = Instant::now();
        let patience = self.gateway.downstream.body_timeout.saturating_mul(UNTAKEN);
        let looks = patience.as_secs().div_ceil(FLUSH_INTERVAL.as_secs().max(1));
        let looks = u32::try_from(looks).unwrap_or(u32::MAX);
        in_parts(|from| self.downloads.some(from, |download| download.look(now, looks))).await;
    }

    /// A flood of failures must not become a flood of lines; their number is in the metrics, too.
    fn tell_left_out(&self) {
        let count = self.lines.take_left_out();
        if count > 0 {
            tracing::warn!(count, "further warnings of this second were left out");
        }
    }

    fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.seats.wake();
    }

    /// Waits until all connections have ended, at most until the drain's time is over.
    async fn drain(&self) -> usize {
        let timeout = self.gateway.drain.timeout;
        let end = Instant::now() + timeout;
        self.leaving.send_replace(Some(end - LAST_WORD.min(timeout / 4)));
        loop {
            let running = self.tasks.borrow_mut().running();
            if running == 0 || Instant::now() >= end {
                // Tunnels are tasks, too; who reads the number counts clients.
                let left = self.open_connections.get();
                let tasks = self.tasks.replace(LocalTasks::new("connection"));
                tasks.stop(Duration::ZERO).await;
                return left;
            }
            tokio::time::sleep(DRAIN_STEP).await;
        }
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("phase", &self.phase).finish_non_exhaustive()
    }
}

/// What an endpoint may send as the head of an answer: twice what a client may send, since large
/// cookies are set here.
const ANSWER_HEAD: HeadLimits = HeadLimits { size: 64 << 10, fields: 256 };
/// 10 times the longest silence of a client: it may take a while over one large part of an answer, and
/// only the next one shows that it takes anything.
const UNTAKEN: u32 = 10;
/// 1 s: what waits in the kernel's queue is taken at once.
const ACCEPT_LIMIT: Duration = Duration::from_secs(1);
/// 128 tasks that have ended, forgotten at once: some tens of microseconds.
const FORGOTTEN: usize = 128;
/// 5 lines a second: enough to see what goes wrong, too few to fill a disk.
const LINES: u32 = 5;
/// 1 s before a drain ends: enough for who waits to be tried once more, or to be told that nobody has come.
const LAST_WORD: Duration = Duration::from_secs(1);
/// 10 ms: a drain ends this much after its last connection at most.
const DRAIN_STEP: Duration = Duration::from_millis(10);
