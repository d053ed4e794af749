//! A peer that sends the very bytes that it is told to, frames or not, and keeps what it gets.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::{Log, Logs};
use crate::world::DEADLINE;

/// What is wrong, from the side that it is sent by.
pub(super) struct Fault {
    pub(super) name: String,
    pub(super) by_client: Vec<u8>,
    pub(super) by_server: Vec<u8>,
}

/// First bytes and data of frames.
type Frames = &'static [(u8, &'static [u8])];

/// Frames that break RFC 6455, or are on its edge, each behind a good one.
pub(super) fn faults() -> Vec<Fault> {
    let cases: [(&str, Frames); 19] = [
        ("an opcode of data that none has", &[(0x83, b"data")]),
        ("an opcode of control that none has", &[(0x8b, b"data")]),
        ("a compressed message that nobody agreed on", &[(0xc1, b"\x2a\x49\x2e\x49\0")]),
        ("a reserved bit", &[(0xa1, b"data")]),
        ("a ping in parts", &[(0x09, b"data")]),
        ("a ping that is too long", &[(0x89, &[b'l'; 126])]),
        ("text that is no UTF-8", &[(0x81, b"\xc3\x28")]),
        ("text that is no UTF-8, in parts", &[(0x01, b"\xf0\x9f"), (0x80, b"(")]),
        ("more of nothing", &[(0x80, b"data")]),
        ("a message within a message", &[(0x01, b"first"), (0x81, b"second")]),
        ("a close of one byte", &[(0x88, b"\x03")]),
        ("a close without a code", &[(0x88, b"")]),
        ("a close for a reason that is no UTF-8", &[(0x88, b"\x03\xe8\xff")]),
        ("a close with a code that is none", &[(0x88, b"\x03\xe7")]),
        ("a close with 1004, which is reserved", &[(0x88, b"\x03\xec")]),
        ("a close with 1005, which is never sent", &[(0x88, b"\x03\xed")]),
        ("a close with 1006, which is never sent", &[(0x88, b"\x03\xee")]),
        ("a close with a code that no range has", &[(0x88, b"\x13\x88")]),
        ("data after the close", &[(0x88, b"\x03\xe8"), (0x81, b"late")]),
    ];
    let frames = |frames: Frames, mask: bool| {
        let all = [&[(0x81, &b"good"[..])], frames].concat();
        all.iter().flat_map(|(first, data)| frame(*first, data, mask)).collect()
    };
    let mut faults: Vec<Fault> = cases
        .into_iter()
        .map(|(name, fault)| Fault {
            name: name.to_owned(),
            by_client: frames(fault, true),
            by_server: frames(fault, false),
        })
        .collect();
    let mut both = |name: &str, by_client: Vec<u8>, by_server: Vec<u8>| {
        faults.push(Fault { name: name.to_owned(), by_client, by_server });
    };
    const BAD: Frames = &[(0x81, b"data")];
    both("a mask that must not be or must", frames(BAD, false), frames(BAD, true));
    both(
        "a length of 2^63",
        b"\x81\xff\x80\0\0\0\0\0\0\0\0\0\0\0".to_vec(),
        b"\x81\x7f\x80\0\0\0\0\0\0\0".to_vec(),
    );
    let none = b"GET / HTTP/1.1\r\nHost: a\r\nX-Tenant-ID: other\r\n\r\n".to_vec();
    both("a request of HTTP", none.clone(), none);
    both("an end within a frame", CUT.to_vec(), CUT.to_vec());
    faults
}

/// A frame that says 8 bytes and has 3 of them. Whoever sends it ends its side, too.
const CUT: &[u8] = b"\x81\x08cut";

fn frame(first: u8, data: &[u8], mask: bool) -> Vec<u8> {
    let masked = if mask { 0x80 } else { 0 };
    let length = u8::try_from(data.len()).expect("a short frame");
    let mut frame = vec![first];
    match length {
        ..=125 => frame.push(masked | length),
        _ => frame.extend([masked | 126, 0, length]),
    }
    if mask {
        frame.extend([0; 4]);
    }
    frame.extend(data);
    frame
}

/// Sends each fault to a server in turn.
pub(super) fn ask(faults: &[Fault], address: SocketAddr, logs: &Logs) {
    for (number, fault) in faults.iter().enumerate() {
        let mut stream = TcpStream::connect(address).expect("connect");
        let asked = format!(
            "GET /{number} HTTP/1.1\r\nHost: a.example\r\nX-Tenant-ID: acme\r\n\
             Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        );
        stream.write_all(asked.as_bytes()).expect("ask");
        let head = head(&mut stream);
        assert!(head.starts_with("HTTP/1.1 101 "), "{}: {head}", fault.name);
        logs.tell(number, send(stream, &fault.by_client));
    }
}

/// Sends each fault to the client that asks for its number, until the test's process ends.
pub(super) fn serve(faults: Vec<Fault>, logs: Logs) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind a server");
    let address = listener.local_addr().expect("its address");
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let head = head(&mut stream);
            let number = head.split(['/', ' ']).nth(2).and_then(|number| number.parse().ok());
            let key = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("sec-websocket-key").then_some(value)
            });
            let (number, key): (usize, _) = (number.expect("a number"), key.expect("a key"));
            let answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Accept: {}\r\n\r\n",
                derive_accept_key(key.as_bytes())
            );
            stream.write_all(answer.as_bytes()).expect("answer");
            logs.tell(number, send(stream, &faults[number].by_server));
        }
    });
    address
}

/// Sends bytes and reads to the end, or to the other side's closing frame: a server is the one that
/// ends the connection then.
fn send(mut stream: TcpStream, bytes: &[u8]) -> Log {
    stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    stream.write_all(bytes).expect("send");
    if bytes == CUT {
        stream.shutdown(Shutdown::Write).expect("end");
    }
    let mut got = Vec::new();
    let mut part = [0; 1024];
    while !closes(&got) {
        match stream.read(&mut part) {
            Ok(size @ 1..) => got.extend_from_slice(&part[..size]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("no end came"),
            // A reset is an end as well: which of them it is, is a matter of what was read before.
            Ok(_) | Err(_) => break,
        }
    }
    vec![format!("got {}", without_masks(&got).escape_ascii())]
}

/// Whether these bytes end with a whole closing frame, the first that the other side has sent.
fn closes(bytes: &[u8]) -> bool {
    let plain = without_masks(bytes);
    matches!(plain[..], [0x88, size, ref reason @ ..] if reason.len() >= usize::from(size))
}

/// Short frames, with those that are masked as they were before that.
fn without_masks(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut rest = bytes;
    while let [first, length, after @ ..] = rest {
        let size = usize::from(length & 0x7f);
        let masked = length & 0x80 != 0;
        let whole = after.len() >= size + if masked { 4 } else { 0 };
        if size > 125 || !whole {
            break;
        }
        let (mask, data) = if masked { after.split_at(4) } else { (&[0; 4][..], after) };
        plain.extend([*first, size as u8]);
        plain.extend(data[..size].iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        rest = &data[size..];
    }
    plain.extend_from_slice(rest);
    plain
}

fn head(stream: &mut TcpStream) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}
