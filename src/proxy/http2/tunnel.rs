//! A stream that has switched protocols: bytes both ways (RFC 8441 §5).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The client's side of a tunnel.
#[derive(Debug)]
pub(in crate::proxy) struct Tunnel {
    outbound: SendStream<Bytes>,
    inbound: RecvStream,
    /// What came and was not read yet.
    ahead: Bytes,
    /// It was said that nothing follows.
    ended: bool,
}

impl Tunnel {
    pub(super) fn new(outbound: SendStream<Bytes>, inbound: RecvStream) -> Self {
        Self { outbound, inbound, ahead: Bytes::new(), ended: false }
    }

    fn end(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.ended, true) {
            return Ok(());
        }
        self.outbound.send_data(Bytes::new(), true).map_err(io::Error::other)
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.ahead.is_empty() {
            match ready!(this.inbound.poll_data(context)) {
                None => return Poll::Ready(Ok(())),
                Some(Ok(data)) => this.ahead = data,
                Some(Err(error)) => {
                    return Poll::Ready(match error.reason() {
                        Some(Reason::NO_ERROR | Reason::CANCEL) => Ok(()),
                        _ => Err(io::Error::other(error)),
                    });
                }
            }
        }
        let taken = this.ahead.len().min(buffer.remaining());
        buffer.put_slice(&this.ahead[..taken]);
        this.ahead.advance(taken);
        let released = this.inbound.flow_control().release_capacity(taken);
        Poll::Ready(released.map_err(io::Error::other))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let stream = &mut self.get_mut().outbound;
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        stream.reserve_capacity(bytes.len());
        loop {
            let room = stream.capacity().min(bytes.len());
            if room > 0 {
                let sent = stream.send_data(Bytes::copy_from_slice(&bytes[..room]), false);
                return Poll::Ready(sent.map(|()| room).map_err(io::Error::other));
            }
            match ready!(stream.poll_capacity(context)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
    }

    /// The connection sends what it has whenever it can.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.get_mut().end())
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        // It fails where the client has reset the stream.
        drop(self.end());
    }
}
