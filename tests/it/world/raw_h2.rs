//! A client of HTTP/2 that sends the very frames it is told to, valid or not.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::within;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const ACK: u8 = 1;

/// RFC 9113 §7.
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One frame.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// What became of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// An answer with this status and body.
    Answer(u16, Vec<u8>),
    /// The stream was reset.
    Reset(u32),
    /// The connection ended with this code.
    GoAway(u32),
    /// The connection ended without a word.
    Closed,
}

impl Fate {
    /// The status of an answer; 0 where there was none.
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::Answer(status, _) => *status,
            _ => 0,
        }
    }
}

/// The bytes of a frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(payload.len()).expect("a small frame").to_be_bytes();
    [&size[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A block of fields, each a literal that no table keeps (RFC 7541 §6.2.2).
pub(crate) fn block(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            number(&mut block, 0, 7, text.len());
            block.extend_from_slice(text);
        }
    }
    block
}

/// An integer behind a prefix of so many bits (RFC 7541 §5.1).
pub(crate) fn number(block: &mut Vec<u8>, first: u8, bits: u8, mut value: usize) {
    let most = (1 << bits) - 1;
    if value < most {
        block.push(first | value as u8);
        return;
    }
    block.push(first | most as u8);
    value -= most;
    while value >= 128 {
        block.push((value % 128) as u8 | 128);
        value /= 128;
    }
    block.push(value as u8);
}

/// The pseudo-fields of a request of `acme`, and its name.
pub(crate) const GET: [(&[u8], &[u8]); 5] = [
    (b":method", b"GET"),
    (b":scheme", b"http"),
    (b":authority", b"a.example"),
    (b":path", b"/"),
    (b"x-tenant-id", b"acme"),
];

/// The frames of a request without a body.
pub(crate) fn request(stream: u32, fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(fields))
}

/// A client of HTTP/2 without TLS.
pub(crate) struct RawH2 {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl RawH2 {
    /// Connects and says hello. No table keeps the fields of answers.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let mut client = Self::silent(address).await;
        client.send(PREFACE).await;
        client.send(&frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0])).await;
        client
    }

    /// Connects and says nothing.
    pub(crate) async fn silent(address: SocketAddr) -> Self {
        let stream = within("a connection", TcpStream::connect(address)).await.expect("connect");
        stream.set_nodelay(true).expect("set nodelay");
        Self { stream, buffer: Vec::new() }
    }

    /// Sends no more.
    pub(crate) async fn finish(&mut self) {
        drop(within("the end", self.stream.shutdown()).await);
    }

    /// Sends bytes; `false` where the gateway no longer takes them.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> bool {
        within("room for the frames", self.stream.write_all(bytes)).await.is_ok()
    }

    /// Sends bytes so many times, and waits until the gateway has ended the connection for it. What
    /// it says meanwhile is read.
    pub(crate) async fn flood(&mut self, times: u32, mut bytes: impl FnMut(u32) -> Vec<u8>) {
        let (mut reader, mut writer) = self.stream.split();
        let heard = &mut self.buffer;
        let writing = async {
            for time in 0..times {
                if writer.write_all(&bytes(time)).await.is_err() {
                    return;
                }
            }
            std::future::pending::<()>().await;
        };
        let reading = async {
            let mut part = vec![0; 64 << 10];
            while let Ok(size @ 1..) = reader.read(&mut part).await {
                heard.extend_from_slice(&part[..size]);
            }
        };
        within("the end of the connection", async {
            tokio::select! {
                () = writing => {}
                () = reading => {}
            }
        })
        .await;
    }

    /// The next frame; `None` at the end of the connection.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        within("a frame", async {
            loop {
                if let Some(frame) = self.take() {
                    return Some(frame);
                }
                let mut part = vec![0; 16 << 10];
                match self.stream.read(&mut part).await {
                    Ok(size @ 1..) => self.buffer.extend_from_slice(&part[..size]),
                    _ => return None,
                }
            }
        })
        .await
    }

    fn take(&mut self) -> Option<Frame> {
        let head = self.buffer.get(..9)?;
        let size = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (kind, flags) = (head[3], head[4]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let payload = self.buffer.get(9..9 + size)?.to_vec();
        self.buffer.drain(..9 + size);
        Some(Frame { kind, flags, stream, payload })
    }

    /// Reads until a stream has ended, or the connection.
    pub(crate) async fn fate(&mut self, stream: u32) -> Fate {
        let mut answer = None;
        loop {
            let Some(frame) = self.next().await else { return Fate::Closed };
            let code = |at: usize| {
                let bytes = frame.payload[at..at + 4].try_into().expect("4 bytes");
                u32::from_be_bytes(bytes)
            };
            match frame.kind {
                SETTINGS if frame.flags & ACK == 0 => {
                    self.send(&super::raw_h2::frame(SETTINGS, ACK, 0, &[])).await;
                }
                GOAWAY if code(4) != 0 => return Fate::GoAway(code(4)),
                RST_STREAM if frame.stream == stream => return Fate::Reset(code(0)),
                HEADERS if frame.stream == stream && answer.is_none() => {
                    answer = Some((status(&frame.payload), Vec::new()));
                }
                DATA if frame.stream == stream => {
                    let (_, body) = answer.as_mut().expect("the head comes first");
                    body.extend_from_slice(&frame.payload);
                }
                _ => {}
            }
            let last = matches!(frame.kind, HEADERS | DATA) && frame.flags & END_STREAM != 0;
            if last && frame.stream == stream {
                let (status, body) = answer.expect("the head comes first");
                return Fate::Answer(status, body);
            }
        }
    }

    /// Reads until the connection ends; tells the code of the last `GOAWAY`.
    pub(crate) async fn end(&mut self) -> Option<u32> {
        let mut code = None;
        while let Some(frame) = self.next().await {
            if frame.kind == GOAWAY {
                let bytes = frame.payload[4..8].try_into().expect("4 bytes");
                code = Some(u32::from_be_bytes(bytes));
            }
        }
        code
    }
}

/// The status that a block of an answer begins with.
fn status(block: &[u8]) -> u16 {
    let mut rest = block;
    while let [0x20..0x40, after @ ..] = rest {
        rest = after; // a change of the table's size
    }
    match rest {
        [index @ 0x88..=0x8e, ..] => [200, 204, 206, 304, 400, 404, 500][usize::from(index - 0x88)],
        [0x08 | 0x18 | 0x48, length, value @ ..] => {
            let value = &value[..usize::from(length & 0x7f)];
            if length & 0x80 == 0 { plain(value) } else { huffman(value) }
        }
        _ => panic!("an answer that does not begin with its status: {block:02x?}"),
    }
}

fn plain(value: &[u8]) -> u16 {
    std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).expect("a status")
}

/// Three digits by the code of RFC 7541 appendix B.
fn huffman(value: &[u8]) -> u16 {
    let bit = |at: usize| u16::from(value[at / 8] >> (7 - at % 8) & 1);
    let bits = |at: usize, count: usize| (at..at + count).fold(0, |sum, at| sum << 1 | bit(at));
    let (mut at, mut status) = (0, 0);
    for _ in 0..3 {
        let digit = match bits(at, 5) {
            low @ 0..=2 => {
                at += 5;
                low
            }
            _ => {
                at += 6;
                bits(at - 6, 6) - 0x19 + 3
            }
        };
        status = status * 10 + digit;
    }
    status
}
