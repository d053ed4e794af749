//! One side of an HTTP/1 connection, byte for byte.

use std::io;
use std::net::SocketAddr;

use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::message::fields;
use super::within;

/// Any stream of bytes.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A stream with what was read of it and not used yet.
pub(crate) struct Wire {
    pub(crate) stream: Box<dyn Stream>,
    buffer: Vec<u8>,
}

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(usize),
    Chunked,
    UntilEnd,
}

/// A piece of a body.
pub(crate) enum Piece {
    Data(Vec<u8>),
    Trailers(HeaderMap),
}

impl Framing {
    /// As the fields say; without any, `otherwise`.
    pub(crate) fn of(headers: &HeaderMap, otherwise: Self) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        if text("transfer-encoding").is_some_and(|value| value.ends_with("chunked")) {
            return Self::Chunked;
        }
        let length = text("content-length").and_then(|length| length.parse().ok());
        length.map_or(otherwise, Self::Length)
    }
}

impl Wire {
    pub(crate) fn new(stream: impl Stream + 'static) -> Self {
        Self { stream: Box::new(stream), buffer: Vec::new() }
    }

    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = within("a connection", TcpStream::connect(address)).await.expect("connect");
        stream.set_nodelay(true).expect("set nodelay");
        Self::new(stream)
    }

    /// Reads more; `false` at the end of the stream, be it an orderly one or not.
    async fn fill(&mut self) -> bool {
        let mut part = vec![0; 64 << 10];
        match self.stream.read(&mut part).await {
            Ok(0) | Err(_) => false,
            Ok(size) => {
                self.buffer.extend_from_slice(&part[..size]);
                true
            }
        }
    }

    /// Takes what ends with `end`, that included; `None` where the stream ends before.
    async fn until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        let mut looked = 0;
        loop {
            let found = self.buffer[looked..].windows(end.len()).position(|part| part == end);
            if let Some(at) = found {
                let rest = self.buffer.split_off(looked + at + end.len());
                return Some(std::mem::replace(&mut self.buffer, rest));
            }
            looked = (self.buffer.len() + 1).saturating_sub(end.len());
            if !self.fill().await {
                return None;
            }
        }
    }

    /// The next head with its blank line.
    pub(crate) async fn head(&mut self) -> Option<Vec<u8>> {
        self.until(b"\r\n\r\n").await
    }

    /// Reads a body and hands it over as it comes; `false` where the stream ends within it.
    pub(crate) async fn body(&mut self, framing: Framing, mut take: impl FnMut(Piece)) -> bool {
        match framing {
            Framing::Length(size) => self.exactly(size, &mut take).await,
            Framing::UntilEnd => loop {
                take(Piece::Data(std::mem::take(&mut self.buffer)));
                if !self.fill().await {
                    return true;
                }
            },
            Framing::Chunked => loop {
                let Some(line) = self.until(b"\r\n").await else { return false };
                let line = String::from_utf8_lossy(&line).into_owned();
                let size = line.split(';').next().unwrap_or_default().trim();
                let size = usize::from_str_radix(size, 16).expect("the size of a chunk");
                if size == 0 {
                    return self.trailers(&mut take).await;
                }
                if !self.exactly(size, &mut take).await || self.until(b"\r\n").await.is_none() {
                    return false;
                }
            },
        }
    }

    async fn exactly(&mut self, mut left: usize, take: &mut impl FnMut(Piece)) -> bool {
        while left > 0 {
            if self.buffer.is_empty() && !self.fill().await {
                return false;
            }
            let rest = self.buffer.split_off(left.min(self.buffer.len()));
            let part = std::mem::replace(&mut self.buffer, rest);
            left -= part.len();
            take(Piece::Data(part));
        }
        true
    }

    async fn trailers(&mut self, take: &mut impl FnMut(Piece)) -> bool {
        let mut lines = Vec::new();
        loop {
            match self.until(b"\r\n").await.as_deref() {
                None => return false,
                Some(b"\r\n") => break,
                Some(line) => lines.push(String::from_utf8_lossy(line).trim_end().to_owned()),
            }
        }
        if !lines.is_empty() {
            take(Piece::Trailers(fields(lines.iter().map(String::as_str))));
        }
        true
    }

    /// Reads exactly this text; `None` where the stream ends before or anything else comes.
    pub(crate) async fn exact(&mut self, text: &str) -> Option<()> {
        let mut read = Vec::new();
        let mut take = |piece| {
            if let Piece::Data(data) = piece {
                read.extend_from_slice(&data);
            }
        };
        let whole = self.exactly(text.len(), &mut take).await;
        (whole && read == text.as_bytes()).then_some(())
    }

    /// Everything up to the end of the stream.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while self.fill().await {}
        std::mem::take(&mut self.buffer)
    }

    /// Writes all of it.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }
}
