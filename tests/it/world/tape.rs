//! An HTTP/1 endpoint that keeps every byte, and reads them by the letter of RFC 9112: the judge of
//! what a gateway made of a request.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A request by the letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Strict {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Strict {
    /// All values of a field, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let named = |field: &&(String, String)| field.0.eq_ignore_ascii_case(name);
        self.fields.iter().filter(named).map(|(_, value)| value.as_str()).collect()
    }
}

/// Answers every whole request with 200 and `ok`, and no other bytes.
pub(crate) struct Tape {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    connections: Tapes,
    _tasks: JoinSet<()>,
}

type Tapes = Arc<Mutex<Vec<Vec<u8>>>>;

impl Tape {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind an origin");
        let address = listener.local_addr().expect("the origin's address");
        let connections = Tapes::default();
        let tapes = Arc::clone(&connections);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut serving = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let number = {
                    let mut tapes = tapes.lock().unwrap_or_else(PoisonError::into_inner);
                    tapes.push(Vec::new());
                    tapes.len() - 1
                };
                serving.spawn(record(stream, number, Arc::clone(&tapes)));
            }
        });
        Self { address, connections, _tasks: tasks }
    }

    /// All bytes of each connection.
    pub(crate) fn bytes(&self) -> Vec<Vec<u8>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The requests that came whole, and how many connections end within one.
    ///
    /// # Errors
    /// The first bytes that are no request by the letter.
    pub(crate) fn requests(&self) -> Result<(Vec<Strict>, usize), String> {
        let (mut requests, mut broken) = (Vec::new(), 0);
        for bytes in self.bytes() {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let Some((request, used)) = parse(rest)? else {
                    broken += 1;
                    break;
                };
                requests.push(request);
                rest = &rest[used..];
            }
        }
        Ok((requests, broken))
    }
}

async fn record(mut stream: TcpStream, number: usize, tapes: Tapes) {
    let (mut whole, mut part) = (0, vec![0; 16 << 10]);
    while let Ok(size @ 1..) = stream.read(&mut part).await {
        let mut answers = 0;
        {
            let mut tapes = tapes.lock().unwrap_or_else(PoisonError::into_inner);
            tapes[number].extend_from_slice(&part[..size]);
            while let Ok(Some((_, used))) = parse(&tapes[number][whole..]) {
                whole += used;
                answers += 1;
            }
        }
        for _ in 0..answers {
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            if stream.write_all(answer).await.is_err() {
                return;
            }
        }
    }
}

/// The first request of some bytes, and how many are its own; `None` while more must come.
fn parse(bytes: &[u8]) -> Result<Option<(Strict, usize)>, String> {
    let Some(end) = bytes.windows(4).position(|part| part == b"\r\n\r\n") else {
        return Ok(None);
    };
    let why = |what: &str| format!("{what}: {:?}", String::from_utf8_lossy(&bytes[..end]));
    let mut lines = lines(&bytes[..end]).ok_or_else(|| why("a bare CR, LF or NUL"))?.into_iter();
    let line = lines.next().unwrap_or_default();
    let words: Vec<&str> = line.split(' ').collect();
    let [method, target, "HTTP/1.1"] = words[..] else { return Err(why("the request line")) };
    let printable =
        |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_token(method) || !printable(target) || !(target.starts_with('/') || target == "*") {
        return Err(why("the request line"));
    }
    let mut fields = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(':').ok_or_else(|| why("a line without a colon"))?;
        if !is_token(name) {
            return Err(why("a field's name"));
        }
        fields.push((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()));
    }
    let mut request =
        Strict { method: method.to_owned(), target: target.to_owned(), fields, body: Vec::new() };
    if request.all("host").len() != 1 {
        return Err(why("not one Host"));
    }
    let rest = &bytes[end + 4..];
    let used = match (&request.all("content-length")[..], &request.all("transfer-encoding")[..]) {
        ([], []) => 0,
        ([length], []) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
            let length: usize = length.parse().map_err(|_| why("the length"))?;
            let Some(body) = rest.get(..length) else { return Ok(None) };
            request.body = body.to_vec();
            length
        }
        ([], ["chunked"]) => {
            let Some((body, used)) = chunks(rest).map_err(|what| why(&what))? else {
                return Ok(None);
            };
            request.body = body;
            used
        }
        _ => return Err(why("the framing is open to dispute")),
    };
    Ok(Some((request, end + 4 + used)))
}

fn lines(head: &[u8]) -> Option<Vec<String>> {
    let text = String::from_utf8_lossy(head).into_owned();
    let lines: Vec<String> = text.split("\r\n").map(str::to_owned).collect();
    let bad = |line: &String| line.contains(['\r', '\n', '\0']);
    (!lines.iter().any(bad)).then_some(lines)
}

fn is_token(text: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(token)
}

fn chunks(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, String> {
    let (mut body, mut at) = (Vec::new(), 0);
    let line = |at: usize| {
        let size = bytes[at..].windows(2).position(|part| part == b"\r\n")?;
        Some((String::from_utf8_lossy(&bytes[at..at + size]).into_owned(), at + size + 2))
    };
    loop {
        let Some((text, after)) = line(at) else { return Ok(None) };
        let size =
            usize::from_str_radix(&text, 16).map_err(|_| format!("a chunk's size {text:?}"))?;
        at = after;
        if size == 0 {
            break;
        }
        let Some(data) = bytes.get(at..at + size + 2) else { return Ok(None) };
        if !data.ends_with(b"\r\n") {
            return Err("a chunk's end".to_owned());
        }
        body.extend_from_slice(&data[..size]);
        at += size + 2;
    }
    loop {
        let Some((text, after)) = line(at) else { return Ok(None) };
        at = after;
        match text.split_once(':') {
            None if text.is_empty() => return Ok(Some((body, at))),
            Some((name, _)) if is_token(name) => {}
            _ => return Err(format!("a trailer {text:?}")),
        }
    }
}
