//! A head as it comes: most come whole in one read, and some byte by byte.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr_iter;
use tokio::io::{AsyncRead, ReadBuf};

use super::room::Room;

/// What has come and is not read yet: a head that is not whole, or what follows one.
#[derive(Debug, Default)]
pub struct Gathered {
    /// Of a head that came in several reads.
    partial: BytesMut,
    /// How much of that was looked through.
    seen: usize,
    /// What came last.
    pub ahead: Bytes,
}

impl Gathered {
    /// Whether nothing is there.
    pub fn is_empty(&self) -> bool {
        self.partial.is_empty() && self.ahead.is_empty()
    }

    /// The beginning of what is there; all of it once [`Gathered::may_be_whole`] was asked.
    pub fn bytes(&self) -> &[u8] {
        if self.partial.is_empty() { &self.ahead } else { &self.partial }
    }

    /// Whether there may be a whole head. What came in one read is not looked through for that: who
    /// parses it finds out. It is once more came, so that a head of many reads is parsed once.
    pub fn may_be_whole(&mut self) -> bool {
        if self.partial.is_empty() {
            return !self.ahead.is_empty();
        }
        self.partial.extend_from_slice(&std::mem::take(&mut self.ahead));
        let whole = is_whole(&self.partial, self.seen);
        self.seen = self.partial.len();
        whole
    }

    /// Puts back what was taken and is no whole head.
    pub fn put_back(&mut self, bytes: &[u8]) {
        self.partial.extend_from_slice(bytes);
        self.seen = self.partial.len();
    }

    /// Passes over what stands in front, as many bytes as `each` says, until it says 0.
    pub fn pass_over(&mut self, each: impl Fn(&[u8]) -> usize) {
        loop {
            let size = each(self.bytes());
            match size {
                0 => return,
                _ if self.partial.is_empty() => self.ahead.advance(size),
                _ => {
                    self.partial.advance(size);
                    self.seen = 0;
                }
            }
        }
    }

    /// Takes all that is there.
    pub fn take(&mut self) -> Bytes {
        self.seen = 0;
        if self.partial.is_empty() {
            return std::mem::take(&mut self.ahead);
        }
        std::mem::take(&mut self.partial).freeze()
    }

    /// Reads what `stream` has, once what came before it was looked at. Gives how many bytes that is.
    /// Needs no memory while nothing comes.
    pub fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        room: &Room,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut space = [MaybeUninit::uninit(); SOME];
        let mut space = ReadBuf::uninit(&mut space);
        ready!(Pin::new(stream).poll_read(context, &mut space))?;
        self.ahead = room.keep(space.filled());
        Poll::Ready(Ok(self.ahead.len()))
    }
}

/// Whether `bytes` hold a whole head, where the first `seen` bytes did not.
fn is_whole(bytes: &[u8], seen: usize) -> bool {
    let fresh = &bytes[seen.saturating_sub(3)..];
    memchr_iter(b'\n', fresh)
        .any(|place| matches!(&fresh[place + 1..], [b'\n', ..] | [b'\r', b'\n', ..]))
}

/// 4 KiB: a usual head, and a small body with it, comes in one read.
pub const SOME: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nx: 1\r\ny: 2\r\n\r\n";

    proptest! {
        #[test]
        fn a_whole_head_is_found_however_it_comes(size in 1usize..40) {
            let mut gathered = Gathered::default();
            let message = [HEAD, b"body"].concat();
            let mut came = 0;
            for part in message.chunks(size) {
                gathered.ahead = Bytes::copy_from_slice(part);
                came += part.len();
                let whole = came >= HEAD.len();
                prop_assert_eq!(gathered.may_be_whole(), whole || came == part.len());
                prop_assert_eq!(gathered.bytes(), &message[..came]);
                if whole {
                    break;
                }
                let taken = gathered.take();
                gathered.put_back(&taken);
            }
            prop_assert_eq!(gathered.take(), &message[..came]);
            prop_assert!(gathered.is_empty() && !gathered.may_be_whole());
        }

        #[test]
        fn an_empty_line_of_any_kind_ends_a_head(bytes in "[a\r\n]{0,12}", seen in 0usize..12) {
            let bytes = bytes.as_bytes();
            let ends = |bytes: &[u8]| {
                bytes.windows(2).any(|two| two == b"\n\n")
                    || bytes.windows(3).any(|three| three == b"\n\r\n")
            };
            let seen = seen.min(bytes.len());
            prop_assume!(!ends(&bytes[..seen]));
            prop_assert_eq!(is_whole(bytes, seen), ends(bytes));
        }
    }
}
