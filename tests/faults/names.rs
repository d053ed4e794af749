//! A name server that answers as it is told, also wrongly and not at all.

use std::cell::{Cell, RefCell};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::{JoinSet, spawn_local};
use tokio::time::{Instant, sleep};

use super::world::DEADLINE;

/// What is said of every name.
#[derive(Clone, Debug)]
pub(crate) enum Mood {
    /// It leads to these, for a second.
    Addresses(Vec<Ipv4Addr>),
    /// It is that of a service, for a second, with a target for each of these, which leads there. There is no target of
    /// the last so many.
    Targets(Vec<Ipv4Addr>, usize),
    /// There is no such name.
    NoSuchName,
    /// SERVFAIL.
    Failing,
    /// Nothing.
    Silent,
}

/// It ends when it is dropped.
pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    shared: Rc<Shared>,
    _serving: JoinSet<()>,
}

struct Shared {
    mood: RefCell<Mood>,
    /// The port of services.
    port: Cell<u16>,
    /// Questions for addresses and services that it was asked in this mood.
    asked: Cell<usize>,
}

impl NameServer {
    pub(crate) async fn start(mood: Mood) -> Self {
        let (datagrams, streams) = bind().await;
        let address = datagrams.local_addr().expect("the name server's address");
        let (mood, port, asked) = (RefCell::new(mood), Cell::new(0), Cell::new(0));
        let shared = Rc::new(Shared { mood, port, asked });
        let mut serving = JoinSet::new();
        let here = Rc::clone(&shared);
        serving.spawn_local(async move {
            let mut question = [0; 512];
            while let Ok((length, from)) = datagrams.recv_from(&mut question).await {
                let answer = here.answer(&question[..length], DATAGRAM);
                if let Some(answer) = answer {
                    drop(datagrams.send_to(&answer, from).await);
                }
            }
        });
        let here = Rc::clone(&shared);
        serving.spawn_local(async move {
            while let Ok((stream, _)) = streams.accept().await {
                spawn_local(converse(stream, Rc::clone(&here)));
            }
        });
        Self { address, shared, _serving: serving }
    }

    pub(crate) fn be(&self, mood: Mood) {
        self.shared.mood.replace(mood);
        self.shared.asked.set(0);
    }

    /// Services are at this port.
    pub(crate) fn lead_to(&self, port: u16) {
        self.shared.port.set(port);
    }

    /// Waits until it was asked in the mood that it is in: somebody has heard of that.
    pub(crate) async fn heard(&self) {
        let started = Instant::now();
        while self.shared.asked.get() == 0 {
            assert!(started.elapsed() < DEADLINE, "the name server is not asked");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// The lines of `gateway.toml` that have the gateway ask here.
    pub(crate) fn config(&self) -> String {
        format!("[dns]\nservers = [\"{}\"]\ntimeout = \"250ms\"\n", self.address)
    }
}

/// One free port for both, as a resolver expects it.
async fn bind() -> (UdpSocket, TcpListener) {
    loop {
        let datagrams = UdpSocket::bind("127.0.0.1:0").await.expect("bind a name server");
        let address = datagrams.local_addr().expect("the name server's address");
        if let Ok(streams) = TcpListener::bind(address).await {
            return (datagrams, streams);
        }
    }
}

async fn converse(mut stream: TcpStream, shared: Rc<Shared>) -> Option<()> {
    loop {
        let length = stream.read_u16().await.ok()?;
        let mut question = vec![0; usize::from(length)];
        stream.read_exact(&mut question).await.ok()?;
        let answer = shared.answer(&question, usize::from(u16::MAX));
        if let Some(answer) = answer {
            stream.write_u16(u16::try_from(answer.len()).ok()?).await.ok()?;
            stream.write_all(&answer).await.ok()?;
        }
    }
}

impl Shared {
    fn answer(&self, question: &[u8], most: usize) -> Option<Vec<u8>> {
        if matches!(kind(question), Some(ADDRESS | SERVICE)) {
            self.asked.set(self.asked.get() + 1);
        }
        answer(question, &self.mood.borrow(), self.port.get(), most)
    }
}

/// The kind of record that is asked for, behind the name.
fn kind(question: &[u8]) -> Option<[u8; 2]> {
    let name = question.get(12..)?.iter().position(|byte| *byte == 0)?;
    question.get(12 + name + 1..)?.first_chunk().copied()
}

/// RFC 1035 §4.1: a header, the question again, and the records. `None` where nothing is said.
fn answer(question: &[u8], mood: &Mood, port: u16, most: usize) -> Option<Vec<u8>> {
    let names = question.get(12..)?;
    let is_of = |wanted: [u8; 2]| kind(question) == Some(wanted);
    let (code, records): (u8, Vec<Vec<u8>>) = match mood {
        Mood::Addresses(all) if is_of(ADDRESS) => (0, all.iter().map(address).collect()),
        Mood::Targets(all, _) if is_of(SERVICE) => {
            (0, all.iter().map(|one| service(one, port)).collect())
        }
        Mood::Targets(all, gone) => {
            let asked = all.iter().position(|one| names.starts_with(&label(one)));
            match asked.filter(|at| at + gone < all.len()) {
                Some(at) if is_of(ADDRESS) => (0, vec![address(&all[at])]),
                Some(_) => (0, Vec::new()),
                None => (3, Vec::new()),
            }
        }
        Mood::Addresses(_) => (0, Vec::new()),
        Mood::NoSuchName => (3, Vec::new()),
        Mood::Failing => (2, Vec::new()),
        Mood::Silent => return None,
    };
    let name = names.iter().position(|byte| *byte == 0)?;
    let asked = question.get(12..12 + name + 5)?;
    let is_cut = 12 + asked.len() + records.iter().map(Vec::len).sum::<usize>() > most;
    let records = if is_cut { Vec::new() } else { records };

    let mut bytes = question.get(..2)?.to_vec();
    bytes.extend([0x84 | u8::from(is_cut) << 1, 0x80 | code, 0, 1]);
    bytes.extend(u16::try_from(records.len()).ok()?.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(asked);
    bytes.extend(records.concat());
    Some(bytes)
}

/// The question's name, A, IN, for one second, four bytes.
fn address(address: &Ipv4Addr) -> Vec<u8> {
    [&[0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4][..], &address.octets()].concat()
}

/// RFC 2782: the question's name, SRV, IN, for one second, so many bytes: the priority 0, the weight 1, the port and the
/// target, which is not to be shortened.
fn service(address: &Ipv4Addr, port: u16) -> Vec<u8> {
    let target = [&label(address)[..], b"\x04test\x00"].concat();
    let size = u8::try_from(6 + target.len()).expect("a short name");
    let before = [0xC0, 12, 0, 33, 0, 1, 0, 0, 0, 1, 0, size, 0, 0, 0, 1];
    [&before[..], &port.to_be_bytes(), &target].concat()
}

/// The first part of the name of a target.
fn label(address: &Ipv4Addr) -> Vec<u8> {
    let text = address.octets().map(|part| part.to_string()).join("-");
    let size = u8::try_from(text.len()).expect("a short name");
    [&[size], text.as_bytes()].concat()
}

/// The kind of record that is an IPv4 address.
const ADDRESS: [u8; 2] = [0, 1];
/// That which is a service: where it is, and at which port.
const SERVICE: [u8; 2] = [0, 33];
/// 512 bytes: what every resolver takes by UDP.
const DATAGRAM: usize = 512;
