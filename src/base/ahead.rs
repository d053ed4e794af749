//! A stream of which some bytes were read already: they are read first.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// `ahead`, then the rest of `stream`.
#[derive(Debug)]
pub struct Ahead<S> {
    ahead: Bytes,
    stream: S,
}

impl<S> Ahead<S> {
    /// `ahead` was read of `stream`.
    pub fn new(ahead: Bytes, stream: S) -> Self {
        Self { ahead, stream }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Ahead<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ahead.is_empty() {
            return Pin::new(&mut this.stream).poll_read(context, buffer);
        }
        let size = this.ahead.len().min(buffer.remaining());
        buffer.put_slice(&this.ahead[..size]);
        this.ahead.advance(size);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Ahead<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn what_was_read_comes_first_and_what_is_written_goes_straight_on() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut near = Ahead::new(Bytes::from_static(b"first "), near);
        far.write_all(b"then").await.unwrap();
        near.write_all(b"back").await.unwrap();

        let mut came = [0; 10];
        near.read_exact(&mut came).await.unwrap();
        let mut went = [0; 4];
        far.read_exact(&mut went).await.unwrap();

        assert_eq!((&came, &went), (b"first then", b"back"));
    }
}
