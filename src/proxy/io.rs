//! A client's stream below HTTP/2: notes that bytes came in, or that the client takes none, is asked
//! for no more than there is, and leaves in good order. And how HTTP/2 is told from HTTP/1.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::{Instant, timeout_at};

use crate::base::small;

use super::activity::Activity;
use super::alarm::Alarm;

/// What a connection has read.
#[derive(Debug)]
pub(super) struct Reads {
    /// A read had to wait since the library's connection was last polled.
    drained: Cell<bool>,
    last: Cell<Instant>,
}

impl Reads {
    pub(super) fn new() -> Self {
        Self { drained: Cell::default(), last: Cell::new(Instant::now()) }
    }

    /// Called before the library's connection is polled: a read is tried then.
    pub(super) fn resume(&self) {
        self.drained.set(false);
    }

    /// When bytes came last.
    pub(super) fn last(&self) -> Instant {
        self.last.get()
    }
}

/// A client's stream.
#[derive(Debug)]
pub(super) struct Io<S> {
    stream: S,
    activity: Rc<Activity>,
    reads: Rc<Reads>,
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
    pub(super) fn new(stream: S, activity: Rc<Activity>, reads: Rc<Reads>) -> Self {
        Self { stream, activity, reads, farewell: None }
    }

    /// Notes whether the client takes what is written.
    fn note<T>(&self, written: &Poll<io::Result<T>>) {
        if written.is_pending() {
            self.activity.stuck();
        } else {
            self.activity.wrote();
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Io<S> {
    /// Reads on after the last word, so that it arrives: a system that has unread bytes at the close
    /// of a connection resets it, and with it goes what the client has not read yet (RFC 9112 §9.6).
    fn poll_farewell(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(farewell) = &mut self.farewell else {
            return Poll::Ready(());
        };
        let mut space = [0; LAST_READ];
        while farewell.left > 0 && farewell.alarm.poll(context).is_pending() {
            let mut space = ReadBuf::new(&mut space);
            let stream = Pin::new(&mut self.stream);
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

impl<S: AsyncRead + Unpin> AsyncRead for Io<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // The library asks again after each stream that it begins, and will be woken by the first time.
        if this.reads.drained.get() {
            return Poll::Pending;
        }
        let polled = Pin::new(&mut this.stream).poll_read(context, buffer);
        match &polled {
            Poll::Ready(_) => {
                this.activity.read();
                this.reads.last.set(this.activity.recent());
            }
            Poll::Pending => this.reads.drained.set(true),
        }
        polled
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Io<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.note(&polled);
        polled
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_flush(context);
        this.note(&polled);
        polled
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
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
