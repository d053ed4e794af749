//! Under a service manager: what it is told, sockets that it passes, and the unit files themselves.
//! The test plays the manager; `systemd-socket-activate` and `systemd-analyze` are systemd's own.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

use crate::world::gateway::Gateway;
use crate::world::process::run;
use crate::world::{DEADLINE, PROGRAM, curl, eventually, origin};

fn routes(endpoint: &str) -> String {
    format!("[pools.shop]\nendpoints = [\"{endpoint}\"]\n\n[tenants.acme]\npool = \"shop\"\n")
}

/// The end of `NOTIFY_SOCKET` that the service manager reads.
struct Manager {
    socket: UnixDatagram,
    path: String,
    _folder: tempfile::TempDir,
}

impl Manager {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify").to_string_lossy().into_owned();
        let socket = UnixDatagram::bind(&path).expect("bind the socket of the manager");
        socket.set_read_timeout(Some(DEADLINE)).expect("set a deadline");
        Self { socket, path, _folder: folder }
    }

    /// The lines of the next message that has one which begins so.
    fn hears(&self, wanted: &str) -> Vec<String> {
        let mut space = [0; 4096];
        loop {
            let heard = self.socket.recv(&mut space);
            let size = heard.unwrap_or_else(|error| panic!("waiting for {wanted}: {error}"));
            let text = String::from_utf8_lossy(&space[..size]);
            let lines: Vec<String> = text.lines().map(str::to_owned).collect();
            if lines.iter().any(|line| line.starts_with(wanted)) {
                return lines;
            }
        }
    }
}

#[test]
fn a_service_manager_hears_of_the_start_of_reloads_and_of_the_end() {
    let manager = Manager::start();
    let mut gateway = Gateway::prepare("", &routes(&origin::answering("127.0.0.1:0", "here")));

    gateway.launch_as_service(None, &[("NOTIFY_SOCKET", &manager.path)]);

    let ready = manager.hears("READY=1");
    assert!(ready.contains(&"STATUS=serving 1 tenant, 1 pool, generation 1".to_owned()));
    assert_eq!(gateway.get("acme", "/", &[]).body, "here", "ready means that it serves");

    gateway.signal("HUP");
    let reloading = manager.hears("RELOADING=1");
    assert!(reloading.iter().any(|line| line.starts_with("MONOTONIC_USEC=")), "{reloading:?}");
    manager.hears("READY=1");

    gateway.edit("nonsense = 1\n");
    gateway.signal("HUP");
    manager.hears("RELOADING=1");
    let refused = manager.hears("READY=1").join("\n");
    assert!(refused.contains("the routes on disk are refused for 1 problem"), "{refused}");

    gateway.signal("TERM");
    let stopping = manager.hears("STOPPING=1");
    // drain.accept and drain.timeout, and 8 s.
    assert!(stopping.contains(&"EXTEND_TIMEOUT_USEC=39000000".to_owned()), "{stopping:?}");
    assert_eq!(gateway.wait().code(), Some(0), "{}", gateway.log());
}

#[test]
fn the_watchdog_is_pinged_again_and_again_while_the_workers_work() {
    let manager = Manager::start();
    let mut gateway = Gateway::prepare("", &routes("127.0.0.1:1"));

    let watchdog = [("NOTIFY_SOCKET", manager.path.as_str()), ("WATCHDOG_USEC", "600000")];
    gateway.launch_as_service(None, &watchdog);

    manager.hears("READY=1");
    for _ in 0..5 {
        manager.hears("WATCHDOG=1");
    }
}

#[test]
fn a_passed_socket_is_served_by_all_workers_and_outlives_the_gateway() {
    let routes = routes(&origin::answering("127.0.0.1:0", "here"));
    let mut gateway = Gateway::prepare("[drain]\naccept = \"0s\"\n", &routes);
    let socket = TcpListener::bind(gateway.listener()).expect("bind the listener's address");

    gateway.launch_as_service(Some(&socket), &[]);
    gateway.wait_ready();
    for _ in 0..20 {
        assert_eq!(gateway.get("acme", "/", &[]).body, "here");
    }
    let text = fs::read_to_string(gateway.config()).expect("read gateway.toml");
    let changed = text.replace("[drain]", "max-connections = 1000\n[drain]");
    fs::write(gateway.config(), changed).expect("write gateway.toml");
    let changes = || gateway.metric("tenantry_gateway_reloads_total{result=\"ok\"}");
    eventually("a change of the listener", changes, |changes| *changes == Some(1.0));
    for _ in 0..20 {
        assert_eq!(gateway.get("acme", "/", &[]).body, "here", "it keeps its socket");
    }
    gateway.signal("TERM");
    assert_eq!(gateway.wait().code(), Some(0), "{}", gateway.log());
    let answer = std::thread::scope(|scope| {
        // In the queue of the socket, while no gateway is there.
        TcpStream::connect(gateway.listener()).expect("nobody is refused during a restart");
        let url = gateway.url("/");
        let waiting = scope.spawn(move || curl(&["--header", "X-Tenant-ID: acme", &url]));
        gateway.launch_as_service(Some(&socket), &[]);
        waiting.join().expect("the answer")
    });

    assert_eq!((answer.status, answer.body.as_str()), (200, "here"));
}

#[test]
fn a_passed_socket_that_no_listener_names_is_an_error_that_tells_its_address() {
    let mut gateway = Gateway::prepare("", &routes("127.0.0.1:1"));
    let socket = TcpListener::bind("127.0.0.1:0").expect("bind a socket");

    gateway.launch_as_service(Some(&socket), &[]);

    assert_eq!(gateway.wait().code(), Some(1));
    let address = socket.local_addr().expect("its address");
    let told = format!("passes a socket for {address}, where nothing is configured to listen");
    assert!(gateway.log().contains(&told), "{}", gateway.log());
}

#[test]
fn systemd_s_own_activation_starts_the_gateway_at_the_first_connection() {
    let routes = routes(&origin::answering("127.0.0.1:0", "here"));
    let mut gateway = Gateway::prepare("", &routes);
    let mut activate = Command::new("systemd-socket-activate");
    activate.arg(format!("--listen={}", gateway.listener())).arg(PROGRAM);

    gateway.launch_as(activate);
    let ask = || gateway.get("acme", "/", &[]).body;

    eventually("an answer", ask, |body| body == "here");
    assert!(gateway.log().contains("Listening on"), "by another socket:\n{}", gateway.log());
}

#[test]
fn systemd_finds_no_fault_with_the_units_and_little_exposure() {
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/systemd");
    let folder = tempfile::tempdir().expect("a folder");
    let unit = |name: &str| folder.path().join(name);
    let service = fs::read_to_string(units.join("tenantry.service")).expect("read the unit");
    // The package's place of the program is not there where it is tested.
    fs::write(unit("tenantry.service"), service.replace("/usr/bin/tenantry", PROGRAM))
        .expect("write the unit");
    fs::copy(units.join("tenantry.socket"), unit("tenantry.socket")).expect("copy the unit");

    let verify = run(Command::new("systemd-analyze")
        .args(["verify", "--recursive-errors=no"])
        .args([unit("tenantry.service"), unit("tenantry.socket")]));
    let exposure = run(Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--threshold=20", "--no-pager"])
        .arg(unit("tenantry.service")));

    let said = |output: &std::process::Output| {
        let texts = [&output.stdout, &output.stderr];
        texts.map(|text| String::from_utf8_lossy(text).into_owned()).concat()
    };
    assert!(verify.status.success() && said(&verify).is_empty(), "{}", said(&verify));
    assert!(exposure.status.success(), "{}", said(&exposure));
}
