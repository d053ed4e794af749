//! A wire tap: passes connections on to one address and keeps the bytes of both directions.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::world::eventually;

pub(super) struct Tap {
    /// Where it listens.
    pub(super) address: SocketAddr,
    connections: Connections,
}

type Connections = Arc<Mutex<Vec<[Arc<Direction>; 2]>>>;

#[derive(Default)]
struct Direction {
    bytes: Mutex<Vec<u8>>,
    ended: AtomicBool,
}

/// What was said within one tunnel, after the heads of its switch.
#[derive(PartialEq, Eq)]
pub(super) struct Said {
    pub(super) by_client: Vec<u8>,
    pub(super) by_server: Vec<u8>,
}

impl Tap {
    /// In front of `target`.
    pub(super) fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind a tap");
        let address = listener.local_addr().expect("the tap's address");
        let connections = Connections::default();
        let all = Arc::clone(&connections);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(target).expect("connect to what is tapped");
                pass(client, server, &all);
            }
        });
        Self { address, connections }
    }

    /// What was said on each connection, once all have ended.
    pub(super) fn said(&self) -> Vec<Said> {
        let connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let ended = || {
            let directions = connections.iter().flatten();
            directions.filter(|direction| !direction.ended.load(Ordering::Acquire)).count()
        };
        eventually("the end of all connections", ended, |open| *open == 0);
        let tunnel = |[client, server]: &[Arc<Direction>; 2]| Said {
            by_client: after_head(client),
            by_server: after_head(server),
        };
        connections.iter().map(tunnel).collect()
    }
}

fn pass(client: TcpStream, server: TcpStream, all: &Connections) {
    let directions = [Arc::<Direction>::default(), Arc::default()];
    all.lock().unwrap_or_else(PoisonError::into_inner).push(directions.clone());
    let [by_client, by_server] = directions;
    for stream in [&client, &server] {
        stream.set_nodelay(true).expect("set nodelay");
    }
    let again = |stream: &TcpStream| stream.try_clone().expect("share a stream");
    let (from, to) = (again(&client), again(&server));
    thread::spawn(move || copy(from, to, &by_client));
    thread::spawn(move || copy(server, client, &by_server));
}

fn copy(mut from: TcpStream, mut to: TcpStream, direction: &Direction) {
    let mut part = vec![0; 256 << 10];
    while let Ok(size @ 1..) = from.read(&mut part) {
        let part = &part[..size];
        direction.bytes.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(part);
        if to.write_all(part).is_err() {
            break;
        }
    }
    // One that has ended meanwhile is not there to be told.
    drop(to.shutdown(Shutdown::Write));
    direction.ended.store(true, Ordering::Release);
}

fn after_head(direction: &Direction) -> Vec<u8> {
    let bytes = direction.bytes.lock().unwrap_or_else(PoisonError::into_inner);
    let head = bytes.windows(4).position(|part| part == b"\r\n\r\n");
    head.map_or(Vec::new(), |at| bytes[at + 4..].to_vec())
}
