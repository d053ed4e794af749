//! WebSockets end through the gateway as they do without it, byte for byte: two libraries that know
//! nothing of each other, tungstenite and Python's websockets, in all four pairings, and a peer of
//! broken frames in the place of either. Compression, which tungstenite has not, is between websockets and
//! aiohttp.

mod cases;
mod library;
mod raw;
mod tap;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::world::gateway::Gateway;
use crate::world::process::Process;
use crate::world::{PATIENCE, PYTHON, eventually, eventually_within};
use cases::Case;
use tap::{Said, Tap};

/// What one peer has seen of one case.
type Log = Vec<String>;

/// What one peer has seen of each case.
#[derive(Clone, Default)]
struct Logs(Arc<Mutex<BTreeMap<usize, Log>>>);

impl Logs {
    fn tell(&self, number: usize, log: Log) {
        let before = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(number, log);
        assert!(before.is_none(), "case {number} came twice");
    }

    /// Takes the lines that a process of Python prints.
    fn listen(&self, lines: impl Iterator<Item = String> + Send + 'static) {
        let logs = self.clone();
        std::thread::spawn(move || {
            for line in lines {
                let (number, log) = serde_json::from_str(&line).expect("a line of a peer");
                logs.tell(number, log);
            }
        });
    }

    /// Waits for so many cases.
    fn all(&self, cases: usize) -> BTreeMap<usize, Log> {
        let now = || self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        eventually("the end of all cases", now, |logs| logs.len() == cases)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    Tungstenite,
    Python,
    Aiohttp,
    /// Sends what is wrong.
    Raw,
}

/// The ways of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Direct,
    Gateway,
}

/// What both peers have seen, and what was said at the client and at the server.
struct Run {
    client: BTreeMap<usize, Log>,
    server: BTreeMap<usize, Log>,
    near: Vec<Said>,
    far: Vec<Said>,
}

struct World {
    folder: TempDir,
    scripts: Vec<[Value; 2]>,
}

impl World {
    fn of(scripts: Vec<[Value; 2]>) -> Self {
        let folder = TempDir::new().expect("a folder");
        let text = serde_json::to_string(&scripts).expect("the cases as text");
        fs::write(folder.path().join("cases"), text).expect("write the cases");
        Self { folder, scripts }
    }

    fn python(&self, peer: Peer, role: &str, address: Option<SocketAddr>) -> Process {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/websockets");
        Process::start(
            Command::new(PYTHON)
                .arg(folder.join(if peer == Peer::Aiohttp { "aio.py" } else { "peer.py" }))
                .arg(role)
                .arg(self.folder.path().join("cases"))
                .args(address.map(|address| address.to_string()))
                .env("PYTHONDONTWRITEBYTECODE", "1")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped()),
        )
    }

    /// Plays all cases between two peers.
    fn run(&self, client: Peer, server: Peer, way: Way) -> Run {
        let (seen, served) = (Logs::default(), Logs::default());
        let mut process = None;
        let address = match server {
            Peer::Tungstenite => library::serve(self.scripts.clone(), served.clone()),
            Peer::Raw => raw::serve(raw::faults(), served.clone()),
            Peer::Python | Peer::Aiohttp => {
                let python = process.insert(self.python(server, "server", None));
                let mut lines = python.lines();
                let address = lines.next().expect("an address").parse().expect("an address");
                served.listen(lines);
                address
            }
        };
        let far = Tap::start(address);
        let routes = format!(
            "[pools.chat]\nendpoints = [\"{}\"]\n[tenants.acme]\npool = \"chat\"\n",
            far.address
        );
        let gateway = (way == Way::Gateway).then(|| Gateway::start(&routes));
        let near = Tap::start(gateway.as_ref().map_or(far.address, Gateway::listener));
        match client {
            Peer::Tungstenite => library::ask(&self.scripts, near.address, &seen),
            Peer::Raw => raw::ask(&raw::faults(), near.address, &seen),
            Peer::Python | Peer::Aiohttp => {
                let mut python = self.python(client, "client", Some(near.address));
                seen.listen(python.lines());
                let ended = || python.ended();
                let ended = eventually_within(PATIENCE, "the client's end", ended, Option::is_some);
                assert!(ended.is_some_and(|ended| ended.success()), "the client failed");
            }
        }
        let cases = self.scripts.len();
        let (client, server) = (seen.all(cases), served.all(cases));
        Run { client, server, near: near.said(), far: far.said() }
    }

    /// Plays all cases with the gateway and without: nobody may be able to tell. Gives what was said
    /// through the gateway.
    fn compare(&self, names: &[String], client: Peer, server: Peer) -> Run {
        let direct = self.run(client, server, Way::Direct);
        let through = self.run(client, server, Way::Gateway);
        for (number, name) in names.iter().enumerate() {
            let what = format!("{name}: {client:?} to {server:?}");
            let [seen, wanted] = [&through, &direct].map(|run| apart(&run.client[&number]));
            assert_eq!(seen, wanted, "the client of {what}");
            let [seen, wanted] = [&through, &direct].map(|run| apart(&run.server[&number]));
            assert_eq!(seen, wanted, "the server of {what}");
            if !name.contains("refused") {
                let (near, far) = (&through.near[number], &through.far[number]);
                let silent = near.by_client.is_empty() && near.by_server.is_empty();
                assert!(!silent, "nothing was said: {what}");
                assert!(near.by_client == far.by_client, "bytes of the client differ: {what}");
                assert!(near.by_server == far.by_server, "bytes of the server differ: {what}");
            }
        }
        through
    }
}

