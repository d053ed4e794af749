//! An endpoint that says the bytes of now to each connection, whatever it asks, and closes.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::manner::Manner;

/// An endpoint. Dropped, it closes its socket and all connections.
#[derive(Debug)]
pub(crate) struct Origin {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    words: Arc<Mutex<Words>>,
    serving: Arc<Mutex<JoinSet<()>>>,
    _tasks: JoinSet<()>,
}

#[derive(Clone, Debug)]
struct Words {
    manner: Manner,
    bytes: Vec<u8>,
}

impl Origin {
    /// Speaks HTTP/1.1, or HTTP/2, where its words come behind a frame of settings. Call it on a
    /// runtime.
    pub(crate) async fn start(is_http2: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind an origin");
        let address = listener.local_addr().expect("its address");
        let words = Arc::new(Mutex::new(Words { manner: Manner::of(b"0").0, bytes: Vec::new() }));
        let serving = Arc::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&words), Arc::clone(&serving), is_http2));
        Self { address, words, serving, _tasks: tasks }
    }

    /// Has it say this from now on.
    pub(crate) fn shall_say(&self, manner: Manner, bytes: &[u8]) {
        let words = Words { manner, bytes: bytes.to_vec() };
        *self.words.lock().unwrap_or_else(PoisonError::into_inner) = words;
        // The rest of what was said before would be taken for an answer of now.
        self.serving.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}

async fn accept(
    listener: TcpListener,
    words: Arc<Mutex<Words>>,
    serving: Arc<Mutex<JoinSet<()>>>,
    is_http2: bool,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let words = words.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut serving = serving.lock().unwrap_or_else(PoisonError::into_inner);
        serving.spawn(serve(stream, words, is_http2));
        while serving.try_join_next().is_some() {}
    }
}

async fn serve(mut stream: TcpStream, words: Words, is_http2: bool) {
    let asked = if is_http2 { is_asked_in_frames } else { is_asked };
    let (mut heard, mut part) = (Vec::new(), vec![0; 4 << 10]);
    while !asked(&heard) {
        let Ok(size @ 1..) = stream.read(&mut part).await else { return };
        heard.extend_from_slice(&part[..size]);
    }
    let settings: &[u8] = if is_http2 { &SETTINGS } else { b"" };
    let said = async {
        stream.write_all(settings).await?;
        words.manner.write(&mut stream, &words.bytes).await?;
        stream.shutdown().await
    };
    drop(said.await);
    while let Ok(1..) = stream.read(&mut part).await {}
}

/// Whether the head of a request is there.
fn is_asked(heard: &[u8]) -> bool {
    heard.windows(4).any(|four| four == b"\r\n\r\n")
}

/// Whether a frame with the head of a request is there: before it, any answer breaks the protocol.
fn is_asked_in_frames(heard: &[u8]) -> bool {
    let mut rest = heard.get(PREFACE..).unwrap_or_default();
    while let [a, b, c, kind, ..] = rest {
        if *kind == HEADERS {
            return true;
        }
        let size = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        rest = rest.get(9 + size..).unwrap_or_default();
    }
    false
}

const PREFACE: usize = 24;
const HEADERS: u8 = 1;
/// A frame of settings without any.
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
