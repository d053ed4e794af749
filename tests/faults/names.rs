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
    /// Questions for addresses that it was asked in this mood.
    asked: Cell<usize>,
}

impl NameServer {
    pub(crate) async fn start(mood: Mood) -> Self {
        let (datagrams, streams) = bind().await;
        let address = datagrams.local_addr().expect("the name server's address");
        let shared = Rc::new(Shared { mood: RefCell::new(mood), asked: Cell::new(0) });
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

    /// Waits until it was asked for addresses in the mood that it is in: somebody has heard of that.
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
        if kind(question) == Some(ADDRESS) {
            self.asked.set(self.asked.get() + 1);
        }
        answer(question, &self.mood.borrow(), most)
    }
}

/// The kind of record that is asked for, behind the name.
fn kind(question: &[u8]) -> Option<[u8; 2]> {
    let name = question.get(12..)?.iter().position(|byte| *byte == 0)?;
    question.get(12 + name + 1..)?.first_chunk().copied()
}

/// RFC 1035 §4.1: a header, the question again, and the records. `None` where nothing is said.
fn answer(question: &[u8], mood: &Mood, most: usize) -> Option<Vec<u8>> {
    let (code, addresses): (u8, &[Ipv4Addr]) = match mood {
        Mood::Addresses(addresses) => (0, addresses),
        Mood::NoSuchName => (3, &[]),
        Mood::Failing => (2, &[]),
        Mood::Silent => return None,
    };
    let name = question.get(12..)?.iter().position(|byte| *byte == 0)?;
    let asked = question.get(12..12 + name + 5)?;
    let addresses = if kind(question)? == ADDRESS { addresses } else { &[] };
    let is_cut = 12 + asked.len() + 16 * addresses.len() > most;
    let addresses = if is_cut { &[] } else { addresses };

    let mut bytes = question.get(..2)?.to_vec();
    bytes.extend([0x84 | u8::from(is_cut) << 1, 0x80 | code, 0, 1]);
    bytes.extend(u16::try_from(addresses.len()).ok()?.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(asked);
    for address in addresses {
        // The question's name, A, IN, for one second, four bytes.
        bytes.extend([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        bytes.extend(address.octets());
    }
    Some(bytes)
}

/// The kind of record that is an IPv4 address.
const ADDRESS: [u8; 2] = [0, 1];
/// 512 bytes: what every resolver takes by UDP.
const DATAGRAM: usize = 512;
