//! A client's stream below HTTP: gives back what was read ahead to tell HTTP/2 from HTTP/1, and
//! notes that bytes came in, or that the client takes none.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::{Instant, timeout_at};

use crate::base::small;

use super::activity::Activity;
use super::alarm::Alarm;
use super::unread;

/// A client's stream.
#[derive(Debug)]
pub(super) struct Io<S> {
    stream: TokioIo<S>,
    ahead: Bytes,
    activity: Arc<Activity>,
    /// What goes out before hyper's next bytes, or in place of them.
    own: Bytes,
    farewell: Option<Farewell>,
}

/// Between the end of what we say and the end of the connection.
#[derive(Debug)]
struct Farewell {
    alarm: Alarm,
    /// Bytes that are still read.
    left: usize,
}

impl<S> Io<S> {
    /// `ahead` is read first, then `stream`.
    pub(super) fn new(stream: S, ahead: Bytes, activity: Arc<Activity>) -> Self {
        let stream = TokioIo::new(stream);
        Self { stream, ahead, activity, own: Bytes::new(), farewell: None }
    }

    /// Whether hyper's own answer to bytes that it could not read was taken from it. Another one
    /// goes out with the next flush.
    fn takes(&mut self, written: &[u8]) -> bool {
        let Some(unread) = unread::instead_of(written) else {
            return false;
        };
        self.activity.answered_unread(unread.problem.name);
        self.own = unread.bytes;
        true
    }

    /// Notes whether the client takes what is written.
    fn note(&self, written: &Poll<io::Result<usize>>) {
        if written.is_pending() {
            self.activity.stuck();
        } else {
            self.activity.wrote();
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Io<S> {
    fn poll_own(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.own.is_empty() {
            match self.activity.take_first() {
                None => return Poll::Ready(Ok(())),
                Some(first) => self.own = first.into(),
            }
        }
        while !self.own.is_empty() {
            let written = Pin::new(&mut self.stream).poll_write(context, &self.own);
            self.note(&written);
            match ready!(written)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.own.advance(written),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads on after the last word, so that it arrives: a system that has unread bytes at the close
    /// of a connection resets it, and with it goes what the client has not read yet (RFC 9112 §9.6).
    fn poll_farewell(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(farewell) = &mut self.farewell else {
            return Poll::Ready(());
        };
        let mut space = [0; LAST_READ];
        while farewell.left > 0 && farewell.alarm.poll(context).is_pending() {
            let mut space = ReadBuf::new(&mut space);
            let stream = Pin::new(self.stream.inner_mut());
            match ready!(stream.poll_read(context, &mut space)) {
                Ok(()) if !space.filled().is_empty() => {
                    farewell.left = farewell.left.saturating_sub(space.filled().len());
                }
                _ => break,
            }
        }
        Poll::Ready(())
    }
}

/// Reads until the bytes are those that open HTTP/2 by prior knowledge (RFC 9113 §3.4), or cannot
/// be, from the first byte on no longer than `limit`. Gives what was read, and whether it is
/// HTTP/2.
///
/// # Errors
/// When the stream fails, ends before it can be told, or takes too long: `TimedOut`.
pub(super) async fn sniff<S: AsyncRead + Unpin>(
    stream: &mut S,
    limit: Duration,
) -> io::Result<(Bytes, bool)> {
    let mut ahead = BytesMut::with_capacity(FIRST_READ);
    let mut end = None;
    loop {
        let read = stream.read_buf(&mut ahead);
        let read = match end {
            None => read.await?,
            Some(end) => timeout_at(end, read).await.map_err(|_| io::ErrorKind::TimedOut)??,
        };
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        end.get_or_insert_with(|| Instant::now() + limit);
        let seen = ahead.len().min(PREFACE.len());
        if ahead[..seen] != PREFACE[..seen] {
            return Ok((ahead.freeze(), false));
        }
        if seen == PREFACE.len() {
            return Ok((ahead.freeze(), true));
        }
    }
}

impl<S: AsyncRead + Unpin> Read for Io<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.ahead.is_empty() {
            let size = this.ahead.len().min(buffer.remaining());
            buffer.put_slice(&this.ahead[..size]);
            this.ahead.advance(size);
            this.activity.read();
            return Poll::Ready(Ok(()));
        }
        let polled = Pin::new(&mut this.stream).poll_read(context, buffer);
        if polled.is_ready() {
            this.activity.read();
        }
        polled
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Write for Io<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_own(context))?;
        if this.takes(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        let polled = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.note(&polled);
        polled
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = match this.poll_own(context) {
            Poll::Ready(Ok(())) => Pin::new(&mut this.stream).poll_flush(context),
            waiting => waiting,
        };
        if polled.is_pending() {
            this.activity.stuck();
        }
        polled
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_own(context))?;
        if this.farewell.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
            let alarm = Alarm::at(Instant::now() + FAREWELL);
            this.farewell = Some(Farewell { alarm, left: LAST_WORDS });
        }
        this.poll_farewell(context).map(Ok)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_own(context))?;
        if let [only] = slices
            && this.takes(only)
        {
            return Poll::Ready(Ok(only.len()));
        }
        let stream = Pin::new(&mut this.stream);
        let polled = match small::join(slices, &mut [0; small::MOST]) {
            Some(bytes) => stream.poll_write(context, bytes),
            None => stream.poll_write_vectored(context, slices),
        };
        this.note(&polled);
        polled
    }
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// 1 KiB: a usual request's head comes in one read.
const FIRST_READ: usize = 1 << 10;
/// 1 s, and 256 KiB: long enough for who has read the answer to leave.
const FAREWELL: Duration = Duration::from_secs(1);
const LAST_WORDS: usize = 256 << 10;
const LAST_READ: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    async fn sniffed(parts: &[&[u8]]) -> (Bytes, bool) {
        let (mut client, mut server) = tokio::io::duplex(1);
        let parts = parts.concat();
        let writing = async {
            drop(client.write_all(&parts).await);
            std::future::pending::<(Bytes, bool)>().await // read from or not
        };
        tokio::select! {
            sniffed = sniff(&mut server, LIMIT) => sniffed.unwrap(),
            never = writing => never,
        }
    }

    #[tokio::test]
    async fn the_preface_tells_http2_even_byte_by_byte() {
        assert_eq!(sniffed(&[PREFACE]).await, (Bytes::from_static(PREFACE), true));
    }

    #[tokio::test]
    async fn a_request_that_begins_like_the_preface_is_http1() {
        let (ahead, http2) = sniffed(&[b"PR", b"OPFIND"]).await;
        assert!(!http2);
        assert_eq!(&ahead[..], b"PRO", "no byte is lost");
    }

    #[tokio::test]
    async fn a_stream_that_ends_at_once_is_an_error() {
        let (client, mut server) = tokio::io::duplex(1);
        drop(client);
        assert!(sniff(&mut server, LIMIT).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_stops_within_the_preface_is_not_waited_for() {
        let (mut client, mut server) = tokio::io::duplex(64);
        client.write_all(b"PRI").await.unwrap();
        let error = sniff(&mut server, LIMIT).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
