//! Frames of HTTP/2 from a client into the whole gateway, behind a valid beginning.
//!
//! An input is a row of frames of four bytes and a payload each: type, flags, stream, size. The type
//! has two marks: `0x80` puts the fields of a known request in front of the payload, `0x40` lies
//! about the size.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::choices::Choices;
use super::recorder::Recorder;
use super::requests::{judge_arrived, two_tenants};
use super::world::{World, within};

/// The target.
#[derive(Debug)]
pub struct Frames {
    world: World,
    own: Recorder,
    other: Recorder,
}

impl Frames {
    /// Starts a gateway with two tenants, each with an endpoint of its own.
    pub fn start() -> Self {
        let (world, (own, other)) = World::start(two_tenants);
        Self { world, own, other }
    }

    /// Runs one input.
    pub fn run(&self, input: &[u8]) {
        let script = Script::of(input);
        self.world.judge("other", async {
            within("the end of a connection", converse(&self.world, &script)).await;
            judge_arrived(&self.own, "acme", "127.0.0.1").await;
            judge_arrived(&self.other, "other", "127.0.0.1").await;
        });
    }
}

/// What is sent, and on which stream a last request is answered unless the connection ends before.
struct Script {
    bytes: Vec<u8>,
    last: Option<u32>,
}

impl Script {
    fn of(input: &[u8]) -> Self {
        let mut choices = Choices(input);
        let mut bytes = [PREFACE, &SETTINGS].concat();
        let (mut highest, mut lies) = (0, false);
        while !choices.is_over() {
            let mark = choices.byte();
            let (kind, flags) = (mark & 0xf, choices.byte());
            let stream = stream(choices.byte());
            let size = usize::from(choices.byte());
            let known: &[u8] = if mark & 0x80 == 0 { b"" } else { REQUEST };
            let payload = [known, choices.take(size)].concat();
            let said = if mark & 0x40 == 0 { payload.len() } else { size.wrapping_mul(size) };
            lies |= said != payload.len();
            if kind == HEADERS {
                highest = highest.max(stream & MOST);
            }
            bytes.extend_from_slice(&u32::try_from(said).expect("small").to_be_bytes()[1..]);
            bytes.extend_from_slice(&[kind, flags]);
            bytes.extend_from_slice(&stream.to_be_bytes());
            bytes.extend_from_slice(&payload);
        }
        // The next one of a client. Where a size is wrong, it may be taken for part of a frame.
        let last = (highest + 1) | 1;
        let last = (!lies && last <= MOST).then_some(last);
        if let Some(last) = last {
            bytes.extend_from_slice(&[0, 0, REQUEST.len() as u8, HEADERS, END_BOTH]);
            bytes.extend_from_slice(&last.to_be_bytes());
            bytes.extend_from_slice(REQUEST);
        }
        Self { bytes, last }
    }
}

/// Streams as small as a client would have them, and the odd ones.
fn stream(byte: u8) -> u32 {
    match byte {
        0xff => MOST,
        0xfe => 0x8000_0001,
        0xfd => MOST - 2,
        0xfc => u32::MAX,
        small => u32::from(small),
    }
}

/// Sends the script; ends its side once the last request is answered.
async fn converse(world: &World, script: &Script) {
    let mut stream = TcpStream::connect(world.address()).await.expect("connect");
    let (mut reading, mut writing) = stream.split();
    let write = async {
        // The gateway may have ended the connection before.
        let sent = writing.write_all(&script.bytes).await;
        if sent.is_err() || script.last.is_none() {
            drop(writing.shutdown().await);
        }
    };
    let (mut heard, mut part) = (Vec::new(), vec![0; 16 << 10]);
    let read = async {
        while let Ok(size @ 1..) = reading.read(&mut part).await {
            heard.extend_from_slice(&part[..size]);
            if is_over(&mut heard, script.last) {
                break;
            }
        }
    };
    tokio::join!(write, read);
    drop(stream.shutdown().await);
    while let Ok(1..) = stream.read(&mut part).await {}
}

/// Takes whole frames off; tells whether one of them answers the last request or ends all.
fn is_over(heard: &mut Vec<u8>, last: Option<u32>) -> bool {
    let mut over = false;
    while let [a, b, c, kind, _flags, s, t, u, v, ..] = heard[..] {
        let size = u32::from_be_bytes([0, a, b, c]) as usize;
        if heard.len() < 9 + size {
            break;
        }
        let stream = Some(u32::from_be_bytes([s, t, u, v]));
        over |= kind == GOAWAY || (matches!(kind, HEADERS | RST_STREAM) && stream == last);
        heard.drain(..9 + size);
    }
    over
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// A frame of settings without any.
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
const END_BOTH: u8 = 5;
/// The last stream of a connection.
const MOST: u32 = 0x7fff_ffff;

/// `GET http://a/` by `acme`: three fields of the static table, two that no table keeps.
const REQUEST: &[u8] = b"\x82\x86\x84\x01\x01a\x00\x0bx-tenant-id\x04acme";
