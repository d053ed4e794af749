//! A message on its way out: head and body in as few writes as they fit into.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame};
use tokio::io::AsyncWrite;

use crate::base::small;

use super::Fault;
use super::encoder::Encoder;

/// The body of a message.
pub trait Payload:
    Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin + 'static
{
}

impl<B> Payload for B where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin + 'static
{
}

/// What of a message is not sent yet.
#[derive(Debug)]
pub struct Sending<B> {
    /// The bytes that go next: head, framing, small parts of the body.
    next: BytesMut,
    /// A large part of the body, which goes after them uncopied.
    data: Bytes,
    /// Another one, which goes with it.
    more: Bytes,
    /// What goes after that.
    after: &'static [u8],
    encoder: Encoder,
    /// `None` once all of it was taken.
    body: Option<B>,
    /// How the body has failed behind what is to go before that is told.
    failed: Option<Fault>,
    /// Nothing is taken of the body yet: who sends it waits for a word first.
    held: bool,
    /// Bytes that the connection has taken.
    pub sent: u64,
    done: bool,
}

impl<B: Payload> Sending<B> {
    /// Nothing is to be sent.
    pub fn nothing() -> Self {
        Self {
            next: BytesMut::new(),
            data: Bytes::new(),
            more: Bytes::new(),
            after: b"",
            encoder: Encoder::Length(0),
            body: None,
            failed: None,
            held: false,
            sent: 0,
            done: true,
        }
    }

    /// Begins with a message, whose head `write` writes into an empty `buffer`. It tells how the body
    /// is framed.
    ///
    /// # Errors
    /// When that is not clear, or there is no body and the head says that there is one.
    pub fn begin(
        &mut self,
        buffer: BytesMut,
        write: impl FnOnce(&mut BytesMut) -> Result<Encoder, Fault>,
        body: B,
    ) -> Result<(), Fault> {
        self.next = buffer;
        self.encoder = write(&mut self.next)?;
        self.sent = 0;
        self.done = false;
        self.held = false;
        self.failed = None;
        if body.is_end_stream() {
            self.encoder.end(None, &mut self.next)?;
        } else {
            self.body = Some(body);
        }
        Ok(())
    }

    /// Gives back the buffer of a message that was sent.
    pub fn take_buffer(&mut self) -> BytesMut {
        std::mem::take(&mut self.next)
    }

    /// Nothing is taken of the body until it may go.
    pub fn hold(&mut self) {
        self.held = true;
    }

    /// The body may go.
    pub fn let_go(&mut self) {
        self.held = false;
    }

    /// Whether all was sent.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Sends on, until all is sent.
    ///
    /// # Errors
    /// When the connection or the message's body fails.
    pub fn poll<S: AsyncWrite + Unpin>(
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
        if self.failed.is_some() && self.has_bytes() {
            return Ok(false);
        }
        if let Some(fault) = self.failed.take() {
            return Err(fault);
        }
        while self.takes_more() {
            let Some(body) = &mut self.body else {
                return Ok(false);
            };
            if self.held {
                return Ok(true);
            }
            let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(context) else {
                return Ok(true);
            };
            match self.take(frame) {
                // What came before it goes first.
                Err(fault) if !self.data.is_empty() => self.failed = Some(fault),
                taken => taken?,
            }
        }
        Ok(false)
    }

    /// Whether the next write can hold more. What came with a head is little, and what follows it is
    /// mostly there: one write costs its recipient one wake-up. Later a body is asked for more only
    /// once what it gave is gone, for who asks waits for its sender.
    fn takes_more(&self) -> bool {
        if self.failed.is_some() {
            return false;
        }
        if self.data.is_empty() {
            return self.next.len() < ENOUGH;
        }
        self.after.is_empty()
            && self.more.is_empty()
            && self.sent == 0
            && self.data.len() < ENOUGH
            && matches!(self.encoder, Encoder::Length(1..))
    }

