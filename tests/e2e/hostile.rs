//! Many clients that mean ill at once: the process stays within its memory, serves a client beside
//! them, and has all of it back when they have gone. How long the client beside them waits is told
//! by `benches/hostile`.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;

use crate::world::gateway::Gateway;
use crate::world::process::run;
use crate::world::{eventually, free_port, origin};

/// The budget, in bytes: room for all of these clients, and for the first reads of few.
const BUDGET: usize = 96 << 20;
/// 32 MiB: what the allocator keeps, and what is in no budget.
const SLACK: usize = 32 << 20;

/// 24 MiB: what may be left of a flood, and no more after a second one. 6 to 15 MiB are: parts of the program that no
/// request had touched, tables that grew, and what the allocator of each worker keeps for later.
const KEPT: usize = 24 << 20;

/// What a process holds.
#[derive(Clone, Copy, Debug)]
struct Takes {
    memory: usize,
    files: usize,
}

impl Takes {
    fn of(gateway: &Gateway) -> Self {
        let status = fs::read_to_string(format!("/proc/{}/status", gateway.id()));
        let status = status.expect("read its status");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = resident.and_then(|text| text.trim().strip_suffix(" kB")?.parse().ok());
        let memory = resident.map_or(0, |kib: usize| kib << 10);
        Self { memory, files: gateway.open_files() }
    }
}

/// A gateway with the budget and a pool of an endpoint that pours, beside one that answers.
fn start(more: &str) -> Gateway {
    let (calm, pouring) = (origin::keeping("127.0.0.1:0", "hello"), pouring());
    // It takes what comes into the system's buffers, and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").expect("bind an origin");
    // All come at once, and the standard library's queue has 128 places.
    rustix::net::listen(&silent, 4096).expect("a longer queue");
    let address = silent.local_addr().expect("the origin's address");
    thread::spawn(move || silent.incoming().flatten().collect::<Vec<_>>());
    let routes = format!(
        "[pools.calm]\nendpoints = [\"{calm}\"]\n[tenants.acme]\npool = \"calm\"\n\
         [pools.pouring]\nendpoints = [\"{pouring}\"]\ntimeouts = {{ connect = \"10s\" }}\n\
         [tenants.globex]\npool = \"pouring\"\n\
         [pools.silent]\nendpoints = [\"{address}\"]\n\
         timeouts = {{ total = \"5m\", attempt = \"5m\", connect = \"10s\" }}\n[tenants.silent]\npool = \"silent\"\n"
    );
    let gateway = Gateway::start_with(
        &format!("{more}[memory]\nbuffers = \"{BUDGET}B\"\nbuffers-per-client = \"0B\"\n"),
        &routes,
    );
    assert_eq!(gateway.get("acme", "/", &[]).body, "hello");
    gateway
}

/// Answers each request without an end, each on a thread of its own.
fn pouring() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind an origin");
    rustix::net::listen(&listener, 4096).expect("a longer queue");
    let address = listener.local_addr().expect("the origin's address");
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                drop(stream.read(&mut [0; 4096]));
                drop(stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"));
                while stream.write_all(&[b'x'; 16 << 10]).is_ok() {}
            });
        }
    });
    address
}

fn connect(to: SocketAddr, count: usize, bytes: &[u8]) -> Vec<TcpStream> {
    // All are there before the first one asks: what each is given must not hang on how late another one comes.
    let mut streams: Vec<_> =
        (0..count).map(|_| TcpStream::connect(to).expect("connect")).collect();
    streams.iter_mut().for_each(|stream| stream.write_all(bytes).expect("write"));
    streams
}

/// Lets so many clients in, looks at what they cost, and lets them go; then once more: what the allocator keeps for
/// later of one flood, a second one must not add to.
fn endures(gateway: &Gateway, clients: impl Fn() -> Vec<TcpStream>, series: &str, least: u32) {
    let before = Takes::of(gateway);
    for _ in 0..2 {
        flood(gateway, before, &clients, series, least);
        settled(gateway, before, before.memory + KEPT);
    }
}

fn flood(
    gateway: &Gateway,
    before: Takes,
    clients: impl Fn() -> Vec<TcpStream>,
    series: &str,
    least: u32,
) {
    let _clients = clients();
    let all = Some(f64::from(least));
    eventually("all clients", || gateway.metric(series), |now| *now >= all);
    for _ in 0..20 {
        assert_eq!(gateway.get("acme", "/", &[]).body, "hello");
        let now = Takes::of(gateway);
        assert!(now.memory < before.memory + BUDGET + SLACK, "{now:?} after {before:?}");
        let held = gateway.metric("tenantry_buffers_bytes").expect("what is held");
        assert!(held < BUDGET as f64, "{held}");
    }
}