/// Both peers agreed on compression, and what compresses well was short on the wire.
fn was_compressed(names: &[String], run: &Run) {
    for (number, name) in names.iter().enumerate().filter(|(_, name)| !name.contains("refused")) {
        for log in [&run.client[&number], &run.server[&number]] {
            assert_eq!(log[0], "['permessage-deflate']", "{name}");
        }
    }
    let well = names.iter().position(|name| name == "what compresses well").expect("the case");
    let said = &run.near[well];
    let sizes = [said.by_client.len(), said.by_server.len()];
    assert!(sizes.iter().all(|size| *size < 50_000), "{sizes:?} bytes for 500,000 each way");
}

/// Pongs apart from the rest, each in their order: a library answers pings while its application
/// writes, so that how the two mix is another each time, with and without the gateway.
fn apart(log: &Log) -> (Vec<&str>, Vec<&str>) {
    log.iter().map(String::as_str).partition(|line| line.contains("Pong"))
}

#[test]
fn peers_of_two_makes_cannot_tell_the_gateway_from_a_wire() {
    let cases = cases::all();
    let names: Vec<String> = cases.iter().map(|case| case.name.clone()).collect();
    let world =
        World::of(cases.into_iter().map(|Case { client, server, .. }| [client, server]).collect());

    for client in [Peer::Tungstenite, Peer::Python] {
        for server in [Peer::Tungstenite, Peer::Python] {
            let run = world.compare(&names, client, server);
            // Tungstenite has no compression.
            if (client, server) == (Peer::Python, Peer::Python) {
                was_compressed(&names, &run);
            }
        }
    }
}

#[test]
fn compression_that_two_makes_agree_on_passes_as_without_the_gateway() {
    let cases: Vec<Case> = cases::all().into_iter().filter(Case::has_whole_messages).collect();
    let names: Vec<String> = cases.iter().map(|case| case.name.clone()).collect();
    let world =
        World::of(cases.into_iter().map(|Case { client, server, .. }| [client, server]).collect());

    for (client, server) in [(Peer::Aiohttp, Peer::Python), (Peer::Python, Peer::Aiohttp)] {
        let run = world.compare(&names, client, server);
        was_compressed(&names, &run);
    }
}

#[test]
fn frames_that_are_broken_end_where_they_would_without_the_gateway() {
    let faults = raw::faults();
    let names: Vec<String> = faults.iter().map(|fault| fault.name.clone()).collect();
    let world = World::of(names.iter().map(|_| [json!([["end"]]), json!([["end"]])]).collect());

    for other in [Peer::Tungstenite, Peer::Python] {
        world.compare(&names, Peer::Raw, other);
        world.compare(&names, other, Peer::Raw);
    }
}
