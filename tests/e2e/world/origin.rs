//! Origins within the test: one that answers with its name, and one that waits to be told.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

/// Listens at `address` and answers each request with `name`, until the test's process ends.
pub(crate) fn answering(address: &str, name: &'static str) -> String {
    let listener = TcpListener::bind(address).expect("bind an origin");
    let address = listener.local_addr().expect("the origin's address").to_string();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            if read_head(&mut stream) {
                answer(&mut stream, name);
            }
        }
    });
    address
}

/// As [`answering`], over connections that are kept, as many as come.
pub(crate) fn keeping(address: &str, name: &'static str) -> String {
    let listener = TcpListener::bind(address).expect("bind an origin");
    let address = listener.local_addr().expect("the origin's address").to_string();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || keep(stream, name));
        }
    });
    address
}

/// Answers one request after the other until the client leaves.
fn keep(stream: TcpStream, name: &str) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut writer = stream.try_clone().ok()?;
    let mut reader = BufReader::new(stream);
    let length = name.len();
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{name}");
    loop {
        let mut body = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim_end().to_ascii_lowercase();
            if let Some(length) = line.strip_prefix("content-length:") {
                body = length.trim().parse().ok()?;
            }
            if line.is_empty() {
                break;
            }
        }
        reader.read_exact(&mut vec![0; body]).ok()?;
        writer.write_all(answer.as_bytes()).ok()?;
    }
}

/// An origin that holds its one request until it is released.
pub(crate) struct Held {
    pub(crate) address: String,
    arrived: Receiver<()>,
    release: Sender<()>,
}

impl Held {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind an origin");
        let address = listener.local_addr().expect("the origin's address").to_string();
        let (tell, arrived) = channel();
        let (release, released) = channel();
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let wanted = read_head(&mut stream) && tell.send(()).is_ok();
                if wanted && released.recv().is_ok() {
                    answer(&mut stream, "held and released");
                }
            }
        });
        Self { address, arrived, release }
    }

    /// Waits until the request is here.
    pub(crate) fn wait(&self) {
        self.arrived.recv().expect("a request at the held origin");
    }

    pub(crate) fn release(&self) {
        self.release.send(()).expect("the held origin is there");
    }
}

/// Reads up to the blank line; `false` where the client left before it.
fn read_head(stream: &mut TcpStream) -> bool {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return false,
        }
    }
    true
}

fn answer(stream: &mut TcpStream, body: &str) {
    let length = body.len();
    let text =
        format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
    // A client that has left meanwhile is the test's business, not the origin's.
    drop(stream.write_all(text.as_bytes()));
}
