//! What a client costs that keeps its connection and asks for nothing: nearly all connections do so
//! for nearly all of their time. The growth is the kernel's own count (`VmRSS`), over so many that
//! what else moves in the process is little beside it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::memory::memory;
use crate::tls::make;
use crate::world::gateway::Gateway;
use crate::world::{eventually, free_port, origin};

const FIRST: usize = 500;
const CLIENTS: usize = 2000;
/// Over HTTP/1.1, in bytes. It is about 2 KiB.
const MOST: u64 = 4 << 10;
/// Over TLS 1.3: keys, both directions' state, and the 4 KiB that rustls keeps to read into. It is
/// about 10 KiB.
const MOST_OVER_TLS: u64 = 14 << 10;

const LIMITS: &str = "[downstream]\nmax-connections-per-client = 10000\n";

fn routes() -> String {
    let endpoint = origin::keeping("127.0.0.1:0", "hello");
    format!("[pools.app]\nendpoints = [\"{endpoint}\"]\n[tenants.acme]\npool = \"app\"\n")
}

/// This process may have more files open than is usual: each client is one.
fn allow_open_files() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("more open files");
}

/// Sends one request and reads its answer whole.
fn ask(stream: &mut (impl Read + Write)) {
    let asked = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Tenant-ID: acme\r\n\r\n";
    stream.write_all(asked).expect("ask");
    let (mut answer, mut part) = (Vec::new(), [0; 1024]);
    while !answer.ends_with(b"hello") {
        let size = stream.read(&mut part).expect("an answer");
        assert!(size > 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&part[..size]);
    }
}

/// So many clients that have sent one request each and keep their connections.
fn clients<S: Read + Write>(count: usize, connect: impl Fn() -> S) -> Vec<S> {
    let client = || {
        let mut stream = connect();
        ask(&mut stream);
        stream
    };
    std::iter::repeat_with(client).take(count).collect()
}

/// What each of them adds to the process, in bytes; none of them is left then.
fn cost<S: Read + Write>(gateway: &Gateway, connect: impl Fn() -> S) -> u64 {
    // What the first ones of all bring about is no cost of a client.
    let first = clients(FIRST, &connect);
    let before = memory(gateway, "VmRSS");
    let all = clients(CLIENTS, &connect);
    let grown = memory(gateway, "VmRSS").saturating_sub(before);
    drop((first, all));
    grown / CLIENTS as u64
}

#[test]
fn a_client_that_keeps_its_connection_and_asks_for_nothing_costs_little() {
    allow_open_files();
    let gateway = Gateway::start_with(LIMITS, &routes());

    let each = cost(&gateway, || TcpStream::connect(gateway.listener()).expect("connect"));

    assert!(each < MOST, "{each} bytes for each client");
}

/// What a client of TLS 1.3 needs to connect: it trusts the authority of the folder.
fn trusting(folder: &Path) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(folder.join("ca.pem")).expect("the authority");
    roots.add(authority).expect("an authority");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3");
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    // Each one shakes hands in full.
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

fn connect(
    address: SocketAddr,
    config: &Arc<ClientConfig>,
) -> StreamOwned<ClientConnection, TcpStream> {
    let name = ServerName::try_from("localhost").expect("a name");
    let client = ClientConnection::new(Arc::clone(config), name).expect("a client");
    StreamOwned::new(client, TcpStream::connect(address).expect("connect"))
}

#[test]
fn over_tls_it_costs_its_keys_and_one_read_more_and_goes_back_to_the_system_with_the_clients() {
    allow_open_files();
    let folder = tempfile::tempdir().expect("a folder");
    make(folder.path());
    let file = |name: &str| folder.path().join(name).display().to_string();
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let listener = format!(
        "[[listeners]]\naddress = \"{address}\"\ntls = {{ cert = \"{}\", key = \"{}\" }}\n",
        file("leaf.pem"),
        file("leaf.key")
    );
    let gateway = Gateway::start_with(&format!("{listener}{LIMITS}"), &routes());
    let config = trusting(folder.path());

    let before = memory(&gateway, "VmRSS");

    let each = cost(&gateway, || connect(address, &config));

    assert!(each < MOST_OVER_TLS, "{each} bytes for each client");
    // What they took goes back to the system a moment after they have gone, without another request.
    let kept = || memory(&gateway, "VmRSS").saturating_sub(before);
    let all = each * (FIRST + CLIENTS) as u64;
    let kept = eventually("the end of much of it", kept, |kept| *kept < all / 3 * 2);
    println!("{kept} bytes of {all} are kept");
}
