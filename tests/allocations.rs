//! What a request allocates: the gateway's worker as it runs in production, on a thread whose
//! allocations are counted, between a client and an origin on threads of their own.

#![expect(clippy::expect_used, reason = "a test that cannot set up its world has failed")]

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;
use tenantry::app::front::GatewayFile;
use tenantry::base::listening::Listening;
use tenantry::base::memory::Memory;
use tenantry::base::pulse::Pulses;
use tenantry::base::tasks::Tasks;
use tenantry::base::units::Percent;
use tenantry::config::spec::GatewaySpec;
use tenantry::control::Control;
use tenantry::control::certificates::Presented;
use tenantry::limits;
use tenantry::proxy::door::{Door, Front, Order};
use tenantry::proxy::headcount::Headcount;
use tenantry::proxy::worker::{self, Phase, Setup};
use tenantry::telemetry::access_log::mask::Mask;
use tenantry::telemetry::access_log::{AccessLog, AccessLogOwner, Errors, Format, Options};
use tenantry::telemetry::audit_log::AuditLog;
use tenantry::telemetry::delta::Delta;
use tenantry::telemetry::lines::Output;
use tenantry::telemetry::registry::{self, Metrics};
use tenantry::telemetry::sample::Sample;
use tenantry::telemetry::trace::Tracer;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;

/// Heads and what is made of them, the record, the trace of who is tried: what is left of more.
const MOST: f64 = 12.0;

/// Before them, all that is made once is there: connections, buffers, maps.
const FEW: u64 = 200;
const MANY: u64 = 2_200;

const ASKED: &[u8] = b"GET /a/b?c=d HTTP/1.1\r\nHost: shop.test\r\nUser-Agent: test\r\n\
    Accept: */*\r\nX-Tenant-ID: acme\r\n\r\n";
const ANSWERED: &[u8] = b"HTTP/1.1 200 OK\r\nServer: origin\r\n\
    Date: Sat, 28 Nov 2026 12:00:00 GMT\r\nContent-Type: text/plain\r\n\
    Content-Length: 5\r\n\r\nhello";

#[test]
fn a_small_request_over_kept_connections_allocates_little() {
    let (few, many) = (allocations(FEW), allocations(MANY));

    let each = many.saturating_sub(few) as f64 / (MANY - FEW) as f64;

    eprintln!("allocations of a worker for each small request: {each:.2}");
    assert!(many > few, "nothing was counted: {few}, then {many}");
    assert!(each <= MOST, "{each:.2} allocations a request, more than {MOST}");
}

/// What a worker's thread allocates from its start to its end, with so many requests in between.
fn allocations(requests: u64) -> u64 {
    let origin = origin();
    let world = World::new(origin);
    let (worker, address) = world.worker();
    let counted = thread::spawn(move || allocation_counter::measure(|| worker.run()));

    ask(address, requests);
    world.phase.send_replace(Phase::Draining);

    counted.join().expect("the worker ends").count_total
}

/// What a worker is given, and who gives it: metrics, retries and an access log of 1 in 100 are on.
struct World {
    gateway: Arc<GatewaySpec>,
    control: Control,
    log: AccessLog,
    deltas: mpsc::Sender<Delta>,
    phase: watch::Sender<Phase>,
    _owned: (Tasks, AccessLogOwner, Runtime, TempDir),
}

/// A worker that is not running yet.
struct Worker {
    setup: Setup,
    orders: mpsc::UnboundedReceiver<Order>,
    _opened: mpsc::UnboundedSender<Order>,
}

