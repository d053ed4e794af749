//! An endpoint that keeps what it gets and answers what a strict reader takes for a request, and
//! nothing else: the judge of whether a request was smuggled.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::strict::{self, Message};
use super::world::within;

/// An endpoint. Dropped, it closes its socket and all connections.
#[derive(Debug)]
pub(crate) struct Recorder {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    kept: Arc<Kept>,
    _tasks: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Kept {
    /// What came on each connection that is open, or has ended since it was looked at.
    connections: Mutex<BTreeMap<u64, Connection>>,
    changed: Notify,
}

#[derive(Debug)]
struct Connection {
    bytes: Vec<u8>,
    open: bool,
}

impl Recorder {
    /// Answers each request with 200 and its target. Call it on a runtime.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind a recorder");
        let address = listener.local_addr().expect("its address");
        let kept = Arc::new(Kept::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&kept)));
        Self { address, kept, _tasks: tasks }
    }

    /// All that came since the last call, connection by connection, read strictly. What was broken
    /// off is waited for and left out: its connection must have ended, too.
    pub(crate) async fn take(&self) -> Vec<Message> {
        within("the end of what was broken off", self.settled()).await;
        let mut all = Vec::new();
        self.kept.lock().retain(|_, connection| {
            let bytes = std::mem::take(&mut connection.bytes);
            match strict::requests(&bytes) {
                Ok((requests, _)) => all.extend(requests),
                Err(why) => panic!("{why}, in what came upstream: {}", bytes.escape_ascii()),
            }
            connection.open
        });
        all
    }

    async fn settled(&self) {
        loop {
            let changed = self.kept.changed.notified();
            if self.kept.lock().values().all(Connection::is_settled) {
                return;
            }
            changed.await;
        }
    }
}

impl Kept {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Connection>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, number: u64, change: impl FnOnce(&mut Connection)) {
        if let Some(connection) = self.lock().get_mut(&number) {
            change(connection);
        }
        self.changed.notify_waiters();
    }
}

impl Connection {
    /// Nothing of it is still on its way.
    fn is_settled(&self) -> bool {
        !self.open || !matches!(strict::requests(&self.bytes), Ok((_, true)))
    }
}

async fn accept(listener: TcpListener, kept: Arc<Kept>) {
    let mut serving = JoinSet::new();
    for number in 0.. {
        let Ok((stream, _)) = listener.accept().await else { return };
        kept.lock().insert(number, Connection { bytes: Vec::new(), open: true });
        let kept = Arc::clone(&kept);
        serving.spawn(async move {
            serve(stream, number, &kept).await;
            kept.change(number, |connection| connection.open = false);
        });
        while serving.try_join_next().is_some() {}
    }
}

async fn serve(mut stream: TcpStream, number: u64, kept: &Kept) {
    let mut unread = Vec::new();
    let mut part = vec![0; 16 << 10];
    while let Ok(size @ 1..) = stream.read(&mut part).await {
        unread.extend_from_slice(&part[..size]);
        kept.change(number, |connection| connection.bytes.extend_from_slice(&part[..size]));
        loop {
            match strict::request(&unread) {
                Err(_) => return, // told by `take`
                Ok(None) => break,
                Ok(Some((message, size))) => {
                    unread.drain(..size);
                    if stream.write_all(answer(&message).as_bytes()).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

fn answer(message: &Message) -> String {
    let target = message.line.split(' ').nth(1).unwrap_or_default();
    let body = if message.line.starts_with("HEAD ") { "" } else { target };
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", target.len())
}