    fn take(&mut self, frame: Option<Result<Frame<Bytes>, B::Error>>) -> Result<(), Fault> {
        match frame {
            None => self.end(None),
            Some(Err(error)) => Err(Fault::Body(error.into())),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => self.add(data),
                Err(frame) => self.end(frame.into_trailers().ok().as_ref()),
            },
        }
    }

    fn add(&mut self, data: Bytes) -> Result<(), Fault> {
        if data.is_empty() {
            return Ok(()); // a chunk of no size would end the body
        }
        let after = self.encoder.begin(&data, &mut self.next)?;
        if !self.data.is_empty() {
            self.more = data;
        } else if data.len() <= small::MOST {
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

    fn end(&mut self, trailers: Option<&HeaderMap>) -> Result<(), Fault> {
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
        let parts = [&self.next[..], &self.data, &self.more];
        let first = parts.iter().position(|part| !part.is_empty()).unwrap_or(0);
        let last = parts.iter().rposition(|part| !part.is_empty()).unwrap_or(0);
        if first == last {
            return stream.poll_write(context, parts[first]);
        }
        let slices = parts.map(IoSlice::new);
        stream.poll_write_vectored(context, &slices[first..=last])
    }

    fn advance(&mut self, sent: usize) {
        self.sent += sent as u64;
        let of_next = sent.min(self.next.len());
        self.next.advance(of_next);
        let of_data = (sent - of_next).min(self.data.len());
        self.data.advance(of_data);
        if self.data.is_empty() {
            self.more.advance(sent - of_next - of_data);
            self.data = std::mem::take(&mut self.more);
        }
        if self.data.is_empty() {
            self.data = Bytes::new(); // who counts it, or waits for it to be gone, hears of it now
        }
        if self.data.is_empty() && !self.after.is_empty() && self.next.is_empty() {
            self.next.extend_from_slice(std::mem::take(&mut self.after));
        }
    }
}

/// 8 KiB are worth a write.
const ENOUGH: usize = 8 << 10;

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Arc;
    use std::task::Waker;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Writes a head, whose body is framed so.
    fn head(framing: Encoder) -> impl FnOnce(&mut BytesMut) -> Result<Encoder, Fault> {
        move |out| {
            out.extend_from_slice(b"PUT / HTTP/1.1\r\n\r\n");
            Ok(framing)
        }
    }

    /// Gives its parts, one of which may be a fault, one by one; for `None` it is not ready, once.
    #[derive(Debug)]
    struct Parts(VecDeque<Option<io::Result<Bytes>>>);

    impl Body for Parts {
        type Data = Bytes;
        type Error = io::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _context: &mut Context<'_>,
        ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
            match self.0.pop_front() {
                None => Poll::Ready(None),
                Some(None) => Poll::Pending,
                Some(Some(part)) => Poll::Ready(Some(part.map(Frame::data))),
            }
        }
    }

    /// Takes so many bytes a write, again and again; for 0 it is not ready.
    struct Narrow {
        takes: VecDeque<usize>,
        taken: Vec<u8>,
        /// How many bytes each write has taken.
        writes: Vec<usize>,
    }

    impl Narrow {
        fn new(takes: impl Into<VecDeque<usize>>) -> Self {
            Self { takes: takes.into(), taken: Vec::new(), writes: Vec::new() }
        }
    }

    impl AsyncWrite for Narrow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _context: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.takes.rotate_left(1);
            let size = self.takes.back().copied().unwrap_or_default().min(bytes.len());
            if size == 0 {
                return Poll::Pending;
            }
            self.taken.extend_from_slice(&bytes[..size]);
            self.writes.push(size);
            Poll::Ready(Ok(size))
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            context: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
            self.poll_write(context, &bytes)
        }

        fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// What is sent of a body in `sizes`, and the body.
    fn sent(sizes: &[usize], takes: Vec<usize>, framing: Encoder) -> (Vec<u8>, Vec<u8>) {
        let whole: Vec<u8> = (0..sizes.iter().sum()).map(|place| (place % 251) as u8).collect();
        let mut rest = Bytes::from(whole.clone());
        let parts = sizes.iter().flat_map(|size| [Some(Ok(rest.split_to(*size))), None]).collect();
        let mut sending = Sending::nothing();
        sending.begin(BytesMut::new(), head(framing), Parts(parts)).unwrap();
        let mut narrow = Narrow::new(takes);
        let mut context = Context::from_waker(Waker::noop());
        while sending.poll(&mut narrow, &mut context).map(Result::unwrap).is_pending() {}
        assert_eq!(sending.sent, narrow.taken.len() as u64);
        let end = narrow.taken.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        (narrow.taken.split_off(end), whole)
    }

    proptest! {
        #[test]
        fn a_body_is_sent_whole_however_it_comes_and_is_taken(
            sizes in vec(prop_oneof![0usize..3, 1020usize..1030, 8000usize..9000], 0..8),
            mut takes in vec(prop_oneof![Just(0), 1usize..50, 1000usize..20_000], 0..20),
        ) {
            takes.push(700); // in the end it takes something
            let length = Encoder::Length(sizes.iter().sum::<usize>() as u64);
            let (bytes, body) = sent(&sizes, takes.clone(), length);
            prop_assert!(bytes == body);

            let (bytes, body) = sent(&sizes, takes, Encoder::Chunked);
            let mut chunked = Vec::new();
            let mut rest = &body[..];
            for size in sizes.into_iter().filter(|size| *size > 0) {
                chunked.extend_from_slice(format!("{size:x}\r\n").as_bytes());
                chunked.extend_from_slice(&rest[..size]);
                chunked.extend_from_slice(b"\r\n");
                rest = &rest[size..];
            }
            chunked.extend_from_slice(b"0\r\n\r\n");
            prop_assert!(bytes == chunked);
        }
    }

    /// The sizes of the writes in which a body of two parts goes, and how it ends.
    fn writes(second: io::Result<Bytes>) -> (Vec<usize>, Result<(), Fault>) {
        let parts = [Some(Ok(Bytes::from(vec![1; 4000]))), Some(second)].into();
        let mut sending = Sending::nothing();
        sending.begin(BytesMut::new(), head(Encoder::Length(64_000)), Parts(parts)).unwrap();
        let mut wide = Narrow::new([usize::MAX]);
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(ended) = sending.poll(&mut wide, &mut context) else {
            panic!("nothing is waited for");
        };
        (wide.writes, ended)
    }

    #[test]
    fn what_follows_a_part_that_came_with_the_head_goes_in_the_same_write() {
        let (writes, ended) = writes(Ok(Bytes::from(vec![2; 60_000])));
        assert!(ended.is_ok());
        assert_eq!(writes, [64_018]);
    }

    #[test]
    fn what_came_before_a_body_broke_off_is_sent_also_where_the_connection_is_not_ready() {
        let broken = Err(io::ErrorKind::ConnectionReset.into());
        let parts = Parts([Some(Ok(Bytes::from(vec![1; 4000]))), Some(broken)].into());
        let mut sending = Sending::nothing();
        let head = head(Encoder::Length(64_000));
        sending.begin(BytesMut::new(), head, parts).unwrap();
        let mut narrow = Narrow::new([0, 10, 0, 500]);
        let mut context = Context::from_waker(Waker::noop());

        let ended = loop {
            if let Poll::Ready(ended) = sending.poll(&mut narrow, &mut context) {
                break ended;
            }
        };

        assert!(matches!(ended, Err(Fault::Body(_))), "{ended:?}");
        assert_eq!(narrow.taken.len(), 4018);
    }

    #[test]
    fn nothing_is_held_of_what_was_sent_while_more_is_waited_for() {
        let owner = Arc::new([7; 6000]);
        let part = || Some(Ok(Bytes::from_owner(Owned(Arc::clone(&owner)))));
        let mut sending = Sending::nothing();
        let parts = Parts([part(), part(), None].into());
        sending.begin(BytesMut::new(), head(Encoder::Length(64_000)), parts).unwrap();
        let mut context = Context::from_waker(Waker::noop());

        assert!(sending.poll(&mut Narrow::new([usize::MAX]), &mut context).is_pending());

        assert_eq!(Arc::strong_count(&owner), 1);
    }

    struct Owned(Arc<[u8; 6000]>);

    impl AsRef<[u8]> for Owned {
        fn as_ref(&self) -> &[u8] {
            &self.0[..]
        }
    }

    #[test]
    fn what_came_before_a_body_broke_off_is_sent_before_that_is_told() {
        let (writes, ended) = writes(Err(io::ErrorKind::ConnectionReset.into()));
        assert!(matches!(ended, Err(Fault::Body(_))), "{ended:?}");
        assert_eq!(writes, [4018]);
    }
}
