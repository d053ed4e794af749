//! A client of HTTP/1.1 that keeps its connections, as browsers and programs do.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

pub(crate) struct Client {
    address: SocketAddr,
    /// It leaves when an answer takes longer.
    patience: Duration,
    idle: RefCell<Vec<TcpStream>>,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Client {
    pub(crate) fn new(address: SocketAddr, patience: Duration) -> Self {
        Self { address, patience, idle: RefCell::default() }
    }

    /// One request, whole as it is sent.
    pub(crate) async fn ask(&self, request: &str) -> io::Result<Answer> {
        timeout(self.patience, self.exchange(request)).await?
    }

    async fn exchange(&self, request: &str) -> io::Result<Answer> {
        let mut stream = match self.rested() {
            Some(stream) => stream,
            None => TcpStream::connect(self.address).await?,
        };
        stream.set_nodelay(true)?;
        stream.write_all(request.as_bytes()).await?;
        let mut bytes = Vec::with_capacity(1024);
        let end = loop {
            if let Some(at) = bytes.windows(4).position(|end| end == b"\r\n\r\n") {
                break at + 4;
            }
            more(&mut stream, &mut bytes).await?;
        };
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let status = head.get(9..12).and_then(|status| status.parse().ok()).ok_or(BROKEN)?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length.and_then(|text| text.trim().parse().ok()).ok_or(BROKEN)?;
        while bytes.len() < end + length {
            more(&mut stream, &mut bytes).await?;
        }
        if !head.contains("connection: close") {
            self.idle.borrow_mut().push(stream);
        }
        Ok(Answer { status, body: bytes.split_off(end) })
    }

    /// A connection that the other side has not closed meanwhile.
    fn rested(&self) -> Option<TcpStream> {
        loop {
            let stream = self.idle.borrow_mut().pop()?;
            match stream.try_read(&mut [0]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Some(stream),
                _ => {}
            }
        }
    }
}

async fn more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> io::Result<()> {
    match stream.read_buf(bytes).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

const BROKEN: io::ErrorKind = io::ErrorKind::InvalidData;