impl World {
    fn new(origin: SocketAddr) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let gateway = Arc::new(read(folder.path(), origin));
        let metrics = Arc::new(Metrics::new());
        let log = Options {
            output: Some(Output::File(folder.path().join("access.log"))),
            format: Format::Json,
            mask: Mask::default(),
            sample: Sample::of(Percent::new(1.0)),
            errors: Errors::All,
            queue: 1_000,
        };
        let (log, log_owner) = AccessLog::start(&log, &metrics).expect("an access log");
        let (deltas, counted) = registry::deltas();
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let (control, tasks) = runtime.block_on(async {
            let mut tasks = Tasks::new("test");
            let presented = Presented::read(&gateway.listeners).expect("nothing to present");
            let (asks, _) = mpsc::channel(1);
            let of_control = (Arc::clone(&metrics), AuditLog::off());
            let control = Control::start(&gateway, presented, asks, of_control, &mut tasks);
            let control = Box::pin(control).await.expect("good routes");
            tasks.spawn(|stop| metrics.run(counted, stop));
            (control, tasks)
        });
        let phase = watch::Sender::new(Phase::Serving);
        Self { gateway, control, log, deltas, phase, _owned: (tasks, log_owner, runtime, folder) }
    }

    /// A worker with one listener, and where that listens.
    fn worker(&self) -> (Worker, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        listener.set_nonblocking(true).expect("a socket that does not block");
        let spec = self.gateway.listeners.first().expect("a listener").clone();
        let door = Door::new(0, Front { spec, tls: None });
        let (opened, orders) = mpsc::unbounded_channel();
        opened.send(Order::Open(door, Listening::Net(listener))).expect("a worker to come");
        let setup = Setup {
            number: 0,
            pulse: Pulses::default().add(),
            gateway: Arc::clone(&self.gateway),
            table: self.control.table.clone(),
            tenants: self.control.bearers.shown.clone(),
            downs: Arc::default(),
            headcount: Headcount::new(1),
            account: Memory::new(1 << 30, 1).account(0),
            limits: limits::Shared::new(
                1 << 20,
                Memory::new(1 << 30, 1).account(0),
                Arc::default(),
            ),
            spools: None,
            deltas: self.deltas.clone(),
            access_log: self.log.clone(),
            debug_tokens: None,
            tracer: Tracer::off(),
            phase: self.phase.subscribe(),
        };
        (Worker { setup, orders, _opened: opened }, address)
    }
}

impl Worker {
    /// As `app::workers` runs it.
    fn run(self) {
        let runtime = Builder::new_current_thread().enable_all().event_interval(1).build();
        let runtime = runtime.expect("a runtime");
        LocalSet::new().block_on(&runtime, worker::run(self.setup, self.orders));
    }
}

/// The gateway's files.
fn read(folder: &Path, origin: SocketAddr) -> GatewaySpec {
    let routes = format!(
        "[pools.main]\nendpoints = [\"{origin}\"]\nretry = {{ attempts = 3 }}\n\
         [tenants.acme]\npool = \"main\"\n"
    );
    fs::write(folder.join("routes.toml"), routes).expect("write the routes");
    let gateway = "routes = \"routes.toml\"\nstate = \"off\"\nworkers = 1\n\
        [[listeners]]\naddress = \"127.0.0.1:0\"\n[downstream]\nmax-requests = 1000000\n";
    let path = folder.join("gateway.toml");
    fs::write(&path, gateway).expect("write gateway.toml");
    GatewayFile::read(&path).expect("a good gateway.toml").spec
}

/// An origin that gives the same answer to whatever ends with an empty line.
fn origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    thread::spawn(move || {
        let mut kept = Vec::new();
        while let Ok((connection, _)) = listener.accept() {
            kept.push(thread::spawn(move || answer(connection)));
        }
    });
    address
}

fn answer(mut connection: TcpStream) {
    let mut held = Vec::new();
    let mut part = [0; 4096];
    while let Ok(count @ 1..) = connection.read(&mut part) {
        held.extend_from_slice(&part[..count]);
        if held.ends_with(b"\r\n\r\n") {
            held.clear();
            connection.write_all(ANSWERED).expect("answer");
        }
    }
}

/// One request after another on one connection, which is closed in the end.
fn ask(address: SocketAddr, requests: u64) {
    let mut connection = TcpStream::connect(address).expect("connect");
    connection.set_read_timeout(Some(PATIENCE)).expect("a limit");
    let mut part = [0; 4096];
    for _ in 0..requests {
        connection.write_all(ASKED).expect("ask");
        let mut held = Vec::new();
        while !held.ends_with(b"hello") {
            let count = connection.read(&mut part).expect("an answer");
            assert!(count > 0, "the gateway closed the connection after {held:?}");
            held.extend_from_slice(&part[..count]);
        }
        assert!(held.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&held));
    }
}

/// Long enough for a loaded machine; a test that passes never waits for it.
const PATIENCE: Duration = Duration::from_secs(20);