/// Waits until all is given back, and no more memory is taken than that.
fn settled(gateway: &Gateway, before: Takes, memory: usize) {
    let empty = |gateway: &Gateway| gateway.metric("tenantry_buffers_bytes") == Some(0.0);
    eventually("an empty account", || empty(gateway), |empty| *empty);
    let settled = |now: &Takes| now.files <= before.files + 2 && now.memory < memory;
    // The allocator gives back as it is used.
    let now = || {
        gateway.get("acme", "/", &[]);
        Takes::of(gateway)
    };
    eventually("files and memory that come back", now, settled);
}

fn open_connections(gateway: &Gateway) -> String {
    format!("tenantry_downstream_connections{{listener=\"{}\"}}", gateway.listener())
}

#[test]
fn a_thousand_clients_that_never_end_their_heads_leave_nothing_behind() {
    // All of them are there at once, however long it takes until they are counted.
    let gateway = start("[downstream]\nheader-timeout = \"2m\"\n");
    let head = [b"GET / HTTP/1.1\r\nHost: a\r\nX-A: ".as_slice(), &[b'x'; 8 << 10]].concat();

    let clients = || connect(gateway.listener(), 1000, &head);

    endures(&gateway, clients, &open_connections(&gateway), 1000);
}

#[test]
fn a_thousand_clients_that_do_not_read_their_answers_leave_nothing_behind() {
    let gateway = start("");
    let get = b"GET / HTTP/1.1\r\nHost: a\r\nX-Tenant-ID: globex\r\n\r\n";

    let clients = || connect(gateway.listener(), 1000, get);

    endures(&gateway, clients, "tenantry_requests_in_flight", 1000);
}

#[test]
fn a_thousand_clients_that_send_their_bodies_by_the_byte_leave_nothing_behind() {
    let gateway = start("");
    let fields = "Host: a\r\nX-Tenant-ID: silent\r\nContent-Length: 8388608";
    let put = [format!("PUT / HTTP/1.1\r\n{fields}\r\n\r\n").as_bytes(), &[b'x'; 4 << 10]].concat();

    let clients = || {
        let mut clients = connect(gateway.listener(), 1000, &put);
        for _ in 0..3 {
            clients.iter_mut().for_each(|client| client.write_all(b"x").expect("write"));
        }
        clients
    };

    endures(&gateway, clients, "tenantry_requests_in_flight", 1000);
}

#[test]
fn five_hundred_clients_that_stop_within_a_handshake_leave_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("certs/make");
    assert!(run(Command::new(script).arg(folder.path())).status.success());
    let file = |name: &str| folder.path().join(name).display().to_string();
    let tls = SocketAddr::from(([127, 0, 0, 1], free_port()));
    // All of them are there at once, however long it takes until they are counted.
    let gateway = start(&format!(
        "[[listeners]]\naddress = \"{tls}\"\ntls = {{ cert = \"{}\", key = \"{}\" }}\n\
         [downstream]\nhandshake-timeout = \"2m\"\n",
        file("leaf.pem"),
        file("leaf.key")
    ));
    // A record of a handshake that says 512 bytes.
    let begun = b"\x16\x03\x01\x02\x00\x01";

    let clients = || connect(tls, 500, begun);

    let series = format!("tenantry_downstream_connections{{listener=\"{tls}\"}}");
    endures(&gateway, clients, &series, 500);
}

#[test]
fn a_client_that_opens_a_hundred_streams_and_never_reads_leaves_nothing_behind() {
    let gateway = start("");

    let clients = || connect(gateway.listener(), 1, &hundred_streams());

    endures(&gateway, clients, "tenantry_requests_in_flight", 100);
}

/// The first words of a client of HTTP/2 that opens all windows, and a hundred requests.
fn hundred_streams() -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let mut frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
        bytes.extend_from_slice(&length[1..]);
        bytes.extend_from_slice(&[kind, flags]);
        bytes.extend_from_slice(&stream.to_be_bytes());
        bytes.extend_from_slice(payload);
    };
    frame(4, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]);
    frame(8, 0, 0, &(0x7fff_ffff_u32 - 65_535).to_be_bytes());
    let fields =
        [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a"), TENANT];
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).expect("a short text"));
            block.extend_from_slice(text.as_bytes());
        }
    }
    for number in 0..100 {
        frame(1, 5, 2 * number + 1, &block);
    }
    bytes
}

const TENANT: (&str, &str) = ("x-tenant-id", "globex");
