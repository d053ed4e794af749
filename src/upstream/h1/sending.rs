//! A request on its way out: head and body in as few writes as they fit into.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::request::Parts;
use tokio::io::AsyncWrite;

use crate::base::small;
use crate::upstream::{Field, Payload};

use super::Fault;
use super::request::{Encoder, write_head};

/// What of a request is not sent yet.
#[derive(Debug)]
pub(super) struct Sending<B> {
    /// The bytes that go next: head, framing, small parts of the body.
    next: BytesMut,
    /// A large part of the body, which goes after them uncopied.
    data: Bytes,
    /// What goes after that.
    after: &'static [u8],
    encoder: Encoder,
    /// `None` once all of it was taken.
    body: Option<B>,
    /// Bytes that the connection has taken.
    pub(super) sent: u64,
    done: bool,
}

impl<B: Payload> Sending<B> {
    /// Nothing is to be sent.
    pub(super) fn nothing() -> Self {
        Self {
            next: BytesMut::new(),
            data: Bytes::new(),
            after: b"",
            encoder: Encoder::Length(0),
            body: None,
            sent: 0,
            done: true,
        }
    }

    /// Begins with a request.
    ///
    /// # Errors
    /// When its head does not say clearly how long its body is.
    pub(super) fn begin(&mut self, head: &Parts, added: &[Field], body: B) -> Result<(), Fault> {
        self.encoder = Encoder::of(&head.headers)?;
        write_head(head, added, &mut self.next);
        self.sent = 0;
        self.done = false;
        if body.is_end_stream() {
            self.encoder.end(None, &mut self.next)?;
        } else {
            self.body = Some(body);
        }
        Ok(())
    }

    /// Gives back the memory that the next request would use.
    pub(super) fn rest(&mut self) {
        self.next = BytesMut::new();
    }

    /// Whether all was sent.
    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// Sends on, until all is sent.
    ///
    /// # Errors
    /// When the connection or the request's body fails.
    pub(super) fn poll<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Fault>> {
        while !self.done {
            let waits = self.fill(context)?;
            while self.has_bytes() {
                let sent = ready!(self.poll_write(stream, context))?;
                if sent == 0 {
                    return Poll::Ready(Err(Fault::Io(io::ErrorKind::WriteZero.into())));
                }
                self.advance(sent);
            }
            if self.body.is_none() {
                ready!(Pin::new(&mut *stream).poll_flush(context))?;
                self.done = true;
            } else if waits {
                ready!(Pin::new(&mut *stream).poll_flush(context))?;
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Takes what is there of the body, until it is worth a write. Tells whether more is waited for.
    fn fill(&mut self, context: &mut Context<'_>) -> Result<bool, Fault> {
        while self.data.is_empty() && self.next.len() < ENOUGH {
            let Some(body) = &mut self.body else {
                return Ok(false);
            };
            let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(context) else {
                return Ok(true);
            };
            match frame {
                None => self.end(None)?,
                Some(Err(error)) => return Err(Fault::Body(error.into())),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.add(data)?,
                    Err(frame) => self.end(frame.into_trailers().ok().as_ref())?,
                },
            }
        }
        Ok(false)
    }

    fn add(&mut self, data: Bytes) -> Result<(), Fault> {
        if data.is_empty() {
            return Ok(()); // a chunk of no size would end the body
        }
        let after = self.encoder.begin(&data, &mut self.next)?;
        if data.len() <= small::MOST {
            self.next.extend_from_slice(&data);
            self.next.extend_from_slice(after);
        } else {
            (self.data, self.after) = (data, after);
        }
        if matches!(self.encoder, Encoder::Length(0)) {
            // Nothing may follow; the last write need not wait for the body to say so.
            self.end(None)?;
        }
        Ok(())
    }

    fn end(&mut self, trailers: Option<&http::HeaderMap>) -> Result<(), Fault> {
        self.encoder.end(trailers, &mut self.next)?;
        self.body = None; // only now: without a body all would count as sent
        Ok(())
    }

    fn has_bytes(&self) -> bool {
        !self.next.is_empty() || !self.data.is_empty()
    }

    fn poll_write<S: AsyncWrite + Unpin>(
        &self,
        stream: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let stream = Pin::new(stream);
        match (self.next.is_empty(), self.data.is_empty()) {
            (_, true) => stream.poll_write(context, &self.next),
            (true, false) => stream.poll_write(context, &self.data),
            (false, false) => {
                let slices = [IoSlice::new(&self.next), IoSlice::new(&self.data)];
                stream.poll_write_vectored(context, &slices)
            }
        }
    }

    fn advance(&mut self, sent: usize) {
        self.sent += sent as u64;
        let of_next = sent.min(self.next.len());
        self.next.advance(of_next);
        self.data.advance(sent - of_next);
        if self.data.is_empty() && !self.after.is_empty() && self.next.is_empty() {
            self.next.extend_from_slice(std::mem::take(&mut self.after));
        }
    }
}

/// 8 KiB are worth a write.
const ENOUGH: usize = 8 << 10;
