//! An endpoint that keeps every byte it gets and answers what a strict reader takes for a request,
//! and nothing else: the judge of whether a request was smuggled.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::eventually;
use super::strict::{self, Message};

/// An endpoint. Dropped, it closes its socket and all connections.
pub(crate) struct Recorder {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    connections: Arc<Mutex<Vec<Kept>>>,
    _tasks: JoinSet<()>,
}

/// What came on one connection.
#[derive(Debug)]
struct Kept {
    bytes: Vec<u8>,
    open: bool,
}

impl Recorder {
    /// Answers each request with 200 and its target.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind a recorder");
        let address = listener.local_addr().expect("its address");
        let connections = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&connections)));
        Self { address, connections, _tasks: tasks }
    }

    /// All that came since the last call, connection by connection, read strictly. What was
    /// broken off is waited for and left out: its connection must have ended, too.
    pub(crate) async fn take(&self) -> Vec<Message> {
        let settled = || lock(&self.connections).iter().all(Kept::is_settled);
        eventually("the end of what was broken off", settled, |settled| *settled).await;
        let mut all = Vec::new();
        for kept in lock(&self.connections).iter_mut() {
            let bytes = std::mem::take(&mut kept.bytes);
            let read = strict::requests(&bytes);
            let (requests, _) = read.unwrap_or_else(|why| {
                panic!("{why}, in what came upstream: {:?}", String::from_utf8_lossy(&bytes))
            });
            all.extend(requests);
        }
        all
    }
}

impl Kept {
    /// Nothing of it is still on its way.
    fn is_settled(&self) -> bool {
        !self.open || !matches!(strict::requests(&self.bytes), Ok((_, true)))
    }
}

fn lock(connections: &Mutex<Vec<Kept>>) -> MutexGuard<'_, Vec<Kept>> {
    connections.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, connections: Arc<Mutex<Vec<Kept>>>) {
    let mut serving = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let number = {
            let mut all = lock(&connections);
            all.push(Kept { bytes: Vec::new(), open: true });
            all.len() - 1
        };
        let connections = Arc::clone(&connections);
        serving.spawn(async move {
            serve(stream, number, &connections).await;
            lock(&connections)[number].open = false;
        });
    }
}

async fn serve(mut stream: TcpStream, number: usize, connections: &Mutex<Vec<Kept>>) {
    let mut unread = Vec::new();
    let mut part = vec![0; 16 << 10];
    while let Ok(size @ 1..) = stream.read(&mut part).await {
        unread.extend_from_slice(&part[..size]);
        lock(connections)[number].bytes.extend_from_slice(&part[..size]);
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
